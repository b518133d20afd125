"""Hinges against 50-digit arithmetic: slopes on both sides, and sharp bends."""

import mpmath
import numpy as np
import pytest

import nfref
from nfref.flows import hinge
from tests.finite_differences.contract import contract_test
from tests.flow_table import Entry, diagonal

CONTRACT = {"Hinge": Entry(lambda d, c: nfref.Hinge(d), pattern=diagonal)}
test_contract = contract_test(CONTRACT)

U = (-1e6, -1e3, -2.0, -1e-3, -1e-9, 0.0, 1e-9, 1e-3, 2.0, 1e3, 1e6)


@pytest.mark.parametrize("log_left, log_right", [(0.0, 0.0), (-3.0, 2.0), (5.0, -5.0), (1.0, 1.0)])
@pytest.mark.parametrize("log_width", [-8.0, 0.0, 3.0])
def test_map_and_slope_of_the_definition(log_left, log_right, log_width):
    """z = p u + q (sqrt(w^2 + u^2) - w) with p and q the half sum and difference of the slopes."""
    one = np.zeros(1)
    arguments = (one, one, one + log_left, one + log_right, one + log_width)
    x = np.array(U)[:, None]
    z, log_det = hinge.hinge(x, *arguments)
    back, log_det_back = hinge.hinge_inverse(z, *arguments)
    with mpmath.workdps(50):
        left, right = mpmath.exp(log_left), mpmath.exp(log_right)
        width, p, q = mpmath.exp(log_width), (right + left) / 2, (right - left) / 2
        for u, value, total in zip(x[:, 0], z[:, 0], log_det):
            u = mpmath.mpf(float(u))
            root = mpmath.sqrt(width**2 + u**2)
            size = p * abs(u) + abs(q) * (root + width)
            assert abs(float(value) - (p * u + q * (root - width))) <= 2e-15 * (size + width)
            truth = mpmath.log(p + q * u / root)
            assert abs(float(total) - truth) <= 1e-15 * (1 + abs(truth))
    np.testing.assert_allclose(back, x, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(log_det_back, -log_det, rtol=1e-9, atol=1e-9)


def test_location_goes_to_shift_and_equal_slopes_are_affine():
    flow = nfref.Hinge(2)
    params = {
        "location": np.array([1.0, -2.0]),
        "shift": np.array([0.5, 7.0]),
        "log_left": np.array([-1.0, 0.25]),
        "log_right": np.array([2.0, 0.25]),
        "log_width": np.array([0.1, -2.0]),
    }
    np.testing.assert_array_equal(
        flow.inverse(params, params["location"][None])[0], params["shift"][None]
    )
    x = np.random.default_rng(0).standard_normal((20, 2))
    z, _ = flow.inverse(params, x)
    np.testing.assert_allclose(z[:, 1], 7 + np.exp(0.25) * (x[:, 1] + 2), rtol=1e-13)
    # Far out the slope is that of its side.
    far = np.array([[1e8, 0.0], [-1e8, 0.0]])
    np.testing.assert_allclose(flow.inverse(params, far)[1], [2.25, -0.75], rtol=1e-12)


def test_the_inverse_is_a_hinge():
    """Its slopes are 1/L and 1/R, its width is sqrt(L R) width, and its centre is shifted."""
    location, shift = np.array([0.3]), np.array([-1.1])
    log_left, log_right, log_width = np.array([-0.7]), np.array([1.3]), np.array([0.2])
    z = np.linspace(-5, 5, 41)[:, None]
    middle = shift - 0.5 * np.exp(log_width) * (np.exp(log_right) - np.exp(log_left))
    at_middle, _ = hinge.hinge_inverse(
        middle[None], location, shift, log_left, log_right, log_width
    )
    expected = hinge.hinge(
        z, middle, at_middle[0], -log_left, -log_right, log_width + 0.5 * (log_left + log_right)
    )
    for got, want in zip(
        hinge.hinge_inverse(z, location, shift, log_left, log_right, log_width), expected
    ):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("sigma, phi", [(0.3, 0.6), (-0.5, -0.9), (0.0, 0.0)])
def test_it_is_the_map_of_tabak_and_vanden_eijnden(sigma, phi):
    """(1 - sigma) x + phi sqrt(eps^2 + ((1 - sigma) x - x0)^2) - gamma, as later texts give it."""
    x0, eps, gamma = 0.4, 0.7, -0.2
    x = np.linspace(-4, 5, 50)[:, None]
    scale = 1 - sigma
    away = np.sqrt(eps**2 + (scale * x - x0) ** 2)
    numbers = (
        x0 / scale,
        x0 + phi * eps - gamma,
        np.log(scale * (1 - phi)),
        np.log(scale * (1 + phi)),
        np.log(eps / scale),
    )
    z, log_det = hinge.hinge(x, *(np.array([number]) for number in numbers))
    np.testing.assert_allclose(z, scale * x + phi * away - gamma, rtol=1e-13, atol=1e-13)
    slope = scale * (1 + phi * (scale * x - x0) / away)
    np.testing.assert_allclose(log_det, np.log(slope[:, 0]), rtol=1e-12, atol=1e-13)
