"""Permutations and linear maps on a block of rows: values and derivatives.

See ``blocks`` for what a block, a tape and a cotangent are.
"""

from nfref.kernels.chain.network import copy_row, units_of
from nfref.kernels.jit import body, reduction
from nfref.kernels.simd.products import ROWS, add_outer, times, times_transposed

# Permutation ---------------------------------------------------------------------------------


@body
def permute(order, u, tape, tape_at):
    """u_i = u_order[i]."""
    before = units_of(tape, tape_at, len(order))
    for i in range(len(order)):
        copy_row(u, i, before, i)
    for i in range(len(order)):
        copy_row(before, order[i], u, i)


@body
def permute_back(order, g, spare):
    after = units_of(spare, 0, len(order))
    for i in range(len(order)):
        copy_row(g, i, after, i)
    for i in range(len(order)):
        copy_row(after, i, g, order[i])


# Linear --------------------------------------------------------------------------------------
# theta: the transposed matrix M^T (C, C), b (C,), log |det M| for one position. Coordinates
# are (C, positions): u = M u + b at every position. Tape: the input.


@body
def linear(channels, positions, theta, at, u, log_det, tape, tape_at):
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
def linear_back(channels, positions, theta, at, g, g_log_det, tape, tape_at, g_theta, spare):
    flat = g.reshape(g.size)
    width = positions * ROWS
    n = channels * width
    add_outer(tape, tape_at, channels, flat, 0, channels, g_theta, at, channels, width)
    bias = at + channels * channels
    for c in range(channels):
        total = g.dtype.type(0)
        for r in range(width):
            total += flat[c * width + r]
        g_theta[bias + c] += total
    total = g.dtype.type(0)
    for r in range(ROWS):
        total += g_log_det[r]
    g_theta[bias + channels] += positions * total
    for i in range(n):
        spare[i] = flat[i]
    times_transposed(theta, at, channels, channels, channels, spare, 0, flat, 0, 0, width)
