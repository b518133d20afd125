"""Values that the user gives for columns, by name: checked, as a table of one row."""

import numpy as np

from nfref.runtime.annotations import Any, Array, Iterable, Mapping, Sequence
from nfref.runtime.checks import shortened
from nfref.tables.densities.encoder import check_can_be_given, impossible
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.schema.columns import (
    Column,
    ColumnError,
    as_numbers,
    is_missing,
    missing_cells_of,
    plain,
    with_gaps,
)
from nfref.tables.schema.dataframes import label_of


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
    bad, expected = impossible(column, np.array([number]))
    if bad[0]:
        raise ValueError(f"{name}: expected {expected}, got {number:g}")
    return np.array([number])


def check_has_no_gap(column: Column, missing: Array, first: int = 0) -> None:
    """Check that a given column lacks no cell, (N,); messages count rows from ``first``."""
    if np.any(missing):
        what = "expected a value in every row, for the others are given it; got none in row "
        raise ColumnError(column.name, f"{what}{np.argmax(missing) + first}")


def check_known_cells(density: TableDensity, table: Sequence[Array], first: int = 0) -> None:
    """Check that columns hold numbers or labels, and can take the known values of rows with gaps.

    Gaps are sampled given these, and no density is given an impossible value. ``first`` is the
    number of the first row in messages.
    """
    gaps = with_gaps(table)
    for column, values in zip(density.columns, table):
        if column.kind != "category":
            missing = is_missing(values)
            numbers = as_numbers(column.name, np.where(missing, 0, values), first)
            check_can_be_given(column, np.where(gaps & ~missing, numbers, np.nan), first)
