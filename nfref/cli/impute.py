"""``nfref impute``: fill empty cells."""

from argparse import ArgumentParser, Namespace

import numpy as np

from nfref.cli import model_rows
from nfref.cli.arguments import DATA, HEADER, MODEL, SEED
from nfref.cli.data import about_missing, load
from nfref.cli.predict import answered
from nfref.cli.streams import note, row_bar, say, say_written
from nfref.runtime.checks import plural
from nfref.tables.queries.answers import impute
from nfref.tables.queries.scoring import stacked
from nfref.tables.reading import write_table
from nfref.tables.reading.table import quoted_names
from nfref.tables.reading.write import as_stored, writer


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of ``nfref impute``."""
    add = parser.add_argument
    add("model", **MODEL)
    add("data", **DATA, help="a file, - for standard input")
    add("--header", **HEADER)
    add("--seed", **SEED, help="the same seed samples the same cells (default: 0)")
    add("--out", metavar="FILE", required=True, help="the table without gaps")


def run(options: Namespace) -> None:
    """Write DATA with every empty cell sampled given the other cells of its row.

    DATA may lack columns of the model, which are sampled too, but not those that it is given.
    Another --seed gives another sample; their spread shows how uncertain cells are. Columns that
    the model does not know stay as they are.

    example:
      nfref impute people.npz people.csv --out filled.csv
    """
    model_rows.check_output(options.out, options.model, options.data)
    model = model_rows.loaded_model(options.model, table_for="MODEL")
    data = load(options.data, options.header, model_rows.texts_for(model), may_be_empty=True)
    density = model.density
    names = [column.name for column in density.columns]
    cells = model_rows.partial_cells(
        data, model, optional=[name for name in names if name not in density.given]
    )
    unknown = model_rows.unknown_to(model, data.columns, data.table.named)
    if unknown:
        listed = quoted_names(unknown)
        note(f"columns that the model does not know are written as they are: {listed}")
    rng = np.random.default_rng(options.seed)
    by_name = not {*names}.isdisjoint(data.columns)
    order = list(dict.fromkeys((*data.columns, *names))) if by_name else names
    texts = {
        name: values for name, values in zip(data.columns, data.table.cells()) if name in unknown
    }
    others = {name: as_stored(options.out, values) for name, values in texts.items()}
    writer(options.out, any(values.dtype == object for values in (*cells, *others.values())))

    def filled(some):
        found = dict(zip((*names, *others), some))
        found.update(zip(names, impute(density, some[: len(names)], rng)))
        return stacked([found[name] for name in order])

    integers = model_rows.whole_columns(density.columns, cells)
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
