"""Fitting the density of a table: its columns, the discrete ones, the pool for the rest."""

from dataclasses import dataclass, replace

import numpy as np

from nfref.runtime import params as trees
from nfref.runtime.annotations import Any, Array, Callable, Sequence
from nfref.tables.columns import (DISCRETE, ColumnError, Continuous, as_numbers, check_independent,
                                  column_of)
from nfref.tables.density import TableDensity, encoded, places_of
from nfref.tables.discrete import LatentClasses
from nfref.tables.frames import distinct_rows, is_missing
from nfref.tables.members import UnitRows, held_out_count
from nfref.tables.plan import Plan, Tried
from nfref.tables.pool import mean_and_error
from nfref.tables.search import density_of, find_pool


@dataclass(frozen=True)
class Fitted:
    """What a fit finds.

    Attributes
    ----------
    density : TableDensity
    tried : list of Tried
        Every candidate and the pool, in nats per row of the table.
    rows : float
        The effective number of rows, (sum w)^2 / sum w^2.
    distinct, held_out : int
        Distinct rows, and how many of them were held out (0: each by turns, or copies of them).
    """

    density: TableDensity
    tried: list
    rows: float
    distinct: int
    held_out: int


def find_columns(names: Sequence[str], table: list[Any], asked: dict[str, Any] | None = None,
                 first: int = 0, labels: dict[str, Any] | None = None) -> tuple[Any, ...]:
    """What values the columns of a table take.

    Parameters
    ----------
    names : sequence of str
    table : list of (N,) arrays
        The columns' values, with NaN or None where they are missing.
    asked : dict, optional
        name -> support, see :func:`nfref.tables.columns.column_of`.
    first : int
        From where messages count rows.
    labels : dict, optional
        name -> what rows hold that are not in the table, of categories.

    Returns
    -------
    tuple of Continuous, Category or Count

    Raises
    ------
    ColumnError
        If a column is constant or an exact linear function of others, or does not lie on the
        support that was asked for.
    ValueError
        If what was asked for is no support, or of no column.
    """
    asked, labels = asked or {}, labels or {}
    unknown = [name for name in asked if name not in names]
    if unknown:
        raise ValueError(f"columns: expected names among {', '.join(map(repr, names))}; "
                         f"got {unknown[0]!r}")
    missing = [is_missing(values) for values in table]
    for name, gap in zip(names, missing):
        if np.all(gap):
            raise ColumnError(name, f"expected values, got none in {len(gap)} rows", useless=True)
    columns = tuple(column_of(name, values[~gap], asked.get(name), first=first,
                              labels=labels.get(name, ()))
                    for name, values, gap in zip(names, table, missing))
    continuous = [(column, values, gap) for column, values, gap in zip(columns, table, missing)
                  if isinstance(column, Continuous)]
    if continuous:
        whole = ~np.any([gap for *_, gap in continuous], axis=0)
        if np.any(whole):
            check_independent([column for column, *_ in continuous],
                              [values[whole] for _, values, _ in continuous])
    return columns


def fit_table(columns: tuple[Any, ...], table: list[Any], plan: Plan, seed: int, *,
              weight: Array | None = None, validation: float = 0.1,
              announce: Callable[..., Any] = lambda name: None,
              given: Sequence[str] = ()) -> Fitted:
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
    columns = tuple(column.in_units_of(values, weight) if isinstance(column, Continuous)
                    else column for column, values in zip(columns, table))
    places, counts = distinct_rows(_numbers_of(columns, table), weight, seed)
    effective = (float(np.sum(weight)) ** 2 / float(np.sum(weight ** 2)) if weight is not None
                 else float(len(table[0])))
    codes, u, log_slope = encoded(columns, [values[places] for values in table], given)
    kinds = tuple(columns[k] for k in places_of(columns, given)[0])
    known = tuple(j for j, column in enumerate(kinds) if column.name in given)
    weight = None if np.all(counts == 1) else counts
    rng = np.random.default_rng(seed)
    discrete_rng, pool_rng = rng.spawn(2)
    discrete, centre, scale = None, None, None
    log_discrete = np.zeros(len(places))
    held = held_out_count(len(places), validation)
    if kinds:
        centre = np.average(codes, axis=0, weights=weight)
        scale = np.sqrt(np.average((codes - centre) ** 2, axis=0, weights=weight)) + 1e-9
    copies = split_copies(kinds, columns, counts, validation, seed)
    if copies is not None:
        discrete, log_discrete = _from_copies(codes, kinds, counts, copies, discrete_rng, known)
    elif len(known) < len(kinds):
        start = max(held, 1) if len(places) > 1 else 0
        weights = (None, None) if weight is None else (weight[start:], weight[:start])
        discrete = LatentClasses.choose(codes[start:], kinds, codes[:start] if start else codes,
                                        discrete_rng, *weights, given=known)
        log_discrete = discrete.log_prob(codes)
    density = TableDensity(columns, discrete, None, centre, scale, tuple(given))
    tried, held_out = [], held if discrete is not None and copies is None else 0
    if u.shape[1]:
        rows = UnitRows(u, density.context(codes), weight,
                        sum(isinstance(column, Continuous) for column in kinds))
        pool, tried, held_out = find_pool(rows, plan, pool_rng, validation, announce)
        density = replace(density, pool=pool)
    scored = slice(held_out or None)
    offset = np.average((log_slope + log_discrete)[scored],
                        weights=None if weight is None else weight[scored])
    tried = [one.shifted(offset) for one in tried]
    if copies is not None:
        tried = [Tried("latent classes", *mean_and_error(
            log_discrete[copies > 0], copies[copies > 0]), 1.0, 0.0)]
    elif not tried:
        tried = [Tried("latent classes", *mean_and_error(
            log_discrete[scored], None if weight is None else weight[scored]), 1.0, 0.0)]
    return Fitted(density, tried, effective, len(places), held_out)


def parameters_of_a_flow(plan, columns, rows, given=()):
    """How many parameters the first flow of a plan has for so many rows; 0 where there is none.

    Raises
    ------
    ValueError
        If it cannot be made of these columns, or a plan of flows alone has no column for them.
    """
    coded, own = places_of(columns, given)
    if plan.kinds and not own and not plan.simple:
        raise ValueError(f"flow {plan.kinds[0].name}: expected a column of real numbers, got "
                         "categories and counts alone")
    if not (plan.kinds and own):
        return 0
    width = sum(len(columns[k].labels) if columns[k].kind == "category" else 1 for k in coded)
    rng = np.random.default_rng(0)
    return trees.count(density_of(plan.kinds[0], rows, len(own), width, rng).init(rng))


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
    rng = np.random.default_rng([seed % 2 ** 64, 2])
    return rng.multivariate_hypergeometric(
        counts, held_out_count(int(np.sum(counts)), share), method="marginals")


def _from_copies(codes, kinds, counts, held, rng, known):
    """(LatentClasses of all copies, log P of the rows under those of the copies not held out)."""
    left = counts - held
    some, others = left > 0, held > 0
    chosen = LatentClasses.choose(codes[some], kinds, codes[others], rng, left[some], held[others],
                                  given=known)
    return chosen.again(codes, kinds, counts), chosen.log_prob(codes)


def _numbers_of(columns, table):
    """The table as numbers that are equal where its cells are, (N, D)."""
    return np.stack([column.encode(values).astype(np.float64) if column.kind == "category"
                     else as_numbers(column.name, values)
                     for column, values in zip(columns, table)], axis=1)
