"""A logit of a mixture of sigmoids on a block of rows: value, inverse and derivative.

:mod:`nfref.transformers.deep_sigmoid` (NAF) and :mod:`nfref.transformers.logistic_mixture`
(Flow++) have the formulas; their letters are used here. Both are, from data to latent,

    y = log S - log C,  S = sum_j w_j sigma(u_j),  C = sum_j w_j sigma(-u_j),  z = e^a y + b,

with u_j = a_j x + b_j and z = y for NAF, u_j = (x - mu_j) a_j and a_j = e^-s_j for Flow++. Loops
over rows are the inner ones and free of branches, so that they fill the vector registers; that
goes for the root search too: a row that is done stays where it is until all of its block are.
"""

import math
from collections import namedtuple

from nfref.kernels.chain.block import FORWARD
from nfref.kernels.chain.transformers.root import (
    HIGH,
    LOG_SLOPE,
    LOW,
    PLACE,
    ROOT_ROWS,
    VALUE,
    increasing_map,
)
from nfref.kernels.chain.transformers.squash import squash
from nfref.kernels.jit import body, called_kernel
from nfref.kernels.simd.elementary import exp, exp_neg, log, log1p, one_minus_exp_neg, softplus

NAF, FLOW_PLUS_PLUS = range(2)  # forms

# The tape: ONCE rows, then UNIT rows for each of the J units: all P, all Q, and so on. Unit after
# unit, the compiler could not tell the rows that a loop reads from those it writes, because it
# asks for all units at once, and would take one number after the other.
#   PLACE, VALUE, LOG_SLOPE     x, y and log dy/dx, among those of the root search
#   PER_P, PER_Q, PER_T         factors of the P, Q and T of the units
#   SCALE, BY_SCALE             e^a, da/d(raw a)
# of a unit
#   P, Q    the probabilities p_j and q_j, not yet normalised
#   T       a_j p_j q_j / (w_j y'), its part of the slope, not yet normalised
#   LOG_A   log a_j
#   BY_RAW  the derivative by its raw number of a_j (NAF), of s_j (Flow++)
PER_P, PER_Q, PER_T, SCALE, BY_SCALE = range(ROOT_ROWS, ROOT_ROWS + 5)
# Work for the sums: the largest of terms.
MOST_P, MOST_Q, MOST_T = range(ROOT_ROWS + 5, ROOT_ROWS + 8)
ONCE = ROOT_ROWS + 8
P, Q, T, LOG_A, BY_RAW = range(5)
UNIT = 5

# The form and number of units, and the first rows of the raw slopes, offsets and weights. The rows
# of two units are ``step`` apart.
Units = namedtuple("Units", "form count slope offset weight step")


def tape_rows(units):
    """Return E."""
    return ONCE + UNIT * units


@body
def row_of(units, kind, j):
    return ONCE + kind * units.count + j


@body
def units_in(transformer, place):
    """Return slopes, offsets and weights (NAF), or means, scales and weights (Flow++)."""
    count, raw, step = transformer.raw_rows // 3, place.raw, place.step
    if transformer.form == NAF:
        return Units(NAF, count, raw, raw + count * step, raw + 2 * count * step, step)
    raw += 2 * step
    return Units(FLOW_PLUS_PLUS, count, raw + count * step, raw, raw + 2 * count * step, step)


@called_kernel
def sigmoids(transformer, direction, u, raw, tape, place, log_det, columns):
    """Transform u in place; the raw numbers become a (and b), a_j, b_j or mu_j, and log w_j."""
    units = units_in(transformer, place)
    u, tape = u[place.u], tape[place.tape : place.tape + transformer.tape_rows]
    a, b = place.raw, place.raw + place.step
    constrain(transformer, units, raw, place, tape, columns)
    flow_plus_plus = transformer.form == FLOW_PLUS_PLUS
    if flow_plus_plus and direction == FORWARD:
        for r in range(columns):
            tape[SCALE, r] = exp(-raw[a, r])
            u[r] = (u[r] - raw[b, r]) * tape[SCALE, r]
    logit_of_mixture(direction, units, raw, u, tape, columns)
    if flow_plus_plus and direction != FORWARD:
        for r in range(columns):
            tape[SCALE, r] = exp(raw[a, r])
            u[r] = u[r] * tape[SCALE, r] + raw[b, r]
    number = u.dtype.type
    for r in range(columns):
        log_scale = raw[a, r] if flow_plus_plus else number(0)
        log_det[r] -= number(direction) * (tape[LOG_SLOPE, r] + log_scale)


@body
def constrain(transformer, units, raw, place, tape, columns):
    """Apply ``constrain`` of both transformers."""
    number = raw.dtype.type
    real = transformer.reals[0]  # the smallest slope of NAF, the bound of Flow++
    if units.form == FLOW_PLUS_PLUS:
        squash(number(real), raw, place.raw, tape, BY_SCALE, columns)
    between = 2 / (units.count - 1) if units.count > 1 else 0.0
    first = -1.0 if units.count > 1 else 0.0
    for j in range(units.count):
        slope, offset = units.slope + j * units.step, units.offset + j * units.step
        log_a, by_raw = row_of(units, LOG_A, j), row_of(units, BY_RAW, j)
        spread = number(first + j * between)
        for r in range(columns):
            raw[offset, r] += spread
        if units.form == FLOW_PLUS_PLUS:
            squash(number(real), raw, slope, tape, by_raw, columns)
            for r in range(columns):
                tape[log_a, r] = -raw[slope, r]
                raw[slope, r] = exp(-raw[slope, r])
        else:
            least, shift = number(real), number(math.log(math.expm1(1 - real)))
            for r in range(columns):
                above = softplus(raw[slope, r] + shift)
                tape[by_raw, r] = one_minus_exp_neg(above)
                raw[slope, r] = least + above
                tape[log_a, r] = log(raw[slope, r], raw[slope, r] - number(1))
    for r in range(columns):
        tape[MOST_P, r] = raw[units.weight, r]
        tape[PER_P, r] = 0
    for j in range(1, units.count):
        weight = units.weight + j * units.step
        for r in range(columns):
            tape[MOST_P, r] = max(tape[MOST_P, r], raw[weight, r])
    for j in range(units.count):
        weight = units.weight + j * units.step
        for r in range(columns):
            raw[weight, r] -= tape[MOST_P, r]
            tape[PER_P, r] += exp_neg(-raw[weight, r])
    for r in range(columns):
        tape[PER_P, r] = log(tape[PER_P, r], tape[PER_P, r] - number(1))
    for j in range(units.count):
        weight = units.weight + j * units.step
        for r in range(columns):
            raw[weight, r] -= tape[PER_P, r]


@body
def argument(form, x, slope, offset):
    """Return u_j."""
    return (x - offset) * slope if form == FLOW_PLUS_PLUS else slope * x + offset


@body
def evaluate(units, raw, tape, columns):
    """Compute y and log dy/dx at PLACE, with all numbers for the derivative.

    T is first log a_j - log w_j + log p_j + log q_j, less a number that is the same for all units.
    Of the logarithms of p_j and of q_j the largest are exactly 0 until they are normalised.
    """
    number = raw.dtype.type
    zero, one = number(0), number(1)
    for r in range(columns):
        tape[MOST_P, r] = -math.inf
        tape[MOST_Q, r] = -math.inf
        tape[MOST_T, r] = -math.inf
        tape[PER_P, r] = 0
        tape[PER_Q, r] = 0
        tape[PER_T, r] = 0
    for j in range(units.count):
        slope, offset = units.slope + j * units.step, units.offset + j * units.step
        weight, p, q = units.weight + j * units.step, row_of(units, P, j), row_of(units, Q, j)
        for r in range(columns):
            v = argument(units.form, tape[PLACE, r], raw[slope, r], raw[offset, r])
            rest = raw[weight, r] - log1p(exp_neg(abs(v)))
            above = rest + (v if v < zero else zero)
            below = rest - (v if v > zero else zero)
            tape[p, r] = above
            tape[q, r] = below
            tape[MOST_P, r] = max(tape[MOST_P, r], above)
            tape[MOST_Q, r] = max(tape[MOST_Q, r], below)
    for j in range(units.count):
        weight, log_a = units.weight + j * units.step, row_of(units, LOG_A, j)
        p, q, t = row_of(units, P, j), row_of(units, Q, j), row_of(units, T, j)
        for r in range(columns):
            above, below = tape[MOST_P, r] - tape[p, r], tape[MOST_Q, r] - tape[q, r]
            part = tape[log_a, r] - (above + below + raw[weight, r])
            tape[t, r] = part
            tape[MOST_T, r] = max(tape[MOST_T, r], part)
            above, below = exp_neg(above), exp_neg(below)
            tape[p, r] = above
            tape[q, r] = below
            tape[PER_P, r] += above
            tape[PER_Q, r] += below
    for j in range(units.count):
        t = row_of(units, T, j)
        for r in range(columns):
            part = exp_neg(tape[MOST_T, r] - tape[t, r])
            tape[t, r] = part
            tape[PER_T, r] += part
    for r in range(columns):
        sum_p, sum_q, sum_t = tape[PER_P, r], tape[PER_Q, r], tape[PER_T, r]
        log_p, log_q = log(sum_p, sum_p - one), log(sum_q, sum_q - one)
        tape[VALUE, r] = (tape[MOST_P, r] + log_p) - (tape[MOST_Q, r] + log_q)
        tape[LOG_SLOPE, r] = tape[MOST_T, r] + log(sum_t, sum_t - one) - log_p - log_q
        tape[PER_P, r] = one / sum_p
        tape[PER_Q, r] = one / sum_q
        tape[PER_T, r] = one / sum_t


@body
def ends_of(units, raw, u, tape, columns):
    """Compute LOW and HIGH, the smallest and the largest x at which a unit alone has the value u.

    They are arbitrary for a value that is not finite.
    """
    zero, infinity = u.dtype.type(0), u.dtype.type(math.inf)
    for r in range(columns):
        tape[LOW, r] = infinity
        tape[HIGH, r] = -infinity
    for j in range(units.count):
        slope, offset = units.slope + j * units.step, units.offset + j * units.step
        for r in range(columns):
            y = u[r] if abs(u[r]) < infinity else zero
            alone = (
                raw[offset, r] + y / raw[slope, r]
                if units.form == FLOW_PLUS_PLUS
                else (y - raw[offset, r]) / raw[slope, r]
            )
            tape[LOW, r] = min(tape[LOW, r], alone)
            tape[HIGH, r] = max(tape[HIGH, r], alone)


logit_of_mixture = increasing_map(evaluate, ends_of)


# Derivative ------------------------------------------------------------------------------------
# y and L = log y' are functions of u_j, log w_j and log a_j. With t_j = a_j p_j q_j / (w_j y'),
# which add up to 1,
# 1. by u_j      y: p_j sigma(-u_j) + q_j sigma(u_j), which times a_j add up to y'
#                L: (t_j - p_j) sigma(-u_j) - (t_j - q_j) sigma(u_j)
#    by log w_j  y: p_j - q_j    L: t_j - p_j - q_j
#    by log a_j  y: 0            L: t_j, beside what it gives to u_j
# 2. x to z: with cotangents f of y and l of L, u_j gets f and l times these, and x what a_j times
#    that is, f y' + l L', where L' = sum_j a_j dL/du_j.
#    z to x: the log-slope is -L, so l = -g_log_det; x is what solves y(x) = y, so by the implicit
#    function theorem f = -(g + l L') / y', and y gets -f.
# 3. log w is a log-softmax of raw numbers: raw_j gets what log w_j gets less w_j times the sum of
#    all these, which is -l, as p, q and t each add up to 1.
# 4. z = e^a y + b, or y = (z - b) e^-a and the log-slope has a with a minus.

# Rows of the tape with a second use:
ACROSS, TO_VALUE, BY_PLACE = MOST_P, MOST_Q, MOST_T  # L', f, y'


@called_kernel
def sigmoids_vjp(transformer, direction, g, g_log_det, raw, tape, place, g_raw, columns):
    """Turn g in place from the cotangent of the value into that of the argument; fill g_raw.

    raw and tape are as :func:`sigmoids` left them; the tape is used up.
    """
    units = units_in(transformer, place)
    g, tape = g[place.u], tape[place.tape : place.tape + transformer.tape_rows]
    number = g.dtype.type
    sign = number(-1) if direction == FORWARD else number(1)
    derivatives(units, raw, tape, g_raw, columns)
    flow_plus_plus, forward = transformer.form == FLOW_PLUS_PLUS, direction == FORWARD
    a, b = place.raw, place.raw + place.step
    if flow_plus_plus and not forward:
        for r in range(columns):
            g_raw[b, r] = g[r]
            g[r] *= tape[SCALE, r]
            g_raw[a, r] = (g[r] * tape[VALUE, r] + g_log_det[r]) * tape[BY_SCALE, r]
    for r in range(columns):
        log_slope, across, l_bar = tape[LOG_SLOPE, r], tape[ACROSS, r], sign * g_log_det[r]
        solved = -(g[r] + l_bar * across) * exp(-log_slope)
        through = g[r] * tape[BY_PLACE, r] + l_bar * across
        tape[TO_VALUE, r] = solved if forward else g[r]
        g[r] = -solved if forward else through
    if flow_plus_plus and forward:
        for r in range(columns):
            g_raw[a, r] = -(g[r] * tape[VALUE, r] + g_log_det[r]) * tape[BY_SCALE, r]
            g[r] *= tape[SCALE, r]
            g_raw[b, r] = -g[r]
    for j in range(units.count):
        slope, offset = units.slope + j * units.step, units.offset + j * units.step
        weight, by_raw = units.weight + j * units.step, row_of(units, BY_RAW, j)
        p, q, t = row_of(units, P, j), row_of(units, Q, j), row_of(units, T, j)
        for r in range(columns):
            f, l_bar = tape[TO_VALUE, r], sign * g_log_det[r]
            u_bar = f * g_raw[slope, r] + l_bar * g_raw[offset, r]
            x, a_j, l_t = tape[PLACE, r], raw[slope, r], l_bar * tape[t, r]
            if units.form == FLOW_PLUS_PLUS:
                slope_bar = -u_bar * (x - raw[offset, r]) * a_j - l_t
                offset_bar = -u_bar * a_j
            else:
                slope_bar = u_bar * x + l_t / a_j
                offset_bar = u_bar
            g_raw[slope, r] = slope_bar * tape[by_raw, r]
            g_raw[offset, r] = offset_bar
            g_raw[weight, r] = f * tape[p, r] + l_bar * tape[q, r]


@body
def derivatives(units, raw, tape, g_raw, columns):
    """Do step 1.

    The derivatives by u_j, of y and of L, go to the rows of g_raw for slopes and offsets; those by
    the raw number of w_j to P and Q; t_j to T.
    """
    number = raw.dtype.type
    zero, one = number(0), number(1)
    for r in range(columns):
        tape[ACROSS, r] = 0
        tape[BY_PLACE, r] = 0
    for j in range(units.count):
        slope, offset = units.slope + j * units.step, units.offset + j * units.step
        weight = units.weight + j * units.step
        p_row, q_row, t_row = row_of(units, P, j), row_of(units, Q, j), row_of(units, T, j)
        for r in range(columns):
            v = argument(units.form, tape[PLACE, r], raw[slope, r], raw[offset, r])
            tail = exp_neg(abs(v))
            most, least = one / (one + tail), tail / (one + tail)
            up, down = (least, most) if v < zero else (most, least)  # sigma(u), sigma(-u)
            p, q = tape[p_row, r] * tape[PER_P, r], tape[q_row, r] * tape[PER_Q, r]
            t = tape[t_row, r] * tape[PER_T, r]
            of_log_slope = (t - p) * down - (t - q) * up
            of_value = p * down + q * up
            tape[BY_PLACE, r] += of_value * raw[slope, r]
            g_raw[slope, r] = of_value
            g_raw[offset, r] = of_log_slope
            tape[ACROSS, r] += of_log_slope * raw[slope, r]
            tape[p_row, r] = p - q
            tape[q_row, r] = t - p - q + exp_neg(-raw[weight, r])
            tape[t_row, r] = t
