"""The integral of a positive network: its rule, its slope, its tangents, and its roots."""

import autograd
import autograd.numpy as anp
import mpmath as mp
import numpy as np
import pytest
from autograd.test_util import check_grads
from scipy.integrate import quad

from nfref.transformers.monotone_integral import (
    MonotoneIntegral,
    clenshaw_curtis,
    integrand,
    quadrature,
)
from tests.high_precision.maps.transformers import monotone_integral

DTYPES = [np.float64, np.float32]


def numbers(transformer, n, dtype=np.float64, seed=0):
    column = np.random.default_rng(seed).standard_normal((transformer.size, 1))
    return np.repeat(column.astype(dtype), n, axis=1)


@pytest.mark.parametrize("count", [2, 4, 8, 24, 64])
def test_the_rule_is_exact_for_polynomials(count):
    nodes, weights = map(np.array, clenshaw_curtis(count))
    assert np.all(weights > 0) and nodes[0] == 0 and nodes[-1] == 1
    for degree in range(count + 1):
        assert weights @ nodes**degree == pytest.approx(1 / (degree + 1), abs=4e-16)


def test_nodes_bring_the_sum_to_the_integral():
    """Compare with scipy's quadrature; each doubling gains a factor of a hundred at least."""
    transformer = MonotoneIntegral(4)
    h = [part[..., 0] for part in transformer.constrain(numbers(transformer, 1, seed=1))]
    exact = quad(lambda t: integrand(t, *h[1:])[0], 0, 7.0, epsabs=1e-13, epsrel=1e-13)[0]
    errors = [abs(quadrature(7.0, *h[1:], count)[0] - exact) for count in (8, 16, 32, 64)]
    assert errors[1] < errors[0] / 10 and errors[2] < errors[1] / 100
    assert errors[3] < 1e-12 * exact
    slopes = [
        abs(quadrature(7.0, *h[1:], count)[1] - integrand(7.0, *h[1:])[0])
        for count in (8, 16, 32, 64)
    ]
    assert slopes[0] > 1e-3 and slopes[3] < 1e-10


@pytest.mark.parametrize("nodes, bound", [(8, 1.0), (16, 2.0)])
def test_the_log_slope_is_that_of_the_sum(nodes, bound):
    """Compare with mpmath's derivative of the sum, even if the sum is not yet the integral."""
    transformer, x = MonotoneIntegral(2, nodes, bound), np.array([-50.0, -0.9, 0.4])
    raw = numbers(transformer, len(x), seed=2)
    h = transformer.constrain(raw)
    z, log_slope = transformer.inverse(x, h)
    with mp.workdps(40):
        for n in range(len(x)):

            def forward(value):
                return monotone_integral(transformer, [mp.mpf(v) for v in raw[:, 0]], {}, value)

            at = mp.mpf(z[n])
            assert abs(forward(at) - x[n]) < 1e-14 * (1 + abs(x[n])) * mp.exp(-log_slope[n]) + 1e-15
            assert abs(mp.log(mp.diff(forward, at)) + log_slope[n]) < 1e-13


@pytest.mark.parametrize("units", [1, 3, 8])
@pytest.mark.parametrize("scale", [1, 3, 10, 100])
def test_it_rises_everywhere(units, scale):
    """Check F' with g: the steepest allowed integrands, at the smallest number of nodes."""
    transformer, rng = MonotoneIntegral(units, 32, 4.0), np.random.default_rng(3)
    raw = scale * rng.standard_normal((transformer.size, 4000))
    raw[2 + 2 * units :] *= 20
    h = transformer.constrain(raw)
    steepest = np.sum(np.abs(h[4]), axis=0)
    assert np.all(steepest <= 8) and np.max(steepest) > 7.5
    x = 4 * np.sign(rng.standard_normal(4000)) * rng.random(4000) ** 0.2
    _, log_slope = transformer.inverse(x, h)
    assert np.all(log_slope - np.log(integrand(x, *h[1:])[0]) > -0.05)


def test_beyond_the_bound_it_is_its_tangent():
    transformer = MonotoneIntegral(3, 24, 3.0)
    x = np.array([3.0, 4.0, 1e300, -3.0, -4.0, -1e300])
    h = transformer.constrain(numbers(transformer, len(x)))
    z, log_slope = transformer.inverse(x, h)
    for ends in (slice(0, 3), slice(3, 6)):
        assert np.ptp(log_slope[ends]) == 0
        assert abs(z[ends][1] - z[ends][0]) == pytest.approx(np.exp(log_slope[ends][0]), rel=1e-13)
    np.testing.assert_allclose(z[[2, 5]], x[[2, 5]] * np.exp(log_slope[[2, 5]]), rtol=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [0, 1, 10])
def test_roots_for_any_z(scale, dtype):
    transformer, rng = MonotoneIntegral(5), np.random.default_rng(4)
    z = np.concatenate([size * rng.standard_normal(50) for size in (1e-9, 1, 30, 1e6, 1e30)])
    z = z.astype(dtype)
    raw = (scale * rng.standard_normal((transformer.size, len(z)))).astype(dtype)
    h = transformer.constrain(raw)
    x, log_slope = transformer.forward(z, h)
    again, back = transformer.inverse(x, h)
    assert x.dtype == log_slope.dtype == dtype
    eps = np.finfo(dtype).eps
    assert np.all(
        np.abs(again.astype(float) - z)
        <= 8 * eps * (np.abs(z) + np.abs(h[0]) + np.exp(back.astype(float)) * np.abs(x))
    )
    np.testing.assert_array_equal(back, -log_slope)


@pytest.mark.parametrize("output", [0, 1])
@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_gradients_inside_and_on_the_tangents(direction, output):
    transformer, rng = MonotoneIntegral(2, 16, 2.0), np.random.default_rng(5)
    check_grads(
        lambda v, raw: getattr(transformer, direction)(v, transformer.constrain(raw))[output],
        modes=["rev"],
        order=1,
    )(np.array([-40.0, -0.5, 0.3, 1.2, 50.0]), rng.standard_normal((transformer.size, 5)))


def test_gradients_are_finite_and_of_their_dtype():
    transformer = MonotoneIntegral(3, 16, 2.0)
    for dtype in DTYPES:
        v = np.array([-1e6, -2.0, 0.0, 2.0, 1e6], dtype)
        raw = 10 * numbers(transformer, len(v), dtype)
        for act in (transformer.forward, transformer.inverse):
            for output in (0, 1):
                found = autograd.grad(
                    lambda both: anp.sum(act(both[0], transformer.constrain(both[1]))[output])
                )((v, raw))
                assert all(part.dtype == dtype and np.all(np.isfinite(part)) for part in found)


def test_units_that_would_be_alike_are_told_apart():
    transformer, x = MonotoneIntegral(4), np.linspace(-3, 4, 7)
    slopes = autograd.grad(
        lambda raw: anp.sum(transformer.inverse(x, transformer.constrain(raw))[0] ** 2)
    )(np.zeros((transformer.size, 7))).sum(axis=1)
    assert np.min(np.abs(np.diff(np.sort(slopes[-4:])))) > 1e-3
