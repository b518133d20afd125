"""The elementary functions of the kernels, against many digits."""

import mpmath
import numba
import numpy as np
import pytest

from nfref.kernels import jit
from nfref.kernels.simd import elementary

DTYPES = [np.float64, np.float32]
EXACT = {
    "exp": mpmath.exp,
    "tanh": mpmath.tanh,
    "softplus": lambda x: mpmath.log1p(mpmath.exp(x)),
    "exp_neg": lambda x: mpmath.exp(-x),
    "one_minus_exp_neg": lambda x: -mpmath.expm1(-x),
    "log1p": mpmath.log1p,
    "slope_of_tanh": lambda x: mpmath.sech(x) ** 2,
}
SIDES = {
    "exp": 2,
    "tanh": 2,
    "softplus": 2,
    "exp_neg": 1,
    "one_minus_exp_neg": 1,
    "log1p": 0,
    "slope_of_tanh": 2,
}


ULPS = {("slope_of_tanh", dtype): 6 for dtype in DTYPES} | {("tanh", np.float32): 5}  # others 3


@numba.njit(**jit.OPTIONS)
def slope_of_tanh(x):
    return elementary.tanh_and_slope(x)[1]


def loop_of(name):
    function = slope_of_tanh if name == "slope_of_tanh" else getattr(elementary, name)

    @numba.njit(**jit.OPTIONS)
    def fill(x, out):
        for i in range(len(x)):
            out[i] = function(x[i])

    def loop(x):
        out = np.empty_like(x)
        fill(x, out)
        return out

    return loop


LOOPS = {name: loop_of(name) for name in EXACT}


def arguments(name, dtype):
    """Near zero, of usual size, and up to where e^x leaves the normal numbers."""
    rng = np.random.default_rng(0)
    if SIDES[name] == 0:
        return np.concatenate(
            [rng.uniform(0, 1, 1000), 10 ** rng.uniform(-30, 0, 500), [0.0, 1.0]]
        ).astype(dtype)
    last = np.log(np.finfo(dtype).max) * (1 - 2 * np.finfo(dtype).eps)
    sizes = np.concatenate(
        [
            rng.uniform(0, 5, 500),
            10 ** rng.uniform(-30, np.log10(last), 500),
            rng.uniform(0.9 * last, last, 100),
            [0.0],
        ]
    )
    signs = rng.choice([-1, 1], len(sizes)) if SIDES[name] == 2 else 1
    return (signs * sizes).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", EXACT)
def test_few_ulp_are_lost(name, dtype):
    x = arguments(name, dtype)
    values = LOOPS[name](x)
    assert values.dtype == dtype
    tiny = float(np.finfo(dtype).tiny)
    with mpmath.workdps(40):
        for argument, value in zip(x, values):
            truth = EXACT[name](mpmath.mpf(float(argument)))
            if abs(truth) < 4 * tiny:
                assert abs(float(value)) <= 4 * tiny  # may be 0
                continue
            ulp = float(np.spacing(np.asarray(abs(float(truth)), dtype)))
            error = abs(float(mpmath.mpf(float(value)) - truth))
            assert error <= ULPS.get((name, dtype), 3) * ulp, argument


def test_tanh_of_every_thousandth_float32():
    bits = np.arange(np.array(1e-3, np.float32).view(np.int32), 0x41200000, 1009, np.int32)
    x = bits.view(np.float32)  # from 0.001 to 10
    values, truth = LOOPS["tanh"](x).astype(np.float64), np.tanh(x.astype(np.float64))
    ulps = np.abs(values - truth) / np.spacing(truth.astype(np.float32))
    assert np.max(ulps) < 4.5 and np.mean(ulps) < 1
    assert np.max(values) == 1
    assert np.array_equal(LOOPS["tanh"](-x), -LOOPS["tanh"](x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_ends(dtype):
    ends = np.array([np.inf, -np.inf, np.nan, np.finfo(dtype).max], dtype)
    expected = {
        "exp": [np.inf, 0, np.nan, np.inf],
        "tanh": [1, -1, np.nan, 1],
        "softplus": [np.inf, 0, np.nan, ends[3]],
    }
    for name, values in expected.items():
        assert np.array_equal(LOOPS[name](ends), np.array(values, dtype), equal_nan=True), name
    for name, values in {"exp_neg": [0, np.nan, 0], "one_minus_exp_neg": [1, np.nan, 1]}.items():
        assert np.array_equal(
            LOOPS[name](ends[[0, 2, 3]]), np.array(values, dtype), equal_nan=True
        ), name


@pytest.mark.parametrize("name", ["tanh", "one_minus_exp_neg", "log1p"])
def test_zero_stays_zero(name):
    assert LOOPS[name](np.zeros(3)).tolist() == [0, 0, 0]


@numba.njit(**jit.OPTIONS)
def logarithms(x, excess, out):
    for i in range(len(x)):
        out[i] = elementary.log(x[i], excess[i])


@pytest.mark.parametrize("dtype", DTYPES)
def test_three_ulp_of_a_logarithm_at_most_are_lost(dtype):
    """Of all sizes; and near 1, where only the excess over 1 has all digits."""
    rng, info = np.random.default_rng(0), np.finfo(dtype)
    excess = (rng.choice([-1, 1], 1000) * 10 ** rng.uniform(-30, -0.6, 1000)).astype(dtype)
    sizes = np.exp(rng.uniform(np.log(info.tiny), np.log(info.max), 1000)).astype(dtype)
    sizes = np.concatenate(
        [sizes, rng.uniform(0.3, 3, 1000).astype(dtype), np.array([info.tiny, info.max, 1], dtype)]
    )
    x, excess = np.concatenate([1 + excess, sizes]), np.concatenate([excess, sizes - 1])
    values = np.empty_like(x)
    logarithms(x, excess, values)
    with mpmath.workdps(60):
        for i, value in enumerate(values):
            truth = (
                mpmath.log1p(mpmath.mpf(float(excess[i])))
                if i < 1000
                else mpmath.log(mpmath.mpf(float(x[i])))
            )
            ulp = float(np.spacing(np.asarray(abs(float(truth)), dtype)))
            assert abs(float(mpmath.mpf(float(value)) - truth)) <= 3 * ulp, x[i]


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_ends_of_a_logarithm(dtype):
    ends = np.array([np.inf, np.nan, 1], dtype)
    values = np.empty_like(ends)
    logarithms(ends, ends - 1, values)
    assert np.array_equal(values, np.array([np.inf, np.nan, 0], dtype), equal_nan=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tanh_in_three_loops_is_tanh_in_one_to_the_bit(dtype):
    @numba.njit(**jit.OPTIONS)
    def fill(x, one, three):
        for i in range(len(x)):
            one[0, i], one[1, i] = elementary.tanh_and_slope(x[i])
            three[0, i] = elementary.tanh_reduced(x[i])
        for i in range(len(x)):
            three[0, i] = elementary.tanh_series(three[0, i])
        for i in range(len(x)):
            three[0, i], three[1, i] = elementary.tanh_and_slope_of(x[i], three[0, i])

    x = np.concatenate([np.linspace(-30, 30, 1001), [0, -0.0, 1e-30, 800, np.inf, -np.inf, np.nan]])
    one, three = np.empty((2, 2, len(x)), dtype)
    fill(x.astype(dtype), one, three)
    np.testing.assert_array_equal(three, one)
    np.testing.assert_array_equal(np.signbit(three), np.signbit(one))
