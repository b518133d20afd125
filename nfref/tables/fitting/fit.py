"""Fit the density of a table: encode its rows, hold out folds, fit the parts.

A table density is a product. Discrete columns have latent classes, or a network for one label given
all other columns. Continuous columns, given the discrete ones, have a pool of simple
densities and flows. Missing cells are filled first (:mod:`nfref.tables.fitting.gaps`).
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from nfref.runtime.annotations import Array
from nfref.tables.densities.encoder import Encoder, coded_columns, spread_rows
from nfref.tables.densities.label_network import LabelNetwork
from nfref.tables.densities.latent_classes import CodedRows, LatentClasses
from nfref.tables.densities.pool import mean_and_error
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.fitting.flow_search import find_pool
from nfref.tables.fitting.folds import (
    UnitRows,
    fold_numbers,
    folds_of_copies,
    group_fold_numbers,
    held_out_copies,
    occurrence_numbers,
    point_mass_rows,
)
from nfref.tables.fitting.gaps import fit_with_gaps
from nfref.tables.fitting.plan import TableFit
from nfref.tables.fitting.results import CandidateResult, Fitted, OutOfFoldScores, Progress
from nfref.tables.schema.columns import Continuous, as_numbers, is_missing
from nfref.tables.schema.distinct_rows import as_counts, effective_rows, grouped_rows

DISCRETE_SHARE = 0.5  # of the time budget, after which no larger model of the labels is tried


def fit_table(fit: TableFit) -> Fitted:
    """Fit the density of a table, whose cells may be NaN or None.

    Raises
    ------
    ValueError
        If a flow cannot be made for these columns, a plan of flows alone has no column for them,
        or no row says anything about the columns that are not given.
    """
    if any(np.any(is_missing(values)) for values in fit.table):
        return fit_with_gaps(fit, _fit_complete)
    return _fit_complete(fit)


def _fit_complete(fit):
    """Fit the density of a table without empty cells."""
    columns, table, given, seed = fit.columns, fit.table, fit.given, fit.seed
    plan = fit.plan.begun()
    rows = _encode(columns, table, as_counts(fit.weight), seed, given)
    if not (plan.simple or rows.u.shape[1]):
        raise ValueError(
            f"flow {plan.kinds[0].name}: expected a column of real numbers, got "
            "categories and counts alone"
        )
    folds = _fold_of_each(rows, table, fit.validation, plan)
    if fit.group is not None:
        folds = group_fold_numbers(folds, fit.group[rows.places][rows.row])
    discrete_rng, pool_rng = np.random.default_rng(seed).spawn(2)
    discrete = _fit_discrete(rows, folds, fit.validation, seed, discrete_rng, plan)
    density = TableDensity(
        rows.columns, discrete.density, None, rows.centre, rows.scale, tuple(given)
    )
    log_prob = rows.log_slope + discrete.log_prob
    scored = discrete.held_out > 0
    weight = discrete.held_out[scored]
    if rows.u.shape[1]:
        progress = fit.progress or Progress()
        progress.offset = offset = float(np.average(log_prob[scored], weights=weight))
        pool, tried, pooled = find_pool(rows.in_units(density), folds, plan, pool_rng, progress)
        density = replace(density, pool=pool)
        tried = [one.shifted(offset) for one in tried]
        log_prob = log_prob + pooled
    else:
        score = mean_and_error(log_prob[scored], weight)
        tried = [CandidateResult("latent classes", *score, 1.0, 0.0)]
    in_turn = discrete.of_copies or bool(np.all(folds >= 0))
    held_out = 0 if in_turn else len(np.unique(rows.row[scored]))
    unseen = _out_of_fold(rows, log_prob, discrete)
    return Fitted(density, tried, rows.effective, len(rows.places), held_out, unseen)


# Rows as numbers --------------------------------------------------------------------------


@dataclass(frozen=True)
class _EncodedRows:
    """Distinct rows of a table as numbers; a row with rounded values has several copies.

    Attributes
    ----------
    columns, given : tuple
    effective : float
        The effective number of rows.
    places : (R,) array
        A row of the table for each distinct row.
    group : (N,) array
        The distinct row that each row of the table equals.
    row : (M,) array
        The distinct row that each encoded row is a copy of.
    counts : (M,) array
        The weight of each encoded row.
    codes, u, log_slope : (M, J), (M, D), (M,) arrays
        See :meth:`TableDensity.encode`.
    centre, scale : (J,) arrays or None
        Mean and standard deviation of the codes.
    """

    columns: tuple
    given: tuple
    effective: float
    places: Array
    group: Array
    row: Array
    counts: Array
    codes: Array
    u: Array
    log_slope: Array
    centre: Array | None
    scale: Array | None

    @property
    def weight(self) -> Array | None:
        """None if every row counts once."""
        return None if np.all(self.counts == 1) else self.counts

    @property
    def kinds(self) -> tuple:
        """The columns that have codes: discrete ones, then given ones."""
        return coded_columns(self.columns, self.given)

    @property
    def known(self) -> tuple:
        """Places of the given columns among the codes."""
        return tuple(j for j, column in enumerate(self.kinds) if column.name in self.given)

    def coded(self, weight: Array) -> CodedRows:
        """Return the codes of the rows to which ``weight`` (M,) gives a weight above 0."""
        some = weight > 0
        return CodedRows(self.codes[some], self.kinds, weight[some], self.known)

    def in_units(self, density: TableDensity) -> UnitRows:
        """Return the continuous columns with the others as context."""
        known = sum(isinstance(column, Continuous) for column in self.kinds)
        return UnitRows(self.u, density.context(self.codes), self.weight, known)


def _encode(columns, table, weight, seed, given):
    """Return the _EncodedRows of a table."""
    columns = tuple(
        _in_units_of(column, values, weight, given) if isinstance(column, Continuous) else column
        for column, values in zip(columns, table)
    )
    places, group = grouped_rows(_as_numbers(columns, table), seed)
    counts = np.bincount(group, weight, len(places)).astype(np.float64)
    distinct = [values[places] for values in table]
    row, counts, spread = spread_rows(columns, distinct, counts, seed, given)
    codes, u, log_slope = Encoder(columns, given)(spread)
    centre, scale = None, None
    if codes.shape[1]:
        share = None if np.all(counts == 1) else counts
        centre = np.average(codes, axis=0, weights=share)
        scale = np.sqrt(np.average((codes - centre) ** 2, axis=0, weights=share)) + 1e-9
    return _EncodedRows(
        columns, tuple(given), effective_rows(weight, len(group)), places, group, row, counts,
        codes, u, log_slope, centre, scale,
    )  # fmt: skip


def _in_units_of(column, values, weight, given):
    """Return a column with the units of its values; one that is given needs no atoms."""
    if column.name in given:
        column = replace(column, atoms=())
    return column.in_units_of(values, weight)


def _as_numbers(columns, table):
    """Return the table as numbers that are equal where its cells are, (N, D)."""
    return np.stack(
        [
            column.encode(values).astype(np.float64)
            if column.kind == "category"
            else as_numbers(column.name, values)
            for column, values in zip(columns, table)
        ],
        axis=1,
    )


def _fold_of_each(rows, table, validation, plan):
    """Return the number of the fold that holds each encoded row out, (M,)."""
    numbers = fold_numbers(len(rows.places), validation, plan)
    distinct = [values[rows.places] for values in table]
    counts = np.bincount(rows.row, rows.counts)
    shared = point_mass_rows(rows.columns, distinct, counts, rows.given)
    return np.where(shared[rows.row], folds_of_copies(numbers, rows.row), numbers[rows.row])


# Discrete columns -------------------------------------------------------------------------


class _Discrete(NamedTuple):
    """The density of the discrete columns, and how rows were held out.

    ``log_prob`` (M,) is 0 without discrete columns; ``held_out`` (M,) is the weight with which
    each row was held out.
    """

    density: LatentClasses | None  # a LabelNetwork is one too
    log_prob: Array
    held_out: Array
    of_copies: bool = False


def _fit_discrete(rows, folds, validation, seed, rng, plan):
    """Fit the discrete columns that are not given."""

    def enough():
        return plan.has_spent(DISCRETE_SHARE)

    counts = rows.counts
    held_out = np.where(folds >= 0, counts, 0)
    own = [column for column in rows.kinds if column.name not in rows.given]
    if rows.known and len(own) == 1 and own[0].kind == "category":
        found = LabelNetwork.fit_by_folds(rows.coded(counts), folds, rng, enough)
        return _Discrete(*found, held_out)
    copies = held_out_copies(rows.columns, counts, validation, seed)
    if copies is not None:
        others = rows.coded(counts - copies)
        classes = LatentClasses.choose(others, rows.coded(copies), rng, enough)
        log_prob = classes.log_prob(rows.codes)
        return _Discrete(classes.again(rows.coded(counts)), log_prob, copies, True)
    if not own:
        return _Discrete(None, np.zeros(len(counts)), held_out)
    return _Discrete(*_fit_classes(rows, folds, rng, enough), held_out)


def _fit_classes(rows, folds, rng, enough):
    """Return LatentClasses of all rows, and log P of held-out rows under classes of the others."""
    found, log_prob = [], np.zeros(len(folds))
    for k in range(np.max(folds) + 1):
        own = folds == k
        held = np.where(own, rows.counts, 0)
        left = rows.counts - held if len(folds) > 1 else held
        found.append(LatentClasses.choose(rows.coded(left), rows.coded(held), rng, enough))
        log_prob[own] = found[-1].log_prob(rows.codes[own])
    if len(found) == 1:
        return found[0], log_prob
    return found[0].again(rows.coded(rows.counts)), log_prob


# Scores of the rows ------------------------------------------------------------------------


def _out_of_fold(rows, log_prob, discrete):
    """Return the OutOfFoldScores of the rows of the table: means over copies of a row."""
    scored = discrete.held_out > 0
    number = np.bincount(rows.row[scored], minlength=len(rows.places))
    total = np.bincount(rows.row[scored], log_prob[scored], len(rows.places))
    if discrete.of_copies:
        unseen = np.flatnonzero(occurrence_numbers(rows.group) < discrete.held_out[rows.group])
    else:
        unseen = np.flatnonzero((number > 0)[rows.group])
    return OutOfFoldScores(unseen, (total / np.maximum(number, 1))[rows.group[unseen]])
