"""Couplings by a logit of a mixture of sigmoids on the device: NAF's and Flow++'s transformers.

    y = log S - log C,  S = sum_j w_j sigma(u_j),  C = sum_j w_j sigma(-u_j),  z = e^a y + b,

with u_j = a_j x + b_j and z = y for NAF, u_j = (x - mu_j) e^-s_j for Flow++. Threads are shared
out as in :mod:`nfref.kernels.cuda.coupling`. From latent to data every thread finds the roots of
its own numbers; none waits for another before the row is added up.
"""

import math

from nfref.kernels.cuda.arrays import run_over_rows
from nfref.kernels.cuda.coupling import over_rows
from nfref.kernels.cuda.warp import on_device
from nfref.transformers.root import NEWTON_STEPS, STEPS


def sigmoid_coupling(direction, rows, units):
    """See ``sigmoids_forward`` and ``sigmoids_inverse`` of the deep sigmoid's formulas."""
    return run_over_rows(mixture_kernel, rows, (rows, rows, *units), direction, False)


def logistic_coupling(direction, rows, a, b, units):
    """See ``mixture_forward`` and ``mixture_inverse`` of the logistic mixture's formulas."""
    return run_over_rows(mixture_kernel, rows, (a, b, *units), direction, True)


@on_device
def unit(x, row, column, units, logistic, j):
    """Return u_j, log w_j - log(1 + e^-|u_j|) and log a_j; see :func:`logit_of_mixture`."""
    slope, offset, log_w = units
    a, b = slope[j, row, column], offset[j, row, column]
    v, log_a = ((x - b) * math.exp(-a), -a) if logistic else (a * x + b, math.log(a))
    return v, log_w[j, row, column] - math.log1p(math.exp(-abs(v))), log_a


@on_device
def add_term(term, most, total):
    """Add a term to (m, sum_j e^(t_j - m)), with m the largest t_j so far."""
    if term > most:
        return term, total * math.exp(most - term) + type(term)(1)
    return most, total + math.exp(term - most)


@on_device
def logit_of_mixture(x, row, column, units, logistic):
    """Return y and log dy/dx. For Flow++ (``logistic``) slope and offset are s and mu."""
    slope, offset, log_w = units
    zero, infinity = type(x)(0), type(x)(math.inf)
    # log S and log C, as the largest term and the logarithm of what it leaves.
    most_s, most_c, sum_s, sum_c = -infinity, -infinity, zero, zero
    for j in range(slope.shape[0]):
        v, rest, _ = unit(x, row, column, units, logistic, j)
        most_s, sum_s = add_term(rest + min(v, zero), most_s, sum_s)
        most_c, sum_c = add_term(rest - max(v, zero), most_c, sum_c)
    log_s, log_c = math.log(sum_s), math.log(sum_c)
    # The slope: log a_j - log w_j + log p_j + log q_j, added up in the same manner.
    most, terms = -infinity, zero
    for j in range(slope.shape[0]):
        v, rest, log_a = unit(x, row, column, units, logistic, j)
        p = (rest + min(v, zero) - most_s) - log_s
        q = (rest - max(v, zero) - most_c) - log_c
        most, terms = add_term(log_a - log_w[j, row, column] + p + q, most, terms)
    return (most_s + log_s) - (most_c + log_c), most + math.log(terms)


@on_device
def ends_of(y, row, column, units, logistic):
    """Return the smallest and the largest x at which a unit alone has the value y."""
    slope, offset, _ = units
    low, high = type(y)(math.inf), type(y)(-math.inf)
    for j in range(slope.shape[0]):
        a, b = slope[j, row, column], offset[j, row, column]
        alone = b + y * math.exp(a) if logistic else (y - b) / a
        low, high = min(low, alone), max(high, alone)
    return low, high


@on_device
def mixture(u, row, column, arrays, settings):
    """Return y of x (-1), or the x that has it (1), and the logarithm of the slope.

    NAF does not use a and b. The search is that of :func:`nfref.transformers.root.increasing_root`.
    """
    a, b, slope, offset, log_w = arrays
    direction, logistic = settings
    units = slope, offset, log_w
    number = type(u)
    zero, half, infinity, none = number(0), number(0.5), number(math.inf), number(math.nan)
    eps = number(2.0**-52) if number(1 + 2.0**-52) > number(1) else number(2.0**-23)
    outer, shift = (a[row, column], b[row, column]) if logistic else (zero, zero)
    x, target, low, high = u, u, infinity, -infinity
    if direction == 1:
        target = (u - shift) * math.exp(-outer)
        low, high = ends_of(target, row, column, units, logistic)
        x = half * low + half * high if abs(target) < infinity else none
    searching = direction == 1 and abs(x) < infinity
    steps, residue, last = 0, infinity, none
    while True:
        value, log_slope = logit_of_mixture(x, row, column, units, logistic)
        if not searching:
            break
        excess = value - target
        low, high = x if excess <= zero else low, x if excess >= zero else high
        step = -excess * math.exp(-log_slope)
        trusted = low <= x + step <= high and abs(excess) <= half * residue and steps < NEWTON_STEPS
        new = x + step if trusted else half * low + half * high
        ahead = abs(step * (step / last)) if last != zero else infinity
        done = new == x or (trusted and ahead <= eps * abs(new))
        residue, last = abs(excess), step if trusted else zero
        x, steps = new, steps + 1
        # A NaN stays one.
        searching = not done and steps < STEPS and value == value
    if direction == 1:
        return x if value == value else none, -log_slope - outer
    return value * math.exp(outer) + shift, log_slope + outer


mixture_kernel = over_rows(mixture)
