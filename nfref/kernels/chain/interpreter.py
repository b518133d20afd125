"""A small interpreter that runs the instructions of a chain of flows on blocks of rows.

A chain is a program for a machine, which this module is. It reads one instruction after the other,
runs it on a block of rows, and then computes their vector-Jacobian products in the opposite order.
Instructions are whole numbers in ``code`` (``program`` writes them):

    0 opcode   1 direction   2 length   3 place on the tape   4 place in theta   5 place in reals
    6...       the operands, see the functions ``decode...``

A block of ``ROWS`` rows goes through all instructions before the next block starts, so hidden
activations never leave the cache. Between instructions nothing is sliced, copied or allocated.

``layer`` and ``layer_vjp`` are most of what there is to compile. So they are kernels by themselves:
two processes can compile them side by side, and all other kernels call them by their address.
"""

import math
from collections import namedtuple
from inspect import signature

import numba
import numpy as np
from numba import types

from nfref.kernels.chain.block import Block, Cotangents, Storage
from nfref.kernels.chain.channel_coupling import (
    channel_coupling,
    channel_coupling_vjp,
    decode_channel_coupling,
)
from nfref.kernels.chain.convex_potential import decode_potential, potential, potential_vjp
from nfref.kernels.chain.coupling import coupling, coupling_vjp, decode_coupling
from nfref.kernels.chain.elementwise import elementwise, elementwise_vjp
from nfref.kernels.chain.image_coupling import (
    decode_image_coupling,
    image_coupling,
    image_coupling_vjp,
)
from nfref.kernels.chain.linear import linear, linear_vjp, permute, permute_vjp
from nfref.kernels.chain.made import decode_made, made, made_vjp
from nfref.kernels.chain.radial import radial, radial_vjp
from nfref.kernels.chain.residual import residual, residual_vjp
from nfref.kernels.chain.sylvester import sylvester, sylvester_vjp
from nfref.kernels.chain.tarflow import decode_tokens, tokens_to_latent, tokens_to_latent_vjp
from nfref.kernels.jit import body, call_at, kernel, overloaded, reduction
from nfref.kernels.simd.matmul import COLUMNS, ROWS

(
    ELEMENTWISE,
    COUPLING,
    MADE,
    LINEAR,
    PERMUTE,
    RADIAL,
    SYLVESTER,
    RESIDUAL,
    CHANNEL_COUPLING,
    IMAGE_COUPLING,
    BATCH_NORM,
    TOKENS,
    POTENTIAL,
) = range(13)
HEADER = 6

HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)

# What the kernels read of a program: code, where its instructions start, real operands, and the
# addresses of ``layer`` and ``layer_vjp`` in float32 and in float64, 0 until they are compiled.
Chain = namedtuple("Chain", "code starts reals addresses")

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


@kernel
def layer(
    chain,
    pc,
    storage,
    block,
    couplings,
    masks,
    splines,
    mixtures,
    others,
    radials,
    sylvesters,
    residuals,
    images,
    tokens,
    potentials,
):
    """Run the instruction at ``pc``.

    block : Block; u changes in place, log_det grows
    storage : Storage; what the derivative needs is left on the tape
    """
    code, direction, at = chain.code, chain.code[pc + 1], pc + HEADER
    opcode, reals, kinds = code[pc], chain.reals[code[pc + 5] :], (splines, mixtures)
    if opcode == ELEMENTWISE:
        elementwise(direction, code[at], storage, block)
    if couplings is not None and opcode == COUPLING:
        coupling(direction, decode_coupling(code, at, reals), storage, block, kinds)
    if masks is not None and opcode == MADE:
        made(direction, decode_made(code, at, reals), storage, block, kinds)
    if others is not None and opcode == LINEAR:
        linear(direction, code[at], code[at + 1], code[at + 2], storage, block)
    if others is not None and opcode == PERMUTE:
        permute(code[at + 1 : at + 1 + code[at]], storage, block.u)
    if radials is not None and opcode == RADIAL:
        radial(direction, code[at], storage, block)
    if sylvesters is not None and opcode == SYLVESTER:
        sylvester(direction, code[at], code[at + 1], storage, block)
    if residuals is not None and opcode == RESIDUAL:
        residual(code[at], code[at + 1], code[at + 3 : at + 3 + code[at + 2]], storage, block)
    if images is not None and opcode == CHANNEL_COUPLING:
        channel_coupling(direction, decode_channel_coupling(code, at, reals), storage, block, kinds)
    if images is not None and opcode == IMAGE_COUPLING:
        image_coupling(direction, decode_image_coupling(code, at, reals), storage, block, kinds)
    if tokens is not None and opcode == TOKENS:
        tokens_to_latent(decode_tokens(code, at, reals), storage, block, kinds)
    if potentials is not None and opcode == POTENTIAL:
        potential(decode_potential(code, at), storage, block)


# Compiling all opcodes takes many times longer than compiling one. The tuple ``optional`` of a
# kernel says for each of these names whether a chain needs it: True or None. They are arguments,
# since what hangs on an argument that is None is cut away before compilation.
OPTIONAL = tuple(signature(layer).parameters)[4:]


@kernel
def layer_vjp(
    chain,
    pc,
    storage,
    cotangents,
    scratch,
    couplings,
    masks,
    splines,
    mixtures,
    others,
    radials,
    sylvesters,
    residuals,
    images,
    tokens,
    potentials,
):
    """Compute the vector-Jacobian product of the instruction at ``pc``.

    cotangents : Cotangents; u changes from that of the output to that of the input, context and
        theta grow
    storage : Storage; the tape as :func:`layer` left it, which may be overwritten
    scratch : as many numbers as any of the instructions needs
    """
    code, direction, at = chain.code, chain.code[pc + 1], pc + HEADER
    opcode, reals, kinds = code[pc], chain.reals[code[pc + 5] :], (splines, mixtures)
    if opcode == ELEMENTWISE:
        elementwise_vjp(direction, code[at], storage, cotangents)
    if couplings is not None and opcode == COUPLING:
        operands = decode_coupling(code, at, reals)
        coupling_vjp(direction, operands, storage, cotangents, scratch, kinds)
    if masks is not None and opcode == MADE:
        made_vjp(direction, decode_made(code, at, reals), storage, cotangents, scratch, kinds)
    if others is not None and opcode == LINEAR:
        linear_vjp(direction, code[at], code[at + 1], code[at + 2], storage, cotangents, scratch)
    if others is not None and opcode == PERMUTE:
        permute_vjp(code[at + 1 : at + 1 + code[at]], cotangents.u, scratch)
    if radials is not None and opcode == RADIAL:
        radial_vjp(direction, code[at], storage, cotangents)
    if sylvesters is not None and opcode == SYLVESTER:
        sylvester_vjp(direction, code[at], code[at + 1], storage, cotangents, scratch)
    if residuals is not None and opcode == RESIDUAL:
        residual_vjp(code[at], code[at + 3 : at + 3 + code[at + 2]], storage, cotangents, scratch)
    if images is not None and opcode == CHANNEL_COUPLING:
        by_channel = decode_channel_coupling(code, at, reals)
        channel_coupling_vjp(direction, by_channel, storage, cotangents, scratch, kinds)
    if images is not None and opcode == IMAGE_COUPLING:
        by_mask = decode_image_coupling(code, at, reals)
        image_coupling_vjp(direction, by_mask, storage, cotangents, scratch, kinds)
    if tokens is not None and opcode == TOKENS:
        tokens_to_latent_vjp(decode_tokens(code, at, reals), storage, cotangents, scratch, kinds)
    if potentials is not None and opcode == POTENTIAL:
        potential_vjp(decode_potential(code, at), storage, cotangents, scratch)


# Called by address --------------------------------------------------------------------------


def run_layer(chain, pc, storage, block):
    """Run the :func:`layer` of a chain in a kernel."""
    layer(chain, pc, storage, block, *[True] * len(OPTIONAL))


def run_layer_vjp(chain, pc, storage, cotangents, scratch):
    """Run the :func:`layer_vjp` of a chain in a kernel."""
    layer_vjp(chain, pc, storage, cotangents, scratch, *[True] * len(OPTIONAL))


@overloaded(run_layer)
def _run_layer(chain, pc, storage, block):
    _check_types(0, block, chain, pc, storage, block)

    def call(chain, pc, storage, block):
        call_at(chain.addresses[block.u.itemsize // 8], (chain, pc, storage, block), EMPTY)

    return call


@overloaded(run_layer_vjp)
def _run_layer_vjp(chain, pc, storage, cotangents, scratch):
    _check_types(1, cotangents, chain, pc, storage, cotangents, scratch)

    def call(chain, pc, storage, cotangents, scratch):
        at = chain.addresses[2 + cotangents.u.itemsize // 8]
        call_at(at, (chain, pc, storage, cotangents, scratch), EMPTY)

    return call


def _check_types(k, rows, *given):
    """Check that a kernel passes the types that a layer is compiled for; nothing else would."""
    function, expected = layers_for((), np.dtype(rows.types[0].dtype.name))[k]
    if tuple(map(types.unliteral, given)) != expected:
        raise TypeError(f"{function.__name__}: expected {expected}, got {given}")


EMPTY = (0,) * len(OPTIONAL)  # nothing reads what stands in the place of an optional part


def layers_for(optional, dtype):
    """Return ``layer`` and ``layer_vjp``, and the types of their arguments for a dtype."""
    flat, table = (np.empty((0,) * n, dtype) for n in (1, 2))
    whole = np.empty(0, np.int64)
    given = Chain(whole, whole, np.empty(0), whole), 0, Storage(flat, 0, flat, 0, flat, 0)
    block, cotangents = Block(table, table, flat), Cotangents(table, table, flat, flat)
    return [
        (function, tuple(map(numba.typeof, (*given, *more, *optional))))
        for function, more in ((layer, (block,)), (layer_vjp, (cotangents, flat)))
    ]


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
            storage = Storage(theta, code[pc + 4], tape, 0, no_slopes, columns)
            run_layer(chain, pc, storage, block)
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
        forward = columns if skips_columns(chain) else ROWS
        for k in range(len(starts)):
            pc = starts[k]
            storage = Storage(theta, code[pc + 4], tape, code[pc + 3], slopes, forward)
            run_layer(chain, pc, storage, block)
        cotangents_of_block(block, g_values, loss, g, start, there)
        for k in range(len(starts) - 1, -1, -1):
            pc = starts[k]
            storage = Storage(theta, code[pc + 4], tape, code[pc + 3], slopes, columns)
            run_layer_vjp(chain, pc, storage, g, work.scratch)
        scatter_block(g.u, gradients.x, start)
        scatter_block(g.context, gradients.context, start)


blocks_vjp, vjp = body(vjp), kernel(vjp)  # for kernels, and for Python


@body
def skips_columns(chain):
    """Return whether all layers skip the columns of a block that hold no rows.

    If one did not, it would take derivatives of what others left there, which may be infinite, and
    zero times that is NaN.
    """
    for k in range(len(chain.starts)):
        opcode = chain.code[chain.starts[k]]
        if not (opcode == ELEMENTWISE or opcode == COUPLING or opcode == MADE or opcode == PERMUTE):
            return False
    return True


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
