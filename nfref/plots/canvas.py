"""What the plots share: figures, colours, limits, points, and writing to a file."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nfref.runtime.annotations import Any, PathLike
from nfref.runtime.files import replacing

# Blue, red, green, yellow of Paul Tol's bright scheme, which colour-blind readers tell apart.
COLOURS = ("#4477AA", "#EE6677", "#228833", "#CCBB44")
DATA, SAMPLES = COLOURS[:2]


def new_figure(width, height):
    """A figure of its own, in inches, with space for its labels."""
    return Figure(figsize=(width, height), layout="constrained")


def new_axes(width=5.0, height=4.0):
    """The only axes of a new figure."""
    return new_figure(width, height).subplots()


def save(figure: Any, path: PathLike, dpi: float = 150) -> None:
    """Write a figure; its format follows from the suffix.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        ``axes.figure`` for functions that return axes.
    path : path-like
        An existing file is replaced once the new one is complete, and left as it was if
        anything goes wrong.
    dpi : float
        Dots per inch, where the format has dots.

    Raises
    ------
    ValueError
        If the suffix is that of no known format.
    OSError
        If the file can't be written.
    """
    kind = Path(path).suffix[1:].lower()
    known = sorted(FigureCanvasAgg(Figure()).get_supported_filetypes())
    if kind not in known:
        raise ValueError(f"path: expected a suffix among {', '.join(known)}; got {str(path)!r}")
    with replacing(path) as file:
        figure.savefig(file, format=kind, dpi=dpi)


def check_plane(name, dim):
    """Pictures of the plane need two coordinates."""
    if dim != 2:
        raise ValueError(f"{name}: expected dim 2, got {dim}")


def finite_rows(name, rows):
    """The rows that can be drawn; a ValueError if there are none."""
    kept = rows[np.all(np.isfinite(rows), axis=1)]
    if not len(kept):
        raise ValueError(f"{name}: expected at least one finite row, got none in {len(rows)}")
    return kept


def thin(rows, n):
    """At most ``n`` rows, evenly spaced in their order."""
    if len(rows) <= n:
        return rows
    return rows[np.linspace(0, len(rows) - 1, n).astype(int)]


def limits_of(*tables):
    """Per column (low, high) around nearly all of the rows of each table.

    The outermost 0.5 % at either end don't count, so that one outlier does not shrink the
    rest to a dot.
    """
    quantiles = np.array([np.quantile(table, [0.005, 0.995], axis=0) for table in tables])
    low, high = quantiles[:, 0].min(axis=0), quantiles[:, 1].max(axis=0)
    margin = 0.15 * (high - low)
    margin = np.where(margin > 0, margin, 0.5)
    return np.stack([low - margin, high + margin], axis=1)


def scatter(axes, rows, colours, area=3.0, alpha=0.6):
    """Rows of a plane as dots, all in one colour or each in its own.

    Dots are drawn in the order of the rows. Thousands of them are an image also where the
    rest of a picture is vectors.
    """
    axes.scatter(
        rows[:, 0], rows[:, 1], s=area, c=colours, linewidths=0, alpha=alpha, rasterized=True
    )


def plane_limits(*tables):
    """Limits for two columns that share a scale, unless one spreads three times the other."""
    limits = limits_of(*tables)
    width = limits[:, 1] - limits[:, 0]
    if width.max() < 3 * width.min():
        middle, half = limits.mean(axis=1), width.max() / 2
        limits = np.stack([middle - half, middle + half], axis=1)
    return limits


def frame(axes, title, limits):
    """A square panel with a title."""
    axes.set(title=title, xlim=limits[0], ylim=limits[1], box_aspect=1)


def repeat_context(context, n):
    """One context row (C,) for each of ``n`` rows, or None."""
    return None if context is None else np.tile(np.asarray(context), (n, 1))
