r"""The integral of a sum of squared polynomials, one coordinate at a time.

Source: Jaini, Selby, Yu 2019, arXiv:1905.02325 (SOS flows).

A polynomial increases if its slope is a sum of squares. With K polynomials of degree L in
u = t / B and the smallest slope m,

    .. math::

        F(x) = \beta + \int_0^x g(t) \, dt, \qquad
        g(t) = m + \frac{1 - m}{K} \sum_{k=1}^{K} \left(1 + \sum_{l=0}^{L} a_{kl} u^l\right)^2.

The rule of Gauss and Legendre with L + 1 nodes tau_q and weights omega_q on [0, 1] is exact for g,
which has the degree 2L. So F is a sum of positive terms times x, and no power of x is subtracted:

    .. math::

        F(x) = \beta + x \sum_q \omega_q g(\tau_q x).

As g is at least m, F is onto the line, and the root lies between 0 and (z - beta) / m.

Shapes: parameters first, x and beta (...), a (L+1, K, ...). Cost: O(K L^2) per number from x to z;
ten to twenty times that from z to x, by :func:`nfref.transformers.root.increasing_root`.

Paper:   SOS flows: c + integral from 0 to z of sum_k (sum_l a_lk u^l)^2 du; c is beta here.
         The paper's map takes latent to data.
Differs: paper: the map takes data to latent here, so that log-likelihoods need no root. Ones are
         added to the polynomials, and m to the slope, as zuko has it.
         Code (zuko, ``SOSPolynomialTransform``): g has no factor 1 - m, so it is larger by about m.
         Its inverse looks within [-B, B].
         Polynomials that start alike stay alike, as they get the same gradients. zuko starts them
         from a random network. Here the linear coefficients are spread over [-0.1, 0.1] where raw
         is 0. So a fresh transformer is near the identity: its slope is within 1 and 1.01 on
         [-B, B].
"""

from dataclasses import dataclass
from functools import cache

import autograd.numpy as np
import numpy

from nfref.runtime.annotations import Any, Array
from nfref.runtime.checks import check_count, check_positive, positive_below
from nfref.transformers.deep_sigmoid import spread
from nfref.transformers.root import inverse_by_root
from nfref.transformers.transformer import Transformer

APART = 0.1  # largest linear coefficient of a polynomial where raw is 0

# Formulas ---------------------------------------------------------------------------------


@cache
def gauss_legendre(count: int) -> tuple[list[float], list[float]]:
    """Return nodes on [0, 1] and weights, exact for polynomials of degree 2 ``count`` - 1."""
    nodes, weights = numpy.polynomial.legendre.leggauss(count)
    return ((1 + nodes) / 2).tolist(), (weights / 2).tolist()


def slope_of_squares(u: Array, a: Array, least: float) -> Array:
    """Return g = m + (1 - m) mean_k (1 + sum_l a_lk u^l)^2, by Horner's rule. Elementwise in u."""
    value = a[-1]
    for coefficients in a[-2::-1]:
        value = value * u + coefficients
    return least + (1 - least) * np.mean((1 + value) ** 2, axis=0)


def squares_inverse(
    x: Array, beta: Array, a: Array, bound: float, least: float
) -> tuple[Array, Array]:
    """Return z = F(x) and log g(x): data to latent. Elementwise."""
    mean: Any = 0
    for tau, weight in zip(*gauss_legendre(len(a))):
        mean = mean + weight * slope_of_squares(tau * x / bound, a, least)
    return beta + x * mean, np.log(slope_of_squares(x / bound, a, least))


def squares_forward(
    z: Array, beta: Array, a: Array, bound: float, least: float
) -> tuple[Array, Array]:
    """Return the x that :func:`squares_inverse` takes to z, and log dx/dz. Elementwise."""

    def inverse(x, *h):
        return squares_inverse(x, *h, bound, least)

    def ends(z, beta, a):
        farthest = (z - beta) / least
        return np.minimum(farthest, 0), np.maximum(farthest, 0)

    return inverse_by_root(inverse, ends, z, beta, a)


# Transformer ------------------------------------------------------------------------------


@dataclass(frozen=True)
class SumOfSquares(Transformer):
    """The integral of a sum of squared polynomials (SOS flows); near the identity where raw is 0.

    Parameters
    ----------
    polynomials : int, default 3
        K.
    degree : int, default 4
        L; the map has the degree 2L + 1, and a coordinate takes K (L + 1) + 1 numbers.
    bound : float, default 10.0
        B: the unit of the coordinate.
    min_slope : float, default 0.001
        m: smallest slope, below 1.
    """

    polynomials: int = 3
    degree: int = 4
    bound: float = 10.0
    min_slope: float = 1e-3

    _converters = {
        "polynomials": check_count,
        "degree": check_count,
        "bound": check_positive,
        "min_slope": positive_below(1),
    }

    @property
    def size(self) -> int:
        """Numbers a coordinate takes: K (L + 1) + 1."""
        return self.polynomials * (self.degree + 1) + 1

    def constrain(self, raw: Array) -> tuple[Any, ...]:
        """Return (beta, a) from raw: beta, then K numbers for every power of u."""
        a = np.reshape(raw[1:], (self.degree + 1, self.polynomials) + raw.shape[1:])
        linear = a[1:2] + APART * spread(a[1])
        return raw[0], np.concatenate([a[:1], linear, a[2:]], axis=0)

    def forward(self, z: Array, h: tuple[Any, ...]) -> tuple[Array, Array]:
        """Return (x, log dx/dz), each in the shape of z."""
        return squares_forward(z, *h, self.bound, self.min_slope)

    def inverse(self, x: Array, h: tuple[Any, ...]) -> tuple[Array, Array]:
        """Return (z, log dz/dx), each in the shape of x."""
        return squares_inverse(x, *h, self.bound, self.min_slope)
