"""Networks and activations: values, slopes, and behaviour far out."""

import autograd.numpy as anp
import mpmath
import numpy as np
import pytest
from autograd import elementwise_grad, make_vjp

from nfref.networks import activations, masked, mlp

POINTS = np.array([-1e3, -400.0, -20.0, -1.0, -1e-8, 0.0, 1e-8, 0.5, 3.0, 20.0, 400.0, 1e3])


def test_mlp_is_the_displayed_formula():
    rng = np.random.default_rng(0)
    params = [{"weight": rng.standard_normal((i, o)), "bias": rng.standard_normal(o)}
              for i, o in ((3, 4), (4, 5), (5, 2))]
    x = rng.standard_normal((6, 3))
    for name, activate in (("relu", lambda v: max(v, 0.0)), ("tanh", np.tanh),
                           ("softplus", lambda v: np.log(1 + np.exp(v)))):
        expected = np.zeros((6, 2))
        for n in range(6):
            h = list(x[n])
            for k, layer in enumerate(params):
                h = [sum(h[i] * layer["weight"][i, o] for i in range(len(h))) + layer["bias"][o]
                     for o in range(len(layer["bias"]))]
                h = [activate(v) for v in h] if k < 2 else h
            expected[n] = h
        np.testing.assert_allclose(mlp.mlp(params, x, name), expected, rtol=1e-12)


def test_masked_weights_take_no_part():
    """Neither in the value nor in the gradient, whatever number they hold."""
    rng = np.random.default_rng(1)
    params = [{"weight": rng.standard_normal((3, 3)), "bias": rng.standard_normal(3)}]
    mask = np.array([[True, False, True], [False, False, True], [True, True, False]])
    x = rng.standard_normal((4, 3))
    vjp, value = make_vjp(lambda p: masked.masked_mlp(p, [mask], x))(params)
    np.testing.assert_array_equal(vjp(np.ones_like(value))[0]["weight"][~mask], 0)
    other = [{**params[0], "weight": np.where(mask, params[0]["weight"], 1e6)}]
    np.testing.assert_array_equal(masked.masked_mlp(other, [mask], x), value)


def test_init_mlp():
    """Hidden layers within 1/sqrt(fan_in), the last zero."""
    hidden, last = mlp.init_mlp(np.random.default_rng(0), (4, 300, 3))
    for leaf in hidden.values():
        assert 0.45 < np.max(np.abs(leaf)) <= 0.5
    assert not last["weight"].any() and not last["bias"].any()
    assert last["weight"].shape == (300, 3)


@pytest.mark.parametrize("name, value, slope", [
    ("tanh", mpmath.tanh, lambda x: mpmath.sech(x) ** 2),
    ("softplus", lambda x: mpmath.log1p(mpmath.exp(x)), lambda x: 1 / (1 + mpmath.exp(-x))),
    ("relu", lambda x: max(x, 0), None),
])
def test_activations_against_fifty_digits(name, value, slope):
    """Values and slopes, with no warning at |x| = 1e3."""
    activate = activations.ACTIVATIONS[name]
    with mpmath.workdps(50):
        exact = [float(value(mpmath.mpf(x))) for x in POINTS]
        np.testing.assert_allclose(activate(POINTS), exact, rtol=1e-15, atol=1e-300)
        if slope is not None:
            exact = [float(slope(mpmath.mpf(x))) for x in POINTS]
            np.testing.assert_allclose(elementwise_grad(activate)(POINTS), exact, rtol=2e-15,
                                       atol=1e-300)


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


def test_with_context():
    x, context = np.ones((2, 3)), np.zeros((2, 1))
    assert mlp.with_context(x, None) is x
    np.testing.assert_array_equal(mlp.with_context(x, context), anp.array([[1, 1, 1, 0]] * 2))
