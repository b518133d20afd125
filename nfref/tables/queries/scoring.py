"""Score and sample rows of both kinds of models: densities with parameters, densities of tables.

Rows for the density of a table are an array (N, D) of numbers, or of objects if some are text.
"""

from contextlib import contextmanager, nullcontext
from dataclasses import replace

import numpy as np

from nfref.density import Density
from nfref.runtime import blas
from nfref.runtime import params as trees
from nfref.runtime.annotations import Any, Array, Callable, Generator, Iterator, Params, Sequence
from nfref.runtime.backends import backend, chosen
from nfref.runtime.batching import in_blocks
from nfref.tables.densities.encoder import POINTS, check_can_be_given
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.queries.answers import DRAWS, Marginal, impute, log_marginal, sample_given
from nfref.tables.queries.known_cells import check_has_no_gap
from nfref.tables.schema.columns import (
    Column,
    Continuous,
    compress_tails,
    is_missing,
    missing_cells_of,
    with_gaps,
)

# Multiplications that formulas do while Numba and the kernels are loaded from disk. That takes 0.3
# s of the processor; formulas score 4,000 rows of a MAF in 0.2 s, 200 of wine's pool in 0.4 s.
LOADING = 400_000_000


def log_prob(density: Density | TableDensity, params: Any, x: Array) -> Array:
    """Return log p(x) in the dtype of the parameters, a block of rows at a time.

    It is -inf where the density is zero: outside the bounds of a bounded column, or too far out for
    its logarithm to be a number. It is NaN where it cannot be computed.

    Parameters
    ----------
    density : Density or TableDensity
    params : nested dicts and lists of arrays
        None for the density of a table.
    x : (N, D) array
        For the density of a table, rows that passed :func:`check_cells`.

    Returns
    -------
    (N,) array
    """
    if isinstance(density, TableDensity):
        return in_blocks(lambda rows: density.log_prob(list(rows.T)), x)
    dtype = trees.dtype_of(params)
    with np.errstate(all="ignore"):
        return in_blocks(lambda *rows: density.log_prob(params, *rows), x.astype(dtype))


@contextmanager
def in_new_process(
    density: Density | TableDensity, params: Any, x: Array, cells: bool | None, alone: bool
) -> Iterator[None]:
    """Choose formulas if a process has no other rows, and they finish before kernels load.

    ``alone`` says that there are no others. A backend that you chose stays. Formulas use one
    thread, because a second one would only wait.
    """
    few = alone and chosen() is None and _work(density, params, x, cells) < LOADING
    with backend("numpy") if few else nullcontext(), blas.one_thread() if few else nullcontext():
        yield


def _work(density, params, x, cells):
    """Return how many multiplications the flows need for the scores of rows."""
    rows, flows = len(x), [params]
    if isinstance(density, TableDensity):
        table = list(x.T)
        rows += POINTS * np.sum(density.cells.averaged(table, cells))
        rows += DRAWS * np.sum(with_gaps(table))
        pool = density.pool and density.pool.used
        flows = [pool.members[k].params for k in pool.flows] if pool else []
    return rows * trees.count(flows)


def marginal_of(density: TableDensity, x: Array, first: int, cells: bool | None) -> Marginal:
    """Return the Marginal of rows of a table's density whose cells may be missing.

    Parameters
    ----------
    density : TableDensity
    x : (N, D) array
    first : int
        Number of the first row in messages.
    cells : bool or None
        For which rows the density is averaged over their cells, as in
        :meth:`nfref.FlowDensity.score_samples`. Errors are those of the row itself.

    Raises
    ------
    ValueError
        If a column cannot take its value, or a given column lacks one.
    """
    check_cells(density, list(x.T), first)
    found = log_marginal(density, list(x.T))

    def scores(table):
        return log_marginal(density, table).log_prob

    average = density.cells.average(list(x.T), scores, found.log_prob, cells)
    return replace(found, log_prob=average)


def check_cells(
    density: TableDensity, cells: Sequence[Array], first: int = 1, may_be_empty: bool = False
) -> None:
    """Check that labels are known to the density, and that given columns can take their values.

    Cells may be empty, given ones only with ``may_be_empty``. ``first`` is the number of the first
    row in messages.
    """
    for column, values in zip(density.columns, cells):
        missing = is_missing(values)
        if column.kind == "category":
            labels = set(column.labels)
            bad = [k for k, value in enumerate(values) if not missing[k] and value not in labels]
            if bad:
                column.encode(values[bad[0] : bad[0] + 1], first=first + bad[0])
        if column.name not in density.given:
            continue
        if not may_be_empty:
            check_has_no_gap(column, missing, first)
        check_can_be_given(column, values, first)


def sample_rows(
    density: Density | TableDensity,
    params: Params,
    rng: Generator,
    n: int,
    given: dict[str, Any] | None = None,
    within: float | None = None,
) -> Array:
    """Sample ``n`` rows of a density, strictly between the bounds of bounded columns.

    ``given`` (name -> value) are known columns of a :class:`TableDensity`. Rows that are not
    :func:`inside` the range ``within`` are sampled again.
    """
    if isinstance(density, TableDensity):
        return stacked(sample_table(density, rng, n, given, within))
    with np.errstate(all="ignore"):
        return density.sample(params, rng, n)


def sample_table(
    density: TableDensity,
    rng: Generator,
    n: int,
    given: dict[str, Any] | None = None,
    within: float | None = None,
) -> list[Array]:
    """Sample columns' values of n rows; see :func:`sample_rows`."""

    def some(n):
        return sample_given(density, given, rng, n) if given else density.sample(rng, n)

    if within is None:
        return some(n)
    why = f"within: expected a range in which rows are drawn, got {within:g}"
    return sample_where(
        some, n, lambda rows: inside(density.columns, rows, within, tuple(given or ())), why
    )


def sample_where(
    sample: Callable[[int], list[Array]], n: int, good: Callable[[list[Array]], Array], why: str
) -> list[Array]:
    """Return the columns' values of n rows that are ``good``; ``sample(n)`` samples rows.

    Raises
    ------
    ValueError
        If fewer than a thousandth are, with ``why`` and their number.
    """
    kept: list[list[Array]] = []
    count = tried = 0
    while not kept or count < n:
        drawn = sample(n - count)
        here = good(drawn)
        kept.append([values[here] for values in drawn])
        tried += n - count
        count += int(np.sum(here))
        if tried > 1000 * (count + 1):
            raise ValueError(f"{why}, in which {count} of {tried} were")
    return [np.concatenate(parts) for parts in zip(*kept)]


def inside(
    columns: Sequence[Column], rows: Sequence[Array], within: float, given: Sequence[str] = ()
) -> Array:
    """Return which rows are ``within`` robust standard deviations of the medians, (N,).

    Columns whose support has both ends, and ``given`` ones, do not count.
    """
    good = np.ones(len(rows[0]), bool)
    for column, values in zip(columns, rows):
        if (
            isinstance(column, Continuous)
            and not np.isfinite(column.high - column.low)
            and column.name not in given
        ):
            limit = compress_tails(np.asarray(within), column.tail)[0]
            good &= np.abs(column.encode(np.asarray(values, float))[0]) <= limit
    return good


def sample_like(
    density: TableDensity, cells: Sequence[Array], rng: Generator, n: int
) -> list[Array]:
    """Sample columns' values of n rows; given columns take those of rows of ``cells``."""
    if not density.given:
        return density.sample(rng, n)
    rows = rng.integers(len(cells[0]), size=n)
    table = [
        values[rows] if column.name in density.given else missing_cells_of(column, n)
        for column, values in zip(density.columns, cells)
    ]
    return impute(density, table, rng)


def stacked(columns: Sequence[Array]) -> Array:
    """Return columns' values as one array, of dtype object if some are text."""
    if any(values.dtype.kind in "OU" for values in columns):
        columns = [values.astype(object) for values in columns]
    return np.stack(columns, axis=1)


class AsDensity:
    """The density of a table with the methods of one with parameters, as plots need it.

    Its rows are numbers: a category is the place of its label. Given columns of samples take the
    values of rows of ``cells``.
    """

    context_dim = 0

    def __init__(self, table: TableDensity, cells: Sequence[Array] = ()) -> None:
        self.table, self.dim, self.cells = table, table.dim, cells

    def numbers(self, cells: Sequence[Array]) -> Array:
        """Return rows of numbers (N, D) for a list of columns' values."""
        numbers = [
            column.encode(values) if column.kind == "category" else values
            for column, values in zip(self.table.columns, cells)
        ]
        return np.stack(numbers, axis=1).astype(np.float64)

    def log_prob(self, params: Params, x: Array, context: Array | None = None) -> Array:
        """Return the log-density in nats, (N,), of rows of numbers (N, D)."""
        cells = []
        for column, values in zip(self.table.columns, x.T):
            # plots evaluate between labels and whole numbers too
            if column.kind == "category":
                values = column.decode(np.clip(np.round(values), 0, len(column.labels) - 1))
            elif column.kind == "count":
                values = np.clip(np.round(values), column.low, column.high)
            cells.append(values)
        return self.table.log_prob(cells)

    def sample(self, params: Params, rng: Generator, n: int, context: Array | None = None) -> Array:
        """Sample ``n`` rows of numbers, (n, D)."""
        return self.numbers(sample_like(self.table, self.cells, rng, n))
