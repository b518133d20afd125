r"""The transformer of unconstrained monotonic networks: the integral of a positive network.

Source: Wehenkel, Louppe 2019, arXiv:1908.05164 (UMNN).

    .. math::

        z = \beta + F(x), \qquad F(x) = \int_0^x g(t) \, dt, \qquad \log g \text{ a network.}

A function is increasing where its derivative is positive; g has to satisfy nothing else. The
rule of Clenshaw and Curtis computes the integral, with nodes on [0, x]: with fractions
tau_k in [0, 1] and weights q_k > 0, which add up to 1,

    .. math::

        F(x) &= x \sum_k q_k g(s_k), \qquad s_k = \tau_k x, \\
        F'(x) &= \sum_k q_k g(s_k) (1 + s_k (\log g)'(s_k)).

Here the sum itself is the map, not an approximation: the log-slope is that of the sum, not
log g(x). With more nodes it tends to log g(x), faster than any power of their number. So
densities are normalised with any number of nodes, as long as F' > 0. F' could only be negative
if g fell faster than the nodes can follow. So log g is nowhere steeper than n / B for n nodes
and x within [-B, B], its bends are no sharper than e, and n is at least 8 B. For a million random
parameters F' was then never below 0.98 g(x). Beyond [-B, B] F continues along its tangents,
since no number of nodes is enough for all x.

Shapes: parameters first, x, beta, l (...) and alpha, mu, p (J, ...). Cost: O(n J) per number from
x to z; about ten times that from z to x, by :func:`nfref.transformers.root.increasing_root`.

Paper:   UMNN: F(x; h) = integral from 0 to x of f(t; h) dt + beta(h) with a network f > 0, data to
         latent, by Clenshaw-Curtis quadrature. F(x; h) is z here, f is g.
Differs: paper: f is a network of several layers that reads t and the outputs h of the conditioner,
         and is made positive by 1 + ELU. Here it has one layer, with weights from the
         conditioner, and it is the exponential of a bounded number; at raw 0 it is 1, and
         the map the identity. The paper has no interval and no limit on the steepness.
         Code (UMNN): log-slopes are log(g(x) + 1e-10), those of the integral and not of the sum;
         z is clamped to [-10, 10] where it is scored, and the inverse looks within [-50, 50].
"""

from dataclasses import dataclass
from functools import cache

import autograd.numpy as np
import numpy

from nfref.networks.activations import sech_squared, tanh
from nfref.runtime.annotations import Any, Array
from nfref.runtime.checks import at_least, check_count, check_positive
from nfref.transformers.affine import bounded
from nfref.transformers.deep_sigmoid import spread
from nfref.transformers.root import ends_on_tangents, inverse_by_root
from nfref.transformers.transformer import Transformer

LARGEST_LOG = 5.0  # bound on |log g|, the same as for the scale of an affine transformer
LARGEST_LOG_RATE = 1.0  # bound on |log alpha_j|, which limits how sharp a unit of the network is

# Formulas ---------------------------------------------------------------------------------


@cache
def clenshaw_curtis(count: int) -> tuple[list[float], list[float]]:
    """Return fractions tau_k and weights q_k, k = 0 ... n = ``count`` even, of the rule on [0, 1].

    The integral of the polynomial through the values at (1 - cos(pi k / n)) / 2; with m = n/2,

        q_k = (1 - 2 sum_{j=1}^{m} b_j cos(2 pi j k / n) / (4 j^2 - 1)) / n,    b_m = 1/2, else 1,

    and half of that at both ends. Exact for polynomials of degree n.

    Source: Clenshaw and Curtis 1960, "A method for numerical integration on an automatic computer".
    """
    k, j = numpy.arange(count + 1), numpy.arange(1, count // 2 + 1)
    b = numpy.where(2 * j == count, 0.5, 1.0)
    cosines = numpy.cos(2 * numpy.pi * numpy.outer(k, j) / count)
    weights = (1 - 2 * cosines @ (b / (4 * j**2 - 1))) / count
    weights[[0, -1]] /= 2
    return (numpy.sin(numpy.pi * k / (2 * count)) ** 2).tolist(), weights.tolist()


def integrand(t: Array, level: Array, alpha: Array, mu: Array, p: Array) -> tuple[Array, Array]:
    """Return g(t) = exp(m(r)) and (log g)', r = l + sum_j (p_j / alpha_j) tanh(alpha_j (t - mu_j)).

    m(r) = r / sqrt(1 + (r/5)^2) with m' = (1 + (r/5)^2)^(-3/2) <= 1, so that |(log g)'| <= sum_j
    |p_j|. Elementwise.
    """
    inner = alpha * (t - mu)
    r = level + np.sum(p / alpha * tanh(inner), axis=0)
    slope = np.sum(p * sech_squared(inner), axis=0)
    return np.exp(bounded(r, LARGEST_LOG)), slope * (1 + (r / LARGEST_LOG) ** 2) ** -1.5


def quadrature(
    x: Array, level: Array, alpha: Array, mu: Array, p: Array, nodes: int
) -> tuple[Array, Array]:
    """Return F(x) = x sum_k q_k g(tau_k x) and F'(x). Elementwise."""
    mean: Any = 0
    slope: Any = 0
    for tau, q in zip(*clenshaw_curtis(nodes)):
        g, log_g_slope = integrand(tau * x, level, alpha, mu, p)
        mean = mean + q * g
        slope = slope + q * (g * (1 + tau * x * log_g_slope))
    return x * mean, slope


def integral_inverse(
    x: Array, beta: Array, level: Array, alpha: Array, mu: Array, p: Array, nodes: int, bound: float
) -> tuple[Array, Array]:
    """Return z = beta + F(c) + F'(c) (x - c) and log F'(c), c = x clipped to [-B, B]."""
    c = np.clip(x, -bound, bound)
    integral, slope = quadrature(c, level, alpha, mu, p, nodes)
    return beta + (integral + slope * (x - c)), np.log(slope)


def integral_forward(
    z: Array, beta: Array, level: Array, alpha: Array, mu: Array, p: Array, nodes: int, bound: float
) -> tuple[Array, Array]:
    """Return the x that :func:`integral_inverse` takes to z, and log dx/dz. Elementwise."""

    def inverse(x, *h):
        return integral_inverse(x, *h, nodes, bound)

    ends = ends_on_tangents(inverse, bound)
    return inverse_by_root(inverse, ends, z, beta, level, alpha, mu, p)


def gentle(p: Array, steepest: float) -> Array:
    """Return p / sqrt(1 + J sum_j (p_j / S)^2), so that sum_j |p_j| < S. Shapes: p (J, ...)."""
    return p / np.sqrt(1 + len(p) * np.sum((p / steepest) ** 2, axis=0))


# Transformer ------------------------------------------------------------------------------


@dataclass(frozen=True)
class MonotoneIntegral(Transformer):
    """The integral of a positive network by Clenshaw-Curtis quadrature; identity where raw is 0.

    Parameters
    ----------
    units : int, default 8
        J, the hidden units of the integrand; a coordinate takes 3J + 2 numbers.
    nodes : int, default 64
        n: the rule has n + 1 nodes on [0, x]; even, and at least 8 B.
    bound : float, default 8.0
        B: the map is a line outside of [-B, B]. log g is at most n / B steep.
    """

    units: int = 8
    nodes: int = 64
    bound: float = 8.0

    _twin = "monotone_integral"
    _converters = {"units": check_count, "nodes": at_least(2), "bound": check_positive}

    def __post_init__(self):
        super().__post_init__()
        if self.nodes % 2:
            raise ValueError(f"nodes: expected an even number, got {self.nodes}")
        if self.nodes < 8 * self.bound:
            raise ValueError(
                f"nodes: expected at least 8 times the bound, {8 * self.bound:g}, got {self.nodes}"
            )

    @property
    def size(self) -> int:
        """Numbers a coordinate takes: 3J + 2."""
        return 3 * self.units + 2

    def constrain(self, raw: Array) -> tuple[Any, ...]:
        """Return (beta, l, alpha, mu, p) from raw (3J + 2, ...): beta, l, then blocks of J.

        log alpha_j is bounded by 1; mu_j is spread over [-3, 3] where raw is 0.
        """
        alpha, mu, p = np.split(raw[2:], 3)
        return (
            raw[0],
            raw[1],
            np.exp(bounded(alpha, LARGEST_LOG_RATE)),
            3 * spread(mu) + mu,
            gentle(p, self.nodes / self.bound),
        )

    def forward(self, z: Array, h: tuple[Any, ...]) -> tuple[Array, Array]:
        """Return (x, log dx/dz), each in the shape of z."""
        return integral_forward(z, *h, self.nodes, self.bound)

    def inverse(self, x: Array, h: tuple[Any, ...]) -> tuple[Array, Array]:
        """Return (z, log dz/dx), each in the shape of x."""
        return integral_inverse(x, *h, self.nodes, self.bound)
