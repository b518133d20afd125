"""Student's t with learned degrees of freedom, whose tails fall off like a power."""

import math
from dataclasses import dataclass

import autograd.numpy as np

from nfref.bases.base import Base
from nfref.runtime.annotations import Array
from nfref.runtime.autograd_internals import defvjp, primitive
from nfref.runtime.checks import check_positive

# (k, (2^-k - 2) B_{k+1} / (k (k+1))) for odd k, B the Bernoulli numbers: the coefficients of
# x^-k in log Gamma(x + 1/2) - log Gamma(x) - log(x) / 2. The next term is below 1e-18 for x >= 8.
SERIES = tuple(
    (k, (2.0**-k - 2) * bernoulli / (k * (k + 1)))
    for k, bernoulli in (
        (1, 1 / 6),
        (3, -1 / 30),
        (5, 1 / 42),
        (7, -1 / 30),
        (9, 5 / 66),
        (11, -691 / 2730),
        (13, 7 / 6),
        (15, -3617 / 510),
        (17, 43867 / 798),
        (19, -174611 / 330),
        (21, 854513 / 138),
    )
)


@primitive
def log_gamma_step(x: Array, order: int = 0) -> Array:
    """Return log Gamma(x + 1/2) - log Gamma(x), or a derivative of it, for x > 0; elementwise.

    ``order`` is that of the derivative. The two logarithms grow like x log x and their difference
    like log(x) / 2. So from x = 8 on it is a series in 1 / x, in which nothing cancels.
    """
    from scipy.special import gammaln, polygamma  # slow to import, so only on use

    x = np.asarray(x)
    far = x >= 8
    near, large = np.where(far, 1, x), np.where(far, x, 8)
    if order == 0:
        direct = gammaln(near + 0.5) - gammaln(near)
        series = 0.5 * np.log(large)
    else:
        direct = polygamma(order - 1, near + 0.5) - polygamma(order - 1, near)
        series = -0.5 * math.factorial(order - 1) * (-1 / large) ** order
    for k, coefficient in SERIES:
        rising = math.prod(range(k, k + order))
        series = series + coefficient * rising * (-1) ** order * (1 / large) ** (k + order)
    return np.where(far, series, direct).astype(x.dtype)


defvjp(
    log_gamma_step, lambda ans, x, order=0: lambda g: g * log_gamma_step(x, order + 1), argnums=(0,)
)


@primitive
def log_one_plus_square(u: Array) -> Array:
    """Return log(1 + u^2), as 2 log |u| + log(1 + u^-2) where |u| > 1: no square overflows."""
    size = np.abs(u)
    far = size > 1
    small = np.where(far, 1 / np.where(far, size, 1), size)
    return np.log1p(small * small) + np.where(far, 2 * np.log(np.where(far, size, 1)), 0)


def slope_of_log(u: Array) -> Array:
    """Return 2 u / (1 + u^2), which is the same for u and 1 / u."""
    far = np.abs(u) > 1
    small = np.where(far, 1 / np.where(far, u, 1), u)
    return 2 * small / (1 + small * small)


defvjp(log_one_plus_square, lambda ans, u: lambda g: g * slope_of_log(u))


@dataclass(frozen=True)
class StudentT(Base):
    """The standard t density in every coordinate, with learned degrees of freedom.

        log p(z) = sum_i  log Gamma((v_i + 1) / 2) - log Gamma(v_i / 2) - log(v_i pi) / 2
                          - (v_i + 1) / 2  log(1 + z_i^2 / v_i)

    A flow with bounded slopes keeps the tails of its base, for any training. Here the base learns
    how heavy they are, from v = 1, the Cauchy density, to the normal as v grows. Location and
    scale are up to the flow. Samples are differentiable in the degrees.

    Parameters
    ----------
    dim : int
    degrees : float, default 5.0
        Initial degrees of freedom v, in every coordinate.

    Notes
    -----
    Parameters in ``params``: ``log_degrees`` (D,), log v.
    """

    dim: int
    degrees: float = 5.0

    _converters = {"degrees": check_positive}

    def _init(self, rng):
        return {"log_degrees": np.full(self.dim, np.log(self.degrees))}

    def _log_prob(self, params, z):
        degrees = np.exp(params["log_degrees"])
        log_peak = log_gamma_step(degrees / 2) - 0.5 * (params["log_degrees"] + math.log(math.pi))
        far_out = 0.5 * (degrees + 1) * log_one_plus_square(z / np.sqrt(degrees))
        return np.sum(log_peak) - np.sum(far_out, axis=1)

    def _sample(self, params, rng, n):
        """Apply Bailey's polar method: t = r cos(angle), r^2 = v (u^(-2/v) - 1), u uniform.

        In two dimensions P(|t| > r) = (1 + r^2 / v)^(-v/2), whose inverse is r; each of the two
        coordinates has a t density. For large v it becomes the Box-Muller method.
        """
        degrees = np.exp(params["log_degrees"])
        minus_log_u = rng.standard_exponential((n, self.dim))
        angle = rng.uniform(0, 2 * np.pi, (n, self.dim))
        return np.sqrt(degrees * np.expm1(2 * minus_log_u / degrees)) * np.cos(angle)

    def entropy(self, params: dict[str, Array]) -> float:
        """Return the entropy in nats, by derivatives of log Gamma."""
        degrees = np.exp(params["log_degrees"])
        return np.sum(
            0.5 * (degrees + 1) * log_gamma_step(degrees / 2, 1)
            - log_gamma_step(degrees / 2)
            + 0.5 * (params["log_degrees"] + math.log(math.pi))
        )
