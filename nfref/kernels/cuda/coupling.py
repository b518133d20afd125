"""Additive, affine and spline coupling on the device: twins of the transformers' formulas.

Each number is read once and written once, so memory sets the pace. A row belongs to 1 ... 32
lanes of a warp, whose columns lie side by side in memory; the log-determinant is added up
between the lanes, without a second pass.

Arrays are host arrays, whose results come back to the host, or lie on the device already, and
then the results stay there. Float32 and float64; all arguments have one dtype.
"""

import math

from nfref.kernels.chain.transformers import spline as on_cpu
from nfref.kernels.cuda.arrays import run_over_rows
from nfref.kernels.cuda.warp import ALL, cuda, on_device

# The twins ----------------------------------------------------------------------------------


# Each takes the direction first, 1 from latent to data or -1 back.


def affine_coupling(direction, rows, shift, log_scale):
    """See ``affine_forward`` and ``affine_inverse`` of :mod:`nfref.transformers.affine`."""
    return run_over_rows(affine_kernel, rows, (shift, log_scale), direction)


def additive_coupling(direction, rows, shift):
    """See ``additive_forward`` and ``additive_inverse`` of :mod:`nfref.transformers.additive`."""
    return run_over_rows(additive_kernel, rows, (shift,), direction)


def spline_coupling(direction, rows, knots, bound, circular):
    """See ``spline_forward`` and ``spline_inverse`` of the rational-quadratic spline's formulas."""
    return run_over_rows(spline_kernel, rows, knots, direction, rows.dtype.type(bound), circular)


# The kernels --------------------------------------------------------------------------------


def over_rows(coordinate, keeps_volume=False):
    """Return a kernel that maps rows coordinate by coordinate and adds up the log-slopes.

    A block of threads is (lanes, rows). Loops are written out, because the length of a range
    takes a division of whole numbers, which costs more than all the rest of a short row.

    Parameters
    ----------
    coordinate : function on the device
        (number, row, column, arrays, settings) -> (value, log-slope).
    keeps_volume : bool
        True if every log-slope is 0.
    """

    def kernel(u, arrays, settings, out, log_det):
        row = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
        total = u.dtype.type(0)
        if row < u.shape[0]:
            j = cuda.threadIdx.x
            while j < u.shape[1]:
                out[row, j], log_slope = coordinate(u[row, j], row, j, arrays, settings)
                total += log_slope
                j += cuda.blockDim.x
        offset = 0 if keeps_volume else cuda.blockDim.x >> 1
        while offset > 0:
            total += cuda.shfl_xor_sync(ALL, total, offset)
            offset >>= 1
        if cuda.threadIdx.x == 0 and row < u.shape[0]:
            log_det[row] = total

    return cuda.jit(kernel)


@on_device
def affine(u, row, j, arrays, settings):
    """Return x = z e^s + t and s (1), or z = (x - t) e^-s and -s (-1)."""
    shift, log_scale = arrays
    s = log_scale[row, j]
    if settings[0] == 1:
        return u * math.exp(s) + shift[row, j], s
    return (u - shift[row, j]) * math.exp(-s), -s


@on_device
def additive(u, row, j, arrays, settings):
    """Return x = z + t (1), or z = x - t (-1), and 0."""
    t = arrays[0][row, j]
    return u + (t if settings[0] == 1 else -t), type(u)(0)


parts_of, place_in_bin = on_device(on_cpu.parts_of), on_device(on_cpu.place_in_bin)
slope_in_bin = on_device(on_cpu.slope_in_bin)


@on_device
def spline(u, row, j, arrays, settings):
    """Return the curve of :mod:`nfref.transformers.rational_quadratic`, and its log-slope.

    Knots and slopes are (K+1, N, D). The curve holds within [-B, B]; outside is the identity, or
    the curve some whole turns away.
    """
    x, y, s, d = arrays
    direction, bound, circular = settings
    v, turns, turn, one = u, type(u)(0), bound + bound, type(u)(1)
    if circular:  # the floor in this dtype; Numba's own has 64 bits
        turns = (v + bound) / turn
        part = math.fmod(turns, one)
        turns = turn * (turns - part - one if part < type(u)(0) else turns - part)
        v = min(max(v - turns, -bound), bound)
    elif not abs(v) < bound:
        return u, turns
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
    if direction == 1:
        a, b = parts_of(v, below, above)
        a, b = place_in_bin(a, b, slope, d0, d1)
        value = left + (right - left) * a + turns
    else:
        a, b = parts_of(v, left, right)
        part = a * (slope * a + d0 * b) / (slope * (a * a + b * b) + (d0 + d1) * a * b)
        value = below + (above - below) * part + turns
    ratio, excess = slope_in_bin(a, b, slope, d0, d1)
    log_slope = math.log(ratio) if ratio < type(u)(0.5) else math.log1p(excess)
    return value, -log_slope if direction == 1 else log_slope


affine_kernel, spline_kernel = over_rows(affine), over_rows(spline)
additive_kernel = over_rows(additive, keeps_volume=True)
