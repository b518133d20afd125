"""The von Mises-Fisher density of directions, with learned mean and concentration."""

import math
from dataclasses import dataclass

import autograd.numpy as np
import numpy

from nfref.bases.base import Base
from nfref.bases.standard_normal import LOG_TWO_PI
from nfref.bases.uniform_sphere import check_on_sphere
from nfref.runtime.annotations import Array
from nfref.runtime.autograd_internals import defvjp, getval, isbox, primitive
from nfref.runtime.checks import at_least, check_positive

# Bessel functions ----------------------------------------------------------------------------


@primitive
def log_bessel(c: Array, order: float) -> Array:
    """Return log(e^-c c^-v I_v(c)) for c >= 0 and the order v; elementwise."""
    from scipy.special import hyp0f1, ive  # slow to import, so only on use

    c = np.asarray(c)
    near, far = np.minimum(c, 1), np.maximum(c, 1)
    series = np.log(hyp0f1(order + 1, near**2 / 4)) - near
    series = series - order * math.log(2) - math.lgamma(order + 1)
    return np.where(c < 1, series, np.log(ive(order, far)) - order * np.log(far)).astype(c.dtype)


@primitive
def mean_cosine(c: Array, order: float) -> Array:
    """Return I_{v+1}(c) / I_v(c) for c >= 0: the mean of the cosine; elementwise."""
    from scipy.special import hyp0f1, ive

    c = np.asarray(c)
    near, far = np.minimum(c, 1), np.maximum(c, 1)
    series = near * hyp0f1(order + 2, near**2 / 4) / hyp0f1(order + 1, near**2 / 4)
    found = np.where(c < 1, series / (2 * order + 2), ive(order + 1, far) / ive(order, far))
    return found.astype(c.dtype)


def slope_of_cosine(c: Array, cosine: Array, order: float) -> Array:
    """Return dA/dc = 1 - A^2 - (2 v + 1) A / c, A the mean cosine."""
    return 1 - cosine**2 - (2 * order + 1) * cosine / c


defvjp(log_bessel, lambda ans, c, order: lambda g: g * (mean_cosine(c, order) - 1), argnums=(0,))
defvjp(
    mean_cosine, lambda ans, c, order: lambda g: g * slope_of_cosine(c, ans, order), argnums=(0,)
)


# Base ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class VonMisesFisher(Base):
    """The von Mises-Fisher density of the unit sphere of D numbers: the normal of directions.

        log p(z) = c m . z + (D/2 - 1) log c - D/2 log(2 pi) - log I_{D/2-1}(c)

    It is a density with respect to the area of the sphere. Large c gives a normal of variance 1 / c
    around m, small c the uniform density.

    Parameters
    ----------
    dim : int
        D, at least 2; the sphere has D - 1 dimensions.
    concentration : float, default 1.0
        Initial concentration c.

    Notes
    -----
    Parameters in ``params``: ``direction`` (D,), of any length above zero, and
    ``log_concentration`` (1,). SciPy makes the samples; they have no derivatives.
    """

    dim: int
    concentration: float = 1.0

    _converters = {"dim": at_least(2), "concentration": check_positive}

    def _init(self, rng):
        return {
            "direction": np.eye(self.dim)[-1],
            "log_concentration": np.full(1, np.log(self.concentration)),
        }

    def _log_prob(self, params, z):
        check_on_sphere(z)
        c, order = np.exp(params["log_concentration"]), self.dim / 2 - 1
        # 1 - m . z is half of |z - m|^2, which keeps its digits where c is large.
        gap = z - _unit(params["direction"])
        fall = 0.5 * c * np.sum(gap * gap, axis=1)
        return -fall - self.dim / 2 * LOG_TWO_PI - log_bessel(c, order)

    def _sample(self, params, rng, n):
        from scipy.stats import vonmises_fisher  # slow to import, so only on use

        mean, c = getval(_unit(params["direction"])), getval(params["log_concentration"])
        return vonmises_fisher(mean, float(np.exp(c[0]))).rvs(n, random_state=rng)

    def entropy(self, params: dict[str, Array]) -> float:
        """Return c (1 - A) + D/2 log(2 pi) + log(e^-c c^-v I_v(c)), in nats."""
        c, order = np.exp(params["log_concentration"]), self.dim / 2 - 1
        found = c * (1 - mean_cosine(c, order)) + log_bessel(c, order)
        return found[0] + self.dim / 2 * LOG_TWO_PI


def _unit(direction):
    """Return the direction over its length, computed from squares that neither over- nor underflow.

    Zeros that a network computes give the last axis, without a gradient.
    """
    plain = getval(direction)
    if not plain.any():
        if not isbox(direction):
            raise ValueError("direction: expected a length above 0, got only zeros")
        return np.eye(len(plain), dtype=plain.dtype)[-1] + 0 * direction
    _, exponent = numpy.frexp(numpy.max(numpy.abs(plain)))
    direction = direction / numpy.ldexp(plain.dtype.type(1), exponent - 1)
    return direction / np.sqrt(np.sum(direction * direction))
