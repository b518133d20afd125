"""Load a model file and rows for it, and write rows, as several commands do."""

import itertools
import os
from collections.abc import Collection

import numpy as np

from nfref.cli import column_matching
from nfref.cli.arguments import UsageError, blamed
from nfref.cli.data import load
from nfref.cli.data_warnings import about_missing, say_remark
from nfref.cli.streams import is_closed, note, say_written, utf8_output
from nfref.runtime.annotations import Any, Array, Iterator, Sequence
from nfref.runtime.checks import plural
from nfref.runtime.files import check_writable, is_special
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.files.model_file import Model
from nfref.tables.queries.known_cells import row_given
from nfref.tables.queries.scoring import check_cells, stacked
from nfref.tables.reading import write_table
from nfref.tables.reading.read import READERS, check_suffix
from nfref.tables.reading.write import writer
from nfref.tables.schema.columns import with_gaps


def check_there(what: str) -> None:
    """Check that standard output is open, for commands that only print."""
    if is_closed():
        raise UsageError(f"standard output: expected one to write {what} to, got a closed one")


def loaded_model(path: str) -> Model:
    """Load a model that takes no context."""
    from nfref.tables.files.model_file import load_model

    if not path:
        raise UsageError("MODEL: expected a model file, got ''")
    model = load_model(path)
    if model.density.context_dim:
        raise UsageError(
            f"{path}: expected a model without context, got one that takes "
            f"{model.density.context_dim} context columns"
        )
    return model


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


def rows_for(
    model: Model, name: str, header: str, weights: str | None = None
) -> tuple[Array, Array | None]:
    """Read the rows of DATA without empty cells, in the order of the model's columns.

    Returns the rows and their weights, or None. Notes on standard error say whether column names
    were guessed and how many rows were left out.
    """
    of_table = isinstance(model.density, TableDensity)
    texts = column_matching.texts_for(model, (weights,))
    keep = column_matching.known_to(model, (weights,))
    data, weight = load(name, header, texts, of_table, keep).weighed(weights)
    cells, sure = column_matching.for_model(data, model)
    say_remark(data, sure)
    if of_table:
        with blamed(f"{data.name}: "):
            check_cells(model.density, cells, may_be_empty=True)
    whole = ~with_gaps(cells)
    if not np.all(whole):
        said = about_missing(model.columns or data.columns, cells)
        if not np.any(whole):
            raise UsageError(f"{data.name}: expected rows without empty cells, got {said}")
        note(f"{said}; these rows are left out")
    rows = stacked(cells)[whole]
    return rows, None if weight is None else weight[whole]


def write_rows(
    out: str | None,
    columns: Sequence[str],
    blocks: Iterator[Array],
    guarded: bool = False,
    whole: Collection[str] = (),
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
            write_table(output, columns, counted(), guarded)
    else:
        write_table(out, columns, counted(), guarded, whole)
        say_written(out, f"{rows:,} {plural('row', rows)}")


def table_model(path: str) -> Model:
    """Load a model that is the density of a table."""
    model = loaded_model(path)
    check_of_table(model, path, "MODEL")
    return model


def check_of_table(model: Model, path: str, option: str) -> None:
    """Check that a model is the density of a table, because an option needs one."""
    if not isinstance(model.density, TableDensity):
        raise UsageError(
            f"{option}: expected the density of a table, got {path}, a flow that nfref.fit fitted"
        )


def _at_column(name, value, columns):
    """Return NAME=VALUE split behind a column's name: names and values may hold = too."""
    parts = f"{name}={value}".split("=")
    splits = [("=".join(parts[:k]), "=".join(parts[k:])) for k in range(len(parts) - 1, 0, -1)]
    return next((split for split in splits if split[0] in columns), (name, value))


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
    for column in model.density.columns:  # labels that are no text
        if column.name in given and column.kind == "category":
            texts = {str(label): label for label in reversed(column.labels)}
            given[column.name] = texts.get(given[column.name], given[column.name])
    with blamed("--"):
        row_given(model.density, given)
    return given
