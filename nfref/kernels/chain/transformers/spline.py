"""The rational-quadratic spline on a block of rows: value and derivative.

:mod:`nfref.transformers.rational_quadratic` has the formulas; its letters are used here: a place
in a bin is a and b, parts of the width, a + b = 1; s is the mean slope, d0 and d1 are the slopes
at the knots. Loops over rows are the inner ones and free of branches, so that they fill the
vector registers. A row looks for its bin by K comparisons, and takes along what it needs; of the
slopes at knots only two a row ever go through softplus.
"""

import math

import numpy as np

from nfref.kernels.chain.block import FORWARD
from nfref.kernels.chain.block_rows import rows_of
from nfref.kernels.jit import body, called_kernel
from nfref.kernels.simd.elementary import exp_neg, log, one_minus_exp_neg, softplus

# The tape is (TAPE_ROWS, ROWS). Before the search for the bin A and B serve the softmax, and during
# it SLOPE holds the place.
#   BIN          k; -1 in a linear tail
#   SUM_W, SUM_H the parts of the width and of the height before the bin
#   WIDTH, HEIGHT  those of the bin
#   D0, D1       the slopes at its two knots
#   A, B         the place in the bin
#   SLOPE        g'(x), data to latent
#   ABOVE0, ABOVE1  the slopes at the knots less their minimum
#   BOUND        B
BIN, SUM_W, SUM_H, WIDTH, HEIGHT, D0, D1, A, B, SLOPE, ABOVE0, ABOVE1, BOUND = range(13)
TAPE_ROWS = 13

# Tails. LINEAR_EACH: a bound for each coordinate, which BOUND holds already in the last one. No
# other transformer has forms below 0.
LINEAR, CIRCULAR, LINEAR_EACH, BOUNDS_ON_TAPE = 0, 1, -1, -2


@body
def settings(transformer, place):
    """Return K, circular, then B of the coordinate and the three minima, in float64."""
    reals = transformer.reals
    return (
        (transformer.raw_rows + 1) // 3,
        transformer.form == CIRCULAR,
        reals[3 + place.u] if transformer.form == LINEAR_EACH else reals[3],
        reals[0],
        reals[1],
        reals[2],
    )


@called_kernel
def rational_quadratic(transformer, direction, u, raw, tape, place, log_det, columns):
    """Transform u in place; the first 2K raw numbers become the parts above minimum."""
    bins, circular, bound, min_width, min_height, min_slope = settings(transformer, place)
    u, tape, raw = u[place.u], rows_of(tape, place.tape, TAPE_ROWS), rows_of(raw, 0, len(raw))
    number = u.dtype.type
    min_slope = number(min_slope)
    if transformer.form != BOUNDS_ON_TAPE:
        for r in range(columns):
            tape[BOUND, r] = bound
    parts_above(raw, place.raw, place.step, bins, min_width, tape, columns)
    parts_above(raw, place.raw + bins * place.step, place.step, bins, min_height, tape, columns)
    if circular:
        for r in range(columns):
            turned = u[r] - whole_turns(u[r], tape[BOUND, r])
            tape[SLOPE, r] = clipped(turned, tape[BOUND, r])
    else:
        for r in range(columns):
            v = u[r]
            tape[SLOPE, r] = v if abs(v) < tape[BOUND, r] else number(0)
    least_width, least_height = number(min_width), number(min_height)
    find_bin(direction, raw, place, bins, circular, least_width, least_height, tape, columns)
    slopes_at_knots(bins, circular, min_slope, tape, columns)
    curve(direction, bins, tape, columns)
    # SLOPE holds the value now; the slope replaces it below.
    if circular:
        for r in range(columns):
            u[r] = tape[SLOPE, r] + whole_turns(u[r], tape[BOUND, r])
    else:
        for r in range(columns):
            v, k, value = u[r], tape[BIN, r], tape[SLOPE, r]
            inside = abs(v) < tape[BOUND, r]
            tape[BIN, r] = k if inside else number(-1)
            u[r] = value if inside else v
    sign = number(-1) if direction == FORWARD else number(1)
    tiny = number(2.0**-1022) if number(2.0**-1022) > number(0) else number(2.0**-126)
    infinity = number(math.inf)
    for r in range(columns):
        slope, excess = slope_in_bin(
            tape[A, r], tape[B, r], tape[HEIGHT, r] / tape[WIDTH, r], tape[D0, r], tape[D1, r]
        )
        tape[SLOPE, r] = slope
        # ``log`` takes normal numbers only.
        log_slope = sign * (-infinity if slope < tiny else log(slope, excess))
        log_det[r] += log_slope if tape[BIN, r] >= number(0) else number(0)


@body
def slopes_at_knots(bins, circular, min_slope, tape, columns):
    """Turn D0 and D1 from raw numbers into slopes; those at the ends of a line are 1."""
    number = type(min_slope)
    offset = number(math.log(math.expm1(1 - min_slope)))
    tape = rows_of(tape, 0, TAPE_ROWS)
    # No row of a circle is in these two bins.
    first, last = (number(-1), number(-1)) if circular else (number(0), number(bins - 1))
    for r in range(columns):
        k = tape[BIN, r]
        above0, above1 = softplus(tape[D0, r] + offset), softplus(tape[D1, r] + offset)
        tape[ABOVE0, r], tape[ABOVE1, r] = above0, above1
        tape[D0, r] = number(1) if k == first else min_slope + above0
        tape[D1, r] = number(1) if k == last else min_slope + above1


@body
def curve(direction, bins, tape, columns):
    """Compute A, B and, in SLOPE, z from the place x in SLOPE; forward x from z."""
    number = tape.dtype.type
    last = number(bins - 1)
    tape = rows_of(tape, 0, TAPE_ROWS)
    for r in range(columns):
        is_last, bound = tape[BIN, r] == last, tape[BOUND, r]
        x_left, x_right = ends_of(tape[SUM_W, r], tape[WIDTH, r], is_last, bound)
        y_left, y_right = ends_of(tape[SUM_H, r], tape[HEIGHT, r], is_last, bound)
        s, d0, d1 = tape[HEIGHT, r] / tape[WIDTH, r], tape[D0, r], tape[D1, r]
        if direction == FORWARD:
            a, b = parts_of(tape[SLOPE, r], y_left, y_right)
            a, b = place_in_bin(a, b, s, d0, d1)
            tape[SLOPE, r] = x_left + (x_right - x_left) * a
        else:
            a, b = parts_of(tape[SLOPE, r], x_left, x_right)
            part = a * (s * a + d0 * b) / (s * (a * a + b * b) + (d0 + d1) * a * b)
            tape[SLOPE, r] = y_left + (y_right - y_left) * part
        tape[A, r], tape[B, r] = a, b


@body
def place_in_bin(a, b, s, d0, d1):
    """See :func:`nfref.transformers.rational_quadratic.place_in_bin`."""
    two = type(a)(2)
    c = b * d0 - a * d1
    outer = math.sqrt(c * c + (two + two) * a * b * s * s) + abs(c)
    at_left, at_right = two * a * s, two * b * s
    left = outer if c < type(a)(0) else at_left
    right = at_right if c < type(a)(0) else outer
    return left / (left + right), right / (left + right)


@body
def slope_in_bin(a, b, s, d0, d1):
    """Return (g', g' - 1)."""
    one, two = type(a)(1), type(a)(2)
    q = d1 * a * a + two * s * a * b + d0 * b * b
    m = a * a + b * b + (d0 + d1) * a * b / s
    e = ((d0 - s) + (d1 - s)) * a * b / s
    per_m = one / m
    above = (d1 - one) * a * a + two * (s - one) * a * b + (d0 - one) * b * b
    return q * per_m * per_m, (above - e * (two + e)) * per_m * per_m


@body
def parts_of(v, left, right):
    """Return the distances of v from both knots as parts of their sum, each at least 0."""
    zero = type(v)(0)
    from_left, to_right = v - left, right - v
    from_left = from_left if from_left > zero else zero
    to_right = to_right if to_right > zero else zero
    return from_left / (from_left + to_right), to_right / (from_left + to_right)


@body
def whole_turns(v, bound):
    return np.floor((v + bound) / (bound + bound)) * (bound + bound)


@body
def clipped(v, bound):
    v = v if v < bound else bound
    return v if v > -bound else -bound


@body
def parts_above(raw, first, step, bins, minimum, tape, columns):
    """Turn K rows into (1 - K m) softmax(raw): the parts of an axis less the minimum m.

    Two exponentials at a time share the constants that do not fit into sixteen registers.
    """
    factor = raw.dtype.type(1 - bins * minimum)
    tape, raw = rows_of(tape, 0, TAPE_ROWS), rows_of(raw, 0, len(raw))
    end, last = first + bins * step, first + (bins - 1) * step
    for r in range(columns):
        tape[A, r] = raw[first, r]
        tape[B, r] = 0
    for k in range(first + step, end, 3 * step):
        second, third = min(k + step, last), min(k + 2 * step, last)
        for r in range(columns):
            most, a, b, c = tape[A, r], raw[k, r], raw[second, r], raw[third, r]
            tape[A, r] = max(max(most, a), max(b, c))
    for k in range(first, last, 2 * step):
        for r in range(columns):
            one, other = exp_neg(tape[A, r] - raw[k, r]), exp_neg(tape[A, r] - raw[k + step, r])
            tape[B, r] = tape[B, r] + one + other
            raw[k, r] = one
            raw[k + step, r] = other
    if bins % 2 == 1:
        for r in range(columns):
            raw[last, r] = exp_neg(tape[A, r] - raw[last, r])
            tape[B, r] += raw[last, r]
    for r in range(columns):
        tape[B, r] = factor / tape[B, r]
    for k in range(first, end, step):
        for r in range(columns):
            raw[k, r] *= tape[B, r]


@body
def find_bin(direction, raw, place, bins, circular, min_width, min_height, tape, columns):
    """Fill BIN ... D1 of the tape for the place in SLOPE; D0 and D1 stay raw.

    They are sums of numbers that are 0 in other bins. To keep an old number instead would be a
    masked store, which some processors without AVX-512 take a dozen cycles for. A row whose BIN is
    smaller than k has found it.
    """
    number = raw.dtype.type
    zero, one, two = number(0), number(1), number(2)
    tape, raw = rows_of(tape, 0, TAPE_ROWS), rows_of(raw, 0, len(raw))
    forward = direction == FORWARD
    for row in range(A):
        for r in range(columns):
            tape[row, r] = 0
    for k in range(bins):
        # raw does not hold the outer slopes of linear tails; any row takes their place.
        left = k if circular else k - 1
        right = (k + 1) % bins if circular else min(k, bins - 2)
        w, h = place.raw + k * place.step, place.raw + (bins + k) * place.step
        left = place.raw + (2 * bins + left) * place.step
        right = place.raw + (2 * bins + right) * place.step
        this, beyond = number(k), number(math.inf) if k == bins - 1 else zero
        for r in range(columns):
            width, height = min_width + raw[w, r], min_height + raw[h, r]
            d0, d1 = raw[left, r], raw[right, r]
            total = tape[SUM_H, r] + height if forward else tape[SUM_W, r] + width
            through = tape[SLOPE, r] < tape[BOUND, r] * (two * total - one) + beyond
            searches = tape[BIN, r] == this
            here, passes = searches & through, searches & (not through)
            tape[BIN, r] += one if passes else zero
            tape[SUM_W, r] += width if passes else zero
            tape[SUM_H, r] += height if passes else zero
            tape[WIDTH, r] += width if here else zero
            tape[HEIGHT, r] += height if here else zero
            tape[D0, r] += d0 if here else zero
            tape[D1, r] += d1 if here else zero


@body
def ends_of(total, part, is_last, bound):
    """Return the knots on both sides of a bin, with ``total`` before it and ``part`` in it."""
    one, two = type(total)(1), type(total)(2)
    right = bound * (two * (total + part) - one)
    return bound * (two * total - one), bound if is_last else right


# Derivative ------------------------------------------------------------------------------------
# The curve is f(a; s, d0, d1) = phi with a = (x - x_k) / W and phi = (y - y_k) / H in both
# directions, and its log-slope is L(a; s, d0, d1) = log g'(x). With
#   t = a b,  n = s (a^2 + b^2) + (d0 + d1) t,  q = d1 a^2 + 2 s t + d0 b^2:
# 1. f = a (s a + d0 b) / n,  1 - f = b (s b + d1 a) / n,  f_a = g' / s  (s = H / W),
#    f_s  = t (d1 a^2 - d0 b^2) / n^2,  f_d0 = t (1 - f) / n,  f_d1 = -t f / n.
# 2. L = log q - 2 log (n / s):
#    L_a  = 2 (d1 a + s (b - a) - d0 b) / q - 2 (d0 + d1 - 2 s) (b - a) / n,
#    L_s  = 2 t / q + 2 (d0 + d1) t / (s n),
#    L_d0 = b^2 / q - 2 t / n,  L_d1 = a^2 / q - 2 t / n.
# 3. x to z: cotangents F = H g of f and l = g_log_det of L; that of a is Q = F f_a + l L_a.
#    z to x: the log-slope is -L, so l = -g_log_det; a is what solves f = phi, so by the implicit
#    function theorem F = -(W g + l L_a) / f_a takes the place of H g. Then again
#    Q = F f_a + l L_a, which is -W g. From here on both directions are the same:
# 4. s, d0, d1 get F f_s + l L_s, and so on; x gets Q / W, or z gets -F / H;
#    x_k gets -Q b / W, x_{k+1} gets -Q a / W, y_k gets F (1 - f) / H, y_{k+1} gets F f / H.
# 5. Parts u of the axes: x_k = B (2 (u_0 + ... + u_{k-1}) - 1), W = 2 B u_k, s = v_k / u_k with
#    the parts v of the height. So u_j gets -Q / u_k for j < k, and -(Q a + S s) / u_k for j = k
#    where S is what s gets; v_j gets F / v_k for j < k, and (F f + S s) / v_k for j = k.
#    That x_K = B whatever the parts are needs no exception: what all u_j get alike is lost in 6.
# 6. u = m + (1 - K m) p with p = softmax(raw), and raw_j by now holds (1 - K m) p_j. If G_j is what
#    u_j gets, raw_j gets (1 - K m) p_j (G_j - sum_i p_i G_i).
# 7. d = m + softplus(raw + c): raw gets 1 - e^-(d - m) times what d gets.


@called_kernel
def rational_quadratic_vjp(transformer, direction, g, g_log_det, raw, tape, place, g_raw, columns):
    """Turn g in place from the cotangent of the value into that of the argument; fill g_raw.

    raw and tape are as :func:`rational_quadratic` left them; the tape is used up.
    """
    bins, circular, bound, min_width, min_height, _ = settings(transformer, place)
    g, tape, raw = g[place.u], rows_of(tape, place.tape, TAPE_ROWS), rows_of(raw, 0, len(raw))
    g_raw = rows_of(g_raw, 0, len(g_raw))
    number = g.dtype.type
    zero, one, two = number(0), number(1), number(2)
    span = number(2 * bound)
    per_w, per_h = number(1 / (1 - bins * min_width)), number(1 / (1 - bins * min_height))
    forward = direction == FORWARD
    sign = -one if forward else one
    for r in range(columns):
        a, b, slope = tape[A, r], tape[B, r], tape[SLOPE, r]
        d0, d1 = tape[D0, r], tape[D1, r]
        width, height, k = tape[WIDTH, r], tape[HEIGHT, r], tape[BIN, r]
        s, t = height / width, a * b
        per_n = one / (s * (a * a + b * b) + (d0 + d1) * t)
        per_q = one / (d1 * a * a + two * s * t + d0 * b * b)
        f = a * (s * a + d0 * b) * per_n
        rest = b * (s * b + d1 * a) * per_n
        l_a = two * (
            (d1 * a + s * (b - a) - d0 * b) * per_q - ((d0 - s) + (d1 - s)) * (b - a) * per_n
        )
        inside = k >= zero
        g_out = g[r]
        g_value = g_out if inside else zero
        g_log = g_log_det[r] if inside else zero
        l_bar = sign * g_log
        across, up = span * width * g_value, span * height * g_value
        solved = -(across + l_bar * l_a) * s / slope
        f_bar = solved if forward else up
        a_bar = -across if forward else up * slope / s + l_bar * l_a
        g_in = -f_bar / (span * height) if forward else a_bar / (span * width)
        g[r] = g_in if inside else g_out
        # s times the cotangent of s; those of d0 and d1 go on to raw.
        s_bar = f_bar * t * (d1 * a * a - d0 * b * b) * per_n * per_n * s + two * l_bar * t * (
            s * per_q + (d0 + d1) * per_n
        )
        d0_bar = f_bar * t * rest * per_n + l_bar * (b * b * per_q - two * t * per_n)
        d1_bar = -f_bar * t * f * per_n + l_bar * (a * a * per_q - two * t * per_n)
        tape[D0, r] = d0_bar * one_minus_exp_neg(tape[ABOVE0, r])
        tape[D1, r] = d1_bar * one_minus_exp_neg(tape[ABOVE1, r])
        # G of step 6 before the bin and in it: of the widths, then of the heights.
        tape[A, r], tape[WIDTH, r] = -a_bar / width, -(a_bar * a + s_bar) / width
        tape[B, r], tape[HEIGHT, r] = f_bar / height, (f_bar * f + s_bar) / height
    softmax_vjp(bins, raw, place.raw, place.step, per_w, tape, A, WIDTH, g_raw, columns)
    softmax_vjp(
        bins, raw, place.raw + bins * place.step, place.step, per_h, tape, B, HEIGHT, g_raw, columns
    )
    for j in range(transformer.raw_rows - 2 * bins):
        # The bins on the right and on the left of the knot whose slope is number j.
        right = number(j if circular else j + 1)
        left = number((j + bins - 1) % bins if circular else j)
        row = place.raw + (2 * bins + j) * place.step
        for r in range(columns):
            k, d0_bar, d1_bar = tape[BIN, r], tape[D0, r], tape[D1, r]
            g_raw[row, r] = (d0_bar if k == right else zero) + (d1_bar if k == left else zero)


# Rows of the tape that are used once more: the parts before the bin, of it and after it, which add
# up to 1, and what G of a bin after it has above their mean.
PART_BEFORE, PART, PART_AFTER, AFTER = SUM_W, ABOVE0, ABOVE1, SUM_H


@body
def softmax_vjp(bins, raw, first, step, per_part, tape, before_row, within_row, g_raw, columns):
    """Do step 6: raw_i gets its part times sum_j p_j (G_i - G_j).

    The sum subtracts only numbers that differ, so that it is exactly zero if one part is all.
    """
    number = raw.dtype.type
    zero = number(0)
    for r in range(columns):
        tape[PART_BEFORE, r] = zero
        tape[PART, r] = zero
        tape[PART_AFTER, r] = zero
    for j in range(bins):
        bin, row = number(j), first + j * step
        for r in range(columns):
            k, part = tape[BIN, r], per_part * raw[row, r]
            tape[PART_BEFORE, r] += part if bin < k else zero
            tape[PART, r] += part if bin == k else zero
            tape[PART_AFTER, r] += part if bin > k else zero
    for r in range(columns):
        before, within = tape[before_row, r], tape[within_row, r]
        left, part, right = tape[PART_BEFORE, r], tape[PART, r], tape[PART_AFTER, r]
        tape[before_row, r] = part * (before - within) + right * before
        tape[within_row, r] = left * (within - before) + right * within
        tape[AFTER, r] = -(left * before + part * within)
    for j in range(bins):
        bin, row = number(j), first + j * step
        for r in range(columns):
            k, before = tape[BIN, r], tape[before_row, r]
            within, after = tape[within_row, r], tape[AFTER, r]
            here = within if bin == k else after
            g_raw[row, r] = raw[row, r] * (before if bin < k else here)
