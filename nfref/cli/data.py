"""Read DATA, a file or built-in data, and check it."""

import glob
import os
from argparse import Namespace
from dataclasses import dataclass, replace
from shlex import quote

import numpy as np

import nfref
from nfref.cli.arguments import UsageError, blamed
from nfref.cli.streams import complain, note, row_bar
from nfref.runtime.annotations import Array, Sequence
from nfref.runtime.checks import as_weight, check_weights
from nfref.tables.reading import Table, TableError, sample
from nfref.tables.reading.read import READERS, only, read_quietly, suffix
from nfref.tables.reading.sampling import sample_rows
from nfref.tables.reading.table import Keep, Texts, numbered_columns
from nfref.tables.schema.column_inference import asked_support, check_support
from nfref.tables.schema.columns import ColumnError, is_missing, together

TOY_ROWS = 5000


@dataclass(frozen=True)
class Data:
    """A table with its name on the command line, and the density it was sampled from, if known.

    For a sample ``total`` is the number of rows it was taken from, and ``lowest`` (name -> value)
    their lowest values.
    """

    name: str
    table: Table
    truth: object = None
    total: int | None = None
    lowest: dict | None = None

    @property
    def values(self) -> Array:
        """The values of the table."""
        return self.table.values

    @property
    def columns(self) -> Sequence[str]:
        """The names of the columns."""
        return self.table.columns

    @property
    def refused(self) -> dict[str, ColumnError]:
        """Name -> error of each column that holds neither numbers nor labels."""
        return {
            name: ColumnError(name, what, useless=spoilt, labels=not spoilt, where=where)
            for name, (where, what, spoilt) in self.table.refused.items()
        }

    def weighed(self, column: str | None, first: int | None = None) -> tuple["Data", Array | None]:
        """Return the data without that column, and its values as weights; (data, None) for None.

        ``first`` is how many rows come before these, if these are one batch of many; otherwise at
        least one weight must be above 0.
        """
        if column is None:
            return self, None
        if column not in self.columns:
            raise UsageError(f"--weights: expected a column of {self.name}, got {column!r}")
        if len(self.columns) == 1:
            raise UsageError(f"--weights: expected other columns beside {column!r}, got none")
        k = self.columns.index(column)
        weight, name = self.values[:, k], f"{self.name}: column {column!r}"
        if error := self.refused.get(column):
            raise UsageError(f"--weights: {self.name}: {error.reason}")
        if texts := self.table.labels.get(column):
            raise UsageError(f"--weights: {name}: expected numbers, got {texts[0]!r}")
        with blamed("--weights: "):
            if first is None:
                weight = as_weight(name, weight, len(weight), first=1)
            else:
                check_weights(name, weight, first + 1)
        columns = (*self.columns[:k], *self.columns[k + 1 :])
        table = replace(self.table, values=np.delete(self.values, k, axis=1), columns=columns)
        return replace(self, table=table), weight


def load(
    name: str,
    header: str = "auto",
    texts: Texts = (),
    may_be_empty: bool = False,
    keep: Keep | None = None,
) -> Data:
    """Load the data of that name: a file if it exists, otherwise built-in data.

    ``header`` says whether the first line of a text file holds names. With ``may_be_empty`` cells
    of a file may be empty. ``texts`` names the columns that hold text, and ``keep`` chooses the
    columns to read, both as for :func:`nfref.tables.reading.batches`.

    A built-in toy is always the same 5,000 rows, so that scores can be repeated.
    """
    if not name:
        raise UsageError("DATA: expected a file or the name of built-in data, got ''")
    known = name.replace("-", "_")
    if os.path.exists(name) or (known != "wine" and known not in nfref.datasets.TOYS):
        if not os.path.exists(name) and suffix(name) not in READERS:
            raise UsageError(
                f"{name}: expected a file or the name of built-in data "
                "(nfref fit --help lists them), found neither"
            )
        return Data(
            name, read_quietly(name, header, texts=texts, may_be_empty=may_be_empty, keep=keep)
        )
    if known == "wine":
        values, columns = nfref.datasets.wine()
        return Data(name, only(Table(values, columns), keep))
    toy = nfref.datasets.TOYS[known]
    table = Table(toy(np.random.default_rng(0), TOY_ROWS), numbered_columns(toy.dim), named=False)
    return Data(name, table, toy if toy.entropy is not None else None)


def files(data: str) -> list[str]:
    """Return the files that DATA names: itself, or those that match a pattern."""
    if os.path.exists(data) or not glob.has_magic(data):
        return [data]
    found = sorted(path for path in glob.glob(data, recursive=True) if os.path.isfile(path))
    if not found:
        raise UsageError(f"{data}: expected files of that pattern, found none")
    return found


# Messages about data ----------------------------------------------------------------------


def say_remark(data: Data, sure: object = False) -> None:
    """Print which line was taken for names, if that was a guess."""
    if data.table.doubtful and not sure:
        complain(f"nfref: warning: {data.table.remark}")
    elif data.table.remark and not sure:
        note(data.table.remark)


def about_missing(columns: Sequence[str], cells: Sequence[Array]) -> str:
    """Say how many rows have empty cells, and in which columns; "" if none has."""
    missing = [is_missing(values) for values in cells]
    rows = int(np.sum(np.any(missing, axis=0)))
    if not rows:
        return ""
    counts = ", ".join(
        f"{name!r} {np.sum(gap):,}" for name, gap in zip(columns, missing) if np.any(gap)
    )
    have = "row has" if rows == 1 else "rows have"
    return f"{rows:,} of {len(missing[0]):,} {have} empty cells: {counts}"


def refusal(error: ColumnError) -> str:
    """Say which columns are refused, with the options that mend it before the reasons of many."""
    errors = [error, *error.others]
    reasons = "; ".join(one.reason for one in errors)
    labels = [one.column for one in errors if one.labels]
    useless = [one.column for one in errors if one.useless or one.labels]
    remedy = _remedies(useless, labels)
    if error.others:
        return f"{error.several}{f' ({remedy})' * bool(remedy)}: {reasons}"
    return f"{reasons}; {remedy}" if remedy else reasons


def _remedies(useless, labels):
    """Say which options leave columns out, and which take those of ``labels`` as categories."""
    found = []
    if useless:
        them = "the column" if len(useless) == 1 else "these columns"
        found.append(f"--without {quote(','.join(useless))} leaves {them} out")
    if labels:
        takes = "takes its texts" if len(labels) == 1 else "take their texts"
        options = " ".join(f"--column {quote(name + '=category')}" for name in labels)
        found.append(f"{options} {takes} as labels")
    return ", ".join(found)


# To fit to --------------------------------------------------------------------------------


def load_to_fit(options: Namespace) -> Data:
    """Load all rows of the files of ``nfref fit``, or a sample if there are too many.

    Rows outside the sample are checked against supports and weights as they pass.
    """

    def keep(columns, named):
        return _without(options, columns)

    categories = [name for name, support in options.column if support == "category"]
    paths, texts = files(options.data), (..., *categories)
    if len(paths) == 1 and not os.path.exists(paths[0]):  # built-in data, or an error
        return load(options.data, options.header, texts, True, keep)
    faults: list[UsageError] = []

    def look(path, table, first, total):
        bar.update(len(table.values))
        if not faults:
            try:
                _check_batch(options, Data(path, table), first)
            except UsageError as error:
                faults.append(error)
        # If all rows of one file are kept, a later check names the fault.
        if faults and (total > sample_rows(len(table.columns)) or len(paths) > 1):
            raise faults[0]

    try:
        with row_bar(unit_scale=True, delay=2) as bar:
            found = sample(
                paths,
                None,
                options.seed,
                look,
                header=options.header,
                texts=texts,
                may_be_empty=True,
                keep=keep,
            )
    except TableError as error:
        if not error.not_numbers:
            raise
        raise UsageError(f"{error}; {_remedies([error.column], [error.column])}") from None
    if found.total > len(found.table.values):
        return Data(options.data, found.table, total=found.total, lowest=found.lowest)
    return Data(options.data, found.table)


def _without(options, columns):
    """Return the columns to read: all but those of --without."""
    for name in options.without:
        if name not in columns:
            raise UsageError(f"--without: expected a column of {options.data}, got {name!r}")
    kept = [name for name in columns if name not in options.without]
    if not kept:
        raise UsageError(
            "--without: expected other columns beside "
            f"{', '.join(map(repr, options.without))}, got none"
        )
    return kept


def _check_batch(options, data, first):
    """Check a batch against supports and weights; ``first`` rows come before it."""
    if options.weights in data.columns and len(data.columns) > 1:
        data.weighed(options.weights, first)
    if data.refused:
        raise UsageError(f"{data.name}: {refusal(together(data.refused.values()))}")
    for name, kind in options.column:
        if name in data.columns:
            values = data.values[:, data.columns.index(name)]
            with blamed(f"{data.name}: "):
                check_support(name, asked_support(name, kind), values, first + 1)
