"""Match the columns of a table with those of a model."""

import numpy as np

from nfref.cli.arguments import UsageError, blamed
from nfref.cli.data import Data
from nfref.cli.streams import note
from nfref.runtime.annotations import Array, Sequence
from nfref.tables.files.model_file import Model
from nfref.tables.queries.known_cells import check_known_cells
from nfref.tables.queries.scoring import check_cells
from nfref.tables.reading.table import (
    Keep,
    are_whole,
    matched_places,
    numbered_columns,
    quoted_names,
)
from nfref.tables.schema.columns import Column, is_whole, missing_cells_of


def for_model(data: Data, model: Model) -> tuple[list[Array], bool]:
    """Return the data's cells, numbers or text, as a list of columns in the order of the model's.

    The second value says whether names decided the order.
    """
    columns = model.columns or numbered_columns(model.density.dim)
    named = _has_names(model)
    places, cells = matched_places(data.name, data.table, columns, named), data.table.cells()
    return [cells[k] for k in places], data.table.named and (named or data.columns == columns)


def _has_names(model):
    """Return whether the model's columns have names of their own."""
    return model.columns not in (None, numbered_columns(model.density.dim))


def known_to(model: Model, also: Sequence[str | None] = (), optional: Sequence[str] = ()) -> Keep:
    """Return a function that chooses which columns of a file are read.

    If a file with names holds all the model's columns but ``optional`` ones, these and ``also`` are
    read. Otherwise all columns are read, and a later check says what is missing.
    """
    told: list[bool] = []

    def keep(columns, named):
        needed = set(model.columns or ()) - set(optional) | set(also) - {None}
        extra = [name for name in unknown_to(model, columns, named) if name not in also]
        if not extra or not needed <= set(columns):
            return columns
        if not told:
            note(f"columns that the model does not know are not used: {quoted_names(extra)}")
            told.append(True)
        return [name for name in columns if name not in extra]

    return keep


def unknown_to(model: Model, columns: Sequence[str], named: bool) -> list[str]:
    """Return the columns of a table that the model does not know, if both have names."""
    known = model.columns if named and _has_names(model) else columns
    return [name for name in columns if name not in (known or ())]


def texts_for(model: Model, also: Sequence[str | None] = ()) -> Keep:
    """Return a function that names the columns of a file whose cells are text.

    These are the model's columns of text, and all columns that the model does not know but
    ``also``, whatever they hold.
    """

    def texts(columns, named):
        own = [name for name in columns if name not in also]
        if named and _has_names(model):
            return (*texts_of(model), *unknown_to(model, own, named))
        return [name for name, column in zip(own, _table_columns(model)) if _is_text(column)]

    return texts


def texts_of(model: Model) -> tuple[str, ...]:
    """Return the names of the model's columns whose cells are text."""
    return tuple(column.name for column in _table_columns(model) if _is_text(column))


def _table_columns(model):
    return getattr(model.density, "columns", ())


def _is_text(column):
    return column.kind == "category" and isinstance(column.labels[0], str)


def whole_columns(columns: Sequence[Column], cells: Sequence[Array] | None = None) -> list[str]:
    """Return the names of columns that hold only whole numbers, and whose cells are such too."""
    if cells is None:
        return [column.name for column in columns if is_whole(column)]
    return [
        column.name
        for column, values in zip(columns, cells)
        if is_whole(column) and np.all(are_whole(values[:, None].astype(np.float64)))
    ]


def partial_cells(
    data: Data,
    model: Model,
    optional: Sequence[str] = (),
    ignored: Sequence[str] = (),
    first: int = 1,
) -> tuple[list[Array], bool]:
    """Return (cells, sure) as :func:`for_model` does, for partial rows.

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
        known, sure = dict(zip(there, table.cells())), table.named
        cells = [known.get(column.name, np.empty(0)) for column in columns]
    else:
        cells, sure = for_model(data, model)
    cells = [
        missing_cells_of(column, len(data.values))
        if column.name in ignored or not len(values)
        else values
        for column, values in zip(columns, cells)
    ]
    with blamed(f"{data.name}: "):
        check_cells(model.density, cells, first)
        check_known_cells(model.density, cells, first)
    return cells, sure
