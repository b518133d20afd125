"""A wide density, which bounds the nats that any row can cost."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nfref.runtime.annotations import Array, Generator
from nfref.runtime.checks import as_rows, check_rng, require
from nfref.runtime.configuration import Configuration

REACH = 10.0  # robust units, 152 scales of a real column: wide densities are Student t up to here
FALL = 12  # the power of a distance with which wide densities fall beyond


def student_log_prob(x: Array | float, freedom: float) -> Array:
    """Return log Gamma((v+1)/2) - log Gamma(v/2) - log(v pi)/2 - (v+1)/2 log(1 + x^2/v).

    The log-density of Student t, elementwise, v > 0.
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
    """Independent columns in robust units, each Student t about 0 with scale 1.

    Nothing is fitted. A column c scales out costs a row about (v + 1) log c nats, where a Gaussian
    charges c^2 / 2. Beyond ``reach`` the density falls faster, like |x|^-12: units of a real column
    are logarithms there, and a t would sample values that no data have, 1e7 scales out among 10,000
    rows.

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

    def log_prob(self, x: Array) -> Array:
        """Return the log-density in nats, (N,), of rows (N, D)."""
        return np.sum(self.log_column(as_rows("x", x, self.dim)), axis=1)

    def log_column(self, x: Array) -> Array:
        """Return log p of a column, t(min(|x|, R)) max(|x| / R, 1)^-12 / Z, elementwise."""
        size = np.abs(x)
        return (
            student_log_prob(np.minimum(size, self.reach), self.freedom)
            - FALL * np.log(np.maximum(size / self.reach, 1))
            - math.log(self._mass[2])
        )

    def gradient(self, x: Array) -> Array:
        """Return the derivative of :meth:`log_column`, elementwise."""
        near = -(self.freedom + 1) * x / (self.freedom + x**2)
        return np.where(np.abs(x) < self.reach, near, -FALL / np.where(x == 0, 1.0, x))

    def below(self, x: Array) -> Array:
        """Return P(X <= x) of a column, elementwise."""
        from scipy.special import stdtr

        size = np.abs(x)
        beyond, of_t, mass = self._mass
        near = stdtr(self.freedom, -size) - of_t + beyond
        far = beyond * np.maximum(size / self.reach, 1) ** (1 - FALL)
        tail = np.where(size < self.reach, near, far) / mass
        return np.where(x < 0, tail, 1 - tail)

    def of_normal(self, normal: Array) -> Array:
        """Return the numbers of a column at the quantiles of standard normal ones, elementwise."""
        from scipy.special import ndtr, stdtrit

        beyond, of_t, mass = self._mass
        tail = mass * ndtr(-np.abs(normal))  # the lower tail keeps its digits
        far = tail < beyond
        found = -stdtrit(self.freedom, np.where(far, 0.5, tail - beyond + of_t))
        if np.any(far):
            found[far] = self.reach * (beyond / tail[far]) ** (1 / (FALL - 1))
        return np.sign(normal) * found

    @cached_property
    def _mass(self):
        """Return the mass beyond R of this column and of the t, at either end, and the total Z."""
        if math.isinf(self.reach):
            return 0.0, 0.0, 1.0
        # the usual case needs no SciPy, so a few rows are scored without loading it
        if self.freedom == 3:
            z = self.reach / math.sqrt(3)
            of_t = (math.atan2(1, z) - z / (1 + z * z)) / math.pi
        else:
            from scipy.special import stdtr

            of_t = float(stdtr(self.freedom, -self.reach))
        beyond = self.reach * math.exp(student_log_prob(self.reach, self.freedom)) / (FALL - 1)
        return beyond, of_t, 1 + 2 * (beyond - of_t)

    def sample(self, rng: Generator, n: int) -> Array:
        """Sample ``n`` rows, (n, D)."""
        return self.of_normal(check_rng(rng).standard_normal((n, self.dim)))

    def takes(self, dim: int, context_dim: int) -> bool:
        """Return as :meth:`nfref.tables.densities.pool.FittedFlow.takes` does."""
        return (self.dim, 0) == (dim, context_dim)

    def _check(self):
        require(0 < self.freedom < 1e9, f"freedom: expected a number above 0, got {self.freedom}")
        require(self.reach > 0, f"reach: expected a number above 0, got {self.reach}")
