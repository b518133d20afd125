r"""The monotone rational-quadratic spline, one coordinate at a time.

Sources: NSF (Durkan, Bekasov, Murray, Papamakarios 2019, arXiv:1906.04032); for the circle Rezende
et al. (tori and spheres) (2020, arXiv:2002.02428).

K bins divide [-B, B] on both axes at K+1 knots (x_k, y_k). Inside a bin the curve is a ratio of
two quadratics, with slope d_k at its left knot and d_{k+1} at its right knot. *Two* numbers give
the place in a bin: the distances from both knots as parts of the width,

    .. math::

        a = \frac{x - x_k}{x_{k+1} - x_k}, \qquad b = \frac{x_{k+1} - x}{x_{k+1} - x_k}, \qquad
            a + b = 1,

each exact near its own knot. With them every sum below has only positive terms. So nothing
cancels and no discriminant becomes negative, even in steep bins.

Arrays hold parameters first: axis 0 counts parameters, bins or knots, the trailing axes are
those of x. Cost: O(K) per number, in either direction.

Paper:   NSF v2, section 3.1: data to latent, as ``spline_inverse`` here,

         .. math:: g(x) = y_k + (y_{k+1} - y_k) \frac{s \xi^2 + d_k \xi (1 - \xi)}
                   {s + (d_{k+1} + d_k - 2 s) \xi (1 - \xi)};

         latent to data the root xi = 2c / (-b - sqrt(b^2 - 4ac)) of a quadratic equation. The
         paper's xi is a here and its 1 - xi is b; its x^(k), y^(k), s^(k), delta^(k) are x_k, y_k,
         s_k, d_k, counted from 0.
Differs: paper: in form only. Numerator and denominator are written in a and b, the quadratic
         equation is one for a : b, the log-slope is one logarithm of one ratio.
         Code (nsf): has s from differences of rounded knots, and a discriminant that rounding can
         make negative. Its minima are the defaults here. Its slopes are minimum + softplus(raw);
         here raw is shifted, so that zeros give d = 1 and the whole curve is the identity.
         Circle: the same curve; first and last slope are one number, g(-B) = -B, and the
         curve continues outside [-B, B) by whole turns, so that it is also a map of the line.
"""

import math
from dataclasses import dataclass

import autograd.numpy as np

from nfref.networks.activations import softmax, softplus, where
from nfref.runtime.annotations import Any, Array, Callable, Sequence
from nfref.runtime.autograd_internals import defvjp, defvjp_argnums, getval, primitive
from nfref.runtime.checks import check_count, check_positive, one_of, positive_below
from nfref.transformers.transformer import Transformer

STEEP = 2.0**30  # fourth powers of smaller numbers, in derivatives, are finite in float32

# Functions with a derivative of their own ----------------------------------------------------


@primitive
def folded(x: Array, bound: float) -> Array:
    """Return x less whole turns of 2B; clipped to [-B, B], as rounding may exceed it by an ulp."""
    return np.clip(x - 2 * bound * turns(x, bound), -bound, bound)


defvjp(folded, lambda ans, x, bound: lambda g: g, argnums=(0,))


def turns(x: Array, bound: float) -> Array:
    """Return how many whole turns of 2B take a point of [-B, B) to x."""
    return np.floor((x + bound) / (2 * bound))


# Formulas: from raw numbers to knots ---------------------------------------------------------


def fractions(raw: Array, minimum: float) -> Array:
    """Return u_k = m + (1 - K m) softmax(raw)_k: parts of one, none below m.

    Shapes: raw (K, ...). Returns (K, ...).
    """
    return minimum + (1 - len(raw) * minimum) * softmax(raw)


def knots(parts: Array, bound: float) -> Array:
    """Return -B, then B (2 (u_0 + ... + u_{k-1}) - 1), and at the end B.

    Shapes: parts u (K, ...). Returns (K+1, ...).
    """
    ends = bound * np.ones_like(parts[:1])
    inner = bound * (2 * np.cumsum(parts, axis=0)[:-1] - 1)
    return np.concatenate([-ends, inner, ends], axis=0)


def slope_offset(minimum: float) -> float:
    """Return c with m + softplus(c) = 1, so that raw zeros mean slopes of 1."""
    return math.log(math.expm1(1 - minimum))


def knot_slopes(raw: Array, minimum: float) -> Array:
    """Return d = m + softplus(raw + c), with d = 1 where raw is 0; elementwise."""
    return minimum + softplus(raw + slope_offset(minimum))


def constrain(
    raw: Array,
    bins: int,
    bound: float,
    circular: bool,
    min_width: float,
    min_height: float,
    min_slope: float,
) -> tuple[Array, Array, Array, Array]:
    """Return (x_k, y_k, s_k, d_k) from raw = (widths (K), heights (K), slopes (K-1, circular K)).

    The mean slope s_k of a bin is its height over its width. Differences of knots would lose
    digits in narrow bins. The slopes at -B and B are 1; on the circle both are the first raw slope.

    Shapes: raw (P, ...). Returns (K+1, ...), (K+1, ...), (K, ...), (K+1, ...).
    """
    widths = fractions(raw[:bins], min_width)
    heights = fractions(raw[bins : 2 * bins], min_height)
    slopes = knot_slopes(raw[2 * bins :], min_slope)
    first = slopes[:1] if circular else np.ones_like(raw[:1])
    inner = slopes[1:] if circular else slopes
    return (
        knots(widths, bound),
        knots(heights, bound),
        heights / widths,
        np.concatenate([first, inner, first], axis=0),
    )


# Formulas: inside a bin ------------------------------------------------------------------------


@primitive
def height_in_bin(a: Array, b: Array, s: Array, d0: Array, d1: Array) -> Array:
    """Return (y - y_k) / (y_{k+1} - y_k) = a (s a + d0 b) / (s (a^2 + b^2) + (d0 + d1) a b).

    The paper's denominator s + (d0 + d1 - 2 s) a b, with s = s (a + b)^2. Elementwise.
    """
    return a * (s * a + d0 * b) / (s * (a * a + b * b) + (d0 + d1) * a * b)


def height_in_bin_vjp(
    argnums: Sequence[int], f: Array, bin: tuple[Array, ...], options: dict[str, Any]
) -> Callable[[Array], list[Array]]:
    """Return the derivatives of f by a, b, s, d0 and d1, as sums of positive terms.

    Where the curve is flat, autograd would subtract nearly equal numbers. With n the denominator
    of f and q of :func:`log_slope_in_bin`: as f depends on a : b alone, a f_a + b f_b = 0, and
    f_a = s b q / n^2; 1 - f = b (s b + d1 a) / n. Elementwise.
    """
    a, b, s, d0, d1 = bin
    n = s * (a * a + b * b) + (d0 + d1) * a * b
    steep = (s / n) * ((d1 * a * a + 2 * s * a * b + d0 * b * b) / n)
    part, rest = a * b / n, b * (s * b + d1 * a) / n
    slopes = (b * steep, -a * steep, part * ((d1 * a * a - d0 * b * b) / n), part * rest, -part * f)
    return lambda g: [g * slopes[argnum] for argnum in argnums]


defvjp_argnums(height_in_bin, height_in_bin_vjp)


def log_slope_in_bin(a: Array, b: Array, s: Array, d0: Array, d1: Array) -> Array:
    """Return log dy/dx = log (q / m^2).

        q = d1 a^2 + 2 s a b + d0 b^2,   m = a^2 + b^2 + (d0 + d1) a b / s.

    It is s^2 times the paper's numerator over the square of its denominator, m = denominator / s.
    The ratio minus 1 has a form in which no 1 cancels,

        q - 1 = (d1 - 1) a^2 + 2 (s - 1) a b + (d0 - 1) b^2,   m - 1 = (d0 + d1 - 2 s) a b / s = e,
        q / m^2 - 1 = (q - 1 - e (2 + e)) / m^2.

    log1p of it keeps the digits of a slope near 1; small ratios take log. Where m^2 might
    overflow, the result is log q - 2 log m. Elementwise.
    """
    q = d1 * a * a + 2 * s * a * b + d0 * b * b
    m = a * a + b * b + (d0 + d1) * a * b / s
    e = ((d0 - s) + (d1 - s)) * a * b / s
    above = (d1 - 1) * a * a + 2 * (s - 1) * a * b + (d0 - 1) * b * b - e * (2 + e)
    steep = m > STEEP
    if not np.any(getval(steep)):
        return log_of_quotient(q, m, above)
    one, zero = np.ones_like(getval(m)), np.zeros_like(getval(m))
    usual = log_of_quotient(where(steep, one, q), where(steep, one, m), where(steep, zero, above))
    return where(steep, np.log(q) - 2 * np.log(m), usual)


def log_of_quotient(q: Array, m: Array, above: Array) -> Array:
    """Return log (q / m^2), with above = q - m^2. Elementwise."""
    ratio, excess = q / (m * m), above / (m * m)
    small = ratio < 0.5
    return where(
        small,
        np.log(where(small, ratio, np.ones_like(ratio))),
        np.log1p(where(small, np.zeros_like(excess), excess)),
    )


def place_in_bin(a: Array, b: Array, s: Array, d0: Array, d1: Array) -> tuple[Array, Array]:
    """Return (a', b'), parts of the width, of the point at the parts a and b of the height.

    height_in_bin(a', b') = a is  b s (a'/b')^2 + (b d0 - a d1) (a'/b') - a s = 0. With
    c = b d0 - a d1 and r = sqrt(c^2 + 4 a b s^2), its root is

        a' : b' = 2 a s : r + c  where c >= 0,   r - c : 2 b s  elsewhere.

    r is at least |c|, so both sums have positive terms. r = 0 would need a zero slope, so its
    derivative is finite. The paper's 2c / (-b - sqrt(b^2 - 4ac)) is the first form for all c.
    Elementwise.
    """
    c = b * d0 - a * d1
    outer = np.sqrt(c * c + 4 * a * b * s * s) + where(c < 0, -c, c)
    left = where(c < 0, outer, 2 * a * s)
    right = where(c < 0, 2 * b * s, outer)
    return left / (left + right), right / (left + right)


# Formulas: the whole curve ---------------------------------------------------------------------


def pick(values: Array, chosen: Array) -> Array:
    """Return the entry of ``values`` (M, ...) where ``chosen`` (M, ...) is true, along axis 0."""
    return np.sum(values * chosen, axis=0)


def picked(v: Array, ends: Array, *values: Array) -> list[Array]:
    """Return the entries of each ``values`` (K, ...) for the bin of v in [-B, B] among ``ends``."""
    chosen = np.sum(v >= ends[1:-1], axis=0) == np.arange(len(ends) - 1).reshape(
        (-1,) + (1,) * v.ndim
    )
    return [pick(value, chosen) for value in values]


def bin_of(v: Array, ends: Array, others: Array, s: Array, d: Array) -> list[Array]:
    """Return the bin of v in [-B, B] among ``ends``: both knots in ends and others, s, d0, d1."""
    return picked(v, ends, ends[:-1], ends[1:], others[:-1], others[1:], s, d[:-1], d[1:])


def parts_of(v: Array, left: Array | float, right: Array | float) -> tuple[Array, Array]:
    """Return the distances of v from both knots as parts of their sum."""
    from_left, to_right = v - left, right - v
    return from_left / (from_left + to_right), to_right / (from_left + to_right)


def curve(x: Array, h: tuple[Array, ...]) -> tuple[Array, Array]:
    """Return (g(x), log g'(x)) for x in [-B, B]."""
    x_left, x_right, y_left, y_right, s, d0, d1 = bin_of(x, h[0], h[1], *h[2:])
    a, b = parts_of(x, x_left, x_right)
    y = y_left + (y_right - y_left) * height_in_bin(a, b, s, d0, d1)
    return y, log_slope_in_bin(a, b, s, d0, d1)


def curve_inverse(y: Array, h: tuple[Array, ...]) -> tuple[Array, Array]:
    """Return (x, log dx/dy) with g(x) = y, for y in [-B, B]."""
    y_left, y_right, x_left, x_right, s, d0, d1 = bin_of(y, h[1], h[0], *h[2:])
    a, b = place_in_bin(*parts_of(y, y_left, y_right), s, d0, d1)
    return x_left + (x_right - x_left) * a, -log_slope_in_bin(a, b, s, d0, d1)


def on_the_line(
    curve: Callable[..., tuple[Array, Array]], v: Array, h: tuple[Array, ...], bound: float
) -> tuple[Array, Array]:
    """Apply the curve within (-B, B) and the identity elsewhere: the linear tails."""
    inside = np.abs(v) < bound
    # Numbers outside evaluate the curve at 0, so that no derivative is NaN.
    value, log_slope = curve(where(inside, v, np.zeros_like(v)), h)
    return where(inside, value, v), where(inside, log_slope, np.zeros_like(v))


def on_the_circle(
    curve: Callable[..., tuple[Array, Array]], v: Array, h: tuple[Array, ...], bound: float
) -> tuple[Array, Array]:
    """Apply the curve on [-B, B), and g(v + 2B) = g(v) + 2B elsewhere."""
    value, log_slope = curve(folded(v, bound), h)
    return value + 2 * bound * turns(v, bound), log_slope


def spline_inverse(
    x: Array, h: tuple[Array, ...], bound: float, circular: bool
) -> tuple[Array, Array]:
    """Return z = g(x), log dz/dx = log g'(x), data to latent; h from :func:`constrain`."""
    return (on_the_circle if circular else on_the_line)(curve, x, h, bound)


def spline_forward(
    z: Array, h: tuple[Array, ...], bound: float, circular: bool
) -> tuple[Array, Array]:
    """Return x = g^-1(z), log dx/dz = -log g'(x): latent to data. Elementwise; h as above."""
    return (on_the_circle if circular else on_the_line)(curve_inverse, z, h, bound)


def check_bound(name: str, value: Any) -> float | tuple[float, ...]:
    """Return the bound, a number above 0, or one for each coordinate."""
    if isinstance(value, (list, tuple, np.ndarray)) and np.ndim(value) == 1 and len(value):
        return tuple(check_positive(name, float(one)) for one in value)
    return check_positive(name, value)


# Transformer -----------------------------------------------------------------------------------


class Spline(Transformer):
    """The base class of splines. K bins of the smallest width or height must fit the interval."""

    bins: int

    def __post_init__(self):
        super().__post_init__()
        for name in ("min_width", "min_height"):
            if hasattr(self, name):
                self._set(**{name: check_positive(name, getattr(self, name), below=1 / self.bins)})


@dataclass(frozen=True)
class RationalQuadratic(Spline):
    """A monotone rational-quadratic spline (NSF, section 3.1), the identity where raw is 0.

    Parameters
    ----------
    bins : int, default 8
        K.
    bound : float or tuple of float, default 3.0
        B: the spline acts within [-B, B]; with linear tails also one B for each coordinate, the
        last axis.
    tails : {"linear", "circular"}, default "linear"
        The map outside: the identity, which the curve joins with slope 1 (3K - 1 numbers a
        coordinate); or the curve repeated every 2B, with equal slopes at both ends (3K numbers).
    min_width, min_height : float, default 0.001
        Smallest width and height of a bin, as parts of 2B; K times either is below 1.
    min_slope : float, default 0.001
        Smallest slope at a knot, below 1.
    """

    bins: int = 8
    bound: float | Sequence[float] = 3.0
    tails: str = "linear"
    min_width: float = 1e-3
    min_height: float = 1e-3
    min_slope: float = 1e-3

    _twin = "spline"
    _converters = {
        "bins": check_count,
        "bound": check_bound,
        "tails": one_of(("linear", "circular")),
        "min_slope": positive_below(1),
    }

    def __post_init__(self):
        super().__post_init__()
        if self.circular and isinstance(self.bound, tuple):
            raise ValueError("bound: expected one number for circular tails, got several")

    @property
    def circular(self) -> bool:
        """True if the tails are circular."""
        return self.tails == "circular"

    @property
    def size(self) -> int:
        """Numbers a coordinate takes: 3K - 1, circular 3K."""
        return 3 * self.bins - (not self.circular)

    def constrain(self, raw: Array) -> tuple[Array, ...]:
        """Return knots and slopes (x_k, y_k, s_k, d_k) from network outputs raw (P, ...)."""
        least = self.min_width, self.min_height, self.min_slope
        return constrain(raw, self.bins, self._bound(raw), self.circular, *least)

    def _bound(self, like):
        """Return the bound: a number, or an array over coordinates in the dtype of ``like``."""
        if not isinstance(self.bound, tuple):
            return self.bound
        return np.array(self.bound, np.finfo(getval(like).dtype).dtype)

    def forward(self, z: Array, h: tuple[Array, ...]) -> tuple[Array, Array]:
        """Return (x, log dx/dz), each in the shape of z."""
        return spline_forward(z, h, self._bound(z), self.circular)

    def inverse(self, x: Array, h: tuple[Array, ...]) -> tuple[Array, Array]:
        """Return (z, log dz/dx), each in the shape of x."""
        return spline_inverse(x, h, self._bound(x), self.circular)
