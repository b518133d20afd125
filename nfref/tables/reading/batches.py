"""Read tables a batch of rows at a time: files may be larger than memory."""

import os
from dataclasses import replace

from nfref.runtime.annotations import Iterable, Iterator, PathLike
from nfref.runtime.batching import BLOCK
from nfref.tables.reading.read import format_of, joined, tables_of
from nfref.tables.reading.table import Keep, Table, Texts, check_finite

CELLS = 1 << 20  # numbers in a batch: 8 MB


def batch_rows(columns: int) -> int:
    """Return the rows of a batch: whole blocks, so that batches do not cut a block in two."""
    return BLOCK * min(16, max(1, CELLS // (BLOCK * columns)))


def batches(
    path: PathLike,
    header: str = "auto",
    texts: Texts = (),
    rows: int | None = None,
    may_be_empty: bool = False,
    keep: Keep | None = None,
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
        Accept empty cells, as NaN.
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
        As :func:`nfref.tables.reading.read_table`, when you reach a batch with a fault.

    Examples
    --------
    >>> import numpy as np, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "t.npy")
    >>> np.save(path, np.ones((10, 2)))
    >>> [len(table.values) for table in batches(path, rows=4)]
    [4, 4, 2]
    """
    path = os.fspath(path)
    found = tables_of(path, header, texts, may_be_empty, keep, rows or batch_rows)
    if format_of(path) not in (".npy", ".parquet"):
        found = regrouped(found, rows)
    first = 0
    for table in found:
        yield check_finite(path, table, first, may_be_empty)
        first += len(table.values)


def regrouped(tables: Iterable[Table], rows: int | None = None) -> Iterator[Table]:
    """Yield the rows of tables of any size as tables of ``rows`` rows; the last holds the rest."""
    waiting: list[Table] = []
    count = 0
    for table in tables:
        rows = rows or batch_rows(len(table.columns))
        while count + len(table.values) >= rows:
            taken = rows - count
            yield joined([*waiting, replace(table, values=table.values[:taken])])
            waiting, count, table = [], 0, replace(table, values=table.values[taken:])
        if len(table.values):
            waiting.append(table)
            count += len(table.values)
    if waiting:
        yield joined(waiting)
