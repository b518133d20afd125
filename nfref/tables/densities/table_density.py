"""The density of a table: its columns, the probability of discrete ones, a pool for the others.

    log p(row) = log P(d) + log p(u | d) + sum_j log du_j/dx_j

d are the codes of the discrete columns and of columns with atoms, u the continuous columns in
robust units. If all columns are discrete this is the log of a probability; if all are continuous,
of a density in the units of the data; otherwise of a probability times a density. A value at an
atom counts as discrete (:mod:`nfref.tables.schema.repeated_values`).

If some columns are *given*, it is the density of the others given these. Given columns are context
of the pool, and the classes of discrete columns depend on them. They have no probability of their
own.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nfref.runtime.annotations import Any, Array, Generator, Sequence
from nfref.runtime.checks import check_floats, require, shortened
from nfref.runtime.configuration import Configuration
from nfref.tables.densities.encoder import (
    Encoder,
    RoundedCells,
    coded_columns,
    feature_count,
    features,
)
from nfref.tables.densities.latent_classes import LatentClasses
from nfref.tables.densities.pool import Pool
from nfref.tables.reading.table import quoted_names
from nfref.tables.schema.columns import Category, Continuous, Count


@dataclass(frozen=True)
class TableDensity(Configuration):
    """The density of tables with certain columns.

    Parameters
    ----------
    columns : tuple of Continuous, Category or Count
    discrete : LatentClasses or None
        A LabelNetwork for a label given all other columns; None without discrete columns.
    pool : Pool or None
        For the continuous columns in robust units, given the discrete ones; None without any.
    centre, scale : (J,) array
        Units of the codes of counts in the pool's context.
    given : tuple of str
        Names of the given columns.
    """

    columns: tuple
    discrete: LatentClasses | None
    pool: Pool | None
    centre: Any = None
    scale: Any = None
    given: tuple = ()

    # Rows -----------------------------------------------------------------------------------

    def encode(self, table: Sequence[Array]) -> tuple[Array, Array, Array]:
        """Encode as :class:`~nfref.tables.densities.encoder.Encoder` does."""
        return self._encoder(table)

    @cached_property
    def _encoder(self):
        return Encoder(self.columns, self.given)

    @cached_property
    def cells(self) -> RoundedCells:
        """The cells that rounded values stand for."""
        return RoundedCells(self.columns, self.given)

    def context(self, codes: Array) -> Array | None:
        """Return the pool's context: a 1 for each label, counts and given columns in units."""
        if not codes.shape[1]:
            return None
        return features(self.coded_columns, codes, self.centre, self.scale)

    @property
    def dim(self) -> int:
        """The number of columns."""
        return len(self.columns)

    context_dim = 0

    @property
    def places(self) -> tuple[list[int], list[int]]:
        """See :func:`~nfref.tables.densities.encoder.places_of`."""
        return self._encoder.places

    @property
    def coded_columns(self) -> tuple:
        """See :func:`~nfref.tables.densities.encoder.coded_columns`."""
        return coded_columns(self.columns, self.given)

    def pilot(self, rng: Generator, n: int) -> Array:
        """Return possible codes (n, J) to try the pool with; they need not follow the data."""
        if self.discrete is not None:
            return self.discrete.sample(rng, n)
        drawn = [
            rng.integers(len(column.labels), size=n)
            if column.kind == "category"
            else self.centre[j] + self.scale[j] * rng.standard_normal(n)
            for j, column in enumerate(self.coded_columns)
        ]
        return np.stack(drawn, axis=1).astype(np.float64) if drawn else np.zeros((n, 0))

    # Answers --------------------------------------------------------------------------------

    def log_prob(self, table: Sequence[Array]) -> Array:
        """Return the log-likelihood of every row, (N,); -inf for rows outside a support.

        Rounded values are scored by the density of dequantised values, at the values themselves.
        """
        return self._parts(table, self.pool and self.pool.used)[0]

    def parts(self, table: Sequence[Array]) -> tuple[Array, Array | None]:
        """Return (log-likelihood (N,), log p_k(u | d) of every member (N, K) or None)."""
        return self._parts(table, self.pool)

    def _parts(self, table, pool):
        codes, u, total = self.encode(table)
        members = None
        if self.discrete is not None:
            total = total + self.discrete.log_prob(codes)
        if pool is not None:
            members = pool.log_probs(u, self.context(np.nan_to_num(codes)))
            total = total + pool.pooled(members)
        return total, members

    def spread(self, table: Sequence[Array]) -> Array:
        """Return how much the flows of the pool differ in log p of every row, (N,).

        The standard deviation of log p_k about log p, with the flows' shares of the weights; NaN
        with fewer than two flows.
        """
        members, pool = self.parts(table)[1], self.pool
        if members is None or pool is None or len(pool.flows) < 2:
            return np.full(len(table[0]), np.nan)
        flows = pool.flows
        weights = np.array([pool.weights[k] for k in flows])
        if not np.sum(weights) > 0:
            return np.full(len(table[0]), np.nan)
        apart = members[:, flows] - pool.pooled(members)[:, None]
        return np.sqrt(np.square(np.nan_to_num(apart)) @ (weights / np.sum(weights)))

    def sample(self, rng: Generator, n: int) -> list[Array]:
        """Sample a list of columns' values, (n,) each, in the order of the columns.

        Raises
        ------
        ValueError
            If some columns are given: :mod:`nfref.tables.queries.answers` samples the others.
        """
        if self.given:
            raise ValueError(
                f"given: expected values of {', '.join(map(repr, self.given))}, which "
                "the density is given, got none"
            )
        codes = np.zeros((n, 0))
        u, context = np.zeros((n, 0)), None
        if self.discrete is not None:
            codes = self.discrete.sample(rng, n)
            context = self.context(codes)
        if self.pool is not None:
            u = self.pool.sample(rng, n, context)
        return self.sampled(codes, u)

    def sampled(self, codes: Array, u: Array) -> list[Array]:
        """Return a list of columns' values, (n,) each, of sampled codes (n, J) and u (n, D)."""
        coded, pooled = self.places
        found = []
        for k, column in enumerate(self.columns):
            parts = [u[:, pooled.index(k)]] if k in pooled else []
            parts += [codes[:, coded.index(k)]] if k in coded else []
            found.append(column.sampled(*parts))
        return found

    def _check(self):
        require(
            all(isinstance(column, (Continuous, Category, Count)) for column in self.columns),
            "columns: expected columns, got others",
        )
        names = [column.name for column in self.columns]
        require(0 < len(names) == len(set(names)), "columns: expected names that differ")
        require(isinstance(self.given, tuple), "given: expected names, got others")
        check_given(self.given, names)
        kinds = self.coded_columns
        known = tuple(j for j, column in enumerate(kinds) if column.name in self.given)
        require(
            (self.discrete is not None) == (len(known) < len(kinds))
            and (self.discrete is None or self.discrete.describes(kinds, known)),
            "discrete: expected a part for each column that has codes, got others",
        )
        if kinds:
            check_floats("centre", self.centre, len(kinds))
            check_floats("scale", self.scale, len(kinds))
        require(
            np.all(self.scale > 0) if kinds else self.centre is self.scale is None,
            "scale: expected numbers above 0 where columns have codes",
        )
        dim, width = len(self.places[1]), feature_count(kinds)
        require(
            (self.pool is not None) == (dim > 0)
            and (
                self.pool is None or all(member.takes(dim, width) for member in self.pool.members)
            ),
            f"pool: expected members of {dim} columns given {width} numbers, got others",
        )


def check_given(given: Any, names: Sequence[str]) -> tuple[str, ...]:
    """Return the given columns in the order of the table; at least one other column must be left.

    Raises
    ------
    ValueError
        If one is not a column or comes twice, or if no column is left.
    """
    try:
        given = (given,) if isinstance(given, str) else () if given is None else tuple(given)
    except TypeError:
        raise TypeError(f"given: expected names of columns, got {shortened(given)}") from None
    for name in given:
        if name not in names:
            raise ValueError(
                f"given: expected columns among {quoted_names(names)}; got {shortened(name)}"
            )
        if given.count(name) > 1:
            raise ValueError(f"given: expected each column once, got {name!r} twice")
    if given and len(given) == len(names):
        raise ValueError(f"given: expected a column that is not given, got all {len(names)}")
    return tuple(name for name in names if name in given)
