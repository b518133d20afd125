r"""The continuous normalizing flow: neural ODE, FFJORD.

Sources: Chen et al. 2018, arXiv:1806.07366; Grathwohl et al. 2019, arXiv:1810.01367.

    .. math::

        \frac{dz}{dt} = f(z, t, c), \quad z(0) = z, \quad z(1) = x, \qquad
        \log \left|\det \frac{dx}{dz}\right|
            = \int_0^1 \operatorname{tr} \frac{\partial f}{\partial z} \, dt.

``forward`` solves from t = 0 to 1, ``inverse`` from t = 1 to 0. The formulas (velocity,
trace, joint right-hand side) are in ``nfref/continuous/dynamics.py``. Cost: one pass of the
network and one trace for each evaluation of the solver.
"""

from dataclasses import dataclass, field, replace

import autograd.numpy as np
import numpy

from nfref.continuous import dynamics
from nfref.continuous.adjoint import System, solve_adjoint, solve_direct
from nfref.continuous.dynamics_vjp import exact_vjp
from nfref.continuous.solve import WithOptions, solve
from nfref.flow import Flow
from nfref.networks.mlp import init_mlp
from nfref.runtime import blas, dispatch
from nfref.runtime import params as trees
from nfref.runtime.annotations import Any, Array, Callable, Generator, Sequence
from nfref.runtime.autograd_internals import getval
from nfref.runtime.batching import context_of, merge_rows
from nfref.runtime.checks import (
    as_array,
    check_choice,
    check_count,
    check_hidden,
    check_rng,
    one_of,
)

NOISES = ("rademacher", "gaussian")


@dataclass(frozen=True)
class CNF(WithOptions, Flow):
    """A continuous normalizing flow with an MLP for its velocity.

    It starts as the identity (the network's last layer is zero). The rows of a batch are
    solved together, see ``nfref/continuous/solve.py`` for the error norm. A solve that
    fails raises :class:`nfref.continuous.solve.SolverError`.

    Parameters
    ----------
    dim : int
        D.
    hidden : sequence of int, default (64, 64)
        Hidden widths of the velocity network; without any the dynamics are affine in
        (z, t, c).
    context_dim : int, default 0
        Context features C that the network also reads.
    activation : {"tanh", "softplus"}, default "tanh"
    trace : {"exact", "hutchinson", "brute"}, default "exact"
        ``exact`` costs one H x H product per row and needs at most two hidden layers.
        ``brute`` costs D passes. ``hutchinson`` costs one pass per probe and is noisy; its
        probes come from :meth:`with_probes` and are fixed for that flow.
    solver : {"rk45", "dop853", "lsoda", "rk4"}, default "rk45"
    rtol, atol : float, default 1e-05
        Tolerances of the adaptive solvers, for the whole joint state.
    steps : int, default 20
        Equal steps of rk4.
    gradient : {"adjoint", "direct"}, default "adjoint"
        ``adjoint``: a backward solve with the same solver. ``direct``: through the steps of
        rk4, exact for them; needs solver "rk4". Either is a first derivative; a second one is an
        error.
    max_evaluations : int, default 10000
        Bound on the calls of the right-hand side in one solve.
    probes : (K, N, D) array, optional
        Probes of the Hutchinson trace; made by :meth:`with_probes`.

    Examples
    --------
    >>> import numpy as np, nfref
    >>> flow = nfref.CNF(2, hidden=(32, 32))
    >>> params = flow.init(np.random.default_rng(0))
    >>> x, log_det = flow.forward(params, np.zeros((3, 2)))
    >>> x.shape, log_det.shape
    ((3, 2), (3,))
    """

    dim: int
    hidden: Sequence[int] = (64, 64)
    context_dim: int = 0
    activation: str = "tanh"
    trace: str = "exact"
    solver: str = "rk45"
    rtol: float = 1e-5
    atol: float = 1e-5
    steps: int = 20
    gradient: str = "adjoint"
    max_evaluations: int = 10_000
    probes: Array | None = field(default=None, compare=False, repr=False)

    _converters = {
        "hidden": check_hidden,
        "activation": one_of(dynamics.ACTIVATIONS),
        "trace": one_of(dynamics.TRACES),
        "gradient": one_of(("adjoint", "direct")),
        "probes": as_array,
    }

    def __post_init__(self):
        super().__post_init__()
        if self.probes is not None and (self.probes.ndim != 3 or self.probes.shape[2] != self.dim):
            raise ValueError(f"probes: expected shape (K, N, {self.dim}), got {self.probes.shape}")
        if self.trace == "exact" and len(self.hidden) > dynamics.EXACT_LAYERS:
            raise ValueError(
                "trace: expected 'brute' or 'hutchinson' for more than "
                f"{dynamics.EXACT_LAYERS} hidden layers, got 'exact' with {len(self.hidden)}"
            )
        if self.gradient == "direct" and self.solver != "rk4":
            raise ValueError(
                "gradient: expected 'adjoint', because 'direct' needs the fixed steps "
                f"of solver 'rk4'; got 'direct' with {self.solver!r}"
            )

    def with_probes(
        self, rng: Generator, rows: int, count: int = 1, noise: str = "rademacher"
    ) -> "CNF":
        """Return the flow with Hutchinson's trace and fresh probes, for batches of ``rows`` rows.

        Parameters
        ----------
        rng : numpy.random.Generator
        rows : int
            N: every row has its own probes.
        count : int
            K: the estimate is the mean over K probes.
        noise : {"rademacher", "gaussian"}

        Returns
        -------
        CNF
        """
        check_rng(rng)
        check_choice("noise", noise, NOISES)
        shape = (check_count("count", count), check_count("rows", rows, minimum=0), self.dim)
        if noise == "gaussian":
            probes = rng.standard_normal(shape)
        else:
            probes = rng.integers(0, 2, shape) * 2.0 - 1.0
        return replace(self, trace="hutchinson", probes=probes)

    def velocity(
        self, params: dict[str, Any], t: float | Array, z: Array, context: Array | None = None
    ) -> Array:
        """Return dz/dt = f(z, t, c).

        Parameters
        ----------
        params : dict
        t : float or (N, 1) array
        z : (N, D) array
        context : (N, C) array, optional

        Returns
        -------
        (N, D) array
        """
        params, z, context = self._checked(params, "z", z, context)
        return self._velocity(params, t, z, context)

    def trajectory(
        self,
        params: dict[str, Any],
        rows: Array,
        times: Sequence[float] = (0.0, 1.0),
        context: Array | None = None,
        norm: str | None = None,
    ) -> "Trajectory":
        """Follow rows through time, and count the evaluations.

        Parameters
        ----------
        params : dict
        rows : (N, D) array
            Positions at ``times[0]``.
        times : sequence of float, monotone
            (0, 1) is the forward direction, (1, 0) the inverse direction.
        context : (N, C) array, optional
        norm : {"exact", "hutchinson", "brute"}, optional
            Also integrate the penalties |f|^2 and |df/dz|_F^2, the latter by this method.

        Returns
        -------
        Trajectory
        """
        params, rows, context = self._checked(params, "rows", rows, context)
        system = NeuralSystem(self, context is not None, norm)
        derivative = system.bind(*system.arguments(params, context))
        solution = solve(
            derivative,
            system.start(rows),
            float(times[0]),
            float(times[-1]),
            self.options,
            times=times,
            bandwidth=system.columns - 1,
        )
        states = solution.states
        rows, log_det = states[:, :, : self.dim], states[:, :, self.dim]
        more = [states[:, :, self.dim + k] for k in range(1, system.columns - self.dim)]
        penalties = more or (None, None)
        return Trajectory(solution.times, rows, log_det, *penalties, solution.evaluations)

    def solve_with_penalties(
        self, params: dict[str, Any], rows: Array, context: Array | None, norm: str | None
    ) -> tuple[Array, Array, Array, Array]:
        """Return inverse, log_det, and the path's kinetic energy and Frobenius norm.

        All are differentiable. Arguments are not checked; this is for objectives. Penalties are
        integrals over |dt|. Returns arrays (N, D), (N,), (N,), (N,).
        """
        last = self._solve(params, rows, context, 1.0, 0.0, norm)
        dim = self.dim
        return last[:, :dim], last[:, dim], -last[:, dim + 1], -last[:, dim + 2]

    def _velocity(self, params, t, rows, context):
        return dynamics.velocity(params["net"], t, rows, context, self.activation)[0]

    def _init(self, rng):
        return {"net": init_mlp(rng, (self.dim + 1 + self.context_dim, *self.hidden, self.dim))}

    def _forward(self, params, z, context):
        last = self._solve(params, z, context, 0.0, 1.0)
        return last[:, : self.dim], last[:, self.dim]

    def _inverse(self, params, x, context):
        last = self._solve(params, x, context, 1.0, 0.0)
        return last[:, : self.dim], last[:, self.dim]

    def _solve(self, params, rows, context, start, end, norm=None):
        finite = numpy.isfinite(getval(rows)).all(axis=1)
        if context is not None:
            finite = finite & numpy.isfinite(getval(context)).all(axis=1)
        if finite.all() or self.probes is not None and self.probes.shape[1] != len(rows):
            return self._solve_finite(params, rows, context, start, end, norm)
        # All rows share one step size. A row that is not finite would end the solve of all, or
        # affect the step control. So the others are solved without it.
        columns = self.dim + (1 if norm is None else 3)
        lost = numpy.full((len(rows) - finite.sum(), columns), numpy.nan, dtype=rows.dtype)
        if not finite.any():
            return lost
        context = context_of(context, finite)
        flow = self if self.probes is None else replace(self, probes=self.probes[:, finite])
        return merge_rows(
            finite, flow._solve_finite(params, rows[finite], context, start, end, norm), lost
        )

    def _solve_finite(self, params, rows, context, start, end, norm):
        system = NeuralSystem(self, context is not None, norm)
        run = solve_direct if self.gradient == "direct" else solve_adjoint
        return run(system, start, end, system.start(rows), *system.arguments(params, context))


@dataclass(frozen=True)
class Trajectory:
    """The paths of rows through time.

    Attributes
    ----------
    times : (T,) array
    values : (T, N, D) array
        Positions at each time.
    log_det : (T, N) array
        log |det d value / d rows|, from ``times[0]`` to each time.
    kinetic, jacobian : (T, N) array or None
        Integrals of |f|^2 and |df/dz|_F^2 dt (negative when time runs backwards).
    evaluations : int
        Number of calls of the right-hand side.
    """

    times: Array
    values: Array
    log_det: Array
    kinetic: Array | None
    jacobian: Array | None
    evaluations: int


class NeuralSystem(System):
    """The joint right-hand side of a CNF, for :mod:`nfref.continuous.adjoint`.

    Its arguments are the context, if there is one, then weight and bias of each layer.
    """

    def __init__(self, flow: CNF, has_context: bool, norm: str | None = None) -> None:
        super().__init__(flow.options, flow.dim)
        self.flow, self.has_context, self.norm = flow, has_context, norm
        self.columns = flow.dim + (1 if norm is None else 3)

    def start(self, rows: Array) -> Array:
        """Return the initial state: ``rows``, and zero for all integrals."""
        flow = self.flow
        needs_probes = "hutchinson" in (flow.trace, self.norm)
        if needs_probes and (flow.probes is None or flow.probes.shape[1] != len(rows)):
            came = "none" if flow.probes is None else f"probes for {flow.probes.shape[1]} rows"
            raise ValueError(
                f"probes: expected probes for {len(rows)} rows, made by "
                f"flow.with_probes(rng, {len(rows)}); got {came}"
            )
        zeros = np.zeros((len(rows), self.columns - flow.dim), dtype=rows.dtype)
        return np.concatenate([rows, zeros], axis=1)

    def arguments(self, params: dict[str, Any], context: Array | None) -> list[Any]:
        """Return the arguments: the context, if there is one, then all weights and biases."""
        net = params["net"]
        layers = [
            net[k][name] for k in range(len(self.flow.hidden) + 1) for name in ("weight", "bias")
        ]
        return ([context] if self.has_context else []) + layers

    def unpack(self, arguments: Sequence[Any]) -> tuple[list[dict[str, Array]], Array | None]:
        """Return (net, context) from the arguments."""
        context, layers = (arguments[0], arguments[1:]) if self.has_context else (None, arguments)
        net = [{"weight": weight, "bias": bias} for weight, bias in zip(layers[::2], layers[1::2])]
        return net, context

    def fixed(self, net: list[dict[str, Array]]) -> dynamics.Fixed:
        """Return the constants of one solve."""
        flow = self.flow
        probes = flow.probes
        if probes is not None:
            probes = probes.astype(net[0]["weight"].dtype)
        with blas.one_thread():
            return dynamics.Fixed(
                probes=probes,
                matrix=dynamics.trace_matrix(net) if flow.trace == "exact" else None,
                gram=dynamics.norm_matrix(net) if self.norm == "exact" else None,
            )

    def run(
        self,
        name: str,
        formula: Callable[..., Any],
        net: list[dict[str, Array]],
        context: Array | None,
        fixed: dynamics.Fixed,
        *others: Any,
    ) -> Any:
        """Return ``formula(*others)``, computed by its twin if there is one."""
        if self.flow.trace != "exact" or self.norm is not None:
            return formula(*others)
        first = net, context, fixed, self.flow.activation
        return dispatch.run(
            name, lambda *arguments: formula(*arguments[len(first) :]), *first, *others
        )

    def bind(self, *arguments: Array) -> Callable[[float, Array], Array]:
        """Return the right-hand side as a function of t and the state."""
        net, context = self.unpack(arguments)
        fixed = self.fixed(net)
        activation, trace, norm = self.flow.activation, self.flow.trace, self.norm

        def formula(t, state):
            return dynamics.right_hand_side(net, t, state, context, fixed, activation, trace, norm)

        return lambda t, state: self.run("derivative", formula, net, context, fixed, t, state)

    def bind_vjp(self, *arguments: Array) -> Callable[[float, Array, Array], tuple[Any, ...]]:
        """Return the derivative by hand where there is one, by autograd's tape elsewhere."""
        if self.flow.trace != "exact" or self.norm not in (None, "exact"):
            return super().bind_vjp(*arguments)
        net, context = self.unpack(arguments)
        fixed, activation = self.fixed(net), self.flow.activation

        def formula(t, state, cotangent):
            return exact_vjp(net, t, state, cotangent, context, fixed, activation)

        def vjp(t, state, cotangent):
            f, g_z, g_context, g_net = self.run(
                "derivative_vjp", formula, net, context, fixed, t, state, cotangent
            )
            return (f, g_z, *([] if context is None else [g_context]), *trees.leaves(g_net))

        return vjp

    def solve(self, start: float, end: float, state: Array, *arguments: Array) -> Array:
        """Return the state at ``end``."""
        return self._whole("solution", super().solve, arguments, start, end, state)

    def solve_back(
        self, start: float, end: float, last: Array, cotangent: Array, *arguments: Array
    ) -> tuple[Array, list[Array], int]:
        """Solve backwards; see :meth:`System.solve_back`."""
        return self._whole("adjoint", super().solve_back, arguments, start, end, last, cotangent)

    def _whole(self, name, formula, arguments, *given):
        """Run a whole solve by ``formula(*given, *arguments)``, or by its twin."""
        net, context = self.unpack(arguments)

        def whole(*others):
            return formula(*others[:-1], *arguments)

        return self.run(name, whole, net, context, self.fixed(net), *given, self.options)
