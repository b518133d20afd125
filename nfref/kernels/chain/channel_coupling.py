"""A coupling of the channels of an image on a block of rows, and its derivative.

:mod:`nfref.networks.convolution` has the formulas of its network, whose layers are images as in
``convolution``. In u images stand channel by channel.

theta: of each layer the weight (k, k, fan_in, fan_out) and a bias for each pixel (pixels, fan_out),
which holds what the edge adds; then the gains of the last, if it has any. Tape: the layers, from
the channels that stay and the context to the outputs; these times their gains; then E rows for each
number that changes.
"""

from collections import namedtuple

from nfref.kernels.chain.block_rows import add_row, add_rows, clear, copy_row, copy_rows, units_of
from nfref.kernels.chain.convolution import (
    Grid,
    Layer,
    bias_of,
    convolve,
    convolve_vjp,
    end_of,
    pixels_of,
)
from nfref.kernels.chain.network import activate, activate_vjp, add_bias
from nfref.kernels.chain.transformers import OPERANDS, decode, transform_all, transform_all_vjp
from nfref.kernels.jit import body, called_kernel, reduction
from nfref.kernels.simd.matmul import ROWS

# The operands: the activation, the grid of pixels, how many channels stay, how many gains, channels
# from layer to layer, the size k of each convolution, and the places of the numbers that change.
ChannelCoupling = namedtuple("ChannelCoupling", "activation grid stay gains channels sizes places")


@body
def decode_channel_coupling(chain, pc):
    """Read a transformer, six numbers, the number of layers, channels, sizes and places."""
    code, first = chain.code, pc + OPERANDS
    channels, change = first + 7, code[first + 4]
    sizes = channels + code[first + 6] + 1
    end, grid = sizes + code[first + 6], Grid(code[first + 1], code[first + 2])
    n = pixels_of(grid) * change
    places = decode(chain, pc, end, n, change, n)
    numbers, layers = (code[first + 3], code[first + 5]), (code[channels:sizes], code[sizes:end])
    return ChannelCoupling(code[first], grid, *numbers, *layers, places)


@body
def layer_of(operands, k, at):
    """Return layer k, which starts at theta[at]."""
    channels = operands.channels
    return Layer(operands.grid, operands.sizes[k], channels[k], channels[k + 1], at)


@body
def times_gains(operands, theta, at, tape, out_at, raw_at):
    """Compute raw = e^(3g) out; the gains, one for each output channel, start at theta[at]."""
    pixels, gains = pixels_of(operands.grid), operands.gains
    out, raw = units_of(tape, out_at, pixels * gains), units_of(tape, raw_at, pixels * gains)
    for pixel in range(pixels):
        for k in range(gains):
            gain = theta[at + k]
            for r in range(ROWS):
                raw[pixel * gains + k, r] = out[pixel * gains + k, r] * gain


@reduction
def times_gains_vjp(operands, theta, at, tape, out_at, g, g_theta):
    """Turn the cotangents of raw, at the start of g, into those of out.

    Add to g_theta those of the logarithms of the gains, sum raw g: they may be finite where sum
    out g is not.
    """
    pixels, gains = pixels_of(operands.grid), operands.gains
    out, g = units_of(tape, out_at, pixels * gains), units_of(g, 0, pixels * gains)
    for k in range(gains):
        gain, total = theta[at + k], g.dtype.type(0)
        for pixel in range(pixels):
            for r in range(ROWS):
                raw = out[pixel * gains + k, r] * gain
                total += raw * g[pixel * gains + k, r]
                g[pixel * gains + k, r] *= gain
        g_theta[at + k] += total


@called_kernel
def channel_coupling(chain, pc, storage, block):
    """Transform the channels that change, with parameters computed from those that stay."""
    operands = decode_channel_coupling(chain, pc)
    channels, stay, places = operands.channels, operands.stay, operands.places
    pixels, last = pixels_of(operands.grid), len(operands.sizes)
    theta, tape, u = storage.theta, storage.tape, block.u
    seen = units_of(tape, storage.tape_at, pixels * channels[0])
    for pixel in range(pixels):
        for k in range(stay):
            copy_row(u, k * pixels + pixel, seen, pixel * channels[0] + k)
        copy_rows(channels[0] - stay, block.context, 0, seen, pixel * channels[0] + stay)
    at, h_at = storage.at, storage.tape_at
    for k in range(last):
        layer = layer_of(operands, k, at)
        out_at, size = h_at + pixels * layer.fan_in * ROWS, layer.fan_out
        for pixel in range(pixels):
            convolve(layer, pixel, storage, h_at, out_at, 0)
            bias, here = bias_of(layer, pixel), out_at + pixel * size * ROWS
            if k < last - 1:
                activate(operands.activation, bias, size, storage, here, ROWS)
            else:
                add_bias(theta, bias, size, tape, here)
        at, h_at = end_of(layer), out_at
    raw_at = h_at + pixels * operands.gains * ROWS
    times_gains(operands, theta, at, tape, h_at, raw_at)
    transform_all(places, tape, raw_at, 0, places.count, block, ROWS)


@called_kernel
def channel_coupling_vjp(chain, pc, storage, cotangents, scratch):
    """Go back through the transformer, then through the network to the channels that stay.

    scratch : twice the numbers of the network's widest layer
    """
    operands = decode_channel_coupling(chain, pc)
    channels, stay, places = operands.channels, operands.stay, operands.places
    pixels, last = pixels_of(operands.grid), len(operands.sizes)
    theta, tape, g, g_theta = storage.theta, storage.tape, cotangents.u, cotangents.theta
    h_at, at = storage.tape_at, storage.at
    for k in range(last):
        h_at += pixels * channels[k] * ROWS
        at = end_of(layer_of(operands, k, at))
    raw_at = h_at + pixels * operands.gains * ROWS
    g_raw, n = units_of(scratch, 0, places.outputs), places.count
    transform_all_vjp(places, tape, raw_at, 0, n, cotangents, g_raw, ROWS)
    times_gains_vjp(operands, theta, at, tape, h_at, scratch, g_theta)
    g_at, other_at = 0, len(scratch) // 2
    for k in range(last - 1, -1, -1):
        layer = layer_of(operands, k, at - end_of(layer_of(operands, k, 0)))
        at, out_at, h_at = layer.at, h_at, h_at - pixels * layer.fan_in * ROWS
        if layer.size > 1:
            clear(units_of(scratch, other_at, pixels * layer.fan_in))
        for pixel in range(pixels):
            here, size = pixel * layer.fan_out * ROWS, layer.fan_out
            if k < last - 1:
                activate_vjp(
                    operands.activation, size, storage, out_at + here, scratch, g_at + here, ROWS
                )
            convolve_vjp(layer, pixel, storage, h_at, scratch, g_at, other_at, 0, g_theta)
        g_at, other_at = other_at, g_at
    fan_in = channels[0]
    g_seen = units_of(scratch, g_at, pixels * fan_in)
    for pixel in range(pixels):
        for k in range(stay):
            add_row(g_seen, pixel * fan_in + k, g, k * pixels + pixel)
        add_rows(fan_in - stay, g_seen, pixel * fan_in + stay, cotangents.context, 0)
