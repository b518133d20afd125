"""Extra dimensions: maps that a plain ODE cannot make, and likelihoods with known error."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import value_and_grad

import nfref
from nfref.continuous.solve import Options, solve
from nfref.flows.augmented import (
    AugmentedODE,
    marginal_log_prob,
    padded_velocity,
    with_noise,
    with_zeros,
)
from nfref.runtime import params as trees
from tests.continuous.cases import filled


def negate(x):
    return -x


def shear_and_turn(x):
    return np.column_stack([-x[:, 1] + x[:, 0] ** 3, x[:, 0]])


def turn_back(x):
    return np.column_stack([x[:, 1], x[:, 1] ** 3 - x[:, 0]])


@pytest.mark.parametrize(
    "function, inverse, dim",
    [(negate, negate, 1), (negate, negate, 3), (shear_and_turn, turn_back, 2)],
)
def test_twice_the_dimensions_make_any_invertible_map(function, inverse, dim):
    x = np.random.default_rng(0).uniform(-1.5, 1.5, (20, dim))
    velocity = padded_velocity(function, inverse)
    # A third at a time: the velocity jumps where one shear ends and the next begins.
    state = with_zeros(x, dim)
    for start, end in ((0, 1 / 3 - 1e-12), (1 / 3, 2 / 3 - 1e-12), (2 / 3, 1)):
        state = solve(velocity, state, start, end, Options(rtol=1e-10, atol=1e-10)).last
    np.testing.assert_allclose(state, with_zeros(function(x), dim), atol=1e-7)
    step = 1e-5
    for t in (0.1, 0.5, 0.9):  # every shear keeps volume: the trace is zero
        point = np.random.default_rng(1).uniform(-1, 1, (4, 2 * dim))
        trace = sum(
            (velocity(t, point + move) - velocity(t, point - move))[:, i]
            for i, move in enumerate(step * np.eye(2 * dim))
        )
        np.testing.assert_allclose(trace, 0, atol=1e-12)


def fit_map(model, x, y, rng, steps=120, rate=0.05):
    """Adam on the mean squared error; parameters and the last loss."""
    vector, unflatten = trees.flatten(model.init(rng))
    loss = value_and_grad(lambda vector: anp.mean((model(unflatten(vector), x) - y) ** 2))
    first, second = np.zeros_like(vector), np.zeros_like(vector)
    for k in range(1, steps + 1):
        value, gradient = loss(vector)
        first, second = 0.9 * first + 0.1 * gradient, 0.99 * second + 0.01 * gradient**2
        size = np.sqrt(second / (1 - 0.99**k)) + 1e-8
        vector = vector - rate * first / (1 - 0.9**k) / size
    return unflatten(vector), value


@pytest.mark.thorough
def test_the_augmented_ode_turns_the_line_around_and_the_plain_one_cannot():
    x = np.linspace(-1, 1, 8)[:, None]
    settings = {"hidden": (8,), "solver": "rk4", "steps": 4, "gradient": "direct"}
    errors = {}
    for extra in (0, 1):
        model = AugmentedODE(1, extra, **settings)
        params, errors[extra] = fit_map(model, x, -x, np.random.default_rng(3))
        if not extra:
            assert np.all(np.diff(model(params, x)[:, 0]) > 0)  # paths keep their order
    # The best non-decreasing answer to a decreasing target is its mean, zero.
    assert errors[0] > 0.99 * np.mean(x**2)
    assert errors[1] < 1e-3


def test_plain_paths_keep_their_order_for_any_parameters():
    x = np.linspace(-2, 2, 30)[:, None]
    for seed in range(5):
        model = AugmentedODE(1, 0, hidden=(8, 8), rtol=1e-8, atol=1e-8)
        rng = np.random.default_rng(seed)
        params = {"flow": filled(model.flow, rng, gain=2.0)}
        assert np.all(np.diff(model(params, x)[:, 0]) > 0)


def test_read_out_and_shapes():
    model = AugmentedODE(2, 3, outputs=4)
    params = model.init(np.random.default_rng(0))
    assert model(params, np.zeros((5, 2))).shape == (5, 4)
    assert AugmentedODE(2, 2)(
        {"flow": params["flow"]} | AugmentedODE(2, 2).init(np.random.default_rng(0)),
        np.zeros((5, 2)),
    ).shape == (5, 2)
    with pytest.raises(ValueError, match="extra: expected at least 0"):
        AugmentedODE(2, -1)
    with pytest.raises(ValueError, match=r"x: expected shape \(N, 2\)"):
        model(params, np.zeros((5, 3)))


def joint_density(seed=0, gain=1.5):
    rng = np.random.default_rng(seed)
    flow = nfref.CNF(2, (6, 6), rtol=1e-7, atol=1e-7)
    density = nfref.Density(flow)
    return density, {"base": {}, "flow": filled(flow, rng, gain)}


def test_marginal_estimate_against_quadrature():
    density, params = joint_density()
    x = np.array([[-1.0], [0.2], [1.5]])
    e = np.linspace(-12, 12, 601)
    rows = np.column_stack([np.repeat(x[:, 0], len(e)), np.tile(e, len(x))])
    joint = np.exp(density.log_prob(params, rows)).reshape(len(x), -1)
    exact = np.log(joint.sum(axis=1) * (e[1] - e[0]))
    estimate, error = marginal_log_prob(density, params, x, np.random.default_rng(1), 4000)
    assert np.all(error < 0.1)
    assert np.all(np.abs(estimate - exact) < 4 * error), (estimate, exact, error)


def test_standard_error_is_the_spread_of_the_estimate_and_few_samples_give_a_lower_bound():
    density, params = joint_density()
    x = np.full((300, 1), 0.2)  # the same row with different noise
    estimate, error = marginal_log_prob(density, params, x, np.random.default_rng(2), 50)
    truth, exact = marginal_log_prob(density, params, x[:1], np.random.default_rng(3), 20_000)
    assert np.median(error) == pytest.approx(estimate.std(), rel=0.25)
    spread = np.hypot(np.std(np.exp(estimate)) / 300**0.5, np.exp(truth[0]) * exact[0])
    assert abs(np.exp(estimate).mean() - np.exp(truth[0])) < 4 * spread  # unbiased for p(x)
    few, _ = marginal_log_prob(density, params, x, np.random.default_rng(4), 2)
    assert few.mean() < truth[0] - 2 * exact[0]


def test_independent_noise_makes_the_marginal_exact():
    # A flow that leaves e alone has equal weights and no error.
    flow = nfref.CNF(2, (), rtol=1e-10, atol=1e-10)
    density = nfref.Density(flow)
    params = {"base": {}, "flow": flow.init(np.random.default_rng(0))}
    params["flow"]["net"][0]["weight"][0, 0] = np.log(2.0)
    x = np.array([[0.5], [-3.0]])
    estimate, error = marginal_log_prob(density, params, x, np.random.default_rng(0), 10)
    np.testing.assert_allclose(
        estimate, -0.5 * (x[:, 0] / 2) ** 2 - np.log(2) - 0.5 * np.log(2 * np.pi), atol=1e-8
    )
    assert np.all(error < 1e-8)


def test_the_joint_density_integrates_to_one():
    density, params = joint_density()
    axis = np.linspace(-14, 14, 141)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    mass = np.exp(density.log_prob(params, grid)).sum() * (axis[1] - axis[0]) ** 2
    assert abs(mass - 1) < 1e-4


def test_padding_and_refusals():
    rng = np.random.default_rng(0)
    x = np.ones((3, 2), np.float32)
    assert with_zeros(x, 2).dtype == with_noise(x, 2, rng).dtype == np.float32
    assert with_noise(x, 2, rng).shape == (3, 4)
    density, params = joint_density()
    with pytest.raises(ValueError, match="x: expected shape .* with D below the density's 2"):
        marginal_log_prob(density, params, np.zeros((3, 2)), rng)
    with pytest.raises(ValueError, match="samples: expected at least 2"):
        marginal_log_prob(density, params, np.zeros((3, 1)), rng, samples=1)
