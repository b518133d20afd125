"""The sigmoidal transformer against many digits, at its ends, and its roots for any z."""

import autograd
import autograd.numpy as anp
import mpmath as mp
import numpy as np
import pytest
from autograd.test_util import check_grads

from nfref.transformers.deep_sigmoid import DeepSigmoid, ends_of_sigmoids, sigmoids_inverse
from nfref.transformers.root import increasing_root
from tests.high_precision.maps.transformers import deep_sigmoid

DTYPES = [np.float64, np.float32]
FAR = [0.0, 1e-9, 0.3, -2.0, 17.0, -40.0, 300.0, -1e4, 1e6, -1e6]


def raw_numbers(transformer, scale, n, dtype=np.float64, seed=0):
    column = scale * np.random.default_rng(seed).standard_normal((transformer.size, 1))
    return np.repeat(column.astype(dtype), n, axis=1)


def exact_inverse(a, b, log_w, x):
    """(z, log dz/dx): S and C by their own sums, the slope as S' / (S C)."""
    x, a, b, log_w = mp.mpf(float(x)), *([mp.mpf(float(v)) for v in part] for part in (a, b, log_w))
    w = [mp.exp(value) for value in log_w]
    s, c = (
        [1 / (1 + mp.exp(-sign * (a_j * x + b_j))) for a_j, b_j in zip(a, b)] for sign in (1, -1)
    )
    S, C = (mp.fsum(w_j * part_j for w_j, part_j in zip(w, part)) for part in (s, c))
    slope = mp.fsum(w_j * a_j * s_j * c_j for w_j, a_j, s_j, c_j in zip(w, a, s, c))
    return mp.log(S / C), mp.log(slope / (S * C) * mp.fsum(w))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [0.5, 3])
def test_map_and_log_slope_far_out(scale, dtype):
    """The error is that of one rounding of u = a x + b, plus a few ulp; |x| to 1e6."""
    transformer, x = DeepSigmoid(5), np.array(FAR, dtype)
    h = transformer.constrain(raw_numbers(transformer, scale, len(x), dtype))
    z, log_slope = transformer.inverse(x, h)
    assert z.dtype == log_slope.dtype == dtype
    eps = float(np.finfo(dtype).eps)
    wide = [part.astype(float) for part in h]

    def of_u(u, output):  # the map with x = 1 and slopes a: the effect of u alone
        return anp.sum(sigmoids_inverse(np.zeros(len(x)), wide[0], u, wide[2])[output])

    u = wide[0] * x.astype(float) + wide[1]
    moves = [eps * np.sum(np.abs(autograd.grad(of_u)(u, k)) * np.abs(u), axis=0) for k in (0, 1)]
    with mp.workdps(40):
        for n, row in enumerate(x):
            exact_z, exact_log = exact_inverse(*(part[:, n] for part in h), row)
            assert abs(z[n] - exact_z) <= 2 * moves[0][n] + 4 * eps * (1 + abs(exact_z)), row
            assert abs(log_slope[n] - exact_log) <= 2 * moves[1][n] + 8 * eps * (
                1 + abs(exact_log)
            ), row


def test_far_out_the_flattest_unit_is_all():
    """There z = a_min x + b_min -+ log w_min, with numbers far beyond any fixed bracket."""
    transformer = DeepSigmoid(4)
    a, b, log_w = h = transformer.constrain(raw_numbers(transformer, 1, 2))
    x = np.array([1e200, -1e200])
    z, log_slope = transformer.inverse(x, h)
    least = np.argmin(a[:, 0])
    np.testing.assert_allclose(z, a[least] * x, rtol=1e-14)
    np.testing.assert_allclose(log_slope, np.log(a[least]), rtol=1e-14)
    x = np.array([1000.0, -1000.0])
    np.testing.assert_allclose(
        transformer.inverse(x, h)[0],
        a[least] * x + b[least] - np.sign(x) * log_w[least],
        rtol=1e-14,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [0, 1, 5, 30])
def test_roots_for_any_z(scale, dtype):
    """For z from 1e-9 to 1e30: F(x) = z up to rounding, and x lies between its ends."""
    transformer, rng = DeepSigmoid(6), np.random.default_rng(1)
    z = np.concatenate([size * rng.standard_normal(200) for size in (1e-9, 1, 30, 1e6, 1e30)])
    z = z.astype(dtype)
    raw = (scale * rng.standard_normal((transformer.size, len(z)))).astype(dtype)
    h = transformer.constrain(raw)
    x, log_slope = transformer.forward(z, h)
    assert x.dtype == log_slope.dtype == dtype and np.all(np.isfinite(x))
    again, back = transformer.inverse(x, h)
    np.testing.assert_array_equal(log_slope, -back)
    # One rounding error of x, and of u: its terms are as large as |a x| + |b|.
    slope = np.exp(np.minimum(back, 80).astype(float))
    size = np.max(np.abs(h[0] * x) + np.abs(h[1]), axis=0)
    eps = np.finfo(dtype).eps
    assert np.all(
        np.abs(again.astype(float) - z) <= 2 * eps * (1 + np.abs(z) + slope * np.abs(x) + size)
    )
    low, high = ends_of_sigmoids(z, *h)
    assert np.all((low <= x) & (x <= high))


def test_a_root_is_that_of_many_digits():
    transformer = DeepSigmoid(3)
    z = np.array([-300.0, -1.5, 0.2, 40.0])
    raw = raw_numbers(transformer, 1, len(z))
    x, _ = transformer.forward(z, transformer.constrain(raw))
    with mp.workdps(40):
        exact = [
            deep_sigmoid(transformer, [mp.mpf(v) for v in raw[:, 0]], {}, mp.mpf(value))
            for value in z
        ]
    np.testing.assert_allclose(x, [float(value) for value in exact], rtol=1e-14)


@pytest.mark.parametrize("output", [0, 1])
@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_gradients_of_first_and_second_order(direction, output):
    transformer, rng = DeepSigmoid(3), np.random.default_rng(2)
    check_grads(
        lambda v, raw: getattr(transformer, direction)(v, transformer.constrain(raw))[output],
        modes=["rev"],
    )(2 * rng.standard_normal(4), rng.standard_normal((transformer.size, 4)))


def test_gradients_far_out_are_finite():
    transformer = DeepSigmoid(4)
    for dtype in DTYPES:
        z = np.array([1e6, -1e6, 0.0, 50.0], dtype)
        raw = raw_numbers(transformer, 3, len(z), dtype)
        for act in (transformer.forward, transformer.inverse):
            for output in (0, 1):
                found = autograd.grad(
                    lambda both: anp.sum(act(both[0], transformer.constrain(both[1]))[output])
                )((z, raw))
                assert all(part.dtype == dtype and np.all(np.isfinite(part)) for part in found)


def test_units_that_would_be_alike_are_told_apart():
    """Every unit has a gradient of its own at raw 0; the map is near the identity."""
    transformer, x = DeepSigmoid(6), np.linspace(-3, 4, 7)
    raw = np.zeros((transformer.size, len(x)))
    z, log_slope = transformer.inverse(x, transformer.constrain(raw))
    assert np.max(np.abs(z - x)) < 0.25 and np.max(np.abs(log_slope)) < 0.15
    slopes = autograd.grad(
        lambda raw: anp.sum(transformer.inverse(x, transformer.constrain(raw))[0] ** 2)
    )(raw).sum(axis=1)
    assert np.min(np.abs(np.diff(slopes[:6]))) > 1e-3


def test_roots_of_steep_and_flat_functions():
    """Newton alone would leave the bracket on each of these."""

    def cubes(x):
        return x**3 + 1e-6 * x, np.log(3 * x**2 + 1e-6)

    def kinked(x):
        flat = x < 0
        return np.where(flat, 1e-3 * x, 1e3 * x), np.where(flat, np.log(1e-3), np.log(1e3))

    target = np.array([-1e9, -2.0, -1e-12, 0.0, 1e-9, 0.3, 5.0, 1e12])
    for function in (cubes, kinked):
        x = increasing_root(
            function, lambda t: (np.full_like(t, -1e13), np.full_like(t, 1e13)), target
        )
        np.testing.assert_allclose(function(x)[0], target, rtol=1e-13, atol=1e-20)


def test_a_target_that_is_not_finite_has_no_root():
    transformer = DeepSigmoid(2)
    z = np.array([np.nan, np.inf, 1.0])
    x = increasing_root(
        sigmoids_inverse,
        ends_of_sigmoids,
        z,
        *transformer.constrain(raw_numbers(transformer, 1, 3)),
    )
    assert np.all(np.isnan(x[:2])) and np.isfinite(x[2])


def test_wrong_arguments():
    with pytest.raises(ValueError, match="^units: expected at least 1, got 0$"):
        DeepSigmoid(0)
    with pytest.raises(ValueError, match="^min_slope: expected a number below 1, got 1.0$"):
        DeepSigmoid(min_slope=1.0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("x", [1e30, -1e30])
def test_units_of_one_slope_have_that_slope_far_out_whatever_they_weigh(x, dtype):
    a, log_w = np.full((2, 1), 1e-3, dtype), np.array([[0], [-1e5 / 3]], dtype)
    _, log_slope = sigmoids_inverse(np.array([x], dtype), a, np.zeros_like(a), log_w)
    np.testing.assert_allclose(log_slope, np.log(dtype(1e-3)), rtol=4 * np.finfo(dtype).eps)
