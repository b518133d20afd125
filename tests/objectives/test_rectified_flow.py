"""Rectified flow: straightness in closed form, the least loss, and the effect of reflow."""

import numpy as np
import pytest
from autograd import grad
from scipy.linalg import expm

import nfref
from nfref.objectives import flow_matching
from nfref.objectives import rectified_flow as rectified
from nfref.runtime import params as trees
from tests.continuous.cases import filled, linear

MEANS = np.array([[-2.0, 0.5], [2.0, -0.5]])


def two_normals(rng, n):
    return MEANS[rng.integers(2, size=n)] + 0.3 * rng.standard_normal((n, 2))


# Straightness -----------------------------------------------------------------------------


def test_straightness_of_linear_dynamics():
    """|dz/dt| along z(t) = exp(A t) z, by quadrature in t."""
    matrix = np.array([[0.3, -1.1], [0.8, -0.4]])
    flow = nfref.CNF(2, (), rtol=1e-10, atol=1e-10)
    z = np.random.default_rng(0).standard_normal((20, 2))
    excess, cost = rectified.straightness(flow, linear(flow, matrix), z)
    nodes, weights = np.polynomial.legendre.leggauss(12)
    way = z @ (expm(matrix) - np.eye(2)).T
    bend = sum(
        w / 2 * np.sum((z @ expm(matrix * (t + 1) / 2).T @ matrix.T - way) ** 2, axis=1)
        for t, w in zip(nodes, weights)
    )
    np.testing.assert_allclose(excess, bend, rtol=1e-8)
    np.testing.assert_allclose(cost, np.sum(way**2, axis=1), rtol=1e-8)


def test_straight_lines_have_none():
    flow = nfref.CNF(2, (), rtol=1e-9, atol=1e-9)
    params = linear(flow, np.zeros((2, 2)), [3.0, -4.0])
    excess, cost = rectified.straightness(flow, params, np.zeros((3, 2)))
    np.testing.assert_allclose(excess, 0, atol=1e-12)
    np.testing.assert_allclose(cost, 25, rtol=1e-12)
    with pytest.raises(TypeError, match="flow: expected a CNF, got RealNVP"):
        rectified.straightness(nfref.RealNVP(2), {}, np.zeros((3, 2)))


def test_excess_energy_is_never_negative_but_by_the_tolerance():
    flow = nfref.CNF(3, (8, 8), rtol=1e-8, atol=1e-8)
    rng = np.random.default_rng(1)
    excess, _ = rectified.straightness(flow, filled(flow, rng, 2.0), rng.standard_normal((50, 3)))
    assert np.all(excess > 1e-4)


# Objective --------------------------------------------------------------------------------


def test_path_is_that_of_flow_matching_without_its_last_noise():
    rng = np.random.default_rng(2)
    t, z, x = rng.random((9, 1)), rng.standard_normal((9, 2)), rng.standard_normal((9, 2))
    ours = rectified.straight_path(t, z, x)
    alpha, sigma, d_alpha, d_sigma = flow_matching.transport_path(t, sigma_min=0.0)
    np.testing.assert_allclose(ours[0], alpha * x + sigma * z, rtol=1e-14)
    np.testing.assert_allclose(ours[1], d_alpha * x + d_sigma * z, rtol=1e-14)


def test_loss_has_its_known_value_at_data_in_one_point():
    """Data at m and velocity m: the loss is the mean of |z|^2, that is D."""
    rng = np.random.default_rng(3)
    flow = nfref.CNF(2, ())
    density = nfref.Density(flow)
    params = {"base": {}, "flow": linear(flow, np.zeros((2, 2)), [1.5, -0.5])}
    rows = 40_000
    loss = rectified.RectifiedFlow()(density, params, np.tile([1.5, -0.5], (rows, 1)), None, rng)
    assert loss == pytest.approx(2, abs=4 * 2 / rows**0.5)


def test_pairs_of_a_straight_flow_leave_no_loss():
    """A constant velocity follows the lines of its own pairs: reflow changes nothing."""
    rng = np.random.default_rng(4)
    flow = nfref.CNF(2, (), rtol=1e-10, atol=1e-10)
    density = nfref.Density(nfref.Chain([flow, nfref.Standardise((1.0, 2.0), (3.0, 0.5))]))
    params = {"base": {}, "flow": [linear(flow, np.zeros((2, 2)), [1.5, -0.5]), {}]}
    z, x = rectified.reflow_pairs(density, params, rng, 50)
    np.testing.assert_allclose(x, z + [1.5, -0.5], rtol=1e-12)
    objective = rectified.RectifiedFlow((z, x))
    assert objective(density, params, np.zeros((30, 2)), None, rng) < 1e-20
    broken = rectified.RectifiedFlow((z, x[::-1]))
    assert broken(density, params, np.zeros((30, 2)), None, rng) > 0.1


@pytest.mark.parametrize("paired", [False, True])
def test_gradient_of_the_loss(paired):
    rng = np.random.default_rng(5)
    flow = nfref.CNF(2, (6, 5))
    density = nfref.Density(nfref.Chain([flow, nfref.Standardise((1.0, 2.0), (3.0, 0.5))]))
    params = {"base": {}, "flow": [filled(flow, rng), {}]}
    x = rng.standard_normal((7, 2))
    pairs = rng.standard_normal((2, 9, 2)) if paired else None

    def loss(params):
        return rectified.RectifiedFlow(pairs)(density, params, x, None, np.random.default_rng(0))

    vector, unflatten = trees.flatten(params)
    direction = rng.standard_normal(len(vector))
    direction /= np.linalg.norm(direction)
    numeric = (
        loss(unflatten(vector + 1e-5 * direction)) - loss(unflatten(vector - 1e-5 * direction))
    ) / 2e-5
    assert trees.flatten(grad(loss)(params))[0] @ direction == pytest.approx(numeric, rel=1e-7)


def test_float32_stays():
    rng = np.random.default_rng(6)
    density = nfref.Density(nfref.CNF(2, (6,)))
    params = trees.cast(density.init(rng), np.float32)
    x = np.ones((4, 2), np.float32)
    for pairs in (None, (np.zeros((3, 2)), np.ones((3, 2)))):
        loss = rectified.RectifiedFlow(pairs)(density, params, x, None, rng)
        assert loss.dtype == np.float32


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"pairs: expected two \(M, D\) arrays of one shape, M at"):
        rectified.RectifiedFlow((np.zeros((3, 2)), np.zeros((4, 2))))
    rng = np.random.default_rng(0)
    density = nfref.Density(nfref.CNF(2, context_dim=1))
    objective = rectified.RectifiedFlow((np.zeros((3, 2)), np.zeros((3, 2))))
    with pytest.raises(ValueError, match="pairs: expected none for a flow with a context, got so"):
        objective(density, density.init(rng), np.zeros((3, 2)), np.zeros((3, 1)), rng)
    density = nfref.Density(nfref.RealNVP(2))
    with pytest.raises(ValueError, match="density: expected a CNF as the flow's first member"):
        rectified.reflow_pairs(density, density.init(rng), rng, 3)


# Reflow -----------------------------------------------------------------------------------


@pytest.mark.thorough
def test_reflow_straightens_the_paths_and_keeps_the_density():
    """The paper's three promises, for two normals: straighter, no longer, the same law."""
    rng = np.random.default_rng(7)
    density = nfref.Density(nfref.CNF(2, (32, 32)))
    cnf, z = density.flow, rng.standard_normal((1000, 2))
    fitting = {
        "validation": None,
        "epochs": 12,
        "batch_size": 128,
        "learning_rate": 1e-2,
        "schedule": "cosine",
        "patience": None,
        "progress": False,
    }
    x, test = two_normals(rng, 6000), two_normals(rng, 1000)
    first = nfref.fit(
        density, density.init(rng), x, rng, objective=rectified.RectifiedFlow(), **fitting
    ).params
    pairs = rectified.reflow_pairs(density, first, rng, 6000)
    second = nfref.fit(
        density, first, pairs[1], rng, objective=rectified.RectifiedFlow(pairs), **fitting
    ).params
    before, cost_before = rectified.straightness(cnf, first["flow"], z)
    after, cost_after = rectified.straightness(cnf, second["flow"], z)
    assert after.mean() < before.mean() / 50
    assert cost_after.mean() < cost_before.mean()
    lost = density.log_prob(first, test) - density.log_prob(second, test)
    assert lost.mean() < 0.1
    ends = cnf.forward(second["flow"], z)[0]
    step = np.abs(z + cnf.velocity(second["flow"], 0.0, z) - ends)
    jump = np.abs(z + cnf.velocity(first["flow"], 0.0, z) - cnf.forward(first["flow"], z)[0])
    assert step.mean() < jump.mean() / 5
