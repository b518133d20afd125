"""Search for a pool: which flows are trained, in which order, and in how much time.

Simple densities come first. From 50 rows on flows follow, one kind at a time through all folds:
neural spline flows of tanh and of relu units, a masked autoregressive flow (first if time is
short), and then more of whichever did best; or flows of the kind that is asked for. Another kind
follows as long as it pays (:mod:`nfref.tables.fitting.effort`) and the budget leaves time for it.
Each flow has orders and first parameters of its own. In several folds the flows of all folds are
one candidate, their mean. A plan without simple densities has flows alone and one fold.
:mod:`nfref.tables.fitting.flow_queue` trains them.

Ctrl-C ends the search wherever it comes, and the candidates so far make the pool.
"""

import math
from dataclasses import replace

import numpy as np

from nfref.runtime.annotations import Array, Generator, Iterator
from nfref.runtime.interrupts import insisted, interruptible
from nfref.tables.densities.pool import Pool
from nfref.tables.fitting.candidates import Candidate, pool_mean, simple_candidates, weigh
from nfref.tables.fitting.first_flow import FLOW_ROWS, compile_ahead
from nfref.tables.fitting.flow_kinds import FlowKind
from nfref.tables.fitting.flow_queue import FlowQueue
from nfref.tables.fitting.folds import UnitRows, make_folds
from nfref.tables.fitting.plan import Plan
from nfref.tables.fitting.progress import Progress
from nfref.tables.fitting.results import CandidateResult

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
    queue = FlowQueue(rows, folds, plan, rng, progress)
    search = _FlowSearch(queue)
    candidates: list[Candidate] = []
    try:
        with interruptible(), queue.tasks:
            # A flow whose kernels are being compiled would only compile others here.
            if plan.kinds and not compile_ahead(folds[0], plan):
                search.begin()
            if plan.simple:
                progress.stage("gaussian and mixtures")
                for one in simple_candidates(plan, rows, folds, rng):
                    candidates.append(one)
            for one in search.candidates(candidates):
                candidates.append(one)
    except KeyboardInterrupt:
        if insisted():
            raise
        queue.interrupted = True
        last = queue.unfinished()
        if last and last.name not in [one.name for one in candidates]:
            candidates.append(last.candidate())
        if not candidates:
            raise
    finally:
        progress.close()
    if insisted():  # a training took the signal
        raise KeyboardInterrupt
    if not (plan.simple or any(done.history["train"] for done in queue.done)):
        if queue.interrupted:
            raise KeyboardInterrupt
        raise ValueError(
            f"learning_rate: expected one that trains, came to "
            f"{queue.done[0].message}; a lower one may help"
        )
    return weigh(candidates, rows.weight, queue.how_cut(), search.dropped)


class _FlowSearch:
    """Decide which kind of flow is trained next, and whether it pays.

    Parameters
    ----------
    queue : FlowQueue

    Attributes
    ----------
    gains : list of float
        How much each kind raised the held-out mean of the pool.
    dropped : list of CandidateResult
        Kinds that promised too little after their first folds.
    kinds : sequence of FlowKind
        The first kinds, in the order of their training.
    """

    def __init__(self, queue):
        self.queue, self.plan, self.progress = queue, queue.plan, queue.progress
        self.rows, self.folds = queue.rows, queue.folds
        self.gains: list[float] = []
        self.dropped: list[CandidateResult] = []
        self.kinds = self._in_order()

    def candidates(self, found: list[Candidate]) -> Iterator[Candidate]:
        """Yield flows as long as they pay and time is left.

        ``found`` are the candidates so far; the caller appends each new one.
        """
        gains, queue = self.gains, self.queue
        scores: list[float] = []
        while not queue.interrupted and (kind := self._next_kind(gains)):
            if not self._in_time(kind):
                queue.left_out += len(self.folds)
                return
            if found and not scores:
                scores.append(pool_mean(found, self.rows.weight))
            trained = queue.new(kind)
            queue.trained.append(trained)
            if not self._train(trained, found if gains else []):
                gains.append(0.0)
                continue
            yield trained.candidate()
            scores.append(pool_mean(found, self.rows.weight))
            gains.append(scores[-1] - scores[-2] if len(scores) > 1 else math.inf)

    def _in_order(self):
        """Return the first kinds in the order of training: cheap ones first if time is short.

        The budget may cut the later ones, and a complete flow is worth more than one that is cut.
        """
        plan, kinds = self.plan, self.plan.kinds
        if not plan.limits.is_short(len(self.rows), plan.time_budget):
            return kinds
        sizes = {kind.name: len(self.queue.start(kind).vector) for kind in kinds}
        most = CHEAP_PART * max(sizes.values(), default=0)
        return sorted(kinds, key=lambda kind: sizes[kind.name] > most)

    def _next_kind(self, gains, before=()):
        """Return the kind to train next; None if no other pays or time is out.

        ``before`` are kinds that come between the last one so far and it.
        """
        plan, first, trained = self.plan, self.kinds, self.queue.trained
        kinds = [*(one.kind for one in trained), *before]
        count = len(kinds)
        if not first or count >= plan.most_kinds(len(self.folds)):
            return None
        for kind in first:
            if kind.name in self.queue.known_kinds[count : count + 1]:
                return kind
        left = [kind for kind in first if kind not in kinds]
        if left:
            kind = next(filter(self._in_time, left), left[0])
        else:
            kind = max(trained[: len(first)], key=self._mean).kind
        pays = plan.members is not None
        pays = pays or plan.limits.pays(gains, self.rows.total, self.queue.estimate(kind))
        return kind if pays else None

    def _in_time(self, kind):
        """Return whether the time budget suffices for a good part of a kind."""
        left, queue = self.plan.seconds_left(), self.queue
        if left is None or not (queue.done or self.plan.simple):
            return True
        # A training that has begun ends in time; of several folds others would be left out.
        if len(self.folds) == 1 and queue.done:
            if queue.tasks.has_begun((queue.new(kind), 0)):
                return True
        return left > GOOD_PART * self.queue.seconds(kind)

    def _mean(self, trained):
        """Return the held-out mean of a kind, -inf without scores."""
        return trained.mean(self.rows.weight) if trained.flows else -math.inf

    def _promises(self, trained, found):
        """Return whether the other folds of a kind pay, after its first ones."""
        scored = ~np.isnan(trained.scores)
        before, after = (
            pool_mean(some, self.rows.weight, scored)
            for some in (found, [*found, trained.candidate()])
        )
        seconds = self.queue.estimate(trained.kind, len(self.folds) - len(trained.done))
        return (after - before) * self.rows.total >= self.plan.limits.price * seconds

    def _train(self, trained, found):
        """Train a kind in each fold; return whether it is a candidate.

        Beside the candidates ``found``, two folds tell whether the others pay, or one of two.
        """
        folds = len(self.folds)
        ends = [folds]
        if found and self.plan.members is None and folds > 1:
            ends = [min(2, folds - 1), folds]
        for end in ends:
            self.queue.train(end, lambda k: self._following(trained, k))
            trained.score(self.folds, self.rows)
            if self.queue.interrupted or len(trained.done) < end:
                break
            if end < folds and not self._promises(trained, found):
                self._say(trained, "; more folds do not pay")
                self.dropped.append(trained.candidate().result(self.rows.weight, 0.0))
                return False
        if trained.done:
            trained.find_gains(self.folds)
            self._say(trained)
        return bool(trained.done)

    def begin(self) -> None:
        """Begin the first kind, on all threads but the one that fits the simple densities."""
        kind, plan, queue = self._next_kind([]), self.plan, self.queue
        if kind and plan.resume is None and plan.jobs == 1 and queue.start(kind).by_kernels:
            queue.tasks.begin(queue.keys(queue.new(kind)), idle=1)

    def _following(self, trained, k):
        """Return the trainings that probably follow that of fold k, the likeliest first.

        They are a guess: its kind may still be dropped, and its gain decides which kind is next.
        The guess is that more kinds pay, since they take only threads that would be idle.
        """
        queue = self.queue
        if self.plan.jobs > 1 or not queue.start(trained.kind).by_kernels:
            return []
        keys, gains = queue.keys(trained, k + 1), [*self.gains, math.inf]
        kinds: list[FlowKind] = []
        while len(kinds) < queue.threads and (kind := self._next_kind(gains, kinds)):
            if not (self._in_time(kind) and queue.start(kind).by_kernels):
                break
            keys += queue.keys(queue.new(kind, len(kinds)))
            kinds.append(kind)
        return keys

    def _say(self, trained, more=""):
        """Print the line of a candidate."""
        self.progress.candidate(trained.name, self._mean(trained), trained.message + more)
