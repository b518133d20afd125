"""The course of a fit."""

import numpy as np
from matplotlib.ticker import MaxNLocator

from nfref.plots.canvas import DATA, SAMPLES, new_axes
from nfref.runtime.annotations import Any


def loss_curve(
    history: dict[str, list[float]], best_epoch: int | None = None, axes: Any = None
) -> Any:
    """Plot the loss of the training and the validation part against the epoch.

    The axis omits the highest few values, which are those of the first epochs. Gaps mark values
    that are not finite.

    Parameters
    ----------
    history : dict
        ``{"train": [...]}`` and, with validation rows, ``"validation": [...]``: negative mean
        log-likelihood in nats per row, one value per epoch.
    best_epoch : int, optional
        Index of the epoch whose parameters were kept; a line marks it.
    axes : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    if "train" not in history:
        raise ValueError(f"history: expected the key 'train', got {sorted(history)}")
    curves = {
        name: np.asarray(values, dtype=float)
        for name, values in history.items()
        if name in ("train", "validation")
    }
    axes = new_axes() if axes is None else axes
    for (name, values), colour in zip(curves.items(), (DATA, SAMPLES)):
        values = np.where(np.isfinite(values), values, np.nan)
        marker = "o" if len(values) == 1 else None  # a single epoch has no line
        axes.plot(np.arange(len(values)), values, color=colour, label=name, marker=marker)
    everything = np.concatenate(list(curves.values()))
    everything = everything[np.isfinite(everything)]
    if len(everything) > 20:
        lowest, high = everything.min(), np.quantile(everything, 0.97)
        if high > lowest:
            axes.set_ylim(lowest - 0.05 * (high - lowest), high + 0.1 * (high - lowest))
    if best_epoch is not None:
        axes.axvline(
            best_epoch, color="0.4", linestyle="--", linewidth=1, label=f"best epoch: {best_epoch}"
        )
    axes.set(xlabel="epoch", ylabel="negative mean log-likelihood (nats per row)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    return axes
