"""Pictures that the command line draws."""

import os

import numpy as np

from nfref.cli.arguments import UsageError
from nfref.cli.streams import printable

LONGEST = 40  # characters of a name
SAMPLES = 5000  # at most so many points of data and of samples


def check_format(option, path):
    """That Matplotlib can write a picture of that extension."""
    from matplotlib.backend_bases import FigureCanvasBase

    formats = set(FigureCanvasBase.get_supported_filetypes()) - {"pgf"}  # which needs TeX
    extension = os.path.splitext(path)[1]
    if extension[1:].lower() not in formats:
        raise UsageError(
            f"{option}: expected a file named .png, .pdf or .svg, "
            f"got {repr(extension) if extension else 'no extension'}"
        )


def draw(option, path, density, params, columns, x=None):
    """Data against samples; with two columns the log-density too.

    Parameters
    ----------
    option : str
        What errors are blamed on.
    path : path-like
        Written whole or not at all.
    density : Density
    params : nested dicts and lists of arrays
    columns : sequence of str
    x : (N, D) array, optional
        Rows to compare with.
    """
    from nfref import plots

    # Pictures of the same model are the same, so the seed is not worth an option.
    rng = np.random.default_rng(0)
    # $ starts a formula; a long name would be most of the picture, and of the time it takes.
    columns = [
        printable(column if len(column) <= LONGEST else f"{column[: LONGEST - 3]}...").replace(
            "$", r"\$"
        )
        for column in columns
    ]
    if x is not None and len(x) > SAMPLES:
        x = x[np.sort(rng.permutation(len(x))[:SAMPLES])]
    try:
        with np.errstate(all="ignore"):
            if density.dim == 2:
                figure = plots.triptych(density, params, x, rng=rng, columns=columns)
            else:
                samples = density.sample(params, rng, SAMPLES if x is None else len(x))
                figure = plots.corner(x, samples, columns)
            plots.save(figure, path)
    except ValueError as error:
        raise UsageError(f"{option}: no picture of this model: {error}") from None
