"""A flow under ``with nfref.backend("cuda")``: its couplings on the device.

On the device: the transformer of every coupling layer, with the sum over the row. On the host:
the conditioner networks, ``constrain``, and all other members of a composition, by their
formulas. Rows and what the transformer takes (shifts and log-scales, knots, units) cross over for
every layer.

Gradients, and flows without a coupling layer, never come here: they take the ``numba`` twins.
"""

import numpy as np

from nfref.kernels.chain.instructions.instruction import twin_of
from nfref.kernels.cuda import coupling, sigmoid_mixture
from nfref.networks.activations import softplus
from nfref.runtime.autograd_internals import boxes
from nfref.runtime.params import at_path


def _additive(transformer, direction, rows, h):
    return coupling.additive_coupling(direction, rows, *h)


def _affine(transformer, direction, rows, h):
    if transformer.scale == "gate":  # z + (z - p) e^-r as z e^s + t, where e^s = 1 + e^-r
        p, raw = h
        h = -p * np.exp(-raw), softplus(-raw)
    return coupling.affine_coupling(direction, rows, *h)


def _spline(transformer, direction, rows, h):
    return coupling.spline_coupling(direction, rows, h, transformer.bound, transformer.circular)


def _sigmoids(transformer, direction, rows, h):
    return sigmoid_mixture.sigmoid_coupling(direction, rows, h)


def _logistics(transformer, direction, rows, h):
    a, b, mu, s, log_pi = h
    return sigmoid_mixture.logistic_coupling(direction, rows, a, b, (s, mu, log_pi))


# By the twin of the transformer: (transformer, direction, rows, h) -> (rows, log_det).
TWINS = {
    "additive": _additive,
    "affine": _affine,
    "spline": _spline,
    "deep_sigmoid": _sigmoids,
    "logistic_mixture": _logistics,
}


def apply(flow, direction, params, rows, context):
    """Apply a flow in a direction; return None for gradients, and without a coupling layer."""
    members = flow.members(direction)
    if (
        rows.dtype not in (np.float32, np.float64)
        or boxes(rows, context, params)
        or not any(_has_twin(member) for member, _, _ in members)
    ):
        return None
    total = None
    for member, sign, path in members:
        own = at_path(params, path)
        if _has_twin(member):
            given = context if member.context_dim else None
            kept, changed = member.halves(rows)
            h = [np.ascontiguousarray(array) for array in member.conditioner(own, kept, given)]
            changed, log_det = TWINS[twin_of(member.transformer)](
                member.transformer, sign, np.ascontiguousarray(changed), h
            )
            rows = member.joined(kept, changed)
        else:
            rows, log_det = member._apply(sign, own, rows, context)
        total = log_det if total is None else total + log_det
    return rows, total


def _has_twin(flow):
    return twin_of(flow) == "coupling" and twin_of(flow.transformer) in TWINS
