"""The mean of normals against many digits, its tails, its roots for any z, and its gradients."""

import autograd
import mpmath as mp
import numpy as np
import pytest
from autograd.test_util import check_grads

from nfref.transformers.gaussianization import (
    Gaussianization,
    log_hazard,
    mixture_of_normals_forward,
    mixture_of_normals_inverse,
    tail_point,
)
from tests.high_precision.maps.transformers import gaussianization

DTYPES = [np.float64, np.float32]
FAR = [0.0, 1e-9, 0.3, -2.0, 17.0, -40.0, 300.0, -1e4]


def numbers(transformer, n, scale=1.0, seed=0):
    column = scale * np.random.default_rng(seed).standard_normal((transformer.size, 1))
    return np.repeat(column, n, axis=1)


def exact_inverse(a, b, x):
    """(z, log dz/dx) in the nearer tail; z by Newton's method on the logarithm."""
    u = [mp.exp(mp.mpf(float(p))) * mp.mpf(float(x)) + mp.mpf(float(q)) for p, q in zip(a, b)]
    right = mp.fsum(map(mp.ncdf, u)) / len(u) > 0.5
    v = u if right else [-value for value in u]

    def tail(value):
        return mp.erfc(value / mp.sqrt(2)) / 2

    total = mp.fsum(map(tail, v)) / len(u)
    w = mp.findroot(lambda w: mp.log(tail(w)) - mp.log(total), mp.sqrt(-2 * mp.log(2 * total)))
    slope = mp.fsum(mp.exp(mp.mpf(float(p))) * mp.npdf(value) for p, value in zip(a, v)) / len(u)
    return (w if right else -w), mp.log(slope / mp.npdf(w))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [0.5, 2])
def test_map_and_log_slope_far_out(scale, dtype):
    """zuko's form, of S itself, is infinite or clipped from |z| = 5 on."""
    transformer, x = Gaussianization(4), np.array(FAR, dtype)
    a, b = transformer.constrain(numbers(transformer, len(x), scale).astype(dtype))
    z, log_slope = transformer.inverse(x, (a, b))
    assert z.dtype == log_slope.dtype == dtype
    eps = float(np.finfo(dtype).eps)
    with mp.workdps(60):
        for k, value in enumerate(x):
            exact_z, exact_log = exact_inverse(a[:, k], b[:, k], value)
            assert abs(z[k] - exact_z) <= 8 * eps * (1 + abs(exact_z)), value
            assert abs(log_slope[k] - exact_log) <= 16 * eps * (1 + abs(exact_log)), value


def test_far_out_the_flattest_component_is_all():
    transformer = Gaussianization(4)
    a, b = h = transformer.constrain(numbers(transformer, 2))
    x, least = np.array([1e100, -1e100]), np.argmin(a[:, 0])
    z, log_slope = transformer.inverse(x, h)
    np.testing.assert_allclose(z, np.exp(a[least]) * x, rtol=1e-14)
    np.testing.assert_allclose(log_slope, a[least], rtol=1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [0, 1, 5])
def test_roots_for_any_z(scale, dtype):
    transformer, rng = Gaussianization(5), np.random.default_rng(2)
    z = np.concatenate([size * rng.standard_normal(100) for size in (1e-9, 1, 30, 1e6)])
    z = z.astype(dtype)
    raw = (scale * rng.standard_normal((transformer.size, len(z)))).astype(dtype)
    a, b = h = transformer.constrain(raw)
    x, log_slope = transformer.forward(z, h)
    again, back = transformer.inverse(x, h)
    assert x.dtype == log_slope.dtype == dtype
    # Allow one rounding error of every u_k: of its two terms.
    size = np.max(np.abs(x) * np.exp(a) + np.abs(b), axis=0)
    eps = np.finfo(dtype).eps
    assert np.all(np.abs(again.astype(float) - z) <= 8 * eps * (1 + np.abs(z) + size))
    np.testing.assert_allclose(back, -log_slope, rtol=0, atol=64 * eps)


def test_a_root_is_that_of_many_digits():
    transformer, z = Gaussianization(3), np.array([-8.0, -1.5, 0.2, 7.0])
    raw = numbers(transformer, len(z), seed=3)
    x, _ = transformer.forward(z, transformer.constrain(raw))
    with mp.workdps(60):
        exact = [
            gaussianization(transformer, [mp.mpf(v) for v in raw[:, 0]], {}, mp.mpf(value))
            for value in z
        ]
    np.testing.assert_allclose(x, [float(value) for value in exact], rtol=1e-13)


def test_hazard_and_tail_to_sixty_digits():
    v = np.array([-300.0, -20.0, -1.0, -1e-9, 0.0, 1e-9, 0.5, 3.0, 40.0, 1e6])
    with mp.workdps(60):
        hazard = [mp.log(mp.npdf(x) / mp.ncdf(-x)) for x in map(mp.mpf, v[:-1].tolist())]
        points = [mp.log(mp.erfc(mp.mpf(x) / mp.sqrt(2)) / 2) for x in (0, 0.5, 3, 40, 1e4)]
    np.testing.assert_allclose(
        log_hazard(v)[:-1], [float(h) for h in hazard], rtol=1e-14, atol=1e-15
    )
    assert log_hazard(v)[-1] == pytest.approx(np.log(1e6), rel=1e-12)
    found = tail_point(np.array([float(p) for p in points]))
    np.testing.assert_allclose(found, [0, 0.5, 3, 40, 1e4], rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("output", [0, 1])
@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_gradients_of_first_and_second_order(direction, output):
    transformer, rng = Gaussianization(2), np.random.default_rng(4)
    check_grads(
        lambda v, raw: getattr(transformer, direction)(v, transformer.constrain(raw))[output],
        modes=["rev"],
    )(2 * rng.standard_normal(4), rng.standard_normal((transformer.size, 4)))


def test_wrong_arguments():
    with pytest.raises(ValueError, match="^components: expected at least 1, got 0$"):
        Gaussianization(0)
    with pytest.raises(ValueError, match="^bound: expected a finite number above 0, got -1$"):
        Gaussianization(bound=-1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sign", [-1, 1])
def test_where_squares_overflow_the_flattest_component_alone_counts(dtype, sign):
    """Its line is the map to rounding long before, so nothing jumps where the squares overflow."""
    a, b = np.array([[1.0], [-2.0], [0.5]], dtype), np.array([[0.3], [2.0], [-1.0]], dtype)
    largest = np.finfo(dtype).max
    x = dtype(sign) * largest ** np.linspace(0.4, 0.98, 40, dtype=dtype)
    slope = np.exp(dtype(-2))
    z, log_slope = mixture_of_normals_inverse(x, a, b)
    assert z.dtype == log_slope.dtype == dtype
    np.testing.assert_allclose(z, slope * x, rtol=8 * np.finfo(dtype).eps)
    np.testing.assert_allclose(log_slope, -2, rtol=8 * np.finfo(dtype).eps)
    back, there = mixture_of_normals_forward(z, a, b)
    np.testing.assert_allclose(back, x, rtol=8 * np.finfo(dtype).eps)
    np.testing.assert_allclose(there, 2, rtol=8 * np.finfo(dtype).eps)
    of_z, of_slope = (
        autograd.grad(lambda a: mixture_of_normals_inverse(x[-1:], a, b)[k][0])(a) for k in (0, 1)
    )
    np.testing.assert_allclose(of_z.ravel() / x[-1], [0, slope, 0], rtol=1e-5)
    np.testing.assert_array_equal(of_slope.ravel(), [0, 1, 0])
