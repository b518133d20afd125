"""Fit a table with missing cells: stochastic EM.

Two steps alternate. Every missing cell is sampled given the other cells of its row, under the
density so far (E, by one sample). Then the density is fitted to the filled rows (M). The error that
is left shrinks in each round by about the share of missing cells; for a component of a mixture, by
their share in its rows. The column with the largest share decides the number of rounds. The first
rounds use a Gaussian, which forgets its start, and as many follow with mixtures; both are cheap. In
the end the whole plan is fitted to the rows as they are filled then.

So parameters follow from one sample of the missing cells, not from their mean; flows learn what
simple densities put into the gaps; and held-out rows are scored as filled. The method assumes that
cells are missing at random: given the other cells, whether a cell is missing says nothing about its
value.

If some columns are given, rows without a value in one of these are left out, and so are rows
without any other value: they say little or nothing about a density given these columns.

Source: Bishop 2006 (EM).
"""

from dataclasses import replace
from functools import partial

import numpy as np

from nfref.runtime.annotations import Any, Array, Sequence
from nfref.runtime.interrupts import came, insisted, interruptible
from nfref.tables.densities.limited_sum import LimitedSum
from nfref.tables.fitting.fit import Fitted, fit_table
from nfref.tables.fitting.plan import Plan
from nfref.tables.fitting.progress import Progress
from nfref.tables.queries.missing_cells import impute
from nfref.tables.schema.columns import is_missing
from nfref.tables.schema.distinct_rows import as_counts, effective_rows, grouped_rows

MOST_ROUNDS = 10  # of each kind
LEFT = 1e-3  # of the error of the start, after the rounds of a kind
ROWS_OF_A_ROUND = 5000  # most rows of a round
SHARE_OF_BUDGET = 0.3  # share of the time budget after which no new round begins


def fit_incomplete_table(
    columns: Sequence[Any],
    table: Sequence[Array],
    plan: Plan,
    seed: int,
    *,
    weight: Array | None = None,
    validation: float = 0.1,
    progress: Progress | None = None,
    given: Sequence[str] = (),
    limit: LimitedSum | None = None,
) -> Fitted:
    """Fit the density of a table whose cells may be NaN or None.

    Parameters and result are those of :func:`nfref.tables.fitting.fit.fit_table`.

    Raises
    ------
    ValueError
        If no row says anything about the columns that are not given; and as ``fit_table``.
    """
    fit = partial(fit_table, columns, seed=seed, validation=validation, given=given)
    if not any(np.any(is_missing(values)) for values in table):
        return fit(table, plan, weight=weight, progress=progress, limit=limit)
    weight = as_counts(weight)
    effective = effective_rows(weight, len(table[0]))
    used = ~uninformative_rows([column.name for column in columns], table, given)
    if not np.any(used):
        raise ValueError(
            "given: expected rows in which all given columns have a value and another "
            f"column has one too, got none in {len(used)}"
        )
    table = [values[used] for values in table]
    weight = None if weight is None else weight[used]
    whole = ~np.any([is_missing(values) for values in table], axis=0)
    places, group = grouped_rows(_comparable(table), seed)
    counts = np.bincount(group, weight, len(places)).astype(np.float64)
    table = [values[places] for values in table]
    rng = np.random.default_rng([seed, 1])
    filled = [_from_the_same(values, counts, rng) for values in table]
    plan, progress = plan.begun(), progress or Progress()
    found = _fill(filled, table, counts, plan, fit, rng, progress)
    if not came():
        found = fit(filled, plan, weight=counts, progress=progress, limit=limit)
    return replace(found, rows=effective, unseen=found.unseen.of_rows(group, whole, used))


def _fill(filled, table, counts, plan, fit, rng, progress):
    """Fill the gaps in place, in rounds of a simple density; return the last one that was fitted.

    Ctrl-C after the first round keeps the round before.
    """
    rounds = _rounds(table, counts)
    kinds = ["gaussian"] * rounds + ["mixture"] * (rounds if plan.flow != "gaussian" else 0)
    few, found = slice(ROWS_OF_A_ROUND), None
    try:
        with interruptible():
            for k, kind in enumerate(kinds, 1):
                progress.stage(f"values for empty cells   round {k} of {len(kinds)}")
                simple = replace(plan, flow=kind, members=0, simple=True, folds=1)
                found = fit([values[few] for values in filled], simple, weight=counts[few])
                last = k == len(kinds) or plan.has_spent(SHARE_OF_BUDGET)
                rows = slice(None) if last else few
                drawn = impute(found.density, [values[rows] for values in table], rng)
                for values, new in zip(filled, drawn):
                    values[rows] = new
                if last:
                    break
    except KeyboardInterrupt:
        if found is None or insisted():
            raise
    return found


def _rounds(table, counts):
    """Return how many rounds of a kind leave less of the error than ``LEFT``, or the most."""
    share = max(np.average(is_missing(values), weights=counts) for values in table)
    return next((k for k in range(1, MOST_ROUNDS) if share**k <= LEFT), MOST_ROUNDS)


def uninformative_rows(
    names: Sequence[str], table: Sequence[Array], given: Sequence[str] = ()
) -> Array:
    """Return which rows say nothing about the columns that are not given, (N,)."""
    missing = dict(zip(names, map(is_missing, table)))
    found = np.all([gap for name, gap in missing.items() if name not in given], axis=0)
    for name in given:
        found = found | missing[name]
    return found


def _comparable(table):
    """Return the table as numbers, equal where cells are equal or both missing, (N, D)."""
    found = []
    for values in table:
        gap = is_missing(values)
        if values.dtype.kind in "fiub":
            numbers = values.astype(np.float64)
        else:
            numbers = np.zeros(len(values))
            named = [f"{type(value).__name__} {value}" for value in values[~gap].tolist()]
            numbers[~gap] = np.unique(named, return_inverse=True)[1]
        found.append(np.where(gap, np.nan, numbers))
    return np.stack(found, axis=1)


def _from_the_same(values, counts, rng):
    """Return the column with gaps filled by values of other rows."""
    gap, filled = is_missing(values), np.array(values)
    share = counts[~gap] / np.sum(counts[~gap])
    filled[gap] = values[~gap][rng.choice(len(share), np.sum(gap), p=share)]
    return filled
