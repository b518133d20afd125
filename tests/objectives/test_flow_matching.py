"""Flow matching: paths, pairing, and the closed form of a normal carried to a normal."""

from itertools import permutations

import numpy as np
import pytest
from autograd import grad
from scipy import stats

import nfref
from nfref.continuous.solve import Options, solve
from nfref.objectives import flow_matching as matching
from nfref.runtime import params as trees
from tests.continuous.cases import filled

MEAN, SCALE = np.array([1.5, -0.5]), np.array([0.4, 2.0])


# Paths ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", matching.PATHS)
def test_velocity_is_the_time_derivative_of_the_position(path):
    rng = np.random.default_rng(0)
    z, x = rng.standard_normal((50, 2)), rng.standard_normal((50, 2))
    t = rng.uniform(0.05, 0.95, (50, 1))
    step = 1e-4

    def at(k):
        return matching.conditional_path(path, t + k * step, z, x)[0]

    slope = (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * step)
    np.testing.assert_allclose(
        matching.conditional_path(path, t, z, x)[1], slope, rtol=1e-8, atol=1e-8
    )


def test_transport_path_is_straight_from_noise_to_data():
    rng = np.random.default_rng(1)
    z, x = rng.standard_normal((5, 2)), rng.standard_normal((5, 2))
    start, u = matching.conditional_path("ot", np.zeros((5, 1)), z, x)
    end, u_end = matching.conditional_path("ot", np.ones((5, 1)), z, x)
    np.testing.assert_array_equal(start, z)
    np.testing.assert_allclose(end, x + 1e-4 * z, rtol=1e-13)
    np.testing.assert_allclose(u, end - start, atol=1e-13)
    np.testing.assert_array_equal(u, u_end)


def test_trigonometric_path_keeps_a_common_covariance():
    t = np.linspace(0, 1, 9)
    alpha, sigma, _, _ = matching.trigonometric_path(t)
    np.testing.assert_allclose(alpha**2 + sigma**2, 1, rtol=1e-15)
    np.testing.assert_allclose([alpha[0], sigma[0], alpha[-1], sigma[-1]], [0, 1, 1, 0], atol=1e-15)


def test_variance_preserving_path_is_that_of_the_paper():
    t = np.linspace(0.0, 0.99, 40)[:, None]
    alpha, sigma, _, _ = matching.variance_preserving_path(t)
    np.testing.assert_allclose(alpha**2 + sigma**2, 1, rtol=1e-14)
    # In flow matching v2, section 4.1, (19), at x_t, with T by quadrature:
    # -T'(s)/2 [e^-T x_t - e^(-T/2) x] / (1 - e^-T), s = 1 - t.
    s = 1 - t
    beta = 0.1 + 19.9 * s
    nodes, weights = np.polynomial.legendre.leggauss(8)
    integral = s * np.sum(weights / 2 * (0.1 + 19.9 * s * (nodes + 1) / 2), axis=1, keepdims=True)
    rng = np.random.default_rng(2)
    z, x = rng.standard_normal((40, 1)), rng.standard_normal((40, 1))
    x_t, u = matching.conditional_path("vp", t, z, x)
    paper = (
        -beta
        / 2
        * ((np.exp(-integral) * x_t - np.exp(-integral / 2) * x) / (1 - np.exp(-integral)))
    )
    np.testing.assert_allclose(u, paper, rtol=1e-9)


# Pairing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 5, 6])
def test_pairing_is_the_best_of_all_permutations(n):
    rng = np.random.default_rng(n)
    z, x = rng.standard_normal((n, 2)), 2 + rng.standard_normal((n, 2))
    ours = matching.pair_by_transport(z, x)
    assert sorted(map(tuple, ours)) == sorted(map(tuple, z))  # each noise row is used once
    best = min(np.sum((z[list(order)] - x) ** 2) for order in permutations(range(n)))
    assert np.sum((ours - x) ** 2) == pytest.approx(best, rel=1e-12)


def test_pairing_on_the_line_sorts():
    rng = np.random.default_rng(3)
    z, x = rng.standard_normal((64, 1)), rng.standard_normal((64, 1)) ** 3
    order = np.argsort(x[:, 0])
    assert np.all(np.diff(matching.pair_by_transport(z, x)[order, 0]) > 0)


# Normal to normal -------------------------------------------------------------------------


def test_closed_form_flow_carries_normal_to_normal_with_its_density():
    rng = np.random.default_rng(4)
    z = rng.standard_normal((200, 2))

    def joint(t, state):
        x, step = state[:, :2], 1e-6
        trace = sum(
            (
                matching.gaussian_velocity(t, x + move, MEAN, SCALE)
                - matching.gaussian_velocity(t, x - move, MEAN, SCALE)
            )[:, i]
            / (2 * step)
            for i, move in enumerate(step * np.eye(2))
        )
        return np.column_stack([matching.gaussian_velocity(t, x, MEAN, SCALE), trace])

    end = solve(
        joint, np.column_stack([z, np.zeros(200)]), 0.0, 1.0, Options("dop853", 1e-9, 1e-9)
    ).last
    np.testing.assert_allclose(end[:, :2], MEAN + SCALE * z, atol=1e-6)
    log_prob = stats.norm.logpdf(z).sum(axis=1) - end[:, 2]
    expected = stats.norm.logpdf(end[:, :2], MEAN, SCALE).sum(axis=1)
    np.testing.assert_allclose(log_prob, expected, atol=1e-6)


def test_closed_form_velocity_is_the_mean_of_the_conditional_ones():
    # The loss's minimiser is E[u | x_t], a regression of u on [1, x_t] at fixed t, exact for
    # normals.
    rng = np.random.default_rng(5)
    n = 200_000
    z, x = rng.standard_normal((n, 2)), MEAN + SCALE * rng.standard_normal((n, 2))
    for t in (0.1, 0.5, 0.9):
        x_t, u = t * x + (1 - t) * z, x - z
        closed = matching.gaussian_velocity(t, x_t, MEAN, SCALE)
        left = u - closed
        error = left.std(axis=0) / n**0.5
        assert np.all(np.abs(left.mean(axis=0)) < 4 * error)
        assert np.all(np.abs((left * x_t).mean(axis=0)) < 4 * (left * x_t).std(axis=0) / n**0.5)


def test_the_loss_at_the_best_velocity_has_its_known_value():
    # Data at one point m: u = m - (1 - s) z with s = sigma_min. For the constant velocity m
    # the loss is (1 - s)^2 E |z|^2 = 2 (1 - s)^2.
    rng = np.random.default_rng(6)
    density = nfref.Density(nfref.CNF(2, ()))
    params = density.init(rng)
    params["flow"]["net"][0]["bias"] = MEAN.copy()
    rows = 40_000
    loss = matching.FlowMatching()(density, params, np.tile(MEAN, (rows, 1)), None, rng)
    assert loss == pytest.approx(2 * (1 - 1e-4) ** 2, abs=4 * 2 / rows**0.5)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "path, pairing",
    [("ot", "independent"), ("ot", "ot"), ("vp", "independent"), ("trigonometric", "independent")],
)
def test_fitted_flow_has_the_target_density(path, pairing):
    rng = np.random.default_rng(7)
    flow = nfref.CNF(2, (32,), rtol=1e-6, atol=1e-6)
    density = nfref.Density(flow)
    x = MEAN / 2 + (0.7, 1.3) * rng.standard_normal((4000, 2))
    result = nfref.fit(
        density,
        density.init(rng),
        x,
        rng,
        validation=None,
        epochs=30,
        batch_size=125,
        learning_rate=1e-2,
        schedule="cosine",
        patience=None,
        objective=matching.FlowMatching(path, pairing),
        progress=False,
    )
    test = MEAN / 2 + (0.7, 1.3) * rng.standard_normal((2000, 2))
    expected = stats.norm.logpdf(test, MEAN / 2, (0.7, 1.3)).sum(axis=1)
    gap = expected - density.log_prob(result.params, test)
    assert 0 < gap.mean() + 3 * gap.std() / 2000**0.5 and gap.mean() < 0.03
    grid = np.stack(np.meshgrid(*[np.linspace(-8, 8, 65)] * 2), axis=-1).reshape(-1, 2)
    mass = np.exp(density.log_prob(result.params, grid)).sum() * 0.25**2
    assert abs(mass - 1) < 1e-4


# Wiring -----------------------------------------------------------------------------------


def test_gradient_of_the_loss_with_context_and_units():
    rng = np.random.default_rng(8)
    flow = nfref.CNF(2, (6, 5), context_dim=3)
    density = nfref.Density(nfref.Chain([flow, nfref.Standardise((1.0, 2.0), (3.0, 0.5))]))
    params = {"base": {}, "flow": [filled(flow, rng), {}]}
    x, context = rng.standard_normal((7, 2)), rng.standard_normal((7, 3))

    def loss(params):
        return matching.FlowMatching()(density, params, x, context, np.random.default_rng(0))

    vector, unflatten = trees.flatten(params)
    direction = rng.standard_normal(len(vector))
    direction /= np.linalg.norm(direction)
    numeric = (
        loss(unflatten(vector + 1e-5 * direction)) - loss(unflatten(vector - 1e-5 * direction))
    ) / 2e-5
    assert trees.flatten(grad(loss)(params))[0] @ direction == pytest.approx(numeric, rel=1e-7)
    # The path is built in standardised units: the loss is the same without the units.
    bare = nfref.Density(flow)
    expected = matching.FlowMatching()(
        bare,
        {"base": {}, "flow": params["flow"][0]},
        (x - [1.0, 2.0]) / [3.0, 0.5],
        context,
        np.random.default_rng(0),
    )
    assert loss(params) == pytest.approx(expected, rel=1e-12)


def test_float32_stays():
    rng = np.random.default_rng(9)
    density = nfref.Density(nfref.CNF(2, (6,)))
    params = trees.cast(density.init(rng), np.float32)
    loss = matching.FlowMatching(pairing="ot")(
        density, params, np.ones((4, 2), np.float32), None, rng
    )
    assert loss.dtype == np.float32


def test_what_cannot_be_matched_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="path: expected one of ot, vp, trigonometric; got 'line'"):
        matching.FlowMatching("line")
    with pytest.raises(ValueError, match="pairing: expected one of independent, ot"):
        matching.FlowMatching(pairing="best")
    density = nfref.Density(nfref.RealNVP(2))
    with pytest.raises(ValueError, match="density: expected a CNF as the flow's first member"):
        matching.FlowMatching()(density, density.init(rng), np.zeros((3, 2)), None, rng)
    density = nfref.Density(nfref.CNF(2, context_dim=1))
    with pytest.raises(ValueError, match="pairing: expected 'independent' for a flow with a con"):
        matching.FlowMatching(pairing="ot")(
            density, density.init(rng), np.zeros((3, 2)), np.zeros((3, 1)), rng
        )
