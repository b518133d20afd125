"""Weighted values of unknown cells given the known ones.

Only the cells O of a row are known, and M are missing. With q a density close to p whose marginals
and conditionals have closed forms (:mod:`nfref.tables.queries.closed_form`),

    p(x_O) = int p(x_O, x_M) dx_M = q(x_O) E[p(x) / q(x)],    x_M ~ q(x_M | x_O)

so S samples with weights w_s = q(x_O) p(x_s) / (S q(x_s)) give p(x_O) as their sum, with standard
error sd(w) sqrt(S), and p(x_M | x_O) as their distribution under these weights. If p itself has a
closed form, q = p, all weights are equal, and the sum is exact.

Labels and counts are enumerated, not sampled: q(d, u) = P(d) q(u | d) sums over all combinations of
the missing ones, unless there are more than ``COMBINATIONS``. One uniform number chooses the
combination and the component of q, and its remainder is the quantile of the first missing column.

If one number is missing, log p - log q is evaluated at ``NODES`` of its samples, and interpolated
between: along a line it is smooth where q has the shape of p.
"""

import itertools
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from nfref.runtime import blas
from nfref.runtime import params as trees
from nfref.runtime.annotations import Any, Array, Generator, Iterator, Places, Sequence
from nfref.runtime.checks import check_rng
from nfref.tables.densities.pool import FittedFlow, Pool, log_pool
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.queries.closed_form import (
    EDGE,
    ClosedForm,
    chosen_part,
    closed_weights,
    latin_hypercube,
    others,
)
from nfref.tables.queries.known_cells import check_has_no_gap
from nfref.tables.schema.columns import Continuous, is_missing

ROWS_AT_ONCE = 2**16  # samples that are scored at once
COMBINATIONS = 512  # most combinations of labels and counts that are enumerated
SEPARATE = 16  # most of them that have samples of their own, where one number is missing
REACH = 10  # range of a count, in scales of its Student t
NODES = 64  # samples at which flows are evaluated, where one number is missing
LEAST = -700.0  # log p - log q below its largest: no mass is left there


class KnownCells(NamedTuple):
    """Rows as numbers, with possible values in place of missing cells.

    Attributes
    ----------
    codes, u : (N, J), (N, D) array
    log_slope : (N,) array
        The sum over the known cells.
    known : (N, columns) array of bool
    """

    codes: Array
    u: Array
    log_slope: Array
    known: Array

    def at(self, places: Places) -> "KnownCells":
        """Return some of the rows."""
        return KnownCells(*(part[places] for part in self))


@dataclass(frozen=True)
class Weighted:
    """Rows with the same gaps, each filled S times.

    Attributes
    ----------
    places : (N,) array
        Rows of the table.
    codes, u : (N, S, J), (N, S, D) array
    log_weight : (N, S) array
        log p(x_O) is the log of their sum, in robust units.
    is_exact : bool
        Whether that sum is exact.
    """

    places: np.ndarray
    codes: np.ndarray
    u: np.ndarray
    log_weight: np.ndarray
    is_exact: bool

    def shares(self) -> Array:
        """Return the weights with sum 1 in each row, (N, S)."""
        return shares_of(self.log_weight)


def shares_of(log_weight: Array) -> Array:
    """Return exp of logarithms (N, V) with sum 1 in each row."""
    largest = np.max(log_weight, axis=1, keepdims=True)
    weight = np.exp(log_weight - np.where(np.isfinite(largest), largest, 0.0))
    weight = np.where(np.isfinite(largest), weight, 1.0)  # all are equally impossible
    return weight / np.sum(weight, axis=1, keepdims=True)


class Conditional:
    """The distribution of unknown cells given the known ones, under a density of tables.

    Parameters
    ----------
    density : TableDensity
    """

    def __init__(self, density: TableDensity) -> None:
        self.density = density

    @classmethod
    def of(cls, density: TableDensity) -> "Conditional":
        """Return that of a density, which keeps it: its proposal is found once."""
        return vars(density).setdefault("conditional", cls(density))

    @cached_property
    def _proposal(self) -> tuple[ClosedForm, Pool, Array, bool]:
        """(q, the members of p and q with p's weights, q's weights, whether q is p)."""
        rng, pool = np.random.default_rng(0), self.density.pool
        assert pool is not None
        context = self.density.context(self.density.pilot(rng, 2000))
        pool, weights, is_exact = closed_weights(pool, rng, context)
        used = np.flatnonzero((pool.weights > 0) | (weights > 0))
        members = tuple(pool.members[k] for k in used)
        names = tuple(pool.names[k] for k in used)
        closed = ClosedForm.of(
            [one for one, weight in zip(members, weights[used]) if weight > 0],
            weights[used][weights[used] > 0],
            0 if context is None else context.shape[1],
        )
        return closed, Pool(members, pool.weights[used], names), weights[used], is_exact

    @property
    def is_closed(self) -> bool:
        """True if the continuous columns have a closed form."""
        return self.density.pool is None or self._proposal[3]

    def encode(self, table: Sequence[Array]) -> KnownCells:
        """Return the known cells of a table as numbers."""
        columns = self.density.columns
        known = np.stack([~is_missing(values) for values in table], axis=1)
        for column, here in zip(columns, known.T):
            if column.name in self.density.given:
                check_has_no_gap(column, ~here)
        whole = [
            values if np.all(here) else _stood_in(column, values, here)
            for column, values, here in zip(columns, table, known.T)
        ]
        codes, u, _ = self.density.encode(whole)
        log_slope = np.zeros(len(known))
        for column, values, here in zip(columns, whole, known.T):
            if isinstance(column, Continuous) and column.name not in self.density.given:
                log_slope = log_slope + np.where(here, column.encode(values)[1], 0.0)
        return KnownCells(codes, u, log_slope, known)

    def weighted(
        self,
        cells: KnownCells,
        draws: int,
        rng: Generator,
        shared: bool = False,
        first: int | None = None,
    ) -> Iterator[Weighted]:
        """Yield :class:`Weighted` rows, some at a time.

        Parameters
        ----------
        cells : KnownCells
        draws : int
            S, for rows whose unknown cells cannot be enumerated.
        rng : numpy.random.Generator
        shared : bool
            Use the same noise for all rows, a Latin hypercube, so that no row depends on those
            beside it.
        first : int, optional
            The place in u of the column that is sampled first, and so most evenly.
        """
        coded, pooled = self.density.places
        width = 1 + cells.u.shape[1]
        hypercube = latin_hypercube(check_rng(rng), draws, width)[None] if shared else None
        for places, pattern in patterns_of(cells.known):
            missing = np.flatnonzero(~pattern[pooled])
            if first is not None and first in missing:
                missing = np.append(first, np.setdiff1d(missing, [first]))
            combinations = self._combinations(pattern[coded])
            size = max(1, ROWS_AT_ONCE // max(draws, len(combinations or ())))
            for start in range(0, len(places), size):
                block = places[start : start + size]
                noise = hypercube
                if noise is None:
                    noise = np.clip(rng.random((len(block), draws, width)), EDGE, 1 - EDGE)
                with blas.one_thread(), np.errstate(all="ignore"):  # far out a square overflows
                    yield self._filled(
                        block,
                        cells.at(block),
                        pattern[coded],
                        missing,
                        combinations,
                        noise,
                        None if shared else rng,
                    )

    def _filled(self, places, cells, seen, missing, combinations, noise, rng):
        """Return a block of rows with the same gaps; with ``rng`` an unknown u is the pool's."""
        pool, draws = self.density.pool, noise.shape[1]
        codes, log_prior = self._codes(cells.codes, seen, combinations, noise)
        count = codes.shape[1]
        u = np.repeat(cells.u[:, None], count, axis=1)
        enumerated = combinations is not None
        if not len(missing):
            if pool is not None:
                log_prior = log_prior + self._by_row(pool.log_prob, u, codes)
            return _weighted(places, codes, u, log_prior, enumerated or pool is None)
        if rng is not None and pool is not None and len(missing) == u.shape[2]:
            which, _ = chosen_part(log_prior, noise[:, :, 0])
            codes = np.take_along_axis(codes, which[:, :, None], axis=1)
            flat = _flat(codes)
            u = pool.sample(rng, len(flat), self.density.context(flat))
            u = u.reshape(*codes.shape[:2], -1)
            log_weight = np.logaddexp.reduce(log_prior, axis=1, keepdims=True) - np.log(draws)
            return _weighted(places, codes, u, np.repeat(log_weight, draws, axis=1), True)
        if len(missing) == 1 and count <= SEPARATE:  # each combination has samples of its own
            codes, u = _flat(codes)[:, None], _flat(u)[:, None]
            log_prior = log_prior.reshape(-1, 1)
            noise = np.repeat(noise, count, axis=0) if len(noise) > 1 else noise
        codes, u, log_weight = self._sampled(codes, u, log_prior, missing, noise)
        log_weight = log_weight.reshape(len(places), -1)
        codes, u = (part.reshape(*log_weight.shape, part.shape[2]) for part in (codes, u))
        return _weighted(places, codes, u, log_weight, enumerated and self.is_closed)

    def _sampled(self, codes, u, log_prior, missing, noise):
        """Return (codes (N, S, J), u (N, S, D), log-weights (N, S)) sampled from q.

        ``codes`` (N, V, J) are those to choose from, with log-weights (N, V).
        """
        closed, _, _, is_exact = self._proposal
        (rows, count, _), draws = codes.shape, noise.shape[1]
        observed, parts = others(missing, u.shape[2]), len(closed.parts)
        joint = self._by_row(lambda u, context: closed.log_joint(u, observed, context), u, codes)
        joint = np.nan_to_num(joint.reshape(rows, count, parts), nan=-np.inf, neginf=-np.inf)
        joint = (log_prior[:, :, None] + joint).reshape(rows, -1)
        uniform = np.broadcast_to(noise[:, :, 0], (rows, draws))
        which, rest = chosen_part(joint, uniform)
        combination, part = np.divmod(which, parts)
        codes = np.take_along_axis(codes, combination[:, :, None], axis=1)
        flat = _flat(codes)
        points = np.broadcast_to(noise[:, :, 2:], (rows, draws, noise.shape[2] - 2))
        points = np.concatenate([rest[:, :, None], points[:, :, : len(missing) - 1]], axis=2)
        u = closed.fill(
            np.repeat(u[:, 0], draws, axis=0),
            missing,
            part.ravel(),
            _normal(_flat(points)),
            self.density.context(np.nan_to_num(flat)),
        ).reshape(rows, draws, -1)
        log_weight = np.logaddexp.reduce(joint, axis=1, keepdims=True) - np.log(draws)
        if is_exact:
            log_weight = np.repeat(log_weight, draws, axis=1)
        elif len(missing) == 1 and count == 1:
            log_weight = log_weight + self._interpolated(u, codes, missing[0])
        else:
            log_weight = log_weight + self._by_row(self._log_ratio, u, codes)
        return codes, u, log_weight

    def _log_ratio(self, u, context, single=False):
        """Return log p - log q, (N,), of rows of the pool; ``single`` is the precision of flows."""
        _, members, weights, _ = self._proposal
        found = (self._in_single if single else members).log_probs(u, context)
        return members.pooled(found) - log_pool(found, weights)

    @cached_property
    def _in_single(self):
        """The members of p and q, flows with parameters in single precision."""
        pool = self._proposal[1]
        members = [
            replace(one, params=trees.cast(one.params, np.float32))
            if isinstance(one, FittedFlow)
            else one
            for one in pool.members
        ]
        return replace(pool, members=tuple(members))

    def _interpolated(self, u, codes, column):
        """Return log p - log q, (N, S), of rows that differ in one column."""
        order = np.argsort(u[:, :, column], axis=1)
        nodes = order[:, np.unique(np.linspace(0, order.shape[1] - 1, NODES).round().astype(int))]
        some = (np.take_along_axis(part, nodes[:, :, None], axis=1) for part in (u, codes))
        ratio = self._by_row(lambda *rows: self._log_ratio(*rows, single=True), *some)
        ratio = np.where(np.isnan(ratio), -np.inf, ratio)
        top = np.max(ratio, axis=1, keepdims=True)
        ratio = np.where(np.isfinite(top), np.maximum(ratio, top + LEAST), LEAST)
        at = np.take_along_axis(u[:, :, column], nodes, axis=1)
        return np.stack([np.interp(*row) for row in zip(u[:, :, column], at, ratio)])

    def _by_row(self, function, u, codes):
        """Return ``function(u[, context])``, (N, S) or more, of u (N, S, D) and codes (N, S, J)."""
        context = self.density.context(np.nan_to_num(_flat(codes)))
        found = function(_flat(u), context)
        return found.reshape(*u.shape[:2], *found.shape[1:])

    # Labels and counts ----------------------------------------------------------------------

    def _combinations(self, seen):
        """Return all combinations of the missing codes, a list; None if there are too many."""
        discrete: Any = self.density.discrete
        sizes = []
        for j in np.flatnonzero(~seen):
            column, part = self.density.coded_columns[j], discrete.parts[j]
            labels = column.kind == "category"
            sizes.append(np.arange(len(column.labels)) if labels else _likely_numbers(part))
        if np.prod([float(len(values)) for values in sizes]) > COMBINATIONS:
            return None
        return list(itertools.product(*sizes))

    def _codes(self, codes, seen, combinations, noise):
        """Return (codes without gaps (N, V, J), log-weights (N, V)); their sum is P(d_O).

        Too many combinations are sampled from P(d_M | d_O), each row by its own noise.
        """
        discrete, missing = self.density.discrete, np.flatnonzero(~seen)
        if discrete is None:
            return codes[:, None], np.zeros((len(codes), 1))
        if not len(missing):
            return codes[:, None], discrete.log_prob(codes)[:, None]
        # where there is a network besides, all its other columns are known
        classes: Any = getattr(discrete, "classes", discrete)
        impossible = np.isnan(codes[:, seen]).any(axis=1)
        codes, places = np.nan_to_num(codes), tuple(np.flatnonzero(seen))
        log_known = replace(classes, given=places).log_given(codes)
        if classes.given:
            log_known = log_known - classes.log_given(codes)
        log_known = np.where(impossible, -np.inf, log_known)[:, None]
        count = noise.shape[1] if combinations is None else len(combinations)
        filled = np.repeat(codes[:, None], count, axis=1)
        if combinations is not None:
            filled[:, :, missing] = np.array(combinations, np.float64)
            log_prob = discrete.log_prob(_flat(filled)).reshape(-1, count)
            # numbers that are not among the combinations have their share
            return filled, log_prob + log_known - np.logaddexp.reduce(
                log_prob, axis=1, keepdims=True
            )
        seeds = np.broadcast_to(noise[:, 0, 1] * 2**53, len(codes)).astype(np.int64)
        for row, share, seed in zip(filled, classes.shares(codes, places), seeds):
            rng = np.random.default_rng(seed)
            which = rng.choice(share.size, count, p=share / np.sum(share))
            for j in missing:
                row[:, j] = classes.parts[j].sample(rng, which)
        return filled, np.repeat(log_known - np.log(count), count, axis=1)


def _weighted(places, codes, u, log_weight, is_exact):
    log_weight = np.where(np.isnan(log_weight), -np.inf, log_weight)
    return Weighted(places, codes, u, log_weight, is_exact)


def _flat(values):
    """Return (N, S, D) as (N * S, D)."""
    return values.reshape(values.shape[0] * values.shape[1], values.shape[2])


def _normal(uniform):
    from scipy.special import ndtri  # slow to import, so only on use

    return ndtri(uniform)


def _likely_numbers(part):
    """Return all likely numbers of a count, or some more than ``COMBINATIONS``."""
    low = max(part.low, np.min(np.append(part.seen, np.floor(part.middle - REACH * part.scale))))
    high = np.max(np.append(part.seen, np.ceil(part.middle + REACH * part.scale)))
    return np.arange(low, min(high, part.high, low + COMBINATIONS) + 1)


def patterns_of(known: Array) -> Iterator[tuple[Array, Array]]:
    """Yield (rows, their known cells) for each set of rows with the same known cells."""
    patterns, which = np.unique(known, axis=0, return_inverse=True)
    for k, pattern in enumerate(patterns):
        yield np.flatnonzero(which.reshape(-1) == k), pattern


def _stood_in(column, values, known):
    """Return the values with a possible one in place of missing ones."""
    if column.kind == "category":
        fill = column.labels[0]
    elif isinstance(column, Continuous):
        fill = column.decode(np.zeros(1))[0]
    else:
        fill = np.clip(0.0, column.low, column.high)
    whole = np.array(values, object if column.kind == "category" else np.float64)
    whole[~known] = fill
    return whole
