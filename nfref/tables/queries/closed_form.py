"""Marginals and conditionals in closed form: of Gaussians, mixtures and the wide density.

With the columns in the order observed (O), missing (M), and T the Cholesky factor of the covariance
in that order,

    z_O = T_OO^-1 (u_O - m_O)
    log p(u_O) = -|z_O|^2 / 2 - sum log diag T_OO - (|O|/2) log 2 pi
    u_M | u_O  ~  N(m_M + T_MO z_O, T_MM T_MM^T)

A mixture has the marginal sum_k v_k p_k(u_O) and the conditionals of its components with weights
v_k p_k(u_O) / sum_l v_l p_l(u_O). The columns of the wide density are independent, so its marginals
are wide densities of fewer columns, and its conditionals are marginals.

Source: Bishop 2006.
"""

from dataclasses import dataclass, replace

import numpy as np

from nfref.runtime.annotations import Any, Array, Generator, Sequence
from nfref.runtime.batching import context_of
from nfref.tables.densities.gaussian import LOG_TWO_PI, Gaussian, solved, triangle
from nfref.tables.densities.grouped import GroupedGaussian
from nfref.tables.densities.mixture import GaussianMixture
from nfref.tables.densities.pool import Pool, Regressed, stacking_weights
from nfref.tables.densities.regression import MixtureRegression
from nfref.tables.densities.wide import Wide

PILOT = 2000  # samples of a pool that decide the weights of its closed-form approximation
PRIOR_SHARE = 0.01  # prior rows as a share of these: no member is left out
EDGE = 1e-12  # smallest distance of uniform numbers from 0 and 1


@dataclass(frozen=True)
class ClosedForm:
    """q(u | c) = sum_k v_k r_k(c) q_k(u - c B_k), each q_k a Gaussian or the wide density.

    Parameters
    ----------
    log_weights : (K,) array
        log v.
    parts : tuple of Gaussian or Wide, length K
    slopes : tuple of (C, D) array or None, length K
        B.
    gates : tuple of (int, MixtureRegression or GroupedGaussian)
        The first part of each of these, which gives r; r is 1 for all other parts.
    """

    log_weights: np.ndarray
    parts: tuple
    slopes: tuple
    gates: tuple = ()

    @classmethod
    def of(cls, members: Sequence[Any], weights: Array, context_dim: int = 0) -> "ClosedForm":
        """Return the closed form of members with these weights."""
        log_weights: list[float] = []
        parts: list[Any] = []
        slopes: list[Array | None] = []
        gates: list[tuple[int, MixtureRegression | GroupedGaussian]] = []
        for member, weight in zip(members, weights):
            if not weight > 0:
                continue
            slope = member.slopes if isinstance(member, Regressed) else None
            density = member.density if isinstance(member, Regressed) else member
            if isinstance(density, (MixtureRegression, GroupedGaussian)):
                gates.append((len(parts), density))
                own = density.components(context_dim)
            elif isinstance(density, GaussianMixture):
                own = [(Gaussian(*one), slope) for one in zip(density.means, density.choleskys)]
            else:
                own = [(density, slope)]
            shares = density.log_weights if isinstance(density, GaussianMixture) else [0.0]
            log_weights.extend(np.log(weight) + np.broadcast_to(shares, len(own)))
            parts.extend(part for part, _ in own)
            slopes.extend(slope for _, slope in own)
        return cls(np.array(log_weights), tuple(parts), tuple(slopes), tuple(gates))

    def log_joint(self, u: Array, observed: Array, context: Array | None = None) -> Array:
        """Return log v_k r_k(c) q_k(u_O | c), (N, K), of the ``observed`` columns of u (N, D)."""
        joint = np.zeros((len(u), len(self.parts)))
        for k, part in enumerate(self.parts):
            seen = u[:, observed] - self._shift(k, context, observed)
            if isinstance(part, Wide):
                log_prob = np.sum(part.log_column(seen), axis=1)
            else:
                own = triangle(part.cholesky[observed])
                z = solved(own, seen - part.mean[observed])
                log_prob = -0.5 * np.sum(z**2, axis=0) - np.sum(np.log(np.diag(own)))
                log_prob = log_prob - 0.5 * len(observed) * LOG_TWO_PI
            joint[:, k] = self.log_weights[k] + log_prob
        for first, member in self.gates:
            gates = member.log_gates(context)
            joint[:, first : first + gates.shape[1]] += gates
        return joint

    def log_prob(self, u: Array, observed: Array, context: Array | None = None) -> Array:
        """Return log q(u_O | c), (N,)."""
        return np.logaddexp.reduce(self.log_joint(u, observed, context), axis=1)

    def fill(
        self, u: Array, missing: Array, chosen: Array, noise: Array, context: Array | None = None
    ) -> Array:
        """Return u (N, D) with ``missing`` columns sampled from the ``chosen`` part, given others.

        Parameters
        ----------
        u : (N, D) array
            Values of the columns to fill are ignored.
        missing : (M,) array of int
            The first of them follows from the first column of the noise alone.
        chosen : (N,) array of int
            The number of a part for each row.
        noise : (N, M) array
            Standard normal.
        context : (N, C) array, optional
        """
        observed, filled = others(missing, u.shape[1]), u.copy()
        order, seen = np.concatenate([observed, missing]), len(observed)
        for k in np.unique(chosen):
            rows, part = np.flatnonzero(chosen == k), self.parts[k]
            given = context_of(context, rows)
            if isinstance(part, Wide):
                drawn = part.of_normal(noise[rows])
            else:
                factor, mean = triangle(part.cholesky[order]), part.mean[order]
                known = u[np.ix_(rows, observed)] - self._shift(k, given, observed)
                z = solved(factor[:seen, :seen], known - mean[:seen]).T
                drawn = mean[seen:] + np.column_stack([z, noise[rows]]) @ factor[seen:].T
            filled[np.ix_(rows, missing)] = drawn + self._shift(k, given, missing)
        return filled

    def _shift(self, k, context, columns):
        """Return c B_k of some columns, (N, columns) or 0."""
        slopes = self.slopes[k]
        return 0.0 if slopes is None or context is None else context @ slopes[:, columns]


def chosen_part(log_joint: Array, uniform: Array) -> tuple[Array, Array]:
    """Choose parts by uniform numbers, and return what is left of these, uniform again.

    Parameters
    ----------
    log_joint : (N, K) array
        Logarithms of weights, up to a constant in each row.
    uniform : (N, S) array

    Returns
    -------
    chosen : (N, S) array of int
    rest : (N, S) array
        The place within the interval of the part that is chosen, in (0, 1).
    """
    total = np.logaddexp.reduce(log_joint, axis=1, keepdims=True)
    share = np.where(np.isfinite(total), np.exp(log_joint - total), 1.0)
    edges = np.cumsum(share / np.sum(share, axis=1, keepdims=True), axis=1)
    edges[:, -1] = 1.0
    chosen = np.stack([np.searchsorted(*row, side="right") for row in zip(edges, uniform)])
    chosen = np.minimum(chosen, edges.shape[1] - 1)
    before = np.concatenate([np.zeros((len(edges), 1)), edges], axis=1)
    low, high = (np.take_along_axis(before, chosen + k, axis=1) for k in (0, 1))
    return chosen, np.clip((uniform - low) / (high - low), EDGE, 1 - EDGE)


# A closed form near a pool ----------------------------------------------------------------


def closed_weights(
    pool: Pool, rng: Generator, context: Array | None = None
) -> tuple[Pool, Array, bool]:
    """Return (a pool, weights (K,) of its closed forms that come nearest to it, whether it is one).

    Stacking decides the weights, by samples of the pool, with prior rows for each member, so that
    none is left out: where a flow has found something that no closed form has, the wide density
    serves. For flows alone, closed forms are fitted to the samples, and join the pool with weight
    0.

    Parameters
    ----------
    pool : Pool
    rng : numpy.random.Generator
    context : (N, C) array, optional
        Contexts of the samples.
    """
    closed = np.array([is_closed(member) for member in pool.members])
    if not np.any(pool.weights[~closed] > 0):
        return pool, pool.weights, True
    drawn = pool.sample(rng, PILOT if context is None else len(context), context)
    if not np.any(closed):
        fitted = _fitted_to(drawn, context, rng)
        pool = Pool(
            (*pool.members, *fitted),
            np.append(pool.weights, np.zeros(len(fitted))),
            (*pool.names, *["closed form"] * len(fitted)),
        )
        closed = np.append(closed, np.full(len(fitted), True))
    members = tuple(member for member, own in zip(pool.members, closed) if own)
    scores = replace(pool, members=members).log_probs(drawn, context)
    prior = np.full(len(members), PRIOR_SHARE * len(drawn) / len(members))
    weights = np.zeros(len(closed))
    weights[closed] = stacking_weights(scores, prior=prior)
    return pool, weights, False


def _fitted_to(drawn, context, rng):
    """Fit a Gaussian, a mixture and the wide density to samples of a flow."""
    finite = np.all(np.isfinite(drawn), axis=1)
    u, context = drawn[finite], context_of(context, finite)
    number = int(np.clip(len(u) // (4 * (u.shape[1] + 1)), 1, 8))
    fits = (
        Gaussian.shrunk,
        lambda x, w: GaussianMixture.fit(x, number, rng, weight=w),
        lambda x, w: Wide(x.shape[1]),
    )
    return [Regressed.fit(fit, u, context) for fit in fits]


def is_closed(member: Any) -> bool:
    """Return whether a member of a pool has marginals in closed form."""
    density = member.density if isinstance(member, Regressed) else member
    closed = (Gaussian, GaussianMixture, GroupedGaussian, MixtureRegression, Wide)
    return isinstance(density, closed)


def others(columns: Array, dim: int) -> Array:
    """Return the columns that are not among some, in order."""
    rest = np.ones(dim, bool)
    rest[columns] = False
    return np.flatnonzero(rest)


def latin_hypercube(rng: Generator, draws: int, dim: int) -> Array:
    """Sample ``draws`` points of the unit cube, (S, D), with each coordinate in all S strata.

    A function of one coordinate alone has almost no error of chance left. That matters for rows
    that share their noise, and so their errors.

    Source: McKay, Beckman and Conover 1979.
    """
    strata = rng.permuted(np.tile(np.arange(draws), (dim, 1)), axis=1).T
    return np.clip((strata + rng.random((draws, dim))) / draws, EDGE, 1 - EDGE)
