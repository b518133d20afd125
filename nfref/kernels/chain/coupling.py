"""Affine, coupling and permuting layers on a block of rows: values and derivatives.

A block is u (D, ROWS), coordinate by coordinate, and log_det (ROWS,). A layer is a record of
whole numbers (see ``program``), its parameters stand in ``theta`` from ``at`` on, and what
its derivative will need it leaves on the ``tape``. The derivative turns g (D, ROWS), the
cotangent of the layer's output, into that of its input, and adds to ``g_theta``;
``g_log_det`` (ROWS,) is the same for all layers, because log-determinants add up.
"""

import math

from nfref.kernels.chain.network import copy_row, mlp, mlp_back, units_of
from nfref.kernels.jit import body, reduction
from nfref.kernels.simd.elementary import exp
from nfref.kernels.simd.products import ROWS

FORWARD = 1


# The affine map of one coordinate ------------------------------------------------------------
# Its tape is two rows: the slope e = du_out / du_in and the product p = e^s u_latent, which
# is all that its derivative needs:
#   forward  x = z e^s + t:    dx/dz = e,  dx/ds = p,   dx/dt = 1,   dlog_det/ds = +1
#   inverse  z = (x-t) e^-s:   dz/dx = e,  dz/ds = -z,  dz/dt = -e,  dlog_det/ds = -1


@body
def affine(direction, u, shift, raw, bound, slopes, products, bounds, log_det):
    """u (ROWS,) in place; raw becomes the log-scale, bounds the slope of the bound."""
    one = u.dtype.type(1)
    for r in range(ROWS):
        ratio = raw[r] / bound
        inner = one + ratio * ratio
        root = math.sqrt(inner)
        raw[r] /= root
        bounds[r] = one / (inner * root)
    if direction == FORWARD:
        for r in range(ROWS):
            slopes[r] = exp(raw[r])
        for r in range(ROWS):
            products[r] = u[r] * slopes[r]
            u[r] = products[r] + shift[r]
            log_det[r] += raw[r]
    else:
        for r in range(ROWS):
            slopes[r] = exp(-raw[r])
        for r in range(ROWS):
            products[r] = (u[r] - shift[r]) * slopes[r]
            u[r] = products[r]
            log_det[r] -= raw[r]


@body
def affine_back(direction, g, g_log_det, slopes, products, bounds, g_shift, g_raw):
    """g (ROWS,) in place; fills the cotangents of the shift and of the raw log-scale."""
    for r in range(ROWS):
        g_in = g[r] * slopes[r]
        g_scale = (g[r] * products[r] + g_log_det[r]) * bounds[r]
        if direction == FORWARD:
            g_shift[r] = g[r]
            g_raw[r] = g_scale
        else:
            g_shift[r] = -g_in
            g_raw[r] = -g_scale
        g[r] = g_in


# Elementwise affine --------------------------------------------------------------------------
# theta: shift (D,), log_scale (D,). Tape: the products p (D, ROWS).


@body
def elementwise(direction, dim, theta, at, u, log_det, tape, tape_at):
    products = units_of(tape, tape_at, dim)
    for j in range(dim):
        shift, log_scale = theta[at + j], theta[at + dim + j]
        slope = exp(log_scale) if direction == FORWARD else exp(-log_scale)
        for r in range(ROWS):
            if direction == FORWARD:
                products[j, r] = u[j, r] * slope
                u[j, r] = products[j, r] + shift
                log_det[r] += log_scale
            else:
                products[j, r] = (u[j, r] - shift) * slope
                u[j, r] = products[j, r]
                log_det[r] -= log_scale


@reduction
def elementwise_back(direction, dim, theta, at, g, g_log_det, tape, tape_at, g_theta):
    products = units_of(tape, tape_at, dim)
    for j in range(dim):
        log_scale = theta[at + dim + j]
        slope = exp(log_scale) if direction == FORWARD else exp(-log_scale)
        g_shift = g.dtype.type(0)
        g_scale = g.dtype.type(0)
        for r in range(ROWS):
            g_shift += g[j, r] if direction == FORWARD else -g[j, r] * slope
            g_scale += g[j, r] * products[j, r] + g_log_det[r]
            g[j, r] *= slope
        g_theta[at + j] += g_shift
        g_theta[at + dim + j] += direction * g_scale


# Coupling ------------------------------------------------------------------------------------
# theta: the network. Tape: the layers of the network, the last of which holds shifts and raw
# log-scales; for affine coupling then slopes, products and bounds, (change, ROWS) each.


@body
def coupling(direction, is_affine, bound, stay, change, widths, activation, theta, at, u, context,
             log_det, tape, tape_at):
    seen = units_of(tape, tape_at, widths[0])
    for k in range(len(stay)):
        copy_row(u, stay[k], seen, k)
    for k in range(len(context)):
        copy_row(context, k, seen, len(stay) + k)
    out_at = mlp(theta, at, widths, activation, tape, tape_at)
    n = len(change)
    shift = units_of(tape, out_at, n)
    if is_affine:
        raw, slopes, products, bounds = affine_tape(tape, out_at + n * ROWS, n)
        for c in range(n):
            affine(direction, u[change[c]], shift[c], raw[c], bound, slopes[c], products[c],
                   bounds[c], log_det)
    else:
        for c in range(n):
            for r in range(ROWS):
                u[change[c], r] += direction * shift[c, r]


@body
def affine_tape(tape, at, n):
    """Four (n, ROWS) parts: raw log-scales, slopes, products, bounds."""
    size = n * ROWS
    return (units_of(tape, at, n), units_of(tape, at + size, n), units_of(tape, at + 2 * size, n),
            units_of(tape, at + 3 * size, n))


@body
def coupling_back(direction, is_affine, stay, change, widths, activation, theta, at, g, g_context,
                  g_log_det, tape, tape_at, g_theta, one, two):
    n = len(change)
    out_at = tape_at
    for k in range(len(widths) - 1):
        out_at += widths[k] * ROWS
    g_shift = units_of(one, 0, n)
    if is_affine:
        g_raw = units_of(one, n * ROWS, n)
        _, slopes, products, bounds = affine_tape(tape, out_at + n * ROWS, n)
        for c in range(n):
            affine_back(direction, g[change[c]], g_log_det, slopes[c], products[c], bounds[c],
                        g_shift[c], g_raw[c])
    else:
        for c in range(n):
            for r in range(ROWS):
                g_shift[c, r] = direction * g[change[c], r]
    g_seen = units_of(mlp_back(theta, g_theta, at, widths, activation, tape, out_at, one, two), 0,
                      widths[0])
    for k in range(len(stay)):
        for r in range(ROWS):
            g[stay[k], r] += g_seen[k, r]
    for k in range(len(g_context)):
        for r in range(ROWS):
            g_context[k, r] += g_seen[len(stay) + k, r]
