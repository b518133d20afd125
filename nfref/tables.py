"""Tables of numbers: reading them from files, checking them, writing them.

A table is an (N, D) array with D column names. It is read from .csv, .tsv and .txt (text),
.npy and .npz (NumPy), and .parquet (where pyarrow is installed). Whatever is wrong with a
file is a :class:`TableError` of one line: the file, what was expected, what came, and where.
Rows are counted from 1, the header not included; lines are lines of the file.
"""

import csv
import io
import itertools
import os
from dataclasses import dataclass

import numpy as np

from nfref.files import replacing


class TableError(ValueError):
    """A table that cannot be used; the message is one line."""


@dataclass(frozen=True)
class Table:
    """Rows of numbers with named columns.

    Parameters
    ----------
    values : (N, D) array
    columns : sequence of str, length D
    named : bool
        Whether the file gave the names; if not they are x1 ... xD.
    """

    values: np.ndarray
    columns: tuple
    named: bool = True

    def __post_init__(self):
        object.__setattr__(self, "columns", tuple(self.columns))
        if self.values.ndim != 2 or self.values.shape[1] != len(self.columns):
            raise TableError(f"Table: expected values of shape (N, {len(self.columns)}) for "
                             f"{len(self.columns)} columns, got {self.values.shape}")


def numbered_columns(dim):
    """The names of columns that have none: x1 ... xD."""
    return tuple(f"x{k + 1}" for k in range(dim))


# Reading ----------------------------------------------------------------------------------


def read_table(path):
    """Read a table of finite numbers.

    Text files: the delimiter is a tab, a semicolon or a comma, whichever splits the first
    lines evenly; quotes are respected. A first row that is all numbers is data, and the
    columns are then called x1 ... xD; any other first row holds the names. An .npz must
    hold one array, or only one of two dimensions.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    Table
        With float64 values.

    Raises
    ------
    TableError
        If there is no such file, or it doesn't hold a table of finite numbers.
    """
    path = os.fspath(path)
    extension = os.path.splitext(path)[1].lower()
    if extension not in READERS:
        raise TableError(f"{path}: expected a file named {', '.join(READERS)}, "
                         f"got {repr(extension) if extension else 'no extension'}")
    if os.path.isdir(path):
        raise TableError(f"{path}: expected a file, got a folder")
    try:
        if os.path.getsize(path) == 0 and os.path.isfile(path):
            raise TableError(f"{path}: expected a table, got an empty file")
        table = READERS[extension](path)
    except FileNotFoundError:
        raise TableError(f"{path}: expected a file, found none there") from None
    except OSError as error:
        raise TableError(f"{path}: expected a readable file, got {error}") from None
    return check_finite(path, table)


def _read_text(path):
    """.csv, .tsv, .txt"""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except UnicodeDecodeError as error:
        raise TableError(f"{path}: expected UTF-8 text, got byte "
                         f"0x{error.object[error.start]:02x} at position {error.start}") from None
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    try:
        # (line, cells); the line of a row whose quotes span several is its last.
        rows = [(reader.line_num, cells) for cells in reader]
    except csv.Error as error:
        raise TableError(f"{path}: line {reader.line_num}: expected delimited text, "
                         f"got {error}") from None
    rows = _without_blank_lines(rows)
    if not rows:
        raise TableError(f"{path}: expected a table, got blank lines")
    first = rows[0][1]
    named = not all(_is_number(cell) for cell in first)
    columns = _column_names(path, first) if named else numbered_columns(len(first))
    rows = rows[1:] if named else rows
    if not rows:
        raise TableError(f"{path}: expected rows below the header, got none")
    for k, (line, cells) in enumerate(rows):
        if len(cells) != len(columns):
            raise TableError(f"{path}: row {k + 1} (line {line}): expected {len(columns)} "
                             f"columns, got {len(cells)}")
    try:
        values = np.array([[_number(cell) for cell in cells] for _, cells in rows])
    except ValueError:
        raise _bad_cell(path, columns, rows) from None
    return Table(values, columns, named)


def _delimiter(text):
    """Tab, semicolon or comma: the first that cuts all of the first lines into equally many.

    The order matters for 0,5;0,7 where a comma does as well; if none is even, because rows
    are ragged, it is the one that cuts the first line most often.
    """
    head = [line for line in itertools.islice(io.StringIO(text), 200) if line.strip()][:20]
    counts = {}
    for delimiter in "\t;,":
        try:
            counts[delimiter] = [len(cells) for cells in csv.reader(head, delimiter=delimiter)]
        except csv.Error:
            counts[delimiter] = [1]
    for delimiter, count in counts.items():
        if count and count[0] > 1 and len(set(count)) == 1:
            return delimiter
    return max(counts, key=lambda delimiter: (counts[delimiter][:1], delimiter == ","))


def _without_blank_lines(rows):
    """Rows without blank lines; in a table of one column an inner one is an empty cell."""
    filled = [k for k, (_, cells) in enumerate(rows) if cells]
    rows = rows[filled[0]:filled[-1] + 1] if filled else []
    if all(len(cells) <= 1 for _, cells in rows):
        return [(line, cells or [""]) for line, cells in rows]
    return [(line, cells) for line, cells in rows if cells]


def _number(cell):
    """The number in a cell; unlike ``float`` it doesn't read 12_34 as one."""
    if "_" in cell:
        raise ValueError
    return float(cell)


def _is_number(cell):
    try:
        _number(cell)
    except ValueError:
        return False
    return True


def _column_names(path, cells):
    names = tuple(cell.strip() or f"x{k + 1}" for k, cell in enumerate(cells))
    for name in names:
        if names.count(name) > 1:
            raise TableError(f"{path}: expected columns of different names, "
                             f"got {name!r} {names.count(name)} times")
    return names


def _bad_cell(path, columns, rows):
    """The error for the first cell that is no number."""
    for k, (line, cells) in enumerate(rows):
        for column, cell in zip(columns, cells):
            if not _is_number(cell):
                came = repr(_short(cell)) if cell.strip() else "an empty cell"
                hint = (" (decimals are written with a point)"
                        if _is_number(cell.replace(",", ".")) else "")
                return TableError(f"{path}: row {k + 1} (line {line}), column {column!r}: "
                                  f"expected a number, got {came}{hint}")


def _short(text, length=40):
    return text if len(text) <= length else text[:length - 3] + "..."


def _read_npy(path):
    return _from_array(path, _load(path))


def _read_npz(path):
    with _load(path) as archive:
        names = archive.files
        try:
            arrays = {name: archive[name] for name in names}
        except Exception as error:
            raise _unreadable(path, error) from None
    matrices = [name for name, array in arrays.items() if array.ndim == 2]
    if len(names) != 1 and len(matrices) != 1:
        held = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise TableError(f"{path}: expected one array, or only one of two dimensions; "
                         f"got {held or 'none'}")
    return _from_array(path, arrays[names[0] if len(names) == 1 else matrices[0]])


def _load(path):
    """np.load of a file that has to be what its extension says."""
    with open(path, "rb") as file:
        content = io.BytesIO(file.read())
    try:
        loaded = np.load(content, allow_pickle=False)
    except Exception as error:     # zipfile, zlib, tokenize and pickle each have their own
        raise _unreadable(path, error) from None
    extension = ".npy" if isinstance(loaded, np.ndarray) else ".npz"
    if not path.lower().endswith(extension):
        raise TableError(f"{path}: expected what its name says, got an {extension} file")
    return loaded


def _unreadable(path, error):
    if "allow_pickle" in str(error):
        return TableError(f"{path}: expected arrays of numbers, got pickled objects, which are "
                          "never loaded")
    kind = os.path.splitext(path)[1].lower()
    return TableError(f"{path}: expected a complete {kind} file, got a damaged one or another "
                      "kind of file")


def _from_array(path, array):
    if array.dtype.kind not in "buif":
        raise TableError(f"{path}: expected real numbers, got dtype {array.dtype}")
    if array.ndim != 2:
        hint = "; reshape(-1, 1) makes it one column" if array.ndim == 1 else ""
        raise TableError(f"{path}: expected a 2-D array, got shape {array.shape}{hint}")
    if array.size == 0:
        raise TableError(f"{path}: expected rows and columns, got shape {array.shape}")
    return Table(array.astype(np.float64), numbered_columns(array.shape[1]), named=False)


def _read_parquet(path):
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise TableError(f"{path}: reading .parquet needs pyarrow, which is not installed "
                         "(pip install pyarrow)") from None
    try:
        content = parquet.ParquetFile(path).read()
    except pyarrow.ArrowException:
        raise _unreadable(path, None) from None
    # What pandas stores of a table's row labels is no column of the table.
    names = [name for name in content.column_names if not name.startswith("__index_level_")]
    if not names or content.num_rows == 0:
        raise TableError(f"{path}: expected rows and columns, got {content.num_rows} rows "
                         f"of {len(names)} columns")
    _column_names(path, names)
    values = np.empty((content.num_rows, len(names)))
    for k, name in enumerate(names):
        column = content.column(name)
        kind = column.type
        if not (pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind)
                or pyarrow.types.is_boolean(kind)):
            raise TableError(f"{path}: column {name!r}: expected numbers, got {kind}")
        values[:, k] = column.to_pandas().to_numpy(dtype=np.float64, na_value=np.nan)
    return Table(values, names)


READERS = {".csv": _read_text, ".tsv": _read_text, ".txt": _read_text, ".npy": _read_npy,
           ".npz": _read_npz, ".parquet": _read_parquet}


# Checking ---------------------------------------------------------------------------------


def check_finite(name, table):
    """The table itself, if every number in it is finite."""
    finite = np.isfinite(table.values)
    if np.all(finite):
        return table
    rows = np.flatnonzero(~np.all(finite, axis=1))
    column = int(np.flatnonzero(~finite[rows[0]])[0])
    raise TableError(f"{name}: expected finite numbers, got {np.sum(~finite)} that are NaN or "
                     f"infinite in {len(rows)} of {len(finite)} rows; the first is "
                     f"{table.values[rows[0], column]} in row {rows[0] + 1}, "
                     f"column {table.columns[column]!r}")


def check_varies(name, table):
    """The table itself, if no column is constant: a constant one has no density."""
    for column, low, high in zip(table.columns, table.values.min(axis=0),
                                 table.values.max(axis=0)):
        if low == high:
            raise TableError(f"{name}: column {column!r}: expected values that differ, "
                             f"got {low} in every row")
    return table


def match_columns(name, table, columns, named=True):
    """The values of a table in the order of a model's columns.

    Where both the file and the model know names, the names decide: the same names in another
    order are put in order, other names are an error. Where either has none (an .npy file, a
    csv without header), columns are taken by position.

    Parameters
    ----------
    name : str
        What messages call the table.
    table : Table
    columns : sequence of str
        The model's columns.
    named : bool
        Whether the model's columns have names of their own.

    Returns
    -------
    (N, D) array
    """
    by_name = table.named and named
    missing = [column for column in columns if column not in table.columns]
    extra = [column for column in table.columns if column not in columns]
    if len(table.columns) != len(columns) or (by_name and missing):
        raise TableError(f"{name}: expected the model's {len(columns)} columns "
                         f"{_quoted(columns)}, got {len(table.columns)}: {_quoted(table.columns)}"
                         + _difference(missing, extra, by_name))
    if not by_name:
        return table.values
    return table.values[:, [table.columns.index(column) for column in columns]]


def _difference(missing, extra, by_name):
    if not by_name:
        return ""
    parts = [f"{word}: {_quoted(names)}" for word, names in (("missing", missing),
                                                             ("extra", extra)) if names]
    return f" ({'; '.join(parts)})" if parts else ""


def _quoted(names, most=12):
    shown = ", ".join(repr(name) for name in itertools.islice(names, most))
    return shown + (f", ... {names[-1]!r}" if len(names) > most else "")


# Writing ----------------------------------------------------------------------------------


def write_csv(target, table):
    """Write a table as comma-separated text, every number with all its digits.

    A file is written whole or not at all.

    Parameters
    ----------
    target : path-like or text file
        A text file, such as standard output, is written to and left open.
    table : Table
        Float32 values are written with the digits that float32 needs.
    """
    if hasattr(target, "write"):
        return _write_rows(target, table)
    with replacing(target) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        _write_rows(text, table)
        text.flush()
        text.detach()


def _write_rows(file, table):
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(table.columns)
    for start in range(0, len(table.values), 4096):
        # A float's repr is its shortest text that reads back as the same number; NumPy's
        # strings are that too, for each width of float.
        writer.writerows(table.values[start:start + 4096].astype(str).tolist())
