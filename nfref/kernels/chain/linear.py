"""Permutations and linear maps on a block of rows: values and derivatives.

See ``block`` for what a block, a tape and a cotangent are.
"""

from nfref.kernels.chain.network import copy_row, units_of
from nfref.kernels.jit import body, reduction
from nfref.kernels.simd.products import ROWS, add_outer, times, times_transposed

# Permutation ---------------------------------------------------------------------------------


@body
def permute(order, storage, u):
    """u_i = u_order[i]."""
    before = units_of(storage.tape, storage.tape_at, len(order))
    for i in range(len(order)):
        copy_row(u, i, before, i)
    for i in range(len(order)):
        copy_row(before, order[i], u, i)


@body
def permute_vjp(order, g, scratch):
    after = units_of(scratch, 0, len(order))
    for i in range(len(order)):
        copy_row(g, i, after, i)
    for i in range(len(order)):
        copy_row(after, i, g, order[i])


# Linear --------------------------------------------------------------------------------------
# theta: the transposed matrix M^T (C, C), b (C,), log |det M| for one position. Coordinates
# are (C, positions): u = M u + b at every position. Tape: the input.


@body
def linear(channels, positions, storage, block):
    theta, at, tape, tape_at = storage.theta, storage.at, storage.tape, storage.tape_at
    u, log_det = block.u, block.log_det
    flat = u.reshape(u.size)
    n = channels * positions * ROWS
    for i in range(n):
        tape[tape_at + i] = flat[i]
    width = positions * ROWS
    times(theta, at, channels, channels, channels, tape, tape_at, flat, 0, width)
    bias = at + channels * channels
    for c in range(channels):
        for r in range(width):
            flat[c * width + r] += theta[bias + c]
    for r in range(ROWS):
        log_det[r] += positions * theta[bias + channels]


@reduction
def linear_vjp(channels, positions, storage, cotangents, scratch):
    theta, at, g_theta = storage.theta, storage.at, cotangents.theta
    flat = cotangents.u.reshape(cotangents.u.size)
    width = positions * ROWS
    n = channels * width
    add_outer(storage.tape, storage.tape_at, channels, flat, 0, channels, g_theta, at, channels,
              width)
    bias = at + channels * channels
    for c in range(channels):
        total = flat.dtype.type(0)
        for r in range(width):
            total += flat[c * width + r]
        g_theta[bias + c] += total
    total = flat.dtype.type(0)
    for r in range(ROWS):
        total += cotangents.log_det[r]
    g_theta[bias + channels] += positions * total
    for i in range(n):
        scratch[i] = flat[i]
    times_transposed(theta, at, channels, channels, channels, scratch, 0, flat, 0, 0, width)
