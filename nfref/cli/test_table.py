"""The table that ``nfref fit`` ends with: what was tried, and what else there is, on test rows."""

import numpy as np

from nfref.cli.comparison import compare_baselines, compare_candidates
from nfref.tables.densities.pool import mean_and_error
from nfref.tables.fitting.gaps import uninformative_rows
from nfref.tables.queries.missing_cells import log_marginal
from nfref.tables.schema.dataframes import is_missing

MARGINAL_ROWS = 200  # test rows that are scored where cells are empty, a thousand draws each


def whole_rows(part):
    """The rows of a part without empty cells."""
    return part.at(~np.any([is_missing(values) for values in part.table], axis=0))


def table_lines(data, split, fitted):
    """Every candidate, the pool, and what else there is to compare with, on the test rows."""
    density, cells = fitted.density, data.table.cells()
    every, train = split.test(cells), split.train(cells)
    test = whole_rows(every)
    if len(test) < len(every):
        yield from _about_cells_there(density, every)
        if not len(test):
            yield f"no test row of {split.tests:,} is without empty cells: nothing to compare by"
            return
        yield f"{len(test):,} of {split.tests:,} test rows are without empty cells:"
    compared, notes = compare_candidates(fitted, test), []
    if not density.given and len(test) == len(every) and len(whole_rows(train)) == len(train):
        others, notes = compare_baselines(density, train, test, data.truth)
        compared += others
    width = max(24, *(len(one.name) for one in compared))
    yield (
        f"{'test nats per row':<{width}}  {'mean':>10}  {'std. error':>10}  {'median':>10}  "
        f"{'weight':>7}  {'seconds':>8}"
    )
    for one in compared:
        error = "-" if np.isnan(one.error) else nats(one.error)
        weight, seconds = (
            ("", "") if one.weight is None else (f"{one.weight:.3f}", f"{one.seconds:.1f}")
        )
        yield (
            f"{one.name:<{width}}  {nats(one.mean):>10}  {error:>10}  {nats(one.median):>10}  "
            f"{weight:>7}  {seconds:>8}"
        ).rstrip()
    yield from (f"note: {note}" for note in notes)


def _about_cells_there(density, part):
    """The log-likelihood of the cells that are there, in test rows with and without empty ones."""
    names = [column.name for column in density.columns]
    used = np.flatnonzero(~uninformative_rows(names, part.table, density.given))[:MARGINAL_ROWS]
    if len(used):
        some = part.at(used)
        mean, error = mean_and_error(log_marginal(density, some.table).log_prob, some.weight)
        yield (
            f"test nats per row of the cells that are there: {nats(mean)}, std. error "
            f"{nats(error)} ({len(used):,} rows, with empty cells and without)"
        )


def nats(value):
    """A log-likelihood in ten characters; that of a row far out may have hundreds of digits."""
    return f"{value:.3f}" if abs(value) < 1e5 else f"{value:.3g}"
