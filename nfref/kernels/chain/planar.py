"""Planar maps: twins of the formulas, and the layer on a block of rows with its derivative.

See ``block`` for what a block, a tape and a cotangent are.
"""

import math

from nfref.kernels.chain.block import FORWARD
from nfref.kernels.chain.units import copy_row, units_of
from nfref.kernels.jit import body, reduction
from nfref.kernels.simd.products import ROWS

ULP = 2.0 ** -52


@body
def sech_squared(x):
    """4 e^(-2|x|) / (1 + e^(-2|x|))^2, which keeps its digits where 1 - tanh^2 has none left."""
    tail = math.exp(-2 * abs(x))
    return 4 * tail / ((1 + tail) * (1 + tail))


@body
def planar_slope(a, slack):
    """See :func:`nfref.flows.planar.planar_slope`."""
    h = math.tanh(a)
    return h * h + slack * sech_squared(a)


@body
def minus_tanh(a):
    """a - tanh(a) for a >= 0; see :func:`nfref.flows.planar.minus_tanh`."""
    if not a < 1:
        return a - math.tanh(a)
    square = a * a
    fraction = a * 0.0
    for k in range(9):
        fraction = square / (19 - 2 * k + fraction)
    return a * fraction / (1 + fraction)


@body
def planar_root(r, slack):
    """The a with (a - tanh a) + slack tanh a = r; see :func:`nfref.flows.planar.planar_root`.

    Always in float64.
    """
    target = abs(r)
    if not target < math.inf:
        return r
    low = max(target - max(slack - 1.0, 0.0), 0.0)
    high = target + max(1.0 - slack, 0.0)
    least = min(slack, 1.0)         # of the slope
    if least * high > target:
        high = target / least
    a = high if slack < 1 else low
    for _ in range(200):
        excess = minus_tanh(a) + slack * math.tanh(a) - target
        if excess <= 0:
            low = a
        if excess >= 0:
            high = a
        new = a - excess / planar_slope(a, slack)
        if not low <= new <= high:
            new = (low + high) / 2
        moved = abs(new - a)
        a = new
        if not moved > 4 * ULP * abs(new):
            break
    return math.copysign(a, r)


# The layer -----------------------------------------------------------------------------------
# theta: u_hat (D,), w (D,), slack, b. Tape: the input (D, ROWS), then a (ROWS,).


@body
def planar(direction, dim, storage, block):
    """x = z + u_hat tanh(w . z + b), or the z that solves it, in place."""
    theta, at, tape, tape_at = storage.theta, storage.at, storage.tape, storage.tape_at
    u, log_det = block.u, block.log_det
    w = at + dim
    slack, b = theta[w + dim], theta[w + dim + 1]
    before = units_of(tape, tape_at, dim)
    a = tape[tape_at + dim * ROWS:tape_at + (dim + 1) * ROWS]
    a[:] = b
    for j in range(dim):
        copy_row(u, j, before, j)
        for r in range(ROWS):
            a[r] += theta[w + j] * u[j, r]
    for r in range(ROWS):
        if direction == FORWARD:
            log_det[r] += math.log(planar_slope(a[r], slack))
        else:
            a[r] = planar_root(float(a[r]), float(slack))
            log_det[r] -= math.log(planar_slope(a[r], slack))
        h = direction * math.tanh(a[r])
        for j in range(dim):
            u[j, r] += theta[at + j] * h


@reduction
def planar_vjp(direction, dim, storage, cotangents):
    """With h = tanh a, q = sech^2 a, the slope is S = h^2 + slack q, so that

    dS/da = 2 h q (1 - slack),  dS/dslack = q;  and in the inverse direction, where a solves
    an equation in r = w . x + b,  da = (dr - h dslack) / S.
    """
    theta, at, tape, tape_at = storage.theta, storage.at, storage.tape, storage.tape_at
    g, g_log_det, g_theta = cotangents.u, cotangents.log_det, cotangents.theta
    w = at + dim
    slack = theta[w + dim]
    a_at = tape_at + dim * ROWS
    for r in range(ROWS):
        a = tape[a_at + r]
        h = math.tanh(a)
        q = sech_squared(a)
        s = h * h + slack * q
        g_s = direction * g_log_det[r] / s
        g_h = 0.0
        for j in range(dim):
            g_h += direction * g[j, r] * theta[at + j]
            g_theta[at + j] += direction * g[j, r] * h
        g_a = g_h * q + g_s * 2 * h * q * (1 - slack)
        g_slack = g_s * q
        if direction != FORWARD:
            g_a = g_a / s
            g_slack -= g_a * h
        g_theta[w + dim] += g_slack
        g_theta[w + dim + 1] += g_a
        for j in range(dim):
            g_theta[w + j] += g_a * tape[tape_at + j * ROWS + r]
            g[j, r] += g_a * theta[w + j]
