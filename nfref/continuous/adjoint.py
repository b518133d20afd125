"""Gradients of a solve: the continuous adjoint, and differentiation through the steps.

Source: neural ODE (Chen et al. 2018, arXiv:1806.07366), section 2 and appendix B.

Let y = [z, integrals] solve dy/dt = g(t, z; theta) from t_0 to t_1, and let E depend on y(t_1).

1. The adjoint a(t) = dE/dy(t) obeys da/dt = -a dg/dy (neural ODE, section 2, eq. 4).
2. g reads z only, so the part of a that belongs to the integrals is constant: q.
3. dE/dtheta = integral from t_0 to t_1 of [a_z, q] dg/dtheta dt (section 2, eq. 5).
4. So [z, a_z, dE/dtheta] is solved from t_1 back to t_0, starting at [z(t_1), a_z(t_1), 0].
   Nothing is stored on the way forward: z is found again by solving backwards, which is
   accurate as long as the flow doesn't contract z by more than the tolerance resolves.
5. The adjoint is linear in its end value. It is solved for [a_z, q] / r with r the root mean
   square of [a_z, q], and the result multiplied by r, so that atol means the same for
   a mean over the rows as for a sum.
"""

import numpy as np
from autograd import make_vjp

from nfref.continuous.solve import solve
from nfref.runtime.annotations import Any, Array
from nfref.runtime.autograd_internals import defvjp_argnums, isbox, primitive

# What is solved ---------------------------------------------------------------------------


class System:
    """A right-hand side with arguments, and its derivative.

    ``options``: of the solve. ``moving``: how many leading columns of the state the
    derivative reads (D); the other columns are integrals along the path.
    """

    def __init__(self, options: Any, moving: Any) -> None:
        self.options = options
        self.moving = moving

    def bind(self, *arguments):
        """The function (t, (N, S) state) -> (N, S) array, written with autograd.numpy.

        What only the arguments decide is computed here, once per solve.
        """
        raise NotImplementedError

    def bind_vjp(self, *arguments):
        """The function ``(t, state, cotangent) -> (derivative, g_state, *g_arguments)``.

        The first two hold the moving columns alone, (N, D). By default autograd's tape.
        """

        def vjp(t, state, cotangent):
            back, value = make_vjp(lambda tracked: self.bind(*tracked[1:])(t, tracked[0]))(
                (state, *arguments)
            )
            g_state, *g_arguments = back(cotangent)
            return (value[:, : self.moving], g_state[:, : self.moving], *g_arguments)

        return vjp

    def solve(self, start, end, state, *arguments):
        """The state at ``end``."""
        # Rows don't interact, so the Jacobian is block diagonal, with one block a row.
        return solve(
            self.bind(*arguments), state, start, end, self.options, bandwidth=state.shape[1] - 1
        ).last

    def solve_back(self, start, end, last, cotangent, *arguments):
        """Step 4: the moving columns' adjoint, a list of g_arguments, and evaluations."""
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

        begin = np.concatenate(
            [
                last[:, :dim].ravel(),
                cotangent[:, :dim].ravel(),
                np.zeros(ends[-1] - ends[1], dtype=dtype),
            ]
        )
        solution = solve(backward, begin, end, start, self.options)
        _, a, *g_arguments = split(solution.last)
        return a, g_arguments, solution.evaluations


# The continuous adjoint -------------------------------------------------------------------


@primitive
def solve_adjoint(system: System, start: float, end: float, state: Array, *arguments: Any) -> Any:
    """The state at ``end``; its gradient in the state and the arguments is one backward solve.

    Parameters
    ----------
    system : System
    start, end : float
    state : (N, S) array
    arguments : arrays
        What the derivative depends on besides t and the state, for instance the weights.
    """
    return system.solve(start, end, state, *arguments)


def adjoint(
    system: Any, start: Any, end: Any, last: Array, cotangent: Array, *arguments: Any
) -> tuple[Array, list[Array], int]:
    """Cotangents of the first state and of all arguments for a cotangent of the last state.

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
        How often the backward right-hand side was called.
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
        g_state, g_arguments, _ = adjoint(system, start, end, last, cotangent, *arguments)
        cotangents = [g_state, *g_arguments]
        return tuple(cotangents[k - 3] for k in argnums)

    return vjp


defvjp_argnums(solve_adjoint, _solve_adjoint_vjp)


# Through the steps ------------------------------------------------------------------------


def solve_direct(system: Any, start: Any, end: Any, state: Any, *arguments: Any) -> Any:
    """The state at ``end`` by rk4, and the exact gradient of what its steps compute.

    No second solve is needed. While a gradient is being taken, the four stages of every step
    are kept, which is 4 x steps states.

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
    """One step back, for y_1 = y + h/6 (k_1 + 2 k_2 + 2 k_3 + k_4) with stages s_1 ... s_4.

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
