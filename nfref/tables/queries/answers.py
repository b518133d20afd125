"""Answers about unknown cells, read from their weighted values.

These are the likelihood of rows with gaps, samples of gaps, and of one column given the other cells
of its row the mean, quantiles, ranks and probabilities of labels.
:mod:`nfref.tables.queries.conditional` describes the weighted values.
"""

from dataclasses import dataclass

import numpy as np

from nfref.runtime.annotations import Any, Array, Generator, Iterator, Sequence
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.queries.conditional import Conditional, KnownCells, shares_of
from nfref.tables.queries.known_cells import check_known, check_known_cells, row_given
from nfref.tables.schema.columns import Continuous, is_missing, missing_cells_of, with_gaps

# Samples of a row that come first, the standard error in nats up to which they suffice, and all.
FIRST_DRAWS, SMALL_ERROR, DRAWS = 200, 0.01, 1000
FEWEST, EACH = 200, 10  # weighted samples of a row that is filled, and for each of many tables
TAIL = 0.0005  # probability on either side that counts as if it ended there, in a mean


# Likelihoods ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Marginal:
    """Log-likelihoods of the known cells.

    Attributes
    ----------
    log_prob : (N,) array
        Nats, in the units of the data.
    error : (N,) array
        The standard error of as many independent samples, 0 if it is exact. Samples that are
        spread evenly usually err less.
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
    density: TableDensity, table: Sequence[Array], draws: int | None = None
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

    Returns
    -------
    Marginal
    """
    whole = ~with_gaps(table)
    found = Marginal.exact(np.empty(len(whole)))
    if np.any(whole):
        found.log_prob[whole] = density.log_prob([values[whole] for values in table])
    places = np.flatnonzero(~whole)
    if not len(places):
        return found
    conditional = Conditional.of(density)
    cells = conditional.encode([values[places] for values in table])
    stages = (FIRST_DRAWS, DRAWS - FIRST_DRAWS) if draws is None else (draws,)
    total, error, effective = _by_samples(conditional, cells, stages)
    counted = [column.name not in density.given for column in density.columns]
    nothing = ~cells.known[:, counted].any(axis=1)  # their likelihood is 1
    found.log_prob[places] = np.where(nothing, 0.0, total + cells.log_slope)
    found.error[places] = np.where(nothing, 0.0, error)
    found.effective[places] = effective
    return found


def _by_samples(conditional, cells, stages):
    """Return (log-likelihoods, their errors, effective numbers of samples) of rows, (N,) each.

    A stage adds samples to the rows whose error is not small yet.
    """
    rows, rng = len(cells.u), np.random.default_rng(0)
    error, used, left = np.zeros(rows), np.zeros(rows), np.arange(rows)
    total, squares = np.full((2, rows), -np.inf)  # logarithms of the sums of weights
    exact = np.zeros(rows, bool)
    for more in stages:
        for block in conditional.weighted(cells.at(left), more, rng, shared=True):
            own, weight = left[block.places], block.log_weight + np.log(more)
            total[own] = np.logaddexp(total[own], np.logaddexp.reduce(weight, axis=1))
            squares[own] = np.logaddexp(squares[own], np.logaddexp.reduce(2 * weight, axis=1))
            exact[own] = block.is_exact
        used[left] += more
        effective = used.copy()  # where all samples are impossible, their weights are equal
        possible = total > -np.inf
        effective[possible] = np.exp(2 * total[possible] - squares[possible])
        error = np.sqrt(np.maximum(used / effective - 1, 0) / np.maximum(used - 1, 1))
        left = np.flatnonzero((error > SMALL_ERROR) & ~exact)
    return total - np.log(used), np.where(exact, 0, error), np.where(exact, np.inf, effective)


# Samples ----------------------------------------------------------------------------------


def impute(density: TableDensity, table: Sequence[Array], rng: Generator) -> list[Array]:
    """Return the table with every gap sampled given the known cells of its row.

    Parameters
    ----------
    density : TableDensity
    table : list of (N,) arrays
    rng : numpy.random.Generator

    Returns
    -------
    list of (N,) arrays

    Raises
    ------
    ColumnError
        If a column cannot take a known value of a row with gaps.
    """
    return imputations(density, table, rng, 1)[0]


def imputations(
    density: TableDensity, table: Sequence[Array], rng: Generator, count: int
) -> list[list[Array]]:
    """Return ``count`` tables with every gap sampled, all from one set of weighted samples.

    The other parameters are those of :func:`impute`.
    """
    check_known_cells(density, table)
    missing = [is_missing(values) for values in table]
    places = np.flatnonzero(np.any(missing, axis=0))
    filled = [[np.array(values) for values in table] for _ in range(count)]
    if not len(places):
        return filled
    conditional = Conditional.of(density)
    cells = conditional.encode([values[places] for values in table])
    for rows, codes, u in _resampled(conditional, cells, rng, count):
        for k, one in enumerate(filled):
            for column, values, gap in zip(one, density.sampled(codes[:, k], u[:, k]), missing):
                here = gap[places[rows]]
                column[places[rows[here]]] = values[here]
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
    table, conditional = row_given(density, given), Conditional.of(density)
    ((_, codes, u),) = _resampled(conditional, conditional.encode(table), rng, n)
    order = rng.permutation(n)
    drawn = density.sampled(codes[0, order], u[0, order])
    return [
        values if is_missing(value)[0] else np.repeat(value, n)
        for values, value in zip(drawn, table)
    ]


def _resampled(
    conditional: Conditional, cells: KnownCells, rng: Generator, count: int
) -> Iterator[tuple[Array, Array, Array]]:
    """Yield (rows, codes (N, count, J), u (N, count, D)) of some rows, samples of equal weight.

    Systematic resampling: with equal weights no sample is taken twice.
    """
    pooled = conditional.density.places[1]
    equal = conditional.is_closed | ~np.any(cells.known[:, pooled], axis=1)
    for some, draws in ((equal, max(count, 1)), (~equal, max(FEWEST, EACH * count))):
        some = np.flatnonzero(some)
        for block in conditional.weighted(cells.at(some), draws, rng):
            edges = np.cumsum(block.shares(), axis=1)
            points = (np.arange(count) + rng.random((len(edges), 1))) / max(count, 1)
            points = points * edges[:, -1:]
            chosen = np.stack(
                [np.searchsorted(*pair, side="right") for pair in zip(edges, points)]
            )[:, :, None]
            chosen = np.minimum(chosen, edges.shape[1] - 1)
            codes, u = (np.take_along_axis(part, chosen, axis=1) for part in (block.codes, block.u))
            yield some[block.places], codes, u


# One column -------------------------------------------------------------------------------


@dataclass(frozen=True)
class ColumnValues:
    """Sorted values of a column in each row, with P(X <= value).

    Parameters
    ----------
    places : (N,) array
    values, edges : (N, S) array
    error : (N,) array
        Standard error of the probabilities.
    continuous : bool
        True if the values stand for a density.
    """

    places: np.ndarray
    values: np.ndarray
    edges: np.ndarray
    error: np.ndarray
    continuous: bool

    def quantiles(self, levels: Array) -> Array:
        """Return quantiles (N, L) of levels (L,)."""
        if self.continuous:
            return np.stack([np.interp(levels, *row) for row in zip(self._middles(), self.values)])
        last = self.values.shape[1] - 1
        places = [np.minimum(np.searchsorted(edge, levels), last) for edge in self.edges]
        return np.stack([value[place] for value, place in zip(self.values, places)])

    def mean(self) -> Array:
        """Return the mean, (N,), of values that end where ``TAIL`` is beyond on either side."""
        low, high = self.quantiles(np.array([TAIL, 1 - TAIL])).T
        values = np.clip(self.values, low[:, None], high[:, None])
        return np.sum(np.diff(self.edges, axis=1, prepend=0.0) * values, axis=1)

    def below(self, x: Array) -> Array:
        """Return P(X <= x) of one x a row, (N,)."""
        if self.continuous:
            rows = zip(x, self.values, self._middles())
            return np.array([np.interp(*row, left=0.0, right=1.0) for row in rows])
        place = np.sum(self.values <= x[:, None], axis=1)
        return np.where(place > 0, self.edges[np.arange(len(x)), place - 1], 0.0)

    def _middles(self):
        """Return the probabilities below the middle of each value's share, (N, S)."""
        return self.edges - 0.5 * np.diff(self.edges, axis=1, prepend=0.0)


def _values_of(density, table, name, draws):
    """Yield :class:`ColumnValues` of a column of numbers, in its own units."""
    place = _place_of(density, name)
    column = density.columns[place]
    if column.kind == "category":
        raise ValueError(f"column: expected a column of numbers, got the category {name!r}")
    table = list(table)
    table[place] = np.full(len(table[0]), np.nan)
    check_known_cells(density, table)
    conditional = Conditional.of(density)
    cells = conditional.encode(table)
    continuous = isinstance(column, Continuous)
    at = density.places[continuous].index(place)
    noise = np.random.default_rng(0)
    first = at if continuous else None
    for block in conditional.weighted(cells, draws, noise, shared=True, first=first):
        values, shares = (block.u if continuous else block.codes)[:, :, at], block.shares()
        if continuous and column.atoms:
            code = block.codes[:, :, density.places[0].index(place)]
            values = column.sampled(values.ravel(), code.ravel()).reshape(values.shape)
        elif continuous:
            values = column.decode(values)
        order = np.argsort(values, axis=1, kind="stable")
        values, shares = (np.take_along_axis(part, order, axis=1) for part in (values, shares))
        error = 0.5 * np.sqrt(np.sum(shares**2, axis=1))
        if not continuous and np.sum(~cells.known[block.places[0]]) == 1 and block.is_exact:
            error = np.zeros(len(error))
        edges = np.cumsum(shares, axis=1)
        yield ColumnValues(block.places, values, edges, error, continuous and not column.atoms)


def _place_of(density, name):
    """Return the place of a column that is not given."""
    names = [column.name for column in density.columns]
    check_known("column", [name], names)
    if name in density.given:
        raise ValueError(f"column: expected one that is not given, got {name!r}")
    return names.index(name)


def predictions(
    density: TableDensity,
    table: Sequence[Array],
    name: str,
    levels: Sequence[float],
    draws: int = DRAWS,
) -> tuple[Array, Array, Array]:
    """Return the mean and quantiles of a column given the other cells of each row.

    Parameters
    ----------
    density : TableDensity
    table : list of (N,) arrays
        Values of the column itself are ignored; gaps in other columns are integrated out.
    name : str
        Name of a column of numbers.
    levels : sequence of float
        In (0, 1).
    draws : int
        Samples of each row.

    Returns
    -------
    mean : (N,) array
    quantiles : (N, len(levels)) array
        For a count the smallest number n with P(X <= n) at least the level; likewise for rounded
        values, because rounding keeps their order.
    error : (N,) array
        The standard error of the probabilities below the quantiles, for as many independent
        samples; 0 if they are exact.

    Notes
    -----
    On a circle the values count from where it is cut, moved by whole periods so that the mean is in
    the turn of the data; quantiles ascend, and may be beyond that turn.
    """
    levels, rows = np.asarray(levels, np.float64), len(table[0])
    found, mean, error = np.empty((rows, len(levels))), np.empty(rows), np.empty(rows)
    for one in _values_of(density, table, name, draws):
        mean[one.places], error[one.places] = one.mean(), one.error
        found[one.places] = one.quantiles(levels)
    column = density.columns[_place_of(density, name)]
    if isinstance(column, Continuous) and not column.atoms:
        found = column.rounded(found)
        if column.period is not None:
            turns = column.wrapped(mean) - mean
            mean, found = mean + turns, found + turns[:, None]
    return mean, found, error


def label_probabilities(density: TableDensity, table: Sequence[Array], name: str) -> Array:
    """Return P(label) of a category given the other cells of each row.

    It follows from the likelihood of the row with each label in turn, so a rare label needs no
    sample.

    Parameters
    ----------
    As for :func:`predictions`; ``name`` is that of a category.

    Returns
    -------
    (N, L) array
        In the order of the column's labels; rows sum to one.
    """
    place, found = _place_of(density, name), []
    table = list(table)
    table[place] = missing_cells_of(density.columns[place], len(table[place]))
    check_known_cells(density, table)
    for label in density.columns[place].labels:
        table[place] = np.full(len(table[place]), label, object)
        found.append(log_marginal(density, table).log_prob)
    return shares_of(np.stack(found, axis=1))


def distribution(density: TableDensity, table: Sequence[Array], name: str, draws: int) -> Array:
    """Return P(X <= x) of a column's own values given the other cells of each row, (N,).

    For rows that follow the density, and a continuous column, it is uniform on (0, 1). Each rounded
    value is moved to a random place in its cell, the same one each time.

    Parameters
    ----------
    As for :func:`predictions`; the result is NaN where a value of the column is missing.
    """
    column = density.columns[_place_of(density, name)]
    values = _values_of(density, table, name, draws)
    own = np.asarray(table[_place_of(density, name)], np.float64)
    missing, found = np.isnan(own), np.empty(len(own))
    if isinstance(column, Continuous) and not column.atoms:
        own = column.spread(own, np.random.default_rng(0).random(len(own)))
        if column.period is not None:  # values count from where the circle is cut
            own = column.decode(column.encode(own)[0])
    for one in values:
        found[one.places] = one.below(own[one.places])
    return np.where(missing, np.nan, found)
