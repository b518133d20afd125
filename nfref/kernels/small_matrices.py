"""Determinants, solutions and inverses of many small matrices, as many at once as a register holds.

Twins of :mod:`nfref.small_matrices`, for float32 and float64 and D up to ``LARGEST``. Gaussian
elimination with partial pivoting runs on 8 (float64) or 16 (float32) matrices side by side:
entry (i, j) of all of them is one register. Right-hand sides stand to the right of the matrix
and are eliminated with it.

No matrix sees another: results depend neither on the neighbours nor on the number of threads.
A singular matrix gives -inf, or a solution of NaN.
"""

import math

import numpy as np
from autograd.extend import Box, defvjp, primitive

from nfref.backend import chosen, threads
from nfref.kernels.jit import body, kernel
from nfref.kernels.lanes import (BYTES, any_equal, exponent, load, load_apart, mantissa,
                                 same, store, where_equal, where_longer)
from nfref.kernels.rows import share
from nfref.kernels.tracing import is_forward_mode

LARGEST = 64        # entries of 8 such matrices still fit a processor's own cache
CHUNK = 1 << 15     # entries that a thread takes at a time


def run(formula, matrices, *others):
    """The twin of a formula of :mod:`nfref.small_matrices`, where it has one for such arguments."""
    arrays = matrices, *others
    if (matrices.shape[1] > LARGEST or any(array.dtype not in (np.float32, np.float64)
                                           or is_forward_mode(array) for array in arrays)):
        return formula(*arrays)
    name = formula.__name__.lstrip("_")
    if chosen() == "cuda" and name == "log_abs_det" and not isinstance(matrices, Box):
        from nfref.kernels.cuda import small_matrices as device
        return device.log_abs_det(matrices)
    return {"log_abs_det": log_abs_det, "solve": solve, "inverse": inverse}[name](*arrays)


# The twins ----------------------------------------------------------------------------------


@primitive
def log_abs_det(matrices):
    """See :func:`nfref.small_matrices.log_abs_det`."""
    matrices = np.ascontiguousarray(matrices)
    out = np.empty(len(matrices), matrices.dtype)
    _in_chunks(matrices, lambda start, stop: _log_abs_det(matrices, start, stop, out))
    return out


@primitive
def solve(matrices, rows):
    """See :func:`nfref.small_matrices.solve`."""
    return _solutions(matrices, rows[:, :, None])[:, :, 0]


@primitive
def inverse(matrices):
    """See :func:`nfref.small_matrices.inverse`."""
    return _solutions(matrices, np.eye(matrices.shape[1], dtype=matrices.dtype)[None])


def _log_abs_det_vjp(value, matrices):
    """d log|det A| = tr(A^-1 dA), so A_bar = g A^-T."""
    def back(g):
        inverses, g = _transposed(inverse(matrices)), g[:, None, None]
        if isinstance(inverses, Box) or isinstance(g, Box):
            return g * inverses
        return np.multiply(g, inverses, out=inverses)   # nobody else holds them

    return back


defvjp(log_abs_det, _log_abs_det_vjp)

# From A dy = dr - dA y:  r_bar = A^-T y_bar,  A_bar = -r_bar y^T.
defvjp(solve,
       lambda y, matrices, rows: lambda g: -(
           solve(_transposed(matrices), g)[:, :, None] * y[:, None, :]),
       lambda y, matrices, rows: lambda g: solve(_transposed(matrices), g))

# d(A^-1) = -A^-1 dA A^-1, so A_bar = -A^-T g A^-T.
defvjp(inverse, lambda value, matrices: lambda g: -(
    _transposed(value) @ g @ _transposed(value)))


def _transposed(matrices):
    return matrices.transpose((0, 2, 1))


def _solutions(matrices, right):
    """A^-1 R for matrices (N, D, D) and R (N, D, M), or (1, D, M), the same for all."""
    matrices, right = np.ascontiguousarray(matrices), np.ascontiguousarray(right, matrices.dtype)
    out = np.empty((len(matrices), *right.shape[1:]), matrices.dtype)
    _in_chunks(matrices, lambda start, stop: _solve(matrices, right, start, stop, out))
    return out


def _in_chunks(matrices, task):
    n, lanes = len(matrices), BYTES // matrices.itemsize
    chunk = lanes * max(1, CHUNK // (lanes * matrices.shape[1] ** 2))
    share(lambda k: task(k * chunk, min((k + 1) * chunk, n)), -(-n // chunk), threads())


# The kernels --------------------------------------------------------------------------------
# The buffer holds ``dim`` rows of ``width`` entries, ``lanes`` numbers each.


@kernel
def _log_abs_det(matrices, start, stop, out):
    """Of matrices start ... stop - 1, by mantissas and exponents, which do not overflow."""
    lanes, dim = BYTES // matrices.itemsize, matrices.shape[1]
    size = dim * dim * lanes
    buffer = aligned(size + 2 * lanes, matrices)
    log_two = buffer.dtype.type(math.log(2))
    for first in range(start, stop, lanes):
        fill(buffer, lanes, dim, 0, matrices, first)
        product, power = eliminate(buffer, lanes, dim, dim)
        store(buffer, size, product)
        store(buffer, size + lanes, power)
        for r in range(min(lanes, stop - first)):
            out[first + r] = log_abs(buffer[size + r]) + log_two * buffer[size + lanes + r]


@kernel
def _solve(matrices, right, start, stop, out):
    """Of systems start ... stop - 1."""
    lanes, dim = BYTES // matrices.itemsize, matrices.shape[1]
    width = dim + right.shape[2]
    buffer = aligned(dim * width * lanes, matrices)
    for first in range(start, stop, lanes):
        fill(buffer, lanes, width, 0, matrices, first)
        fill(buffer, lanes, width, dim, right, first)
        eliminate(buffer, lanes, dim, width)
        substitute_back(buffer, lanes, dim, width)
        for r in range(min(lanes, stop - first)):
            for i in range(dim):
                for j in range(dim, width):
                    out[first + r, i, j - dim] = buffer[(i * width + j) * lanes + r]


@body
def aligned(size, like):
    """An array of ``size`` numbers from which lanes can be loaded."""
    spare = np.empty(size + BYTES // like.itemsize, like.dtype)
    start = -(spare.ctypes.data // like.itemsize) % (BYTES // like.itemsize)
    return spare[start:start + size]


@body
def log_abs(number):
    """log |x|, without a warning at zero in uncompiled code."""
    return math.log(abs(number)) if number != 0 else -math.inf


@body
def fill(buffer, lanes, width, column, arrays, first):
    """Arrays first, first + 1, ... from a column on; past the last one, the last again."""
    rows, columns = arrays.shape[1:]
    if first + lanes <= len(arrays):
        flat, size = arrays.reshape(arrays.size), rows * columns
        for i in range(rows):
            for j in range(columns):
                numbers = load_apart(flat, first * size + i * columns + j, size)
                store(buffer, (i * width + column + j) * lanes, numbers)
        return
    for r in range(lanes):
        array = arrays[min(first + r, len(arrays) - 1)]
        for i in range(rows):
            for j in range(columns):
                buffer[(i * width + column + j) * lanes + r] = array[i, j]


@body
def eliminate(buffer, lanes, dim, width):
    """Turn the matrix into U, and what stands to its right into L^-1 P times it.

    Returns mantissa and exponent of the product of the pivots.
    """
    zero, one = same(buffer, 0), same(buffer, 1)
    product, power = one, zero
    largest, place = load(buffer, 0), zero
    for i in range(1, dim):
        candidate = load(buffer, i * width * lanes)
        place = where_longer(candidate, largest, same(buffer, i), place)
        largest = where_longer(candidate, largest, candidate, largest)
    for k in range(dim):
        swap_rows(buffer, lanes, dim, width, k, place)
        pivot = load(buffer, (k * width + k) * lanes)
        product = product * mantissa(pivot)
        power = power + exponent(pivot)
        # Below a pivot of zero there are only zeros, and nothing to eliminate.
        pivot = where_equal(pivot, zero, one, pivot)
        largest, place = zero, same(buffer, k + 1)
        for i in range(k + 1, dim):
            factor = load(buffer, (i * width + k) * lanes) / pivot
            for j in range(k + 1, width):
                at = (i * width + j) * lanes
                store(buffer, at, load(buffer, at)
                      - factor * load(buffer, (k * width + j) * lanes))
            # The next pivot is looked for on the way, while the row is at hand.
            candidate = load(buffer, (i * width + k + 1) * lanes)
            place = where_longer(candidate, largest, same(buffer, i), place)
            largest = where_longer(candidate, largest, candidate, largest)
    return product, power


@body
def swap_rows(buffer, lanes, dim, width, k, place):
    """Swap row k with row ``place``, in each lane another, from column k on."""
    for i in range(k + 1, dim):
        here = same(buffer, i)
        if any_equal(place, here):
            for j in range(k, width):
                top_at, at = (k * width + j) * lanes, (i * width + j) * lanes
                top, row = load(buffer, top_at), load(buffer, at)
                store(buffer, top_at, where_equal(place, here, row, top))
                store(buffer, at, where_equal(place, here, top, row))


@body
def substitute_back(buffer, lanes, dim, width):
    """Solve U Y = R, with R to the right of U."""
    zero, nan = same(buffer, 0), same(buffer, math.nan)
    for k in range(dim - 1, -1, -1):
        pivot = load(buffer, (k * width + k) * lanes)
        pivot = where_equal(pivot, zero, nan, pivot)
        for j in range(dim, width):
            at = (k * width + j) * lanes
            store(buffer, at, load(buffer, at) / pivot)
        for i in range(k):
            entry = load(buffer, (i * width + k) * lanes)
            for j in range(dim, width):
                at = (i * width + j) * lanes
                store(buffer, at, load(buffer, at)
                      - entry * load(buffer, (k * width + j) * lanes))
