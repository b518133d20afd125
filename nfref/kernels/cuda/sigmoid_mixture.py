"""Couplings by a logit of a mixture of sigmoids on the device: NAF's and Flow++'s transformers.

    y = log S - log C,  S = sum_j w_j sigma(u_j),  C = sum_j w_j sigma(-u_j),  z = e^a y + b,

with u_j = a_j x + b_j and z = y for NAF, u_j = (x - mu_j) e^-s_j for Flow++. Threads are shared
out as in :mod:`nfref.kernels.cuda.coupling`. From latent to data every thread finds the roots of
its own numbers; none waits for another before the row is added up.
"""

import math

from nfref.kernels.cuda.arrays import run_over_rows
from nfref.kernels.cuda.warp import ALL, cuda
from nfref.transformers.root import NEWTON_STEPS, STEPS


def sigmoid_coupling(direction, rows, units):
    """See ``sigmoids_forward`` and ``sigmoids_inverse`` of the deep sigmoid's formulas."""
    return run_over_rows(mixture_kernel, rows, rows, rows, *units, flags=(False, direction))


def logistic_coupling(direction, rows, a, b, units):
    """See ``mixture_forward`` and ``mixture_inverse`` of the logistic mixture's formulas."""
    return run_over_rows(mixture_kernel, rows, a, b, *units, flags=(True, direction))


def mixture(u, a, b, slope, offset, log_w, logistic, direction, out, log_det):
    """Compute y of x (-1), or the x that has it (1), and the sum of the logarithms of the slopes.

    The letters are those of NAF. For Flow++ (``logistic``) slope and offset are s and mu; NAF does
    not use a and b. The search is that of :func:`nfref.transformers.root.increasing_root`, between
    the smallest and the largest x at which a unit alone has the value y. It is one function,
    because a function of its own would need a device to be compiled.
    """
    row = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
    zero, half, one = u.dtype.type(0), u.dtype.type(0.5), u.dtype.type(1)
    infinity, none = u.dtype.type(math.inf), u.dtype.type(math.nan)
    double = u.dtype.type(1 + 2.0**-52) > one
    eps = u.dtype.type(2.0**-52 if double else 2.0**-23)
    total = zero
    if row < u.shape[0]:
        column = cuda.threadIdx.x
        while column < u.shape[1]:
            x = target = u[row, column]
            low, high = infinity, -infinity
            if direction == 1:
                if logistic:
                    target = (target - b[row, column]) * math.exp(-a[row, column])
                for j in range(slope.shape[0]):
                    if logistic:
                        alone = offset[j, row, column] + target * math.exp(slope[j, row, column])
                    else:
                        alone = (target - offset[j, row, column]) / slope[j, row, column]
                    low, high = min(low, alone), max(high, alone)
                x = half * low + half * high if abs(target) < infinity else none
            searching = direction == 1 and abs(x) < infinity
            steps, residue, last = 0, infinity, none
            while True:
                # log S and log C, as the largest term and the logarithm of what it leaves.
                most_s, most_c, sum_s, sum_c = -infinity, -infinity, zero, zero
                for j in range(slope.shape[0]):
                    if logistic:
                        v = (x - offset[j, row, column]) * math.exp(-slope[j, row, column])
                    else:
                        v = slope[j, row, column] * x + offset[j, row, column]
                    rest = log_w[j, row, column] - math.log1p(math.exp(-abs(v)))
                    above, below = rest + min(v, zero), rest - max(v, zero)
                    if above > most_s:
                        sum_s, most_s = sum_s * math.exp(most_s - above) + one, above
                    else:
                        sum_s += math.exp(above - most_s)
                    if below > most_c:
                        sum_c, most_c = sum_c * math.exp(most_c - below) + one, below
                    else:
                        sum_c += math.exp(below - most_c)
                log_s, log_c = math.log(sum_s), math.log(sum_c)
                # The slope: log a_j - log w_j + log p_j + log q_j, added up in the same manner.
                most, terms = -infinity, zero
                for j in range(slope.shape[0]):
                    if logistic:
                        v = (x - offset[j, row, column]) * math.exp(-slope[j, row, column])
                        log_a = -slope[j, row, column]
                    else:
                        v = slope[j, row, column] * x + offset[j, row, column]
                        log_a = math.log(slope[j, row, column])
                    rest = log_w[j, row, column] - math.log1p(math.exp(-abs(v)))
                    p = (rest + min(v, zero) - most_s) - log_s
                    q = (rest - max(v, zero) - most_c) - log_c
                    term = log_a - log_w[j, row, column] + p + q
                    if term > most:
                        terms, most = terms * math.exp(most - term) + one, term
                    else:
                        terms += math.exp(term - most)
                value = (most_s + log_s) - (most_c + log_c)
                log_slope = most + math.log(terms)
                if not searching:
                    break
                excess = value - target
                low, high = x if excess <= zero else low, x if excess >= zero else high
                step = -excess * math.exp(-log_slope)
                trusted = (
                    low <= x + step <= high
                    and abs(excess) <= half * residue
                    and steps < NEWTON_STEPS
                )
                new = x + step if trusted else half * low + half * high
                ahead = abs(step * (step / last)) if last != zero else infinity
                done = new == x or (trusted and ahead <= eps * abs(new))
                residue, last = abs(excess), step if trusted else zero
                x, steps = new, steps + 1
                # A NaN stays one.
                searching = not done and steps < STEPS and value == value
            if direction == 1:
                out[row, column] = x if value == value else none
                total -= log_slope
                if logistic:
                    total -= a[row, column]
            else:
                if logistic:
                    value = value * math.exp(a[row, column]) + b[row, column]
                    log_slope += a[row, column]
                out[row, column] = value
                total += log_slope
            column += cuda.blockDim.x
    offset_of_lane = cuda.blockDim.x >> 1
    while offset_of_lane > 0:
        total += cuda.shfl_xor_sync(ALL, total, offset_of_lane)
        offset_of_lane >>= 1
    if cuda.threadIdx.x == 0 and row < u.shape[0]:
        log_det[row] = total


mixture_kernel = cuda.jit(mixture)
