r"""The monotone piecewise-linear spline, one coordinate at a time.

Source: Mueller, McWilliams, Rousselle, Gross, Novak 2018, arXiv:1808.03856 (NIS).

K bins of equal width divide [-B, B]. The share u_k of bin k is the part of [-B, B] that it
covers on the other axis, so the curve has the slope K u_k there. With the place a = (x - x_k) /
(x_{k+1} - x_k) in the bin,

    .. math::

        g(x) = y_k + 2 B u_k a, \qquad g'(x) = K u_k.

Outside [-B, B] the curve is the identity. The slope jumps at every knot, so a density has steps.

Arrays hold parameters first: axis 0 counts bins or knots, the trailing axes are those of x. Cost:
O(K) per number, in either direction.

Paper:   NIS, its piecewise-linear coupling transform: the integral of a histogram of K bins of
         equal width on [0, 1], whose shares are a softmax; data to latent, as
         ``linear_inverse`` here.
Differs: paper: the map is one of [-B, B], with the identity outside of it; no share is below
         ``min_height``.
         Code (nflows, ``unconstrained_linear_spline``): nothing but the smallest share.
"""

from dataclasses import dataclass

import autograd.numpy as np

from nfref.runtime.annotations import Array
from nfref.runtime.checks import check_count, check_positive
from nfref.transformers.rational_quadratic import (
    Spline,
    fractions,
    knots,
    on_the_line,
    parts_of,
    picked,
)

# Formulas ---------------------------------------------------------------------------------


def constrain(raw: Array, bound: float, min_height: float) -> tuple[Array, Array, Array]:
    """Return the knots x_k and y_k, and the slopes K u_k.

    Shapes: raw (K, ...). Returns (K+1, ...), (K+1, ...) and (K, ...).
    """
    heights = fractions(raw, min_height)
    widths = np.ones_like(heights) / len(raw)
    return knots(widths, bound), knots(heights, bound), len(raw) * heights


def line_in_bin(v: Array, ends: Array, others: Array, slopes: Array) -> tuple[Array, Array]:
    """Return the image of v on the line through both knots of its bin, and the bin's slope."""
    left, right, low, high, slope = picked(
        v, ends, ends[:-1], ends[1:], others[:-1], others[1:], slopes
    )
    a, b = parts_of(v, left, right)
    return low * b + high * a, slope


def linear_curve(x: Array, h: tuple[Array, ...]) -> tuple[Array, Array]:
    """Return (g(x), log g'(x)) for x in [-B, B]; h from :func:`constrain`."""
    y, slope = line_in_bin(x, *h)
    return y, np.log(slope)


def linear_curve_inverse(y: Array, h: tuple[Array, ...]) -> tuple[Array, Array]:
    """Return (x, log dx/dy) with g(x) = y, for y in [-B, B]."""
    x, slope = line_in_bin(y, h[1], h[0], h[2])
    return x, -np.log(slope)


# Transformer ------------------------------------------------------------------------------


@dataclass(frozen=True)
class LinearSpline(Spline):
    """A monotone piecewise-linear spline (NIS), the identity where raw is 0.

    Parameters
    ----------
    bins : int, default 8
        K; a coordinate takes K numbers.
    bound : float, default 3.0
        B: the spline acts within [-B, B], and is the identity outside.
    min_height : float, default 0.001
        Smallest height of a bin, as a part of 2B; K times it is below 1.
    """

    bins: int = 8
    bound: float = 3.0
    min_height: float = 1e-3

    _converters = {"bins": check_count, "bound": check_positive}

    @property
    def size(self) -> int:
        """Numbers a coordinate takes: K."""
        return self.bins

    def constrain(self, raw: Array) -> tuple[Array, ...]:
        """Return knots and slopes from network outputs raw (K, ...)."""
        return constrain(raw, self.bound, self.min_height)

    def forward(self, z: Array, h: tuple[Array, ...]) -> tuple[Array, Array]:
        """Return (x, log dx/dz), each in the shape of z."""
        return on_the_line(linear_curve_inverse, z, h, self.bound)

    def inverse(self, x: Array, h: tuple[Array, ...]) -> tuple[Array, Array]:
        """Return (z, log dz/dx), each in the shape of x."""
        return on_the_line(linear_curve, x, h, self.bound)
