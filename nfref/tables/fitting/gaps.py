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

import numpy as np

from nfref.runtime.annotations import Array, Callable, Sequence
from nfref.runtime.interrupts import came
from nfref.tables.fitting.plan import TableFit
from nfref.tables.fitting.results import Fitted, Progress
from nfref.tables.queries.answers import impute
from nfref.tables.schema.columns import is_missing, with_gaps
from nfref.tables.schema.distinct_rows import as_counts, effective_rows, grouped_rows

MOST_ROUNDS = 10  # of each kind
LEFT = 1e-3  # of the error of the start, after the rounds of a kind
ROWS_OF_A_ROUND = 5000  # most rows of a round
GAPS_SHARE = 0.3  # of the time budget, after which no new round begins


def fit_with_gaps(fit: TableFit, fit_complete: Callable[[TableFit], Fitted]) -> Fitted:
    """Fit the density of a table some of whose cells are NaN or None.

    ``fit_complete`` fits a table without such cells.
    """
    fit = replace(fit, weight=as_counts(fit.weight), progress=fit.progress or Progress())
    effective = effective_rows(fit.weight, len(fit.table[0]))
    used = ~uninformative_rows([column.name for column in fit.columns], fit.table, fit.given)
    if not np.any(used):
        raise ValueError(
            "given: expected rows in which all given columns have a value and another "
            f"column has one too, got none in {len(used)}"
        )
    fit = fit.at(used)
    whole = ~with_gaps(fit.table)
    places, group = grouped_rows(_comparable(fit.table), fit.seed)
    counts = np.bincount(group, fit.weight, len(places)).astype(np.float64)
    fit = replace(fit.at(places), plan=fit.plan.begun(), weight=counts)
    filled, found = _fill(fit, fit_complete, np.random.default_rng([fit.seed, 1]))
    if not came():
        found = fit_complete(replace(fit, table=filled))
    return replace(found, rows=effective, unseen=found.unseen.of_rows(group, whole, used))


def _fill(fit, fit_complete, rng):
    """Fill the gaps in rounds of a simple density; return the table and the last such density.

    A signal after the first round ends the last one.
    """
    plan, rounds = fit.plan, _rounds(fit.table, fit.weight)
    kinds = ["gaussian"] * rounds + ["mixture"] * (rounds if plan.flow != "gaussian" else 0)
    few, found = slice(ROWS_OF_A_ROUND), None
    filled = [_from_the_same(values, fit.weight, rng) for values in fit.table]
    for k, kind in enumerate(kinds, 1):
        fit.progress.stage(f"values for empty cells   round {k} of {len(kinds)}")
        simple = replace(plan, flow=kind, members=0, simple=True, folds=1)
        found = fit_complete(replace(fit, table=filled, plan=simple, progress=None).at(few))
        last = k == len(kinds) or came() or plan.has_spent(GAPS_SHARE)
        rows = slice(None) if last else few
        for values, new in zip(filled, impute(found.density, fit.at(rows).table, rng)):
            values[rows] = new
        if last:
            break
    return filled, found


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
