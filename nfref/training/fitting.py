"""Maximum likelihood: Adam on minibatches, with a validation part that says when to stop."""

import math
import numbers
import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nfref.flows.statistics import adapt, in_training
from nfref.runtime import params as trees
from nfref.runtime.blocks import BLOCK, in_blocks
from nfref.runtime.checks import (as_context, as_rows, as_weight, check_count, check_finite_rows,
                                  check_positive, check_rng)
from nfref.training.adam import Adam, AdamState, running_average
from nfref.training.gradient import flat, loss_and_gradient, prepare, value_and_gradient
from nfref.training.loop import FitResult, check_finite, message, run_guarded


def fit(density, params, x, rng, *, validation=0.1, context=None, validation_context=None,
        sample_weight=None, validation_weight=None, epochs=200, batch_size=256, learning_rate=1e-3,
        schedule=None, clip_norm=5.0, patience=20, average=0.99, data_dependent_init=True,
        objective=None, progress=True, callback=None, resume=None, time_limit=None):
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
    x, held_out = _parts(density, Rows(x, context, sample_weight), validation,
                         validation_context, validation_weight, rng)
    check_count("epochs", epochs)
    check_count("batch_size", batch_size)
    if patience is not None:
        check_count("patience", patience)
    if not isinstance(average, numbers.Real) or not 0 <= average < 1:
        raise ValueError(f"average: expected a number in [0, 1), got {average!r}")
    if time_limit is not None:
        check_positive("time_limit", time_limit)
    began = time.perf_counter()
    batches = math.ceil(len(x.x) / batch_size)
    adam = Adam(learning_rate, schedule, clip_norm, steps=epochs * batches)
    vector, unflatten = flat(density._structure.checked(params, x.x.dtype))
    keeps_running = _learns(density, unflatten(vector), x, "batch")
    step = _step(density, unflatten, adam, objective, average, keeps_running, rng)
    evaluated = _evaluated(density, unflatten, vector, x)
    if resume is not None:
        _check_resume(resume, vector, held_out is not None, rng)
    if objective is None:
        prepare([(density, len(vector), x.x.dtype, min(len(x.x), batch_size),
                  0 if held_out is None else min(len(held_out.x), BLOCK))])
    passed = []                             # (train, validation) of each epoch
    best = [math.inf, None, vector]         # validation, epoch, parameters

    def validation_score(vector):
        return -mean_log_prob(density, evaluated(vector), *held_out)

    def begin():
        if resume is not None:
            rng.bit_generator.state = resume.rng
            passed.extend(zip(resume.history["train"],
                              resume.history.get("validation", resume.history["train"])))
            best[:] = resume.best_score, resume.best_epoch, resume.best
            return Progress(resume.vector, resume.averaged,
                            AdamState(resume.m, resume.v, resume.steps))
        start = vector
        if data_dependent_init:
            start = _data_dependent_init(density, unflatten(vector), x, rng)
        best[2] = start
        if held_out is not None:
            score = validation_score(start)
            best[0] = score if math.isfinite(score) else math.inf
        return Progress(start, start, adam.start(start))

    def rounds():
        now = begin()
        while True:
            since = len(passed) - (0 if best[1] is None else best[1] + 1)
            if patience is not None and passed and since >= patience:
                return "patience"
            if len(passed) >= epochs:
                return "epochs"
            if time_limit is not None and passed and time.perf_counter() - began > time_limit:
                return "time"
            now, train = _epoch(step, now, x, batches, rng)
            score = train
            shown = f"train {train:.3f}"
            if held_out is not None:
                score = validation_score(now.averaged)
                check_finite(score)
                shown += f", validation {score:.3f} nats"
            passed.append((train, score))
            if score < best[0]:
                best[:] = score, len(passed) - 1, now.averaged
            if callback is not None:
                callback(_state(now, passed, best, held_out is not None, rng, unflatten,
                                evaluated))
            yield shown

    stopped, cause = run_guarded(rounds(), epochs, "epoch", progress,
                                 0 if resume is None else len(resume.history["train"]))
    _, best_epoch, vector = best
    return FitResult(evaluated(vector), _history(passed, held_out is not None), best_epoch, stopped,
                     message(stopped, cause, "epoch", len(passed), best_epoch, patience))


# Going on -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class FitState:
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


def _state(now, passed, best, validated, rng, unflatten, evaluated):
    score, epoch, vector = best
    return FitState(now.vector, now.averaged, now.optimizer.m, now.optimizer.v,
                    now.optimizer.steps, vector, score, epoch, _history(passed, validated),
                    rng.bit_generator.state, unflatten, evaluated)


def _history(passed, validated):
    history = {"train": [train for train, _ in passed]}
    if validated:
        history["validation"] = [score for _, score in passed]
    return history


def _check_resume(state, vector, validated, rng):
    if not isinstance(state, FitState):
        raise TypeError(f"resume: expected a FitState, got {type(state).__name__}")
    if state.vector.shape != vector.shape or state.vector.dtype != vector.dtype:
        raise ValueError(f"resume: expected {vector.size} parameters in {vector.dtype}, "
                         f"got {state.vector.size} in {state.vector.dtype}")
    if ("validation" in state.history) != validated:
        raise ValueError("resume: expected validation rows exactly where the first fit had some")
    kind = type(rng.bit_generator).__name__
    if state.rng["bit_generator"] != kind:
        raise ValueError(f"rng: expected a generator of {state.rng['bit_generator']}, as in the "
                         f"first fit, got {kind}")


# Steps and epochs -------------------------------------------------------------------------


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


def _step(density, unflatten, adam, objective, average, keeps_running, rng):
    """The function (progress, rows, context, weight) -> (progress, loss) of one step."""
    training = in_training(density)

    def step(now, rows, context, weight):
        if objective is None:
            loss, gradient = loss_and_gradient(training, unflatten, now.vector, rows, context,
                                               weight)
        else:
            loss, gradient = value_and_gradient(
                lambda tree: objective(training, tree, rows, context, rng), unflatten, now.vector)
        check_finite(loss, gradient)
        vector, optimizer = adam.step(now.vector, gradient, now.optimizer)
        if keeps_running:
            vector = trees.flatten(adapt(density, unflatten(vector), rows, context))[0]
        averaged = running_average(now.averaged, vector, average, optimizer.steps)
        return Progress(vector, averaged, optimizer), float(loss)

    return step


def _epoch(step, now, x, batches, rng):
    """All rows once, in a new order: (progress, mean loss in nats per row)."""
    total, count = 0.0, len(x.x)
    for batch in np.array_split(rng.permutation(count), batches):
        now, loss = step(now, *x.at(batch))
        total += loss * len(batch)
    return now, total / count


def mean_log_prob(density, params, x, context=None, weight=None):
    """Mean log-likelihood in nats per row, computed in blocks of rows and summed in float64.

    ``weight`` (N,) says what each row counts.
    """
    log_prob = in_blocks(lambda *rows: density.log_prob(params, *rows), x, context)
    return float(np.average(log_prob.astype(np.float64), weights=weight))


def _data_dependent_init(density, params, x, rng):
    """The parameters as a vector, after data-dependent layers have seen some rows."""
    rows, given, _ = x.at(np.sort(rng.permutation(len(x.x))[:BLOCK]))
    return trees.flatten(adapt(density, params, rows, given, "start"))[0]


def _learns(density, params, x, stage):
    """Whether any layer learns from rows at this stage, found out with a single row."""
    row, given, _ = x.at(slice(1))
    return adapt(density, params, row, given, stage) is not params


def _evaluated(density, unflatten, start, x):
    """The function vector -> params that density is evaluated with.

    With the statistics of all training rows where layers evaluate with those; for any other
    flow it does nothing but ``unflatten``.
    """
    if not _learns(density, unflatten(start), x, "evaluation"):
        return unflatten
    return lambda vector: adapt(density, unflatten(vector), x.x, x.context, "evaluation")


# Rows -------------------------------------------------------------------------------------


class Rows(NamedTuple):
    """Rows (N, D) with their context (N, C) and weight (N,), each None where there is none."""

    x: np.ndarray
    context: np.ndarray = None
    weight: np.ndarray = None

    def at(self, places):
        """Some of the rows."""
        return Rows(*(None if array is None else array[places] for array in self))


def _parts(density, rows, validation, validation_context, validation_weight, rng):
    """Training and validation rows: checked, in the dtype of x; the second may be None."""
    rows = _checked_rows(density, ("x", "context", "sample_weight"), rows)
    if validation is None or np.ndim(validation) == 0:
        for name, given in (("validation_context", validation_context),
                            ("validation_weight", validation_weight)):
            if given is not None:
                raise ValueError(f"{name}: expected None unless validation is an array of rows, "
                                 f"got shape {np.shape(given)}")
    if validation is None:
        return _balanced(rows), None
    if np.ndim(validation):
        held_out = _checked_rows(density, ("validation", "validation_context",
                                           "validation_weight"),
                                 Rows(validation, validation_context, validation_weight))
        held_out = Rows(*(None if array is None else array.astype(rows.x.dtype, copy=False)
                          for array in held_out[:2]), held_out.weight)
        return _balanced(rows), held_out
    if not isinstance(validation, numbers.Real) or not 0 < validation < 1:
        raise ValueError("validation: expected a fraction in (0, 1), rows or None, "
                         f"got {validation!r}")
    count = max(1, round(validation * len(rows.x)))
    if count >= len(rows.x):
        raise ValueError(f"x: expected enough rows to hold out {validation} of them, "
                         f"got {len(rows.x)}")
    order = rng.permutation(len(rows.x))
    return _balanced(rows.at(np.sort(order[count:]))), rows.at(np.sort(order[:count]))


def _balanced(rows):
    """The rows with weights of mean 1, in their dtype: losses of batches average to that of all."""
    if rows.weight is None:
        return rows
    return rows._replace(weight=(rows.weight / np.mean(rows.weight)).astype(rows.x.dtype))


def _checked_rows(density, names, given):
    name, context_name, weight_name = names
    rows = as_rows(name, given.x, density.dim)
    if rows.dtype.kind == "c":
        raise TypeError(f"{name}: expected real numbers, got dtype {rows.dtype}")
    if not len(rows):
        raise ValueError(f"{name}: expected at least one row, got none")
    check_finite_rows(name, rows)
    try:
        context = as_context(given.context, density.context_dim, rows)
    except (TypeError, ValueError) as error:
        raise type(error)(str(error).replace("context", context_name, 1)) from None
    if context is not None:
        check_finite_rows(context_name, context)
    rows = Rows(rows, context, as_weight(weight_name, given.weight, len(rows)))
    return rows if rows.weight is None else rows.at(rows.weight > 0)
