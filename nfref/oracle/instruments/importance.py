"""Integrals of densities in any dimension, from samples.

Forward importance sampling is E_q[p / q] = Z with q around the samples; it needs q to be wider than
p. Reverse importance sampling is E_p[q / p] = 1 / Z with q inside of p; it needs only samples of p.
The weights of both are unbounded, and their standard errors mislead just where the weights are
large: on heavy tails, at holes and edges. Bridge sampling (Meng and Wong 1996, "Simulating ratios
of normalizing constants via a simple identity") combines the two without that fault. For every Z

    E_q[p / (p + Z q)] = int p q / (p + Z q) = Z' E_p[q / (p + Z q)],   p / Z' normalised,

so the two averages are equal if Z = Z'. All their terms lie between 0 and 1, so the level of a test
on them holds for every density.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from nfref.oracle.instruments.guarded_calls import Undecided
from nfref.runtime.annotations import Array, Generator
from nfref.runtime.batching import in_blocks

# The level of every statistical test: a correct subject is not rejected by chance. Two-sided.
LEVEL, SIGMAS = 1e-9, 6.1
# In Bernstein's inequality at level 1e-9, ln(1 / level) / 3: the part of the largest term.
BERNSTEIN = 7.0
AROUND, BUMPS = 64, 200  # components of a wide proposal; of one that overlaps well
# Fewest rows of overlap with which the two densities can be compared.
OVERLAP = 100.0
# Least standard deviation of samples in any direction, if that along each column is 1.
LEAST_SPREAD = 1e-10
NEIGHBOURS = (8, 40)  # which of them, from the closest on, give bumps their widths


@dataclass(frozen=True)
class Proposal:
    """A mixture of normal or Student t densities around centers, with scale matrices alike."""

    centers: np.ndarray  # (K, D)
    root: np.ndarray  # (D, D) Cholesky factor of the scale matrix
    freedom: float = 5.0  # of the t densities; infinite for normal ones
    widths: np.ndarray = field(default_factory=lambda: np.ones(1))  # (K,) or (1,), times the root

    @classmethod
    def around(cls, pilot: Array, rng: Generator) -> "Proposal":
        """Return a wide mixture for forward sampling: Student t around some of the pilot rows."""
        dim = pilot.shape[1]
        chosen = pilot[rng.choice(len(pilot), size=min(AROUND, len(pilot)), replace=False)]
        shrink = len(chosen) ** (-1 / (dim + 4))
        return cls(chosen, shrink * root_of(pilot))

    def sample(self, rng: Generator, count: int) -> Array:
        """Return (count, D) samples."""
        normal = rng.standard_normal((count, self.centers.shape[1]))
        if np.isfinite(self.freedom):
            normal /= np.sqrt(rng.chisquare(self.freedom, (count, 1)) / self.freedom)
        which = rng.integers(len(self.centers), size=count)
        widths = np.broadcast_to(self.widths, len(self.centers))[which, None]
        return self.centers[which] + widths * (normal @ self.root.T)

    def log_prob(self, x: Array) -> Array:
        """Return the log-density (N,) at rows x (N, D)."""
        return in_blocks(self._log_prob, x)  # distances to all centers take much memory

    def _log_prob(self, x):
        from scipy.spatial.distance import cdist
        from scipy.special import gammaln

        dim, nu = self.centers.shape[1], self.freedom
        inverse = np.linalg.inv(self.root)
        middle = np.median(self.centers, axis=0)  # far from it digits are lost
        a, b = (x - middle) @ inverse.T, (self.centers - middle) @ inverse.T
        square = cdist(a, b, "sqeuclidean") / self.widths**2
        constant = -np.sum(np.log(np.abs(np.diag(self.root)))) - np.log(len(self.centers))
        constant = constant - dim * np.log(self.widths)
        if np.isinf(nu):
            return _log_sum_exp(constant - dim / 2 * np.log(2 * np.pi) - 0.5 * square)
        constant += gammaln((nu + dim) / 2) - gammaln(nu / 2) - dim / 2 * np.log(nu * np.pi)
        return _log_sum_exp(constant - (nu + dim) / 2 * np.log1p(square / nu))


def _log_sum_exp(terms):
    """Return log sum exp along the second axis; overwrite ``terms``, which is large."""
    top = np.max(terms, axis=1, keepdims=True)
    terms -= top
    np.exp(terms, out=terms)
    return top[:, 0] + np.log(np.sum(terms, axis=1))


def root_of(rows: Array) -> Array:
    """Return the Cholesky factor of the covariance of rows (N, D), in any units of their columns.

    It is found without the covariance, which has half of the digits where columns nearly depend on
    each other. Where they do, the last rows keep it from being singular.
    """
    if not np.all(np.isfinite(rows)):
        raise Undecided("the samples have no covariance")
    rows = rows - np.mean(rows, axis=0)
    largest = np.max(np.abs(rows), axis=0) + 1e-300  # a square may overflow
    spread = largest * np.sqrt(np.mean((rows / largest) ** 2, axis=0)) + 1e-300
    rows = rows / spread / np.sqrt(len(rows))
    upper = np.linalg.qr(np.concatenate([rows, LEAST_SPREAD * np.eye(len(spread))]), mode="r")
    return spread[:, None] * (upper * np.sign(np.diag(upper))[:, None]).T


def _middle_half(rows):
    """Return center and Cholesky factor of the half of the rows that lies closest together."""
    center = np.median(rows, axis=0)
    spread = np.median(np.abs(rows - center), axis=0) + 1e-300
    square = np.sum(((rows - center) / spread) ** 2, axis=1)
    for _ in range(4):
        half = rows[np.argsort(square)[: len(rows) // 2 + 1]]
        center = np.mean(half, axis=0)
        root = root_of(half)
        square = np.sum(np.linalg.solve(root, (rows - center).T) ** 2, axis=0)
    return center, root


def bumps(pilot: Array, log_prob: Array, rng: Generator) -> Proposal:
    """Return the mixture of normal bumps around pilot rows that overlaps best with a density.

    Wide bumps, moved towards the middle so that the mixture keeps the pilot's covariance, are best
    if the density is nearly normal. Narrow bumps are best if it is bent, in pieces or heavy-tailed.
    Bumps as wide as the distance to neighbours are best if a piece is much narrower than another.
    """
    chosen = rng.permutation(len(pilot))[:BUMPS]
    others = np.setdiff1d(np.arange(len(pilot)), chosen)[:1500]
    candidates = []
    for center, root in ((np.mean(pilot, axis=0), root_of(pilot)), _middle_half(pilot)):
        for width in (1.2, 1.0, 0.85, 0.65, 0.45, 0.3, 0.18, 0.1):
            centers = center + np.sqrt(max(1 - width**2, 0)) * (pilot[chosen] - center)
            centers = centers if width < 1 else center[None]
            candidates.append(Proposal(centers, width * root, np.inf))
    candidates.append(bumps_by_neighbours(pilot, rng))

    def overlap(candidate):
        ratio = candidate.log_prob(pilot[others]) - log_prob[others]
        # A constant offset of log_prob must not affect the choice.
        ratio -= _log_sum_exp(ratio[None] + 0.0)[0] - np.log(len(ratio))
        return np.mean(_logistic(ratio))

    return max(candidates, key=overlap)


def bumps_by_neighbours(pilot: Array, rng: Generator) -> Proposal:
    """Return a mixture of bumps as wide as the distances from their centers to some neighbours.

    It covers pieces of which one is much narrower than another.
    """
    from scipy.spatial import KDTree

    chosen = rng.permutation(len(pilot))[:BUMPS]
    spread = np.std(pilot, axis=0) + 1e-300
    order = [k for k in NEIGHBOURS if k < len(pilot)]
    distance, _ = KDTree(pilot / spread).query(pilot[chosen] / spread, np.add(1, order))
    widths = np.maximum(distance / np.sqrt(pilot.shape[1]), LEAST_SPREAD)
    centers = np.repeat(pilot[chosen], len(order), axis=0)
    return Proposal(centers, np.diag(spread), np.inf, widths.ravel())


def _logistic(t):
    return 1 / (1 + np.exp(-np.clip(t, -700, 700)))


class Bridge(NamedTuple):
    """log Z of a density from its samples and those of a proposal."""

    log_z: float
    tolerance: float  # error by chance, at level 1e-9; inf if the two do not overlap enough


def bridge(p_at_x: Array, q_at_x: Array, p_at_y: Array, q_at_y: Array) -> Bridge:
    """Return the estimate from log-densities, -inf included, at samples x of p and rows y of q."""
    from scipy.optimize import brentq

    ratio_x, ratio_y = q_at_x - p_at_x, p_at_y - q_at_y
    finite = np.concatenate([-ratio_x[np.isfinite(ratio_x)], ratio_y[np.isfinite(ratio_y)]])
    if not len(finite):
        return Bridge(0.0, np.inf)

    def excess(guess):
        return np.mean(_logistic(ratio_y - guess)) - np.mean(_logistic(ratio_x + guess))

    low, high = np.min(finite) - 50, np.max(finite) + 50  # 1e24 apart where tails are heavy
    if not excess(low) > 0 > excess(high):
        return Bridge(0.0, np.inf)
    log_z = brentq(excess, low, high, xtol=1e-12, rtol=1e-15, maxiter=1000)
    a, b = _logistic(ratio_x + log_z), _logistic(ratio_y - log_z)
    slope = np.mean(a * (1 - a)) + np.mean(b * (1 - b))
    spread = SIGMAS * np.sqrt(np.var(a) / len(a) + np.var(b) / len(b))
    largest = BERNSTEIN * max(np.max(a) / len(a), np.max(b) / len(b))
    tolerance = (spread + largest) / slope if slope > 0 else np.inf
    if min(np.sum(a), np.sum(b)) < OVERLAP:
        tolerance = np.inf
    return Bridge(float(log_z), float(tolerance))
