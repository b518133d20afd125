"""Lattices: columns whose values are offset + step k with whole k, as rounding leaves them.

A density may be as high as it likes on values that come again, and learns nothing by it. So values
on a lattice are spread over their cells, offset + step (k +- 1/2), before any density is fitted to
them or chosen by them (dequantisation; Theis, van den Oord and Bethge 2016), and what is drawn goes
back to the middle of its cell.

Where values lie on no lattice, but one of them comes again and again, as exact zeros do among
amounts, that one has a cell, and the others have none.
"""

import numpy as np

from nfref.runtime.annotations import Array

FINEST = 1e-8  # a lattice is no finer than this part of the spread of half the values
LEAST_VALUES = 3  # that differ, or each is there ten times and
CELLS = 1000  # the lattice has so many points at most
EVIDENCE = 20.0  # nats against a lattice by chance
COPIES = 3  # rounding parts a point into so many values at most
DIGITS = 12

OFTEN = 0.1  # of the rows hold a value that has a cell to itself, at least
OTHERS = 10  # values that differ beside it, at least
CELL = 0.02  # its size, in the interquartile range of the others


def find_rounding_grid(values: Array) -> tuple[float, float] | None:
    """(step, offset) of the lattice that finite numbers lie on, or None.

    Exactly but for rounding, of float64, or of float32 where all are numbers of it; its own grid is
    no lattice, and neither is one so fine that it shows in no density.

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
    """The same of ascending values that are ``rounding`` beside a lattice at most."""
    distinct = len(v)
    v = v[np.append(True, np.diff(v) > 2 * rounding)]  # those that rounding has parted are one
    if len(v) < 2 or distinct > COPIES * len(v):  # beside 1e20 all others would be one
        return None
    gaps = np.diff(v)
    least = max(least, 20 * rounding, FINEST * (v[-1 - len(v) // 4] - v[len(v) // 4]))
    # The greatest common divisor of the gaps: as Euclid's, by what is left of all at once.
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
    # Gaps of few steps say how long one is, before those of many are counted in it.
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
    offset = (
        np.mean(v - step * np.round(v / step))
        if _near(v, step, rounding)
        else (v[0] - step * np.floor(v[0] / step))
    )
    return step, _shortest(offset, 2 * rounding)


def spike_of(values: Array, weight: Array | None = None) -> tuple[float, float] | None:
    """(size, middle) of the cell of one value that comes again and again, or None.

    Nats of the rows in it are those of a cell of that size, however many there are.

    Parameters
    ----------
    values : (N,) array
        Finite numbers that lie on no lattice.
    weight : (N,) array, optional
        What each counts.
    """
    distinct, place = np.unique(values, return_inverse=True)
    mass = np.bincount(place.reshape(-1), weight)
    most = np.argmax(mass)
    if len(distinct) <= OTHERS or mass[most] < OFTEN * np.sum(mass) or mass[most] <= np.min(mass):
        return None
    others, value = np.delete(distinct, most), float(distinct[most])
    with np.errstate(over="ignore"):
        size = CELL * float(others[-1 - len(others) // 4] - others[len(others) // 4])
    return (size, value) if 20 * np.spacing(abs(value)) < size < np.inf else None


def _near(v, step, rounding):
    """Whether values are multiples of the step."""
    return np.max(np.abs(v - step * np.round(v / step))) <= 4 * rounding


def _shortest(number, tolerance):
    """The number with the fewest digits that is as near as this."""
    if abs(number) <= tolerance:
        return 0.0
    for digits in range(1, DIGITS + 1):
        short = float(f"{number:.{digits}g}")
        if abs(short - number) <= tolerance:
            return short
    return float(number)


def nearest(
    x: Array, step: float, offset: float, low: float = -np.inf, high: float = np.inf
) -> Array:
    """The points of a lattice next to numbers, (N,), strictly between two ends.

    Decimal ones are as they are written.

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
    for digits in range(DIGITS):
        scaled = np.array([step, offset]) * 10.0**digits
        if np.all(np.abs(scaled - np.round(scaled)) <= 1e-13 * np.maximum(np.abs(scaled), 1)):
            found = np.round(found, digits)
            break
    # Far out all numbers are on it, and nothing is left to round.
    return np.where(np.abs(k) < 2**52, found, x)
