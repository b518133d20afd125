"""A coupling of the channels of an image on a block of rows, and its derivative.

:mod:`nfref.networks.convolution` has the formulas of its network, whose layers are images as in
``convolution``. In u images stand channel by channel.

theta: of each layer the weight (k, k, fan_in, fan_out) and a bias for each pixel (pixels, fan_out),
which holds what the edge adds; then the gains of the last, if it has any. Tape: the layers, from
the channels that stay and the context to the outputs; these times their gains; then E rows for each
number that changes.
"""

from collections import namedtuple

from nfref.kernels.chain.block_rows import (
    add_row,
    add_row_sums,
    add_rows,
    clear,
    copy_row,
    copy_rows,
    units_of,
)
from nfref.kernels.chain.convolution import Grid, convolve, convolve_vjp, pixels_of
from nfref.kernels.chain.network import activate, activate_vjp, add_bias
from nfref.kernels.chain.transformers import OPERANDS, Place, decode, transform, transform_vjp
from nfref.kernels.jit import body, reduction
from nfref.kernels.simd.matmul import ROWS

# The operands: a transformer, the activation, the grid of pixels, how many channels stay and how
# many change, how many gains, channels from layer to layer, the size k of each convolution.
ChannelCoupling = namedtuple(
    "ChannelCoupling", "transformer activation grid stay change gains channels sizes"
)


@body
def decode_channel_coupling(code, at, reals):
    """Read a transformer, six numbers, the number of layers, channels and sizes."""
    first = at + OPERANDS
    channels = first + 7
    sizes = channels + code[first + 6] + 1
    return ChannelCoupling(
        decode(code, at, reals),
        code[first],
        Grid(code[first + 1], code[first + 2]),
        code[first + 3],
        code[first + 4],
        code[first + 5],
        code[channels:sizes],
        code[sizes : sizes + code[first + 6]],
    )


@body
def numbers_of(operands, layer):
    """Return the size of the weight of a layer."""
    size = operands.sizes[layer]
    return size * size * operands.channels[layer] * operands.channels[layer + 1]


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


@body
def channel_coupling(direction, operands, storage, block, splines, mixtures):
    """Transform the channels that change, with parameters computed from those that stay.

    direction : 1 from latent to data, -1 back
    operands : ChannelCoupling
    storage : Storage; the tape is filled
    block : Block; u changes in place, log_det grows
    splines, mixtures : True, or None where no transformer is one
    """
    channels, stay, change = operands.channels, operands.stay, operands.change
    grid, last = operands.grid, len(operands.sizes)
    pixels = pixels_of(grid)
    theta, tape, u = storage.theta, storage.tape, block.u
    seen = units_of(tape, storage.tape_at, pixels * channels[0])
    for pixel in range(pixels):
        for k in range(stay):
            copy_row(u, k * pixels + pixel, seen, pixel * channels[0] + k)
        copy_rows(channels[0] - stay, block.context, 0, seen, pixel * channels[0] + stay)
    at, h_at = storage.at, storage.tape_at
    for layer in range(last):
        fan_in, fan_out = channels[layer], channels[layer + 1]
        out_at, biases = h_at + pixels * fan_in * ROWS, at + numbers_of(operands, layer)
        for pixel in range(pixels):
            convolve(
                grid, pixel, operands.sizes[layer], fan_in, fan_out, theta, at, tape, h_at, out_at
            )
            here = pixel * fan_out
            if layer < last - 1:
                activate(
                    operands.activation, biases + here, fan_out, storage, out_at + here * ROWS, ROWS
                )
            else:
                add_bias(theta, biases + here, fan_out, tape, out_at + here * ROWS)
        at, h_at = biases + pixels * fan_out, out_at
    raw_at = h_at + pixels * operands.gains * ROWS
    times_gains(operands, theta, at, tape, h_at, raw_at)
    raw = units_of(tape, raw_at, pixels * channels[last])
    transformer, log_det = operands.transformer, block.log_det
    extra = transformer.tape_rows
    extras = units_of(tape, raw_at + pixels * channels[last] * ROWS, change * pixels * extra)
    for c in range(change):
        for pixel in range(pixels):
            number = c * pixels + pixel
            place = Place(
                stay * pixels + number, pixel * channels[last] + c, change, number * extra
            )
            transform(
                transformer, direction, u, raw, extras, place, log_det, ROWS, splines, mixtures
            )


@body
def channel_coupling_vjp(direction, operands, storage, cotangents, scratch, splines, mixtures):
    """Go back through the transformer, then through the network to the channels that stay.

    direction, operands, splines, mixtures : as for :func:`channel_coupling`
    storage : Storage; the tape as :func:`channel_coupling` left it
    cotangents : Cotangents; u changes in place, context and theta grow
    scratch : twice the numbers of the network's widest layer
    """
    channels, stay, change = operands.channels, operands.stay, operands.change
    grid, last = operands.grid, len(operands.sizes)
    pixels = pixels_of(grid)
    theta, tape, g, g_theta = storage.theta, storage.tape, cotangents.u, cotangents.theta
    h_at, at = storage.tape_at, storage.at
    for layer in range(last):
        h_at += pixels * channels[layer] * ROWS
        at += numbers_of(operands, layer) + pixels * channels[layer + 1]
    raw_at = h_at + pixels * operands.gains * ROWS
    raw = units_of(tape, raw_at, pixels * channels[last])
    g_raw = units_of(scratch, 0, pixels * channels[last])
    transformer, extra = operands.transformer, operands.transformer.tape_rows
    extras = units_of(tape, raw_at + pixels * channels[last] * ROWS, change * pixels * extra)
    for c in range(change):
        for pixel in range(pixels):
            number = c * pixels + pixel
            place = Place(
                stay * pixels + number, pixel * channels[last] + c, change, number * extra
            )
            g_log_det = cotangents.log_det
            transform_vjp(
                transformer, direction, g, g_log_det, raw, extras, place, g_raw, splines, mixtures
            )
    times_gains_vjp(operands, theta, at, tape, h_at, scratch, g_theta)
    g_at, other_at = 0, len(scratch) // 2
    for layer in range(last - 1, -1, -1):
        fan_in, fan_out, out_at = channels[layer], channels[layer + 1], h_at
        biases, h_at = at - pixels * fan_out, h_at - pixels * fan_in * ROWS
        at = biases - numbers_of(operands, layer)
        if operands.sizes[layer] > 1:
            clear(units_of(scratch, other_at, pixels * fan_in))
        for pixel in range(pixels):
            here = pixel * fan_out
            if layer < last - 1:
                activate_vjp(
                    operands.activation,
                    fan_out,
                    storage,
                    out_at + here * ROWS,
                    scratch,
                    g_at + here * ROWS,
                )
            add_row_sums(scratch, g_at + here * ROWS, fan_out, g_theta, biases + here)
            if fan_in > 0:
                convolve_vjp(
                    grid,
                    pixel,
                    operands.sizes[layer],
                    fan_in,
                    fan_out,
                    theta,
                    at,
                    tape,
                    h_at,
                    scratch,
                    g_at,
                    other_at,
                    g_theta,
                )
        g_at, other_at = other_at, g_at
    fan_in = channels[0]
    g_seen = units_of(scratch, g_at, pixels * fan_in)
    for pixel in range(pixels):
        for k in range(stay):
            add_row(g_seen, pixel * fan_in + k, g, k * pixels + pixel)
        add_rows(fan_in - stay, g_seen, pixel * fan_in + stay, cotangents.context, 0)
