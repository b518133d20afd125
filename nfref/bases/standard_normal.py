"""The standard normal, the base of most flows."""

from dataclasses import dataclass

import autograd.numpy as np

from nfref.bases.base import Base

LOG_TWO_PI = float(np.log(2 * np.pi))


def standard_normal_log_prob(e):
    """log N(e; 0, 1) = -|e|^2 / 2 - (D/2) log 2 pi over the last axis, of length D."""
    return -0.5 * (e ** 2).sum(axis=-1) - 0.5 * e.shape[-1] * LOG_TWO_PI


@dataclass(frozen=True)
class StandardNormal(Base):
    """The standard normal: log p(z) = -|z|^2 / 2 - (D/2) log 2 pi.

    Parameters
    ----------
    dim : int
    """

    dim: int

    _twin = "standard_normal"

    def _log_prob(self, params, z):
        return standard_normal_log_prob(z)

    def _sample(self, params, rng, n):
        return rng.standard_normal((n, self.dim))

    def entropy(self, params):
        return 0.5 * self.dim * (1 + LOG_TWO_PI)
