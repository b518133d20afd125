"""The density of a table: its columns, the probability of discrete ones, a pool for the others.

    log p(row) = log P(d) + log p(u | d) + sum_j log du_j/dx_j

d are the codes of the discrete columns and of columns with atoms, u the continuous columns in
robust units. If all columns are discrete this is the log of a probability; if all are continuous,
of a density in the units of the data; otherwise of a probability times a density. A value at an
atom counts as discrete (:mod:`nfref.tables.schema.atoms`).

If some columns are *given*, it is the density of the others given these. Given columns are context
of the pool and tell about the classes of discrete columns; they have no probability of their own.

The sum of some columns may have a limit (:mod:`nfref.tables.densities.limited_sum`).
"""

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import compress

import numpy as np

from nfref.runtime.annotations import Any, Array, Callable, Generator, Sequence
from nfref.runtime.checks import check_floats, require, shortened
from nfref.runtime.configuration import Configuration
from nfref.tables.densities.label_models import LabelPool
from nfref.tables.densities.latent_classes import LatentClasses
from nfref.tables.densities.limited_sum import LimitedSum, sample_where
from nfref.tables.densities.pool import Pool
from nfref.tables.reading.table import quoted_names
from nfref.tables.schema.columns import (
    WIDE,
    Category,
    ColumnError,
    Continuous,
    Count,
    alike,
    as_numbers,
    compress_tails,
    with_gaps,
)

POINTS = 16  # points of a cell at which a density is averaged
FEW_ROWS = 256  # up to which columns with the same kind of map are encoded together
COPIES = 32  # most copies of a row that are dequantised separately


@dataclass(frozen=True)
class TableDensity(Configuration):
    """The density of tables with certain columns.

    Parameters
    ----------
    columns : tuple of Continuous, Category or Count
    discrete : LatentClasses, LabelPool or None
        None without discrete columns.
    pool : Pool or None
        For the continuous columns in robust units, given the discrete ones; None without any.
    centre, scale : (J,) array
        Units of the codes of counts in the pool's context.
    given : tuple of str
        Names of the given columns.
    limit : LimitedSum or None
        Limit of the sum of some continuous columns; None if any column is given.
    """

    columns: tuple
    discrete: LatentClasses | LabelPool | None
    pool: Pool | None
    centre: Any = None
    scale: Any = None
    given: tuple = ()
    limit: LimitedSum | None = None

    # Rows -----------------------------------------------------------------------------------

    def encode(self, table: Sequence[Array]) -> tuple[Array, Array, Array]:
        """Return (codes (N, J), u (N, D), log-slope (N,)) of a sequence of columns' values.

        The codes are those of :attr:`coded_columns`, u the others in robust units.
        """
        return self._encoder(table)

    @cached_property
    def _encoder(self):
        return Encoder(self.columns, self.given)

    @cached_property
    def _cells(self):
        """For each column if it has cells, and the ends of :attr:`Continuous.level` where it does.

        The ends are (C, 1) arrays.
        """
        spread = _have_cells(self.columns, self.given)
        ends = [column.level for column in compress(self.columns, spread)]
        low, high = np.array(ends).reshape(-1, 2).T[:, :, None]
        return spread, low, high

    def context(self, codes: Array) -> Array | None:
        """Return the pool's context: a 1 for each label, counts and given columns in units."""
        if not codes.shape[1]:
            return None
        return features(self.coded_columns, codes, self.centre, self.scale)

    @property
    def dim(self) -> int:
        """The number of columns."""
        return len(self.columns)

    context_dim = 0

    @property
    def places(self) -> tuple[list[int], list[int]]:
        """(places of the columns with codes, places of the columns of the pool)."""
        return self._encoder.places

    @property
    def coded_columns(self) -> tuple:
        """Discrete columns, the codes of columns with atoms, then real columns that are given."""
        return coded_columns(self.columns, self.given)

    def pilot(self, rng: Generator, n: int) -> Array:
        """Return possible codes (n, J) to try the pool with; they need not follow the data."""
        if self.discrete is not None:
            return self.discrete.sample(rng, n)
        drawn = [
            rng.integers(len(column.labels), size=n)
            if column.kind == "category"
            else self.centre[j] + self.scale[j] * rng.standard_normal(n)
            for j, column in enumerate(self.coded_columns)
        ]
        return np.stack(drawn, axis=1).astype(np.float64) if drawn else np.zeros((n, 0))

    # Answers --------------------------------------------------------------------------------

    def log_prob(self, table: Sequence[Array]) -> Array:
        """Return the log-likelihood of every row, (N,); -inf for rows outside a support.

        Rounded values are scored by the density of dequantised values, at the values themselves.
        """
        codes, u, total = self.encode(table)
        if self.discrete is not None:
            total = total + self.discrete.log_prob(codes)
        if self.pool is not None:
            total = total + self.pool.log_prob(u, self.context(np.nan_to_num(codes)))
        return total + self._log_factor(table)

    def parts(self, table: Sequence[Array]) -> tuple[Array, Array | None]:
        """Return (log-likelihood (N,), log p_k(u | d) of every member (N, K) or None)."""
        codes, u, total = self.encode(table)
        members = None
        if self.discrete is not None:
            total = total + self.discrete.log_prob(codes)
        if self.pool is not None:
            members = self.pool.log_probs(u, self.context(np.nan_to_num(codes)))
            total = total + self.pool.pooled(members)
        return total + self._log_factor(table), members

    def _log_factor(self, table):
        """Return the factor of the limited sum for every row, as a logarithm, (N,) or 0."""
        if self.limit is None:
            return 0.0
        return self.limit.log_factor(
            {
                column.name: column.rounded(as_numbers(column.name, values))
                for column, values in zip(self.columns, table)
                if column.name in self.limit.names
            }
        )

    def log_factor_of(self, codes: Array, u: Array) -> Any:
        """Return the factor of the limited sum as a logarithm, for codes (N, J) and u (N, D)."""
        return 0.0 if self.limit is None else self._log_factor(self.sampled(codes, u))

    def limited(self, limit: LimitedSum | None) -> "TableDensity":
        """Return the density cut off at the limit of a sum."""
        if limit is None:
            return self
        names = [column.name for column in self.columns]
        return replace(
            self, limit=limit.of_mass(lambda rng, n: dict(zip(names, self.sample(rng, n))))
        )

    def spread(self, table: Sequence[Array]) -> Array:
        """Return how much the flows of the pool differ in log p of every row, (N,).

        The standard deviation of log p_k about log p, with the flows' shares of the weights; NaN
        with fewer than two flows.
        """
        members, pool = self.parts(table)[1], self.pool
        if members is None or pool is None or len(pool.flows) < 2:
            return np.full(len(table[0]), np.nan)
        flows = pool.flows
        weights = np.array([pool.weights[k] for k in flows])
        if not np.sum(weights) > 0:
            return np.full(len(table[0]), np.nan)
        apart = members[:, flows] - pool.pooled(members)[:, None]
        return np.sqrt(np.square(np.nan_to_num(apart)) @ (weights / np.sum(weights)))

    def sample(self, rng: Generator, n: int) -> list[Array]:
        """Sample a list of columns' values, (n,) each, in the order of the columns.

        Raises
        ------
        ValueError
            If some columns are given: :mod:`nfref.tables.queries.missing_cells` samples the others.
        """
        if self.given:
            raise ValueError(
                f"given: expected values of {', '.join(map(repr, self.given))}, which "
                "the density is given, got none"
            )
        if self.limit is None:
            return self._sample(rng, n)
        return sample_where(
            lambda n: self._sample(rng, n),
            n,
            lambda table: np.isfinite(self._log_factor(table)),
            f"limit: expected rows with {self.limit}",
        )

    def _sample(self, rng, n):
        """Sample without a limited sum."""
        codes = np.zeros((n, 0))
        u, context = np.zeros((n, 0)), None
        if self.discrete is not None:
            codes = self.discrete.sample(rng, n)
            context = self.context(codes)
        if self.pool is not None:
            u = self.pool.sample(rng, n, context)
        return self.sampled(codes, u)

    def sampled(self, codes: Array, u: Array) -> list[Array]:
        """Return a list of columns' values, (n,) each, of sampled codes (n, J) and u (n, D)."""
        coded, pooled = self.places
        found = []
        for k, column in enumerate(self.columns):
            parts = [u[:, pooled.index(k)]] if k in pooled else []
            parts += [codes[:, coded.index(k)]] if k in coded else []
            found.append(column.sampled(*parts))
        return found

    def _check(self):
        require(
            all(isinstance(column, (Continuous, Category, Count)) for column in self.columns),
            "columns: expected columns, got others",
        )
        names = [column.name for column in self.columns]
        require(0 < len(names) == len(set(names)), "columns: expected names that differ")
        require(isinstance(self.given, tuple), "given: expected names, got others")
        check_given(self.given, names)
        kinds = self.coded_columns
        known = tuple(j for j, column in enumerate(kinds) if column.name in self.given)
        require(
            (self.discrete is not None) == (len(known) < len(kinds))
            and (self.discrete is None or self.discrete.describes(kinds, known)),
            "discrete: expected a part for each column that has codes, got others",
        )
        if kinds:
            check_floats("centre", self.centre, len(kinds))
            check_floats("scale", self.scale, len(kinds))
        require(
            np.all(self.scale > 0) if kinds else self.centre is self.scale is None,
            "scale: expected numbers above 0 where columns have codes",
        )
        pooled = [names[k] for k in self.places[1]]
        require(
            self.limit is None or not self.given and set(self.limit.names) <= set(pooled),
            "limit: expected a sum of continuous columns and no given ones, got others",
        )
        dim, width = (
            len(self.places[1]),
            sum(len(column.labels) if column.kind == "category" else 1 for column in kinds),
        )
        require(
            (self.pool is not None) == (dim > 0)
            and (
                self.pool is None or all(member.takes(dim, width) for member in self.pool.members)
            ),
            f"pool: expected members of {dim} columns given {width} numbers, got others",
        )


def places_of(columns: Sequence[Any], given: Sequence[str] = ()) -> tuple[list[int], list[int]]:
    """Return as :attr:`TableDensity.places` does."""
    real = [k for k, column in enumerate(columns) if isinstance(column, Continuous)]
    pooled = [k for k in real if columns[k].name not in given]
    return (
        [k for k in range(len(columns)) if k not in real]
        + [k for k in pooled if columns[k].atoms]
        + [k for k in real if k not in pooled],
        pooled,
    )


def coded_columns(columns: Sequence[Any], given: Sequence[str] = ()) -> tuple:
    """Return as :attr:`TableDensity.coded_columns` does."""
    coded, pooled = places_of(columns, given)
    return tuple(columns[k].codes if k in pooled else columns[k] for k in coded)


def encoded(
    columns: Sequence[Any], table: Sequence[Array], given: Sequence[str] = ()
) -> tuple[Array, Array, Array]:
    """Return as :meth:`TableDensity.encode` does."""
    return Encoder(columns, given)(table)


class Encoder:
    """Encodes tables with certain columns, see :meth:`TableDensity.encode`."""

    def __init__(self, columns: Sequence[Any], given: Sequence[str] = ()) -> None:
        self.columns, self.given = columns, given
        self.places = places_of(columns, given)
        self.alike = alike(columns, self.places[1])

    def __call__(self, table: Sequence[Array]) -> tuple[Array, Array, Array]:
        """Return as :meth:`TableDensity.encode` does."""
        rows, (coded, pooled) = len(table[0]), self.places
        total, codes, u = np.zeros(rows), {}, {}
        together = self._together(table) if rows <= FEW_ROWS else {}
        for k, (column, values) in enumerate(zip(self.columns, table)):
            if k in together:
                u[k], log_slope = together[k]
                total = total + log_slope
                continue
            if column.kind != "category":
                values = as_numbers(column.name, values)
            if not isinstance(column, Continuous):
                codes[k] = column.encode(values).astype(np.float64)
                bad = np.isnan(codes[k])
            else:
                u[k], log_slope = column.encode(values)
                bad = log_slope == -np.inf
                if k in pooled:
                    total = total + log_slope
                    codes[k] = column.code(values)
                else:
                    codes[k] = u[k]
            if column.name in self.given and np.any(bad):
                check_can_be_given(column, values)
        stacked = [
            np.stack([found[k] for k in some], axis=1) if some else np.zeros((rows, 0))
            for found, some in ((codes, coded), (u, pooled))
        ]
        return stacked[0], stacked[1], total

    def _together(self, table):
        """Return place -> (u, log-slope) of columns that are encoded by a call for each group.

        If one of them does not hold finite floats, this is none, and messages keep their order.
        """
        found: dict[int, tuple[Array, Array]] = {}
        for places, column in self.alike:
            some = [np.asarray(table[k]) for k in places]
            if any(values.dtype.kind != "f" for values in some):
                return {}
            x = np.array(some, np.float64)
            if not np.isfinite(x).all():
                return {}
            found.update(zip(places, zip(*column.encode(x))))
        return found


def spread_rows(
    columns: Sequence[Any],
    table: Sequence[Array],
    counts: Array,
    seed: int,
    given: Sequence[str] = (),
) -> tuple[Array, Array, list[Any]]:
    """Dequantise rounded values, with copies of a row apart.

    In a table with a column that is rounded or has atoms, a row that counts several times becomes
    as many rows, up to ``COPIES``, each at another point of its cell. Given columns stay as they
    are.

    Parameters
    ----------
    columns : sequence of Continuous, Category or Count
    table : sequence of (N,) arrays
        Rows in an order that their content decides: the place of a row decides its samples.
    counts : (N,) array
        How often each row occurs.
    seed : int
    given : sequence of str

    Returns
    -------
    row : (M,) array
        The row that each result is a copy of, ascending.
    counts : (M,) array
    table : list of (M,) arrays
    """
    own = _have_cells(columns, given)
    copies = np.ones(len(counts), np.int64)
    if any(own):
        copies = np.clip(np.ceil(counts), 1, COPIES).astype(np.int64)
    row = np.repeat(np.arange(len(counts)), copies)
    rng = np.random.default_rng([seed % 2**64, 3])
    cells = [
        column.spread(values[row], rng.random(len(row))) if spread else values[row]
        for column, values, spread in zip(columns, table, own)
    ]
    return row, (counts / copies)[row], cells


def cell_average(
    density: Any,
    table: Sequence[Array],
    log_prob: Callable[[Any], Array],
    scores: Array,
    cells: bool | None = None,
) -> Array:
    """Return scores (N,), some replaced by the log of the mean density over the row's cell.

    ``log_prob`` is averaged at ``POINTS`` fixed points of the cell: the result is the probability
    of the cell divided by its size. ``cells`` chooses all rows with positive density or none. With
    None these are rows without gaps whose cell is wide: over a narrow cell a density is level, and
    its middle says as much.
    """
    columns, (spread, _, _) = density.columns, density._cells
    some = np.isfinite(scores) & in_averaged_cells(density, table, cells)
    if not np.any(some):
        return scores
    # A Latin hypercube: each column once in the middle of each of its parts.
    ordered = np.tile(np.arange(POINTS), (len(columns), 1))
    parts = (np.random.default_rng(0).permuted(ordered, axis=1) + 0.5) / POINTS
    found = [
        log_prob(
            [
                column.spread(values[some], place) if own else values[some]
                for column, values, place, own in zip(columns, table, part, spread)
            ]
        )
        for part in parts.T
    ]
    scores = scores.copy()
    scores[some] = np.logaddexp.reduce(found, axis=0) - np.log(POINTS)
    return scores


def in_averaged_cells(density: Any, table: Sequence[Array], cells: bool | None = None) -> Array:
    """Return which rows :func:`cell_average` averages if their density is positive, (N,)."""
    spread, low, high = density._cells
    if cells is not None:
        return np.full(len(table[0]), cells and any(spread))
    wide = np.zeros(len(table[0]), bool)
    if not any(spread):
        return wide
    x = np.array(list(compress(table, spread)), np.float64)
    doubtful = ~((x > low) & (x < high))
    if not doubtful.any():
        return wide
    columns = list(compress(density.columns, spread))
    for k in np.flatnonzero(doubtful.any(axis=1)):
        column, here = columns[k], doubtful[k]
        values = x[k, here]
        ends = column.spread(np.tile(values, 2), np.repeat([0.0, 1.0], len(values)))
        one, other = np.split(column.encode(ends)[0], 2)
        wide[here] |= np.abs(other - one) > WIDE  # on a circle the ends may change sides
    return wide & ~with_gaps(table) if np.any(wide) else wide


def _have_cells(columns, given):
    """Return for each column whether its values are spread over cells."""
    return [
        isinstance(column, Continuous) and column.dequantised and column.name not in given
        for column in columns
    ]


def check_can_be_given(column: Any, values: Array, first: int = 0) -> None:
    """Check that a column can take its given values, NaN excepted.

    ``first`` is the number of the first row in messages. Labels are checked where they are encoded.
    """
    if column.kind == "category":
        return
    values = np.asarray(values, np.float64)
    if isinstance(column, Continuous):
        bad = column.encode(values)[1] == -np.inf
        expected = f"values strictly between {column.low:g} and {column.high:g}"
    else:
        bad = np.isnan(column.encode(values))
        expected = "whole numbers" + (
            f" of at least {column.low:g}" if np.isfinite(column.low) else ""
        )
    bad = np.flatnonzero(bad & ~np.isnan(values))
    if len(bad):
        raise ColumnError(
            column.name,
            f"expected {expected}, for the others are given it; got "
            f"{values[bad[0]]:g} in row {bad[0] + first}",
        )


def sample_within(
    draw: Callable[[int], list[Array]],
    n: int,
    columns: Sequence[Any],
    within: float,
    given: Sequence[str] = (),
) -> list[Array]:
    """Return the columns' values of n rows that are :func:`inside`.

    ``draw(n)`` samples rows; those outside are sampled again.
    """
    refusal = f"within: expected a range in which rows are drawn, got {within:g}"
    return sample_where(draw, n, lambda rows: inside(columns, rows, within, given), refusal)


def inside(
    columns: Sequence[Any], rows: Sequence[Array], within: float, given: Sequence[str] = ()
) -> Array:
    """Return which rows are ``within`` robust standard deviations of the medians, (N,).

    Columns whose support has both ends, and ``given`` ones, do not count.
    """
    good = np.ones(len(rows[0]), bool)
    for column, values in zip(columns, rows):
        if (
            isinstance(column, Continuous)
            and not np.isfinite(column.high - column.low)
            and column.name not in given
        ):
            limit = compress_tails(np.asarray(within), column.tail)[0]
            good &= np.abs(column.encode(np.asarray(values, float))[0]) <= limit
    return good


def features(columns: Sequence[Any], codes: Array, centre: Any, scale: Any) -> Array:
    """Return codes (N, J) as features for a network, (N, C)."""
    found = []
    for k, column in enumerate(columns):
        if isinstance(column, Continuous):
            found.append(codes[:, k, None])
        elif column.kind == "category":
            found.append(codes[:, k, None] == np.arange(len(column.labels)))
        else:
            found.append(np.clip((codes[:, k, None] - centre[k]) / scale[k], -5, 5))
    return np.concatenate(found, axis=1).astype(np.float64)


def check_given(given: Any, names: Sequence[str]) -> tuple[str, ...]:
    """Return the given columns in the order of the table; at least one other column must be left.

    Raises
    ------
    ValueError
        If one is not a column or comes twice, or if no column is left.
    """
    try:
        given = (given,) if isinstance(given, str) else () if given is None else tuple(given)
    except TypeError:
        raise TypeError(f"given: expected names of columns, got {shortened(given)}") from None
    for name in given:
        if name not in names:
            raise ValueError(
                f"given: expected columns among {quoted_names(names)}; got {shortened(name)}"
            )
        if given.count(name) > 1:
            raise ValueError(f"given: expected each column once, got {name!r} twice")
    if given and len(given) == len(names):
        raise ValueError(f"given: expected a column that is not given, got all {len(names)}")
    return tuple(name for name in names if name in given)
