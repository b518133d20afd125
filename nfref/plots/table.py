"""A table with many columns beside samples of a model of it."""

import numpy as np
from matplotlib.colors import to_rgba_array
from matplotlib.lines import Line2D

from nfref.plots.canvas import DATA, SAMPLES, finite_rows, new_figure, scatter, thin
from nfref.plots.column import as_columns, dots
from nfref.runtime.annotations import Any, Array, Sequence
from nfref.runtime.checks import as_array, check_count


def corner(
    data: Array | None,
    samples: Array,
    columns: Sequence[str] | None = None,
    max_columns: int = 12,
    max_points: int = 1500,
    figure: Any = None,
    labels: Sequence[str] = ("data", "samples"),
) -> Any:
    """Plot each pair of columns as a scatter, each column as a histogram: data and samples.

    Parameters
    ----------
    data : (N, D) array or None
    samples : (M, D) array
    columns : sequence of D str or PlottedColumn, optional
        By default x_1 to x_D. Columns of labels have bars and labels, and their dots are moved
        apart.
    max_columns : int
        Largest number of columns to plot; the title of a wider table names the columns shown.
    max_points : int
        Largest number of rows in a scatter; the histograms use all rows.
    figure : matplotlib.figure.Figure, optional
    labels : sequence of two str
        The names of data and samples in the legend.

    Returns
    -------
    matplotlib.figure.Figure
    """
    check_count("max_columns", max_columns)
    check_count("max_points", max_points)
    tables: dict[str, Any] = {"data": data, "samples": samples}
    tables = {name: _table(name, rows) for name, rows in tables.items() if rows is not None}
    dims = {name: rows.shape[1] for name, rows in tables.items()}
    dim = dims["samples"]
    if dims.get("data", dim) != dim:
        raise ValueError(f"data: expected as many columns as samples, got {dims['data']} and {dim}")
    columns = [f"$x_{{{i + 1}}}$" for i in range(dim)] if columns is None else list(columns)
    if len(columns) != dim:
        raise ValueError(f"columns: expected {dim} names, got {len(columns)}")

    shown = min(dim, max_columns)
    columns = as_columns(columns[:shown])
    tables = {name: rows[:, :shown] for name, rows in tables.items()}
    colours = {"data": DATA, "samples": SAMPLES}
    limits = [
        column.limits(*(rows[:, k] for rows in tables.values())) for k, column in enumerate(columns)
    ]
    points, point_colours = _interleaved(
        [(thin(rows, max_points), colours[name]) for name, rows in tables.items()]
    )
    points = dots(columns, points)

    size = max(1.0, 2.4 - 0.16 * shown)  # inches per panel
    figure = new_figure(size * shown + 1.6, size * shown + 1.2) if figure is None else figure
    grid = figure.add_gridspec(shown, shown)
    left = []
    for i in range(shown):
        for j in range(i + 1):
            axes = figure.add_subplot(grid[i, j])
            axes.set_xlim(*limits[j])
            if i == j:
                parts = {name: rows[:, i] for name, rows in tables.items()}
                columns[i].histogram(axes, parts, colours)
            else:
                scatter(axes, points[:, [j, i]], point_colours, area=2, alpha=0.5)
            _decorate(axes, i, j, columns, limits)
            left += [axes] if j == 0 else []
    figure.align_ylabels(left)
    lines = [Line2D([], [], color=colours[name]) for name in tables]
    names = dict(zip(("data", "samples"), labels))
    figure.legend(
        lines, [names[name] for name in tables], loc="upper right", fontsize="large", frameon=False
    )
    if shown < dim:
        figure.suptitle(f"columns 1 to {shown} of {dim}")
    return figure


def _table(name, rows):
    rows = as_array(name, rows)
    if rows.ndim != 2 or not rows.shape[1]:
        raise ValueError(f"{name}: expected shape (N, D), got {rows.shape}")
    return finite_rows(name, rows)


def _interleaved(groups):
    """Return all rows with their colours, in an order that puts no group on top of another."""
    rows = np.concatenate([group for group, _ in groups])
    colours = np.repeat([colour for _, colour in groups], [len(group) for group, _ in groups])
    depth = np.concatenate([(np.arange(len(group)) + 0.5) / len(group) for group, _ in groups])
    order = np.argsort(depth, kind="stable")
    return rows[order], to_rgba_array(colours[order])  # once, not in each panel


def _decorate(axes, i, j, columns, limits):
    """Set limits of a panel, and names and ticks of the outer panels.

    Ticks of inner panels would take most of the time of a large picture.
    """
    shown = len(columns)
    axes.set_xlim(*limits[j])
    if i != j:
        axes.set_ylim(*limits[i])
    axes.tick_params(labelsize=8 if shown <= 6 else 7)
    axes.tick_params(axis="x", labelrotation=45)
    if i == shown - 1:
        columns[j].ticks(axes.xaxis, 3 if shown <= 4 else 2)
        axes.set_xlabel(columns[j].name, rotation=30, ha="right", fontsize=9)
    else:
        axes.xaxis.set_visible(False)
    if j == 0:
        columns[i].ticks(axes.yaxis, 3 if shown <= 4 else 2)
        axes.set_ylabel(columns[i].name, rotation=0, ha="right", va="center", fontsize=9)
    else:
        axes.yaxis.set_visible(False)
    if i == j:
        axes.set_yticks([])
