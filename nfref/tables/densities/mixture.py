"""Mixtures of Gaussians, fitted by EM from several starts under a prior without units.

A component's likelihood has no bound where it shrinks onto a few rows, and a mixture of many
components has few rows for each. So covariances are at their posterior mode. The prior takes its
scale from the components themselves, because a cluster may be 1e6 times narrower than the table.
With n_k = sum_i w_i r_ik rows and C_k their covariance about the mean of the component,

    p(S_k)  ~  |S_k|^(-v/2) exp(-v tr(S_0 S_k^-1) / 2)      v = D + 2
    S_0     =  (sum_k a_k S_k^-1)^-1        a_k = n_k / (n_k + v) * n_k / sum_l n_l
    S_k    <-  (n_k C_k + v S_0) / (n_k + v)

an inverse Wishart density of v rows of covariance S_0, the harmonic mean of all of them. For
components that are alike this is what they share; beside a narrow component it is narrow, so a wide
or distant cluster does not widen another. The inverse covariance of n + v normal rows is too large
by (n + v) / n on average, hence the first factor of a_k. S_0 has no larger variance than the mean
of C_k, and a single component is left as it is.

With q factors a covariance is S_k = A_k A_k^T + P_k, A_k (D, q) and P_k diagonal, the likeliest
such matrix. It serves when there are too few rows for full covariances.

Sources: Bishop 2006 (EM); Fraley and Raftery 2007 (inverse Wishart prior of covariances); Arthur
and Vassilvitskii 2007 (where EM starts); Ghahramani and Hinton 1996 (mixtures of factor analysers);
Zhao, Yu and Jiang 2008 (their covariances by eigenvectors).
"""

from dataclasses import dataclass, replace

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
    LOG_TWO_PI,
    ROUNDING,
    check_factors,
    check_rows,
    first_best,
    gaussian_log_prob,
    moments,
    triangle,
)

# Share of a component's variance in each column that is the column's own, however similar columns
# are; ten times what rounding of 1,000 columns takes from it.
OWN_PART = 1e-11
TIED = 1e-3  # smallest deviation along repeated values, in deviations of the column
FACTOR_PART = 5e-3  # smallest share of a variance that no factor explains

NARROW = 1e-3  # deviation of nearly dependent columns that EM works with, where columns have 1

STARTS = 5
STEPS_OF_A_START = 8  # steps after which only the likeliest start continues
ROWS_OF_A_START = 2000  # rows that starts see; more rows follow after convergence
AT_ONCE = 2**15  # most numbers of an array that EM works on: they fit in the cache of a core
FEW_NUMBERS = 2**14  # of all components, up to which they are scored together

COMPONENTS = (1, 2, 3, 4, 6, 8, 12, 16)
MANY_COMPONENTS, ROWS_OF_MANY = (24, 32), 2000
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
        factors: int | None = None,
        prior_rows: float | None = None,
        starts: int = STARTS,
        iterations: int = 200,
        tolerance: float = 2e-4,
    ) -> Any:
        """Fit by EM (Bishop 2006, section 9.2) in logarithms, from the likeliest of several starts.

        A start gives each row to the nearest of K rows, sampled far apart as k-means++ does.

        Parameters
        ----------
        x : (N, D) array
        components : int
            K, at most N.
        rng : numpy.random.Generator
        weight : (N,) array, optional
            Weight of each row.
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
        x, share = check_rows(x, weight)
        check_rng(rng)
        if check_count("components", components) > len(x):
            raise ValueError(f"components: expected at most {len(x)}, one a row; got {components}")
        if factors is not None and check_count("factors", factors) >= x.shape[1]:
            raise ValueError(
                f"factors: expected fewer than the {x.shape[1]} columns, got {factors}"
            )
        mean, std = moments(x, share)
        std = np.where(std > 0, std, 1)
        z = (x - mean) / std
        directions, spread = _narrow_directions(np.sqrt(share) * z.T)
        stretch = _scaling(directions, NARROW / spread)
        rows = _Rows.of(
            z @ stretch, weight, factors, x.shape[1] + 2 if prior_rows is None else prior_rows
        )
        some = rows.first(max(ROWS_OF_A_START, components))
        starts = check_count("starts", starts) if components > 1 else 1
        # Starts have full covariances: factors take twice as long.
        full = replace(some, factors=None)
        found = full.maximise(
            np.stack([_nearest(some.z, _spread_rows(some, components, rng)) for _ in range(starts)])
        )
        left, tolerance = check_count("iterations", iterations), tolerance * x.shape[1]
        if starts > 1:
            found, score, left = full.improve(found, min(STEPS_OF_A_START, left), left, tolerance)
            found = found.at([np.argmax(score)])
        if factors is not None:
            found = some.maximise(some.expect(found)[0], found)
        found, _, left = some.improve(found, left, left, tolerance)
        if some is not rows:
            found, *_ = rows.improve(found, max(left, 1), left, tolerance)
        back = std[:, None] * _scaling(directions, spread / NARROW)
        return cls(
            found.log_weights[0],
            mean + found.means[0] @ back.T,
            triangle(back @ found.choleskys[0]),
            int(np.sum(found.collapsed[0])),
        )

    @classmethod
    def choose(
        cls,
        x: Array,
        validation: Array,
        rng: Generator,
        *,
        weight: Array | None = None,
        validation_weight: Array | None = None,
    ) -> Any:
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


# How large --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Size:
    """The number of components of a mixture, and of factors; None for full covariances."""

    components: int
    factors: int | None = None

    def fit(self, x: Array, rng: Generator, weight: Array | None = None) -> GaussianMixture:
        """Fit a :class:`GaussianMixture` of that size."""
        return GaussianMixture.fit(x, self.components, rng, weight=weight, factors=self.factors)

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
    most = COMPONENTS + MANY_COMPONENTS if rows > ROWS_OF_MANY else COMPONENTS
    full = [Size(number) for number in most if number == 1 or number * (dim + 1) <= rows]
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


# Expectation and maximisation -------------------------------------------------------------


@dataclass(frozen=True)
class _Found:
    """The state of EM in each of S searches."""

    log_weights: np.ndarray  # (S, K)
    means: np.ndarray  # (S, K, D)
    choleskys: np.ndarray  # (S, K, D, D)
    inverses: np.ndarray  # (S, K, D, D), of the Cholesky factors
    shared: Any  # (S, D, D), S_0, with several components
    own: Any  # (S, K, D), P, with factors
    collapsed: np.ndarray  # (S, K)

    def at(self, places):
        """Return some of the searches."""
        found: list[Any] = [
            None if value is None else value[places] for value in vars(self).values()
        ]
        return _Found(*found)


@dataclass(frozen=True)
class _Rows:
    """The rows of EM, (D, N), their weights, and the squared gaps beside them, (N, D).

    Sums over columns then add long vectors.
    """

    z: np.ndarray
    weight: np.ndarray
    gaps: np.ndarray
    factors: int | None
    prior_rows: float

    @classmethod
    def of(cls, z, weight, factors, prior_rows):
        """Return the _Rows of an (N, D) array."""
        weight = np.ones(len(z)) if weight is None else np.asarray(weight, np.float64)
        return cls(np.ascontiguousarray(z.T), weight, _gaps(z) ** 2, factors, prior_rows)

    def first(self, number):
        """Return the first rows, or all."""
        if number >= len(self.weight):
            return self
        return _Rows.of(self.z[:, :number].T, self.weight[:number], self.factors, self.prior_rows)

    def improve(self, found, steps, left, tolerance):
        """Return (found, mean log-likelihoods (S,) before the last step, steps left)."""
        previous = np.full(len(found.means), -np.inf)
        for step in range(steps):
            responsibilities, score = self.expect(found)
            if np.all(np.abs(score - previous) < tolerance):
                return found, score, left - step
            found, previous = self.maximise(responsibilities, found), score
        return found, previous, left - steps

    def _chunks(self, found_or_mass):
        """Yield slices of the K components whose arrays have a good size."""
        searches, components = found_or_mass.shape[:2]
        size = max(1, AT_ONCE // (searches * self.z.size))
        return [slice(start, start + size) for start in range(0, components, size)]

    def expect(self, found):
        """Return (shares of components in rows (S, K, N), mean log-likelihoods (S,))."""
        joint = np.concatenate(
            [self._squares(found, part) for part in self._chunks(found.means)], axis=1
        )
        diagonal = np.diagonal(found.choleskys, axis1=-2, axis2=-1)
        joint *= -0.5
        joint += (
            found.log_weights - np.sum(np.log(diagonal), axis=-1) - 0.5 * len(self.z) * LOG_TWO_PI
        )[..., None]
        largest = np.max(joint, axis=1, keepdims=True)
        shares = np.exp(joint - largest)
        total = np.sum(shares, axis=1, keepdims=True)
        shares /= total
        return shares, (largest + np.log(total))[:, 0] @ self.weight / np.sum(self.weight)

    def _squares(self, found, part):
        """Return |L^-1 (z - m)|^2, (S, k, N)."""
        scaled = found.inverses[:, part] @ (self.z - found.means[:, part, :, None])
        scaled *= scaled
        return np.sum(scaled, axis=-2)

    def maximise(self, shares, found=None):
        """Return the next _Found for the shares (S, K, N) of components in rows."""
        shares = shares * self.weight
        # A component without rows keeps a weight near zero instead of zero.
        nothing = 10 * np.finfo(float).eps
        mass = np.sum(shares, axis=-1) + nothing
        means = shares @ self.z.T / mass[..., None]
        covariance = np.concatenate(
            [self._covariances(shares[:, part], means[:, part]) for part in self._chunks(mass)],
            axis=1,
        )
        covariance /= mass[..., None, None]
        variance = _diagonal(covariance)
        least = (shares @ self.gaps + nothing * np.mean(self.gaps, axis=0)) / mass[..., None]
        collapsed = np.any(variance < least, axis=-1)
        covariance = covariance + _matrix(np.maximum(least - variance, 0))
        own = None if found is None else found.own
        part = mass / np.sum(mass, axis=-1, keepdims=True)
        pooled = np.sum(part[..., None] * _diagonal(covariance), axis=1)
        if mass.shape[1] > 1:
            # At first components share nothing: each has its own variances.
            shared = _matrix(_diagonal(covariance)) if found is None else found.shared[:, None]
            n = mass[..., None, None]
            covariance = (n * covariance + self.prior_rows * shared) / (n + self.prior_rows)
        covariance = covariance + _matrix(OWN_PART * _diagonal(covariance))
        if self.factors is not None:
            covariance, own = _by_factors(covariance, self.factors, own)
        choleskys = np.linalg.cholesky(covariance)
        inverses = np.linalg.inv(choleskys)
        shared = None
        if mass.shape[1] > 1:
            known = part * mass / (mass + self.prior_rows)
            shared = _inverse(
                np.sum(known[..., None, None] * (np.swapaxes(inverses, -1, -2) @ inverses), axis=1)
            )
            shared *= np.minimum(1, np.min(pooled / _diagonal(shared), axis=-1))[:, None, None]
        return _Found(np.log(part), means, choleskys, inverses, shared, own, collapsed)

    def _covariances(self, shares, means):
        """Return n_k C_k, (S, k, D, D)."""
        centred = self.z - means[..., None]
        return (shares[:, :, None] * centred) @ np.swapaxes(centred, -1, -2)


def _diagonal(matrices):
    return np.diagonal(matrices, axis1=-2, axis2=-1)


def _matrix(diagonals):
    """Return diagonal matrices (..., D, D)."""
    return diagonals[..., None] * np.eye(diagonals.shape[-1])


def _inverse(precision):
    """Return inverses of symmetric matrices (S, D, D), whose columns may differ much in units."""
    units = 1 / np.sqrt(_diagonal(precision))
    units = units[..., None] * units[..., None, :]
    found = np.linalg.inv(precision * units) * units
    return (found + np.swapaxes(found, -1, -2)) / 2


def _by_factors(covariance, factors, own):
    """Return (A A^T + P, P) near covariances (S, K, D, D), by steps from P or a guess.

    With C = P^-1/2 S P^-1/2 = U diag(e) U^T, A = P^1/2 U_q (e_q - 1)^1/2 is the likeliest for P,
    and what it leaves of the variances is the next P (Zhao, Yu and Jiang 2008).
    """
    variance = _diagonal(covariance)
    steps, own = (3, 0.5 * variance) if own is None else (1, own)
    for _ in range(steps):
        root = np.sqrt(own)
        values, vectors = np.linalg.eigh(covariance / (root[..., None] * root[..., None, :]))
        loadings = (
            root[..., None]
            * vectors[..., -factors:]
            * np.sqrt(np.maximum(values[..., None, -factors:] - 1, 0))
        )
        own = np.maximum(variance - np.sum(loadings**2, axis=-1), FACTOR_PART * variance)
    return loadings @ np.swapaxes(loadings, -1, -2) + _matrix(own), own


# Where it starts --------------------------------------------------------------------------


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


def _gaps(z):
    """Return how far the nearest other value of its column is from each value, (N, D).

    A value says no more than a cell of that size. A value that repeats has as many cells, up to
    ``TIED`` in columns of variance 1, so that repeating is not rewarded.
    """
    found = np.ones(z.shape)
    for j, column in enumerate(z.T):
        values, place, count = np.unique(column, return_inverse=True, return_counts=True)
        if len(values) > 1:
            apart = np.diff(values)
            near = np.minimum(np.append(apart, np.inf), np.append(np.inf, apart))
            found[:, j] = np.clip(near * count, near, np.maximum(near, TIED))[place.reshape(-1)]
    return found


def _spread_rows(rows, number, rng):
    """Sample ``number`` rows, with chances that grow as the squared distance to the others."""
    z, distance = rows.z, np.ones(len(rows.weight))
    centres: list[Any] = []
    while len(centres) < number:
        edges = np.cumsum(distance * rows.weight)
        if not edges[-1] > 0:  # only copies are left
            edges = np.cumsum(rows.weight)
        place = np.searchsorted(edges, rng.random() * edges[-1], side="right")
        centres.append(z[:, min(place, len(distance) - 1)])
        apart = np.sum((z - centres[-1][:, None]) ** 2, axis=0)
        distance = apart if len(centres) == 1 else np.minimum(distance, apart)
    return np.array(centres)


def _nearest(z, centres):
    """Return shares (K, N) that give each of the rows z (D, N) to the centre nearest to it."""
    # Not by squares and products: distant clusters would leave no digits for near ones.
    distance = np.stack([np.sum((z - centre[:, None]) ** 2, axis=0) for centre in centres])
    return (np.arange(len(centres))[:, None] == np.argmin(distance, axis=0)).astype(np.float64)
