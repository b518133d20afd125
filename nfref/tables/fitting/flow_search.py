"""Search for a pool: which flows are trained, in which order, and in how much time.

Simple densities are fitted while the first flows are trained. From 50 rows on there are flows:
neural spline flows of tanh and of relu units, a masked autoregressive flow (first if time is
short), and then more of whichever did best; or flows of the kind that is asked for. All trainings,
each kind in all folds, wait in one queue from the start (:mod:`nfref.tables.fitting.trainings`).
Kinds are judged in that order. A kind that does not pay (:mod:`nfref.tables.fitting.effort`) is
dropped, with all kinds behind it; so is one whose first two folds promise too little. Each flow has
orders and first parameters of its own. In several folds the flows of all folds are one candidate,
their mean. A plan without simple densities has flows alone and one fold.

After a signal the candidates so far make the pool.
"""

import math
import threading
from dataclasses import replace

import numpy as np

from nfref.runtime import interrupts
from nfref.runtime.annotations import Any, Array, Generator
from nfref.runtime.backends import threads
from nfref.runtime.checks import plural
from nfref.tables.densities.pool import Pool
from nfref.tables.fitting.candidates import Candidate, pool_mean, simple_candidates, weigh
from nfref.tables.fitting.flow_candidate import TrainedFlow, flow_candidate
from nfref.tables.fitting.flow_kinds import FlowKind
from nfref.tables.fitting.flow_training import TrainingCost, train_flow
from nfref.tables.fitting.folds import UnitRows, make_folds
from nfref.tables.fitting.plan import Plan
from nfref.tables.fitting.results import CandidateResult, Progress
from nfref.tables.fitting.trainings import Queue, SearchState, Training

FLOW_ROWS = 50  # fewest rows for which flows are tried beside simple densities
CHEAP_PART = 1 / 3  # of the parameters of the largest kind that a cheap one has at most
GOOD_PART = 0.4  # share of the estimated seconds of a kind that is worth having
PROBED = 2  # folds after which a kind is dropped if the others do not pay


def find_pool(
    rows: UnitRows, numbers: Array, plan: Plan, rng: Generator, progress: Progress
) -> tuple[Pool, list[CandidateResult], Array]:
    """Fit the candidates of a plan and weigh them.

    Parameters
    ----------
    rows : UnitRows
    numbers : (N,) array
        Which fold holds each row out (:func:`~nfref.tables.fitting.folds.fold_numbers`).
    plan : Plan
    rng : numpy.random.Generator
    progress : Progress

    Returns
    -------
    pool, results, log_prob
        See :func:`~nfref.tables.fitting.candidates.weigh`.

    Raises
    ------
    KeyboardInterrupt
        If Ctrl-C comes before the first candidate.
    """
    if plan.simple and len(rows) < FLOW_ROWS:
        plan = replace(plan, members=0)
    search = FlowSearch(rows, numbers, plan, rng, progress)
    candidates: list[Candidate] = []
    try:
        with search.queue:
            search.begin()
            if plan.simple:
                progress.stage("gaussian and mixtures")
                for one in simple_candidates(plan, rows, search.folds, rng):
                    candidates.append(one)
                    interrupts.keep()
            search.run(candidates)
    finally:
        progress.close()
    if not candidates:
        raise KeyboardInterrupt
    if not plan.simple and not any(one.history["train"] for one in search.ended):
        raise ValueError(
            f"learning_rate: expected one that trains, came to "
            f"{search.ended[0].message}; a lower one may help"
        )
    return weigh(candidates, rows.weight, search.how_cut(), search.dropped)


class FlowSearch:
    """Train flows as long as they pay.

    Parameters
    ----------
    rows : UnitRows
    numbers : (N,) array
        The fold that holds each row out.
    plan : Plan
    rng : numpy.random.Generator
    progress : Progress

    Attributes
    ----------
    folds : list of Fold
    queue : Queue
    names : list of str
        The candidates in the order of their training; more of the best kind come to its end.
    kinds : dict
        name -> FlowKind.
    ended : list of Training
        Those that count, in the order in which they are judged.
    dropped : list of CandidateResult
        Kinds that promised too little after their first folds.
    left_out : int
        How many trainings had no time left.
    """

    def __init__(
        self, rows: UnitRows, numbers: Array, plan: Plan, rng: Generator, progress: Progress
    ) -> None:
        self.rows, self.plan, self.progress = rows, plan, progress
        self.folds = make_folds(rows, numbers)
        self.kinds: dict[str, FlowKind] = {kind.name: kind for kind in plan.kinds}
        self.costs = {
            name: TrainingCost.of(kind, self.folds[0].training, plan)
            for name, kind in self.kinds.items()
        }
        self.names = self._in_order()
        self.ended: list[Training] = []
        self.dropped: list[CandidateResult] = []
        self.left_out = 0
        self._seed: Any = rng.bit_generator.seed_seq
        self._out_of_time: set[str] = set()
        self._lock = threading.Lock()
        by_kernels = all(cost.by_kernels for cost in self.costs.values())
        most = len(self.folds) * max(plan.most_kinds(len(self.folds)), 1)
        self.threads = min(threads(), most) if by_kernels else 1
        self.queue = Queue(
            self._train,
            self.threads,
            () if plan.resume is None else plan.resume.trainings,
            self._write,
        )

    def _in_order(self):
        """Return the names of the first kinds in the order of training.

        If time is short, cheap ones come first. The budget may cut the later ones, and a complete
        flow is worth more than one that is cut.
        """
        if not self.plan.limits.is_short(len(self.rows), self.plan.time_budget):
            return list(self.kinds)
        most = CHEAP_PART * max((cost.parameters for cost in self.costs.values()), default=0)
        return sorted(self.kinds, key=lambda name: self.costs[name].parameters > most)

    # In the thread of the fit ---------------------------------------------------------------

    def begin(self) -> None:
        """Let the threads begin."""
        self._add(self.names)

    def run(self, found: list[Candidate]) -> None:
        """Train kinds as long as they pay, and append their candidates to ``found``.

        After a signal, whatever is trained counts.
        """
        gains: list[float] = []
        weight, first = self.rows.weight, len(self.names)
        score = pool_mean(found, weight) if found else -math.inf
        for number, name in enumerate(self.names, 1):  # which grows
            if not interrupts.came() and not self._pays(gains, name):
                return
            candidate = self._candidate(name, found if gains else [])
            if candidate is not None:
                found.append(candidate)
                before, score = score, pool_mean(found, weight)
                gains.append(score - before)
            elif name not in self._out_of_time:
                gains.append(0.0)
            if number == first and not interrupts.came():
                self._add(self._more(found))

    def _pays(self, gains, name):
        """Return whether a kind is asked for, or promises enough."""
        seconds = self._work(name, len(self.folds))
        return self.plan.members is not None or self.plan.limits.pays(
            gains, self.rows.total, seconds
        )

    def _candidate(self, name, found):
        """Return a kind, trained in each fold, as a candidate; None if it is dropped or cut.

        Beside the candidates ``found``, two folds tell whether the others pay, or one of two.
        """
        count, trained = len(self.folds), []
        probed = min(PROBED, count - 1) if found and self.plan.members is None else 0
        for fold in range(count):
            one = self.queue.result((name, fold))
            if one is None:
                self.left_out += 0 if interrupts.came() else count - fold
                break
            trained.append(one)
            self.ended.append(one.training)
            if fold + 1 == probed and not interrupts.came():
                candidate = flow_candidate(trained, self.folds)
                if not self._promises(candidate, found, name, probed):
                    self.queue.drop([(name, later) for later in range(probed, count)])
                    self.dropped.append(candidate.result(self.rows.weight, 0.0))
                    self._say(candidate, "; more folds do not pay")
                    return None
        if not trained:
            return None
        candidate = flow_candidate(trained, self.folds)
        self._say(candidate)
        return candidate

    def _promises(self, candidate, found, name, probed):
        """Return whether the other folds of a kind pay, after its first ones."""
        scored = ~np.isnan(candidate.scores)
        before, after = (
            pool_mean(some, self.rows.weight, scored) for some in (found, [*found, candidate])
        )
        seconds = self._work(name, len(self.folds) - probed)
        return (after - before) * self.rows.total >= self.plan.limits.price * seconds

    def _more(self, found):
        """Return names for more candidates of the best of the first kinds."""
        first = len(self.names)
        most = self.plan.most_kinds(len(self.folds))
        own = [one for one in found if one.name in self.kinds]
        if not own:
            return []
        best = max(own, key=lambda one: one.mean(self.rows.weight)).name
        names = [f"{best} {number}" for number in range(first + 1, most + 1)]
        for name in names:
            self.kinds[name], self.costs[name] = self.kinds[best], self.costs[best]
        self.names += names
        return names

    def _add(self, names):
        self.queue.add([(name, fold) for name in names for fold in range(len(self.folds))])

    def _say(self, candidate, more=""):
        """Print the line of a candidate."""
        mean = candidate.mean(self.rows.weight)
        self.progress.candidate(candidate.name, mean, candidate.message + more)

    def how_cut(self) -> str:
        """Return how many trainings the time budget stopped early or left out, in words."""
        cut = self.left_out + sum(one.stopped == "time" for one in self.ended)
        if not cut or self.plan.time_budget is None:
            return ""
        return f"the time budget cut {cut} {plural('training', cut)} of flows"

    # Seconds --------------------------------------------------------------------------------

    def _work(self, name, folds):
        """Estimate the seconds of one core for a kind in some folds; 0 before any training."""
        if not self.ended:
            return 0.0
        epochs = float(np.mean([one.epochs for one in self.ended]))
        return self.costs[name].seconds(epochs) * folds

    def _in_time(self, name):
        """Return whether the time budget suffices for a good part of a kind."""
        left, ended = self.plan.seconds_left(), list(self.ended)
        if left is None or not (ended or self.plan.simple):
            return True
        work = sum(self.costs[one.name].seconds(one.epochs) for one in ended)
        pace = sum(one.seconds for one in ended) / max(work, 1e-9)
        at_once = min(self.threads, len(self.folds))
        return left > GOOD_PART * self._work(name, len(self.folds)) * pace / at_once

    # In the threads of the queue ------------------------------------------------------------

    def _train(self, key, known, after_epoch):
        """Train a flow on a fold and score it; return None if no time is left."""
        name, k = key
        kind, fold = self.kinds[name], self.folds[k]
        if known is not None and known.vector is not None:
            return TrainedFlow.of(known, kind, fold, self.rows, self._rng(key))
        left = self.plan.seconds_left()
        with self._lock:  # the folds of a kind agree
            if k == 0 and not self._in_time(name):
                self._out_of_time.add(name)
            if name in self._out_of_time or k and left == 0:
                return None
        rounds = math.ceil((len(self.folds) - k) / self.threads)

        def shown(state):
            if not self.plan.simple:
                interrupts.keep()
            self.progress.epoch(name, k, len(self.folds), state, self.plan.seconds())
            after_epoch(state)

        training = train_flow(
            key,
            kind,
            fold,
            self._rng(key),
            self.plan,
            None if left is None else max(left / rounds, 1e-3),
            shown,
            known and known.state,
        )
        if training.stopped == "interrupted":
            if not training.history["train"]:  # its parameters are those of the start
                return None
        else:
            self.queue.keep(training)
        return TrainedFlow.of(training, kind, fold, self.rows, self._rng(key))

    def _rng(self, key):
        """Return the generator of a training, the same wherever and whenever it runs."""
        name, k = key
        place = (*self._seed.spawn_key, list(self.kinds).index(name), k)
        return np.random.default_rng(np.random.SeedSequence(self._seed.entropy, spawn_key=place))

    def _write(self, records):
        """Write a checkpoint."""
        write = self.plan.checkpoint
        if write is not None:
            write(SearchState(records, len(self.folds), self.plan.seconds()))
