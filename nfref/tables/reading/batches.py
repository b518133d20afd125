"""Read tables a batch of rows at a time: files may be larger than memory."""

import os
from dataclasses import replace

import numpy as np

from nfref.runtime.annotations import Any, Callable, Iterable, Iterator, PathLike, Sequence
from nfref.runtime.batching import BLOCK
from nfref.runtime.checks import check_choice
from nfref.tables.reading.read import (
    HEADERS,
    READERS,
    TEXT,
    from_array,
    mapped,
    only,
    parquet_tables,
    readable,
    suffix,
)
from nfref.tables.reading.table import Table, check_finite
from nfref.tables.reading.text import text_tables

CELLS = 1 << 20  # numbers in a batch: 8 MB


def batch_rows(columns: int) -> int:
    """Return the rows of a batch: whole blocks, so that batches do not cut a block in two."""
    return BLOCK * min(16, max(1, CELLS // (BLOCK * columns)))


def batches(
    path: PathLike,
    header: str = "auto",
    texts: Sequence[str] = (),
    rows: int | None = None,
    may_be_empty: bool = False,
    keep: Callable[..., Any] | None = None,
) -> Any:
    """Yield the rows of a file in batches, in memory that does not depend on their number.

    A .parquet is read by batches of its row groups, text line by line, an .npy by pieces of the
    file. An .npz is read whole, and only then cut. A csv may come through a pipe.

    Parameters
    ----------
    path : path-like
    header : {"auto", "yes", "no"}
        Whether the first line of a text file holds names.
    texts : sequence of str
        Names of columns whose cells are text; ``...`` among them stands for those that look like
        it. ``labels`` of the tables grow from batch to batch: a text has the same place in all.
    rows : int, optional
        Rows in a batch (the last holds the rest); about a million numbers by default.
    may_be_empty : bool
        Whether cells may be empty; they are NaN then.
    keep : callable, optional
        ``keep(columns, named)`` gives the names of the columns that are read, of all in the file
        and whether it names them; all if omitted.

    Yields
    ------
    Table
        With float64 values, all finite.

    Raises
    ------
    TableError
        As :func:`nfref.tables.reading.read_table`, when a batch with a fault is asked for.

    Examples
    --------
    >>> import numpy as np, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "t.npy")
    >>> np.save(path, np.ones((10, 2)))
    >>> [len(table.values) for table in batches(path, rows=4)]
    [4, 4, 2]
    """
    path = os.fspath(path)
    check_choice("header", header, HEADERS)
    extension = suffix(path)
    first = 0
    with readable(path):
        if extension in TEXT:
            found = regrouped(text_tables(path, header, texts, may_be_empty, keep), rows)
        elif extension == ".parquet":
            found = parquet_tables(path, texts, rows or batch_rows, keep)
        elif extension == ".npy":
            found = (only(table, keep) for table in _pieces_of_npy(path, rows))
        else:
            found = regrouped([only(READERS[extension](path), keep)], rows)
        for table in found:
            yield check_finite(path, table, first, may_be_empty)
            first += len(table.values)


def _pieces_of_npy(path, rows):
    whole = mapped(path)
    if whole.ndim != 2 or not whole.size or whole.dtype.kind not in "buif":
        from_array(path, whole)  # raises the error
    count, columns = whole.shape
    del whole
    rows = rows or batch_rows(columns)
    for start in range(0, count, rows):
        # Mapped again for each piece: pages of earlier pieces do not stay in memory.
        yield from_array(path, mapped(path)[start : start + rows])


def regrouped(tables: Iterable[Any], rows: int | None = None) -> Iterator[Table]:
    """Yield the rows of tables of any size as tables of ``rows`` rows; the last holds the rest."""
    waiting: list[Any] = []
    count = 0
    for table in tables:
        rows = rows or batch_rows(len(table.columns))
        values = table.values
        while count + len(values) >= rows:
            taken = rows - count
            yield replace(table, values=np.concatenate([*waiting, values[:taken]]))
            waiting, count, values = [], 0, values[taken:]
        if len(values):
            waiting.append(values)
            count += len(values)
    if waiting:
        yield replace(table, values=np.concatenate(waiting))
