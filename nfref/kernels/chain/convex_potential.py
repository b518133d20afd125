"""The gradient of a convex potential on a block of rows, latent to data, and its derivative.

:mod:`nfref.flows.convex_potential` has the formulas, whose letters are used here: a_k and h_k of
hidden layer k, g_k = dF/dh_k, and J_k = da_k/dz, of which column j is

    p_1 = U_1[j],  p_k = U_k[j] + P_k^T (s_{k-1} p_{k-1}),

one more block of activations. With s = s'(a), c = s''(a) and the weights m = g c >= 0,

    F'' = a I + sum_k J_k^T diag(m_k) J_k,

which is positive definite; so it is eliminated without looking for pivots.

theta: U_k, b_k and, from the second layer on, P_k, layer by layer; w; v; a; what v gets of the
context (C, D).
Tape: z and context; then of all hidden units h, s, c and g; F'' and, in its place, its inverse,
(D, D, ROWS); p of every column; the widest layer twice, to work in.
"""

from collections import namedtuple

from nfref.kernels.chain.block import HEADER
from nfref.kernels.chain.block_rows import (
    add_product,
    add_row_sums,
    clear_row,
    copy_row,
    copy_rows,
    units_of,
)
from nfref.kernels.chain.network import add_bias
from nfref.kernels.chain.residual import gates, invert, slope_times
from nfref.kernels.jit import body, called_kernel, called_reduction_kernel, reduction
from nfref.kernels.simd.elementary import softplus
from nfref.kernels.simd.matmul import ROWS, add_outer, times, times_transposed

# D, C, the widths of the hidden layers, their number of units, and that of the widest.
Potential = namedtuple("Potential", "dim context widths hidden widest")

# Starts on the tape.
Places = namedtuple("Places", "seen h s c g matrix tangents work other")


@body
def decode_potential(chain, pc):
    code, at = chain.code, pc + HEADER
    dim, context, layers = code[at], code[at + 1], code[at + 2]
    widths = code[at + 3 : at + 3 + layers]
    hidden, widest = 0, dim
    for k in range(layers):
        hidden += widths[k]
        widest = max(widest, widths[k])
    return Potential(dim, context, widths, hidden, widest)


@body
def places_of(f, at):
    """Return the places on the tape of what a potential keeps, from ``at`` on."""
    h = at + (f.dim + f.context) * ROWS
    layer = f.hidden * ROWS
    matrix = h + 4 * layer
    tangents = matrix + f.dim * f.dim * ROWS
    work = tangents + f.dim * layer
    layers = h, h + layer, h + 2 * layer, h + 3 * layer
    return Places(at, *layers, matrix, tangents, work, work + f.widest * ROWS)


@body
def numbers_of_layer(f, k):
    """Return the size of U_k, b_k and P_k together."""
    return (f.dim + f.context + 1 + (f.widths[k - 1] if k > 0 else 0)) * f.widths[k]


@called_kernel
def potential(chain, pc, storage, block):
    """Compute x = grad F(z) in place; add log det F'' to log_det."""
    f = decode_potential(chain, pc)
    theta, tape, u = storage.theta, storage.tape, block.u
    at, fan_in = places_of(f, storage.tape_at), f.dim + f.context
    seen = units_of(tape, at.seen, fan_in)
    copy_rows(f.dim, u, 0, seen, 0)
    copy_rows(f.context, block.context, 0, seen, f.dim)
    weight, here = storage.at, 0
    for k in range(len(f.widths)):
        width, positive = f.widths[k], weight + (fan_in + 1) * f.widths[k]
        times(theta, weight, width, fan_in, width, tape, at.seen, tape, at.h + here)
        if k > 0:
            before = f.widths[k - 1]
            below, h_at = at.h + here - before * ROWS, at.h + here
            times(theta, positive, width, before, width, tape, below, tape, h_at, ROWS, 1)
        add_bias(theta, weight + fan_in * width, width, tape, at.h + here)
        activate(width, tape, at, here)
        for j in range(f.dim):
            column(f, j, k, weight, positive, storage, at, here)
        weight += numbers_of_layer(f, k)
        here += width * ROWS
    shift = weight + f.widths[-1]
    strength, flat = theta[shift + f.dim], u.reshape(u.size)
    for j in range(f.dim):
        for r in range(ROWS):
            u[j, r] = strength * u[j, r] + theta[shift + j]
    from_context, seen_at = shift + f.dim + 1, at.seen + f.dim * ROWS
    times(theta, from_context, f.dim, f.context, f.dim, tape, seen_at, flat, 0, ROWS, 1)
    matrix = units_of(tape, at.matrix, f.dim * f.dim)
    for i in range(f.dim * f.dim):
        for r in range(ROWS):
            matrix[i, r] = strength if i % (f.dim + 1) == 0 else theta.dtype.type(0)
    downwards(f, weight, storage, at, flat)
    for j in range(f.dim):
        for i in range(j):
            copy_row(matrix, j * f.dim + i, matrix, i * f.dim + j)
    invert(f.dim, matrix, units_of(tape, at.work, 1), block.log_det)


@body
def activate(width, tape, at, here):
    """Compute h, s and c of one layer; its a stands in the place of h."""
    h, s = units_of(tape, at.h + here, width), units_of(tape, at.s + here, width)
    c = units_of(tape, at.c + here, width)
    for j in range(width):
        for r in range(ROWS):
            gate, rest = gates(h[j, r])
            h[j, r] = softplus(h[j, r])
            s[j, r] = gate
            c[j, r] = gate * rest


@body
def column(f, j, k, weight, positive, storage, at, here):
    """Compute p_k of column j."""
    theta, tape, width = storage.theta, storage.tape, f.widths[k]
    p_at = at.tangents + j * f.hidden * ROWS + here
    p = units_of(tape, p_at, width)
    for h in range(width):
        first = theta[weight + j * width + h]
        for r in range(ROWS):
            p[h, r] = first
    if k > 0:
        before = f.widths[k - 1]
        back = before * ROWS
        slope_times(before, tape, at.s + here - back, tape, p_at - back, tape, at.work)
        times(theta, positive, width, before, width, tape, at.work, tape, p_at, ROWS, 1)


@body
def downwards(f, weight, storage, at, flat):
    """Compute g_k; add U_k (g_k s_k) to x and J_k^T diag(g_k c_k) J_k to F''."""
    theta, tape, fan_in = storage.theta, storage.tape, f.dim + f.context
    matrix, here, output = units_of(tape, at.matrix, f.dim * f.dim), f.hidden * ROWS, weight
    for k in range(len(f.widths) - 1, -1, -1):
        width = f.widths[k]
        here -= width * ROWS
        g = units_of(tape, at.g + here, width)
        if k == len(f.widths) - 1:
            for h in range(width):
                for r in range(ROWS):
                    g[h, r] = theta[output + h]
        else:
            above, g_at = f.widths[k + 1], at.g + here
            next_at = weight + (fan_in + 1) * above
            times_transposed(theta, next_at, above, width, above, tape, at.work, tape, g_at, 0)
        weight -= numbers_of_layer(f, k)
        slope_times(width, tape, at.g + here, tape, at.s + here, tape, at.work)
        times_transposed(theta, weight, width, f.dim, width, tape, at.work, flat, 0, 1)
        weighted = units_of(tape, at.other, width)
        for j in range(f.dim):
            p_at = at.tangents + j * f.hidden * ROWS + here
            slope_times(width, tape, at.c + here, tape, p_at, tape, at.other)
            for h in range(width):
                for r in range(ROWS):
                    weighted[h, r] *= g[h, r]
            for i in range(j + 1):
                p = units_of(tape, at.tangents + i * f.hidden * ROWS + here, width)
                for h in range(width):
                    add_product(weighted, h, p, h, matrix, j * f.dim + i)


# Derivative ------------------------------------------------------------------------------------
# With y the cotangent of x, l that of the log-determinant, B = l F''^-1, and a prime for what a
# letter gets:
# 1. d log det F'' = tr(F''^-1 dF''), and F'' is a I + sum p m p^T. So a' = y . z + tr B, and with
#    q_j = sum_i B_ji p_i, m' = sum_j p_j q_j and p_j' = 2 m q_j.
# 2. Upwards: x has U_k (g_k s_k), and g_{k-1} is P_k (g_k s_k). So (g_k s_k)' = e_k =
#    U_k^T y + P_k^T g'_{k-1}; U_k gets y (g_k s_k)^T and P_k gets g'_{k-1} (g_k s_k)^T; and
#    g' = e s + m' c,  s' = e g,  c' = m' g. The last g' is that of w.
# 3. Downwards: p_k goes to U_k[j], to P_k with s_{k-1} p_{k-1}, to s_{k-1} and on to p_{k-1}. Then
#    a_k' = h' s + s' c + c' c (1 - 2 s), which goes to U_k, b_k, P_k, z, the context and h_{k-1}.


@called_reduction_kernel
def potential_vjp(chain, pc, storage, cotangents, scratch):
    """Go back through the gradient of the potential; the tape is as :func:`potential` left it.

    scratch : the cotangents of s, c (before it m) and g (after it h, then a) of all units; those of
        p, in the layout of the tape; the widest layer twice, as working memory
    """
    f = decode_potential(chain, pc)
    theta, tape, g_theta = storage.theta, storage.tape, cotangents.theta
    at, y = places_of(f, storage.tape_at), cotangents.u
    flat, context = y.reshape(y.size), cotangents.context.reshape(cotangents.context.size)
    matrix, z = units_of(tape, at.matrix, f.dim * f.dim), units_of(tape, at.seen, f.dim)
    for i in range(f.dim * f.dim):
        for r in range(ROWS):
            matrix[i, r] *= cotangents.log_det[r]
    output = storage.at
    for k in range(len(f.widths)):
        output += numbers_of_layer(f, k)
    shift = output + f.widths[-1]
    from_context, strength, total = shift + f.dim + 1, theta[shift + f.dim], theta.dtype.type(0)
    for j in range(f.dim):
        for r in range(ROWS):
            total += y[j, r] * z[j, r] + matrix[j * f.dim + j, r]
    g_theta[shift + f.dim] += total
    add_row_sums(flat, 0, f.dim, g_theta, shift)
    add_outer(tape, at.seen + f.dim * ROWS, f.context, flat, 0, f.dim, g_theta, from_context, f.dim)
    through_hessian(f, matrix, tape, at, scratch)
    upwards_vjp(f, storage, at, flat, scratch, g_theta)
    g_last = (3 * f.hidden - f.widths[-1]) * ROWS
    add_row_sums(scratch, g_last, f.widths[-1], g_theta, output)
    times_transposed(theta, from_context, f.dim, f.context, f.dim, flat, 0, context, 0, 1)
    for j in range(f.dim):
        for r in range(ROWS):
            y[j, r] *= strength
    downwards_vjp(f, output, storage, at, flat, context, scratch, g_theta)


@reduction
def through_hessian(f, matrix, tape, at, scratch):
    """Do step 1: m' in the place of c', and p'."""
    p = units_of(tape, at.tangents, f.dim * f.hidden)
    c, g = units_of(tape, at.c, f.hidden), units_of(tape, at.g, f.hidden)
    g_m = units_of(scratch, f.hidden * ROWS, f.hidden)
    g_p = units_of(scratch, 3 * f.hidden * ROWS, f.dim * f.hidden)
    two = matrix.dtype.type(2)
    for h in range(f.hidden):
        clear_row(g_m, h)
        for j in range(f.dim):
            here = j * f.hidden + h
            clear_row(g_p, here)
            for i in range(f.dim):
                add_product(matrix, j * f.dim + i, p, i * f.hidden + h, g_p, here)
            for r in range(ROWS):
                g_m[h, r] += p[here, r] * g_p[here, r]
                g_p[here, r] *= two * g[h, r] * c[h, r]


@reduction
def upwards_vjp(f, storage, at, y, scratch, g_theta):
    """Do step 2, with y as flat numbers."""
    theta, tape, fan_in = storage.theta, storage.tape, f.dim + f.context
    layer, weight, here = f.hidden * ROWS, storage.at, 0
    e_at = (3 + f.dim) * layer
    gs_at = e_at + f.widest * ROWS
    for k in range(len(f.widths)):
        width, positive = f.widths[k], weight + (fan_in + 1) * f.widths[k]
        slope_times(width, tape, at.g + here, tape, at.s + here, scratch, gs_at)
        times(theta, weight, width, f.dim, width, y, 0, scratch, e_at)
        add_outer(y, 0, f.dim, scratch, gs_at, width, g_theta, weight, width)
        if k > 0:
            before = f.widths[k - 1]
            below = 2 * layer + here - before * ROWS
            times(theta, positive, width, before, width, scratch, below, scratch, e_at, ROWS, 1)
            add_outer(scratch, below, before, scratch, gs_at, width, g_theta, positive, width)
        s, c = units_of(tape, at.s + here, width), units_of(tape, at.c + here, width)
        g, e = units_of(tape, at.g + here, width), units_of(scratch, e_at, width)
        g_s, g_c = units_of(scratch, here, width), units_of(scratch, layer + here, width)
        g_g = units_of(scratch, 2 * layer + here, width)
        for h in range(width):
            for r in range(ROWS):
                g_g[h, r] = e[h, r] * s[h, r] + g_c[h, r] * c[h, r]
                g_s[h, r] = e[h, r] * g[h, r]
                g_c[h, r] *= g[h, r]
        weight += numbers_of_layer(f, k)
        here += width * ROWS


@reduction
def downwards_vjp(f, weight, storage, at, y, context, scratch, g_theta):
    """Do step 3; y becomes z'."""
    theta, tape, fan_in = storage.theta, storage.tape, f.dim + f.context
    layer, here = f.hidden * ROWS, f.hidden * ROWS
    for k in range(len(f.widths) - 1, -1, -1):
        width = f.widths[k]
        weight -= numbers_of_layer(f, k)
        positive = weight + (fan_in + 1) * width
        here -= width * ROWS
        for j in range(f.dim):
            column_vjp(f, j, k, weight, positive, storage, at, here, scratch, g_theta)
        g_at = 2 * layer + here
        activate_vjp(k == len(f.widths) - 1, width, tape, at, here, scratch, layer)
        add_row_sums(scratch, g_at, width, g_theta, weight + fan_in * width)
        add_outer(tape, at.seen, fan_in, scratch, g_at, width, g_theta, weight, width)
        times_transposed(theta, weight, width, f.dim, width, scratch, g_at, y, 0, 1)
        own = weight + f.dim * width
        times_transposed(theta, own, width, f.context, width, scratch, g_at, context, 0, 1)
        if k > 0:
            before = f.widths[k - 1]
            h_below = at.h + here - before * ROWS
            add_outer(tape, h_below, before, scratch, g_at, width, g_theta, positive, width)
            g_below = g_at - before * ROWS
            g = scratch
            times_transposed(theta, positive, width, before, width, g, g_at, g, g_below, 0)


@reduction
def column_vjp(f, j, k, weight, positive, storage, at, here, scratch, g_theta):
    """Do step 3 for p_k of column j."""
    theta, tape, width = storage.theta, storage.tape, f.widths[k]
    p_at = j * f.hidden * ROWS + here
    g_at = 3 * f.hidden * ROWS + p_at
    add_row_sums(scratch, g_at, width, g_theta, weight + j * width)
    if k == 0:
        return
    before = f.widths[k - 1]
    back = before * ROWS
    t_at = (3 + f.dim) * f.hidden * ROWS
    slope_times(before, tape, at.s + here - back, tape, at.tangents + p_at - back, scratch, t_at)
    add_outer(scratch, t_at, before, scratch, g_at, width, g_theta, positive, width)
    times_transposed(theta, positive, width, before, width, scratch, g_at, scratch, t_at, 0)
    g_t, g_s = units_of(scratch, t_at, before), units_of(scratch, here - back, before)
    p = units_of(tape, at.tangents + p_at - back, before)
    s = units_of(tape, at.s + here - back, before)
    g_p = units_of(scratch, g_at - back, before)
    for h in range(before):
        for r in range(ROWS):
            g_s[h, r] += g_t[h, r] * p[h, r]
            g_p[h, r] += g_t[h, r] * s[h, r]


@body
def activate_vjp(last, width, tape, at, here, scratch, layer):
    """Turn h' of one layer into a'; h' of the last layer is 0."""
    s, c = units_of(tape, at.s + here, width), units_of(tape, at.c + here, width)
    g_s, g_c = units_of(scratch, here, width), units_of(scratch, layer + here, width)
    g_h = units_of(scratch, 2 * layer + here, width)
    one, two = s.dtype.type(1), s.dtype.type(2)
    for h in range(width):
        for r in range(ROWS):
            through_h = s.dtype.type(0) if last else g_h[h, r] * s[h, r]
            g_h[h, r] = through_h + c[h, r] * (g_s[h, r] + g_c[h, r] * (one - two * s[h, r]))
