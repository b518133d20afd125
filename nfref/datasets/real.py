"""The real table in the package."""

from importlib import resources

import numpy as np

from nfref.runtime.annotations import Array


def wine(raw: bool = False) -> tuple[Array, tuple[str, ...]]:
    """Return white wine quality: 11 physicochemical measurements of Portuguese *vinho verde*.

    Exact duplicate rows, 19 % of the table, are dropped: a row in both the training and the test
    part would reward memorisation. The quality mark is omitted. Rows stay in the order of the
    file.

    Source: Cortez et al. 2009, Decision Support Systems 47(4):547-553; UCI Machine Learning
    Repository, CC BY 4.0 (``nfref/datasets/ATTRIBUTION.rst``).

    Parameters
    ----------
    raw : bool
        Return the table as published: all rows, and the quality mark as last column.

    Returns
    -------
    values : (3961, 11) float64 array, or (4898, 12) if ``raw``
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
