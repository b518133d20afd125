"""The von Mises density of angles, with learned location and concentration."""

import math
from dataclasses import dataclass

import autograd.numpy as np
import numpy

from nfref.bases.base import Base
from nfref.bases.standard_normal import LOG_TWO_PI
from nfref.runtime.annotations import Array
from nfref.runtime.autograd_internals import defvjp, getval, primitive
from nfref.runtime.checks import check_positive
from nfref.transformers.rational_quadratic import folded

# Bessel functions ----------------------------------------------------------------------------


def deficit_series(terms: int) -> tuple[float, ...]:
    """Return b_k with 1 - I1(c) / I0(c) = b_1 / c + b_2 / c^2 + ... for large c.

    A = I1 / I0 solves A' = 1 - A / c - A^2; comparing powers of c in that equation for 1 - A
    gives 2 b_k = (k - 2) b_{k-1} + sum_j b_j b_{k-j}, from b_1 = 1/2 on.
    """
    b = [0.0, 0.5]
    for k in range(2, terms + 1):
        b.append(((k - 2) * b[k - 1] + sum(b[j] * b[k - j] for j in range(1, k))) / 2)
    return tuple(b[1:])


SERIES, SERIES_FROM = deficit_series(20), 40.0  # from 40 on the omitted terms are below 1e-17


@primitive
def log_i0e(c: Array) -> Array:
    """Return log (e^-c I0(c)) for c >= 0; elementwise."""
    from scipy.special import i0e  # slow to import, so only on use

    return np.log(i0e(c))


@primitive
def deficit(c: Array) -> Array:
    """Return 1 - I1(c) / I0(c) for c >= 0: 1 minus the mean of the cosine; elementwise.

    It falls like 1 / (2 c), so for large c it is a series, in which nothing cancels.
    """
    from scipy.special import i0e, i1e

    c = np.asarray(c)
    far = c > SERIES_FROM
    inverse, series = 1 / np.where(far, c, SERIES_FROM), 0
    for b in reversed(SERIES):
        series = (series + b) * inverse
    return np.where(far, series, 1 - i1e(c) / i0e(c)).astype(c.dtype)


def mean_cosine_over(c: Array) -> Array:
    """Return I1(c) / (c I0(c)), which is 1/2 at c = 0."""
    from scipy.special import i0e, i1e

    return np.where(c > 0, i1e(c) / (np.where(c > 0, c, 1) * i0e(c)), 0.5)


defvjp(log_i0e, lambda ans, c: lambda g: -g * deficit(c))
defvjp(deficit, lambda ans, c: lambda g: g * (mean_cosine_over(c) - ans * (2 - ans)))

# Samples as functions of the concentration ---------------------------------------------------

NODES, WEIGHTS = numpy.polynomial.legendre.leggauss(40)


@primitive
def as_function_of(c: Array, angle: Array) -> Array:
    """Return the angle itself, a sample with location 0 and concentration c.

    To autograd it moves with c such that its rank, P(less than angle; c), is constant:

        da/dc = -integral from 0 to a of e^(c (cos s - cos a)) (cos s - I1(c) / I0(c)) ds.
    """
    return angle


def shift_in_concentration(c: Array, angle: Array) -> Array:
    """Return da/dc as above, by Gauss-Legendre quadrature.

    Shapes: c (D,), angle (N, D). Returns (N, D).
    """
    a = angle[..., None]
    s = a * (0.5 + 0.5 * NODES)
    rise = 2 * np.sin((a - s) / 2) * np.sin((a + s) / 2)  # cos s - cos a
    values = np.exp(c[..., None] * rise) * (deficit(c)[..., None] - 2 * np.sin(s / 2) ** 2)
    return -0.5 * angle * (values @ WEIGHTS)


defvjp(
    as_function_of,
    lambda ans, c, angle: lambda g: np.sum(g * shift_in_concentration(c, angle), axis=0),
    argnums=(0,),
)


# Base ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class VonMises(Base):
    """The von Mises density of D angles, independent of each other: the normal of the circle.

        log p(z) = sum_i  c_i cos(z_i - m_i) - log(2 pi I0(c_i))

    Angles are in radians. z and z + 2 pi are one point of the circle and have one density, which
    integrates to one over any interval of length 2 pi; samples lie within [-pi, pi]. Large c
    gives a normal of variance 1 / c around m, small c the uniform density. Samples are
    differentiable in location and concentration.

    Parameters
    ----------
    dim : int
    concentration : float, default 1.0
        Initial concentration c, in every coordinate; the location starts at 0.

    Notes
    -----
    Parameters in ``params``: ``location`` m and ``log_concentration`` log c, each (D,). NumPy makes
    the samples, exactly by rejection up to c = 1e6, and beyond that by the normal above.
    """

    dim: int
    concentration: float = 1.0

    _converters = {"concentration": check_positive}

    def _init(self, rng):
        return {
            "location": np.zeros(self.dim),
            "log_concentration": np.full(self.dim, np.log(self.concentration)),
        }

    def _log_prob(self, params, z):
        c = np.exp(params["log_concentration"])
        # cos - 1 = -2 sin^2 of the half angle keeps its digits where c is large.
        fall = 2 * c * np.sin((z - params["location"]) / 2) ** 2
        return -np.sum(fall, axis=1) - np.sum(log_i0e(c)) - self.dim * LOG_TWO_PI

    def _sample(self, params, rng, n):
        c = np.exp(params["log_concentration"])
        angle = rng.vonmises(0.0, getval(c), (n, self.dim))
        return folded(params["location"] + as_function_of(c, angle), math.pi)

    def entropy(self, params: dict[str, Array]) -> float:
        """Return sum_i c_i (1 - I1(c_i) / I0(c_i)) + log (2 pi e^-c_i I0(c_i)), in nats."""
        c = np.exp(params["log_concentration"])
        return np.sum(c * deficit(c) + log_i0e(c)) + self.dim * LOG_TWO_PI
