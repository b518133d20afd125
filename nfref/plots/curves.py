"""The course of a fit, and of several."""

import math

import numpy as np
from matplotlib.ticker import MaxNLocator

from nfref.plots.canvas import DATA, SAMPLES, new_axes, new_figure
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


def loss_curves(histories: dict[str, dict[str, list[float]]], figure: Any = None) -> Any:
    """Plot the :func:`loss_curve` of several fits, one in each panel.

    Parameters
    ----------
    histories : dict
        Name -> history.
    figure : matplotlib.figure.Figure, optional

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If there is none.
    """
    if not histories:
        raise ValueError("histories: expected the losses of a fit, got none")
    across = min(3, len(histories))
    down = math.ceil(len(histories) / across)
    figure = new_figure(4.2 * across, 3.4 * down) if figure is None else figure
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for (name, history), axes in zip(histories.items(), panels):
        loss_curve(history, axes=axes)
        axes.set(title=name, ylabel="")
    for axes in panels[len(histories) :]:
        axes.remove()
    figure.supylabel("negative mean log-likelihood (nats per row)", fontsize="medium")
    return figure
