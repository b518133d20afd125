"""The queue of trainings: each kind of flow in all folds, on threads or in processes.

Each training has one thread. While simple densities are fitted, or the last folds of a kind are
trained, idle threads begin the trainings that will probably be needed next. If others turn out to
pay better, these are trained instead. So the threads change nothing but the time.
"""

import math
import threading
from dataclasses import replace

import numpy as np

from nfref.runtime.annotations import Any, Callable, Generator, Sequence
from nfref.runtime.backends import threads
from nfref.runtime.checks import plural
from nfref.runtime.tasks import Tasks
from nfref.tables.fitting.first_flow import FirstParameters
from nfref.tables.fitting.flow_folds import FlowFolds
from nfref.tables.fitting.flow_kinds import FlowKind
from nfref.tables.fitting.flow_training import interrupted_flow, train_flow
from nfref.tables.fitting.folds import Fold, UnitRows
from nfref.tables.fitting.plan import DoneFlow, Plan, SearchState
from nfref.tables.fitting.progress import Progress
from nfref.training.fit_state import FitState
from nfref.training.gradient import ONE_AT_A_TIME

MOST_PROCESSES = 64


def _train_in_worker(*arguments):
    """Train a flow in another process, or in a thread of joblib, one at a time in each process."""
    with ONE_AT_A_TIME:
        return train_flow(*arguments)


class FlowQueue:
    """Trainings of flows, one kind after the other, each through all folds.

    Parameters
    ----------
    rows : UnitRows
    folds : sequence of Fold
    plan : Plan
    rng : numpy.random.Generator
    progress : Progress

    Attributes
    ----------
    trained : list of FlowFolds
        Kind after kind; Ctrl-C may leave the last one unfinished.
    made : dict
        (number, name) -> FlowFolds of these, and of kinds that may follow.
    starts : dict
        Name of a kind -> its FirstParameters.
    threads : int
        The threads of the whole fit; inside a training, ``threads()`` is 1.
    state : FitState or None
        The state of the first training that is not done.
    left_out : int
        How many trainings had no time left.
    interrupted : bool
    known, known_kinds, current, first
        To resume: trainings that are done, the names of their kinds, the state of the one that was
        not done, and its kind and fold.
    """

    def __init__(
        self, rows: UnitRows, folds: Sequence[Fold], plan: Plan, rng: Generator, progress: Progress
    ) -> None:
        self.rows, self.folds, self.plan, self.progress = rows, folds, plan, progress
        self.seed: Any = rng.bit_generator.seed_seq
        self.seeds: list[Any] = []
        self.trained: list[FlowFolds] = []
        self.made: dict[tuple[int, str], FlowFolds] = {}
        self.starts: dict[str, FirstParameters] = {}
        self.state: FitState | None = None
        self.left_out = 0
        before = plan.resume or SearchState((), None, 0.0)
        self.known, self.known_kinds, self.current = list(before.done), before.kinds, before.current
        self.first: tuple[FlowFolds, int] | None = None
        self.interrupted, self.stop = False, threading.Event()
        self.threads = threads()
        self.tasks = Tasks(self._train_fold, self.threads, self.stop.set)

    @property
    def done(self) -> list[DoneFlow]:
        """The trainings that have ended, kind after kind."""
        return [done for one in self.trained for done in one.done]

    def new(self, kind: FlowKind, ahead: int = 0) -> FlowFolds:
        """Return the FlowFolds of a kind that is trained next, or after as many as ``ahead``."""
        name, number = kind.name, len(self.trained) + 1 + ahead
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

    def start(self, kind: FlowKind) -> FirstParameters:
        """Return the FirstParameters of a kind; making them takes too long for every epoch."""
        if kind.name not in self.starts:
            self.starts[kind.name] = FirstParameters.of(kind, self.folds[0].training, self.plan)
        return self.starts[kind.name]

    def train(self, end: int, following: Callable[[int], Sequence[Any]]) -> None:
        """Train the last kind in its folds before ``end``, or in as many as there is time for.

        ``following(k)`` returns the keys of the trainings that probably follow that of fold k, the
        likeliest first.
        """
        trained = self.trained[-1]
        while self.known and len(trained.done) < end:
            trained.done.append(self.known.pop(0))
        if len(trained.done) < end:
            if self.plan.jobs > 1 and end - len(trained.done) > 1:
                self._train_in_processes(trained, end)
            else:
                self._train_here(trained, end, following)

    def _train_here(self, trained, end, following):
        """Train a kind in its folds before ``end``, on threads of this process."""
        first = len(trained.done)
        self.first = self.first or (trained, first)
        for k in range(first, end):
            done = self.tasks.result((trained, k), following(k))
            if done is None:  # no time was left, nor is there for those after it
                continue
            if done.stopped == "interrupted" and not done.history["train"]:
                self.stop.set()  # its parameters are those of the start
                break
            trained.done.append(done)
            if self.state is None:  # it ended before its epochs could be kept
                self._keep(None)
            self.state = None
            if done.stopped == "interrupted":
                self.stop.set()
                break
        self.left_out += end - len(trained.done)
        self.interrupted = self.stop.is_set()

    def keys(self, trained: FlowFolds, first: int = 0) -> list[Any]:
        """Return the keys of a kind's trainings, as :class:`Tasks` knows them, from a fold on."""
        return [(trained, k) for k in range(first, len(self.folds))]

    def _train_fold(self, key, stopped):
        """Train a flow in one fold; return None if no time is left."""
        (trained, k), folds = key, len(self.folds)
        left = self.plan.seconds_left()
        if stopped.is_set() or self.stop.is_set() or (k and left == 0):
            return None
        turns = math.ceil((folds - k) / self.at_once(trained.kind))
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

    def unfinished(self) -> FlowFolds | None:
        """Return the last kind as Ctrl-C left it, with its scores; None if no training is."""
        if not self.trained:
            return None
        last = self.trained[-1]
        if not last.done and self.state is not None:
            last.done.append(interrupted_flow(self.state))
        last.score(self.folds, self.rows)
        return last if last.done else None

    # Time -----------------------------------------------------------------------------------

    def at_once(self, kind: FlowKind) -> int:
        """Return how many folds of a kind are trained at once."""
        if self.plan.jobs > 1:
            return min(self.plan.jobs, len(self.folds))
        return min(self.threads, len(self.folds)) if self.start(kind).by_kernels else 1

    def estimate(self, kind: FlowKind, folds: float | None = None) -> float:
        """Estimate the seconds of one core for a kind, by default in all folds; at first 0."""
        if not self.done:
            return 0.0
        epochs = float(np.mean([done.epochs for done in self.done]))
        return self.start(kind).seconds(epochs) * (len(self.folds) if folds is None else folds)

    def seconds(self, kind: FlowKind, folds: float | None = None) -> float:
        """Estimate the seconds that pass for a kind, by those of the trainings so far."""
        work = sum(
            self.start(one.kind).seconds(done.epochs) for one in self.trained for done in one.done
        )
        pace = sum(done.seconds for done in self.done) / max(work, 1e-9)
        return self.estimate(kind, folds) * pace / self.at_once(kind)

    def _expected(self):
        """Estimate the seconds of the whole search: of the first kinds, of one fold with the later.

        Of several folds some kind is often dropped, or none follows the first ones.
        """
        if not self.done:
            return None
        plan, trained, folds = self.plan, self.trained[-1], len(self.folds)
        more = plan.most_kinds(folds) - len(self.trained)
        again = more if folds == 1 else 0
        kinds = [*plan.kinds[len(self.trained) :], *plan.kinds[:1] * again][:more]
        # Of one fold, idle threads train the next kinds.
        at_once = min(self.threads, len(kinds) or 1) if folds == 1 else 1
        later = sum(map(self.seconds, kinds)) / at_once
        whole = plan.seconds() + self.seconds(trained.kind, folds - len(trained.done) - 0.5) + later
        return whole if plan.time_budget is None else min(whole, plan.time_budget)

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
