"""The common parts of the plots: figures, colours, limits, points, and writing to a file."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nfref.runtime.annotations import Any, Array, PathLike
from nfref.runtime.files import replacing

# Blue, red, green, yellow of Paul Tol's bright scheme, which colour-blind readers can distinguish.
COLOURS = ("#4477AA", "#EE6677", "#228833", "#CCBB44")
DATA, SAMPLES = COLOURS[:2]


def new_figure(width: float, height: float) -> Figure:
    """Return a new figure, with its size in inches and space for labels."""
    return Figure(figsize=(width, height), layout="constrained")


def new_axes(width: float = 5.0, height: float = 4.0) -> Any:
    """Return the only axes of a new figure."""
    return new_figure(width, height).subplots()


def save(figure: Any, path: PathLike, dpi: float = 150) -> None:
    """Write a figure; its format follows from the suffix.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        ``axes.figure`` for functions that return axes.
    path : path-like
        An existing file is replaced once the new one is complete; after an error it stays as it
        was.
    dpi : float
        Dots per inch, for formats with dots.

    Raises
    ------
    ValueError
        If the suffix does not name a known format.
    OSError
        If the file cannot be written.
    """
    kind = Path(path).suffix[1:].lower()
    known = sorted(FigureCanvasAgg(Figure()).get_supported_filetypes())
    if kind not in known:
        raise ValueError(f"path: expected a suffix among {', '.join(known)}; got {str(path)!r}")
    with replacing(path) as file:
        figure.savefig(file, format=kind, dpi=dpi)


def check_plane(name: str, dim: int) -> None:
    """Check that there are two coordinates, for pictures of the plane."""
    if dim != 2:
        raise ValueError(f"{name}: expected dim 2, got {dim}")


def finite_rows(name: str, rows: Array) -> Array:
    """Return the finite rows; raise a ValueError if there are none."""
    kept = rows[np.all(np.isfinite(rows), axis=1)]
    if not len(kept):
        raise ValueError(f"{name}: expected at least one finite row, got none in {len(rows)}")
    return kept


def thin(rows: Array, n: int) -> Array:
    """Return at most ``n`` rows, evenly spaced in their order."""
    if len(rows) <= n:
        return rows
    return rows[np.linspace(0, len(rows) - 1, n).astype(int)]


def limits_of(*tables: Array) -> Array:
    """Return (low, high) per column around nearly all rows of each table.

    The outermost 0.5 % at either end do not count, so that one outlier does not shrink the
    rest to a dot.
    """
    quantiles = np.array([np.quantile(table, [0.005, 0.995], axis=0) for table in tables])
    low, high = quantiles[:, 0].min(axis=0), quantiles[:, 1].max(axis=0)
    margin = 0.15 * (high - low)
    margin = np.where(margin > 0, margin, 0.5)
    return np.stack([low - margin, high + margin], axis=1)


def scatter(axes: Any, rows: Array, colours: Any, area: float = 3.0, alpha: float = 0.6) -> None:
    """Plot rows of a plane as dots, all in one colour or each in its own.

    Dots are plotted in the order of the rows. They are rasterised even in a vector format, since
    there may be thousands of them.
    """
    axes.scatter(
        rows[:, 0], rows[:, 1], s=area, c=colours, linewidths=0, alpha=alpha, rasterized=True
    )


def plane_limits(*tables: Array) -> Array:
    """Return limits for two columns that share a scale, unless one spreads 3 times the other."""
    limits = limits_of(*tables)
    width = limits[:, 1] - limits[:, 0]
    if width.max() < 3 * width.min():
        middle, half = limits.mean(axis=1), width.max() / 2
        limits = np.stack([middle - half, middle + half], axis=1)
    return limits


def frame(axes: Any, title: str, limits: Any) -> None:
    """Make axes a square panel with a title."""
    axes.set(title=title, xlim=limits[0], ylim=limits[1], box_aspect=1)


def repeat_context(context: Array | None, n: int) -> Array | None:
    """Return one context row (C,) for each of ``n`` rows, or None."""
    return None if context is None else np.tile(np.asarray(context), (n, 1))
