"""Densities in closed form: what a flow has to beat, and what stands beside it in a pool.

A full-covariance Gaussian, by maximum likelihood or shrunk so that any number of rows is
enough; a mixture of Gaussians fitted by EM; and a wide density, by which no row costs much.
All answer ``log_prob(x)`` in nats, in the units of the data, and ``sample(rng, n)``. Where rows
have weights, a whole weight counts as so many copies of the row.

Sources: Bishop 2006 (EM); Arthur and Vassilvitskii 2007 (where EM starts); Schaefer and
Strimmer 2005 (shrinkage).
"""

import math
from dataclasses import dataclass

import numpy as np

from nfref.bases.normal_mixture import logsumexp
from nfref.runtime import blas
from nfref.runtime.annotations import Any, Array, Callable, Generator, Sequence
from nfref.runtime.blocks import in_blocks
from nfref.runtime.checks import (as_array, as_rows, as_weight, check_count, check_finite_rows,
                                  check_floats, check_log_shares, check_rng, require)
from nfref.runtime.configuration import Configuration

FEW_COLUMNS = 12
LOG_TWO_PI = float(np.log(2 * np.pi))

# Added to the variances of every component, as a fraction of the column's variance. It keeps
# a component from shrinking onto a point, where the likelihood has no bound.
VARIANCE_FLOOR = 1e-6


def gaussian_log_prob(x, mean, cholesky):
    """log N(x; m, L L^T) = -|L^-1 (x - m)|^2 / 2 - sum log diag L - (D/2) log 2 pi.

    Shapes: x (N, D), mean (D,), cholesky (D, D) lower. Returns (N,).
    """
    z = solved(cholesky, x - mean)
    return (-0.5 * np.sum(z ** 2, axis=0) - np.sum(np.log(np.diag(cholesky)))
            - 0.5 * len(mean) * LOG_TWO_PI)


def solved(cholesky, x):
    """L^-1 x of rows x (N, D), as (D, N)."""
    if len(cholesky) > FEW_COLUMNS:
        from scipy.linalg import solve_triangular
        return solve_triangular(cholesky, x.T, lower=True, check_finite=False)
    # By columns: a small system is not worth BLAS, whose threads wait for each other.
    z = np.array(x.T)
    for j, row in enumerate(cholesky):
        for k in range(j):
            z[j] -= row[k] * z[k]
        z[j] /= row[j]
    return z


# One Gaussian -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Gaussian(Configuration):
    """A normal density with full covariance.

    Parameters
    ----------
    mean : (D,) array
    cholesky : (D, D) array
        Lower triangle L of the covariance L L^T.
    """

    mean: np.ndarray
    cholesky: np.ndarray

    @classmethod
    def fit(cls, x: Array, weight: Array | None = None) -> Any:
        """The maximum-likelihood Gaussian: mean and covariance of the rows, divided by N.

        Parameters
        ----------
        x : (N, D) array
        weight : (N,) array, optional
            What each row counts.

        Raises
        ------
        ValueError
            If the covariance is singular: fewer than D + 1 rows, or columns that are linear
            functions of others.
        """
        x, share = _rows(x, weight)
        mean, std = _moments(x, share)
        singular = ValueError("x: expected columns that are linearly independent, got a "
                              f"covariance without full rank in {x.shape[1]} columns")
        if not np.all(std > 0):
            raise singular
        # The correlations have no units, so one bound on their eigenvalues tells rank.
        z = (x - mean) / std
        correlation = (share[:, None] * z).T @ z
        if np.linalg.eigvalsh(correlation)[0] < 100 * x.shape[1] * np.finfo(float).eps:
            raise singular
        return cls(mean, std[:, None] * np.linalg.cholesky(correlation))

    @classmethod
    def shrunk(cls, x: Array, weight: Array | None = None, part: float = 1.0) -> Any:
        """A Gaussian whose correlations r are shrunk to (1 - lambda) r, for any number of rows.

        lambda = sum Var(r_ij) / sum r_ij^2 over i < j, between 0 and 1: next to nothing for many
        rows, 1 where correlations are noise (Schaefer and Strimmer 2005). Variances are
        unbiased, and at least ``VARIANCE_FLOOR`` of the largest; those of few rows are drawn
        towards their median in the same manner.

        Parameters
        ----------
        x : (N, D) array
        weight : (N,) array, optional
        part : float
            Shrink by this part of lambda. It brings correlations nearest to the true ones; where
            columns share a few causes, densities ask for much less.
        """
        x, share = _rows(x, weight)
        rows = 1 / np.sum(share ** 2) if weight is None else np.sum(weight)
        mean, std = _moments(x, share)
        known = rows / (rows + 1)
        variance = known * std ** 2 * rows / max(rows - 1, 1)
        variance = variance + (1 - known) * (np.median(std ** 2) or 1.0)
        variance = np.maximum(variance, VARIANCE_FLOOR * np.max(variance))
        z = (x - mean) / np.where(std > 0, std, 1)
        correlation = (share[:, None] * z).T @ z
        # The variance of each product z_i z_j over the rows, and of its mean.
        spread = (share[:, None] * z ** 2).T @ z ** 2 - correlation ** 2
        off = ~np.eye(len(mean), dtype=bool)
        signal = np.sum(correlation[off] ** 2)
        noise = np.sum(spread[off]) / max(rows - 1, 1)
        shrinkage = part * min(1.0, noise / signal) if signal > 0 else part
        # However alike columns are, a part of each is its own, as of a column known to rounding.
        shrinkage = max(shrinkage, VARIANCE_FLOOR)
        correlation = np.where(off, (1 - shrinkage) * correlation, 1.0)
        return cls(mean, np.sqrt(variance)[:, None] * np.linalg.cholesky(correlation))

    def log_prob(self, x):
        """Log-density in nats, (N,), of rows (N, D)."""
        return gaussian_log_prob(as_rows("x", x, len(self.mean)), self.mean, self.cholesky)

    def sample(self, rng, n):
        """``n`` rows, (n, D)."""
        return self.mean + check_rng(rng).standard_normal((n, len(self.mean))) @ self.cholesky.T

    def takes(self, dim, context_dim):
        """See :meth:`nfref.tables.pool.FittedFlow.takes`."""
        return (len(self.mean), 0) == (dim, context_dim)

    def _check(self):
        check_floats("mean", self.mean, None)
        check_floats("cholesky", self.cholesky, len(self.mean), len(self.mean))
        _check_factors("cholesky", self.cholesky)


# A mixture of Gaussians -------------------------------------------------------------------


@dataclass(frozen=True)
class GaussianMixture(Configuration):
    """A mixture of K normal densities with full covariances.

    Parameters
    ----------
    log_weights : (K,) array
    means : (K, D) array
    choleskys : (K, D, D) array
    collapsed : int
        How many components have a direction in which ``VARIANCE_FLOOR`` is most of their
        variance: they sit on repeated values, where the likelihood has no bound, and the
        density they give says nothing about the data.
    """

    log_weights: np.ndarray
    means: np.ndarray
    choleskys: np.ndarray
    collapsed: int = 0

    @classmethod
    def fit(cls, x: Array, components: int, rng: Generator, *, weight: Array | None = None,
            iterations: int = 200, tolerance: float = 1e-4) -> Any:
        """Expectation-maximisation, in logarithms (Bishop 2006, section 9.2).

        Columns are standardised first, which only affects how ``VARIANCE_FLOOR`` is meant.
        The first responsibilities are those of the nearest of K rows, drawn far apart as
        k-means++ does (Arthur and Vassilvitskii 2007).

        Parameters
        ----------
        x : (N, D) array
        components : int
            K, at most N.
        rng : numpy.random.Generator
        weight : (N,) array, optional
            What each row counts.
        iterations : int
            At most so many.
        tolerance : float
            It ends when the mean log-likelihood rises by less than this, in nats per row.
        """
        x, share = _rows(x, weight)
        check_rng(rng)
        if check_count("components", components) > len(x):
            raise ValueError(f"components: expected at most {len(x)}, one a row; "
                             f"got {components}")
        mean, std = _moments(x, share)
        std = np.where(std > 0, std, 1)
        z = (x - mean) / std
        responsibilities = _nearest(z, _spread_rows(z, components, rng))
        previous = -np.inf
        for _ in range(check_count("iterations", iterations)):
            mixture = cls(*_maximise(z, share[:, None] * responsibilities))
            joint = mixture._joint(z)
            largest = np.max(joint, axis=1, keepdims=True)
            responsibilities = np.exp(joint - largest)
            total = np.sum(responsibilities, axis=1, keepdims=True)
            responsibilities /= total
            log_prob = (largest + np.log(total))[:, 0]
            mean_log_prob = share @ log_prob
            if mean_log_prob - previous < tolerance:
                break
            previous = mean_log_prob
        return cls(mixture.log_weights, mean + std * mixture.means,
                   std[:, None] * mixture.choleskys, _collapsed(mixture.choleskys))

    @classmethod
    def choose(cls, x: Array, validation: Array, rng: Generator, *, weight: Array | None = None,
               validation_weight: Array | None = None,
               components: Sequence[int] = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32),
               log_prob: Callable[..., Any] | None = None) -> Any:
        """The mixture whose number of components gives validation rows the highest density.

        Numbers are tried in order, until two in a row are no better than the best or there
        are fewer than D + 1 training rows a component.

        Parameters
        ----------
        x, validation : (N, D), (M, D) array
        rng : numpy.random.Generator
        weight, validation_weight : (N,), (M,) array, optional
            What each row counts.
        components : sequence of int
        log_prob : callable, optional
            (mixture, validation) -> (M,): what validation rows are judged by, if not their density.
        """
        import scipy.linalg  # noqa: F401, a BLAS of its own, which has to be there to be limited
        x = _rows(x)[0]

        def scored():
            for k, number in enumerate(components):
                if k and number * (x.shape[1] + 1) > len(x):
                    return
                mixture = cls.fit(x, number, rng, weight=weight)
                yield mixture, np.average(log_prob(mixture, validation) if log_prob
                                          else mixture.log_prob(validation),
                                          weights=validation_weight)

        # Matrices as small as these are slower on several BLAS threads, much slower where
        # processors are busy.
        with blas.one_thread():
            return _first_best(scored())

    @property
    def components(self):
        return len(self.log_weights)

    def _joint(self, x):
        """log(w_k N(x; m_k, L_k L_k^T)), (N, K)."""
        return self.log_weights + np.stack(
            [gaussian_log_prob(x, mean, cholesky)
             for mean, cholesky in zip(self.means, self.choleskys)], axis=1)

    def log_prob(self, x):
        """Log-density in nats, (N,), of rows (N, D)."""
        x = as_rows("x", x, self.means.shape[1])
        return np.logaddexp.reduce(self._joint(x), axis=1)

    def sample(self, rng, n):
        """``n`` rows, (n, D)."""
        weights = np.exp(self.log_weights)
        chosen = check_rng(rng).choice(len(weights), n, p=weights / np.sum(weights))
        noise = rng.standard_normal((n, self.means.shape[1]))
        return self.means[chosen] + np.einsum("nij,nj->ni", self.choleskys[chosen], noise)

    def takes(self, dim, context_dim):
        """See :meth:`nfref.tables.pool.FittedFlow.takes`."""
        return (self.means.shape[1], 0) == (dim, context_dim)

    def _check(self):
        check_floats("means", self.means, None, None)
        components, dim = self.means.shape
        require(components > 0, "means: expected at least one, got none")
        check_log_shares("log_weights", self.log_weights, components)
        check_floats("choleskys", self.choleskys, components, dim, dim)
        _check_factors("choleskys", self.choleskys)
        check_count("collapsed", self.collapsed, 0)


def _check_factors(name, factors):
    """That matrices (..., D, D) are lower triangles with a diagonal above 0."""
    diagonals = np.diagonal(factors, axis1=-2, axis2=-1)
    require(np.all(diagonals > 0) and not np.any(np.triu(factors, 1)),
            f"{name}: expected a lower triangle with a diagonal above 0")


def _first_best(scored):
    """The thing of the highest score, of pairs (thing, score) that are taken in order until two in
    a row are no better than the best."""
    best, best_score, worse = None, -np.inf, 0
    for thing, score in scored:
        if best is None or score > best_score:
            best, best_score, worse = thing, score, 0
        else:
            worse += 1
        if worse == 2:
            break
    return best


def _maximise(z, responsibilities):
    """The weights, means and Cholesky factors that the responsibilities (N, K) ask for.

    They may count rows with weights.
    """
    dim = z.shape[1]
    # A component that no row belongs to keeps a weight near zero instead of none.
    mass = np.sum(responsibilities, axis=0) + 10 * np.finfo(float).eps
    means = responsibilities.T @ z / mass[:, None]
    choleskys = np.empty((len(mass), dim, dim))
    for k in range(len(mass)):
        centred = z - means[k]
        covariance = (responsibilities[:, k, None] * centred).T @ centred / mass[k]
        choleskys[k] = np.linalg.cholesky(covariance + VARIANCE_FLOOR * np.eye(dim))
    return np.log(mass / np.sum(mass)), means, choleskys


def _collapsed(choleskys):
    """How many of the covariances L L^T have an eigenvalue near ``VARIANCE_FLOOR``."""
    smallest = np.linalg.svd(choleskys, compute_uv=False)[:, -1] ** 2
    return int(np.sum(smallest < 2 * VARIANCE_FLOOR))


def _spread_rows(z, number, rng):
    """``number`` rows, each drawn with chances that grow as its squared distance to the rest."""
    centres = [z[rng.integers(len(z))]]
    distance = np.sum((z - centres[0]) ** 2, axis=1)
    while len(centres) < number:
        total = np.sum(distance)
        chances = distance / total if total > 0 else None     # only copies are left
        centres.append(z[rng.choice(len(z), p=chances)])
        distance = np.minimum(distance, np.sum((z - centres[-1]) ** 2, axis=1))
    return np.array(centres)


def _nearest(z, centres):
    """Responsibilities (N, K) that give each row to the centre nearest to it."""
    distance = np.sum(centres ** 2, axis=1) - 2 * z @ centres.T
    return np.eye(len(centres))[np.argmin(distance, axis=1)]


def _rows(x, weight=None):
    """At least one finite row, in float64, and the share (N,) of each row in the whole."""
    x = as_array("x", x)
    if x.ndim != 2 or x.size == 0:
        raise ValueError(f"x: expected shape (N, D) with rows, got {x.shape}")
    check_finite_rows("x", x)
    weight = as_weight("weight", weight, len(x))
    share = np.full(len(x), 1 / len(x)) if weight is None else weight / np.sum(weight)
    return x.astype(np.float64, copy=False), share


def _moments(x, share):
    """Mean and standard deviation of the columns."""
    # Not their one-pass forms: a mean far from zero would take the digits of the spread.
    mean = x[0] + share @ (x - x[0])
    return mean, np.sqrt(share @ (x - mean) ** 2)


# Kernel density ---------------------------------------------------------------------------


@dataclass(frozen=True)
class KernelDensity:
    """log 1/W sum_i w_i N(x; x_i, h^2 I): a normal kernel on every row, all of one width.

    Something to compare with, and in no pool: it would keep the rows themselves.

    Parameters
    ----------
    rows : (M, D) array
        In units in which columns are alike.
    log_weights : (M,) array
        log(w / W).
    bandwidth : float
        h.
    """

    rows: np.ndarray
    log_weights: np.ndarray
    bandwidth: float

    @classmethod
    def choose(cls, x: Array, *, weight: Array | None = None, folds: int = 5,
               bandwidths: Sequence[float] = tuple(1.5 / 1.3 ** np.arange(14))) -> Any:
        """The width by cross-validation, and a kernel of that width on every row.

        Each fold, every ``folds``-th row, is scored by kernels on the rows of the others. The width
        with the highest mean over all rows wins. They are tried from the widest on, until two in
        a row are no better than the best; a single row takes the widest.

        Parameters
        ----------
        x : (N, D) array
            In an order that says nothing.
        weight : (N,) array, optional
            What each row counts.
        folds : int
            At least 2.
        bandwidths : sequence of float
            Descending.
        """
        x, share = _rows(x, weight)
        x, share = x[share > 0], share[share > 0]
        fold = np.arange(len(x)) % check_count("folds", folds, 2)

        def score(width):
            total = 0.0
            for left_out in np.unique(fold):
                inside, outside = fold != left_out, fold == left_out
                kernels = cls(x[inside], np.log(share[inside] / np.sum(share[inside])), width)
                total += share[outside] @ kernels.log_prob(x[outside])
            return total

        widths = [float(width) for width in bandwidths]
        best = (widths[0] if len(x) == 1 else
                _first_best((width, score(width)) for width in widths))
        return cls(x, np.log(share), best)

    def log_prob(self, x):
        """Log-density in nats, (N,), of rows (N, D)."""
        x = as_rows("x", x, self.rows.shape[1])
        constant = -x.shape[1] * (math.log(self.bandwidth) + 0.5 * LOG_TWO_PI)
        squares = np.sum(self.rows ** 2, axis=1)

        def some(x):
            apart = np.sum(x ** 2, axis=1)[:, None] + squares - 2 * x @ self.rows.T
            return logsumexp(self.log_weights - np.maximum(apart, 0) * (0.5 / self.bandwidth ** 2))

        return constant + in_blocks(some, x, block=256)


# A wide density ---------------------------------------------------------------------------


def student_log_prob(x, freedom):
    """Of independent Student t: sum_j log Gamma((v+1)/2) - log Gamma(v/2) - log(v pi)/2
    - (v+1)/2 log(1 + x_j^2/v).

    Shapes: x (N, D), freedom v > 0. Returns (N,).
    """
    constant = (math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)
                - 0.5 * math.log(freedom * math.pi))
    # log(1 + t^2) = 2 log hypot(1, t), which no large t overflows.
    return np.sum(constant - (freedom + 1) * np.log(np.hypot(1, x / math.sqrt(freedom))), axis=1)


@dataclass(frozen=True)
class Wide(Configuration):
    """Independent columns, each Student t about 0 with scale 1: of columns in robust units.

    Nothing in it is fitted. A column c scales out costs a row about (v + 1) log c nats, where a
    Gaussian makes it pay c^2 / 2.

    Parameters
    ----------
    dim : int
    freedom : float, default 3.0
        v, the degrees of freedom.
    """

    dim: int
    freedom: float = 3.0

    def log_prob(self, x):
        """Log-density in nats, (N,), of rows (N, D)."""
        return student_log_prob(as_rows("x", x, self.dim), self.freedom)

    def sample(self, rng, n):
        """``n`` rows, (n, D)."""
        return check_rng(rng).standard_t(self.freedom, (n, self.dim))

    def takes(self, dim, context_dim):
        """See :meth:`nfref.tables.pool.FittedFlow.takes`."""
        return (self.dim, 0) == (dim, context_dim)

    def _check(self):
        require(0 < self.freedom < 1e9, f"freedom: expected a number above 0, got {self.freedom}")
