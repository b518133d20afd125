"""Measures of how odd a row is, as plain data that a model file can hold."""

import math
from dataclasses import dataclass

import numpy as np

from nfref.runtime.annotations import Array, Sequence
from nfref.runtime.checks import check_floats, require
from nfref.runtime.configuration import Configuration
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.queries import answers
from nfref.tables.schema.columns import Column, Continuous, is_missing
from nfref.tables.schema.distinct_rows import distinct_rows, grouped_rows

REFERENCE_ROWS = 2000  # most rows that distances are measured to; their quantiles need no more
FEWEST_NEIGHBOURS = 10  # rows within the distance, if that is less than half of all
ROWS_AT_ONCE = 1000  # rows whose distances are held at once, 16 MB


@dataclass(frozen=True)
class FittedRows(Configuration):
    """Out-of-fold measures of the rows that a density was fitted to.

    Parameters
    ----------
    keys : (N,) array of int64
        Fingerprints of the rows, ascending.
    measures : (N, M) array
    """

    keys: np.ndarray
    measures: np.ndarray

    @classmethod
    def of(cls, keys: Array, *measures: Array) -> "FittedRows":
        """Store measures (N,) of rows in any order, one row for each set of copies."""
        keys, first = np.unique(keys.view(np.int64), return_index=True)
        return cls(keys, np.stack(measures, axis=1)[first])

    def update(self, keys: Array, measure: int, values: Array) -> Array:
        """Return values (N,) with the stored ones in place of those of rows that were fitted to."""
        if not len(self.keys):
            return values
        keys = keys.view(np.int64)
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[place] == keys, self.measures[place, measure], values)

    def _check(self):
        require(
            self.keys.ndim == 1 and self.keys.dtype == np.int64 and np.all(np.diff(self.keys) > 0),
            "keys: expected whole numbers in ascending order",
        )
        require(
            self.measures.ndim == 2 and len(self.measures) == len(self.keys),
            "measures: expected those of each key",
        )


@dataclass(frozen=True)
class ColumnTail(Configuration):
    """log min(1, 2 P(X <= x), 2 P(X >= x)) of a column among some rows and the row itself.

    For a category this is the log of the share of labels that are no more frequent.

    Parameters
    ----------
    seen : (L,) array
        Values, or codes of labels, ascending.
    at_most : (L + 1,) or (L,) array
        Rows up to each of them, and the row itself; of a category, the share.
    at_least : (L + 1,) array or None
        Rows from each of them on, and the row itself; None for a category.
    """

    seen: np.ndarray
    at_most: np.ndarray
    at_least: np.ndarray | None

    @classmethod
    def of(cls, column: Column, values: Array, weight: Array | None) -> "ColumnTail":
        """Count the values of a column (N,), each as often as its weight says."""
        weight = np.ones(len(values)) if weight is None else weight
        here = ~is_missing(values)
        seen, which = np.unique(_numbers(column, values[here]), return_inverse=True)
        mass = np.bincount(which, weight[here], len(seen))
        if column.kind == "category":
            order = np.argsort(mass, kind="stable")
            share = np.empty(len(mass))
            # Labels of the same frequency are equally far out.
            last = np.searchsorted(mass[order], mass[order], side="right") - 1
            share[order] = np.cumsum(mass[order])[last]
            return cls(seen, (share + 1) / (np.sum(mass) + 1), None)
        below = np.append(0, np.cumsum(mass))
        return cls(seen, below + 1, below[-1] - below + 1)

    def log_prob(self, column: Column, values: Array) -> Array:
        """Return the tail, (N,); 0 for missing cells."""
        found, here = np.zeros(len(values)), ~is_missing(values)
        values = _numbers(column, values[here])
        if self.at_least is None:
            place = np.minimum(np.searchsorted(self.seen, values), len(self.seen) - 1)
            share, rarer = self.at_most[place], np.min(self.at_most) / 2
            found[here] = np.log(np.where(self.seen[place] == values, share, rarer))
            return found
        total = self.at_least[0]
        low = self.at_most[np.searchsorted(self.seen, values, side="right")] / total
        high = self.at_least[np.searchsorted(self.seen, values, side="left")] / total
        found[here] = np.log(np.minimum(1, 2 * np.minimum(low, high)))
        return found

    def _check(self):
        check_floats("seen", self.seen, None)
        require(len(self.seen) > 0, "seen: expected a value, got none")
        counts = len(self.seen) + (self.at_least is not None)
        check_floats("at_most", self.at_most, counts)
        if self.at_least is not None:
            check_floats("at_least", self.at_least, counts)


def _numbers(column, values):
    values = column.encode(values) if column.kind == "category" else values
    return np.asarray(values, dtype=np.float64)


def tails_of(
    columns: Sequence[Column], table: Sequence[Array], weight: Array | None, given: Sequence[str]
) -> tuple:
    """Return the ColumnTail of every column; None for a given column, and for one of gaps alone."""
    return tuple(
        None
        if column.name in given or np.all(is_missing(values))
        else ColumnTail.of(column, values, weight)
        for column, values in zip(columns, table)
    )


def medians_of_known(columns: Array, counts: Array, empty: float) -> Array:
    """Return the weighted median of the known cells of each column (D, N), or ``empty``."""
    known = zip(columns, ~np.isnan(columns))
    return np.array(
        [
            quantile_of_copies(values[here], counts[here], 0.5) if np.any(here) else empty
            for values, here in known
        ]
    )


def log_tails(
    columns: Sequence[Column], tails: Sequence[ColumnTail], table: Sequence[Array]
) -> Array:
    """Return the sum over columns of the log of how far out the cells of a row are, (N,)."""
    every = zip(columns, tails, table)
    found = (tail.log_prob(column, values) for column, tail, values in every if tail is not None)
    return sum(found, np.zeros(len(table[0])))


@dataclass(frozen=True)
class Neighbours(Configuration):
    """The distance within which the nearest rows hold a share of all rows.

    A group that holds less than this share is far from its neighbours, however tight it is.

    Parameters
    ----------
    rows : (M, F) array
        Numbers in robust units and labels one-hot, divided by ``scale``.
    weight : (M,) array
    middle, scale : (F,) array
        A missing cell counts as the middle.
    share : float
    """

    rows: np.ndarray
    weight: np.ndarray
    middle: np.ndarray
    scale: np.ndarray
    share: float

    @classmethod
    def of(
        cls,
        columns: Sequence[Column],
        table: Sequence[Array],
        weight: Array | None,
        given: Sequence[str],
        share: float,
    ) -> "Neighbours":
        """Take up to ``REFERENCE_ROWS`` distinct rows; their content decides which."""
        rows = _coordinates(columns, table, given)
        places, counts = distinct_rows(np.nan_to_num(rows), weight, 0)
        rows = rows[places]
        there = ~np.isnan(rows)
        middle = medians_of_known(rows.T, counts, 0.0)
        rows = np.where(there, rows, middle)
        scale = np.sqrt(np.average((rows - middle) ** 2, axis=0, weights=counts))
        scale = np.where(scale > 0, scale, 1.0)
        rows, counts = rows[:REFERENCE_ROWS], counts[:REFERENCE_ROWS]
        share = max(share, min(FEWEST_NEIGHBOURS / np.sum(counts), 0.5))
        return cls(rows / scale, counts, middle, scale, float(share))

    def nearness(
        self, columns: Sequence[Column], table: Sequence[Array], given: Sequence[str]
    ) -> Array:
        """Return minus the distance from each row to the last of its neighbours, (N,)."""
        rows = _coordinates(columns, table, given)
        rows = np.where(np.isnan(rows), self.middle, rows) / self.scale
        if not rows.shape[1]:
            return np.zeros(len(rows))
        starts = range(0, len(rows), ROWS_AT_ONCE)
        found = [self._distance(rows[at : at + ROWS_AT_ONCE]) for at in starts]
        return -np.concatenate(found or [np.zeros(0)])

    def _distance(self, rows):
        from scipy.spatial.distance import cdist

        distance = cdist(rows, self.rows)
        total = self.share * np.sum(self.weight)
        if np.all(self.weight == self.weight[0]):
            last = min(math.ceil(total / self.weight[0]), len(self.weight)) - 1
            return np.partition(distance, last, axis=1)[:, last]
        order = np.argsort(distance, axis=1, kind="stable")
        last = np.argmax(np.cumsum(self.weight[order], axis=1) >= total, axis=1)
        here = np.arange(len(rows))
        return distance[here, order[here, last]]

    def _check(self):
        check_floats("rows", self.rows, None, None)
        for name, size in (("weight", 0), ("middle", 1), ("scale", 1)):
            check_floats(name, getattr(self, name), self.rows.shape[size])
        require(
            len(self.rows) > 0 and np.all(self.weight > 0) and np.all(self.scale > 0),
            "rows: expected some, of weights and scales above 0",
        )
        require(0 < self.share <= 0.5, f"share: expected a number in (0, 0.5], got {self.share}")


def some_distinct_rows(
    columns: Sequence[Column], table: Sequence[Array], given: Sequence[str], most: int
) -> Array:
    """Return the places of ``most`` distinct rows with their copies; their content decides."""
    rows = np.nan_to_num(_coordinates(columns, table, given))
    return np.flatnonzero(grouped_rows(rows, 0)[1] < most)


def _coordinates(columns, table, given):
    """Return rows (N, F): numbers in robust units, labels one-hot, NaN for missing cells."""
    found = [np.zeros((len(table[0]), 0))]
    for column, values in zip(columns, table):
        if column.name in given:
            continue
        here = ~is_missing(values)
        width = len(column.labels) if column.kind == "category" else 1
        rows = np.full((len(values), width), np.nan)
        code = column.encode(values[here])
        if column.kind == "category":
            rows[here] = code[:, None] == np.arange(width)
        else:
            rows[here, 0] = code[0] if isinstance(column, Continuous) else code
        found.append(rows)
    return np.concatenate(found, axis=1)


def shortfall(measures: Sequence[Array], usual: Sequence[Array]) -> Array:
    """Return sum_m min(x_m - middle_m, 0) / spread_m, (N,), of measures (N,)."""
    return sum(
        np.minimum(measure - middle, 0) / spread
        for measure, (middle, spread) in zip(measures, usual)
    )


def usual_of(measure: Array, weight: Array | None) -> tuple[float, float]:
    """Return (median, its distance to the lower quartile) of a measure; 1 for a distance 0."""
    if not len(measure):
        return 0.0, 1.0
    middle = quantile_of_copies(measure, weight, 0.5)
    return middle, middle - quantile_of_copies(measure, weight, 0.25) or 1.0


def quantile_of_copies(values: Array, weight: Array | None, share: float) -> float:
    """Return NumPy's quantile of values, each repeated as often as its weight says."""
    if weight is None:
        return float(np.quantile(values, share))
    order = np.argsort(values, kind="stable")
    values, ends = values[order], np.cumsum(weight[order])
    place = share * (ends[-1] - 1)
    low = np.searchsorted(ends, np.floor(place), side="right")
    high = np.searchsorted(ends, np.floor(place) + 1, side="right")
    low, high = values[min(low, len(values) - 1)], values[min(high, len(values) - 1)]
    return float(low + (place - np.floor(place)) * (high - low))


@dataclass(frozen=True)
class OutlierMeasures(Configuration):
    """All that an outlier detector knows about its training rows, besides their density.

    Parameters
    ----------
    margins : tuple
        For each column its TableDensity, or None.
    tails : tuple
        For each column its ColumnTail, or None.
    fitted : FittedRows
        The log-likelihood of rows, and the sum of those of their columns.
    neighbours : Neighbours
    usual : (4, 2) array
        Median and spread of density, agreement, tails and nearness.
    examples : tuple
        For each column an array of numbers, or labels and None.
    example_weight : (E,) array
    """

    margins: tuple
    tails: tuple
    fitted: FittedRows
    neighbours: Neighbours
    usual: np.ndarray
    examples: tuple
    example_weight: np.ndarray

    def log_margins(self, table: Sequence[Array]) -> Array:
        """Return sum_j log p_j, (N,), of the known cells."""
        found = (
            answers.log_marginal(margin, [values]).log_prob
            for margin, values in zip(self.margins, table)
            if margin is not None
        )
        return sum(found, np.zeros(len(table[0])))

    @property
    def example_table(self) -> list[Array]:
        """The columns' values of the examples."""
        return [
            np.array([*values, None], object)[:-1] if isinstance(values, tuple) else values
            for values in self.examples
        ]

    def _check(self):
        dim = len(self.margins)
        for names, kind in ((self.margins, TableDensity), (self.tails, ColumnTail)):
            require(
                len(names) == dim and all(one is None or isinstance(one, kind) for one in names),
                f"expected a {kind.__name__} or null for each column",
            )
        require(
            isinstance(self.fitted, FittedRows) and self.fitted.measures.shape[1] == 2,
            "fitted: expected FittedRows with two measures",
        )
        require(isinstance(self.neighbours, Neighbours), "neighbours: expected Neighbours")
        check_floats("usual", self.usual, 4, 2)
        check_floats("example_weight", self.example_weight, None)
        rows = len(self.example_weight)
        require(
            len(self.examples) == dim and all(len(values) == rows for values in self.examples),
            f"examples: expected {rows} values of each column",
        )
