"""Planar flows against 50-digit arithmetic, up to the limit of invertibility."""

import autograd.numpy as anp
import mpmath
import numpy as np
import pytest
from autograd import elementwise_grad, grad

import nfref
from nfref.flows import planar
from tests.finite_differences.contract import contract_test
from tests.flow_table import Entry

SLACKS = (1e-12, 1e-6, 1e-3, 0.5, 1.0, 1.5, 30.0, 1e6)
RIGHT_HAND_SIDES = (1e-300, 1e-12, 1e-6, 1e-3, 0.1, 0.7, 1.0, 1.3, 3.0, 30.0, 1e3, 1e6)

CONTRACT = {
    "PlanarLayer": Entry(nfref.PlanarLayer, context=True),
    "Planar": Entry(lambda d, c: nfref.Planar(d, 3, c), context=True),
    "Invert(Planar)": Entry(lambda d, c: nfref.Invert(nfref.Planar(d, 2, c)), context=True),
}
test_contract = contract_test(CONTRACT)


def exact_root(r, slack):
    """The root of (a - tanh a) + slack tanh a = r by bisection with 50 digits."""
    with mpmath.workdps(50):
        r, slack = mpmath.mpf(float(r)), mpmath.mpf(float(slack))
        sign, r = mpmath.sign(r), abs(r)
        low, high = mpmath.mpf(0), r + abs(slack - 1) + 1
        if slack > 0 and r / slack < high:
            high = min(high, r / min(slack, 1))
        for _ in range(200):
            middle = (low + high) / 2
            if middle + (slack - 1) * mpmath.tanh(middle) < r:
                low = middle
            else:
                high = middle
        return sign * (low + high) / 2


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("slack", SLACKS)
def test_root_is_exact_to_a_few_ulp(slack, dtype):
    """|a - exact| within 4 ulp, times what one rounding error of r and slack does to the root.

    da = (dr - tanh(a) dslack) / slope, so that is (|r| + slack tanh a) / (slope a).
    """
    eps = float(np.finfo(dtype).eps)
    r = np.array([sign * r for r in RIGHT_HAND_SIDES for sign in (1, -1)] + [0.0])
    if dtype == np.float32:
        r = r[np.abs(r) != 1e-300]
    r = r.astype(dtype)[:, None]
    slack = np.full_like(r, slack)
    found = planar.planar_root(r, slack)
    assert found.dtype == dtype
    for a, right, s in zip(found[:, 0], r[:, 0], slack[:, 0]):
        exact = exact_root(right, s)
        slope = 1 + (mpmath.mpf(float(s)) - 1) * mpmath.sech(exact) ** 2
        sensitivity = float((abs(float(right)) + float(s) * mpmath.tanh(abs(exact))) / slope)
        error = float(abs(mpmath.mpf(float(a)) - exact))
        assert error <= 4 * eps * max(abs(float(exact)), sensitivity), (right, s, a, exact)


@pytest.mark.parametrize("slack", SLACKS)
def test_gradient_of_the_root(slack):
    """Implicit differentiation against differences of the 50-digit root."""
    for r in (1e-3, 0.4, -1.1, 5.0):
        point = np.array([[r]]), np.array([[slack]])
        by_r = elementwise_grad(planar.planar_root, 0)(*point)[0, 0]
        by_slack = elementwise_grad(planar.planar_root, 1)(*point)[0, 0]
        with mpmath.workdps(50):
            a = exact_root(r, slack)
            slope = 1 + (mpmath.mpf(slack) - 1) * mpmath.sech(a) ** 2
            assert by_r == pytest.approx(float(1 / slope), rel=1e-9)
            assert by_slack == pytest.approx(float(-mpmath.tanh(a) / slope), rel=1e-9)


@pytest.mark.parametrize("slack", [0.05, 0.8, 4.0])
def test_second_derivative_of_the_root(slack):
    """d2a/dr2 = 2 (slack - 1) sech^2(a) tanh(a) / slope^3, from differentiating 1/slope again."""
    r = np.array([[-2.0], [0.3], [1.5]])
    first = elementwise_grad(planar.planar_root)
    second = elementwise_grad(first)(r, np.full_like(r, slack))
    a = planar.planar_root(r, np.full_like(r, slack))
    slope = 1 + (slack - 1) / np.cosh(a) ** 2
    expected = 2 * (slack - 1) * np.tanh(a) / np.cosh(a) ** 2 / slope**3
    np.testing.assert_allclose(second, expected, rtol=1e-11)


def test_root_of_infinity_and_nan_passes_through():
    r = np.array([[np.inf], [-np.inf], [np.nan], [1.0]])
    found = planar.planar_root(r, np.full_like(r, 0.5))
    np.testing.assert_array_equal(found[:3], r[:3])
    assert np.isfinite(found[3, 0])


@pytest.mark.parametrize("length", [1e-3, 0.3, 1.0, 7.0, 1e3])
def test_u_hat_keeps_the_map_invertible_for_any_length_of_w(length):
    """w . u_hat = -1 + log(1 + e^(w . u)) > -1, whatever |w| is, and u_hat - u is along w."""
    rng = np.random.default_rng(3)
    w = rng.standard_normal((200, 4))
    w *= length / np.linalg.norm(w, axis=1, keepdims=True)
    u = 5 * rng.standard_normal((200, 4)) / length
    u_hat, slack = planar.constrain_u(u, w)
    assert np.all(slack > 0)
    product = np.sum(w * u_hat, axis=1, keepdims=True)
    scale = np.sum(np.abs(w) * (np.abs(u) + np.abs(u_hat)), axis=1, keepdims=True) + 1
    assert np.all(np.abs(product - (slack - 1)) <= 1e-14 * scale)
    with mpmath.workdps(50):
        for u_row, w_row, s in zip(u[:20], w[:20], slack[:20, 0]):
            dot = mpmath.fsum(mpmath.mpf(a) * mpmath.mpf(b) for a, b in zip(u_row, w_row))
            exact = mpmath.log1p(mpmath.exp(dot))
            rounding = float(np.sum(np.abs(u_row * w_row))) * 1e-15
            assert float(abs(mpmath.mpf(s) - exact)) <= float(exact) * (rounding + 1e-15)
    change = u_hat - u
    along = np.sum(change * w, axis=1, keepdims=True) * w / np.sum(w * w, axis=1, keepdims=True)
    np.testing.assert_allclose(change, along, atol=1e-13 * np.max(np.abs(u)))


def test_w_of_zero_is_a_translation():
    layer = nfref.PlanarLayer(2)
    params = {"u": np.array([1.0, -2.0]), "w": np.zeros(2), "b": np.array([0.7])}
    z = np.array([[0.0, 0.0], [3.0, -1.0]])
    x, log_det = layer.forward(params, z)
    np.testing.assert_allclose(x, z + np.tanh(0.7) * params["u"], rtol=1e-15)
    np.testing.assert_allclose(log_det, 0, atol=1e-15)
    np.testing.assert_allclose(layer.inverse(params, x)[0], z, atol=1e-15)
    gradient = grad(lambda p: anp.sum(layer.inverse(p, x)[1]))(params)
    assert all(np.all(np.isfinite(leaf)) for leaf in gradient.values())


def test_nearly_folded_space_comes_back():
    """w . u = -27: the slope at a = 0 is 2e-12, and rows there still return."""
    layer = nfref.PlanarLayer(2)
    params = {"u": np.array([-27.0, 3.0]), "w": np.array([1.0, 0.0]), "b": np.zeros(1)}
    z = np.array([[1e-3, 0.5], [0.0, 1.0], [-0.2, 2.0], [4.0, -1.0]])
    x, log_det = layer.forward(params, z)
    returned, back = layer.inverse(params, x)
    slope = np.exp(log_det)[:, None]
    assert np.all(np.abs(returned - z) <= 8 * np.finfo(float).eps * (1 + np.abs(x)) / slope)
    assert np.all(log_det < 1) and log_det[1] == pytest.approx(-27, abs=1e-10)
    np.testing.assert_allclose(log_det + back, 0, atol=1e-8)


def test_minus_tanh_keeps_its_digits():
    a = np.concatenate([10.0 ** np.arange(-12, 1), [0.3, 0.9, 0.999999, 1.000001, 2.0, 20.0]])
    with mpmath.workdps(60):
        exact = np.array([float(mpmath.mpf(v) - mpmath.tanh(mpmath.mpf(v))) for v in a])
    np.testing.assert_allclose(planar.minus_tanh(a), exact, rtol=2e-15)


def test_each_context_row_has_its_own_map():
    """A row equals one mapped by the plain layer with that row's u, w, b."""
    rng = np.random.default_rng(1)
    layer, plain = nfref.PlanarLayer(3, context_dim=2), nfref.PlanarLayer(3)
    params = {**layer.init(rng), "from_context": rng.standard_normal((2, 7))}
    z, context = rng.standard_normal((5, 3)), rng.standard_normal((5, 2))
    x, log_det = layer.forward(params, z, context)
    for i in range(5):
        change = context[i] @ params["from_context"]
        own = {
            "u": params["u"] + change[:3],
            "w": params["w"] + change[3:6],
            "b": params["b"] + change[6:],
        }
        x_row, log_det_row = plain.forward(own, z[i : i + 1])
        np.testing.assert_allclose(x[i], x_row[0], rtol=1e-13)
        np.testing.assert_allclose(log_det[i], log_det_row[0], rtol=1e-12, atol=1e-14)


def test_stack_takes_at_least_one_layer():
    with pytest.raises(ValueError, match="^layers: expected at least 1, got 0$"):
        nfref.Planar(2, layers=0)
    with pytest.raises(ValueError, match="^dim: expected at least 1, got 0$"):
        nfref.Planar(0)
