"""A table, and checks of tables."""

import csv
import itertools
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from nfref.runtime.annotations import Any, Array, Callable, Iterable, PathLike, Sequence
from nfref.runtime.batching import BLOCK
from nfref.runtime.checks import plural, shortened

CELLS = 1 << 20  # numbers in a batch: 8 MB


class TableError(ValueError):
    """A table that cannot be used; the message is one line.

    Attributes
    ----------
    column : str
        The name of the column that it is about; empty if it is about none.
    not_numbers : bool
        True if the column holds anything but numbers.
    """

    def __init__(self, message: str, column: str = "", not_numbers: bool = False) -> None:
        super().__init__(message, column, not_numbers)
        self.column, self.not_numbers = column, not_numbers

    def __str__(self):
        return self.args[0]


@dataclass(frozen=True)
class Table:
    """Rows of numbers with named columns.

    Parameters
    ----------
    values : (N, D) array
    columns : sequence of str, length D
    named : bool
        True if the file gave the names; otherwise they are x1 ... xD.
    remark : str
        The reading of a text file's first line, in words; empty if that is plain.
    doubtful : bool
        True if the remark is about a guess.
    labels : dict
        Columns that hold text: name -> the texts; ``values`` hold their places.
    whole : tuple of str
        Columns whose values are all whole numbers.
    padded : tuple of str
        Columns of a text file whose first rows have zeros in front, as codes have: 00501.
    refused : dict
        Columns that hold neither numbers nor labels, such as dates and 12%: name -> (place of the
        first bad cell, what is wrong with it, whether it is a spoilt number). Found only if
        ``...`` asks for labels; bad cells count as empty.
    """

    values: np.ndarray
    columns: Sequence[str]
    named: bool = True
    remark: str = ""
    doubtful: bool = False
    labels: dict = field(default_factory=dict)
    whole: tuple = ()
    padded: tuple = ()
    refused: dict = field(default_factory=dict)

    def __post_init__(self):
        object.__setattr__(self, "columns", tuple(self.columns))
        if self.values.ndim != 2 or self.values.shape[1] != len(self.columns):
            raise TableError(
                f"Table: expected values of shape (N, {len(self.columns)}) for "
                f"{len(self.columns)} columns, got {self.values.shape}"
            )

    def cells(self) -> list[Array]:
        """Return the values of every column as in the file: numbers, or text.

        Empty cells are NaN, or None among text.
        """
        cells = dict(zip(self.columns, self.values.T))
        for name, texts in self.labels.items():
            places = np.nan_to_num(cells[name], nan=len(texts)).astype(np.int64)
            cells[name] = np.array([*texts, None], object)[places]
        return list(cells.values())


def pyarrow_for(path: PathLike, task: str) -> Any:
    """Return pyarrow, or raise an error that names the ``task`` that needs it."""
    try:
        import pyarrow
    except ImportError:
        raise TableError(
            f"{os.fspath(path)}: {task} .parquet needs pyarrow, which is not installed (pip "
            "install pyarrow)"
        ) from None
    return pyarrow


# (columns, named) -> the names of the columns of a file that are read.
Keep: TypeAlias = Callable[[Sequence[str], bool], Sequence[str]]

# Names of columns whose cells are text, or a function like Keep that gives them. ``...`` stands for
# columns in whose first rows no cell begins like a number.
Texts: TypeAlias = Sequence[Any] | Keep

# (columns, named, whether a column looks like text) -> the columns that are read; name -> {text:
# place} of those that hold text; and whether faults of others are told in ``Table.refused``.
Choose: TypeAlias = Callable[[tuple[str, ...], bool, Callable[[str], bool]], tuple]


def batch_rows(columns: int) -> int:
    """Return the rows of a batch: whole blocks, so that batches do not cut a block in two."""
    return BLOCK * min(16, max(1, CELLS // (BLOCK * columns)))


def numbered_columns(dim: int) -> tuple[str, ...]:
    """Return the names of columns without names: x1 ... xD."""
    return tuple(f"x{k + 1}" for k in range(dim))


def check_name(where: str, name: str) -> None:
    """Check that a csv header and a model file return this name unchanged."""
    longest = csv.field_size_limit()
    try:
        fine = name == name.strip() != "" and b"\0" not in name.encode() and len(name) <= longest
    except UnicodeEncodeError:
        fine = False
    if not fine:
        raise TableError(
            f"{where}: expected names that text can hold, not blank, without blanks around them, "
            f"of at most {longest:,} characters, got {shortened(name)}"
        )


def named_columns(path: str, cells: Sequence[str]) -> tuple[str, ...]:
    """Return different names; a blank one is named by its place."""
    names = tuple(cell.strip() or f"x{k + 1}" for k, cell in enumerate(cells))
    for name in names:
        check_name(path, name)
    for name, times in Counter(names).items():
        if times > 1:
            raise TableError(
                f"{path}: expected columns of different names, got {name!r} {times} times"
            )
    return names


def quoted_names(names: Sequence[str], most: int = 12) -> str:
    """Return names in quotes for a message, the first ones and the last."""
    shown = ", ".join(shortened(name, 40) for name in itertools.islice(names, most))
    if len(shown) > 240:
        shown = shown[:237] + "..."
    return shown + (f", ... {shortened(names[-1], 40)}" if len(names) > most else "")


# Numbers ----------------------------------------------------------------------------------


def as_number(cell: str) -> float:
    """Convert a cell as ``float`` does, which reads 12_34 as 1234; this raises its ValueError."""
    return float(cell if "_" not in cell else "")


def is_number(cell: str, number: Callable[[str], float] = as_number) -> bool:
    """Return whether ``number`` converts a cell."""
    try:
        number(cell)
    except ValueError:
        return False
    return True


def are_whole(values: Array) -> Array:
    """Return which columns hold only whole numbers and NaN, (D,)."""
    return np.all((values == np.round(values)) | np.isnan(values), axis=0)


def coded(texts: Iterable[str], places: dict[str, int]) -> Array:
    """Return the places of texts, (N,), NaN for a blank one; ``places`` grows by new ones."""
    stripped = map(str.strip, texts)
    return np.array([places.setdefault(text, len(places)) if text else np.nan for text in stripped])


# Checking ---------------------------------------------------------------------------------


def check_finite(name: str, table: Table, first: int = 0, may_be_empty: bool = False) -> None:
    """Check that every number of a table is finite; ``first`` rows come before these.

    With ``may_be_empty`` numbers may be NaN, for an empty cell.
    """
    bad = np.isinf(table.values) if may_be_empty else ~np.isfinite(table.values)
    if np.any(bad):
        row, k = np.argwhere(bad)[0]
        came, column = table.values[row, k], table.columns[k]
        where = f"in row {first + row + 1}, column {column!r}"
        raise TableError(f"{name}: expected finite numbers, got {came} {where}", column)


def match_columns(
    name: str, table: Table, columns: Sequence[str], named: bool = True, whose: str = "the model's"
) -> Array:
    """Return the values of a table in the order of a model's columns.

    If both the file and the model have names, names decide: the same names in another order are
    rearranged, other names are an error. If one has none (an .npy file, a csv without header),
    columns are taken by position.

    Parameters
    ----------
    name : str
        The name of the table in messages.
    table : Table
    columns : sequence of str
        The model's columns.
    named : bool
        True if the model's columns have names of their own.
    whose : str
        The owner of the columns in messages, if it is not a model.

    Returns
    -------
    (N, D) array
    """
    return table.values[:, matched_places(name, table, columns, named, whose)]


def matched_places(
    name: str, table: Table, columns: Sequence[str], named: bool = True, whose: str = "the model's"
) -> list[int]:
    """Return the place in a table of each of a model's columns; see :func:`match_columns`."""
    if not (table.named and named) and len(table.columns) == len(columns):
        return [*range(len(columns))]
    given, expected = set(table.columns), set(columns)
    missing = [column for column in columns if column not in given]
    extra = [column for column in table.columns if column not in expected]
    if missing or len(table.columns) != len(columns):
        differ = (
            (word, names) for word, names in (("missing", missing), ("extra", extra)) if names
        )
        told = "; ".join(f"{word}: {quoted_names(names)}" for word, names in differ)
        raise TableError(
            f"{name}: expected {whose} {len(columns)} {plural('column', len(columns))} "
            f"{quoted_names(columns)}, got {len(table.columns)}: {quoted_names(table.columns)}"
            + f" ({told})"
            * (table.named and named)
        )
    place = {column: k for k, column in enumerate(table.columns)}
    return [place[column] for column in columns]
