"""Group equal rows, and read weights as numbers of copies."""

import math

import numpy as np

from nfref.runtime.annotations import Array
from nfref.tables.reading.sampling import GOLDEN, mixed

# Up to which weights are seen to be whole numbers times a constant: the least, and the largest.
LARGEST_DIVISOR, LARGEST_COUNT = 100, 1e8


def grouped_rows(values: Array, seed: int) -> tuple[Array, Array]:
    """One of each set of equal rows, in an order of its own, and which of these each row equals.

    The order looks random, and is decided by ``seed`` and by the ranks of the numbers in their
    columns alone: not by how rows stand in the table, nor by whether a row repeats, nor by the
    units of a column. So parts that are cut from it hold no copies of each other's rows, and whole
    weights make the same parts as repeated rows do.

    Parameters
    ----------
    values : (N, D) array
    seed : int

    Returns
    -------
    places : (M,) array
        Of the rows that are kept.
    group : (N,) array
        The place of each row's equal among these.
    """
    ranks = np.stack(
        [np.unique(column, return_inverse=True)[1] for column in np.asarray(values, np.float64).T],
        axis=1,
    ).astype(np.uint64)
    keys = np.full(len(values), seed % 2**64, np.uint64)
    for column in ranks.T:
        keys = mixed(keys + GOLDEN ^ column)
    order = np.argsort(keys, kind="stable")
    ordered = ranks[order]
    first = np.ones(len(order), bool)
    first[1:] = np.any(ordered[1:] != ordered[:-1], axis=1)
    group = np.empty(len(order), np.int64)
    group[order] = np.cumsum(first) - 1
    return order[first], group


def distinct_rows(values: Array, weight: Array | None, seed: int) -> tuple[Array, Array]:
    """One of each set of equal rows, in the order of :func:`grouped_rows`, and what they count.

    Parameters
    ----------
    values : (N, D) array
    weight : (N,) array or None
        What each row counts, above 0.
    seed : int

    Returns
    -------
    places : (M,) array
        Of the rows that are kept.
    weight : (M,) array
        What they count with their copies.
    """
    places, group = grouped_rows(values, seed)
    return places, np.bincount(group, weight, len(places)).astype(np.float64)


def as_counts(weight: Array | None) -> Array | None:
    """Weights as numbers of rows: all that matters is their ratios.

    Whole numbers times any constant are the least whole numbers of these ratios, and as good as so
    many copies of each row. Other weights add up to the effective number of rows,
    (sum w)^2 / sum w^2 (Kish 1965); they keep seven digits, so that it makes no difference how
    products with a constant were rounded.

    Parameters
    ----------
    weight : (N,) array or None
        Above 0.
    """
    if weight is None:
        return None
    ratio = weight / np.max(weight)
    least = np.min(ratio)
    if least > 1 / LARGEST_COUNT:
        for divisor in range(1, LARGEST_DIVISOR + 1):
            counts = ratio * (divisor / least)
            whole = np.round(counts)
            if np.all(np.abs(counts - whole) < 1e-6):
                return whole
    digits, exponent = np.frexp(ratio)
    ratio = np.ldexp(np.round(digits * 2.0**24) / 2.0**24, exponent)
    return ratio * (math.fsum(ratio) / math.fsum(ratio**2))


def effective_rows(weight, rows):
    """(sum w)^2 / sum w^2: so many rows of equal weight say as much, whatever their unit."""
    if weight is None:
        return float(rows)
    weight = np.ldexp(weight, -np.frexp(np.max(weight))[1])
    return float(np.sum(weight) ** 2 / np.sum(weight**2))
