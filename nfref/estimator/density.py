"""The density of a table: its columns, the probability of the discrete ones, a pool for the rest.

    log p(row) = log P(d) + log p(u | d) + sum_j log du_j/dx_j

d are the codes of the discrete columns, u the continuous ones in robust units. It is the log of a
probability where all columns are discrete, of a density in the units of the data where all are
continuous, and of a probability times a density in between.
"""

from dataclasses import dataclass

import numpy as np

from nfref.estimator import candidates
from nfref.estimator.candidates import Rows
from nfref.estimator.columns import Continuous, as_numbers, check_independent, column_of
from nfref.estimator.discrete import LatentClasses
from nfref.estimator.pool import Pool, mean_and_error
from nfref.estimator.table import distinct_rows


@dataclass(frozen=True)
class TableDensity:
    """A density of tables with certain columns.

    Parameters
    ----------
    columns : tuple of Continuous, Category or Count
    discrete : LatentClasses or None
        None where no column is discrete.
    pool : Pool or None
        Of the continuous columns in robust units, given the discrete ones; None without any.
    centre, scale : (J,) array
        Of the codes of counts, for what the pool is given of them.
    """

    columns: tuple
    discrete: LatentClasses
    pool: Pool
    centre: np.ndarray = None
    scale: np.ndarray = None

    # Rows -----------------------------------------------------------------------------------

    def encode(self, table):
        """(codes (N, J), u (N, D), log-slope (N,)) of a sequence of columns' values."""
        return encoded(self.columns, table)

    def context(self, codes):
        """What the pool is given: a 1 in the place of each category's label, counts in units."""
        if self.discrete is None:
            return None
        return features(self.discrete_columns, codes, self.centre, self.scale)

    @property
    def dim(self):
        """How many columns there are."""
        return len(self.columns)

    context_dim = 0

    @property
    def discrete_columns(self):
        return tuple(column for column in self.columns if not isinstance(column, Continuous))

    # Answers --------------------------------------------------------------------------------

    def log_prob(self, table):
        """Log-likelihood of every row, (N,); -inf for rows outside of a support."""
        return self.parts(table)[0]

    def parts(self, table):
        """(log-likelihood (N,), log p_k(u | d) of every member (N, K) or None)."""
        codes, u, total = self.encode(table)
        members = None
        if self.discrete is not None:
            total = total + self.discrete.log_prob(codes)
        if self.pool is not None:
            context = self.context(np.nan_to_num(codes)) if self.discrete is not None else None
            members = self.pool.log_probs(u, context)
            total = total + self.pool.pooled(members)
        return total, members

    def spread(self, table):
        """How far the flows of the pool are apart in log p of every row, (N,).

        The standard deviation of log p_k about log p, with the flows' shares of the weights; NaN
        with fewer than two flows.
        """
        members = self.parts(table)[1]
        flows = [] if members is None else [k for k, member in enumerate(self.pool.members)
                                            if hasattr(member, "params")]
        weights = np.array([self.pool.weights[k] for k in flows])
        if len(flows) < 2 or not np.sum(weights) > 0:
            return np.full(len(table[0]), np.nan)
        apart = members[:, flows] - self.pool.pooled(members)[:, None]
        return np.sqrt(np.square(np.nan_to_num(apart)) @ (weights / np.sum(weights)))

    def sample(self, rng, n):
        """A list of columns' values, (n,) each, in the order of the columns."""
        codes = np.zeros((n, 0))
        u, context = np.zeros((n, 0)), None
        if self.discrete is not None:
            codes = self.discrete.sample(rng, n)
            context = self.context(codes)
        if self.pool is not None:
            u = self.pool.sample(rng, n, context)
        discrete, continuous = iter(codes.T), iter(u.T)
        return [column.decode(next(continuous)) if isinstance(column, Continuous)
                else column.decode(next(discrete).astype(np.int64) if column.kind == "category"
                                   else next(discrete))
                for column in self.columns]


def encoded(columns, table):
    """See :meth:`TableDensity.encode`."""
    rows = len(table[0])
    codes, u, total = [], [], np.zeros(rows)
    for column, values in zip(columns, table):
        if isinstance(column, Continuous):
            coordinate, log_slope = column.encode(as_numbers(column.name, values))
            u.append(coordinate)
            total = total + log_slope
        else:
            code = column.encode(values if column.kind == "category"
                                 else as_numbers(column.name, values))
            codes.append(code.astype(np.float64))
    return (np.stack(codes, axis=1) if codes else np.zeros((rows, 0)),
            np.stack(u, axis=1) if u else np.zeros((rows, 0)), total)


def features(columns, codes, centre, scale):
    """Codes (N, J) as numbers that a network can take, (N, C)."""
    found = []
    for k, column in enumerate(columns):
        if column.kind == "category":
            found.append(codes[:, k, None] == np.arange(len(column.labels)))
        else:
            found.append(np.clip((codes[:, k, None] - centre[k]) / scale[k], -5, 5))
    return np.concatenate(found, axis=1).astype(np.float64)


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
        Distinct rows, and how many of them were held out (0: each by turns).
    """

    density: TableDensity
    tried: list
    rows: float
    distinct: int
    held_out: int


def find_columns(names, table, asked=None, first=0):
    """What values the columns of a table take.

    Parameters
    ----------
    names : sequence of str
    table : list of (N,) arrays
        The columns' values.
    asked : dict, optional
        name -> support, see :func:`nfref.estimator.columns.column_of`.
    first : int
        From where messages count rows.

    Returns
    -------
    tuple of Continuous, Category or Count

    Raises
    ------
    ValueError, TypeError
        If a column is constant or an exact linear function of others, or does not lie on the
        support that was asked for.
    """
    asked = asked or {}
    unknown = [name for name in asked if name not in names]
    if unknown:
        raise ValueError(f"columns: expected names among {', '.join(map(repr, names))}; "
                         f"got {unknown[0]!r}")
    columns = tuple(column_of(name, values, asked.get(name), first=first)
                    for name, values in zip(names, table))
    continuous = [(column, values) for column, values in zip(columns, table)
                  if isinstance(column, Continuous)]
    if continuous:
        check_independent(*zip(*continuous))
    return columns


def fit_table(columns, table, plan, seed, *, weight=None, validation=0.1,
              announce=lambda name: None):
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

    Returns
    -------
    Fitted
    """
    columns = tuple(column.in_units_of(values, weight) if isinstance(column, Continuous)
                    else column for column, values in zip(columns, table))
    places, counts = distinct_rows(_numbers_of(columns, table), weight, seed)
    effective = (float(np.sum(weight)) ** 2 / float(np.sum(weight ** 2)) if weight is not None
                 else float(len(table[0])))
    codes, u, log_slope = encoded(columns, [values[places] for values in table])
    weight = None if np.all(counts == 1) else counts
    rng = np.random.default_rng(seed)
    discrete_rng, pool_rng = rng.spawn(2)
    discrete, centre, scale = None, None, None
    log_discrete = np.zeros(len(places))
    held = candidates.held_out_count(len(places), validation)
    if codes.shape[1]:
        kinds = tuple(column for column in columns if not isinstance(column, Continuous))
        start = max(held, 1) if len(places) > 1 else 0
        weights = (None, None) if weight is None else (weight[start:], weight[:start])
        discrete = LatentClasses.choose(codes[start:], kinds, codes[:start] if start else codes,
                                        discrete_rng, *weights)
        centre = np.average(codes, axis=0, weights=weight)
        scale = np.sqrt(np.average((codes - centre) ** 2, axis=0, weights=weight)) + 1e-9
        log_discrete = discrete.log_prob(codes)
    density = TableDensity(columns, discrete, None, centre, scale)
    tried, held_out = [], held if discrete is not None else 0
    if u.shape[1]:
        rows = Rows(u, density.context(codes) if discrete is not None else None, weight)
        pool, tried, held_out = candidates.find_pool(rows, plan, pool_rng, validation, announce)
        density = TableDensity(columns, discrete, pool, centre, scale)
    scored = slice(held_out or None)
    offset = np.average((log_slope + log_discrete)[scored],
                        weights=None if weight is None else weight[scored])
    tried = [one.shifted(offset) for one in tried]
    if not tried:
        tried = [candidates.Tried("latent classes", *mean_and_error(
            log_discrete[scored], None if weight is None else weight[scored]), 1.0, 0.0)]
    return Fitted(density, tried, effective, len(places), held_out)


def _numbers_of(columns, table):
    """The table as numbers that are equal where its cells are, (N, D)."""
    return np.stack([column.encode(values).astype(np.float64) if column.kind == "category"
                     else as_numbers(column.name, values)
                     for column, values in zip(columns, table)], axis=1)
