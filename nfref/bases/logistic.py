"""The logistic, the base of NICE."""

from dataclasses import dataclass

import autograd.numpy as np

from nfref.bases.base import Base
from nfref.networks.activations import softplus
from nfref.runtime.annotations import Params


@dataclass(frozen=True)
class Logistic(Base):
    """The standard logistic in every coordinate: p(z_i) = s(z_i) s(-z_i), s the sigmoid.

    NICE (Dinh et al. 2014, arXiv:1410.8516), section 3.4, prefers this prior for its well behaved
    gradient: that of log p is -tanh(z_i / 2), within (-1, 1) for any z_i.

    Parameters
    ----------
    dim : int
    """

    dim: int

    def _log_prob(self, params, z):
        return -np.sum(softplus(z) + softplus(-z), axis=1)  # log s(z) = -softplus(-z)

    def _sample(self, params, rng, n):
        return rng.logistic(size=(n, self.dim))

    def entropy(self, params: Params) -> float:
        """Return 2 D, in nats."""
        return 2.0 * self.dim
