"""What is tried on a table: which densities, of which size, and the pool that they end in.

Everything here works on rows in robust units (:mod:`nfref.tables.columns`), with features of the
discrete columns, and the columns that are given, as context.

The simple densities come first: a Gaussian by maximum likelihood, one with shrunk correlations,
mixtures, and the wide density that bounds what a row can cost. With few rows they are all there
is, and their weights come from cross-validation. With more, flows follow: neural spline flows, of
tanh and of relu units, a masked autoregressive flow, and then as many more of whichever did best,
each with orders and starting points of its own. Their weights come from the rows that are held out,
by which training stops too.
"""

import math
import threading
import time
from dataclasses import dataclass, replace

import numpy as np

from nfref.density import Density
from nfref.flows.autoregressive import MAF, random_orders
from nfref.flows.neural_spline import NSF
from nfref.runtime import params as trees
from nfref.runtime.blocks import BLOCK
from nfref.runtime.checks import check_floats, require
from nfref.runtime.configuration import Configuration
from nfref.tables.closed_form import Gaussian, GaussianMixture, Wide
from nfref.tables.pool import FittedFlow, Pool, Regressed, mean_and_error, stacking_weights
from nfref.tables.regression import MixtureRegression
from nfref.training.fitting import FitState
from nfref.training.fitting import fit as fit_flow
from nfref.training.gradient import prepare

FOLDS = 5
FLOW_ROWS = 300         # below so many rows, or ROWS_A_COLUMN a column, no flow is tried
ROWS_A_COLUMN = 10
SMALL_MIXTURES = (2, 4)
FEW, SOME = 2000, 5000  # rows below which networks are smaller, and steps of fewer rows
LEARNING_RATE = 5e-3    # 1e-3 with a quarter of the rows a step is as good, and takes twice as long
# The flows of a search, in order. Whether tanh or relu units do better depends on the table, by up
# to 0.2 nats either way; in a MAF relu makes shifts without bound of rows far out.
KINDS = {"nsf": (NSF, "tanh"), "nsf relu": (NSF, "relu"), "maf": (MAF, "tanh")}
PATIENCE = 10           # epochs; scores of averaged parameters hardly waver
MIXTURE_ROWS = 20_000   # so many rows say all that a mixture can learn; EM passes over all, often


@dataclass(frozen=True)
class Rows:
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
    context: np.ndarray = None
    weight: np.ndarray = None
    known: int = 0

    def at(self, places):
        """Some of the rows."""
        return Rows(*(None if array is None else array[places]
                      for array in (self.u, self.context, self.weight)), self.known)

    def __len__(self):
        return len(self.u)


@dataclass(frozen=True)
class Tried:
    """A candidate and how it did on rows it was not fitted to.

    Attributes
    ----------
    name : str
    mean, error : float
        Nats per row in the units that it was fitted in, and the standard error.
    weight : float
        In the pool.
    seconds : float
    message : str
        How its training ended.
    history : dict of list of float, or None
        Negative log-likelihoods after every epoch in the same units, of what is trained in epochs.
    """

    name: str
    mean: float
    error: float
    weight: float
    seconds: float
    message: str = ""
    history: dict = None

    def shifted(self, offset):
        """The same in units in which a row has ``offset`` nats more."""
        history = self.history and {name: [value - offset for value in values]
                                    for name, values in self.history.items()}
        return replace(self, mean=self.mean + offset, history=history)


@dataclass(frozen=True)
class Plan:
    """What the user decides.

    Parameters
    ----------
    flow : str or Flow
        "auto", "nsf", "maf", "mixture", "gaussian", or a flow of D columns.
    members : int
        How many flows.
    epochs : int
    batch_size, learning_rate : int, float or None
        None goes by the number of rows.
    time_budget : float or None
        Seconds for all.
    progress : bool
    callback : callable or None
        Called with the :class:`SearchState` after every epoch; where several flows are trained at
        once, after these.
    resume : SearchState or None
        Go on from there: with the same rows and plan otherwise, to the same bits as a search that
        was never interrupted, unless the time budget ends one of them.
    jobs : int
        How many flows are trained at once, by joblib and whatever it is told to run on; 1 trains
        them here, one after the other. The bits are the same.
    """

    flow: object = "auto"
    members: int = 4
    epochs: int = 200
    batch_size: int = None
    learning_rate: float = None
    time_budget: float = None
    progress: bool = False
    callback: object = None
    resume: object = None
    jobs: int = 1

    @property
    def wants_flows(self):
        return self.members > 0 and self.flow not in ("mixture", "gaussian")


@dataclass(frozen=True)
class DoneFlow(Configuration):
    """A flow whose training has ended.

    Attributes
    ----------
    vector : (P,) array
        Its parameters, flat.
    message : str
        How its training ended.
    history : dict of list of float
        Its loss after every epoch.
    seconds : float
    """

    vector: np.ndarray
    message: str
    history: dict
    seconds: float

    def _check(self):
        check_floats("vector", self.vector, None)
        require(isinstance(self.message, str) and isinstance(self.history, dict)
                and self.seconds >= 0, "expected how training ended")


@dataclass(frozen=True)
class SearchState(Configuration):
    """Where a search stands after an epoch: all that it takes to go on.

    The simple densities are not in it: they are fitted again, in seconds, to the same bits.

    Attributes
    ----------
    done : tuple of DoneFlow
    current : FitState or None
        Of the flow that is trained now, if one is.
    seconds : float
        Spent so far.
    """

    done: tuple
    current: object
    seconds: float

    def _check(self):
        require(all(isinstance(flow, DoneFlow) for flow in self.done)
                and isinstance(self.current, (FitState, type(None))) and self.seconds >= 0,
                "expected flows that are done and the state of another")


# Simple densities -------------------------------------------------------------------------


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


def _scores(member, rows):
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
            scores.setdefault(name, np.full(len(rows), -np.inf))[parts == fold] = _scores(
                member, held_out)
    members = simple_densities(flow, rows, rng, SMALL_MIXTURES)
    names = tuple(name for name in members if name in scores)
    table = np.stack([scores[name] for name in names], axis=1)
    return _finished(names, tuple(members[name] for name in names), table, rows.weight,
                     {name: (time.perf_counter() - began) / len(names) for name in names}, {})


def _finished(names, members, scores, weight, seconds, results):
    weights = stacking_weights(scores, weight, prior_of(names))
    weights = np.where(weights < 1e-6, 0.0, weights)
    pool = Pool(members, weights / np.sum(weights), names)
    tried = [Tried(name, *mean_and_error(scores[:, k], weight), float(pool.weights[k]),
                   seconds.get(name, 0.0), getattr(results.get(name), "message", ""),
                   getattr(results.get(name), "history", None))
             for k, name in enumerate(names)]
    pooled = mean_and_error(pool.pooled(scores), weight)
    return pool, [*tried, Tried("pool", *pooled, 1.0, sum(seconds.values()))]


# Flows ------------------------------------------------------------------------------------


def batch_size_for(rows):
    """Rows a step: 64 of few rows, else 256 or what makes about fifty steps an epoch, in powers of
    two up to 1024."""
    return 64 if rows < FEW else int(min(1024, max(256, 2 ** np.ceil(np.log2(rows / 50)))))


def sized_flow(kind, rows, dim, context_dim, rng):
    """A flow of that kind in the size that so many rows of so many columns can carry."""
    width = max(48 if rows < FEW else 96 if rows < SOME else 128, dim + context_dim)
    layers = 3 if rows < FEW else 5
    orders = random_orders(rng, dim, layers) if dim > 2 else "alternate"
    flow, activation = KINDS["nsf" if dim == 1 and kind == "maf" else kind]
    return flow(dim, layers, (width, width), context_dim=context_dim, orders=orders,
                activation=activation)


def made_density(kind, training, rng):
    """A density of a flow of that kind (or that flow itself) in a size that fits the rows."""
    context_dim = 0 if training.context is None else training.context.shape[1]
    return Density(kind if not isinstance(kind, str) else
                   sized_flow(kind, len(training), training.u.shape[1], context_dim, rng))


def prepare_flows(training, held_out, plan):
    """Have compiled what flows need to be trained in this process, and to be scored in the end."""
    if not plan.wants_flows or plan.jobs > 1:
        return
    fits, step = [], min(len(training), plan.batch_size or batch_size_for(len(training)))
    for kind in list(KINDS)[:plan.members] if plan.flow == "auto" else [plan.flow]:
        density = made_density(kind, training, np.random.default_rng(0))
        size = trees.count(density.init(np.random.default_rng(0)))
        scored = min(len(held_out), BLOCK)
        fits += [(density, size, np.float32, step, scored), (density, size, np.float64, 0, scored)]
    prepare(fits)


def try_flow(kind, training, held_out, rng, plan, seconds_left, callback=None, resume=None):
    """(DoneFlow, how it ended) of one flow; ``resume`` is a FitState of it."""
    began = time.perf_counter()
    density = made_density(kind, training, rng)
    batch = plan.batch_size or batch_size_for(len(training))
    single = [None if array is None else array.astype(np.float32)
              for array in (training.u, training.context, held_out.u, held_out.context)]
    result = fit_flow(
        density, density.init(rng), single[0], rng, context=single[1], validation=single[2],
        validation_context=single[3], sample_weight=training.weight,
        validation_weight=held_out.weight, epochs=plan.epochs, batch_size=batch,
        learning_rate=plan.learning_rate or LEARNING_RATE, patience=PATIENCE,
        progress=plan.progress, callback=callback, resume=resume, time_limit=seconds_left)
    vector = trees.flatten(trees.cast(result.params, np.float64))[0]
    return (DoneFlow(vector, result.message, result.history, time.perf_counter() - began),
            result.stopped)


def fitted_flow(kind, training, rng, done):
    """The FittedFlow of a flow that was trained, here or in another process."""
    density = made_density(kind, training, rng)
    start, unflatten = trees.flatten(trees.cast(density.init(rng), np.float64))
    if start.shape != done.vector.shape:
        raise ValueError(f"resume: expected a flow of {start.size} parameters, "
                         f"got {done.vector.size}")
    return FittedFlow(density, unflatten(done.vector))


# Kernels take all threads themselves, and two threads of one process may not enter them at once.
ONE_AT_A_TIME = threading.Lock()


def _elsewhere(*arguments):
    """:func:`try_flow` in whatever process or thread it is called."""
    with ONE_AT_A_TIME:
        return try_flow(*arguments)


class _Flows:
    """The flows of a search, in two waves: one of each kind, and more of the best.

    Each has a generator of its own, so that it does not matter where and when it is trained.
    """

    def __init__(self, training, held_out, plan, rng, announce, began):
        self.training, self.held_out, self.plan, self.announce = training, held_out, plan, announce
        self.seeds = rng.bit_generator.seed_seq.spawn(plan.members if plan.wants_flows else 0)
        self.resume, self.began, self.interrupted = plan.resume, began, False
        self.kinds, self.done, self.members, self.scores = [], [], [], []

    def run(self):
        """Train all that the time allows."""
        members = len(self.seeds)
        first = (list(KINDS) if self.plan.flow == "auto" else [self.plan.flow] * members)
        self._wave(first[:members])
        if members > len(self.kinds) == len(first) and not self.interrupted:
            best = max(range(len(first)), key=lambda k: np.average(
                self.scores[k], weights=self.held_out.weight))
            self._wave([self.kinds[best]] * (members - len(first)))

    def _rng(self, k):
        return np.random.default_rng(self.seeds[k])

    def _add(self, kind, done):
        k = len(self.done)
        self.kinds.append(kind)
        self.done.append(done)
        self.members.append(fitted_flow(kind, self.training, self._rng(k), done))

    def _wave(self, kinds):
        known = () if self.resume is None else self.resume.done[len(self.done):]
        for kind, done in zip(kinds, known):
            self._add(kind, done)
        kinds = kinds[len(known):]
        (self._at_once if self.plan.jobs > 1 and len(kinds) > 1 else self._in_turn)(kinds)
        # Scored in double precision once the wave is trained, not flow by flow: the kernels for
        # it are compiled in other processes (nfref/kernels/ahead.py) while the flows train.
        self.scores += [_scores(member, self.held_out)
                        for member in self.members[len(self.scores):]]

    def _in_turn(self, kinds):
        for kind in kinds:
            k, members = len(self.done), len(self.seeds)
            left = self._seconds(members - k)
            if left is not None and left <= 0:
                break
            self.announce(f"{name_of(kind)}, flow {k + 1} of {members}" + _time_left(
                [done.seconds for done in self.done], self.plan, self._spent(), k))
            current = None
            if self.resume is not None and k == len(self.resume.done):
                current = self.resume.current
            done, stopped = try_flow(kind, self.training, self.held_out, self._rng(k), self.plan,
                                     left, self._keep, current)
            self._add(kind, done)
            if stopped == "interrupted":
                self.interrupted = True
                break

    def _at_once(self, kinds):
        from joblib import Parallel, delayed
        jobs, k = self.plan.jobs, len(self.done)
        turns = math.ceil(len(kinds) / jobs)
        rest = len(self.seeds) - k - len(kinds)
        left = self._seconds(turns + math.ceil(rest / jobs))
        if left is not None and left <= 0:
            return
        self.announce(f"{', '.join(map(name_of, kinds))}: flows {k + 1} to {k + len(kinds)} of "
                      f"{len(self.seeds)}, {min(jobs, len(kinds))} at once")
        plan = replace(self.plan, callback=None, resume=None, progress=False)
        try:
            found = Parallel(n_jobs=jobs, prefer="processes")(
                delayed(_elsewhere)(kind, self.training, self.held_out, self._rng(k + j), plan,
                                    left) for j, kind in enumerate(kinds))
        except KeyboardInterrupt:
            self.interrupted = True
            return
        for kind, (done, _) in zip(kinds, found):
            self._add(kind, done)
        self._keep(None)

    def _keep(self, current):
        if self.plan.callback is not None:
            self.plan.callback(SearchState(tuple(self.done), current, self._spent()))

    def _spent(self):
        return time.perf_counter() - self.began

    def _seconds(self, turns):
        """For each of so many turns; the first has some in any case."""
        if self.plan.time_budget is None:
            return None
        left = (self.plan.time_budget - self._spent()) / turns
        return left if self.done else max(left, 1e-3)


def name_of(kind):
    """What a kind of flow is called."""
    return kind if isinstance(kind, str) else type(kind).__name__.lower()


def by_held_out_rows(training, held_out, plan, rng, announce=lambda name: None):
    """(Pool, list of Tried): simple densities and flows, weighted by the rows held out."""
    began = time.perf_counter() - (0.0 if plan.resume is None else plan.resume.seconds)
    members, seconds, results = {}, {}, {}
    prepare_flows(training, held_out, plan)
    announce("gaussian and mixtures")
    for name, member in simple_densities(plan.flow, training, rng, ()).items():
        members[name], seconds[name] = member, 0.0
    if plan.flow != "gaussian":
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
        count = getattr(mixture, "density", mixture).components
        members[f"mixture of {count}"] = mixture
        seconds[f"mixture of {count}"] = time.perf_counter() - start
        if training.known:
            start = time.perf_counter()
            regression = MixtureRegression.choose(some.u, some.context, some.known, held_out.u,
                                                  held_out.context, rng, some.weight,
                                                  held_out.weight)
            name = f"mixture regression of {regression.joint.components}"
            members[name], seconds[name] = regression, time.perf_counter() - start
    scores = {name: _scores(member, held_out) for name, member in members.items()}
    flows = _Flows(training, held_out, plan, rng, announce, began)
    flows.run()
    for k, (kind, done) in enumerate(zip(flows.kinds, flows.done)):
        name = name_of(kind)
        name = name if name not in members else f"{name} {k + 1}"
        members[name], seconds[name], results[name] = flows.members[k], done.seconds, done
        scores[name] = flows.scores[k]
    names = tuple(members)
    return _finished(names, tuple(members.values()), np.stack(list(scores.values()), axis=1),
                     held_out.weight, seconds, results)


def _time_left(passed, plan, spent, k):
    """How long all flows from the k-th on may take, in words: as long as those before, or the rest
    of the budget."""
    left = np.inf if plan.time_budget is None else plan.time_budget - spent
    likely = np.mean(passed) * (plan.members - k) if passed else np.inf
    if min(left, likely) == np.inf:
        return ""
    about = "about" if likely < left else "at most"
    seconds = int(np.ceil(min(left, likely)))
    shown = f"{seconds} s" if seconds < 120 else f"{round(seconds / 60)} min"
    return f"; {about} {shown} left for all flows"


def find_pool(rows, plan, rng, validation=0.1, announce=lambda name: None):
    """(Pool, list of Tried, how many rows were held out; 0 where all were by turns)."""
    dim = rows.u.shape[1]
    if not plan.wants_flows or len(rows) < max(FLOW_ROWS, ROWS_A_COLUMN * dim):
        return *by_cross_validation(rows, plan.flow, rng), 0
    count = held_out_count(len(rows), validation)
    return *by_held_out_rows(rows.at(slice(count, None)), rows.at(slice(count)), plan, rng,
                             announce), count


def held_out_count(rows, share):
    """A share of the rows, but up to a hundred of few rows, and no more than twenty thousand."""
    return int(np.clip(round(share * rows), min(100, rows // 5), 20_000))
