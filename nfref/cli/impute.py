"""``nfref impute``: fill empty cells."""

from argparse import ArgumentParser, Namespace

import numpy as np

from nfref.cli import arguments
from nfref.cli.data import about_missing, load, say_remark
from nfref.cli.model_rows import (
    check_output,
    loaded_model,
    partial_cells,
    texts_for,
    unknown_to,
    whole_columns,
)
from nfref.cli.predict import TABLE_MODEL, answered
from nfref.cli.streams import note, row_bar, say, say_written
from nfref.runtime.checks import plural
from nfref.tables.queries.answers import impute
from nfref.tables.queries.scoring import stacked
from nfref.tables.reading import write_table
from nfref.tables.reading.table import quoted_names
from nfref.tables.reading.write import as_stored, writer


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of ``nfref impute``."""
    parser.add_argument("model", metavar="MODEL", help=TABLE_MODEL)
    parser.add_argument(
        "data", metavar="DATA", type=arguments.table_path, help="a file, - for standard input"
    )
    arguments.add_header(parser)
    parser.add_argument(
        "--seed",
        metavar="S",
        type=arguments.seed,
        default=0,
        help="the same seed samples the same cells (default: 0)",
    )
    parser.add_argument("--out", metavar="FILE", required=True, help="the table without gaps")


def run(options: Namespace) -> None:
    """Write DATA with every empty cell sampled given the other cells of its row.

    Another --seed gives another sample; their spread shows how uncertain cells are. Columns that
    the model does not know stay as they are.

    example:
      nfref impute people.npz people.csv --out filled.csv
    """
    check_output(options.out, options.model, options.data)
    model = loaded_model(options.model, table_for="MODEL")
    data = load(options.data, options.header, texts_for(model), may_be_empty=True)
    cells, sure = partial_cells(data, model)
    say_remark(data, sure)
    unknown = unknown_to(model, data.columns, data.table.named)
    if unknown:
        listed = quoted_names(unknown)
        note(f"columns that the model does not know are written as they are: {listed}")
    density = model.density
    names = [column.name for column in density.columns]
    rng = np.random.default_rng(options.seed)
    order = data.columns if set(names) <= set(data.columns) else tuple(names)
    texts = {
        name: values for name, values in zip(data.columns, data.table.cells()) if name in unknown
    }
    others = {name: as_stored(options.out, values) for name, values in texts.items()}
    writer(options.out, any(values.dtype == object for values in (*cells, *others.values())))

    def filled(some):
        found = dict(zip((*names, *others), some))
        found.update(zip(names, impute(density, some[: len(names)], rng)))
        return stacked([found[name] for name in order])

    integers = whole_columns(density.columns, cells)
    integers += [
        name
        for name, values in others.items()
        if values.dtype.kind == "f" and _are_integers(texts[name])
    ]
    with row_bar(total=len(cells[0])) as bar:
        blocks = answered(filled, [*cells, *others.values()], data.name, bar)
        write_table(options.out, order, blocks, whole=integers)
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
