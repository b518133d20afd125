"""Solve the joint state of a batch, with counted and bounded evaluations.

The whole batch is one system for the solver: all rows share their steps. The adaptive
methods of ``scipy.integrate.solve_ivp`` accept a step when the root mean square of
(local error) / (atol + rtol |state|) is below one. The mean is over *all* entries of the state:
every row, position, log-determinant and penalties; in a backward solve also the adjoints and the
gradients of the parameters. So a row's result depends on the other rows of its batch, but only
within the tolerance. The fixed-step ``rk4`` has no such coupling.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nfref.runtime.annotations import Any, Array, Callable, Sequence
from nfref.runtime.checks import check_count, check_positive, one_of

SOLVERS = {"rk45": "RK45", "dop853": "DOP853", "lsoda": "LSODA", "rk4": None}


class SolverError(RuntimeError):
    """A solve that could not be finished; the message gives the reason and the last t."""


@dataclass(frozen=True)
class Options:
    """Options of a solve.

    ``solver``: one of SOLVERS. ``rtol``, ``atol``: tolerances of the adaptive solvers.
    ``steps``: number of equal steps of rk4. ``max_evaluations``: bound on calls of the
    right-hand side in one solve.
    """

    solver: str = "rk45"
    rtol: float = 1e-5
    atol: float = 1e-5
    steps: int = 20
    max_evaluations: int = 10_000


class WithOptions:
    """A part of flows that are solved: their fields of these names become the options."""

    solver: str
    rtol: float
    atol: float
    steps: int
    max_evaluations: int

    _converters = {
        "solver": one_of(SOLVERS),
        "rtol": check_positive,
        "atol": check_positive,
        "steps": check_count,
        "max_evaluations": check_count,
    }

    @cached_property
    def options(self) -> Options:
        """The solver's settings, see :class:`nfref.continuous.solve.Options`."""
        return Options(self.solver, self.rtol, self.atol, self.steps, self.max_evaluations)


@dataclass(frozen=True)
class Solution:
    """The result of a solve and its cost.

    ``times``: (T,) array. ``states``: (T, ...) array, the state at each time.
    ``evaluations``: number of calls of the right-hand side.
    """

    times: Array
    states: Array
    evaluations: int

    @property
    def last(self) -> Array:
        """The state at the last time."""
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
        For float32 the derivative is evaluated in float32, the steps add up in float64, and
        tolerances are at least ten ulp of float32 (1.2e-6).
    start, end : float
    options : Options
    times : sequence of float, optional
        Times at which to report the state, monotone from ``start`` to ``end``; only ``end`` if
        omitted. The adaptive solvers interpolate between steps; rk4 takes ``steps`` steps in each
        interval.
    bandwidth : int, optional
        LSODA's Newton steps use only this many diagonals of the Jacobian on either side.

    Returns
    -------
    Solution

    Raises
    ------
    SolverError
        If the bound on evaluations is reached, if the derivative is not finite, or if the
        step size vanishes. The message gives t.
    """
    ends = np.array([end] if times is None else times, dtype=float)
    if state.size == 0 or start == end:
        return Solution(ends, np.stack([state] * len(ends)), 0)
    counted = Counted(derivative, state, options)
    if not np.isfinite(state).all():
        raise counted.not_finite("state", start)
    with np.errstate(over="ignore", invalid="ignore"):
        run = runge_kutta_4 if options.solver == "rk4" else adaptive
        states = run(counted, state, start, ends, options, bandwidth)
    return Solution(ends, states, counted.evaluations)


class Counted:
    """A right-hand side that counts its calls, limits them and rejects non-finite values."""

    def __init__(self, derivative: Callable[..., Any], state: Array, options: Options) -> None:
        self.derivative = derivative
        self.shape, self.dtype = state.shape, state.dtype
        self.options = options
        self.evaluations = 0
        self.t = 0.0

    def __call__(self, t, state):
        """Return the derivative, in the shape of ``state``."""
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

    def not_finite(self, which: str, t: float) -> SolverError:
        """Return the error for a value that is not finite."""
        return SolverError(
            f"{which}: expected finite numbers, got inf or NaN; "
            f"{self.options.solver} gave up at t = {t:.6g} after "
            f"{self.evaluations} evaluations of the right-hand side"
        )


def runge_kutta_4(
    derivative: Callable[..., Array],
    state: Array,
    start: float,
    times: Array,
    options: Options,
    bandwidth: int | None = None,
) -> Array:
    """Apply the classical method of order four; ``steps`` equal steps up to each of ``times``."""
    states = []
    for end in times:
        h = (float(end) - start) / options.steps
        for k in range(options.steps if h else 0):
            state = runge_kutta_4_step(derivative, start + k * h, h, state)
        states.append(state)
        start = float(end)
    return np.stack(states)


def runge_kutta_4_step(derivative: Callable[..., Array], t: float, h: float, y: Array) -> Array:
    """Return y + h/6 (k_1 + 2 k_2 + 2 k_3 + k_4), with an error O(h^5) per step."""
    k1 = derivative(t, y)
    k2 = derivative(t + h / 2, y + h / 2 * k1)
    k3 = derivative(t + h / 2, y + h / 2 * k2)
    k4 = derivative(t + h, y + h * k3)
    return y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def adaptive(
    derivative: Counted,
    state: Array,
    start: float,
    times: Array,
    options: Options,
    bandwidth: int | None = None,
) -> Array:
    """Apply one of scipy's methods to the raveled state."""
    from scipy.integrate import solve_ivp  # importing it takes 0.2 s, so only on use

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
