"""Normals with learned parameters: location and scales, or a full covariance."""

from dataclasses import dataclass

import autograd.numpy as np

from nfref.bases.base import Base
from nfref.bases.standard_normal import LOG_TWO_PI, standard_normal_log_prob
from nfref.runtime.annotations import Array


@dataclass(frozen=True)
class DiagonalNormal(Base):
    """A normal with learned location and scales: z_i = m_i + exp(s_i) e_i, e standard normal.

    It starts as the standard normal. Samples are differentiable in the parameters.

    Parameters
    ----------
    dim : int

    Notes
    -----
    Parameters in ``params``: ``location`` m and ``log_scale`` s, each (D,).
    """

    dim: int

    def _init(self, rng):
        return {"location": np.zeros(self.dim), "log_scale": np.zeros(self.dim)}

    def _log_prob(self, params, z):
        e = (z - params["location"]) * np.exp(-params["log_scale"])
        return standard_normal_log_prob(e) - np.sum(params["log_scale"])

    def _sample(self, params, rng, n):
        e = rng.standard_normal((n, self.dim))
        return params["location"] + np.exp(params["log_scale"]) * e

    def entropy(self, params: dict[str, Array]) -> float:
        """Return D/2 (1 + log 2 pi) + sum_i s_i, in nats."""
        return 0.5 * self.dim * (1 + LOG_TWO_PI) + np.sum(params["log_scale"])


@dataclass(frozen=True)
class FullNormal(Base):
    """A normal with learned location and covariance: z = m + L e, e standard normal.

    L is lower triangular with a positive diagonal, so that every parameter gives a valid
    covariance L L^T and every covariance has one L. It starts as the standard normal.
    Samples are differentiable in the parameters.

    Parameters
    ----------
    dim : int

    Notes
    -----
    Parameters in ``params``: ``location`` m (D,); ``log_diagonal`` (D,), log L_ii; ``lower``
    (D, D), whose part strictly below the diagonal is that of L; the rest is unused.
    """

    dim: int

    def _init(self, rng):
        return {
            "location": np.zeros(self.dim),
            "log_diagonal": np.zeros(self.dim),
            "lower": np.zeros((self.dim, self.dim)),
        }

    def factor(self, params: dict[str, Array]) -> Array:
        """Return the Cholesky factor L, (D, D)."""
        return np.tril(params["lower"], -1) + np.diag(np.exp(params["log_diagonal"]))

    def _log_prob(self, params, z):
        # A general solve: autograd's triangular one would import all of scipy every time.
        e = np.linalg.solve(self.factor(params), (z - params["location"]).T).T
        return standard_normal_log_prob(e) - np.sum(params["log_diagonal"])

    def _sample(self, params, rng, n):
        return params["location"] + rng.standard_normal((n, self.dim)) @ self.factor(params).T

    def entropy(self, params: dict[str, Array]) -> float:
        """Return D/2 (1 + log 2 pi) + sum_i log L_ii, in nats."""
        return 0.5 * self.dim * (1 + LOG_TWO_PI) + np.sum(params["log_diagonal"])
