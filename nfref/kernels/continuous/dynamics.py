"""Stages of a Runge-Kutta step of a continuous flow, on a block of rows.

Twins of ``nfref/continuous/dynamics.py`` (exact trace) and ``dynamics_vjp.py``. All stages of
a step are taken by one block before the next one starts, so the states between them and the
hidden activations never leave the cache.

``theta`` holds weights and biases, layer by layer, and then the matrix of the trace. Blocks
of the state ``y`` are in float64; slopes are in the dtype of the network, as in
``nfref/continuous/solve.py``. For values the columns are z and the log-determinant, for
derivatives z, its adjoint, and the cotangent of the context.

Of a step's slopes ``k`` (stages, columns, ROWS) only two outlive it, each (blocks, columns, ROWS):
the first, which an earlier step may have left, and the last. Those of all stages of all blocks
would not fit a processor's cache.
"""

from collections import namedtuple

import numpy as np

from nfref.kernels.chain.block_rows import add_row_sums, copy_rows, units_of
from nfref.kernels.chain.network import add_bias
from nfref.kernels.continuous.activations import activate, curve
from nfref.kernels.jit import body, kernel, reduction
from nfref.kernels.simd.matmul import ROWS, add_outer, times, times_transposed

# The network: its numbers, the widths of its layers (input to output), its activation.
Net = namedtuple("Net", "theta widths activation")

# All blocks of the N rows: the state, the slopes that outlive a step, the new state, the sums of
# squared errors (or none of them), and the context.
State = namedtuple("State", "n y k_first k_last y_new errors context")

# A step of length h at t: slopes ``first`` to ``last`` - 1 by the tableau a, c; result b, error e.
Step = namedtuple("Step", "t h first last rtol atol a c b e")

# The right-hand side -------------------------------------------------------------------------


@body
def velocity(theta, widths, activation, values, slopes, k, k_at):
    """Compute f at k_at, from the inputs [z, t, c] at the front of ``values``.

    Hidden layers follow them there, and in ``slopes`` at the same places. Return the start of the
    output layer in theta, and that of its inputs in values.
    """
    at, h_at = 0, 0
    for layer in range(len(widths) - 2):
        fan_in, fan_out = widths[layer], widths[layer + 1]
        out_at = h_at + fan_in * ROWS
        times(theta, at, fan_out, fan_in, fan_out, values, h_at, values, out_at)
        at += fan_in * fan_out
        activate(activation, theta, at, fan_out, values, slopes, out_at)
        at += fan_out
        h_at = out_at
    fan_in, dim = widths[-2], widths[-1]
    times(theta, at, dim, fan_in, dim, values, h_at, k, k_at)
    add_bias(theta, at + fan_in * dim, dim, k, k_at)
    return at, h_at


@body
def trace(theta, at, widths, slopes, scratch, out, out_at):
    """Compute tr df/dz = d_1 M d_2^T, d_1 m, or a number; its matrix starts at ``at``."""
    out = out[out_at : out_at + ROWS]
    out[:] = 0
    if len(widths) == 2:
        out[:] = theta[at]
        return
    first_at = widths[0] * ROWS
    n = widths[1]
    d = units_of(slopes, first_at, n)
    if len(widths) == 3:
        for j in range(n):
            m = theta[at + j]
            for r in range(ROWS):
                out[r] += d[j, r] * m
        return
    n = widths[2]
    times(theta, at, n, widths[1], n, slopes, first_at, scratch, 0)
    product, d = units_of(scratch, 0, n), units_of(slopes, first_at + widths[1] * ROWS, n)
    for j in range(n):
        for r in range(ROWS):
            out[r] += product[j, r] * d[j, r]


@reduction
def trace_back(theta, at, widths, slopes, q, scratch, g_slopes, g_theta):
    """Do step 2 of :func:`nfref.continuous.dynamics_vjp.exact_vjp`; add g_M to g_theta."""
    if len(widths) == 2:
        for r in range(ROWS):
            g_theta[at] += q[r]
        return
    first, n = widths[0] * ROWS, widths[1]
    d, g_d = units_of(slopes, first, n), units_of(g_slopes, first, n)
    if len(widths) == 3:
        for j in range(n):
            m, total = theta[at + j], q[0] * 0
            for r in range(ROWS):
                g_d[j, r] = q[r] * m
                total += q[r] * d[j, r]
            g_theta[at + j] += total
        return
    second, n = first + widths[1] * ROWS, widths[2]
    d, g_d, q_d = (
        units_of(slopes, second, n),
        units_of(g_slopes, second, n),
        units_of(scratch, 0, n),
    )
    times(theta, at, n, widths[1], n, slopes, first, g_slopes, second)
    for j in range(n):
        for r in range(ROWS):
            g_d[j, r] *= q[r]
            q_d[j, r] = q[r] * d[j, r]
    times_transposed(theta, at, n, widths[1], n, scratch, 0, g_slopes, first, 0)
    add_outer(slopes, first, widths[1], scratch, 0, n, g_theta, at, n)


@body
def velocity_back(theta, at, h_at, widths, activation, values, slopes, g_slopes, scratch, g_theta):
    """Do step 3 of :func:`~nfref.continuous.dynamics_vjp.exact_vjp`, from g_f in ``scratch``.

    ``scratch`` holds the widest layer twice. Return the start of the cotangent of [z, t, c] in it.
    """
    g_at, other_at = 0, len(scratch) // 2
    for layer in range(len(widths) - 2, -1, -1):
        fan_in, fan_out = widths[layer], widths[layer + 1]
        add_row_sums(scratch, g_at, fan_out, g_theta, at + fan_in * fan_out)
        add_outer(values, h_at, fan_in, scratch, g_at, fan_out, g_theta, at, fan_out)
        times_transposed(theta, at, fan_out, fan_in, fan_out, scratch, g_at, scratch, other_at, 0)
        if layer > 0:
            g_h, h = units_of(scratch, other_at, fan_in), units_of(values, h_at, fan_in)
            d, g_d = units_of(slopes, h_at, fan_in), units_of(g_slopes, h_at, fan_in)
            for j in range(fan_in):
                for r in range(ROWS):
                    g_h[j, r] = g_h[j, r] * d[j, r] + g_d[j, r] * curve(
                        activation, h[j, r], d[j, r]
                    )
            fan_out = fan_in
            fan_in = widths[layer - 1]
            at -= (fan_in + 1) * fan_out
            h_at -= fan_in * ROWS
        g_at, other_at = other_at, g_at
    return g_at


# Steps ---------------------------------------------------------------------------------------


@body
def weighted(k, column, weights, count, out):
    """Compute out (ROWS,) = sum_j weights_j k_j, in float64; skip weights of zero."""
    out[:] = 0
    for j in range(count):
        if weights[j] != 0:
            for r in range(ROWS):
                out[r] += weights[j] * k[j, column, r]


@body
def moved(y, column, k, h, weights, count, state):
    """Compute state (ROWS,) = y + h * sum_j weights_j k_j, in float64."""
    weighted(k, column, weights, count, state)
    for r in range(ROWS):
        state[r] = y[column, r] + h * state[r]


@body
def inputs(y, dim, context, k, t, h, weights, count, state, values):
    """Put [z, t, c] of a stage at the front of ``values``."""
    u = units_of(values, 0, dim + 1 + len(context))
    for j in range(dim):
        moved(y, j, k, h, weights, count, state)
        for r in range(ROWS):
            u[j, r] = state[r]
    u[dim] = t
    copy_rows(len(context), context, 0, u, dim + 1)


@reduction
def finish(state, step, k, block, column_of_state, error):
    """Compute the new state of a block, and the sum over its rows of (error / scale)^2."""
    y, h, total = state.y[block], step.h, 0.0
    for column in range(len(y)):
        moved(y, column, k, h, step.b, len(step.b), column_of_state)
        for r in range(ROWS):
            state.y_new[block, column, r] = column_of_state[r]
        weighted(k, column, step.e, len(step.e), error)
        for r in range(min(ROWS, state.n - block * ROWS)):
            scale = step.atol + max(abs(y[column, r]), abs(column_of_state[r])) * step.rtol
            ratio = h * error[r] / scale
            total += ratio * ratio
    state.errors[block] = total


@kernel
def squared_norms(y, k_first, k_last, weights, rtol, atol, n, begin, end, sums):
    """Compute for blocks ``begin`` to ``end`` - 1 the sums over their rows of (v / scale)^2.

    v has ``weights`` on the state and on the two slopes, and scale is atol + rtol |state|.
    """
    for block in range(begin, end):
        rows = min(ROWS, n - block * ROWS)
        sums[block] = squared_norm(
            y[block], k_first[block], k_last[block], weights, rtol, atol, rows
        )


@reduction
def squared_norm(y, k_first, k_last, weights, rtol, atol, rows):
    """Return the sum of squares of a weighted sum, each number over its tolerance."""
    total = 0.0
    for column in range(len(y)):
        for r in range(rows):
            v = (
                weights[0] * y[column, r]
                + weights[1] * k_first[column, r]
                + weights[2] * k_last[column, r]
            )
            ratio = v / (atol + abs(y[column, r]) * rtol)
            total += ratio * ratio
    return total


@kernel
def stages(net, state, step, begin, end, workspace, columns_of_state, k):
    """Compute slopes ``first`` to ``last`` - 1 of a step, for blocks ``begin`` to ``end`` - 1.

    If ``first`` is 1, slope 0 is ``k_first``. The last slope goes to ``k_last``. If ``errors`` has
    a number for each block, the step is finished too.

    net, state, step : Net, State, Step
    workspace : for values and slopes, and for twice the widest layer
    columns_of_state : (2, ROWS)
    k : for the slopes of all stages of a block
    """
    theta, widths, activation = net.theta, net.widths, net.activation
    y, context, t, h, a, c = state.y, state.context, step.t, step.h, step.a, step.c
    dim, size = widths[-1], np.sum(widths[:-1]) * ROWS
    columns, flat = y.shape[1], k.reshape(k.size)
    values, slopes, scratch = (workspace[:size], workspace[size : 2 * size], workspace[2 * size :])
    column, error = columns_of_state[0], columns_of_state[1]
    for block in range(begin, end):
        if step.first > 0:
            copy_rows(columns, state.k_first[block], 0, k[0], 0)
        for s in range(step.first, step.last):
            at = s * columns * ROWS
            inputs(y[block], dim, context[block], k, t + c[s] * h, h, a[s], s, column, values)
            out, _ = velocity(theta, widths, activation, values, slopes, flat, at)
            trace(
                theta, out + (widths[-2] + 1) * dim, widths, slopes, scratch, flat, at + dim * ROWS
            )
        copy_rows(columns, k[step.last - 1], 0, state.k_last[block], 0)
        if len(state.errors):
            finish(state, step, k, block, column, error)


@kernel
def stages_back(net, state, q, step, begin, end, workspace, columns_of_state, k, g_theta):
    """Compute slopes of [z, its adjoint, cotangent of the context]; see ``continuous/adjoint.py``.

    The arguments are those of :func:`stages`, and ``q`` (blocks, ROWS), the constant adjoint of the
    log-determinant. The cotangents of theta, summed over these blocks, go to ``g_theta`` (stages,
    P), one for each stage.
    """
    theta, widths, activation = net.theta, net.widths, net.activation
    y, context, t, h, a, c = state.y, state.context, step.t, step.h, step.a, step.c
    dim, size = widths[-1], np.sum(widths[:-1]) * ROWS
    columns, flat = y.shape[1], k.reshape(k.size)
    values, slopes, g_slopes = (
        workspace[:size],
        workspace[size : 2 * size],
        workspace[2 * size : 3 * size],
    )
    scratch = workspace[3 * size :]
    other = scratch[len(scratch) // 2 :]
    column, error = columns_of_state[0], columns_of_state[1]
    g_theta[step.first : step.last] = 0
    for block in range(begin, end):
        if step.first > 0:
            copy_rows(columns, state.k_first[block], 0, k[0], 0)
        for s in range(step.first, step.last):
            inputs(y[block], dim, context[block], k, t + c[s] * h, h, a[s], s, column, values)
            g_f = units_of(scratch, 0, dim)
            for j in range(dim):
                moved(y[block], dim + j, k, h, a[s], s, column)
                for r in range(ROWS):
                    g_f[j, r] = column[r]
            out, h_at = velocity(
                theta, widths, activation, values, slopes, flat, s * columns * ROWS
            )
            matrix = out + (widths[-2] + 1) * dim
            trace_back(theta, matrix, widths, slopes, q[block], other, g_slopes, g_theta[s])
            g_input_at = velocity_back(
                theta, out, h_at, widths, activation, values, slopes, g_slopes, scratch, g_theta[s]
            )
            g_input = units_of(scratch, g_input_at, widths[0])
            for j in range(dim):
                for r in range(ROWS):
                    k[s, dim + j, r] = -g_input[j, r]
            for j in range(columns - 2 * dim):
                for r in range(ROWS):
                    k[s, 2 * dim + j, r] = -g_input[dim + 1 + j, r]
        copy_rows(columns, k[step.last - 1], 0, state.k_last[block], 0)
        if len(state.errors):
            finish(state, step, k, block, column, error)
