"""Choose supports by one rule: which columns of numbers are positive, or bounded.

A density of a column of numbers that are all above 0 has negative samples, unless its support is
the half-line. So each real column for which no support is asked may have a natural end, which is
never the smallest or largest of its own values:

    above 0         if all values are; a rounded column that holds 0 begins half a step below it
    below 0         likewise
    0:1, 0:100      if all values are inside, and some come near the upper end

The column takes the half-line if its middle is within ``NEAR`` robust scales of the end. Farther
away a logarithm hardly prevents anything and bends relations between columns. It also takes it if a
logarithm makes its values more normal, by more than chance: if x and y = log x are both normal, y
gains

    log sd(x) - log sd(y) + mean of log dy/dx

nats a row. It takes an interval if ``EXPECTED`` of its values should lie beyond the upper end were
they normal, and none does: if the end is not real, a later value beyond it has density 0.
``--column NAME=real`` and ``columns={"NAME": "real"}`` ask for the line.
"""

from dataclasses import replace
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from nfref.runtime.annotations import Any, Array, Mapping, Sequence
from nfref.tables.densities.pool import mean_and_error
from nfref.tables.schema.columns import Continuous, is_missing, to_line

LEAST_ROWS = 50  # fewest values that can choose
NEAR = 3.5  # robust scales from the middle of a column to an end that it comes near
ERRORS = 2.0  # standard errors of a gain that is not by chance
EXPECTED = 5.0  # values beyond an upper end, of which none is there, that speak for the end
UPPER_ENDS = (1.0, 100.0)
REACHED = 0.9  # part of an upper end that some value has to reach


class Supports(NamedTuple):
    """Columns with supports, and those that were chosen in words."""

    columns: tuple[Any, ...]
    notes: list[str]


def choose_supports(
    columns: Sequence[Any],
    table: Sequence[Array],
    *,
    asked: Mapping[str, Any] | None = None,
    given: Sequence[str] = (),
    weight: Array | None = None,
    ends: Mapping[str, tuple[float, float]] | None = None,
) -> Supports:
    """Choose the supports of real columns for which none is asked.

    Parameters
    ----------
    columns : sequence of Continuous, Category or Count
    table : sequence of (N,) arrays
        The columns' values, NaN where a cell is empty.
    asked : mapping, optional
        name -> support, or None for a column without one.
    given : sequence of str
        Given columns, which stay as they are; the others may be linear in them.
    weight : (N,) array, optional
        Weight of each row, above 0.
    ends : mapping, optional
        name -> (least, largest) value of all rows, if the table has some of them.

    Returns
    -------
    Supports
    """
    asked, ends = asked or {}, ends or {}
    found, notes = list(columns), []
    for k, column in enumerate(columns):
        name = column.name
        if not isinstance(column, Continuous) or column.kind != "real":
            continue
        if asked.get(name) is not None or name in given:
            continue
        values = np.asarray(table[k], np.float64)
        there = ~is_missing(values) & (column.code(values) == 0)
        values = values[there]
        if len(values) < LEAST_ROWS:
            continue
        share = np.ones(len(values)) if weight is None else weight[there]
        low, high = _support(column, values, share, ends.get(name, ()))
        if np.isfinite(low) or np.isfinite(high):
            found[k] = replace(column, low=low, high=high).in_units_of(values, share)
            kinds = {(True, False): "positive", (False, True): "negative"}
            kind = kinds.get((np.isfinite(low), np.isfinite(high)), found[k].kind)
            notes.append(f"{name!r} {kind}")
    return Supports(tuple(found), notes)


def _support(column, values, weight, ends):
    """Return the ends (low, high) of the support that the rule gives to a column."""
    column = column.in_units_of(values, weight)
    others = np.array(ends)
    every = np.append(values, others[column.code(others) == 0])
    least, largest = np.min(every), np.max(every)
    low, high = _end(column, least, 0.0, -1), _end(column, largest, 0.0, 1)
    if low is not None:
        upper = _upper_end(column, values, weight, largest)
        if upper is not None or _takes_half_line(column, values, weight, low, np.inf):
            return low, np.inf if upper is None else upper
    elif high is not None and _takes_half_line(column, values, weight, -np.inf, high):
        return -np.inf, high
    return -np.inf, np.inf


def _end(column, value, at, side):
    """Return an end that a value at it may pass by half a step; None if values are beyond."""
    if side * (at - value) > 0:
        return at
    return at + side * column.step / 2 if value == at and column.step else None


def _takes_half_line(column, values, weight, low, high):
    """Return whether a column comes near its end, or is more normal as a logarithm."""
    end = low if np.isfinite(low) else high
    if abs(column.middle - end) <= NEAR * column.scale:
        return True
    real, bounded = (
        _normal_scores(*to_line(values, *support), weight)
        for support in ((-np.inf, np.inf), (low, high))
    )
    gain, error = mean_and_error(bounded - real, weight)
    return gain > ERRORS * error


def _normal_scores(y, log_slope, weight):
    """Return the log-density in x of each row by the normal of y, (N,), but for a constant."""
    size = np.max(np.abs(y))  # the square of a value may overflow
    y = y / size
    mean = np.average(y, weights=weight)
    variance = np.average((y - mean) ** 2, weights=weight)
    return log_slope - np.log(size) - 0.5 * (np.log(variance) + (y - mean) ** 2 / variance)


def _upper_end(column, values, weight, largest):
    """Return the upper end of an interval from 0 on; None if there is none."""
    for upper in UPPER_ENDS:
        high = _end(column, largest, upper, 1)
        if high is not None and largest >= REACHED * upper:
            mean = np.average(values, weights=weight)
            deviation = np.sqrt(np.average((values - mean) ** 2, weights=weight))
            beyond = 1 - NormalDist(mean, deviation).cdf(high)
            if np.sum(weight) * beyond >= EXPECTED:
                return high
    return None
