"""The candidate of one kind of flow: the flows of all folds, and their scores."""

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from nfref.runtime import params as trees
from nfref.runtime.annotations import Array, Generator, Sequence
from nfref.tables.densities.pool import FittedFlow
from nfref.tables.fitting.candidates import Candidate, held_out_scores
from nfref.tables.fitting.flow_kinds import FlowKind
from nfref.tables.fitting.flow_training import first_flow
from nfref.tables.fitting.folds import Fold, UnitRows
from nfref.tables.fitting.trainings import Training

LEAST_FOLDS = 3  # whose flows tell what the mean of several gains


class TrainedFlow(NamedTuple):
    """A flow whose training on a fold ended.

    Attributes
    ----------
    training : Training
    best, final : FittedFlow
        The flow that held-out rows score, and the flow after training continued.
    log_prob : (N,) array
        Log-likelihoods of held-out rows by ``best``; of all rows with three folds or more.
    last : (M,) array or None
        Log-likelihoods of the held-out rows of the only fold by ``final``, if it is another flow.
    """

    training: Training
    best: FittedFlow
    final: FittedFlow
    log_prob: Array
    last: Array | None

    @classmethod
    def of(
        cls, training: Training, kind: FlowKind, fold: Fold, rows: UnitRows, rng: Generator
    ) -> "TrainedFlow":
        """Make the flow of a training again, from its generator, and score it."""
        density, params = first_flow(kind, fold.training, rng)
        start, unflatten = trees.flatten(trees.cast(params, training.vector.dtype))
        if start.shape != training.vector.shape:
            raise ValueError(
                f"resume: expected a flow of {start.size} parameters, got {training.vector.size}"
            )
        best, final = (
            FittedFlow(density, unflatten(own)) for own in (training.vector, training.final)
        )
        last = None
        if fold.of == 1 and not np.array_equal(training.vector, training.final):
            last = held_out_scores(final, fold.held_out)
        if fold.of >= LEAST_FOLDS:
            return cls(training, best, final, held_out_scores(best, rows), last)
        log_prob = np.full(len(rows), np.nan)
        log_prob[fold.places] = held_out_scores(best, fold.held_out)
        return cls(training, best, final, log_prob, last)


def flow_candidate(trained: Sequence[TrainedFlow], folds: Sequence[Fold]) -> Candidate:
    """Return the flows of the first folds, or of all, as one candidate: their mean."""
    trainings = [one.training for one in trained]
    scores = np.full(len(trained[0].log_prob), np.nan)
    for one, fold in zip(trained, folds):
        scores[fold.places] = one.log_prob[fold.places]
    found = Candidate(
        trainings[0].name,
        tuple(one.final for one in trained),
        scores,
        sum(one.seconds for one in trainings),
        _message(trainings),
        _mean_history([one.history for one in trainings]),
        gains=gains_of_mean([one.log_prob for one in trained], folds),
    )
    last = trained[0].last
    if last is None:
        return found
    of_last = np.full(len(scores), np.nan)
    of_last[folds[0].places] = last
    message = f"{found.message}, the last of which counts"
    other = replace(found, scores=of_last, message=message)
    return replace(found, members=(trained[0].best,), last=other)


def gains_of_mean(each: Sequence[Array], folds: Sequence[Fold]) -> Array | None:
    """Estimate for each row what the mean of the flows gains over the one that scored it, (N,).

    ``each`` has the log-likelihoods (N,) of all rows by the flow of each fold. The estimate is what
    the mean of the others gains over them. These were trained on the row, so they agree more than
    flows do about a new row, and the estimate is rather low. Fewer than three flows say nothing.
    """
    if len(each) < LEAST_FOLDS:
        return None
    log_probs = np.stack(each)
    gains = np.zeros(log_probs.shape[1])
    for k, fold in enumerate(folds[: len(each)]):
        others = np.delete(log_probs[:, fold.places], k, axis=0)
        single = np.mean(others, axis=0)
        mean = np.logaddexp.reduce(others, axis=0) - math.log(len(others))
        gains[fold.places] = np.where(np.isfinite(single), mean - single, 0.0)
    return gains


def _message(trainings):
    """Return a line about the end of the trainings."""
    if len(trainings) == 1:
        return trainings[0].message
    epochs = [len(one.history["train"]) for one in trainings]
    least, most = min(epochs), max(epochs)
    many = f"{least}" if least == most else f"{least} to {most}"
    message = f"{len(trainings)} folds, {many} epochs"
    for stopped, how in (
        ("time", "stopped by the time budget"),
        ("interrupted", "interrupted"),
        ("non-finite", "stopped at a loss that is not finite"),
    ):
        count = sum(one.stopped == stopped for one in trainings)
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
