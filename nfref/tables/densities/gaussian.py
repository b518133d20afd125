"""A full-covariance Gaussian, by maximum likelihood or with shrunk correlations.

A whole weight counts as that many copies of a row.

Source: Schaefer and Strimmer 2005 (shrinkage).
"""

from dataclasses import dataclass

import numpy as np

from nfref.runtime.annotations import Any, Array, Generator, Iterator
from nfref.runtime.checks import (
    as_array,
    as_rows,
    as_weight,
    check_finite_rows,
    check_floats,
    check_rng,
    require,
)
from nfref.runtime.configuration import Configuration

FEW_COLUMNS = 12
LOG_TWO_PI = float(np.log(2 * np.pi))

ROUNDING = 1e-13  # deviation a column that rounding leaves, where columns have deviation 1
VARIANCE_FLOOR = 1e-6  # smallest variance after shrinking, as a share of the largest


def gaussian_log_prob(x: Array, mean: Array, cholesky: Array) -> Array:
    """Return log N(x; m, L L^T) = -|L^-1 (x - m)|^2 / 2 - sum log diag L - (D/2) log 2 pi.

    Shapes: x (N, D), mean (D,), cholesky (D, D) lower. Returns (N,). Or means (K, D) and choleskys
    (K, D, D) of up to ``FEW_COLUMNS`` columns; then it returns (N, K).
    """
    z = solved(cholesky, x - mean[..., None, :])
    diagonal = np.diagonal(cholesky, axis1=-2, axis2=-1)
    return (
        -0.5 * np.sum(z**2, axis=0)
        - np.sum(np.log(diagonal), axis=-1)
        - 0.5 * mean.shape[-1] * LOG_TWO_PI
    )


def solved(cholesky: Array, x: Array) -> Array:
    """Return L^-1 x of rows x (N, D), as (D, N); or of x (K, N, D) and K factors, as (D, N, K)."""
    if cholesky.shape[-1] > FEW_COLUMNS:
        from scipy.linalg import solve_triangular

        return solve_triangular(cholesky, x.T, lower=True, check_finite=False)
    # By columns: BLAS threads would wait for each other on a small system.
    z = np.array(x.T)
    for k, column in enumerate(cholesky.T):
        z[k] /= column[k]
        z[k + 1 :] -= column[k + 1 :, None] * z[k]
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
    def fit(cls, x: Array, weight: Array | None = None) -> "Gaussian":
        """Fit by maximum likelihood: mean and covariance of the rows, divided by N.

        Parameters
        ----------
        x : (N, D) array
        weight : (N,) array, optional
            Weight of each row.

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
        # Not from the covariance: squares lose half of the digits of nearly dependent columns.
        factor = triangle(np.sqrt(share) * ((x - mean) / std).T)
        # Columns of variance 1 have no units, so one bound decides the rank.
        if np.linalg.svd(factor, compute_uv=False)[-1] < ROUNDING * len(factor):
            raise singular
        return cls(mean, std[:, None] * factor)

    @classmethod
    def shrunk(cls, x: Array, weight: Array | None = None, part: float = 1.0) -> "Gaussian":
        """Fit with correlations r shrunk to (1 - lambda) r, for any number of rows.

        lambda = sum Var(r_ij) / sum r_ij^2 over i < j, between 0 and 1: almost 0 for many rows, 1
        where correlations are noise (Schaefer and Strimmer 2005). Variances are unbiased, and at
        least ``VARIANCE_FLOOR`` of the largest; for few rows they are shrunk towards their median
        in the same manner.

        Parameters
        ----------
        x : (N, D) array
        weight : (N,) array, optional
        part : float
            Shrink by this part of lambda. The whole brings correlations nearest to the true ones;
            where columns share a few causes, densities need much less.
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
        # However similar columns are, each keeps a part of its own, as if known to rounding.
        shrinkage = max(shrinkage, VARIANCE_FLOOR)
        correlation = np.where(off, (1 - shrinkage) * correlation, 1.0)
        return cls(mean, np.sqrt(variance)[:, None] * np.linalg.cholesky(correlation))

    def log_prob(self, x: Array) -> Array:
        """Return the log-density in nats, (N,), of rows (N, D)."""
        return gaussian_log_prob(as_rows("x", x, len(self.mean)), self.mean, self.cholesky)

    def sample(self, rng: Generator, n: int) -> Array:
        """Sample ``n`` rows, (n, D)."""
        return self.mean + check_rng(rng).standard_normal((n, len(self.mean))) @ self.cholesky.T

    def takes(self, dim: int, context_dim: int) -> bool:
        """Return as :meth:`nfref.tables.densities.pool.FittedFlow.takes` does."""
        return (len(self.mean), 0) == (dim, context_dim)

    def _check(self):
        check_floats("mean", self.mean, None)
        check_floats("cholesky", self.cholesky, len(self.mean), len(self.mean))
        check_factors("cholesky", self.cholesky)


def triangle(a: Array) -> Array:
    """Return the lower L (..., D, D), diagonal at least 0, with L L^T = a a^T for a (..., D, N)."""
    dim, rows = a.shape[-2:]
    if rows < dim:
        a = np.concatenate([a, np.zeros((*a.shape[:-1], dim - rows))], axis=-1)
    upper = np.linalg.qr(np.swapaxes(a, -1, -2), mode="r")
    signs = np.where(np.diagonal(upper, axis1=-2, axis2=-1) < 0, -1.0, 1.0)
    return np.swapaxes(signs[..., None] * upper, -1, -2)


def check_factors(name: str, factors: Array) -> None:
    """Check that matrices (..., D, D) are lower triangles with a diagonal above 0."""
    diagonals = np.diagonal(factors, axis1=-2, axis2=-1)
    require(
        np.all(diagonals > 0) and not np.any(np.triu(factors, 1)),
        f"{name}: expected a lower triangle with a diagonal above 0",
    )


def check_rows(x: Array, weight: Array | None = None) -> tuple[Array, Array]:
    """Check that there is a finite row, and return rows in float64 and their shares (N,)."""
    x = as_array("x", x)
    if x.ndim != 2 or x.size == 0:
        raise ValueError(f"x: expected shape (N, D) with rows, got {x.shape}")
    check_finite_rows("x", x)
    weight = as_weight("weight", weight, len(x))
    share = np.full(len(x), 1 / len(x)) if weight is None else weight / np.sum(weight)
    return x.astype(np.float64, copy=False), share


def moments(x: Array, share: Array) -> tuple[Array, Array]:
    """Return mean and standard deviation of the columns."""
    # Not in one pass: a mean far from zero would cost the digits of the spread.
    mean = x[0] + share @ (x - x[0])
    return mean, np.sqrt(share @ (x - mean) ** 2)


def first_best(scored: Iterator[tuple[Any, float]]) -> Any:
    """Return the pair (thing, score) of the highest score.

    Pairs are taken in order until two in a row are no better than the best.
    """
    best, worse = None, 0
    for pair in scored:
        if best is None or pair[1] > best[1]:
            best, worse = pair, 0
        else:
            worse += 1
        if worse == 2:
            break
    return best
