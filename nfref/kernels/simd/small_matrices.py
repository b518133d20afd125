"""Determinants and solutions of many small matrices, as many at once as a register holds.

Twins of :mod:`nfref.runtime.small_matrices`, for float32 and float64 and D up to ``LARGEST``.
Gaussian elimination with partial pivoting runs on 8 (float64) or 16 (float32) matrices side by
side: entry (i, j) of all of them is one register. Right-hand sides stand to the right of the
matrix and are eliminated with it.

No matrix sees another: results depend neither on the neighbours nor on the number of threads.
A singular matrix gives -inf, or a solution of NaN.
"""

import math

import numpy as np

from nfref.kernels.jit import body, kernel
from nfref.kernels.simd import unrolled
from nfref.kernels.simd.elementary import LOG_TWO
from nfref.kernels.simd.lanes import (
    BYTES,
    absolute,
    broadcast,
    exponent,
    load,
    load_at,
    load_strided,
    mantissa,
    prefetch,
    store,
    transpose,
    where_equal,
    where_longer,
    width_of,
)
from nfref.kernels.simd.unrolled import LIFT
from nfref.kernels.thread_pool import aligned, share, writable
from nfref.runtime.autograd_internals import Box, boxes, defvjp, is_forward_mode, primitive
from nfref.runtime.backends import threads

LARGEST = 64  # entries of 8 such matrices still fit a processor's own cache
CHUNK = 1 << 18  # entries, about, that a thread takes at a time
WORTH_IT = 1 << 20  # multiplications that take longer than to wake a thread: 0.1 to 0.2 ms
TOGETHER = 8  # registers of determinants whose logarithms do not wait for each other


# What the dispatch calls --------------------------------------------------------------------


def log_abs_det_or_none(matrices):
    """Compute :func:`nfref.runtime.small_matrices.log_abs_det`; return None without a twin."""
    return log_abs_det(matrices) if _have_twin(matrices) else None


def solve_or_none(matrices, rows):
    """Compute :func:`nfref.runtime.small_matrices.solve`; return None without a twin."""
    return solve(matrices, rows) if _have_twin(matrices, rows) else None


def _have_twin(matrices, *others):
    arrays = matrices, *others
    return (
        matrices.shape[1] <= LARGEST
        and all(array.dtype in (np.float32, np.float64) for array in arrays)
        and not any(is_forward_mode(box) for box in boxes(*arrays))
    )


# The twins ----------------------------------------------------------------------------------


@primitive
def log_abs_det(matrices):
    """Compute :func:`nfref.runtime.small_matrices.log_abs_det`."""
    matrices = writable(matrices)
    out = np.empty(len(matrices), matrices.dtype)
    dim = matrices.shape[1]
    column = (0,) * dim if dim <= unrolled.LARGEST else None
    size = (dim * dim + 4 * TOGETHER) * BYTES // matrices.itemsize

    def task(start, stop):
        _log_abs_det(matrices, column, start, stop, aligned(size, matrices.dtype), out)

    _in_chunks(matrices, task)
    return out


@primitive
def solve(matrices, rows):
    """Compute :func:`nfref.runtime.small_matrices.solve`."""
    return _solutions(matrices, rows[:, :, None])[:, :, 0]


@primitive
def inverse(matrices):
    """Return A^-1 of each matrix, for the gradient of :func:`log_abs_det`."""
    return _solutions(matrices, np.eye(matrices.shape[1], dtype=matrices.dtype)[None])


def _log_abs_det_vjp(value, matrices):
    """Return the VJP.

    d log|det A| = tr(A^-1 dA), so g_A = g A^-T.
    """

    def back(g):
        inverses, g = _transposed(inverse(matrices)), g[:, None, None]
        if isinstance(inverses, Box) or isinstance(g, Box):
            return g * inverses
        return np.multiply(g, inverses, out=inverses)  # nobody else holds them

    return back


defvjp(log_abs_det, _log_abs_det_vjp)

# From A dy = dr - dA y:  g_r = A^-T g_y,  g_A = -g_r y^T.
defvjp(
    solve,
    lambda y, matrices, rows: (
        lambda g: -(solve(_transposed(matrices), g)[:, :, None] * y[:, None, :])
    ),
    lambda y, matrices, rows: lambda g: solve(_transposed(matrices), g),
)

# d(A^-1) = -A^-1 dA A^-1, so g_A = -A^-T g A^-T.
defvjp(inverse, lambda value, matrices: lambda g: -(_transposed(value) @ g @ _transposed(value)))


def _transposed(matrices):
    return matrices.transpose((0, 2, 1))


def _solutions(matrices, right):
    """Return A^-1 R for matrices (N, D, D) and R (N, D, M), or (1, D, M), the same for all."""
    matrices, right = writable(matrices), writable(right, matrices.dtype)
    out = np.empty((len(matrices), *right.shape[1:]), matrices.dtype)
    dim, columns = right.shape[1:]
    size = dim * (dim + columns) * BYTES // matrices.itemsize

    def task(start, stop):
        _solve(matrices, right, start, stop, aligned(size, matrices.dtype), out)

    _in_chunks(matrices, task)
    return out


def _in_chunks(matrices, task):
    """Call task(start, stop) for as many chunks of matrices a thread as there is work for."""
    n, lanes = len(matrices), BYTES // matrices.itemsize
    workers = max(1, min(threads(), matrices.size * matrices.shape[1] // WORTH_IT))
    count = workers * max(1, matrices.size // (workers * CHUNK))
    chunk = lanes * -(-n // (lanes * count))
    share(lambda k: task(k * chunk, min((k + 1) * chunk, n)), -(-n // max(chunk, 1)), workers)


# The kernels --------------------------------------------------------------------------------
# The buffer holds ``width`` columns of ``dim`` entries, ``lanes`` numbers each, and starts where
# a register can be loaded.


@kernel
def _log_abs_det(matrices, column, start, stop, buffer, out):
    """Compute log |det| of matrices start ... stop - 1 by mantissas and exponents without overflow.

    A^T has the same determinant as A, and its columns lie side by side in memory. The length of
    ``column`` gives the size of the smallest matrices; it is None for others.
    """
    lanes = width_of(matrices.dtype)
    # A number that the compiler knows, where it can.
    dim = matrices.shape[1] if column is None else len(column)
    flat, size = matrices.reshape(matrices.size), dim * dim
    products, powers, ratios, rests = buffer[size * lanes :].reshape(4, TOGETHER * lanes)
    for some in range(start, stop, TOGETHER * lanes):
        count = min(TOGETHER * lanes, stop - some)
        for at in range(0, count, lanes):
            first = (some + at) * size
            if first + lanes * size <= len(flat):
                prefetch_next(flat, first + lanes * size, lanes * size)
                fill_columns(buffer, 0, lanes, flat, first, size, size)
            else:
                fill(buffer, 1, 0, flat, 1, size, some + at)
            if column is None:
                product, power = eliminate(buffer, dim, dim)
            else:
                product, power = unrolled.pivots(buffer, column)
            store(products, at, product)
            store(powers, at, power)
        log_abs(products, powers, ratios, rests, count)
        for r in range(count):
            out[some + r] = products[r]


@kernel
def _solve(matrices, right, start, stop, buffer, out):
    """Solve systems start ... stop - 1."""
    lanes, dim = width_of(matrices.dtype), matrices.shape[1]
    columns = right.shape[2]
    width = dim + columns
    flat, sides = matrices.reshape(matrices.size), right.reshape(right.size)
    out = out.reshape(out.size)
    for first in range(start, stop, lanes):
        fill(buffer, dim, 0, flat, dim, dim, first)
        fill(buffer, dim, dim, sides, dim, columns, first)
        eliminate(buffer, dim, width)
        substitute_back(buffer, dim, width)
        drain(buffer, dim, dim, out, dim, columns, first, min(lanes, stop - first))


@body
def fill(buffer, dim, column, flat, rows, columns, first):
    """Copy arrays (rows, columns), from the ``first`` on, into columns of the buffer.

    Past the last array the last is repeated.
    """
    lanes = width_of(flat.dtype)
    size, apart = rows * columns, dim * lanes
    count = len(flat) // size
    if first + lanes <= count:
        prefetch_next(flat, (first + lanes) * size, lanes * size)
        for i in range(rows):
            at, to = first * size + i * columns, column * apart + i * lanes
            fill_columns(buffer, to, apart, flat, at, size, columns)
        return
    for r in range(lanes):
        at = min(first + r, count - 1) * size
        for i in range(rows):
            for j in range(columns):
                buffer[(column + j) * apart + i * lanes + r] = flat[at + i * columns + j]


@body
def prefetch_next(flat, at, count):
    """Have the next ``count`` numbers read. Processors do so for one array, not for several."""
    for k in range(at, at + count, width_of(flat.dtype)):
        prefetch(flat, k)


@body
def fill_columns(buffer, to, apart, flat, at, size, columns):
    """Copy ``columns`` numbers from ``at`` on, and those of the next arrays, ``size`` apart."""
    lanes = width_of(flat.dtype)
    whole = columns // lanes * lanes
    for j in range(0, whole, lanes):
        transpose(flat, at + j, size, buffer, to + j * apart, apart)
    for j in range(whole, columns):
        store(buffer, to + j * apart, load_strided(flat, at + j, size))


@body
def drain(buffer, dim, column, flat, rows, columns, first, count):
    """Copy columns back to arrays first ... first + count - 1; see ``fill``."""
    lanes = width_of(flat.dtype)
    size, apart = rows * columns, dim * lanes
    whole = columns // lanes * lanes if count == lanes else 0
    for i in range(rows):
        at, to = column * apart + i * lanes, first * size + i * columns
        for j in range(0, whole, lanes):
            transpose(buffer, at + j * apart, apart, flat, to + j, size)
        for j in range(whole, columns):
            for r in range(count):
                flat[to + j + r * size] = buffer[at + j * apart + r]


@body
def eliminate(buffer, dim, width):
    """Turn the matrix into U, and what stands to its right into L^-1 P times it.

    Returns mantissa and exponent of the product of the pivots.
    """
    lanes = width_of(buffer.dtype)
    zero, one = broadcast(buffer, 0), broadcast(buffer, 1)
    tiny, huge = broadcast(buffer, 1 / LIFT), broadcast(buffer, LIFT)
    product, power = one, zero
    pivot, place = longest(buffer, 0, 0, dim)
    for k in range(dim):
        product, power = product * mantissa(pivot), power + exponent(pivot)
        left, here = k * dim * lanes, place
        top = load(buffer, left + k * lanes)
        store(buffer, left + k * lanes, pivot)
        # Below a pivot of zero there are only zeros, and nothing to eliminate. One over a
        # very small or a very large pivot could overflow or lose digits.
        pivot = where_equal(pivot, zero, one, pivot)
        lift = where_longer(tiny, pivot, huge, where_longer(pivot, huge, tiny, one))
        scale = one / (pivot * lift)
        for i in range(k + 1, dim):
            at = left + i * lanes
            row = where_equal(here, broadcast(buffer, i), top, load(buffer, at))
            store(buffer, at, row * lift * scale)
        for j in range(k + 1, width, 2):
            column = j * dim * lanes
            subtract(buffer, dim, k, here, column, min(j + 1, width - 1) * dim * lanes)
            if j == k + 1 and j < dim:  # early, so that it need not be waited for
                pivot, place = longest(buffer, column, j, dim)
    return product, power


@body
def subtract(buffer, dim, k, place, one, other):
    """Exchange row k with the row ``place``; subtract its multiples from the rows below.

    Two columns, which may be the same one, share what does not depend on the column.
    """
    lanes = width_of(buffer.dtype)
    left, at = k * dim * lanes, k * lanes
    top, other_top = load(buffer, one + at), load(buffer, other + at)
    across, other_across = load_at(buffer, one, place), load_at(buffer, other, place)
    store(buffer, one + at, across)
    store(buffer, other + at, other_across)
    for i in range(k + 1, dim):
        at, number = i * lanes, broadcast(buffer, i)
        factor = load(buffer, left + at)
        row = where_equal(place, number, top, load(buffer, one + at))
        other_row = where_equal(place, number, other_top, load(buffer, other + at))
        store(buffer, one + at, row - factor * across)
        store(buffer, other + at, other_row - factor * other_across)


@body
def longest(buffer, column, k, dim):
    """Return the longest entry of a column from row k on, and its row."""
    lanes = width_of(buffer.dtype)
    largest, place = load(buffer, column + k * lanes), broadcast(buffer, k)
    for i in range(k + 1, dim):
        candidate = load(buffer, column + i * lanes)
        place = where_longer(candidate, largest, broadcast(buffer, i), place)
        largest = where_longer(candidate, largest, candidate, largest)
    return largest, place


@body
def substitute_back(buffer, dim, width):
    """Solve U Y = R, with R to the right of U."""
    lanes = width_of(buffer.dtype)
    zero, nan = broadcast(buffer, 0), broadcast(buffer, math.nan)
    for j in range(dim, width):
        column = j * dim * lanes
        for k in range(dim - 1, -1, -1):
            left = k * dim * lanes
            pivot = load(buffer, left + k * lanes)
            y = load(buffer, column + k * lanes) / where_equal(pivot, zero, nan, pivot)
            store(buffer, column + k * lanes, y)
            for i in range(k):
                at = column + i * lanes
                store(buffer, at, load(buffer, at) - load(buffer, left + i * lanes) * y)


@body
def log_abs(products, powers, ratios, rests, count):
    """Turn ``count`` products into log |product 2^power|; ratios and rests are working arrays.

    For m = 1 + f between 1 / sqrt 2 and sqrt 2 it is a series: log(1 + f) = 2 artanh s = 2 s + s R
    with s = f / (2 + f) and R = 2 s^2 / 3 + 2 s^4 / 5 + ...; written f - (h - s (h + R)) with h =
    f^2 / 2, because f has no rounding error and s has. Three loops, because a processor looks too
    little ahead to begin the next series before a long one ends.
    """
    lanes = width_of(products.dtype)
    zero, one, half = broadcast(products, 0), broadcast(products, 1), broadcast(products, 0.5)
    long, infinity = broadcast(products, math.sqrt(2)), broadcast(products, math.inf)
    for at in range(0, count, lanes):
        product = load(products, at)
        power, m = load(powers, at) + exponent(product), absolute(mantissa(product))
        power = where_longer(m, long, power + one, power)
        m = where_longer(m, long, half * m, m)
        f = m - one
        store(products, at, f)
        store(powers, at, power)
        store(ratios, at, f / (m + one))
    for at in range(0, count, lanes):
        s = load(ratios, at)
        square, series = s * s, broadcast(products, 2 / 21)
        for n in range(19, 1, -2):
            series = series * square + broadcast(products, 2 / n)
        store(rests, at, series * square)
    for at in range(0, count, lanes):
        f, power, s = load(products, at), load(powers, at), load(ratios, at)
        h = half * f * f
        # The first part of log 2 has so few digits that its product is exact.
        small = power * broadcast(products, LOG_TWO[1]) - (h - s * (h + load(rests, at)))
        value = power * broadcast(products, LOG_TWO[0]) + (f + small)
        value = where_equal(f, infinity, f, value)
        store(products, at, where_equal(f, zero - one, zero - infinity, value))
