"""Radial maps on a block of rows: the value, and its vector-Jacobian product.

:mod:`nfref.flows.radial` has the formulas; alpha and slack are used here as there. In either
direction rows are v = rows - z0 away from z0, and become z0 + v f with the factor

    f = (new + r) / (old + r),

where r is the latent distance from z0; forward, old is alpha and new is slack, and the other way
round in the inverse direction, where |v| is the distance s of the data, and r solves

    r^2 + (slack - s) r - alpha s = 0.

theta: z0 (D,), alpha, slack. Tape: the input (D, ROWS), then |v| and r, (ROWS,) each. What is
made of distances is float64, as products of them may be too small for float32.
"""

import math

from nfref.kernels.chain.block import DIRECTION, FORWARD, HEADER
from nfref.kernels.chain.block_rows import copy_rows, units_of
from nfref.kernels.jit import body, called_kernel, called_reduction_kernel
from nfref.kernels.simd.matmul import ROWS


@body
def positive_root(b, c):
    """See :func:`nfref.flows.radial.positive_root`."""
    root = math.sqrt(b * b + 4 * c)
    return (root - b) / 2 if b <= 0 else 2 * c / (b + root)


@body
def log_of_sum(change, total):
    """See :func:`nfref.flows.radial.log_of_sum`."""
    return math.log(total) if total < 0.5 else math.log1p(change)


@body
def radial_log_det(r, alpha, slack, dim):
    """See :func:`nfref.flows.radial.radial_log_det`."""
    h, beta = 1 / (alpha + r), slack - alpha
    factor = log_of_sum(beta * h, (slack + r) * h)
    derivative = log_of_sum(alpha * beta * h * h, (r * (r + 2 * alpha) + alpha * slack) * h * h)
    return (dim - 1) * factor + derivative


@body
def lengths(z0, u, dim, out):
    """Compute |u - z0| of each row; the squares are at most 1."""
    for r in range(ROWS):
        longest = 0.0
        for j in range(dim):
            longest = max(longest, abs(float(u[j, r]) - z0[j]))
        scale = longest if longest > 0 else 1.0
        total = 0.0
        for j in range(dim):
            part = (float(u[j, r]) - z0[j]) / scale
            total += part * part
        out[r] = longest * math.sqrt(total)


@called_kernel
def radial(chain, pc, storage, block):
    """Compute x = z0 + v (slack + r) / (alpha + r), or the z that gives it, in place."""
    direction, dim = chain.code[pc + DIRECTION], chain.code[pc + HEADER]
    theta, at, u = storage.theta, storage.at, block.u
    z0, alpha, slack = theta[at : at + dim], float(theta[at + dim]), float(theta[at + dim + 1])
    tape = units_of(storage.tape, storage.tape_at, dim + 2)
    copy_rows(dim, u, 0, tape, 0)
    lengths(z0, u, dim, tape[dim])
    old, new = (alpha, slack) if direction == FORWARD else (slack, alpha)
    for row in range(ROWS):
        r = float(tape[dim, row])
        if direction != FORWARD:
            r = positive_root(slack - r, alpha * r)
        tape[dim + 1, row] = r
        factor, change = (new + r) / (old + r), (new - old) / (old + r)
        for j in range(dim):
            v = u[j, row] - z0[j]
            # The second form loses no digits of the rows to a z0 far away.
            u[j, row] = z0[j] + v * factor if factor < 0.5 else u[j, row] + v * change
        block.log_det[row] += direction * radial_log_det(r, alpha, slack, dim)


# Derivative ------------------------------------------------------------------------------------
# 1. The factor f = (new + r) / (old + r):  f_r = (old - new) / (old + r)^2,
#    f_new = 1 / (old + r),  f_old = -f / (old + r).
# 2. log det dx/dz = (D - 1) log F + log d of the forward map, with F = (slack + r) / (alpha + r),
#    d = q / (alpha + r)^2 and q = r^2 + 2 alpha r + alpha slack. With h = 1 / (alpha + r) and
#    k = 1 / (slack + r), and no difference of near numbers but alpha - slack,
#        by r      (alpha - slack) h ((D - 1) k + 2 alpha / q)
#        by slack  (D - 1) k + alpha / q
#        by alpha  -(D - 1) h + (slack r - alpha (2 r + slack)) h / q
# 3. In the inverse direction r is an implicit function: the derivative of its equation by r is
#    2 r + slack - s = q h, so  r_s = (alpha + r) / (q h),  r_slack = -r / (q h),
#    r_alpha = s / (q h).
# 4. With e the cotangent of |v|, v gets f g + e v / |v|; z0 gets what rows do not.


@called_reduction_kernel
def radial_vjp(chain, pc, storage, cotangents, scratch):
    """Go back; the tape is as :func:`radial` left it."""
    direction, dim = chain.code[pc + DIRECTION], chain.code[pc + HEADER]
    theta, at = storage.theta, storage.at
    g, g_log_det, g_theta = cotangents.u, cotangents.log_det, cotangents.theta
    alpha, slack = float(theta[at + dim]), float(theta[at + dim + 1])
    tape = units_of(storage.tape, storage.tape_at, dim + 2)
    forward = direction == FORWARD
    old, new = (alpha, slack) if forward else (slack, alpha)
    for row in range(ROWS):
        length, r = float(tape[dim, row]), float(tape[dim + 1, row])
        along = 0.0
        for j in range(dim):
            along += float(g[j, row]) * (tape[j, row] - theta[at + j])
        h, k, per_old = 1 / (alpha + r), 1 / (slack + r), 1 / (old + r)
        factor, change = (new + r) * per_old, (new - old) * per_old
        q = r * (r + 2 * alpha) + alpha * slack
        weight = direction * float(g_log_det[row])
        g_r = along * (old - new) * per_old * per_old + weight * (alpha - slack) * h * (
            (dim - 1) * k + 2 * alpha / q
        )
        g_slack = weight * ((dim - 1) * k + alpha / q)
        g_alpha = weight * ((slack * r - alpha * (2 * r + slack)) * h / q - (dim - 1) * h)
        g_new, g_old = along * per_old, -along * factor * per_old
        g_slack += g_new if forward else g_old
        g_alpha += g_old if forward else g_new
        if not forward:
            solved = g_r / (q * h)
            g_slack -= solved * r
            g_alpha += solved * length
            g_r = solved * (alpha + r)
        per_length = g_r / length if length > 0 else 0.0
        for j in range(dim):
            v = tape[j, row] - theta[at + j]
            g_in = g[j, row] * factor + per_length * v
            # g - g_in, where both may be nearly the same.
            g_theta[at + j] -= g[j, row] * change + per_length * v
            g[j, row] = g_in
        g_theta[at + dim] += g_alpha
        g_theta[at + dim + 1] += g_slack
