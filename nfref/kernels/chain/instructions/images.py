"""Couplings of images; edges and normalised weights are worked in when they are packed."""

import numpy as np

from nfref.kernels.chain import channel_coupling as by_channel
from nfref.kernels.chain import image_coupling as by_mask
from nfref.kernels.chain.instructions.instruction import Instruction
from nfref.kernels.chain.instructions.transformers import operands_of
from nfref.kernels.chain.network import ACTIVATIONS
from nfref.networks.convolution import GAIN, beyond_the_edge
from nfref.networks.residual_convolution import power_of_two, weight_normalised


def channel_coupling(flow, direction):
    """Return the instruction of a coupling of channels.

    A layer is W and, for each pixel, b + B e. B marks the neighbours of a pixel beyond the edge,
    and e is the weight of the edge's channel. Gains e^(3g) follow the last layer.

    With the cotangents of these, b_bar (pixels, E) and s_bar: b gets the sum over pixels of b_bar,
    e gets B^T b_bar, and g gets 3 s_bar e^(3g).
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
    shapes = [
        ((size * size * fan_in, fan_out), (pixels, fan_out))
        for size, fan_in, fan_out in zip(sizes, channels[:-1], channels[1:])
    ]
    gains = channels[-1] if flow.output_gain else 0
    ends = np.cumsum([np.prod(shape, dtype=int) for pair in shapes for shape in pair])

    def pack(params, dtype):
        arrays = []
        for layer, shape in zip(params["net"], shapes):
            bias = layer["bias"] + np.zeros(shape[1])
            if "edge" in layer:
                bias = bias + beyond @ layer["edge"].reshape(9, -1)
            arrays += [layer.get("weight", np.zeros(shape[0])), bias]
        return [*arrays, np.exp(GAIN * layer["log_gain"])] if gains else arrays

    def unpack(params, cotangent):
        *parts, g_gains = np.split(cotangent, ends)
        net = []
        for layer, shape, g_weight, g_bias in zip(params["net"], shapes, parts[::2], parts[1::2]):
            g_bias = g_bias.reshape(shape[1])
            found = {"bias": g_bias.sum(axis=0)}
            if "weight" in layer:
                found["weight"] = g_weight.reshape(layer["weight"].shape)
            if "edge" in layer:
                found["edge"] = (beyond.T @ g_bias).reshape(layer["edge"].shape)
            net.append(found)
        if gains:
            net[-1]["log_gain"] = GAIN * g_gains
        return {"net": net}

    numbers = ACTIVATIONS[flow.activation], height, width, stay, change, gains, last + 1
    number = np.arange(change * pixels)
    places = *stay * pixels + number, *number % pixels * channels[-1] + number // pixels
    return Instruction(
        (by_channel.channel_coupling, by_channel.channel_coupling_vjp, *transformer.kernels),
        direction,
        [*transformer.whole, *numbers, *channels, *sizes, *places],
        size=int(ends[-1]) + gains,
        tape=pixels * (sum(channels) + gains + transformer.tape_rows * change),
        scratch=2 * pixels * max(channels),
        pack=pack,
        unpack=unpack,
        reals=transformer.reals,
    )


def image_coupling(flow, direction):
    """Return the instruction of a coupling by a mask.

    The bias of a layer is repeated for each pixel, and gets the sum of their cotangents.
    """
    transformer = operands_of(flow.transformer)
    if transformer is None:
        return None
    image, height, width = flow.shape
    pixels, hidden, blocks = height * width, flow.hidden, flow.blocks
    fan_in, outputs = 2 * image + flow.context_dim, transformer.raw_rows * image
    change = np.flatnonzero(~flow.stays)
    asked = np.unique(change % pixels)  # the pixels that the outputs are needed at
    first, skip, across = (3, fan_in, hidden), (1, hidden, hidden), (3, hidden, hidden)
    shapes = [first, skip, *[across, across, skip] * blocks, (1, hidden, outputs)]
    counts = [count for size, a, b in shapes for count in (size * size * a * b, pixels * b)]
    ends = np.cumsum(counts)

    def layers_of(net):
        return [
            net["first"],
            net["skip"],
            *(block[name] for block in net["blocks"] for name in ("first", "second", "skip")),
            net["last"],
        ]

    def pack(params, dtype):
        layers = map(weight_normalised, layers_of(params["net"]))
        return [
            array for layer in layers for array in (layer["weight"], np.tile(layer["bias"], pixels))
        ]

    def unpack(params, cotangent):
        parts, found = np.split(cotangent, ends[:-1]), []
        for k, layer in enumerate(layers_of(params["net"])):
            g_bias = parts[2 * k + 1].reshape(pixels, -1).sum(axis=0)
            found.append({**_through_normalisation(layer, parts[2 * k]), "bias": g_bias})
        first, skip, *between, last = found
        names, starts = ("first", "second", "skip"), range(0, 3 * blocks, 3)
        named = [dict(zip(names, between[k : k + 3])) for k in starts]
        return {"net": {"first": first, "skip": skip, "blocks": named, "last": last}}

    units, sizes = pixels * hidden, (height, width, image, fan_in, hidden, blocks)
    numbers = ACTIVATIONS[flow.activation], *sizes, len(change), len(asked)
    raw = change % pixels * outputs + change // pixels
    return Instruction(
        (by_mask.image_coupling, by_mask.image_coupling_vjp, *transformer.kernels),
        direction,
        [*transformer.whole, *numbers, *flow.stays, *change, *raw, *asked],
        size=int(ends[-1]),
        tape=(
            pixels * (fan_in + outputs)
            + (3 * blocks + 2) * units
            + transformer.tape_rows * len(change)
        ),
        scratch=pixels * max(fan_in, outputs) + 4 * units,
        pack=pack,
        unpack=unpack,
        reals=transformer.reals,
    )


def _through_normalisation(layer, g):
    """Return the VJP of W = g v / |v|.

    g gets (v . W_bar) / |v|; v gets the rest of W_bar, times g / |v|.
    """
    size = power_of_two(layer["direction"])
    v, g = layer["direction"] / size, g.reshape(layer["direction"].shape)
    norm = np.sqrt(np.sum(v**2, axis=(0, 1, 2)))
    along = np.sum(v * g, axis=(0, 1, 2)) / norm
    return {
        "direction": (g - v * (along / norm)) * (layer["length"] / (norm * size)),
        "length": along,
    }
