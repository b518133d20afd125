"""Programs at work: values, derivatives, and the training loss with its gradient."""

import numpy as np

from nfref.kernels.chain import interpreter as chain
from nfref.kernels.rows import in_pieces, share
from nfref.kernels.simd.products import ROWS, ensure_compiled

CHUNK = 8       # blocks that a thread takes at a time when nothing is summed over rows


def value(program, theta, x, context, threads):
    """(rows, log_det) of the rows x; context is (N, 0) where there is none."""
    ensure_compiled(x.dtype)
    x = np.ascontiguousarray(x)
    context = np.ascontiguousarray(context)
    out, log_det = np.empty_like(x), np.empty(len(x), x.dtype)
    blocks = -(-len(x) // ROWS)
    chunk = max(1, min(CHUNK, -(-blocks // threads)))

    def task(k):
        chain.run(program.code, program.sizes, program.reals[x.dtype], theta, context, x,
                  out, log_det, k * chunk, (k + 1) * chunk, *program.kinds)

    share(task, -(-blocks // chunk), threads)
    return out, log_det


def cotangents(program, theta, x, context, g_out, g_log_det, threads):
    """Cotangents of (theta, x, context) for cotangents of the value and the log-determinant."""
    return _back(program, theta, x, context, np.ascontiguousarray(g_out, x.dtype),
                 np.ascontiguousarray(g_log_det, x.dtype), 0, np.empty(0, x.dtype), threads)


def normal_loss_cotangents(program, theta, x, context, threads):
    """log_prob under a standard normal, and the cotangents of -mean log_prob."""
    log_prob = np.empty(len(x), x.dtype)
    nothing = np.empty((0, x.shape[1]), x.dtype)
    weight = -1 / max(len(x), 1)
    return log_prob, *_back(program, theta, x, context, nothing, nothing[:, 0], weight, log_prob,
                            threads)


def _back(program, theta, x, context, g_out, g_log_det, weight, log_prob, threads):
    ensure_compiled(x.dtype)
    x, context = np.ascontiguousarray(x), np.ascontiguousarray(context)
    g_x, g_context = np.empty_like(x), np.empty_like(context)
    blocks, count = program.partial_sums(len(x))
    if count == 0:
        return np.zeros(program.size, x.dtype), g_x, g_context
    workspace, size = program.workspace, (int(program.sizes[1] + program.sizes[2]),)
    # A single sum is the result.
    partial_sums = (workspace.take if count > 1 else np.empty)((count, program.size), x.dtype)

    def task(k):
        space = workspace.take(size, x.dtype)
        chain.run_back(program.code, program.sizes, program.reals[x.dtype], theta, context, x,
                       g_out, g_log_det, x.dtype.type(weight), log_prob, g_x, g_context,
                       partial_sums[k], space, k * blocks, (k + 1) * blocks, *program.kinds)
        workspace.give_back(space)

    share(task, count, threads)
    if count == 1:
        return partial_sums[0], g_x, g_context
    g_theta = np.empty(program.size, x.dtype)
    in_pieces(lambda first, last: chain.add_slots(partial_sums, g_theta, first, last), program.size,
              threads)
    workspace.give_back(partial_sums)
    return g_theta, g_x, g_context
