"""Data beside samples of a model: calibration, marginals and log-likelihoods.

If the model is right, data and samples follow one distribution, whatever the columns are.
"""

import math

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from nfref.plots.canvas import DATA, SAMPLES, finite_rows, new_axes, new_figure
from nfref.plots.column import as_columns
from nfref.runtime.annotations import Any, Array, Sequence

LEVELS = np.linspace(0.05, 0.95, 19)  # probabilities of the regions of highest density
BINS = 40


def calibration(log_prob: Array, sample_log_prob: Array, axes: Any = None) -> Any:
    """Plot the share of the data in regions of highest density against their probability.

    The region of probability a holds the share a of all samples with the highest log p. The band is
    two standard deviations of chance around the diagonal, where a right model is.

    Parameters
    ----------
    log_prob : (N,) array
        Log-densities of data that the model was not fitted to; NaN counts as -inf.
    sample_log_prob : (M,) array
        Those of samples of the model.
    axes : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If one of both is empty.
    """
    scores = np.where(np.isnan(log_prob), -np.inf, log_prob)
    samples = np.asarray(sample_log_prob)[~np.isnan(sample_log_prob)]
    _check_some(log_prob=scores, sample_log_prob=samples)
    thresholds = np.quantile(samples, 1 - LEVELS)
    covered = np.mean(scores[:, None] >= thresholds, axis=0)
    deviation = np.sqrt(LEVELS * (1 - LEVELS) * (1 / len(scores) + 1 / len(samples)))
    axes = new_axes(5, 5) if axes is None else axes
    axes.fill_between(LEVELS, LEVELS - 2 * deviation, LEVELS + 2 * deviation, color="0.88")
    axes.plot([0, 1], [0, 1], color=SAMPLES, label="a right model")
    axes.plot(LEVELS, covered, "o-", color=DATA, markersize=4, label="data")
    axes.set(xlim=(0, 1), ylim=(0, 1), box_aspect=1)
    axes.set(xlabel="probability of a region by the model", ylabel="share of the data in it")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1))
    axes.legend(loc="upper left")
    return axes


def likelihoods(log_prob: Array, sample_log_prob: Array, axes: Any = None) -> Any:
    """Plot histograms of the log-likelihoods of data and of samples of the model.

    The axis omits the lowest 0.5 % of each, and values that are not finite.

    Parameters
    ----------
    log_prob : (N,) array
    sample_log_prob : (M,) array
    axes : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If one of both has no finite value.
    """
    parts = {
        name: np.asarray(values)[np.isfinite(values)]
        for name, values in (("log_prob", log_prob), ("sample_log_prob", sample_log_prob))
    }
    _check_some(**parts)
    low = min(np.quantile(values, 0.005) for values in parts.values())
    high = max(np.max(values) for values in parts.values())
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    axes = new_axes() if axes is None else axes
    for label, colour, values in zip(("data", "samples"), (DATA, SAMPLES), parts.values()):
        axes.stairs(np.histogram(values, edges)[0] / len(values), edges, color=colour, label=label)
    axes.set(xlabel="log-likelihood (nats)", ylabel="share of rows")
    axes.legend(loc="upper left")
    return axes


def marginals(data: Array, samples: Array, columns: Sequence[Any], figure: Any = None) -> Any:
    """Plot a histogram of every column: data beside samples of the model.

    Parameters
    ----------
    data : (N, D) array
    samples : (M, D) array
    columns : sequence of D str or PlottedColumn
    figure : matplotlib.figure.Figure, optional

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If one of both has no finite row.
    """
    tables = {"data": finite_rows("data", data), "samples": finite_rows("samples", samples)}
    colours, kinds = {"data": DATA, "samples": SAMPLES}, as_columns(columns)
    across = min(4, len(kinds))
    down = math.ceil(len(kinds) / across)
    figure = new_figure(2.6 * across + 0.8, 2.2 * down + 0.5) if figure is None else figure
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for k, (column, axes) in enumerate(zip(kinds, panels)):
        parts = {name: rows[:, k] for name, rows in tables.items()}
        axes.set_xlim(*column.limits(*parts.values()))
        column.histogram(axes, parts, colours)
        column.ticks(axes.xaxis, 4)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.tick_params(labelsize="small")
        axes.tick_params(axis="x", labelrotation=30 if column.labels else 0)
        axes.set_xlabel(column.name, wrap=True)
    for axes in panels[len(kinds) :]:
        axes.remove()
    lines = [Line2D([], [], color=colour) for colour in colours.values()]
    figure.legend(lines, list(colours), loc="outside upper right", ncols=2, frameon=False)
    return figure


def _check_some(**parts):
    for name, values in parts.items():
        if not len(values):
            raise ValueError(f"{name}: expected at least one number, got none")
