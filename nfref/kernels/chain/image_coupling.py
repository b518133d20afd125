"""A coupling of the numbers of an image by a mask, on a block of rows, and its derivative.

:mod:`nfref.networks.residual_convolution` has the formulas of its network, whose letters are used
here; images stand as in ``convolution``, in u channel by channel.

theta: the layers F, S_0, then A_b, B_b, S_b of each block, then L; of each its weight, normalised
already, and its bias once for each pixel. Tape: the image that the network sees, h_0 ... h_B, the
activated h_0 ... h_{B-1}, the activated A_b * a(h_{b-1}), the activated sum of the skips, the raw
outputs; then E rows for each number that changes.

Outputs are asked for only at pixels where a number changes: by checkerboard half of them. So at the
others neither the sum of the skips nor h_B is computed, which is a seventh of all products.
"""

from collections import namedtuple

from nfref.kernels.chain.block_rows import (
    add_row,
    add_row_sums,
    add_rows,
    clear,
    copy_rows,
    units_of,
)
from nfref.kernels.chain.convolution import Grid, convolve, convolve_vjp, pixels_of
from nfref.kernels.chain.network import RELU, TANH, activate, activate_vjp, add_bias
from nfref.kernels.chain.transformers import OPERANDS, Place, decode, transform, transform_vjp
from nfref.kernels.jit import body
from nfref.kernels.simd.elementary import softplus, tanh, tanh_and_slope
from nfref.kernels.simd.matmul import ROWS, add_outer, times, times_transposed

# The operands: a transformer, the activation, the grid of pixels; how many channels the image has,
# the network sees, and each hidden layer has; how many blocks; which numbers stay (1 or 0), those
# that change, and the pixels of these.
ImageCoupling = namedtuple(
    "ImageCoupling", "transformer activation grid channels fan_in hidden blocks stays change asked"
)

# Where the parts of the tape start, in rows from its beginning.
Places = namedtuple("Places", "h active middle total raw extras")


@body
def decode_image_coupling(code, at, reals):
    """Read a transformer, nine numbers, the numbers that stay and change, and their pixels."""
    first = at + OPERANDS
    grid = Grid(code[first + 1], code[first + 2])
    stays = first + 9
    change = stays + code[first + 3] * pixels_of(grid)
    asked = change + code[first + 7]
    return ImageCoupling(
        decode(code, at, reals),
        code[first],
        grid,
        code[first + 3],
        code[first + 4],
        code[first + 5],
        code[first + 6],
        code[stays:change],
        code[change:asked],
        code[asked : asked + code[first + 8]],
    )


@body
def places_of(operands):
    """Return the places on the tape of what a coupling of an image keeps, and their end."""
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
    """Return the size of a weight and its biases."""
    return (size * size * fan_in + pixels_of(grid)) * fan_out


@body
def skip_at(operands, b):
    """Return the start of S_b among the layers."""
    grid, hidden = operands.grid, operands.hidden
    block = 2 * numbers_of(grid, 3, hidden, hidden) + numbers_of(grid, 1, hidden, hidden)
    return numbers_of(grid, 3, operands.fan_in, hidden) + b * block


@body
def activated(activation, units, storage, h_at, out_at):
    """Compute out = a(h), both on the tape."""
    out, h = units_of(storage.tape, out_at, units), units_of(storage.tape, h_at, units)
    zero = h.dtype.type(0)
    if activation == TANH and len(storage.slopes) > 0:
        slopes = units_of(storage.slopes, out_at, units)
        for j in range(units):
            for r in range(ROWS):
                out[j, r], slopes[j, r] = tanh_and_slope(h[j, r])
        return
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
    """Add the units at ``other_at`` to those at ``at``."""
    add_rows(units, units_of(numbers, other_at, units), 0, units_of(numbers, at, units), 0)


@body
def image_coupling(direction, operands, storage, block, splines, mixtures):
    """Transform the numbers that change, with parameters computed from those that stay.

    direction : 1 from latent to data, -1 back
    operands : ImageCoupling
    storage : Storage; the tape is filled
    block : Block; u changes in place, log_det grows
    splines, mixtures : True, or None where no transformer is one
    """
    grid, channels, fan_in, hidden = (
        operands.grid,
        operands.channels,
        operands.fan_in,
        operands.hidden,
    )
    theta, tape, u, pixels = storage.theta, storage.tape, block.u, pixels_of(grid)
    activation, start, places = operands.activation, storage.tape_at, places_of(operands)
    seen = units_of(tape, start, pixels * fan_in)
    for pixel in range(pixels):
        for c in range(channels):
            stays = operands.stays[c * pixels + pixel]
            for r in range(ROWS):
                seen[pixel * fan_in + c, r] = u[c * pixels + pixel, r] if stays else 0
                seen[pixel * fan_in + channels + c, r] = stays
        copy_rows(fan_in - 2 * channels, block.context, 0, seen, pixel * fan_in + 2 * channels)
    units, square = pixels * hidden, hidden * hidden
    at, h, active = storage.at, start + places.h * ROWS, start + places.active * ROWS
    for pixel in range(pixels):
        here = pixel * hidden
        convolve(grid, pixel, 3, fan_in, hidden, theta, at, tape, start, h)
        add_bias(theta, at + 9 * fan_in * hidden + here, hidden, tape, h + here * ROWS)
        if operands.blocks > 0:
            activated(activation, hidden, storage, h + here * ROWS, active + here * ROWS)
    for b in range(operands.blocks):
        middle, after = start + (places.middle + b * units) * ROWS, h + units * ROWS
        at, last = storage.at + skip_at(operands, b) + square + units, b == operands.blocks - 1
        for pixel in range(pixels):
            here = pixel * hidden
            convolve(grid, pixel, 3, hidden, hidden, theta, at, tape, active, middle)
            activate(
                activation, at + 9 * square + here, hidden, storage, middle + here * ROWS, ROWS
            )
        at, active = at + 9 * square + units, active + units * ROWS
        for i in range(len(operands.asked) if last else pixels):
            pixel = operands.asked[i] if last else i
            here = pixel * hidden
            convolve(grid, pixel, 3, hidden, hidden, theta, at, tape, middle, after)
            add_bias(theta, at + 9 * square + here, hidden, tape, after + here * ROWS)
            add_units(hidden, tape, after + here * ROWS, h + here * ROWS)
            if not last:
                activated(activation, hidden, storage, after + here * ROWS, active + here * ROWS)
        h = after
    network_outputs(operands, storage, places)
    outputs, extra = operands.transformer.raw_rows * channels, operands.transformer.tape_rows
    raw = units_of(tape, start + places.raw * ROWS, pixels * outputs)
    extras = units_of(tape, start + places.extras * ROWS, len(operands.change) * extra)
    for k in range(len(operands.change)):
        number = operands.change[k]
        place = Place(number, number % pixels * outputs + number // pixels, channels, k * extra)
        transformer = operands.transformer
        transform(
            transformer, direction, u, raw, extras, place, block.log_det, ROWS, splines, mixtures
        )


@body
def network_outputs(operands, storage, places):
    """Compute L * a(sum_b S_b * h_b) from all h_b."""
    theta, tape, start, hidden = storage.theta, storage.tape, storage.tape_at, operands.hidden
    outputs, square = operands.transformer.raw_rows * operands.channels, hidden * hidden
    last = (
        storage.at
        + skip_at(operands, operands.blocks)
        + numbers_of(operands.grid, 1, hidden, hidden)
    )
    for pixel in operands.asked:
        here = pixel * hidden
        total, raw = (
            start + (places.total + here) * ROWS,
            start + (places.raw + pixel * outputs) * ROWS,
        )
        for b in range(operands.blocks + 1):
            at = storage.at + skip_at(operands, b)
            h = start + (places.h + b * pixels_of(operands.grid) * hidden + here) * ROWS
            times(theta, at, hidden, hidden, hidden, tape, h, tape, total, ROWS, min(b, 1))
            add_bias(theta, at + square + here, hidden, tape, total)
        activated(operands.activation, hidden, storage, total, total)
        times(theta, last, outputs, hidden, outputs, tape, total, tape, raw)
        add_bias(theta, last + hidden * outputs + pixel * outputs, outputs, tape, raw)


@body
def image_coupling_vjp(direction, operands, storage, cotangents, scratch, splines, mixtures):
    """Go back through the transformer, then through the network to the numbers that stay.

    direction, operands, splines, mixtures : as for :func:`image_coupling`
    storage : Storage; the tape as :func:`image_coupling` left it
    cotangents : Cotangents; u changes in place, context and theta grow
    scratch : the outputs or what the network sees, and four hidden layers
    """
    grid, channels, fan_in, hidden = (
        operands.grid,
        operands.channels,
        operands.fan_in,
        operands.hidden,
    )
    theta, tape, g_theta, pixels = storage.theta, storage.tape, cotangents.theta, pixels_of(grid)
    activation, start, places = operands.activation, storage.tape_at, places_of(operands)
    g = cotangents.u
    units, outputs = pixels * hidden, operands.transformer.raw_rows * channels
    raw, extra = (
        units_of(tape, start + places.raw * ROWS, pixels * outputs),
        operands.transformer.tape_rows,
    )
    extras = units_of(tape, start + places.extras * ROWS, len(operands.change) * extra)
    g_raw = units_of(scratch, 0, pixels * outputs)
    clear(units_of(scratch, 0, pixels * outputs))  # numbers that stay have outputs too
    for k in range(len(operands.change)):
        number = operands.change[k]
        place = Place(number, number % pixels * outputs + number // pixels, channels, k * extra)
        transformer = operands.transformer
        g_log_det = cotangents.log_det
        transform_vjp(
            transformer, direction, g, g_log_det, raw, extras, place, g_raw, splines, mixtures
        )
    # Cotangents of the sum of the skips and of h_b, and two layers of working memory.
    g_total = len(scratch) - 4 * units * ROWS
    g_h, one, other = (
        g_total + units * ROWS,
        g_total + 2 * units * ROWS,
        g_total + 3 * units * ROWS,
    )
    square, total = hidden * hidden, start + places.total * ROWS
    at = storage.at + skip_at(operands, operands.blocks) + numbers_of(grid, 1, hidden, hidden)
    for pixel in operands.asked:
        here = pixel * hidden * ROWS
        add_row_sums(
            scratch,
            pixel * outputs * ROWS,
            outputs,
            g_theta,
            at + hidden * outputs + pixel * outputs,
        )
        convolve_vjp(
            grid, pixel, 1, hidden, outputs, theta, at, tape, total, scratch, 0, g_total, g_theta
        )
        activate_vjp(activation, hidden, storage, total + here, scratch, g_total + here)
    clear(units_of(scratch, g_h, units))
    h = start + (places.h + operands.blocks * units) * ROWS
    for k in range(operands.blocks):
        b = operands.blocks - 1 - k
        active, middle = (
            start + (places.active + b * units) * ROWS,
            start + (places.middle + b * units) * ROWS,
        )
        skip = storage.at + skip_at(operands, b + 1)
        for pixel in operands.asked:
            skip_vjp(operands, pixel, theta, skip, tape, h, scratch, g_total, g_h, g_theta)
        at = skip - numbers_of(grid, 3, hidden, hidden)
        clear(units_of(scratch, one, units))
        for i in range(len(operands.asked) if k == 0 else pixels):
            pixel = operands.asked[i] if k == 0 else i
            here = pixel * hidden
            add_row_sums(scratch, g_h + here * ROWS, hidden, g_theta, at + 9 * square + here)
            convolve_vjp(
                grid, pixel, 3, hidden, hidden, theta, at, tape, middle, scratch, g_h, one, g_theta
            )
        at -= numbers_of(grid, 3, hidden, hidden)
        clear(units_of(scratch, other, units))
        for pixel in range(pixels):
            here = pixel * hidden
            activate_vjp(
                activation, hidden, storage, middle + here * ROWS, scratch, one + here * ROWS
            )
            add_row_sums(scratch, one + here * ROWS, hidden, g_theta, at + 9 * square + here)
            convolve_vjp(
                grid,
                pixel,
                3,
                hidden,
                hidden,
                theta,
                at,
                tape,
                active,
                scratch,
                one,
                other,
                g_theta,
            )
        for pixel in range(pixels):
            here = pixel * hidden * ROWS
            activate_vjp(activation, hidden, storage, active + here, scratch, other + here)
            add_units(hidden, scratch, g_h + here, other + here)
        h -= units * ROWS
    clear(units_of(scratch, 0, pixels * fan_in))
    for pixel in operands.asked:
        skip = storage.at + skip_at(operands, 0)
        skip_vjp(operands, pixel, theta, skip, tape, h, scratch, g_total, g_h, g_theta)
    for pixel in range(pixels):
        here = pixel * hidden
        add_row_sums(
            scratch, g_h + here * ROWS, hidden, g_theta, storage.at + 9 * fan_in * hidden + here
        )
        convolve_vjp(
            grid, pixel, 3, fan_in, hidden, theta, storage.at, tape, start, scratch, g_h, 0, g_theta
        )
    g_seen = units_of(scratch, 0, pixels * fan_in)
    for pixel in range(pixels):
        for c in range(channels):
            if operands.stays[c * pixels + pixel]:
                add_row(g_seen, pixel * fan_in + c, g, c * pixels + pixel)
        add_rows(
            fan_in - 2 * channels, g_seen, pixel * fan_in + 2 * channels, cotangents.context, 0
        )


@body
def skip_vjp(operands, pixel, theta, at, tape, h, scratch, g_total, g_h, g_theta):
    """Go back through S_b at a pixel: add to g_theta, and to the cotangent of h_b."""
    hidden = operands.hidden
    here = pixel * hidden
    g, seen = g_total + here * ROWS, h + here * ROWS
    add_row_sums(scratch, g, hidden, g_theta, at + hidden * hidden + here)
    add_outer(tape, seen, hidden, scratch, g, hidden, g_theta, at, hidden)
    times_transposed(theta, at, hidden, hidden, hidden, scratch, g, scratch, g_h + here * ROWS, 1)
