"""Simple densities of rows in robust units, and the pool that members end in.

Rows hold the features of discrete columns, and the columns that are given, as context. The simple
densities are a Gaussian by maximum likelihood, one with shrunk correlations, mixtures, and the
wide density that bounds what a row can cost. With few rows they are all there is, and their
weights come from cross-validation.
"""

import time
from dataclasses import dataclass, replace

import numpy as np

from nfref.tables.closed_form import Gaussian, Wide
from nfref.tables.mixtures import GaussianMixture
from nfref.tables.plan import Tried
from nfref.tables.pool import Pool, Regressed, mean_and_error, stacking_weights
from nfref.tables.regression import MixtureRegression

FOLDS = 5
ROWS_A_COLUMN = 10      # below so many rows a column, correlations are shrunk less too
SMALL_MIXTURES = (2, 4)
MIXTURE_ROWS = 20_000   # so many rows say all that a mixture can learn; EM passes over all, often


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
        return UnitRows(*(None if array is None else array[places]
                          for array in (self.u, self.context, self.weight)), self.known)

    def repeated(self):
        """The rows as often as they are there, each of no weight."""
        if self.weight is None:
            return self
        if np.any(self.weight != np.round(self.weight)):
            raise ValueError("weight: expected whole numbers for a flow that is not trained by its "
                             "likelihood, got fractions")
        places = np.repeat(np.arange(len(self)), self.weight.astype(np.int64))
        return replace(self.at(places), weight=None)

    def __len__(self):
        return len(self.u)


def simple_densities(flow, training, rng, components=None):
    """name -> density of the closed forms, fitted to rows.

    ``components`` are numbers of components of mixtures, each one a member.
    """
    u, context, weight = training.u, training.context, training.weight
    found = {}
    if len(u) > u.shape[1] + 1:
        try:
            found["gaussian"] = Regressed.fit(Gaussian.fit, u, context, weight)
        except ValueError:      # too few rows for all these columns
            pass
    found["shrunk gaussian"] = Regressed.fit(Gaussian.shrunk, u, context, weight)
    if len(u) < ROWS_A_COLUMN * u.shape[1]:
        found["less shrunk gaussian"] = Regressed.fit(
            lambda x, w: Gaussian.shrunk(x, w, 0.25), u, context, weight)
    for number in components if flow != "gaussian" else ():
        if number * (u.shape[1] + 1) * 2 <= len(u):
            found[f"mixture of {number}"] = Regressed.fit(
                lambda x, w: GaussianMixture.fit(x, number, rng, weight=w), u, context, weight)
        if training.known and number * (u.shape[1] + training.known + 1) * 2 <= len(u):
            found[f"mixture regression of {number}"] = MixtureRegression.fit(
                lambda x, w: GaussianMixture.fit(x, number, rng, weight=w), u, context,
                training.known, weight)
    found["wide"] = Regressed.fit(lambda x, w: Wide(x.shape[1]), u, context, weight)
    return found


def _arguments(rows):
    return (rows.u,) if rows.context is None else (rows.u, rows.context)


def scores_of(member, rows):
    """Log-likelihoods of rows, (N,); -inf where a member cannot tell."""
    with np.errstate(all="ignore"):
        found = member.log_prob(*_arguments(rows))
    return np.where(np.isnan(found), -np.inf, found)


def prior_of(names):
    """One row each that is thought to have come from the Gaussian and from the wide density."""
    return np.array([1.0 if name in ("gaussian", "wide") else 0.0 for name in names])


def by_cross_validation(rows, flow, rng):
    """(Pool, list of Tried) of simple densities; every row is scored by fits without it."""
    began = time.perf_counter()
    folds = min(FOLDS, len(rows))
    parts = np.arange(len(rows)) % folds
    scores = {}
    for fold in range(folds):
        held_out = rows.at(parts == fold)
        fitted = simple_densities(flow, rows.at(parts != fold), rng, SMALL_MIXTURES)
        for name, member in fitted.items():
            scores.setdefault(name, np.full(len(rows), -np.inf))[parts == fold] = scores_of(
                member, held_out)
    members = simple_densities(flow, rows, rng, SMALL_MIXTURES)
    names = tuple(name for name in members if name in scores)
    table = np.stack([scores[name] for name in names], axis=1)
    return pool_of(names, tuple(members[name] for name in names), table, rows.weight,
                   {name: (time.perf_counter() - began) / len(names) for name in names}, {})


def pool_of(names, members, scores, weight, seconds, results):
    """(Pool, list of Tried) of members whose weights follow from scores (N, K) of rows held out.

    ``seconds`` (name -> float) and ``results`` (name -> DoneFlow) say how some came about.
    """
    weights = stacking_weights(scores, weight, prior_of(names))
    weights = np.where(weights < 1e-6, 0.0, weights)
    pool = Pool(members, weights / np.sum(weights), names)
    tried = [Tried(name, *mean_and_error(scores[:, k], weight), float(pool.weights[k]),
                   seconds.get(name, 0.0), getattr(results.get(name), "message", ""),
                   getattr(results.get(name), "history", None))
             for k, name in enumerate(names)]
    pooled = mean_and_error(pool.pooled(scores), weight)
    return pool, [*tried, Tried("pool", *pooled, 1.0, sum(seconds.values()))]


def simple_members(flow, training, held_out, rng):
    """(name -> density, name -> seconds) of simple densities and mixtures that suit rows held out.
    """
    members = simple_densities(flow, training, rng, ())
    seconds = dict.fromkeys(members, 0.0)
    if flow == "gaussian":
        return members, seconds

    def choose(x, weight):
        validation = held_out.u
        if slopes is not None:
            validation = validation - held_out.context @ slopes
        return GaussianMixture.choose(x, validation, rng, weight=weight,
                                      validation_weight=held_out.weight)

    start = time.perf_counter()
    slopes = getattr(members["shrunk gaussian"], "slopes", None)
    some = training.at(slice(MIXTURE_ROWS))
    mixture = Regressed.fit(choose, some.u, some.context, some.weight)
    name = f"mixture of {getattr(mixture, 'density', mixture).components}"
    members[name], seconds[name] = mixture, time.perf_counter() - start
    if training.known:
        start = time.perf_counter()
        regression = MixtureRegression.choose(some.u, some.context, some.known, held_out.u,
                                              held_out.context, rng, some.weight, held_out.weight)
        name = f"mixture regression of {regression.joint.components}"
        members[name], seconds[name] = regression, time.perf_counter() - start
    return members, seconds


def held_out_count(rows, share):
    """A share of the rows, but up to a hundred of few rows, and no more than twenty thousand."""
    return int(np.clip(round(share * rows), min(100, rows // 5), 20_000))
