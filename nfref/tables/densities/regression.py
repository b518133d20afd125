"""Gaussian mixture regression: some columns given others, from a mixture of all of them.

A mixture of (g, u), with weights w_k, means m_k and covariances T_k T_k^T, T_k lower triangular in
blocks T_gg, T_ug, T_uu, has the conditional

    p(u | g) = sum_k r_k(g) N(u; m_u,k + A_k (g - m_g,k), T_uu T_uu^T),    A_k = T_ug T_gg^-1
    r_k(g)   = w_k N(g; m_g,k, T_gg T_gg^T) / sum_l w_l N(g; m_g,l, ...)

So the mean is linear in each component and bends where one takes over from another, and the spread
changes with g. One component is linear regression with a residual covariance.

Source: Bishop 2006 (conditionals of Gaussians, mixtures).
"""

from dataclasses import dataclass

import numpy as np

from nfref.runtime.annotations import Any, Array, Callable, Generator, Sequence
from nfref.runtime.checks import check_floats, check_rng, require
from nfref.runtime.configuration import Configuration
from nfref.tables.densities.gaussian import Gaussian, gaussian_log_prob
from nfref.tables.densities.mixture import GaussianMixture
from nfref.tables.densities.pool import Regressed

# Formulas ---------------------------------------------------------------------------------


def conditional_of(mean: Array, factor: Array, known: int) -> tuple[Array, Array, Array]:
    """Return (a, A, T_uu) of u | g ~ N(a + A g, T_uu T_uu^T), g the first ``known`` coordinates.

    Shapes: mean (G + D,), factor T (G + D, G + D) lower. Returns (D,), (D, G), (D, D).
    """
    from scipy.linalg import solve_triangular

    a = solve_triangular(factor[:known, :known].T, factor[known:, :known].T, lower=False).T
    return mean[known:] - a @ mean[:known], a, factor[known:, known:]


# A member of a pool -----------------------------------------------------------------------


@dataclass(frozen=True)
class MixtureRegression(Configuration):
    """p(u | f, g) from a mixture of (g, u) - f B; the context is (f, g).

    Parameters
    ----------
    joint : GaussianMixture
        The mixture of G + D columns.
    slopes : (F, G + D) array
        B: what the features f of discrete columns add to the means.
    """

    joint: GaussianMixture
    slopes: np.ndarray

    @classmethod
    def fit_each(
        cls,
        fit: Callable[..., Any],
        tables: Sequence[Array],
        contexts: Sequence[Array],
        weights: Sequence[Array | None],
        known: int,
    ) -> list["MixtureRegression"]:
        """Call ``fit(tables, weights)`` with rows (g, u); g ends a context, ``known`` columns."""
        split = [np.split(one, [one.shape[1] - known], axis=1) for one in contexts]
        both = [np.concatenate([g, u], axis=1) for (_, g), u in zip(split, tables)]
        return [
            cls(one.density, one.slopes)
            if isinstance(one, Regressed)
            else cls(one, np.zeros((0, both[0].shape[1])))
            for one in Regressed.fit_each(fit, both, [features for features, _ in split], weights)
        ]

    def _centred(self, context):
        """Return (f, g - f B_g)."""
        features, g = np.split(context, [len(self.slopes)], axis=1)
        return features, g - features @ self.slopes[:, : g.shape[1]]

    def log_gates(self, context: Array) -> Array:
        """Return log r_k, (N, K)."""
        _, g = self._centred(context)
        joint = _log_joint(self.joint, g)
        return joint - np.logaddexp.reduce(joint, axis=1)[:, None]

    def components(self, context_dim: int) -> list[tuple[Gaussian, Array]]:
        """Return (Gaussian, slopes (C, D)) of each component, for u - context @ slopes."""
        known, found = context_dim - len(self.slopes), []
        for mean, factor in zip(self.joint.means, self.joint.choleskys):
            start, a, own = conditional_of(mean, factor, known)
            of_features = self.slopes[:, known:] - self.slopes[:, :known] @ a.T
            found.append((Gaussian(start, own), np.concatenate([of_features, a.T])))
        return found

    def log_prob(self, x: Array, context: Array) -> Array:
        """Return the log-density in nats, (N,), of rows (N, D) given their context (N, C)."""
        features, g = self._centred(context)
        rest = x - features @ self.slopes[:, g.shape[1] :]
        log_joint = self.joint.log_prob(np.concatenate([g, rest], axis=1))
        return log_joint - np.logaddexp.reduce(_log_joint(self.joint, g), axis=1)

    def sample(self, rng: Generator, n: int, context: Array) -> Array:
        """Sample ``n`` rows, (n, D)."""
        edges = np.cumsum(np.exp(self.log_gates(context)), axis=1)
        chosen = np.sum(check_rng(rng).random(n)[:, None] * edges[:, -1:] >= edges[:, :-1], axis=1)
        components = self.components(context.shape[1])
        drawn = np.zeros((n, len(components[0][0].mean)))
        for k, (gaussian, slopes) in enumerate(components):
            place = np.flatnonzero(chosen == k)
            drawn[place] = gaussian.sample(rng, len(place)) + context[place] @ slopes
        return drawn

    def takes(self, dim: int, context_dim: int) -> bool:
        """Return as :meth:`nfref.tables.densities.pool.FittedFlow.takes` does."""
        known = context_dim - len(self.slopes)
        return known > 0 and self.slopes.shape[1] == known + dim

    def _check(self):
        require(
            isinstance(self.joint, GaussianMixture),
            f"joint: expected a GaussianMixture, got {type(self.joint).__name__}",
        )
        check_floats("slopes", self.slopes, None, self.joint.means.shape[1])


def _log_joint(mixture, g):
    """Return log w_k N(g; ...) of the first columns of a mixture, (N, K)."""
    known = g.shape[1]
    pairs = zip(mixture.means, mixture.choleskys)
    found = [gaussian_log_prob(g, mean[:known], factor[:known, :known]) for mean, factor in pairs]
    return mixture.log_weights + np.stack(found, axis=1)
