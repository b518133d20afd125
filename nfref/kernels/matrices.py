"""Many small matrices at once: log |det|, solve and inverse, by elimination with row pivoting.

Names and arguments are those of ``numpy.linalg``, for stacks (N, D, D) of real matrices.
LAPACK is called for one matrix after the other and spends its time on being called; here one
loop holds the matrix in registers and cache. Beyond D = 48 or so LAPACK wins.

They are autograd primitives; their derivatives are those of Giles 2008, "An extended
collection of matrix derivative results", section 2.2.
"""

import math

import numpy as np
from autograd.extend import defvjp, primitive

from nfref.backend import threads
from nfref.kernels.jit import body, kernel
from nfref.kernels.rows import share

CHUNK = 512     # matrices a thread takes at a time
LOG_TWO = math.log(2)
SMALL, LARGE = 1e-100, 1e100


@kernel
def _slogdet(a, signs, log_dets, first, last):
    """The product of the pivots, as mantissa times 2^exponent, takes one logarithm."""
    dim = a.shape[1]
    work = np.empty((dim, dim), a.dtype)
    for n in range(first, min(last, len(a))):
        for i in range(dim):
            for j in range(dim):
                work[i, j] = a[n, i, j]
        product, exponent = 1.0, 0
        for k in range(dim):
            if bring_pivot_up(work, k):
                product = -product
            if work[k, k] == 0:
                product = 0.0
                break
            inverse = 1 / work[k, k]
            for i in range(k + 1, dim):
                ratio = work[i, k] * inverse
                for j in range(k + 1, dim):
                    work[i, j] -= ratio * work[k, j]
            pivot = float(work[k, k])
            if not SMALL < abs(pivot) < LARGE:
                pivot, power = math.frexp(pivot)
                exponent += power
            product *= pivot
            if not SMALL < abs(product) < LARGE:
                product, power = math.frexp(product)
                exponent += power
        if product == 0:
            signs[n], log_dets[n] = 0, -math.inf
        elif math.isnan(product):
            signs[n], log_dets[n] = math.nan, math.nan
        else:
            signs[n] = math.copysign(1.0, product)
            log_dets[n] = math.log(abs(product)) + exponent * LOG_TWO


@body
def bring_pivot_up(work, k):
    """Swap row k with the row at or below it that is largest in column k; whether it moved."""
    dim = len(work)
    pivot = k
    largest = abs(work[k, k])
    for i in range(k + 1, dim):
        size = abs(work[i, k])
        if size > largest:
            pivot, largest = i, size
    if pivot == k:
        return False
    for j in range(k, work.shape[1]):
        kept = work[k, j]
        work[k, j] = work[pivot, j]
        work[pivot, j] = kept
    return True


@kernel
def _solve(a, b, x, first, last):
    """Elimination on [A | b], then back substitution."""
    dim, columns = b.shape[1], b.shape[2]
    wide = dim + columns
    work = np.empty((dim, wide), a.dtype)
    for n in range(first, min(last, len(a))):
        for i in range(dim):
            for j in range(dim):
                work[i, j] = a[n, i, j]
            for j in range(columns):
                work[i, dim + j] = b[n, i, j]
        for k in range(dim):
            bring_pivot_up(work, k)
            inverse = 1 / work[k, k]
            for i in range(k + 1, dim):
                ratio = work[i, k] * inverse
                for j in range(k + 1, wide):
                    work[i, j] -= ratio * work[k, j]
        for k in range(dim - 1, -1, -1):
            for i in range(k + 1, dim):
                ratio = work[k, i]
                for j in range(columns):
                    work[k, dim + j] -= ratio * x[n, i, j]
            for j in range(columns):
                x[n, k, j] = work[k, dim + j] / work[k, k]


def _in_chunks(run, n):
    share(lambda k: run(k * CHUNK, (k + 1) * CHUNK), -(-n // CHUNK), threads())


# Twins ---------------------------------------------------------------------------------------


@primitive
def log_abs_det(a):
    """log |det A| of each matrix, ``numpy.linalg.slogdet(a)[1]``: (N, D, D) -> (N,)."""
    return slogdet(a)[1]


def slogdet(a):
    """Sign and log |det A| of each matrix: (N, D, D) -> (N,), (N,); not differentiable."""
    a = np.ascontiguousarray(a)
    signs, log_dets = np.empty(len(a), a.dtype), np.empty(len(a), a.dtype)
    _in_chunks(lambda first, last: _slogdet(a, signs, log_dets, first, last), len(a))
    return signs, log_dets


@primitive
def solve(a, b):
    """x with A x = b for each pair: (N, D, D), (N, D, K) -> (N, D, K).

    A singular matrix gives infinities or NaN in its own solution; nothing is raised.
    """
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    x = np.empty_like(b)
    _in_chunks(lambda first, last: _solve(a, b, x, first, last), len(a))
    return x


@primitive
def inv(a):
    """A^-1 of each matrix: (N, D, D) -> (N, D, D)."""
    identity = np.broadcast_to(np.eye(a.shape[1], dtype=a.dtype), a.shape)
    return solve(a, identity)


def _transposed(a):
    return a.swapaxes(1, 2)


# d log |det A| = tr A^-1 dA;  dx = A^-1 (db - dA x);  d A^-1 = -A^-1 dA A^-1.
defvjp(log_abs_det, lambda answer, a: lambda g: g[:, None, None] * _transposed(inv(a)))
defvjp(solve,
       lambda x, a, b: lambda g: -solve(_transposed(a), g) @ _transposed(x),
       lambda x, a, b: lambda g: solve(_transposed(a), g))
defvjp(inv, lambda y, a: lambda g: -_transposed(y) @ g @ _transposed(y))
