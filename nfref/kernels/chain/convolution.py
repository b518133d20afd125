"""Convolutions of size 1 and 3 on a block of rows, and their derivatives.

Images stand pixel by pixel, (pixels, channels, ROWS). So the neighbours of a pixel in one row of
the image, with all their channels, are the units of one product: nothing is copied, and what lies
beyond the edge is left out. See :mod:`nfref.networks.convolution` for the formula.

A convolution is asked for at one pixel at a time, so that what follows on it finds its outputs
where the processor reads fastest.

theta: the weight (k, k, fan_in, fan_out); what is added to a convolution is not its business.
"""

from collections import namedtuple

from nfref.kernels.chain.block_rows import clear, units_of
from nfref.kernels.jit import body
from nfref.kernels.simd.matmul import ROWS, add_outer, times, times_transposed

Grid = namedtuple("Grid", "height width")  # the pixels of an image


@body
def pixels_of(grid):
    return grid.height * grid.width


@body
def neighbours(grid, pixel, a):
    """Return the first neighbour of a pixel in row a of three, their number, and its place.

    The number is 0 if that row lies beyond the edge.
    """
    i, j = pixel // grid.width + a - 1, pixel % grid.width
    if i < 0 or i >= grid.height:
        return 0, 0, 0
    left, right = max(j - 1, 0), min(j + 1, grid.width - 1)
    return i * grid.width + left, right - left + 1, left - j + 1


@body
def convolve(grid, pixel, size, fan_in, fan_out, theta, weight, tape, h_at, out_at):
    """Compute out = W * h at a pixel; zero for an image without channels."""
    out = out_at + pixel * fan_out * ROWS
    if fan_in == 0:
        clear(units_of(tape, out, fan_out))
    elif size == 1:
        here = h_at + pixel * fan_in * ROWS
        times(theta, weight, fan_out, fan_in, fan_out, tape, here, tape, out)
    else:
        kept = 0
        for a in range(3):
            first, count, place = neighbours(grid, pixel, a)
            if count > 0:
                part = weight + (3 * a + place) * fan_in * fan_out
                here = h_at + first * fan_in * ROWS
                units = count * fan_in
                times(theta, part, fan_out, units, fan_out, tape, here, tape, out, ROWS, kept)
                kept = 1


@body
def convolve_vjp(
    grid, pixel, size, fan_in, fan_out, theta, weight, tape, h_at, scratch, g_at, in_at, g_theta
):
    """Turn the cotangent of an output pixel, in scratch, into that of h, at ``in_at`` of scratch.

    Size 1 overwrites it, size 3 adds to the cotangents of the neighbours. The function adds to
    g_theta.
    """
    g = g_at + pixel * fan_out * ROWS
    if size == 1:
        here = pixel * fan_in * ROWS
        add_outer(tape, h_at + here, fan_in, scratch, g, fan_out, g_theta, weight, fan_out)
        times_transposed(
            theta, weight, fan_out, fan_in, fan_out, scratch, g, scratch, in_at + here, 0
        )
    else:
        for a in range(3):
            first, count, place = neighbours(grid, pixel, a)
            if count > 0:
                here, part = first * fan_in * ROWS, weight + (3 * a + place) * fan_in * fan_out
                add_outer(
                    tape, h_at + here, count * fan_in, scratch, g, fan_out, g_theta, part, fan_out
                )
                units = count * fan_in
                times_transposed(
                    theta, part, fan_out, units, fan_out, scratch, g, scratch, in_at + here, 1
                )
