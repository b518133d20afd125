"""Marginal splines: scipy's cubics, tangents, roots, and quantiles that go to the normal's."""

import numpy as np
import pytest
from scipy.interpolate import CubicHermiteSpline
from scipy.stats import norm

import nfref
from nfref.flows import marginal_spline
from nfref.runtime import params as trees
from tests.finite_differences.contract import contract_test
from tests.flow_table import Entry, diagonal, random_params

CONTRACT = {
    "MarginalSpline": Entry(
        lambda d, c: nfref.MarginalSpline(d, 3), dims=(1, 3), pattern=diagonal, integrable=False
    )
}
test_contract = contract_test(CONTRACT)


def test_it_is_the_cubic_of_scipy_and_its_tangents():
    flow = nfref.MarginalSpline(1, 5)
    params = random_params(flow, np.random.default_rng(0))
    x_k, z_k, s, d = (part[:, 0, 0] for part in marginal_spline.knots(**params))
    curve = CubicHermiteSpline(x_k, z_k, d)
    x = np.linspace(x_k[0], x_k[-1], 400)
    z, log_det = flow.inverse(params, x[:, None])
    np.testing.assert_allclose(z[:, 0], curve(x), atol=1e-12)
    np.testing.assert_allclose(np.exp(log_det), curve(x, 1), rtol=1e-10)
    assert d[0] == s[0] and d[-1] == s[-1]
    beyond, log_det = flow.inverse(params, np.array([[x_k[0] - 2], [x_k[-1] + 3]]))
    np.testing.assert_allclose(beyond[:, 0], [z_k[0] - 2 * s[0], z_k[-1] + 3 * s[-1]], rtol=1e-13)
    np.testing.assert_allclose(log_det, np.log(s[[0, -1]]), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_latents_come_back_however_far_they_are_out(dtype):
    flow = nfref.MarginalSpline(2, 4)
    params = trees.cast(random_params(flow, np.random.default_rng(1)), np.dtype(dtype))
    z = np.array([[10.0**k, -(10.0**k)] for k in range(-3, 9)], dtype)
    x, log_det = flow.forward(params, z)
    again, back = flow.inverse(params, x)
    eps = np.finfo(dtype).eps
    assert x.dtype == log_det.dtype == dtype
    np.testing.assert_allclose(again, z, rtol=64 * eps, atol=256 * eps)
    np.testing.assert_allclose(back, -log_det, atol=64 * eps)


def test_quantiles_go_to_those_of_the_normal():
    x = np.random.default_rng(2).gamma(2.0, 1.0, (5000, 2))
    flow, params = marginal_spline.quantile_spline(x, 8)
    z, _ = flow.inverse(params, x)
    share = np.array([0.1, 0.5, 0.9])
    np.testing.assert_allclose(np.quantile(z, share, axis=0)[:, 0], norm.ppf(share), atol=0.03)
    assert abs(np.mean(z)) < 0.03 and abs(np.std(z) - 1) < 0.03


def test_rows_that_coincide_have_a_density():
    x = np.repeat(np.arange(3.0), 50)[:, None]
    flow, params = marginal_spline.quantile_spline(x, 8)
    z, log_det = flow.inverse(params, x)
    assert np.all(np.isfinite(z)) and np.all(np.isfinite(log_det))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"dim": 0}, "^dim: expected at least 1, got 0$"),
        ({"bins": 1}, "^bins: expected at least 2, got 1$"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        nfref.MarginalSpline(**{"dim": 2, **options})
