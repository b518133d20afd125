"""The search for a pool: which flows are tried, and the weights of all that is.

With few rows the simple densities (:mod:`nfref.tables.members`) are all there is. With more, flows
follow: neural spline flows, of tanh and of relu units, a masked autoregressive flow, and then as
many more of whichever did best, each with orders and starting points of its own; or those of one
kind that is asked for. Their weights come from the rows that are held out, by which training stops
too. A plan without simple densities is of flows alone: of one, whose weight is 1.
"""

import math
import threading
import time
from dataclasses import replace

import numpy as np

from nfref.density import Density
from nfref.runtime import params as trees
from nfref.runtime.blocks import BLOCK
from nfref.tables.flows import FEW
from nfref.tables.members import (ROWS_A_COLUMN, by_cross_validation, held_out_count, pool_of,
                                  scores_of, simple_members)
from nfref.tables.plan import DoneFlow, SearchState
from nfref.tables.pool import FittedFlow
from nfref.training.fitting import fit as fit_flow
from nfref.training.gradient import prepare

FLOW_ROWS = 300         # below so many rows, or ROWS_A_COLUMN a column, no flow is tried


# A flow -----------------------------------------------------------------------------------


def density_of(kind, rows, dim, context_dim, rng):
    """The density of a flow of that kind, in a size that so many rows can carry."""
    try:
        density = Density(kind.made(rows, dim, context_dim, rng))
        density.init(np.random.default_rng(0))      # a stack makes its layers only when asked
        return density
    except (TypeError, ValueError) as error:
        raise ValueError(f"flow {kind.name}: {error}") from None


def _density_for(kind, training, rng):
    context_dim = 0 if training.context is None else training.context.shape[1]
    return density_of(kind, len(training), training.u.shape[1], context_dim, rng)


def batch_size_for(rows):
    """Rows a step: 64 of few rows, else 256 or what makes about fifty steps an epoch, in powers of
    two up to 1024."""
    return 64 if rows < FEW else int(min(1024, max(256, 2 ** np.ceil(np.log2(rows / 50)))))


def prepare_flows(training, held_out, plan):
    """Have compiled what flows need to be trained in this process, and to be scored in the end."""
    if plan.jobs > 1:
        return
    fits, step = [], min(len(training), plan.batch_size or batch_size_for(len(training)))
    for kind in plan.kinds if plan.flow == "auto" else plan.kinds[:1]:
        density = _density_for(kind, training, np.random.default_rng(0))
        size = trees.count(density.init(np.random.default_rng(0)))
        scored = min(len(held_out), BLOCK)
        fits += [(density, size, np.dtype(plan.dtype or "float32"), step, scored),
                 (density, size, np.dtype(plan.dtype or "float64"), 0, scored)]
    prepare(fits)


def try_flow(kind, training, held_out, rng, plan, seconds_left, callback=None, resume=None):
    """(DoneFlow, how it ended) of one flow; ``resume`` is a FitState of it."""
    began = time.perf_counter()
    density = _density_for(kind, training, rng)
    if kind.objective is not None:
        training = training.repeated()
    u, context, held_out_u, held_out_context = (
        None if array is None else array.astype(plan.dtype or "float32")
        for array in (training.u, training.context, held_out.u, held_out.context))
    result = fit_flow(
        density, density.init(rng), u, rng, context=context, validation=held_out_u,
        validation_context=held_out_context, sample_weight=training.weight,
        validation_weight=held_out.weight, epochs=plan.epochs,
        batch_size=plan.batch_size or batch_size_for(len(training)),
        learning_rate=plan.learning_rate or kind.learning_rate, patience=kind.patience,
        objective=kind.objective, progress=plan.progress, callback=callback, resume=resume,
        time_limit=seconds_left)
    vector = trees.flatten(trees.cast(result.params, np.dtype(plan.dtype or "float64")))[0]
    return (DoneFlow(vector, result.message, result.history, time.perf_counter() - began),
            result.stopped)


def fitted_flow(kind, training, rng, done):
    """The FittedFlow of a flow that was trained, here or in another process."""
    density = _density_for(kind, training, rng)
    start, unflatten = trees.flatten(trees.cast(density.init(rng), done.vector.dtype))
    if start.shape != done.vector.shape:
        raise ValueError(f"resume: expected a flow of {start.size} parameters, "
                         f"got {done.vector.size}")
    return FittedFlow(density, unflatten(done.vector))


# Flows in turn, or at once ----------------------------------------------------------------

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
        first, members = self.plan.kinds, len(self.seeds)
        self._wave(first)
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
        self.scores += [scores_of(member, self.held_out)
                        for member in self.members[len(self.scores):]]

    def _in_turn(self, kinds):
        for kind in kinds:
            k, members = len(self.done), len(self.seeds)
            left = self._seconds(members - k)
            if left is not None and left <= 0:
                break
            self.announce(f"{kind.name}, flow {k + 1} of {members}" + _time_left(
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
        self.announce(f"{', '.join(kind.name for kind in kinds)}: flows {k + 1} to "
                      f"{k + len(kinds)} of {len(self.seeds)}, {min(jobs, len(kinds))} at once")
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


# The pool ---------------------------------------------------------------------------------


def by_held_out_rows(training, held_out, plan, rng, announce=lambda name: None):
    """(Pool, list of Tried): simple densities and flows, weighted by the rows held out."""
    began = time.perf_counter() - (0.0 if plan.resume is None else plan.resume.seconds)
    members, seconds, results = {}, {}, {}
    prepare_flows(training, held_out, plan)
    if plan.simple:
        announce("gaussian and mixtures")
        members, seconds = simple_members(plan.flow, training, held_out, rng)
    scores = {name: scores_of(member, held_out) for name, member in members.items()}
    flows = _Flows(training, held_out, plan, rng, announce, began)
    flows.run()
    if not (plan.simple or any(done.history["train"] for done in flows.done)):
        if flows.interrupted:
            raise KeyboardInterrupt
        raise ValueError(f"learning_rate: expected one that trains, came to "
                         f"{flows.done[0].message}; a lower one may help")
    for k, (kind, done) in enumerate(zip(flows.kinds, flows.done)):
        name = kind.name
        name = name if name not in members else f"{name} {k + 1}"
        members[name], seconds[name], results[name] = flows.members[k], done.seconds, done
        scores[name] = flows.scores[k]
    names = tuple(members)
    return pool_of(names, tuple(members.values()), np.stack(list(scores.values()), axis=1),
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
    few = len(rows) < max(FLOW_ROWS, ROWS_A_COLUMN * rows.u.shape[1])
    if plan.simple and (few or not plan.wants_flows):
        return *by_cross_validation(rows, plan.flow, rng), 0
    count = max(held_out_count(len(rows), validation), 1)
    return *by_held_out_rows(rows.at(slice(count, None)), rows.at(slice(count)), plan, rng,
                             announce), count
