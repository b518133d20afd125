r"""The transformer of Flow++: the distribution function of a mixture of logistics, then a scale.

Source: Ho, Chen, Srinivas, Duan, Abbeel 2019, arXiv:1902.00275 (Flow++).

    .. math::

        z = e^a \operatorname{logit}(S) + b, \qquad S = \sum_k \pi_k \,
            \sigma((x - \mu_k) e^{-s_k}).

S is the probability below x of a mixture of logistic distributions with means mu_k, scales e^s_k
and weights pi_k, so logit(S) maps the mixture to the logistic distribution. It is the map of
nfref/transformers/deep_sigmoid.py in other letters: slopes e^-s_k, offsets -mu_k e^-s_k.

Shapes: parameters first, x, a, b (...) and mu, s, log_pi (K, ...). Cost: O(K) per number from x to
z; about ten times that from z to x, by :func:`nfref.transformers.root.increasing_root`.

Paper:   Flow++, its coupling layers: x -> sigma^-1(MixLogCDF(x; pi, mu, s)) exp(a) + b, data to
         latent. x there is x here, its image is z.
Differs: paper: a and s_k are bounded, r / sqrt(1 + (r/B)^2) of a raw number r. Means are spread
         over [-1, 1] where raw is 0, as units that start alike would stay alike; so a fresh
         transformer is near the identity.
         Code (flowpp): a is a tanh, s_k at least -7; its logarithms are those of S and of 1 - S
         as float32 holds them. Its inverse bisects the interval that reaches by 200 sum_k e^s_k
         beyond the means, after clipping S to [0, 1] (CIFAR-10, ablations). The launchers for
         ImageNet and CelebA clip S to [1e-5, 1 - 1e-5], where |logit(S)| is 11.5, and take 50
         in place of 200.
"""

from dataclasses import dataclass

import autograd.numpy as np

from nfref.runtime.annotations import Array
from nfref.runtime.checks import check_count, check_positive
from nfref.transformers.affine import affine_forward, affine_inverse, bounded
from nfref.transformers.deep_sigmoid import log_probabilities, logit_of_sigmoids, spread
from nfref.transformers.root import inverse_by_root
from nfref.transformers.transformer import Transformer

# Formulas ---------------------------------------------------------------------------------


def logistics_inverse(x: Array, mu: Array, s: Array, log_pi: Array) -> tuple[Array, Array]:
    """Return logit(sum_k pi_k sigma((x - mu_k) e^-s_k)) and its log-slope. Elementwise."""
    return logit_of_sigmoids((x - mu) * np.exp(-s), -s, log_pi)


def ends_of_logistics(y: Array, mu: Array, s: Array, log_pi: Array) -> tuple[Array, Array]:
    """Return the smallest and the largest mu_k + y e^s_k, which enclose the root x.

    At mu_k + y e^s_k, component k alone would give y. S lies between the least and the largest of
    its sigmoids.
    """
    alone = mu + y * np.exp(s)
    return np.min(alone, axis=0), np.max(alone, axis=0)


def mixture_inverse(
    x: Array, a: Array, b: Array, mu: Array, s: Array, log_pi: Array
) -> tuple[Array, Array]:
    """Return z = e^a logit(S) + b and log dz/dx. Elementwise."""
    y, log_slope = logistics_inverse(x, mu, s, log_pi)
    z, log_scale = affine_forward(y, b, a)
    return z, log_slope + log_scale


def mixture_forward(
    z: Array, a: Array, b: Array, mu: Array, s: Array, log_pi: Array
) -> tuple[Array, Array]:
    """Return the x that :func:`mixture_inverse` takes to z, and log dx/dz. Elementwise."""
    y, log_scale = affine_inverse(z, b, a)
    x, log_slope = inverse_by_root(logistics_inverse, ends_of_logistics, y, mu, s, log_pi)
    return x, log_scale + log_slope


# Transformer ------------------------------------------------------------------------------


@dataclass(frozen=True)
class LogisticMixture(Transformer):
    """A scaled logit of the distribution function of a mixture of logistics (Flow++).

    Parameters
    ----------
    components : int, default 8
        K; a coordinate takes 3K + 2 numbers.
    bound : float, default 5.0
        B: the log-scales a and s_k stay within (-B, B).
    """

    components: int = 8
    bound: float = 5.0

    _twin = "logistic_mixture"
    _converters = {"components": check_count, "bound": check_positive}

    @property
    def size(self) -> int:
        """Numbers a coordinate takes: 3K + 2."""
        return 3 * self.components + 2

    def constrain(self, raw: Array) -> tuple[Array, ...]:
        """Return (a, b, mu, s, log pi) from raw (3K + 2, ...): a, b, then blocks of K."""
        mu, s, log_pi = np.split(raw[2:], 3)
        return (
            bounded(raw[0], self.bound),
            raw[1],
            spread(mu) + mu,
            bounded(s, self.bound),
            log_probabilities(log_pi),
        )

    def forward(self, z: Array, h: tuple[Array, ...]) -> tuple[Array, Array]:
        """Return (x, log dx/dz), each in the shape of z."""
        return mixture_forward(z, *h)

    def inverse(self, x: Array, h: tuple[Array, ...]) -> tuple[Array, Array]:
        """Return (z, log dz/dx), each in the shape of x."""
        return mixture_inverse(x, *h)
