"""A flow under ``with nfref.backend("cuda")``: its couplings on the device.

On the device: the affine or additive map of every coupling layer, with the sum over the row.
On the host: the conditioner networks and all other members of a composition, by their
formulas. Rows, shifts and log-scales cross over for every layer.

Gradients, and flows without a coupling layer, never come here: they take the ``numba`` twins.
"""

import numpy as np

from nfref.flow import Composition, Invert, context_for
from nfref.flows.coupling import Coupling
from nfref.kernels.cuda import coupling
from nfref.transformers.additive import Additive
from nfref.transformers.affine import Affine

TWINS = {Affine: {1: coupling.affine_coupling_forward, -1: coupling.affine_coupling_inverse},
         Additive: {1: coupling.additive_coupling_forward,
                    -1: coupling.additive_coupling_inverse}}


def holds_coupling(flow):
    """Whether there is anything to do for the device."""
    if type(flow) is Invert:
        return holds_coupling(flow.flow)
    if _composes(flow):
        return any(holds_coupling(member) for member in flow.flows)
    return _has_twin(flow)


def run(flow, direction, params, rows, context):
    """``flow._forward`` (direction 1) or ``flow._inverse`` (-1)."""
    if type(flow) is Invert:
        return run(flow.flow, -direction, params, rows, context_for(flow.flow, context))
    if _composes(flow):
        total = None
        for k in range(len(flow.flows))[::direction]:
            member = flow.flows[k]
            rows, log_det = run(member, direction, params[k], rows, context_for(member, context))
            total = log_det if total is None else total + log_det
        return rows, total
    if _has_twin(flow):
        kept, changed = flow.halves(rows)
        changed, log_det = TWINS[type(flow.transformer)][direction](
            *map(np.ascontiguousarray, (changed, *flow.conditioner(params, kept, context))))
        return flow.joined(kept, changed), log_det
    return (flow._forward if direction == 1 else flow._inverse)(params, rows, context)


def _has_twin(flow):
    return type(flow) is Coupling and type(flow.transformer) in TWINS


def _composes(flow):
    """Whether a composition composes as all do, and not in a way of its own."""
    return (isinstance(flow, Composition) and type(flow)._forward is Composition._forward
            and type(flow)._inverse is Composition._inverse)
