"""One column given the other cells of its row: mean, quantiles, ranks, probabilities of labels.

If all other cells are known, or the pool has a closed form, the density is followed along the
column (:mod:`nfref.tables.queries.column_grid`), and counts and labels are tried one by one. Other
missing cells are sampled with weights (:mod:`nfref.tables.queries.conditional_sampler`).
"""

from dataclasses import dataclass

import numpy as np

from nfref.runtime.annotations import Array, Callable, Sequence
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.queries.conditional_sampler import ConditionalSampler, patterns_of, shares_of
from nfref.tables.queries.given_values import check_known, check_known_cells
from nfref.tables.queries.marginals import Noise
from nfref.tables.queries.missing_cells import DRAWS, log_marginal
from nfref.tables.schema.columns import Continuous, missing_cells_of

NUMBERS = 512  # most numbers of a count that are tried
REACH = 10  # their range, in scales of the Student t of a count


# What answers -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Discrete:
    """Sorted values of each row with P(X <= value): counts that were tried, or samples.

    Parameters
    ----------
    places : (N,) array
    values, edges : (N, V) array
    error : (N,) array
    continuous : bool
        True if the values stand for a density.
    """

    places: np.ndarray
    values: np.ndarray
    edges: np.ndarray
    error: np.ndarray
    continuous: bool = False

    @classmethod
    def of(
        cls, places: Array, values: Array, shares: Array, error: Array, continuous: bool = False
    ) -> "Discrete":
        """Return values with shares, in any order."""
        order = np.argsort(values, axis=1, kind="stable")
        values, shares = (np.take_along_axis(part, order, axis=1) for part in (values, shares))
        return cls(places, values, np.cumsum(shares, axis=1), error, continuous)

    def quantiles(self, levels: Array) -> Array:
        """Return quantiles (N, L) of levels (L,)."""
        shares = np.diff(self.edges, axis=1, prepend=0.0)
        if self.continuous:
            middles = self.edges - shares / 2
            return np.stack([np.interp(levels, *row) for row in zip(middles, self.values)])
        last = self.values.shape[1] - 1
        places = [np.minimum(np.searchsorted(edge, levels), last) for edge in self.edges]
        return np.stack([value[place] for value, place in zip(self.values, places)])

    def mean(self, decode: Callable[[Array], Array], levels: Array) -> Array:
        """Return the mean of decoded values, (N,); levels are not needed."""
        return np.sum(np.diff(self.edges, axis=1, prepend=0.0) * decode(self.values), axis=1)

    def below(self, x: Array) -> Array:
        """Return P(X <= x) of one x a row, (N,)."""
        place = np.sum(self.values <= x[:, None], axis=1)
        return np.where(place > 0, self.edges[np.arange(len(x)), place - 1], 0.0)


def _answers(density, table, name, draws, least=1.0):
    """Return (column, an iterator of Grids or Discretes of some rows each).

    Their values are codes or u; those of a column with atoms are in its own units.
    """
    place = _place_of(density, name)
    column = density.columns[place]
    if column.kind == "category":
        raise ValueError(f"column: expected a column of numbers, got the category {name!r}")
    table = list(table)
    table[place] = np.full(len(table[0]), np.nan)
    check_known_cells(density, table)
    sampler = ConditionalSampler(density)
    cells = sampler.encode(table)
    continuous = isinstance(column, Continuous)
    atoms = continuous and column.atoms
    at = density.places[continuous].index(place)

    def answers():
        drawn = []
        for rows, pattern in patterns_of(cells.known):
            if continuous:
                done = False
                for grid in sampler.along(at, cells, rows, pattern, True, least):
                    done = True
                    yield grid
            else:
                numbers = _numbers_to_try(density.discrete.parts[at])
                done = np.sum(~pattern) == 1 and len(numbers) <= NUMBERS
                if done:
                    yield _tried(density, rows, cells.codes[rows], cells.u[rows], at, numbers)
            if not done:
                drawn.append(rows)
        if not drawn:
            return
        rows = np.sort(np.concatenate(drawn))
        noise = Noise.stratified(np.random.default_rng(0), draws, cells.u.shape[1])
        for block in sampler.blocks(cells.at(rows), draws, None, noise):
            values, shares = (block.u if continuous else block.codes)[:, :, at], block.shares()
            if atoms:
                code = block.codes[:, :, density.places[0].index(place)]
                values = column.sampled(values.ravel(), code.ravel()).reshape(values.shape)
            error = 0.5 * np.sqrt(np.sum(shares**2, axis=1))
            yield Discrete.of(rows[block.places], values, shares, error, continuous and not atoms)

    return column, answers()


def _place_of(density, name):
    """Return the place of a column that is not given."""
    names = [column.name for column in density.columns]
    check_known("column", [name], names)
    if name in density.given:
        raise ValueError(f"column: expected one that is not given, got {name!r}")
    return names.index(name)


def _numbers_to_try(part):
    """Return all likely numbers of a count."""
    low = max(part.low, np.min(np.append(part.seen, np.floor(part.middle - REACH * part.scale))))
    high = np.max(np.append(part.seen, np.ceil(part.middle + REACH * part.scale)))
    return np.arange(low, min(high, part.high, low + NUMBERS) + 1)


def _tried(density, rows, codes, u, place, numbers):
    """Return a count given all other cells, by the likelihood of each number."""
    asked = np.repeat(codes, len(numbers), axis=0)
    asked[:, place] = np.tile(numbers, len(codes))
    joint = density.discrete.log_prob(asked)
    if density.pool is not None:
        joint = joint + density.pool.log_prob(
            np.repeat(u, len(numbers), axis=0), density.context(asked)
        )
    joint = joint.reshape(len(codes), -1)
    shares = shares_of(joint)
    # The probability that the discrete columns leave to other numbers.
    part = density.discrete.parts[place]
    inside = np.sum(np.exp(part.of(numbers)), axis=0)
    error = np.full(len(codes), max(0.0, 1 - float(np.min(inside))))
    return Discrete.of(rows, np.tile(numbers, (len(codes), 1)), shares, error)


# Answers ----------------------------------------------------------------------------------


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
        Samples, if other cells are missing; and quantiles in the mean.

    Returns
    -------
    mean : (N,) array
    quantiles : (N, len(levels)) array
        For a count the smallest number n with P(X <= n) at least the level; likewise for rounded
        values, because rounding keeps their order.
    error : (N,) array
        How far the probabilities below the quantiles may be from their levels: a bound for a grid,
        a standard error for samples, 0 if they are exact.

    Notes
    -----
    On a circle the values count from where it is cut, moved by whole periods so that the mean is in
    the turn of the data; quantiles ascend, and may be beyond that turn.
    """
    levels = np.asarray(levels, np.float64)
    least = np.min([levels, 1 - levels], initial=1.0)
    column, answers = _answers(density, table, name, draws, least)
    found, mean = np.empty((len(table[0]), len(levels))), np.empty(len(table[0]))
    error, even = np.empty(len(mean)), (np.arange(draws) + 0.5) / draws
    coordinates = isinstance(column, Continuous) and not column.atoms
    decode = column.decode if coordinates else np.asarray
    for one in answers:
        mean[one.places], error[one.places] = one.mean(decode, even), one.error
        found[one.places] = decode(one.quantiles(levels))
    if coordinates:
        found = column.rounded(found)
        if column.period is not None:
            turns = column.wrapped(mean) - mean
            mean, found = mean + turns, found + turns[:, None]
    return mean, found, error


def label_probabilities(density: TableDensity, table: Sequence[Array], name: str) -> Array:
    """Return P(label) of a category given the other cells of each row.

    It follows from the likelihood of the row with each label in turn.

    Parameters
    ----------
    As for :func:`predictions`; ``name`` is that of a category.

    Returns
    -------
    (N, L) array
        In the order of the column's labels; rows sum to one.
    """
    place, sampler, found = _place_of(density, name), ConditionalSampler(density), []
    table = list(table)
    table[place] = missing_cells_of(density.columns[place], len(table[place]))
    check_known_cells(density, table)
    for label in density.columns[place].labels:
        table[place] = np.full(len(table[place]), label, object)
        found.append(log_marginal(density, table, sampler=sampler).log_prob)
    return shares_of(np.stack(found, axis=1))


def distribution(density: TableDensity, table: Sequence[Array], name: str, draws: int) -> Array:
    """Return P(X <= x) of a column's own values given the other cells of each row, (N,).

    For rows that follow the density, and a continuous column, it is uniform on (0, 1). Each rounded
    value is moved to a random place in its cell, the same one each time.

    Parameters
    ----------
    As for :func:`predictions`; the result is NaN where a value of the column is missing.
    """
    column, answers = _answers(density, table, name, draws)
    place = _place_of(density, name)
    own = np.asarray(table[place], np.float64)
    missing = np.isnan(own)
    if isinstance(column, Continuous) and not column.atoms:
        if column.period is None:  # values beyond the support count as its ends
            own = np.clip(own, np.nextafter(column.low, np.inf), np.nextafter(column.high, -np.inf))
        own = column.encode(column.spread(own, np.random.default_rng(0).random(len(own))))[0]
    found = np.empty(len(own))
    for one in answers:
        found[one.places] = one.below(own[one.places])
    return np.where(missing, np.nan, found)
