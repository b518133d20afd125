"""Hold out rows: folds of distinct rows, and the exceptions for copies of a row.

Distinct rows stand in an order that their content decides, so a slice of them is a random part.
Every copy of a row falls into the same part: a row that a density was fitted to looks likelier than
it is. Two kinds of rows are exceptions: rows of discrete columns alone, and rows that a tenth of
the table repeats. Their own probability is wanted, and with all copies held out it would be that of
a row that was never seen. Rows that are neighbours in a Markov chain are alike too, so the blocks
of a chain are held out whole.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from nfref.runtime.annotations import Any, Array, Places, Sequence
from nfref.tables.fitting.plan import Plan
from nfref.tables.schema.columns import DISCRETE, Continuous

OFTEN = 0.1  # smallest share of the table of a row whose copies fall into all folds

# Rows -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class UnitRows:
    """Distinct rows of a table in robust units.

    Parameters
    ----------
    u : (N, D) array
    context : (N, C) array or None
    weight : (N,) array or None
        How often each row occurs.
    known : int
        How many of the last columns of the context are given columns in robust units.
    """

    u: Array
    context: Array | None = None
    weight: Array | None = None
    known: int = 0

    def at(self, places: Places) -> "UnitRows":
        """Return the rows at these places."""
        context, weight = (
            None if array is None else array[places] for array in (self.context, self.weight)
        )
        return UnitRows(self.u[places], context, weight, self.known)

    def repeated(self) -> "UnitRows":
        """Return each row as often as it occurs, without weights."""
        if self.weight is None:
            return self
        if np.any(self.weight != np.round(self.weight)):
            raise ValueError(
                "weight: expected whole numbers for a flow that is not trained by its "
                "likelihood, got fractions"
            )
        places = np.repeat(np.arange(len(self)), self.weight.astype(np.int64))
        return replace(self.at(places), weight=None)

    @property
    def total(self) -> float:
        """The sum of the weights."""
        return float(len(self) if self.weight is None else np.sum(self.weight))

    def __len__(self) -> int:
        return len(self.u)


# Folds ------------------------------------------------------------------------------------


class Fold(NamedTuple):
    """Rows to fit to, and the rows held out, which are at ``places``; one fold ``of`` several."""

    training: UnitRows
    held_out: UnitRows
    places: Array
    of: int = 1

    def all_rows(self) -> UnitRows:
        """Return the training rows, then the rows held out."""
        rows, held_out = self.training, self.held_out
        context, weight = (
            None if one is None else np.concatenate([one, other])
            for one, other in ((rows.context, held_out.context), (rows.weight, held_out.weight))
        )
        return UnitRows(np.concatenate([rows.u, held_out.u]), context, weight, rows.known)


def held_out_count(rows: int, share: float) -> int:
    """Return how many rows are held out: a share, at least 100 or a fifth, at most 20,000."""
    return int(np.clip(round(share * rows), min(100, rows // 5), 20_000))


def fold_numbers(rows: int, share: float, plan: Plan) -> Array:
    """Return the number of the fold that holds each row out, (N,); -1 where no fold does.

    Few rows are all held out in turn. Of many rows, and for flows without simple densities, one
    share is held out.
    """
    place = np.arange(rows)
    if plan.folds is not None:
        folds = min(plan.folds, rows)
    elif plan.resume is not None and plan.resume.folds is not None:
        folds = plan.resume.folds
    else:
        folds = plan.limits.folds_for(rows, plan.time_budget)
    if plan.simple and folds > 1:
        return place % folds
    return np.where(place < max(held_out_count(rows, share), 1), 0, -1)


def group_fold_numbers(numbers: Array, group: Array) -> Array:
    """Return fold numbers (N,) that hold all rows of a group out together.

    There are as many folds as in ``numbers``, but at most one a group. Groups are taken in the
    order of their first rows, which looks random. One held-out part gets about as many rows as in
    ``numbers``, and leaves at least one group to fit to.

    Parameters
    ----------
    numbers : (N,) array of int
        From :func:`fold_numbers`.
    group : (N,) array of int
        Of each row; at least two groups.
    """
    _, first, place = np.unique(group, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))[place]
    if np.all(numbers >= 0):
        return rank % (int(np.max(numbers)) + 1)
    before = np.cumsum(np.bincount(rank)) - np.bincount(rank)
    held_out = before < np.sum(numbers >= 0)
    held_out[-1] = False
    return np.where(held_out[rank], 0, -1)


def make_folds(rows: UnitRows, numbers: Array) -> list[Fold]:
    """Return one :class:`Fold` for each number."""
    count = int(np.max(numbers)) + 1
    return [
        Fold(rows.at(numbers != k), rows.at(numbers == k), np.flatnonzero(numbers == k), count)
        for k in range(count)
    ]


# Copies of a row --------------------------------------------------------------------------


def point_mass_rows(
    columns: Sequence[Any], table: Sequence[Array], counts: Array, given: Sequence[str] = ()
) -> Array:
    """Find distinct rows that have a probability of their own, (N,) of bool.

    A tenth of the table repeats such a row, and each of its continuous columns has a cell that its
    copies are spread over.
    """
    found = (counts > 1) & (counts >= OFTEN * np.sum(counts))
    own = [
        (column, values)
        for column, values in zip(columns, table)
        if isinstance(column, Continuous) and column.name not in given
    ]
    for column, values in own:
        found = found & column.has_cell(values)
    return found & bool(own)


def folds_of_copies(numbers: Array, row: Array) -> Array:
    """Return fold numbers (M,) for copies of distinct rows.

    ``row`` (M,) is the distinct row that each copy repeats. The copies of one row fall into each
    fold in the proportion in which all rows do.
    """
    count = np.bincount(row)[row]
    return np.sort(numbers)[
        ((occurrence_numbers(row) + 0.5) / count * len(numbers)).astype(np.int64)
    ]


def held_out_copies(columns: Sequence[Any], counts: Array, share: float, seed: int) -> Array | None:
    """Return how many copies of each distinct row are held out, (N,), if all columns are discrete.

    None if a column is continuous, if counts are not whole numbers, or if no row repeats.
    """
    if not all(column.kind in DISCRETE for column in columns):
        return None
    if np.any(counts != np.round(counts)) or np.all(counts == 1):
        return None
    counts = counts.astype(np.int64)
    rng = np.random.default_rng([seed % 2**64, 2])
    return rng.multivariate_hypergeometric(
        counts, max(held_out_count(int(np.sum(counts)), share), 1), method="marginals"
    )


def occurrence_numbers(group: Array) -> Array:
    """Return how many equal rows come before each row, (N,)."""
    order = np.argsort(group, kind="stable")
    ordered, found = group[order], np.empty(len(group), np.int64)
    found[order] = np.arange(len(group)) - np.searchsorted(ordered, ordered)
    return found
