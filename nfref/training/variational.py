"""Variational fits: a density for an unnormalised log-density, by reverse KL."""

from functools import partial

import numpy as np

from nfref.continuous.solve import SolverError
from nfref.density import Density, check_density
from nfref.objectives import ImportanceEstimate, importance_estimate, reverse_kl
from nfref.objectives.targets import check_values, log_density
from nfref.runtime import params as trees
from nfref.runtime.annotations import Any, Callable, Generator, Params
from nfref.runtime.checks import check_count, check_rng
from nfref.training.adam import Adam
from nfref.training.gradient import value_and_gradient
from nfref.training.loop import Descent, FitResult, check_has_any, message, run_guarded

SAMPLES = 4000  # of the evidence: a pilot of 1,000 can overestimate the effective size threefold


def fit_reverse_kl(
    density: Density,
    params: Params,
    log_target: Callable[..., Any],
    rng: Generator,
    *,
    steps: int = 5000,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    schedule: str | None = "cosine",
    clip_norm: float | None = 5.0,
    anneal: int | None = None,
    progress: bool = True,
) -> FitResult:
    """Fit a density to an unnormalised log-density by reverse KL.

    Each step samples ``batch_size`` rows from the density and follows the gradient of
    :func:`nfref.objectives.divergences.reverse_kl` on them.

    Parameters
    ----------
    density : Density
    params : nested dicts and lists of arrays
        The starting parameters, as made by ``density.init``; their dtype is that of the training.
        They are not changed.
    log_target : callable
        log p~: (n, D) array -> (n,) array, written with ``autograd.numpy``.
    rng : numpy.random.Generator
    steps, batch_size : int
    learning_rate : float
        Learning rate of Adam.
    schedule : {None, "cosine"}
        "cosine" lowers the learning rate to zero over ``steps``, which averages out the
        noise of the samples; None keeps it.
    clip_norm : float or None
        Gradients longer than this are scaled down to this length; None leaves them.
    anneal : int or None
        Temper the target: p~^beta_t with beta_t = min(1, 0.01 + t / anneal) at step t
        (Rezende and Mohamed 2015, section 6, with anneal = 10,000). So mass can reach separate
        modes while the barriers between them are low. None: beta_t = 1.
    progress : bool
        Show a bar on standard error.

    Returns
    -------
    FitResult
        ``history["train"]`` holds the objective of each step, with the beta_t of that
        step. ``params`` are those after the last step, and ``best_epoch`` is that step: the
        objective of one batch is too noisy to choose a step. Ctrl-C ends the fit and returns the
        latest parameters; so does an objective or gradient that is not finite. ``evidence`` holds
        log Z and weights of 4,000 new samples, and whether they can be believed: see
        :func:`nfref.objectives.divergences.importance_estimate`.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong shape, type or value, if autograd cannot follow the target, or
        if the target fails or is NaN at the start.
    """
    check_density("density", density)
    check_rng(rng)
    check_count("batch_size", batch_size)
    if anneal is not None:
        check_count("anneal", anneal)
    adam = Adam(learning_rate, schedule, clip_norm, steps=steps)
    checked = density._structure.checked(params)
    vector, unflatten = trees.flatten(trees.cast(checked, trees.dtype_of(checked)))
    check_has_any(vector)
    descent = Descent(adam, vector)

    def rounds():
        for step in range(steps):
            vector = descent.latest[0]
            beta = 1.0 if anneal is None else min(1.0, 0.01 + step / anneal)
            loss, gradient = value_and_gradient(
                lambda tree: reverse_kl(density, tree, log_target, rng, batch_size, beta),
                unflatten,
                vector,
            )
            if np.isnan(loss) and not step:  # later a NaN may come from the parameters
                x, _ = density.sample_and_log_prob(unflatten(vector), rng, batch_size)
                check_values(x, log_density(log_target, x))
            yield descent.step(loss, gradient)

    ended = run_guarded(rounds(), steps, "step", progress)
    params = unflatten(descent.latest[0])
    history = {"train": descent.losses}
    return result_for_target(
        params, history, ended, partial(importance_estimate, density, params, log_target, rng)
    )


def result_for_target(
    params: Any,
    history: dict[str, list[float]],
    ended: tuple[str, str],
    estimate: Callable[[int], ImportanceEstimate],
) -> FitResult:
    """Return the result of a fit to a target, with its evidence from new samples.

    Parameters
    ----------
    params : nested dicts and lists of arrays
        Those after the last step.
    history : dict of list of float
    ended : (stopped, cause)
        See :func:`nfref.training.loop.run_guarded`.
    estimate : callable
        From a number of samples to the evidence. There is none if it fails, or if the loss was not
        finite: a fit that is done is not lost.
    """
    evidence = None
    if ended[0] != "non-finite":
        try:
            with np.errstate(all="ignore"):
                evidence = estimate(SAMPLES)
        except (ValueError, TypeError, SolverError, KeyboardInterrupt):
            pass
    done = len(history["train"])
    last = done - 1 if done else None
    return FitResult(
        params, history, last, ended[0], message(*ended, "step", done, last, None), evidence
    )
