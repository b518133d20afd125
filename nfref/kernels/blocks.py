"""Affine, coupling and permuting layers on a block of rows: values and derivatives.

A block is u (D, ROWS), coordinate by coordinate, and log_det (ROWS,). A layer is a record of
whole numbers (see ``program``), its parameters stand in ``theta`` from ``at`` on, and what
its derivative will need it leaves on the ``tape``. The derivative turns g (D, ROWS), the
cotangent of the layer's output, into that of its input, and adds to ``g_theta``;
``g_log_det`` (ROWS,) is the same for all layers, because log-determinants add up.
"""

import math

from nfref.kernels import scalars
from nfref.kernels.blas import ROWS
from nfref.kernels.jit import body, reduction
from nfref.kernels.network import mlp, mlp_back

FORWARD, INVERSE = 1, -1

_bounded = body(scalars.bounded)
_bounded_slope = body(scalars.bounded_slope)


# The affine map of one coordinate ------------------------------------------------------------
# Its tape is (2, ROWS): the slope e = du_out / du_in and the product p = e^s u_latent, which
# is all that its derivative needs:
#   forward  x = z e^s + t:    dx/dz = e,  dx/ds = p,   dx/dt = 1,   dlog_det/ds = +1
#   inverse  z = (x-t) e^-s:   dz/dx = e,  dz/ds = -z,  dz/dt = -e,  dlog_det/ds = -1


@body
def affine(direction, u, j, shift, s, tape, at, log_det):
    """Coordinate j; its (ROWS,) shifts and log-scales stand on the tape at ``shift`` and ``s``."""
    for r in range(ROWS):
        log_scale = tape[s + r]
        if direction == FORWARD:
            slope = math.exp(log_scale)
            product = u[j, r] * slope
            u[j, r] = product + tape[shift + r]
            log_det[r] += log_scale
        else:
            slope = math.exp(-log_scale)
            product = (u[j, r] - tape[shift + r]) * slope
            u[j, r] = product
            log_det[r] -= log_scale
        tape[at + r] = slope
        tape[at + ROWS + r] = product


@body
def affine_back(direction, g, j, g_log_det, tape, at, g_shift, g_s, out):
    """Fills out[g_shift:] and out[g_s:] with the (ROWS,) cotangents of shift and log-scale."""
    for r in range(ROWS):
        g_out = g[j, r]
        slope = tape[at + r]
        g_in = g_out * slope
        g_scale = g_out * tape[at + ROWS + r] + g_log_det[r]
        if direction == FORWARD:
            out[g_shift + r] = g_out
            out[g_s + r] = g_scale
        else:
            out[g_shift + r] = -g_in
            out[g_s + r] = -g_scale
        g[j, r] = g_in


# Elementwise affine --------------------------------------------------------------------------
# theta: shift (D,), log_scale (D,). Tape: the products p (D, ROWS).


@body
def elementwise(direction, dim, theta, at, u, log_det, tape, tape_at):
    for j in range(dim):
        shift, log_scale = theta[at + j], theta[at + dim + j]
        slope = math.exp(log_scale) if direction == FORWARD else math.exp(-log_scale)
        for r in range(ROWS):
            if direction == FORWARD:
                product = u[j, r] * slope
                u[j, r] = product + shift
                log_det[r] += log_scale
            else:
                product = (u[j, r] - shift) * slope
                u[j, r] = product
                log_det[r] -= log_scale
            tape[tape_at + j * ROWS + r] = product


@reduction
def elementwise_back(direction, dim, theta, at, g, g_log_det, tape, tape_at, g_theta):
    for j in range(dim):
        log_scale = theta[at + dim + j]
        slope = math.exp(log_scale) if direction == FORWARD else math.exp(-log_scale)
        g_shift = g.dtype.type(0)
        g_scale = g.dtype.type(0)
        for r in range(ROWS):
            g_shift += g[j, r] if direction == FORWARD else -g[j, r] * slope
            g_scale += direction * (g[j, r] * tape[tape_at + j * ROWS + r] + g_log_det[r])
            g[j, r] *= slope
        g_theta[at + j] += g_shift
        g_theta[at + dim + j] += g_scale


# Coupling ------------------------------------------------------------------------------------
# theta: the network. Tape: the network's layers, the last of which becomes shift and
# log-scale; for affine coupling then the slopes of the bound (change, ROWS) and the tape of
# each coordinate that changes.


@body
def coupling(direction, is_affine, bound, stay, change, widths, activation, theta, at, u, context,
             log_det, tape, tape_at):
    for k in range(len(stay)):
        for r in range(ROWS):
            tape[tape_at + k * ROWS + r] = u[stay[k], r]
    for k in range(len(context)):
        for r in range(ROWS):
            tape[tape_at + (len(stay) + k) * ROWS + r] = context[k, r]
    shift = mlp(theta, at, widths, activation, tape, tape_at)
    n = len(change)
    if not is_affine:
        for c in range(n):
            for r in range(ROWS):
                u[change[c], r] += direction * tape[shift + c * ROWS + r]
        return
    scale = shift + n * ROWS
    slopes = scale + n * ROWS
    for i in range(n * ROWS):
        raw = tape[scale + i]
        tape[slopes + i] = _bounded_slope(raw, bound)
        tape[scale + i] = _bounded(raw, bound)
    for c in range(n):
        affine(direction, u, change[c], shift + c * ROWS, scale + c * ROWS, tape,
               slopes + (n + 2 * c) * ROWS, log_det)


@body
def coupling_back(direction, is_affine, stay, change, widths, activation, theta, at, g, g_context,
                  g_log_det, tape, tape_at, g_theta, one, two):
    n = len(change)
    shift = tape_at
    for k in range(len(widths) - 1):
        shift += widths[k] * ROWS
    if is_affine:
        slopes = shift + 2 * n * ROWS
        for c in range(n):
            affine_back(direction, g, change[c], g_log_det, tape, slopes + (n + 2 * c) * ROWS,
                        c * ROWS, (n + c) * ROWS, one)
        for i in range(n * ROWS):
            one[n * ROWS + i] *= tape[slopes + i]
    else:
        for c in range(n):
            for r in range(ROWS):
                one[c * ROWS + r] = direction * g[change[c], r]
    g_seen = mlp_back(theta, g_theta, at, widths, activation, tape, shift, one, two)
    for k in range(len(stay)):
        for r in range(ROWS):
            g[stay[k], r] += g_seen[k * ROWS + r]
    for k in range(len(g_context)):
        for r in range(ROWS):
            g_context[k, r] += g_seen[(len(stay) + k) * ROWS + r]
