"""Every flow once more, written from its paper, one row and one number at a time.

These are the third, independent derivation: plain loops over mpmath numbers at whatever
precision is set, no arrays, no masks by multiplication, no log-determinants. They share
nothing with the formulas but the layout of the parameters. ``MAPS`` gives for each class
of flow the function ``(flow, params, z, context) -> x`` where z, context and x are lists.
"""

import mpmath as mp
import numpy as np

from nfref import params as trees
from nfref.flow import Chain, Invert
from nfref.flows.autoregressive import MADE, MAF
from nfref.flows.batch_norm import BatchNorm
from nfref.flows.coupling import NICE, AdditiveCoupling, AffineCoupling, RealNVP
from nfref.flows.elementwise import ElementwiseAffine, Logit, Scale, Standardise
from nfref.flows.planar import Planar, PlanarLayer
from nfref.oracle.multiprecision import exact, solve


def dot(a, b):
    return mp.fsum(p * q for p, q in zip(a, b))


# Networks ---------------------------------------------------------------------------------


def activate(name, value):
    if name == "relu":
        return value if value > 0 else mp.mpf(0)
    return mp.tanh(value) if name == "tanh" else mp.log(1 + mp.exp(value))


def network(params, inputs, activation, sees=lambda layer, source, target: True):
    """An MLP; a connection takes part where ``sees(layer, source, target)``."""
    values = inputs
    for layer, parameters in enumerate(params):
        weight, bias = exact(parameters["weight"]), exact(parameters["bias"])
        values = [bias[t] + mp.fsum(value * weight[s][t] for s, value in enumerate(values)
                                    if sees(layer, s, t))
                  for t in range(len(bias))]
        if layer + 1 < len(params):
            values = [activate(activation, value) for value in values]
    return values


def squash(raw, bound):
    """The bounded log-scale r / sqrt(1 + (r/B)^2)."""
    return raw / mp.sqrt(1 + (raw / mp.mpf(bound)) ** 2)


# Planar (Rezende and Mohamed 2015, eq. 10 and appendix A.1) ---------------------------------


def planar(flow, params, z, context):
    u, w, b = exact(params["u"]), exact(params["w"]), exact(params["b"])[0]
    if flow.context_dim:
        columns = list(zip(*exact(params["from_context"])))
        change = [dot(column, context) for column in columns]
        u = [value + change[i] for i, value in enumerate(u)]
        w = [value + change[flow.dim + i] for i, value in enumerate(w)]
        b = b + change[2 * flow.dim]
    w_u, w_w = dot(w, u), dot(w, w)
    m = -1 + mp.log(1 + mp.exp(w_u))
    u_hat = [ui + (m - w_u) * wi / w_w for ui, wi in zip(u, w)] if w_w else u
    h = mp.tanh(dot(w, z) + b)
    return [zi + ui * h for zi, ui in zip(z, u_hat)]


# Coupling (Dinh et al. 2014, 2016) ----------------------------------------------------------


def coupling_outputs(flow, params, z, context):
    """For each changing coordinate the numbers the network gives for it."""
    stay = [z[i] for i in range(flow.dim) if flow.mask[i]]
    changing = [i for i in range(flow.dim) if not flow.mask[i]]
    outputs = network(params["net"], stay + context, flow.activation)
    return {i: outputs[k::len(changing)] for k, i in enumerate(changing)}


def additive_coupling(flow, params, z, context):
    outputs = coupling_outputs(flow, params, z, context)
    return [z[i] + outputs[i][0] if i in outputs else z[i] for i in range(flow.dim)]


def affine_coupling(flow, params, z, context):
    outputs = coupling_outputs(flow, params, z, context)
    return [z[i] * mp.exp(squash(outputs[i][1], flow.bound)) + outputs[i][0]
            if i in outputs else z[i] for i in range(flow.dim)]


# Autoregressive (Papamakarios et al. 2017, eq. 3) -------------------------------------------


def made(flow, params, z, context):
    dim = flow.dim
    lowest = 0 if flow.context_dim else 1
    levels = max(dim - lowest, 1)

    def degree(layer, unit):
        """How many coordinates, counted in the order, unit ``unit`` of ``layer`` may see."""
        if layer == 0:
            return flow.order[unit] + 1 if unit < dim else 0
        if layer == len(params["net"]):
            return flow.order[unit % dim]
        return lowest + unit * levels // flow.hidden[layer - 1]

    def sees(layer, source, target):
        return degree(layer, source) <= degree(layer + 1, target)

    x = [mp.mpf(0)] * dim
    for i in sorted(range(dim), key=lambda i: flow.order[i]):
        outputs = network(params["net"], x + context, flow.activation, sees)
        x[i] = z[i] * mp.exp(squash(outputs[dim + i], flow.bound)) + outputs[i]
    return x


# One coordinate at a time ---------------------------------------------------------------------


def scale(flow, params, z, context):
    return [zi * mp.exp(s) for zi, s in zip(z, exact(params["log_scale"]))]


def elementwise_affine(flow, params, z, context):
    return [zi * mp.exp(s) + t
            for zi, s, t in zip(z, exact(params["log_scale"]), exact(params["shift"]))]


def standardise(flow, params, z, context):
    return [mp.mpf(mean) + mp.mpf(std) * zi for zi, mean, std in zip(z, flow.mean, flow.std)]


def logit(flow, params, z, context):
    return [zi if low is None else low + (mp.mpf(high) - low) / (1 + mp.exp(-zi))
            for zi, low, high in zip(z, flow.lower, flow.upper)]


def batch_norm(flow, params, z, context):
    mean, variance = exact(params["running_mean"]), exact(params["running_variance"])
    beta, gamma = exact(params["shift"]), exact(params["log_scale"])
    return [(z[i] - beta[i]) * mp.exp(-gamma[i]) * mp.sqrt(variance[i] + mp.mpf(flow.epsilon))
            + mean[i] for i in range(flow.dim)]


# Composition --------------------------------------------------------------------------------


def chain(flow, params, z, context):
    for member, parameters in zip(flow.flows, params):
        z = forward(member, parameters, z, context)
    return z


def invert(flow, params, z, context):
    """Newton's method on the map that is turned around, from where float64 puts the root."""
    floats = trees.tree_map(lambda leaf: np.array(leaf, dtype=float), params)
    start = flow.forward(floats, np.array([z], dtype=float),
                         np.array([context], dtype=float) if context else None)[0]
    return solve(lambda row: forward(flow.flow, params, row, context), z, exact(start[0]))


MAPS = {
    PlanarLayer: planar, Planar: chain,
    AdditiveCoupling: additive_coupling, AffineCoupling: affine_coupling,
    NICE: chain, RealNVP: chain,
    MADE: made, MAF: chain,
    Scale: scale, ElementwiseAffine: elementwise_affine,
    Standardise: standardise, Logit: logit, BatchNorm: batch_norm,
    Chain: chain, Invert: invert,
}


def forward(flow, params, z, context=()):
    """x = flow(z) for one row.

    Parameters
    ----------
    flow : Flow
        Of a class in ``MAPS``.
    params : nested dicts and lists of arrays
        Of floats, or of mpmath numbers (dtype object).
    z, context : list of mpmath numbers

    Returns
    -------
    list of mpmath numbers
    """
    return MAPS[type(flow)](flow, params, list(z), list(context))
