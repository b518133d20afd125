"""The affine transformer on a block of rows: see :mod:`nfref.transformers.affine`.

From the raw numbers (p, r) come the shift t and the log-scale s, which take their places. On
the tape: the slope e = du_out / du_in and the product q = e^s u_latent, which are all that the
derivative of the map needs,

    forward  x = z e^s + t:    dx/dz = e,  dx/ds = q,   dx/dt = 1,   dlog_det/ds = +1
    inverse  z = (x-t) e^-s:   dz/dx = e,  dz/ds = -z,  dz/dt = -e,  dlog_det/ds = -1,   q = z

then ds/dr and, for "gate", dt/dp.
"""

import math

from nfref.kernels.chain.block import FORWARD
from nfref.kernels.jit import body
from nfref.kernels.simd.elementary import exp, one_minus_exp_neg, softplus
from nfref.kernels.simd.products import ROWS

BOUNDED, EXP, SIGMOID, GATE = range(4)
SCALES = {"bounded": BOUNDED, "exp": EXP, "sigmoid": SIGMOID, "gate": GATE}

SLOPE, PRODUCT, BY_RAW, BY_SHIFT = range(4)     # rows of the tape
TAPE_ROWS = {BOUNDED: 3, EXP: 3, SIGMOID: 3, GATE: 4}


@body
def scale_and_shift(transformer, direction, u, raw, tape, place, log_det, columns):
    """u in place; see ``transformers/__init__.py`` for where everything is."""
    j, t, s = place.u, place.raw, place.raw + place.step
    slope, product = place.tape + SLOPE, place.tape + PRODUCT
    constrain(transformer.form, transformer.reals[0], raw, t, s, tape, place.tape, columns)
    if direction == FORWARD:
        for r in range(columns):
            tape[slope, r] = exp(raw[s, r])
        for r in range(columns):
            tape[product, r] = u[j, r] * tape[slope, r]
            u[j, r] = tape[product, r] + raw[t, r]
            log_det[r] += raw[s, r]
    else:
        for r in range(columns):
            tape[slope, r] = exp(-raw[s, r])
        for r in range(columns):
            tape[product, r] = (u[j, r] - raw[t, r]) * tape[slope, r]
            u[j, r] = tape[product, r]
            log_det[r] -= raw[s, r]


@body
def constrain(form, real, raw, t, s, tape, at, columns):
    """Rows (p, r) of raw become (t, s), and ds/dr is left on the tape.

    ``real`` is the bound of "bounded", the offset of "sigmoid" and "gate".
    """
    number = raw.dtype.type
    real, zero, one, infinity = number(real), number(0), number(1), number(math.inf)
    by_raw, by_shift = at + BY_RAW, at + BY_SHIFT
    if form == BOUNDED:
        for r in range(columns):
            ratio = raw[s, r] / real
            inner = one + ratio * ratio
            root = math.sqrt(inner)
            most = real if ratio > zero else -real
            raw[s, r] = most if root == infinity else raw[s, r] / root
            tape[by_raw, r] = one / (inner * root)
    elif form == EXP:
        for r in range(columns):
            tape[by_raw, r] = one
    else:
        if form == GATE:
            for r in range(columns):
                tape[by_shift, r] = -exp(-(raw[s, r] + real))
                raw[t, r] *= tape[by_shift, r]
        for r in range(columns):
            # s = -log sigma(r + c), so ds/dr = sigma - 1 = e^-s - 1
            raw[s, r] = softplus(-(raw[s, r] + real))
            tape[by_raw, r] = -one_minus_exp_neg(raw[s, r])


@body
def scale_and_shift_vjp(transformer, direction, g, g_log_det, raw, tape, place, g_raw):
    """g in place; fills the cotangents of p and r."""
    j, t, s = place.u, place.raw, place.raw + place.step
    slope, product = place.tape + SLOPE, place.tape + PRODUCT
    by_raw, by_shift = place.tape + BY_RAW, place.tape + BY_SHIFT
    for r in range(ROWS):
        g_in = g[j, r] * tape[slope, r]
        g_scale = (g[j, r] * tape[product, r] + g_log_det[r]) * tape[by_raw, r]
        if direction == FORWARD:
            g_raw[t, r] = g[j, r]
            g_raw[s, r] = g_scale
        else:
            g_raw[t, r] = -g_in
            g_raw[s, r] = -g_scale
        g[j, r] = g_in
    if transformer.form == GATE:
        for r in range(ROWS):       # t = -p e^-(r + c), so dt/dr = -t
            g_raw[s, r] -= g_raw[t, r] * raw[t, r]
            g_raw[t, r] *= tape[by_shift, r]
