r"""The sigmoidal transformer of neural autoregressive flows: a logit of a mixture of sigmoids.

Source: Huang, Krueger, Lacoste, Courville 2018, arXiv:1804.00779 (NAF).

    .. math::

        z = \operatorname{logit}(S), \qquad S = \sum_j w_j \sigma(u_j), \qquad u_j = a_j x + b_j,

The slopes a_j are positive; so are the weights w_j, which add up to 1. With
C = 1 - S = sum_j w_j sigma(-u_j),

    .. math::

        \frac{dz}{dx} = \frac{S'}{S C} = \sum_j \frac{a_j}{w_j} p_j q_j, \qquad
        p_j = \frac{w_j \sigma(u_j)}{S}, \qquad q_j = \frac{w_j \sigma(-u_j)}{C},

where the p_j are probabilities of the units given that x lies above them, the q_j below them.
S is never computed, only log S and log C: in float32 S rounds to 1 from x = 17 on. Far out on
either side, only the unit with the smallest slope matters, and z = a_min x + const: the
map is onto the line.

Shapes: parameters first, x (...) and a, b, log_w (J, ...). Cost: O(J) per number from x to z;
about ten times that from z to x, by :func:`nfref.transformers.root.increasing_root`.

Paper:   NAF, its deep sigmoidal flow: y = sigma^-1(w^T sigma(a x + b)), in the direction in which
         the network reads the coordinates; for density estimation that is data to latent. x there
         is x here, y is z, and w is a softmax, a a softplus.
Differs: paper: nothing but the form of the derivative. One sigmoidal layer a transformer; the
         composition of flows makes it deep. The denser kind of the paper is not here.
         Code (torchkit): S is moved to (1 - delta) S + delta / 2 with delta = 1e-6, which makes
         the map bounded, at about +-14.5, and not onto; here nothing is clipped. Slopes are
         softplus(raw) + delta, here minimum + softplus(raw + c), which is 1 where raw is 0.
         Units that start alike stay alike, as they get the same gradients. The code starts them
         from small random numbers; here offsets b_j are spread over [-1, 1] where raw is 0, so a
         fresh transformer is near the identity and not the identity.
"""

from dataclasses import dataclass

import autograd.numpy as np

from nfref.networks.activations import largest, softplus
from nfref.runtime.annotations import Array
from nfref.runtime.checks import check_count, positive_below
from nfref.transformers.rational_quadratic import knot_slopes
from nfref.transformers.root import inverse_by_root
from nfref.transformers.transformer import Transformer

# Formulas ---------------------------------------------------------------------------------


def from_largest(terms: Array) -> tuple[Array, Array, Array]:
    """Return m = max_j t_j, all t_j - m, and log sum_j e^(t_j - m), along axis 0.

    Nothing overflows. Shapes: (J, ...). Returns (...), (J, ...) and (...).
    """
    most = largest(terms)
    away = terms - most
    return most, away, np.log(np.sum(np.exp(away), axis=0))


def log_sum(terms: Array) -> Array:
    """Return log sum_j e^t_j along axis 0. Shapes: (J, ...). Returns (...)."""
    most, _, log_total = from_largest(terms)
    return most + log_total


def log_probabilities(terms: Array) -> Array:
    """Return t_j - log sum_k e^t_k along axis 0; of two far apart the larger is exactly 0.

    Shapes: (J, ...). Returns (J, ...).
    """
    _, away, log_total = from_largest(terms)
    return away - log_total


def logit_of_sigmoids(u: Array, log_a: Array, log_w: Array) -> tuple[Array, Array]:
    """Return log S - log C and the log of its slope by x, log sum_j (a_j / w_j) p_j q_j.

    Shapes: u, log_a, log_w (J, ...). Returns (...) and (...).
    """
    above, below = log_w - softplus(-u), log_w - softplus(u)
    (_, p, log_p), (_, q, log_q) = from_largest(above), from_largest(below)
    # log w_j may be large. It occurs in p_j and q_j again, so it cancels before the small sums.
    log_slope = log_sum(log_a + (p + q - log_w)) - log_p - log_q
    # Compute log S and log C again: with one cotangent for both uses, t_j - p_j would not be exact.
    return log_sum(above) - log_sum(below), log_slope


def sigmoids_inverse(x: Array, a: Array, b: Array, log_w: Array) -> tuple[Array, Array]:
    """Return z = logit(sum_j w_j sigma(a_j x + b_j)) and log dz/dx. Elementwise."""
    return logit_of_sigmoids(a * x + b, np.log(a), log_w)


def ends_of_sigmoids(z: Array, a: Array, b: Array, log_w: Array) -> tuple[Array, Array]:
    """Return the smallest and the largest x_j = (z - b_j) / a_j, which enclose the root x.

    At x_j, unit j alone would have u_j = z. A mean of sigma(u_j) lies between the least and the
    largest of them. So z lies between the least and the largest u_j, for any weights.
    """
    alone = (z - b) / a
    return np.min(alone, axis=0), np.max(alone, axis=0)


def sigmoids_forward(z: Array, a: Array, b: Array, log_w: Array) -> tuple[Array, Array]:
    """Return the x that :func:`sigmoids_inverse` takes to z, and log dx/dz. Elementwise."""
    return inverse_by_root(sigmoids_inverse, ends_of_sigmoids, z, a, b, log_w)


# Transformer ------------------------------------------------------------------------------


@dataclass(frozen=True)
class DeepSigmoid(Transformer):
    """A logit of a mixture of sigmoids (NAF); near the identity where raw is 0.

    Parameters
    ----------
    units : int, default 8
        J; a coordinate takes 3J numbers.
    min_slope : float, default 0.001
        Smallest slope a_j of a unit, below 1; it limits how flat the map is far out.
    """

    units: int = 8
    min_slope: float = 1e-3

    _twin = "deep_sigmoid"
    _converters = {"units": check_count, "min_slope": positive_below(1)}

    @property
    def size(self) -> int:
        """Numbers a coordinate takes: 3J."""
        return 3 * self.units

    def constrain(self, raw: Array) -> tuple[Array, ...]:
        """Return (a, b, log w), each (J, ...), from network outputs raw (3J, ...)."""
        a, b, log_w = np.split(raw, 3)
        return knot_slopes(a, self.min_slope), spread(b) + b, log_probabilities(log_w)

    def forward(self, z: Array, h: tuple[Array, ...]) -> tuple[Array, Array]:
        """Return (x, log dx/dz), each in the shape of z."""
        return sigmoids_forward(z, *h)

    def inverse(self, x: Array, h: tuple[Array, ...]) -> tuple[Array, Array]:
        """Return (z, log dz/dx), each in the shape of x."""
        return sigmoids_inverse(x, *h)


def spread(like: Array) -> Array:
    """Return J numbers from -1 to 1 that broadcast with ``like`` (J, ...), in its dtype."""
    places = np.linspace(-1, 1, len(like)) if len(like) > 1 else np.zeros(1)
    return np.reshape(places.astype(like.dtype), (-1,) + (1,) * (like.ndim - 1))
