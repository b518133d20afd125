r"""The increasing Bernstein polynomial, one coordinate at a time.

Sources: Sick, Hothorn, Duerr 2020, arXiv:2004.00464 (Deep transformation models); Ramasinghe,
Fernando, Khan, Barnes 2021, arXiv:2102.03509 (Bernstein flows).

With the distances from both ends of [-B, B] as parts of its length, a + b = 1,

    .. math::

        F(x) = \sum_{i=0}^{M} \theta_i \binom{M}{i} a^i b^{M-i}, \qquad
        F'(x) = \frac{M}{2 B} \sum_{i=0}^{M-1} \delta_{i+1} \binom{M-1}{i} a^i b^{M-1-i}.

The coefficients increase by the steps :math:`\delta_i = \theta_i - \theta_{i-1} > 0`, so all terms
of the slope are positive. The first two steps are equal, and so are the last two. So F'' is zero
at both ends, where F continues along its tangents: the map is onto the line, with a continuous
second derivative. Equal steps give a straight line.

Arrays hold parameters first: axis 0 counts coefficients, the trailing axes are those of x. Cost:
O(M) per number from x to z; about ten times that from z to x, by
:func:`nfref.transformers.root.increasing_root`.

Paper:   Deep transformation models: a Bernstein polynomial with increasing coefficients, data to
         latent. Bernstein flows: the same map in stacked layers, on a bounded interval.
Differs: papers: the tangents outside, and the two equal steps at each end, are those of zuko.
         Code (zuko, ``BernsteinTransform``): a step is softplus(raw), here m + softplus(raw + c) in
         units of 2B / M, so that raw zeros are the identity. Its tangents begin 1e-6 of the
         interval inside of the ends.
"""

from dataclasses import dataclass
from math import comb

import autograd.numpy as np

from nfref.runtime.annotations import Any, Array
from nfref.runtime.checks import at_least, check_positive, positive_below
from nfref.transformers.rational_quadratic import knot_slopes, parts_of
from nfref.transformers.root import ends_on_tangents, inverse_by_root
from nfref.transformers.transformer import Transformer

# Formulas ---------------------------------------------------------------------------------


def constrain(raw: Array, degree: int, bound: float, min_slope: float) -> tuple[Array, Array]:
    """Return theta_0 and the steps from raw = (shift, M - 2 steps), by 2B / M where raw is 0.

    Shapes: raw (M-1, ...). Returns (...) and (M, ...).
    """
    steps = knot_slopes(raw[1:], min_slope) * (2 * bound / degree)
    return raw[0] - bound, np.concatenate([steps[:1], steps, steps[-1:]], axis=0)


def bernstein(a: Array, b: Array, coefficients: Array) -> Array:
    """Return sum_i c_i binom(n, i) a^i b^(n-i). Shapes: a, b (...), coefficients (n+1, ...)."""
    n = len(coefficients) - 1
    total: Any = 0
    for i in range(n + 1):
        total = total + coefficients[i] * (comb(n, i) * a**i * b ** (n - i))
    return total


def bernstein_inverse(x: Array, first: Array, steps: Array, bound: float) -> tuple[Array, Array]:
    """Return z = F(c) + F'(c) (x - c) and log F'(c), c = x clipped to [-B, B]; data to latent."""
    c = np.clip(x, -bound, bound)
    a, b = parts_of(c, -bound, bound)
    slope = bernstein(a, b, steps) * (len(steps) / (2 * bound))
    theta = np.concatenate([np.zeros_like(steps[:1]), np.cumsum(steps, axis=0)], axis=0)
    return first + (bernstein(a, b, theta) + slope * (x - c)), np.log(slope)


def bernstein_forward(z: Array, first: Array, steps: Array, bound: float) -> tuple[Array, Array]:
    """Return the x that :func:`bernstein_inverse` takes to z, and log dx/dz. Elementwise."""

    def inverse(x, *h):
        return bernstein_inverse(x, *h, bound)

    return inverse_by_root(inverse, ends_on_tangents(inverse, bound), z, first, steps)


# Transformer ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bernstein(Transformer):
    """An increasing Bernstein polynomial with tangents outside, the identity where raw is 0.

    Parameters
    ----------
    degree : int, default 16
        M, at least 3; a coordinate takes M - 1 numbers.
    bound : float, default 5.0
        B: the map is a line outside of [-B, B].
    min_slope : float, default 0.001
        Smallest slope, below 1.
    """

    degree: int = 16
    bound: float = 5.0
    min_slope: float = 1e-3

    _converters = {"degree": at_least(3), "bound": check_positive, "min_slope": positive_below(1)}

    @property
    def size(self) -> int:
        """Numbers a coordinate takes: M - 1."""
        return self.degree - 1

    def constrain(self, raw: Array) -> tuple[Any, ...]:
        """Return theta_0 and the steps from network outputs raw (M - 1, ...)."""
        return constrain(raw, self.degree, self.bound, self.min_slope)

    def forward(self, z: Array, h: tuple[Any, ...]) -> tuple[Array, Array]:
        """Return (x, log dx/dz), each in the shape of z."""
        return bernstein_forward(z, *h, self.bound)

    def inverse(self, x: Array, h: tuple[Any, ...]) -> tuple[Array, Array]:
        """Return (z, log dz/dx), each in the shape of x."""
        return bernstein_inverse(x, *h, self.bound)
