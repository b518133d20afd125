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

from nfref.bases.standard_normal import StandardNormal
from nfref.flows.autoregressive import MADE, MAF, natural_order
from nfref.flows.neural_spline import NSF
from nfref.runtime.annotations import Any, Array, Generator, Sequence
from nfref.runtime.batching import context_of
from nfref.tables.densities.gaussian import LOG_TWO_PI, Gaussian, solved
from nfref.tables.densities.grouped import GroupedGaussian
from nfref.tables.densities.mixture import GaussianMixture
from nfref.tables.densities.pool import FittedFlow, Pool, Regressed, stacking_weights
from nfref.tables.densities.regression import MixtureRegression
from nfref.tables.densities.wide import Wide

PILOT = 2000  # samples of a pool that decide the weights of its closed-form approximation


# Formulas ---------------------------------------------------------------------------------


def reordered(cholesky: Array, order: Array) -> Array:
    """Return T, lower triangular, with T T^T = (L L^T)[order, order].

    By QR of L[order]^T, so that the covariance itself is never formed. Shapes: (D, D), (D,).
    """
    upper: Any = np.linalg.qr(cholesky[order].T, mode="r")
    return upper.T * np.sign(np.diag(upper))


def gaussian_marginal(u: Array, mean: Array, factor: Array) -> tuple[Array, Array]:
    """Return (log p(u_O), z_O) for the first columns O, u and mean in the order of T.

    Shapes: u (N, O), mean (D,), factor T (D, D). Returns (N,), (N, O).
    """
    seen = u.shape[1]
    if not seen:
        return np.zeros(len(u)), u
    own = factor[:seen, :seen]
    z = solved(own, u - mean[:seen]).T
    return (-0.5 * np.sum(z**2, axis=1) - np.sum(np.log(np.diag(own))) - 0.5 * seen * LOG_TWO_PI, z)


def gaussian_conditional(z: Array, noise: Array, mean: Array, factor: Array) -> Array:
    """Return u_M = m_M + T_MO z_O + T_MM e. Shapes: z (N, O), noise e (N, M). Returns (N, M)."""
    seen = z.shape[1]
    return mean[seen:] + z @ factor[seen:, :seen].T + noise @ factor[seen:, seen:].T


# A mixture of closed forms ----------------------------------------------------------------


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
    is_exact : bool
        True if it equals the pool, False if it only approximates it.
    gates : tuple of (int, MixtureRegression or GroupedGaussian)
        The first part of each of these, which gives r; r is 1 for all other parts.
    """

    log_weights: np.ndarray
    parts: tuple
    slopes: tuple
    is_exact: bool = False
    gates: tuple = ()

    @classmethod
    def of(
        cls, members: Sequence[Any], weights: Array, is_exact: bool = False, context_dim: int = 0
    ) -> "ClosedForm":
        """Return the closed form of members with these weights."""
        log_weights: list[float] = []
        parts: list[Any] = []
        slopes: list[Array | None] = []
        gates: list[tuple[int, MixtureRegression | GroupedGaussian]] = []
        for member, weight in zip(members, weights):
            slope = member.slopes if isinstance(member, Regressed) else None
            density = member.density if isinstance(member, Regressed) else member
            if not weight > 0:
                continue
            if isinstance(density, (MixtureRegression, GroupedGaussian)):
                gates.append((len(parts), density))
                for gaussian, slope in density.components(context_dim):
                    log_weights.append(np.log(weight))
                    parts.append(gaussian)
                    slopes.append(slope)
            elif isinstance(density, GaussianMixture):
                log_weights.extend(np.log(weight) + density.log_weights)
                parts.extend(map(Gaussian, density.means, density.choleskys))
                slopes.extend([slope] * density.components)
            else:
                log_weights.append(np.log(weight))
                parts.append(density)
                slopes.append(slope)
        return cls(np.array(log_weights), tuple(parts), tuple(slopes), is_exact, tuple(gates))

    @classmethod
    def proposal_for(cls, pool: Pool, rng: Generator, context: Array | None = None) -> "ClosedForm":
        """Return the closed form that is likeliest for samples of a pool, or the pool if it is one.

        Stacking decides its weights, with one prior row for each member, so that none is left out:
        where a flow has found something that no closed form has, the wide density serves. For flows
        alone, closed forms are fitted to the samples.

        Parameters
        ----------
        pool : Pool
        rng : numpy.random.Generator
        context : (N, C) array, optional
            Contexts of the samples.
        """
        closed = [k for k, member in enumerate(pool.members) if is_closed(member)]
        members = [pool.members[k] for k in closed]
        context_dim = 0 if context is None else context.shape[1]
        if all(pool.weights[k] == 0 for k in range(len(pool.members)) if k not in closed):
            return cls.of(members, pool.weights[closed], True, context_dim)
        drawn = pool.sample(rng, PILOT if context is None else len(context), context)
        members = members or _fitted_to(drawn, context, rng)
        scores = replace(pool, members=tuple(members)).log_probs(drawn, context)
        weights = stacking_weights(
            scores, prior=np.full(len(members), 0.01 * len(drawn) / len(members))
        )
        return cls.of(members, weights, False, context_dim)

    def log_joint(self, u: Array, observed: Array, context: Array | None = None) -> Array:
        """Return log v_k r_k(c) q_k(u_O | c), (N, K), of the ``observed`` columns of u (N, D)."""
        return self.joint_and_marginals(u, observed, context)[0]

    def joint_and_marginals(
        self, u: Array, observed: Array, context: Array | None = None
    ) -> tuple[Array, list[tuple[Array, Array | None]]]:
        """Return :meth:`log_joint`, and (z_O, T) of each part; T is None for the wide density."""
        found = [self._marginal(k, u, observed, context) for k in range(len(self.parts))]
        joint = np.zeros((len(u), len(found)))
        for k, (log_prob, _, _) in enumerate(found):
            joint[:, k] = self.log_weights[k] + log_prob
        for first, member in self.gates:
            gates = member.log_gates(context)
            joint[:, first : first + gates.shape[1]] += gates
        return joint, [(z, factor) for _, z, factor in found]

    def log_prob(self, u: Array, observed: Array, context: Array | None = None) -> Array:
        """Return log q(u_O | c), (N,)."""
        return np.logaddexp.reduce(self.log_joint(u, observed, context), axis=1)

    def fill(
        self, u: Array, observed: Array, noise: "Noise", context: Array | None = None
    ) -> tuple[Array, Array]:
        """Sample the columns that are not ``observed``, given those that are.

        Parameters
        ----------
        u : (N, D) array
            Values of the columns to fill are ignored.
        observed : (O,) array of int
        noise : Noise
            Noise of N rows.
        context : (N, C) array, optional

        Returns
        -------
        filled : (N, D) array
        log_prob : (N,) array
            log q(u_O | c).
        """
        joint, marginals = self.joint_and_marginals(u, observed, context)
        log_prob = np.logaddexp.reduce(joint, axis=1)
        share = np.exp(joint - log_prob[:, None])
        edges = np.cumsum(share, axis=1)
        chosen = np.sum(noise.part[:, None] * edges[:, -1:] >= edges[:, :-1], axis=1)
        missing = others(observed, u.shape[1])
        filled = u.copy()
        for k in np.unique(chosen):
            rows = np.flatnonzero(chosen == k)
            z, factor = marginals[k]
            if factor is None:
                drawn = self.parts[k].of_normal(noise.normal[rows][:, missing])
            else:
                mean = self.parts[k].mean[np.concatenate([observed, missing])]
                drawn = gaussian_conditional(z[rows], noise.normal[rows][:, missing], mean, factor)
            if self.slopes[k] is not None and context is not None:
                drawn = drawn + context[rows] @ self.slopes[k][:, missing]
            filled[np.ix_(rows, missing)] = drawn
        return filled, log_prob

    def _marginal(self, k, u, observed, context):
        """Return (log q_k(u_O), z_O, T); T is None for the wide density."""
        part, seen = self.parts[k], u[:, observed]
        if self.slopes[k] is not None:
            seen = seen - context @ self.slopes[k][:, observed]
        if isinstance(part, Wide):
            return np.sum(part.log_column(seen), axis=1), seen, None
        order = np.concatenate([observed, others(observed, u.shape[1])])
        factor = reordered(part.cholesky, order)
        return *gaussian_marginal(seen, part.mean[order], factor), factor


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


def leading_order(member: Any) -> tuple[int, ...] | None:
    """Return the order in which a member takes its columns, if all its layers share it.

    Returns
    -------
    tuple of int or None
        order[i] is the place of column i. If the known columns come first, their density is that of
        their own coordinates: the others never enter.
    """
    if not isinstance(member, FittedFlow):
        return None
    flow, base = member.density.flow, member.density.base
    if not isinstance(base, StandardNormal) or not isinstance(flow, (MAF, NSF)):
        return None
    layers = [layer for layer in flow.flows if type(layer) is MADE]
    if len(layers) < len(flow.flows):
        return None
    orders = {layer.order or natural_order(flow.dim) for layer in layers}
    return tuple(orders.pop()) if len(orders) == 1 else None


def comes_first(order: Sequence[int], observed: Array) -> bool:
    """Return whether the columns ``observed`` come first in an order."""
    return set(np.asarray(order)[observed].tolist()) == set(range(len(observed)))


def leading_log_prob(member: Any, u: Array, observed: Array, context: Array | None = None) -> Array:
    """Return log p(u_O | c), (N,), of columns that come first in the order of all layers.

        log p(u_O) = sum_{i in O} (log N(z_i; 0, 1) + sum_layers log dz_i/dx_i)

    Each z_i depends on u_i and the columns before it, so on nothing that is missing.
    """
    x = u.copy()
    x[:, others(observed, u.shape[1])] = 0.0  # any value will do
    total = 0.0
    for layer, params in zip(reversed(member.density.flow.flows), reversed(member.params["flow"])):
        x, log_slope = layer.transformer.inverse(x, layer.conditioner(params, context)(x))
        total = total + np.sum(log_slope[:, observed], axis=1)
    return total - np.sum(0.5 * x[:, observed] ** 2 + 0.5 * LOG_TWO_PI, axis=1)


def exact_marginal(
    pool: Pool, u: Array, observed: Array, context: Array | None = None
) -> Array | None:
    """Return log sum_k w_k p_k(u_O | c), (N,), or None if a member has no such marginal.

    Members in closed form have all marginals, and flows of one order those of their first columns.
    """
    parts = []
    context_dim = 0 if context is None else context.shape[1]
    for member, weight in zip(pool.members, pool.weights):
        if not weight > 0:
            continue
        order = leading_order(member)
        if is_closed(member):
            closed = ClosedForm.of([member], np.ones(1), context_dim=context_dim)
            part = closed.log_prob(u, observed, context)
        elif order is not None and comes_first(order, observed):
            part = leading_log_prob(member, u, observed, context)
        else:
            return None
        parts.append(np.log(weight) + np.where(np.isnan(part), -np.inf, part))
    return np.logaddexp.reduce(parts, axis=0)


def others(observed: Array, dim: int) -> Array:
    """Return the columns that are not observed, in order."""
    hidden = np.ones(dim, bool)
    hidden[observed] = False
    return np.flatnonzero(hidden)


# Random numbers ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Noise:
    """The random numbers that fill rows: S samples for each of N rows.

    Parameters
    ----------
    seeds : (N,) array
        Seeds of each row's samples of counts.
    label, part : (N * S,) array
        Uniform: which labels, which component.
    normal : (N * S, D) array
        Standard normal.
    """

    seeds: np.ndarray
    label: np.ndarray
    part: np.ndarray
    normal: np.ndarray

    @classmethod
    def sample(cls, rng: Generator, rows: int, draws: int, dim: int) -> "Noise":
        """Sample numbers for ``rows`` rows, each with its own."""
        total = rows * draws
        seeds, label, part = rng.integers(2**63, size=rows), rng.random(total), rng.random(total)
        return cls(seeds, label, part, rng.standard_normal((total, dim)))

    @classmethod
    def stratified(cls, rng: Generator, draws: int, dim: int) -> "Noise":
        """Sample for one row, each number once in each of S equally likely parts of its range.

        A Latin hypercube: a function of one number alone has almost no error of chance left. That
        matters for rows that share their noise, and so their errors.

        Source: McKay, Beckman and Conover 1979.
        """
        from scipy.special import ndtri

        u = (
            rng.permuted(np.tile(np.arange(draws), (dim + 2, 1)), axis=1)
            + rng.random((dim + 2, draws))
        ) / draws
        u = np.clip(u, 1e-12, 1 - 1e-12)
        return cls(rng.integers(2**63, size=1), u[0], u[1], ndtri(u[2:].T))

    def shared(self, rows: int) -> "Noise":
        """Repeat the noise of one row, so that no row depends on those beside it."""
        return Noise(*(np.concatenate([part] * rows) for part in vars(self).values()))
