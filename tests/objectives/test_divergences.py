"""The objectives against closed forms of normal densities, and their gradients."""

import autograd.numpy as np
import pytest
from autograd import grad

import nfref
from nfref.objectives.divergences import importance_estimate, negative_log_likelihood, reverse_kl
from nfref.runtime import params as trees

MEAN = np.array([0.5, -1.0])
STD = np.array([0.7, 1.6])


def normal(shift, log_scale):
    """A density that is a normal with these means and log standard deviations."""
    density = nfref.Density(nfref.ElementwiseAffine(2))
    return density, {
        "base": {},
        "flow": {"shift": np.array(shift, float), "log_scale": np.array(log_scale, float)},
    }


def log_target(x, log_z=0.0):
    """exp(log_z) times the density of N(MEAN, STD^2)."""
    return (
        log_z
        - 0.5 * np.sum(((x - MEAN) / STD) ** 2, axis=1)
        - np.sum(np.log(STD))
        - np.log(2 * np.pi)
    )


def kl_between_normals(mean, std, other_mean, other_std):
    return np.sum(
        np.log(other_std / std) - 0.5 + (std**2 + (mean - other_mean) ** 2) / (2 * other_std**2)
    )


def test_likelihood_of_a_normal_by_hand():
    density, params = normal([1, 2], [0.3, -0.2])
    x = np.array([[1.0, 2.0], [0.0, 0.0], [3.0, -1.0]])
    z = (x - [1, 2]) / np.exp([0.3, -0.2])
    by_hand = np.mean(0.5 * np.sum(z**2, axis=1)) + 0.1 + np.log(2 * np.pi)
    assert np.isclose(negative_log_likelihood(density, params, x), by_hand, rtol=1e-14)


def test_likelihood_is_least_at_the_moments():
    x = np.random.default_rng(0).standard_normal((50, 2)) * STD + MEAN
    density, params = normal(x.mean(axis=0), np.log(x.std(axis=0)))
    slope = grad(lambda params: negative_log_likelihood(density, params, x))(params)
    assert np.allclose(trees.flatten(slope)[0], 0, atol=1e-14)


def test_likelihood_given_a_context():
    density = nfref.Density(nfref.RealNVP(2, 2, (8,), context_dim=3))
    rng = np.random.default_rng(1)
    params = trees.tree_map(lambda leaf: rng.standard_normal(leaf.shape), density.init(rng))
    x, context = rng.standard_normal((5, 2)), rng.standard_normal((5, 3))
    assert np.isclose(
        negative_log_likelihood(density, params, x, context),
        -np.mean(density.log_prob(params, x, context)),
    )


def test_reverse_kl_is_the_kl_between_normals():
    density, params = normal([0.1, 0.4], [0.2, -0.1])
    exact = kl_between_normals(np.array([0.1, 0.4]), np.exp([0.2, -0.1]), MEAN, STD)
    n = 200_000
    estimate = reverse_kl(density, params, log_target, np.random.default_rng(0), n)
    x, log_q = density.sample_and_log_prob(params, np.random.default_rng(0), n)
    error = np.std(log_q - log_target(x)) / np.sqrt(n)
    assert error < 0.02
    assert abs(estimate - exact) < 4 * error
    # A normaliser of the target shifts it by exactly that.
    shifted = reverse_kl(density, params, lambda x: log_target(x, 3.0), np.random.default_rng(0), n)
    assert np.isclose(shifted, estimate - 3, atol=1e-12)


def test_reverse_kl_has_no_noise_at_the_target_itself():
    density, params = normal(MEAN, np.log(STD))
    value = reverse_kl(density, params, lambda x: log_target(x, 1.7), np.random.default_rng(3), 10)
    assert np.isclose(value, -1.7, atol=1e-14)


def test_temperature_weights_the_target_alone():
    density, params = normal([0.1, 0.4], [0.2, -0.1])
    x, log_q = density.sample_and_log_prob(params, np.random.default_rng(5), 100)
    value = reverse_kl(density, params, log_target, np.random.default_rng(5), 100, beta=0.25)
    assert np.isclose(value, np.mean(log_q) - 0.25 * np.mean(log_target(x)), rtol=1e-13)


def test_gradient_of_reverse_kl_is_its_slope():
    density = nfref.Density(nfref.Planar(2, 3))
    vector, unflatten = trees.flatten(density.init(np.random.default_rng(0)))
    vector = vector + 0.3 * np.random.default_rng(1).standard_normal(len(vector))

    def objective(vector):
        return reverse_kl(density, unflatten(vector), log_target, np.random.default_rng(2), 50)

    gradient = grad(objective)(vector)
    step = 1e-5
    for k in range(len(vector)):
        nudge = step * np.eye(len(vector))[k]
        slope = (objective(vector + nudge) - objective(vector - nudge)) / (2 * step)
        assert abs(gradient[k] - slope) < 1e-7 * (1 + abs(slope))


def test_importance_sampling_finds_the_normaliser():
    density, params = normal([0.3, -0.8], [-0.2, 0.6])
    rng = np.random.default_rng(7)
    found = importance_estimate(density, params, lambda x: log_target(x, 2.5), rng, 100_000)
    assert 30_000 < found.effective < 100_000
    assert abs(found.value - 2.5) < 4 / np.sqrt(found.effective)


def test_importance_weights_by_hand():
    density, params = normal([0, 0], [0, 0])
    x, log_q = density.sample_and_log_prob(params, np.random.default_rng(8), 6)
    weights = np.exp(log_target(x) - log_q)
    found = importance_estimate(density, params, log_target, np.random.default_rng(8), 6)
    assert np.isclose(found.value, np.log(np.mean(weights)), rtol=1e-13)
    assert np.isclose(found.effective, np.sum(weights) ** 2 / np.sum(weights**2), rtol=1e-13)
    bound = -reverse_kl(density, params, log_target, np.random.default_rng(8), 6)
    assert found.value >= bound and float(found) == found.value
    assert np.array_equal(found.samples, x)
    assert np.allclose(found.weights, weights / np.sum(weights), rtol=1e-13)


def test_weighted_samples_give_averages_under_the_target():
    density, params = normal([0.3, -0.8], [-0.2, 0.6])
    found = importance_estimate(density, params, log_target, np.random.default_rng(7), 100_000)
    assert found.believable and "samples" not in repr(found)
    off = (np.dot(found.weights, found.samples) - MEAN) / (STD / np.sqrt(found.effective))
    assert np.all(np.abs(off) < 4)


def test_a_density_that_is_too_narrow_is_not_believed():
    """The weights are a Pareto law with k = 0.91."""
    density, params = normal(MEAN, np.log(0.3 * STD))
    found = [
        importance_estimate(density, params, log_target, np.random.default_rng(seed), 1000)
        for seed in range(20)
    ]
    assert np.mean([one.believable for one in found]) < 0.2
    assert str(found[0]).startswith("cannot tell: Pareto k is ")


def test_every_draw_counts_at_the_target_itself_however_small_its_mass():
    density, params = normal(MEAN, np.log(STD))
    found = importance_estimate(
        density, params, lambda x: log_target(x, -5000.0), np.random.default_rng(9), 50
    )
    assert np.isclose(found.value, -5000, rtol=1e-14)
    assert np.isclose(found.effective, 50, rtol=1e-9)


def test_float32_stays():
    density, params = normal([0.1, 0.4], [0.2, -0.1])
    params = trees.cast(params, np.float32)

    def target(x):
        return -np.sum(x**2, axis=1)

    assert reverse_kl(density, params, target, np.random.default_rng(0), 4).dtype == np.float32
    x = np.zeros((3, 2), np.float32)
    assert negative_log_likelihood(density, params, x).dtype == np.float32


def test_bad_input():
    density, params = normal([0, 0], [0, 0])
    rng = np.random.default_rng(0)
    with pytest.raises(
        ValueError,
        match=r"^log_target: expected to return shape \(4,\), "
        r"got \(4, 2\)$",
    ):
        reverse_kl(density, params, lambda x: x, rng, 4)
    with pytest.raises(ValueError, match="^n: expected at least 1, got 0$"):
        reverse_kl(density, params, log_target, rng, 0)
    with pytest.raises(ValueError, match="^beta: expected a finite number above 0, got nan$"):
        reverse_kl(density, params, log_target, rng, 4, beta=float("nan"))
    with pytest.raises(TypeError, match=r"^rng: expected a numpy.random.Generator .*, got int$"):
        importance_estimate(density, params, log_target, 0, 4)
