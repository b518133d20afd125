"""Sylvester maps on a block of rows: the value, and its vector-Jacobian product.

:mod:`nfref.flows.sylvester` has the formulas, whose letters are used here: y = Q^T z with M
coordinates, a = R2 y + b, h = tanh a, and x = z + Q R1 h. In the inverse direction t = Q^T x is
known, and y and a are found by one scalar root after the other, the last coordinate first.

theta: Q (D, M), (Q R1)^T (M, D), R1 (M, M), R2 (M, M), slack (M,), b (M,).
Tape: the input (D, ROWS), then y, a, and h or -h, with the sign of the direction, (M, ROWS) each.
"""

import math
from collections import namedtuple

from nfref.kernels.chain.block import DIRECTION, FORWARD, HEADER
from nfref.kernels.chain.block_rows import add_multiple, add_row_sums, add_rows, copy_rows, units_of
from nfref.kernels.chain.planar import planar_root, planar_slope, sech_squared
from nfref.kernels.jit import body, called_kernel, called_reduction_kernel
from nfref.kernels.simd.matmul import ROWS, add_outer, times, times_transposed

# Starts of the parts of theta, and of their cotangents.
Places = namedtuple("Places", "q across r1 r2 slack b")


@body
def places_of(at, dim, m):
    """Return where the matrices and vectors of a Sylvester flow stand in theta."""
    across = at + dim * m
    r1 = across + m * dim
    r2 = r1 + m * m
    slack = r2 + m * m
    return Places(at, across, r1, r2, slack, slack + m)


@body
def decode_sylvester(chain, pc):
    """Return the direction, D and M."""
    return chain.code[pc + DIRECTION], chain.code[pc + HEADER], chain.code[pc + HEADER + 1]


@called_kernel
def sylvester(chain, pc, storage, block):
    """Compute x = z + Q R1 tanh(a), or z = x - Q R1 tanh(a), in place."""
    direction, dim, m = decode_sylvester(chain, pc)
    theta, tape, u, log_det = storage.theta, storage.tape, block.u, block.log_det
    at = places_of(storage.at, dim, m)
    x_at = storage.tape_at
    y_at = x_at + dim * ROWS
    h_at = y_at + 2 * m * ROWS
    x, y = units_of(tape, x_at, dim), units_of(tape, y_at, m)
    a, h = units_of(tape, y_at + m * ROWS, m), units_of(tape, h_at, m)
    copy_rows(dim, u, 0, x, 0)
    times(theta, at.q, m, dim, m, tape, x_at, tape, y_at)
    for i in range(m - 1, -1, -1):
        slack, r1, r2 = theta[at.slack + i], at.r1 + i * m, at.r2 + i * m
        # The terms of later y; forward also that of y_i, which is known.
        for r in range(ROWS):
            a[i, r] = theta[at.b + i]
        for k in range(i if direction == FORWARD else i + 1, m):
            add_multiple(theta[r2 + k], y, k, a, i)
        if direction != FORWARD:
            for k in range(i + 1, m):
                add_multiple(theta[r1 + k], h, k, y, i)  # h has a minus
            add_multiple(theta[r2 + i], y, i, a, i)
            for r in range(ROWS):
                a[i, r] = planar_root(float(a[i, r]), float(slack))
        for r in range(ROWS):
            h[i, r] = direction * math.tanh(a[i, r])
            log_det[r] += direction * math.log(planar_slope(a[i, r], slack))
        if direction != FORWARD:
            add_multiple(theta[r1 + i], h, i, y, i)
    times(theta, at.across, dim, m, dim, tape, h_at, u.reshape(u.size), 0)
    add_rows(dim, x, 0, u, 0)


# Derivative ------------------------------------------------------------------------------------
# 1. x = z + Q R1 h: with the cotangent g of x, h gets (Q R1)^T g, and a gets tanh' = q times it.
#    The slope S = h^2 + slack q adds 2 h q (1 - slack) / S and, to slack, q / S, each times the
#    cotangent of the log-determinant. Both have a minus in the inverse direction.
# 2. Forward a = R2 y + b, so what a gets goes on as it is: l to b, l y^T to R2, n = R2^T l to y,
#    and from there Q n to z and z n^T to Q.
# 3. Inverse, a + R2 R1 h(a) = R2 t + b. So l solves (I + q (R2 R1)^T) l = what a gets, a lower
#    triangular system with S on the diagonal, and (R2 R1)^T l = R1^T n. Then step 2 holds with
#    t = Q^T x, and R1 gets -n h^T.
# The entries below the diagonals of R1 and R2 are no parameters: ``unpack`` drops their cotangents.


@called_reduction_kernel
def sylvester_vjp(chain, pc, storage, cotangents, scratch):
    """Go back; the tape is as :func:`sylvester` left it; ``scratch`` has 2 M + 1 rows."""
    direction, dim, m = decode_sylvester(chain, pc)
    theta, tape, g_theta = storage.theta, storage.tape, cotangents.theta
    at = places_of(storage.at, dim, m)
    flat = cotangents.u.reshape(cotangents.u.size)
    x_at = storage.tape_at
    y_at = x_at + dim * ROWS
    h_at = y_at + 2 * m * ROWS
    a, h = units_of(tape, y_at + m * ROWS, m), units_of(tape, h_at, m)
    n_at = m * ROWS
    left, right = units_of(scratch, 0, m), units_of(scratch, n_at, m + 1)  # l and n
    add_outer(tape, h_at, m, flat, 0, dim, g_theta, at.across, dim)
    times_transposed(theta, at.across, dim, m, dim, flat, 0, scratch, 0, 0)
    for i in range(m):
        for r in range(ROWS):
            right[i, r] = 0
            right[m, r] = 0  # R1^T n of the numbers so far
        for k in range(i):
            add_multiple(theta[at.r2 + k * m + i], left, k, right, i)
        if direction != FORWARD:
            for k in range(i + 1):
                add_multiple(theta[at.r1 + k * m + i], right, k, right, m)
        slack = theta[at.slack + i]
        g_slack = 0.0
        for r in range(ROWS):
            tanh, q = direction * h[i, r], sech_squared(a[i, r])
            slope = tanh * tanh + slack * q
            weight = direction * cotangents.log_det[r] / slope
            g_slack += weight * q
            g_a = q * (direction * left[i, r] + 2 * weight * tanh * (1 - slack))
            left[i, r] = g_a if direction == FORWARD else (g_a - q * right[m, r]) / slope
        g_theta[at.slack + i] += g_slack
        add_multiple(theta[at.r2 + i * m + i], left, i, right, i)
    add_row_sums(scratch, 0, m, g_theta, at.b)
    add_outer(scratch, 0, m, tape, y_at, m, g_theta, at.r2, m)
    if direction != FORWARD:
        add_outer(scratch, n_at, m, tape, h_at, m, g_theta, at.r1, m)
    add_outer(tape, x_at, dim, scratch, n_at, m, g_theta, at.q, m)
    times_transposed(theta, at.q, m, dim, m, scratch, n_at, flat, 0, 1)
