"""The affine transformer on a block of rows: see :mod:`nfref.transformers.affine`.

From the raw numbers (p, r) come the shift t and the log-scale s, which take their places. On
the tape: the slope e = du_out / du_in and the product q = e^s u_latent, which are all that the
derivative of the map needs,

    forward  x = z e^s + t:    dx/dz = e,  dx/ds = q,   dx/dt = 1,   dlog_det/ds = +1
    inverse  z = (x-t) e^-s:   dz/dx = e,  dz/ds = -z,  dz/dt = -e,  dlog_det/ds = -1,   q = z

then ds/dr. In "gate" p stays in its place and is what the map stretches from: with u_in what comes
in, q = e (u_in - p) is the derivative by s, p moving along.
"""

from nfref.kernels.chain.block import FORWARD
from nfref.kernels.chain.transformers.squash import squash
from nfref.kernels.jit import body, called_kernel
from nfref.kernels.simd.elementary import exp, one_minus_exp_neg, softplus

BOUNDED, EXP, SIGMOID, GATE = range(4)
SCALES = {"bounded": BOUNDED, "exp": EXP, "sigmoid": SIGMOID, "gate": GATE}

SLOPE, PRODUCT, BY_RAW = range(3)  # rows of the tape
TAPE_ROWS = 3


@called_kernel
def scale_and_shift(transformer, direction, u, raw, tape, place, log_det, columns):
    """Transform u in place; ``transformers/__init__.py`` describes the places."""
    j, t, s = place.u, place.raw, place.raw + place.step
    slope, product, by_raw = place.tape + SLOPE, place.tape + PRODUCT, place.tape + BY_RAW
    constrain(transformer.form, transformer.reals[0], raw, s, tape, by_raw, columns)
    sign = u.dtype.type(1) if direction == FORWARD else u.dtype.type(-1)
    for r in range(columns):
        tape[slope, r] = exp(sign * raw[s, r])
        log_det[r] += sign * raw[s, r]
    if transformer.form == GATE:
        for r in range(columns):
            before, p = u[j, r], raw[t, r]
            tape[product, r] = (before - p) * tape[slope, r]
            # z + (z - p) e^-(r + c), x sigma + p (1 - sigma)
            rest = before - p if direction == FORWARD else -p
            rest *= tape[by_raw, r]
            u[j, r] = (
                before - rest * tape[slope, r]
                if direction == FORWARD
                else before * tape[slope, r] + rest
            )
    elif direction == FORWARD:
        for r in range(columns):
            tape[product, r] = u[j, r] * tape[slope, r]
            u[j, r] = tape[product, r] + raw[t, r]
    else:
        for r in range(columns):
            tape[product, r] = (u[j, r] - raw[t, r]) * tape[slope, r]
            u[j, r] = tape[product, r]


@body
def constrain(form, real, raw, s, tape, by_raw, columns):
    """Turn row r of raw into s, and leave ds/dr on the tape.

    ``real`` is the bound of "bounded", the offset of "sigmoid" and "gate".
    """
    number = raw.dtype.type
    real = number(real)
    if form == BOUNDED:
        squash(real, raw, s, tape, by_raw, columns)
    elif form == EXP:
        for r in range(columns):
            tape[by_raw, r] = 1
    else:
        for r in range(columns):
            # s = -log sigma(r + c), so ds/dr = sigma - 1 = e^-s - 1
            raw[s, r] = softplus(-(raw[s, r] + real))
            tape[by_raw, r] = -one_minus_exp_neg(raw[s, r])


@called_kernel
def scale_and_shift_vjp(transformer, direction, g, g_log_det, raw, tape, place, g_raw, columns):
    """Transform g in place; fill the cotangents of p and r."""
    j, t, s = place.u, place.raw, place.raw + place.step
    slope, product, by_raw = place.tape + SLOPE, place.tape + PRODUCT, place.tape + BY_RAW
    forward = direction == FORWARD
    if transformer.form == GATE:  # dx/dp = -e^-(r + c) and dz/dp = 1 - sigma
        for r in range(columns):
            by_p = g[j, r] * tape[slope, r] if forward else -g[j, r]
            g_raw[t, r] = by_p * tape[by_raw, r]
    else:
        for r in range(columns):
            g_raw[t, r] = g[j, r] if forward else -g[j, r] * tape[slope, r]
    for r in range(columns):
        g_scale = (g[j, r] * tape[product, r] + g_log_det[r]) * tape[by_raw, r]
        g_raw[s, r] = g_scale if forward else -g_scale
        g[j, r] *= tape[slope, r]
