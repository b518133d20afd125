"""Solving the joint state of a batch, with counted and bounded evaluations.

The whole batch is one system for the solver: all rows share their steps. The adaptive
methods of ``scipy.integrate.solve_ivp`` accept a step when the root mean square of
(local error) / (atol + rtol |state|) over *all* entries of the state (every row; position,
log-determinant and penalties alike; in a backward solve the adjoints and the gradients of
the parameters too) is below one. So a row's result depends on the other rows of its batch,
but only within the tolerance. The fixed-step ``rk4`` has no such coupling.
"""

from dataclasses import dataclass

import numpy as np

from nfref.runtime.annotations import Any, Array, Callable, Sequence

SOLVERS = {"rk45": "RK45", "dop853": "DOP853", "lsoda": "LSODA", "rk4": None}


class SolverError(RuntimeError):
    """A solve that could not be finished; the message says why and at which t it gave up."""


@dataclass(frozen=True)
class Options:
    """How a system is solved.

    ``solver``: one of SOLVERS. ``rtol``, ``atol``: tolerances of the adaptive ones.
    ``steps``: number of equal steps of rk4. ``max_evaluations``: bound on calls of the
    right-hand side in one solve.
    """

    solver: str = "rk45"
    rtol: float = 1e-5
    atol: float = 1e-5
    steps: int = 20
    max_evaluations: int = 10_000


@dataclass(frozen=True)
class Solution:
    """What a solve found and what it cost.

    ``times``: (T,) array. ``states``: (T, ...) array, the state at each time.
    ``evaluations``: how often the right-hand side was called.
    """

    times: np.ndarray
    states: np.ndarray
    evaluations: int

    @property
    def last(self):
        return self.states[-1]


def solve(
    derivative: Callable[..., Any],
    state: Array,
    start: float,
    end: float,
    options: Options = Options(),
    times: Sequence[float] | None = None,
    bandwidth: int | None = None,
) -> Solution:
    """Solve d state / dt = derivative(t, state) from ``start`` to ``end``, forwards or backwards.

    Parameters
    ----------
    derivative : callable
        (t, state) -> array like ``state``.
    state : array of any shape
        In float32 the derivative is evaluated in float32, the steps add up in float64, and
        tolerances below ten ulp of float32 (1.2e-6) act as that.
    start, end : float
    options : Options
    times : sequence of float, optional
        Where to report the state, monotone from ``start`` to ``end``; only ``end`` if absent.
        Between steps the adaptive solvers interpolate; rk4 takes ``steps`` in each interval.
    bandwidth : int, optional
        LSODA's Newton steps look only this far beside the diagonal of the Jacobian.

    Returns
    -------
    Solution

    Raises
    ------
    SolverError
        If the bound on evaluations is reached, if the derivative is not finite, or if the
        step size vanishes. The message says at which t.
    """
    times = np.array([end] if times is None else times, dtype=float)
    if state.size == 0 or start == end:
        return Solution(times, np.stack([state] * len(times)), 0)
    counted = Counted(derivative, state, options)
    if not np.isfinite(state).all():
        raise counted.not_finite("state", start)
    with np.errstate(over="ignore", invalid="ignore"):
        run = runge_kutta_4 if options.solver == "rk4" else adaptive
        states = run(counted, state, start, times, options, bandwidth)
    return Solution(times, states, counted.evaluations)


class Counted:
    """A right-hand side that counts its calls, keeps the bound and refuses what isn't finite."""

    def __init__(self, derivative: Any, state: Any, options: Any) -> None:
        self.derivative = derivative
        self.shape, self.dtype = state.shape, state.dtype
        self.options = options
        self.evaluations = 0
        self.t = None

    def __call__(self, t, state):
        self.t = t = float(t)
        if self.evaluations >= self.options.max_evaluations:
            raise SolverError(
                f"max_evaluations: {self.options.solver} used all {self.options.max_evaluations} "
                f"evaluations of the right-hand side and gave up at t = {t:.6g}; the dynamics may "
                "be stiff or exploding, or rtol/atol too small"
            )
        self.evaluations += 1
        value = self.derivative(t, state.reshape(self.shape).astype(self.dtype, copy=False))
        if not np.isfinite(value).all():
            raise self.not_finite("derivative" if np.isfinite(state).all() else "state", t)
        return value.reshape(state.shape)

    def not_finite(self, which, t):
        return SolverError(
            f"{which}: expected finite numbers, got inf or NaN; "
            f"{self.options.solver} gave up at t = {t:.6g} after "
            f"{self.evaluations} evaluations of the right-hand side"
        )


def runge_kutta_4(derivative, state, start, times, options, bandwidth=None):
    """The classical method of order four; ``steps`` equal steps up to each of ``times``."""
    states = []
    for end in times:
        h = (float(end) - start) / options.steps
        for k in range(options.steps if h else 0):
            state = runge_kutta_4_step(derivative, start + k * h, h, state)
        states.append(state)
        start = float(end)
    return np.stack(states)


def runge_kutta_4_step(derivative, t, h, y):
    """y + h/6 (k_1 + 2 k_2 + 2 k_3 + k_4), error O(h^5) a step."""
    k1 = derivative(t, y)
    k2 = derivative(t + h / 2, y + h / 2 * k1)
    k3 = derivative(t + h / 2, y + h / 2 * k2)
    k4 = derivative(t + h, y + h * k3)
    return y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def adaptive(derivative, state, start, times, options, bandwidth=None):
    """One of scipy's methods on the raveled state."""
    from scipy.integrate import solve_ivp  # here, because importing it takes 0.2 s

    extra = {}
    if options.solver == "lsoda" and bandwidth is not None and bandwidth < state.size:
        extra = {"lband": bandwidth, "uband": bandwidth}
    floor = 10 * float(np.finfo(state.dtype).eps)
    result = solve_ivp(
        derivative,
        (start, float(times[-1])),
        state.ravel().astype(float),
        method=SOLVERS[options.solver],
        t_eval=times,
        rtol=max(options.rtol, floor),
        atol=max(options.atol, floor),
        **extra,
    )
    if not result.success:
        raise SolverError(
            f"{options.solver} gave up at t = {derivative.t:.6g}: {result.message.strip()}"
        )
    return result.y.T.reshape(len(times), *state.shape).astype(state.dtype, copy=False)
