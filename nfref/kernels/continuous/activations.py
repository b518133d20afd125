"""Activations of a continuous flow, and their slopes, on a block of rows."""

from nfref.kernels.chain.block_rows import units_of
from nfref.kernels.chain.network import TANH
from nfref.kernels.jit import body
from nfref.kernels.simd.elementary import (
    exp_neg,
    log1p,
    tanh_and_slope_of,
    tanh_reduced,
    tanh_series,
)
from nfref.kernels.simd.matmul import ROWS


@body
def activate(activation, theta, at, units, values, slopes, h_at):
    """Compute h = s(h + bias) in ``values``, and s'(h + bias) in ``slopes``, both at ``h_at``."""
    h, d = units_of(values, h_at, units), units_of(slopes, h_at, units)
    bias = theta[at : at + units]
    zero, one = h.dtype.type(0), h.dtype.type(1)
    if activation == TANH:
        for j in range(units):
            for r in range(ROWS):
                h[j, r] += bias[j]
                d[j, r] = tanh_reduced(h[j, r])
            for r in range(ROWS):
                d[j, r] = tanh_series(d[j, r])
            for r in range(ROWS):
                h[j, r], d[j, r] = tanh_and_slope_of(h[j, r], d[j, r])
    else:
        for j in range(units):
            for r in range(ROWS):
                a = h[j, r] + bias[j]
                y = exp_neg(abs(a))
                positive = a > zero
                h[j, r] = (a if positive else zero) + log1p(y)
                d[j, r] = (one if positive else y) / (one + y)


@body
def curve(activation, h, d):
    """Return s'' from s and s'; see ``nfref.continuous.dynamics.CURVATURES``."""
    return -type(h)(2) * h * d if activation == TANH else d * exp_neg(h)
