"""Read a table from a file; its extension decides how."""

import contextlib
import os
import stat
import warnings
from collections.abc import Collection
from dataclasses import replace

import numpy as np

from nfref.runtime.annotations import Callable, Iterator, PathLike, Sequence
from nfref.runtime.checks import check_choice
from nfref.runtime.files import is_special
from nfref.tables.reading.table import (
    Keep,
    Table,
    TableError,
    Texts,
    check_finite,
    named_columns,
    numbered_columns,
    pyarrow_for,
)
from nfref.tables.reading.text import text_tables

HEADERS = ("auto", "yes", "no")
TEXT = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")
READERS = (*TEXT, ".npy", ".npz", ".parquet")  # suffixes of files that are read
PIECE = 1 << 16  # rows of an .npy and of a .parquet that are read at once


def read_table(path: PathLike, header: str = "auto") -> Table:
    """Read a table of finite numbers.

    The delimiter of a text file is a tab, a semicolon, a comma, a bar or, in a .txt, spaces,
    whichever splits the first lines evenly, or that of a first line such as "sep=;". Where it is no
    comma, numbers may have a decimal comma instead of a point, if the first 200 rows leave no
    doubt. Quotes are respected. A first row that is all numbers is data, and the columns are then
    called x1 ... xD; any other first row holds the names. A guess is reported by a warning
    (:func:`nfref.tables.reading.names.find_names`). Text may be compressed by gzip, and may come
    through a pipe. An .npz must hold one array, or only one of two dimensions.

    Parameters
    ----------
    path : path-like
    header : {"auto", "yes", "no"}
        "yes" if the first line of a text file holds names.

    Returns
    -------
    Table
        With float64 values.

    Raises
    ------
    TableError
        If there is no such file, or if it does not hold a table of finite numbers.
    """
    table = read_quietly(path, header)
    if table.doubtful:
        warnings.warn(table.remark, stacklevel=2)
    return table


def read_quietly(
    path: PathLike,
    header: str = "auto",
    texts: Texts = (),
    may_be_empty: bool = False,
    keep: Keep | None = None,
) -> Table:
    """Read a table without the warning; the table's remark has its text.

    ``texts`` names columns whose cells are kept as text: see ``Table.labels``. With
    ``may_be_empty`` cells may be empty, and are NaN then. ``texts`` and ``keep`` are as for
    :func:`nfref.tables.reading.batches`.
    """
    path = os.fspath(path)
    tables = list(tables_of(path, header, texts, may_be_empty, keep, PIECE))
    return check_finite(path, joined(tables), may_be_empty=may_be_empty)


def tables_of(
    path: str,
    header: str,
    texts: Texts,
    may_be_empty: bool,
    keep: Keep | None,
    rows: int | Callable[[int], int],
) -> Iterator[Table]:
    """Yield the rows of a file as tables whose numbers are not checked.

    Those of a .parquet and an .npy have ``rows`` rows, which may depend on the number of columns;
    the last has the rest. Others have any number of rows.
    """
    check_choice("header", header, HEADERS)
    extension = format_of(path)
    with readable(path):
        if extension in TEXT:
            yield from text_tables(path, header, texts, may_be_empty, keep)
        elif extension == ".parquet":
            yield from parquet_tables(path, texts, rows, keep)
        else:
            found = _pieces_of_npy(path, rows) if extension == ".npy" else [_read_npz(path)]
            yield from (only(table, keep) for table in found)


def joined(tables: Sequence[Table]) -> Table:
    """Return the rows of tables of one file as one table."""
    in_all = set(tables[0].whole).intersection(*(table.whole for table in tables[1:]))
    whole = tuple(name for name in tables[0].whole if name in in_all)
    values = np.concatenate([table.values for table in tables])
    return replace(tables[-1], values=values, whole=whole)


def suffix(path: PathLike) -> str:
    """Return the extension of a path in lower case; .gz together with the one before it."""
    stem, last = os.path.splitext(os.fspath(path).lower())
    return os.path.splitext(stem)[1] + last if last == ".gz" else last


def format_of(path: PathLike) -> str:
    """Return the suffix that names the format of a file to read: csv for a pipe without one."""
    kind = suffix(path)
    nameless = not kind and is_special(path) and not os.path.isdir(path)
    return ".csv" if nameless else kind


def check_suffix(path: PathLike, known: Collection[str]) -> None:
    """Check that the suffix of a path is a known one."""
    if suffix(path) not in known:
        raise TableError(
            f"{os.fspath(path)}: expected a file named {', '.join(known)}, "
            f"got {repr(suffix(path)) if suffix(path) else 'no extension'}"
        )


@contextlib.contextmanager
def readable(path: str) -> Iterator[None]:
    """Check that the file's kind is known; any error in the block becomes a TableError."""
    extension = format_of(path)
    if extension not in READERS:
        check_suffix(path, READERS)
    try:
        kind = os.stat(path)
        if stat.S_ISDIR(kind.st_mode):
            raise TableError(f"{path}: expected a file, got a folder")
        # /dev/stdin may be a pipe or a file.
        streams = stat.S_ISFIFO(kind.st_mode) or stat.S_ISREG(kind.st_mode)
        if is_special(path) and not (streams and extension in TEXT):
            raise TableError(f"{path}: expected a regular file, got a device or a pipe")
        if kind.st_size == 0 and stat.S_ISREG(kind.st_mode):
            raise TableError(f"{path}: expected a table, got an empty file")
        yield
    except FileNotFoundError:
        raise TableError(f"{path}: expected a file, found none there") from None
    except (OSError, ValueError) as error:
        if isinstance(error, TableError):
            raise
        # a ValueError if the path holds a zero byte
        came = getattr(error, "strerror", None) or error
        raise TableError(f"{path}: expected a readable file, got {came}") from None


def _mapped(path):
    """Return the array of an .npy file, mapped: a false size takes no memory."""
    _check_kind(path)
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:
        raise _unreadable(path, error) from None


def _pieces_of_npy(path, rows):
    whole = _mapped(path)
    if whole.ndim != 2 or not whole.size or whole.dtype.kind not in "buif":
        _from_array(path, whole)  # raises the error
    count, columns = whole.shape
    del whole
    rows = rows(columns) if callable(rows) else rows
    for start in range(0, count, rows):
        # Mapped again for each piece: pages of earlier pieces do not stay in memory.
        yield _from_array(path, _mapped(path)[start : start + rows])


def _read_npz(path):
    _check_kind(path)
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            names = archive.files
            arrays = {name: archive[name] for name in names}
    except MemoryError:
        raise
    except Exception as error:  # zipfile, zlib, tokenize and pickle raise errors of their own
        raise _unreadable(path, error) from None
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):
        raise _unreadable(path, None)
    matrices = [name for name, array in arrays.items() if array.ndim == 2]
    if len(names) != 1 and len(matrices) != 1:
        held = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise TableError(
            f"{path}: expected one array, or only one of two dimensions; got {held or 'none'}"
        )
    return _from_array(path, arrays[names[0] if len(names) == 1 else matrices[0]])


def _check_kind(path):
    """Check that a NumPy file is of the kind that its name says."""
    with open(path, "rb") as file:
        came = ".npz" if file.read(2) == b"PK" else ".npy"
    if not path.lower().endswith(came):
        got = "an .npz file" if came == ".npz" else "no .npz archive"
        raise TableError(f"{path}: expected what its name says, got {got}")


def _unreadable(path, error):
    if "allow_pickle" in str(error) or "Python objects" in str(error):
        return TableError(
            f"{path}: expected arrays of numbers, got pickled objects, which are never loaded"
        )
    kind = os.path.splitext(path)[1].lower()
    return TableError(
        f"{path}: expected a complete {kind} file, got a damaged one or another kind of file"
    )


def _from_array(path, array):
    """Return the table of an array, if it is one."""
    if array.dtype.kind not in "buif":
        raise TableError(f"{path}: expected real numbers, got dtype {array.dtype}")
    if array.ndim != 2:
        hint = "; reshape(-1, 1) makes it one column" if array.ndim == 1 else ""
        raise TableError(f"{path}: expected a 2-D array, got shape {array.shape}{hint}")
    if array.size == 0:
        raise TableError(f"{path}: expected rows and columns, got shape {array.shape}")
    values = np.array(array, np.float64, order="C")
    names = numbered_columns(array.shape[1])
    return Table(values, names, named=False, whole=names if array.dtype.kind in "biu" else ())


def only(table: Table, keep: Keep | None) -> Table:
    """Return the columns of a table that ``keep(columns, named)`` names; all for None."""
    kept = table.columns if keep is None else tuple(keep(table.columns, table.named))
    if kept == table.columns:
        return table
    places = {name: k for k, name in enumerate(table.columns)}
    values = table.values[:, [places[name] for name in kept]]
    in_kept = set(kept)
    whole = tuple(name for name in table.whole if name in in_kept)
    return replace(table, values=values, columns=kept, whole=whole)


def parquet_tables(
    path: str, texts: Texts, rows: int | Callable[[int], int], keep: Keep | None = None
) -> Iterator[Table]:
    """Yield the rows of a .parquet as tables.

    Parameters
    ----------
    path : str
    texts : sequence of str, or callable
        Names of columns whose cells are text, or ``texts(columns, True)`` that gives them; see
        ``Table.labels``, which grow. ``...`` stands for columns of text, truth values and
        dictionaries.
    rows : int or callable
        Rows in a table; a function of the number of columns.
    keep : callable, optional
        As for :func:`nfref.tables.reading.batches`.
    """
    pyarrow = pyarrow_for(path, "reading")
    from pyarrow import parquet, types

    try:
        # Reading ahead would hold whole row groups.
        with parquet.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:
            # The row labels that pandas stores are not a column of the table.
            every = enumerate(file.schema_arrow.names)
            kept = [k for k, name in every if not name.startswith("__index_level_")]
            fields = [file.schema_arrow.field(k) for k in kept]
            if not fields or file.metadata.num_rows == 0:
                raise TableError(
                    f"{path}: expected rows and columns, got "
                    f"{file.metadata.num_rows} rows of {len(fields)} columns"
                )
            columns = named_columns(path, [field.name for field in fields])
            if keep is not None:
                found = dict(zip(columns, zip(kept, fields)))
                columns = tuple(keep(columns, True))
                kept, fields = zip(*(found[name] for name in columns))
            if callable(texts):
                texts = texts(columns, True)
            kinds = {name: field.type for name, field in zip(columns, fields)}
            whole = tuple(name for name, kind in kinds.items() if types.is_integer(kind))
            numeric = types.is_integer, types.is_floating, types.is_decimal, types.is_boolean
            all_labels = ... in texts
            texts = [
                name
                for name, kind in kinds.items()
                if name in texts or all_labels and _are_labels(kind)
            ]
            refused = {
                name: ("", f"expected numbers, got {kind}", False)
                for name, kind in kinds.items()
                if name not in texts and not any(is_one(kind) for is_one in numeric)
            }
            if refused and not all_labels:
                name, (_, what, _) = next(iter(refused.items()))
                raise TableError(f"{path}: column {name!r}: {what}", name, True)
            texts += refused
            labels: dict[str, list] = {name: [] for name in columns if name in texts}
            places: dict[str, dict] = {name: {} for name in labels}
            wanted, total = [file.schema_arrow.names[place] for place in kept], 0
            size = rows(len(columns)) if callable(rows) else rows
            for batch in file.iter_batches(size, columns=wanted):
                values = np.empty((len(batch), len(columns)))
                for k, name in enumerate(columns):
                    cells = batch.column(wanted[k])
                    if name in labels:
                        values[:, k] = _coded(cells, labels[name], places[name])
                    else:
                        values[:, k] = _as_floats(cells)
                yield Table(values, columns, labels=labels, whole=whole, refused=refused)
                total += len(values)
            if total != file.metadata.num_rows:  # damage that pyarrow does not report
                raise _unreadable(path, None)
    except (pyarrow.ArrowException, OSError):
        raise _unreadable(path, None) from None


def _as_floats(cells):
    """Return numbers of pyarrow in float64, (N,), NaN where they are missing.

    From its buffers: other conversions between pyarrow and NumPy load pandas, 40 MB.
    """
    import pyarrow

    numbers = cells.cast(pyarrow.float64(), safe=False)
    there, values = numbers.buffers()
    used = slice(numbers.offset, numbers.offset + len(numbers))
    values = np.frombuffer(values, np.float64)[used]
    if not numbers.null_count:
        return values
    there = np.unpackbits(np.frombuffer(there, np.uint8), bitorder="little")[used]
    return np.where(there, values, np.nan)


def _are_labels(kind):
    """Return whether a type of pyarrow is one of labels: text, truth values, dictionaries."""
    from pyarrow import types

    kinds = types.is_dictionary, types.is_string, types.is_large_string, types.is_boolean
    return any(is_one(kind) for is_one in kinds)


def _coded(cells, texts, known):
    """Return the places of cells in ``texts``, which grow; NaN for a missing one."""
    found = np.empty(len(cells))
    for k, cell in enumerate(cells.to_pylist()):
        if cell is None:
            found[k] = np.nan
            continue
        text = str(cell).strip()
        if text not in known:
            known[text] = len(texts)
            texts.append(text)
        found[k] = known[text]
    return found
