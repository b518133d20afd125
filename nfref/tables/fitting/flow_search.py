"""Search for a pool: which flows are trained, in which order, and in how much time.

Simple densities come first. From 50 rows on flows follow: neural spline flows of tanh and of relu
units, a masked autoregressive flow, and then more of whichever did best; or flows of the kind that
is asked for. Each has orders and first parameters of its own and is trained once a fold. In several
folds the flows of all folds are one candidate, their mean. A plan without simple densities has
flows alone and one fold.
"""

import math
import threading
import time
from contextlib import closing
from dataclasses import replace

import numpy as np

from nfref.runtime.annotations import Array, Callable, Generator
from nfref.runtime.backends import threads
from nfref.runtime.tasks import in_order
from nfref.tables.densities.pool import Pool
from nfref.tables.fitting.candidates import Candidate, held_out_scores, simple_candidates, weigh
from nfref.tables.fitting.flow_training import (
    compile_ahead,
    first_parameters,
    fitted_flows,
    train_flow,
)
from nfref.tables.fitting.folds import UnitRows, make_folds
from nfref.tables.fitting.plan import Plan, SearchState
from nfref.tables.fitting.results import CandidateResult
from nfref.training.gradient import ONE_AT_A_TIME, threads_of_steps

FLOW_ROWS = 50  # fewest rows for which flows are tried beside simple densities


def find_pool(
    rows: UnitRows,
    numbers: Array,
    plan: Plan,
    rng: Generator,
    announce: Callable[[str], object] = lambda name: None,
) -> tuple[Pool, list[CandidateResult], Array]:
    """Fit all candidates of a plan and weigh them.

    Parameters
    ----------
    rows : UnitRows
    numbers : (N,) array
        Which fold holds each row out (:func:`~nfref.tables.fitting.folds.fold_numbers`).
    plan : Plan
    rng : numpy.random.Generator
    announce : callable
        Called with the name of what is tried next.

    Returns
    -------
    pool, results, log_prob
        See :func:`~nfref.tables.fitting.candidates.weigh`.
    """
    began = time.perf_counter() - (0.0 if plan.resume is None else plan.resume.seconds)
    folds, candidates = make_folds(rows, numbers), []
    if plan.simple and len(rows) < FLOW_ROWS:
        plan = replace(plan, members=0)
    if plan.kinds:
        compile_ahead(folds[0], plan)
    if plan.simple:
        announce("gaussian and mixtures")
        candidates = simple_candidates(plan.flow, rows, folds, rng)
    flows = _FlowSearch(rows, folds, plan, rng, announce, began)
    flows.run()
    if not (candidates or any(done.history["train"] for done in flows.done)):
        if flows.interrupted:
            raise KeyboardInterrupt
        raise ValueError(
            f"learning_rate: expected one that trains, came to "
            f"{flows.done[0].message}; a lower one may help"
        )
    return weigh([*candidates, *flows.candidates], rows.weight, flows.how_cut())


def _train_in_worker(*arguments):
    """Train a flow in whatever process or thread this is called."""
    with ONE_AT_A_TIME:
        return train_flow(*arguments)


class _FlowSearch:
    """Train the flows of a search in two waves: one of each kind, then more of the best.

    Each training has a generator of its own, so it does not matter where and when it runs.
    """

    def __init__(self, rows, folds, plan, rng, announce, began):
        self.rows, self.folds, self.plan, self.announce = rows, folds, plan, announce
        members = plan.members if plan.wants_flows else 0
        self.seeds = rng.bit_generator.seed_seq.spawn(members * len(folds))
        self.began, self.interrupted, self.stop = began, False, threading.Event()
        self.known = () if plan.resume is None else plan.resume.done
        self.done, self.flows, self.candidates = [], [], []

    def run(self):
        """Train as many flows as the time allows."""
        first, members = self.plan.kinds, self.plan.members
        self._train_wave(first)
        if members > len(first) > 0 and len(self.done) == len(first) * len(self.folds):
            best = max(
                range(len(first)), key=lambda k: self.candidates[k].result(self.rows.weight).mean
            )
            self._train_wave([first[best]] * (members - len(first)))

    def _rng(self, k):
        return np.random.default_rng(self.seeds[k])

    def _fold(self, k):
        return self.folds[k % len(self.folds)]

    def _train_wave(self, kinds):
        kinds = [kind for kind in kinds for _ in self.folds]
        start = len(self.done)
        for kind, done in zip(kinds, self.known[start:]):
            self._add(kind, done)
        left = kinds[len(self.done) - start :]
        if left and not self.interrupted:
            if self.plan.jobs > 1 and len(left) > 1:
                self._train_in_processes(left)
            else:
                self._train_here(left)
        # Scores in double precision wait for the end of the wave: other processes compile the
        # kernels for them (nfref/kernels/background_compilation.py) while flows train.
        for k in range(start, len(self.done), len(self.folds)):
            self.candidates.append(self._candidate(kinds[k - start], slice(k, k + len(self.folds))))

    def _add(self, kind, done):
        k = len(self.done)
        self.done.append(done)
        self.flows.append(fitted_flows(kind, self._fold(k).training, self._rng(k), done))

    def _candidate(self, kind, places):
        """Return the flows of one kind, one a fold or as many as there was time for."""
        flows, done = self.flows[places], self.done[places]
        scores = np.full(len(self.rows), np.nan)
        for fold, (chosen, _) in zip(self.folds, flows):
            scores[fold.places] = held_out_scores(chosen, fold.held_out)
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

    def _train_here(self, kinds):
        """Train one flow at a time, or one a processor if a step uses one thread."""
        first, folds, resume = len(self.done), len(self.folds), self.plan.resume
        plan = (
            self.plan
            if folds == 1
            else replace(self.plan, progress=self.plan.progress and "passing")
        )
        single = all(
            kind.objective is None
            and threads_of_steps(*first_parameters(kind, self._fold(first).training, plan)) == 1
            for kind in {kind.name: kind for kind in kinds}.values()
        )
        at_once = min(threads(), len(kinds)) if single else 1

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
            return train_flow(
                kinds[j],
                self._fold(k),
                self._rng(k),
                plan,
                left,
                lambda state: self._after_epoch(k, state),
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

    def _after_epoch(self, k, state):
        """Keep the state after an epoch of flow k, if k is the first that is not done."""
        if self.stop.is_set():
            raise KeyboardInterrupt
        if k == len(self.done):
            self._keep(state)

    def _train_in_processes(self, kinds):
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
                delayed(_train_in_worker)(kind, self._fold(k + j), self._rng(k + j), plan, left)
                for j, kind in enumerate(kinds)
            )
        except KeyboardInterrupt:
            self.interrupted = True
            return
        for kind, done in zip(kinds, found):
            self._add(kind, done)
        self._keep(None)

    def how_cut(self):
        """Say how many trainings the time budget stopped early or left out."""
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
        """Return the seconds for each turn that is left; the first flow always has some."""
        if self.plan.time_budget is None:
            return None
        left = (self.plan.time_budget - self._spent()) / turns
        return left if self.done else max(left, 1e-3)


def _how_ended(done):
    """Say in a line how the trainings of one candidate ended."""
    if len(done) == 1:
        return done[0].message
    epochs = [len(one.history["train"]) for one in done]
    message = f"{len(done)} folds, {min(epochs)} to {max(epochs)} epochs"
    for stopped, how in (
        ("time", "stopped by the time budget"),
        ("interrupted", "interrupted"),
        ("non-finite", "stopped at a loss that is not finite"),
    ):
        count = sum(one.stopped == stopped for one in done)
        message += f", {count} {how}" if count else ""
    return message


def _mean_history(histories):
    """Return the mean of each epoch over the trainings that reached it."""
    found = {}
    for name in histories[0]:
        curves = [history[name] for history in histories]
        found[name] = [
            float(np.mean([curve[k] for curve in curves if k < len(curve)]))
            for k in range(max(map(len, curves)))
        ]
    return found


def _time_left(passed, plan, spent, total):
    """Say how long the other flows may take: as long as those before, or the rest of the budget."""
    left = np.inf if plan.time_budget is None else plan.time_budget - spent
    likely = np.mean(passed) * (total - len(passed)) if passed else np.inf
    if min(left, likely) == np.inf:
        return ""
    about = "about" if likely < left else "at most"
    seconds = int(np.ceil(min(left, likely)))
    shown = f"{seconds} s" if seconds < 120 else f"{round(seconds / 60)} min"
    return f"; {about} {shown} left for all flows"
