"""Rounded values stand for cells: dequantised in a fit, averaged over in a score."""

from itertools import compress

import numpy as np

from nfref.runtime.annotations import Any, Array, Callable, Sequence
from nfref.tables.schema.columns import WIDE, Continuous, with_gaps

POINTS = 16  # points of a cell at which a density is averaged
COPIES = 32  # most copies of a row that are dequantised separately


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
