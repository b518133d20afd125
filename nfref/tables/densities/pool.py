"""A linear pool of densities: p(x) = sum_k w_k p_k(x), with weights from held-out rows.

Source: Smyth and Wolpert 1997, who find the weights by cross-validation; one held-out part serves
where a member costs too much to be fitted several times.

The weights that maximise the likelihood of validation rows are those of a mixture whose components
are fixed. EM finds them: the log-likelihood is concave in them. On these rows a pool is at least as
likely as its best member, and a member that is wrong somewhere costs the pool no more than its
weight where another is right. So one wide member bounds what any row can cost:

    -log p(x) <= -log w_wide - log p_wide(x).
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nfref.density import Density, log_probs
from nfref.runtime import params as trees
from nfref.runtime.annotations import Any, Array, Callable, Generator, Params, Sequence
from nfref.runtime.batching import in_blocks
from nfref.runtime.checks import check_floats, check_rng, require
from nfref.runtime.configuration import Configuration
from nfref.runtime.frozen_params import frozen
from nfref.runtime.param_schema import Structure
from nfref.runtime.serialization import SLACK, describe
from nfref.tables.densities.gaussian import triangle

RIDGE_STEPS = 6  # of a ridge towards the variance of its residuals; each squares what it adds
TINY = 1e-26  # smallest ridge: rounding leaves such a variance
SMALLEST_WEIGHT = 1e-3  # a lighter member is left out: new rows lost under 1e-4 nats by it


def stacking_weights(
    log_densities: Array,
    weight: Array | None = None,
    prior: Array | None = None,
    tolerance: float = 1e-6,
    iterations: int = 5000,
) -> Array:
    """Return weights (K,) of a linear pool, by EM.

        w_k <- (sum_i v_i r_ik + a_k) / (sum_i v_i + sum_k a_k)

    r_ik is the share of member k in the density of row i, v_i the weight of row i, and a_k prior
    rows of member k, which keep its weight away from zero.

    Parameters
    ----------
    log_densities : (M, K) array
        log p_k(x_i) of rows that no member was fitted to; -inf where a density is zero.
    weight : (M,) array, optional
        v; 1 for every row if omitted.
    prior : (K,) array, optional
        a; none if omitted.
    tolerance : float
        EM stops when no weight changes by more.
    iterations : int
        At most.

    Returns
    -------
    (K,) array
        At least 0, with sum 1.
    """
    log_densities = np.asarray(log_densities, np.float64)
    rows, members = log_densities.shape
    prior = np.zeros(members) if prior is None else np.asarray(prior, np.float64)
    v = np.ones(rows) if weight is None else np.asarray(weight, np.float64)
    # Only ratios within a row matter; a row that no member allows is ignored.
    largest = np.max(log_densities, axis=1)
    v = np.where(np.isfinite(largest), v, 0.0)
    ratios = np.exp(log_densities - np.where(np.isfinite(largest), largest, 0.0)[:, None])
    weights = np.full(members, 1 / members)
    total = np.sum(v) + np.sum(prior)
    if total == 0:
        return weights
    for _ in range(iterations):
        density = ratios @ weights
        new = (weights * ((v / np.where(density > 0, density, 1.0)) @ ratios) + prior) / total
        new = new / np.sum(new)
        done = np.max(np.abs(new - weights)) < tolerance
        weights = new
        if done:
            break
    return weights


def log_pool(log_densities: Array, weights: Array) -> Array:
    """Return log sum_k w_k p_k, (M,), of log p_k (M, K) and weights w (K,)."""
    used = weights > 0
    return np.logaddexp.reduce(np.log(weights[used]) + log_densities[:, used], axis=1)


# Members ----------------------------------------------------------------------------------


def check_parameters(density: Any, params: Params) -> None:
    """Check that params fit a density: shapes as ``init`` makes them, finite, of one dtype.

    A density with more parameters than there are numbers is refused before they are made.
    """
    template = density.init(_Budget(2 * trees.count(params) + SLACK))
    Structure(trees.tree_map(np.shape, template)).checked(params)
    arrays = describe({"params": params})[1]
    for name, array in arrays.items():
        check_floats(name, array, *array.shape)
    dtypes = {str(array.dtype) for array in arrays.values()}
    require(len(dtypes) < 2, f"params: expected one dtype, got {' and '.join(sorted(dtypes))}")


class _Budget(np.random.Generator):
    """A generator that samples no more than a given count of numbers."""

    def __init__(self, left):
        super().__init__(np.random.PCG64(0))
        self.left = left

    def _take(self, size):
        self.left -= math.prod(size) if isinstance(size, tuple) else size or 1
        require(
            self.left >= 0,
            "density: expected one of the size of its arrays, got one that has more parameters",
        )

    def uniform(self, low=0.0, high=1.0, size=None):
        self._take(size)
        return super().uniform(low, high, size)

    def standard_normal(self, size=None, *rest):
        self._take(size)
        return super().standard_normal(size, *rest)


@dataclass(frozen=True)
class FittedFlow(Configuration):
    """A density with its parameters: a flow as a member of a pool.

    Parameters
    ----------
    density : Density
    params : nested dicts and lists of arrays
        Kept as :func:`nfref.frozen` returns them.
    """

    density: Any
    params: Any

    _converters = {"params": lambda name, params: frozen(params)}

    def log_prob(self, x: Array, context: Array | None = None) -> Array:
        """Return the log-density in nats, (N,), of rows (N, D) given their context (N, C).

        It is computed in the dtype of the parameters, which are checked once.
        """
        dtype, params = self._checked

        def of_block(*rows):
            x, context = (*(np.asarray(part, dtype, order="C") for part in rows), None)[:2]
            return self.density._log_prob(params, x, context)

        return in_blocks(of_block, x, context)

    @cached_property
    def _checked(self):
        dtype = trees.dtype_of(self.params)
        return dtype, self.density._structure.checked(self.params, dtype)

    def sample(self, rng: Generator, n: int, context: Array | None = None) -> Array:
        """Sample ``n`` rows, (n, D)."""
        return self.density.sample(trees.cast(self.params, np.float64), rng, n, context)

    def takes(self, dim: int, context_dim: int) -> bool:
        """Return whether this is a density of ``dim`` columns given ``context_dim`` numbers."""
        return (self.density.dim, self.density.context_dim) == (dim, context_dim)

    def _check(self):
        require(
            isinstance(self.density, Density),
            f"density: expected a Density, got {type(self.density).__name__}",
        )
        check_parameters(self.density, self.params)


def ridge_slopes(context: Array, x: Array, weight: Array | None = None) -> Array:
    """Return the slopes (C, D) of x (N, D) in a context (N, C), of variance 1 a priori.

    The ridge of a column is the variance of its residuals, and at most 1: a ridge of 1 would hide a
    column that follows from the context nearly exactly.
    """
    share = np.ones(len(x)) if weight is None else weight
    both = np.concatenate([context, x], axis=1)
    both = both - np.average(both, axis=0, weights=share)
    # L = [[L_c, 0], [M, L_r]] of both: M L_c^T are their products, L_r the parts of x beyond them.
    factor, wide = triangle(np.sqrt(share) * both.T), context.shape[1]
    left, spread, right = np.linalg.svd(factor[:wide, :wide])
    products = right @ factor[wide:, :wide].T
    beyond = np.sum(factor[wide:, wide:] ** 2, axis=1)
    ridge, rows = np.ones(x.shape[1]), np.sum(share) - 1 - wide
    for _ in range(RIDGE_STEPS if rows > 0 else 0):
        left_over = products * ridge / (spread[:, None] ** 2 + ridge)
        ridge = np.clip((beyond + np.sum(left_over**2, axis=0)) / rows, TINY, 1)
    return left @ (spread[:, None] / (spread[:, None] ** 2 + ridge) * products)


@dataclass(frozen=True)
class Regressed(Configuration):
    """A density of the residuals of rows from a linear function of their context: p(x - c B).

    Parameters
    ----------
    density : object
        With ``log_prob(x)`` and ``sample(rng, n)``.
    slopes : (C, D) array
        B.
    """

    density: Any
    slopes: np.ndarray

    @classmethod
    def fit(
        cls, fit: Callable[..., Any], x: Array, context: Array | None, weight: Array | None = None
    ) -> "Regressed":
        """Call ``fit(x, weight)`` with the residuals of :func:`ridge_slopes`."""
        return cls.fit_each(lambda x, w: [fit(x[0], w[0])], [x], [context], [weight])[0]

    @classmethod
    def fit_each(
        cls,
        fit: Callable[..., Any],
        tables: Sequence[Array],
        contexts: Sequence[Array | None],
        weights: Sequence[Array | None],
    ) -> list[Any]:
        """Call ``fit(tables, weights)`` with the residuals of several tables, as :meth:`fit`."""
        if contexts[0] is None or not contexts[0].shape[1]:
            return fit(tables, weights)
        slopes = [
            ridge_slopes(c, x, w) for c, x, w in zip(contexts, tables, weights) if c is not None
        ]
        rest = [x - c @ own for x, c, own in zip(tables, contexts, slopes)]
        return [cls(found, own) for found, own in zip(fit(rest, weights), slopes)]

    def log_prob(self, x: Array, context: Array) -> Array:
        """Return the log-density in nats, (N,), of rows (N, D) given their context (N, C)."""
        return self.density.log_prob(x - context @ self.slopes)

    def sample(self, rng: Generator, n: int, context: Array) -> Array:
        """Sample ``n`` rows, (n, D)."""
        return self.density.sample(rng, n) + context @ self.slopes

    def takes(self, dim: int, context_dim: int) -> bool:
        """Return as :meth:`FittedFlow.takes` does."""
        return self.slopes.shape == (context_dim, dim) and context_dim > 0

    def _check(self):
        check_floats("slopes", self.slopes, None, None)
        require(
            self.density.takes(self.slopes.shape[1], 0),
            "density: expected one of as many columns as slopes are of",
        )


# Pools ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pool(Configuration):
    """p(x) = sum_k w_k p_k(x), or the same of x given a context.

    Parameters
    ----------
    members : tuple
        Densities with ``log_prob(x)`` and ``sample(rng, n)``, which may take a context.
    weights : (K,) array
        At least 0, with sum 1.
    names : tuple of str
        Members with one name are one candidate and stand next to each other: flows of one kind,
        each trained without one fold.
    """

    members: tuple
    weights: np.ndarray
    names: tuple

    @cached_property
    def flows(self) -> list[int]:
        """The places of the members that are flows."""
        return [k for k, member in enumerate(self.members) if isinstance(member, FittedFlow)]

    @cached_property
    def used(self) -> "Pool":
        """The pool without members of weight 0, which cost time and change nothing."""
        some = np.flatnonzero(self.weights > 0)
        return Pool(
            tuple(self.members[k] for k in some),
            self.weights[some],
            tuple(self.names[k] for k in some),
        )

    @property
    def shares(self) -> dict[str, float]:
        """The weight of each candidate, by name."""
        found = dict.fromkeys(self.names, 0.0)
        for name, weight in zip(self.names, self.weights.tolist()):
            found[name] += weight
        return found

    def by_name(self, log_probs: Array) -> Array:
        """Return log-densities of the candidates, (N, names), from the log p_k, (N, K)."""
        names, found = np.array(self.names), []
        for name, share in self.shares.items():
            some = np.flatnonzero(names == name)
            weights = self.weights[some] / share if share > 0 else np.full(len(some), 1 / len(some))
            found.append(log_pool(log_probs[:, some], weights))
        return np.stack(found, axis=1)

    def log_probs(self, x: Array, context: Array | None = None) -> Array:
        """Return log p_k(x) of every member, (N, K); -inf where a member returns NaN."""
        arguments = (x,) if context is None else (x, context)
        found = np.empty((len(x), len(self.members)))
        with np.errstate(all="ignore"):  # far out a square overflows, and -inf is right
            for k in self._alone:
                found[:, k] = self.members[k].log_prob(*arguments)
            if self._alike is not None:
                found[:, self.flows] = in_blocks(self._of_flows, x, context)
        return np.where(np.isnan(found), -np.inf, found)

    def _of_flows(self, *rows):
        """Return the log-densities of all flows, (N, flows), of rows and their context."""
        densities, params, dtype = self._alike
        arrays = (np.asarray(part, dtype, order="C") for part in rows)
        return log_probs(densities, params, *arrays).T

    @cached_property
    def _alike(self):
        """(densities, parameters, dtype) of the flows; None if they differ in dtype."""
        flows = [self.members[k] for k in self.flows]
        dtypes = {flow._checked[0] for flow in flows}
        if len(dtypes) != 1:
            return None
        params = frozen([flow._checked[1] for flow in flows])
        return [flow.density for flow in flows], params, *dtypes

    @cached_property
    def _alone(self):
        """The places of the members that are evaluated one by one."""
        together = () if self._alike is None else self.flows
        return [k for k in range(len(self.members)) if k not in together]

    def log_prob(self, x: Array, context: Array | None = None) -> Array:
        """Return the log-density in nats, (N,), of rows (N, D)."""
        used = self.used
        return used.pooled(used.log_probs(x, context))

    def pooled(self, log_probs: Array) -> Array:
        """Return log sum_k w_k p_k, (N,), from the log p_k, (N, K)."""
        return log_pool(log_probs, self.weights)

    def sample(self, rng: Generator, n: int, context: Array | None = None) -> Array:
        """Sample ``n`` rows, (n, D), each from a member chosen by the weights."""
        chosen = check_rng(rng).choice(len(self.weights), n, p=self.weights / np.sum(self.weights))
        places, drawn = [], []
        for k in range(len(self.members)):
            place = np.flatnonzero(chosen == k)
            given = () if context is None else (context[place],)
            if len(place) or not k:
                with np.errstate(all="ignore"):
                    drawn.append(self.members[k].sample(rng, len(place), *given))
                places.append(place)
        return np.concatenate(drawn)[np.argsort(np.concatenate(places))]

    def _check(self):
        check_floats("weights", self.weights, len(self.members))
        require(len(self.members) > 0, "members: expected at least one, got none")
        require(
            np.all(self.weights >= 0) and abs(np.sum(self.weights) - 1) < 1e-6,
            "weights: expected numbers of at least 0 with sum 1",
        )
        require(
            len(self.names) == len(self.members)
            and all(isinstance(name, str) for name in self.names),
            "names: expected one for each member",
        )


def mean_and_error(log_prob: Array, weight: Array | None = None) -> tuple[float, float]:
    """Return the mean log-likelihood in nats per row and its standard error; NaN for one row."""
    log_prob = np.asarray(log_prob, np.float64)
    weight = np.ones(len(log_prob)) if weight is None else weight
    mean = float(np.average(log_prob, weights=weight))
    total = np.sum(weight)
    if total <= 1 or not np.all(np.isfinite(log_prob)):
        return mean, float("nan")
    variance = weight @ (log_prob - mean) ** 2 / (total - 1)
    return mean, float(np.sqrt(variance / total))


def median(log_prob: Array, weight: Array | None = None) -> float:
    """Return the weighted median of log-likelihoods."""
    order = np.argsort(log_prob, kind="stable")
    mass = np.cumsum(np.ones(len(order)) if weight is None else np.asarray(weight)[order])
    low, high = (np.searchsorted(mass, part * mass[-1]) for part in (0.5 - 1e-12, 0.5 + 1e-12))
    return float(0.5 * (log_prob[order[low]] + log_prob[order[min(high, len(order) - 1)]]))
