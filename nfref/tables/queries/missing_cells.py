"""Rows with gaps: their likelihood, samples of the gaps, and columns given others.

Only the cells O of a row are known, and M are missing. With q a density close to p whose marginals
and conditionals have closed forms (:mod:`nfref.tables.queries.marginals`),

    p(x_O) = int p(x_O, x_M) dx_M = q(x_O) E[p(x) / q(x)],    x_M ~ q(x_M | x_O)

so S samples with weights w_s = q(x_O) p(x_s) / q(x_s) give p(x_O) as their mean, with standard
error sd(w) / sqrt(S), and p(x_M | x_O) as their law under these weights. Labels are part of it:

    q(d, u) = P(d) q(u | d)

sums over all labels that may be missing. Missing counts are sampled from P instead. If p itself has
a closed form, q = p, every weight is p(x_O), and the answer is exact. If one column of the pool is
missing and all others are known, p is evaluated along a line and nothing is sampled
(:mod:`nfref.tables.queries.column_grid`).
"""

import itertools
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from nfref.runtime import blas
from nfref.runtime.annotations import Any, Array, Generator, Iterable, Iterator, Mapping, Sequence
from nfref.runtime.checks import check_rng, shortened
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.queries.column_grid import Line
from nfref.tables.queries.marginals import ClosedForm, Noise, exact_marginal
from nfref.tables.schema.columns import Continuous, is_missing, missing_cells_of, plain, with_gaps
from nfref.tables.schema.dataframes import label_of

DRAWS = 1000
FEWEST = 200  # weighted samples of a row that is filled; for many tables, 20 for each of them
ROWS_AT_ONCE = 2**16  # samples that are scored at once
LABELS_AT_ONCE = 256  # most combinations of labels in a sum


@dataclass(frozen=True)
class Marginal:
    """Log-likelihoods of the known cells.

    Attributes
    ----------
    log_prob : (N,) array
        Nats, in the units of the data.
    error : (N,) array
        Its standard error for samples, a bound for a grid, 0 if it is exact.
    effective : (N,) array
        (sum w)^2 / sum w^2 of the samples; infinite without samples.
    """

    log_prob: np.ndarray
    error: np.ndarray
    effective: np.ndarray

    @classmethod
    def exact(cls, log_prob: Array) -> "Marginal":
        """Return scores, (N,), that have no error."""
        return cls(log_prob, np.zeros(len(log_prob)), np.full(len(log_prob), np.inf))


# Particles --------------------------------------------------------------------------------


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
    def proposal(self) -> Any:
        """q, a ClosedForm; None without a pool."""
        if self.density.pool is None:
            return None
        rng = np.random.default_rng(0)
        context = self.density.context(self.density.pilot(rng, 2000))
        return ClosedForm.proposal_for(self.density.pool, rng, context)

    @property
    def exact(self) -> bool:
        """True if one sample gives the exact likelihood."""
        closed = self.density.pool is None or self.proposal.is_exact
        closed = closed and self.density.limit is None
        return closed and not any(
            column.kind == "count" and column.name not in self.density.given
            for column in self.density.columns
        )

    def encode(self, table: Sequence[Array]) -> tuple[Array, Array, Array, Array]:
        """Return (codes, u, log-slopes of the known cells (N,), known (N, columns)) of a table."""
        columns = self.density.columns
        known = np.stack([~is_missing(values) for values in table], axis=1)
        check_given_known(self.density, known)
        whole = [
            values if np.all(here) else _stood_in(column, values, here)
            for column, values, here in zip(columns, table, known.T)
        ]
        codes, u, _ = self.density.encode(whole)
        log_slope = np.zeros(len(known))
        for column, values, here in zip(columns, whole, known.T):
            if isinstance(column, Continuous) and column.name not in self.density.given:
                log_slope = log_slope + np.where(here, column.encode(values)[1], 0.0)
        return codes, u, log_slope, known

    def exact_rows(self, codes: Array, u: Array, known: Array) -> tuple[Array, Array]:
        """Return (places, log-likelihoods) of rows that a pool with flows can score exactly.

        These are rows whose missing cells come last in the one order of all flows.
        """
        coded, pooled = self.density.places
        if self.density.pool is None or self.density.limit is not None:
            return
        for rows, pattern in patterns_of(known):
            if not np.all(pattern[coded]):
                continue
            context = self.density.context(np.nan_to_num(codes[rows]))
            with np.errstate(all="ignore"):  # far out a square overflows, and -inf is right
                found = exact_marginal(
                    self.density.pool, u[rows], np.flatnonzero(pattern[pooled]), context
                )
            if found is None:
                continue
            if self.density.discrete is not None:
                found = found + self.density.discrete.log_prob(codes[rows])
            yield rows, found

    def grids(
        self, codes: Array, u: Array, known: Array, single: bool = False
    ) -> Iterator[tuple[int, Any]]:
        """Return (place of the column in u, Grid) for rows that lack one column of the pool."""
        coded, pooled = self.density.places
        for rows, pattern in patterns_of(known):
            gap = np.flatnonzero(~pattern[pooled])
            if len(gap) != 1 or not np.all(pattern[coded]):
                continue
            for grid in self.along(gap[0], rows, codes, u, pattern, single):
                yield gap[0], grid

    def along(
        self,
        column: int,
        rows: Array,
        codes: Array,
        u: Array,
        pattern: Array,
        single: bool = False,
        least: float = 1.0,
    ) -> Iterator[Any]:
        """Yield the grids of a column for rows with the same known cells, if these suffice."""
        coded, pooled = self.density.places
        assert self.density.pool is not None  # a column of the pool is asked for
        if self.density.limit is not None:  # a grid would have to know where it ends
            return
        line = Line(self.density.pool, column, lambda: self.proposal, single)
        observed = np.setdiff1d(np.flatnonzero(pattern[pooled]), [column])
        if np.all(pattern[coded]) and line.takes(observed, u.shape[1]):
            context = self.density.context(np.nan_to_num(codes[rows]))
            for grid in line.grids(u[rows], observed, context, least):
                yield replace(grid, places=rows[grid.places])

    def blocks(
        self,
        codes: Array,
        u: Array,
        known: Array,
        draws: int,
        rng: Generator | None,
        noise: Noise | None = None,
    ) -> Iterator[Filled]:
        """Yield :class:`Filled` rows, block by block; rows share ``noise``, or sample their own."""
        coded, pooled = self.density.places
        for places, pattern in patterns_of(known):
            size = max(1, ROWS_AT_ONCE // draws)
            seen, observed = pattern[coded], np.flatnonzero(pattern[pooled])
            for start in range(0, len(places), size):
                block = places[start : start + size]
                if noise is not None:
                    own = noise.shared(len(block))
                else:
                    own = Noise.sample(check_rng(rng), len(block), draws, u.shape[1])
                cells = [np.repeat(part[block], draws, axis=0) for part in (codes, u)]
                yield self._fill(block, *cells, seen, observed, own)

    def _fill(self, places, codes, u, seen, observed, noise):
        """Fill a block; ``seen`` (J,) marks known discrete columns, ``observed`` known u."""
        pool = self.density.pool
        with np.errstate(all="ignore"):  # far out a square overflows, and -inf is right
            codes, log_q = self._fill_labels(codes, u, seen, observed, noise)
            if pool is None:
                log_weight = log_q
            else:
                context = self.density.context(np.nan_to_num(codes))
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
        discrete, proposal = self.density.discrete, self.proposal
        if discrete is None:
            return codes, np.zeros(len(codes))

        def log_continuous(codes, u):
            if proposal is None:
                return 0.0
            return proposal.log_prob(u, observed, self.density.context(np.nan_to_num(codes)))

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
        for k, combination in enumerate(written):
            codes = codes.copy()
            codes[:, missing] = combination
            joint[:, k] = discrete.log_prob(codes) + log_continuous(codes, u)
        log_q = np.logaddexp.reduce(joint, axis=1)
        edges = np.cumsum(np.exp(joint - log_q[:, None]), axis=1)
        chosen = np.sum(noise.label[:, None] * edges[:, -1:] >= edges[:, :-1], axis=1)
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


def check_given_known(density: TableDensity, known: Array) -> None:
    """Check that no given column lacks a cell; ``known`` (N, columns) marks known cells."""
    for column, here in zip(density.columns, known.T):
        if column.name in density.given and not np.all(here):
            raise ValueError(
                f"column {column.name!r}: expected a value in every row, for the "
                f"others are given it; got none in row {np.argmin(here)}"
            )


def _stood_in(column, values, known):
    """Return the values with a possible one in place of missing ones."""
    if column.kind == "category":
        fill = column.labels[0]
    elif isinstance(column, Continuous):
        fill = column.decode(np.zeros(1))[0]
    else:
        fill = max(column.low, 0.0)
    whole = np.array(values, object if column.kind == "category" else np.float64)
    whole[~known] = fill
    return whole


# Answers ----------------------------------------------------------------------------------


def log_marginal(
    density: TableDensity,
    table: list[Any],
    draws: int = DRAWS,
    sampler: ConditionalSampler | None = None,
) -> Marginal:
    """Return the log-likelihood of the known cells of every row.

    Parameters
    ----------
    density : TableDensity
    table : list of (N,) arrays
        The columns' values, NaN or None where they are missing.
    draws : int
        S, for each row with gaps. The result of a row does not depend on the others.
    sampler : ConditionalSampler, optional
        The sampler of that density, if you have one already.

    Returns
    -------
    Marginal
    """
    whole = ~with_gaps(table)
    rows = len(whole)
    log_prob, error, effective = np.empty(rows), np.zeros(rows), np.full(rows, np.inf)
    if np.any(whole):
        log_prob[whole] = density.log_prob([values[whole] for values in table])
    places = np.flatnonzero(~whole)
    if not len(places):
        return Marginal(log_prob, error, effective)
    sampler = sampler or ConditionalSampler(density)
    codes, u, log_slope, known = sampler.encode([values[places] for values in table])
    draws = 1 if sampler.exact else draws
    done = np.zeros(len(places), bool)
    if not sampler.exact:
        for rows, found in sampler.exact_rows(codes, u, known):
            log_prob[places[rows]] = found + log_slope[rows]
            done[rows] = True
        at = np.flatnonzero(~done)
        for _, grid in sampler.grids(codes[at], u[at], known[at]):
            rows = at[grid.places]
            found = grid.log_total
            if density.discrete is not None:
                found = found + density.discrete.log_prob(codes[rows])
            log_prob[places[rows]], error[places[rows]] = found + log_slope[rows], grid.error
            done[rows] = True
    left = np.flatnonzero(~done)
    noise = Noise.sample(np.random.default_rng(0), 1, draws, u.shape[1])
    with blas.one_thread():
        for block in sampler.blocks(codes[left], u[left], known[left], draws, None, noise):
            block = replace(block, places=left[block.places])
            here = places[block.places]
            mean = np.logaddexp.reduce(block.log_weight, axis=1) - np.log(draws)
            log_prob[here] = mean + log_slope[block.places]
            if draws > 1:
                effective[here] = 1 / np.sum(block.shares() ** 2, axis=1)
                error[here] = np.sqrt(np.maximum(draws / effective[here] - 1, 0) / (draws - 1))
    own = [column.name not in density.given for column in density.columns]
    nothing = places[~known[:, own].any(axis=1)]  # their likelihood is 1
    log_prob[nothing], error[nothing] = 0.0, 0.0
    return Marginal(log_prob, error, effective)


def impute(
    density: TableDensity, table: list[Any], rng: Generator, sampler: Any = None
) -> list[Any]:
    """Return the table with every gap sampled given the known cells of its row.

    Parameters
    ----------
    density : TableDensity
    table : list of (N,) arrays
    rng : numpy.random.Generator
    sampler : ConditionalSampler, optional
        The sampler of that density, if you have one already.

    Returns
    -------
    list of (N,) arrays
    """
    return imputations(density, table, rng, 1, sampler)[0]


def imputations(
    density: TableDensity, table: list[Any], rng: Generator, count: int, sampler: Any = None
) -> list[list[Any]]:
    """Return ``count`` tables with every gap sampled, all from one set of weighted samples.

    The other parameters are those of :func:`impute`.
    """
    missing = [is_missing(values) for values in table]
    places = np.flatnonzero(np.any(missing, axis=0))
    if not len(places):
        return [list(table) for _ in range(count)]
    sampler = sampler or ConditionalSampler(density)
    filled = [[np.array(values) for values in table] for _ in range(count)]
    codes, u, _, known = sampler.encode([values[places] for values in table])
    left = np.ones(len(places), bool)
    for column, grid in () if sampler.exact else sampler.grids(codes, u, known, single=True):
        own = density.columns[density.places[1][column]]
        level = rng.uniform(1e-12, 1 - 1e-12, (len(grid.places), count))
        for one, found in zip(filled, grid.quantiles(level).T):
            one[density.places[1][column]][places[grid.places]] = own.sampled(found)
        left[grid.places] = False
    places, codes, u, known = (part[left] for part in (places, codes, u, known))
    draws = count if sampler.exact else max(FEWEST, 20 * count)
    chosen_codes, chosen_u = (np.repeat(part[None], count, axis=0) for part in (codes, u))
    with blas.one_thread():
        for block in sampler.blocks(codes, u, known, draws, rng):
            edges = np.cumsum(block.shares(), axis=1)
            rows = np.arange(len(edges))
            # Systematic resampling: with equal weights no table takes a sample of another.
            start = rng.random(len(edges))
            for k in range(count):
                point = (k + start) / count * edges[:, -1]
                chosen = np.sum(point[:, None] >= edges[:, :-1], axis=1)
                chosen_codes[k, block.places] = block.codes[rows, chosen]
                chosen_u[k, block.places] = block.u[rows, chosen]
    for one, *chosen in zip(filled, chosen_codes, chosen_u):
        for column, values, gap in zip(one, density.sampled(*chosen), missing):
            column[places[gap[places]]] = values[gap[places]]
    return filled


def sample_given(density: TableDensity, given: dict[str, Any], rng: Generator, n: int) -> list[Any]:
    """Sample rows given the values of some columns.

    Parameters
    ----------
    density : TableDensity
    given : dict
        name -> value.
    rng : numpy.random.Generator
    n : int

    Returns
    -------
    list of (n,) arrays

    Raises
    ------
    ValueError
        If a name or a value does not fit.
    """
    table = row_given(density, given)
    sampler = ConditionalSampler(density)
    codes, u, _, known = sampler.encode(table)
    draws = max(n, 1) if sampler.exact else max(DRAWS, 10 * n)  # weighted samples
    block = next(sampler.blocks(codes, u, known, draws, rng))
    if density.limit is not None and not np.any(block.log_weight > -np.inf):
        raise ValueError(f"given: expected values with {density.limit}, got {dict(given)}")
    # Systematic resampling: with equal weights no sample is taken twice.
    edges = np.cumsum(block.shares()[0])
    points = (np.arange(n) + rng.random()) / max(n, 1) * edges[-1]
    chosen = rng.permutation(np.minimum(np.searchsorted(edges, points, "right"), draws - 1))
    drawn = density.sampled(block.codes[0, chosen], block.u[0, chosen])
    return [
        values if is_missing(value)[0] else np.repeat(value, n)
        for values, value in zip(drawn, table)
    ]


def row_given(density: TableDensity, given: Mapping[str, Any]) -> list[Array]:
    """Return a table of one row with the given values, and gaps elsewhere."""
    names = [column.name for column in density.columns]
    check_known("given", given, names)
    missing = [name for name in density.given if name not in given]
    if missing:
        raise ValueError(
            f"given: expected a value of {missing[0]!r}, which the density is given, got none"
        )
    table = []
    for column in density.columns:
        if column.name not in given:
            table.append(missing_cells_of(column, 1))
        else:
            table.append(_checked_value(column, given[column.name]))
    return table


def check_known(what: str, given: Iterable[str], names: Sequence[str]) -> None:
    """Check that all names are those of columns."""
    for name in given:
        if name not in names:
            raise ValueError(
                f"{what}: expected columns among {', '.join(map(repr, names))}; got {name!r}"
            )


def _checked_value(column, value):
    """Return the value as a column of one row, if the column can take it."""
    name = f"given[{column.name!r}]"
    if column.kind == "category":
        label = None if value is None else label_of(value)
        if label not in column.labels:
            raise ValueError(
                f"{name}: expected one of the categories "
                f"{', '.join(map(shortened, column.labels[:5]))}"
                f"{', ...' if len(column.labels) > 5 else ''}, got {shortened(label)}"
            )
        return np.array([label], object)
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = np.nan
    if not np.isfinite(number):
        raise ValueError(f"{name}: expected a finite number, got {shortened(plain(value))}")
    values = np.array([number])
    if isinstance(column, Continuous):
        if column.encode(values)[1][0] == -np.inf:
            raise ValueError(
                f"{name}: expected a value strictly between {column.low:g} and "
                f"{column.high:g}, got {number:g}"
            )
    elif np.isnan(column.encode(values)[0]):
        least = "" if np.isinf(column.low) else f" of at least {column.low:g}"
        raise ValueError(f"{name}: expected a whole number{least}, got {number:g}")
    return values
