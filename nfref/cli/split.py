"""Keep a tenth of the rows to test by."""

from dataclasses import dataclass

import numpy as np

from nfref.runtime.annotations import Array, Places, Sequence
from nfref.tables.fitting.folds import held_out_copies, point_mass_rows
from nfref.tables.schema.columns import Column
from nfref.tables.schema.distinct_rows import as_counts, distinct_rows

LEAST_ROWS = 5


@dataclass(frozen=True)
class Part:
    """Rows of a table: the columns' values, and the weight (N,) of each row."""

    table: list
    weight: np.ndarray

    def at(self, places: Places) -> "Part":
        """Return the rows at these places."""
        return Part([values[places] for values in self.table], self.weight[places])

    def __len__(self) -> int:
        return len(self.weight)


@dataclass(frozen=True)
class Split:
    """Distinct rows, the first of which are kept to test by.

    All copies of a row are in the same part, with two exceptions, where copies say how likely the
    row is: tables of discrete columns alone, and
    :func:`~nfref.tables.fitting.folds.point_mass_rows`.

    Parameters
    ----------
    places : (M,) array
        Rows of the table.
    weight : (M,) array
        Their weights.
    tests : int
        How many of them are kept to test by.
    of_copies : bool
        True if copies of a row are in both parts.
    """

    places: np.ndarray
    weight: np.ndarray
    tests: int
    of_copies: bool = False

    @classmethod
    def of(cls, values: Array, weight: Array | None, seed: int) -> "Split":
        """Split rows (N, D); rows of weight 0 are left out.

        Without weights a row counts as often as it occurs.
        """
        used = np.arange(len(values)) if weight is None else np.flatnonzero(weight > 0)
        places, counts = distinct_rows(
            values[used], None if weight is None else as_counts(weight[used]), seed
        )
        if len(places) < LEAST_ROWS:
            raise ValueError(f"expected at least {LEAST_ROWS} distinct rows, got {len(places)}")
        return cls(used[places], counts, max(1, round(len(places) / 10)))

    def for_columns(
        self, columns: Sequence[Column], table: Sequence[Array], given: Sequence[str], seed: int
    ) -> "Split":
        """Return the split of a table, with copies of a row in both parts where they have to be."""
        held = held_out_copies(columns, self.weight, 0.1, seed + 1)
        if held is None:
            both = point_mass_rows(
                columns, [values[self.places] for values in table], self.weight, given
            )
            if not np.any(both):
                return self
            held = np.where(np.arange(len(both)) < self.tests, self.weight, 0)
            held[both] = np.round(self.weight[both] / 10)
        test, train = held > 0, self.weight > held
        places = np.concatenate([self.places[test], self.places[train]])
        weight = np.concatenate([held[test], (self.weight - held)[train]])
        return Split(places, weight, int(np.sum(test)), True)

    def test(self, table: Sequence[Array]) -> Part:
        """Return the :class:`Part` of a table to test by."""
        return self._part(table, slice(self.tests))

    def train(self, table: Sequence[Array]) -> Part:
        """Return the :class:`Part` of a table to fit."""
        return self._part(table, slice(self.tests, None))

    def _part(self, table, part):
        return Part([values[self.places[part]] for values in table], self.weight[part])

    def __str__(self):
        if self.of_copies:
            distinct = len(np.unique(self.places))
            return (
                f"{distinct:,} distinct rows, and {np.sum(self.weight[: self.tests]):,.0f} copies "
                "kept for the test"
            )
        return f"{len(self.places):,} distinct rows, {self.tests:,} of them kept for the test"
