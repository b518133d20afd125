"""Batch norm in training, with the statistics of the batch: a chain that takes a whole batch along.

Rows depend on each other through the statistics. So a batch norm cuts the chain: all blocks of a
batch go through the part before it, then their moments are known, and all go on. Back the same way,
and what each block leaves on the tape stays there until it comes back.

With y = (x - m) e^-s, z = y + b, s = log(v + epsilon)/2 - c, where b and c are learned, and m and v
are the moments of N rows, cotangents g of z and l of each log-determinant, which is -sum s, give

    b: sum g,   c: -q with q = -sum (g y + l), which is the cotangent of s,
    x_n: e^-s (g_n - sum g / N + y_n q e^(-2c) / N),

since m gets -e^-s sum g and hands 1/N of it to each row, and v gets q / (2 (v + epsilon)) and hands
2 (x_n - m) / N times that on; e^2s = (v + epsilon) e^(-2c).

theta: b (D,), c (D,). Tape: x - m (D, ROWS).
"""

import math
from collections import namedtuple

from nfref.kernels.chain.block import (
    AT,
    HEADER,
    REALS_AT,
    TAPE_AT,
    Cotangents,
    Storage,
    call_layer,
    call_layer_vjp,
)
from nfref.kernels.chain.block_rows import units_of
from nfref.kernels.chain.interpreter import (
    block_of,
    cotangents_of_block,
    gather_block,
    scatter_block,
)
from nfref.kernels.jit import body, kernel, reduction
from nfref.kernels.phase_barrier import finish_task, open_part, take_task, wait_for_part
from nfref.kernels.simd.elementary import exp
from nfref.kernels.simd.matmul import ROWS

# The state of a batch: numbers of each block, and of all.
#   parts (B + 2,)               where parts start; a batch norm is the first instruction of each
#                                but the first one
#   of_blocks (B, blocks, 2, D)  mean and sum of squares of each block at each batch norm; on the
#                                way back sum g and q
#   found (B, 5, D)              mean, variance, s, sum g and q of the whole batch
#   counts                       see ``phase_barrier``
#   group                        the number of blocks that share one sum of cotangents of theta
Batch = namedtuple("Batch", "parts of_blocks found counts group")


@kernel
def run_batch(chain, batch, theta, rows, values, g_values, loss, gradients, work):
    """Do a thread's share of a batch: to ``values``, or there and back if theta has cotangents.

    gradients : Gradients; theta (sums, P) is of length 0 where only values are asked for
    work : Work of all blocks: of each a pair in ``blocks``, a row of tape and slopes; for values
        alone (1, T) and (1, 0) are enough
    """
    code, starts, parts, blocks = chain.code, chain.starts, batch.parts, work.blocks
    last, back = len(parts) - 2, len(gradients.theta) > 0
    tasks = -(-len(blocks) // batch.group)
    while True:
        step, task = divmod(take_task(batch.counts), tasks)
        if step >= len(batch.counts) // 2:
            return
        wait_for_part(batch.counts, step)
        part = last - abs(step - last)
        for b in range(task * batch.group, min((task + 1) * batch.group, len(blocks))):
            tape, slope = work.tape[b if back else 0], work.slopes[b if back else 0]
            block, start = block_of(rows, blocks[b, 0]), b * ROWS
            there = min(ROWS, len(rows.x) - start)
            if step <= last:
                if part == 0:
                    gather_block(rows.x, start, block.u)
                    gather_block(rows.context, start, block.context)
                    block.log_det[:] = 0
                for k in range(parts[part], parts[part + 1]):
                    pc = starts[k]
                    storage = Storage(
                        theta, code[pc + AT], tape, code[pc + TAPE_AT] if back else 0, slope, ROWS
                    )
                    if part > 0 and k == parts[part]:
                        normalise(code[pc + HEADER], storage, block, batch.found[part - 1])
                    else:
                        call_layer(code[pc], (chain, pc, storage, block))
                if part < last:
                    moments(block.u, there, batch.of_blocks[part, b])
                elif len(values.value) > 0:
                    scatter_block(block.u, values.value, start)
                    for r in range(there):
                        values.log_det[start + r] = block.log_det[r]
            if step >= last and back:
                other = block_of(rows, blocks[b, 1])
                g = Cotangents(other.u, other.context, other.log_det, gradients.theta[task])
                if step == last:
                    if b == task * batch.group:
                        g.theta[:] = 0
                    cotangents_of_block(block, g_values, loss, g, start, there)
                else:
                    pc = starts[parts[part + 1]]
                    storage = Storage(theta, code[pc + AT], tape, code[pc + TAPE_AT], slope, ROWS)
                    dim, found = code[pc + HEADER], batch.found[part]
                    normalise_vjp(dim, storage, g.u, found, there, len(rows.x))
                for k in range(parts[part + 1] - 1, parts[part] - 1, -1):
                    pc = starts[k]
                    storage = Storage(theta, code[pc + AT], tape, code[pc + TAPE_AT], slope, ROWS)
                    if part > 0 and k == parts[part]:
                        found, out = batch.found[part - 1], batch.of_blocks[part - 1, b]
                        sums(code[pc + HEADER], storage, g, found, out)
                    else:
                        call_layer_vjp(code[pc + 1], (chain, pc, storage, g, work.scratch))
                if part == 0:
                    scatter_block(g.u, gradients.x, start)
                    scatter_block(g.context, gradients.context, start)
        if finish_task(batch.counts, step, tasks):
            if step < last:
                pc = starts[parts[part + 1]]
                own, epsilon = theta[code[pc + AT] :], chain.reals[code[pc + REALS_AT]]
                of_blocks, found = batch.of_blocks[part], batch.found[part]
                combine_moments(code[pc + HEADER], own, epsilon, of_blocks, len(rows.x), found)
            elif part > 0 and back:
                pc = starts[parts[part]]
                own = gradients.theta[0, code[pc + AT] :]
                of_blocks, found = batch.of_blocks[part - 1], batch.found[part - 1]
                combine_sums(code[pc + HEADER], of_blocks, found, own)
            open_part(batch.counts, step + 1)


MEAN, VARIANCE, LOG_SCALE, SUM_G, Q = range(5)


@reduction
def moments(u, there, out):
    """Compute the mean, and the sum of squares about it, of the existing rows of a block."""
    for j in range(min(len(u), out.shape[1])):
        total = 0.0
        for r in range(there):
            total += u[j, r]
        mean = total / there
        squares = 0.0
        for r in range(there):
            squares += (u[j, r] - mean) * (u[j, r] - mean)
        out[0, j] = mean
        out[1, j] = squares


@body
def combine_moments(dim, theta, epsilon, of_blocks, n, found):
    """Combine the moments of all blocks.

    For two sets of n and k rows the mean moves by k (m' - m) / (n + k), and the squares grow by n k
    (m' - m)^2 / (n + k) besides those of the other set. s is rounded as in the formula.
    """
    number = theta.dtype.type
    for j in range(dim):
        mean, squares, seen = 0.0, 0.0, 0
        for b in range(len(of_blocks)):
            more = min(ROWS, n - seen)
            apart = of_blocks[b, 0, j] - mean
            mean += apart * more / (seen + more)
            squares += of_blocks[b, 1, j] + apart * apart * seen * more / (seen + more)
            seen += more
        found[MEAN, j] = mean
        found[VARIANCE, j] = squares / n
        inside = number(found[VARIANCE, j]) + number(epsilon)
        found[LOG_SCALE, j] = number(0.5) * math.log(inside) - theta[dim + j]


@body
def normalise(dim, storage, block, found):
    u, log_det = block.u, block.log_det
    number, centred = u.dtype.type, units_of(storage.tape, storage.tape_at, dim)
    for j in range(dim):
        mean, log_scale = number(found[MEAN, j]), number(found[LOG_SCALE, j])
        shift = mean - storage.theta[storage.at + j] * exp(log_scale)
        slope = exp(-log_scale)
        for r in range(ROWS):
            centred[j, r] = u[j, r] - mean
            u[j, r] = (u[j, r] - shift) * slope
            log_det[r] -= log_scale


@reduction
def sums(dim, storage, g, found, out):
    """Compute sum g and q of a block; cotangents of missing rows are 0."""
    centred, g_log_det, g = units_of(storage.tape, storage.tape_at, dim), g.log_det, g.u
    for j in range(dim):
        slope = math.exp(-found[LOG_SCALE, j])
        total = 0.0
        q = 0.0
        for r in range(ROWS):
            total += g[j, r]
            q -= g[j, r] * (centred[j, r] * slope) + g_log_det[r]
        out[0, j] = total
        out[1, j] = q


@body
def combine_sums(dim, of_blocks, found, g_theta):
    """Add the sums of all blocks, in their order; add the gradient to g_theta."""
    for j in range(dim):
        found[SUM_G, j] = 0
        found[Q, j] = 0
        for b in range(len(of_blocks)):
            found[SUM_G, j] += of_blocks[b, 0, j]
            found[Q, j] += of_blocks[b, 1, j]
        g_theta[j] += found[SUM_G, j]
        g_theta[dim + j] -= found[Q, j]


@body
def normalise_vjp(dim, storage, g, found, there, n):
    """Replace the cotangent of the normalised rows by that of the rows before."""
    number, centred = g.dtype.type, units_of(storage.tape, storage.tape_at, dim)
    for j in range(dim):
        slope = exp(-number(found[LOG_SCALE, j]))
        gamma = storage.theta[storage.at + dim + j]
        mean, factor = number(found[SUM_G, j] / n), number(found[Q, j] / n) * exp(-gamma - gamma)
        for r in range(there):
            g[j, r] = slope * (g[j, r] - mean + factor * (centred[j, r] * slope))
