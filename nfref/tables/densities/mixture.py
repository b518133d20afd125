"""Mixtures of Gaussians: the density, its fit, and the size that held-out rows choose.

:mod:`nfref.tables.densities.mixture_em` describes EM and its prior. It sees columns of deviation 1.
Directions in which columns nearly depend on each other are stretched for it.

Source: Bishop 2006.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nfref.runtime import blas
from nfref.runtime.annotations import Any, Array, Callable, Generator, Sequence
from nfref.runtime.checks import (
    as_rows,
    check_count,
    check_floats,
    check_log_shares,
    check_rng,
    require,
)
from nfref.runtime.configuration import Configuration
from nfref.tables.densities.gaussian import (
    FEW_COLUMNS,
    ROUNDING,
    check_factors,
    check_rows,
    first_best,
    gaussian_log_prob,
    moments,
    triangle,
)
from nfref.tables.densities.mixture_em import EMRows, fit_by_em

NARROW = 1e-3  # deviation of nearly dependent columns that EM works with, where columns have 1
STARTS = 5
FEW_NUMBERS = 2**14  # of all components, up to which they are scored together

COMPONENTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
FACTORS, FACTOR_ROWS = (1, 2, 4, 8), 20
COMPONENTS_OF_FACTORS, MANY_COLUMNS = (1, 2, 3), 20  # with more columns only one component


@dataclass(frozen=True)
class GaussianMixture(Configuration):
    """A mixture of K normal densities with full covariances.

    Parameters
    ----------
    log_weights : (K,) array
    means : (K, D) array
    choleskys : (K, D, D) array
    collapsed : int
        How many components have a column along which all their rows are equal. The likelihood has
        no bound there, so their density says nothing about the data.
    """

    log_weights: np.ndarray
    means: np.ndarray
    choleskys: np.ndarray
    collapsed: int = 0

    @classmethod
    def fit(
        cls,
        x: Array,
        components: int,
        rng: Generator,
        *,
        weight: Array | None = None,
        **options: Any,
    ) -> "GaussianMixture":
        """Fit to a table, its rows weighted by ``weight``, with the options of :meth:`fit_each`."""
        return cls.fit_each([x], components, [rng], weights=[weight], **options)[0]

    @classmethod
    def fit_each(
        cls,
        tables: Sequence[Array],
        components: int,
        rngs: Sequence[Generator],
        *,
        weights: Sequence[Array | None],
        factors: int | None = None,
        prior_rows: float | None = None,
        starts: int = STARTS,
        iterations: int = 200,
        tolerance: float = 2e-4,
    ) -> list["GaussianMixture"]:
        """Fit by EM (Bishop 2006, section 9.2) in logarithms, from the likeliest of several starts.

        Parameters
        ----------
        tables : sequence of (N, D) arrays
            Of as many columns; each has a mixture of its own.
        components : int
            K, at most N.
        rngs : sequence of numpy.random.Generator
            One for each table.
        weights : sequence of (N,) arrays or None
            Weights of the rows of each table.
        factors : int, optional
            q, below D; covariances are full without it.
        prior_rows : float, optional
            v; 0 is maximum likelihood, as far as that has a bound.
        starts : int
        iterations : int
            At most.
        tolerance : float
            EM stops when the log-likelihood changes by less, in nats per row and column.
        """
        checked = [check_rows(x, weight) for x, weight in zip(tables, weights)]
        least, dim = min(len(x) for x, _ in checked), checked[0][0].shape[1]
        for rng in rngs:
            check_rng(rng)
        if check_count("components", components) > least:
            raise ValueError(f"components: expected at most {least}, one a row; got {components}")
        if factors is not None and check_count("factors", factors) >= dim:
            raise ValueError(f"factors: expected fewer than the {dim} columns, got {factors}")
        units = [_units(x, share) for x, share in checked]
        found = fit_by_em(
            EMRows.of(
                [((x - one.mean) / one.std) @ one.stretch for (x, _), one in zip(checked, units)],
                weights,
                factors,
                dim + 2 if prior_rows is None else prior_rows,
            ),
            components,
            rngs,
            check_count("starts", starts) if components > 1 else 1,
            check_count("iterations", iterations),
            tolerance * dim,
        )
        return [
            cls(
                found.log_weights[k],
                one.mean + found.means[k] @ one.back.T,
                triangle(one.back @ found.choleskys[k]),
                int(np.sum(found.collapsed[k])),
            )
            for k, one in enumerate(units)
        ]

    @classmethod
    def choose(
        cls,
        x: Array,
        validation: Array,
        rng: Generator,
        *,
        weight: Array | None = None,
        validation_weight: Array | None = None,
    ) -> "GaussianMixture":
        """Fit the mixture of the size (:func:`sizes`) with the highest density of validation rows.

        Parameters
        ----------
        x, validation : (N, D), (M, D) array
        rng : numpy.random.Generator
        weight, validation_weight : (N,), (M,) array, optional
            Weight of each row.
        """
        x = check_rows(x)[0]

        def fitted(size):
            mixture = size.fit(x, rng, weight)
            return mixture, np.average(mixture.log_prob(validation), weights=validation_weight)

        return choose(sizes(*x.shape), fitted)

    @property
    def components(self) -> int:
        """The number of components."""
        return len(self.log_weights)

    def log_prob(self, x: Array) -> Array:
        """Return the log-density in nats, (N,), of rows (N, D)."""
        x = as_rows("x", x, self.means.shape[1])
        if x.shape[1] <= FEW_COLUMNS and self.means.size * len(x) <= FEW_NUMBERS:
            joint = self.log_weights[:, None] + gaussian_log_prob(x, self.means, self.choleskys).T
        else:
            joint = [
                log_weight + gaussian_log_prob(x, mean, cholesky)
                for log_weight, mean, cholesky in zip(self.log_weights, self.means, self.choleskys)
            ]
        return np.logaddexp.reduce(joint, axis=0)

    def sample(self, rng: Generator, n: int) -> Array:
        """Sample ``n`` rows, (n, D)."""
        weights = np.exp(self.log_weights)
        chosen = check_rng(rng).choice(len(weights), n, p=weights / np.sum(weights))
        noise = rng.standard_normal((n, self.means.shape[1]))
        return self.means[chosen] + np.einsum("nij,nj->ni", self.choleskys[chosen], noise)

    def takes(self, dim: int, context_dim: int) -> bool:
        """Return as :meth:`nfref.tables.densities.pool.FittedFlow.takes` does."""
        return (self.means.shape[1], 0) == (dim, context_dim)

    def _check(self):
        check_floats("means", self.means, None, None)
        components, dim = self.means.shape
        require(components > 0, "means: expected at least one, got none")
        check_log_shares("log_weights", self.log_weights, components)
        check_floats("choleskys", self.choleskys, components, dim, dim)
        check_factors("choleskys", self.choleskys)
        check_count("collapsed", self.collapsed, 0)


class _Units(NamedTuple):
    """The units in which EM sees a table: z = (x - mean) / std @ stretch, x = mean + z @ back.T."""

    mean: np.ndarray
    std: np.ndarray
    stretch: np.ndarray
    back: np.ndarray


def _units(x, share):
    """Return the _Units of rows (N, D) with shares (N,)."""
    mean, std = moments(x, share)
    std = np.where(std > 0, std, 1)
    directions, spread = _narrow_directions(np.sqrt(share) * ((x - mean) / std).T)
    back = std[:, None] * _scaling(directions, spread / NARROW)
    return _Units(mean, std, _scaling(directions, NARROW / spread), back)


def _narrow_directions(a):
    """Return directions (D, k) in which rows a^T, (N, D), deviate by less than NARROW, and by what.

    Directions without deviation are left out, because columns repeat there; and all of them where
    rows are too few to tell.
    """
    if a.shape[1] <= len(a):
        return np.zeros((len(a), 0)), np.zeros(0)
    vectors, spread, _ = np.linalg.svd(triangle(a))
    narrow = (spread < NARROW) & (spread > ROUNDING * len(a))
    return vectors[:, narrow], spread[narrow]


def _scaling(directions, factor):
    """Return the symmetric matrix (D, D) that scales directions by a factor and keeps others."""
    return np.eye(len(directions)) + directions * (factor - 1) @ directions.T


# How large --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Size:
    """The number of components of a mixture, and of factors; None for full covariances."""

    components: int
    factors: int | None = None

    def fit(self, x: Array, rng: Generator, weight: Array | None = None) -> GaussianMixture:
        """Fit a :class:`GaussianMixture` of that size."""
        return self.fit_each([x], rng, [weight])[0]

    def fit_each(
        self, tables: Sequence[Array], rng: Generator, weights: Sequence[Array | None]
    ) -> list[GaussianMixture]:
        """Fit a :class:`GaussianMixture` of that size to each of several tables."""
        rngs = [rng] * len(tables)
        return GaussianMixture.fit_each(
            tables, self.components, rngs, weights=weights, factors=self.factors
        )

    def __str__(self):
        of = f"mixture of {self.components}"
        return of if self.factors is None else f"{of}, factors {self.factors}"


def sizes(rows: int, dim: int) -> list[list[Size]]:
    """Return sizes of mixtures that suit ``rows`` rows of ``dim`` columns, in ascending ladders.

    Full covariances need more rows than columns, and enough for each; factors serve up to
    ``FACTOR_ROWS`` rows a column.

    Parameters
    ----------
    rows, dim : int
    """
    full = [Size(number) for number in COMPONENTS if number == 1 or number * (dim + 1) <= rows]
    few = COMPONENTS_OF_FACTORS if dim <= MANY_COLUMNS else (1,)
    by_factors = [
        [Size(number, factors) for number in few if number * (factors + 2) <= rows]
        for factors in FACTORS
        if 2 * factors < dim and rows <= FACTOR_ROWS * dim
    ]
    enough_for_full = rows > dim or dim <= 2 or not any(by_factors)
    return [full, *by_factors] if enough_for_full else by_factors


def choose(ladders: Sequence[Sequence[Size]], fitted: Callable[..., Any]) -> Any:
    """Return the result with the highest score; ``fitted(size)`` returns (result, score).

    A ladder ends when two sizes in a row are no better than its best.

    Parameters
    ----------
    ladders : sequence of sequences of Size
    fitted : callable
    """
    import scipy.linalg  # noqa: F401, a BLAS of its own, which has to be there to be limited

    # BLAS threads slow down matrices this small, most of all on busy processors.
    with blas.one_thread():
        found = [first_best(map(fitted, ladder)) for ladder in ladders if ladder]
        return max(found, key=lambda pair: pair[1])[0]
