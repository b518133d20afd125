"""Flows of the sphere: mass by quadrature, lengths, poles, and frames of tangents."""

import numpy as np
import pytest
from scipy.special import roots_legendre

import nfref
from nfref.flows import sphere
from tests.finite_differences.contract import contract_test
from tests.flow_table import Entry, random_params

CONTRACT = {
    "SphereSpline": Entry(
        lambda d, c: nfref.SphereSpline(d, 2, (8,), 3, context_dim=c),
        dims=(2, 3, 5),
        context=True,
        integrable=False,
    )
}
test_contract = contract_test(CONTRACT)


def points_on_sphere(rng, n, dim):
    x = rng.standard_normal((n, dim))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def tangents(x):
    """Return D - 1 orthonormal directions across each row, (N, D, D - 1)."""
    return np.linalg.qr(
        np.concatenate([x[:, :, None], np.tile(np.eye(x.shape[1]), (len(x), 1, 1))], 2)
    )[0][:, :, 1:]


def log_area_change(flow, params, x, step=1e-5):
    """Return the log-determinant between tangent frames, by differences along the sphere."""
    z = flow.inverse(params, x)[0]
    before, after = tangents(x), tangents(z)
    columns = []
    for k in range(x.shape[1] - 1):
        move = step * before[:, :, k]
        there, back = (
            flow.inverse(params, y / np.linalg.norm(y, axis=1, keepdims=True))[0]
            for y in (x + move, x - move)
        )
        columns.append((there - back) / (2 * step))
    return np.linalg.slogdet(np.swapaxes(after, 1, 2) @ np.stack(columns, axis=2))[1]


FLOWS = {
    "spline": lambda dim: nfref.SphereSpline(dim, 2, (8,), 3),
    "exponential map": lambda dim: nfref.ExponentialMap(dim, 4),
}


@pytest.mark.parametrize("dim", [2, 3, 5])
@pytest.mark.parametrize("name", FLOWS)
def test_log_determinant_is_that_of_tangent_frames(name, dim):
    rng = np.random.default_rng(dim)
    flow = FLOWS[name](dim)
    params = random_params(flow, rng)
    x = points_on_sphere(rng, 50, dim)
    z, log_det = flow.inverse(params, x)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, rtol=1e-14)
    np.testing.assert_allclose(log_det, log_area_change(flow, params, x), atol=1e-6)


@pytest.mark.parametrize("base", [nfref.UniformSphere(3), nfref.VonMisesFisher(3, 4.0)])
def test_mass_on_the_sphere_is_one(base):
    """Height and longitude have the area dh dtheta; both rules are exact for polynomials."""
    density = nfref.Density(nfref.ExponentialMap(3, 4), base)
    params = density.init(np.random.default_rng(1))
    height, weight = roots_legendre(80)
    turn = 2 * np.pi * np.arange(160) / 160
    across = np.sqrt(1 - height**2)
    x = np.stack(
        [
            across[:, None] * np.cos(turn),
            across[:, None] * np.sin(turn),
            np.tile(height[:, None], (1, 160)),
        ],
        axis=-1,
    )
    p = np.exp(density.log_prob(params, x.reshape(-1, 3))).reshape(80, 160)
    assert abs(weight @ p.mean(axis=1) * 2 * np.pi - 1) < 1e-10


def test_spline_has_the_mass_one():
    """The knots of splines have kinks of the density, so each bin takes its own points."""
    density = nfref.Density(nfref.SphereSpline(3, 2, (8,), 3), nfref.UniformSphere(3))
    params = {"flow": random_params(density.flow, np.random.default_rng(0)), "base": {}}
    x = points_on_sphere(np.random.default_rng(2), 400_000, 3)
    ratio = np.exp(density.log_prob(params, x) + np.log(4 * np.pi))
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / np.sqrt(len(x))


@pytest.mark.parametrize("dim", [3, 4, 6])
def test_poles_come_back(dim):
    flow = nfref.SphereSpline(dim, 2, (8,), 3)
    params = random_params(flow, np.random.default_rng(3))
    x = np.concatenate([np.eye(dim), -np.eye(dim), np.eye(dim) + 1e-9])
    z, log_det = flow.inverse(params, x)
    back, log_det_back = flow.forward(params, z)
    np.testing.assert_allclose(back, x, atol=1e-14)
    np.testing.assert_allclose(log_det + log_det_back, 0, atol=1e-6)


@pytest.mark.parametrize("length", [1e-200, 1e200])
@pytest.mark.parametrize("name", FLOWS)
def test_directions_of_any_length(name, length):
    rng = np.random.default_rng(6)
    flow = FLOWS[name](3)
    params = random_params(flow, rng)
    x = points_on_sphere(rng, 20, 3)
    z, log_det = flow.inverse(params, x)
    far, log_det_far = flow.inverse(params, length * x)
    np.testing.assert_allclose(far / length, z, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(log_det_far, log_det, atol=1e-12)
    np.testing.assert_allclose(flow.forward(params, far)[0] / length, x, atol=1e-12)


def test_angles_lead_back():
    x = np.random.default_rng(4).standard_normal((100, 5))
    radius, angles, cosines = sphere.angles_of(x)
    back, cosines_back = sphere.from_angles(radius, angles)
    np.testing.assert_allclose(back, x, atol=1e-14)
    np.testing.assert_allclose(cosines, cosines_back, atol=1e-12)


def test_it_learns_two_clusters_of_directions():
    rng = np.random.default_rng(5)
    base = nfref.VonMisesFisher(3, 30.0)
    up, side = ({"direction": np.eye(3)[k], "log_concentration": np.log([30.0])} for k in (2, 0))
    x = np.concatenate([base.sample(one, rng, 500) for one in (up, side)])
    truth = np.logaddexp(base.log_prob(up, x), base.log_prob(side, x)) - np.log(2)
    density = nfref.Density(nfref.SphereSpline(3, 2, (16,), 6), nfref.UniformSphere(3))
    found = nfref.fit(
        density, density.init(rng), x, rng, epochs=20, learning_rate=0.01, progress=False
    )
    assert density.log_prob(found.params, x).mean() > truth.mean() - 0.25


def test_rows_off_the_sphere_are_one_line():
    density = nfref.Density(nfref.SphereSpline(3), nfref.UniformSphere(3))
    params = density.init(np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"^z: expected points of the unit sphere, got a row of"):
        density.log_prob(params, np.array([[1.0, 0, 0], [1.0, 1.0, 0]]))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: nfref.SphereSpline(1), "^dim: expected at least 2, got 1$"),
        (lambda: nfref.SphereSpline(3, bins=0), "^bins: expected at least 1, got 0$"),
        (lambda: nfref.ExponentialMap(1), "^dim: expected at least 2, got 1$"),
        (lambda: nfref.ExponentialMap(3, 0), "^centres: expected at least 1, got 0$"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
