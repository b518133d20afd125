"""Score rows by quick mixtures: each half of the rows by a mixture fitted to the other half."""

from dataclasses import dataclass, replace

import numpy as np

from nfref.runtime import blas
from nfref.runtime.annotations import Any, Array, Sequence
from nfref.tables.densities import mixture
from nfref.tables.densities.encoder import spread_rows
from nfref.tables.densities.pool import log_pool
from nfref.tables.densities.wide import Wide
from nfref.tables.schema.columns import Continuous
from nfref.tables.schema.distinct_rows import distinct_rows

MOST_ROWS = 1000  # most rows that are scored
COMPONENTS = (1, 2, 4, 8)  # of the mixtures of a column
STARTS, ITERATIONS = 2, 60  # of EM: the mixtures need not be the best
WIDE_PART = 0.01  # weight of the wide density beside a mixture: a row far out decides nothing

SomeRows = tuple[Sequence[Array], Array]  # values of each column, counts of the rows


def some_rows(
    columns: Sequence[Continuous], table: Sequence[Array], weight: Array, seed: int
) -> SomeRows:
    """Return (dequantised values of each column, counts) of rows that their content decides."""
    values = np.stack([np.asarray(own, np.float64) for own in table], axis=1)
    places, counts = distinct_rows(values, weight, seed)
    some = [own[places[:MOST_ROWS]] for own in values.T]
    _, counts, spread = spread_rows(columns, some, counts[:MOST_ROWS], seed)
    return [own[:MOST_ROWS] for own in spread], counts[:MOST_ROWS]


@dataclass(frozen=True)
class CrossFit:
    """Mixtures of the columns of some rows, each fitted to one half and scored in the other.

    Attributes
    ----------
    columns : list of Continuous
    scores : (N,) array
        Nats in the columns' own units, by the mixture that was not fitted to the row.
    mixture : GaussianMixture
        One of both, of the columns in robust units.
    """

    columns: list[Continuous]
    scores: Array
    mixture: mixture.GaussianMixture

    @classmethod
    def of(
        cls, columns: Sequence[Continuous], rows: SomeRows, components: Sequence[int] = COMPONENTS
    ) -> "CrossFit":
        """Fit mixtures to the columns' values, and keep the best number of components."""
        return cls.of_each([(columns, rows)], components)[0]

    @classmethod
    def of_each(
        cls,
        tables: Sequence[tuple[Sequence[Continuous], SomeRows]],
        components: Sequence[int] = COMPONENTS,
    ) -> list["CrossFit"]:
        """Fit mixtures to several tables of the same number of columns, as :meth:`of`."""
        found = [_Fits(columns, rows) for columns, rows in tables]
        with blas.one_thread():
            for number in components:
                more = [one for one in found if not one.ended]
                tasks = [(one, half) for one in more for half in one.halves]
                fitted = mixture.GaussianMixture.fit_each(
                    [one.u[half] for one, half in tasks],
                    number,
                    [np.random.default_rng(0) for _ in tasks],
                    weights=[one.counts[half] for one, half in tasks],
                    starts=STARTS,
                    iterations=ITERATIONS,
                )
                for one, pair in zip(more, zip(fitted[::2], fitted[1::2])):
                    one.add(pair)
                if all(one.ended for one in found):
                    break
        return [cls(list(one.columns), one.scores + one.log_slope, one.mixture) for one in found]

    def sample(self, n: int) -> Array:
        """Return values of the columns beside their atoms, (n, D)."""
        u = self.mixture.sample(np.random.default_rng(0), n)
        return np.stack([column.decode(part) for column, part in zip(self.columns, u.T)], axis=1)

    def mass_outside(self, low: float, high: float, place: int = 0) -> float:
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


class _Fits:
    """The fits to a table so far: the best scores and one mixture of them, and whether they end."""

    def __init__(self, columns, rows):
        table, self.counts = rows
        encoded = [column.encode(values) for column, values in zip(columns, table)]
        self.columns, self.u = columns, np.stack([u for u, _ in encoded], axis=1)
        self.log_slope = sum(slope for _, slope in encoded)
        self.halves = [slice(part, None, 2) for part in (0, 1)]
        self.wide = Wide(self.u.shape[1]).log_prob(self.u)
        self.best, self.ended = -np.inf, False
        self.scores: Any = None
        self.mixture: Any = None

    def add(self, pair):
        """Score each half by the mixture of the other; one that is no better ends the fits."""
        scores = np.empty(len(self.u))
        for own, half in zip(pair, reversed(self.halves)):
            scores[half] = own.log_prob(self.u[half])
        both = np.stack([scores, self.wide], axis=1)
        scores = log_pool(both, np.array([1 - WIDE_PART, WIDE_PART]))
        mean = np.average(scores, weights=self.counts)
        self.ended = self.scores is not None and not mean > self.best
        if not self.ended:
            self.best, self.scores, self.mixture = mean, scores, pair[0]
