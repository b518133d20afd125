"""Score rows by quick mixtures: each half of the rows by a mixture fitted to the other half."""

from dataclasses import dataclass, replace

import numpy as np

from nfref.runtime import blas
from nfref.runtime.annotations import Any, Array, Sequence
from nfref.tables.densities import mixture
from nfref.tables.densities.cells import spread_rows
from nfref.tables.densities.pool import log_pool
from nfref.tables.densities.wide import Wide
from nfref.tables.schema.columns import Continuous
from nfref.tables.schema.distinct_rows import grouped_rows

MOST_ROWS = 1000  # most rows that are scored
COMPONENTS = (1, 2, 4, 8)  # of the mixtures of a column
STARTS, ITERATIONS = 2, 60  # of EM: the mixtures need not be the best
WIDE_PART = 0.01  # weight of the wide density beside a mixture: a row far out decides nothing


def some_rows(
    columns: Sequence[Continuous], table: Sequence[Array], weight: Array, seed: int
) -> tuple[list[Array], Array]:
    """Return (dequantised values of each column, counts) of rows that their content decides."""
    values = np.stack([np.asarray(own, np.float64) for own in table], axis=1)
    places, group = grouped_rows(values, seed)
    counts = np.bincount(group, weight, len(places)).astype(np.float64)[:MOST_ROWS]
    some = [own[places[:MOST_ROWS]] for own in values.T]
    _, counts, spread = spread_rows(columns, some, counts, seed)
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
        cls,
        columns: list[Continuous],
        table: Sequence[Array],
        counts: Array,
        components: Sequence[int] = COMPONENTS,
    ) -> "CrossFit":
        """Fit mixtures to the columns' values, and keep the best number of components."""
        encoded = [column.encode(values) for column, values in zip(columns, table)]
        u = np.stack([u for u, _ in encoded], axis=1)
        log_slope = sum(slope for _, slope in encoded)
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
