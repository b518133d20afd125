"""A uniform sample of the rows of files that are larger than memory, in one pass.

Each row gets a random number, its key; the M rows with the lowest keys are the sample. So each set
of M of the N rows is equally likely, and keys do not depend on how the rows were cut into batches.
A row with M lower keys before it can be forgotten, so at most 5/4 M rows are held.
"""

import os
from dataclasses import dataclass, replace

import numpy as np

from nfref.runtime.annotations import Any, Array, Callable, PathLike, Sequence
from nfref.tables.reading.read import batches
from nfref.tables.reading.table import Table, match_columns

CELLS = 1 << 23  # most numbers in a sample by default: 64 MB
ROWS = 1_000_000  # most rows in a sample by default
STREAM = 0x6B657973  # sets the keys apart from other random numbers of the same seed


def sample_rows(columns: int) -> int:
    """Return the default number of rows of a sample, for this number of columns."""
    return min(ROWS, max(1, CELLS // columns))


class Reservoir:
    """The rows with the lowest keys of all that were added.

    Parameters
    ----------
    most : int
        M.
    seed : int
    """

    def __init__(self, most: int, seed: int) -> None:
        self.most, self.total = most, 0
        self._rng = np.random.default_rng((STREAM, seed))
        self._parts: list[tuple[Array, Array]] = []
        self._limit = np.inf

    def add(self, values: Array) -> None:
        """Add the next rows, (K, D)."""
        self.total += len(values)
        keys = self._rng.random(len(values))
        low = keys < self._limit
        self._parts.append((keys[low], values[low]))
        if sum(len(keys) for keys, _ in self._parts) > self.most + self.most // 4:
            self.rows()

    def rows(self) -> Array:
        """Return the rows, (M, D), in the order in which they were added, and forget others."""
        keys, values = map(np.concatenate, zip(*self._parts))
        if len(keys) > self.most:
            lowest = np.sort(np.argpartition(keys, self.most - 1)[: self.most])
            keys, values = keys[lowest], values[lowest]
            self._limit = np.max(keys)
        self._parts = [(keys, values)]
        return values


@dataclass(frozen=True)
class Sample:
    """Some rows of a table.

    Attributes
    ----------
    table : Table
        ``whole`` is true of all rows, not only of these.
    total : int
        The number of all rows.
    lowest : dict
        name -> the lowest value of a column in all rows.
    """

    table: Table
    total: int
    lowest: dict


def sample(
    paths: PathLike | Sequence[PathLike],
    rows: int | None = None,
    seed: int = 0,
    look: Callable[[str, Table, int, int], object] | None = None,
    **options: Any,
) -> Sample:
    """Return a uniform sample of the rows of files, or all rows if there are no more.

    Parameters
    ----------
    paths : path-like or sequence of path-like
        Files with the same columns, which are matched by name if they have names.
    rows : int, optional
        Most rows of the sample; by default a million, and no more than 2^23 numbers.
    seed : int
    look : callable, optional
        ``look(path, table, first, total)`` of every batch: ``first`` rows of its file come before
        it, and ``total`` rows of all files are read with it.
    **options
        ``header``, ``texts``, ``may_be_empty`` and ``keep``, as for
        :func:`nfref.tables.reading.batches`.

    Returns
    -------
    Sample

    Raises
    ------
    TableError
        As :func:`nfref.tables.reading.batches`, or if files have different columns.

    Examples
    --------
    >>> import numpy as np, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "t.npy")
    >>> np.save(path, np.arange(2000.0).reshape(1000, 2))
    >>> found = sample(path, rows=10)
    >>> len(found.table.values), found.total
    (10, 1000)
    """
    every = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    reservoir: Any = None
    start: Any = None
    last: Any = None
    refused: dict = {}
    for path in every:
        first = 0
        for table in batches(path, like=last, **options):
            start, last = start or table, table
            values = match_columns(
                os.fspath(path), table, start.columns, start.named, "the first file's"
            )
            refused = {**table.refused, **refused}
            low, own = np.fmin.reduce(values, axis=0), set(table.whole)
            if reservoir is None:
                reservoir = Reservoir(rows or sample_rows(len(start.columns)), seed)
                whole, lowest = own, low
            whole, lowest = whole & own, np.fmin(lowest, low)
            reservoir.add(values)
            if look is not None:
                same = replace(table, values=values, columns=start.columns)
                look(os.fspath(path), same, first, reservoir.total)
            first += len(values)
    names = tuple(filter(whole.__contains__, start.columns))
    rows_kept = reservoir.rows()
    found = replace(start, values=rows_kept, labels=last.labels, whole=names, refused=refused)
    return Sample(found, reservoir.total, dict(zip(start.columns, lowest.tolist())))
