"""Test ``nfref fit``: keep a tenth of the rows, and score candidates and baselines on them."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from nfref.cli.data import Data
from nfref.runtime.annotations import Any, Array, Places, Sequence
from nfref.tables.densities.encoder import spread_rows
from nfref.tables.densities.gaussian import Gaussian
from nfref.tables.densities.pool import mean_and_error
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.fitting.folds import held_out_copies, point_mass_rows
from nfref.tables.fitting.gaps import uninformative_rows
from nfref.tables.fitting.results import CandidateResult, CandidateTable, Fitted, nats
from nfref.tables.queries.answers import log_marginal
from nfref.tables.schema.columns import Column, Continuous, with_gaps
from nfref.tables.schema.distinct_rows import as_counts, distinct_rows

LEAST_ROWS = 5
MARGINAL_ROWS = 200  # most test rows that are scored with empty cells: each takes 1,000 samples


@dataclass(frozen=True)
class Part:
    """Rows of a table: the columns' values, and the weight (N,) of each row."""

    table: list
    weight: np.ndarray

    def at(self, places: Places) -> "Part":
        """Return the rows at these places."""
        return Part([values[places] for values in self.table], self.weight[places])

    @property
    def whole(self) -> "Part":
        """The rows without empty cells."""
        return self.at(~with_gaps(self.table))

    def dequantised(self, density: TableDensity) -> "Part":
        """Return the rows with rounded values dequantised, as densities are fitted to them."""
        _, _, table = spread_rows(density.columns, self.table, np.ones(len(self)), 0, density.given)
        return replace(self, table=table)

    def __len__(self) -> int:
        return len(self.weight)


@dataclass(frozen=True)
class Split:
    """Distinct rows, the first of which are kept to test by.

    All copies of a row are in the same part, with two exceptions, where copies say how likely the
    row is: tables of discrete columns alone, and
    :func:`~nfref.tables.fitting.folds.point_mass_rows`.

    Parameters
    ----------
    places : (M,) array
        Rows of the table.
    weight : (M,) array
        Their weights.
    tests : int
        How many of them are kept to test by.
    of_copies : bool
        True if copies of a row are in both parts.
    """

    places: np.ndarray
    weight: np.ndarray
    tests: int
    of_copies: bool = False

    @classmethod
    def of(cls, values: Array, weight: Array | None, seed: int) -> "Split":
        """Split rows (N, D); rows of weight 0 are left out.

        Without weights a row counts as often as it occurs.
        """
        used = np.arange(len(values)) if weight is None else np.flatnonzero(weight > 0)
        places, counts = distinct_rows(
            values[used], None if weight is None else as_counts(weight[used]), seed
        )
        if len(places) < LEAST_ROWS:
            raise ValueError(f"expected at least {LEAST_ROWS} distinct rows, got {len(places)}")
        return cls(used[places], counts, max(1, round(len(places) / 10)))

    def for_columns(
        self, columns: Sequence[Column], table: Sequence[Array], given: Sequence[str], seed: int
    ) -> "Split":
        """Return the split of a table, with copies of a row in both parts where they have to be."""
        held = held_out_copies(columns, self.weight, 0.1, seed + 1)
        if held is None:
            both = point_mass_rows(
                columns, [values[self.places] for values in table], self.weight, given
            )
            if not np.any(both):
                return self
            held = np.where(np.arange(len(both)) < self.tests, self.weight, 0)
            held[both] = np.round(self.weight[both] / 10)
        test, train = held > 0, self.weight > held
        places = np.concatenate([self.places[test], self.places[train]])
        weight = np.concatenate([held[test], (self.weight - held)[train]])
        return Split(places, weight, int(np.sum(test)), True)

    def test(self, table: Sequence[Array]) -> Part:
        """Return the :class:`Part` of a table to test by."""
        return self._part(table, slice(self.tests))

    def train(self, table: Sequence[Array]) -> Part:
        """Return the :class:`Part` of a table to fit."""
        return self._part(table, slice(self.tests, None))

    def _part(self, table, part):
        return Part([values[self.places[part]] for values in table], self.weight[part])

    def __str__(self):
        if self.of_copies:
            distinct = len(np.unique(self.places))
            return (
                f"{distinct:,} distinct rows, and {np.sum(self.weight[: self.tests]):,.0f} copies "
                "kept for the test"
            )
        return f"{len(self.places):,} distinct rows, {self.tests:,} of them kept for the test"


# Scores -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class ScoredRows:
    """Test rows without empty cells, scored once: a continuous flow takes its time.

    Attributes
    ----------
    part : Part
        The rows, dequantised as densities are fitted to them.
    total : (N,) array
        Their log-likelihoods.
    members : (N, K) array or None
        log p_k of the members of the pool.
    """

    part: Part
    total: np.ndarray
    members: np.ndarray | None

    @classmethod
    def of(cls, density: TableDensity, part: Part) -> "ScoredRows":
        """Score the rows of a part that have no empty cells."""
        part = part.whole.dequantised(density)
        return cls(part, *(density.parts(part.table) if len(part) else (np.zeros(0), None)))

    def mean(self) -> tuple[float, float]:
        """Return the mean log-likelihood and its standard error; NaN without rows."""
        return mean_and_error(self.total, self.part.weight) if len(self.part) else (np.nan, np.nan)


def table_lines(
    data: Data, split: Split, fitted: Fitted, tests: ScoredRows, baselines: bool
) -> Iterator[str]:
    """Compare every candidate, the pool and, if asked for, baselines on the test rows."""
    density, cells = fitted.density, data.table.cells()
    every, train = split.test(cells), split.train(cells)
    whole = len(tests.part) == len(every)
    if not whole:
        yield from _score_of_known_cells(density, every)
        if not len(tests.part):
            yield f"no test row of {split.tests:,} is without empty cells: nothing to compare by"
            return
        yield f"{len(tests.part):,} of {split.tests:,} test rows are without empty cells:"
    compared = compare_candidates(fitted, tests)
    if baselines and not density.given and whole and len(train.whole) == len(train):
        compared += compare_baselines(density, train, tests, data.truth)
    yield repr(CandidateTable(compared, "test nats per row"))


def compare_candidates(fitted: Fitted, tests: ScoredRows) -> list[CandidateResult]:
    """Score the candidates of a pool, and the pool if it has several, on test rows."""
    tried, pool, weight = fitted.tried[:-1], fitted.density.pool, tests.part.weight
    found = []
    if pool is not None and tests.members is not None:
        others = tests.total - pool.pooled(tests.members)
        by_name = dict(zip(pool.shares, pool.by_name(tests.members).T))
        found = [
            CandidateResult.of(
                one.name, others + by_name[one.name], weight, one.weight, one.seconds
            )
            for one in tried
            if one.name in by_name
        ]
    if len(found) != 1:
        name, seconds = fitted.tried[-1].name, sum(one.seconds or 0.0 for one in tried)
        found.append(CandidateResult.of(name, tests.total, weight, 1.0, seconds))
    return found


def compare_baselines(
    density: TableDensity, train: Part, tests: ScoredRows, truth: Any = None
) -> list[CandidateResult]:
    """Score a Gaussian and the true density, if it is known, on test rows.

    Parameters
    ----------
    density : TableDensity
    train : Part
        Without missing cells.
    tests : ScoredRows
    truth : object, optional
        The density of the table.
    """
    train, test = train.dequantised(density), tests.part
    rows, found = np.stack(test.table, axis=1), {}
    if all(isinstance(column, Continuous) for column in density.columns):
        with suppress(ValueError, np.linalg.LinAlgError), np.errstate(all="ignore"):
            gaussian = Gaussian.fit(np.stack(train.table, axis=1), train.weight)
            found["full Gaussian"] = gaussian.log_prob(rows)  # these units are not robust
    if truth is not None:
        found["true density"] = truth.log_prob(rows)
    return [CandidateResult.of(name, score, test.weight) for name, score in found.items()]


def _score_of_known_cells(density, part):
    """Score the cells that are there, in test rows with and without empty ones."""
    names = [column.name for column in density.columns]
    used = np.flatnonzero(~uninformative_rows(names, part.table, density.given))[:MARGINAL_ROWS]
    if len(used):
        part = part.at(used)
        mean, error = mean_and_error(log_marginal(density, part.table).log_prob, part.weight)
        yield (
            f"test nats per row of the cells that are there: {nats(mean)}, std. error "
            f"{nats(error)} ({len(used):,} rows, with empty cells and without)"
        )
