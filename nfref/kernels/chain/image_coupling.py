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

from nfref.kernels.chain.block_rows import add_row, add_rows, clear, copy_rows, units_of
from nfref.kernels.chain.convolution import (
    Grid,
    Layer,
    bias_of,
    convolve,
    convolve_and_shift,
    convolve_vjp,
    end_of,
    pixels_of,
)
from nfref.kernels.chain.network import RELU, TANH, activate, activate_vjp
from nfref.kernels.chain.transformers import OPERANDS, decode, transform_all, transform_all_vjp
from nfref.kernels.jit import body, called_kernel
from nfref.kernels.simd.elementary import softplus, tanh, tanh_and_slope
from nfref.kernels.simd.matmul import ROWS

# The operands: the activation, the grid of pixels; how many channels the image has, the network
# sees, and each hidden layer has; how many blocks; which numbers stay (1 or 0), the places of those
# that change, and the pixels of these.
ImageCoupling = namedtuple(
    "ImageCoupling", "activation grid channels fan_in hidden blocks stays change asked"
)

# Where the parts of the tape start, in rows from its beginning.
Kept = namedtuple("Kept", "h active middle total raw")


@body
def decode_image_coupling(chain, pc):
    """Read a transformer, nine numbers, which numbers stay, places, and their pixels."""
    code, first = chain.code, pc + OPERANDS
    grid, channels, n = Grid(code[first + 1], code[first + 2]), code[first + 3], code[first + 7]
    size, stays = channels * pixels_of(grid), first + 9
    change = stays + size
    places, asked = decode(chain, pc, change, n, channels, size), change + 2 * n
    numbers = channels, code[first + 4], code[first + 5], code[first + 6]
    pixels = code[asked : asked + code[first + 8]]
    return ImageCoupling(code[first], grid, *numbers, code[stays:change], places, pixels)


@body
def places_of(operands):
    """Return the places on the tape of what a coupling of an image keeps."""
    layer = pixels_of(operands.grid) * operands.hidden
    h = pixels_of(operands.grid) * operands.fan_in
    active = h + (operands.blocks + 1) * layer
    middle = active + operands.blocks * layer
    total = middle + operands.blocks * layer
    return Kept(h, active, middle, total, total + layer)


@body
def first_of(operands, storage):
    """Return the layer F."""
    return Layer(operands.grid, 3, operands.fan_in, operands.hidden, storage.at)


@body
def skip_of(operands, storage, b):
    """Return the layer S_b."""
    grid, hidden = operands.grid, operands.hidden
    block = (19 * hidden + 3 * pixels_of(grid)) * hidden  # the numbers of A, B and S
    return Layer(grid, 1, hidden, hidden, end_of(first_of(operands, storage)) + b * block)


@body
def after(layer, size, fan_out):
    """Return the layer that follows in theta, whose size and outputs are given."""
    return Layer(layer.grid, size, layer.fan_out, fan_out, end_of(layer))


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


@called_kernel
def image_coupling(chain, pc, storage, block):
    """Transform the numbers that change, with parameters computed from those that stay."""
    operands = decode_image_coupling(chain, pc)
    channels, fan_in, hidden = operands.channels, operands.fan_in, operands.hidden
    tape, u, pixels = storage.tape, block.u, pixels_of(operands.grid)
    activation, start, places = operands.activation, storage.tape_at, places_of(operands)
    seen = units_of(tape, start, pixels * fan_in)
    for pixel in range(pixels):
        for c in range(channels):
            stays = operands.stays[c * pixels + pixel]
            for r in range(ROWS):
                seen[pixel * fan_in + c, r] = u[c * pixels + pixel, r] if stays else 0
                seen[pixel * fan_in + channels + c, r] = stays
        copy_rows(fan_in - 2 * channels, block.context, 0, seen, pixel * fan_in + 2 * channels)
    units, first = pixels * hidden, first_of(operands, storage)
    h, active = start + places.h * ROWS, start + places.active * ROWS
    for pixel in range(pixels):
        here = pixel * hidden * ROWS
        convolve_and_shift(first, pixel, storage, start, h, 0)
        if operands.blocks > 0:
            activated(activation, hidden, storage, h + here, active + here)
    for b in range(operands.blocks):
        middle, above = start + (places.middle + b * units) * ROWS, h + units * ROWS
        layer, last = after(skip_of(operands, storage, b), 3, hidden), b == operands.blocks - 1
        for pixel in range(pixels):
            convolve(layer, pixel, storage, active, middle, 0)
            bias, here = bias_of(layer, pixel), middle + pixel * hidden * ROWS
            activate(activation, bias, hidden, storage, here, ROWS)
        layer, active = after(layer, 3, hidden), active + units * ROWS
        for i in range(len(operands.asked) if last else pixels):
            pixel = operands.asked[i] if last else i
            here = pixel * hidden * ROWS
            convolve_and_shift(layer, pixel, storage, middle, above, 0)
            add_units(hidden, tape, above + here, h + here)
            if not last:
                activated(activation, hidden, storage, above + here, active + here)
        h = above
    network_outputs(operands, storage, places)
    change, raw = operands.change, start + places.raw * ROWS
    transform_all(change, tape, raw, 0, change.count, block, ROWS)


@body
def network_outputs(operands, storage, places):
    """Compute L * a(sum_b S_b * h_b) from all h_b."""
    start, hidden = storage.tape_at, operands.hidden
    outputs = operands.change.outputs // pixels_of(operands.grid)
    last = after(skip_of(operands, storage, operands.blocks), 1, outputs)
    total, raw = start + places.total * ROWS, start + places.raw * ROWS
    for pixel in operands.asked:
        for b in range(operands.blocks + 1):
            h = start + (places.h + b * pixels_of(operands.grid) * hidden) * ROWS
            skip = skip_of(operands, storage, b)
            convolve_and_shift(skip, pixel, storage, h, total, min(b, 1))
        here = total + pixel * hidden * ROWS
        activated(operands.activation, hidden, storage, here, here)
        convolve_and_shift(last, pixel, storage, total, raw, 0)


@called_kernel
def image_coupling_vjp(chain, pc, storage, cotangents, scratch):
    """Go back through the transformer, then through the network to the numbers that stay.

    scratch : the outputs or what the network sees, and four hidden layers
    """
    operands = decode_image_coupling(chain, pc)
    channels, fan_in, hidden = operands.channels, operands.fan_in, operands.hidden
    g, g_theta, pixels = cotangents.u, cotangents.theta, pixels_of(operands.grid)
    activation, start, places = operands.activation, storage.tape_at, places_of(operands)
    units, change, tape = pixels * hidden, operands.change, storage.tape
    raw, g_raw = start + places.raw * ROWS, units_of(scratch, 0, change.outputs)
    n, outputs = change.count, change.outputs // pixels
    clear(g_raw)  # numbers that stay have outputs too
    transform_all_vjp(change, tape, raw, 0, n, cotangents, g_raw, ROWS)
    # Cotangents of the sum of the skips and of h_b, and two layers of working memory.
    g_total = len(scratch) - 4 * units * ROWS
    layer = units * ROWS
    g_h, one, other = g_total + layer, g_total + 2 * layer, g_total + 3 * layer
    skip, total = skip_of(operands, storage, operands.blocks), start + places.total * ROWS
    last = after(skip, 1, outputs)
    for pixel in operands.asked:
        here = pixel * hidden * ROWS
        convolve_vjp(last, pixel, storage, total, scratch, 0, g_total, 0, g_theta)
        activate_vjp(activation, hidden, storage, total + here, scratch, g_total + here, ROWS)
    clear(units_of(scratch, g_h, units))
    h = start + (places.h + operands.blocks * units) * ROWS
    for k in range(operands.blocks):
        b = operands.blocks - 1 - k
        active = start + (places.active + b * units) * ROWS
        middle = start + (places.middle + b * units) * ROWS
        for pixel in operands.asked:
            convolve_vjp(skip, pixel, storage, h, scratch, g_total, g_h, 1, g_theta)
        skip = skip_of(operands, storage, b)
        lower = after(skip, 3, hidden)
        upper = after(lower, 3, hidden)
        clear(units_of(scratch, one, units))
        for i in range(len(operands.asked) if k == 0 else pixels):
            pixel = operands.asked[i] if k == 0 else i
            convolve_vjp(upper, pixel, storage, middle, scratch, g_h, one, 0, g_theta)
        clear(units_of(scratch, other, units))
        for pixel in range(pixels):
            here = pixel * hidden * ROWS
            activate_vjp(activation, hidden, storage, middle + here, scratch, one + here, ROWS)
            convolve_vjp(lower, pixel, storage, active, scratch, one, other, 0, g_theta)
        for pixel in range(pixels):
            here = pixel * hidden * ROWS
            activate_vjp(activation, hidden, storage, active + here, scratch, other + here, ROWS)
            add_units(hidden, scratch, g_h + here, other + here)
        h -= units * ROWS
    clear(units_of(scratch, 0, pixels * fan_in))
    for pixel in operands.asked:
        convolve_vjp(skip, pixel, storage, h, scratch, g_total, g_h, 1, g_theta)
    first = first_of(operands, storage)
    for pixel in range(pixels):
        convolve_vjp(first, pixel, storage, start, scratch, g_h, 0, 0, g_theta)
    g_seen = units_of(scratch, 0, pixels * fan_in)
    for pixel in range(pixels):
        for c in range(channels):
            if operands.stays[c * pixels + pixel]:
                add_row(g_seen, pixel * fan_in + c, g, c * pixels + pixel)
        add_rows(
            fan_in - 2 * channels, g_seen, pixel * fan_in + 2 * channels, cotangents.context, 0
        )
