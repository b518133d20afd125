"""Additive, affine and spline coupling on the device: twins of the transformers' formulas.

Each number is read once and written once, so memory sets the pace. A row belongs to 1 ... 32
lanes of a warp, whose columns lie side by side in memory; the log-determinant is added up
between the lanes, without a second pass.

Arrays are host arrays, whose results come back to the host, or lie on the device already, and
then the results stay there. Float32 and float64; all arguments have one dtype.
"""

import math

from numba import cuda

from nfref.kernels.cuda.arrays import from_device, launch, to_device
from nfref.kernels.cuda.warp import ALL, block_for, lanes_for

# The twins ----------------------------------------------------------------------------------


def affine_coupling_forward(z, shift, log_scale):
    """See :func:`nfref.transformers.affine.affine_forward`."""
    return _run(affine_forward_kernel, z, shift, log_scale)


def affine_coupling_inverse(x, shift, log_scale):
    """See :func:`nfref.transformers.affine.affine_inverse`."""
    return _run(affine_inverse_kernel, x, shift, log_scale)


def additive_coupling_forward(z, shift):
    """See :func:`nfref.transformers.additive.additive_forward`."""
    return _run(additive_forward_kernel, z, shift)


def additive_coupling_inverse(x, shift):
    """See :func:`nfref.transformers.additive.additive_inverse`."""
    return _run(additive_inverse_kernel, x, shift)


def spline_coupling_forward(z, knots, bound, circular):
    """See :func:`nfref.transformers.rational_quadratic.spline_forward`."""
    return _run(spline_kernel, z, *knots, real=bound, flags=(circular, 1))


def spline_coupling_inverse(x, knots, bound, circular):
    """See :func:`nfref.transformers.rational_quadratic.spline_inverse`."""
    return _run(spline_kernel, x, *knots, real=bound, flags=(circular, -1))


def _run(kernel, *arrays, real=None, flags=()):
    arrays, on_host = to_device(*arrays)
    settings = () if real is None else (arrays[0].dtype.type(real), *flags)
    n, dim = arrays[0].shape
    out = cuda.device_array((n, dim), arrays[0].dtype)
    log_det = cuda.device_array((n,), arrays[0].dtype)
    launch(kernel, *block_for(n, lanes_for(dim)), *arrays, *settings, out, log_det)
    return from_device(on_host, out, log_det)


# The kernels --------------------------------------------------------------------------------
# A block of threads is (lanes, rows). Loops are written out, because the length of a range
# takes a division of whole numbers, which costs more than all the rest of a short row.


def affine_forward(z, shift, log_scale, x, log_det):
    """x = z e^s + t,  log |det dx/dz| = sum s."""
    row = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
    total = z.dtype.type(0)
    if row < z.shape[0]:
        j = cuda.threadIdx.x
        while j < z.shape[1]:
            s = log_scale[row, j]
            x[row, j] = z[row, j] * math.exp(s) + shift[row, j]
            total += s
            j += cuda.blockDim.x
    offset = cuda.blockDim.x >> 1
    while offset > 0:
        total += cuda.shfl_xor_sync(ALL, total, offset)
        offset >>= 1
    if cuda.threadIdx.x == 0 and row < z.shape[0]:
        log_det[row] = total


def affine_inverse(x, shift, log_scale, z, log_det):
    """z = (x - t) e^-s,  log |det dz/dx| = -sum s."""
    row = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
    total = x.dtype.type(0)
    if row < x.shape[0]:
        j = cuda.threadIdx.x
        while j < x.shape[1]:
            s = log_scale[row, j]
            z[row, j] = (x[row, j] - shift[row, j]) * math.exp(-s)
            total -= s
            j += cuda.blockDim.x
    offset = cuda.blockDim.x >> 1
    while offset > 0:
        total += cuda.shfl_xor_sync(ALL, total, offset)
        offset >>= 1
    if cuda.threadIdx.x == 0 and row < x.shape[0]:
        log_det[row] = total


def additive_forward(z, shift, x, log_det):
    """x = z + t,  log |det dx/dz| = 0."""
    row = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
    if row < z.shape[0]:
        j = cuda.threadIdx.x
        while j < z.shape[1]:
            x[row, j] = z[row, j] + shift[row, j]
            j += cuda.blockDim.x
        if cuda.threadIdx.x == 0:
            log_det[row] = 0


def additive_inverse(x, shift, z, log_det):
    """z = x - t,  log |det dz/dx| = 0."""
    row = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
    if row < x.shape[0]:
        j = cuda.threadIdx.x
        while j < x.shape[1]:
            z[row, j] = x[row, j] - shift[row, j]
            j += cuda.blockDim.x
        if cuda.threadIdx.x == 0:
            log_det[row] = 0


@cuda.jit(device=True)
def whole_below(v):
    """The floor in the dtype of v; Numba's own is a whole number of 64 bits."""
    part = math.fmod(v, type(v)(1))
    return v - part - type(v)(1) if part < 0 else v - part


@cuda.jit(device=True)
def find_bin(v, ends, row, j):
    """k with ends[k] <= v < ends[k + 1], by halves; the first or the last bin outside of them."""
    low, high = 0, ends.shape[0] - 1
    while high - low > 1:
        middle = (low + high) >> 1
        if v >= ends[middle, row, j]:
            low = middle
        else:
            high = middle
    return low


@cuda.jit(device=True)
def log_slope_in_bin(a, b, s, d0, d1):
    """See :func:`nfref.transformers.rational_quadratic.log_slope_in_bin`."""
    one, two = type(a)(1), type(a)(2)
    q = d1 * a * a + two * s * a * b + d0 * b * b
    m = a * a + b * b + (d0 + d1) * a * b / s
    e = ((d0 - s) + (d1 - s)) * a * b / s
    ratio = q / (m * m)
    if two * ratio < one:
        return math.log(ratio)
    above = (d1 - one) * a * a + two * (s - one) * a * b + (d0 - one) * b * b
    return math.log1p((above - e * (two + e)) / (m * m))


@cuda.jit(device=True)
def spline_value(v, direction, x, y, s, d, row, j):
    """(value, log-slope) of the place v in [-B, B]."""
    if direction == 1:
        k = find_bin(v, y, row, j)
        left, right = y[k, row, j], y[k + 1, row, j]
        out, end = x[k, row, j], x[k + 1, row, j]
    else:
        k = find_bin(v, x, row, j)
        left, right = x[k, row, j], x[k + 1, row, j]
        out, end = y[k, row, j], y[k + 1, row, j]
    slope, d0, d1 = s[k, row, j], d[k, row, j], d[k + 1, row, j]
    two = type(v)(2)
    a, b = (v - left) / (right - left), (right - v) / (right - left)
    if direction == 1:
        # The root as :func:`nfref.transformers.rational_quadratic.place_in_bin` has it.
        c = b * d0 - a * d1
        outer = math.sqrt(c * c + two * two * a * b * slope * slope) + abs(c)
        if c < 0:
            before, after = outer, two * b * slope
        else:
            before, after = two * a * slope, outer
        a, b = before / (before + after), after / (before + after)
        return out + (end - out) * a, -log_slope_in_bin(a, b, slope, d0, d1)
    part = (a * (slope * a + d0 * b)
            / (slope * (a * a + b * b) + (d0 + d1) * a * b))
    return out + (end - out) * part, log_slope_in_bin(a, b, slope, d0, d1)


def spline(u, x, y, s, d, bound, circular, direction, out, log_det):
    """The curve within [-B, B], the identity or the next turn elsewhere; knots (K+1, N, D)."""
    row = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
    turn = bound + bound
    total = u.dtype.type(0)
    if row < u.shape[0]:
        j = cuda.threadIdx.x
        while j < u.shape[1]:
            v = u[row, j]
            if circular:
                turns = turn * whole_below((v + bound) / turn)
                place = min(max(v - turns, -bound), bound)
                value, log_slope = spline_value(place, direction, x, y, s, d, row, j)
                out[row, j] = value + turns
                total += log_slope
            elif abs(v) < bound:
                value, log_slope = spline_value(v, direction, x, y, s, d, row, j)
                out[row, j] = value
                total += log_slope
            else:
                out[row, j] = v
            j += cuda.blockDim.x
    offset = cuda.blockDim.x >> 1
    while offset > 0:
        total += cuda.shfl_xor_sync(ALL, total, offset)
        offset >>= 1
    if cuda.threadIdx.x == 0 and row < u.shape[0]:
        log_det[row] = total


affine_forward_kernel = cuda.jit(affine_forward)
affine_inverse_kernel = cuda.jit(affine_inverse)
additive_forward_kernel = cuda.jit(additive_forward)
additive_inverse_kernel = cuda.jit(additive_inverse)
spline_kernel = cuda.jit(spline)
