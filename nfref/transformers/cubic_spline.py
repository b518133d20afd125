r"""The monotone piecewise-cubic spline, one coordinate at a time.

Source: Durkan, Bekasov, Murray, Papamakarios 2019, arXiv:1906.02145 (Cubic-spline flows).

K bins divide [-B, B] on both axes at K+1 knots (x_k, y_k). In a bin of mean slope s the curve is
the cubic with slope d_k at its left and d_{k+1} at its right knot. With the distances from both
knots as parts of the width, a + b = 1,

    .. math::

        g(x) &= y_k + (y_{k+1} - y_k) \left(\frac{d_k}{s} a b^2
            + \left(3 - \frac{d_{k+1}}{s}\right) a^2 b + a^3\right), \\
        g'(x) &= d_k b^2 + (6 s - 2 d_k - 2 d_{k+1}) a b + d_{k+1} a^2.

*The slopes* at inner knots are those of Steffen 1990: twice the smallest of the mean slopes on
both sides and of half the slope of the parabola through three knots,

    .. math::

        d_k = 2 \min\left(s_{k-1}, s_k,
            \frac{w_k s_{k-1} + w_{k-1} s_k}{2 (w_{k-1} + w_k)}\right).

The slopes at both ends are free between 0 and 3 s. So no bin has a d above 3 s, and at most one end
is above 2 s: the curve increases. All terms of g are positive.

Arrays hold parameters first: axis 0 counts bins or knots, the trailing axes are those of x. Cost:
O(K) per number from x to z; about ten times that from z to x, by
:func:`nfref.transformers.root.increasing_root`.

Paper:   Cubic-spline flows, the monotonic cubic spline with Steffen's slopes: data to latent, as
         ``cubic_curve`` here.
Differs: paper: g in the form above instead of four coefficients. The root of the cubic comes from
         Newton steps inside its bin, not from Cardano's formula, which has three cases.
         Outside [-B, B] the map is the identity; its slope jumps at -B and B.
         Code (nflows, ``unconstrained_cubic_spline``): the slope at an end is 3 s sigmoid(raw).
         Here raw is shifted, so that raw zeros are the identity, and a share is smallest. Where
         the leading coefficient is below 1e-3, its inverse solves a quadratic equation instead.
"""

import math
from dataclasses import dataclass

import autograd.numpy as np

from nfref.networks.activations import sigmoid
from nfref.runtime.annotations import Array
from nfref.runtime.checks import at_least, check_positive, positive_below
from nfref.transformers.rational_quadratic import (
    Spline,
    fractions,
    knots,
    on_the_line,
    parts_of,
    picked,
)
from nfref.transformers.root import inverse_by_root

# Formulas: from raw numbers to knots ------------------------------------------------------


def steffen_slopes(widths: Array, s: Array) -> Array:
    """Return the slopes at the K - 1 inner knots. Shapes: widths and mean slopes s (K, ...)."""
    left, right = s[:-1], s[1:]
    parabola = (widths[1:] * left + widths[:-1] * right) / (widths[:-1] + widths[1:])
    return 2 * np.minimum(np.minimum(left, right), parabola / 2)


def end_slope(raw: Array, s: Array, least: float) -> Array:
    """Return 3 s (m + (1 - 2 m) sigma(raw + c)), which is s where raw is 0. Elementwise."""
    share = (1 / 3 - least) / (1 - 2 * least)
    return 3 * s * (least + (1 - 2 * least) * sigmoid(raw + math.log(share / (1 - share))))


def constrain(
    raw: Array, bins: int, bound: float, min_width: float, min_height: float, min_slope: float
) -> tuple[Array, Array, Array, Array]:
    """Return (x_k, y_k, s_k, d_k) from raw = (widths (K), heights (K), first and last slope).

    Shapes: raw (2K+2, ...). Returns (K+1, ...), (K+1, ...), (K, ...), (K+1, ...).
    """
    widths = fractions(raw[:bins], min_width)
    heights = fractions(raw[bins : 2 * bins], min_height)
    s = heights / widths
    first, last = end_slope(raw[-2:-1], s[:1], min_slope), end_slope(raw[-1:], s[-1:], min_slope)
    slopes = np.concatenate([first, steffen_slopes(widths, s), last], axis=0)
    return knots(widths, bound), knots(heights, bound), s, slopes


# Formulas: the curve ----------------------------------------------------------------------


def cubic_curve(x: Array, x_k: Array, y_k: Array, s: Array, d: Array) -> tuple[Array, Array]:
    """Return (g(x), log g'(x)) for x in [-B, B]; parameters from :func:`constrain`."""
    left, right, low, high, mean, d0, d1 = picked(
        x, x_k, x_k[:-1], x_k[1:], y_k[:-1], y_k[1:], s, d[:-1], d[1:]
    )
    a, b = parts_of(x, left, right)
    height = a * (b * (d0 * b + (3 * mean - d1) * a) / mean + a * a)
    slope = d0 * b * b + (6 * mean - 2 * d0 - 2 * d1) * a * b + d1 * a * a
    return low + (high - low) * height, np.log(slope)


def ends_of_bin(y: Array, x_k: Array, y_k: Array, s: Array, d: Array) -> tuple[Array, Array]:
    """Return the knots x_k and x_{k+1} between which g takes the value y in [-B, B]."""
    left, right = picked(y, y_k, x_k[:-1], x_k[1:])
    return left, right


def cubic_curve_inverse(y: Array, h: tuple[Array, ...]) -> tuple[Array, Array]:
    """Return (x, log dx/dy) with g(x) = y, for y in [-B, B]."""
    return inverse_by_root(cubic_curve, ends_of_bin, y, *h)


# Transformer ------------------------------------------------------------------------------


@dataclass(frozen=True)
class CubicSpline(Spline):
    """A monotone piecewise-cubic spline with Steffen's slopes, the identity where raw is 0.

    Parameters
    ----------
    bins : int, default 8
        K, at least 2; a coordinate takes 2K + 2 numbers.
    bound : float, default 3.0
        B: the spline acts within [-B, B], and is the identity outside.
    min_width, min_height : float, default 0.001
        Smallest width and height of a bin, as parts of 2B; K times either is below 1.
    min_slope : float, default 0.001
        Smallest slope at both ends, as a part of three times the mean slope of the outer bin.
    """

    bins: int = 8
    bound: float = 3.0
    min_width: float = 1e-3
    min_height: float = 1e-3
    min_slope: float = 1e-3

    _converters = {"bins": at_least(2), "bound": check_positive, "min_slope": positive_below(1 / 3)}

    @property
    def size(self) -> int:
        """Numbers a coordinate takes: 2K + 2."""
        return 2 * self.bins + 2

    def constrain(self, raw: Array) -> tuple[Array, ...]:
        """Return knots and slopes (x_k, y_k, s_k, d_k) from network outputs raw (2K + 2, ...)."""
        return constrain(
            raw, self.bins, self.bound, self.min_width, self.min_height, self.min_slope
        )

    def forward(self, z: Array, h: tuple[Array, ...]) -> tuple[Array, Array]:
        """Return (x, log dx/dz), each in the shape of z."""
        return on_the_line(cubic_curve_inverse, z, h, self.bound)

    def inverse(self, x: Array, h: tuple[Array, ...]) -> tuple[Array, Array]:
        """Return (z, log dz/dx), each in the shape of x."""
        return on_the_line(lambda v, h: cubic_curve(v, *h), x, h, self.bound)
