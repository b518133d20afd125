"""Maximum likelihood: Adam on minibatches, with a validation part that says when to stop."""

import math
import numbers
import time
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from nfref.density import Density
from nfref.flows.data_dependent import adapt, in_training
from nfref.runtime import dispatch
from nfref.runtime import params as trees
from nfref.runtime.annotations import Any, Array, Callable, Generator, Params
from nfref.runtime.batching import BLOCK, in_blocks
from nfref.runtime.checks import check_count, check_positive, check_rng, require
from nfref.runtime.configuration import Checked, Configuration
from nfref.training.adam import Adam, AdamState, decay_of, running_average
from nfref.training.gradient import loss_and_gradient, prepare, value_and_gradient
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
    average: float = 0.99,
    data_dependent_init: bool = True,
    objective: Callable[..., Any] | None = None,
    progress: bool = True,
    callback: Callable[..., Any] | None = None,
    resume: "FitState | None" = None,
    time_limit: float | None = None,
) -> FitResult:
    """Fit a density to rows of data, by maximum likelihood unless another objective is given.

    Each epoch takes all training rows once, in a new order, in ceil(N / batch_size)
    batches of sizes that differ by at most one, so that no batch is a small remainder.
    After each epoch the validation rows are scored, with batch norm in evaluation mode; the
    parameters of the epoch that scored best are returned. Batch norm that evaluates with the
    statistics of the training set gets those of all training rows before every scoring and for
    what is returned, which costs about as much as scoring the training rows; no other flow
    pays for it. Everything random comes from ``rng``: the same generator state gives the
    same bits.

    Parameters
    ----------
    density : Density
    params : nested dicts and lists of arrays
        Where to start, as made by ``density.init``. They are not changed.
    x : (N, D) array
        Its dtype is the dtype of the training: float32 trains in float32.
    rng : numpy.random.Generator
    validation : float, (M, D) array or None
        A fraction in (0, 1) of the rows of ``x``, drawn at random and held out; or the
        validation rows themselves; or None, and the epoch with the best training loss
        counts as the best, which over-fitting makes a worse choice.
    context : (N, C) array, optional
        Required exactly when the density has ``context_dim`` C > 0.
    validation_context : (M, C) array, optional
        The same for validation rows that are given as an array.
    sample_weight : (N,) array, optional
        What each row counts, 0 or more and not all 0: in the loss, which is then
        -sum w log p / sum w, and in the score of those that are held out. Only their ratios
        matter. Rows of weight 0 are as good as not there, and a whole weight w counts as
        w copies of the row do, as long as one batch takes all rows: otherwise copies fall into
        different batches. Statistics that layers take of rows (actnorm, batch norm) count every
        row once.
    validation_weight : (M,) array, optional
        The same for validation rows that are given as an array.
    epochs : int
        At most so many.
    batch_size : int
        At most so many rows a step.
    learning_rate : float
        Of Adam.
    schedule : {None, "cosine"}
        "cosine" lowers the learning rate to zero over ``epochs`` epochs; None keeps it.
    clip_norm : float or None
        Gradients longer than this are scaled down to this length; None leaves them.
    patience : int or None
        Stop after this many epochs without a new best; None never does.
    average : float
        In [0, 1). The validation rows are scored with, and the result holds, a running
        average of the parameters of all steps, in which the past has this weight at every
        step: with 0.99, the last hundred steps or so. That takes out most of the noise of
        the batches (on white wine 0.1 to 0.2 nats). Running statistics that batch norm keeps
        are averaged along. 0 takes the parameters as they are.
    data_dependent_init : bool
        Let layers that set themselves by the data (actnorm, batch norm) look at up to
        4,096 random training rows before the first step. False when ``params`` come from
        an earlier fit.
    objective : callable, optional
        (density, params, x, context, rng) -> scalar, written with ``autograd.numpy``: the
        loss of a batch instead of its negative log-likelihood. ``history["train"]`` is then
        in its units; the validation rows are scored by their log-likelihood all the same.
    progress : bool
        Show a bar on standard error with the nats per row of both parts.
    callback : callable, optional
        Called with the :class:`FitState` after every epoch. Ctrl-C in it ends the fit like
        anywhere else; other errors pass through.
    resume : FitState, optional
        Go on from there instead of from ``params``, which then only give the structure. With
        the same arguments and a generator in the state it had at the first call, the bits are
        those of a fit that was never interrupted. ``epochs`` counts from the first call;
        with a schedule it has to stay the same for that.
    time_limit : float, optional
        Stop after the first epoch that ends later than this many seconds after the call. What
        comes back then depends on how fast the machine is.

    Returns
    -------
    FitResult
        ``history["train"]`` and ``history["validation"]`` hold negative mean
        log-likelihoods in nats per row, one value an epoch: of the training rows as the
        epoch passed over them, and of the validation rows after it. Without validation the
        second list is missing. The start competes for the best where there are validation
        rows: if no epoch scores better, it is what comes back, and ``best_epoch`` is None.
        Ctrl-C ends the fit and returns the best so far. A loss or gradient that is not finite,
        or an integration that fails, ends it too, with the epoch in the message.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit; if rows hold NaN or infinity.
    """
    check_rng(rng)
    if objective is not None and sample_weight is not None:
        raise ValueError("sample_weight: expected None with an objective of your own, got weights")
    rows, held_out = training_and_validation(
        density,
        Rows(x, context, sample_weight),
        validation,
        validation_context,
        validation_weight,
        rng,
    )
    settings = Settings(
        epochs, batch_size, average, objective, data_dependent_init, patience, time_limit
    )
    batches = math.ceil(len(rows.x) / batch_size)
    adam = Adam(learning_rate, schedule, clip_norm, steps=epochs * batches)
    run = _Run(density, params, rows, held_out, settings, adam, rng)
    if resume is not None:
        _check_resume(resume, run.start, held_out is not None, rng)
    if objective is None:  # steps in one call score by themselves; who fits scores afterwards
        prepare(
            [
                (
                    density,
                    run.start,
                    run.unflatten,
                    math.ceil(len(rows.x) / batches),
                    0 if held_out is None else min(len(held_out.x), BLOCK),
                )
            ]
        )
    stopped, cause = run_guarded(
        run.epochs(resume, callback),
        epochs,
        "epoch",
        progress,
        0 if resume is None else len(resume.history["train"]),
    )
    best = run.best
    return FitResult(
        run.evaluated(best.vector),
        run.history(),
        best.epoch,
        stopped,
        message(stopped, cause, "epoch", len(run.passed), best.epoch, patience),
    )


def check_average(name, value):
    """A number in [0, 1)."""
    if not isinstance(value, numbers.Real) or not 0 <= value < 1:
        raise ValueError(f"{name}: expected a number in [0, 1), got {value!r}")
    return value


@dataclass(frozen=True)
class Settings(Checked):
    """How long a fit goes on, and what a step of it is; as for :func:`fit`."""

    epochs: int
    batch_size: int
    average: float
    objective: object
    data_dependent_init: bool
    patience: int | None = None
    time_limit: float | None = None

    _converters = {
        "epochs": check_count,
        "batch_size": check_count,
        "average": check_average,
        "patience": check_count,
        "time_limit": check_positive,
    }


@dataclass(frozen=True)
class Progress:
    """Where a fit stands.

    Attributes
    ----------
    vector : (P,) array
        The parameters.
    averaged : (P,) array
        Their running average over the steps so far.
    optimizer : AdamState
    """

    vector: np.ndarray
    averaged: np.ndarray
    optimizer: AdamState

    @property
    def size(self):
        """How many parameters there are."""
        return len(self.vector)


class Best(NamedTuple):
    """The best parameters so far, as a vector: their score in nats per row, and the epoch."""

    score: float
    epoch: int
    vector: np.ndarray


class _Run:
    """A fit on its way: what it works with, and where it stands.

    Attributes
    ----------
    start : (P,) array
        The parameters that it was called with.
    now : Progress
    passed : list of (train, validation)
        Scores of each epoch.
    best : Best
        Replaced in one piece, so that Ctrl-C finds it whole.
    """

    def __init__(self, density, params, rows, held_out, settings, adam, rng):
        self.began = time.perf_counter()
        self.density, self.rows, self.held_out = density, rows, held_out
        self.settings, self.adam, self.rng = settings, adam, rng
        params = density._structure.checked(params, rows.x.dtype)
        self.start, self.unflatten = trees.flatten(params)
        check_has_any(self.start)
        self.training = in_training(density)
        self.keeps_running, self.keeps_whole = map(self._learns, ("batch", "evaluation"))
        self.has_twins = settings.objective is None and not (self.keeps_running or self.keeps_whole)
        self.now, self.passed, self.best = None, [], Best(math.inf, None, self.start)

    def epochs(self, resume, callback):
        """Train epoch by epoch: yields what the bar shows, returns why it ended."""
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
            self.passed.extend(
                zip(
                    resume.history["train"],
                    resume.history.get("validation", resume.history["train"]),
                )
            )
            self.best = Best(resume.best_score, resume.best_epoch, resume.best)
            self.now = Progress(
                resume.vector, resume.averaged, AdamState(resume.m, resume.v, resume.steps)
            )
            return
        start = self.start
        if self.settings.data_dependent_init:
            start = self._looked_at_rows(start)
        self.best = Best(math.inf, None, start)
        self.now = Progress(start, start, self.adam.start(start))
        if self.held_out is not None:
            score = self._score(self.now)
            self.best = Best(score if math.isfinite(score) else math.inf, None, start)

    def _ended(self):
        """Why no further epoch follows; None where one does."""
        done, patience, limit = len(self.passed), self.settings.patience, self.settings.time_limit
        if done >= self.settings.epochs:
            return "epochs"
        if limit is not None and done and time.perf_counter() - self.began > limit:
            return "time"
        since = done - (0 if self.best.epoch is None else self.best.epoch + 1)
        if patience is not None and done and since >= patience:
            return "patience"
        return None

    def _epoch(self):
        """All rows once, in a new order; the mean loss in nats per row."""
        count, losses = len(self.rows.x), []
        batches = np.array_split(
            self.rng.permutation(count), math.ceil(count / self.settings.batch_size)
        )
        while left := batches[len(losses) :]:

            def step(*arguments, batch=left[0]):
                return self._step(self.rows.at(batch))

            if not self.has_twins:
                self.now, more = step()
            else:  # as many as have finite losses
                self.now, more = dispatch.run(
                    "steps",
                    step,
                    self.training,
                    self.unflatten,
                    self.now,
                    self.rows,
                    left,
                    self.adam,
                    partial(decay_of, self.settings.average),
                )
            losses += more
        return sum(loss * len(batch) for loss, batch in zip(losses, batches)) / count

    def _step(self, batch):
        """Where one step of Adam leads, and the loss of the batch in a list."""
        now, objective = self.now, self.settings.objective
        if objective is None:
            loss, gradient = loss_and_gradient(self.training, self.unflatten, now.vector, *batch)
        else:
            loss, gradient = value_and_gradient(
                lambda tree: objective(self.training, tree, batch.x, batch.context, self.rng),
                self.unflatten,
                now.vector,
            )
        check_finite(loss, gradient)
        vector, optimizer = self.adam.step(now.vector, gradient, now.optimizer)
        if self.keeps_running:
            vector = trees.flatten(
                adapt(self.density, self.unflatten(vector), batch.x, batch.context)
            )[0]
        averaged = running_average(now.averaged, vector, self.settings.average, optimizer.steps)
        return Progress(vector, averaged, optimizer), [float(loss)]

    def _score(self, now):
        """Negative mean log-likelihood of the validation rows."""

        def formula(*arguments):
            return mean_log_prob(self.density, self.evaluated(now.averaged), *self.held_out)

        with dispatch.many_calls():
            if not self.has_twins:
                return -formula()
            return -dispatch.run(
                "mean_log_prob", formula, self.density, self.unflatten, now, self.held_out
            )

    def evaluated(self, vector):
        """The parameters that the density is evaluated with.

        With the statistics of all training rows where layers evaluate with those.
        """
        params = self.unflatten(vector)
        if self.keeps_whole:
            return adapt(self.density, params, self.rows.x, self.rows.context, "evaluation")
        return params

    def _looked_at_rows(self, vector):
        """The parameters after layers that set themselves by the data have seen some rows."""
        some = self.rows.at(np.sort(self.rng.permutation(len(self.rows.x))[:BLOCK]))
        return trees.flatten(
            adapt(self.density, self.unflatten(vector), some.x, some.context, "start")
        )[0]

    def _learns(self, stage):
        """Whether any layer learns from rows at this stage, found out with a single row."""
        params, row = self.unflatten(self.start), self.rows.at(slice(1))
        return adapt(self.density, params, row.x, row.context, stage) is not params

    def history(self):
        """As in :class:`FitResult`."""
        history = {"train": [train for train, _ in self.passed]}
        if self.held_out is not None:
            history["validation"] = [score for _, score in self.passed]
        return history

    def state(self):
        """The :class:`FitState` after the last epoch."""
        now, best, adam = self.now, self.best, self.now.optimizer
        return FitState(
            now.vector,
            now.averaged,
            adam.m,
            adam.v,
            adam.steps,
            best.vector,
            best.score,
            best.epoch,
            self.history(),
            self.rng.bit_generator.state,
            self.unflatten,
            self.evaluated,
        )


def mean_log_prob(density, params, x, context=None, weight=None):
    """Mean log-likelihood in nats per row, computed in blocks of rows and summed in float64.

    ``weight`` (N,) says what each row counts.
    """
    log_prob = in_blocks(lambda *rows: density.log_prob(params, *rows), x, context)
    return float(np.average(log_prob.astype(np.float64), weights=weight))


# Going on -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class FitState(Configuration):
    """Where a fit stands after an epoch: all that it takes to go on, to the same bits.

    Attributes
    ----------
    vector, averaged : (P,) array
        The parameters, and their running average, which is what is scored.
    m, v : (P,) array
        Adam's moments after ``steps`` steps.
    steps : int
    best : (P,) array
        The best parameters so far, of epoch ``best_epoch`` (None: the start), with
        ``best_score`` nats per row.
    best_score : float
    best_epoch : int or None
    history : dict of list of float
        As in :class:`FitResult`.
    rng : dict
        The state of the generator.
    unflatten, evaluated : callable or None
        From a vector to parameters, as they are and as they are scored: the second sets the
        statistics of batch norm that evaluates with those of the training set. None in a state
        that comes from a file.
    """

    vector: np.ndarray
    averaged: np.ndarray
    m: np.ndarray
    v: np.ndarray
    steps: int
    best: np.ndarray
    best_score: float
    best_epoch: int
    history: dict
    rng: dict
    unflatten: object = None
    evaluated: object = None

    @property
    def epoch(self):
        """How many epochs are done."""
        return len(self.history["train"])

    @property
    def params(self):
        """The parameters as they are, nested.

        Batch norm that evaluates with the statistics of the training set has stale ones here:
        training does not use them.
        """
        return self.unflatten(self.vector)

    @property
    def best_params(self):
        """The best parameters so far, nested: what a fit that ended here would return.

        With batch norm that evaluates with the statistics of the training set, each access costs
        a pass over the training rows.
        """
        return self.evaluated(self.best)

    def _check(self):
        vectors = (self.vector, self.averaged, self.m, self.v, self.best)
        require(
            len({(one.shape, one.dtype) for one in vectors}) == 1
            and self.vector.ndim == 1
            and self.vector.dtype.kind == "f",
            "vector: expected vectors of one length and dtype, got others",
        )
        np.random.default_rng(0).bit_generator.state = self.rng
        passed = [[float(value) for value in values] for values in self.history.values()]
        require(
            {"train"} <= set(self.history) <= {"train", "validation"}
            and len({len(values) for values in passed}) == 1
            and type(self.steps) is int
            and not math.isnan(self.best_score)
            and (self.best_epoch is None or 0 <= int(self.best_epoch) < len(passed[0])),
            "history: expected numbers that fit each other, got others",
        )


def _check_resume(state, vector, validated, rng):
    if not isinstance(state, FitState):
        raise TypeError(f"resume: expected a FitState, got {type(state).__name__}")
    if state.vector.shape != vector.shape or state.vector.dtype != vector.dtype:
        raise ValueError(
            f"resume: expected {vector.size} parameters in {vector.dtype}, "
            f"got {state.vector.size} in {state.vector.dtype}"
        )
    if ("validation" in state.history) != validated:
        raise ValueError("resume: expected validation rows exactly where the first fit had some")
    kind = type(rng.bit_generator).__name__
    if state.rng["bit_generator"] != kind:
        raise ValueError(
            f"rng: expected a generator of {state.rng['bit_generator']}, as in the "
            f"first fit, got {kind}"
        )
