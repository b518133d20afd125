"""Weighted samples of missing cells given the known ones.

Only the cells O of a row are known, and M are missing. With q a density close to p whose marginals
and conditionals have closed forms (:mod:`nfref.tables.queries.marginals`),

    p(x_O) = int p(x_O, x_M) dx_M = q(x_O) E[p(x) / q(x)],    x_M ~ q(x_M | x_O)

so S samples with weights w_s = q(x_O) p(x_s) / q(x_s) give p(x_O) as their mean, with standard
error sd(w) / sqrt(S), and p(x_M | x_O) as their distribution under these weights. Labels are part
of it:

    q(d, u) = P(d) q(u | d)

sums over all labels that may be missing. Missing counts are sampled from P instead. If p itself has
a closed form, q = p, every weight is p(x_O), and the answer is exact. If one column of the pool is
missing and all others are known, p is evaluated along a line and nothing is sampled
(:mod:`nfref.tables.queries.column_grid`).
"""

import itertools
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from nfref.runtime.annotations import Any, Array, Generator, Iterator, Places, Sequence
from nfref.runtime.checks import check_rng
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.queries.column_grid import Grid, Line
from nfref.tables.queries.marginals import ClosedForm, Noise, exact_marginal
from nfref.tables.schema.columns import Column, ColumnError, Continuous, is_missing

ROWS_AT_ONCE = 2**16  # samples that are scored at once
LABELS_AT_ONCE = 256  # most combinations of labels in a sum


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
class Filled:
    """Rows with the same gaps, each filled S times.

    Attributes
    ----------
    places : (N,) array
        Rows of the table.
    codes, u : (N, S, J), (N, S, D) array
    log_weight : (N, S) array
        log p(x_O) is the log of their mean, in robust units.
    """

    places: np.ndarray
    codes: np.ndarray
    u: np.ndarray
    log_weight: np.ndarray

    def shares(self) -> Array:
        """Return the weights with sum 1 in each row, (N, S)."""
        return shares_of(self.log_weight)


def shares_of(log_weight: Array) -> Array:
    """Return exp of logarithms (N, V) with sum 1 in each row."""
    largest = np.max(log_weight, axis=1, keepdims=True)
    weight = np.exp(log_weight - np.where(np.isfinite(largest), largest, 0.0))
    weight = np.where(np.isfinite(largest), weight, 1.0)  # all are equally impossible
    return weight / np.sum(weight, axis=1, keepdims=True)


class ConditionalSampler:
    """Samples the missing cells of rows given the known ones, under a density of tables.

    Parameters
    ----------
    density : TableDensity
    """

    def __init__(self, density: TableDensity) -> None:
        self.density = density

    @cached_property
    def proposal(self) -> ClosedForm:
        """q, for a density with a pool."""
        rng, pool = np.random.default_rng(0), self.density.pool
        assert pool is not None
        context = self.density.context(self.density.pilot(rng, 2000))
        return ClosedForm.proposal_for(pool, rng, context)

    @property
    def exact(self) -> bool:
        """True if one sample gives the exact likelihood."""
        closed = self.density.pool is None or self.proposal.is_exact
        closed = closed and self.density.limit is None
        return closed and not any(
            column.kind == "count" and column.name not in self.density.given
            for column in self.density.columns
        )

    def has_equal_weights(self, cells: KnownCells) -> Array:
        """Return the rows, (N,) of bool, whose samples by :meth:`blocks` have equal weights."""
        return self.exact | self._from_pool(cells.known)

    def _from_pool(self, known):
        """Return the rows, (N,), that the pool itself can give: no column of it is known."""
        nothing = ~np.any(known[:, self.density.places[1]], axis=1)
        return nothing & (self.density.limit is None)

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

    def exact_rows(self, cells: KnownCells) -> Iterator[tuple[Array, Array]]:
        """Yield (places, log-likelihoods) of rows that a pool with flows can score exactly.

        These are rows whose missing cells come last in the one order of all flows.
        """
        coded, pooled = self.density.places
        if self.density.pool is None or self.density.limit is not None:
            return
        for rows, pattern in patterns_of(cells.known):
            if not np.all(pattern[coded]):
                continue
            codes = cells.codes[rows]
            context = self.density.context(np.nan_to_num(codes))
            with np.errstate(all="ignore"):  # far out a square overflows, and -inf is right
                found = exact_marginal(
                    self.density.pool, cells.u[rows], np.flatnonzero(pattern[pooled]), context
                )
            if found is None:
                continue
            if self.density.discrete is not None:
                found = found + self.density.discrete.log_prob(codes)
            yield rows, found

    def grids(self, cells: KnownCells, single: bool = False) -> Iterator[tuple[int, Grid]]:
        """Yield (place of the column in u, Grid) for rows that lack one column of the pool."""
        coded, pooled = self.density.places
        for rows, pattern in patterns_of(cells.known):
            gap = np.flatnonzero(~pattern[pooled])
            if len(gap) != 1 or not np.all(pattern[coded]):
                continue
            for grid in self.along(gap[0], cells, rows, pattern, single):
                yield gap[0], grid

    def along(
        self,
        column: int,
        cells: KnownCells,
        rows: Array,
        pattern: Array,
        single: bool = False,
        least: float = 1.0,
    ) -> Iterator[Grid]:
        """Yield the grids of a column for rows with the same known cells, if these suffice."""
        coded, pooled = self.density.places
        assert self.density.pool is not None  # a column of the pool is asked for
        if self.density.limit is not None:  # a grid would have to know where it ends
            return
        line = Line(self.density.pool, column, lambda: self.proposal, single)
        observed = np.setdiff1d(np.flatnonzero(pattern[pooled]), [column])
        if np.all(pattern[coded]) and line.takes(observed, cells.u.shape[1]):
            context = self.density.context(np.nan_to_num(cells.codes[rows]))
            for grid in line.grids(cells.u[rows], observed, context, least):
                yield replace(grid, places=rows[grid.places])

    def blocks(
        self, cells: KnownCells, draws: int, rng: Generator | None, noise: Noise | None = None
    ) -> Iterator[Filled]:
        """Yield :class:`Filled` rows, block by block; rows share ``noise``, or sample their own.

        Only rows that sample their own have the equal weights of :meth:`has_equal_weights`.
        """
        coded, pooled = self.density.places
        size = max(1, ROWS_AT_ONCE // draws)
        for places, pattern in patterns_of(cells.known):
            seen, observed = pattern[coded], np.flatnonzero(pattern[pooled])
            from_pool = noise is None and self._from_pool(pattern[None])[0]
            for start in range(0, len(places), size):
                block = places[start : start + size]
                if noise is not None:
                    own = noise.shared(len(block))
                else:
                    own = Noise.sample(check_rng(rng), len(block), draws, cells.u.shape[1])
                codes = np.repeat(cells.codes[block], draws, axis=0)
                u = np.repeat(cells.u[block], draws, axis=0)
                yield self._fill(block, codes, u, seen, observed, own, rng if from_pool else None)

    def _fill(self, places, codes, u, seen, observed, noise, rng):
        """Fill a block; ``seen`` (J,) marks known discrete columns, ``observed`` known u.

        With ``rng`` the pool is sampled.
        """
        pool = self.density.pool
        with np.errstate(all="ignore"):  # far out a square overflows, and -inf is right
            codes, log_q = self._fill_labels(codes, u, seen, observed, noise)
            context = self.density.context(np.nan_to_num(codes))
            if pool is None:
                log_weight = log_q
            elif rng is not None:
                u, log_weight = pool.sample(rng, len(codes), context), log_q
            else:
                u, log_known = self.proposal.fill(u, observed, noise, context)
                log_weight = log_q = log_q + (log_known if np.all(seen) else 0.0)
                if not self.proposal.is_exact:
                    log_weight = (
                        log_q
                        + pool.log_prob(u, context)
                        - self.proposal.log_prob(u, np.arange(u.shape[1]), context)
                    )
            log_weight = log_weight + self.density.log_factor_of(codes, u)
        shape = len(places), len(codes) // len(places)
        log_weight = np.where(np.isnan(log_weight), -np.inf, log_weight)
        cells = [part.reshape(*shape, part.shape[1]) for part in (codes, u)]
        return Filled(places, *cells, log_weight.reshape(shape))

    def _fill_labels(self, codes, u, seen, observed, noise):
        """Return (codes without gaps, log q of the known cells; of d alone if all d are known)."""
        discrete, pool = self.density.discrete, self.density.pool
        if discrete is None:
            return codes, np.zeros(len(codes))

        def log_continuous(codes, u):
            if pool is None:
                return 0.0
            return self.proposal.log_prob(u, observed, self.density.context(np.nan_to_num(codes)))

        missing = np.flatnonzero(~seen)
        if not len(missing):
            return codes, discrete.log_prob(codes)
        columns = [self.density.coded_columns[j] for j in missing]
        labels = [len(column.labels) if column.kind == "category" else np.inf for column in columns]
        if np.prod(labels) > LABELS_AT_ONCE:
            codes, log_q = self._draw_codes(codes, seen, noise)
            return codes, log_q + log_continuous(codes, u)
        written = np.array(
            list(itertools.product(*[range(int(count)) for count in labels])), np.float64
        )
        joint = np.empty((len(codes), len(written)))
        size = max(1, ROWS_AT_ONCE // len(codes))
        for start in range(0, len(written), size):
            some = written[start : start + size]
            all_codes = np.repeat(codes, len(some), axis=0)
            all_codes[:, missing] = np.tile(some, (len(codes), 1))
            found = discrete.log_prob(all_codes)
            found = found + log_continuous(all_codes, np.repeat(u, len(some), axis=0))
            joint[:, start : start + size] = found.reshape(len(codes), len(some))
        log_q = np.logaddexp.reduce(joint, axis=1)
        edges = np.cumsum(np.exp(joint - log_q[:, None]), axis=1)
        chosen = np.sum(noise.label[:, None] * edges[:, -1:] >= edges[:, :-1], axis=1)
        codes = codes.copy()
        codes[:, missing] = written[chosen]
        return codes, log_q

    def _draw_codes(self, codes, seen, noise):
        """Return codes sampled from P(d_M | d_O), and log P(d_O)."""
        discrete: Any = self.density.discrete
        draws = len(codes) // len(noise.seeds)
        joint = np.tile(discrete.log_weights, (len(noise.seeds), 1))
        for j in np.flatnonzero(seen):
            values = codes[::draws, j]
            part = discrete.parts[j]
            known = np.isfinite(values)
            values = np.where(known, values, 0.0)
            if self.density.coded_columns[j].kind == "category":
                values = values.astype(np.int64)
            joint = joint + np.where(known[:, None], part.of(values), -np.inf)
        total = np.logaddexp.reduce(joint, axis=1)
        log_given = discrete.log_given(codes[::draws]) if discrete.given else 0.0
        codes = codes.copy()
        for row, seed in enumerate(noise.seeds):
            rng = np.random.default_rng(int(seed))
            if not np.isfinite(total[row]):
                continue
            share = np.exp(joint[row] - total[row])
            classes = rng.choice(len(share), draws, p=share / np.sum(share))
            for j in np.flatnonzero(~seen):
                codes[row * draws : (row + 1) * draws, j] = discrete.parts[j].sample(rng, classes)
        return codes, np.repeat(total - log_given, draws)


def patterns_of(known: Array) -> Iterator[tuple[Array, Array]]:
    """Yield (rows, their known cells) for each set of rows with the same known cells."""
    patterns, which = np.unique(known, axis=0, return_inverse=True)
    for k, pattern in enumerate(patterns):
        yield np.flatnonzero(which.reshape(-1) == k), pattern


def check_has_no_gap(column: Column, missing: Array, first: int = 0) -> None:
    """Check that a given column lacks no cell, (N,); messages count rows from ``first``."""
    if np.any(missing):
        what = "expected a value in every row, for the others are given it; got none in row "
        raise ColumnError(column.name, f"{what}{np.argmax(missing) + first}")


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
