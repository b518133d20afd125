"""Continuous flows from a formula for the velocity and one for its divergence.

A subclass has both in closed form, so no network is differentiated for the trace. The solver and
the adjoint are those of ``nfref/continuous``.
"""

import autograd.numpy as np
import numpy

from nfref.continuous.adjoint import System, solve_adjoint
from nfref.continuous.solve import WithOptions
from nfref.flow import Flow
from nfref.runtime import params as trees
from nfref.runtime.annotations import Any, Array, Callable
from nfref.runtime.autograd_internals import getval
from nfref.runtime.batching import merge_rows


class VelocityFlow(WithOptions, Flow):
    """The flow of dz/dt = f(z, t) from t = 0 (latent) to 1 (data), with the divergence of f.

    A subclass has the fields of the solver and ``_velocity_and_trace(params, t, rows)``, which
    returns (N, D) and (N,). All is solved in float64, for any dtype of the rows. Rows that
    are not finite become NaN.
    """

    _velocity_and_trace: Callable[..., Any]

    def _velocity(self, params, t, rows, context):
        """Return f(z, t), (N, D); t a float or (N, 1)."""
        return self._velocity_and_trace(params, t, rows)[0]

    def _forward(self, params, z, context):
        return self._solve(params, z, 0.0, 1.0)

    def _inverse(self, params, x, context):
        return self._solve(params, x, 1.0, 0.0)

    def _solve(self, params, rows, start, end):
        finite = numpy.isfinite(getval(rows)).all(axis=1)
        kept = rows if finite.all() else rows[finite]
        state = np.concatenate([kept, np.zeros((len(kept), 1))], axis=1).astype(numpy.float64)
        system = FormulaSystem(self, params)
        wide = trees.matching(system.layout, trees.cast(params, numpy.dtype(numpy.float64)))
        state = solve_adjoint(system, start, end, state, *wide).astype(rows.dtype)
        if not finite.all():
            lost = numpy.full((len(rows) - finite.sum(), self.dim + 1), numpy.nan, rows.dtype)
            state = merge_rows(finite, state, lost)
        return state[:, : self.dim], state[:, self.dim]


class FormulaSystem(System):
    """The joint right-hand side [velocity, divergence]; its arguments are the parameters."""

    def __init__(self, flow: VelocityFlow, params: Any) -> None:
        super().__init__(flow.options, flow.dim)
        self.flow, self.layout = flow, trees.tree_map(lambda leaf: 0, params)

    def bind(self, *arguments: Array) -> Callable[[float, Array], Array]:
        """Return the right-hand side as a function of t and the state."""
        params = trees.filled(self.layout, arguments)

        def derivative(t, state):
            velocity, trace = self.flow._velocity_and_trace(params, t, state[:, : self.moving])
            return np.concatenate([velocity, trace[:, None]], axis=1)

        return derivative
