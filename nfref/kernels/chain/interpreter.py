"""A small interpreter that runs the instructions of a chain of flows on blocks of rows.

A chain is a program for a machine, which this module is. It reads one instruction after the other,
runs it on a block of rows, and then computes their vector-Jacobian products in the opposite order.
Instructions are whole numbers in ``code`` (``program`` writes them):

    0 address of the layer's kernel   1 that of its VJP   2 direction   3 place on the tape
    4 place in theta   5 place in reals   6... the operands, see the functions ``decode...``

If there is a transformer, it comes first among the operands: the addresses of its kernel and of its
VJP, P, E and a number of its kind.

A block of ``ROWS`` rows goes through all instructions before the next block starts, so hidden
activations never leave the cache. Between instructions nothing is sliced, copied or allocated.
"""

import math
from collections import namedtuple

from nfref.kernels.chain.block import (
    AT,
    TAPE_AT,
    Block,
    Cotangents,
    Storage,
    call_layer,
    call_layer_vjp,
)
from nfref.kernels.jit import body, kernel, reduction
from nfref.kernels.simd.matmul import COLUMNS, ROWS

HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)

# Data x (N, D) with its context (N, C).
Inputs = namedtuple("Inputs", "x context")

# What a chain makes of rows, or the cotangents of that: value (N, D) and log_det (N,).
Values = namedtuple("Values", "value log_det")

# sum of weights * log_prob under a standard normal, and log_prob (N,) itself, to be filled. Where
# there are no weights there is no such loss: the cotangents of the values are given.
NormalLoss = namedtuple("NormalLoss", "weights log_prob")

# The cotangents of x (N, D), of the context (N, C) and of theta, to be filled.
Gradients = namedtuple("Gradients", "x context theta")

# Memory of a derivative: for a block and its cotangents (2, D + C + 1, ROWS), the tape of all
# instructions, the slopes that belong to it, and as many numbers as any instruction needs.
Work = namedtuple("Work", "blocks tape slopes scratch")


# Blocks --------------------------------------------------------------------------------------


@body
def gather_block(rows, start, block):
    """Copy rows from ``start`` on, coordinate by coordinate; repeat the last if some are missing.

    A repeated row keeps the numbers of an incomplete block finite. It is never stored, and its
    cotangent is zero.
    """
    for r in range(ROWS):
        row = min(start + r, len(rows) - 1)
        for j in range(rows.shape[1]):
            block[j, r] = rows[row, j]


@body
def scatter_block(block, rows, start):
    """Copy the existing rows of a block back."""
    for r in range(min(ROWS, len(rows) - start)):
        for j in range(rows.shape[1]):
            rows[start + r, j] = block[j, r]


@body
def block_of(rows, numbers):
    """Return a Block with its numbers in ``numbers`` (D + C + 1, ROWS)."""
    dim = rows.x.shape[1]
    return Block(numbers[:dim], numbers[dim:-1], numbers[-1])


@kernel
def evaluate(chain, theta, rows, values, blocks, tape, first, last):
    """Run blocks ``first`` to ``last`` of the rows through the chain, into ``values``.

    ``blocks`` (1, D + C + 1, ROWS) is for a block, ``tape`` is that of one instruction. Return 0.0,
    or NaN if a value is not finite.
    """
    zeros = 0.0
    code, starts, x = chain.code, chain.starts, rows.x
    block, no_slopes = block_of(rows, blocks[0]), tape[:0]
    for start in range(first * ROWS, min(last * ROWS, len(x)), ROWS):
        gather_block(x, start, block.u)
        gather_block(rows.context, start, block.context)
        block.log_det[:] = 0
        there = min(ROWS, len(x) - start)
        columns = 1 if there == 1 else -(-there // COLUMNS) * COLUMNS
        for k in range(len(starts)):
            pc = starts[k]
            storage = Storage(theta, code[pc + AT], tape, 0, no_slopes, columns)
            call_layer(code[pc], (chain, pc, storage, block))
        scatter_block(block.u, values.value, start)
        for r in range(there):
            values.log_det[start + r] = block.log_det[r]
        zeros += times_zero(block, there)
    return zeros


@reduction
def times_zero(block, there):
    """Return the sum of all values of a block, times 0: NaN if one is not finite."""
    u, log_det = block.u, block.log_det
    zero = u.dtype.type(0)
    total = zero
    for r in range(there):
        total += zero * log_det[r]
    for j in range(len(u)):
        for r in range(there):
            total += zero * u[j, r]
    return total


def vjp(chain, theta, rows, g_values, loss, gradients, work, first, last):
    """Run the chain block by block, and back; sum the cotangents of theta over the blocks.

    The way back starts from the cotangents of the values, or of a loss that has weights. It fills
    ``gradients``.
    """
    code, starts, x = chain.code, chain.starts, rows.x
    block, back = block_of(rows, work.blocks[0]), block_of(rows, work.blocks[1])
    tape, slopes = work.tape, work.slopes
    g = Cotangents(back.u, back.context, back.log_det, gradients.theta)
    g.theta[:] = 0
    for start in range(first * ROWS, min(last * ROWS, len(x)), ROWS):
        gather_block(x, start, block.u)
        gather_block(rows.context, start, block.context)
        block.log_det[:] = 0
        there = min(ROWS, len(x) - start)
        columns = -(-there // COLUMNS) * COLUMNS
        # A layer that does not skip columns would take derivatives of what others left there, which
        # may be infinite, and zero times that is NaN.
        forward = columns if chain.skips_columns else ROWS
        for k in range(len(starts)):
            pc = starts[k]
            storage = Storage(theta, code[pc + AT], tape, code[pc + TAPE_AT], slopes, forward)
            call_layer(code[pc], (chain, pc, storage, block))
        cotangents_of_block(block, g_values, loss, g, start, there)
        for k in range(len(starts) - 1, -1, -1):
            pc = starts[k]
            storage = Storage(theta, code[pc + AT], tape, code[pc + TAPE_AT], slopes, columns)
            call_layer_vjp(code[pc + 1], (chain, pc, storage, g, work.scratch))
        scatter_block(g.u, gradients.x, start)
        scatter_block(g.context, gradients.context, start)


blocks_vjp, vjp = body(vjp), kernel(vjp)  # for kernels, and for Python


@body
def cotangents_of_block(block, g_values, loss, g, start, there):
    """Compute the cotangents of a block's values, where the way back begins.

    They are given, or those of a loss that has weights. They are 0 for missing rows.
    """
    if len(loss.weights) > 0:
        normal_cotangents(block, loss, g, start)
    else:
        gather_block(g_values.value, start, g.u)
        for r in range(there):
            g.log_det[r] = g_values.log_det[start + r]
    for r in range(there, ROWS):
        g.u[:, r] = 0
        g.log_det[r] = 0
    g.context[:] = 0


@body
def normal_cotangents(block, loss, g, start):
    """Fill log_prob = log N(u) + log_det, and the cotangents of sum weights * log_prob."""
    u = block.u
    constant = len(u) * HALF_LOG_TWO_PI
    for r in range(ROWS):
        square = 0.0
        weight = loss.weights[min(start + r, len(loss.weights) - 1)]
        for j in range(len(u)):
            square += u[j, r] * u[j, r]
            g.u[j, r] = -weight * u[j, r]
        g.log_det[r] = weight
        if start + r < len(loss.log_prob):
            loss.log_prob[start + r] = block.log_det[r] - 0.5 * square - constant


@kernel
def add_partial_sums(partial_sums, total, first, last):
    """Sum partial_sums (S, P) one by one into total, from entry ``first`` to ``last``."""
    some = total[first:last]
    some[:] = 0
    for k in range(len(partial_sums)):
        part = partial_sums[k, first:last]
        for i in range(len(some)):
            some[i] += part[i]
