"""Layers with a conditioner network: couplings and MADE."""

import numpy as np

from nfref.kernels.chain import interpreter as chain
from nfref.kernels.chain.instructions.instruction import Layer
from nfref.kernels.chain.network import ACTIVATIONS
from nfref.kernels.names import twin_of
from nfref.networks.masked import even_degrees

UNITS = 64                                  # hidden units in one step of a staircase


def net_arrays(params, dtype):
    return [array for layer in params["net"] for array in (layer["weight"], layer["bias"])]


def net_cotangent(widths, cotangent):
    """{"net": ...} of views into the cotangent of a network's numbers, in their order."""
    layers, at = [], 0
    for fan_in, fan_out in zip(widths[:-1], widths[1:]):
        middle, end = at + fan_in * fan_out, at + (fan_in + 1) * fan_out
        layers.append({"weight": cotangent[at:middle].reshape(fan_in, fan_out),
                       "bias": cotangent[middle:end]})
        at = end
    return {"net": layers}


def _net_size(widths):
    return sum((fan_in + 1) * fan_out for fan_in, fan_out in zip(widths[:-1], widths[1:]))


# Coupling ------------------------------------------------------------------------------------


def _is_bounded_affine(transformer):
    return twin_of(transformer) == "affine" and transformer.scale == "bounded"


def coupling(flow, direction):
    is_affine = _is_bounded_affine(flow.transformer)
    if not is_affine and twin_of(flow.transformer) != "additive":
        return None
    stay, change = np.flatnonzero(flow.mask), np.flatnonzero(~np.array(flow.mask))
    outputs = flow.transformer.size * len(change)
    widths = [len(stay) + flow.context_dim, *flow.hidden, outputs]
    return Layer(
        chain.COUPLING, direction,
        [int(is_affine), ACTIVATIONS[flow.activation], len(stay), len(change), len(widths),
         *widths, *stay, *change],
        size=_net_size(widths),
        tape=sum(widths) + 3 * len(change),
        spare=2 * max(widths),
        pack=net_arrays,
        unpack=lambda params, cotangent: net_cotangent(widths, cotangent),
        real=flow.transformer.bound if is_affine else 0.0,
        plain=True)


# MADE ----------------------------------------------------------------------------------------


def made(flow, direction):
    """The masked network with context first, coordinates by place and outputs in pairs."""
    if not (flow.hidden and flow.degrees == "even" and _is_bounded_affine(flow.transformer)):
        return None
    dim, order = flow.dim, np.argsort(flow.order)
    sequential = direction == 1
    groups = dim if sequential else max(1, min(dim, max(flow.hidden) // UNITS))
    cuts = _cuts(flow, np.arange(groups + 1) * dim // groups)
    widths = [flow.context_dim + dim, *flow.hidden, 2 * dim]
    inputs = np.concatenate([dim + np.arange(flow.context_dim), order])
    outputs = np.stack([order, dim + order], axis=1).ravel()
    masks = [mask.copy() for mask in flow.masks]
    masks[0], masks[-1] = masks[0][inputs], masks[-1][:, outputs]
    # A product with ones and zeros of the same dtype is several times faster than with bools.
    masks = {np.dtype(dtype): [mask.astype(dtype) for mask in masks]
             for dtype in (np.float32, np.float64)}

    def pack(params, dtype):
        arrays = []
        for k, (layer, mask) in enumerate(zip(params["net"], masks[np.dtype(dtype)])):
            weight, bias = layer["weight"], layer["bias"]
            if k == 0:
                weight = weight[inputs]
            if k == len(flow.hidden):
                weight, bias = weight[:, outputs], bias[outputs]
            arrays += [weight * mask, bias]
        return arrays

    def unpack(params, cotangent):
        layers = net_cotangent(widths, cotangent)["net"]
        for layer, mask in zip(layers, masks[cotangent.dtype]):
            layer["weight"] *= mask
        layers[0]["weight"] = layers[0]["weight"][np.argsort(inputs)]
        back = np.argsort(outputs)
        layers[-1] = {"weight": layers[-1]["weight"][:, back], "bias": layers[-1]["bias"][back]}
        return {"net": layers}

    return Layer(
        chain.MADE, direction,
        [int(sequential), ACTIVATIONS[flow.activation], dim, len(widths), groups + 1,
         *widths, *order, *cuts.ravel()],
        size=_net_size(widths),
        tape=sum(widths) + 3 * dim,
        spare=sum(widths),
        pack=pack, unpack=unpack, real=flow.transformer.bound)


def _cuts(flow, places):
    """Places where groups end, and how many units of each hidden layer stand before each end.

    A unit of degree d waits for the places before place d, so it belongs to the group that
    holds place d; degrees are those of :func:`nfref.networks.masked.even_degrees`.
    """
    rows = [places]
    for width, degrees in zip(flow.hidden, even_degrees(flow.dim, flow.hidden, flow.context_dim)):
        rows.append(np.searchsorted(degrees, places))
        rows[-1][-1] = width        # with D = 1 there are units that no output looks at
    return np.array(rows)
