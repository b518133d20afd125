"""A whole chain of layers on blocks of rows: the value, and the derivative of the value.

The chain is written down in whole numbers, one record a layer, in the order of execution
(``program`` writes them):

    0 kind   1 direction   2 length   3 place on the tape   4 place in theta   5 real number
    6...     what the kind needs, see the functions ``..._fields``

A block of ``ROWS`` rows goes through all layers before the next block starts, so hidden
activations never leave the cache. Between layers nothing is sliced, copied or allocated.
"""

import math

import numpy as np

from nfref.kernels.chain.coupling import coupling, coupling_back, elementwise, elementwise_back
from nfref.kernels.chain.linear import linear, linear_back, permute, permute_back
from nfref.kernels.chain.made import made, made_back
from nfref.kernels.chain.planar import planar, planar_back
from nfref.kernels.jit import body, kernel
from nfref.kernels.simd.products import ROWS

ELEMENTWISE, COUPLING, MADE, PLANAR, LINEAR, PERMUTE = range(6)
HEADER = 6

HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


@body
def coupling_fields(code, at):
    """is_affine, activation, then the widths of the network, and who stays and who changes."""
    n_stay, n_change, n_widths = code[at + 2], code[at + 3], code[at + 4]
    widths = at + 5
    stay = widths + n_widths
    change = stay + n_stay
    return (code[at], code[at + 1], code[widths:stay], code[stay:change],
            code[change:change + n_change])


@body
def made_fields(code, at):
    """sequential, activation, then the widths, the order and the cuts of ``masked``."""
    dim, n_widths, n_cuts = code[at + 2], code[at + 3], code[at + 4]
    widths = at + 5
    order = widths + n_widths
    cuts = order + dim
    end = cuts + (n_widths - 1) * n_cuts
    return (code[at], code[at + 1], code[widths:order], code[order:cuts],
            code[cuts:end].reshape(n_widths - 1, n_cuts))


# Compiling all kinds of layers takes many times longer than compiling one. Three arguments say
# which kinds a chain needs: ``couplings``, ``masks`` and ``others`` are True or None, and what
# hangs on a None is cut away before compilation.


@body
def layer(code, pc, reals, theta, u, context, log_det, tape, tape_at, couplings, masks, others):
    kind, direction, at = code[pc], code[pc + 1], pc + HEADER
    theta_at, real = code[pc + 4], reals[code[pc + 5]]
    if kind == ELEMENTWISE:
        elementwise(direction, code[at], theta, theta_at, u, log_det, tape, tape_at)
    if couplings is not None:
        if kind == COUPLING:
            is_affine, activation, widths, stay, change = coupling_fields(code, at)
            coupling(direction, is_affine, real, stay, change, widths, activation, theta,
                     theta_at, u, context[:widths[0] - len(stay)], log_det, tape, tape_at)
    if masks is not None:
        if kind == MADE:
            sequential, activation, widths, order, cuts = made_fields(code, at)
            made(sequential, direction, real, order, cuts, widths, activation, theta, theta_at,
                 u, context[:widths[0] - len(order)], log_det, tape, tape_at)
    if others is not None:
        if kind == PLANAR:
            planar(direction, code[at], theta, theta_at, u, log_det, tape, tape_at)
        elif kind == LINEAR:
            linear(code[at], code[at + 1], theta, theta_at, u, log_det, tape, tape_at)
        elif kind == PERMUTE:
            permute(code[at + 1:at + 1 + code[at]], u, tape, tape_at)


@body
def layer_back(code, pc, theta, g, g_context, g_log_det, tape, tape_at, g_theta, spare,
               couplings, masks, others):
    kind, direction, at, theta_at = code[pc], code[pc + 1], pc + HEADER, code[pc + 4]
    if kind == ELEMENTWISE:
        elementwise_back(direction, code[at], theta, theta_at, g, g_log_det, tape, tape_at,
                         g_theta)
    if couplings is not None:
        if kind == COUPLING:
            is_affine, activation, widths, stay, change = coupling_fields(code, at)
            half = len(spare) // 2
            coupling_back(direction, is_affine, stay, change, widths, activation, theta,
                          theta_at, g, g_context[:widths[0] - len(stay)], g_log_det, tape,
                          tape_at, g_theta, spare[:half], spare[half:])
    if masks is not None:
        if kind == MADE:
            sequential, activation, widths, order, cuts = made_fields(code, at)
            made_back(sequential, direction, order, cuts, widths, activation, theta, theta_at, g,
                      g_context[:widths[0] - len(order)], g_log_det, tape, tape_at, g_theta,
                      spare)
    if others is not None:
        if kind == PLANAR:
            planar_back(direction, code[at], theta, theta_at, g, g_log_det, tape, tape_at,
                        g_theta)
        elif kind == LINEAR:
            linear_back(code[at], code[at + 1], theta, theta_at, g, g_log_det, tape, tape_at,
                        g_theta, spare)
        elif kind == PERMUTE:
            permute_back(code[at + 1:at + 1 + code[at]], g, spare)


# Blocks --------------------------------------------------------------------------------------


@body
def load(rows, start, block):
    """Rows from ``start`` on, coordinate by coordinate; the last one again where there are none.

    A repeated row keeps the numbers of an incomplete block finite. It is never stored, and
    its cotangent is zero.
    """
    for r in range(ROWS):
        row = min(start + r, len(rows) - 1)
        for j in range(rows.shape[1]):
            block[j, r] = rows[row, j]


@body
def store(block, rows, start):
    for r in range(min(ROWS, len(rows) - start)):
        for j in range(rows.shape[1]):
            rows[start + r, j] = block[j, r]


@kernel
def run(code, sizes, reals, theta, context, x, out, log_det, first, last,
        couplings, masks, others):
    """Blocks ``first`` to ``last`` of the rows x through the chain, into out and log_det."""
    u = np.empty((x.shape[1], ROWS), x.dtype)
    c = np.empty((context.shape[1], ROWS), x.dtype)
    total = np.empty(ROWS, x.dtype)
    tape = np.empty(sizes[0], x.dtype)
    for start in range(first * ROWS, min(last * ROWS, len(x)), ROWS):
        load(x, start, u)
        load(context, start, c)
        total[:] = 0
        pc = 0
        while pc < len(code):
            layer(code, pc, reals, theta, u, c, total, tape, 0, couplings, masks, others)
            pc += code[pc + 2]
        store(u, out, start)
        for r in range(min(ROWS, len(x) - start)):
            log_det[start + r] = total[r]


@kernel
def run_back(code, sizes, reals, theta, context, x, g_out, g_log_det, weight, log_prob,
             g_x, g_context, g_theta, room, first, last, couplings, masks, others):
    """The chain again, block by block, and back; sums the cotangents of theta in ``g_theta``.

    From the cotangents of the value and of the log-determinant to those of x, context and
    theta. With a ``weight`` other than 0 the cotangents are those of weight * sum log_prob
    under a standard normal, log_prob = log N(value) + log_det, which is stored too. ``room``
    is for the tape and for working space.
    """
    dim = x.shape[1]
    u = np.empty((dim, ROWS), x.dtype)
    c = np.empty((context.shape[1], ROWS), x.dtype)
    g = np.empty((dim, ROWS), x.dtype)
    g_c = np.empty((context.shape[1], ROWS), x.dtype)
    total = np.empty(ROWS, x.dtype)
    g_total = np.empty(ROWS, x.dtype)
    tape, spare = room[:sizes[1]], room[sizes[1]:]
    starts = np.empty(sizes[3], np.int64)
    g_theta[:] = 0
    for start in range(first * ROWS, min(last * ROWS, len(x)), ROWS):
        rows = min(ROWS, len(x) - start)
        load(x, start, u)
        load(context, start, c)
        total[:] = 0
        pc = 0
        for k in range(len(starts)):
            starts[k] = pc
            layer(code, pc, reals, theta, u, c, total, tape, code[pc + 3],
                  couplings, masks, others)
            pc += code[pc + 2]
        if weight != 0:
            normal_cotangents(u, total, weight, g, g_total, log_prob, start)
        else:
            load(g_out, start, g)
            for r in range(rows):
                g_total[r] = g_log_det[start + r]
        for r in range(rows, ROWS):
            g[:, r] = 0
            g_total[r] = 0
        g_c[:] = 0
        for k in range(len(starts) - 1, -1, -1):
            pc = starts[k]
            layer_back(code, pc, theta, g, g_c, g_total, tape, code[pc + 3], g_theta, spare,
                       couplings, masks, others)
        store(g, g_x, start)
        store(g_c, g_context, start)


@body
def normal_cotangents(u, total, weight, g, g_total, log_prob, start):
    constant = len(u) * HALF_LOG_TWO_PI
    for r in range(ROWS):
        square = 0.0
        for j in range(len(u)):
            square += u[j, r] * u[j, r]
            g[j, r] = -weight * u[j, r]
        g_total[r] = weight
        if start + r < len(log_prob):
            log_prob[start + r] = total[r] - 0.5 * square - constant


@kernel
def add_slots(slots, total, first, last):
    """total = the sum of the slots (S, P), slot by slot, from entry ``first`` to ``last``."""
    some = total[first:last]
    some[:] = 0
    for k in range(len(slots)):
        slot = slots[k, first:last]
        for i in range(len(some)):
            some[i] += slot[i]
