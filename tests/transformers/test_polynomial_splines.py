"""Linear, quadratic and cubic splines: sixty digits, knots, ends, roots, gradients, bad input."""

import numpy as np
import pytest
from scipy.interpolate import CubicHermiteSpline

import nfref
from tests.transformers import monotone

SPLINES = {
    "linear": nfref.LinearSpline(5),
    "quadratic": nfref.QuadraticSpline(5),
    "cubic": nfref.CubicSpline(5),
}
each = pytest.mark.parametrize("transformer", SPLINES.values(), ids=SPLINES)


@each
@pytest.mark.parametrize("scale", [0.3, 1.5])
def test_sixty_digits(transformer, scale):
    monotone.assert_sixty_digits(transformer, scale)


@each
@pytest.mark.parametrize("dtype", monotone.DTYPES)
@pytest.mark.parametrize("scale", [0, 1, 8])
def test_roots(transformer, dtype, scale):
    monotone.assert_roots(transformer, dtype, scale, 1e8)


@each
@pytest.mark.parametrize("direction", monotone.DIRECTIONS)
def test_gradients(transformer, direction):
    monotone.assert_gradients(transformer, direction)


@each
def test_raw_zeros_are_the_identity(transformer):
    monotone.assert_identity_at_zeros(transformer)


@each
def test_knots_go_to_knots(transformer):
    """Ends stay and the identity goes on; each knot x_k has the value y_k, from both sides."""
    h = transformer.constrain(monotone.raw_numbers(transformer, 6, seed=5))
    z, _ = transformer.inverse(h[0][:, 0], h)
    np.testing.assert_allclose(z, h[1][:, 0], atol=1e-14)
    below, _ = transformer.inverse(h[0][:, 0] - 1e-9, h)
    np.testing.assert_allclose(below, z, atol=1e-7)
    assert z[0] == -3 and z[-1] == 3


def test_slopes_of_the_linear_spline_are_a_histogram():
    transformer = nfref.LinearSpline(4, 2.0)
    raw = monotone.raw_numbers(transformer, 4, seed=6)
    shares = 1e-3 + (1 - 4e-3) * np.exp(raw[:, 0]) / np.sum(np.exp(raw[:, 0]))
    middles = np.array([-1.5, -0.5, 0.5, 1.5])
    z, log_slope = transformer.inverse(middles, transformer.constrain(raw))
    np.testing.assert_allclose(log_slope, np.log(4 * shares), rtol=1e-13)
    np.testing.assert_allclose(z, 4 * (np.cumsum(shares) - shares / 2) - 2, atol=1e-14)


def test_slopes_of_the_quadratic_spline_are_a_polygon_that_ends_at_one():
    """They are continuous everywhere, and the area below them is that of the identity."""
    transformer = nfref.QuadraticSpline(6)
    raw = monotone.raw_numbers(transformer, 4001, 2.0, seed=7)
    x = np.linspace(-3.5, 3.5, 4001)
    h = transformer.constrain(raw)
    slopes = np.exp(transformer.inverse(x, h)[1])
    np.testing.assert_allclose(slopes, np.interp(x, h[0][:, 0], h[2][:, 0]), rtol=1e-12)
    assert h[2][0, 0] == h[2][-1, 0] == 1
    np.testing.assert_allclose(np.trapezoid(h[2][:, 0], h[0][:, 0]), 6, rtol=1e-14)


def test_the_cubic_spline_is_that_of_scipy_with_steffens_slopes():
    transformer = nfref.CubicSpline(6)
    raw = monotone.raw_numbers(transformer, 2000, 1.5, seed=8)
    x = np.random.default_rng(9).uniform(-3, 3, 2000)
    h = transformer.constrain(raw)
    x_k, y_k, s, d = (part[:, 0] for part in h)
    curve = CubicHermiteSpline(x_k, y_k, d)
    z, log_slope = transformer.inverse(x, h)
    np.testing.assert_allclose(z, curve(x), atol=1e-13)
    np.testing.assert_allclose(np.exp(log_slope), curve(x, 1), rtol=1e-10)
    w, signs = np.diff(x_k), 2
    p = (s[:-1] * w[1:] + s[1:] * w[:-1]) / (w[:-1] + w[1:])
    np.testing.assert_allclose(d[1:-1], signs * np.minimum(np.minimum(s[:-1], s[1:]), p / 2))
    assert 0 < d[0] < 3 * s[0] and 0 < d[-1] < 3 * s[-1]


@pytest.mark.parametrize("end", [-60.0, 60.0])
def test_the_cubic_spline_increases_for_the_steepest_and_flattest_ends(end):
    transformer = nfref.CubicSpline(2)
    raw = monotone.raw_numbers(transformer, 20001, 2.0, seed=10)
    raw[-2:] = end
    z, log_slope = transformer.inverse(np.linspace(-3, 3, 20001), transformer.constrain(raw))
    assert np.all(np.diff(z) > 0) and np.all(np.isfinite(log_slope))


@pytest.mark.parametrize(
    "kind, options, message",
    [
        (nfref.LinearSpline, {"bins": 0}, "^bins: expected at least 1, got 0$"),
        (nfref.LinearSpline, {"bound": 0}, "^bound: expected a finite number above 0, got 0$"),
        (
            nfref.LinearSpline,
            {"bins": 4, "min_height": 0.3},
            "^min_height: expected a number below 0.25, got 0.3$",
        ),
        (nfref.QuadraticSpline, {"bins": 2}, "^bins: expected at least 3, got 2$"),
        (
            nfref.QuadraticSpline,
            {"bins": 4, "min_width": 0.25},
            "^min_width: expected a number below 0.25, got 0.25$",
        ),
        (nfref.QuadraticSpline, {"min_slope": 1}, "^min_slope: expected a number below 1, got 1$"),
        (nfref.CubicSpline, {"bins": 1}, "^bins: expected at least 2, got 1$"),
        (nfref.CubicSpline, {"min_slope": 0.5}, "^min_slope: expected a number below 0.333"),
    ],
)
def test_wrong_arguments(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(**options)
