"""Repeated values of a real column: the grid that rounding leaves, and atoms.

A density can grow without bound on values that repeat, which teaches nothing. So rounded values,
offset + step k with whole k, are dequantised (Theis, van den Oord and Bethge 2016): spread over
their cells, offset + step (k +- 1/2), before a density is fitted or chosen. Samples go back to the
middle of their cells.

Atoms are values that many rows share, such as the zeros of amounts. A density has no share of rows
at a single value. So a column with atoms has a code, which says "continuous" or which atom, and
codes are modelled as a category:

    log p(row) = log P(d, a) + log p(u | d, a) + sum_j log du_j/dx_j        (continuous values)

a are the codes of the columns with atoms. Rows pass as follows:

    find_columns    finds the atoms of each column that is not given
    Continuous      u and units of the values beside the atoms; a noise u at an atom
    TableDensity    the code is one of the discrete columns, and context of the pool
    samples         the code decides whether x is the atom, or comes from u

At an atom nothing is left to say about the column, so u is standard normal noise there, which the
pool learns, and its log-density is taken off the row's. As rounded values, atoms are spread over a
cell. The cell is so narrow that no other value is in it; the place in it decides the noise:

    x = atom + h (2 Phi(u) - 1)        log of mass over density: (u^2 + log 2 pi) / 2

The score of a row at an atom is therefore the log of a probability, times the density of the
continuous columns; no size of a cell enters.
"""

from functools import lru_cache

import numpy as np

from nfref.runtime.annotations import Any, Array
from nfref.tables.schema.distinct_rows import as_counts

# Grids ------------------------------------------------------------------------------------

FINEST = 1e-8  # smallest step, as a share of the spread of half the values
LEAST_VALUES = 3  # fewest distinct values, or each must occur ten times
CELLS = 1000  # most points of a grid
EVIDENCE = 20.0  # nats against a grid by chance
COPIES = 3  # most values into which rounding splits one point
DECIMALS = 12  # most decimals, or digits, of a step


def find_rounding_grid(values: Array) -> tuple[float, float] | None:
    """Return (step, offset) of the grid that finite numbers lie on, or None.

    Numbers match up to the rounding of float64, or of float32 if all are float32 numbers. The grid
    of floating point itself does not count, nor does one too fine to show in a density.

    Parameters
    ----------
    values : (N,) array
    """
    values = np.asarray(values, np.float64)
    distinct = np.unique(values)
    largest = np.max(np.abs(distinct))
    if len(distinct) < 2 or not largest < np.finfo(np.float32).max:
        return None
    single = float(np.spacing(np.float32(largest)))
    found = _lattice(distinct, 4 * np.spacing(largest), 1.5 * single, len(values))
    if found is None and np.all(distinct == distinct.astype(np.float32)):
        found = _lattice(distinct, single, 20 * single, len(values))
    return found


def _lattice(v, rounding, least, rows):
    """Return the grid of ascending values that are off it by at most ``rounding``."""
    distinct = len(v)
    v = v[np.append(True, np.diff(v) > 2 * rounding)]  # values that rounding split are one
    if len(v) < 2 or distinct > COPIES * len(v):  # beside 1e20 all others would be one value
        return None
    gaps = np.diff(v)
    least = max(least, 20 * rounding, FINEST * (v[-1 - len(v) // 4] - v[len(v) // 4]))
    # The greatest common divisor of the gaps, by Euclid's remainders of all gaps at once.
    step, error = np.min(gaps), 2 * rounding
    while True:
        if step < least:
            return None
        count = np.round(gaps / step)
        left = np.abs(gaps - step * count)
        slack = 2 * rounding + count * error
        wrong = left > slack
        if not np.any(wrong):
            break
        surest = np.argmin(np.where(wrong, count, np.inf))
        step, error = left[surest], slack[surest]
    # Gaps of few steps fix the step before gaps of many steps count in it.
    sure = 4 * slack < step
    if not np.any(sure):
        return None
    step = gaps[sure] @ count[sure] / (count[sure] @ count[sure])
    k = np.concatenate([[0], np.cumsum(np.round(gaps / step))])
    middle = k - np.mean(k)
    step = middle @ (v - np.mean(v)) / (middle @ middle)
    if np.max(np.abs(v - np.mean(v) - step * middle)) > 2 * rounding:
        return None
    by_chance = 2 * np.log(k[-1]) - (len(v) - 2) * np.log(step / (8 * rounding))
    repeated = rows >= 10 * len(v) and k[-1] <= CELLS
    if not (repeated or len(v) >= LEAST_VALUES and by_chance < -EVIDENCE):
        return None
    step = _shortest(step, rounding / k[-1])
    beyond = v - step * np.round(v / step)
    multiples = np.max(np.abs(beyond)) <= 4 * rounding
    offset = np.mean(beyond) if multiples else v[0] - step * np.floor(v[0] / step)
    return step, _shortest(offset, 2 * rounding)


def _shortest(number, tolerance):
    """Return the number with the fewest digits within a tolerance."""
    if abs(number) <= tolerance:
        return 0.0
    for digits in range(1, DECIMALS + 1):
        short = float(f"{number:.{digits}g}")
        if abs(short - number) <= tolerance:
            return short
    return float(number)


def nearest(
    x: Array, step: float, offset: float, low: float = -np.inf, high: float = np.inf
) -> Array:
    """Return the grid points next to numbers, (N,), strictly between two ends.

    Decimal points have the float64 that their decimal text has.

    Parameters
    ----------
    x : (N,) array
    step, offset : float
    low, high : float
    """
    with np.errstate(over="ignore"):
        k = np.round((x - offset) / step)
    k = np.clip(k, np.floor((low - offset) / step) + 1, np.ceil((high - offset) / step) - 1)
    found = offset + step * np.where(np.abs(k) < 2**52, k, 0)
    digits = decimals(step, offset)
    found = found if digits is None else np.round(found, digits)
    # Far out every float is on the grid: nothing is left to round.
    return np.where(np.abs(k) < 2**52, found, x)


@lru_cache
def decimals(step: float, offset: float) -> int | None:
    """Return the fewest decimals with which step and offset are written; None if they are many."""
    for digits in range(DECIMALS):
        scaled = np.array([step, offset]) * 10.0**digits
        if np.all(np.abs(scaled - np.round(scaled)) <= 1e-13 * np.maximum(np.abs(scaled), 1)):
            return digits
    return None


# Atoms ------------------------------------------------------------------------------------

ATOM_ROWS = 10  # fewest rows of an atom
ATOM_SHARE = 0.01  # smallest share of the rows
ATOM_TIMES = 5.0  # how much more often than any other value an atom comes
OTHERS = 10  # fewest distinct values beside atoms: fewer are a discrete column
MOST_ATOMS = 3  # of a column
HALF_CELL = 2.0**20  # floats in half of a cell


def find_atoms(values: Array, weight: Array | None = None) -> tuple[float, ...]:
    """Return the atoms of a column, ascending.

    An atom is ``ATOM_TIMES`` as frequent as every value that is none. So the frequent values of a
    rounded column are not atoms: its next ones are nearly as frequent.

    Parameters
    ----------
    values : (N,) array
        Finite numbers.
    weight : (N,) array, optional
    """
    distinct, place = np.unique(values, return_inverse=True)
    mass = np.bincount(place.reshape(-1), as_counts(weight))
    order = np.argsort(-mass, kind="stable")
    for count in range(min(MOST_ATOMS, len(distinct) - OTHERS), 0, -1):
        least, next_one = mass[order[count - 1]], mass[order[count]]
        if least >= max(ATOM_ROWS, ATOM_SHARE * np.sum(mass)) and least >= ATOM_TIMES * next_one:
            return tuple(np.sort(distinct[order[:count]]).tolist())
    return ()


def cell_of(atom: Any) -> Any:
    """Return half the size of the cell of an atom."""
    return HALF_CELL * np.spacing(np.maximum(np.abs(atom), 1e-200))


def atom_numbers(x: Array, atoms: Array) -> Array:
    """Return the number of the atom whose cell holds each value, from 1 on; 0 for none. (N,)."""
    found = np.zeros(len(x), np.int64)
    for number, atom in enumerate(atoms, 1):
        found[np.abs(x - atom) <= cell_of(atom)] = number
    return found


def from_noise(atom: Array, part: Array) -> Array:
    """Return x in the cell of an atom, at a ``part`` of the cell, in [0, 1]."""
    return atom + cell_of(atom) * (2 * np.asarray(part) - 1)


def to_noise(x: Array, atom: float) -> tuple[Array, Array]:
    """Return (u, log of mass over density of u), (N,) each, of values in the cell of an atom."""
    from scipy.special import ndtri

    part = 0.5 + 0.5 * (x - atom) / cell_of(atom)
    u = ndtri(np.clip(part, 0.5 / HALF_CELL, 1 - 0.5 / HALF_CELL))
    return u, 0.5 * (u**2 + np.log(2 * np.pi))
