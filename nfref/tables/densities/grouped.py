"""A Gaussian for each group of rows that the labels of their context make.

    p(u | c) = N(u - c B; m_g, S_g),    g the group of c

The context c has a 1 for each label, and a group is a combination of labels; c B is the linear part
that all groups share (:class:`nfref.tables.densities.pool.Regressed`). Few rows say little of a
group, so its moments are shrunk, as if ``PRIOR_ROWS`` rows a column had been seen of all groups
together, with residuals of mean 0 and covariance S:

    m_g = n_g r_g / (n_g + k),    S_g = (n_g C_g + n_g k / (n_g + k) r_g r_g^T + k S) / (n_g + k)

with mean r_g and covariance C_g of the group's residuals. A group that has no Gaussian of its own
has N(0, S). S has shrunk correlations (:meth:`nfref.tables.densities.gaussian.Gaussian.shrunk`).

Source: Bishop 2006 (the conjugate prior of a Gaussian, of which these are the posterior modes up to
constants in the counts).
"""

from dataclasses import dataclass

import numpy as np

from nfref.runtime.annotations import Array, Generator
from nfref.runtime.checks import check_floats, check_rng, require
from nfref.runtime.configuration import Configuration
from nfref.tables.densities.gaussian import Gaussian, check_factors, gaussian_log_prob, triangle
from nfref.tables.densities.pool import ridge_slopes

MOST_GROUPS = 32  # the largest groups, which have a Gaussian each
LEAST_ROWS = 5  # rows of the smallest of these
PRIOR_ROWS = 0.5  # prior rows a column


@dataclass(frozen=True)
class GroupedGaussian(Configuration):
    """A Gaussian for each combination of labels.

    Parameters
    ----------
    labels : (L,) array
        Places in the context that have a 1 for a label, ascending.
    patterns : (G, L) array
        Their values in each group.
    means : (1 + G, D) array
        m; first that of all other groups.
    choleskys : (1 + G, D, D) array
        Lower triangles of S, likewise.
    slopes : (C, D) array
        B.
    """

    labels: np.ndarray
    patterns: np.ndarray
    means: np.ndarray
    choleskys: np.ndarray
    slopes: np.ndarray

    @classmethod
    def fit(
        cls, x: Array, context: Array | None, weight: Array | None = None
    ) -> "GroupedGaussian | None":
        """Fit to rows x (N, D) and contexts (N, C); return None without two groups of rows."""
        if context is None:
            return None
        weight = np.ones(len(x)) if weight is None else weight
        labels = np.flatnonzero(np.all((context == 0) | (context == 1), axis=0))
        patterns, group = np.unique(context[:, labels], axis=0, return_inverse=True)
        group = group.reshape(-1)
        rows = np.bincount(group, weight, len(patterns))
        own = np.argsort(-rows, kind="stable")[:MOST_GROUPS]
        own = own[rows[own] >= LEAST_ROWS]
        if len(own) < 2:
            return None
        slopes = ridge_slopes(context, x, weight)
        rest = x - context @ slopes
        prior = PRIOR_ROWS * x.shape[1]
        every = Gaussian.shrunk(rest, weight)
        mean, shared = every.mean, every.cholesky @ every.cholesky.T
        means, choleskys = [mean], [every.cholesky]
        for k in own:
            here = group == k
            middle = np.average(rest[here], axis=0, weights=weight[here]) - mean
            within = _covariance(rest[here] - mean - middle, weight[here])
            part = rows[k] / (rows[k] + prior)
            moved = part * (1 - part) * np.outer(middle, middle)
            means.append(mean + part * middle)
            choleskys.append(np.linalg.cholesky(part * within + moved + (1 - part) * shared))
        return cls(
            labels.astype(np.float64), patterns[own], np.stack(means), np.stack(choleskys), slopes
        )

    def groups(self, context: Array) -> Array:
        """Return the number of the group of each context, (N,), from 1 on; 0 for all others."""
        found = np.zeros(len(context), np.int64)
        own = context[:, self.labels.astype(np.int64)]
        for k, pattern in enumerate(self.patterns, 1):
            found[np.all(own == pattern, axis=1)] = k
        return found

    def log_gates(self, context: Array) -> Array:
        """Return 0 for the group of each context and -inf for the others, (N, 1 + G)."""
        own = self.groups(context)[:, None] == np.arange(len(self.means))
        return np.where(own, 0.0, -np.inf)

    def components(self, context_dim: int) -> list[tuple[Gaussian, Array]]:
        """Return (Gaussian, slopes) of each group, for u - context @ slopes."""
        pairs = zip(self.means, self.choleskys)
        return [(Gaussian(mean, cholesky), self.slopes) for mean, cholesky in pairs]

    def log_prob(self, x: Array, context: Array) -> Array:
        """Return the log-density in nats, (N,), of rows (N, D) given their context (N, C)."""
        rest, group, found = x - context @ self.slopes, self.groups(context), np.empty(len(x))
        for k in np.unique(group):
            here = group == k
            found[here] = gaussian_log_prob(rest[here], self.means[k], self.choleskys[k])
        return found

    def sample(self, rng: Generator, n: int, context: Array) -> Array:
        """Sample ``n`` rows, (n, D)."""
        noise, group = (
            check_rng(rng).standard_normal((n, self.means.shape[1])),
            self.groups(context),
        )
        drawn = np.einsum("nij,nj->ni", self.choleskys[group], noise)
        return self.means[group] + drawn + context @ self.slopes

    def takes(self, dim: int, context_dim: int) -> bool:
        """Return as :meth:`nfref.tables.densities.pool.FittedFlow.takes` does."""
        return self.slopes.shape == (context_dim, dim) and context_dim > 0

    def _check(self):
        check_floats("means", self.means, None, None)
        groups, dim = self.means.shape
        check_floats("slopes", self.slopes, None, dim)
        check_floats("labels", self.labels, None)
        check_floats("patterns", self.patterns, groups - 1, len(self.labels))
        check_floats("choleskys", self.choleskys, groups, dim, dim)
        check_factors("choleskys", self.choleskys)
        require(
            np.all(np.isin(self.labels, np.arange(len(self.slopes)))),
            "labels: expected places in the context",
        )


def _covariance(centred, weight):
    """Return the covariance of centred rows, by its triangle, which keeps more digits."""
    factor = triangle(np.sqrt(weight / np.sum(weight)) * centred.T)
    return factor @ factor.T
