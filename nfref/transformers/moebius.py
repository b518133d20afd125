r"""A convex combination of Moebius maps of the circle, for one angle at a time.

Source: Rezende et al. (tori and spheres) (2020, arXiv:2002.02428).

An angle e is the point z = exp(i e) of the unit circle, and w = p + i q a point inside the circle.
The Moebius map moves z along the line through w to the other side, then turns it by half a turn:

    .. math::

        m(z) = \frac{1 - |w|^2}{|z - w|^2} (z - w) - w = \frac{z - w}{1 - \overline{w} z}.

It contracts the circle opposite to w and stretches it near w. The angles of the two conjugate
factors in m(z) = z (1 - w / z) / conj(1 - w / z) extend it to a map of the line that commutes
with whole turns. Turned back so that it fixes the angle 0, it reads

    .. math::

        g(e) = e + 2 \arg\left((1 - w / z) \, \overline{1 - w}\right), \qquad
            g'(e) = \frac{1 - |w|^2}{|z - w|^2}.

A combination of K such maps, with weights r_k > 0 that add up to one, is again such a map,

    .. math::

        f(e) = r_1 g_1(e) + \ldots + r_K g_K(e),

and its inverse has a closed form only for K = 1. Coordinates lie in [-pi, pi), as for the
circular spline with bound pi: e is the coordinate plus pi, and -pi is the fixed point.

Arrays hold parameters first: axis 0 counts the K maps, the trailing axes are those of the angle.
Cost: O(K) per number from data to latent; ten to thirty times as much the other way, by
:func:`nfref.transformers.root.increasing_root`.

Paper:   Rezende et al. (tori and spheres), the Moebius transformation of the circle, latent to
         data: the convex combination of maps that leave the angle 0 where it is. w is omega there.
Differs: paper: f takes data to latent here, so that log-likelihoods need no root, and the fixed
         angle is -pi. How w stays inside is nfref's own. The paper finds the root by bisection.
"""

import math
from dataclasses import dataclass

import autograd.numpy as np
import numpy

from nfref.networks.activations import where
from nfref.runtime.annotations import Array
from nfref.runtime.autograd_internals import getval
from nfref.runtime.checks import check_count, positive_below
from nfref.transformers.rational_quadratic import fractions, on_the_circle
from nfref.transformers.root import inverse_by_root
from nfref.transformers.transformer import Transformer

# Formulas: from raw numbers to points inside the circle ----------------------------------------


def start_points(count: int) -> Array:
    """Return the points w' of raw zeros: evenly on a circle of radius 1/2, a single one at 0.

    Equal maps would stay equal, since they have the same gradient: a mixture of four von Mises
    densities was then fitted to within 0.21 nats instead of 0.01. Maps of points spread around a
    circle almost cancel: with K points at radius b, f(e) - e is at most 4 b^K / K.
    """
    angles = 2 * math.pi * (numpy.arange(count) + 0.5) / count
    return (count > 1) * 0.5 * numpy.stack([numpy.cos(angles), numpy.sin(angles)])


def constrain(raw: Array, count: int, limit: float) -> tuple[Array, Array, Array, Array]:
    """Return (r, p, q, 1 - |w|^2) from raw = (logits (K), p' (K), q' (K)), w' = start + p' + i q'.

    w = limit w' / sqrt(1 + |w'|^2) lies inside, and 1 - |w|^2 is a quotient of sums:

        1 - |w|^2 = (1 + (1 - limit^2) |w'|^2) / (1 + |w'|^2).

    Shapes: raw (3K, ...). Returns four arrays (K, ...).
    """
    start = (
        start_points(count).reshape((2, count) + (1,) * (raw.ndim - 1)).astype(getval(raw).dtype)
    )
    p, q = start[0] + raw[count : 2 * count], start[1] + raw[2 * count :]
    square = p * p + q * q
    shrink = limit / np.sqrt(1 + square)
    return (
        fractions(raw[:count], 0.0),
        shrink * p,
        shrink * q,
        (1 + (1 - limit) * (1 + limit) * square) / (1 + square),
    )


# Formulas: the map and its inverse -------------------------------------------------------------


def moebius_turns(e: Array, p: Array, q: Array) -> Array:
    """Return 2 arg((1 - w / z) conj(1 - w)), z = exp(i e): how far each map turns angle e.

    With 1 - w / z = (1 - w) + w (1 - 1 / z), and 1 - 1 / z = 2 i sin(e/2) exp(-i e/2), the product
    is the real |1 - w|^2 plus a multiple of sin(e/2). So the turn is exact near e = 0, too.
    """
    c, s = np.cos(e / 2), np.sin(e / 2)
    lean = p - (p * p + q * q)
    across = 2 * s * (lean * c + q * s)
    along = (1 - p) ** 2 + q * q + 2 * s * (lean * s - q * c)
    return 2 * np.arctan2(across, along)


def moebius_mixture(e: Array, r: Array, p: Array, q: Array, inside: Array) -> tuple[Array, Array]:
    """Return (f(e), log f'(e)) for e in [0, 2 pi]; the parameters from :func:`constrain`.

    f' is a sum of positive terms. Near 1 its logarithm is log1p(f' - 1), and f' - 1 is the mean of

        g' - 1 = 2 (p cos e + q sin e - |w|^2) / |z - w|^2.

    Shapes: e (...); r, p, q, inside (K, ...). Returns (...) and (...).
    """
    c, s = np.cos(e), np.sin(e)
    square = (c - p) ** 2 + (s - q) ** 2
    slope = np.sum(r * inside / square, axis=0)
    excess = np.sum(r * 2 * (p * (c - p) + q * (s - q)) / square, axis=0)
    small = slope < 0.5
    log_slope = where(
        small,
        np.log(where(small, slope, np.ones_like(slope))),
        np.log1p(where(small, np.zeros_like(slope), excess)),
    )
    return e + np.sum(r * moebius_turns(e, p, q), axis=0), log_slope


def ends_of_mixture(y: Array, r: Array, p: Array, q: Array, inside: Array) -> tuple[Array, Array]:
    """Return two angles that enclose the e with f(e) = y, for y in [0, 2 pi].

    f fixes 0 and 2 pi, and its slope lies between 1 / m and m, where m is the mean of
    (1 + |w|) / (1 - |w|) = (1 + |w|)^2 / (1 - |w|^2).
    """
    steepest = np.sum(r * (1 + np.sqrt(p * p + q * q)) ** 2 / inside, axis=0)
    return y / steepest, np.minimum(y * steepest, 2 * math.pi)


def moebius_mixture_inverse(y: Array, h: tuple[Array, ...]) -> tuple[Array, Array]:
    """Return (e, log de/dy) with f(e) = y, for y in [0, 2 pi]."""
    return inverse_by_root(moebius_mixture, ends_of_mixture, y, *h)


def _data_to_latent(v, h):
    e, log_slope = moebius_mixture(v + math.pi, *h)
    return e - math.pi, log_slope


def _latent_to_data(v, h):
    e, log_slope = moebius_mixture_inverse(v + math.pi, h)
    return e - math.pi, log_slope


# Transformer -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class MoebiusCircle(Transformer):
    """A convex combination of Moebius maps of the circle, for angles in radians.

    It fixes -pi, and x(z + 2 pi) = x(z) + 2 pi. Slopes agree there, too, so densities have no
    seam. Raw zeros give the identity up to 4 b^K / K, b = limit / sqrt(5), which is 0.0008 by
    default. Slopes lie between (1 - limit) / (1 + limit) and its reciprocal.

    Parameters
    ----------
    components : int, default 8
        Number K of Moebius maps; 3K numbers an angle.
    limit : float, default 0.99
        The largest |w|, below 1; it limits how close to the circle the points w may be.
    """

    components: int = 8
    limit: float = 0.99

    _converters = {"components": check_count, "limit": positive_below(1)}

    @property
    def size(self) -> int:
        """The raw numbers an angle takes: 3K."""
        return 3 * self.components

    def constrain(self, raw: Array) -> tuple[Array, ...]:
        """Return weights, points inside the circle and 1 - |w|^2 from raw (3K, ...)."""
        return constrain(raw, self.components, self.limit)

    def forward(self, z: Array, h: tuple[Array, ...]) -> tuple[Array, Array]:
        """Return (x, log dx/dz), each in the shape of z; by a root search."""
        return on_the_circle(_latent_to_data, z, h, math.pi)

    def inverse(self, x: Array, h: tuple[Array, ...]) -> tuple[Array, Array]:
        """Return (z, log dz/dx), each in the shape of x."""
        return on_the_circle(_data_to_latent, x, h, math.pi)
