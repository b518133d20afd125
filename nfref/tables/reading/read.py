"""Read a table from a file, whole or in batches; its extension decides how."""

import contextlib
import csv
import os
import stat
import warnings
import zlib
from collections.abc import Collection
from dataclasses import replace
from zipfile import BadZipFile

import numpy as np
from numpy.lib.npyio import NpzFile

from nfref.runtime.annotations import Any, Iterator, PathLike
from nfref.runtime.checks import check_choice
from nfref.runtime.files import is_special
from nfref.tables.reading.table import (
    Keep,
    Table,
    TableError,
    Texts,
    are_whole,
    batch_rows,
    check_finite,
    coded,
    named_columns,
    numbered_columns,
    pyarrow_for,
)
from nfref.tables.reading.text import text_tables

HEADERS = ("auto", "yes", "no")
TEXT = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")
READERS = (*TEXT, ".npy", ".npz", ".parquet")  # suffixes of files that are read
# What libraries raise for files that they cannot read, and ValueError for most.
ERRORS = (OSError, ValueError, EOFError, NotImplementedError, csv.Error, BadZipFile, zlib.error)


def read_table(path: PathLike, header: str = "auto") -> Table:
    """Read a table of finite numbers.

    The delimiter of a text file is a tab, a semicolon, a comma, a bar or, in a .txt, spaces,
    whichever splits the first lines evenly. Where it is no comma, numbers may have a decimal comma
    instead of a point, if the first 200 rows leave no doubt. Quotes are respected. A first row that
    is all numbers is data, and the columns are then called x1 ... xD; any other first row holds the
    names. A guess is reported by a warning. Text may be compressed by gzip, and may come through a
    pipe. An .npz must hold one array, or only one of two dimensions.

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


def read_quietly(path: PathLike, header: str = "auto", **options: Any) -> Table:
    """Read a table without the warning; the table's remark has its text.

    ``options`` are ``texts``, ``may_be_empty`` and ``keep``, as for :func:`batches`.
    """
    tables = list(batches(path, header, **options))
    in_all = set(tables[0].whole).intersection(*(table.whole for table in tables[1:]))
    whole = tuple(name for name in tables[0].whole if name in in_all)
    values = np.concatenate([table.values for table in tables])
    return replace(tables[-1], values=values, whole=whole)


def batches(
    path: PathLike,
    header: str = "auto",
    texts: Texts = (),
    rows: int | None = None,
    may_be_empty: bool = False,
    keep: Keep | None = None,
    like: Table | None = None,
) -> Iterator[Table]:
    """Yield the rows of a file in batches, in memory that does not depend on their number.

    A .parquet is read by batches of its row groups, text line by line, an .npy by pieces of the
    file. An .npz is read whole, and only then cut. A csv may come through a pipe.

    Parameters
    ----------
    path : path-like
    header : {"auto", "yes", "no"}
        "yes" if the first line of a text file holds names.
    texts : sequence of str, or callable
        Names of columns whose cells are text; ``...`` among them stands for those that look like
        it. Or ``texts(columns, named)`` that gives them for the columns that are read. ``labels``
        of the tables grow from batch to batch: a text has the same place in all.
    rows : int, optional
        Rows in a batch (the last holds the rest); about a million numbers by default.
    may_be_empty : bool
        Accept empty cells, as NaN. Among numbers, words such as NA count as empty.
    keep : callable, optional
        ``keep(columns, named)`` gives the names of the columns that are read, of all in the file
        and whether it names them; all if omitted.
    like : Table, optional
        A table of an earlier file: the same columns hold text, and texts have the same places.

    Yields
    ------
    Table
        With float64 values, all finite.

    Raises
    ------
    TableError
        As :func:`read_table`, when you reach a batch with a fault.

    Examples
    --------
    >>> import numpy as np, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "t.npy")
    >>> np.save(path, np.ones((10, 2)))
    >>> [len(table.values) for table in batches(path, rows=4)]
    [4, 4, 2]
    """
    path, first = os.fspath(path), 0
    check_choice("header", header, HEADERS)

    def choose(columns, named, looks_like_text):
        kept = tuple(columns if keep is None else keep(columns, named))
        asked = texts(kept, named) if callable(texts) else texts
        if like is not None:
            known = [name for name in kept if name in like.labels]
            places = {name: {text: k for k, text in enumerate(like.labels[name])} for name in known}
        else:
            of_text = {*asked, *(filter(looks_like_text, kept) if ... in asked else ())}
            places = {name: {} for name in kept if name in of_text}
        return kept, places, ... in asked

    with readable(path):
        if format_of(path) in TEXT:
            tables = text_tables(path, header, may_be_empty, rows, choose)
        elif format_of(path) == ".parquet":
            tables = _parquet_tables(path, rows, choose)
        else:
            tables = _array_tables(path, rows, choose)
        for table in tables:
            check_finite(path, table, first, may_be_empty)
            numbers = are_whole(table.values) & ~np.isin(table.columns, [*table.labels])
            names = tuple(name for name, whole in zip(table.columns, numbers) if whole)
            yield replace(table, whole=names)
            first += len(table.values)


def suffix(path: PathLike) -> str:
    """Return the extension of a path in lower case; .gz together with the one before it."""
    stem, last = os.path.splitext(os.fspath(path).lower())
    return os.path.splitext(stem)[1] + last if last == ".gz" else last


def format_of(path: PathLike) -> str:
    """Return the suffix that names the format of a file to read: csv for a pipe without one."""
    if not suffix(path) and is_special(path):  # /dev/stdin may be a pipe or a file
        kind = os.stat(path).st_mode
        return ".csv" if stat.S_ISFIFO(kind) or stat.S_ISREG(kind) else ""
    return suffix(path)


def check_suffix(path: PathLike, known: Collection[str]) -> None:
    """Check that the suffix of a path is a known one."""
    if suffix(path) not in known:
        raise TableError(
            f"{os.fspath(path)}: expected a file named {', '.join(known)}, "
            f"got {repr(suffix(path)) if suffix(path) else 'no extension'}"
        )


@contextlib.contextmanager
def readable(path: str) -> Iterator[None]:
    """Check that the file's kind is known; errors of libraries become a TableError."""
    kind = format_of(path)
    if is_special(path) and kind not in TEXT and not os.path.isdir(path):
        raise TableError(f"{path}: expected a regular file, got a device or a pipe")
    if kind not in READERS:
        check_suffix(path, READERS)
    try:
        yield
    except FileNotFoundError:
        raise TableError(f"{path}: expected a file, found none there") from None
    except ERRORS as error:
        if isinstance(error, TableError):
            raise
        came = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise TableError(f"{path}: expected a readable {kind} file, got: {came}") from None


# NumPy ------------------------------------------------------------------------------------


def _array_tables(path, size, choose):
    """Yield the rows of an .npy, mapped so that a false size takes no memory, or of an .npz."""
    array = _array(path)
    if array.ndim != 2 or not array.size or array.dtype.kind not in "buif":
        came = f"dtype {array.dtype} and shape {array.shape}"
        raise TableError(f"{path}: expected real numbers in rows and columns, got {came}")
    columns = numbered_columns(array.shape[1])
    kept, _, _ = choose(columns, False, lambda name: False)
    places = {name: k for k, name in enumerate(columns)}
    size = size or batch_rows(len(kept))
    for start in range(0, len(array), size):
        if isinstance(array, np.memmap):  # pages of earlier pieces do not stay in memory
            array = _array(path)
        piece = array[start : start + size, [places[name] for name in kept]]
        yield Table(piece.astype(np.float64, order="C"), kept, named=False)


def _array(path):
    """Return the array of an .npy, mapped, or the only one of two dimensions of an .npz."""
    if suffix(path) == ".npy":
        return np.load(path, mmap_mode="r", allow_pickle=False)
    with open(path, "rb") as file, NpzFile(file) as archive:
        arrays = dict(archive)
    matrices = [array for array in arrays.values() if array.ndim == 2]
    if len(matrices) != 1:
        held = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise TableError(f"{path}: expected one array of two dimensions, got {held or 'none'}")
    return matrices[0]


def only(table: Table, keep: Keep | None) -> Table:
    """Return the columns of a table that ``keep(columns, named)`` names; all for None."""
    kept = table.columns if keep is None else tuple(keep(table.columns, table.named))
    if kept == table.columns:
        return table
    places = {name: k for k, name in enumerate(table.columns)}
    return replace(table, values=table.values[:, [places[name] for name in kept]], columns=kept)


# Parquet ----------------------------------------------------------------------------------


def _parquet_tables(path, size, choose):
    """Yield the rows of a .parquet as tables, by pyarrow."""
    pyarrow_for(path, "reading")
    from pyarrow import parquet, types

    # Reading ahead would hold whole row groups.
    with parquet.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:
        # The row labels that pandas stores are not a column of the table.
        stored = [name for name in file.schema_arrow.names if name[:14] != "__index_level_"]
        left = file.metadata.num_rows
        if not stored or not left:
            raise TableError(
                f"{path}: expected rows and columns, got {left} rows of {len(stored)} columns"
            )
        columns = named_columns(path, stored)
        names = dict(zip(columns, stored))
        kinds = {name: file.schema_arrow.field(names[name]).type for name in columns}
        of_labels = types.is_dictionary, types.is_string, types.is_large_string, types.is_boolean
        of_numbers = types.is_integer, types.is_floating, types.is_decimal, types.is_boolean
        kept, labels, tolerant = choose(
            columns, True, lambda name: any(is_one(kinds[name]) for is_one in of_labels)
        )
        refused = {
            name: ("", f"expected numbers, got {kinds[name]}", False)
            for name in kept
            if name not in labels and not any(is_one(kinds[name]) for is_one in of_numbers)
        }
        for name, (_, fault, _) in refused.items():
            if not tolerant:
                raise TableError(f"{path}: column {name!r}: {fault}", name, True)
        wanted = [names[name] for name in kept]
        for batch in file.iter_batches(size or batch_rows(len(kept)), columns=wanted):
            values = np.full((len(batch), len(kept)), np.nan)
            for k, name in enumerate(kept):
                cells = batch.column(names[name])
                if name in labels:
                    texts = ("" if cell is None else str(cell) for cell in cells.to_pylist())
                    values[:, k] = coded(texts, labels[name])
                elif name not in refused:
                    values[:, k] = _numbers(cells)
            texts = {name: list(places) for name, places in labels.items()}
            yield Table(values, kept, labels=texts, refused=refused)
            left -= len(batch)
        if left:
            raise ValueError("fewer rows than it says")  # damage that pyarrow does not report


def _numbers(cells):
    """Return numbers of pyarrow in float64, (N,), NaN where they are missing.

    From its buffer: other conversions between pyarrow and NumPy load pandas, 40 MB.
    """
    import pyarrow

    numbers = cells.cast(pyarrow.float64(), safe=False)
    if numbers.null_count:
        numbers = numbers.fill_null(np.nan)
    values = np.frombuffer(numbers.buffers()[1], np.float64)
    return values[numbers.offset : numbers.offset + len(numbers)]
