"""Multilayer perceptrons: the formula, its start, and a context."""

import autograd.numpy as anp
import numpy as np

from nfref.networks import mlp


def test_mlp_is_the_displayed_formula():
    rng = np.random.default_rng(0)
    params = [
        {"weight": rng.standard_normal((i, o)), "bias": rng.standard_normal(o)}
        for i, o in ((3, 4), (4, 5), (5, 2))
    ]
    x = rng.standard_normal((6, 3))
    for name, activate in (
        ("relu", lambda v: max(v, 0.0)),
        ("tanh", np.tanh),
        ("softplus", lambda v: np.log(1 + np.exp(v))),
    ):
        expected = np.zeros((6, 2))
        for n in range(6):
            h = list(x[n])
            for k, layer in enumerate(params):
                h = [
                    sum(h[i] * layer["weight"][i, o] for i in range(len(h))) + layer["bias"][o]
                    for o in range(len(layer["bias"]))
                ]
                h = [activate(v) for v in h] if k < 2 else h
            expected[n] = h
        np.testing.assert_allclose(mlp.mlp(params, x, name), expected, rtol=1e-12)


def test_init_mlp():
    """Hidden layers start within 1/sqrt(fan_in), the last layer at zero."""
    hidden, last = mlp.init_mlp(np.random.default_rng(0), (4, 300, 3))
    for leaf in hidden.values():
        assert 0.45 < np.max(np.abs(leaf)) <= 0.5
    assert not last["weight"].any() and not last["bias"].any()
    assert last["weight"].shape == (300, 3)


def test_with_context():
    x, context = np.ones((2, 3)), np.zeros((2, 1))
    assert mlp.with_context(x, None) is x
    np.testing.assert_array_equal(mlp.with_context(x, context), anp.array([[1, 1, 1, 0]] * 2))
