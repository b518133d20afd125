"""e^x, tanh and their kin, written so that a loop of them fills the vector registers.

A compiler does many sums, products and choices at once, but calls a mathematical library for
one number after the other, which in a network of tanh takes most of the time. So here

1. x = k log 2 + r with a whole k and |r| <= log(2)/2. Adding MAGIC rounds x / log 2 to k, and
   leaves k in the last bits of the sum, from where it moves to an exponent: 2^k.
2. e^r - 1 = r + r^2/2! + ..., to the term that is below half an ulp: r^7 or r^13.
3. e^x - 1 = 2^k (e^r - 1) + (2^k - 1), and no digit is lost near 0.

log(1 + x) = 2 artanh s with s = x / (2 + x) <= 1/3 is a series too; a logarithm first takes a
power of two out, until |s| <= 0.172. All are within three ulp, in float32 and float64; results
below the smallest normal number are 0. Uncompiled, the mathematical library does it.

In float32 tanh x is a quotient of polynomials, which takes half the time: within five ulp, on
average 0.8 (0.5 by e^x).
"""

import math
from functools import wraps

import numpy as np
from numba import types

from nfref.kernels.jit import body, overloaded
from nfref.kernels.numba_internals import intrinsic, ir

# log 2 in two parts (Cody and Waite 1980, Software Manual for the Elementary Functions), with
# more digits together than a number has: 355/512, nine bits, so that its products with whole
# numbers are exact, and the rest.
LOG_TWO = 0.693359375, -2.121944400546905827679e-4

# tanh x = x p(x^2) / q(x^2) for |x| <= TANH_LAST, beyond which it rounds to 1 in float32. These are
# the float32 coefficients, from the constant on, of the least largest error that a search found.
TANH_P = 0.99999994, 0.13379674, 0.0034939817, 2.0582625e-05, 1.3317846e-08
TANH_Q = 1.0, 0.46712986, 0.025870875, 0.00032830058, 7.761547e-07
TANH_LAST = 9.01


def exp(x):
    """Return e^x."""
    with np.errstate(over="ignore"):
        return np.exp(x)


def tanh(x):
    """Return tanh x."""
    return math.tanh(x)


def tanh_and_slope(x):
    """Return tanh x and its slope 4 e^-2|x| / (1 + e^-2|x|)^2, to all digits where |tanh| is 1."""
    tail = math.exp(-2 * abs(x))
    return math.tanh(x), 4 * tail / ((1 + tail) * (1 + tail))


def tanh_reduced(x):
    """Return r of -2 |x|, the first of three parts of :func:`tanh_and_slope`, the same to the bit.

    Three loops over many numbers take less time than one. Of a long one a processor sees too little
    of the next numbers while it waits for the steps of one.
    """
    return -2 * abs(x)


def tanh_series(r):
    """Return e^r - 1, the second part."""
    return math.expm1(r)


def tanh_and_slope_of(x, series):
    """Return :func:`tanh_and_slope` of x, the last part."""
    return tanh_and_slope(x)


def softplus(x):
    """Return log(1 + e^x)."""
    return max(x, 0) + math.log1p(math.exp(-abs(x)))


def exp_neg(x):
    """Return e^-x, for x >= 0."""
    return math.exp(-x)


def one_minus_exp_neg(x):
    """Return 1 - e^-x, for x >= 0."""
    return -math.expm1(-x)


def log1p(x):
    """Return log(1 + x), for 0 <= x <= 1."""
    return math.log1p(x)


def log(x, excess):
    """Return log x for normal x > 0, from x and x - 1; a caller may know more digits of x - 1."""
    return math.log1p(excess) if 0.5 < x < 2 else math.log(x) if x < math.inf else x


# Compiled ------------------------------------------------------------------------------------


@intrinsic
def power_of_two(typing, shifted):
    """Return 2^k from k + MAGIC."""

    def generate(context, builder, signature, arguments):
        bits, fraction, bias = (32, 23, 127) if shifted == types.float32 else (64, 52, 1023)
        whole = ir.IntType(bits)
        k = builder.add(builder.bitcast(arguments[0], whole), ir.Constant(whole, bias))
        return builder.bitcast(builder.shl(k, ir.Constant(whole, fraction)), arguments[0].type)

    return shifted(shifted), generate


def _compiled_for(number, powers, magic, log_two, rest, largest, terms):
    """Return all functions of one dtype.

    powers, terms : the powers of r, and of s^2, after which what is left out is below half an ulp
    magic : 1.5 2^p, p the bits of a fraction; a sum with it has no bits below the ones
    log_two, rest : log 2 in two parts, the first a short one
    largest : the last whole x for which e^-x is a normal number
    """
    info, bits, fraction = np.finfo(number), *((32, 23) if number == np.float32 else (64, 52))
    one_bits, half_bits, magic_bits = (
        int(np.array(value, number).view(f"u{bits // 8}")) for value in (1, math.sqrt(0.5), magic)
    )
    exponent_of_one, few, middle = one_bits >> fraction, (terms + 4) // 2, terms // 2
    zero, one, two, four, infinity, magic, log_two, rest, largest, per_log_two = map(
        number, (0, 1, 2, 4, math.inf, magic, log_two, rest, largest, 1 / math.log(2))
    )
    highest, lowest = number(np.log(info.max)), number(np.log(info.tiny) + 1)
    taylor = tuple(number(1 / math.factorial(n)) for n in range(2, powers + 1))
    artanh = tuple(number(2 / (2 * n + 1)) for n in range(terms))
    artanh_of_few = artanh[:few]
    tanh_p, tanh_q, last = tuple(map(number, TANH_P)), tuple(map(number, TANH_Q)), number(TANH_LAST)

    @body
    def parts(x):
        """Return (e^r - 1, k + MAGIC)."""
        shifted = x * per_log_two + magic
        k = shifted - magic
        r = (x - k * log_two) - k * rest
        p = taylor[powers - 2]
        for n in range(powers - 3, -1, -1):
            p = p * r + taylor[n]
        return p * r * r + r, shifted

    @body
    def exp(x):
        """Return e^x.

        The highest x with a finite e^x needs a k whose 2^k is not finite. So 2^(k-1) comes twice.
        """
        inside = lowest if x < lowest else highest if x > highest else x  # a NaN stays one
        p, shifted = parts(inside)
        half = power_of_two(shifted - one)
        value = (half * p + half) * two
        return zero if x < lowest else infinity if x > highest else value

    @body
    def falling(x):
        """Return (p, 2^k) with e^-x = 2^k p + 2^k, for x >= 0.

        Beyond ``largest`` they are those of ``largest``.
        """
        p, shifted = parts(-(largest if x > largest else x))  # a NaN stays one
        return p, power_of_two(shifted)

    @body
    def exp_neg(x):
        p, scale = falling(x)
        return zero if x > largest else scale * p + scale

    @body
    def one_minus_exp_neg(x):
        p, scale = falling(x)
        return (one - scale) - scale * p

    @body
    def tanh_by_exp(x):
        """Return tanh x by tanh |x| = -e / (2 + e) with e = exp(-2 |x|) - 1."""
        p, scale = falling(two * abs(x))
        e = scale * p + (scale - one)
        value = -e / (two + e)
        return -value if x < zero else value

    @body
    def tanh_by_quotient(x):
        square = x * x
        p, q = tanh_p[-1], tanh_q[-1]
        for n in range(len(tanh_p) - 2, -1, -1):
            p = p * square + tanh_p[n]
            q = q * square + tanh_q[n]
        value = min(max(x * p / q, -one), one)  # rounding may carry it beyond
        return one if x > last else -one if x < -last else value  # a NaN stays one

    @body
    def minus_twice(x):
        """Return -2 |x|, and -largest beyond."""
        twice = two * abs(x)
        return -(largest if twice > largest else twice)

    @body
    def tanh_reduced(x):
        x = minus_twice(x)
        k = (x * per_log_two + magic) - magic
        return (x - k * log_two) - k * rest

    @body
    def tanh_series(r):
        p = taylor[powers - 2]
        for n in range(powers - 3, -1, -1):
            p = p * r + taylor[n]
        return p * r * r + r

    @body
    def tanh_and_slope_of(x, series):
        """Return tanh x and 4 (e + 1) / (2 + e)^2.

        The sum e + 1 is taken without the 1 in e.
        """
        scale = power_of_two(minus_twice(x) * per_log_two + magic)
        e = scale * series + (scale - one)
        value = -e / (two + e)
        slope = four * (scale * series + scale) / ((two + e) * (two + e))
        return -value if x < zero else value, zero if two * abs(x) > largest else slope

    @body
    def tanh_and_slope(x):
        p, _ = falling(two * abs(x))
        return tanh_and_slope_of(x, p)

    @body
    def log1p(x):
        """Return 2 (s + s^3/3 + s^5/5 + ...).

        One loop of seventeen terms would not be unrolled.
        """
        s = x / (two + x)
        square = s * s
        total = artanh[terms - 1]
        for n in range(terms - 2, middle, -1):
            total = total * square + artanh[n]
        for n in range(middle, -1, -1):
            total = total * square + artanh[n]
        return total * s

    @intrinsic
    def split(typing, x):
        """Return (m, k) of normal x > 0, with x = 2^k m and m from sqrt(1/2) to sqrt(2)."""

        def generate(context, builder, signature, arguments):
            whole, real = ir.IntType(bits), arguments[0].type
            moved = builder.add(
                builder.bitcast(arguments[0], whole), ir.Constant(whole, one_bits - half_bits)
            )
            exponent = builder.lshr(moved, ir.Constant(whole, fraction))
            mantissa = builder.and_(moved, ir.Constant(whole, 2**fraction - 1))
            m = builder.bitcast(builder.add(mantissa, ir.Constant(whole, half_bits)), real)
            # Whole numbers become real ones as the last bits of MAGIC, and cost no conversion.
            k = builder.fsub(
                builder.bitcast(builder.add(exponent, ir.Constant(whole, magic_bits)), real),
                ir.Constant(real, float(magic) + exponent_of_one),
            )
            return context.make_tuple(builder, signature.return_type, (m, k))

        return types.UniTuple(x, 2)(x), generate

    @body
    def log(x, excess):
        """Return k log 2 + 2 artanh s with s = f / (2 + f).

        f is m - 1, or the given x - 1 if k = 0.
        """
        m, k = split(x)
        f = excess if k == zero else m - one
        s = f / (two + f)
        square = s * s
        total = artanh_of_few[few - 1]
        for n in range(few - 2, -1, -1):
            total = total * square + artanh_of_few[n]
        value = k * log_two + (k * rest + total * s)
        return value if x < infinity else x  # a NaN stays one

    @body
    def softplus(x):
        return (x if x > zero else zero) + log1p(exp_neg(abs(x)))

    named = exp, exp_neg, one_minus_exp_neg, log1p, log, softplus
    named = *named, tanh_and_slope, tanh_and_slope_of, tanh_reduced, tanh_series
    tanh = tanh_by_quotient if number == np.float32 else tanh_by_exp
    return {**{each.__name__: each for each in named}, "tanh": tanh}


# Float64 takes the split of log 2 of fdlibm, a first part of 32 bits.
_COMPILED = {
    types.float32: _compiled_for(np.float32, 7, 1.5 * 2**23, *LOG_TWO, 87, 8),
    types.float64: _compiled_for(
        np.float64, 13, 1.5 * 2**52, 0.6931471803691238, 1.9082149292705877e-10, 708, 17
    ),
}


def _compile(function):
    """Let kernels call what was compiled for the dtype of the first argument."""
    name = function.__name__
    overloaded(function)(wraps(function)(lambda x, *others: _COMPILED[x][name].py_func))


for _function in (exp, exp_neg, one_minus_exp_neg, log1p, log, softplus):
    _compile(_function)
for _function in (tanh, tanh_and_slope, tanh_and_slope_of, tanh_reduced, tanh_series):
    _compile(_function)
