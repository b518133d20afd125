"""Permutations and linear maps on a block of rows: values and derivatives.

See ``block`` for what a block, a tape and a cotangent are.
"""

from nfref.kernels.chain.block import DIRECTION, FORWARD, HEADER
from nfref.kernels.chain.block_rows import add_row_sums, copy_row, copy_rows, units_of
from nfref.kernels.jit import body, called_kernel, called_reduction_kernel
from nfref.kernels.simd.matmul import ROWS, add_outer, times, times_transposed

# Permutation ---------------------------------------------------------------------------------


@called_kernel
def permute(chain, pc, storage, block):
    """Set u_i = u_order[i]."""
    code, at, u = chain.code, pc + HEADER, block.u
    order = code[at + 1 : at + 1 + code[at]]
    before = units_of(storage.tape, storage.tape_at, len(order))
    copy_rows(len(order), u, 0, before, 0)
    for i in range(len(order)):
        copy_row(before, order[i], u, i)


@called_kernel
def permute_vjp(chain, pc, storage, cotangents, scratch):
    code, at, g = chain.code, pc + HEADER, cotangents.u
    order = code[at + 1 : at + 1 + code[at]]
    after = units_of(scratch, 0, len(order))
    copy_rows(len(order), g, 0, after, 0)
    for i in range(len(order)):
        copy_row(after, i, g, order[i])


# Linear --------------------------------------------------------------------------------------
# x = A_K ... A_1 z + b, or z = A_1^-1 ... A_K^-1 (x - b), at every position; coordinates are
# (C, positions). A matrix is given in the direction asked for, with the factors in the order of
# execution: B_k is A_k or A_k^-1. theta: the transposed matrices B_k^T (C, C), b (C,), log |det| of
# their product for one position. Tape: the numbers before the first factor, and after each.
#
# Derivative by A_k, which takes v to w: forward A_bar = w_bar v^T. In the inverse direction v is
# the result, and A_bar = -w_bar v^T with w_bar = A_k^-T v_bar, the cotangent of w. That keeps
# digits which a derivative by the inverse, taken through the inverse again, would lose.


@body
def decode_linear(chain, pc):
    """Return the direction, and the numbers of channels, positions and factors."""
    code, at = chain.code, pc + HEADER
    return code[pc + DIRECTION], code[at], code[at + 1], code[at + 2]


@called_kernel
def linear(chain, pc, storage, block):
    """Apply a linear map to the channels of each position; keep what the gradient needs."""
    direction, channels, positions, factors = decode_linear(chain, pc)
    theta, tape = storage.theta, storage.tape
    flat = block.u.reshape(block.u.size)
    width = positions * ROWS
    n, square = channels * width, channels * channels
    bias, here = storage.at + factors * square, storage.tape_at
    for c in range(channels):
        shift = theta[bias + c] if direction != FORWARD else theta.dtype.type(0)
        for r in range(c * width, (c + 1) * width):
            tape[here + r] = flat[r] - shift
    for k in range(factors):
        at = storage.at + k * square
        times(theta, at, channels, channels, channels, tape, here, tape, here + n, width)
        here += n
    for c in range(channels):
        shift = theta[bias + c] if direction == FORWARD else theta.dtype.type(0)
        for r in range(c * width, (c + 1) * width):
            flat[r] = tape[here + r] + shift
    for r in range(ROWS):
        block.log_det[r] += positions * theta[bias + channels]


@called_reduction_kernel
def linear_vjp(chain, pc, storage, cotangents, scratch):
    direction, channels, positions, factors = decode_linear(chain, pc)
    theta, tape, g_theta = storage.theta, storage.tape, cotangents.theta
    flat = cotangents.u.reshape(cotangents.u.size)
    width = positions * ROWS
    n, square = channels * width, channels * channels
    bias = storage.at + factors * square
    if direction == FORWARD:
        add_row_sums(flat, 0, channels, g_theta, bias, width)
    for k in range(factors - 1, -1, -1):
        at, before = storage.at + k * square, storage.tape_at + k * n
        if direction == FORWARD:
            add_outer(tape, before, channels, flat, 0, channels, g_theta, at, channels, width)
        for i in range(n):
            scratch[i] = flat[i]
        times_transposed(theta, at, channels, channels, channels, scratch, 0, flat, 0, 0, width)
        if direction != FORWARD:
            add_outer(tape, before + n, channels, flat, 0, channels, g_theta, at, channels, width)
    if direction != FORWARD:
        add_row_sums(flat, 0, channels, g_theta, bias, width)
    total = flat.dtype.type(0)
    for r in range(ROWS):
        total += cotangents.log_det[r]
    g_theta[bias + channels] += positions * total
