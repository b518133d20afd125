"""Markov kernels for a density known up to a factor: Metropolis' random walk and Langevin steps.

The formulas are above, the kernels below. One number of a step, minus its work, serves two uses. A
kernel that rejects takes it as the log-probability of acceptance, and so leaves the density as it
is. A kernel that accepts every step adds it to the log-weight of the row.

Sources: Wu, Koehler and Noe 2020, arXiv:2002.06707 (stochastic layers, and the work of each).
"""

from dataclasses import dataclass

import autograd.numpy as np

from nfref.runtime.annotations import Any, Array, Callable, Generator
from nfref.runtime.autograd_internals import getval
from nfref.runtime.checks import check_count, check_positive
from nfref.runtime.configuration import Checked

# Formulas ---------------------------------------------------------------------------------


def proposal(x: Array, force: Array, noise: Array, step: float) -> Array:
    """Return x' = x + e^2/2 F + e xi, a step of Langevin's equation; a random walk for F = 0.

    Paper:   stochastic normalizing flows, its published code: overdamped Langevin dynamics.
    Differs: the step e here is sqrt(2 dt) of a time step dt.

    Shapes: x, force (F, the gradient of log pi), noise (xi, standard normal) (N, D).
    """
    return x + 0.5 * step**2 * force + step * noise


def log_kernel_ratio(force: Array, new_force: Array, noise: Array, step: float) -> Array:
    """Return log K(x' -> x) - log K(x -> x') of a proposal x' with the kernel's density K.

    The way back needs the noise xi' = -(xi + e/2 (F + F')), so it is

        (|xi|^2 - |xi'|^2) / 2 = -e/4 sum (F + F') (2 xi + e/2 (F + F')).

    This form subtracts no positions, so it stays exact for small steps.

    Shapes: force (F at x), new_force (F' at x'), noise (xi) (N, D). Returns (N,).
    """
    both = force + new_force
    return -0.25 * step * np.sum(both * (2 * noise + 0.5 * step * both), axis=1)


def log_weight_change(level: Array, new_level: Array, log_ratio: Array) -> Array:
    """Return log pi'(x') - log pi(x) + log r; -inf if either density is 0.

    r is |det dx'/dx| for a map, and K(x' -> x) / K(x -> x') for a kernel. For a kernel and one
    density it is also the log-probability of acceptance by Metropolis' rule, if below 0.

    Paper:   annealed flow transport, its published code: minus the "delta" of a flow.
             stochastic normalizing flows, its published code: minus the work of a layer.
    Differs: nothing.

    Shapes: level (log pi(x)), new_level (log pi'(x')), log_ratio (log r) (n,). Returns (n,).
    """
    possible = np.isfinite(getval(level)) & np.isfinite(getval(new_level))
    with np.errstate(invalid="ignore"):
        return np.where(possible, new_level - level + log_ratio, -np.inf)


# Kernels ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Metropolis(Checked):
    """Metropolis' random walk, x' = x + e xi, accepted with probability min(1, pi(x') / pi(x)).

    It needs no gradient of the target.

    Parameters
    ----------
    step : float
        The length e of a step in each coordinate.
    steps : int
        Number of steps at each level.
    """

    step: float
    steps: int = 1

    _converters = {"step": check_positive, "steps": check_count}
    _drifts = False
    _rejects = True
    _best_acceptance = 0.234  # of a random walk in many dimensions (Roberts, Gelman, Gilks 1997)


@dataclass(frozen=True)
class Langevin(Checked):
    """Langevin steps x' = x + e^2/2 grad log pi(x) + e xi, one gradient of the target each.

    Parameters
    ----------
    step : float
        The length e of the noise in each coordinate.
    steps : int
        Number of steps at each level.
    adjusted : bool
        Reject steps by Metropolis' rule, which leaves pi as it is. Otherwise every step is
        taken, and its work enters the weight.
    """

    step: float
    steps: int = 1
    adjusted: bool = True

    _converters = {"step": check_positive, "steps": check_count}
    _drifts = True
    _best_acceptance = 0.574  # of Langevin steps in many dimensions (Roberts and Rosenthal 1998)

    @property
    def _rejects(self):
        return self.adjusted


def move(
    kernel: Any,
    evaluate: Callable[..., Any],
    x: Array,
    start: tuple[Any, ...],
    step: float,
    rng: Generator,
) -> tuple[Any, Array, Array, float]:
    """Apply a kernel to rows.

    Parameters
    ----------
    kernel : Metropolis or Langevin
    evaluate : callable
        x -> (parts, log pi, force): parts (2, n) are numbers that follow the rows, and the force
        (n, D) is the gradient of log pi, or zero for a kernel that does not drift.
    x : (n, D) array
    start : tuple
        The result of ``evaluate(x)``.
    step : float
    rng : numpy.random.Generator

    Returns
    -------
    x : (n, D) array
    parts : (2, n) array
    log_weight : (n,) array
        The sum of :func:`log_weight_change` over the steps; 0 for a kernel that rejects.
    acceptance : float
        The mean probability of acceptance.
    """
    parts, level, force = start
    log_weight, acceptance = np.zeros(len(x)), 0.0
    for _ in range(kernel.steps):
        noise = rng.standard_normal(x.shape).astype(getval(x).dtype)
        new_x = proposal(x, force, noise, step)
        new = evaluate(new_x)
        log_ratio = log_kernel_ratio(force, new[2], noise, step)
        change = log_weight_change(level, new[1], log_ratio)
        chance = np.nan_to_num(np.exp(np.minimum(0.0, getval(change))))
        acceptance += float(np.mean(chance)) / kernel.steps
        if kernel._rejects:
            taken = rng.random(len(x)) < chance
            x = np.where(taken[:, None], new_x, x)
            parts, level = np.where(taken, new[0], parts), np.where(taken, new[1], level)
            force = np.where(taken[:, None], new[2], force)
        else:
            log_weight = log_weight + change
            x, (parts, level, force) = new_x, new
    return x, parts, log_weight, acceptance
