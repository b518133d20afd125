"""A uniform sample of the rows of files that are larger than memory, in one pass.

Row i of all rows, counted through the files, has the 64-bit key

    k_i = mix(s + (i + 1) g),    s = mix(seed),  g odd,

mix being the finaliser of splitmix64. For one seed i -> k_i is one to one, so no two rows tie. The
M rows with the lowest keys are the sample: each set of M of the N rows is equally likely, as far as
the keys are random. Keys do not depend on how the rows were cut into batches. A row with M lower
keys before it can be forgotten, so at most 5/4 M rows are held.
"""

import os
from dataclasses import dataclass, replace

import numpy as np

from nfref.runtime.annotations import Any, Array, Callable, PathLike, Sequence
from nfref.runtime.hashing import GOLDEN, mixed
from nfref.tables.reading.batches import batches
from nfref.tables.reading.read import TEXT, format_of
from nfref.tables.reading.table import Keep, Table, TableError, Texts, match_columns
from nfref.tables.reading.text import are_whole

CELLS = 1 << 23  # most numbers in a sample by default: 64 MB
ROWS = 1_000_000  # most rows in a sample by default


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
        self._start = mixed(np.full(1, seed % 2**64, np.uint64))
        self._parts: list = []
        self._limit = None

    def add(self, values: Array) -> None:
        """Add the next rows, (K, D)."""
        places = np.arange(self.total, self.total + len(values), dtype=np.uint64)
        self.total += len(values)
        keys = mixed(self._start + (places + np.uint64(1)) * GOLDEN)
        if self._limit is not None:
            low = keys < self._limit
            keys, places, values = keys[low], places[low], values[low]
        self._parts.append((keys, places, values))
        if sum(len(keys) for keys, *_ in self._parts) > self.most + self.most // 4:
            self._forget()

    def _forget(self):
        keys, places, values = map(np.concatenate, zip(*self._parts))
        if len(keys) > self.most:
            lowest = np.argpartition(keys, self.most - 1)[: self.most]
            self._limit = np.max(keys[lowest])
            lowest.sort()
            keys, places, values = keys[lowest], places[lowest], values[lowest]
        self._parts = [(keys, places, values)]

    def rows(self) -> tuple[Array, Array]:
        """Return (places (M,), rows (M, D)) in the order in which they were added."""
        self._forget()
        _, places, values = self._parts[0]
        return places.astype(np.int64), values


@dataclass(frozen=True)
class Sample:
    """Some rows of a table.

    Attributes
    ----------
    table : Table
        ``whole`` is true of all rows, not only of these.
    places : (M,) array
        Their places among all rows, from 0.
    total : int
        The number of all rows.
    lowest : dict
        name -> the lowest value of a column in all rows.
    """

    table: Table
    places: np.ndarray
    total: int
    lowest: dict


def sample(
    paths: PathLike | Sequence[PathLike],
    rows: int | None = None,
    seed: int = 0,
    header: str = "auto",
    texts: Texts = (),
    may_be_empty: bool = False,
    keep: Keep | None = None,
    look: Callable[[str, Table, int, int], object] | None = None,
) -> Sample:
    """Return a uniform sample of the rows of files, or all rows if there are no more.

    Parameters
    ----------
    paths : path-like or sequence of path-like
        Files with the same columns, which are matched by name if they have names.
    rows : int, optional
        Most rows of the sample; by default a million, and no more than 2^23 numbers.
    seed : int
    header, texts, may_be_empty, keep
        As for :func:`nfref.tables.reading.batches`.
    look : callable, optional
        ``look(path, table, first, total)`` of every batch: ``first`` rows of its file come before
        it, and ``total`` rows of all files are read with it.

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
    known: dict = {}
    kinds: dict = {}
    refused: dict = {}
    for path in [os.fspath(path) for path in every]:
        first = 0
        for table in batches(path, header, texts, may_be_empty=may_be_empty, keep=keep):
            start, refused = start or table, {**table.refused, **refused}
            table = _like(start, path, table, known, kinds)
            here = _whole(path, table)
            low = np.fmin.reduce(table.values, axis=0)
            if reservoir is None:
                reservoir = Reservoir(rows or sample_rows(len(start.columns)), seed)
                whole, lowest = here, low
            whole, lowest = whole & here, np.fmin(lowest, low)
            reservoir.add(table.values)
            if look is not None:
                look(path, table, first, reservoir.total)
            first += len(table.values)
    places, values = reservoir.rows()
    labels = {name: list(texts) for name, texts in known.items()}
    names = tuple(name for name, every in zip(start.columns, whole) if every)
    table = replace(start, values=values, labels=labels, whole=names, refused=refused)
    return Sample(table, places, reservoir.total, dict(zip(start.columns, lowest.tolist())))


def _like(start, path, table, known, kinds):
    """Return the table with the columns of the first one, and texts as places in ``known``.

    ``known`` (name -> {text: place}) grows, and ``kinds`` (name -> "texts" or "numbers").
    """
    values = match_columns(path, table, start.columns, start.named, "the first file's")
    for k, name in enumerate(start.columns):
        texts = table.labels.get(name if table.named else table.columns[k])
        kind = "numbers" if texts is None else "texts"
        if not np.all(np.isnan(values[:, k])) and kinds.setdefault(name, kind) != kind:
            words = f"expected {kinds[name]}, as in earlier files, got {kind}"
            raise TableError(f"{path}: column {name!r}: {words}", name, True)
        if texts is None:
            continue
        places = known.setdefault(name, {})
        moved = np.array([places.setdefault(text, len(places)) for text in texts] + [np.nan])
        if not np.array_equal(moved[:-1], np.arange(len(texts))):
            at = np.where(np.isnan(values[:, k]), len(texts), values[:, k]).astype(np.int64)
            values = values.copy()
            values[:, k] = moved[at]
    return replace(table, values=values, columns=start.columns)


def _whole(path, table):
    """Return which columns hold whole numbers: by type, or in a text file by value."""
    if format_of(path) in TEXT:
        return are_whole(table.values) & ~np.isin(table.columns, list(table.labels))
    return np.isin(table.columns, table.whole)
