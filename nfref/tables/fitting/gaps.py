"""Training on rows with missing cells: stochastic EM.

Two steps by turns: every missing cell is filled with one draw from its law given the cells that are
there, under the density so far (E, by a sample of one); the density is fitted to the filled
rows (M). Each round leaves of an error about the share of what is missing, in a mixture of
what is missing where the component is. So the first rounds go with a Gaussian, which forgets
where it began, and the next with the mixtures, which both cost little; and at their end all
that the plan asks for is fitted to the rows as they are filled then.

So the parameters are those of one draw of what is missing, not of its mean; flows learn what the
simple densities have put into the gaps; and the rows held out are scored as filled. It supposes
that what is missing says nothing more once the other cells are known ("missing at random").

Where some columns are given, rows that lack one of these are left out, as are rows that have
nothing else: they say little or nothing about a density of the others given these.

Source: Bishop 2006 (EM).
"""

import time
from dataclasses import replace

import numpy as np

from nfref.tables.fitting.fit import fit_table
from nfref.tables.queries.missing_cells import impute
from nfref.tables.schema.columns import is_missing
from nfref.tables.schema.distinct_rows import as_counts, effective_rows, grouped_rows

ROUNDS = 10  # of each kind
ROWS_OF_A_ROUND = 5000  # at most so many
SHARE_OF_BUDGET = 0.3  # of the time that is given, after which the round is the last


def fit_incomplete_table(
    columns, table, plan, seed, *, weight=None, validation=0.1, announce=lambda name: None, given=()
):
    """The density of a table of which cells may be missing.

    Parameters and what comes back are those of :func:`nfref.tables.fitting.fit.fit_table`; cells of
    the table may be NaN or None.

    Raises
    ------
    ValueError
        If no row says anything of the columns that are not given; and as for ``fit_table``.
    """
    if not any(np.any(is_missing(values)) for values in table):
        return fit_table(
            columns,
            table,
            plan,
            seed,
            weight=weight,
            validation=validation,
            announce=announce,
            given=given,
        )
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
    kinds = ["gaussian"] * ROUNDS + ["mixture"] * (ROUNDS if plan.flow != "gaussian" else 0)
    few = slice(ROWS_OF_A_ROUND)
    announce("what stands in empty cells")
    began, budget = time.perf_counter(), plan.time_budget or np.inf
    for k, kind in enumerate(kinds, 1):
        density = fit_table(
            columns,
            [values[few] for values in filled],
            replace(plan, flow=kind, members=0, simple=True, folds=1),
            seed,
            weight=counts[few],
            validation=validation,
            given=given,
        ).density
        spent = time.perf_counter() - began
        last = k == len(kinds) or spent > SHARE_OF_BUDGET * budget
        rows = slice(None) if last else few
        drawn = impute(density, [values[rows] for values in table], rng)
        for values, new in zip(filled, drawn):
            values[rows] = new
        if last:
            break
    if plan.time_budget:
        left = budget - (time.perf_counter() - began)
        plan = replace(plan, time_budget=max(left, 1e-3))
    found = fit_table(
        columns,
        filled,
        plan,
        seed,
        weight=counts,
        validation=validation,
        announce=announce,
        given=given,
    )
    return replace(found, rows=effective, unseen=found.unseen.of_rows(group, whole, used))


def uninformative_rows(names, table, given=()):
    """Rows that say nothing of the columns that are not given, (N,)."""
    missing = dict(zip(names, map(is_missing, table)))
    empty = np.all([gap for name, gap in missing.items() if name not in given], axis=0)
    return empty | np.any([np.zeros(len(empty), bool), *(missing[name] for name in given)], axis=0)


def _comparable(table):
    """The table as numbers, equal where cells are equal or both missing, (N, D)."""
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
    """The column with gaps filled by values of other rows."""
    gap, filled = is_missing(values), np.array(values)
    share = counts[~gap] / np.sum(counts[~gap])
    filled[gap] = values[~gap][rng.choice(len(share), np.sum(gap), p=share)]
    return filled
