"""Fitting: Adam on minibatches, with a validation part that says when to stop."""

import math
import numbers
from dataclasses import dataclass

import numpy as np

from nfref import params as trees
from nfref.checks import as_context, as_rows, check_count, check_finite_rows, check_rng
from nfref.objectives.divergences import reverse_kl
from nfref.training.adam import Adam, running_average
from nfref.training.gradient import flat, loss_and_gradient, value_and_gradient

ROWS_AT_ONCE = 4096     # rows scored, or looked at before training, in one call


@dataclass(frozen=True)
class FitResult:
    """What a fit found. Epochs and steps are counted from 0, as indices into ``history``.

    Attributes
    ----------
    params : nested dicts and lists of arrays
        The best parameters, in the dtype of the training.
    history : dict of list of float
        Values in nats per row; see the function that fitted.
    best_epoch : int or None
        The epoch that ``params`` come from; None where none was completed and ``params``
        are those the fit started from.
    stopped : {"epochs", "patience", "interrupted", "non-finite"}
        Why it ended.
    message : str
        The same in one line for people.
    """

    params: object
    history: dict
    best_epoch: int
    stopped: str
    message: str


def fit(density, params, x, rng, *, validation=0.1, context=None, validation_context=None,
        epochs=200, batch_size=256, learning_rate=1e-3, schedule=None, clip_norm=5.0,
        patience=20, average=0.99, look_first=True, objective=None,
        progress=True):
    """Fit a density to rows of data, by maximum likelihood unless another objective is given.

    Each epoch takes all training rows once, in a new order, in ceil(N / batch_size)
    batches of sizes that differ by at most one, so that no batch is a small remainder.
    After each epoch the validation rows are scored, with batch norm in evaluation mode; the
    parameters of the epoch that scored best are returned. Everything random comes from
    ``rng``: the same generator state gives the same bits.

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
        the batches (on white wine 0.1 to 0.2 nats). Statistics that batch norm keeps are
        averaged along. 0 takes the parameters as they are.
    look_first : bool
        Let layers that set themselves by the data (actnorm, batch norm) look at up to
        4,096 random training rows before the first step. False when ``params`` come from
        an earlier fit.
    objective : callable, optional
        (density, params, x, context, rng) -> scalar, written with ``autograd.numpy``: the
        loss of a batch instead of its negative log-likelihood. ``history["train"]`` is then
        in its units; the validation rows are scored by their log-likelihood all the same.
    progress : bool
        Show a bar on standard error with the nats per row of both parts.

    Returns
    -------
    FitResult
        ``history["train"]`` and ``history["validation"]`` hold negative mean
        log-likelihoods in nats per row, one value an epoch: of the training rows as the
        epoch passed over them, and of the validation rows after it. Without validation the
        second list is missing. Ctrl-C ends the fit and returns the best so far. A loss or
        gradient that is not finite ends it too, with the epoch in the message.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit; if rows hold NaN or infinity.
    """
    check_rng(rng)
    x, context, held_out, held_out_context = _parts(density, x, context, validation,
                                                    validation_context, rng)
    check_count("epochs", epochs)
    check_count("batch_size", batch_size)
    if patience is not None:
        check_count("patience", patience)
    if not isinstance(average, numbers.Real) or not 0 <= average < 1:
        raise ValueError(f"average: expected a number in [0, 1), got {average!r}")
    batches = math.ceil(len(x) / batch_size)
    adam = Adam(learning_rate, schedule, clip_norm, steps=epochs * batches)
    vector, unflatten = flat(trees.cast(params, x.dtype))

    training = density.training()
    keeps_statistics = training is not density
    state = adam.start(vector)
    passed = []                         # (train, validation) of each epoch
    best = math.inf, None, vector       # validation, epoch, parameters
    stopped, cause = "epochs", ""
    try:
        # Overflow shows in the loss, which is looked at; a warning would say it twice.
        with _bar(epochs, "epoch", progress) as bar, np.errstate(all="ignore"):
            if look_first:
                vector = _look_first(density, unflatten(vector), x, context, rng)
                best = math.inf, None, vector
            averaged = vector
            for epoch in range(epochs):
                total = 0.0
                for batch in np.array_split(rng.permutation(len(x)), batches):
                    rows, given = x[batch], None if context is None else context[batch]
                    if objective is None:
                        loss, gradient = loss_and_gradient(training, unflatten, vector, rows, given)
                    else:
                        loss, gradient = value_and_gradient(
                            lambda tree: objective(training, tree, rows, given, rng),
                            unflatten, vector)
                    _check_finite(loss, gradient)
                    vector, state = adam.step(vector, gradient, state)
                    if keeps_statistics:
                        adapted = density.adapt(unflatten(vector), rows, given)
                        vector = trees.flatten(adapted)[0]
                    averaged = running_average(averaged, vector, average, state.steps)
                    total += float(loss) * len(batch)
                train = total / len(x)
                score = train
                if held_out is not None:
                    score = -mean_log_prob(density, unflatten(averaged), held_out, held_out_context)
                    _check_finite(score)
                passed.append((train, score))
                if score < best[0]:
                    best = score, epoch, averaged
                shown = f"train {train:.3f}"
                if held_out is not None:
                    shown += f", validation {score:.3f} nats"
                bar.set_postfix_str(shown, refresh=False)
                bar.update()
                if patience is not None and epoch - best[1] >= patience:
                    stopped = "patience"
                    break
    except KeyboardInterrupt:
        stopped = "interrupted"
    except _NonFinite as problem:
        stopped, cause = "non-finite", str(problem)
    history = {"train": [train for train, _ in passed]}
    if held_out is not None:
        history["validation"] = [score for _, score in passed]
    message = _message(stopped, cause, "epoch", len(passed), best[1], patience)
    return FitResult(unflatten(best[2]), history, best[1], stopped, message)


def fit_reverse_kl(density, params, log_target, rng, *, steps=5000, batch_size=256,
                   learning_rate=1e-3, schedule="cosine", clip_norm=5.0, anneal=None,
                   progress=True):
    """Fit a density to an unnormalised log-density by reverse KL.

    Each step draws ``batch_size`` rows of the density and follows the gradient of
    :func:`nfref.objectives.divergences.reverse_kl` on them.

    Parameters
    ----------
    density : Density
    params : nested dicts and lists of arrays
        Where to start, as made by ``density.init``; their dtype is that of the training.
        They are not changed.
    log_target : callable
        log p~: (n, D) array -> (n,) array, written with ``autograd.numpy``.
    rng : numpy.random.Generator
    steps, batch_size : int
    learning_rate : float
        Of Adam.
    schedule : {None, "cosine"}
        "cosine" lowers the learning rate to zero over ``steps``, which averages out the
        noise of the draws; None keeps it.
    clip_norm : float or None
        Gradients longer than this are scaled down to this length; None leaves them.
    anneal : int or None
        The target is tempered, p~^beta_t with beta_t = min(1, 0.01 + t / anneal) at step t
        (Rezende and Mohamed 2015, section 6.1, with anneal = 10,000), so that mass finds
        separate modes before they are walled in. None: beta_t = 1.
    progress : bool
        Show a bar on standard error.

    Returns
    -------
    FitResult
        ``history["train"]`` holds the objective of each step, with the beta_t of that
        step. ``params`` are those after the last step, since the objective of one batch is
        too noisy to choose by, and ``best_epoch`` is that step. Ctrl-C ends the fit and
        returns the latest; so does an objective or gradient that is not finite.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit.
    """
    check_rng(rng)
    check_count("steps", steps)
    check_count("batch_size", batch_size)
    if anneal is not None:
        check_count("anneal", anneal)
    adam = Adam(learning_rate, schedule, clip_norm, steps=steps)
    vector, unflatten = flat(trees.cast(params, trees.dtype_of(params)))

    state = adam.start(vector)
    losses = []
    latest = vector, 0                  # parameters, steps that led to them
    stopped, cause = "epochs", ""
    try:
        with _bar(steps, "step", progress) as bar, np.errstate(all="ignore"):
            for step in range(steps):
                beta = 1.0 if anneal is None else min(1.0, 0.01 + step / anneal)
                loss, gradient = value_and_gradient(
                    lambda tree: reverse_kl(density, tree, log_target, rng, batch_size, beta),
                    unflatten, vector)
                _check_finite(loss, gradient)
                vector, state = adam.step(vector, gradient, state)
                losses.append(float(loss))
                latest = vector, state.steps
                bar.set_postfix_str(f"{loss:.3f} nats", refresh=False)
                bar.update()
    except KeyboardInterrupt:
        stopped = "interrupted"
    except _NonFinite as problem:
        stopped, cause = "non-finite", str(problem)
    vector, done = latest
    last = done - 1 if done else None
    message = _message(stopped, cause, "step", done, last, None)
    return FitResult(unflatten(vector), {"train": losses[:done]}, last, stopped, message)


def mean_log_prob(density, params, x, context=None):
    """Mean log-likelihood in nats per row, computed in blocks of rows and summed in float64."""
    total = 0.0
    for start in range(0, len(x), ROWS_AT_ONCE):
        block = slice(start, start + ROWS_AT_ONCE)
        given = None if context is None else context[block]
        total += float(np.sum(density.log_prob(params, x[block], given), dtype=np.float64))
    return total / len(x)


# Around the steps -------------------------------------------------------------------------


def _parts(density, x, context, validation, validation_context, rng):
    """Training rows and context, validation rows and context: checked, in the dtype of x."""
    x, context = _checked_rows(density, "x", x, "context", context)
    if validation is None or np.ndim(validation) == 0:
        if validation_context is not None:
            raise ValueError("validation_context: expected None unless validation is an array "
                             f"of rows, got shape {np.shape(validation_context)}")
    if validation is None:
        return x, context, None, None
    if np.ndim(validation):
        rows, given = _checked_rows(density, "validation", validation, "validation_context",
                                    validation_context)
        given = None if given is None else given.astype(x.dtype, copy=False)
        return x, context, rows.astype(x.dtype, copy=False), given
    if not isinstance(validation, numbers.Real) or not 0 < validation < 1:
        raise ValueError("validation: expected a fraction in (0, 1), rows or None, "
                         f"got {validation!r}")
    count = max(1, round(validation * len(x)))
    if count >= len(x):
        raise ValueError(f"x: expected enough rows to hold out {validation} of them, got {len(x)}")
    order = rng.permutation(len(x))
    held_out, kept = np.sort(order[:count]), np.sort(order[count:])
    if context is None:
        return x[kept], None, x[held_out], None
    return x[kept], context[kept], x[held_out], context[held_out]


def _checked_rows(density, name, rows, context_name, context):
    rows = as_rows(name, rows, density.dim)
    if rows.dtype.kind == "c":
        raise TypeError(f"{name}: expected real numbers, got dtype {rows.dtype}")
    if not len(rows):
        raise ValueError(f"{name}: expected at least one row, got none")
    check_finite_rows(name, rows)
    try:
        context = as_context(context, density.context_dim, rows)
    except (TypeError, ValueError) as error:
        raise type(error)(str(error).replace("context", context_name, 1)) from None
    if context is not None:
        check_finite_rows(context_name, context)
    return rows, context


def _look_first(density, params, x, context, rng):
    """The parameters as a vector, after data-dependent layers have seen some rows."""
    chosen = np.sort(rng.permutation(len(x))[:ROWS_AT_ONCE])
    given = None if context is None else context[chosen]
    return trees.flatten(density.adapt(params, x[chosen], given, first=True))[0]


def _bar(total, unit, progress):
    from tqdm import tqdm
    return tqdm(total=total, unit=unit, disable=not progress, dynamic_ncols=True)


class _NonFinite(Exception):
    """Raised inside a fit to end it."""


def _check_finite(loss, gradient=None):
    if not np.isfinite(loss):
        raise _NonFinite(f"a loss of {loss:.4g}")
    if gradient is not None and not np.all(np.isfinite(gradient)):
        raise _NonFinite("a gradient that is not finite")


def _message(stopped, cause, unit, completed, best, patience):
    kept = "the start" if best is None else f"{unit} {best}"
    return {
        "epochs": f"all {completed} {unit}s done; parameters of {kept}",
        "patience": f"nothing better in {patience} {unit}s; parameters of {kept}",
        "interrupted": f"interrupted in {unit} {completed}; parameters of {kept}",
        "non-finite": f"{cause} in {unit} {completed}; parameters of {kept}",
    }[stopped]
