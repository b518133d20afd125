"""A flow under ``with nfref.backend("cuda")``: its couplings on the device.

On the device: the affine or additive map of every coupling layer, with the sum over the row.
On the host: the conditioner networks and all other members of a composition, by their
formulas. Rows, shifts and log-scales cross over for every layer.

Gradients, and flows without a coupling layer, never come here: they take the ``numba`` twins.
"""

import numpy as np

from nfref.kernels.cuda import coupling
from nfref.kernels.names import twin_of
from nfref.kernels.tracing import boxes
from nfref.params import at_path

# By the twin of the transformer, and by direction.
TWINS = {"affine": {1: coupling.affine_coupling_forward, -1: coupling.affine_coupling_inverse},
         "additive": {1: coupling.additive_coupling_forward,
                      -1: coupling.additive_coupling_inverse}}


def apply(flow, direction, params, rows, context):
    """A flow in a direction; None for gradients, and where there is no coupling layer."""
    members = flow.members(direction)
    if (rows.dtype not in (np.float32, np.float64) or boxes(rows, context, params)
            or not any(_has_twin(member) for member, _, _ in members)):
        return None
    total = None
    for member, sign, path in members:
        own = at_path(params, path)
        if _has_twin(member):
            given = context if member.context_dim else None
            kept, changed = member.halves(rows)
            changed, log_det = TWINS[twin_of(member.transformer)][sign](
                *map(np.ascontiguousarray, (changed, *member.conditioner(own, kept, given))))
            rows = member.joined(kept, changed)
        else:
            rows, log_det = member._apply(sign, own, rows, context)
        total = log_det if total is None else total + log_det
    return rows, total


def _has_twin(flow):
    return twin_of(flow) == "coupling" and twin_of(flow.transformer) in TWINS
