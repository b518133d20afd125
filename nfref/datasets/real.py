"""The one real table that comes with the package."""

from importlib import resources

import numpy as np

from nfref.runtime.annotations import Array


def wine(raw: bool = False) -> tuple[Array, tuple[str, ...]]:
    """White wine quality: 11 physicochemical measurements of Portuguese *vinho verde*.

    Exact duplicate rows, 19 % of the table, are dropped, because a row that is both in a
    training and in a test part would be rewarded for being remembered. The quality mark is
    left out. Rows stay in the order of the file.

    Source: Cortez et al. 2009, Decision Support Systems 47(4):547-553; UCI Machine Learning
    Repository, CC BY 4.0 (``nfref/datasets/ATTRIBUTION.rst``).

    Parameters
    ----------
    raw : bool
        Give the table as it was published: all rows, and the quality mark as last column.

    Returns
    -------
    values : (3961, 11) float64 array, or (4898, 12) where ``raw``
    columns : tuple of str
    """
    file = resources.files("nfref.datasets") / "winequality-white.csv"
    header, *lines = file.read_text(encoding="ascii").splitlines()
    columns = tuple(name.strip('"') for name in header.split(";"))
    values = np.loadtxt(lines, delimiter=";")
    if raw:
        return values, columns
    _, first = np.unique(values, axis=0, return_index=True)
    return values[np.sort(first), :-1], columns[:-1]
