"""Notes about data, printed before a fit."""

import re
from shlex import quote

import numpy as np

from nfref.cli.data import Data
from nfref.cli.split import Split
from nfref.cli.streams import complain, note
from nfref.runtime.annotations import Array, Iterator, Sequence
from nfref.runtime.checks import plural
from nfref.tables.fitting.gaps import uninformative_rows
from nfref.tables.fitting.supports import Supports
from nfref.tables.schema.column_inference import labels_repeat, minutes_of_real
from nfref.tables.schema.columns import Category, Column, Continuous, is_missing
from nfref.tables.schema.distinct_rows import effective_rows

_NINES = re.compile("-?99+")  # codes of missing numbers in surveys and measurements
COARSE = 10  # rows a distinct value from which a column counts as coarse
ORDERED = 20  # fewest rows for which ordered whole numbers look like names of rows
LONG = 0.2  # minutes of a processor from which a note says what simple densities take
NAMED = 5  # most columns that one line names
MOST_NAMED = 50  # most columns that a line about all of them names
OFTEN = 0.2  # share of the rows from which one value counts as frequent


def say_remark(data: Data, sure: object) -> None:
    """Print which line was taken for names, if that was a guess."""
    if data.table.remark and not sure:
        if data.table.doubtful:
            complain(f"nfref: warning: {data.table.remark}")
        else:
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


def sizes_of(data: Data, weight: Array | None) -> str:
    """Say how many rows and columns there are."""
    columns = f"{len(data.columns)} {plural('column', len(data.columns))}"
    rows = f"{data.name}: {len(data.values):,} {plural('row', len(data.values))}"
    rows += "" if weight is None else " with weights"
    part = (
        "" if data.total is None else f", a sample of {len(data.values):,} of {data.total:,} rows"
    )
    return f"{rows}, {columns}{part}"


def summary_of(data: Data, columns: Sequence[Column], given: Sequence[str]) -> str:
    """Say in one line what the columns are."""
    real = [column for column in columns if isinstance(column, Continuous)]
    atoms = _atoms_of(columns, given)
    empty = [is_missing(values).any() for values in data.table.cells()]
    numbers = {
        "category": sum(column.kind == "category" for column in columns),
        "count": sum(column.kind == "count" for column in columns),
        "of real numbers": len(real),
        "rounded": sum(column.step is not None for column in real),
        f"with a value that many rows share ({_listed(atoms)})": len(atoms),
        "with empty cells": sum(empty),
        "given": len(given),
    }
    return "columns: " + ", ".join(f"{n:,} {what}" for what, n in numbers.items() if n)


def _atoms_of(columns, given):
    """Return the name and the atoms of each column that has some and is not given."""
    return [
        f"{column.name!r} {', '.join(f'{atom:g}' for atom in column.atoms)}"
        for column in columns
        if isinstance(column, Continuous) and column.atoms and column.name not in given
    ]


def about_rows(
    data: Data, split: Split, weights: str | None, weight: Array | None, copies: int
) -> Iterator[str]:
    """Say how many rows there are, and what they count."""
    if data.table.remark and not data.table.doubtful:
        yield data.table.remark
    yield f"{sizes_of(data, None)}; {split}"
    if data.total is not None:
        yield (
            f"used a sample of {len(data.values):,} of {data.total:,} rows (--rows N takes more or "
            "fewer)"
        )
    if weight is not None:
        effective = effective_rows(weight, len(weight))
        yield f"weights {weights!r}: effective number of rows {effective:,.1f}"
    elif copies:
        equal = f"{copies:,} {plural('row', copies)} equal to an earlier one"
        part = "" if split.of_copies else ", and copies stay in the same part"
        yield f"{equal}: each counts{part}"


def about_columns(columns: Sequence[Column], given: Sequence[str]) -> Iterator[str]:
    """Name the columns that are not simply real, rounded ones, and given ones."""
    kinds = [f"{column.name!r} {column.kind}" for column in columns if column.kind != "real"]
    if kinds:
        yield f"columns that are not real: {_listed(kinds, MOST_NAMED)}"
    steps = [
        f"{column.name!r} {column.step:g}"
        for column in columns
        if isinstance(column, Continuous) and column.step is not None
    ]
    if steps:
        yield (f"rounded values are dequantised, and samples are rounded: {_listed(steps)}")
    if atoms := _atoms_of(columns, given):
        yield f"values with a probability of their own: {_listed(atoms)}"
    real = sum(isinstance(column, Continuous) for column in columns)
    if minutes_of_real(real) > LONG:
        yield (
            f"{real:,} real columns: the simple densities take about {minutes_of_real(real):.1f} "
            "minutes of a processor, before any flow, and an eighth of that for half of the columns"
        )
    if given:
        rest = [column.name for column in columns if column.name not in given]
        names = [_listed([*map(repr, some)], MOST_NAMED) for some in (rest, given)]
        yield f"the density of {names[0]} given {names[1]}"


def _listed(parts, most=NAMED):
    """List the first parts, and how many more there are."""
    more = f" and {len(parts) - most:,} more" if len(parts) > most else ""
    return ", ".join(parts[:most]) + more


def about_ties(data: Data, columns: Sequence[Column]) -> Iterator[str]:
    """Name columns whose values repeat without a rounding step, or are codes."""
    numbers = {column.name: column for column in columns if column.kind != "category"}
    codes, padded, often, coarse = [], [], [], []
    for name, values in zip(data.columns, data.values.T):
        if name not in numbers:
            continue
        values, column = values[~np.isnan(values)], numbers[name]
        distinct, counts = np.unique(values, return_counts=True)
        codes += _codes(name, distinct, counts)
        if name in data.table.padded:
            labels = f"--column {quote(name + '=category')} takes its texts as labels"
            remedy = labels if labels_repeat(len(distinct), len(values)) else _without(name)
            words = "has zeros in front, as codes have, and is read as a number"
            padded.append(f"{name!r} {words}: {remedy}")
        if not isinstance(column, Continuous):
            continue
        real, most = column.step is None and not column.atoms, np.argmax(counts)
        if real and 1 < counts[most] and counts[most] >= OFTEN * len(data.values):
            often.append(
                f"{name!r} is {distinct[most]:g} in "
                f"{counts[most] / len(data.values):.0%} of the rows"
            )
        elif real and COARSE * len(distinct) <= len(values):
            coarse.append(f"{name!r} {len(distinct):,}")
    if codes:
        yield (
            f"{_listed(codes)}, far from all other values: if it stands for a missing number, "
            "leave these cells empty"
        )
    yield from padded
    if often:
        yield (
            f"{', '.join(often)}: a density can pile up there without bound; "
            "--column NAME=count or category gives values a probability"
        )
    if coarse:
        take = "1 column takes" if len(coarse) == 1 else f"{len(coarse)} columns take"
        yield (
            f"{take} few values in {len(data.values):,} rows ({', '.join(coarse)}): a density "
            "can pile up on them without bound, so compare log-likelihoods with care"
        )


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


def _codes(name, distinct, counts):
    """Yield the least or largest value if it is of nines, such as -999: no number, perhaps.

    It repeats, and is further from all other values than these from each other.
    """
    for end, rest in ((0, distinct[1:]), (-1, distinct[:-1])):
        if len(rest) < 2 or counts[end] == 1 or not _NINES.fullmatch(f"{distinct[end]:.15g}"):
            continue
        if np.min(np.abs(rest - distinct[end])) > rest[-1] - rest[0]:
            yield f"{name!r} is {distinct[end]:g} in {counts[end]} rows"


def _without(name):
    return f"--without {quote(name)} leaves it out"


def about_supports(supports: Supports) -> Iterator[str]:
    """Say which supports the rule chose."""
    if supports.notes:
        yield (f"supports: {_listed(supports.notes)}; --column NAME=real undoes one")


def about_empty_cells(data: Data, given: Sequence[str]) -> Iterator[str]:
    """Say how many cells are empty, and what the fit does with them."""
    cells = data.table.cells()
    about = about_missing(data.columns, cells)
    if not about:
        return
    yield (
        f"{about}; they are sampled given the other cells of their rows, and densities are "
        "fitted to the filled rows"
    )
    left_out = int(np.sum(uninformative_rows(data.columns, cells, given)))
    if left_out:
        why = (
            "without a value in a given column, or in all others" if given else "without any value"
        )
        yield f"left out {left_out:,} {plural('row', left_out)} {why}"
