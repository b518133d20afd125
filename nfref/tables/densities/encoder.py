"""The rows of a table as numbers: codes of discrete columns, and u of continuous ones.

Rounded values stand for cells: a fit dequantises them before it encodes them, and a score is the
mean over the cell.

:class:`~nfref.tables.densities.table_density.TableDensity` describes codes and u. Given columns
have codes too. :func:`features` turns codes into the context of a pool.
"""

from itertools import compress

import numpy as np

from nfref.runtime.annotations import Any, Array, Callable, Sequence
from nfref.tables.schema.columns import (
    WIDE,
    Category,
    Column,
    ColumnError,
    Continuous,
    Count,
    alike,
    as_numbers,
    with_gaps,
)

FEW_ROWS = 256  # up to which columns with the same kind of map are encoded together
POINTS = 16  # points of a cell at which a density is averaged
COPIES = 32  # most copies of a row that are dequantised separately


def places_of(columns: Sequence[Any], given: Sequence[str] = ()) -> tuple[list[int], list[int]]:
    """Return (places of the columns with codes, places of the columns of the pool)."""
    real = [k for k, column in enumerate(columns) if isinstance(column, Continuous)]
    pooled = [k for k in real if columns[k].name not in given]
    return (
        [k for k in range(len(columns)) if k not in real]
        + [k for k in pooled if columns[k].atoms]
        + [k for k in real if k not in pooled],
        pooled,
    )


def coded_columns(columns: Sequence[Any], given: Sequence[str] = ()) -> tuple:
    """Return the columns of the codes: discrete ones, those with atoms, then real given ones."""
    coded, pooled = places_of(columns, given)
    return tuple(columns[k].codes if k in pooled else columns[k] for k in coded)


class Encoder:
    """Encodes tables with certain columns.

    Parameters
    ----------
    columns : sequence of Continuous, Category or Count
    given : sequence of str
        Names of the given columns.
    """

    def __init__(self, columns: Sequence[Column], given: Sequence[str] = ()) -> None:
        self.columns, self.given = columns, given
        self.places = places_of(columns, given)
        self.alike = alike(columns, self.places[1])

    def __call__(self, table: Sequence[Array]) -> tuple[Array, Array, Array]:
        """Return (codes (N, J), u (N, D), log-slope (N,)) of a sequence of columns' values.

        The codes are those of :func:`coded_columns`, u the other columns in robust units.
        """
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

        It is empty if one of them does not hold finite floats: then :meth:`__call__` encodes column
        by column, and the message is about the first column with a fault.
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


def check_can_be_given(column: Column, values: Array, first: int = 0) -> None:
    """Check that a column can take its given values, NaN excepted.

    ``first`` is the number of the first row in messages. Labels are checked where they are encoded.
    """
    if isinstance(column, Category):
        return
    bad, expected = impossible(column, np.asarray(values, np.float64))
    if np.any(bad):
        k = np.argmax(bad)
        what = f"expected {expected}, for the others are given it"
        raise ColumnError(column.name, f"{what}; got {values[k]:g} in row {k + first}")


def impossible(column: Continuous | Count, values: Array) -> tuple[Array, str]:
    """Return which values a column cannot take, NaN excepted, and those that it can in words."""
    if isinstance(column, Continuous):
        bad = column.encode(values)[1] == -np.inf
        expected = f"values strictly between {column.low:g} and {column.high:g}"
    else:
        bad, expected = np.isnan(column.encode(values)), f"whole numbers{column.bounds}"
    return bad & ~np.isnan(values), expected


# Context ----------------------------------------------------------------------------------


def features(columns: Sequence[Column], codes: Array, centre: Any, scale: Any) -> Array:
    """Return codes (N, J) as features for a network, (N, C)."""
    found = []
    for k, column in enumerate(columns):
        if isinstance(column, Continuous):
            found.append(codes[:, k, None])
        elif isinstance(column, Category):
            found.append(codes[:, k, None] == np.arange(len(column.labels)))
        else:
            found.append(np.clip((codes[:, k, None] - centre[k]) / scale[k], -5, 5))
    return np.concatenate(found, axis=1).astype(np.float64)


def feature_count(columns: Sequence[Column]) -> int:
    """Return C, the number of :func:`features` of the columns."""
    return sum(len(column.labels) if isinstance(column, Category) else 1 for column in columns)


# Cells of rounded values ------------------------------------------------------------------


def _have_cells(columns, given):
    """Return for each column whether its values are spread over cells."""
    return [
        isinstance(column, Continuous) and column.dequantised and column.name not in given
        for column in columns
    ]


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


class RoundedCells:
    """The cells around the values of rows.

    Parameters
    ----------
    columns : sequence of Continuous, Category or Count
    given : sequence of str
        Names of the given columns, whose values stay as they are.

    Attributes
    ----------
    have : list of bool
        Whether each column has cells.
    low, high : (C, 1) arrays
        The ends of :attr:`Continuous.level` of the columns that have cells.
    """

    def __init__(self, columns: Sequence[Any], given: Sequence[str]) -> None:
        self.columns, self.have = columns, _have_cells(columns, given)
        ends = [column.level for column in compress(columns, self.have)]
        self.low, self.high = np.array(ends).reshape(-1, 2).T[:, :, None]

    def average(
        self,
        table: Sequence[Array],
        log_prob: Callable[[Any], Array],
        scores: Array,
        cells: bool | None = None,
    ) -> Array:
        """Return scores (N,), some replaced by the log of the mean density over the row's cell.

        ``log_prob`` is averaged at ``POINTS`` fixed points of the cell: the result is the
        probability of the cell divided by its size. Rows with density 0 keep their score; ``cells``
        chooses among the others as in :meth:`averaged`.
        """
        some = np.isfinite(scores) & self.averaged(table, cells)
        if not np.any(some):
            return scores
        # A Latin hypercube: each column once in the middle of each of its parts.
        ordered = np.tile(np.arange(POINTS), (len(self.columns), 1))
        parts = (np.random.default_rng(0).permuted(ordered, axis=1) + 0.5) / POINTS
        found = [
            log_prob(
                [
                    column.spread(values[some], place) if own else values[some]
                    for column, values, place, own in zip(self.columns, table, part, self.have)
                ]
            )
            for part in parts.T
        ]
        scores = scores.copy()
        scores[some] = np.logaddexp.reduce(found, axis=0) - np.log(POINTS)
        return scores

    def averaged(self, table: Sequence[Array], cells: bool | None = None) -> Array:
        """Return which rows :meth:`average` averages if their density is positive, (N,).

        ``cells`` chooses all rows or none. With None these are rows without gaps whose cell is
        wide: over a narrow cell a density is level, and its middle says as much.
        """
        rows = len(table[0])
        if cells is not None:
            return np.full(rows, cells and any(self.have))
        wide = np.zeros(rows, bool)
        if not any(self.have):
            return wide
        x = np.array(list(compress(table, self.have)), np.float64)
        doubtful = ~((x > self.low) & (x < self.high))
        if not doubtful.any():
            return wide
        columns = list(compress(self.columns, self.have))
        for k in np.flatnonzero(doubtful.any(axis=1)):
            column, here = columns[k], doubtful[k]
            values = x[k, here]
            ends = column.spread(np.tile(values, 2), np.repeat([0.0, 1.0], len(values)))
            one, other = np.split(column.encode(ends)[0], 2)
            wide[here] |= np.abs(other - one) > WIDE  # on a circle the ends may change sides
        return wide & ~with_gaps(table) if np.any(wide) else wide
