"""The search for a pool: which flows are tried, and the weights of all that is.

Simple densities (:mod:`nfref.tables.fitting.candidates`) come first. Where there are rows enough
flows follow: neural spline flows, of tanh and of relu units, a masked autoregressive flow, and then
as many more of whichever did best, each with orders and starting points of its own; or those of one
kind that is asked for. A flow is trained once a fold, until it is no better on the rows that the
fold holds out. With few rows all are held out by turns, and the flows of all folds are one
candidate, their mean; with many there is one fold, and one flow. What the candidates weigh follows
from the rows that were held out. A plan without simple densities is of flows alone, with one fold:
of one flow, whose weight is 1.
"""

import math
import threading
import time
from contextlib import closing
from dataclasses import replace

import numpy as np

from nfref.density import Density
from nfref.runtime import params as trees
from nfref.runtime.backends import threads
from nfref.runtime.batching import BLOCK
from nfref.runtime.tasks import in_order
from nfref.tables.densities.pool import FittedFlow
from nfref.tables.fitting.candidates import (
    Candidate,
    folds_of,
    mean_held_out,
    pool_of,
    scores_of,
    simple_candidates,
)
from nfref.tables.fitting.flow_kinds import FEW
from nfref.tables.fitting.plan import DoneFlow, SearchState
from nfref.training.fitting import fit as fit_flow
from nfref.training.gradient import ONE_AT_A_TIME, prepare, threads_of_steps

FLOW_ROWS = 50  # below so many rows no flow is tried beside simple densities
FIRST_PART = 0.6  # of a flow's time, until it goes on with all rows
# A flow of a bag goes on for exp(-LONGER gap) times its epochs more, one of FASTER_ROWS for twice
# that, at FASTER times its rate. Fewer rows are a few steps an epoch; more have larger networks.
LONGER, FASTER, FASTER_ROWS = 3.0, 4, range(250, 1250)
LEAST_PATIENCE = 6  # epochs: scores of fewer go up and down by chance, however many the steps


# A flow -----------------------------------------------------------------------------------


def density_of(kind, rows, dim, context_dim, rng):
    """The density of a flow of that kind, in a size that so many rows can carry."""
    try:
        density = Density(kind.made(rows, dim, context_dim, rng))
        density.init(np.random.default_rng(0))  # a stack makes its layers only when asked
        return density
    except (TypeError, ValueError) as error:
        raise ValueError(f"flow {kind.name}: {error}") from None


def _density_for(kind, training, rng):
    context_dim = 0 if training.context is None else training.context.shape[1]
    return density_of(
        kind.reaching(training.u), len(training), training.u.shape[1], context_dim, rng
    )


def batch_size_for(rows):
    """Rows a step: 64 of few rows, 256 of more, 512 where fifty steps of 256 take less than all."""
    return 64 if rows < FEW else 256 if rows <= 50 * 256 else 512


def prepare_flows(fold, plan):
    """Have compiled what flows need to be trained in this process, and to be scored in the end."""
    if plan.jobs > 1:
        return
    training, held_out = fold.training, fold.held_out
    scored, fits = min(len(held_out), BLOCK), []
    for kind in plan.kinds if plan.flow == "auto" else plan.kinds[:1]:
        density, vector, unflatten, step = start = _start_of(kind, training, plan)
        # Steps in one call score with a kernel of their own on the way.
        in_one_call = kind.objective is None and threads_of_steps(*start)
        fits += [
            (density, vector, unflatten, step, 0 if in_one_call else scored),
            (density, vector.astype(plan.dtype or "float64"), unflatten, 0, scored),
        ]
    prepare(fits)


def _start_of(kind, training, plan):
    """A density with parameters as a vector, in the dtype of the training, the way back from it,
    and how many rows a step has."""
    density, count = _density_for(kind, training, np.random.default_rng(0)), len(training)
    params = density.init(np.random.default_rng(0))
    step = math.ceil(count / math.ceil(count / (plan.batch_size or batch_size_for(count))))
    return density, *trees.flatten(trees.cast(params, np.dtype(plan.dtype or "float32"))), step


def try_flow(kind, fold, rng, plan, seconds_left, callback=None, resume=None):
    """The DoneFlow of one flow and one fold; ``resume`` is a FitState of it.

    The flow is trained at one learning rate until it is no better on the rows held out, and goes on
    at a rate that falls to zero. One of several flows, whose mean counts, goes on with all rows
    once those held out have said what it weighs: a mean does not pay for what each has of its rows
    alone. A flow that stands alone does, so it goes on as it began. A mean of small networks gains
    where they go on farther from where they were, and for longer.
    """
    began, state = time.perf_counter(), resume
    density = _density_for(kind, fold.training, rng)
    dtype, rate = plan.dtype or "float32", plan.learning_rate or kind.learning_rate
    batch_size = plan.batch_size or batch_size_for(len(fold.training))
    steps = math.ceil(len(fold.training) / batch_size)

    def trained(params, rows, **options):
        rows = rows if kind.objective is None else rows.repeated()
        return fit_flow(
            density,
            params,
            rows.u.astype(dtype),
            rng,
            context=_as_type(rows.context, dtype),
            sample_weight=rows.weight,
            batch_size=batch_size,
            objective=kind.objective,
            progress=plan.progress,
            **options,
        )

    def passed(now):
        nonlocal state
        state = now
        if callback is not None:
            callback(now)

    held_out = {
        "validation": fold.held_out.u.astype(dtype),
        "validation_context": _as_type(fold.held_out.context, dtype),
        "validation_weight": fold.held_out.weight,
    }
    chosen = trained(
        density.init(rng),
        fold.training,
        **held_out,
        epochs=plan.epochs,
        learning_rate=rate,
        patience=max(
            LEAST_PATIENCE, math.ceil(kind.patience * math.sqrt(len(fold.training)) / steps)
        ),
        time_limit=seconds_left and FIRST_PART * seconds_left,
        callback=passed,
        resume=resume,
    )
    final, message, stopped = chosen, chosen.message, chosen.stopped
    left = seconds_left and seconds_left - (time.perf_counter() - began)
    bag = fold.of > 1 and kind.objective is None
    faster = bag and len(fold.training) + len(fold.held_out) in FASTER_ROWS
    if epochs := _epochs_left(chosen, bag + faster, left, time.perf_counter() - began):
        alone = plan.members == fold.of == 1
        rows, how = (fold.training, held_out) if alone else (fold.all_rows(), {"validation": None})
        # Whoever goes on from a state of meanwhile comes here anew, to the same bits.
        final = trained(
            chosen.params,
            rows,
            **how,
            epochs=epochs,
            schedule="cosine",
            learning_rate=rate * (FASTER if faster and not plan.learning_rate else 1),
            patience=None,
            data_dependent_init=False,
            callback=lambda _: passed(state),
            time_limit=left,
        )
        message += f"; then {len(final.history['train'])} epochs" + " of all rows" * (not alone)
        stopped = final.stopped if final.stopped == "interrupted" else stopped
        chosen = final if alone else chosen
    vector, final = (
        trees.flatten(trees.cast(one.params, np.dtype(plan.dtype or "float64")))[0]
        for one in (chosen, final)
    )
    return DoneFlow(vector, message, chosen.history, time.perf_counter() - began, stopped, final)


def _as_type(array, dtype):
    return None if array is None else array.astype(dtype)


def _epochs_left(chosen, more, left, spent):
    """For how many epochs a flow goes on, if there is time: as many as led to its best, and up to
    ``more`` times as many besides, the less it knew its own rows better than those held out. None
    where training broke off."""
    best = chosen.best_epoch
    if best is None or chosen.stopped in ("interrupted", "non-finite"):
        return 0
    gap = max(chosen.history["validation"][best] - chosen.history["train"][best], 0.0)
    epochs = round((best + 1) * (1 + more * math.exp(-LONGER * gap)))
    return (
        epochs
        if left is None
        else min(epochs, max(0, int(left * len(chosen.history["train"]) / spent)))
    )


def fitted_flows(kind, training, rng, done):
    """The FittedFlow of a flow that was trained, here or in another process, when rows held out
    said what it weighs, and in the end."""
    density = _density_for(kind, training, rng)
    start, unflatten = trees.flatten(trees.cast(density.init(rng), done.vector.dtype))
    if start.shape != done.vector.shape:
        raise ValueError(
            f"resume: expected a flow of {start.size} parameters, got {done.vector.size}"
        )
    return tuple(
        FittedFlow(density, unflatten(vector))
        for vector in (done.vector, done.vector if done.final is None else done.final)
    )


# Flows in turn, or at once ----------------------------------------------------------------


def _elsewhere(*arguments):
    """:func:`try_flow` in whatever process or thread it is called."""
    with ONE_AT_A_TIME:
        return try_flow(*arguments)


class _Flows:
    """The flows of a search, in two waves: one of each kind, and more of the best; each in folds.

    Each has a generator of its own, so that it does not matter where and when it is trained.
    """

    def __init__(self, rows, folds, plan, rng, announce, began):
        self.rows, self.folds, self.plan, self.announce = rows, folds, plan, announce
        members = plan.members if plan.wants_flows else 0
        self.seeds = rng.bit_generator.seed_seq.spawn(members * len(folds))
        self.began, self.interrupted, self.stop = began, False, threading.Event()
        self.known = () if plan.resume is None else plan.resume.done
        self.done, self.flows, self.candidates = [], [], []

    def run(self):
        """Train all that the time allows."""
        first, members = self.plan.kinds, self.plan.members
        self._wave(first)
        if members > len(first) > 0 and len(self.done) == len(first) * len(self.folds):
            best = max(
                range(len(first)),
                key=lambda k: mean_held_out(self.candidates[k].scores, self.rows.weight)[0],
            )
            self._wave([first[best]] * (members - len(first)))

    def _rng(self, k):
        return np.random.default_rng(self.seeds[k])

    def _fold(self, k):
        return self.folds[k % len(self.folds)]

    def _wave(self, kinds):
        kinds = [kind for kind in kinds for _ in self.folds]
        start = len(self.done)
        for kind, done in zip(kinds, self.known[start:]):
            self._add(kind, done)
        left = kinds[len(self.done) - start :]
        if left and not self.interrupted:
            (self._at_once if self.plan.jobs > 1 and len(left) > 1 else self._here)(left)
        # Scored in double precision once the wave is trained, not flow by flow: the kernels for it
        # are compiled in other processes (nfref/kernels/background_compilation.py) while the flows
        # train.
        for k in range(start, len(self.done), len(self.folds)):
            self.candidates.append(self._candidate(kinds[k - start], slice(k, k + len(self.folds))))

    def _add(self, kind, done):
        k = len(self.done)
        self.done.append(done)
        self.flows.append(fitted_flows(kind, self._fold(k).training, self._rng(k), done))

    def _candidate(self, kind, some):
        """The flows of one kind, one a fold or as many as there was time for."""
        flows, done, scores = self.flows[some], self.done[some], np.full(len(self.rows), np.nan)
        for fold, (chosen, _) in zip(self.folds, flows):
            scores[fold.places] = scores_of(chosen, fold.held_out)
        number = len(self.candidates) + 1
        name = kind.name
        if name in [one.name for one in self.candidates]:
            name = f"{name} {number}"
        return Candidate(
            name,
            tuple(final for _, final in flows),
            scores,
            sum(one.seconds for one in done),
            _how_ended(done),
            _mean_history([one.history for one in done]),
        )

    def _here(self, kinds):
        """In turn; or as many at once as there are processors, where a step leaves one busy."""
        first, folds, resume = len(self.done), len(self.folds), self.plan.resume
        plan = (
            self.plan
            if folds == 1
            else replace(self.plan, progress=self.plan.progress and "passing")
        )
        alone = all(
            kind.objective is None
            and threads_of_steps(*_start_of(kind, self._fold(first).training, plan)) == 1
            for kind in {kind.name: kind for kind in kinds}.values()
        )
        at_once = min(threads(), len(kinds)) if alone else 1

        def train(j):
            k = first + j
            left = self._seconds(math.ceil((len(self.seeds) - k) / at_once))
            if self.stop.is_set() or left is not None and left <= 0:
                return None
            if k % folds == 0:
                self.announce(
                    f"{kinds[j].name}, flow {k // folds + 1} of {plan.members}"
                    + f" in {folds} folds" * (folds > 1)
                    + _time_left(
                        [done.seconds / at_once for done in self.done],
                        plan,
                        self._spent(),
                        len(self.seeds),
                    )
                )
            current = resume.current if resume is not None and k == len(self.known) else None
            return try_flow(
                kinds[j],
                self._fold(k),
                self._rng(k),
                plan,
                left,
                lambda state: self._passed(k, state),
                current,
            )

        with closing(in_order(train, len(kinds), at_once, self.stop.set)) as found:
            for done, kind in zip(found, kinds):
                if done is None:
                    break
                self._add(kind, done)
                if done.stopped == "interrupted":
                    self.stop.set()
                    break
            self.interrupted = self.stop.is_set()

    def _passed(self, k, state):
        """After an epoch of flow k: kept is the state of the first that is not done."""
        if self.stop.is_set():
            raise KeyboardInterrupt
        if k == len(self.done):
            self._keep(state)

    def _at_once(self, kinds):
        from joblib import Parallel, delayed

        jobs, k, folds = self.plan.jobs, len(self.done), len(self.folds)
        turns = math.ceil(len(kinds) / jobs)
        rest = len(self.seeds) - k - len(kinds)
        left = self._seconds(turns + math.ceil(rest / jobs))
        if left is not None and left <= 0:
            return
        self.announce(
            f"{', '.join(dict.fromkeys(kind.name for kind in kinds))}: flows "
            f"{k // folds + 1} to {(k + len(kinds)) // folds} of {self.plan.members}"
            + f" in {folds} folds" * (folds > 1)
            + f", {min(jobs, len(kinds))} at once"
        )
        plan = replace(self.plan, callback=None, resume=None, progress=False)
        try:
            found = Parallel(n_jobs=jobs, prefer="processes")(
                delayed(_elsewhere)(kind, self._fold(k + j), self._rng(k + j), plan, left)
                for j, kind in enumerate(kinds)
            )
        except KeyboardInterrupt:
            self.interrupted = True
            return
        for kind, done in zip(kinds, found):
            self._add(kind, done)
        self._keep(None)

    def how_cut(self):
        """In words, how many trainings the time budget ended before their time, or kept away."""
        cut = sum(done.stopped == "time" for done in self.done)
        if not self.interrupted:
            cut += len(self.seeds) - len(self.done)
        return (
            f"the time budget cut {cut} of {len(self.seeds)} trainings of flows"
            if cut and self.plan.time_budget is not None
            else ""
        )

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


def _how_ended(done):
    """How the trainings of one candidate ended, in a line."""
    if len(done) == 1:
        return done[0].message
    epochs = [len(one.history["train"]) for one in done]
    cut = [one.message for one in done if one.stopped in ("time", "interrupted", "non-finite")]
    return f"{len(done)} flows of {min(epochs)} to {max(epochs)} epochs" + (
        f", {len(cut)} cut: {cut[0]}" if cut else ""
    )


def _mean_history(histories):
    """The mean over several trainings of every epoch, of those that came so far."""
    found = {}
    for name in histories[0]:
        curves = [history[name] for history in histories]
        found[name] = [
            float(np.mean([curve[k] for curve in curves if k < len(curve)]))
            for k in range(max(map(len, curves)))
        ]
    return found


def _time_left(passed, plan, spent, total):
    """How long the flows that are left may take, in words: as long as those before, or the rest of
    the budget."""
    left = np.inf if plan.time_budget is None else plan.time_budget - spent
    likely = np.mean(passed) * (total - len(passed)) if passed else np.inf
    if min(left, likely) == np.inf:
        return ""
    about = "about" if likely < left else "at most"
    seconds = int(np.ceil(min(left, likely)))
    shown = f"{seconds} s" if seconds < 120 else f"{round(seconds / 60)} min"
    return f"; {about} {shown} left for all flows"


# The pool ---------------------------------------------------------------------------------


def find_pool(rows, parts, plan, rng, announce=lambda name: None):
    """Return (Pool, list of CandidateResult, log-likelihoods (N,)) as ``candidates.pool_of`` does.

    ``parts`` (N,) say which fold holds a row out
    (:func:`nfref.tables.fitting.candidates.parts_of`).
    """
    began = time.perf_counter() - (0.0 if plan.resume is None else plan.resume.seconds)
    folds, candidates = folds_of(rows, parts), []
    if plan.simple and len(rows) < FLOW_ROWS:
        plan = replace(plan, members=0)
    if plan.kinds:
        prepare_flows(folds[0], plan)
    if plan.simple:
        announce("gaussian and mixtures")
        candidates = simple_candidates(plan.flow, rows, folds, rng)
    flows = _Flows(rows, folds, plan, rng, announce, began)
    flows.run()
    if not (candidates or any(done.history["train"] for done in flows.done)):
        if flows.interrupted:
            raise KeyboardInterrupt
        raise ValueError(
            f"learning_rate: expected one that trains, came to "
            f"{flows.done[0].message}; a lower one may help"
        )
    return pool_of([*candidates, *flows.candidates], rows.weight, flows.how_cut())
