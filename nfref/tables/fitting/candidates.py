"""Simple densities of rows in robust units, and the pool that all candidates end in.

Rows hold the features of discrete columns, and the columns that are given, as context. The simple
densities are a Gaussian by maximum likelihood, one with shrunk correlations, mixtures, the wide
density that bounds what a row can cost, and a vine where its package is there. Each candidate,
simple or a flow (:mod:`nfref.tables.fitting.flow_search`), is fitted once a fold, to all rows but
those that the fold holds out, which it is then scored by; the scores of all folds say what it
weighs.
"""

import time
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from nfref.runtime import blas
from nfref.tables.densities import mixture
from nfref.tables.densities.pool import (
    Pool,
    Regressed,
    log_pool,
    mean_and_error,
    median,
    stacking_weights,
)
from nfref.tables.densities.regression import MixtureRegression
from nfref.tables.densities.simple_densities import REACH, Gaussian, Wide
from nfref.tables.densities.vine import MOST_COLUMNS, MOST_ROWS, Vine, is_installed
from nfref.tables.fitting.plan import CandidateResult

# Distinct rows from which on three folds do, and from which on one part is held out. Of 3,000 to
# 3,500 rows three folds gain 0.12 to 0.29 nats on four tables, by other rows of the training parts,
# for 2.4 to 4 times the seconds; five gain 0.02 to 0.05 more, for 3.4 and 4.3 times.
FEW_ROWS, FOLDED_ROWS = 2500, 5000
ROWS_A_COLUMN = 10  # below so many rows a column, correlations are shrunk less too
WIDE_PART = 0.01  # of the wide density beside a mixture, where its size is chosen
MIXTURE_ROWS = 20_000  # so many rows say all that a mixture can learn; EM passes over all, often


# Rows and folds ---------------------------------------------------------------------------


@dataclass(frozen=True)
class UnitRows:
    """Distinct rows of a table, in an order that their content decides.

    Parameters
    ----------
    u : (N, D) array
        In robust units.
    context : (N, C) array or None
    weight : (N,) array or None
        How often each row is there.
    known : int
        How many of the last numbers of the context are columns in robust units.
    """

    u: np.ndarray
    context: np.ndarray | None = None
    weight: np.ndarray | None = None
    known: int = 0

    def at(self, places):
        """Some of the rows."""
        return UnitRows(
            *(
                None if array is None else array[places]
                for array in (self.u, self.context, self.weight)
            ),
            self.known,
        )

    def repeated(self):
        """The rows as often as they are there, each of no weight."""
        if self.weight is None:
            return self
        if np.any(self.weight != np.round(self.weight)):
            raise ValueError(
                "weight: expected whole numbers for a flow that is not trained by its "
                "likelihood, got fractions"
            )
        places = np.repeat(np.arange(len(self)), self.weight.astype(np.int64))
        return replace(self.at(places), weight=None)

    def __len__(self):
        return len(self.u)


class Fold(NamedTuple):
    """Rows to fit to, and those that are held out, which stand at ``places``; one of ``of``."""

    training: UnitRows
    held_out: UnitRows
    places: np.ndarray
    of: int = 1

    def all_rows(self):
        """Those that are held out last."""
        rows, held_out = self.training, self.held_out
        return UnitRows(
            *(
                None if one is None else np.concatenate([one, other])
                for one, other in (
                    (rows.u, held_out.u),
                    (rows.context, held_out.context),
                    (rows.weight, held_out.weight),
                )
            ),
            rows.known,
        )


def held_out_count(rows, share):
    """A share of the rows, but up to a hundred of few rows, and no more than twenty thousand."""
    return int(np.clip(round(share * rows), min(100, rows // 5), 20_000))


def parts_of(rows, share, plan):
    """The number of the fold that holds each row out, (N,); -1 of those that none does.

    Few rows are all held out by turns. Of many, and where flows stand alone, one share is.
    """
    place = np.arange(rows)
    if plan.simple and plan.folds > 1 and rows < FOLDED_ROWS:
        return place % min(plan.folds, rows if rows < FEW_ROWS else 3)
    return np.where(place < max(held_out_count(rows, share), 1), 0, -1)


def folds_of(rows, parts):
    """The :class:`Fold` of each number."""
    number = int(np.max(parts)) + 1
    return [
        Fold(rows.at(parts != k), rows.at(parts == k), np.flatnonzero(parts == k), number)
        for k in range(number)
    ]


# Candidates -------------------------------------------------------------------------------


class Candidate(NamedTuple):
    """What is in a pool under one name: one density or several, which share its weight.

    ``scores`` (N,) are its log-likelihoods of rows that were held out, NaN for all others.
    """

    name: str
    members: tuple
    scores: np.ndarray
    seconds: float
    message: str = ""
    history: dict | None = None


def scores_of(member, rows):
    """Log-likelihoods of rows, (N,); -inf where a member cannot tell."""
    with np.errstate(all="ignore"):
        found = member.log_prob(*((rows.u,) if rows.context is None else (rows.u, rows.context)))
    return np.where(np.isnan(found), -np.inf, found)


def _fitted(name, fit, rows, folds):
    """The Candidate that ``fit`` makes of rows."""
    start = time.perf_counter()
    member, scores = _out_of_fold(fit, rows, folds)
    return Candidate(name, (_whole(member, fit, rows, folds),), scores, time.perf_counter() - start)


def _out_of_fold(fit, rows, folds):
    """(what is fitted without the last fold, the log-likelihoods of all that is held out)."""
    scores, member = np.full(len(rows), np.nan), None
    for fold in folds:
        member = fit(fold.training)
        if member is not None:
            scores[fold.places] = scores_of(member, fold.held_out)
    return member, scores


def _whole(member, fit, rows, folds):
    """The same of all rows, where folds hold out all."""
    return fit(rows) if len(folds) > 1 else member


def _regressed(fit):
    return lambda rows: Regressed.fit(fit, rows.u, rows.context, rows.weight)


def _gaussian(rows):
    """None where there are too few rows for all the columns."""
    try:
        return _regressed(Gaussian.fit)(rows) if len(rows) > rows.u.shape[1] + 1 else None
    except ValueError:
        return None


def _vine(rows):
    """None of one row, and where weights are no numbers of copies that can be written out."""
    rows = rows.at(slice(MOST_ROWS))
    weight = np.ones(1) if rows.weight is None else rows.weight
    if len(rows) < 2 or np.any(weight != np.round(weight)) or np.sum(weight) > MOST_ROWS:
        return None
    return _regressed(lambda x, w: Vine.fit(x))(rows.repeated())


def _mixture(rng, size):
    return _regressed(lambda x, w: size.fit(x, rng, w))


def _mixture_regression(rng, size):
    def fit(rows):
        return MixtureRegression.fit(
            lambda x, w: size.fit(x, rng, w), rows.u, rows.context, rows.known, rows.weight
        )

    return fit


def _mixtures(kind, of, rows, folds, rng, wide):
    """The Candidate of the size by which the rows held out are likeliest.

    Beside the wide density, as in a pool: a row far out says nothing of a size.
    """
    start = time.perf_counter()
    folds = [fold._replace(training=fold.training.at(slice(MIXTURE_ROWS))) for fold in folds]

    def fitted(size):
        member, scores = _out_of_fold(of(rng, size), rows, folds)
        there = ~np.isnan(scores)
        beside = log_pool(
            np.stack([scores, wide], axis=1)[there], np.array([1 - WIDE_PART, WIDE_PART])
        )
        return (size, member, scores), np.average(
            beside, weights=None if rows.weight is None else rows.weight[there]
        )

    size, member, scores = mixture.choose(
        mixture.sizes(min(len(fold.training) for fold in folds), rows.u.shape[1] + rows.known),
        fitted,
    )
    with blas.one_thread():
        member = _whole(member, of(rng, size), rows, folds)
    return Candidate(
        str(size).replace("mixture", kind), (member,), scores, time.perf_counter() - start
    )


def simple_candidates(flow, rows, folds, rng):
    """Candidates that take little time."""
    fits = {"gaussian": _gaussian, "shrunk gaussian": _regressed(Gaussian.shrunk)}
    if len(folds[0].training) < ROWS_A_COLUMN * rows.u.shape[1]:
        fits["less shrunk gaussian"] = _regressed(lambda x, w: Gaussian.shrunk(x, w, 0.25))
    fits["wide"] = _regressed(lambda x, w: Wide(x.shape[1], reach=REACH))
    if flow not in ("gaussian", "mixture") and is_installed():
        if 1 < rows.u.shape[1] <= MOST_COLUMNS:
            fits["vine"] = _vine
    found = [_fitted(name, fit, rows, folds) for name, fit in fits.items()]
    found = [
        one for one in found if one.members[0] is not None and not np.all(np.isnan(one.scores))
    ]
    if flow != "gaussian":
        wide = next(one.scores for one in found if one.name == "wide")
        found.append(_mixtures("mixture", _mixture, rows, folds, rng, wide))
        if rows.known:
            found.append(
                _mixtures("mixture regression", _mixture_regression, rows, folds, rng, wide)
            )
    return found


# The pool ---------------------------------------------------------------------------------


def prior_of(names):
    """One row each that is thought to have come from the Gaussian and from the wide density."""
    return np.array([1.0 if name in ("gaussian", "wide") else 0.0 for name in names])


def pool_of(candidates, weight, message=""):
    """Return (Pool, list of CandidateResult, log-likelihoods (N,) under the pool).

    The log-likelihoods are those of rows that are held out, by densities that were not fitted to
    them, and NaN for the others. The message is the pool's.
    """
    scores = np.stack([one.scores for one in candidates], axis=1)
    used = ~np.all(np.isnan(scores), axis=1)
    # What a fold could not fit says nothing of the rows that it held out.
    known = np.where(np.isnan(scores), -np.inf, scores)[used]
    names = [one.name for one in candidates]
    weights = stacking_weights(known, None if weight is None else weight[used], prior_of(names))
    weights = np.where(weights < 1e-6, 0.0, weights)
    weights = weights / np.sum(weights)
    pooled = np.full(len(scores), np.nan)
    pooled[used] = log_pool(known, weights)
    tried = [
        CandidateResult(
            one.name,
            *mean_held_out(one.scores, weight),
            float(share),
            one.seconds,
            one.message,
            one.history,
            _median(one.scores, weight),
        )
        for one, share in zip(candidates, weights)
    ]
    tried.append(
        CandidateResult(
            "pool",
            *mean_held_out(pooled, weight),
            1.0,
            sum(one.seconds for one in tried),
            message,
            median=_median(pooled, weight),
        )
    )
    each = [len(one.members) for one in candidates]
    pool = Pool(
        tuple(member for one in candidates for member in one.members),
        np.repeat(weights / each, each),
        tuple(np.repeat(names, each).tolist()),
    )
    return pool, tried, pooled


def mean_held_out(scores, weight):
    """The mean of the scores that are there, and its standard error."""
    there = ~np.isnan(scores)
    return mean_and_error(scores[there], None if weight is None else weight[there])


def _median(scores, weight):
    """The median of the scores that are there."""
    there = ~np.isnan(scores)
    return median(scores[there], None if weight is None else weight[there])
