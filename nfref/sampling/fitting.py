"""Fits of the flows of an annealed sampler: three methods, one objective for each level.

The objective of level k is the KL divergence from pi_{k-1}, pushed through the flow T_k, to pi_k,
up to a constant:

    L_k = sum_i W_i [log pi_{k-1}(x_i) - log pi_k(T_k(x_i)) - log |det dT_k/dx|(x_i)],

with the weights W_i, of sum 1, of the rows that come to the level.

``craft``  every step sends new rows along the whole path; each flow follows the gradient of its
           own L_k
``aft``    level after level: all steps of a flow use the same rows, and other rows choose the best
           of its steps
``snf``    every step follows the gradient of the mean of -log w through all flows and kernels

Sources: Matthews, Arbel, Rezende and Doucet 2022, arXiv:2201.13117 (CRAFT); Arbel, Matthews and
Doucet 2021, arXiv:2102.07501 (annealed flow transport); Wu, Koehler and Noe 2020, arXiv:2002.06707
(stochastic normalizing flows). Their published code was read; of the papers only the openings.
"""

from functools import partial

import autograd.numpy as np

from nfref.runtime import params as trees
from nfref.runtime.annotations import Any, Callable, Generator, Params
from nfref.runtime.autograd_internals import getval
from nfref.runtime.checks import check_choice, check_count, check_rng
from nfref.sampling.annealing import AnnealedSampler, Path, Rows
from nfref.training.adam import Adam
from nfref.training.gradient import value_and_gradient
from nfref.training.loop import Descent, FitResult, run_guarded
from nfref.training.variational import result_for_target

METHODS = ("craft", "aft", "snf")
GAIN = 0.1  # nats by which a log-step grows for an acceptance too large by 1


def fit_annealed(
    sampler: AnnealedSampler,
    params: Params,
    log_target: Callable[..., Any],
    rng: Generator,
    *,
    method: str = "craft",
    steps: int = 300,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    schedule: str | None = "cosine",
    clip_norm: float | None = 5.0,
    progress: bool = True,
) -> FitResult:
    """Fit the flows of an annealed sampler to a target, and the lengths of its kernels' steps.

    The density at the start stays as it is. Kernels that reject get the step at which a random
    walk accepts 23 % and Langevin steps 57 %; "aft" runs each kernel too seldom for that.

    Paper:   CRAFT, annealed flow transport and stochastic normalizing flows, as in the table of
             :mod:`nfref.sampling.fitting`.
    Differs: steps of kernels are adapted; the published code of CRAFT takes them from a schedule.
             Rows are never resampled after the last level; that code does. "snf" does not resample
             in training, and passes gradients through acceptance as if it were fixed, as the
             published code does.

    Parameters
    ----------
    sampler : AnnealedSampler
        Without a flow, only the steps of its kernel are fitted, by "craft".
    params : dict
        The starting parameters, as made by ``sampler.init``. They are not changed.
    log_target : callable
        log p~: (n, D) array -> (n,) array, written with ``autograd.numpy``.
    rng : numpy.random.Generator
    method : {"craft", "aft", "snf"}
    steps : int
        Steps of Adam for each flow. "aft" takes them level by level.
    batch_size : int
        Number of rows on the path. "aft" has as many again to choose the best step.
    learning_rate : float
    schedule : {None, "cosine"}
        "cosine" lowers the learning rate to zero over ``steps``; None keeps it.
    clip_norm : float or None
        Gradients longer than this are scaled down to this length; None leaves them.
    progress : bool
        Show a bar on standard error.

    Returns
    -------
    FitResult
        ``history["train"]`` holds the sum of L_k of each step, or L_k of the level at hand for
        "aft", which also has ``history["validation"]``. Ctrl-C, or a loss that is not finite, ends
        the fit and returns the latest parameters. ``evidence`` is that of
        :meth:`nfref.AnnealedSampler.estimate` with 4,000 new samples.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong shape, type or value, if autograd cannot follow the target, or
        if the target fails, or is NaN on the first way along the path.
    """
    if not isinstance(sampler, AnnealedSampler):
        raise TypeError(f"sampler: expected an AnnealedSampler, got {type(sampler).__name__}")
    check_rng(rng)
    check_choice("method", method, METHODS)
    if sampler.flow is None and method != "craft":
        raise ValueError(f"method: expected 'craft' for a sampler without a flow, got {method!r}")
    adam = Adam(learning_rate, schedule, clip_norm, steps=steps)
    fit = _Fit(sampler, params, log_target, rng, check_count("batch_size", batch_size), adam)
    rounds = fit.level_by_level() if method == "aft" else fit.along_the_path(method)
    total = steps * sampler.levels if method == "aft" else steps
    ended = run_guarded(rounds, total, "step", progress)
    fitted = fit.params()
    return result_for_target(
        fitted, fit.history, ended, partial(sampler.estimate, fitted, log_target, rng)
    )


class _Fit:
    """The flows of all levels as the rows of an array (K, P), and their steps."""

    def __init__(self, sampler, params, log_target, rng, batch_size, adam):
        self.path = Path(sampler, params, log_target)
        self.rng, self.batch_size, self.adam = rng, batch_size, adam
        start = trees.cast(self.path.params, self.path.dtype)
        flat = [trees.flatten(tree) for tree in start["flows"]]
        self.flows, self.unflatten = np.stack([vector for vector, _ in flat]), flat[0][1]
        self.start, self.log_step = start["start"], start["log_step"].copy()
        self.history: dict[str, list[float]] = {"train": []}

    def params(self):
        """Return the parameters of the sampler."""
        flows = [self.unflatten(vector) for vector in self.flows]
        return {"start": self.start, "flows": flows, "log_step": self.log_step}

    def along_the_path(self, method):
        """Take steps of all flows at once; a round is a step."""
        whole = self._craft if method == "craft" else self._snf
        descent = Descent(self.adam, self.flows.ravel())
        for _ in range(self.adam.steps):
            text = descent.step(*whole(self.flows))
            self.flows = descent.latest[0].reshape(self.flows.shape)
            self.history["train"] = descent.losses
            self.path.strict = False  # later a NaN may come from the parameters
            yield text

    def level_by_level(self):
        """Take all steps of one flow, then of the next (annealed flow transport)."""
        train, held_out = self._first_rows(), self._first_rows()
        self.history["validation"] = []
        for k in range(len(self.flows)):
            descent, best = Descent(self.adam, self.flows[k]), np.inf
            for _ in range(self.adam.steps):
                vector = descent.latest[0]
                loss, gradient, _ = self._level(vector, train, k)
                score, _ = self._loss(self.unflatten(vector), held_out, k)
                text = descent.step(loss, gradient)
                self.history["train"].append(loss)
                self.history["validation"].append(float(score))
                if score < best:
                    self.flows[k], best = vector, score
                yield text
            train, held_out = (
                self._refreshed(self._loss(self.unflatten(self.flows[k]), rows, k)[1], k)
                for rows in (train, held_out)
            )
            self.path.strict = False

    def _craft(self, flows):
        """Return the sum of all L_k, and the gradient of each by the flow of its own level."""
        rows, total, gradients = self._first_rows(), 0.0, []
        for k, vector in enumerate(flows):
            loss, gradient, moved = self._level(vector, rows, k)
            rows, total = self._refreshed(moved, k), total + loss
            gradients.append(gradient)
        return total, np.concatenate(gradients)

    def _snf(self, flows):
        """Return the mean of -log w, and its gradient by all flows."""

        def work(flows):
            rows = self._first_rows()
            for k in range(len(self.flows)):
                moved = self.path.transported(self.unflatten(flows[k]), rows, k)
                rows = self._refreshed(moved, k, resample=False)
            return -np.mean(rows.log_weights)

        loss, gradient = value_and_gradient(work, lambda flows: flows, flows)
        return loss, gradient.ravel()

    def _level(self, vector, rows, k):
        """Return L_k, its gradient, and the rows after the flow of level k."""
        if not len(vector):
            value, moved = self._loss(self.unflatten(vector), rows, k)
            return value, vector, moved
        kept: list[Rows] = []

        def loss(flow_params):
            value, moved = self._loss(flow_params, rows, k)
            kept.append(moved)
            return value

        value, gradient = value_and_gradient(loss, self.unflatten, vector)
        return value, gradient, kept[0]

    def _loss(self, flow_params, rows, k):
        """Return L_k, and the rows after the flow, without autograd's boxes."""
        moved = self.path.transported(flow_params, rows, k)
        weights = np.exp(rows.log_weights - np.max(rows.log_weights))
        alive = weights > 0
        gained = moved.log_weights[alive] - rows.log_weights[alive]
        loss = -np.sum(weights[alive] / np.sum(weights) * gained)
        return loss, Rows(*map(getval, vars(moved).values()))

    def _first_rows(self):
        return self.path.first_rows(self.rng, self.batch_size)

    def _refreshed(self, rows, k, resample=True):
        """Return the rows after the kernel of level k, and adapt its step."""
        rows, acceptance = self.path.refreshed(rows, self.log_step[k], k, self.rng, resample)
        kernel = self.path.sampler.kernel
        if kernel._rejects:
            self.log_step[k] += GAIN * (acceptance - kernel._best_acceptance)
        return rows
