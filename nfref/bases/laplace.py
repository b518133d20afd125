"""The Laplace density: two exponentials back to back."""

from dataclasses import dataclass

import autograd.numpy as np

from nfref.bases.base import Base
from nfref.runtime.annotations import Params

LOG_TWO = float(np.log(2))


@dataclass(frozen=True)
class Laplace(Base):
    """The standard Laplace density in every coordinate: log p(z) = -sum_i |z_i| - D log 2.

    Its tails fall off like those of the logistic. Its peak is sharper: there the gradient of log p,
    -sign(z_i), has a jump.

    Parameters
    ----------
    dim : int
    """

    dim: int

    def _log_prob(self, params, z):
        return -np.sum(np.abs(z), axis=1) - self.dim * LOG_TWO

    def _sample(self, params, rng, n):
        return rng.laplace(size=(n, self.dim))

    def entropy(self, params: Params) -> float:
        """Return D (1 + log 2), in nats."""
        return self.dim * (1 + LOG_TWO)
