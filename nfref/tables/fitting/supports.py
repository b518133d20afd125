"""Choose supports by held-out scores: which columns of numbers are positive, or bounded.

A density of a column of numbers that are all above 0 has negative samples, unless its support is
the half-line. So each real column for which no support is asked has candidates with natural ends,
never the smallest or largest of its own values:

    above 0         if all values are; a rounded column that holds 0 begins half a step below it
    below 0         likewise
    0:1, 0:100      if all values are inside, and some come near the upper end

Rows pass as follows. First each column stands alone. Its values beside the atoms are dequantised
and divided into two halves. In each half a mixture of a few normals is scored that is fitted to the
other, in the robust units of each support and in nats of the column's own units:

    s_i = log p(u_i) + log du_i/dx_i        gain_j = mean of s_i(bounded) - s_i(real)

tie_j is two standard errors of the gain if a share ``IMPOSSIBLE`` of the real density's samples is
outside: a tie goes to the bounded support. An interval has to gain ``SURE`` standard errors on the
half-line, unless ``EXPECTED`` rows should lie beyond its end and none does: a later value beyond an
end that is none has density 0.

What columns say about each other depends on supports too: a sum of two columns is no sum of their
logarithms. So a few proposals compete by mixtures of all columns, again in halves: all real; all
bounded; those with gain_j + tie_j > 0; and the best local maxima of

    sum_j bounded_j (gain_j + tie_j) - log det(R) / 2

with R the correlations of all u, since normal columns share -log det(R) / 2 nats. In this formula
one column is changed at a time, from all real and from those that gain alone. Columns of the best
proposal that neither have a tie nor gain ``SURE`` standard errors alone, such as temperatures of a
summer, have to gain two standard errors together: there may be no end, only chance.

Beyond ``LOG_ROWS`` rows no column takes logarithms for their gain: with many rows flows and
mixtures learn the shape, and the few rows that decide here do not show that (a wine table of 3,500
rows lost 0.13 nats).

Last, a column above 0 that is still real takes the soft half-line if a share ``IMPOSSIBLE`` of the
mixture of all columns is below 0, unless these columns lose more than two standard errors. That map
leaves all but the lowest values as they are. Fewer than ``ROWS_A_COLUMN`` rows a column are too few
to compare mixtures of all columns: columns that have impossible samples by themselves take soft
half-lines there, unless these lose by the formula. ``--column NAME=real`` and
``columns={"NAME": "real"}`` ask for the line.

Shares of a whole, all but one, have a sum of at most 1 or 100
(:mod:`nfref.tables.densities.limited_sum`). Columns above 0 have that limit if the largest sum of
their values is below it and near, and far more than ``EXPECTED`` rows should lie beyond it by the
mixture of all columns. Of several sets of columns the one that this holds for most clearly counts.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np

from nfref.runtime import blas
from nfref.runtime.annotations import Any, Array, Callable, Mapping, Sequence
from nfref.tables.densities import mixture
from nfref.tables.densities.cells import spread_rows
from nfref.tables.densities.limited_sum import LimitedSum
from nfref.tables.densities.pool import log_pool, mean_and_error
from nfref.tables.densities.wide import Wide
from nfref.tables.schema.columns import Continuous, is_missing
from nfref.tables.schema.distinct_rows import as_counts, grouped_rows

LEAST_ROWS = 50  # fewest values that can choose
MOST_ROWS = 1000  # most rows that choose
MOST_COLUMNS = 100  # most columns of numbers that have a choice: the correlations of more cost much
ROWS_A_COLUMN = 20  # fewest rows a column that choose
RIDGE = 1e-10  # added to correlations, whose columns may nearly depend on each other
LOG_ROWS = 2000  # most rows for which logarithms are taken for their gain
SOFT_SHARE = 0.05  # share of the values below the width of a soft end
START_NOISE = 0.1  # nats by which the starts of EM change a score
SWEEPS = 5  # most times that each column may change
COMPONENTS = (1, 2, 4, 8)  # of the mixtures of a column
ALL_COMPONENTS = (6,)  # of those of all columns
STARTS, ITERATIONS = 2, 60  # of EM: the mixtures need not be the best
WIDE_PART = 0.01  # weight of the wide density beside a mixture: a row far out decides nothing
ERRORS = 2.0  # standard errors within which two supports tie
SURE = 3.5  # standard errors of a gain that is not by chance
IMPOSSIBLE = 1e-3  # share of impossible samples from which a tie goes to the support without them
EXPECTED = 10.0  # rows beyond an end, of which none is there, that speak for the end
UPPER_ENDS = (1.0, 100.0)
NEAR = 0.9  # part of an upper end that some value, or some sum, has to reach
SUMMED = 10  # most columns whose subsets are summed; more are summed as a whole
ROUNDING = 1e-9  # of sums, as a share
SAMPLES = 20_000  # of the mixture of all columns, for sums


@dataclass(frozen=True)
class Chosen:
    """A column with a support that it could have.

    Attributes
    ----------
    column : Continuous
    gain : float
        Nats a row that the column alone gains.
    tie : float
        Nats that a tie is worth.
    impossible : float
        The share of the real column's density outside.
    evident : bool
        Whether the column alone speaks for its ends.
    soft : callable or None
        () -> the column with a soft lower end, and the nats a row that this gains. Few columns
        need them, and they take a fit.
    """

    column: Continuous
    gain: float
    tie: float
    impossible: float
    evident: bool
    soft: Callable[[], tuple[Continuous, float]] | None = None

    def __str__(self):
        ends = {(0.0, np.inf): "positive", (-np.inf, 0.0): "negative"}
        kind = ends.get((self.column.low, self.column.high), self.column.kind)
        why = f"{self.gain:+.3f} nats"
        if self.impossible >= IMPOSSIBLE:
            why += f", {100 * self.impossible:.2g} % of samples impossible without"
        return f"{self.column.name!r} {kind} ({why})"


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
    if not own:
        return Supports(tuple(columns), [])
    # Copies of a row are one row with a weight, so both give the same bits.
    numbers = np.stack([np.asarray(table[k], np.float64) for k in own], axis=1)
    places, group = grouped_rows(numbers, seed)
    weight = np.bincount(group, as_counts(weight), len(places)).astype(np.float64)
    table = dict(zip(own, numbers[places].T))
    real: list[Continuous] = []
    found: list[Chosen | None] = []
    for k in own if len(own) <= MOST_COLUMNS else ():
        there = ~is_missing(table[k])
        values, counts = table[k][there], weight[there]
        real.append(columns[k].in_units_of(values, counts))
        name, free = columns[k].name, columns[k].kind == "real"
        free = free and asked.get(name) is None and name not in given
        found.append(_bounded(real[-1], values, counts, seed, ends.get(name)) if free else None)
    positive = [k for k, one in enumerate(found) if one is not None and one.column.low > -np.inf]
    positive += [
        k for k, one in enumerate(real) if one.low == 0 and one.period is None and not given
    ]
    if not any(found) and len(positive) < 2:
        return Supports(tuple(columns), [])
    values = [table[k] for k in own]
    whole = ~np.any([is_missing(one) for one in values], axis=0)
    if np.sum(whole) < max(LEAST_ROWS, ROWS_A_COLUMN * len(own)):
        return _supports(columns, _softened_alone(real, found, values, weight))
    if np.sum(whole) > LOG_ROWS:
        found = [
            one if one is None or np.isfinite(one.column.high) else replace(one, gain=-np.inf)
            for one in found
        ]
    some = _some_rows(real, [one[whole] for one in values], weight[whole], seed)
    fit = _Fit.of(real, *some, ALL_COMPONENTS)
    taken, best = np.zeros(len(real), bool), fit
    if any(found):
        taken, best = _best(_proposals(real, found, values, weight), real, found, fit, some)
    chosen = [one for one, takes in zip(found, taken) if takes and one is not None]
    soft = [
        None
        if takes or one is None
        else _softened(one, fit.mass_outside(one.column.low, np.inf, k))
        for k, (one, takes) in enumerate(zip(found, taken))
    ]
    if any(soft):
        columns_now = [now if one is None else one.column for now, one in zip(best.columns, soft)]
        scores = _Fit.of(columns_now, *some, ALL_COMPONENTS).scores
        gain, error = mean_and_error(scores - best.scores, some[1])
        if gain > -ERRORS * error - START_NOISE:
            chosen += [one for one in soft if one is not None]
    limit = None if given else _limited_sum(best, sorted(positive), values, weight)
    return _supports(columns, chosen, limit)


def _supports(columns, chosen, limit=None):
    """Return the Supports with the chosen columns in place of real ones."""
    by_name = {one.column.name: one.column for one in chosen}
    return Supports(tuple(by_name.get(column.name, column) for column in columns), chosen, limit)


# Columns together -------------------------------------------------------------------------


def _softened_alone(real, found, table, weight):
    """Return the columns with soft ends, chosen without densities of all columns."""
    soft = [one and _softened(one, one.impossible) for one in found]
    chosen = [now for now in soft if now]
    if not chosen:
        return []
    changed = [now.column if now else column for now, column in zip(soft, real)]
    after, before = (_shared(_correlations(columns, table, weight)) for columns in (changed, real))
    gain = sum(now.gain for now in chosen) + after - before
    return chosen if gain > -START_NOISE else []


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


def _best(proposals, real, found, fit, some):
    """Return the proposal with the best scores and its fit; ``fit`` is that of real columns."""

    @cache
    def fitted(taken):
        """Return the fit of columns that are bounded where ``taken``, a tuple."""
        if not any(taken):
            return fit
        return _Fit.of(_taken(real, found, taken), *some, ALL_COMPONENTS)

    best: Any = None
    for taken in map(tuple, proposals):
        gain, error = mean_and_error(fitted(taken).scores - fit.scores, some[1])
        tie = any(one.tie > 0 for one, takes in zip(found, taken) if takes)
        value = gain + ERRORS * error * tie
        if best is None or value > best[0]:
            best = value, taken
    taken = best[1]
    evident = tuple(takes and one.evident for one, takes in zip(found, taken))
    if evident != taken:
        gain, error = mean_and_error(fitted(taken).scores - fitted(evident).scores, some[1])
        taken = taken if gain > ERRORS * error else evident
    return taken, fitted(taken)


def _softened(one, impossible):
    """Return a Chosen with a soft end at 0; None if that is no lower end, or nothing needs it."""
    if impossible < IMPOSSIBLE or one.soft is None:
        return None
    column, gain = one.soft()
    return replace(one, column=column, gain=gain, impossible=impossible)


def _limited_sum(fit, places, table, weight):
    """Return the LimitedSum of some columns of a fit; None if no sum has an upper end."""
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
    drawn: Any = None
    best: Any = None
    for end in UPPER_ENDS:
        limits = end * (1 + ROUNDING) + sets @ steps / 2
        possible = (largest <= limits) & (largest >= NEAR * end)
        if not np.any(possible):
            continue
        if drawn is None:
            drawn = fit.sample(SAMPLES)[:, places]
        beyond = np.mean(drawn @ sets[possible].T > limits[possible], axis=0) * np.sum(weight)
        most = int(np.argmax(beyond))
        if beyond[most] >= EXPECTED + np.log(np.sum(possible)):
            best = sets[possible][most] > 0, limits[possible][most]
            break
    if best is None:
        return None
    names = [fit.columns[k].name for k in places]
    return LimitedSum(tuple(name for name, part in zip(names, best[0]) if part), float(best[1]))


def _some_rows(columns, table, weight, seed):
    """Return (dequantised values of each column, counts) of rows that their content decides."""
    values = np.stack([np.asarray(own, np.float64) for own in table], axis=1)
    places, group = grouped_rows(values, seed)
    counts = np.bincount(group, weight, len(places)).astype(np.float64)[:MOST_ROWS]
    some = [own[places[:MOST_ROWS]] for own in values.T]
    _, counts, spread = spread_rows(columns, some, counts, seed)
    return [own[:MOST_ROWS] for own in spread], counts[:MOST_ROWS]


# A column alone ---------------------------------------------------------------------------


def _bounded(column, values, weight, seed, ends):
    """Return the best bounded support of a column as a Chosen; None if it has no natural ends."""
    rest = column.code(values) == 0
    values, weight = values[rest], weight[rest]
    if len(values) < LEAST_ROWS or not any(natural_ends(column, values, ends)):
        return None
    spread, counts = _some_rows((column,), [values], weight, seed)
    real, best = _Fit.of([column], spread, counts), None
    for low, high in natural_ends(column, values, ends):
        other = replace(column, low=low, high=high).in_units_of(values, weight)
        if not (np.isfinite(other.middle) and 0 < other.scale < np.inf):
            continue
        fitted = _Fit.of([other], spread, counts)
        if best is not None:
            gain, error = mean_and_error(fitted.scores - best.scores, counts)
            expected = best.mass_outside(low, high) * np.sum(weight)
            if gain <= error * (-ERRORS if expected >= EXPECTED else SURE):
                continue
        best = fitted
    if best is None:
        return None
    gain, error = mean_and_error(best.scores - real.scores, counts)
    (own,) = best.columns
    impossible = real.mass_outside(own.low, own.high)
    tie = ERRORS * error * (impossible >= IMPOSSIBLE)
    evident = tie > 0 or gain > SURE * error
    if not np.isfinite(own.low):
        return Chosen(own, gain, tie, impossible, evident)

    def softened():
        width = float(np.quantile(np.sort(spread), SOFT_SHARE)) - own.low
        soft = replace(column, low=own.low, soft=width).in_units_of(values, weight)
        scores = _Fit.of([soft], spread, counts).scores
        return soft, mean_and_error(scores - real.scores, counts)[0]

    return Chosen(own, gain, tie, impossible, evident, softened)


def natural_ends(
    column: Continuous, values: Array, ends: tuple[float, float] | None = None
) -> Iterator[tuple[float, float]]:
    """Yield the (low, high) that values could have, half-lines first.

    Rounded values may lie on an end: it moves by half of a step.
    """
    others = np.array([] if ends is None else ends)
    values = np.append(values, others[column.code(others) == 0])
    least, largest = np.min(values), np.max(values)
    slack = (column.step or 0.0) / 2

    def end(value, at, side):
        """Return an end that a value at it may pass by ``slack``; None if values are beyond."""
        if side * (at - value) > 0:
            return at
        return at + side * slack if value == at and slack else None

    low, high = end(least, 0.0, -1), end(largest, 0.0, 1)
    if low is not None:
        yield low, np.inf
        for upper in UPPER_ENDS:
            high = end(largest, upper, 1)
            if high is not None and largest >= NEAR * upper:
                yield low, high
    elif high is not None:
        yield -np.inf, high


# Scores -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Fit:
    """Scores of rows by a mixture fitted to the half that they are not in, (N,); and a mixture."""

    columns: list[Continuous]
    scores: Array
    mixture: mixture.GaussianMixture

    @classmethod
    def of(cls, columns, table, counts, components=COMPONENTS):
        """Fit mixtures to the columns' values, and keep the best number of components."""
        encoded = [column.encode(values) for column, values in zip(columns, table)]
        u, log_slope = np.stack([u for u, _ in encoded], axis=1), sum(slope for _, slope in encoded)
        half, wide = np.arange(len(u)) % 2, Wide(u.shape[1]).log_prob(u)
        best: Any = None
        weights = np.array([1 - WIDE_PART, WIDE_PART])
        with blas.one_thread():
            for number in components:
                scores = np.empty(len(u))
                for part in (0, 1):
                    own = half != part
                    found = mixture.GaussianMixture.fit(
                        u[own],
                        number,
                        np.random.default_rng(0),
                        weight=counts[own],
                        starts=STARTS,
                        iterations=ITERATIONS,
                    )
                    scores[~own] = found.log_prob(u[~own])
                scores = log_pool(np.stack([scores, wide], axis=1), weights)
                mean = np.average(scores, weights=counts)
                if best is not None and mean <= best[0]:
                    break
                best = mean, scores, found
        return cls(columns, best[1] + log_slope, best[2])

    def sample(self, n):
        """Return values of the columns beside their atoms, (n, D)."""
        u = self.mixture.sample(np.random.default_rng(0), n)
        return np.stack([column.decode(part) for column, part in zip(self.columns, u.T)], axis=1)

    def mass_outside(self, low, high, place=0):
        """Return the mass of a column in the mixture beyond ends that lie in its support."""
        from scipy.special import ndtr

        column, total = replace(self.columns[place], atoms=()), 0.0
        middle = self.mixture.means[:, place]
        spread = np.sqrt(np.sum(self.mixture.choleskys[:, place] ** 2, axis=1))
        for end, side in ((low, 1), (high, -1)):
            if column.low < end < column.high:
                u = column.encode(np.array([end]))[0]
                shares = ndtr(side * (u - middle) / spread)
                total += float(np.exp(self.mixture.log_weights) @ shares)
        return total
