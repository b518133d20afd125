"""Rows of models of both kinds, scored and drawn: densities with parameters, densities of tables.

Rows of a table's density are an array (N, D) of numbers, or of objects where some hold text.
"""

from dataclasses import replace

import numpy as np

from nfref.density import Density
from nfref.flows.composition import Chain
from nfref.flows.elementwise import Logit
from nfref.runtime import params as trees
from nfref.runtime.annotations import Any, Array, Callable, Params
from nfref.runtime.batching import in_blocks
from nfref.tables.densities.table_density import (
    TableDensity,
    cell_average,
    check_can_be_given,
    sample_within,
)
from nfref.tables.queries.missing_cells import Marginal, impute, log_marginal, sample_given
from nfref.tables.schema.columns import ColumnError, is_missing


def log_prob(density: Density | TableDensity, params: Params, x: Array) -> Array:
    """log p(x) in the dtype of the parameters, a block of rows at a time.

    It is -inf where the density is zero: outside of the bounds of a bounded column, or too
    far out for its logarithm to be a number. It is NaN where it can't be computed.

    Parameters
    ----------
    density : Density or TableDensity
    params : nested dicts and lists of arrays
        None for the density of a table.
    x : (N, D) array
        Of the density of a table, rows that :func:`check_cells` has seen.

    Returns
    -------
    (N,) array
    """
    if isinstance(density, TableDensity):
        return in_blocks(lambda rows: density.log_prob(list(rows.T)), x)
    dtype = trees.dtype_of(params)
    with np.errstate(all="ignore"):
        x = x.astype(dtype)
        lower, upper = (ends.astype(dtype) for ends in limits(density))
        outside = np.any((x <= lower) | (x >= upper), axis=1)
        # Rows outside go in as an infinity, which no flow sees.
        x = np.where(outside[:, None], np.inf, x).astype(dtype, copy=False)
        return in_blocks(lambda *rows: density.log_prob(params, *rows), x)


def limits(density):
    """(lower, upper), (D,) each, of what a density that ends in a logit can draw; inf if not."""
    lower = np.full(density.dim, -np.inf)
    upper = np.full(density.dim, np.inf)
    members = density.flow.flows if isinstance(density.flow, Chain) else ()
    if members and isinstance(members[-1], Logit):
        for k, (low, high) in enumerate(zip(members[-1].lower, members[-1].upper)):
            if low is not None:
                lower[k], upper[k] = low, high
    return lower, upper


def marginal_of(
    density: TableDensity,
    x: Array,
    first: int = 1,
    sampler: Callable[..., Any] | None = None,
    cells: bool | None = None,
) -> Any:
    """The Marginal of rows of a table's density of which cells may be missing.

    Parameters
    ----------
    density : TableDensity
    x : (N, D) array
    first : int
        From where messages count rows.
    sampler : callable, optional
        Gives a ConditionalSampler of that density where one is needed.
    cells : bool, optional
        Of which rows to give the mean density over their cells of lattices: as
        :meth:`nfref.FlowDensity.score_samples` has it. Errors are those of the row itself.

    Raises
    ------
    ValueError
        If a cell holds what its column cannot take, or a column that is given is missing.
    """
    check_cells(density, x.T, first)
    rows = np.any([is_missing(values) for values in x.T], axis=0)
    found = Marginal(np.empty(len(x)), np.zeros(len(x)), np.full(len(x), np.inf))
    if not np.all(rows):
        found.log_prob[~rows] = log_prob(density, None, x[~rows])
    if np.any(rows):
        part = log_marginal(density, list(x[rows].T), sampler=sampler and sampler())
        for field in ("log_prob", "error", "effective"):
            getattr(found, field)[rows] = getattr(part, field)
    return replace(
        found,
        log_prob=cell_average(
            density,
            list(x.T),
            lambda table: marginal_of(density, stacked(table), first, sampler, False).log_prob,
            found.log_prob,
            cells,
        ),
    )


def check_cells(density, cells, first=1, may_be_empty=False):
    """That cells hold labels that the density knows, or nothing, and columns that are given what
    they can take; with ``may_be_empty`` these may be empty too. Messages count rows from ``first``.
    """
    for column, values in zip(density.columns, cells):
        missing = is_missing(values)
        if column.kind == "category":
            labels = set(column.labels)
            bad = next(
                (k for k, value in enumerate(values) if not missing[k] and value not in labels),
                None,
            )
            if bad is not None:
                column.encode(values[bad : bad + 1], first=first + bad)
        if column.name not in density.given:
            continue
        if np.any(missing) and not may_be_empty:
            raise ColumnError(
                column.name,
                "expected a value in every row, for the others are "
                f"given it; got none in row {np.argmax(missing) + first}",
            )
        check_can_be_given(column, values, first)


def sample_rows(density, params, rng, n, given=None, within=None):
    """``n`` rows of a density, strictly between the bounds of bounded columns.

    ``given`` (name -> value) are columns of a :class:`TableDensity` with values that are known;
    for ``within`` see :func:`nfref.tables.densities.table_density.sample_within`.
    """
    if isinstance(density, TableDensity):

        def some(n):
            return sample_given(density, given, rng, n) if given else density.sample(rng, n)

        return stacked(
            some(n)
            if within is None
            else sample_within(some, n, density.columns, within, given or ())
        )
    with np.errstate(all="ignore"):
        return density.sample(params, rng, n)


def sample_like(density, cells, rng, n):
    """A list of columns' values of n rows; where columns are given, with those of rows of cells."""
    if not density.given:
        return density.sample(rng, n)
    rows = rng.integers(len(cells[0]), size=n)
    return impute(
        density,
        [
            values[rows]
            if column.name in density.given
            else np.full(n, *((None, object) if column.kind == "category" else (np.nan,)))
            for column, values in zip(density.columns, cells)
        ],
        rng,
    )


def stacked(columns):
    """Columns' values as one array, of dtype object where some are text."""
    if any(values.dtype.kind in "OU" for values in columns):
        columns = [values.astype(object) for values in columns]
    return np.stack(columns, axis=1)


class AsDensity:
    """The density of a table with the calls of one that has parameters: what pictures take.

    Its rows are numbers: of a category the place of each label. Where columns are given, those of
    its samples are those of rows of ``cells``.
    """

    context_dim = 0

    def __init__(self, table: Any, cells: Any = None) -> None:
        self.table, self.dim, self.cells = table, table.dim, cells

    def numbers(self, cells):
        """Rows of numbers (N, D) for a list of columns' values."""
        return np.stack(
            [
                column.encode(values) if column.kind == "category" else values
                for column, values in zip(self.table.columns, cells)
            ],
            axis=1,
        ).astype(np.float64)

    def log_prob(self, params, x, context=None):
        cells = []
        for column, values in zip(self.table.columns, x.T):
            if column.kind == "category":  # a picture asks between labels too
                values = column.decode(np.clip(np.round(values), 0, len(column.labels) - 1))
            cells.append(values)
        return self.table.log_prob(cells)

    def sample(self, params, rng, n, context=None):
        return self.numbers(sample_like(self.table, self.cells, rng, n))
