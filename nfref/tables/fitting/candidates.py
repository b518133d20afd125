"""Candidates of a pool, fitted once a fold; the simple ones; and the weights of all.

The simple densities are a Gaussian by maximum likelihood, Gaussians with shrunk correlations, one
for each group of labels, mixtures, and a wide density that bounds what a row can cost. Flows
(:mod:`nfref.tables.fitting.flow_search`) are candidates too. Each fold scores the rows that it
holds out; the scores of all folds decide the weights.
"""

import time
from dataclasses import dataclass
from functools import partial

import numpy as np

from nfref.runtime import blas, interrupts
from nfref.runtime.annotations import Any, Array, Callable, Generator, Iterator, Sequence
from nfref.tables.densities import mixture
from nfref.tables.densities.gaussian import Gaussian
from nfref.tables.densities.grouped import GroupedGaussian
from nfref.tables.densities.pool import (
    SMALLEST_WEIGHT,
    Pool,
    Regressed,
    log_pool,
    mean_and_error,
    stacking_weights,
)
from nfref.tables.densities.regression import MixtureRegression
from nfref.tables.densities.wide import REACH, Wide
from nfref.tables.fitting.folds import Fold, UnitRows
from nfref.tables.fitting.plan import Plan
from nfref.tables.fitting.results import CandidateResult

ROWS_A_COLUMN = 10  # rows a column below which a less shrunk Gaussian is a candidate too
WIDE_PART = 0.01  # weight of the wide density beside a mixture while its size is chosen
ONE_FOLD_CHOOSES = 1000  # rows from which on one fold chooses the size of a mixture
# A size whose first folds score so many standard errors below another size is not fitted further.
FIRST_FOLDS, HOPELESS = 2, 2.0
SIMPLE_SHARE = 0.6  # of the time budget, after which no larger mixture is tried
MIXTURE_ROWS = 20_000  # most rows for a mixture: more teach it nothing, and EM passes over all


@dataclass(frozen=True)
class Candidate:
    """One or several densities that share one name and one weight in a pool.

    Attributes
    ----------
    name : str
    members : tuple
        The densities; a flow has one a fold, a mixture also one of all rows.
    scores : (N,) array
        Log-likelihoods of held-out rows; NaN for the other rows.
    seconds : float
    message, history
        See :class:`~nfref.tables.fitting.results.CandidateResult`.
    last : Candidate or None
        The same flow after its last epoch, which the pool may take instead.
    gains : (N,) array or None
        By how many nats the mean of several members is expected to beat a single one; ``scores``
        are those of single ones.
    """

    name: str
    members: tuple
    scores: Array
    seconds: float
    message: str = ""
    history: dict[str, list[float]] | None = None
    last: "Candidate | None" = None
    gains: Array | None = None

    def mean(self, row_weight: Array | None) -> float:
        """Return the mean of the held-out scores for rows of that weight."""
        there = ~np.isnan(self.scores)
        weight = None if row_weight is None else row_weight[there]
        return mean_and_error(self.scores[there], weight)[0]

    def result(self, row_weight: Array | None, weight: float | None = None) -> CandidateResult:
        """Return the result for rows of that weight."""
        return CandidateResult.of(
            self.name, self.scores, row_weight, weight, self.seconds, self.message, self.history
        )


def held_out_scores(member: Any, rows: UnitRows) -> Array:
    """Return the log-likelihoods of rows, (N,); -inf where a member returns NaN."""
    with np.errstate(all="ignore"):
        found = member.log_prob(*((rows.u,) if rows.context is None else (rows.u, rows.context)))
    return np.where(np.isnan(found), -np.inf, found)


# Simple densities -------------------------------------------------------------------------

Fit = Callable[[UnitRows], Any]


def simple_candidates(
    plan: Plan, rows: UnitRows, folds: Sequence[Fold], rng: Generator
) -> Iterator[Candidate]:
    """Yield the candidates that take seconds, each as soon as it is fitted."""
    fits: dict[str, Fit] = {
        "gaussian": _fit_gaussian,
        "shrunk gaussian": _regressed(Gaussian.shrunk),
    }
    if len(folds[0].training) < ROWS_A_COLUMN * rows.u.shape[1]:
        fits["less shrunk gaussian"] = _regressed(lambda x, w: Gaussian.shrunk(x, w, 0.25))
    if rows.context is not None:
        fits["gaussian per group"] = lambda x: GroupedGaussian.fit(x.u, x.context, x.weight)
    fits["wide"] = _regressed(lambda x, w: Wide(x.shape[1], reach=REACH))
    found: dict[str, Array] = {}
    for name, fit in fits.items():
        if found and interrupts.came():
            return
        one = _fit_candidate(name, fit, rows, folds)
        if one.members[0] is not None and not np.all(np.isnan(one.scores)):
            found[name] = one.scores
            yield one
    if plan.flow != "gaussian" and not interrupts.came():
        for known in (0, rows.known) if rows.known else (0,):
            yield _best_mixture(rows, known, folds, rng, found["wide"], plan)


def _fit_candidate(name, fit, rows, folds):
    """Fit one candidate to each fold, then to all rows."""
    start = time.perf_counter()
    scores = np.full(len(rows), np.nan)
    for fold in folds:
        member = fit(fold.training)
        if member is not None:
            scores[fold.places] = held_out_scores(member, fold.held_out)
    if len(folds) > 1:  # all rows were held out in turn
        member = fit(rows)
    return Candidate(name, (member,), scores, time.perf_counter() - start)


def _regressed(fit) -> Fit:
    return lambda rows: Regressed.fit(fit, rows.u, rows.context, rows.weight)


def _fit_gaussian(rows):
    """Return None if there are too few rows for the columns."""
    try:
        return _regressed(Gaussian.fit)(rows) if len(rows) > rows.u.shape[1] + 1 else None
    except ValueError:
        return None


def _mixtures(sets, known, size, rng):
    """Fit a mixture of a size, or a regression on ``known`` columns, to several sets of rows."""
    fit_each = partial(MixtureRegression.fit_each, known=known) if known else Regressed.fit_each
    parts = ([getattr(rows, name) for rows in sets] for name in ("u", "context", "weight"))
    return fit_each(lambda x, w: size.fit_each(x, rng, w), *parts)


def _best_mixture(rows, known, folds, rng, wide, plan):
    """Return the mixture, or the regression on ``known`` columns, with the best held-out scores.

    The size is chosen beside the wide density, as in a pool: a row far out says nothing of a size.
    Many rows choose it in the first fold alone. A size that lags far behind in the first folds is
    not fitted to the others. The time budget may end the choice.

    The mixtures of the folds stay beside that of all rows, since each ends in another local optimum
    of the likelihood, and their mean is better than one of them.
    """
    start = time.perf_counter()
    folds = [fold._replace(training=fold.training.at(slice(MIXTURE_ROWS))) for fold in folds]
    choosing = folds[:1] if len(rows) >= ONE_FOLD_CHOOSES else folds
    with_wide = np.array([1 - WIDE_PART, WIDE_PART])
    tried: list[Array] = []

    def add(size, members, scores, more):
        """Fit and score the mixtures of more folds."""
        fitted = _mixtures([fold.training for fold in more], known, size, rng)
        for member, fold in zip(fitted, more):
            scores[fold.places] = held_out_scores(member, fold.held_out)
        members += fitted

    def fitted(size):
        if tried and (interrupts.came() or plan.has_spent(SIMPLE_SHARE)):
            return None, -np.inf
        members: list[Any] = []
        scores = np.full(len(rows), np.nan)
        for more in (choosing[:FIRST_FOLDS], choosing[FIRST_FOLDS:]):
            add(size, members, scores, more)
            there = ~np.isnan(scores)
            beside = log_pool(np.stack([scores, wide], axis=1)[there], with_wide)
            weight = None if rows.weight is None else rows.weight[there]
            if len(members) == len(choosing):
                break
            behind = [mean_and_error(one[there] - beside, weight) for one in tried]
            if any(gain > HOPELESS * error for gain, error in behind):
                return None, -np.inf
        tried.append(np.full(len(rows), np.nan))
        tried[-1][there] = beside
        return (size, members, scores), np.average(beside, weights=weight)

    size, members, scores = mixture.choose(
        mixture.sizes(min(len(fold.training) for fold in folds), rows.u.shape[1] + known), fitted
    )
    with blas.one_thread():
        if len(choosing) < len(folds):
            add(size, members, scores, folds[len(choosing) :])
        if len(folds) > 1:
            members += _mixtures([rows], known, size, rng)
    name = str(size).replace("mixture", "mixture regression") if known else str(size)
    return Candidate(name, tuple(members), scores, time.perf_counter() - start)


# The pool ---------------------------------------------------------------------------------


def pool_weights(
    candidates: Sequence[Candidate],
    weight: Array | None,
    rows: Array | None = None,
    with_gains: bool = False,
) -> tuple[Array, Array, Array]:
    """Find the weights of a pool by held-out rows.

    Parameters
    ----------
    candidates : sequence of Candidate
    weight : (N,) array or None
        Of the rows.
    rows : (N,) array of bool, optional
        The rows that decide; all that any candidate scores if omitted.
    with_gains : bool
        Whether a candidate of several members counts as their mean. Folds score single members.

    Returns
    -------
    used : (N,) array of bool
        The rows that decided.
    scores : (M, K) array
        Their log-likelihoods under the candidates.
    weights : (K,) array
    """
    scores = np.stack([one.scores for one in candidates], axis=1)
    used = ~np.all(np.isnan(scores), axis=1) if rows is None else rows
    # A candidate that a fold could not fit has no density on the rows that the fold held out.
    known = np.where(np.isnan(scores), -np.inf, scores)[used]
    # One row each is thought to have come from the Gaussian and from the wide density.
    prior = np.array([1.0 if one.name in ("gaussian", "wide") else 0.0 for one in candidates])
    expected = known
    if with_gains:
        gains = [np.zeros(len(used)) if one.gains is None else one.gains for one in candidates]
        expected = known + np.stack(gains, axis=1)[used]
    weights = stacking_weights(expected, None if weight is None else weight[used], prior)
    weights = np.where((weights < SMALLEST_WEIGHT) & (prior == 0), 0.0, weights)
    return used, known, weights / np.sum(weights)


def pool_mean(
    candidates: Sequence[Candidate], weight: Array | None, rows: Array | None = None
) -> float:
    """Return the mean log-likelihood of held-out rows under the pool; as :func:`pool_weights`."""
    used, known, weights = pool_weights(candidates, weight, rows)
    return float(
        np.average(log_pool(known, weights), weights=None if weight is None else weight[used])
    )


def with_epochs(candidates: Sequence[Candidate], weight: Array | None) -> list[Candidate]:
    """Return the candidates, each of its best or of its last epoch: the heavier in a pool of both.

    A flow that fits its own rows closely scores less alone, but may be worth more beside others: on
    17,014 rows of ten columns the last epochs gained 0.14 nats a row, on 8,500 of eleven they lost
    0.03, and held-out rows told which.
    """
    last = [one.last for one in candidates if one.last is not None]
    if not last:
        return list(candidates)
    weights = pool_weights([*candidates, *last], weight)[2]
    of_last = iter(weights[len(candidates) :])
    return [
        one if one.last is None or share >= next(of_last) else one.last
        for one, share in zip(candidates, weights)
    ]


def weigh(
    candidates: Sequence[Candidate],
    weight: Array | None,
    message: str = "",
    dropped: Sequence[CandidateResult] = (),
) -> tuple[Pool, list[CandidateResult], Array]:
    """Weigh candidates by their held-out scores, and by what the mean of several flows gains.

    Parameters
    ----------
    candidates : sequence of Candidate
    weight : (N,) array or None
        Of the rows.
    message : str
        Of the pool.
    dropped : sequence of CandidateResult
        Candidates that were left unfinished, which take no part.

    Returns
    -------
    pool : Pool
    results : list of CandidateResult
        Of each candidate, and of the pool last.
    log_prob : (N,) array
        Of held-out rows under the pool, NaN for the other rows.
    """
    candidates = with_epochs(candidates, weight)
    used, known, weights = pool_weights(candidates, weight, with_gains=True)
    names = [one.name for one in candidates]
    pooled = np.full(len(used), np.nan)
    pooled[used] = log_pool(known, weights)
    results = [one.result(weight, float(share)) for one, share in zip(candidates, weights)]
    results += dropped
    seconds = sum(one.seconds or 0.0 for one in results)
    results.append(CandidateResult.of("pool", pooled, weight, 1.0, seconds, message))
    each = [len(one.members) for one in candidates]
    pool = Pool(
        tuple(member for one in candidates for member in one.members),
        np.repeat(weights / each, each),
        tuple(np.repeat(names, each).tolist()),
    )
    return pool, results, pooled
