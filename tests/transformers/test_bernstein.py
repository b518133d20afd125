"""The Bernstein polynomial: sixty digits, scipy's polynomial, tangents, roots, gradients."""

import numpy as np
import pytest
from scipy.interpolate import BPoly

import nfref
from tests.transformers import monotone

TRANSFORMER = nfref.Bernstein(7, 3.0)


@pytest.mark.parametrize("scale", [0.3, 3])
def test_sixty_digits(scale):
    monotone.assert_sixty_digits(TRANSFORMER, scale)


@pytest.mark.parametrize("dtype", monotone.DTYPES)
@pytest.mark.parametrize("scale", [0, 1, 8])
def test_roots(dtype, scale):
    monotone.assert_roots(TRANSFORMER, dtype, scale, 1e8)


@pytest.mark.parametrize("direction", monotone.DIRECTIONS)
def test_gradients(direction):
    monotone.assert_gradients(TRANSFORMER, direction)


def test_raw_zeros_are_the_identity():
    monotone.assert_identity_at_zeros(nfref.Bernstein())


def test_it_is_scipys_polynomial_and_bends_at_neither_end():
    raw = monotone.raw_numbers(TRANSFORMER, 1000, 2.0, seed=1)
    first, steps = h = TRANSFORMER.constrain(raw)
    theta = first[0] + np.concatenate([[0], np.cumsum(steps[:, 0])])
    curve = BPoly(theta[:, None], [-3, 3])
    x = np.linspace(-3, 3, 1000)
    z, log_slope = TRANSFORMER.inverse(x, h)
    np.testing.assert_allclose(z, curve(x), atol=1e-12)
    np.testing.assert_allclose(np.exp(log_slope), curve(x, 1), rtol=1e-11)
    np.testing.assert_allclose(curve([-3, 3], 2), 0, atol=1e-12)
    beyond, log_slope = TRANSFORMER.inverse(np.array([-5.0, 6.0]), [part[..., :2] for part in h])
    np.testing.assert_allclose(beyond, curve([-3, 3]) + curve([-3, 3], 1) * [-2, 3], rtol=1e-13)
    np.testing.assert_allclose(np.exp(log_slope), curve([-3, 3], 1), rtol=1e-13)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"degree": 2}, "^degree: expected at least 3, got 2$"),
        ({"bound": -1}, "^bound: expected a finite number above 0, got -1$"),
        ({"min_slope": 1}, "^min_slope: expected a number below 1, got 1$"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        nfref.Bernstein(**options)
