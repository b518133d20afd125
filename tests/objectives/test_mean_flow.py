"""The mean velocity: its identity and end in closed form, the gradient, and maps in one step."""

import numpy as np
import pytest
from autograd import grad
from scipy.integrate import quad

import nfref
from nfref.objectives import mean_flow
from nfref.objectives.flow_matching import gaussian_velocity
from nfref.runtime import params as trees

MEANS = np.array([[-2.0, 0.5], [2.0, -0.5]])


def two_normals(rng, n):
    return MEANS[rng.integers(2, size=n)] + 0.3 * rng.standard_normal((n, 2))


def energy_distance(a, b):
    def mean_distance(a, b):
        return np.mean(np.linalg.norm(a[:, None] - b[None], axis=2))

    return 2 * mean_distance(a, b) - mean_distance(a, a) - mean_distance(b, b)


# The mean velocity ------------------------------------------------------------------------


@pytest.mark.parametrize("t, d", [(0.0, 1.0), (0.3, 0.5), (0.6, 1e-3)])
def test_closed_form_is_the_mean_of_the_velocity_along_the_path(t, d):
    m, s, x = 1.5, 0.4, 0.7

    def at(time):  # the path through (t, x)
        return time * m + (x - t * m) * np.sqrt(
            ((time * s) ** 2 + (1 - time) ** 2) / ((t * s) ** 2 + (1 - t) ** 2)
        )

    whole = quad(lambda time: gaussian_velocity(time, at(time), m, s), t, t + d, epsabs=1e-13)[0]
    assert mean_flow.gaussian_mean_velocity(t, x, d, m, s) == pytest.approx(whole / d, rel=1e-10)


def test_one_step_of_the_closed_form_ends_at_the_data():
    z = np.linspace(-3, 3, 7)
    x = z + mean_flow.gaussian_mean_velocity(0.0, z, 1.0, 1.5, 0.4)
    np.testing.assert_allclose(x, 1.5 + 0.4 * z, atol=1e-14)


def test_closed_form_is_a_fixed_point_of_the_target():
    """With the marginal velocity in place of a line's, the target of u is u."""
    import autograd.numpy as anp

    rng = np.random.default_rng(0)
    x, t, d = rng.standard_normal((20, 2)), 0.9 * rng.random((20, 1)), 0.1 * rng.random((20, 1))
    mean, scale = np.array([1.5, -0.3]), np.array([0.4, 2.0])

    def u(row):
        t, d = row[:, 2:3], row[:, 3:]
        before, after = (anp.sqrt((s * scale) ** 2 + (1 - s) ** 2) for s in (t, t + d))
        return mean + (row[:, :2] - t * mean) * (after / before - 1) / d

    speed = gaussian_velocity(t, x, mean, scale)
    target = mean_flow.mean_velocity_target(u, x, t, d, speed)
    np.testing.assert_allclose(target, u(np.concatenate([x, t, d], axis=1)), rtol=1e-9)


def test_no_gradient_goes_through_the_target():
    """The gradient is that of the squares with the target held fixed, by finite differences."""
    flow = nfref.CNF(2, (5,), context_dim=1)
    density = nfref.Density(flow)
    rng = np.random.default_rng(0)
    start = trees.tree_map(lambda a: a + 0.5 * rng.standard_normal(a.shape), density.init(rng))
    vector, unflatten = trees.flatten(start)
    x, context = rng.standard_normal((30, 2)), np.zeros((30, 1))
    targets = []
    original = mean_flow.mean_velocity_target

    def loss(vector):
        return mean_flow.MeanFlow()(
            density, unflatten(vector), x, context, np.random.default_rng(1)
        )

    found = grad(loss)(vector)
    mean_flow.mean_velocity_target = lambda *given: targets.append(original(*given)) or targets[0]
    try:
        loss(vector)
        direction = rng.standard_normal(len(vector))
        ahead, behind = (loss(vector + h * direction) for h in (1e-5, -1e-5))
    finally:
        mean_flow.mean_velocity_target = original
    assert found @ direction == pytest.approx((ahead - behind) / 2e-5, rel=1e-6)


def test_instant_rows_are_flow_matching():
    flow, rng = nfref.CNF(2, (5,), context_dim=1), np.random.default_rng(0)
    density = nfref.Density(flow)
    params = trees.tree_map(lambda a: a + 0.5 * rng.standard_normal(a.shape), density.init(rng))
    x, zeros = rng.standard_normal((50, 2)), np.zeros((50, 1))
    found = mean_flow.MeanFlow(1.0)(density, params, x, zeros, np.random.default_rng(1))
    again = np.random.default_rng(1)
    z = again.standard_normal((50, 2))
    t = np.sort(again.random((2, 50, 1)), axis=0)[0]
    f = flow.velocity(params["flow"], t, t * x + (1 - t) * z, zeros)
    assert found == pytest.approx(np.mean(np.sum((f - (x - z)) ** 2, axis=1)), rel=1e-12)


# One step ---------------------------------------------------------------------------------


def test_one_step_lands_at_the_data():
    rng = np.random.default_rng(0)
    x, z = two_normals(rng, 2000), rng.standard_normal((1000, 2))
    density = nfref.Density(nfref.CNF(2, (32, 32), context_dim=1))
    fitted = nfref.fit(
        density,
        density.init(rng),
        x,
        rng,
        context=np.zeros((len(x), 1)),
        objective=mean_flow.MeanFlow(pairing="ot"),
        epochs=30,
        batch_size=100,
        learning_rate=0.02,
        schedule="cosine",
        validation=None,
        patience=None,
        progress=False,
    ).params
    end = mean_flow.mean_flow_steps(density.flow, fitted["flow"], z)
    truth = two_normals(np.random.default_rng(9), 1000)
    assert energy_distance(end, truth) < 0.02  # two samples of the data are 0.007 apart


def test_steps_are_of_the_mean_velocity_over_their_length():
    rng = np.random.default_rng(0)
    flow, z = nfref.CNF(2, (5,), context_dim=1), rng.standard_normal((7, 2))
    params = trees.tree_map(lambda a: a + rng.standard_normal(a.shape), flow.init(rng))
    d = np.full((7, 1), 0.5)
    middle = z + flow.velocity(params, 0.0, z, d) / 2
    end = middle + flow.velocity(params, 0.5, middle, d) / 2
    np.testing.assert_allclose(mean_flow.mean_flow_steps(flow, params, z, 2), end, rtol=1e-13)


# Bad input --------------------------------------------------------------------------------


def test_wrong_arguments():
    rng, x = np.random.default_rng(0), np.zeros((4, 2))
    objective = mean_flow.MeanFlow()
    for flow, kind, message in (
        (nfref.RealNVP(2), TypeError, "^density: expected a CNF, got RealNVP$"),
        (nfref.CNF(2), ValueError, "^density: expected a CNF with context_dim 1, got 0$"),
    ):
        density = nfref.Density(flow)
        with pytest.raises(kind, match=message):
            objective(density, density.init(rng), x, None, rng)
    with pytest.raises(ValueError, match="^instant: expected a share from 0 to 1, got 1.5$"):
        mean_flow.MeanFlow(1.5)
