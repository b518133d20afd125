"""Densities in closed form: what a flow has to beat, and what stands beside it in a pool.

A full-covariance Gaussian, by maximum likelihood or shrunk so that any number of rows is enough;
kernels; and a wide density, by which no row costs much. Mixtures have a module of their own
(:mod:`nfref.tables.densities.mixture`). All answer ``log_prob(x)`` in nats, in the units of the
data, and those that stand in pools ``sample(rng, n)``. Where rows have weights, a whole weight
counts as so many copies of the row.

Source: Schaefer and Strimmer 2005 (shrinkage).
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nfref.bases.normal_mixture import logsumexp
from nfref.runtime.annotations import Any, Array, Sequence
from nfref.runtime.batching import in_blocks
from nfref.runtime.checks import (
    as_array,
    as_rows,
    as_weight,
    check_count,
    check_finite_rows,
    check_floats,
    check_rng,
    require,
)
from nfref.runtime.configuration import Configuration

FEW_COLUMNS = 12
LOG_TWO_PI = float(np.log(2 * np.pi))

REACH = 10.0  # robust units, 152 scales of a real column: so far wide densities are t
FALL = 12  # the power of a distance that wide densities fall with in the end
VARIANCE_FLOOR = 1e-6  # of the largest variance: what shrunk ones are at least


def gaussian_log_prob(x, mean, cholesky):
    """log N(x; m, L L^T) = -|L^-1 (x - m)|^2 / 2 - sum log diag L - (D/2) log 2 pi.

    Shapes: x (N, D), mean (D,), cholesky (D, D) lower. Returns (N,).
    """
    z = solved(cholesky, x - mean)
    return (
        -0.5 * np.sum(z**2, axis=0)
        - np.sum(np.log(np.diag(cholesky)))
        - 0.5 * len(mean) * LOG_TWO_PI
    )


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
        x, share = check_rows(x, weight)
        mean, std = moments(x, share)
        singular = ValueError(
            "x: expected columns that are linearly independent, got a "
            f"covariance without full rank in {x.shape[1]} columns"
        )
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
        x, share = check_rows(x, weight)
        rows = 1 / np.sum(share**2) if weight is None else np.sum(weight)
        mean, std = moments(x, share)
        known = rows / (rows + 1)
        variance = known * std**2 * rows / max(rows - 1, 1)
        variance = variance + (1 - known) * (np.median(std**2) or 1.0)
        variance = np.maximum(variance, VARIANCE_FLOOR * np.max(variance))
        z = (x - mean) / np.where(std > 0, std, 1)
        correlation = (share[:, None] * z).T @ z
        # The variance of each product z_i z_j over the rows, and of its mean.
        spread = (share[:, None] * z**2).T @ z**2 - correlation**2
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
        """See :meth:`nfref.tables.densities.pool.FittedFlow.takes`."""
        return (len(self.mean), 0) == (dim, context_dim)

    def _check(self):
        check_floats("mean", self.mean, None)
        check_floats("cholesky", self.cholesky, len(self.mean), len(self.mean))
        check_factors("cholesky", self.cholesky)


def check_factors(name, factors):
    """That matrices (..., D, D) are lower triangles with a diagonal above 0."""
    diagonals = np.diagonal(factors, axis1=-2, axis2=-1)
    require(
        np.all(diagonals > 0) and not np.any(np.triu(factors, 1)),
        f"{name}: expected a lower triangle with a diagonal above 0",
    )


def check_rows(x, weight=None):
    """At least one finite row, in float64, and the share (N,) of each row in the whole."""
    x = as_array("x", x)
    if x.ndim != 2 or x.size == 0:
        raise ValueError(f"x: expected shape (N, D) with rows, got {x.shape}")
    check_finite_rows("x", x)
    weight = as_weight("weight", weight, len(x))
    share = np.full(len(x), 1 / len(x)) if weight is None else weight / np.sum(weight)
    return x.astype(np.float64, copy=False), share


def moments(x, share):
    """Mean and standard deviation of the columns."""
    # Not their one-pass forms: a mean far from zero would take the digits of the spread.
    mean = x[0] + share @ (x - x[0])
    return mean, np.sqrt(share @ (x - mean) ** 2)


def first_best(scored):
    """The pair of the highest score, of pairs (thing, score) that are taken in order until two in
    a row are no better than the best."""
    best, worse = None, 0
    for pair in scored:
        if best is None or pair[1] > best[1]:
            best, worse = pair, 0
        else:
            worse += 1
        if worse == 2:
            break
    return best


# Kernel density ---------------------------------------------------------------------------


@dataclass(frozen=True)
class KernelDensity:
    """log 1/W sum_i w_i N(x; x_i, h^2 I): a normal kernel on every row, all of one width.

    Something to compare with, and in no pool: it would keep the rows themselves, and beside
    mixtures for 150 to 700 rows of real tables it brought 0.02 to 0.08 nats, and nothing to the
    median row.

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
    def choose(
        cls,
        x: Array,
        *,
        weight: Array | None = None,
        folds: int = 5,
        bandwidths: Sequence[float] = tuple(1.5 / 1.3 ** np.arange(14)),
    ) -> Any:
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
        x, share = check_rows(x, weight)
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
        best = (
            widths[0] if len(x) == 1 else first_best((width, score(width)) for width in widths)[0]
        )
        return cls(x, np.log(share), best)

    def log_prob(self, x):
        """Log-density in nats, (N,), of rows (N, D)."""
        x = as_rows("x", x, self.rows.shape[1])
        constant = -x.shape[1] * (math.log(self.bandwidth) + 0.5 * LOG_TWO_PI)
        squares = np.sum(self.rows**2, axis=1)

        def some(x):
            apart = np.sum(x**2, axis=1)[:, None] + squares - 2 * x @ self.rows.T
            return logsumexp(self.log_weights - np.maximum(apart, 0) * (0.5 / self.bandwidth**2))

        return constant + in_blocks(some, x, block=256)


# A wide density ---------------------------------------------------------------------------


def student_log_prob(x, freedom):
    """Of Student t: log Gamma((v+1)/2) - log Gamma(v/2) - log(v pi)/2 - (v+1)/2 log(1 + x^2/v).

    Elementwise, v > 0.
    """
    constant = (
        math.lgamma((freedom + 1) / 2)
        - math.lgamma(freedom / 2)
        - 0.5 * math.log(freedom * math.pi)
    )
    # log(1 + t^2) = 2 log hypot(1, t), which no large t overflows.
    return constant - (freedom + 1) * np.log(np.hypot(1, x / math.sqrt(freedom)))


@dataclass(frozen=True)
class Wide(Configuration):
    """Independent columns, each Student t about 0 with scale 1: of columns in robust units.

    Nothing in it is fitted. A column c scales out costs a row about (v + 1) log c nats, where a
    Gaussian makes it pay c^2 / 2. Beyond ``reach`` the density falls faster, like |x|^-12: the
    units of a real column are logarithms there, and a t would draw what nobody has seen, 1e7 scales
    out among 10,000 rows.

    Parameters
    ----------
    dim : int
    freedom : float, default 3.0
        v, the degrees of freedom.
    reach : float, default inf
        R.
    """

    dim: int
    freedom: float = 3.0
    reach: float = math.inf

    def log_prob(self, x):
        """Log-density in nats, (N,), of rows (N, D)."""
        return np.sum(self.log_column(as_rows("x", x, self.dim)), axis=1)

    def log_column(self, x):
        """log p of a column, t(min(|x|, R)) max(|x| / R, 1)^-12 / Z, elementwise."""
        size = np.abs(x)
        return (
            student_log_prob(np.minimum(size, self.reach), self.freedom)
            - FALL * np.log(np.maximum(size / self.reach, 1))
            - math.log(self._mass[2])
        )

    def below(self, x):
        """P(X <= x) of a column, elementwise."""
        from scipy.special import stdtr

        size = np.abs(x)
        beyond, of_t, mass = self._mass
        tail = (
            np.where(
                size < self.reach,
                stdtr(self.freedom, -size) - of_t + beyond,
                beyond * np.maximum(size / self.reach, 1) ** (1 - FALL),
            )
            / mass
        )
        return np.where(x < 0, tail, 1 - tail)

    def of_normal(self, normal):
        """Numbers at the same quantiles of a column as standard normal ones, elementwise."""
        from scipy.special import ndtr, stdtrit

        beyond, of_t, mass = self._mass
        tail = mass * ndtr(-np.abs(normal))  # the lower tail, which keeps its digits
        far = tail < beyond
        found = -stdtrit(self.freedom, np.where(far, 0.5, tail - beyond + of_t))
        if np.any(far):
            found[far] = self.reach * (beyond / tail[far]) ** (1 / (FALL - 1))
        return np.sign(normal) * found

    @cached_property
    def _mass(self):
        """What there is beyond R, and of the t, at either end, and Z, all that there is."""
        if math.isinf(self.reach):
            return 0.0, 0.0, 1.0
        if self.freedom == 3:  # as everywhere: to score a few rows SciPy need not be loaded
            z = self.reach / math.sqrt(3)
            of_t = (math.atan2(1, z) - z / (1 + z * z)) / math.pi
        else:
            from scipy.special import stdtr

            of_t = float(stdtr(self.freedom, -self.reach))
        beyond = self.reach * math.exp(student_log_prob(self.reach, self.freedom)) / (FALL - 1)
        return beyond, of_t, 1 + 2 * (beyond - of_t)

    def sample(self, rng, n):
        """``n`` rows, (n, D)."""
        return self.of_normal(check_rng(rng).standard_normal((n, self.dim)))

    def takes(self, dim, context_dim):
        """See :meth:`nfref.tables.densities.pool.FittedFlow.takes`."""
        return (self.dim, 0) == (dim, context_dim)

    def _check(self):
        require(0 < self.freedom < 1e9, f"freedom: expected a number above 0, got {self.freedom}")
        require(self.reach > 0, f"reach: expected a number above 0, got {self.reach}")
