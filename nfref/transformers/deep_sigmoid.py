r"""The sigmoidal transformer of neural autoregressive flows: a logit of a mixture of sigmoids.

Source: Huang, Krueger, Lacoste, Courville 2018, arXiv:1804.00779 (NAF).

    .. math::

        z = \operatorname{logit}(S), \qquad S = \sum_j w_j \sigma(u_j), \qquad u_j = a_j x + b_j,

with slopes a_j > 0 and weights w_j > 0 that add up to 1. With C = 1 - S = sum_j w_j sigma(-u_j),

    .. math::

        \frac{dz}{dx} = \frac{S'}{S C} = \sum_j \frac{a_j}{w_j} p_j q_j, \qquad
        p_j = \frac{w_j \sigma(u_j)}{S}, \qquad q_j = \frac{w_j \sigma(-u_j)}{C},

where the p_j and the q_j are probabilities: of the units, given that x lies above or below them.
S is never computed, only log S and log C: in float32 S itself is 1 from x = 17 on. Far out, on
either side, the unit with the smallest slope is all that is left, and z = a_min x + const: the
map is onto the line.

Shapes: parameters first, x (...) and a, b, log_w (J, ...). Cost: O(J) a number from x to z; some
ten times that from z to x, by :func:`nfref.transformers.root.increasing_root`.

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
from nfref.runtime.checks import check_count, positive_below
from nfref.transformers.rational_quadratic import knot_slopes
from nfref.transformers.root import increasing_root
from nfref.transformers.transformer import Transformer

# Formulas ---------------------------------------------------------------------------------


def from_largest(terms):
    """The largest, each t_j less it, and log sum_j e^ of these, along axis 0, without overflow.

    Shapes: (J, ...). Returns (...), (J, ...) and (...).
    """
    most = largest(terms)
    away = terms - most
    return most, away, np.log(np.sum(np.exp(away), axis=0))


def log_sum(terms):
    """log sum_j e^t_j along axis 0. Shapes: (J, ...). Returns (...)."""
    most, _, log_total = from_largest(terms)
    return most + log_total


def log_probabilities(terms):
    """t_j - log sum_k e^t_k, along axis 0; of two far apart the larger is exactly 0.

    Shapes: (J, ...). Returns (J, ...).
    """
    _, away, log_total = from_largest(terms)
    return away - log_total


def logit_of_sigmoids(u, log_a, log_w):
    """log S - log C and the logarithm of its slope, log sum_j (a_j / w_j) p_j q_j, by x.

    Shapes: u, log_a, log_w (J, ...). Returns (...) and (...).
    """
    above, below = log_w - softplus(-u), log_w - softplus(u)
    (_, p, log_p), (_, q, log_q) = from_largest(above), from_largest(below)
    # log w_j, which may be large, is in p_j or in q_j once more, and leaves before the small sums.
    log_slope = log_sum(log_a + (p + q - log_w)) - log_p - log_q
    # Log S and log C anew: with one cotangent for both uses, t_j - p_j would not be exact.
    return log_sum(above) - log_sum(below), log_slope


def sigmoids_inverse(x, a, b, log_w):
    """z = logit(sum_j w_j sigma(a_j x + b_j)) and log dz/dx. Elementwise."""
    return logit_of_sigmoids(a * x + b, np.log(a), log_w)


def ends_of_sigmoids(z, a, b, log_w):
    """x_j = (z - b_j) / a_j, the smallest and the largest: where a unit alone would have u_j = z.

    A mean of sigma(u_j) lies between the least and the largest of them, so z lies between the
    least and the largest u_j, whatever the weights are.
    """
    alone = (z - b) / a
    return np.min(alone, axis=0), np.max(alone, axis=0)


def sigmoids_forward(z, a, b, log_w):
    """The x that :func:`sigmoids_inverse` takes to z, and log dx/dz. Elementwise."""
    x = increasing_root(sigmoids_inverse, ends_of_sigmoids, z, a, b, log_w)
    return x, -sigmoids_inverse(x, a, b, log_w)[1]


# Transformer ------------------------------------------------------------------------------


@dataclass(frozen=True)
class DeepSigmoid(Transformer):
    """A logit of a mixture of sigmoids (NAF); near the identity where raw is 0.

    Parameters
    ----------
    units : int, default 8
        J; a coordinate takes 3J numbers.
    min_slope : float, default 0.001
        Smallest slope a_j of a unit, below 1: how flat the map can be far out.
    """

    units: int = 8
    min_slope: float = 1e-3

    _twin = "deep_sigmoid"
    _converters = {"units": check_count, "min_slope": positive_below(1)}

    @property
    def size(self):
        """Numbers a coordinate takes: 3J."""
        return 3 * self.units

    def constrain(self, raw):
        """(a, b, log w), each (J, ...), from network outputs raw (3J, ...)."""
        a, b, log_w = np.split(raw, 3)
        return knot_slopes(a, self.min_slope), spread(b) + b, log_probabilities(log_w)

    def forward(self, z, h):
        """(x, log dx/dz), each in the shape of z."""
        return sigmoids_forward(z, *h)

    def inverse(self, x, h):
        """(z, log dz/dx), each in the shape of x."""
        return sigmoids_inverse(x, *h)


def spread(like):
    """J numbers from -1 to 1, in the dtype of ``like`` (J, ...), to be added to it."""
    places = np.linspace(-1, 1, len(like)) if len(like) > 1 else np.zeros(1)
    return np.reshape(places.astype(like.dtype), (-1,) + (1,) * (like.ndim - 1))
