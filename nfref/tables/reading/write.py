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
from nfref.tables.reading.names import is_unmistakable
from nfref.tables.reading.read import TEXT, check_suffix, suffix
from nfref.tables.reading.table import TableError, is_number, pyarrow_for

NUMBER = (float, int, np.integer)


def write_table(
    target: Any,
    columns: Sequence[str],
    blocks: Iterable[Array],
    guarded: bool = False,
    whole: Collection[str] = (),
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
        Float32 values are written with the digits that float32 needs.
    guarded : bool
        Put an apostrophe before text that a spreadsheet would take for a formula.
    whole : collection of str
        Columns of whole numbers, which a .parquet holds as such.

    Raises
    ------
    TableError
        If no format has that suffix, or the format does not hold text.
    """
    if guarded:
        columns, blocks = [_guarded(name) for name in columns], map(_guarded_rows, blocks)
    if hasattr(target, "write"):
        return _write_text(target, columns, blocks)
    write, blocks = writer(target), iter(blocks)
    if suffix(target) == ".parquet":
        write = functools.partial(write, whole=whole)
    first = next(blocks, np.zeros((0, len(columns))))
    with replacing(target) as file:
        try:
            write(file, columns, itertools.chain([first], blocks))
        except TableError as error:
            raise TableError(f"{os.fspath(target)}: {error}") from None


def writer(path: PathLike, has_text: bool = False) -> Callable[..., None]:
    """Return the function ``write(binary file, columns, blocks)`` of the suffix of a path.

    Raises
    ------
    TableError
        If there is none, or if there is text and the format does not hold it.
    """
    kind = suffix(path)
    if kind not in WRITERS and is_special(path):
        return WRITERS[".csv"]
    check_suffix(path, WRITERS)
    if has_text and kind in (".npy", ".npz"):
        raise TableError(f"{os.fspath(path)}: {_no_text(kind)}")
    if kind == ".parquet":
        pyarrow_for(path, "writing")
    return WRITERS[kind]


def as_stored(path: PathLike, texts: Array) -> Array:
    """Return cells of text (N,) as the format of a path stores them best.

    Text formats keep the text. Others get numbers, if each cell is empty or a number below 2^53.
    """
    kind = suffix(path)
    if kind in TEXT or kind not in WRITERS:
        return texts
    if not all(cell is None or is_number(cell) for cell in texts):
        return texts
    numbers = np.array([np.nan if cell is None else float(cell) for cell in texts])
    return texts if np.any(np.abs(numbers) >= 2**53) else numbers


def _no_text(kind):
    return f"expected a format that holds text, such as .csv or .parquet, got {kind}"


# Text -------------------------------------------------------------------------------------


def _csv(file, columns, blocks, delimiter=",", compressed=False):
    with contextlib.ExitStack() as stack:
        if compressed:  # without a name and a time, the same rows give the same bytes
            file = stack.enter_context(
                gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=6, mtime=0)
            )
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        _write_text(text, columns, blocks, delimiter)
        text.flush()
        text.detach()


def _guarded(cell):
    formula = isinstance(cell, str) and cell.lstrip()[:1] in tuple("=+-@") and not is_number(cell)
    return f"'{cell}" if formula else cell


def _guarded_rows(values):
    if values.dtype.kind != "O":
        return values
    return np.array([[_guarded(cell) for cell in row] for row in values.tolist()], object)


# Only names that every reader takes for names are unquoted; quotes mark the others as names.
_PLAIN = re.compile(r"[^\W\d_](?:[\w .()/%-]*[\w)%])?")


def _write_text(file, columns, blocks, delimiter=","):
    plain = all(_PLAIN.fullmatch(name) and is_unmistakable(name) for name in columns)
    csv.writer(
        file,
        delimiter=delimiter,
        lineterminator="\n",
        quoting=csv.QUOTE_MINIMAL if plain else csv.QUOTE_ALL,
    ).writerow(columns)
    rows = csv.writer(file, delimiter=delimiter, lineterminator="\n")
    for values in blocks:
        for start in range(0, len(values), 4096):
            rows.writerows(_texts(values[start : start + 4096]))


def _texts(values):
    """Return cells as text.

    A float's repr is its shortest text that reads back as the same number, for each width of float.
    Whole numbers are written as such.
    """
    rows = values.astype(str).tolist()
    if values.dtype.kind == "f":
        return [[cell.removesuffix(".0") for cell in row] for row in rows]
    if values.dtype.kind == "O":
        return [
            [_text_of(value, cell) for value, cell in zip(*pair)]
            for pair in zip(values.tolist(), rows)
        ]
    return rows


def _text_of(value, text):
    """Return the text of a cell; None is an empty one."""
    if value is None:
        return ""
    return text.removesuffix(".0") if isinstance(value, float) else text


# NumPy and parquet ------------------------------------------------------------------------


def _numbers(values, kind):
    """Return the rows as numbers; text is refused."""
    if values.dtype.kind != "O":
        return np.ascontiguousarray(values)
    if any(isinstance(cell, str) for cell in values.ravel()):
        raise TableError(_no_text(kind))
    return values.astype(np.float64)


def _npy(file, columns, blocks):
    """Write a header for no rows, the rows, and then the header again: both have one length."""
    blocks = (_numbers(values, ".npy") for values in blocks)
    first = next(blocks)
    about = {"descr": np.lib.format.dtype_to_descr(first.dtype), "fortran_order": False}
    start, rows = file.tell(), 0
    _npy_header(file, about, rows, columns)
    for values in itertools.chain([first], blocks):
        file.write(values.astype(first.dtype, copy=False).data)
        rows += len(values)
    file.seek(start)
    _npy_header(file, about, rows, columns)
    file.seek(0, os.SEEK_END)


def _npy_header(file, about, rows, columns):
    np.lib.format.write_array_header_1_0(file, {**about, "shape": (rows, len(columns))})


def _npz(file, columns, blocks):
    np.savez(file, rows=np.concatenate([_numbers(values, ".npz") for values in blocks]))


def _parquet(file, columns, blocks, whole=()):
    import pyarrow
    from pyarrow import parquet

    with contextlib.ExitStack() as stack:
        rows = None
        for values in blocks:
            arrays = [
                _as_whole(pyarrow, column) if name in whole else _as_arrow(pyarrow, column)
                for name, column in zip(columns, values.T)
            ]
            batch = pyarrow.RecordBatch.from_arrays(arrays, list(columns))
            if rows is None:
                rows = stack.enter_context(parquet.ParquetWriter(file, batch.schema))
            rows.write_batch(batch)


def _as_whole(pyarrow, values):
    """Return whole numbers (N,) as integers for pyarrow; NaN and None are missing cells."""
    numbers = values.astype(np.float64)
    missing = np.isnan(numbers)
    largest = np.max(np.abs(numbers), initial=0.0, where=~missing)
    if largest >= 2.0**63:
        raise TableError(f"expected whole numbers below 2^63, got {largest:g}; a .csv holds them")
    return pyarrow.array(np.where(missing, 0, numbers).astype(np.int64), mask=missing)


def _as_arrow(pyarrow, values):
    """Return numbers (N,) for pyarrow, by their buffer: other ways load pandas, 40 MB."""
    if values.dtype.kind == "O":
        # The first rows decide the type of a column, and later ones may have fractions.
        if not all(isinstance(cell, NUMBER) and not isinstance(cell, bool) for cell in values):
            return pyarrow.array(values.tolist())
        values = values.astype(np.float64)
    kinds = {"float32": pyarrow.float32(), "float64": pyarrow.float64()}
    if values.dtype.name not in kinds:
        return pyarrow.array(values)
    buffer = pyarrow.py_buffer(np.ascontiguousarray(values))
    return pyarrow.Array.from_buffers(kinds[values.dtype.name], len(values), [None, buffer])


WRITERS: dict[str, Callable[..., None]] = {
    **{
        kind: functools.partial(
            _csv,
            delimiter="\t" if kind.startswith(".tsv") else ",",
            compressed=kind.endswith(".gz"),
        )
        for kind in TEXT
    },
    ".npy": _npy,
    ".npz": _npz,
    ".parquet": _parquet,
}
