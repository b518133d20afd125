"""Couplings of the channels of an image; gains and edges are worked in when they are packed."""

import numpy as np

from nfref.kernels.chain import interpreter as chain
from nfref.kernels.chain.instructions.instruction import Instruction
from nfref.kernels.chain.instructions.transformers import operands_of
from nfref.kernels.chain.network import ACTIVATIONS
from nfref.networks.convolution import GAIN, beyond_the_edge


def channel_coupling(flow, direction):
    """A layer is W e^(3g) and, for each pixel, (b + B e) e^(3g), where B says which neighbours of
    a pixel lie beyond the edge and e is the weight of the edge's channel.

    With the cotangents of these, W_bar and b_bar (pixels, E): g gets 3 times the sum of each
    number times its cotangent; b gets the sum over pixels of b_bar e^(3g), e gets B^T b_bar e^(3g).
    """
    transformer = operands_of(flow.transformer)
    if transformer is None:
        return None
    _, height, width = flow.shape
    pixels, stay = height * width, flow.kept
    change = flow.shape[0] - stay
    channels = [stay + flow.context_dim, *flow.hidden, transformer.raw_rows * change]
    last = len(channels) - 2
    sizes = [3 if k in (0, last) else 1 for k in range(last + 1)]
    beyond = beyond_the_edge(height, width, 3).reshape(pixels, 9)
    shapes = [((size * size * fan_in, fan_out), (pixels, fan_out)) for size, fan_in, fan_out
              in zip(sizes, channels[:-1], channels[1:])]
    ends = np.cumsum([np.prod(shape, dtype=int) for pair in shapes for shape in pair])

    def layer_of(layer, shape):
        """Weight and biases as the kernel reads them, and the gain."""
        gain = np.exp(GAIN * layer["log_gain"]) if "log_gain" in layer else 1.0
        bias = layer["bias"] + np.zeros(shape[1])
        if "edge" in layer:
            bias = bias + beyond @ layer["edge"].reshape(9, -1)
        weight = layer["weight"].reshape(shape[0]) if "weight" in layer else np.zeros(shape[0])
        return weight * gain, bias * gain, gain

    def pack(params, dtype):
        return [array for layer, shape in zip(params["net"], shapes)
                for array in layer_of(layer, shape)[:2]]

    def unpack(params, cotangent):
        parts, net = np.split(cotangent, ends[:-1]), []
        for k, (layer, shape) in enumerate(zip(params["net"], shapes)):
            g_weight, g_bias = (part.reshape(own) for part, own
                                in zip(parts[2 * k:2 * k + 2], shape))
            weight, bias, gain = layer_of(layer, shape)
            found = {"bias": g_bias.sum(axis=0) * gain}
            if "weight" in layer:
                found["weight"] = (g_weight * gain).reshape(layer["weight"].shape)
            if "edge" in layer:
                found["edge"] = (beyond.T @ g_bias * gain).reshape(layer["edge"].shape)
            if "log_gain" in layer:
                found["log_gain"] = GAIN * ((g_weight * weight).sum(axis=0)
                                            + (g_bias * bias).sum(axis=0))
            net.append(found)
        return {"net": net}

    return Instruction(
        chain.CHANNEL_COUPLING, direction,
        [*transformer.whole, ACTIVATIONS[flow.activation], height, width, stay, change, last + 1,
         *channels, *sizes],
        size=int(ends[-1]),
        tape=pixels * sum(channels) + transformer.tape_rows * change * pixels,
        scratch=2 * pixels * max(channels),
        pack=pack, unpack=unpack, reals=transformer.reals, needs=("images", *transformer.needs))
