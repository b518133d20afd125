"""A density in the plane: target, samples and log-density."""

import numpy as np

from nfref.density import Density
from nfref.plots import canvas
from nfref.plots.column import as_columns, dots
from nfref.runtime.annotations import Any, Array, Callable, Generator, Params
from nfref.runtime.batching import in_blocks
from nfref.runtime.checks import as_rows, check_count, check_rng

TICKS = 6  # most ticks of a column of whole numbers
LEVEL = 36  # characters that fit below a panel side by side
CELLS = 200  # cells per side of a picture of a log-density


def triptych(
    density: Density,
    params: Params,
    x: Array | None = None,
    rng: Generator | None = None,
    log_target: Callable[..., Any] | None = None,
    n: int = 4000,
    limits: Any = None,
    context: Array | None = None,
    columns: Any = ("$x_1$", "$x_2$"),
    nats: float = 10.0,
    figure: Any = None,
) -> Any:
    """Plot target, samples and log-density of a density in the plane, side by side.

    Parameters
    ----------
    density : Density
        A density of dim 2.
    params : dict
    x : (N, 2) array, optional
        Data to plot as the target; at most ``n`` rows are plotted.
    rng : numpy.random.Generator
        Generator of the samples.
    log_target : callable, optional
        The target as a log-density: maps (N, 2) rows to (N,) nats, normalised or not. Give at
        most one of x and log_target; with neither, the target is omitted.
    n : int
        Number of samples.
    limits : ((low, high), (low, high)), optional
        Limits of both axes; by default around the data and the samples.
    context : (C,) array, optional
        The context of a conditional density.
    columns : two str or PlottedColumn
        Names of the axes, or columns of labels and of counts, whose dots are moved apart.
    nats : float
        Colours cover log-densities from the largest value down to this many nats below it; lower
        values get the lowest colour.
    figure : matplotlib.figure.Figure, optional

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the density is not of dim 2, or both x and log_target are given.
    """
    canvas.check_plane("triptych", density.dim)
    if x is not None and log_target is not None:
        raise ValueError("triptych: expected x or log_target, got both")
    check_count("n", n)
    samples = density.sample(params, check_rng(rng), n, canvas.repeat_context(context, n))
    samples = canvas.finite_rows("samples", samples)
    x = None if x is None else canvas.finite_rows("x", as_rows("x", x, 2))
    columns = as_columns(columns)
    if limits is None:
        limits = _limits(columns, [samples] if x is None else [x, samples])

    panels = 3 if x is not None or log_target is not None else 2
    figure = canvas.new_figure(4.2 * panels + 0.6, 4.2) if figure is None else figure
    axes = figure.subplots(1, panels)
    if x is not None:
        canvas.scatter(axes[0], dots(columns, canvas.thin(x, n)), canvas.DATA)
        canvas.frame(axes[0], "target: data", limits)
    elif log_target is not None:
        image = shade(axes[0], log_target, limits, nats)
        canvas.frame(axes[0], "target: log-density", limits)
        figure.colorbar(image, ax=axes[0], label="nats", shrink=0.8, extend="min")
    canvas.scatter(axes[-2], dots(columns, samples), canvas.SAMPLES)
    canvas.frame(axes[-2], "samples", limits)

    def log_density(rows):
        return density.log_prob(params, rows, canvas.repeat_context(context, len(rows)))

    image = shade(axes[-1], log_density, limits, nats)
    canvas.frame(axes[-1], "log-density", limits)
    figure.colorbar(image, ax=axes[-1], label="nats", shrink=0.8, extend="min")
    for panel in axes:
        panel.set_xlabel(columns[0].name)
        for column, axis in zip(columns, (panel.xaxis, panel.yaxis)):
            if column.discrete:
                column.ticks(axis, TICKS)
        if sum(map(len, columns[0].labels)) > LEVEL:
            panel.tick_params(axis="x", labelrotation=30)
    axes[0].set_ylabel(columns[1].name)
    return figure


def _limits(columns, tables):
    """Return the limits of both columns, which share a scale where both are numbers."""
    if any(column.discrete for column in columns):
        return [column.limits(*(rows[:, k] for rows in tables)) for k, column in enumerate(columns)]
    ends = np.array([(column.low, column.high) for column in columns])
    return np.clip(canvas.plane_limits(*tables), ends[:, :1], ends[:, 1:])


def shade(axes: Any, log_density: Callable[..., Array], limits: Any, nats: float = 10.0) -> Any:
    """Colour a log-density over a rectangle; return the image, for a colour bar.

    Colours cover values from the largest down to ``nats`` below it. Cells where the
    log-density is -inf get the lowest colour, cells where it is undefined none.
    """
    edges = [np.linspace(low, high, CELLS + 1) for low, high in limits]
    middles = [(edge[1:] + edge[:-1]) / 2 for edge in edges]
    rows = np.stack(np.meshgrid(*middles), axis=2).reshape(-1, 2)
    # Cells outside the support have no latent: -inf or NaN there is expected.
    with np.errstate(all="ignore"):
        values = in_blocks(log_density, rows)
    finite = values[np.isfinite(values)]
    if not len(finite):
        raise ValueError("log-density: expected a finite value within the limits, got none")
    top = finite.max()
    values = np.where(values == -np.inf, top - 2 * nats, values).reshape(CELLS, CELLS)
    values, ends = np.ma.masked_invalid(values), {"vmin": top - nats, "vmax": top}
    return axes.pcolormesh(*edges, values, **ends, cmap="viridis", rasterized=True)
