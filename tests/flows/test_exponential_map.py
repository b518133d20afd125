"""Exponential maps of the sphere: one centre in closed form, roots, and the identity far away."""

import numpy as np

import nfref
from tests.finite_differences.contract import contract_test
from tests.flow_table import Entry, random_params

CONTRACT = {
    "ExponentialMap": Entry(
        lambda d, c: nfref.ExponentialMap(d, 3), dims=(2, 3, 5), integrable=False
    )
}
test_contract = contract_test(CONTRACT)


def test_one_centre_in_closed_form():
    """The angle a from the centre becomes a - alpha e^(beta (cos a - 1)) sin a."""
    flow = nfref.ExponentialMap(3, 1)
    beta, alpha = 3.0, 0.8
    params = {
        "centres": np.array([[0.0, 0.0, 2.0]]),
        "logits": np.log([alpha / (1 - alpha)]),
        "log_sharpness": np.log([beta]),
    }
    a = np.linspace(0.01, 3.1, 50)
    x = np.stack([np.sin(a), np.zeros(50), np.cos(a)], axis=1)
    z, log_det = flow.inverse(params, x)
    shift = alpha * np.exp(beta * (np.cos(a) - 1))
    to = a - shift * np.sin(a)
    np.testing.assert_allclose(z, np.stack([np.sin(to), 0 * a, np.cos(to)], axis=1), atol=1e-14)
    slope = 1 - shift * (np.cos(a) - beta * np.sin(a) ** 2)
    np.testing.assert_allclose(log_det, np.log(slope * np.sin(to) / np.sin(a)), atol=1e-12)


def test_walks_begin_where_they_should_for_strong_potentials():
    rng = np.random.default_rng(0)
    flow = nfref.ExponentialMap(4, 5)
    params = random_params(flow, rng)
    params = {
        **params,
        "logits": params["logits"] + 6,
        "log_sharpness": params["log_sharpness"] + 3,
    }
    z = rng.standard_normal((2000, 4))
    x, log_det = flow.forward(params, z)
    back, log_det_back = flow.inverse(params, x)
    np.testing.assert_allclose(back, z, atol=1e-12)
    np.testing.assert_allclose(log_det, -log_det_back, atol=1e-6)


def test_rows_that_are_not_finite_have_no_image():
    flow = nfref.ExponentialMap(3)
    params = flow.init(np.random.default_rng(0))
    z = np.array([[np.nan, 0, 0], [np.inf, 0, 0], [1.0, 2.0, 3.0]])
    with np.errstate(invalid="ignore"):
        x = flow.forward(params, z)[0]
    assert np.all(np.isnan(x[:2])) and np.all(np.isfinite(x[2]))
