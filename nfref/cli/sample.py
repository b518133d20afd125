"""``nfref sample``: new rows from a model."""

import os
import shutil
from argparse import ArgumentParser, Namespace

import numpy as np

from nfref.cli import model_rows
from nfref.cli.arguments import GIVEN, MODEL, OUT, SEED, UsageError, blamed, count, positive
from nfref.cli.streams import note
from nfref.runtime.batching import BLOCK
from nfref.runtime.checks import plural
from nfref.runtime.files import is_special
from nfref.tables.fitting.flow_kinds import size_of
from nfref.tables.queries.scoring import sample_rows
from nfref.tables.reading.table import numbered_columns
from nfref.tables.reading.write import writer


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of ``nfref sample``."""
    add = parser.add_argument
    add("model", **MODEL)
    add("-n", metavar="N", type=count(0), required=True, help="how many rows to sample")
    add("--seed", **SEED, help="the same seed samples the same rows (default: 0)")
    add("--given", **GIVEN, help="column NAME is VALUE (only from the density of a table)")
    add("--within", metavar="W", type=positive, help="robust standard deviations kept, see above")
    add("--out", **OUT)


def run(options: Namespace) -> None:
    """Sample rows from a model, with the columns it was fitted to.

    With --given, some columns have the values that you give. A model that was fitted with --given
    needs values of those columns. nfref impute samples rows for each row of a file.

    Tails have no moments. With --within W, a row is sampled again if a real column with at most
    one bound is further from its median than W robust standard deviations.

    example:
      nfref sample wine.npz -n 1000 --seed 1 --out new.csv
      nfref sample wine.npz -n 1000 --given alcohol=12,pH=3.1
    """
    model_rows.check_output(options.out, options.model, what="rows")
    model = model_rows.loaded_model(options.model)
    if options.within is not None:
        model_rows.check_of_table(model, options.model, "--within")
    given = model_rows.given_values(model, options.given, options.model)
    if options.out:
        writer(options.out, bool(model_rows.text_columns(model)))
        _check_disk(options.out, options.n, model.density.dim)
    whole = model_rows.whole_columns(getattr(model.density, "columns", ()))
    overflown = 0

    def blocks():
        nonlocal overflown
        for values in _new_rows(model, options, given):
            if values.dtype.kind == "f":
                overflown += np.sum(~np.all(np.isfinite(values), axis=1))
            yield values

    columns = model.columns or numbered_columns(model.density.dim)
    model_rows.write_rows(options.out, columns, blocks(), {*whole} - {*given})
    if overflown:
        note(f"{overflown} {plural('row', overflown)} with numbers too large to compute")


def _new_rows(model, options, given):
    """Yield n rows in blocks."""
    rng = np.random.default_rng(options.seed)
    for start in range(0, options.n, BLOCK):
        with blamed("--"):
            n = min(BLOCK, options.n - start)
            rows = sample_rows(model.density, model.params, rng, n, given, options.within)
        yield rows


def _check_disk(out, n, dim):
    """Check that the disk has space for a csv of n rows."""
    least = 4 * n * dim  # a number has three characters or more, and a delimiter
    free = shutil.disk_usage(os.path.dirname(os.path.realpath(out))).free
    if least > free and not is_special(out):
        raise UsageError(
            f"-n: expected rows that fit into the {size_of(free)} free for "
            f"{out}, got {n:,}, which take {size_of(least)} or more"
        )
