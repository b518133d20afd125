"""The bounded support that one column could have, by its natural ends and held-out scores.

Natural ends are never the smallest or largest of a column's own values:

    above 0         if all values are; a rounded column that holds 0 begins half a step below it
    below 0         likewise
    0:1, 0:100      if all values are inside, and some come near the upper end

The values beside the atoms are dequantised and divided into two halves. In each half a mixture of a
few normals is scored that is fitted to the other, in the robust units of each support and in nats
of the column's own units:

    s_i = log p(u_i) + log du_i/dx_i        gain_j = mean of s_i(bounded) - s_i(real)

tie_j is two standard errors of the gain if a share ``IMPOSSIBLE`` of the real density's samples is
outside: a tie goes to the bounded support. An interval has to gain ``SURE`` standard errors on the
half-line, unless ``EXPECTED`` rows should lie beyond its end and none does: if the end is not real,
a later value beyond it has density 0.
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
    columns: Sequence[Continuous],
    table: Sequence[Array],
    weights: Sequence[Array],
    seed: int,
    ends: Sequence[tuple[float, float] | None],
) -> list[Chosen | None]:
    """Return the best bounded support of each column as a Chosen; None without natural ends.

    Parameters
    ----------
    columns : sequence of Continuous
        Real columns, in robust units.
    table, weights : sequence of (N,) arrays
        Their values, as many as each has.
    seed : int
    ends : sequence of (float, float) or None
        The least and largest value of a column, if these are some of its values.
    """
    found = [_Ends.of(*each, seed) for each in zip(columns, table, weights, ends)]
    tasks = [([column], one.rows) for one in found for column in one.columns]
    fits = iter(CrossFit.of_each(tasks) if tasks else [])
    return [one.chosen([next(fits) for _ in one.columns]) for one in found]


@dataclass(frozen=True)
class _Ends:
    """A column as it is, then with each of its natural ends; no column without such ends."""

    columns: list[Continuous]
    rows: SomeRows
    whole: tuple[Array, Array]  # values and weights of all rows

    @classmethod
    def of(cls, column, values, weight, ends, seed):
        rest = column.code(values) == 0
        values, weight = values[rest], weight[rest]
        found = [column]
        if len(values) >= LEAST_ROWS:
            for low, high in natural_ends(column, values, ends):
                other = replace(column, low=low, high=high).in_units_of(values, weight)
                if np.isfinite(other.middle) and 0 < other.scale < np.inf:
                    found.append(other)
        if len(found) == 1:
            return cls([], ([], weight), (values, weight))
        return cls(found, some_rows((column,), [values], weight, seed), (values, weight))

    def chosen(self, fits):
        """Return the best of the bounded columns as a Chosen."""
        if not fits:
            return None
        (spread,), counts = self.rows
        real, best, *others = fits
        for fitted in others:
            gain, error = mean_and_error(fitted.scores - best.scores, counts)
            (own,) = fitted.columns
            expected = best.mass_outside(own.low, own.high) * np.sum(self.whole[1])
            if gain > error * (-ERRORS if expected >= EXPECTED else SURE):
                best = fitted
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


def softened(one: Chosen, impossible: float) -> Chosen | None:
    """Return a Chosen with a soft end at 0; None if that is no lower end, or nothing needs it."""
    if impossible < IMPOSSIBLE or one.soft is None:
        return None
    column, gain = one.soft()
    return replace(one, column=column, gain=gain, impossible=impossible)
