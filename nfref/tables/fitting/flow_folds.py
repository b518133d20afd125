"""The flows of one kind, one trained in each fold: their scores, and the candidate they make."""

import math
from dataclasses import dataclass, field, replace

import numpy as np

from nfref.runtime.annotations import Any, Array, Generator, Sequence
from nfref.tables.densities.pool import mean_and_error
from nfref.tables.fitting.candidates import Candidate, held_out_scores
from nfref.tables.fitting.flow_kinds import FlowKind
from nfref.tables.fitting.flow_training import fitted_flows
from nfref.tables.fitting.folds import Fold, UnitRows
from nfref.tables.fitting.plan import DoneFlow

LEAST_FOLDS = 3  # whose flows tell what the mean of several gains


@dataclass(eq=False)
class FlowFolds:
    """The trainings of a kind of flow so far, one a fold in the order of the folds.

    Attributes
    ----------
    name : str
    kind : FlowKind
    seeds : list of numpy.random.SeedSequence
        One a fold: a training runs the same wherever and whenever it runs.
    done : list of DoneFlow
    flows : list of pairs of FittedFlow
        As held-out rows score each flow, and as it is in the end.
    scores : (N,) array
        Log-likelihoods of the held-out rows of the folds that are done, NaN for other rows.
    last_scores : (N,) array or None
        The same after the last epoch of the only fold, if its best epoch is another.
    log_probs : list of (N,) arrays
        Log-likelihoods of all rows under the flows of each fold, of three folds or more.
    gains : (N,) array or None
        See :class:`~nfref.tables.fitting.candidates.Candidate`.
    """

    name: str
    kind: FlowKind
    seeds: list[Any]
    scores: Array
    done: list[DoneFlow] = field(default_factory=list)
    flows: list[Any] = field(default_factory=list)
    last_scores: Array | None = None
    log_probs: list[Array] = field(default_factory=list)
    gains: Array | None = None

    def rng(self, k: int) -> Generator:
        """Return a new generator of the training in fold k."""
        return np.random.default_rng(self.seeds[k])

    def score(self, folds: Sequence[Fold], rows: UnitRows) -> None:
        """Score the held-out rows of the trainings that have no scores yet."""
        for k in range(len(self.flows), len(self.done)):
            fold, done = folds[k], self.done[k]
            pair = fitted_flows(self.kind, fold.training, self.rng(k), done)
            if fold.of < LEAST_FOLDS:
                self.scores[fold.places] = held_out_scores(pair[0], fold.held_out)
            else:
                self.log_probs.append(held_out_scores(pair[0], rows))
                self.scores[fold.places] = self.log_probs[-1][fold.places]
            if fold.of == 1 and not (done.final is None or np.array_equal(done.vector, done.final)):
                self.last_scores = np.full_like(self.scores, np.nan)
                self.last_scores[fold.places] = held_out_scores(pair[1], fold.held_out)
            self.flows.append(pair)

    def find_gains(self, folds: Sequence[Fold]) -> None:
        """Estimate for each row what the mean of the flows gains over the one that scored it.

        The estimate is what the mean of the others gains over them. These were trained on the row,
        so they agree more than flows do about a new row, and the estimate is rather low.
        """
        if len(self.log_probs) < LEAST_FOLDS:
            return
        log_probs = np.stack(self.log_probs)
        self.gains = np.zeros(len(self.scores))
        for k, fold in enumerate(folds[: len(log_probs)]):
            others = np.delete(log_probs[:, fold.places], k, axis=0)
            single = np.mean(others, axis=0)
            mean = np.logaddexp.reduce(others, axis=0) - math.log(len(others))
            self.gains[fold.places] = np.where(np.isfinite(single), mean - single, 0.0)

    def mean(self, weight: Array | None) -> float:
        """Return the mean of the held-out scores for rows of a weight."""
        there = ~np.isnan(self.scores)
        return mean_and_error(self.scores[there], None if weight is None else weight[there])[0]

    @property
    def message(self) -> str:
        """A line about the end of the trainings."""
        done = self.done
        if len(done) == 1:
            return done[0].message
        epochs = [len(one.history["train"]) for one in done]
        least, most = min(epochs), max(epochs)
        many = f"{least}" if least == most else f"{least} to {most}"
        message = f"{len(done)} folds, {many} epochs"
        for stopped, how in (
            ("time", "stopped by the time budget"),
            ("interrupted", "interrupted"),
            ("non-finite", "stopped at a loss that is not finite"),
        ):
            count = sum(one.stopped == stopped for one in done)
            message += f", {count} {how}" if count else ""
        return message

    def candidate(self) -> Candidate:
        """Return the flows as one candidate."""
        found = Candidate(
            self.name,
            tuple(final for _, final in self.flows),
            self.scores,
            sum(one.seconds for one in self.done),
            self.message,
            _mean_history([one.history for one in self.done]),
            gains=self.gains,
        )
        if self.last_scores is None:
            return found
        last = replace(
            found, scores=self.last_scores, message=f"{found.message}, the last of which counts"
        )
        return replace(found, members=(self.flows[0][0],), last=last)


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
