r"""The transformer of Gaussianization flows: a mean of normal distribution functions, made normal.

Sources: Chen and Gopinath 2000 (Gaussianization); Meng, Song, Song, Ermon 2020, arXiv:2003.01941
(Gaussianization flows).

    .. math::

        z = \Phi^{-1}(S), \qquad S = \frac{1}{K} \sum_k \Phi(u_k), \qquad u_k = e^{a_k} x + b_k .

S is the probability below x of a mixture of K normals, and z is as likely below for one standard
normal. In the nearer tail, of the probability T = min(S, 1 - S), let v_k = u_k and w = z on the
right, -u_k and -z on the left. With the hazard :math:`h(v) = \varphi(v) / \Phi(-v)`,

    .. math::

        T = \frac{1}{K} \sum_k \Phi(-v_k), \qquad \frac{dz}{dx} = \frac{S'}{\varphi(z)}
            = \sum_k e^{a_k} q_k \frac{h(v_k)}{h(w)}, \qquad q_k = \frac{\Phi(-v_k)}{K T}.

Only logarithms of T and h are computed, so no density underflows and nothing is clipped. Far out
the flattest component alone matters, and the map is onto the line.

Shapes: parameters first, x (...) and a, b (K, ...). Cost: O(K) per number from x to z; about ten
times that from z to x, by :func:`nfref.transformers.root.increasing_root`.

Paper:   Chen and Gopinath, its mixture of normals for one coordinate; Gaussianization flows, its
         trainable kernel layer, data to latent, where x is x here and its image is z.
Differs: paper: only its opening could be read here; the map is that of the code below.
         Code (zuko, GF): the same map in the same direction; S is multiplied by 1 - 1e-6 about
         1/2, so that the map is bounded, at about +-5, and its inverse searches [-10, 10]. a is
         unbounded and starts random. Here a is bounded, r / sqrt(1 + (r/B)^2) of a raw number r,
         and b is spread over [-1, 1] where raw is 0, as components that start alike stay alike.
"""

from dataclasses import dataclass

import autograd.numpy as np
import numpy

from nfref.runtime.annotations import Array
from nfref.runtime.autograd_internals import defvjp, getval, primitive
from nfref.runtime.checks import check_count, check_positive
from nfref.transformers.affine import bounded
from nfref.transformers.deep_sigmoid import log_probabilities, log_sum, spread
from nfref.transformers.root import inverse_by_root
from nfref.transformers.transformer import Transformer

HALF_LOG_TWO_PI = float(0.5 * np.log(2 * np.pi))

NEAR = 4.0  # up to here h(v) - v loses no more than five bits
TERMS = 60  # of the continued fraction: from NEAR on more change nothing

# Formulas ---------------------------------------------------------------------------------


@primitive
def log_tail(v: Array) -> Array:
    """Return log Phi(-v). Elementwise."""
    from scipy.special import log_ndtr  # slow to import, so only on use

    return log_ndtr(-v)


@primitive
def hazard(v: Array) -> Array:
    """Return h(v) = phi(v) / Phi(-v), to a few rounding errors. Elementwise."""
    from scipy.special import erfcx, log_ndtr

    right = (2 / numpy.pi) ** 0.5 / erfcx(numpy.maximum(v, 0) / 2**0.5)
    below = numpy.minimum(v, 0)
    with numpy.errstate(over="ignore"):
        left = numpy.exp(-0.5 * below**2 - HALF_LOG_TWO_PI - log_ndtr(-below))
    return numpy.where(v > 0, right, left).astype(v.dtype)


@primitive
def hazard_beyond(v: Array) -> Array:
    """Return h(v) - v, without cancellation. Elementwise.

    Far out it is about 1 / v, beside an h of about v. There Laplace's continued fraction
    v + 1 / (v + 2 / (v + 3 / ...)) of h gives it.
    """
    far = numpy.maximum(v, NEAR)
    below = far
    for k in range(TERMS, 1, -1):
        below = far + k / below
    return numpy.where(v > NEAR, 1 / below, hazard(v) - v).astype(v.dtype)


@primitive
def log_hazard(v: Array) -> Array:
    """Return log h(v) = log phi(v) - log Phi(-v), without cancellation. Elementwise."""
    from scipy.special import erfcx, log_ndtr

    with numpy.errstate(over="ignore"):
        right = -numpy.log(erfcx(v / 2**0.5)) + 0.5 * numpy.log(2 / numpy.pi)
    left = -0.5 * numpy.minimum(v, 0) ** 2 - HALF_LOG_TWO_PI - log_ndtr(-v)
    return numpy.where(v > 0, right, left).astype(v.dtype)


@primitive
def log_hazard_ratio(v: Array, w: Array) -> Array:
    """Return log h(v) - log h(w) for w from 0 upwards, from the ratio. Shapes: v (K, ...), w (...).

    The logarithms themselves grow far out, while their difference is about log(v / w).
    """
    from scipy.special import erfcx

    right = numpy.log(erfcx(w / 2**0.5) / erfcx(numpy.maximum(v, 0) / 2**0.5))
    return numpy.where(v > 0, right, log_hazard(v) - log_hazard(w)).astype(v.dtype)


@primitive
def tail_point(log_t: Array) -> Array:
    """Return the w with log Phi(-w) = log_t. Elementwise.

    SciPy's root is wrong by up to 1,000 ulp far out, so a step of Newton's method follows.
    """
    from scipy.special import log_ndtr, ndtri_exp

    w = -ndtri_exp(log_t)
    return w + (log_ndtr(-w) - log_t) * numpy.exp(-log_hazard(w))


defvjp(hazard, lambda h, v: lambda g: g * h * hazard_beyond(v))
defvjp(hazard_beyond, lambda beyond, v: lambda g: g * (hazard(v) * beyond - 1))
defvjp(log_tail, lambda answer, v: lambda g: -g * hazard(v))
defvjp(log_hazard, lambda answer, v: lambda g: g * hazard_beyond(v))
defvjp(
    log_hazard_ratio,
    lambda answer, v, w: lambda g: g * hazard_beyond(v),
    lambda answer, v, w: lambda g: -np.sum(g, axis=0) * hazard_beyond(w),
)
defvjp(tail_point, lambda w, log_t: lambda g: -g / hazard(w))


def mixture_of_normals_inverse(x: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """Return z = Phi^-1(mean of Phi(e^a_k x + b_k)) and log dz/dx. Elementwise."""
    from scipy.special import ndtr

    u = np.exp(a) * x + b
    side = numpy.where(numpy.mean(ndtr(getval(u)), axis=0) > 0.5, 1, -1).astype(u.dtype)
    v = side * u
    least = numpy.min(getval(v), axis=0)
    far = (least > numpy.finfo(v.dtype).max ** 0.5 / 2) & (least < np.inf)
    if not far.any():
        w, log_slope = in_tail(v, a)
        return side * w, log_slope
    w, log_slope = in_tail(np.where(far, 1, v), a)
    alone, its_slope = of_least(v, a)
    return side * np.where(far, alone, w), np.where(far, its_slope, log_slope)


def in_tail(v: Array, a: Array) -> tuple[Array, Array]:
    """Return the w with Phi(-w) = mean of Phi(-v_k), and log dz/dx. Shapes: (K, ...) to (...)."""
    tails = log_tail(v)
    w = tail_point(log_sum(tails) - float(np.log(len(v))))
    return w, log_sum(a + log_probabilities(tails) + log_hazard_ratio(v, w))


def of_least(v: Array, a: Array) -> tuple[Array, Array]:
    """Return the least v_k and its a_k, as :func:`in_tail` does to rounding where v^2 overflows."""
    each = numpy.arange(len(v)).reshape(-1, *[1] * (v.ndim - 1))
    least = each == numpy.argmin(getval(v), axis=0)
    return np.sum(np.where(least, v, 0), axis=0), np.sum(np.where(least, a, 0), axis=0)


def ends_of_normals(z: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """Return the smallest and the largest (z - b_k) e^-a_k, which enclose the root x.

    There component k alone would give z. S lies between the least and the largest Phi(u_k).
    """
    alone = (z - b) * np.exp(-a)
    return np.min(alone, axis=0), np.max(alone, axis=0)


def mixture_of_normals_forward(z: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """Return the x that :func:`mixture_of_normals_inverse` takes to z, and log dx/dz."""
    return inverse_by_root(mixture_of_normals_inverse, ends_of_normals, z, a, b)


# Transformer ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gaussianization(Transformer):
    """The normal quantile of a mean of normal distribution functions (Gaussianization flows).

    Parameters
    ----------
    components : int, default 8
        K; a coordinate takes 2K numbers.
    bound : float, default 5.0
        B: the log-slopes a_k stay within (-B, B).
    """

    components: int = 8
    bound: float = 5.0

    _converters = {"components": check_count, "bound": check_positive}

    @property
    def size(self) -> int:
        """Numbers a coordinate takes: 2K."""
        return 2 * self.components

    def constrain(self, raw: Array) -> tuple[Array, ...]:
        """Return (a, b), each (K, ...), from raw (2K, ...)."""
        a, b = np.split(raw, 2)
        return bounded(a, self.bound), spread(b) + b

    def forward(self, z: Array, h: tuple[Array, ...]) -> tuple[Array, Array]:
        """Return (x, log dx/dz), each in the shape of z."""
        return mixture_of_normals_forward(z, *h)

    def inverse(self, x: Array, h: tuple[Array, ...]) -> tuple[Array, Array]:
        """Return (z, log dz/dx), each in the shape of x."""
        return mixture_of_normals_inverse(x, *h)
