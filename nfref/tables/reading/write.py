"""Write a table in the format that the suffix of its file names: every format that is read."""

import contextlib
import csv
import functools
import gzip
import io
import itertools
import os
import re
from collections.abc import Collection

import numpy as np

from nfref.runtime.annotations import Any, Array, Callable, Iterable, PathLike, Sequence
from nfref.runtime.files import is_special, replacing
from nfref.tables.reading.read import READERS, TEXT, check_suffix, suffix
from nfref.tables.reading.table import TableError, is_number, pyarrow_for
from nfref.tables.reading.text import MISSING

NO_TEXT = "expected a format that holds text, such as .csv or .parquet, got .npy or .npz"
NUMBER = (float, int, np.integer)


def write_table(
    target: Any, columns: Sequence[str], blocks: Iterable[Array], whole: Collection[str] = ()
) -> None:
    """Write rows that come as (M, D) arrays; numbers keep all their digits.

    Parameters
    ----------
    target : path-like or text file
        A path is written whole or not at all, in the format of its suffix. A text file, such as
        standard output, gets csv and is left open; so does a device or a pipe without a suffix.
    columns : sequence of str
        An .npy and an .npz do not hold them.
    blocks : iterable of (M, D) arrays
        Float32 values are written with the digits that float32 needs. Those of an .npy or an .npz
        are all held in memory.
    whole : collection of str
        Columns of whole numbers, which a .parquet holds as such.

    Raises
    ------
    TableError
        If no format has that suffix, or the format does not hold text.
    """
    if hasattr(target, "write"):
        return _write_text(target, columns, blocks, ",")
    write, blocks = writer(target), iter(blocks)
    first = next(blocks, np.zeros((0, len(columns))))
    with replacing(target) as file:
        try:
            write(file, columns, itertools.chain([first], blocks), whole)
        except TableError as error:
            raise TableError(f"{os.fspath(target)}: {error}") from None


def writer(path: PathLike, has_text: bool = False) -> Callable[..., None]:
    """Return the function ``write(binary file, columns, blocks, whole)`` of the suffix of a path.

    Raises
    ------
    TableError
        If there is none, or if there is text and the format does not hold it.
    """
    kind = suffix(path)
    if kind not in READERS and is_special(path):
        kind = ".csv"
    elif kind not in READERS:
        check_suffix(path, READERS)
    if kind in TEXT:
        return functools.partial(_write_file, kind=kind)
    if kind == ".parquet":
        pyarrow_for(path, "writing")
        return _write_parquet
    if has_text:
        raise TableError(f"{os.fspath(path)}: {NO_TEXT}")
    return functools.partial(_write_numpy, save=np.save if kind == ".npy" else np.savez)


def as_stored(path: PathLike, texts: Array) -> Array:
    """Return cells of text (N,) as the format of a path stores them best.

    Text formats keep the text. Others get numbers, if each cell is empty or a number below 2^53.
    """
    if suffix(path) not in (".npy", ".npz", ".parquet"):
        return texts
    if not all(cell is None or is_number(cell) for cell in texts):
        return texts
    numbers = np.array([np.nan if cell is None else float(cell) for cell in texts])
    return texts if np.any(np.abs(numbers) >= 2**53) else numbers


# Text -------------------------------------------------------------------------------------


# Only names that every reader takes for names are unquoted; quotes mark the others as names.
_PLAIN = re.compile(r"[^\W\d_](?:[\w .()/%-]*[\w)%])?")


def _write_file(file, columns, blocks, whole, kind):
    with contextlib.ExitStack() as stack:
        if kind.endswith(".gz"):  # without a name and a time, the same rows give the same bytes
            file = stack.enter_context(gzip.GzipFile("", "wb", 6, file, mtime=0))
        text = io.TextIOWrapper(file, "utf-8", newline="")
        _write_text(text, columns, blocks, "\t" if kind.startswith(".tsv") else ",")
        text.detach()


def _write_text(file, columns, blocks, delimiter):
    plain = all(
        _PLAIN.fullmatch(name) and name.lower() not in MISSING and not is_number(name)
        for name in columns
    )
    quoting: Any = csv.QUOTE_MINIMAL if plain else csv.QUOTE_ALL
    csv.writer(file, delimiter=delimiter, lineterminator="\n", quoting=quoting).writerow(columns)
    rows = csv.writer(file, delimiter=delimiter, lineterminator="\n")
    for values in blocks:
        for start in range(0, len(values), 4096):
            rows.writerows(map(_texts, values[start : start + 4096]))


def _texts(row):
    """Return cells as text: a number's shortest text that reads back as the same, 1 for 1.0."""
    if row.dtype.kind != "O":
        return [cell.removesuffix(".0") for cell in row.astype(str).tolist()]
    cells = row.tolist()
    return [str(cell).removesuffix(".0") if isinstance(cell, float) else cell for cell in cells]


# NumPy and parquet ------------------------------------------------------------------------


def _write_numpy(file, columns, blocks, whole, save):
    try:
        rows = np.concatenate([_as_numbers(values) for values in blocks])
    except ValueError:
        raise TableError(NO_TEXT) from None
    save(file, rows)


def _as_numbers(values):
    return values.astype(np.float64) if values.dtype.kind == "O" else values


def _write_parquet(file, columns, blocks, whole):
    import pyarrow
    from pyarrow import parquet

    with contextlib.ExitStack() as stack:
        rows = None
        for values in blocks:
            arrays = [_arrow(cells, name in whole) for name, cells in zip(columns, values.T)]
            batch = pyarrow.RecordBatch.from_arrays(arrays, list(columns))
            rows = rows or stack.enter_context(parquet.ParquetWriter(file, batch.schema))
            rows.write_batch(batch)


def _arrow(cells, whole):
    """Return cells (N,) for pyarrow, by a list: its conversion of arrays loads pandas, 40 MB.

    Missing whole numbers, NaN or None, become empty cells.
    """
    import pyarrow

    if whole:
        numbers = cells.astype(np.float64)
        largest = np.max(np.abs(numbers), initial=0.0, where=~np.isnan(numbers))
        if largest >= 2.0**63:
            raise TableError(
                f"expected whole numbers below 2^63, got {largest:g}; a .csv holds them"
            )
        there = (None if cell != cell else int(cell) for cell in numbers.tolist())
        return pyarrow.array(there, pyarrow.int64())
    if cells.dtype.kind == "O":
        if not all(isinstance(cell, NUMBER) and not isinstance(cell, bool) for cell in cells):
            return pyarrow.array(cells.tolist())
        cells = cells.astype(np.float64)  # the first rows decide; later ones may have fractions
    return pyarrow.array(cells.tolist(), pyarrow.from_numpy_dtype(cells.dtype))
