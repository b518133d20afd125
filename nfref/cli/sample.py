"""``nfref sample``: new rows from a model."""

import os
import shutil
from argparse import ArgumentParser, Namespace

import numpy as np

from nfref.cli import arguments
from nfref.cli.arguments import UsageError, blamed
from nfref.cli.data import load, say_remark
from nfref.cli.model_rows import (
    check_of_table,
    check_output,
    given_values,
    known_to,
    loaded_model,
    partial_cells,
    text_columns,
    texts_for,
    whole_columns,
    write_rows,
)
from nfref.cli.streams import note
from nfref.runtime.batching import BLOCK
from nfref.runtime.checks import plural
from nfref.runtime.files import is_special
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.fitting.flow_kinds import size_of
from nfref.tables.queries.answers import impute
from nfref.tables.queries.scoring import inside, sample_rows, stacked
from nfref.tables.reading.table import numbered_columns
from nfref.tables.reading.write import writer

FAR = 1e6  # robust standard deviations from the median, where tails are worth a note


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of ``nfref sample``."""
    parser.add_argument("model", metavar="MODEL", help="a model file")
    parser.add_argument(
        "-n",
        metavar="N",
        type=arguments.count(0),
        help="how many rows to sample; with --given-from, for each of its rows (default there: 1)",
    )
    parser.add_argument(
        "--seed",
        metavar="S",
        type=arguments.seed,
        default=0,
        help="the same seed samples the same rows (default: 0)",
    )
    parser.add_argument(
        "--given",
        metavar="NAME=VALUE,NAME=VALUE",
        type=arguments.conditions,
        action="extend",
        default=[],
        help="sample rows in which column NAME is VALUE (only from the density of a table)",
    )
    parser.add_argument(
        "--given-from",
        metavar="DATA",
        type=arguments.table_path,
        help="a file with values of some columns; empty cells are sampled too",
    )
    parser.add_argument(
        "--within",
        metavar="W",
        type=arguments.positive,
        help="sample a row again if a real column with at most one bound is further from its "
        "median than W robust standard deviations; without it, means need not converge",
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="write here, in the format of the suffix, instead of standard output",
    )


def run(options: Namespace) -> None:
    """Sample rows from a model, with the columns it was fitted to.

    With --given, some columns have the values that you give. With --given-from, rows are sampled
    for each row of a file, whose known cells stay as they are. A model that was fitted with --given
    needs values of those columns.

    example:
      nfref sample wine.npz -n 1000 --seed 1 --out new.csv
      nfref sample wine.npz -n 1000 --given alcohol=12,pH=3.1
      nfref sample model.npz --given-from some.csv --out rows.csv
    """
    check_output(options.out, options.model, options.given_from, what="rows")
    if options.n is None and not options.given_from:
        raise UsageError("-n: expected the number of rows to sample, got none")
    model = loaded_model(options.model)
    if options.within is not None:
        check_of_table(model, options.model, "--within")
    if options.out:
        writer(options.out, bool(text_columns(model)))
    rng = np.random.default_rng(options.seed)
    given = {} if options.given_from else given_values(model, options.given, options.model)
    if options.given_from:
        total, rows, whole = _for_each_row(model, options, rng)
    else:
        total, rows = options.n, _new_rows(model, options, rng, given)
        whole = whole_columns(getattr(model.density, "columns", ()))
        whole = [name for name in whole if name not in given]
    _check_disk(options.out, total, model.density.dim)
    of_table = isinstance(model.density, TableDensity)
    watched = model.density.columns if of_table and not options.given_from else []
    overflown = distant = 0

    def blocks():
        nonlocal overflown, distant
        for values in rows:
            if values.dtype.kind == "f":
                overflown += np.sum(~np.all(np.isfinite(values), axis=1))
            if watched:
                distant += np.sum(~inside(watched, values.T, FAR, tuple(given)))
            yield values

    columns = model.columns or numbered_columns(model.density.dim)
    write_rows(options.out, columns, blocks(), whole)
    if overflown:
        note(f"{overflown} {plural('row', overflown)} with numbers too large to compute")
    if distant:
        note(
            f"{distant:,} of {total:,} rows are further out than {FAR:g} robust "
            "standard deviations: tails have no moments; --within 6 samples such rows again"
        )


def _new_rows(model, options, rng, given):
    """Yield n rows in blocks."""
    for start in range(0, options.n, BLOCK):
        with blamed("--"):
            n = min(BLOCK, options.n - start)
            rows = sample_rows(model.density, model.params, rng, n, given, options.within)
        yield rows


def _for_each_row(model, options, rng):
    """Return how many rows there are for those of --given-from, their blocks, whole columns."""
    if options.given:
        raise UsageError("--given: expected none with --given-from, which says what is given")
    if options.within is not None:
        raise UsageError(
            "--within: expected none with --given-from, whose rows are kept, got "
            f"{options.within:g}"
        )
    check_of_table(model, options.model, "--given-from")
    density, each = model.density, 1 if options.n is None else options.n
    not_given = [column.name for column in density.columns if column.name not in density.given]
    keep = known_to(model, optional=not_given)
    data = load(options.given_from, "auto", texts_for(model), True, keep)
    cells, sure = partial_cells(data, model, not_given)
    say_remark(data, sure)
    rows = len(cells[0])

    def blocks():
        step = max(1, BLOCK // max(each, 1))
        for start in range(0, rows if each else 0, step):
            block = [np.repeat(values[start : start + step], each) for values in cells]
            with blamed(f"{options.given_from}: "):
                found = impute(density, block, rng)
            yield stacked(found)

    return rows * each, blocks(), whole_columns(density.columns, cells)


def _check_disk(out, n, dim):
    """Check that the disk has space for a csv of n rows."""
    if out is None or is_special(out):
        return
    least = 4 * n * dim  # a number has three characters or more, and a delimiter
    free = shutil.disk_usage(os.path.dirname(os.path.realpath(out))).free
    if least > free:
        raise UsageError(
            f"-n: expected rows that fit into the {size_of(free)} free for "
            f"{out}, got {n:,}, which take {size_of(least)} or more"
        )
