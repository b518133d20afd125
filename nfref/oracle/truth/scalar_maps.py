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
from nfref.flows.continuous import CNF
from nfref.flows.coupling import NICE, Coupling, RealNVP
from nfref.flows.elementwise import ElementwiseAffine, Logit, Scale, Standardise
from nfref.flows.glow import Glow, OnFirst
from nfref.flows.image_layers import (ActNorm, ChannelAffine, ChannelCoupling, InvertibleConv,
                                      SplitPrior, Squeeze)
from nfref.flows.linear import FixedLinear, Linear, LULinear, Permutation
from nfref.flows.neural_spline import NSF
from nfref.flows.planar import Planar, PlanarLayer
from nfref.oracle.truth.multiprecision import exact, integrate, solve
from nfref.oracle.truth.scalar_networks import convolution_network, dot, network
from nfref.oracle.truth.scalar_transformers import transform

# Planar (Rezende and Mohamed, section 4.1 and appendix A.1) ----------------------------------


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


# Coupling (NICE, RealNVP) --------------------------------------------------------------------


def coupling_outputs(flow, params, z, context):
    """For each changing coordinate the numbers the network gives for it."""
    stay = [z[i] for i in range(flow.dim) if flow.mask[i]]
    changing = [i for i in range(flow.dim) if not flow.mask[i]]
    outputs = network(params["net"], stay + context, flow.activation)
    return {i: outputs[k::len(changing)] for k, i in enumerate(changing)}


def coupling(flow, params, z, context):
    outputs = coupling_outputs(flow, params, z, context)
    x = list(z)
    for k, (i, raw) in enumerate(outputs.items()):
        x[i] = transform(flow, params, k, raw, z[i])
    return x


# Autoregressive (MAF, section 3.1) -----------------------------------------------------------


def made(flow, params, z, context):
    dim = flow.dim

    def degree(layer, unit):
        """How many coordinates, counted in the order, unit ``unit`` of ``layer`` may see."""
        if layer == 0:
            return flow.order[unit] + 1 if unit < dim else 0
        if layer == len(params["net"]):
            return flow.order[unit % dim]
        if flow.degrees != "even":
            return flow.degrees[layer - 1][unit]
        lowest = 0 if flow.context_dim else 1
        return lowest + unit * max(dim - lowest, 1) // flow.hidden[layer - 1]

    def sees(layer, source, target):
        return degree(layer, source) <= degree(layer + 1, target)

    x = [mp.mpf(0)] * dim
    for i in sorted(range(dim), key=lambda i: flow.order[i]):
        outputs = network(params["net"], x + context, flow.activation, sees)
        x[i] = transform(flow, params, i, outputs[i::dim], z[i])
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


# Linear (Glow, section 3.2) ------------------------------------------------------------------


def permutation(flow, params, z, context):
    return [z[place] for place in flow.order]


def fixed_linear(flow, params, z, context):
    return [dot(row, z) for row in exact(flow.matrix)]


def linear_matrix(flow, params):
    """The rows of W: as they are, or as the product P L U of the packed factors."""
    if "weight" in params:
        return exact(params["weight"])
    packed, size = exact(params["lu"]), flow.dim

    def lower(i, j):
        return packed[i][j] if i > j else mp.mpf(i == j)

    def upper(i, j):
        return flow.signs[i] * mp.exp(packed[i][i]) if i == j else packed[i][j] * (i < j)

    product = [[mp.fsum(lower(i, k) * upper(k, j) for k in range(size)) for j in range(size)]
               for i in range(size)]
    return [product[place] for place in flow.permutation]


def linear(flow, params, z, context):
    bias = exact(params["bias"]) if flow.bias else [mp.mpf(0)] * flow.dim
    return [dot(row, z) + b for row, b in zip(linear_matrix(flow, params), bias)]


# Images (Glow, table 1): rows are raveled (C, H, W) ------------------------------------------


def image_of(row, shape):
    """{(row, column): list of channels}."""
    channels, height, width = shape
    return {(i, j): [row[(c * height + i) * width + j] for c in range(channels)]
            for i in range(height) for j in range(width)}


def row_of(image, shape):
    channels, height, width = shape
    return [image[i, j][c] for c in range(channels) for i in range(height) for j in range(width)]


def at_pixels(change):
    """A map of the channels of one pixel, at every pixel."""
    def whole_image(flow, params, z, context):
        image = image_of(z, flow.shape)
        return row_of({place: change(flow, params, channels)
                       for place, channels in image.items()}, flow.shape)
    return whole_image


@at_pixels
def channel_affine(flow, params, channels):
    return [value * mp.exp(s) + t for value, s, t
            in zip(channels, exact(params["log_scale"]), exact(params["shift"]))]


@at_pixels
def invertible_convolution(flow, params, channels):
    return [dot(row, channels) for row in linear_matrix(flow.linear, params)]


def unsqueeze(flow, params, z, context):
    """Channel 4c + 2a + b of pixel (i, j) goes to channel c of pixel (2i + a, 2j + b)."""
    channels, height, width = flow.shape
    small = image_of(z, (4 * channels, height // 2, width // 2))
    return row_of({(i, j): [small[i // 2, j // 2][4 * c + 2 * (i % 2) + j % 2]
                            for c in range(channels)]
                   for i in range(height) for j in range(width)}, flow.shape)


def channel_coupling(flow, params, z, context):
    channels = flow.shape[0]
    kept = channels // 2
    image = image_of(z, flow.shape)
    seen = {place: values[:kept] + context for place, values in image.items()}
    outputs = convolution_network(params["net"], seen, flow.activation)
    changed, pixels = channels - kept, flow.shape[1] * flow.shape[2]
    return row_of({(i, j): values[:kept] + [
        transform(flow, params, k * pixels + i * flow.shape[2] + j,
                  outputs[i, j][k::changed], values[kept + k]) for k in range(changed)]
        for (i, j), values in image.items()}, flow.shape)


# Continuous (neural ODE): dz/dt = f(z, t, c) from t = 0 to 1 ---------------------------------


def continuous(flow, params, z, context):
    return integrate(
        lambda t, at: network(params["net"], at + [t] + context, flow.activation), z)


# Composition --------------------------------------------------------------------------------


def chain(flow, params, z, context):
    for member, parameters in zip(flow.flows, params):
        z = forward(member, parameters, z, context)
    return z


def on_first(flow, params, z, context):
    return forward(flow.flow, params, z[:flow.flow.dim], context) + z[flow.flow.dim:]


def invert(flow, params, z, context):
    """Newton's method on the map that is turned around, from where float64 puts the root."""
    floats = trees.tree_map(lambda leaf: np.array(leaf, dtype=float), params)
    start = flow.forward(floats, np.array([z], dtype=float),
                         np.array([context], dtype=float) if context else None)[0]
    return solve(lambda row: forward(flow.flow, params, row, context), z, exact(start[0]))


MAPS = {
    PlanarLayer: planar, Planar: chain,
    Coupling: coupling, NICE: chain, RealNVP: chain,
    MADE: made, MAF: chain, NSF: chain,
    Scale: scale, ElementwiseAffine: elementwise_affine,
    Standardise: standardise, Logit: logit, BatchNorm: batch_norm,
    Permutation: permutation, FixedLinear: fixed_linear, Linear: linear, LULinear: linear,
    ActNorm: channel_affine, ChannelAffine: channel_affine,
    InvertibleConv: invertible_convolution, Squeeze: unsqueeze,
    ChannelCoupling: channel_coupling, SplitPrior: channel_coupling,
    OnFirst: on_first, Glow: chain, CNF: continuous,
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
