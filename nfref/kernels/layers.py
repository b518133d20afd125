"""How each flow is written down for the compiled chain, and how its parameters travel.

A flow with a twin becomes a :class:`Layer`: a record of whole numbers, and two functions.
``pack`` turns the flow's parameters into the flat arrays that the kernels read; ``unpack``
turns the cotangent of those arrays back into one shaped like the parameters. Where the two
differ (masks, triangular factors, planar's constraint) the derivation stands beside it.
"""

from dataclasses import dataclass

import numpy as np

from nfref.flows.autoregressive import MADE
from nfref.flows.batch_norm import BatchNorm, batch_norm_affine
from nfref.flows.coupling import AdditiveCoupling, AffineCoupling
from nfref.flows.elementwise import ElementwiseAffine, Scale, Standardise
from nfref.flows.image_layers import ActNorm, InvertibleConv, Squeeze
from nfref.flows.linear import FixedLinear, Linear, LULinear, Permutation
from nfref.flows.planar import PlanarLayer, constrain_u
from nfref.kernels import chain
from nfref.kernels.network import ACTIVATIONS

UNITS = 64                                  # hidden units in one step of a staircase


@dataclass(frozen=True)
class Layer:
    """One record of a chain.

    Attributes
    ----------
    kind, direction : int
    fields : list of int
        What follows the header.
    size : int
        How many numbers its parameters take in theta.
    tape, spare : int
        Rows of the tape it fills, rows of working space its derivative needs.
    pack : callable
        (params, dtype) -> list of arrays, ``size`` numbers together.
    unpack : callable
        (params, cotangent of the packed numbers) -> cotangent shaped like params.
    real : float
        The bound of log-scales, where there is one.
    plain : bool
        Whether packing is nothing but joining the leaves, so that a flat vector of
        parameters can be used where it stands.
    """

    kind: int
    direction: int
    fields: list
    size: int
    tape: int
    spare: int
    pack: object
    unpack: object
    real: float = 0.0
    plain: bool = False


def layer_of(flow, direction):
    """The :class:`Layer` of a flow in a direction (1 forward, -1 inverse); None without a twin."""
    make = LAYERS.get(type(flow))       # the very type: a subclass may compute something else
    return None if make is None else make(flow, direction)


# Networks ------------------------------------------------------------------------------------


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


def _coupling(flow, direction):
    stay, change = np.flatnonzero(flow.mask), np.flatnonzero(~np.array(flow.mask))
    is_affine = type(flow) is AffineCoupling
    widths = [len(stay) + flow.context_dim, *flow.hidden, flow.outputs_per_dim * len(change)]
    return Layer(
        chain.COUPLING, direction,
        [int(is_affine), ACTIVATIONS[flow.activation], len(stay), len(change), len(widths),
         *widths, *stay, *change],
        size=_net_size(widths),
        tape=sum(widths) + 3 * len(change),
        spare=2 * max(widths),
        pack=net_arrays,
        unpack=lambda params, cotangent: net_cotangent(widths, cotangent),
        real=flow.bound if is_affine else 0.0,
        plain=True)


# MADE ----------------------------------------------------------------------------------------


def _made(flow, direction):
    """The masked network with context first, coordinates by place and outputs in pairs."""
    if not flow.hidden:
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
        pack=pack, unpack=unpack, real=flow.bound)


def _cuts(flow, places):
    """Places where groups end, and how many units of each hidden layer stand before each end.

    A unit of degree d waits for the places before place d, so it belongs to the group that
    holds place d; degrees are those of :func:`nfref.nets.made_masks`.
    """
    rows = [places]
    lowest = 0 if flow.context_dim else 1
    levels = max(flow.dim - lowest, 1)
    for width in flow.hidden:
        degrees = lowest + np.arange(width) * levels // width
        rows.append(np.searchsorted(degrees, places))
        rows[-1][-1] = width        # with D = 1 there are units that no output looks at
    return np.array(rows)


# Elementwise ---------------------------------------------------------------------------------


def _elementwise(dim, direction, pack, unpack, plain=False):
    return Layer(chain.ELEMENTWISE, direction, [dim], size=2 * dim, tape=dim, spare=0,
                 pack=pack, unpack=unpack, plain=plain)


def _elementwise_affine(flow, direction):
    return _elementwise(
        flow.dim, direction,
        lambda params, dtype: [params["shift"], params["log_scale"]],
        lambda params, cotangent: {"shift": cotangent[:flow.dim],
                                   "log_scale": cotangent[flow.dim:]}, plain=True)


def _scale(flow, direction):
    return _elementwise(
        flow.dim, direction,
        lambda params, dtype: [np.zeros(flow.dim, dtype), params["log_scale"]],
        lambda params, cotangent: {"log_scale": cotangent[flow.dim:]})


def _standardise(flow, direction):
    return _elementwise(
        flow.dim, direction,
        lambda params, dtype: list(flow._shift_and_log_scale(dtype)),
        lambda params, cotangent: {})


def _act_norm(flow, direction):
    pixels = flow.shape[1] * flow.shape[2]

    def unpack(params, cotangent):
        shift, log_scale = cotangent.reshape(2, flow.shape[0], pixels).sum(axis=2)
        return {"shift": shift, "log_scale": log_scale}

    return _elementwise(flow.dim, direction, lambda params, dtype: flow._affine(params), unpack)


def _batch_norm(flow, direction):
    """In evaluation mode: s = log(v + eps)/2 - gamma and t = m - beta e^s are fixed numbers."""
    if flow.mode != "evaluation":
        return None

    def pack(params, dtype):
        return batch_norm_affine(params["running_mean"], params["running_variance"],
                                 params["shift"], params["log_scale"], flow.epsilon)

    def unpack(params, cotangent):
        g_t, g_s = cotangent[:flow.dim], cotangent[flow.dim:]
        scale = np.exp(pack(params, None)[1])
        g_s = g_s - g_t * params["shift"] * scale
        return {"shift": -g_t * scale, "log_scale": -g_s, "running_mean": g_t,
                "running_variance": 0.5 * g_s / (params["running_variance"] + flow.epsilon)}

    return _elementwise(flow.dim, direction, pack, unpack)


# Permutations and matrices -------------------------------------------------------------------


def _permutation(order, direction):
    order = np.asarray(order) if direction == 1 else np.argsort(order)
    return Layer(chain.PERMUTE, direction, [len(order), *order], size=0, tape=len(order),
                 spare=len(order), pack=lambda params, dtype: [],
                 unpack=lambda params, cotangent: {}, plain=True)


def _squeeze(flow, direction):
    return _permutation(flow._forward({}, np.arange(flow.dim)[None, :], None)[0][0], direction)


def _matrix(channels, pixels, direction, matrix, unpack):
    """``matrix``: (params) -> (M, b, log |det M|) with u -> M u + b in the given direction.

    ``unpack``: (params, cotangents of M, b and log |det M|) -> cotangent like params.
    """
    def pack(params, dtype):
        m, b, log_det = matrix(params)
        return [m.T, b, np.reshape(log_det, 1)]

    def split(params, cotangent):
        square = channels * channels
        return unpack(params, cotangent[:square].reshape(channels, channels).T,
                      cotangent[square:-1], cotangent[-1])

    return Layer(chain.LINEAR, direction, [channels, pixels], size=channels * (channels + 1) + 1,
                 tape=channels * pixels, spare=channels * pixels, pack=pack, unpack=split)


def _through_inverse(inverse, b, g_m, g_b):
    """Cotangents of W and b from those of M = W^-1 and of -M b.

    -M b:  M_bar += -g_b b^T,  b_bar = -M^T g_b;  M = W^-1:  W_bar = -M^T M_bar M^T.
    """
    g_m = g_m - np.outer(g_b, b)
    return -inverse.T @ g_m @ inverse.T, -inverse.T @ g_b


def _linear(flow, direction, pixels=1):
    """log |det W| has the derivative W^-T."""
    dim = flow.dim
    no_bias = np.zeros(dim)

    def matrix(params):
        weight, b = np.asarray(params["weight"], np.float64), params.get("bias", no_bias)
        log_det = np.linalg.slogdet(weight)[1]
        if direction == 1:
            return weight, b, log_det
        inverse = np.linalg.inv(weight)
        return inverse, -inverse @ b, -log_det

    def unpack(params, g_m, g_b, g_log_det):
        inverse = np.linalg.inv(np.asarray(params["weight"], np.float64))
        if direction == -1:
            g_m, g_b = _through_inverse(inverse, params.get("bias", no_bias), g_m, g_b)
        g_weight = g_m + direction * g_log_det * inverse.T
        return {"weight": g_weight, "bias": g_b} if flow.bias else {"weight": g_weight}

    return _matrix(dim, pixels, direction, matrix, unpack)


def _fixed_linear(flow, direction):
    def matrix(params):
        log_det = np.linalg.slogdet(flow._weight)[1]
        if direction == 1:
            return flow._weight, np.zeros(flow.dim), log_det
        return np.linalg.inv(flow._weight), np.zeros(flow.dim), -log_det

    return _matrix(flow.dim, 1, direction, matrix, lambda params, *cotangents: {})


def _lu_linear(flow, direction, pixels=1):
    """W = P L U, where row i of P A is row permutation[i] of A.

    (L U)_bar = P^T W_bar,  L_bar = (L U)_bar U^T,  U_bar = L^T (L U)_bar, inside the
    triangles; the diagonal of the packed matrix is log |u_ii|, so its cotangent is
    U_bar_ii u_ii, and that of the log-determinant is added to it as it is.
    """
    from scipy.linalg import solve_triangular
    order = np.array(flow.permutation)
    no_bias = np.zeros(flow.dim)

    def factors(params):
        return flow.factors({"lu": np.asarray(params["lu"], np.float64)})

    def inverse_of(lower, upper):
        back = np.eye(flow.dim)[np.argsort(order)]      # P^T
        return solve_triangular(upper, solve_triangular(lower, back, lower=True))

    def matrix(params):
        lower, upper = factors(params)
        log_det, b = np.trace(params["lu"]), params.get("bias", no_bias)
        if direction == 1:
            return (lower @ upper)[order], b, log_det
        inverse = inverse_of(lower, upper)
        return inverse, -inverse @ b, -log_det

    def unpack(params, g_m, g_b, g_log_det):
        lower, upper = factors(params)
        if direction == -1:
            g_m, g_b = _through_inverse(inverse_of(lower, upper), params.get("bias", no_bias),
                                        g_m, g_b)
        g_product = np.empty_like(lower)
        g_product[order] = g_m
        g_lower, g_upper = g_product @ upper.T, lower.T @ g_product
        g_lu = (np.tril(g_lower, -1) + np.triu(g_upper, 1)
                + np.diag(np.diag(g_upper) * np.diag(upper) + direction * g_log_det))
        return {"lu": g_lu, "bias": g_b} if flow.bias else {"lu": g_lu}

    return _matrix(flow.dim, pixels, direction, matrix, unpack)


def _invertible_conv(flow, direction):
    make = _linear if flow.form == "full" else _lu_linear
    return make(flow.linear, direction, flow.shape[1] * flow.shape[2])


# Planar --------------------------------------------------------------------------------------


def _planar(flow, direction):
    """With n = w . w, p = w . u and sigma the logistic function of p:

    slack = log(1 + e^p),  u_hat = u + c w with c = (slack - 1 - p) / n;
    dslack = sigma dp,  dc = ((sigma - 1) dp - c dn) / n,  dp = w . du + u . dw,  dn = 2 w . dw.
    """
    if flow.context_dim:
        return None
    dim = flow.dim

    def pack(params, dtype):
        u_hat, slack = constrain_u(params["u"], params["w"])
        return [u_hat, params["w"], slack, params["b"]]

    def unpack(params, cotangent):
        g_u_hat, g_w, g_slack = cotangent[:dim], cotangent[dim:2 * dim], cotangent[2 * dim]
        u, w = params["u"], params["w"]
        n, p = w @ w, w @ u
        g_b = cotangent[2 * dim + 1:]
        if not n > 0:       # u_hat = u and slack = 1 there
            return {"u": g_u_hat, "w": g_w, "b": g_b}
        sigma, slack = np.exp(-np.logaddexp(0, -p)), np.logaddexp(0, p)
        c, g_c = (slack - 1 - p) / n, w @ g_u_hat
        g_p = g_slack * sigma + g_c * (sigma - 1) / n
        return {"u": g_u_hat + g_p * w, "b": g_b,
                "w": g_w + c * g_u_hat + g_p * u - (2 * g_c * c / n) * w}

    return Layer(chain.PLANAR, direction, [dim], size=2 * dim + 2, tape=dim + 1, spare=0,
                 pack=pack, unpack=unpack)


LAYERS = {
    ActNorm: _act_norm,
    AdditiveCoupling: _coupling,
    AffineCoupling: _coupling,
    BatchNorm: _batch_norm,
    ElementwiseAffine: _elementwise_affine,
    FixedLinear: _fixed_linear,
    InvertibleConv: _invertible_conv,
    Linear: _linear,
    LULinear: _lu_linear,
    MADE: _made,
    Permutation: lambda flow, direction: _permutation(flow.order, direction),
    PlanarLayer: _planar,
    Scale: _scale,
    Squeeze: _squeeze,
    Standardise: _standardise,
}
