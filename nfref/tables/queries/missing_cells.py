"""Rows with gaps: their likelihood, and samples of the gaps.

Rows that lack one column of the pool, and rows whose missing cells come last in the order of all
flows, need no samples. :mod:`nfref.tables.queries.conditional_sampler` describes those of the
others.
"""

from dataclasses import dataclass

import numpy as np

from nfref.runtime import blas
from nfref.runtime.annotations import Any, Array, Generator, Sequence
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.queries.conditional_sampler import ConditionalSampler
from nfref.tables.queries.given_values import check_known_cells, row_given
from nfref.tables.queries.marginals import Noise
from nfref.tables.schema.columns import is_missing, with_gaps

# Samples of a row that come first, the standard error in nats up to which they suffice, and all.
FIRST_DRAWS, SMALL_ERROR, DRAWS = 200, 0.01, 1000
FEWEST = 200  # weighted samples of a row that is filled; for many tables, 20 for each of them


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


def log_marginal(
    density: TableDensity,
    table: Sequence[Array],
    draws: int | None = None,
    sampler: ConditionalSampler | None = None,
) -> Marginal:
    """Return the log-likelihood of the known cells of every row.

    Parameters
    ----------
    density : TableDensity
    table : list of (N,) arrays
        The columns' values, NaN or None where they are missing.
    draws : int, optional
        S, for each row with gaps. Without it, ``FIRST_DRAWS`` if they leave an error of at most
        ``SMALL_ERROR``, and ``DRAWS`` otherwise. The result of a row does not depend on the others.
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
    cells = sampler.encode([values[places] for values in table])
    done = np.zeros(len(places), bool)
    for own, found, bound in () if sampler.exact else _without_samples(sampler, cells):
        log_prob[places[own]], error[places[own]] = found + cells.log_slope[own], bound
        done[own] = True
    left = np.flatnonzero(~done)
    stages = (FIRST_DRAWS, DRAWS - FIRST_DRAWS) if draws is None else (draws,)
    found = _by_samples(sampler, cells.at(left), (1,) if sampler.exact else stages)
    log_prob[places[left]], error[places[left]], effective[places[left]] = found
    counted = [column.name not in density.given for column in density.columns]
    nothing = places[~cells.known[:, counted].any(axis=1)]  # their likelihood is 1
    log_prob[nothing], error[nothing] = 0.0, 0.0
    return Marginal(log_prob, error, effective)


def _without_samples(sampler, cells):
    """Yield (rows, log-likelihoods, bounds of their errors) of rows that need no samples."""
    left = np.ones(len(cells.u), bool)
    for rows, found in sampler.exact_rows(cells):
        left[rows] = False
        yield rows, found, 0.0
    at, discrete = np.flatnonzero(left), sampler.density.discrete
    for _, grid in sampler.grids(cells.at(at)):
        rows, found = at[grid.places], grid.log_total
        if discrete is not None:
            found = found + discrete.log_prob(cells.codes[rows])
        yield rows, found, grid.error


def _by_samples(sampler, cells, stages):
    """Return (log-likelihoods, their errors, effective numbers of samples) of rows, (N,) each.

    A stage adds samples to the rows whose error is not small yet.
    """
    rows, rng = len(cells.u), np.random.default_rng(0)
    error, used, left = np.zeros(rows), np.zeros(rows), np.arange(rows)
    total, squares = np.full((2, rows), -np.inf)  # logarithms of the sums of weights
    for more in stages:
        noise = Noise.sample(rng, 1, more, cells.u.shape[1])
        with blas.one_thread():
            for block in sampler.blocks(cells.at(left), more, None, noise):
                own, weight = left[block.places], block.log_weight
                total[own] = np.logaddexp(total[own], np.logaddexp.reduce(weight, axis=1))
                squares[own] = np.logaddexp(squares[own], np.logaddexp.reduce(2 * weight, axis=1))
        used[left] += more
        effective = used.copy()  # where all samples are impossible, their weights are equal
        possible = total > -np.inf
        effective[possible] = np.exp(2 * total[possible] - squares[possible])
        error = np.sqrt(np.maximum(used / effective - 1, 0) / np.maximum(used - 1, 1))
        left = np.flatnonzero(error > SMALL_ERROR)
    exact = used == 1
    return total - np.log(used) + cells.log_slope, error, np.where(exact, np.inf, effective)


def impute(
    density: TableDensity,
    table: Sequence[Array],
    rng: Generator,
    sampler: ConditionalSampler | None = None,
) -> list[Array]:
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

    Raises
    ------
    ColumnError
        If a column cannot take a known value of a row with gaps.
    """
    return imputations(density, table, rng, 1, sampler)[0]


def imputations(
    density: TableDensity,
    table: Sequence[Array],
    rng: Generator,
    count: int,
    sampler: ConditionalSampler | None = None,
) -> list[list[Array]]:
    """Return ``count`` tables with every gap sampled, all from one set of weighted samples.

    The other parameters are those of :func:`impute`.
    """
    check_known_cells(density, table)
    missing = [is_missing(values) for values in table]
    places = np.flatnonzero(np.any(missing, axis=0))
    if not len(places):
        return [list(table) for _ in range(count)]
    sampler = sampler or ConditionalSampler(density)
    filled = [[np.array(values) for values in table] for _ in range(count)]
    cells = sampler.encode([values[places] for values in table])
    left = np.ones(len(places), bool)
    for column, grid in () if sampler.exact else sampler.grids(cells, single=True):
        own = density.columns[density.places[1][column]]
        level = rng.uniform(1e-12, 1 - 1e-12, (len(grid.places), count))
        for one, found in zip(filled, grid.quantiles(level).T):
            one[density.places[1][column]][places[grid.places]] = own.sampled(found)
        left[grid.places] = False
    places, cells = places[left], cells.at(left)
    equal = sampler.has_equal_weights(cells)
    chosen_codes = np.repeat(cells.codes[None], count, axis=0)
    chosen_u = np.repeat(cells.u[None], count, axis=0)
    with blas.one_thread():
        for some, draws in ((equal, count), (~equal, max(FEWEST, 20 * count))):
            some = np.flatnonzero(some)
            for block in sampler.blocks(cells.at(some), draws, rng):
                edges = np.cumsum(block.shares(), axis=1)
                rows = np.arange(len(edges))
                # Systematic resampling: with equal weights no table takes a sample of another.
                start = rng.random(len(edges))
                for k in range(count):
                    point = (k + start) / count * edges[:, -1]
                    chosen = np.sum(point[:, None] >= edges[:, :-1], axis=1)
                    chosen_codes[k, some[block.places]] = block.codes[rows, chosen]
                    chosen_u[k, some[block.places]] = block.u[rows, chosen]
    for one, *chosen in zip(filled, chosen_codes, chosen_u):
        for column, values, gap in zip(one, density.sampled(*chosen), missing):
            column[places[gap[places]]] = values[gap[places]]
    return filled


def sample_given(
    density: TableDensity, given: dict[str, Any], rng: Generator, n: int
) -> list[Array]:
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
    cells = sampler.encode(table)
    draws = max(n, 1) if sampler.has_equal_weights(cells)[0] else max(DRAWS, 10 * n)
    block = next(sampler.blocks(cells, draws, rng))
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
