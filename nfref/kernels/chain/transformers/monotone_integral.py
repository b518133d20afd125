"""The integral of a positive network on a block of rows: value, inverse and derivative.

:mod:`nfref.transformers.monotone_integral` has the formula and its letters: with c = x within
[-B, B] and s = tau_k c,

    r = l + sum_j (p_j / alpha_j) tanh(alpha_j (s - mu_j)),  D = dr/ds = sum_j p_j sech^2(...),
    g = e^m(r),  lambda = D m',  M = sum_k q_k g,  F' = sum_k q_k g (1 + s lambda),
    z = beta + c M + F' (x - c).

Nothing of a node is kept: its units take less time than their numbers take to come back from
memory, so the derivative computes them again.
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
from nfref.kernels.simd.elementary import exp, tanh_and_slope
from nfref.transformers.monotone_integral import LARGEST_LOG, LARGEST_LOG_RATE

# The tape: rows of the root search and ONCE in all, then UNIT for each of the J units, all of one
# kind together, see ``sigmoid_mixture``.
#   CLIPPED, MEAN, SLOPE, BEND      c, M, F', F''
#   R, D, TURN                      r, D and dD/ds of a node
#   SHRINK                          the factor of p
#   TO_VALUE                        f of the derivative
# of a unit
#   RATIO, BY_ALPHA                 p_j / alpha_j, dalpha_j / draw
#   TANH, SECH                      tanh and sech^2 at a node
CLIPPED, MEAN, SLOPE, BEND, R, D, TURN, SHRINK, TO_VALUE = range(ROOT_ROWS, ROOT_ROWS + 9)
ONCE = ROOT_ROWS + 9
RATIO, BY_ALPHA, TANH, SECH = range(4)
UNIT = 4

# The numbers of units and nodes; the rows of the raw numbers, ``step`` apart; and the reals: B,
# n / B, then fractions and weights of the rule.
Integral = namedtuple("Integral", "count nodes beta level alpha mu p step reals")


def tape_rows(units):
    """E."""
    return ONCE + UNIT * units


@body
def integral_of(transformer, place):
    count, step, raw = (transformer.raw_rows - 2) // 3, place.step, place.raw
    alpha, each = raw + 2 * step, count * step
    rows = raw, raw + step, alpha, alpha + each, alpha + 2 * each
    return Integral(count, transformer.form, *rows, step, transformer.reals)


@called_kernel
def integral(transformer, direction, u, raw, tape, place, log_det, columns):
    """Transform u in place; the raw numbers become beta, l, alpha_j, mu_j and p_j."""
    own = integral_of(transformer, place)
    u, tape = u[place.u], tape[place.tape : place.tape + transformer.tape_rows]
    constrain_integral(own, raw, tape, columns)
    map_of_integral(direction, own, raw, u, tape, columns)
    for r in range(columns):
        log_det[r] -= u.dtype.type(direction) * tape[LOG_SLOPE, r]


@body
def constrain_integral(own, raw, tape, columns):
    """See ``constrain`` of the transformer."""
    number = raw.dtype.type
    one, steepest = number(1), number(own.reals[1])
    between = 2 / (own.count - 1) if own.count > 1 else 0.0
    first = -1.0 if own.count > 1 else 0.0
    for r in range(columns):
        tape[SHRINK, r] = 0
    for j in range(own.count):
        p = own.p + j * own.step
        for r in range(columns):
            tape[SHRINK, r] += (raw[p, r] / steepest) * (raw[p, r] / steepest)
    for r in range(columns):
        tape[SHRINK, r] = one / math.sqrt(one + number(own.count) * tape[SHRINK, r])
    for j in range(own.count):
        alpha, mu, p = (own.alpha + j * own.step, own.mu + j * own.step, own.p + j * own.step)
        ratio, by_alpha = ONCE + j, ONCE + own.count + j
        spread = number(3) * number(first + j * between)
        squash(number(LARGEST_LOG_RATE), raw, alpha, tape, by_alpha, columns)
        for r in range(columns):
            raw[mu, r] += spread
            raw[p, r] *= tape[SHRINK, r]
            raw[alpha, r] = exp(raw[alpha, r])
            tape[by_alpha, r] *= raw[alpha, r]
            tape[ratio, r] = raw[p, r] / raw[alpha, r]


@body
def at_node(own, tau, raw, tape, columns):
    """R, D and TURN at s = tau c, with tanh and sech^2 of the units."""
    number = raw.dtype.type
    tau, two = number(tau), number(2)
    for r in range(columns):
        tape[R, r] = raw[own.level, r]
        tape[D, r] = 0
        tape[TURN, r] = 0
    for j in range(own.count):
        alpha, mu, p = (own.alpha + j * own.step, own.mu + j * own.step, own.p + j * own.step)
        ratio, row, other = ONCE + j, ONCE + TANH * own.count + j, ONCE + SECH * own.count + j
        for r in range(columns):
            value, slope = tanh_and_slope(raw[alpha, r] * (tau * tape[CLIPPED, r] - raw[mu, r]))
            tape[row, r] = value
            tape[other, r] = slope
            tape[R, r] += tape[ratio, r] * value
            tape[D, r] += raw[p, r] * slope
            tape[TURN, r] -= two * raw[p, r] * raw[alpha, r] * value * slope


@body
def bounded_log(level):
    """m, m' and m'' of r."""
    number = type(level)
    ratio = level / number(LARGEST_LOG)
    inner = number(1) + ratio * ratio
    slope = number(1) / (inner * math.sqrt(inner))
    bend = number(-3 / LARGEST_LOG) * ratio * slope / inner
    return level / math.sqrt(inner), slope, bend


@body
def integrate(own, raw, tape, columns):
    """Compute z and log F' at PLACE, with F''."""
    number = raw.dtype.type
    zero, one, bound = number(0), number(1), number(own.reals[0])
    for r in range(columns):
        x = tape[PLACE, r]
        tape[CLIPPED, r] = -bound if x < -bound else bound if x > bound else x
        tape[MEAN, r] = 0
        tape[SLOPE, r] = 0
        tape[BEND, r] = 0
    for k in range(own.nodes + 1):
        tau, q = number(own.reals[2 + k]), number(own.reals[3 + own.nodes + k])
        at_node(own, tau, raw, tape, columns)
        for r in range(columns):
            log_g, by_r, bend = bounded_log(tape[R, r])
            s, part = tau * tape[CLIPPED, r], q * exp(log_g)
            steep = tape[D, r] * by_r
            turn = tape[TURN, r] * by_r + tape[D, r] * tape[D, r] * bend
            tape[MEAN, r] += part
            tape[SLOPE, r] += part * (one + s * steep)
            tape[BEND, r] += part * tau * (steep + steep + s * (steep * steep + turn))
    for r in range(columns):
        x, c = tape[PLACE, r], tape[CLIPPED, r]
        tape[VALUE, r] = raw[own.beta, r] + (c * tape[MEAN, r] + tape[SLOPE, r] * (x - c))
        tape[LOG_SLOPE, r] = math.log(tape[SLOPE, r])
        tape[BEND, r] = tape[BEND, r] if x == c else zero


@body
def ends_of_integral(own, raw, u, tape, columns):
    """LOW and HIGH: -B and B, or for z on a tangent the root itself, twice."""
    number = u.dtype.type
    zero, infinity, bound = number(0), number(math.inf), number(own.reals[0])
    for r in range(columns):
        tape[LOW, r] = -bound
        tape[HIGH, r] = bound
    for sign in (-1, 1):
        for r in range(columns):
            tape[PLACE, r] = number(sign) * bound
        integrate(own, raw, tape, columns)
        for r in range(columns):
            rest = (u[r] if abs(u[r]) < infinity else zero) - tape[VALUE, r]
            along = number(sign) * bound + rest / tape[SLOPE, r]
            tape[LOW, r] = along if rest * number(sign) > zero else tape[LOW, r]
            tape[HIGH, r] = along if rest * number(sign) > zero else tape[HIGH, r]


map_of_integral = increasing_map(integrate, ends_of_integral)


# Derivative ------------------------------------------------------------------------------------
# With cotangents f of z and l of log F', M gets f c and F' gets S = f (x - c) + l / F'. At a node,
# where w = q_k g,
#   r gets w (m' (f c + S (1 + s lambda)) + S s D m''),  D gets w S s m',
# and a unit, whose tanh is t and sech^2 is h, passes on a = r_bar p h / alpha - 2 D_bar p t h:
#   alpha_j gets a (s - mu_j) - r_bar p_j t / alpha_j^2,  mu_j gets -a alpha_j,
#   p_j gets r_bar t / alpha_j + D_bar h.
# x gets f F' + l F''/F'. From latent to data f = -(g + l F''/F') / F', and z gets -f, as for all
# roots, see ``sigmoid_mixture``. The raw numbers of p get n (p_bar_j - p_j J / S^2 sum p_bar p)
# for p = n raw.


@called_kernel
def integral_vjp(transformer, direction, g, g_log_det, raw, tape, place, g_raw, columns):
    """Turn g in place from the cotangent of the value into that of the argument; fill g_raw."""
    own = integral_of(transformer, place)
    g, tape = g[place.u], tape[place.tape : place.tape + transformer.tape_rows]
    number = g.dtype.type
    one, two, forward = number(1), number(2), direction == FORWARD
    sign = number(-1) if forward else one
    # Rows of the root search hold the cotangent of F' and the sum over p.
    to_slope, along = LOW, HIGH
    for r in range(columns):
        slope, l_bar = tape[SLOPE, r], sign * g_log_det[r]
        across = l_bar * tape[BEND, r] / slope
        solved = -(g[r] + across) / slope
        f = solved if forward else g[r]
        tape[to_slope, r] = f * (tape[PLACE, r] - tape[CLIPPED, r]) + l_bar / slope
        tape[TO_VALUE, r] = f
        g_raw[own.beta, r] = f
        g_raw[own.level, r] = 0
        g[r] = -solved if forward else g[r] * slope + across
        tape[along, r] = 0
    for j in range(own.count):
        alpha, mu, p = (own.alpha + j * own.step, own.mu + j * own.step, own.p + j * own.step)
        for r in range(columns):
            g_raw[alpha, r] = 0
            g_raw[mu, r] = 0
            g_raw[p, r] = 0
    for k in range(own.nodes + 1):
        tau, q = number(own.reals[2 + k]), number(own.reals[3 + own.nodes + k])
        at_node(own, tau, raw, tape, columns)
        for r in range(columns):
            log_g, by_r, bend = bounded_log(tape[R, r])
            s, part, steep = tau * tape[CLIPPED, r], q * exp(log_g), tape[D, r] * by_r
            to_r = tape[TO_VALUE, r] * tape[CLIPPED, r] + tape[to_slope, r] * (one + s * steep)
            r_bar = part * (by_r * to_r + tape[to_slope, r] * s * tape[D, r] * bend)
            tape[D, r] = part * tape[to_slope, r] * s * by_r
            tape[R, r] = r_bar
            g_raw[own.level, r] += r_bar
        for j in range(own.count):
            alpha, mu, p = (own.alpha + j * own.step, own.mu + j * own.step, own.p + j * own.step)
            ratio, row, other = ONCE + j, ONCE + TANH * own.count + j, ONCE + SECH * own.count + j
            for r in range(columns):
                t, h, r_bar, d_bar = tape[row, r], tape[other, r], tape[R, r], tape[D, r]
                inner = h * (r_bar * tape[ratio, r] - two * d_bar * raw[p, r] * t)
                g_raw[alpha, r] += (
                    inner * (tau * tape[CLIPPED, r] - raw[mu, r])
                    - r_bar * tape[ratio, r] * t / raw[alpha, r]
                )
                g_raw[mu, r] -= inner * raw[alpha, r]
                g_raw[p, r] += r_bar * t / raw[alpha, r] + d_bar * h
    for j in range(own.count):
        p = own.p + j * own.step
        for r in range(columns):
            tape[along, r] += g_raw[p, r] * raw[p, r]
    factor = number(own.count / (own.reals[1] * own.reals[1]))
    for j in range(own.count):
        alpha, p, by_alpha = own.alpha + j * own.step, own.p + j * own.step, ONCE + own.count + j
        for r in range(columns):
            g_raw[alpha, r] *= tape[by_alpha, r]
            g_raw[p, r] = tape[SHRINK, r] * (g_raw[p, r] - raw[p, r] * factor * tape[along, r])
