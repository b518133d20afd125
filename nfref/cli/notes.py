"""What ``nfref fit`` says about its data, before the fit."""

import re
from shlex import quote

import numpy as np

from nfref.cli.data import Data, about_missing
from nfref.runtime.annotations import Array, Iterator, Sequence
from nfref.runtime.checks import plural
from nfref.tables.fitting.gaps import uninformative_rows
from nfref.tables.schema.column_inference import labels_repeat, minutes_of_real
from nfref.tables.schema.columns import Category, Column, Continuous, is_missing
from nfref.tables.schema.distinct_rows import effective_rows

_NINES = re.compile("-?99+")  # codes of missing numbers in surveys and measurements
COARSE = 10  # rows a distinct value from which a column counts as coarse
ORDERED = 20  # fewest rows for which ordered whole numbers look like names of rows
LONG = 0.2  # minutes of a processor from which a note says what simple densities take
NAMED = 5  # most columns that one line names
OFTEN = 0.2  # share of the rows from which one value counts as frequent


def sizes_of(data: Data, weight: Array | None) -> str:
    """Say how many rows and columns there are."""
    rows = f"{data.name}: {len(data.values):,} {plural('row', len(data.values))}"
    if weight is not None:
        rows += f" with weights (effective number {effective_rows(weight, len(weight)):,.1f})"
    columns = f"{len(data.columns)} {plural('column', len(data.columns))}"
    part = (
        "" if data.total is None else f", a sample of {len(data.values):,} of {data.total:,} rows"
    )
    return f"{rows}, {columns}{part}"


def summary_of(data: Data, columns: Sequence[Column], given: Sequence[str]) -> str:
    """Say in one line what the columns are."""
    real = [column for column in columns if isinstance(column, Continuous)]
    steps = [f"{column.name!r} {column.step:g}" for column in real if column.step is not None]
    atoms = [
        f"{column.name!r} {', '.join(f'{atom:g}' for atom in column.atoms)}"
        for column in real
        if column.atoms and column.name not in given
    ]
    of_kind = {
        kind: [repr(column.name) for column in columns if column.kind == kind]
        for kind in ("category", "count")
    }
    empty = sum(bool(is_missing(values).any()) for values in data.table.cells())
    found = [
        *((len(names), kind, names) for kind, names in of_kind.items()),
        (len(real), "of real numbers", []),
        (len(steps), "rounded", steps),
        (len(atoms), "with a value that many rows share", atoms),
        (empty, "with empty cells", []),
        (len(given), "given", [repr(name) for name in given]),
    ]
    return "columns: " + ", ".join(
        f"{number:,} {what}" + (f" ({_listed(names)})" if names else "")
        for number, what, names in found
        if number
    )


def notes_on(data: Data, columns: Sequence[Column], given: Sequence[str]) -> Iterator[str]:
    """Yield a line for each thing that may need an option or a look at the data."""
    yield from about_names_of_rows(data, columns)
    yield from about_ties(data, columns)
    yield from about_empty_cells(data, given)
    yield from about_time(columns)


def about_names_of_rows(data: Data, columns: Sequence[Column]) -> Iterator[str]:
    """Name columns that number the rows, or name them."""
    for column, values in zip(columns, data.values.T):
        values = values[~np.isnan(values)]
        if data.table.named and column.name == "x1" and "x2" not in data.columns:
            values = np.sort(values)  # the index of pandas, which has no name; rows may be shuffled
        steps, words = np.diff(values), ""
        if isinstance(column, Category):
            if len(column.labels) == len(data.values):
                words = "differs in every row, like names of rows"
        elif len(values) > 2 and np.all(steps == 1):
            words = "only numbers the rows"
        elif len(values) >= ORDERED and np.all(values == np.round(values)):
            if np.all(steps > 0) or np.all(steps < 0):
                words = "holds different whole numbers in order, like names of rows"
        if words:
            yield f"{column.name!r} {words}: {_without(column.name)}"


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


def about_time(columns: Sequence[Column]) -> Iterator[str]:
    """Say what the simple densities of many real columns take."""
    real = sum(isinstance(column, Continuous) for column in columns)
    if minutes_of_real(real) > LONG:
        yield (
            f"{real:,} real columns: the simple densities take about {minutes_of_real(real):.1f} "
            "minutes of a processor, before any flow, and an eighth of that for half of the columns"
        )


def _listed(parts):
    """List the first parts, and how many more there are."""
    more = f" and {len(parts) - NAMED:,} more" if len(parts) > NAMED else ""
    return ", ".join(parts[:NAMED]) + more


def _without(name):
    return f"--without {quote(name)} leaves it out"


def about_supports(found: Sequence[str]) -> Iterator[str]:
    """Say which supports the rule chose."""
    if found:
        yield f"supports: {_listed(found)}; --column NAME=real undoes one"
