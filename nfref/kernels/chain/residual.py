"""A residual block on a block of rows: z = x + g(x), data to latent, and its derivative.

:mod:`nfref.flows.residual` has the formulas, whose letters are used here: a_l, h_l and slopes d_l
of hidden layer l, J = dg/dx. The exact log det(I + J) takes J, one column dg/dx_j after the
other: the derivatives of all units by x_j are one more block of activations,

    t_1 = d_1 W_1[j],  p_l = W_l^T t_{l-1},  t_l = d_l p_l,  dg/dx_j = W_K^T t_{K-1}.

I + J is eliminated without looking for pivots. As |J| < 1, its symmetric part is positive
definite, and remains so from pivot to pivot; so none is near zero unless I + J is near singular.
The truncated power series with exact traces takes the powers of the same J.

theta: weights, already shrunk, and biases, layer by layer; then one beta a hidden layer.
Tape: x, context and h_l; d_l and a_l in the same order; (I + J)^-1 or its truncated
series, transposed, (D, D, ROWS); p_l of every column; the widest layer to work in; and for the
series two more matrices.
"""

from collections import namedtuple

from nfref.kernels.chain.block import HEADER
from nfref.kernels.chain.block_rows import (
    add_product,
    add_row,
    add_row_sums,
    add_rows,
    clear,
    clear_row,
    copy_row,
    copy_rows,
    units_of,
)
from nfref.kernels.chain.network import add_bias, rows_before, weight_at
from nfref.kernels.jit import body, called_kernel, called_reduction_kernel, reduction
from nfref.kernels.simd.elementary import exp_neg, log
from nfref.kernels.simd.matmul import ROWS, add_outer, times, times_transposed

LIPSCHITZ = 1.1  # of a sigma(beta a), about

# Starts on the tape, and the number of rows of h, d and a each.
Places = namedtuple("Places", "values slopes arguments matrix tangents work others units")


@body
def places_of(tape_at, dim, widths):
    """Return the places on the tape of what a residual block keeps."""
    units, widest = 0, dim
    for k in range(len(widths) - 1):
        units += widths[k]
        widest = max(widest, widths[k])
    matrix = tape_at + 3 * units * ROWS
    tangents = matrix + dim * dim * ROWS
    work = tangents + dim * (units - widths[0]) * ROWS
    slopes, others = tape_at + units * ROWS, work + widest * ROWS
    arguments = slopes + units * ROWS
    return Places(tape_at, slopes, arguments, matrix, tangents, work, others, units)


@body
def gates(u):
    """Return sigma(u) and sigma(-u)."""
    one = type(u)(1)
    tail = exp_neg(abs(u))
    most = one / (one + tail)  # a division takes as long as all of the exponential
    least = tail * most
    return (most if u > type(u)(0) else least), (least if u > type(u)(0) else most)


@body
def activate(beta, units, tape, h_at, d_at, a_at):
    """See :func:`nfref.flows.residual.lipschitz_swish`."""
    h, d, a = units_of(tape, h_at, units), units_of(tape, d_at, units), units_of(tape, a_at, units)
    one, scale = type(beta)(1), type(beta)(1 / LIPSCHITZ)
    for j in range(units):
        for r in range(ROWS):
            u = beta * a[j, r]
            gate, rest = gates(u)
            h[j, r] = a[j, r] * gate * scale
            d[j, r] = gate * (one + u * rest) * scale


@body
def decode_residual(chain, pc):
    """Return D, the number of terms of the power series, and widths.

    With 0 terms the determinant itself is computed.
    """
    code, at = chain.code, pc + HEADER
    return code[at], code[at + 1], code[at + 3 : at + 3 + code[at + 2]]


@called_kernel
def residual(chain, pc, storage, block):
    """Compute z = x + g(x) in place; add log |det(I + J)| to log_det."""
    dim, terms, widths = decode_residual(chain, pc)
    theta, tape, u = storage.theta, storage.tape, block.u
    at = places_of(storage.tape_at, dim, widths)
    seen = units_of(tape, at.values, widths[0])
    copy_rows(dim, u, 0, seen, 0)
    copy_rows(widths[0] - dim, block.context, 0, seen, dim)
    weight, before = storage.at, 0
    beta = storage.at + weight_at(widths, len(widths))
    for k in range(len(widths) - 2):
        fan_in, fan_out, here = widths[k], widths[k + 1], before + widths[k] * ROWS
        d_at, a_at = at.slopes + here, at.arguments + here
        times(theta, weight, fan_out, fan_in, fan_out, tape, at.values + before, tape, a_at)
        weight += fan_in * fan_out
        add_bias(theta, weight, fan_out, tape, a_at)
        activate(theta[beta + k], fan_out, tape, at.values + here, d_at, a_at)
        weight, before = weight + fan_out, here
    fan_in = widths[-2]
    times(theta, weight, dim, fan_in, dim, tape, at.values + before, tape, at.work)
    add_bias(theta, weight + fan_in * dim, dim, tape, at.work)
    add_rows(dim, units_of(tape, at.work, dim), 0, u, 0)
    for j in range(dim):
        column(j, dim, widths, storage, at)
    matrix, work = units_of(tape, at.matrix, dim * dim), units_of(tape, at.work, dim)
    if terms == 0:
        for j in range(dim):
            for r in range(ROWS):
                matrix[j * dim + j, r] += theta.dtype.type(1)
        invert(dim, matrix, work, block.log_det)
    else:
        power_series(dim, terms, matrix, work, tape, at.others, block.log_det)


@body
def column(j, dim, widths, storage, at):
    """Compute row j of the transposed Jacobian, dg/dx_j."""
    theta, tape = storage.theta, storage.tape
    tangent_at = at.tangents + j * (at.units - widths[0]) * ROWS
    first_tangent(j, widths[1], storage, at.slopes + widths[0] * ROWS, tape, at.work)
    weight, before = storage.at + (widths[0] + 1) * widths[1], widths[0] * ROWS
    for k in range(1, len(widths) - 2):
        fan_in, fan_out = widths[k], widths[k + 1]
        before += fan_in * ROWS
        here = tangent_at + before - widths[0] * ROWS
        times(theta, weight, fan_out, fan_in, fan_out, tape, at.work, tape, here)
        slope_times(fan_out, tape, at.slopes + before, tape, here, tape, at.work)
        weight += (fan_in + 1) * fan_out
    times(theta, weight, dim, widths[-2], dim, tape, at.work, tape, at.matrix + j * dim * ROWS)


@body
def first_tangent(j, units, storage, slopes_at, out, out_at):
    """Compute t_1 = d_1 W_1[j]."""
    d, out = units_of(storage.tape, slopes_at, units), units_of(out, out_at, units)
    for h in range(units):
        weight = storage.theta[storage.at + j * units + h]
        for r in range(ROWS):
            out[h, r] = d[h, r] * weight


@body
def slope_times(units, slopes, slopes_at, p, p_at, out, out_at):
    """Compute out = d p."""
    d, p = units_of(slopes, slopes_at, units), units_of(p, p_at, units)
    out = units_of(out, out_at, units)
    for h in range(units):
        for r in range(ROWS):
            out[h, r] = d[h, r] * p[h, r]


@body
def invert(dim, matrix, work, log_det):
    """Compute A^-1 in place, by Gauss and Jordan; add log |det A| to log_det."""
    one = matrix.dtype.type(1)
    for k in range(dim):
        pivot = k * dim + k
        for r in range(ROWS):
            size = abs(matrix[pivot, r])
            log_det[r] += log(size, size - one)
            work[0, r] = one / matrix[pivot, r]
            matrix[pivot, r] = one
        for j in range(dim):
            for r in range(ROWS):
                matrix[k * dim + j, r] *= work[0, r]
        for i in range(dim):
            if i != k:
                for r in range(ROWS):
                    work[0, r] = matrix[i * dim + k, r]
                    matrix[i * dim + k, r] = 0
                for j in range(dim):
                    for r in range(ROWS):
                        matrix[i * dim + j, r] -= work[0, r] * matrix[k * dim + j, r]


@body
def power_series(dim, terms, matrix, work, tape, others_at, log_det):
    """Replace A by I - A + A^2 - ...

    Add tr(A - A^2 / 2 + A^3 / 3 - ...) to log_det.
    """
    number, square = matrix.dtype.type, dim * dim
    power = units_of(tape, others_at, square)
    total = units_of(tape, others_at + square * ROWS, square)
    copy_rows(square, matrix, 0, power, 0)
    clear(total)
    for i in range(dim):
        for r in range(ROWS):
            total[i * dim + i, r] = number(1)
    add_trace(dim, matrix, number(1), work, log_det)
    for k in range(2, terms + 1):
        sign = number(-1 if k % 2 == 0 else 1)
        for i in range(square):
            for r in range(ROWS):
                total[i, r] += sign * power[i, r]
        multiply(dim, power, matrix, work)
        add_trace(dim, power, sign / number(k), work, log_det)
    copy_rows(square, total, 0, matrix, 0)


@body
def add_trace(dim, matrix, weight, work, total):
    """Add weight * tr A to total."""
    clear_row(work, 0)
    for i in range(dim):
        add_row(matrix, i * dim + i, work, 0)
    for r in range(ROWS):
        total[r] += weight * work[0, r]


@body
def multiply(dim, power, matrix, row):
    """Compute power = power @ matrix, row by row."""
    for i in range(dim):
        for k in range(dim):
            copy_row(power, i * dim + k, row, k)
            clear_row(power, i * dim + k)
        for k in range(dim):
            for j in range(dim):
                add_product(row, k, matrix, k * dim + j, power, i * dim + j)


# Derivative ------------------------------------------------------------------------------------
# With l the cotangent of the log-determinant:
# 1. d log det(I + J) = tr((I + J)^-1 dJ), so dg/dx_j gets l times row j of (I + J)^-1, or of the
#    truncated series; that goes back through W_K, d_l, W_l ... to W_1, one column after the other.
#    d_l gets the sum over all columns of p_l times what t_l gets.
# 2. z = x + g: the cotangent of z goes back through the network; a_l gets d_l times what h_l gets
#    and s'' times what d_l gets.
# 3. With u = beta a, s = sigma(u) and c = sigma(-u), f = s c / 1.1 and e = f (2 + u (c - s)):
#    s'' = beta e,  dh/dbeta = a^2 f,  dd/dbeta = a e.


@called_reduction_kernel
def residual_vjp(chain, pc, storage, cotangents, scratch):
    """Go back; the tape is as :func:`residual` left it.

    scratch : the cotangents of all d_l, in the order of the tape; and the widest layer twice
    """
    dim, _, widths = decode_residual(chain, pc)
    theta, tape, g, g_theta = storage.theta, storage.tape, scratch, cotangents.theta
    at = places_of(storage.tape_at, dim, widths)
    clear(units_of(scratch, 0, at.units))
    one_at = at.units * ROWS
    other_at = (one_at + len(scratch)) // 2
    for j in range(dim):
        column_vjp(j, dim, widths, storage, at, cotangents, scratch, one_at, other_at)
    copy_rows(dim, cotangents.u, 0, units_of(scratch, one_at, dim), 0)
    weight = storage.at + weight_at(widths, len(widths))
    beta, before = weight, at.units * ROWS
    for k in range(len(widths) - 2, -1, -1):
        fan_in, fan_out = widths[k], widths[k + 1]
        before -= fan_in * ROWS
        weight -= fan_out
        add_row_sums(scratch, one_at, fan_out, g_theta, weight)
        weight, h_at = weight - fan_in * fan_out, at.values + before
        add_outer(tape, h_at, fan_in, scratch, one_at, fan_out, g_theta, weight, fan_out)
        times_transposed(theta, weight, fan_out, fan_in, fan_out, g, one_at, g, other_at, 0)
        if k > 0:
            d_at, a_at, b = at.slopes + before, at.arguments + before, beta + k - 1
            activate_vjp(b, theta, fan_in, tape, d_at, a_at, g, other_at, before, g_theta)
        one_at, other_at = other_at, one_at
    g_seen = units_of(scratch, one_at, widths[0])
    add_rows(dim, g_seen, 0, cotangents.u, 0)
    add_rows(widths[0] - dim, g_seen, dim, cotangents.context, 0)


@reduction
def column_vjp(j, dim, widths, storage, at, cotangents, scratch, one_at, other_at):
    """Do step 1 for dg/dx_j."""
    theta, tape, g_theta = storage.theta, storage.tape, cotangents.theta
    matrix, g_column = units_of(tape, at.matrix, dim * dim), units_of(scratch, one_at, dim)
    for o in range(dim):
        for r in range(ROWS):
            g_column[o, r] = cotangents.log_det[r] * matrix[o * dim + j, r]
    tangent_at = at.tangents + (j * (at.units - widths[0]) - widths[0]) * ROWS
    weight = storage.at + weight_at(widths, len(widths) - 1)
    before = rows_before(widths, len(widths) - 2)
    # one: the cotangent of p_{l+1}; other: first t_l, then its cotangent.
    for k in range(len(widths) - 2, 0, -1):
        fan_in, fan_out = widths[k], widths[k + 1]
        if k > 1:
            p_at = tangent_at + before
            slope_times(fan_in, tape, at.slopes + before, tape, p_at, scratch, other_at)
        else:
            first_tangent(j, fan_in, storage, at.slopes + before, scratch, other_at)
        add_outer(scratch, other_at, fan_in, scratch, one_at, fan_out, g_theta, weight, fan_out)
        g = scratch
        times_transposed(theta, weight, fan_out, fan_in, fan_out, g, one_at, g, other_at, 0)
        g_t, g_d = units_of(scratch, other_at, fan_in), units_of(scratch, before, fan_in)
        d = units_of(tape, at.slopes + before, fan_in)
        if k > 1:
            p = units_of(tape, tangent_at + before, fan_in)
            for h in range(fan_in):
                for r in range(ROWS):
                    g_d[h, r] += g_t[h, r] * p[h, r]
                    g_t[h, r] *= d[h, r]
            before -= widths[k - 1] * ROWS
            weight -= (widths[k - 1] + 1) * fan_in
        else:
            for h in range(fan_in):
                first, total = theta[storage.at + j * fan_in + h], d.dtype.type(0)
                for r in range(ROWS):
                    g_d[h, r] += g_t[h, r] * first
                    total += g_t[h, r] * d[h, r]
                g_theta[storage.at + j * fan_in + h] += total
        one_at, other_at = other_at, one_at


@reduction
def activate_vjp(at, theta, units, tape, d_at, a_at, scratch, g_at, g_d_at, g_theta):
    """Do steps 2 and 3: turn the cotangent of h_l into that of a_l; beta is theta[at]."""
    d, a = units_of(tape, d_at, units), units_of(tape, a_at, units)
    g, g_d = units_of(scratch, g_at, units), units_of(scratch, g_d_at, units)
    number = d.dtype.type
    beta, scale, two = theta[at], number(1 / LIPSCHITZ), number(2)
    total = number(0)
    for j in range(units):
        for r in range(ROWS):
            u = beta * a[j, r]
            gate, rest = gates(u)
            f = gate * rest * scale
            e = g_d[j, r] * f * (two + u * (rest - gate))
            total += a[j, r] * (g[j, r] * a[j, r] * f + e)
            g[j, r] = g[j, r] * d[j, r] + beta * e
    g_theta[at] += total
