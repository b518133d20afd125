"""Run programs: values, derivatives, and the training loss with its gradient."""

import numpy as np

from nfref.kernels import phase_barrier
from nfref.kernels.chain import interpreter as chain
from nfref.kernels.chain.batch_norm import Batch, run_batch
from nfref.kernels.simd.matmul import ROWS
from nfref.kernels.thread_pool import in_pieces, share, writable

CHUNK = 8  # blocks that a thread takes at a time when nothing is summed over rows


def value_and_finite(program, theta, x, context, threads):
    """Return (rows, log_det) of the rows x, and True if all of it is finite."""
    linked = program.linked(x.dtype, gradient=False)
    rows, values = inputs_and_values(x, context)
    if program.couples_rows:
        moments(program, theta, rows, values, threads)
        return tuple(values), all(np.isfinite(array).all() for array in values)
    blocks = -(-len(x) // ROWS)
    chunk, zeros = max(1, min(CHUNK, -(-blocks // threads))), []
    if blocks == 1:  # a closure and a list would take a tenth of the time of a row
        return tuple(values), _evaluate(program, linked, theta, rows, values, 0, 1) == 0

    def task(k):
        zeros.append(_evaluate(program, linked, theta, rows, values, k * chunk, (k + 1) * chunk))

    share(task, -(-blocks // chunk), threads)
    return tuple(values), sum(zeros) == 0


def _evaluate(program, linked, theta, rows, values, first, last):
    """Compute the values of some blocks; return 0, or NaN if one is not finite."""
    arrays = working_arrays(program, rows, 1, program.longest)
    given = linked, theta, rows, values, *arrays, first, last
    zero = chain.evaluate(*given)
    program.workspace.give_back(*arrays)
    return zero


def inputs_and_values(x, context):
    """Return the inputs that kernels read, and the values that they fill."""
    context = np.empty((len(x), 0), x.dtype) if context is None else writable(context)
    rows = chain.Inputs(writable(x), context)
    return rows, chain.Values(np.empty_like(rows.x), np.empty(len(x), x.dtype))


def cotangents(program, theta, x, context, g_out, g_log_det, threads):
    """Return cotangents of (theta, x, context) for those of the value and the log-determinant."""
    g_values = chain.Values(writable(g_out, x.dtype), writable(g_log_det, x.dtype))
    return _vjp(program, theta, x, context, g_values, _no_loss(x), threads)


def normal_loss_cotangents(program, theta, x, context, threads, weight=None):
    """Return log_prob under a standard normal, and cotangents of -mean weight * log_prob."""
    weights = np.full(len(x), -1 / max(len(x), 1)) if weight is None else weight / -len(x)
    loss = chain.NormalLoss(weights.astype(x.dtype, copy=False), np.empty(len(x), x.dtype))
    nothing = chain.Values(np.empty((0, x.shape[1]), x.dtype), np.empty(0, x.dtype))
    return loss.log_prob, *_vjp(program, theta, x, context, nothing, loss, threads)


def _vjp(program, theta, x, context, g_values, loss, threads):
    linked = program.linked(x.dtype)
    rows = chain.Inputs(writable(x), writable(context))
    g_x, g_context = np.empty_like(rows.x), np.empty_like(rows.context)
    blocks, count = program.partial_sums(len(x))
    if count == 0:
        return np.zeros(program.size, x.dtype), g_x, g_context
    workspace = program.workspace
    # A single sum is the result.
    partial_sums = (workspace.take if count > 1 else np.empty)((count, program.size), x.dtype)
    if program.couples_rows:
        nothing, every = g_values._replace(value=g_x[:0]), (g_x, g_context, partial_sums)
        gradients = chain.Gradients(*every)
        _whole_batch(program, theta, rows, nothing, g_values, loss, gradients, blocks, threads)

    def task(k):
        work, given = work_of(program, rows), (linked, theta, rows, g_values, loss)
        gradients = chain.Gradients(g_x, g_context, partial_sums[k])
        chain.vjp(*given, gradients, work, k * blocks, (k + 1) * blocks)
        workspace.give_back(*work)

    if not program.couples_rows:
        share(task, count, threads)
    if count == 1:
        return partial_sums[0], g_x, g_context
    g_theta = np.empty(program.size, x.dtype)

    def add(first, last):
        chain.add_partial_sums(partial_sums, g_theta, first, last)

    in_pieces(add, program.size, threads)
    workspace.give_back(partial_sums)
    return g_theta, g_x, g_context


def moments(program, theta, rows, values, threads):
    """Fill values; return (B, 2, D), means and variances of the input of each batch norm."""
    nothing = chain.Gradients(rows.x[:0], rows.x[:0], rows.x[:0])
    return _whole_batch(program, theta, rows, values, values, _no_loss(rows.x), nothing, 1, threads)


def _whole_batch(program, theta, rows, values, g_values, loss, gradients, group, threads):
    """Run a chain with batch norm in training (see ``batch_norm``); return the moments."""
    blocks, dim, take = -(-len(rows.x) // ROWS), rows.x.shape[1], program.workspace.take
    dtype, back, cuts = rows.x.dtype, len(gradients.theta) > 0, len(program.parts) - 2
    linked = program.linked(dtype, gradient=back)
    of_blocks, found = np.empty((cuts, blocks, 2, dim)), np.empty((cuts, 5, dim))
    counts = phase_barrier.make_counts((2 if back else 1) * cuts + 1)
    batch = Batch(program.parts, of_blocks, found, counts, group)
    columns = dim + rows.context.shape[1] + 1
    every = take((blocks, 2, columns, ROWS), dtype)
    tapes = [take((blocks, program.tape), dtype) for _ in range(2 if back else 0)]

    def task(k):
        tape, slopes = tapes or (take((1, program.longest), dtype), np.empty((1, 0), dtype))
        scratch = take((program.scratch,), dtype)
        given = linked, batch, theta, rows, values, g_values, loss, gradients
        run_batch(*given, chain.Work(every, tape, slopes, scratch))
        program.workspace.give_back(scratch, *([] if tapes else [tape]))

    share(task, min(threads, -(-blocks // group)), threads)
    program.workspace.give_back(every, *tapes)
    return batch.found[:, :2]


def _no_loss(x):
    return chain.NormalLoss(np.empty(0, x.dtype), np.empty(0, x.dtype))


def working_arrays(program, rows, count, *sizes):
    """Return arrays for a kernel to work in: for ``count`` blocks, and of these sizes."""
    columns = rows.x.shape[1] + rows.context.shape[1] + 1
    return [
        program.workspace.take(shape, rows.x.dtype)
        for shape in ((count, columns, ROWS), *((size,) for size in sizes))
    ]


def work_of(program, rows):
    """Return the Work of a derivative."""
    sizes = program.tape, program.tape, program.scratch
    return chain.Work(*working_arrays(program, rows, 2, *sizes))
