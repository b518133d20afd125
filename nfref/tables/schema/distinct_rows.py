"""Tell equal rows: groups of them, weights as numbers of copies, and fingerprints."""

import base64
import math

import numpy as np

from nfref.runtime.annotations import Any, Array, Sequence
from nfref.runtime.hashing import GOLDEN, mixed

# The largest divisor and count for which weights are recognised as multiples of whole numbers.
LARGEST_DIVISOR, LARGEST_COUNT = 100, 1e8
KEPT_KEYS = 20_000  # most rows that a model file recognises


def grouped_rows(values: Array, seed: int) -> tuple[Array, Array]:
    """Group equal rows, in an order that only their content and the seed decide.

    The order looks random. The ranks of numbers within their columns decide it: not the order of
    the table, not copies of a row, not the units of a column. So parts that are cut from it never
    share copies of a row, and whole weights give the same parts as repeated rows.

    Parameters
    ----------
    values : (N, D) array
    seed : int

    Returns
    -------
    places : (M,) array
        One row of each group.
    group : (N,) array
        The group that each row belongs to.
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
    """Return one row of each group of equal rows, and the weight of each group.

    Parameters
    ----------
    values : (N, D) array
    weight : (N,) array or None
        Weight of each row, above 0.
    seed : int

    Returns
    -------
    places : (M,) array
        One row of each group, in the order of :func:`grouped_rows`.
    weight : (M,) array
        Sums over groups.
    """
    places, group = grouped_rows(values, seed)
    return places, np.bincount(group, weight, len(places)).astype(np.float64)


def as_counts(weight: Array | None) -> Array | None:
    """Return weights as numbers of copies.

    Whole numbers up to 1e8 are counts of copies. Of all other weights only the ratios matter.
    Multiples of whole numbers become the smallest whole numbers with the same ratios. The rest are
    scaled to sum to the effective number of rows, (sum w)^2 / sum w^2 (Kish 1965). They keep seven
    digits, so that the rounding of a common factor makes no difference.

    Parameters
    ----------
    weight : (N,) array or None
        Above 0.
    """
    if weight is None:
        return None
    if np.max(weight) <= LARGEST_COUNT and np.array_equal(weight, np.round(weight)):
        return np.asarray(weight, np.float64)
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


def effective_rows(weight: Array | None, rows: int) -> float:
    """Return the effective number of rows, (sum w)^2 / sum w^2, whatever the unit of weights."""
    if weight is None:
        return float(rows)
    # Checked weights have squares that sum up, but those of a part of the rows may vanish.
    weight = np.ldexp(weight, -np.frexp(np.max(weight))[1])
    return float(np.sum(weight) ** 2 / np.sum(weight**2))


# Fingerprints -----------------------------------------------------------------------------
#
# A row that a density was fitted to looks likelier than it is. So a detector keeps the fingerprint
# of each such row with its out-of-fold log-likelihood. A model file keeps the fingerprints of the
# rows that were kept for the test, or of all rows that it was fitted to.


def keys_of(density: Any, table: Sequence[Array]) -> Array:
    """Return a fingerprint of each row, (N,) of uint64; rows have no missing cells.

    Equal rows have equal fingerprints; different ones have equal fingerprints by an accident of 1
    in 2^64.
    """
    codes, u, _ = density.encode(table)
    found = np.zeros(len(codes), np.uint64)
    for column in (np.concatenate([codes, u], axis=1) + 0.0).T:  # + 0.0 turns -0.0 into 0.0
        found = mixed(found + GOLDEN ^ np.ascontiguousarray(column).view(np.uint64))
    return found


def as_text(keys: Array) -> str:
    """Return keys as text for JSON."""
    return base64.b64encode(np.sort(keys).astype("<u8").tobytes()).decode()


def of_text(text: Any) -> Array:
    """Return keys from text; none if the text is malformed."""
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), "<u8").astype(np.uint64)
    except (TypeError, ValueError):
        return np.zeros(0, np.uint64)
