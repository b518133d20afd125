"""Additive, affine and spline coupling on the device: twins of the transformers' formulas.

Each number is read once and written once, so memory sets the pace. A row belongs to 1 ... 32
lanes of a warp, whose columns lie side by side in memory; the log-determinant is added up
between the lanes, without a second pass.

Arrays are host arrays, whose results come back to the host, or lie on the device already, and
then the results stay there. Float32 and float64; all arguments have one dtype.
"""

import math

from nfref.kernels.cuda.arrays import run_over_rows
from nfref.kernels.cuda.warp import ALL, cuda

# The twins ----------------------------------------------------------------------------------


# Each takes the direction first, 1 from latent to data or -1 back.


def affine_coupling(direction, rows, shift, log_scale):
    """See ``affine_forward`` and ``affine_inverse`` of :mod:`nfref.transformers.affine`."""
    return run_over_rows(affine_kernel, rows, shift, log_scale, flags=(direction,))


def additive_coupling(direction, rows, shift):
    """See ``additive_forward`` and ``additive_inverse`` of :mod:`nfref.transformers.additive`."""
    return run_over_rows(additive_kernel, rows, shift, flags=(direction,))


def spline_coupling(direction, rows, knots, bound, circular):
    """See ``spline_forward`` and ``spline_inverse`` of the rational-quadratic spline's formulas."""
    return run_over_rows(spline_kernel, rows, *knots, real=bound, flags=(circular, direction))


# The kernels --------------------------------------------------------------------------------
# A block of threads is (lanes, rows). Loops are written out, because the length of a range
# takes a division of whole numbers, which costs more than all the rest of a short row.


def affine(u, shift, log_scale, direction, out, log_det):
    """Compute x = z e^s + t (1), or z = (x - t) e^-s (-1).

    The log-determinant is sum s, or -sum s.
    """
    row = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
    total = u.dtype.type(0)
    if row < u.shape[0]:
        j = cuda.threadIdx.x
        while j < u.shape[1]:
            s = log_scale[row, j]
            if direction == 1:
                out[row, j] = u[row, j] * math.exp(s) + shift[row, j]
                total += s
            else:
                out[row, j] = (u[row, j] - shift[row, j]) * math.exp(-s)
                total -= s
            j += cuda.blockDim.x
    offset = cuda.blockDim.x >> 1
    while offset > 0:
        total += cuda.shfl_xor_sync(ALL, total, offset)
        offset >>= 1
    if cuda.threadIdx.x == 0 and row < u.shape[0]:
        log_det[row] = total


def additive(u, shift, direction, out, log_det):
    """Compute x = z + t (1), or z = x - t (-1); the log-determinant is 0."""
    row = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
    if row < u.shape[0]:
        j = cuda.threadIdx.x
        while j < u.shape[1]:
            t = shift[row, j]
            out[row, j] = u[row, j] + (t if direction == 1 else -t)
            j += cuda.blockDim.x
        if cuda.threadIdx.x == 0:
            log_det[row] = 0


def spline(u, x, y, s, d, bound, circular, direction, out, log_det):
    """Compute the curve of :mod:`nfref.transformers.rational_quadratic`.

    Knots and slopes are (K+1, N, D). The curve holds within [-B, B]; outside is the identity, or
    the curve some whole turns away. It is one function, because a function of its own would need a
    device to be compiled.
    """
    row = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
    zero, half, one = u.dtype.type(0), u.dtype.type(0.5), u.dtype.type(1)
    two = one + one
    turn = bound + bound
    total = zero
    if row < u.shape[0]:
        j = cuda.threadIdx.x
        while j < u.shape[1]:
            v, turns = u[row, j], zero
            if circular:  # the floor in this dtype; Numba's own has 64 bits
                turns = (v + bound) / turn
                part = math.fmod(turns, one)
                turns = turn * (turns - part - one if part < zero else turns - part)
                v = min(max(v - turns, -bound), bound)
            if circular or abs(v) < bound:
                low, high = 0, s.shape[0]
                while high - low > 1:  # the bin, by halves
                    middle = (low + high) >> 1
                    knot = y[middle, row, j] if direction == 1 else x[middle, row, j]
                    if v >= knot:
                        low = middle
                    else:
                        high = middle
                left, right = x[low, row, j], x[low + 1, row, j]
                below, above = y[low, row, j], y[low + 1, row, j]
                slope, d0, d1 = s[low, row, j], d[low, row, j], d[low + 1, row, j]
                if direction == 1:  # place_in_bin, height_in_bin of the formulas
                    a, b = (v - below) / (above - below), (above - v) / (above - below)
                    c = b * d0 - a * d1
                    outer = math.sqrt(c * c + two * two * a * b * slope * slope) + abs(c)
                    before = outer if c < zero else two * a * slope
                    after = two * b * slope if c < zero else outer
                    a, b = before / (before + after), after / (before + after)
                    out[row, j] = left + (right - left) * a + turns
                else:
                    a, b = (v - left) / (right - left), (right - v) / (right - left)
                    part = a * (slope * a + d0 * b) / (slope * (a * a + b * b) + (d0 + d1) * a * b)
                    out[row, j] = below + (above - below) * part + turns
                q = d1 * a * a + two * slope * a * b + d0 * b * b  # log_slope_in_bin
                m = a * a + b * b + (d0 + d1) * a * b / slope
                e = ((d0 - slope) + (d1 - slope)) * a * b / slope
                more = (d1 - one) * a * a + two * (slope - one) * a * b + (d0 - one) * b * b
                ratio = q / (m * m)
                log_slope = (
                    math.log(ratio)
                    if ratio < half
                    else math.log1p((more - e * (two + e)) / (m * m))
                )
                total += -log_slope if direction == 1 else log_slope
            else:
                out[row, j] = v
            j += cuda.blockDim.x
    offset = cuda.blockDim.x >> 1
    while offset > 0:
        total += cuda.shfl_xor_sync(ALL, total, offset)
        offset >>= 1
    if cuda.threadIdx.x == 0 and row < u.shape[0]:
        log_det[row] = total


affine_kernel = cuda.jit(affine)
additive_kernel = cuda.jit(additive)
spline_kernel = cuda.jit(spline)
