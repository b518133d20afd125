"""Search for a pool: which flows are trained, in which order, and in how much time.

Simple densities come first. From 50 rows on flows follow, one kind at a time through all folds:
neural spline flows of tanh and of relu units, a masked autoregressive flow (first if time is
short), and then more of whichever did best; or flows of the kind that is asked for. Another kind
follows as long as it pays (:mod:`nfref.tables.fitting.effort`) and the budget leaves time for it.
Each flow has orders and first parameters of its own. In several folds the flows of all folds are
one candidate, their mean. A plan without simple densities has flows alone and one fold.

Each training has one thread. While simple densities are fitted, or the last folds of a kind are
trained, idle threads begin the trainings that will probably be needed next. If others turn out to
pay better, these are trained instead. So the threads change nothing but the time.

Ctrl-C ends the search wherever it comes, and the candidates so far make the pool.
"""

import math
import threading
from dataclasses import replace

import numpy as np

from nfref.runtime.annotations import Array, Generator, Iterator, Sequence
from nfref.runtime.backends import threads
from nfref.runtime.checks import plural
from nfref.runtime.interrupts import insisted, interruptible
from nfref.runtime.tasks import Tasks
from nfref.tables.densities.pool import Pool
from nfref.tables.fitting.candidates import Candidate, pool_mean, simple_candidates, weigh
from nfref.tables.fitting.effort import EPOCHS, training_seconds
from nfref.tables.fitting.first_flow import FLOW_ROWS, FirstParameters, compile_ahead
from nfref.tables.fitting.flow_folds import FlowFolds
from nfref.tables.fitting.flow_training import interrupted_flow, train_flow
from nfref.tables.fitting.folds import UnitRows, make_folds
from nfref.tables.fitting.plan import DoneFlow, Plan, SearchState
from nfref.tables.fitting.progress import Progress
from nfref.tables.fitting.results import CandidateResult
from nfref.training.fit_state import FitState
from nfref.training.gradient import ONE_AT_A_TIME

MOST_PROCESSES = 64
CHEAP_PART = 1 / 3  # of the parameters of the largest kind that a cheap one has at most
GOOD_PART = 0.4  # share of the estimated seconds of a kind that is worth having


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
    folds = make_folds(rows, numbers)
    if plan.simple and len(rows) < FLOW_ROWS:
        plan = replace(plan, members=0)
    flows = _FlowSearch(rows, folds, plan, rng, progress)
    candidates: list[Candidate] = []
    try:
        with interruptible(), flows.tasks:
            # A flow whose kernels are being compiled would only compile others here.
            if plan.kinds and not compile_ahead(folds[0], plan):
                flows.begin()
            if plan.simple:
                progress.stage("gaussian and mixtures")
                for one in simple_candidates(plan, rows, folds, rng):
                    candidates.append(one)
            for one in flows.candidates(candidates):
                candidates.append(one)
    except KeyboardInterrupt:
        if insisted():
            raise
        flows.interrupted = True
        candidates += flows.unfinished(candidates)
        if not candidates:
            raise
    finally:
        progress.close()
    if insisted():  # a training took the signal
        raise KeyboardInterrupt
    if not (plan.simple or any(done.history["train"] for done in flows.done)):
        if flows.interrupted:
            raise KeyboardInterrupt
        raise ValueError(
            f"learning_rate: expected one that trains, came to "
            f"{flows.done[0].message}; a lower one may help"
        )
    return weigh(candidates, rows.weight, flows.how_cut(), flows.dropped)


def _train_in_worker(*arguments):
    """Train a flow in another process, or in a thread of joblib, one at a time in each process."""
    with ONE_AT_A_TIME:
        return train_flow(*arguments)


class _FlowSearch:
    """Train flows, one kind after the other, each through all folds.

    Attributes
    ----------
    trained : list of FlowFolds
        Kind after kind; Ctrl-C may leave the last one unfinished.
    made : dict
        (number, name) -> FlowFolds of these, and of kinds that may follow.
    gains : list of float
        How much each kind raised the held-out mean of the pool.
    dropped : list of CandidateResult
        Kinds that promised too little after their first folds.
    state : FitState or None
        The state of the first training that is not done.
    left_out : int
        How many trainings had no time left.
    starts : dict
        Name of a kind -> its FirstParameters.
    known, known_kinds, current, first
        To resume: trainings that are done, the names of their kinds, the state of the one that was
        not done, and its kind and fold.
    """

    def __init__(self, rows, folds, plan, rng, progress):
        self.rows, self.folds, self.plan, self.progress = rows, folds, plan, progress
        self.seed, self.seeds = rng.bit_generator.seed_seq, []
        self.trained: list[FlowFolds] = []
        self.made: dict[tuple[int, str], FlowFolds] = {}
        self.gains: list[float] = []
        self.dropped: list[CandidateResult] = []
        self.state: FitState | None = None
        self.left_out = 0
        self.starts: dict[str, FirstParameters] = {}
        before = plan.resume or SearchState((), None, 0.0)
        self.known, self.known_kinds, self.current = list(before.done), before.kinds, before.current
        self.first: tuple[FlowFolds, int] | None = None
        self.interrupted, self.stop = False, threading.Event()
        self.tasks = Tasks(self._train_fold, threads(), self.stop.set)
        self.kinds = self._in_order()

    @property
    def done(self) -> list[DoneFlow]:
        """The trainings that have ended, kind after kind."""
        return [done for one in self.trained for done in one.done]

    def candidates(self, found: list[Candidate]) -> Iterator[Candidate]:
        """Yield flows as long as they pay and time is left.

        ``found`` are the candidates so far; the caller appends each new one.
        """
        gains = self.gains
        scores: list[float] = []
        while not self.interrupted and (kind := self._next_kind(gains)):
            if not self._in_time(kind):
                self.left_out += len(self.folds)
                return
            if found and not scores:
                scores.append(pool_mean(found, self.rows.weight))
            self.trained.append(self._new(kind))
            if not self._train(self.trained[-1], found if gains else []):
                gains.append(0.0)
                continue
            yield self.trained[-1].candidate()
            scores.append(pool_mean(found, self.rows.weight))
            gains.append(scores[-1] - scores[-2] if len(scores) > 1 else math.inf)

    def unfinished(self, found: Sequence[Candidate]) -> list[Candidate]:
        """Return, in a list, the flow that was trained or scored when Ctrl-C came."""
        if not self.trained or self.trained[-1].name in [one.name for one in found]:
            return []
        last = self.trained[-1]
        if not last.done and self.state is not None:
            last.done.append(interrupted_flow(self.state))
        last.score(self.folds)
        return [last.candidate()] if last.done else []

    def _new(self, kind):
        """Return the FlowFolds of a kind that is trained next."""
        name, number = kind.name, len(self.trained) + 1
        if (number, name) not in self.made:
            while len(self.seeds) < number:
                self.seeds.append(self.seed.spawn(len(self.folds)))
            again = name in [one.name for one in self.trained]
            self.made[number, name] = FlowFolds(
                f"{name} {number}" if again else name,
                kind,
                self.seeds[number - 1],
                np.full(len(self.rows), np.nan),
            )
        return self.made[number, name]

    def _start(self, kind):
        """Return the FirstParameters of a kind; making them takes too long for every epoch."""
        if kind.name not in self.starts:
            self.starts[kind.name] = FirstParameters.of(kind, self.folds[0].training, self.plan)
        return self.starts[kind.name]

    # Which kind -----------------------------------------------------------------------------

    def _in_order(self):
        """Return the first kinds in the order of training: cheap ones first if time is short.

        The budget may cut the later ones, and a complete flow is worth more than one that is cut.
        """
        plan, kinds = self.plan, self.plan.kinds
        if not plan.limits.is_short(len(self.rows), plan.time_budget):
            return kinds
        sizes = {kind.name: len(self._start(kind).vector) for kind in kinds}
        most = CHEAP_PART * max(sizes.values(), default=0)
        return sorted(kinds, key=lambda kind: sizes[kind.name] > most)

    def _next_kind(self, gains):
        """Return the kind to train next; None if no other pays or time is out."""
        plan, first, count = self.plan, self.kinds, len(self.trained)
        if not first or count >= (math.inf if plan.members is None else plan.members):
            return None
        for kind in first:
            if kind.name in self.known_kinds[count : count + 1]:
                return kind
        left = [kind for kind in first if kind not in [one.kind for one in self.trained]]
        if left:
            kind = next(filter(self._in_time, left), left[0])
        else:
            kind = max(self.trained[: len(first)], key=self._mean).kind
        pays = plan.members is not None
        pays = pays or plan.limits.pays(gains, self.rows.total, self._estimate(kind))
        return kind if pays else None

    def _in_time(self, kind):
        """Return whether the time budget suffices for a good part of a kind."""
        left = self.plan.seconds_left()
        if left is None or not (self.done or self.plan.simple):
            return True
        # A training that has begun ends in time; of several folds others would be left out.
        if len(self.folds) == 1 and self.done and self.tasks.has_begun((self._new(kind), 0)):
            return True
        seconds = self._estimate(kind) * self._pace() / self._at_once(kind) if self.done else 0.0
        return left > GOOD_PART * seconds

    def _mean(self, trained):
        """Return the held-out mean of a kind, -inf without scores."""
        return trained.candidate().result(self.rows.weight).mean if trained.flows else -math.inf

    def _estimate(self, kind, folds=None):
        """Estimate the seconds of one core for a kind, by default in all folds."""
        training, parameters = self.folds[0].training, len(self._start(kind).vector)
        epochs = [done.epochs for done in self.done] or [min(self.plan.epochs, EPOCHS)]
        seconds = training_seconds(len(training), parameters, float(np.mean(epochs)))
        return seconds * (len(self.folds) if folds is None else folds)

    def _pace(self):
        """Return how many seconds pass for an estimated one."""
        rows = len(self.folds[0].training)
        work = sum(training_seconds(rows, len(one.vector), one.epochs) for one in self.done)
        return sum(one.seconds for one in self.done) / max(work, 1e-9)

    def _promises(self, trained, found):
        """Return whether the other folds of a kind pay, after its first ones."""
        scored = ~np.isnan(trained.scores)
        before, after = (
            pool_mean(some, self.rows.weight, scored)
            for some in (found, [*found, trained.candidate()])
        )
        seconds = self._estimate(trained.kind, len(self.folds) - len(trained.done))
        rows = self.rows.total
        return (after - before) * rows >= self.plan.limits.price_for(rows) * seconds

    # Training -------------------------------------------------------------------------------

    def _train(self, trained, found):
        """Train a kind in each fold; return whether it is a candidate.

        Beside the candidates ``found``, two folds tell whether the others pay.
        """
        folds = len(self.folds)
        ends = [2, folds] if found and self.plan.members is None and folds > 2 else [folds]
        for end in ends:
            self._train_until(trained, end)
            trained.score(self.folds)
            if self.interrupted or len(trained.done) < end:
                break
            if end < folds and not self._promises(trained, found):
                self._say(trained, f"; the other {folds - end} folds do not pay")
                self.dropped.append(trained.candidate().result(self.rows.weight, 0.0))
                return False
        if trained.done:
            trained.find_gains(self.folds, self.rows)
            self._say(trained)
        return bool(trained.done)

    def _train_until(self, trained, end):
        """Train a kind in its folds before ``end``, or in as many as there is time for."""
        while self.known and len(trained.done) < end:
            trained.done.append(self.known.pop(0))
        if len(trained.done) < end:
            if self.plan.jobs > 1 and end - len(trained.done) > 1:
                self._train_in_processes(trained, end)
            else:
                self._train_here(trained, end)

    def _at_once(self, kind):
        """Return how many folds of a kind are trained at once."""
        if self.plan.jobs > 1:
            return min(self.plan.jobs, len(self.folds))
        return min(threads(), len(self.folds)) if self._start(kind).by_kernels else 1

    def _train_here(self, trained, end):
        """Train a kind in its folds before ``end``, on threads of this process."""
        first = len(trained.done)
        self.first = self.first or (trained, first)
        for k in range(first, end):
            done = self.tasks.result((trained, k), self._following(trained, k))
            if done is None:  # no time was left, nor is there for those after it
                continue
            if done.stopped == "interrupted" and not done.history["train"]:
                self.stop.set()  # its parameters are those of the start
                break
            trained.done.append(done)
            self.state = None
            if done.stopped == "interrupted":
                self.stop.set()
                break
        self.left_out += end - len(trained.done)
        self.interrupted = self.stop.is_set()

    def begin(self) -> None:
        """Begin the first kind, on all threads but the one that fits the simple densities."""
        kind, plan = self._next_kind([]), self.plan
        if kind and plan.resume is None and plan.jobs == 1 and self._start(kind).by_kernels:
            self.tasks.begin(self._keys(self._new(kind)), idle=1)

    def _keys(self, trained, first=0):
        """Return the keys of a kind's trainings, as :class:`Tasks` knows them, from a fold on."""
        return [(trained, k) for k in range(first, len(self.folds))]

    def _following(self, trained, k):
        """Return the trainings that probably follow that of fold k, the likeliest first.

        They are a guess: its kind may still be dropped, and its gain decides which kind is next.
        """
        if self.plan.jobs > 1 or not self._start(trained.kind).by_kernels:
            return []
        keys, kind = self._keys(trained, k + 1), self._next_kind([*self.gains, 0.0])
        if kind and self._in_time(kind) and self._start(kind).by_kernels:
            keys += self._keys(self._new(kind))
        return keys

    def _train_fold(self, key, stopped):
        """Train a flow in one fold; return None if no time is left."""
        (trained, k), folds = key, len(self.folds)
        left = self.plan.seconds_left()
        if stopped.is_set() or self.stop.is_set() or (k and left == 0):
            return None
        turns = math.ceil((folds - k) / self._at_once(trained.kind))
        return train_flow(
            trained.kind,
            self.folds[k],
            trained.rng(k),
            self.plan,
            None if left is None else max(left / turns, 1e-3),
            lambda state: self._after_epoch(trained, k, state, stopped),
            self.current if key == self.first else None,
        )

    def _train_in_processes(self, trained, end):
        """Train a kind in its folds before ``end``, in other processes."""
        from joblib import Parallel, delayed

        first, left = len(trained.done), self.plan.seconds_left()
        if first and left == 0:
            self.left_out += end - first
            return
        turns = math.ceil((end - first) / self.plan.jobs)
        left = None if left is None else max(left / turns, 1e-3)
        plan = replace(self.plan, callback=None, resume=None)
        self.progress.stage(f"{trained.name}   {end - first} folds in processes")
        trained.done += Parallel(
            n_jobs=min(self.plan.jobs, end - first, MOST_PROCESSES), prefer="processes"
        )(
            delayed(_train_in_worker)(trained.kind, self.folds[k], trained.rng(k), plan, left)
            for k in range(first, end)
        )
        self._keep(None)

    def _after_epoch(self, trained, k, state, stopped):
        """Keep the state after an epoch in fold k, if no earlier one is unfinished."""
        if self.stop.is_set() or stopped.is_set():
            raise KeyboardInterrupt
        if self.trained and trained is self.trained[-1]:
            if k == len(trained.done):
                self.state = state
                self._keep(state)
            self.progress.epoch(
                trained.name, k, len(self.folds), state, self.plan.seconds(), self._expected
            )

    def _keep(self, current):
        """Call the plan's callback with the state of the search."""
        if self.plan.callback is not None:
            kinds = tuple(one.kind.name for one in self.trained)
            self.plan.callback(
                SearchState(tuple(self.done), current, self.plan.seconds(), len(self.folds), kinds)
            )

    # Time -----------------------------------------------------------------------------------

    def _expected(self):
        """Estimate the seconds of the whole search: this kind, and one more if it is the first."""
        trained = self.trained[-1]
        if not self.done:
            return None
        folds = len(self.folds) - len(trained.done) - 0.5
        kinds = 1 + (len(self.trained) == 1 and self.plan.members != 1)
        left = self._estimate(trained.kind, folds + (kinds - 1) * len(self.folds))
        whole = self.plan.seconds() + left * self._pace() / self._at_once(trained.kind)
        return whole if self.plan.time_budget is None else min(whole, self.plan.time_budget)

    def how_cut(self) -> str:
        """Return how many trainings the time budget stopped early or left out, in words."""
        cut = sum(done.stopped == "time" for done in self.done)
        if not self.interrupted:
            cut += self.left_out
        return (
            f"the time budget cut {cut} {plural('training', cut)} of flows"
            if cut and self.plan.time_budget is not None
            else ""
        )

    def _say(self, trained, more=""):
        """Print the line of a candidate."""
        self.progress.candidate(trained.name, self._mean(trained), trained.message + more)
