"""Activations and their slopes on a block of rows, many numbers at once.

A compiler fills vector registers with sums, products and choices, not with calls of a
mathematical library. So e^x - 1 is written out here, from its Taylor series:

1. x = k log 2 + r with a whole k and |r| <= log(2)/2. Adding MAGIC rounds x / log 2 to k, and
   leaves k in the last bits of the sum, from where it moves to an exponent: 2^k.
2. e^r - 1 = r + r^2/2! + ..., to the term that is below half an ulp: r^7 or r^13.
3. e^x - 1 = 2^k (e^r - 1) + (2^k - 1), and no digit is lost near 0.

log(1 + y) = 2 artanh s with s = y / (2 + y) <= 1/3 is a series too. Uncompiled, NumPy does it.
"""

import math

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from nfref.kernels.jit import body
from nfref.kernels.network import TANH, units_of
from nfref.kernels.products import ROWS


def activate(activation, theta, at, units, values, slopes, h_at):
    """h = s(h + bias) in ``values``, and s'(h + bias) in ``slopes``, both at ``h_at``."""
    h, d = units_of(values, h_at, units), units_of(slopes, h_at, units)
    a = h + theta[at:at + units, None]
    if activation == TANH:
        h[:] = np.tanh(a)
        d[:] = 1 - h * h
    else:
        y = np.exp(-np.abs(a))
        h[:] = np.maximum(a, 0) + np.log1p(y)
        d[:] = np.where(a > 0, 1, y) / (1 + y)


def curve(activation, h, d):
    """The second derivative s'' from s and s'; see ``nfref.continuous.dynamics.CURVATURES``."""
    return -2 * h * d if activation == TANH else d * (1 - d)


@overload(activate)
def _activate(activation, theta, at, units, values, slopes, h_at):
    tanh = _tanh[values.dtype]
    decay, log1p = _decay[values.dtype], _log1p[values.dtype]
    zero, one = _number(values.dtype)(0), _number(values.dtype)(1)

    def compiled(activation, theta, at, units, values, slopes, h_at):
        h, d = units_of(values, h_at, units), units_of(slopes, h_at, units)
        bias = theta[at:at + units]
        if activation == TANH:
            for j in range(units):
                for r in range(ROWS):
                    h[j, r] = tanh(h[j, r] + bias[j])
                    d[j, r] = one - h[j, r] * h[j, r]
        else:
            for j in range(units):
                for r in range(ROWS):
                    a = h[j, r] + bias[j]
                    y = decay(abs(a))
                    positive = a > zero
                    h[j, r] = (a if positive else zero) + log1p(y)
                    d[j, r] = (one if positive else y) / (one + y)
                    if a != a:          # NaN
                        h[j, r] = a
                        d[j, r] = a
    return compiled


@overload(curve)
def _curve(activation, h, d):
    one, two = _number(h)(1), _number(h)(2)

    def compiled(activation, h, d):
        return -two * h * d if activation == TANH else d * (one - d)
    return compiled


# One number ----------------------------------------------------------------------------------


def _number(kind):
    return np.float32 if kind == types.float32 else np.float64


@intrinsic
def power_of_two(typing, shifted):
    """2^k from k + MAGIC."""
    def generate(context, builder, signature, arguments):
        bits, fraction, bias = (32, 23, 127) if shifted == types.float32 else (64, 52, 1023)
        whole = ir.IntType(bits)
        k = builder.add(builder.bitcast(arguments[0], whole), ir.Constant(whole, bias))
        return builder.bitcast(builder.shl(k, ir.Constant(whole, fraction)),
                               arguments[0].type)
    return shifted(shifted), generate


def _parts_for(number, terms, magic, log_two, rest):
    """The compiled (e^r - 1, 2^k) of x; log 2 is given in two parts, the first a short one."""
    magic, log_two, rest = number(magic), number(log_two), number(rest)
    per_log_two = number(1 / math.log(2))
    first = number(1)
    last = tuple(number(1 / math.factorial(n)) for n in range(terms, 1, -1))

    if number is np.float32:
        c7, c6, c5, c4, c3, c2 = last

        @body
        def parts(x):
            shifted = x * per_log_two + magic
            k = shifted - magic
            r = (x - k * log_two) - k * rest
            p = c7 * r + c6
            p = p * r + c5
            p = p * r + c4
            p = p * r + c3
            p = p * r + c2
            return (p * r + first) * r, power_of_two(shifted)
    else:
        c13, c12, c11, c10, c9, c8, c7, c6, c5, c4, c3, c2 = last

        @body
        def parts(x):
            shifted = x * per_log_two + magic
            k = shifted - magic
            r = (x - k * log_two) - k * rest
            p = c13 * r + c12
            p = p * r + c11
            p = p * r + c10
            p = p * r + c9
            p = p * r + c8
            p = p * r + c7
            p = p * r + c6
            p = p * r + c5
            p = p * r + c4
            p = p * r + c3
            p = p * r + c2
            return p * r * r + r, power_of_two(shifted)
    return parts


def _tanh_for(number, parts, largest):
    """tanh |a| = -e / (2 + e) with e = exp(-2 |a|) - 1; it is 1 from ``largest`` on."""
    largest, zero, one, two = number(largest), number(0), number(1), number(2)

    @body
    def tanh(a):
        size = abs(a)
        size = largest if size > largest else size      # a NaN stays one
        p, scale = parts(-two * size)
        e = scale * p + (scale - one)
        value = -e / (two + e)
        return -value if a < zero else value
    return tanh


def _decay_for(number, parts, largest):
    """e^-size for size >= 0; 0 where it would be below the smallest normal number."""
    largest, zero, one = number(largest), number(0), number(1)

    @body
    def decay(size):
        p, scale = parts(-(size if size < largest else largest))
        return scale * p + scale * one if size < largest else zero
    return decay


def _log1p_for(number, terms):
    """log(1 + y) for 0 <= y <= 1: 2 (s + s^3/3 + s^5/5 + ...), s = y / (2 + y)."""
    two = number(2)
    series = tuple(number(2 / (2 * n + 1)) for n in range(terms))

    @body
    def log1p(y):
        s = y / (two + y)
        square = s * s
        total = series[terms - 1]
        for n in range(terms - 2, -1, -1):
            total = total * square + series[n]
        return total * s
    return log1p


_parts = {types.float32: _parts_for(np.float32, 7, 1.5 * 2 ** 23, 0.693359375,
                                    math.log(2) - 0.693359375),
          types.float64: _parts_for(np.float64, 13, 1.5 * 2 ** 52, 0.6931471803691238,
                                    1.9082149292705877e-10)}
_tanh = {types.float32: _tanh_for(np.float32, _parts[types.float32], 10),
         types.float64: _tanh_for(np.float64, _parts[types.float64], 20)}
_decay = {types.float32: _decay_for(np.float32, _parts[types.float32], 87),
          types.float64: _decay_for(np.float64, _parts[types.float64], 708)}
_log1p = {types.float32: _log1p_for(np.float32, 8),
          types.float64: _log1p_for(np.float64, 17)}
