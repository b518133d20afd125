"""``nfref quantile``, ``predict`` and ``impute``: unknown cells of rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nfref.cli import arguments as arg
from nfref.cli import column_matching, inputs
from nfref.cli.arguments import Options, UsageError, blamed
from nfref.cli.data import load
from nfref.cli.data_warnings import about_missing, say_remark
from nfref.cli.score import tables_for
from nfref.cli.streams import note, row_bar, say, say_written
from nfref.runtime.checks import plural
from nfref.tables.queries.answers import impute, label_probabilities, predictions
from nfref.tables.queries.known_cells import row_given
from nfref.tables.queries.scoring import stacked
from nfref.tables.reading import write_table
from nfref.tables.reading.table import quoted_names
from nfref.tables.reading.write import as_stored, writer

ROWS = 1024  # rows that are answered at once
ONE_ROW = 10_000  # samples for a single row
TABLE_MODEL = "a model file of the density of a table"


def _column(model, name):
    """Return the column of that name, which must not be a given one."""
    density = model.density
    column = next((column for column in density.columns if column.name == name), None)
    if column is None:
        raise UsageError(
            "--column: expected one of "
            f"{', '.join(repr(one.name) for one in density.columns)}; got {name!r}"
        )
    if name in density.given:
        raise UsageError(f"--column: expected one that the model is not given, got {name!r}")
    return column


# Quantiles --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Quantiles(Options):
    """Options of ``nfref quantile``."""

    model: str = arg.positional("MODEL", TABLE_MODEL)
    column: str = arg.option("a column of numbers", "NAME", required=True)
    given: Sequence = arg.several("column NAME is VALUE", "NAME=VALUE,NAME=VALUE", arg.conditions)
    levels: tuple = arg.option(
        "above 0 and below 1 (default: 0.05,0.5,0.95)", "P,P", arg.shares, default=(0.05, 0.5, 0.95)
    )
    quiet: bool = arg.quiet()


def quantile(options: Quantiles) -> None:
    """Print quantiles of one column given values of others.

    Columns that you do not give are unknown: the answer averages over their possible values.

    example:
      nfref quantile wine.npz --given alcohol=12 --column quality
      nfref quantile wine.npz --column pH --levels 0.05,0.5,0.95
    """
    inputs.check_there("quantiles")
    model = inputs.table_model(options.model)
    column = _column(model, options.column)
    if column.kind == "category":
        raise UsageError(
            f"--column: expected a column of numbers, got the category {column.name!r} "
            "(nfref predict gives the probabilities of its labels)"
        )
    given = inputs.given_values(model, options.given, options.model)
    if column.name in given:
        raise UsageError(
            f"--given: expected other columns than {column.name!r}, of which quantiles are asked"
        )
    _, found, _ = predictions(
        model.density, row_given(model.density, given), column.name, options.levels, ONE_ROW
    )
    for level, value in zip(options.levels, found[0]):
        print(f"{level:<8} {value:.6g}")


# Predictions ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prediction(Options):
    """Options of ``nfref predict``."""

    model: str = arg.positional("MODEL", TABLE_MODEL)
    data: str = arg.positional(
        "DATA", "a file, - for standard input, or the name of built-in data", type=arg.table_path
    )
    column: str = arg.option("what to predict", "NAME", required=True)
    interval: float = arg.option(
        "the probability of the interval; each side beyond it has half of the rest",
        "P",
        arg.share,
        default=0.9,
    )
    header: str = arg.header()
    out: str | None = arg.option(
        "write here, in the format of the suffix, instead of standard output", "FILE"
    )
    quiet: bool = arg.quiet()


def predict(options: Prediction) -> None:
    """Predict one column from the others, for every row of DATA.

    The answers are its mean, its median and an interval that holds it with probability --interval;
    for a category the probability of each label. The command does not use the values of the column
    itself; DATA may lack it. Empty cells in other columns count as unknown. The answers are
    computed from weighted samples, and are the same each time.

    example:
      nfref predict model.npz new.csv --column price --out prices.csv
      nfref predict model.npz new.csv --column price --interval 0.5
    """
    inputs.check_output(options.out, options.model, options.data, what="predictions")
    model = inputs.table_model(options.model)
    column = _column(model, options.column)
    half = (1 - options.interval) / 2
    levels = (half, 0.5, 1 - half)
    if column.kind == "category":
        names = tuple(f"P({label})" for label in column.labels)
    else:
        names = ("mean", "median", "lower", "upper")

    def answers(some):
        if column.kind == "category":
            return label_probabilities(model.density, some, column.name)
        mean, at, _ = predictions(model.density, some, column.name, levels)
        return np.stack([mean, at[:, 1], at[:, 0], at[:, 2]], axis=1)

    rows = 0

    def blocks():
        nonlocal rows
        with row_bar(options.out) as bar:
            for data in tables_for(model, options.data, options.header, optional=(column.name,)):
                cells, sure = column_matching.partial_cells(
                    data, model, ignored=(column.name,), first=rows + 1
                )
                say_remark(data, sure or rows)
                yield from _answered(answers, cells, data.name, bar)
                rows += len(cells[0])

    inputs.write_rows(options.out, names, blocks())


def _answered(answers, cells, name, bar):
    """Yield ``answers(columns' values)`` for batches of rows, counted by a bar."""
    for start in range(0, len(cells[0]), ROWS):
        some = [values[start : start + ROWS] for values in cells]
        with blamed(f"{name}: "):
            found = answers(some)
        yield found
        bar.update(len(some[0]))


# Filling ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Filling(Options):
    """Options of ``nfref impute``."""

    model: str = arg.positional("MODEL", TABLE_MODEL)
    data: str = arg.positional("DATA", "a file, - for standard input", type=arg.table_path)
    header: str = arg.header()
    seed: int = arg.seed("the same seed samples the same cells")
    out: str = arg.option("the table without gaps", "FILE", required=True)
    spreadsheet: bool = arg.spreadsheet()
    quiet: bool = arg.quiet()


def fill(options: Filling) -> None:
    """Write DATA with every empty cell sampled given the other cells of its row.

    Another --seed gives another sample; their spread shows how uncertain cells are. Columns that
    the model does not know stay as they are.

    example:
      nfref impute people.npz people.csv --out filled.csv
    """
    inputs.check_output(options.out, options.model, options.data)
    model = inputs.table_model(options.model)
    data = load(options.data, options.header, column_matching.texts_for(model), may_be_empty=True)
    cells, sure = column_matching.partial_cells(data, model)
    say_remark(data, sure)
    unknown = column_matching.unknown_to(model, data.columns, data.table.named)
    if unknown:
        listed = quoted_names(unknown)
        note(f"columns that the model does not know are written as they are: {listed}")
    density = model.density
    names = [column.name for column in density.columns]
    rng = np.random.default_rng(options.seed)
    order = data.columns if set(names) <= set(data.columns) else tuple(names)
    others = {
        name: as_stored(options.out, values)
        for name, values in zip(data.columns, data.table.cells())
        if name in unknown
    }
    has_text = any(values.dtype == object for values in (*cells, *others.values()))
    writer(options.out, has_text)

    def whole(some):
        filled = impute(density, some[: len(cells)], rng)
        found = dict(zip((*names, *others), (*filled, *some[len(cells) :])))
        return stacked([found[name] for name in order])

    integers = column_matching.whole_columns(density.columns, cells)
    integers += [
        name
        for name, cells_as_text in zip(data.columns, data.table.cells())
        if name in unknown and others[name].dtype.kind == "f" and _are_integers(cells_as_text)
    ]
    with row_bar(True, total=len(cells[0])) as bar:
        filled = _answered(whole, [*cells, *others.values()], data.name, bar)
        write_table(options.out, order, filled, options.spreadsheet, integers)
    about = about_missing(names, cells)
    say(
        f"{about}; each is one sample given the cells that are there"
        if about
        else f"{data.name}: no row has empty cells"
    )
    say_written(options.out, f"{len(cells[0]):,} {plural('row', len(cells[0]))}")


def _are_integers(texts):
    """Return whether every text is empty or a whole number without a point."""
    return all(text is None or text.removeprefix("-").isdecimal() for text in texts)
