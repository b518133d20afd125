"""Convolutions of size 1 and 3 on a block of rows, and their derivatives.

Images stand pixel by pixel, (pixels, channels, ROWS). So the neighbours of a pixel in one row of
the image, with all their channels, are the units of one product: nothing is copied, and what lies
beyond the edge is left out. See :mod:`nfref.networks.convolution` for the formula.

A convolution is asked for at one pixel at a time, so that what follows on it finds its outputs
where the processor reads fastest.
"""

from collections import namedtuple

from nfref.kernels.chain.block_rows import add_row_sums, clear, units_of
from nfref.kernels.chain.network import add_bias
from nfref.kernels.jit import body
from nfref.kernels.simd.matmul import ROWS, add_outer, times, times_transposed

Grid = namedtuple("Grid", "height width")  # the pixels of an image

# A layer: the pixels, the size k of its convolution, how many channels it takes and returns, and
# its start in theta, where the weight (k, k, fan_in, fan_out) stands, then a bias for each pixel
# (pixels, fan_out).
Layer = namedtuple("Layer", "grid size fan_in fan_out at")


@body
def pixels_of(grid):
    return grid.height * grid.width


@body
def bias_of(layer, pixel):
    """Return the place of the biases of a pixel in theta."""
    return layer.at + (layer.size * layer.size * layer.fan_in + pixel) * layer.fan_out


@body
def end_of(layer):
    """Return the place in theta that follows on a layer."""
    return bias_of(layer, pixels_of(layer.grid))


@body
def neighbours(layer, pixel, a):
    """Return the first neighbour of a pixel in row a of those of a layer, their number, its place.

    The number is 0 if that row lies beyond the edge.
    """
    grid = layer.grid
    if layer.size == 1:
        return pixel, 1, 0
    i, j = pixel // grid.width + a - 1, pixel % grid.width
    if i < 0 or i >= grid.height:
        return 0, 0, 0
    left, right = max(j - 1, 0), min(j + 1, grid.width - 1)
    return i * grid.width + left, right - left + 1, left - j + 1


@body
def convolve(layer, pixel, storage, h_at, out_at, keep):
    """Compute out = keep * out + W * h at a pixel; W * h is zero for an image without channels."""
    theta, tape, fan_in, fan_out = storage.theta, storage.tape, layer.fan_in, layer.fan_out
    out = out_at + pixel * fan_out * ROWS
    if fan_in == 0:
        clear(units_of(tape, out, fan_out))
        return
    for a in range(layer.size):
        first, count, place = neighbours(layer, pixel, a)
        if count > 0:
            part = layer.at + (layer.size * a + place) * fan_in * fan_out
            here, units = h_at + first * fan_in * ROWS, count * fan_in
            times(theta, part, fan_out, units, fan_out, tape, here, tape, out, ROWS, keep)
            keep = 1


@body
def convolve_and_shift(layer, pixel, storage, h_at, out_at, keep):
    """Compute out = keep * out + W * h + b at a pixel."""
    convolve(layer, pixel, storage, h_at, out_at, keep)
    out = out_at + pixel * layer.fan_out * ROWS
    add_bias(storage.theta, bias_of(layer, pixel), layer.fan_out, storage.tape, out)


@body
def convolve_vjp(layer, pixel, storage, h_at, scratch, g_at, in_at, keep, g_theta):
    """Turn the cotangent of an output pixel, in scratch, into that of h, at ``in_at`` of scratch.

    Size 1 computes keep * in + W g, size 3 adds to the cotangents of the neighbours. The function
    adds to g_theta.
    """
    theta, tape, fan_in, fan_out = storage.theta, storage.tape, layer.fan_in, layer.fan_out
    g = g_at + pixel * fan_out * ROWS
    add_row_sums(scratch, g, fan_out, g_theta, bias_of(layer, pixel))
    if fan_in == 0:
        return
    keep = keep if layer.size == 1 else 1
    for a in range(layer.size):
        first, count, place = neighbours(layer, pixel, a)
        if count > 0:
            here, units = first * fan_in * ROWS, count * fan_in
            part = layer.at + (layer.size * a + place) * fan_in * fan_out
            add_outer(tape, h_at + here, units, scratch, g, fan_out, g_theta, part, fan_out)
            here += in_at
            times_transposed(theta, part, fan_out, units, fan_out, scratch, g, scratch, here, keep)
