r"""The monotone piecewise-quadratic spline, one coordinate at a time.

Source: Mueller, McWilliams, Rousselle, Gross, Novak 2018, arXiv:1808.03856 (NIS).

K bins divide [-B, B] at knots x_k. The slope is a polygon: it is d_k at knot k and linear between
knots. So the curve is quadratic in each bin. The slopes at both ends are 1, where the identity
goes on. With the distances from both knots as parts of the width, a + b = 1,

    .. math::

        g'(x) &= d_k b + d_{k+1} a, \\
        g(x) &= y_k + (y_{k+1} - y_k) \frac{a (d_k (1 + b) + d_{k+1} a)}{d_k + d_{k+1}}, \qquad
            y_{k+1} - y_k = \frac{d_k + d_{k+1}}{2} (x_{k+1} - x_k).

At the part p of the height, q = 1 - p, the slope is a root mean square, and the place follows,

    .. math::

        r = \sqrt{q d_k^2 + p d_{k+1}^2}, \qquad a = \frac{p (d_k + d_{k+1})}{d_k + r}, \qquad
            b = \frac{q (d_k + d_{k+1})}{d_{k+1} + r}.

All terms are positive, so nothing cancels.

*The slopes.* Positive numbers v_1 ... v_{K-1} give the slopes at inner knots up to a factor: they
are v_k / e. The curve ends at B if the area below the polygon is 2B. With widths w_k as parts of
2B this is an equation for e alone,

    .. math::

        e = \left. \sum_{k=0}^{K-1} \frac{v_k + v_{k+1}}{2} w_k \right|_{v_0 = v_K = e}.

Arrays hold parameters first: axis 0 counts bins or knots, the trailing axes are those of x. Cost:
O(K) per number, in either direction.

Paper:   NIS, its piecewise-quadratic coupling transform: the integral of a polygon with K + 1
         vertices on [0, 1], normalised; data to latent, as ``quadratic_curve`` here.
Differs: paper: the map is one of [-B, B], with the identity outside of it, and the slopes at both
         ends are 1; the paper has K + 1 free ones. Widths and slopes have smallest values.
         Code (nflows, ``unconstrained_quadratic_spline``): its comment says that the slopes at the
         ends are 1 after normalisation. It halves the widths of the outer bins twice, so they are
         not: eight equal bins with raw zeros have 0.88 there and 1.02 inside.
"""

from dataclasses import dataclass

import autograd.numpy as np

from nfref.runtime.annotations import Array
from nfref.runtime.checks import at_least, check_positive, positive_below
from nfref.transformers.rational_quadratic import (
    Spline,
    fractions,
    knot_slopes,
    knots,
    on_the_line,
    parts_of,
    picked,
)

# Formulas: from raw numbers to knots ------------------------------------------------------


def normalised_slopes(v: Array, widths: Array) -> Array:
    """Return v / e between ones, so that the polygon has the area 1 over ``widths``.

    Shapes: v (K-1, ...), widths (K, ...), which add up to 1. Returns (K+1, ...).
    """
    outer = (widths[0] + widths[-1]) / 2
    inner = np.sum(v * (widths[:-1] + widths[1:]), axis=0) / 2
    ones = np.ones_like(widths[:1])
    return np.concatenate([ones, v * ((1 - outer) / inner), ones], axis=0)


def constrain(
    raw: Array, bins: int, bound: float, min_width: float, min_slope: float
) -> tuple[Array, Array, Array]:
    """Return (x_k, y_k, d_k) from raw = (widths (K), slopes (K-1)), d = m + (1 - m) v / e.

    Slopes mixed with 1 keep the area and the ends. Shapes: raw (2K-1, ...). Returns (K+1, ...).
    """
    widths = fractions(raw[:bins], min_width)
    slopes = normalised_slopes(knot_slopes(raw[bins:], min_slope), widths)
    slopes = min_slope + (1 - min_slope) * slopes
    heights = widths * (slopes[:-1] + slopes[1:]) / 2
    return knots(widths, bound), knots(heights, bound), slopes


# Formulas: the curve ----------------------------------------------------------------------


def quadratic_curve(x: Array, h: tuple[Array, ...]) -> tuple[Array, Array]:
    """Return (g(x), log g'(x)) for x in [-B, B]; h from :func:`constrain`."""
    x_k, y_k, d = h
    left, right, low, high, d0, d1 = picked(
        x, x_k, x_k[:-1], x_k[1:], y_k[:-1], y_k[1:], d[:-1], d[1:]
    )
    a, b = parts_of(x, left, right)
    height = a * (d0 * (1 + b) + d1 * a) / (d0 + d1)
    return low + (high - low) * height, np.log(d0 * b + d1 * a)


def quadratic_curve_inverse(y: Array, h: tuple[Array, ...]) -> tuple[Array, Array]:
    """Return (x, log dx/dy) with g(x) = y, for y in [-B, B]."""
    x_k, y_k, d = h
    low, high, left, right, d0, d1 = picked(
        y, y_k, y_k[:-1], y_k[1:], x_k[:-1], x_k[1:], d[:-1], d[1:]
    )
    p, q = parts_of(y, low, high)
    slope = np.sqrt(q * d0 * d0 + p * d1 * d1)
    return left + (right - left) * p * (d0 + d1) / (d0 + slope), -np.log(slope)


# Transformer ------------------------------------------------------------------------------


@dataclass(frozen=True)
class QuadraticSpline(Spline):
    """A monotone piecewise-quadratic spline (NIS), the identity where raw is 0.

    Parameters
    ----------
    bins : int, default 8
        K, at least 3: of two bins, only the identity begins and ends with slope 1. A coordinate
        takes 2K - 1 numbers.
    bound : float, default 3.0
        B: the spline acts within [-B, B], and is the identity outside.
    min_width : float, default 0.001
        Smallest width of a bin, as a part of 2B; K times it is below 1.
    min_slope : float, default 0.001
        Smallest slope at a knot, below 1.
    """

    bins: int = 8
    bound: float = 3.0
    min_width: float = 1e-3
    min_slope: float = 1e-3

    _converters = {"bins": at_least(3), "bound": check_positive, "min_slope": positive_below(1)}

    @property
    def size(self) -> int:
        """Numbers a coordinate takes: 2K - 1."""
        return 2 * self.bins - 1

    def constrain(self, raw: Array) -> tuple[Array, ...]:
        """Return knots and slopes (x_k, y_k, d_k) from network outputs raw (2K - 1, ...)."""
        return constrain(raw, self.bins, self.bound, self.min_width, self.min_slope)

    def forward(self, z: Array, h: tuple[Array, ...]) -> tuple[Array, Array]:
        """Return (x, log dx/dz), each in the shape of z."""
        return on_the_line(quadratic_curve_inverse, z, h, self.bound)

    def inverse(self, x: Array, h: tuple[Array, ...]) -> tuple[Array, Array]:
        """Return (z, log dz/dx), each in the shape of x."""
        return on_the_line(quadratic_curve, x, h, self.bound)
