"""``nfref predict``: a column from the others, for every row."""

from argparse import ArgumentParser, Namespace

import numpy as np

from nfref.cli.arguments import DATA, HEADER, MODEL, OUT, UsageError, blamed, share
from nfref.cli.model_rows import check_output, loaded_model, partial_cells, tables_for, write_rows
from nfref.cli.streams import row_bar
from nfref.runtime.annotations import Any, Array, Callable, Iterator, Sequence
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.queries.answers import label_probabilities, predictions

ROWS = 1024  # rows that are answered at once


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of ``nfref predict``."""
    add = parser.add_argument
    add("model", **MODEL)
    add("data", **DATA, help="a file, - for standard input, or the name of built-in data")
    add("--column", metavar="NAME", required=True, help="what to predict")
    about = "the probability of the interval, as much beyond either side (default: 0.9)"
    add("--interval", metavar="P", type=share, default=0.9, help=about)
    add("--header", **HEADER)
    add("--out", **OUT)


def run(options: Namespace) -> None:
    """Predict one column from the others, for every row of DATA.

    The answers are its mean, its median and an interval that holds it with probability --interval;
    for a category the probability of each label. The command does not use the values of the column
    itself; DATA may lack it. Empty cells in other columns count as unknown. The answers are
    computed from weighted samples, and are the same each time.

    example:
      nfref predict model.npz new.csv --column price --out prices.csv
      nfref predict model.npz new.csv --column price --interval 0.5
    """
    check_output(options.out, options.model, options.data, what="predictions")
    model = loaded_model(options.model, table_for="MODEL")
    column = asked_column(model.density, options.column)
    half = (1 - options.interval) / 2
    levels = (half, 0.5, 1 - half)
    names: tuple[str, ...] = ("mean", "median", "lower", "upper")
    if column.kind == "category":
        names = tuple(f"P({label})" for label in column.labels)

    def answers(some):
        if column.kind == "category":
            return label_probabilities(model.density, some, column.name)
        mean, at, _ = predictions(model.density, some, column.name, levels)
        return np.stack([mean, at[:, 1], at[:, 0], at[:, 2]], axis=1)

    def blocks():
        rows = 0
        with row_bar(options.out) as bar:
            for data in tables_for(model, options.data, options.header, optional=(column.name,)):
                cells = partial_cells(data, model, ignored=(column.name,), first=rows + 1)
                yield from answered(answers, cells, data.name, bar)
                rows += len(cells[0])

    write_rows(options.out, names, blocks())


def asked_column(density: TableDensity, name: str) -> Any:
    """Return the column of that name, which must not be a given one."""
    column = next((column for column in density.columns if column.name == name), None)
    if column is None:
        raise UsageError(
            "--column: expected one of "
            f"{', '.join(repr(one.name) for one in density.columns)}; got {name!r}"
        )
    if name in density.given:
        raise UsageError(f"--column: expected one that the model is not given, got {name!r}")
    return column


def answered(
    answers: Callable[[list[Array]], Array], cells: Sequence[Array], name: str, bar: Any
) -> Iterator[Array]:
    """Yield ``answers(columns' values)`` for batches of rows of DATA, counted by a bar."""
    for start in range(0, len(cells[0]), ROWS):
        some = [values[start : start + ROWS] for values in cells]
        with blamed(f"{name}: "):
            found = answers(some)
        yield found
        bar.update(len(some[0]))
