"""Runge-Kutta solves of a problem that takes its own steps.

Twins of ``rk4`` and ``rk45`` in ``nfref/continuous/solve.py``. The latter are the steps of
``scipy.integrate.RK45``: its tableau, its first step, its error norm, its step control.
"""

from functools import cache
from typing import NamedTuple

import numpy as np


class Method(NamedTuple):
    """A tableau: stages ``a`` (s, s), times ``c``, result ``b`` and error ``e`` (s,)."""

    a: np.ndarray
    c: np.ndarray
    b: np.ndarray
    e: np.ndarray


def _method(a, c, b, e=None):
    square = np.zeros((len(c), len(c)))
    for row, entries in zip(square, a):
        row[: len(entries)] = entries
    b = np.array(b, dtype=float)
    return Method(square, np.array(c, dtype=float), b, np.zeros(len(c)) if e is None else e)


ONE_STAGE = _method([[]], [0], [1])
RK4 = _method(
    [[], [1 / 2], [0, 1 / 2], [0, 0, 1]], [0, 1 / 2, 1 / 2, 1], [1 / 6, 1 / 3, 1 / 3, 1 / 6]
)


@cache
def dormand_prince():
    """Seven stages; the last is at the new state and the first of the next step."""
    from scipy.integrate import RK45  # here, because importing it takes 0.2 s

    return _method([*RK45.A, RK45.B], [*RK45.C, 1], [*RK45.B, 0], RK45.E)


def solve(problem, start, end, options, dtype):
    """Move a problem from ``start`` to ``end``.

    Returns
    -------
    int or None
        Evaluations of the right-hand side; None if the solve was not finished.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        if options.solver == "rk4":
            return runge_kutta_4(problem, start, end, options)
        if options.solver == "rk45":
            floor = 10 * float(np.finfo(dtype).eps)
            return runge_kutta_45(
                problem,
                start,
                end,
                max(options.rtol, floor),
                max(options.atol, floor),
                options.max_evaluations,
            )


def runge_kutta_4(problem, start, end, options):
    """See :func:`nfref.continuous.solve.runge_kutta_4`."""
    h = (end - start) / options.steps
    if 4 * options.steps > options.max_evaluations:
        return None
    for i in range(options.steps):
        problem.step(RK4, start + i * h, h, 0, 1.0, 1.0)
        problem.accept()
    return 4 * options.steps if problem.is_finite() else None


def runge_kutta_45(problem, start, end, rtol, atol, max_evaluations):
    """Make the steps of ``scipy.integrate.RK45``."""
    method, order = dormand_prince(), 4
    direction, t = np.sign(end - start), start
    problem.evaluate(method, t, 0.0, 0, 1)
    problem.reuse()
    size = first_step(problem, method, t, end, direction, order, rtol, atol)
    evaluations = 2
    while t != end:
        least = 10 * abs(np.nextafter(t, direction * np.inf) - t)
        size = max(size, least)
        rejected = False
        while True:
            evaluations += 6
            if not size >= least or evaluations > max_evaluations:
                return None
            new = t + size * direction
            if direction * (new - end) > 0:
                new = end
            h = new - t
            size = abs(h)
            norm = (problem.step(method, t, h, 1, rtol, atol) / problem.size) ** 0.5
            if not norm < np.inf:
                return None
            if norm < 1:
                factor = 10 if norm == 0 else min(10, 0.9 * norm ** (-1 / (order + 1)))
                size *= min(1, factor) if rejected else factor
                break
            size *= max(0.2, 0.9 * norm ** (-1 / (order + 1)))
            rejected = True
        problem.accept()
        problem.reuse()
        t = new
    return evaluations


def first_step(problem, method, start, end, direction, order, rtol, atol):
    """Return the first step of scipy (Hairer et al., section II.4).

    An Euler step of length h_0 measures the change of the slope. A stage with weight 1 on the first
    slope evaluates it.
    """

    def norm(*weights):
        """Return the norm of a sum of the state, its slope, and the slope evaluated last."""
        return (problem.squared_norm(weights, rtol, atol) / problem.size) ** 0.5

    d_0, d_1 = norm(1.0, 0.0, 0.0), norm(0.0, 1.0, 0.0)
    h_0 = 1e-6 if d_0 < 1e-5 or d_1 < 1e-5 else 0.01 * d_0 / d_1
    h_0 = min(h_0, abs(end - start))
    euler = method._replace(a=np.eye(len(method.c), k=-1), c=np.ones(len(method.c)))
    problem.evaluate(euler, start, h_0 * direction, 1, 2)
    d_2 = norm(0.0, -1.0, 1.0) / h_0
    if d_1 <= 1e-15 and d_2 <= 1e-15:
        h_1 = max(1e-6, h_0 * 1e-3)
    else:
        h_1 = (0.01 / max(d_1, d_2)) ** (1 / (order + 1))
    return min(100 * h_0, h_1, abs(end - start))
