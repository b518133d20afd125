r"""Maximum likelihood for continuous flows, with the path penalties of RNODE.

Source: Finlay, Jacobsen, Nurbekyan, Oberman 2020, arXiv:2002.02798.

    .. math::

        \mathrm{loss} = \text{mean over rows of } -\log p(x) + \lambda_k \int_0^1 |f|^2 \, dt
            + \lambda_j \int_0^1 \left|\frac{\partial f}{\partial z}\right|_F^2 dt

The kinetic energy makes paths straight and slow, the Frobenius norm makes neighbouring
paths alike; both reduce the work of the solver. The penalties are columns of the same solve.

Differs from the published code: nothing is divided by D, so the loss without penalties is in
nats per row; probes are Rademacher by default, there Gaussian.
"""

from dataclasses import dataclass, replace

import autograd.numpy as np

from nfref.continuous.dynamics import TRACES
from nfref.flow import context_for
from nfref.flows.continuous import CNF, NOISES
from nfref.objectives.objective import Objective
from nfref.runtime.annotations import Any
from nfref.runtime.checks import check_count, one_of
from nfref.runtime.params import at_path


def check_penalty(name: str, value: Any) -> float:
    """Return the weight of a penalty, which must be finite and at least 0."""
    if not 0 <= value < np.inf:
        raise ValueError(f"{name}: expected a finite number of at least 0, got {value}")
    return value


@dataclass(frozen=True)
class PathLikelihood(Objective):
    """An objective: negative log-likelihood with the penalties of RNODE on every CNF's path.

    The density's flow is a CNF or a chain that contains some. It may use the exact trace for
    scoring while training uses a noisy one.

    Parameters
    ----------
    kinetic : float
        lambda_k, at least 0.
    jacobian : float
        lambda_j, at least 0. The Frobenius norm is exact with at most one hidden layer and
        the exact trace, or with the brute trace; otherwise it is estimated with probes.
    trace : {"exact", "hutchinson", "brute"}, optional
        The trace to train with; the flow's own if omitted.
    probes : int
        Number of new probes per row and call, if probes are needed.
    noise : {"rademacher", "gaussian"}
    """

    kinetic: float = 0.0
    jacobian: float = 0.0
    trace: str | None = None
    probes: int = 1
    noise: str = "rademacher"

    _converters = {
        "kinetic": check_penalty,
        "jacobian": check_penalty,
        "trace": one_of(TRACES),
        "probes": check_count,
        "noise": one_of(NOISES),
    }

    def _loss(self, density, params, x, context, rng):
        z, log_det, kinetic, jacobian = self._inverse(density.flow, params["flow"], x, context, rng)
        if kinetic is None:
            raise ValueError(
                f"density: expected a CNF in its flow, got {type(density.flow).__name__}"
            )
        nats = -(density.base.log_prob(params["base"], z) + log_det)
        return np.mean(nats + self.kinetic * kinetic + self.jacobian * jacobian)

    def _inverse(self, flow, params, x, context, rng):
        """Return ``flow._inverse`` and the penalties of the CNFs in it, None without any."""
        totals = [np.zeros(len(x), dtype=x.dtype), None, None]
        for member, direction, path in flow.members(-1):
            own, given = at_path(params, path), context_for(member, context)
            if isinstance(member, CNF) and direction == -1:
                x, *terms = self._continuous_inverse(member, own, x, given, rng)
            else:
                x, *terms = (*member._apply(direction, own, x, context), None, None)
            totals = [
                old if new is None else new if old is None else old + new
                for old, new in zip(totals, terms)
            ]
        return x, *totals

    def _continuous_inverse(self, flow, params, x, context, rng):
        trace = self.trace or flow.trace
        norm = None
        if self.kinetic or self.jacobian:
            norm = "hutchinson" if trace == "exact" and len(flow.hidden) > 1 else trace
        if "hutchinson" in (trace, norm):
            flow = flow.with_probes(rng, len(x), self.probes, self.noise)
        flow = replace(flow, trace=trace)
        if norm is None:
            nothing = np.zeros(len(x), dtype=x.dtype)
            return *flow._inverse(params, x, context), nothing, nothing
        return flow.solve_with_penalties(params, x, context, norm)
