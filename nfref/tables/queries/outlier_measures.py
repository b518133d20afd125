"""Measures of how odd a row is, as plain data that a model file can hold."""

from dataclasses import dataclass

import numpy as np

from nfref.runtime.annotations import Any, Array, Sequence
from nfref.runtime.checks import check_floats, require
from nfref.runtime.configuration import Configuration
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.queries import missing_cells
from nfref.tables.schema.columns import is_missing


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
    at_least: Any

    @classmethod
    def of(cls, column: Any, values: Array, weight: Array | None) -> "ColumnTail":
        """Count the values of a column (N,), each as often as its weight says."""
        weight = np.ones(len(values)) if weight is None else weight
        here = ~is_missing(values)
        seen, which = np.unique(_numbers(column, values[here]), return_inverse=True)
        mass = np.bincount(which, weight[here], len(seen))
        if column.kind == "category":
            order = np.argsort(mass, kind="stable")
            share = np.empty(len(mass))
            # Labels of the same frequency are equally far out.
            share[order] = np.cumsum(mass[order])[
                np.searchsorted(mass[order], mass[order], side="right") - 1
            ]
            return cls(seen, (share + 1) / (np.sum(mass) + 1), None)
        below = np.append(0, np.cumsum(mass))
        return cls(seen, below + 1, below[-1] - below + 1)

    def log_prob(self, column: Any, values: Array) -> Array:
        """Return the tail, (N,); 0 for missing cells."""
        found, here = np.zeros(len(values)), ~is_missing(values)
        values = _numbers(column, values[here])
        if self.at_least is None:
            place = np.minimum(np.searchsorted(self.seen, values), len(self.seen) - 1)
            found[here] = np.log(
                np.where(self.seen[place] == values, self.at_most[place], np.min(self.at_most) / 2)
            )
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
    return np.asarray(
        column.encode(values) if column.kind == "category" else values, dtype=np.float64
    )


def tails_of(
    columns: Sequence[Any], table: Sequence[Array], weight: Array | None, given: Sequence[str]
) -> tuple:
    """Return the ColumnTail of every column; None for a given column, and for one of gaps alone."""
    return tuple(
        None
        if column.name in given or np.all(is_missing(values))
        else ColumnTail.of(column, values, weight)
        for column, values in zip(columns, table)
    )


def log_tails(columns: Sequence[Any], tails: Sequence[Any], table: Sequence[Array]) -> Array:
    """Return the sum over columns of the log of how far out the cells of a row are, (N,)."""
    return sum(
        (
            tail.log_prob(column, values)
            for column, tail, values in zip(columns, tails, table)
            if tail is not None
        ),
        np.zeros(len(table[0])),
    )


def shortfall(measures: Sequence[Array], usual: Any) -> Array:
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
    usual : (3, 2) array
        Median and spread of density, agreement and tails.
    examples : tuple
        For each column an array of numbers, or labels and None.
    example_weight : (E,) array
    """

    margins: tuple
    tails: tuple
    fitted: FittedRows
    usual: np.ndarray
    examples: tuple
    example_weight: np.ndarray

    def log_margins(self, table: Sequence[Array]) -> Array:
        """Return sum_j log p_j, (N,), of the known cells."""
        return sum(
            (
                missing_cells.log_marginal(margin, [values]).log_prob
                for margin, values in zip(self.margins, table)
                if margin is not None
            ),
            np.zeros(len(table[0])),
        )

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
        check_floats("usual", self.usual, 3, 2)
        check_floats("example_weight", self.example_weight, None)
        rows = len(self.example_weight)
        require(
            len(self.examples) == dim and all(len(values) == rows for values in self.examples),
            f"examples: expected {rows} values of each column",
        )
