"""The bounded support that one column could have, by its natural ends and held-out scores.

Natural ends are never the smallest or largest of a column's own values:

    above 0         if all values are; a rounded column that holds 0 begins half a step below it
    below 0         likewise
    0:1, 0:100      if all values are inside, and some come near the upper end
    a round number  if values crowd just inside of it, such as 10 of grades, or 180 of angles

The values beside the atoms are dequantised and divided into two halves. In each half a mixture of a
few normals is scored that is fitted to the other, in the robust units of each support and in nats
of the column's own units:

    s_i = log p(u_i) + log du_i/dx_i        gain_j = mean of s_i(bounded) - s_i(real)

tie_j is two standard errors of the gain if a share ``IMPOSSIBLE`` of the real density's samples is
outside: a tie goes to the bounded support. An interval has to gain ``SURE`` standard errors on the
half-line, unless ``EXPECTED`` rows should lie beyond its end and none does: if the end is not real,
a later value beyond it has density 0. Another round number needs both a gain and these rows; and
numbers of the rows have none, since later rows go on.
"""

from dataclasses import dataclass, replace

import numpy as np

from nfref.runtime.annotations import Array, Callable, Iterator, Sequence
from nfref.tables.densities.pool import mean_and_error
from nfref.tables.fitting.cross_fit import CrossFit, SomeRows, some_rows
from nfref.tables.schema.columns import Continuous

LEAST_ROWS = 50  # fewest values that can choose
SOFT_SHARE = 0.05  # share of the values below the width of a soft end
ERRORS = 2.0  # standard errors within which two supports tie
SURE = 3.5  # standard errors of a gain that is not by chance
IMPOSSIBLE = 1e-3  # share of impossible samples from which a tie goes to the support without them
EXPECTED = 10.0  # rows beyond an end, of which none is there, that speak for the end
UPPER_ENDS = (1.0, 100.0)
NEAR = 0.9  # part of an upper end that some value, or some sum, has to reach
CROWD = 20  # values that lie near a round end
CROWDED = 0.2  # robust units from a round end to the farthest of them, at most
GRID = 0.1  # robust units between round numbers, at least
GAP = 0.05  # of that distance, at most from the outermost value to a round end
OUTERMOST = 0.25  # of the distance of the farthest of the crowd, at most that of the outermost


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
        The share of the real column's samples outside.
    evident : bool
        Whether the scores of the column alone suffice to choose the ends.
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


def bounded_supports(
    columns: Sequence[tuple[Continuous, Array, Array, tuple[float, float] | None]], seed: int
) -> list[Chosen | None]:
    """Return the best bounded support of each column as a Chosen; None without natural ends.

    Each column is real and in robust units; with it are its values, as many as it has, their
    weights, and the least and largest value, if these are some of all its values.
    """
    found = [_Ends.of(*each, seed) for each in columns]
    tasks = [([column], one.rows) for one in found for column in one.columns]
    fits = iter(CrossFit.of_each(tasks) if tasks else [])
    return [one.chosen([next(fits) for _ in one.columns]) for one in found]


@dataclass(frozen=True)
class _Ends:
    """A column as it is, then with natural and with round ends; no column without such ends."""

    columns: list[Continuous]
    rows: SomeRows
    whole: tuple[Array, Array]  # values and weights of all rows
    natural: int  # columns with natural ends

    @classmethod
    def of(cls, column, values, weight, ends, seed):
        rest = column.code(values) == 0
        values, weight = values[rest], weight[rest]

        def bounded(pairs):
            """Return the columns with these ends, in their units, where they have such."""
            columns = [
                replace(column, low=low, high=high).in_units_of(values, weight)
                for low, high in pairs
            ]
            return [one for one in columns if np.isfinite(one.middle) and 0 < one.scale < np.inf]

        natural, rounds = [], []
        if len(values) >= LEAST_ROWS:
            natural = bounded(natural_ends(column, values, ends))
            if not _counts_rows(column, values, weight):
                rounds = bounded(round_ends(column, values, ends))
        if not natural + rounds:
            return cls([], ([], weight), (values, weight), 0)
        rows = some_rows((column,), [values], weight, seed)
        return cls([column, *natural, *rounds], rows, (values, weight), len(natural))

    def chosen(self, fits):
        """Return the best of the bounded columns as a Chosen."""
        if not fits:
            return None
        (spread,), counts = self.rows
        real, *others = fits
        natural, rounds = others[: self.natural], others[self.natural :]

        def gain_over(fitted):
            """Return (gain, its error, whether rows should be beyond) over the best so far."""
            (own,) = fitted.columns
            beyond = best.mass_outside(own.low, own.high) * np.sum(self.whole[1])
            return *mean_and_error(fitted.scores - best.scores, counts), beyond >= EXPECTED

        best = natural[0] if natural else real
        for fitted in natural[1:]:
            gain, error, expected = gain_over(fitted)
            if gain > error * (-ERRORS if expected else SURE):
                best = fitted
        for fitted in rounds:
            gain, _, expected = gain_over(fitted)
            if gain > 0 and expected:
                best = fitted
        if best is real:
            return None
        gain, error = mean_and_error(best.scores - real.scores, counts)
        (own,) = best.columns
        impossible = real.mass_outside(own.low, own.high)
        tie = ERRORS * error * (impossible >= IMPOSSIBLE)
        evident = tie > 0 or gain > SURE * error
        if not np.isfinite(own.low):
            return Chosen(own, gain, tie, impossible, evident)

        def soft_end():
            width = float(np.quantile(np.sort(spread), SOFT_SHARE)) - own.low
            soft = replace(self.columns[0], low=own.low, soft=width).in_units_of(*self.whole)
            scores = CrossFit.of([soft], self.rows).scores
            return soft, mean_and_error(scores - real.scores, counts)[0]

        return Chosen(own, gain, tie, impossible, evident, soft_end)


def natural_ends(
    column: Continuous, values: Array, ends: tuple[float, float] | None = None
) -> Iterator[tuple[float, float]]:
    """Yield the (low, high) that values could have, half-lines first.

    Rounded values may lie on an end: it moves by half of a step.
    """
    least, largest = _extremes(column, values, ends)
    low, high = _end(column, least, 0.0, -1), _end(column, largest, 0.0, 1)
    if low is not None:
        yield low, np.inf
        for upper in UPPER_ENDS:
            high = _end(column, largest, upper, 1)
            if high is not None and largest >= NEAR * upper:
                yield low, high
    elif high is not None:
        yield -np.inf, high


def round_ends(
    column: Continuous, values: Array, ends: tuple[float, float] | None = None
) -> Iterator[tuple[float, float]]:
    """Yield the (low, high) of which at least one is a round number where values crowd."""
    least, largest = _extremes(column, values, ends)
    zero, low = (_end(column, least, at, -1) for at in (0.0, _round_number(column, values, -1)))
    high = _end(column, largest, _round_number(column, values, 1), 1)
    widest = (-np.inf if zero is None else zero, np.inf)
    lows = [widest[0]] + [low] * (low not in (None, zero))
    highs = [np.inf] + [high] * (high is not None)
    yield from ((low, high) for high in highs for low in lows if (low, high) != widest)


def _counts_rows(column, values, weight):
    """Return whether values number the rows: by chance some would be equal, but none are."""
    rows = np.sum(weight)
    equal = np.ptp(values / rows**2) <= (column.step or 0.0) / (2 * EXPECTED)
    return equal and len(np.unique(values)) == rows


def _round_number(column, values, side):
    """Return the round number before which values crowd, the outermost beside it; else NaN."""
    if len(values) < CROWD:
        return np.nan
    crowd = np.partition(side * values, -CROWD)[-CROWD:]
    outermost, farthest = np.max(crowd), np.min(crowd)
    # On a grid of whole numbers each of them would be round.
    last = np.ceil(np.log10(max(GRID * column.scale, (column.step or 0.0) / GAP)))
    for digit in np.arange(np.ceil(np.log10(abs(outermost) or 1.0)), last - 1, -1):
        with np.errstate(over="ignore", invalid="ignore"):
            at = np.ceil(outermost / 10**digit) * 10**digit
            gap, width = at - outermost, at - farthest
            most = min(GAP * 10**digit, OUTERMOST * width)
        if gap <= most and width <= CROWDED * column.scale:
            return side * round(float(at), -int(digit))
    return np.nan


def _extremes(column, values, ends):
    """Return the least and the largest value beside the atoms."""
    others = np.array([] if ends is None else ends)
    values = np.append(values, others[column.code(others) == 0])
    return np.min(values), np.max(values)


def _end(column, value, at, side):
    """Return an end that a value at it may pass by half a step; None if values are beyond."""
    if side * (at - value) > 0:
        return at
    return at + side * column.step / 2 if value == at and column.step else None


def softened(one: Chosen, impossible: float) -> Chosen | None:
    """Return a Chosen with a soft lower end; None if it has none, or nothing needs it."""
    if impossible < IMPOSSIBLE or one.soft is None:
        return None
    column, gain = one.soft()
    return replace(one, column=column, gain=gain, impossible=impossible)
