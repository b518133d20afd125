"""Fitting the density of a table: its columns, the discrete ones, the pool for the rest."""

from dataclasses import dataclass, replace

import numpy as np

from nfref.runtime import params as trees
from nfref.runtime.annotations import Any, Array, Callable, Sequence
from nfref.tables.densities.label_models import LabelPool, is_of_a_label, log_labels
from nfref.tables.densities.latent_classes import LatentClasses
from nfref.tables.densities.pool import mean_and_error
from nfref.tables.densities.table_density import TableDensity, encoded, places_of, spread_rows
from nfref.tables.fitting.candidates import UnitRows, held_out_count, parts_of
from nfref.tables.fitting.flow_search import density_of, find_pool
from nfref.tables.fitting.plan import CandidateResult, Plan
from nfref.tables.schema.columns import (
    DISCRETE,
    ColumnError,
    Continuous,
    as_numbers,
    check_independent,
    column_of,
)
from nfref.tables.schema.dataframes import as_counts, grouped_rows, is_missing
from nfref.tables.schema.rounding_grid import OFTEN


@dataclass(frozen=True)
class OutOfFoldScores:
    """How likely rows are by densities that were not fitted to them.

    Where rows were held out by turns these are all rows, else those held out. Each row is scored by
    the candidates as they were fitted without it and its copies (:func:`point_mass_rows` apart),
    with the weights that they have in the pool. Training has stopped, and the weights are chosen,
    by the same rows.

    Attributes
    ----------
    places : (M,) array
        Of rows of the table that was fitted to.
    log_prob : (M,) array
        Log-likelihoods in nats, in the units of the table.
    """

    places: np.ndarray
    log_prob: np.ndarray

    def of_rows(self, group, whole, used):
        """The same of the rows of a table: ``used`` (N,) are those that ``group`` (U,) places among
        the rows scored, and of these the ``whole`` (U,) are kept."""
        scores = np.full(np.max(group) + 1, np.nan)
        scores[self.places] = self.log_prob
        found = scores[group]
        kept = whole & ~np.isnan(found)
        return OutOfFoldScores(np.flatnonzero(used)[kept], found[kept])


@dataclass(frozen=True)
class Fitted:
    """What a fit finds.

    Attributes
    ----------
    density : TableDensity
    tried : list of CandidateResult
        Every candidate and the pool, in nats per row of the table.
    rows : float
        The effective number of rows, (sum w)^2 / sum w^2.
    distinct, held_out : int
        Distinct rows, and how many of them were held out (0: each by turns, or copies of them).
    unseen : OutOfFoldScores
        Rows scored by densities that were not fitted to them; none with empty cells.
    """

    density: TableDensity
    tried: list
    rows: float
    distinct: int
    held_out: int
    unseen: OutOfFoldScores


def find_columns(
    names: Sequence[str],
    table: list[Any],
    asked: dict[str, Any] | None = None,
    first: int = 0,
    labels: dict[str, Any] | None = None,
    given: Sequence[str] = (),
) -> tuple[Any, ...]:
    """What values the columns of a table take.

    Parameters
    ----------
    names : sequence of str
    table : list of (N,) arrays
        The columns' values, with NaN or None where they are missing.
    asked : dict, optional
        name -> support, see :func:`nfref.tables.schema.columns.column_of`.
    first : int
        From where messages count rows.
    labels : dict, optional
        name -> what rows hold that are not in the table, of categories.
    given : sequence of str
        Columns of which no density is asked.

    Returns
    -------
    tuple of Continuous, Category or Count

    Raises
    ------
    ColumnError
        If a column is constant, does not lie on the support that was asked for, or is an exact
        linear function of others, where not all of these are given.
    ValueError
        If what was asked for is no support, or of no column.
    """
    asked, labels = asked or {}, labels or {}
    unknown = [name for name in asked if name not in names]
    if unknown:
        raise ValueError(
            f"columns: expected names among {', '.join(map(repr, names))}; got {unknown[0]!r}"
        )
    missing = [is_missing(values) for values in table]
    for name, gap in zip(names, missing):
        if np.all(gap):
            raise ColumnError(name, f"expected values, got none in {len(gap)} rows", useless=True)
    columns = tuple(
        column_of(name, values[~gap], asked.get(name), first=first, labels=labels.get(name, ()))
        for name, values, gap in zip(names, table, missing)
    )
    continuous = [
        (column, values, gap)
        for column, values, gap in zip(columns, table, missing)
        if isinstance(column, Continuous)
    ]
    if any(column.name not in given for column, *_ in continuous):
        whole = ~np.any([gap for *_, gap in continuous], axis=0)
        if np.any(whole):
            check_independent(
                [column for column, *_ in continuous],
                [values[whole] for _, values, _ in continuous],
            )
    return columns


def fit_table(
    columns: tuple[Any, ...],
    table: list[Any],
    plan: Plan,
    seed: int,
    *,
    weight: Array | None = None,
    validation: float = 0.1,
    announce: Callable[..., Any] = lambda name: None,
    given: Sequence[str] = (),
) -> Fitted:
    """The density of a table.

    Parameters
    ----------
    columns : tuple of Continuous, Category or Count
        From :func:`find_columns`; continuous ones get the robust units of these rows.
    table : list of (N,) arrays
        The columns' values.
    plan : Plan
    seed : int
        The same rows and seed give the same density, in whatever order the rows stand.
    weight : (N,) array, optional
        What each row counts, above 0.
    validation : float
        The share of rows that is held out to choose by.
    announce : callable
        Is told in words what is tried.
    given : sequence of str
        Names of columns that are given: the density is that of the others.

    Returns
    -------
    Fitted
    """
    if not plan.simple:
        parameters_of_a_flow(plan, columns, len(table[0]), given)
    weight = as_counts(weight)
    columns = tuple(
        column.in_units_of(values, weight) if isinstance(column, Continuous) else column
        for column, values in zip(columns, table)
    )
    places, group = grouped_rows(_numbers_of(columns, table), seed)
    counts = np.bincount(group, weight, len(places)).astype(np.float64)
    effective = effective_rows(weight, len(group))
    copy, counts, own = spread_rows(
        columns, [values[places] for values in table], counts, seed, given
    )
    codes, u, log_slope = encoded(columns, own, given)
    kinds = tuple(columns[k] for k in places_of(columns, given)[0])
    known = tuple(j for j, column in enumerate(kinds) if column.name in given)
    weight = None if np.all(counts == 1) else counts
    rng = np.random.default_rng(seed)
    discrete_rng, pool_rng = rng.spawn(2)
    discrete, centre, scale = None, None, None
    log_discrete = np.zeros(len(copy))
    if kinds:
        centre = np.average(codes, axis=0, weights=weight)
        scale = np.sqrt(np.average((codes - centre) ** 2, axis=0, weights=weight)) + 1e-9
    parts = parts_of(len(places), validation, plan)
    shared = point_mass_rows(
        columns, [values[places] for values in table], np.bincount(copy, counts), given
    )
    parts = np.where(shared[copy], parts_of_copies(parts, copy), parts[copy])
    scored, scored_weight = parts >= 0, counts
    of_a_label = is_of_a_label(kinds, known)
    copies = None if of_a_label else split_copies(kinds, columns, counts, validation, seed)
    if copies is not None:
        discrete, log_discrete = _from_copies(codes, kinds, counts, copies, discrete_rng, known)
        scored, scored_weight = copies > 0, copies
    elif len(known) < len(kinds):
        discrete, log_discrete = _from_folds(
            codes,
            kinds,
            counts,
            parts,
            discrete_rng,
            known,
            log_labels if of_a_label else LatentClasses.log_prob,
        )
        if of_a_label:
            discrete, log_discrete = LabelPool.fit(
                discrete, log_discrete, codes, kinds, counts, parts, discrete_rng
            )
    density = TableDensity(columns, discrete, None, centre, scale, tuple(given))
    log_prob = log_slope + log_discrete
    if u.shape[1]:
        rows = UnitRows(
            u,
            density.context(codes),
            weight,
            sum(isinstance(column, Continuous) for column in kinds),
        )
        pool, tried, pooled = find_pool(rows, parts, plan, pool_rng, announce)
        density = replace(density, pool=pool)
        offset = np.average(log_prob[scored], weights=scored_weight[scored])
        tried = [one.shifted(offset) for one in tried]
        log_prob = log_prob + pooled
    else:
        tried = [
            CandidateResult(
                "latent classes", *mean_and_error(log_prob[scored], scored_weight[scored]), 1.0, 0.0
            )
        ]
    by_turns = copies is not None or np.all(parts >= 0)
    number = np.bincount(copy[scored], minlength=len(places))
    log_prob = np.bincount(copy[scored], log_prob[scored], len(places)) / np.maximum(number, 1)
    unseen = np.flatnonzero(
        (number > 0)[group] if copies is None else _numbered(group) < copies[group]
    )
    return Fitted(
        density,
        tried,
        effective,
        len(places),
        0 if by_turns else int(np.sum(number > 0)),
        OutOfFoldScores(unseen, log_prob[group[unseen]]),
    )


def effective_rows(weight, rows):
    """(sum w)^2 / sum w^2: so many rows of equal weight say as much, whatever their unit."""
    if weight is None:
        return float(rows)
    weight = np.ldexp(weight, -np.frexp(np.max(weight))[1])
    return float(np.sum(weight) ** 2 / np.sum(weight**2))


def parameters_of_a_flow(plan, columns, rows, given=()):
    """How many parameters the first flow of a plan has for so many rows, in all folds together; 0
    where there is none.

    Raises
    ------
    ValueError
        If it cannot be made of these columns, or a plan of flows alone has no column for them.
    """
    coded, own = places_of(columns, given)
    if plan.kinds and not own and not plan.simple:
        raise ValueError(
            f"flow {plan.kinds[0].name}: expected a column of real numbers, got "
            "categories and counts alone"
        )
    if not (plan.kinds and own):
        return 0
    width = sum(len(columns[k].labels) if columns[k].kind == "category" else 1 for k in coded)
    rng = np.random.default_rng(0)
    density = density_of(plan.kinds[0], rows, len(own), width, rng)
    return trees.count(density.init(rng)) * (int(np.max(parts_of(rows, 0.1, plan))) + 1)


def point_mass_rows(
    columns: Sequence[Any], table: Sequence[Array], counts: Array, given: Sequence[str] = ()
) -> Array:
    """Which distinct rows have a probability of their own, (N,): a tenth of all rows are copies of
    one, and each of its continuous columns has a cell, over which the copies are spread.

    To hold out all copies of such a row would be to ask how likely a row is that was never seen.
    """
    own = [
        (column, values)
        for column, values in zip(columns, table)
        if isinstance(column, Continuous) and column.name not in given
    ]
    return (
        bool(own)
        & (counts > 1)
        & (counts >= OFTEN * np.sum(counts))
        & np.all(
            [np.ones(len(counts), bool), *(column.has_cell(values) for column, values in own)],
            axis=0,
        )
    )


def parts_of_copies(parts, copy):
    """The parts of copies (M,) of distinct rows, of which each has as many as all rows have."""
    number = np.bincount(copy)[copy]
    return np.sort(parts)[((_numbered(copy) + 0.5) / number * len(parts)).astype(np.int64)]


def split_copies(kinds, columns, counts, share, seed):
    """How many copies of each distinct row are held out, (N,), where all columns are discrete.

    There the same rows come again, and their probabilities are what is wanted: to hold out all
    copies of a row would be to ask how likely a row is that was never seen. None where a column is
    continuous, or copies are no whole numbers or only one of each.
    """
    if len(kinds) < len(columns) or not all(column.kind in DISCRETE for column in kinds):
        return None
    if np.any(counts != np.round(counts)) or np.all(counts == 1):
        return None
    counts = counts.astype(np.int64)
    rng = np.random.default_rng([seed % 2**64, 2])
    return rng.multivariate_hypergeometric(
        counts, max(held_out_count(int(np.sum(counts)), share), 1), method="marginals"
    )


def _from_copies(codes, kinds, counts, held, rng, known):
    """(LatentClasses of all copies, log P of the rows under those of the copies not held out)."""
    left = counts - held
    some, others = left > 0, held > 0
    chosen = LatentClasses.choose(
        codes[some], kinds, codes[others], rng, left[some], held[others], given=known
    )
    return chosen.again(codes, kinds, counts), chosen.log_prob(codes)


def _from_folds(codes, kinds, counts, parts, rng, known, log_prob):
    """(LatentClasses, log P of every row), of rows held out under classes not fitted to them."""
    found, scores = [], []
    for k in range(np.max(parts) + 1):
        held = parts == k
        rest = ~held if len(codes) > 1 else held
        found.append(
            LatentClasses.choose(
                codes[rest], kinds, codes[held], rng, counts[rest], counts[held], given=known
            )
        )
        scores.append(log_prob(found[-1], codes[held]))
    whole = np.zeros((len(codes), *scores[0].shape[1:]))
    for k, score in enumerate(scores):
        whole[parts == k] = score
    return found[0] if len(found) == 1 else found[0].again(codes, kinds, counts), whole


def _numbered(group):
    """How many equals of each row come before it, (N,)."""
    order = np.argsort(group, kind="stable")
    ordered, found = group[order], np.empty(len(group), np.int64)
    found[order] = np.arange(len(group)) - np.searchsorted(ordered, ordered)
    return found


def _numbers_of(columns, table):
    """The table as numbers that are equal where its cells are, (N, D)."""
    return np.stack(
        [
            column.encode(values).astype(np.float64)
            if column.kind == "category"
            else as_numbers(column.name, values)
            for column, values in zip(columns, table)
        ],
        axis=1,
    )
