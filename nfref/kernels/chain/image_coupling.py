"""A coupling of the numbers of an image by a mask, on a block of rows, and its derivative.

:mod:`nfref.networks.residual_convolution` has the formulas of its network, whose letters are used
here; images stand as in ``convolution``, in u channel by channel.

theta: the layers F, S_0, then A_b, B_b, S_b of each block, then L; of each its weight, normalised
already, and its bias once for each pixel. Tape: the image that the network sees, h_0 ... h_B, the
activated h_0 ... h_{B-1}, the activated A_b * a(h_{b-1}), the activated sum of the skips, the raw
outputs; then E rows for each number that changes.
"""

from typing import NamedTuple

from nfref.kernels.chain.convolution import Grid, convolve, convolve_vjp, fill_with_zeros, pixels_of
from nfref.kernels.chain.network import (RELU, TANH, activate, activate_vjp, add_bias, add_row_sums,
                                         copy_row, units_of)
from nfref.kernels.chain.transformers import OPERANDS, Place, decode, transform, transform_vjp
from nfref.kernels.jit import body
from nfref.kernels.simd.elementary import softplus, tanh
from nfref.kernels.simd.products import ROWS


class ImageCoupling(NamedTuple):
    """The operands: a transformer, the activation, the grid of pixels; how many channels the image
    has, the network sees, and each hidden layer has; how many blocks; which numbers stay (1 or 0),
    and those that change."""

    transformer: object
    activation: object
    grid: object
    channels: object
    fan_in: object
    hidden: object
    blocks: object
    stays: object
    change: object


class Places(NamedTuple):
    """Where the parts of the tape start, in rows from its beginning."""

    h: object
    active: object
    middle: object
    total: object
    raw: object
    extras: object


@body
def decode_image_coupling(code, at, reals):
    """transformer, eight numbers, the last of them how many change; then stays and change."""
    first = at + OPERANDS
    grid = Grid(code[first + 1], code[first + 2])
    stays = first + 8
    change = stays + code[first + 3] * pixels_of(grid)
    return ImageCoupling(decode(code, at, reals), code[first], grid, code[first + 3],
                         code[first + 4], code[first + 5], code[first + 6], code[stays:change],
                         code[change:change + code[first + 7]])


@body
def places_of(operands):
    layer = pixels_of(operands.grid) * operands.hidden
    h = pixels_of(operands.grid) * operands.fan_in
    active = h + (operands.blocks + 1) * layer
    middle = active + operands.blocks * layer
    total = middle + operands.blocks * layer
    raw = total + layer
    outputs = operands.transformer.raw_rows * operands.channels
    return Places(h, active, middle, total, raw, raw + pixels_of(operands.grid) * outputs)


@body
def numbers_of(grid, size, fan_in, fan_out):
    """Those of a weight and its biases."""
    return (size * size * fan_in + pixels_of(grid)) * fan_out


@body
def activated(activation, units, h, h_at, out_at):
    """out = a(h), both in the same array."""
    out, h = units_of(h, out_at, units), units_of(h, h_at, units)
    zero = h.dtype.type(0)
    for j in range(units):
        for r in range(ROWS):
            value = h[j, r]
            if activation == RELU:
                out[j, r] = zero if value < zero else value
            elif activation == TANH:
                out[j, r] = tanh(value)
            else:
                out[j, r] = softplus(value)


@body
def add_units(units, numbers, at, other_at):
    """numbers at ``at`` += those at ``other_at``."""
    one, other = units_of(numbers, at, units), units_of(numbers, other_at, units)
    for j in range(units):
        for r in range(ROWS):
            one[j, r] += other[j, r]


@body
def image_coupling(direction, operands, storage, block, splines, mixtures):
    """The numbers that change go through the transformer, as those that stay say.

    direction : 1 from latent to data, -1 back
    operands : ImageCoupling
    storage : Storage; the tape is filled
    block : Block; u changes in place, log_det grows
    splines, mixtures : True, or None where no transformer is one
    """
    grid, channels, fan_in, hidden = (operands.grid, operands.channels, operands.fan_in,
                                      operands.hidden)
    theta, tape, u, pixels = storage.theta, storage.tape, block.u, pixels_of(grid)
    activation, start, places = operands.activation, storage.tape_at, places_of(operands)
    seen = units_of(tape, start, pixels * fan_in)
    for pixel in range(pixels):
        for c in range(channels):
            stays = operands.stays[c * pixels + pixel]
            for r in range(ROWS):
                seen[pixel * fan_in + c, r] = u[c * pixels + pixel, r] if stays else 0
                seen[pixel * fan_in + channels + c, r] = stays
        for k in range(fan_in - 2 * channels):
            copy_row(block.context, k, seen, pixel * fan_in + 2 * channels + k)
    units = pixels * hidden
    at, h, total = storage.at, start + places.h * ROWS, start + places.total * ROWS
    weight = 9 * fan_in * hidden
    convolve(grid, 3, fan_in, hidden, theta, at, tape, start, h, 0)
    add_bias(theta, at + weight, units, tape, h)
    at += weight + units
    square = hidden * hidden
    convolve(grid, 1, hidden, hidden, theta, at, tape, h, total, 0)
    add_bias(theta, at + square, units, tape, total)
    at += square + units
    for b in range(operands.blocks):
        active, middle = (start + (places.active + b * units) * ROWS,
                          start + (places.middle + b * units) * ROWS)
        activated(activation, units, tape, h, active)
        convolve(grid, 3, hidden, hidden, theta, at, tape, active, middle, 0)
        activate(activation, theta, at + 9 * square, units, tape, middle, ROWS)
        at += 9 * square + units
        after = h + units * ROWS
        convolve(grid, 3, hidden, hidden, theta, at, tape, middle, after, 0)
        add_bias(theta, at + 9 * square, units, tape, after)
        add_units(units, tape, after, h)
        at += 9 * square + units
        h = after
        convolve(grid, 1, hidden, hidden, theta, at, tape, h, total, 1)
        add_bias(theta, at + square, units, tape, total)
        at += square + units
    activated(activation, units, tape, total, total)
    outputs, raw_at = operands.transformer.raw_rows * channels, start + places.raw * ROWS
    convolve(grid, 1, hidden, outputs, theta, at, tape, total, raw_at, 0)
    add_bias(theta, at + hidden * outputs, pixels * outputs, tape, raw_at)
    raw, extra = units_of(tape, raw_at, pixels * outputs), operands.transformer.tape_rows
    extras = units_of(tape, start + places.extras * ROWS, len(operands.change) * extra)
    for k in range(len(operands.change)):
        number = operands.change[k]
        transform(operands.transformer, direction, u, raw, extras,
                  Place(number, number % pixels * outputs + number // pixels, channels, k * extra),
                  block.log_det, ROWS, splines, mixtures)


@body
def image_coupling_vjp(direction, operands, storage, cotangents, scratch, splines, mixtures):
    """Back through the transformer, then through the network to the numbers that stay.

    direction, operands, splines, mixtures : as for :func:`image_coupling`
    storage : Storage; the tape as :func:`image_coupling` left it
    cotangents : Cotangents; u changes in place, context and theta grow
    scratch : the outputs or what the network sees, and four hidden layers
    """
    grid, channels, fan_in, hidden = (operands.grid, operands.channels, operands.fan_in,
                                      operands.hidden)
    theta, tape, g_theta, pixels = storage.theta, storage.tape, cotangents.theta, pixels_of(grid)
    activation, start, places = operands.activation, storage.tape_at, places_of(operands)
    g = cotangents.u
    units, outputs = pixels * hidden, operands.transformer.raw_rows * channels
    raw, extra = (units_of(tape, start + places.raw * ROWS, pixels * outputs),
                  operands.transformer.tape_rows)
    extras = units_of(tape, start + places.extras * ROWS, len(operands.change) * extra)
    g_raw = units_of(scratch, 0, pixels * outputs)
    fill_with_zeros(scratch, 0, pixels * outputs)       # numbers that stay have outputs too
    for k in range(len(operands.change)):
        number = operands.change[k]
        transform_vjp(operands.transformer, direction, g, cotangents.log_det, raw, extras,
                      Place(number, number % pixels * outputs + number // pixels, channels,
                            k * extra), g_raw, splines, mixtures)
    # What the sum of the skips gets, what h_b gets, and two layers to work in.
    g_total = len(scratch) - 4 * units * ROWS
    g_h, one, other = (g_total + units * ROWS, g_total + 2 * units * ROWS,
                       g_total + 3 * units * ROWS)
    square, total = hidden * hidden, start + places.total * ROWS
    at = storage.at + numbers_of(grid, 3, fan_in, hidden) + numbers_of(grid, 1, hidden, hidden)
    at += operands.blocks * (2 * numbers_of(grid, 3, hidden, hidden)
                             + numbers_of(grid, 1, hidden, hidden))
    add_row_sums(scratch, 0, pixels * outputs, g_theta, at + hidden * outputs)
    convolve_vjp(grid, 1, hidden, outputs, theta, at, tape, total, scratch, 0, g_total, g_theta)
    activate_vjp(activation, units, tape, total, scratch, g_total)
    fill_with_zeros(scratch, g_h, units)
    h = start + (places.h + operands.blocks * units) * ROWS
    for k in range(operands.blocks):
        b = operands.blocks - 1 - k
        active, middle = (start + (places.active + b * units) * ROWS,
                          start + (places.middle + b * units) * ROWS)
        at -= numbers_of(grid, 1, hidden, hidden)
        add_row_sums(scratch, g_total, units, g_theta, at + square)
        convolve_vjp(grid, 1, hidden, hidden, theta, at, tape, h, scratch, g_total, one, g_theta)
        add_units(units, scratch, g_h, one)
        at -= numbers_of(grid, 3, hidden, hidden)
        add_row_sums(scratch, g_h, units, g_theta, at + 9 * square)
        convolve_vjp(grid, 3, hidden, hidden, theta, at, tape, middle, scratch, g_h, one, g_theta)
        activate_vjp(activation, units, tape, middle, scratch, one)
        at -= numbers_of(grid, 3, hidden, hidden)
        add_row_sums(scratch, one, units, g_theta, at + 9 * square)
        convolve_vjp(grid, 3, hidden, hidden, theta, at, tape, active, scratch, one, other,
                     g_theta)
        activate_vjp(activation, units, tape, active, scratch, other)
        add_units(units, scratch, g_h, other)
        h -= units * ROWS
    at -= numbers_of(grid, 1, hidden, hidden)
    add_row_sums(scratch, g_total, units, g_theta, at + square)
    convolve_vjp(grid, 1, hidden, hidden, theta, at, tape, h, scratch, g_total, one, g_theta)
    add_units(units, scratch, g_h, one)
    add_row_sums(scratch, g_h, units, g_theta, storage.at + 9 * fan_in * hidden)
    convolve_vjp(grid, 3, fan_in, hidden, theta, storage.at, tape, start, scratch, g_h, 0, g_theta)
    g_seen = units_of(scratch, 0, pixels * fan_in)
    for pixel in range(pixels):
        for c in range(channels):
            if operands.stays[c * pixels + pixel]:
                for r in range(ROWS):
                    g[c * pixels + pixel, r] += g_seen[pixel * fan_in + c, r]
        for k in range(fan_in - 2 * channels):
            for r in range(ROWS):
                cotangents.context[k, r] += g_seen[pixel * fan_in + 2 * channels + k, r]
