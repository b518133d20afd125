"""A test of the building blocks of kernels, for versions of Numba that are not tested.

All code of a kernel that is not Python has a form for uncompiled code. So one kernel that uses each
of them once must agree with its uncompiled result.
"""

import numpy as np

from nfref.kernels.chain.block_rows import units_of
from nfref.kernels.jit import kernel
from nfref.kernels.simd.elementary import (
    exp,
    exp_neg,
    log,
    log1p,
    one_minus_exp_neg,
    softplus,
    tanh,
    tanh_and_slope,
)
from nfref.kernels.simd.lanes import (
    absolute,
    broadcast,
    exponent,
    load,
    load_at,
    load_strided,
    mantissa,
    none_longer,
    prefetch,
    store,
    transpose,
    where_equal,
    where_longer,
)
from nfref.kernels.simd.matmul import ROWS, add_outer, ensure_compiled, times, times_transposed
from nfref.kernels.simd.unrolled import any_pivots, usual_pivots
from nfref.kernels.thread_pool import aligned

FAN_IN, FAN_OUT = 22, 93  # whole tiles, and some of each kind that is left over
WEIGHTS, SIZE = FAN_IN * FAN_OUT, FAN_OUT * ROWS
LANES = 16  # of the longest vectors; others leave some numbers out


@kernel
def everything(a, b, lanes, column, products, vectors, numbers):
    """Compute products of the numbers of a and b, vectors of them, and their functions."""
    times(a, 1, FAN_OUT, FAN_IN, FAN_OUT, b, 0, products, 0)
    times(a, 1, FAN_OUT, FAN_IN, FAN_OUT, b, 0, products, SIZE, 1, 0, 1)
    times(a, 1, FAN_OUT, FAN_IN, FAN_OUT, b, 0, products, 2 * SIZE, ROWS, 1, 48)
    times_transposed(a, 1, FAN_OUT, FAN_IN, FAN_OUT, b, 0, products, 3 * SIZE, 1)
    add_outer(a, 0, FAN_IN, b, 0, FAN_OUT, products, 4 * SIZE, FAN_OUT)

    x, y, z = load(a, 0), load_strided(b, 1, 3), load_at(b, 0, load(lanes, 0))
    prefetch(a, 0)
    equal = where_equal(load(lanes, 0), broadcast(a, 1), x, y)
    store(vectors, 0, x + y * z)
    store(vectors, LANES, x / y - z)
    store(vectors, 2 * LANES, where_longer(x, y, y, z))
    store(vectors, 3 * LANES, equal)
    store(vectors, 4 * LANES, mantissa(x) + absolute(z))
    store(vectors, 5 * LANES, exponent(y))
    store(vectors, 6 * LANES, broadcast(a, none_longer(x, y) + 2 * none_longer(x, x)))
    product, shortest, longest = usual_pivots(a, column)
    store(vectors, 7 * LANES, product)
    store(vectors, 8 * LANES, shortest)
    store(vectors, 9 * LANES, longest)
    product, power = any_pivots(b, column)
    store(vectors, 10 * LANES, product)
    store(vectors, 11 * LANES, power)
    transpose(a, 3, 20, vectors, 12 * LANES, LANES)

    view, units = units_of(b, 5, 2), units_of(numbers, 0, 10)
    for r in range(ROWS):
        t = view[1, r]
        units[0, r], units[1, r], units[2, r] = exp(t), tanh(t), softplus(t)
        units[3, r], units[4, r] = exp_neg(abs(t)), one_minus_exp_neg(abs(t))
        units[5, r] = log1p(exp_neg(abs(t)))
        units[8, r], units[9, r] = tanh_and_slope(t)
        units[6, r], units[7, r] = log(abs(t), abs(t) - 1), log(8 * abs(t), 8 * abs(t) - 1)


def _normal(rng, size, dtype):
    """Return random numbers that start where vectors may be loaded from."""
    numbers = aligned(size, dtype)
    numbers[:] = rng.standard_normal(size)
    return numbers


def run():
    """Raise an ArithmeticError unless the compiled kernel agrees with the uncompiled one."""
    for dtype in (np.float32, np.float64):
        ensure_compiled(np.dtype(dtype))
        rng = np.random.default_rng(0)
        a, b = (_normal(rng, SIZE, dtype) for _ in range(2))
        lanes = _normal(rng, LANES, dtype)
        lanes[:] = np.arange(LANES) % 3
        found, expected = (
            [
                _normal(np.random.default_rng(1), size, dtype)
                for size in (4 * SIZE + WEIGHTS, (12 + LANES) * LANES, 10 * ROWS)
            ]
            for _ in range(2)
        )
        everything(a, b, lanes, (0,) * 3, *found)
        everything.py_func(a, b, lanes, (0,) * 3, *expected)
        for name, one, other in zip(("products", "vectors", "functions"), found, expected):
            slack = 100 * np.finfo(dtype).eps * (1 + np.abs(other))
            if not np.all(np.abs(one - other) <= slack):
                raise ArithmeticError(f"wrong {name} in {np.dtype(dtype)}")
