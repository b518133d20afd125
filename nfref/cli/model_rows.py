"""Load a model file and rows for it, and write rows, as several commands do."""

import itertools
import os
from collections.abc import Collection

import numpy as np

from nfref.cli.arguments import UsageError, blamed
from nfref.cli.data import Data, load, say_remark
from nfref.cli.streams import is_closed, note, say_written, utf8_output
from nfref.runtime.annotations import Any, Array, Iterator, Sequence
from nfref.runtime.checks import plural
from nfref.runtime.files import check_writable, is_special
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.files.model_file import Model, load_model
from nfref.tables.queries.known_cells import check_known_cells, row_given
from nfref.tables.queries.scoring import check_cells
from nfref.tables.reading import batches, write_table
from nfref.tables.reading.read import READERS, check_suffix
from nfref.tables.reading.table import (
    Keep,
    are_whole,
    matched_places,
    numbered_columns,
    quoted_names,
)
from nfref.tables.reading.write import writer
from nfref.tables.schema.columns import Column, is_whole, missing_cells_of

# Models -----------------------------------------------------------------------------------


def loaded_model(path: str, table_for: str = "") -> Model:
    """Load a model that takes no context.

    ``table_for`` names an option that needs the density of a table; with "" any model will do.
    """
    if not path:
        raise UsageError("MODEL: expected a model file, got ''")
    model = load_model(path)
    if model.density.context_dim:
        raise UsageError(
            f"{path}: expected a model without context, got one that takes "
            f"{model.density.context_dim} context columns"
        )
    if table_for:
        check_of_table(model, path, table_for)
    return model


def check_of_table(model: Model, path: str, option: str) -> None:
    """Check that a model is the density of a table, because an option needs one."""
    if not isinstance(model.density, TableDensity):
        raise UsageError(
            f"{option}: expected the density of a table, got {path}, a flow that nfref.fit fitted"
        )


def given_values(model: Model, asked: Sequence[tuple[str, str]], path: str) -> dict[str, Any]:
    """Return name -> value of --given, after checking that each column can take its value."""
    columns = getattr(model.density, "columns", ())
    asked = [_at_column(name, value, [column.name for column in columns]) for name, value in asked]
    given = dict(asked)
    if len(given) < len(asked):
        twice = next(name for k, (name, _) in enumerate(asked) if name in dict(asked[:k]))
        raise UsageError(f"--given: expected each column once, got {twice!r} twice")
    if not given and not getattr(model.density, "given", ()):
        return given
    check_of_table(model, path, "--given")
    for column in columns:  # labels that are no text
        if column.name in given and column.kind == "category":
            texts = {str(label): label for label in reversed(column.labels)}
            given[column.name] = texts.get(given[column.name], given[column.name])
    with blamed("--"):
        row_given(model.density, given)
    return given


def _at_column(name, value, columns):
    """Return NAME=VALUE split behind a column's name: names and values may hold = too."""
    parts = f"{name}={value}".split("=")
    splits = [("=".join(parts[:k]), "=".join(parts[k:])) for k in range(len(parts) - 1, 0, -1)]
    return next((split for split in splits if split[0] in columns), (name, value))


# Columns of a table and of a model --------------------------------------------------------


def tables_for(
    model: Model, path: str, header: str, optional: Sequence[str] = ()
) -> Iterator[Data]:
    """Yield the rows of DATA as :class:`nfref.cli.data.Data`, a batch at a time."""
    texts, keep = texts_for(model), known_to(model, optional)
    if not os.path.exists(path):  # built-in data, or an error
        yield load(path, header, texts, keep=keep)
        return
    of_table = isinstance(model.density, TableDensity)
    for table in batches(path, header, texts, keep=keep, may_be_empty=of_table):
        yield Data(path, table)


def for_model(data: Data, model: Model, told: object = False) -> list[Array]:
    """Return the data's cells, numbers or text, as a list of columns in the order of the model's.

    A guess about the first line of DATA is printed unless it was ``told`` or names agree.
    """
    columns = model.columns or numbered_columns(model.density.dim)
    named = _has_names(model)
    places, cells = matched_places(data.name, data.table, columns, named), data.table.cells()
    say_remark(data, told or (data.table.named and (named or data.columns == columns)))
    return [cells[k] for k in places]


def partial_cells(
    data: Data,
    model: Model,
    optional: Sequence[str] = (),
    ignored: Sequence[str] = (),
    first: int = 1,
) -> list[Array]:
    """Return cells as :func:`for_model` does, for partial rows.

    If both have names, the data may have other columns too. ``optional`` and ``ignored`` columns
    may be absent, and ignored ones are empty in any case. ``first`` is the number of the first row
    in messages.
    """
    names, columns = model.columns or numbered_columns(model.density.dim), model.density.columns
    table, there = data.table, data.columns
    if table.named and model.columns or set(there) < set(names):
        needed = [name for name in names if name not in (*there, *optional, *ignored)]
        if needed:
            got = quoted_names(there)
            raise UsageError(f"{data.name}: expected a column {needed[0]!r}, got {got}")
        say_remark(data, table.named or first > 1)
        known = dict(zip(there, table.cells()))
        cells = [known.get(column.name, np.empty(0)) for column in columns]
    else:
        cells = for_model(data, model, told=first > 1)
    cells = [
        missing_cells_of(column, len(data.values))
        if column.name in ignored or not len(values)
        else values
        for column, values in zip(columns, cells)
    ]
    with blamed(f"{data.name}: "):
        check_cells(model.density, cells, first)
        check_known_cells(model.density, cells, first)
    return cells


def known_to(model: Model, optional: Sequence[str] = ()) -> Keep:
    """Return a function that chooses which columns of a file are read.

    If a file with names holds all the model's columns but ``optional`` ones, these are read.
    Otherwise all columns are read, and a later check says what is missing.
    """
    told: list[bool] = []

    def keep(columns, named):
        needed = {*(model.columns or ())} - {*optional}
        extra = unknown_to(model, columns, named)
        if not extra or not needed <= {*columns}:
            return columns
        if not told:
            note(f"columns that the model does not know are not used: {quoted_names(extra)}")
            told.append(True)
        return [name for name in columns if name not in extra]

    return keep


def texts_for(model: Model) -> Keep:
    """Return a function that names the columns of a file whose cells are text.

    These are the model's columns of text, and all that the model does not know, whatever they hold.
    """

    def texts(columns, named):
        if named and _has_names(model):
            return (*text_columns(model), *unknown_to(model, columns, named))
        kinds = getattr(model.density, "columns", ())
        return [name for name, column in zip(columns, kinds) if _is_text(column)]

    return texts


def unknown_to(model: Model, columns: Sequence[str], named: bool) -> list[str]:
    """Return the columns of a table that the model does not know, if both have names."""
    known = model.columns if named and _has_names(model) else columns
    return [name for name in columns if name not in (known or ())]


def text_columns(model: Model) -> tuple[str, ...]:
    """Return the names of the model's columns whose cells are text."""
    columns = getattr(model.density, "columns", ())
    return tuple(column.name for column in columns if _is_text(column))


def whole_columns(columns: Sequence[Column], cells: Sequence[Array] | None = None) -> list[str]:
    """Return the names of columns that hold only whole numbers, and whose cells are such too."""
    return [
        column.name
        for k, column in enumerate(columns)
        if is_whole(column)
        and (cells is None or np.all(are_whole(cells[k][:, None].astype(np.float64))))
    ]


def _has_names(model):
    """Return whether the model's columns have names of their own."""
    return model.columns not in (None, numbered_columns(model.density.dim))


def _is_text(column):
    return column.kind == "category" and isinstance(column.labels[0], str)


# Output -----------------------------------------------------------------------------------


def check_there(what: str) -> None:
    """Check that standard output is open, for commands that only print."""
    if is_closed():
        raise UsageError(f"standard output: expected one to write {what} to, got a closed one")


def check_target(option: str, path: str, taken: dict[str, str], formats: Collection[str]) -> None:
    """Check that a file can be written, in one of the formats; a device or a pipe needs none.

    ``taken`` says what each of the other files is, by its real path.
    """
    if not path:
        raise UsageError(f"{option}: expected a file to write, got ''")
    check_writable(path)
    if what := taken.get(os.path.realpath(path)):
        raise UsageError(f"{option}: expected a file of its own, got {path}, which is {what}")
    if not is_special(path):
        with blamed(f"{option}: "):
            check_suffix(path, formats)


def check_output(
    out: str | None,
    *inputs: str | None,
    what: str | None = None,
    formats: Collection[str] = READERS,
) -> None:
    """Check that ``out`` can be written and is not an input; without it, that stdout is open."""
    if out is None:
        if what is not None:
            check_there(what)
        return
    taken = {os.path.realpath(path): "read" for path in inputs if path is not None}
    check_target("--out", out, taken, formats)
    if ".parquet" in formats:
        writer(out)  # finds a package that is missing


def write_rows(
    out: str | None, columns: Sequence[str], blocks: Iterator[Array], whole: Collection[str] = ()
) -> None:
    """Write blocks of rows to a file, or as csv to standard output.

    ``whole`` names columns of whole numbers. An error in the first rows comes before any output.
    """
    first = list(itertools.islice(blocks, 1))
    rows = 0

    def counted():
        nonlocal rows
        for block in itertools.chain(first, blocks):
            rows += len(block)
            yield block

    if out is None:
        with utf8_output() as output:
            write_table(output, columns, counted())
    else:
        write_table(out, columns, counted(), whole=whole)
        say_written(out, f"{rows:,} {plural('row', rows)}")
