"""Gradients of a solve: the continuous adjoint, and differentiation through the steps.

Source: neural ODE (Chen et al. 2018, arXiv:1806.07366), section 2 and appendix B.

Let y = [z, integrals] solve dy/dt = g(t, z; theta) from t_0 to t_1, and let E depend on y(t_1).

1. The adjoint a(t) = dE/dy(t) obeys da/dt = -a dg/dy (neural ODE, section 2, eq. 4).
2. g reads z only, so the part of a that belongs to the integrals is constant: q.
3. dE/dtheta = integral from t_0 to t_1 of [a_z, q] dg/dtheta dt (section 2, eq. 5).
4. So [z, a_z, dE/dtheta] is solved from t_1 back to t_0, starting at [z(t_1), a_z(t_1), 0].
   The forward solve stores nothing: solving backwards recovers z, accurately as long as the
   flow does not contract z by more than the tolerance resolves.
5. The adjoint is linear in its end value. It is solved for [a_z, q] / r with r the root mean
   square of [a_z, q], and the result is multiplied by r. So atol means the same for a mean over
   the rows as for a sum.
"""

import numpy as np
from autograd import make_vjp

from nfref.continuous.solve import Options, solve
from nfref.runtime.annotations import Any, Array, Callable
from nfref.runtime.autograd_internals import boxes, defvjp_argnums, isbox, primitive

# Systems ----------------------------------------------------------------------------------


class System:
    """A right-hand side with arguments, and its derivative.

    ``options``: of the solve. ``moving``: the number D of leading columns of the state that the
    derivative reads; the other columns are integrals along the path.
    """

    def __init__(self, options: Options, moving: int) -> None:
        self.options = options
        self.moving = moving

    def bind(self, *arguments: Array) -> Callable[[float, Array], Array]:
        """Return the function (t, (N, S) state) -> (N, S) array, written with autograd.numpy.

        Values that depend only on the arguments are computed here, once per solve.
        """
        raise NotImplementedError

    def bind_vjp(self, *arguments: Array) -> Callable[[float, Array, Array], tuple[Any, ...]]:
        """Return the function ``(t, state, cotangent) -> (derivative, g_state, *g_arguments)``.

        The first two hold only the moving columns, (N, D). This default uses autograd's tape.
        """

        def vjp(t, state, cotangent):
            back, value = make_vjp(lambda tracked: self.bind(*tracked[1:])(t, tracked[0]))(
                (state, *arguments)
            )
            g_state, *g_arguments = back(cotangent)
            return (value[:, : self.moving], g_state[:, : self.moving], *g_arguments)

        return vjp

    def solve(self, start: float, end: float, state: Array, *arguments: Array) -> Array:
        """Return the state at ``end``."""
        # Rows do not interact, so the Jacobian is block diagonal, with one block per row.
        return solve(
            self.bind(*arguments), state, start, end, self.options, bandwidth=state.shape[1] - 1
        ).last

    def solve_back(
        self, start: float, end: float, last: Array, cotangent: Array, *arguments: Array
    ) -> tuple[Array, list[Array], int]:
        """Solve step 4: return the moving columns' adjoint, the g_arguments, and evaluations."""
        dim, dtype = self.moving, last.dtype
        q = cotangent[:, dim:]
        shapes = [last[:, :dim].shape] * 2 + [np.shape(argument) for argument in arguments]
        ends = np.cumsum([int(np.prod(shape)) for shape in shapes])

        def split(vector):
            return [part.reshape(shape) for part, shape in zip(np.split(vector, ends[:-1]), shapes)]

        vjp = self.bind_vjp(*arguments)

        def backward(t, vector):
            z, a = split(vector)[:2]
            dz, *cotangents = vjp(
                t, np.concatenate([z, np.zeros_like(q)], axis=1), np.concatenate([a, q], axis=1)
            )
            return np.concatenate([dz.ravel()] + [-g.ravel() for g in cotangents])

        zeros = np.zeros(ends[-1] - ends[1], dtype=dtype)
        begin = np.concatenate([last[:, :dim].ravel(), cotangent[:, :dim].ravel(), zeros])
        solution = solve(backward, begin, end, start, self.options)
        _, a, *g_arguments = split(solution.last)
        return a, g_arguments, solution.evaluations


# The continuous adjoint -------------------------------------------------------------------


@primitive
def solve_adjoint(
    system: System, start: float, end: float, state: Array, *arguments: Array
) -> Array:
    """Return the state at ``end``; its gradient takes one backward solve.

    Parameters
    ----------
    system : System
    start, end : float
    state : (N, S) array
    arguments : arrays
        Further inputs of the derivative besides t and the state, for instance the weights.
    """
    return system.solve(start, end, state, *arguments)


def adjoint(
    system: System, start: float, end: float, last: Array, cotangent: Array, *arguments: Array
) -> tuple[Array, list[Array], int]:
    """Return cotangents of the first state and of all arguments, given that of the last state.

    Parameters
    ----------
    system, start, end, arguments
        As in the solve from ``start`` to ``end``.
    last : (N, S) array
        The state at ``end``.
    cotangent : (N, S) array
        dE / d last.

    Returns
    -------
    g_state : (N, S) array
    g_arguments : list of arrays
    evaluations : int
        Number of calls of the backward right-hand side.
    """
    dim, dtype = system.moving, last.dtype
    size = np.sqrt(np.mean(np.square(cotangent, dtype=float))) if cotangent.size else 0.0
    if size == 0:
        return np.zeros_like(last), [np.zeros_like(a) for a in arguments], 0
    scaled = (cotangent / size).astype(dtype)
    a, g_arguments, evaluations = system.solve_back(start, end, last, scaled, *arguments)
    g_a = np.concatenate([a, scaled[:, dim:]], axis=1)
    return (g_a * dtype.type(size), [g * dtype.type(size) for g in g_arguments], evaluations)


def _solve_adjoint_vjp(argnums, last, values, kwargs):
    system, start, end, state, *arguments = values

    def vjp(cotangent):
        _check_order(last, values, cotangent)
        g_state, g_arguments, _ = adjoint(system, start, end, last, cotangent, *arguments)
        cotangents = [g_state, *g_arguments]
        return tuple(cotangents[k - 3] for k in argnums)

    return vjp


def _check_order(*values):
    """Refuse to differentiate the gradient of a solve again."""
    if boxes(*values):
        raise NotImplementedError("a continuous flow has first derivatives only, got a second one")


defvjp_argnums(solve_adjoint, _solve_adjoint_vjp)


# Through the steps ------------------------------------------------------------------------


def solve_direct(
    system: System, start: float, end: float, state: Array, *arguments: Array
) -> Array:
    """Return the state at ``end`` by rk4, with the exact gradient of its steps.

    No second solve is needed. For a gradient, the four stages of every step are kept: 4 x steps
    states.

    Parameters
    ----------
    system, start, end, state, arguments
        As for :func:`solve_adjoint`.
    """
    tracked = any(isbox(value) for value in (state, *arguments))
    return _steps(system, start, end, [] if tracked else None, state, *arguments)


@primitive
def _steps(system, start, end, kept, state, *arguments):
    if kept is None:
        return system.solve(start, end, state, *arguments)
    derivative = system.bind(*arguments)

    def keeping(t, stage):
        kept.append((t, stage))
        return derivative(t, stage)

    return solve(keeping, state, start, end, system.options).last


def _steps_vjp(argnums, last, values, kwargs):
    """Go one step back, for y_1 = y + h/6 (k_1 + 2 k_2 + 2 k_3 + k_4) with stages s_1 ... s_4.

    With J_i the derivative of g at s_i and g_y_1 given:

    1. g_k_4 = h/6 g_y_1,                 g_s_4 = g_k_4 J_4      (s_4 = y + h k_3)
    2. g_k_3 = h/3 g_y_1 + h g_s_4,     g_s_3 = g_k_3 J_3      (s_3 = y + h/2 k_2)
    3. g_k_2 = h/3 g_y_1 + h/2 g_s_3,   g_s_2 = g_k_2 J_2      (s_2 = y + h/2 k_1)
    4. g_k_1 = h/6 g_y_1 + h/2 g_s_2,   g_s_1 = g_k_1 J_1      (s_1 = y)
    5. g_y = g_y_1 + g_s_1 + g_s_2 + g_s_3 + g_s_4.
    """
    system, start, end, kept, state, *arguments = values
    vjp = system.bind_vjp(*arguments)
    h = (end - start) / system.options.steps
    dim = system.moving

    def back(cotangent):
        _check_order(last, values, cotangent)
        g_y = cotangent
        g_arguments = [np.zeros_like(argument) for argument in arguments]
        for first in range(len(kept) - 4, -1, -4):
            total = g_y.copy()
            g_stage = np.zeros_like(g_y[:, :dim])
            for k, weight, reach in (
                (3, h / 6, 0.0),
                (2, h / 3, h),
                (1, h / 3, h / 2),
                (0, h / 6, h / 2),
            ):
                g_k = weight * g_y
                g_k[:, :dim] += reach * g_stage
                _, g_stage, *cotangents = vjp(*kept[first + k], g_k)
                total[:, :dim] += g_stage
                g_arguments = [old + new for old, new in zip(g_arguments, cotangents)]
            g_y = total
        cotangents = [g_y, *g_arguments]
        return tuple(cotangents[k - 4] for k in argnums)

    return back


defvjp_argnums(_steps, _steps_vjp)
