"""What ``nfref fit`` says about its data, before the fit."""

import re
from shlex import quote

import numpy as np

from nfref.cli.data import Data, about_missing
from nfref.cli.streams import printable
from nfref.runtime.annotations import Array, Iterator, Sequence
from nfref.runtime.checks import plural
from nfref.tables.fitting.gaps import uninformative_rows
from nfref.tables.schema.column_inference import labels_repeat
from nfref.tables.schema.columns import Category, Column, Continuous
from nfref.tables.schema.distinct_rows import effective_rows

_NINES = re.compile("-?99+")  # codes of missing numbers in surveys and measurements
COARSE = 10  # rows a distinct value from which a column counts as coarse
ORDERED = 20  # fewest rows for which ordered whole numbers look like names of rows
NAMED = 5  # most columns that a note names
MOST = 20  # most columns that the line about all of them names
LABELS = 8  # of a category that are listed
OFTEN = 0.2  # share of the rows from which one value counts as frequent


def sizes_of(data: Data, weight: Array | None) -> str:
    """Say how many rows and columns there are."""
    rows, columns = len(data.values), len(data.columns)
    said = f"{data.name}: {rows:,} {plural('row', rows)}"
    if weight is not None:
        said += f" with weights (effective number {effective_rows(weight, rows):,.1f})"
    said += f", {columns} {plural('column', columns)}"
    return said if data.total is None else f"{said}, a sample of {rows:,} of {data.total:,} rows"


def summary_of(columns: Sequence[Column], given: Sequence[str]) -> str:
    """Say in one line what the columns are."""
    own = _listed([described(column) for column in columns if column.name not in given], MOST)
    beside = _listed([described(column) for column in columns if column.name in given], MOST)
    return printable(f"columns: {own}" + f"; given {beside}" * bool(given))


def described(column: Column) -> str:
    """Return the name of a column with what is special about it: kind, labels, step, atoms."""
    about = [] if column.kind == "real" else [column.kind]
    if isinstance(column, Category):
        about = [f"category: {_listed(list(map(str, column.labels)), LABELS)}"]
    elif isinstance(column, Continuous):
        if column.step is not None:
            about.append(f"rounded to {column.step:g}")
        if column.atoms:
            about.append(f"atoms {', '.join(f'{atom:g}' for atom in column.atoms)}")
    return f"{column.name} ({'; '.join(about)})" if about else column.name


def notes_on(data: Data, columns: Sequence[Column], given: Sequence[str]) -> Iterator[str]:
    """Yield a line for each thing that may need an option or a look at the data."""
    yield from about_names_of_rows(data, columns)
    yield from about_ties(data, columns)
    yield from about_empty_cells(data, given)


def about_names_of_rows(data: Data, columns: Sequence[Column]) -> Iterator[str]:
    """Name columns that number the rows, or name them."""
    for column, values in zip(columns, data.values.T):
        values = values[~np.isnan(values)]
        if data.table.named and column.name == "x1" and "x2" not in data.columns:
            values = np.sort(values)  # the index of pandas, which has no name; rows may be shuffled
        steps = np.diff(values)
        if isinstance(column, Category):
            if len(column.labels) == len(data.values):
                yield f"{column.name!r} differs in every row: {_without(column.name)}"
        elif len(values) >= ORDERED and np.all(values == np.round(values)):
            if np.all(steps > 0) or np.all(steps < 0):
                yield f"{column.name!r} numbers the rows: {_without(column.name)}"


def about_ties(data: Data, columns: Sequence[Column]) -> Iterator[str]:
    """Name columns whose values repeat without a rounding step, or are codes."""
    found = {column.name: column for column in columns if column.kind != "category"}
    codes, few = [], []
    for name, values in zip(data.columns, data.values.T):
        if name not in found:
            continue
        values, column = values[~np.isnan(values)], found[name]
        distinct, counts = np.unique(values, return_counts=True)
        codes += _codes(name, distinct, counts)
        if name in data.table.padded:
            labels = f"--column {quote(name + '=category')} takes its texts as labels"
            remedy = labels if labels_repeat(len(distinct), len(values)) else _without(name)
            yield f"{name!r} has zeros in front, as codes have, and is read as a number: {remedy}"
        real = isinstance(column, Continuous) and column.step is None and not column.atoms
        often = np.max(counts) > max(1, OFTEN * len(data.values))
        if real and (often or COARSE * len(distinct) <= len(values)):
            few.append(f"{name!r} {len(distinct):,}")
    if codes:
        yield (
            f"{_listed(codes)}, far from all other values: if it stands for a missing number, "
            "leave these cells empty"
        )
    if few:
        yield (
            f"few different values in {len(data.values):,} rows ({_listed(few)}): a density can "
            "pile up on them without bound; --column NAME=count or category gives probabilities"
        )


def _codes(name, distinct, counts):
    """Yield the least or largest value if it is of nines, such as -999: no number, perhaps.

    It repeats, and is further from all other values than these from each other.
    """
    for end, rest in ((0, distinct[1:]), (-1, distinct[:-1])):
        if len(rest) < 2 or counts[end] == 1 or not _NINES.fullmatch(f"{distinct[end]:.15g}"):
            continue
        if np.min(np.abs(rest - distinct[end])) > rest[-1] - rest[0]:
            yield f"{name!r} is {distinct[end]:g} in {counts[end]} rows"


def about_empty_cells(data: Data, given: Sequence[str]) -> Iterator[str]:
    """Say how many cells are empty, and which rows are left out."""
    cells = data.table.cells()
    if about := about_missing(data.columns, cells):
        yield f"{about}; they are sampled given the other cells of their rows"
    if left_out := int(np.sum(uninformative_rows(data.columns, cells, given))):
        without = (
            "without a value in a given column, or in all others" if given else "without any value"
        )
        yield f"left out {left_out:,} {plural('row', left_out)} {without}"


def _listed(parts, most=NAMED):
    """List the first parts, and how many more there are."""
    more = f" and {len(parts) - most:,} more" if len(parts) > most else ""
    return ", ".join(parts[:most]) + more


def _without(name):
    return f"--without {quote(name)} leaves it out"


def about_supports(found: Sequence[str]) -> Iterator[str]:
    """Say which supports the rule chose."""
    if found:
        yield f"supports: {_listed(found)}; --column NAME=real undoes one"
