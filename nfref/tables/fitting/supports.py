"""Choose supports by held-out scores: which columns of numbers are positive, or bounded.

A density of a column of numbers that are all above 0 has negative samples, unless its support is
the half-line. So each real column for which no support is asked has a bounded candidate
(:mod:`nfref.tables.fitting.column_support`). It gains gain_j nats a row if the column stands alone,
and tie_j is what a tie is worth.

Supports also change what columns say about each other: if one column is the sum of two others, its
logarithm is not the sum of theirs. So a few proposals compete by mixtures of all columns, again in
halves: all real; all bounded; those with gain_j + tie_j > 0; and the best local maxima of

    sum_j bounded_j (gain_j + tie_j) - log det(R) / 2

with R the correlations of all u, since normal columns share -log det(R) / 2 nats. The local
maxima are found by changes of one column at a time, from all real and from those that gain alone.
Some columns of the best proposal may neither have a tie nor gain ``SURE`` standard errors alone,
such as the temperatures of a summer. They have to gain two standard errors together, since they may
be above 0 by chance.

Beyond ``LOG_ROWS`` rows no column takes logarithms for their gain: with many rows flows and
mixtures learn the shape, and the few rows that decide here do not show that (a wine table of 3,500
rows lost 0.13 nats).

Then a column above 0 that is still real takes the soft half-line if a share ``IMPOSSIBLE`` of the
mixture of all columns is below 0, unless these columns lose more than two standard errors. That map
leaves all but the lowest values as they are. With fewer than ``ROWS_A_COLUMN`` rows a column,
mixtures of all columns cannot be compared. Then columns that have impossible samples by themselves
take soft half-lines, unless these lose by the formula. ``--column NAME=real`` and
``columns={"NAME": "real"}`` ask for the line.

Last, the sum of some columns above 0 may have a limit, as that of shares of a whole, all but one,
which is at most 1 or 100 (:mod:`nfref.tables.densities.limited_sum`). The largest sum of their
values has to be below the limit and near it, and far more than ``EXPECTED`` rows should lie beyond
it by the mixture of all columns. Of several sets of columns the one that this holds for most
clearly counts.
"""

from dataclasses import replace
from itertools import product
from typing import NamedTuple

import numpy as np

from nfref.runtime.annotations import Any, Array, Mapping, Sequence
from nfref.tables.densities.limited_sum import LimitedSum
from nfref.tables.densities.pool import mean_and_error
from nfref.tables.fitting.column_support import (
    ERRORS,
    EXPECTED,
    LEAST_ROWS,
    NEAR,
    UPPER_ENDS,
    Chosen,
    bounded_supports,
    softened,
)
from nfref.tables.fitting.cross_fit import CrossFit, some_rows
from nfref.tables.schema.columns import Continuous, is_missing
from nfref.tables.schema.distinct_rows import as_counts, distinct_rows

MOST_COLUMNS = 100  # most columns of numbers that have a choice: the correlations of more cost much
ROWS_A_COLUMN = 20  # fewest rows a column that choose
RIDGE = 1e-10  # added to correlations, whose columns may nearly depend on each other
LOG_ROWS = 2000  # most rows for which logarithms are taken for their gain
START_NOISE = 0.1  # nats by which the starts of EM change a score
SWEEPS = 5  # most times that each column may change
ALL_COMPONENTS = (6,)  # of the mixtures of all columns
SUMMED = 10  # most columns whose subsets are summed; more are summed as a whole
ROUNDING = 1e-9  # of sums, as a share
SAMPLES = 20_000  # of the mixture of all columns, to see which sums pass a limit


class Supports(NamedTuple):
    """Columns with supports, those that were chosen, and the limit of a sum of columns or None."""

    columns: tuple[Any, ...]
    chosen: list[Chosen]
    limit: LimitedSum | None = None

    @property
    def notes(self) -> list[str]:
        """The choices in words."""
        sums = [] if self.limit is None else [f"sum {self.limit}"]
        return [*map(str, self.chosen), *sums]


def choose_supports(
    columns: Sequence[Any],
    table: Sequence[Array],
    seed: int,
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
    seed : int
        The same values and seed give the same supports, whatever the order of the rows.
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
    own = [k for k, column in enumerate(columns) if isinstance(column, Continuous)]
    if not 0 < len(own) <= MOST_COLUMNS:
        return Supports(tuple(columns), [])
    # Copies of a row are one row with a weight, so both give the same bits.
    numbers = np.stack([np.asarray(table[k], np.float64) for k in own], axis=1)
    places, weight = distinct_rows(numbers, as_counts(weight), seed)
    values = list(numbers[places].T)
    there = [~is_missing(cells) for cells in values]
    real = [
        columns[k].in_units_of(cells[known], weight[known])
        for k, cells, known in zip(own, values, there)
    ]
    free = [
        k
        for k, column in enumerate(real)
        if column.kind == "real" and asked.get(column.name) is None and column.name not in given
    ]
    found: list[Chosen | None] = [None] * len(real)
    alone = [(real[k], values[k][there[k]], weight[there[k]], ends.get(real[k].name)) for k in free]
    for k, one in zip(free, bounded_supports(alone, seed)):
        found[k] = one
    positive = [
        k
        for k, one in enumerate(found)
        if one is not None and one.column.low >= -(one.column.step or 0.0) / 2
    ]
    positive += [
        k for k, one in enumerate(real) if one.low == 0 and one.period is None and not given
    ]
    if not any(found) and len(positive) < 2:
        return Supports(tuple(columns), [])
    whole = ~np.any([is_missing(cells) for cells in values], axis=0)
    if np.sum(whole) < max(LEAST_ROWS, ROWS_A_COLUMN * len(own)):
        return _supports(columns, _softened_alone(real, found, values, weight))
    chosen, best = _together(real, found, values, weight, whole, seed)
    limit = None if given else _limited_sum(best, sorted(positive), values, weight)
    return _supports(columns, chosen, limit)


def _supports(columns, chosen, limit=None):
    """Return the Supports with the chosen columns in place of real ones."""
    by_name = {one.column.name: one.column for one in chosen}
    return Supports(tuple(by_name.get(column.name, column) for column in columns), chosen, limit)


# Few rows ---------------------------------------------------------------------------------


def _softened_alone(real, found, table, weight):
    """Return the columns with soft ends, chosen without densities of all columns."""
    soft = [one and softened(one, one.impossible) for one in found]
    chosen = [now for now in soft if now]
    if not chosen:
        return []
    changed = [now.column if now else column for now, column in zip(soft, real)]
    after, before = (_shared(_correlations(columns, table, weight)) for columns in (changed, real))
    gain = sum(now.gain for now in chosen) + after - before
    return chosen if gain > -START_NOISE else []


# Columns together -------------------------------------------------------------------------


def _together(real, found, values, weight, whole, seed):
    """Return (the chosen columns, a fit of all columns), by mixtures of ``whole`` rows."""
    if np.sum(whole) > LOG_ROWS:
        found = [
            one if one is None or np.isfinite(one.column.high) else replace(one, gain=-np.inf)
            for one in found
        ]
    some = some_rows(real, [one[whole] for one in values], weight[whole], seed)
    proposals = _proposals(real, found, values, weight) if any(found) else [[False] * len(real)]
    fits = _fitted(proposals, real, found, some)
    taken, best = _best(fits, real, found, some)
    fit = fits[(False,) * len(real)]
    chosen = [one for one, takes in zip(found, taken) if takes]
    return chosen + _softened_together(found, taken, fit, best, some), best


def _softened_together(found, taken, fit, best, some):
    """Return the columns with soft ends, chosen by mixtures of all columns."""
    soft = [
        None if takes or one is None else softened(one, fit.mass_outside(one.column.low, np.inf, k))
        for k, (one, takes) in enumerate(zip(found, taken))
    ]
    chosen = [one for one in soft if one]
    if not chosen:
        return []
    columns = [one.column if one else now for now, one in zip(best.columns, soft)]
    scores = CrossFit.of(columns, some, ALL_COMPONENTS).scores
    gain, error = mean_and_error(scores - best.scores, some[1])
    return chosen if gain > -ERRORS * error - START_NOISE else []


def _fitted(proposals, real, found, some):
    """Return the fit of each proposal: which columns are bounded, a tuple -> CrossFit."""
    keys = [tuple(map(bool, taken)) for taken in proposals]
    tables = [(_taken(real, found, key), some) for key in keys]
    return dict(zip(keys, CrossFit.of_each(tables, ALL_COMPONENTS)))


def _best(fits, real, found, some):
    """Return the proposal with the best scores, and its fit."""
    best: Any = None
    fit = fits[(False,) * len(real)]
    for taken, own in fits.items():
        gain, error = mean_and_error(own.scores - fit.scores, some[1])
        tie = any(one.tie > 0 for one, takes in zip(found, taken) if takes)
        value = gain + ERRORS * error * tie
        if best is None or value > best[0]:
            best = value, taken
    taken = best[1]
    evident = tuple(takes and one.evident for one, takes in zip(found, taken))
    if evident != taken:
        if evident not in fits:
            fits.update(_fitted([evident], real, found, some))
        gain, error = mean_and_error(fits[taken].scores - fits[evident].scores, some[1])
        taken = taken if gain > ERRORS * error else evident
    return taken, fits[taken]


def _shared(correlations):
    """Return the nats a row that normal columns share, -log det(R) / 2."""
    return -0.5 * np.linalg.slogdet(correlations)[1]


def _correlations(columns, table, weight):
    """Return the correlations of the columns in their units, (D, D), with a small ridge."""
    u, share = _coordinates(columns, table), weight / np.sum(weight)
    u = u - share @ u
    u = np.sqrt(share)[:, None] * u / np.sqrt(share @ u**2)
    return u.T @ u + RIDGE * np.eye(u.shape[1])


def _coordinates(columns, table):
    """Return the rows in the columns' units, with the middle for cells that are missing, (N, D)."""
    filled = [
        np.where(is_missing(values), column.decode(np.zeros(1)), values)
        for column, values in zip(columns, table)
    ]
    return np.stack([column.encode(own)[0] for column, own in zip(columns, filled)], axis=1)


def _taken(real, found, taken):
    """Return the columns, bounded where ``taken`` (D,)."""
    return [one.column if takes else column for column, one, takes in zip(real, found, taken)]


def _proposals(real, found, table, weight):
    """Return which columns could be bounded, in some proposals, (P, D) of bool."""
    gains = np.array([-np.inf if one is None else one.gain + one.tie for one in found])
    every, none = gains > -np.inf, np.zeros(len(real), bool)
    proposals = [none, every, gains > 0]
    both = [*real, *_taken(real, found, every)]
    correlations = _correlations(both, [*table, *table], weight)

    def score(taken):
        places = np.arange(len(real)) + len(real) * taken
        return np.sum(gains[taken]) + _shared(correlations[np.ix_(places, places)])

    proposals += [_climbed(score, start, every) for start in (none, gains > 0)]
    return np.unique(proposals, axis=0)


def _climbed(score, taken, free):
    """Return a local maximum of a score, from a start, by changes of single columns."""
    value = score(taken)
    for _ in range(SWEEPS):
        before = value
        for k in np.flatnonzero(free):
            other = taken.copy()
            other[k] = not taken[k]
            if score(other) > value:
                taken, value = other, score(other)
        if value == before:
            break
    return taken


# Sums of columns --------------------------------------------------------------------------


def _limited_sum(fit, places, table, weight):
    """Return the LimitedSum of some columns of a fit; None if no sum has an upper end.

    ``places`` are those of the columns above 0.
    """
    if len(places) < 2:
        return None
    values = np.stack([table[k] for k in places], axis=1)
    steps = np.array([fit.columns[k].step or 0.0 for k in places])
    sets = (
        np.ones((1, len(places)))
        if len(places) > SUMMED
        else np.array([one for one in product((0.0, 1.0), repeat=len(places)) if sum(one) > 1])
    )
    largest = np.max(np.nan_to_num(values) @ sets.T, axis=0)
    sampled: Any = None
    for end in UPPER_ENDS:
        limits = end * (1 + ROUNDING) + sets @ steps / 2
        possible = (largest <= limits) & (largest >= NEAR * end)
        if not np.any(possible):
            continue
        if sampled is None:
            sampled = fit.sample(SAMPLES)[:, places]
        beyond = np.mean(sampled @ sets[possible].T > limits[possible], axis=0) * np.sum(weight)
        most = int(np.argmax(beyond))
        if beyond[most] >= EXPECTED + np.log(np.sum(possible)):
            chosen = np.flatnonzero(sets[possible][most]).tolist()
            names = tuple(fit.columns[places[k]].name for k in chosen)
            return LimitedSum(names, float(limits[possible][most]))
    return None
