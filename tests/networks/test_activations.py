"""Activations: values, slopes, and behaviour far out."""

import mpmath
import numpy as np
import pytest
from autograd import elementwise_grad

from nfref.networks import activations

POINTS = np.array([-1e3, -400.0, -20.0, -1.0, -1e-8, 0.0, 1e-8, 0.5, 3.0, 20.0, 400.0, 1e3])


@pytest.mark.parametrize(
    "name, value, slope",
    [
        ("tanh", mpmath.tanh, lambda x: mpmath.sech(x) ** 2),
        ("softplus", lambda x: mpmath.log1p(mpmath.exp(x)), lambda x: 1 / (1 + mpmath.exp(-x))),
        ("relu", lambda x: max(x, 0), None),
    ],
)
def test_activations_against_fifty_digits(name, value, slope):
    """Values and slopes, with no warning at |x| = 1e3."""
    activate = activations.ACTIVATIONS[name]
    with mpmath.workdps(50):
        exact = [float(value(mpmath.mpf(x))) for x in POINTS]
        np.testing.assert_allclose(activate(POINTS), exact, rtol=1e-15, atol=1e-300)
        if slope is not None:
            exact = [float(slope(mpmath.mpf(x))) for x in POINTS]
            np.testing.assert_allclose(
                elementwise_grad(activate)(POINTS), exact, rtol=2e-15, atol=1e-300
            )


@pytest.mark.parametrize("name", activations.ACTIVATIONS)
def test_activations_keep_single_precision(name):
    x = np.linspace(-200, 200, 9, dtype=np.float32)
    value = activations.ACTIVATIONS[name](x)
    slope = elementwise_grad(activations.ACTIVATIONS[name])(x)
    assert value.dtype == slope.dtype == np.float32
    assert np.all(np.isfinite(value)) and np.all(np.isfinite(slope))


def test_tanh_has_a_second_derivative():
    x = np.array([-1.5, -0.2, 0.4, 2.0])
    second = elementwise_grad(elementwise_grad(activations.tanh))(x)
    np.testing.assert_allclose(second, -2 * np.tanh(x) / np.cosh(x) ** 2, rtol=1e-13)
