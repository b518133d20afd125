"""Maximum likelihood: Adam on minibatches, with early stopping by held-out rows."""

import math
import numbers
import time
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from nfref.density import Density, check_density
from nfref.flows.data_dependent import adapt, in_training, keeps_statistics
from nfref.runtime import dispatch, interrupts
from nfref.runtime import params as trees
from nfref.runtime.annotations import Any, Array, Callable, Generator, Params
from nfref.runtime.autograd_internals import getval
from nfref.runtime.batching import BLOCK, in_blocks
from nfref.runtime.checks import check_count, check_positive, check_rng
from nfref.runtime.configuration import Checked
from nfref.training.adam import Adam, AdamState, decay_of, running_average
from nfref.training.fit_state import FitState, check_resume
from nfref.training.gradient import loss_and_gradient, value_and_gradient
from nfref.training.loop import FitResult, check_finite, check_has_any, message, run_guarded
from nfref.training.rows import Rows, training_and_validation


def fit(
    density: Density,
    params: Params,
    x: Array,
    rng: Generator,
    *,
    validation: float | Array | None = 0.1,
    context: Array | None = None,
    validation_context: Array | None = None,
    sample_weight: Array | None = None,
    validation_weight: Array | None = None,
    epochs: int = 200,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    schedule: str | None = None,
    clip_norm: float | None = 5.0,
    patience: int | None = 20,
    tolerance: float = 0.0,
    average: float = 0.99,
    data_dependent_init: bool = True,
    objective: Callable[..., Any] | None = None,
    progress: bool = True,
    callback: Callable[..., Any] | None = None,
    resume: FitState | None = None,
    time_limit: float | None = None,
) -> FitResult:
    """Fit a density to rows of data, by maximum likelihood unless you give another objective.

    Each epoch takes all training rows once, in a new order, in ceil(N / batch_size)
    batches with sizes that differ by at most one, so that no batch is a small remainder.
    After each epoch the validation rows are scored, with batch norm in evaluation mode. The
    result holds the parameters of the epoch with the best score. Batch norm with the statistics
    of the training set takes those of all training rows before every scoring and for the result.
    That costs about as much as scoring the training rows, and only for flows with such layers.
    All random numbers come from ``rng``: the same generator state gives the same bits.

    Parameters
    ----------
    density : Density
    params : nested dicts and lists of arrays
        The starting parameters, as made by ``density.init``. They are not changed.
    x : (N, D) array
        Its dtype is the dtype of the training: float32 trains in float32.
    rng : numpy.random.Generator
    validation : float, (M, D) array or None
        A fraction in (0, 1) of the rows of ``x``, chosen at random and held out; or the
        validation rows themselves; or None. With None the epoch with the best training loss
        counts as the best, a worse choice because of over-fitting.
    context : (N, C) array, optional
        Required exactly when the density has ``context_dim`` C > 0.
    validation_context : (M, C) array, optional
        Context of the validation rows, if they are an array.
    sample_weight : (N,) array, optional
        The weight of each row, at least 0 and not all 0. It enters the loss, which is then
        -sum w log p / sum w, and the score of held-out rows. Only ratios of weights matter. Rows
        of weight 0 are ignored. A whole weight w is equivalent to w copies of the row, as long as
        one batch takes all rows: otherwise copies fall into different batches. Statistics that
        layers take from rows (actnorm, batch norm) count every row once.
    validation_weight : (M,) array, optional
        Weights of the validation rows, if they are an array.
    epochs : int
        Largest number of epochs.
    batch_size : int
        Largest number of rows per step.
    learning_rate : float
        Learning rate of Adam.
    schedule : {None, "cosine"}
        "cosine" lowers the learning rate to zero over ``epochs`` epochs; None keeps it.
    clip_norm : float or None
        Gradients longer than this are scaled down to this length; None leaves them.
    patience : int or None
        Stop after this many epochs without a new best; None never does.
    tolerance : float
        Nats per row by which a score has to be better for ``patience`` to wait anew.
    average : float
        In [0, 1). A running average of the parameters of all steps scores the validation rows
        and becomes the result. The past has this weight at every step: 0.99 averages about the
        last hundred steps. That removes most of the noise of the batches (on white wine 0.1 to
        0.2 nats). Running statistics of batch norm are averaged, too. 0 takes the parameters
        without an average.
    data_dependent_init : bool
        Initialise data-dependent layers (actnorm, batch norm) from up to 4,096 random training
        rows before the first step. Set it to False if ``params`` come from an earlier fit.
    objective : callable, optional
        (density, params, x, context, rng) -> scalar, written with ``autograd.numpy``: the
        loss of a batch instead of its negative log-likelihood. ``history["train"]`` is then
        in its units. The validation rows are still scored by their log-likelihood.
    progress : bool
        Show a bar on standard error with the nats per row of both parts.
    callback : callable, optional
        Called with the :class:`FitState` after every epoch. Ctrl-C in it ends the fit as
        elsewhere; other errors pass through.
    resume : FitState, optional
        Continue from this state instead of from ``params``, which then only give the structure.
        With the same arguments, and a generator in the state of the first call, the bits are
        those of a fit without interruption. ``epochs`` counts from the first call; with a
        schedule it has to stay the same for that.
    time_limit : float, optional
        Stop after the first epoch that ends later than this many seconds after the call. The
        result then depends on the speed of the machine.

    Returns
    -------
    FitResult
        ``history["train"]`` and ``history["validation"]`` hold negative mean
        log-likelihoods in nats per row, one value per epoch: of the training rows during the
        epoch, and of the validation rows after it. Without validation the second list is
        missing. With validation rows the starting parameters are scored, too: if no epoch scores
        better, they are the result, and ``best_epoch`` is None. Ctrl-C ends the fit and returns
        the best so far. A loss or gradient that is not finite, or an integration that fails, also
        ends it, with the epoch in the message.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong shape, type or value; if rows hold NaN or infinity.
    """
    check_density("density", density)
    check_rng(rng)
    if objective is not None and sample_weight is not None:
        raise ValueError("sample_weight: expected None with an objective of your own, got weights")
    whole = Rows(x, context, sample_weight)
    rows, held_out = training_and_validation(
        density, whole, validation, validation_context, validation_weight, rng
    )
    settings = Settings(
        epochs, batch_size, average, objective, data_dependent_init, patience, tolerance, time_limit
    )
    batches = _batches(len(rows.x), batch_size)
    adam = Adam(learning_rate, schedule, clip_norm, steps=epochs * len(batches))
    run = _Run(density, params, rows, held_out, settings, batches, adam, rng)
    if resume is not None:
        check_resume(resume, run.start, held_out is not None, rng)
    done = 0 if resume is None else len(resume.history["train"])
    stopped, cause = run_guarded(run.epochs(resume, callback), epochs, "epoch", progress, done)
    best = run.best
    said = message(stopped, cause, "epoch", len(run.passed), best.epoch, patience)
    return FitResult(run.evaluated(best.vector), run.history(), best.epoch, stopped, said)


def _batches(rows, size):
    """Return where the batches of an epoch stand in the order of its rows, as slices."""
    parts = np.array_split(np.arange(rows), math.ceil(rows / size))
    return [slice(int(part[0]), int(part[-1]) + 1) for part in parts]


def check_not_negative(name: str, value: Any) -> float:
    """Return a finite number, which must be at least 0."""
    return 0.0 if value == 0 else check_positive(name, value)


def check_average(name: str, value: Any) -> Any:
    """Return a number, which must be in [0, 1)."""
    if not isinstance(value, numbers.Real) or not 0 <= float(value) < 1:
        raise ValueError(f"{name}: expected a number in [0, 1), got {value!r}")
    return value


@dataclass(frozen=True)
class Settings(Checked):
    """The settings of a fit and of its steps; see :func:`fit`."""

    epochs: int
    batch_size: int
    average: float
    objective: Callable[..., Any] | None
    data_dependent_init: bool
    patience: int | None = None
    tolerance: float = 0.0
    time_limit: float | None = None

    _converters = {
        "epochs": check_count,
        "batch_size": check_count,
        "average": check_average,
        "patience": check_count,
        "tolerance": check_not_negative,
        "time_limit": check_positive,
    }


@dataclass(frozen=True)
class Progress:
    """The current state of a fit.

    Attributes
    ----------
    vector : (P,) array
        The parameters.
    averaged : (P,) array
        Their running average over the steps so far.
    optimizer : AdamState
    """

    vector: Array
    averaged: Array
    optimizer: AdamState

    @property
    def size(self) -> int:
        """The number of parameters."""
        return len(self.vector)


class Best(NamedTuple):
    """The best parameters so far, as a vector, with their score in nats per row and epoch."""

    score: float
    epoch: int | None
    vector: Array


class _Run:
    """A running fit: its inputs and its current state.

    Attributes
    ----------
    start : (P,) array
        The parameters at the call.
    now : Progress
    passed : list of (train, validation)
        Scores of each epoch.
    best : Best
        Replaced in one assignment, so that it is consistent after Ctrl-C.
    training : Density
        The density in training mode.
    keeps_running : bool
        Whether a layer updates its running statistics after every step.
    keeps_whole : bool
        Whether a layer evaluates with the statistics of all training rows.
    has_twins : bool
        Whether kernels may make the steps and the scores.
    """

    now: Progress

    def __init__(self, density, params, rows, held_out, settings, batches, adam, rng):
        self.began = time.perf_counter()
        self.density, self.rows, self.held_out = density, rows, held_out
        self.settings, self.batches, self.adam, self.rng = settings, batches, adam, rng
        params = density._structure.checked(params, rows.x.dtype)
        self.start, self.unflatten = trees.flatten(params)
        check_has_any(self.start)
        self.training = in_training(density)
        self.keeps_running, self.keeps_whole = map(self._learns, ("batch", "evaluation"))
        self.has_twins = settings.objective is None and not (self.keeps_running or self.keeps_whole)
        self.passed, self.best = [], Best(math.inf, None, self.start)

    def epochs(self, resume, callback):
        """Train epoch by epoch: yield the text of the progress bar, return the reason to stop."""
        self._begin(resume)
        while not (ended := self._ended()):
            train = self._epoch()
            score, shown = train, f"train {train:.3f}"
            if self.held_out is not None:
                score = self._score(self.now)
                check_finite(score)
                shown += f", validation {score:.3f} nats"
            self.passed.append((train, score))
            if score < self.best.score:
                self.best = Best(score, len(self.passed) - 1, self.now.averaged)
            if callback is not None:
                callback(self.state())
            yield shown
        return ended

    def _begin(self, resume):
        if resume is not None:
            self.rng.bit_generator.state = resume.rng
            train = resume.history["train"]
            self.passed.extend(zip(train, resume.history.get("validation", train)))
            self.best = Best(resume.best_score, resume.best_epoch, resume.best)
            self.now = Progress(
                resume.vector, resume.averaged, AdamState(resume.m, resume.v, resume.steps)
            )
            return
        start = self.start
        if self.settings.data_dependent_init:
            some = np.sort(self.rng.permutation(len(self.rows.x))[:BLOCK])
            start = self._adapted(start, self.rows.at(some), "start")
        self.best = Best(math.inf, None, start)
        self.now = Progress(start, start, self.adam.start(start))
        if self.held_out is not None:
            score = self._score(self.now)
            self.best = Best(score if math.isfinite(score) else math.inf, None, start)

    def _ended(self):
        """Return the reason why no further epoch follows; None if one does."""
        done, patience, limit = len(self.passed), self.settings.patience, self.settings.time_limit
        if done >= self.settings.epochs:
            return "epochs"
        if limit is not None and done and time.perf_counter() - self.began > limit:
            return "time"
        since = done - self._epochs_to_progress()
        if patience is not None and done and since >= patience:
            return "patience"
        return None

    def _epochs_to_progress(self):
        """Return how many epochs led to the last one that was better by the tolerance."""
        if not self.settings.tolerance:
            return 0 if self.best.epoch is None else self.best.epoch + 1
        reference, last = math.inf, 0
        for count, (_, score) in enumerate(self.passed, 1):
            if score < reference - self.settings.tolerance:
                reference, last = score, count
        return last

    def _epoch(self):
        """Take all rows once, in a new order; return the mean loss in nats per row."""
        order = self.rng.permutation(len(self.rows.x))
        batches = [order[batch] for batch in self.batches]
        losses: list[float] = []
        while left := batches[len(losses) :]:

            def step(*arguments, batch=left[0]):
                return self._step(self.rows.at(batch))

            if not self.has_twins:
                self.now, more = step()
            else:  # the twin makes steps as long as losses are finite
                given = self.training, self.unflatten, self.now, self.rows, left, self.adam
                decay = partial(decay_of, self.settings.average)
                self.now, more = dispatch.run("steps", step, *given, decay)
            losses += more
        return sum(loss * len(batch) for loss, batch in zip(losses, batches)) / len(order)

    def _step(self, batch):
        """Return the progress after one step of Adam, and the loss of the batch in a list."""
        now, objective = self.now, self.settings.objective
        if interrupts.came():  # in the thread of a fit of a table, which no signal reaches
            raise KeyboardInterrupt
        if objective is None:
            loss, gradient = loss_and_gradient(self.training, self.unflatten, now.vector, *batch)
        else:
            loss, gradient = value_and_gradient(
                lambda tree: _as_loss(
                    objective(self.training, tree, batch.x, batch.context, self.rng)
                ),
                self.unflatten,
                now.vector,
            )
        check_finite(loss, gradient)
        vector, optimizer = self.adam.step(now.vector, gradient, now.optimizer)
        if self.keeps_running:
            vector = self._adapted(vector, batch, "batch")
        averaged = running_average(now.averaged, vector, self.settings.average, optimizer.steps)
        return Progress(vector, averaged, optimizer), [float(loss)]

    def _score(self, now):
        """Return the negative mean log-likelihood of the validation rows."""

        def formula(*arguments):
            with dispatch.many_calls():
                return mean_log_prob(self.density, self.evaluated(now.averaged), *self.held_out)

        if not self.has_twins:
            return -formula()
        return -dispatch.run(
            "mean_log_prob", formula, self.density, self.unflatten, now, self.held_out
        )

    def evaluated(self, vector):
        """Return the parameters for evaluation.

        Layers that evaluate with the statistics of all training rows get these.
        """
        params = self.unflatten(vector)
        if self.keeps_whole:
            return adapt(self.density, params, self.rows.x, self.rows.context, "evaluation")
        return params

    def _adapted(self, vector, rows, stage):
        """Return the parameters after layers have learned from rows, at this stage."""
        if not keeps_statistics(self.density.flow):
            return vector
        params = self.unflatten(vector)
        found = adapt(self.density, params, rows.x, rows.context, stage)
        return vector if found is params else trees.flatten(found)[0]

    def _learns(self, stage):
        """Return whether any layer learns from rows at this stage, by trying a single row."""
        return self._adapted(self.start, self.rows.at(slice(1)), stage) is not self.start

    def history(self, epochs=None):
        """Return the history, as in :class:`FitResult`, of all epochs or the first ones."""
        train, scores = zip(*self.passed[:epochs]) if self.passed else ((), ())
        history = {"train": list(train)}
        if self.held_out is not None:
            history["validation"] = list(scores)
        return history

    def state(self):
        """Return the :class:`FitState` after the last epoch."""
        now, best, epochs = self.now, self.best, len(self.passed)
        rng = self.rng.bit_generator.state

        def made():
            adam = now.optimizer
            of_now = now.vector, now.averaged, adam.m, adam.v, adam.steps
            of_best = best.vector, best.score, best.epoch
            history = self.history(epochs)
            return FitState(*of_now, *of_best, history, rng, self.unflatten, self.evaluated)

        return FitState.later(made)


def mean_log_prob(
    density: Density,
    params: Params,
    x: Array,
    context: Array | None = None,
    weight: Array | None = None,
) -> float:
    """Return the mean log-likelihood in nats per row, in blocks of rows, summed in float64.

    ``weight`` (N,) weights each row.
    """
    log_prob = in_blocks(lambda *rows: density.log_prob(params, *rows), x, context)
    return float(np.average(log_prob.astype(np.float64), weights=weight))


def _as_loss(value):
    """Return the value of an objective; autograd's own errors do not name the objective."""
    number = getval(value)
    if not isinstance(number, (float, np.floating, np.ndarray)):
        raise TypeError(
            "objective: expected a number that autograd.numpy computes from params, "
            f"got {type(number).__name__}"
        )
    if np.size(number) != 1:
        raise ValueError(f"objective: expected one number, got shape {np.shape(number)}")
    return value
