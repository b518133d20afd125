"""Match the columns of a table with those of a model."""

from dataclasses import replace

import numpy as np

from nfref.cli.arguments import UsageError, blamed
from nfref.cli.data import Data
from nfref.cli.streams import note
from nfref.runtime.annotations import Array, Sequence
from nfref.tables.files.model_file import Model
from nfref.tables.queries.scoring import check_cells, stacked
from nfref.tables.reading.read import only
from nfref.tables.reading.table import Keep, match_columns, numbered_columns, quoted_names, text_at
from nfref.tables.reading.text import are_whole
from nfref.tables.schema.columns import Column, is_whole


def for_model(data: Data, model: Model) -> tuple[Array, bool]:
    """Return the data in the order of the model's columns, and whether names decided it."""
    columns = model.columns or numbered_columns(model.density.dim)
    named = columns != numbered_columns(model.density.dim)
    values = match_columns(data.name, data.table, columns, named)
    return values, data.table.named and (named or data.columns == columns)


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
    names = model.columns
    if not named or names is None or names == numbered_columns(model.density.dim):
        return []
    return [name for name in columns if name not in names]


def texts_for(model: Model, also: Sequence[str | None] = ()) -> Keep:
    """Return a function that names the columns of a file whose cells are text.

    These are the model's columns of text, and all columns that the model does not know but
    ``also``, whatever they hold.
    """

    def texts(columns, named):
        unknown = unknown_to(model, columns, named)
        return (*texts_of(model), *(name for name in unknown if name not in also))

    return texts


def texts_of(model: Model) -> tuple[str, ...]:
    """Return the names of the model's columns whose cells are text."""
    return tuple(
        column.name
        for column in getattr(model.density, "columns", ())
        if column.kind == "category" and isinstance(column.labels[0], str)
    )


def cells_of(data: Data, values: Array, model: Model) -> list[Array]:
    """Return the values as a list of columns in the order of the model's: numbers, or text."""
    return [
        text_at(data.table.labels[column.name], part) if column.name in data.table.labels else part
        for column, part in zip(model.density.columns, values.T)
    ]


def with_text(data: Data, values: Array, model: Model) -> Array:
    """Return the values with text in place of its codes."""
    return stacked(cells_of(data, values, model)) if data.table.labels else values


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
    data: Data, model: Model, optional: Sequence[str] = (), extra: bool = False, first: int = 1
) -> tuple[list[Array], bool]:
    """Return (cells, sure) as :func:`for_model` and :func:`cells_of` do, for partial rows.

    ``optional`` columns may be absent from the data, and are empty then. With ``extra`` the data
    may have other columns too. ``first`` is the number of the first row in messages.
    """
    names, there = model.columns or numbered_columns(model.density.dim), data.columns
    if extra and data.table.named and model.columns:
        kept = [name for name in data.columns if name in names]
        data = replace(data, table=only(data.table, lambda *_: kept))
    absent = [name for name in names if name not in data.columns]
    needed = [name for name in absent if name not in optional]
    if needed and data.table.named and model.columns:
        raise UsageError(f"{data.name}: expected a column {needed[0]!r}, got {quoted_names(there)}")
    if absent and set(absent) <= set(optional):
        table, columns = data.table, (*data.columns, *absent)
        gaps = np.full((len(table.values), len(absent)), np.nan)
        values = np.concatenate([table.values, gaps], axis=1)
        labels = {**table.labels, **{name: [] for name in absent if name in texts_of(model)}}
        table = replace(table, values=values, labels=labels, columns=columns)
        data = replace(data, table=table)
    values, sure = for_model(data, model)
    cells = cells_of(data, values, model)
    with blamed(f"{data.name}: "):
        check_cells(model.density, cells, first)
    return cells, sure
