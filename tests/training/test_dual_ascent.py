"""Dual ascent: each map is the best of its kind and none lowers the likelihood."""

import numpy as np
import pytest

import nfref
from nfref.training.dual_ascent import scaling, whitening

FAST = nfref.DualAscent(steps=60)


def eight(n, seed):
    return nfref.datasets.eight_gaussians(np.random.default_rng(seed), n)


@pytest.fixture(scope="module")
def found():
    return FAST.fit(eight(1500, 0), np.random.default_rng(1))


# The ascent -------------------------------------------------------------------------------


def test_the_likelihood_never_falls(found):
    curve = np.array(found.history["train"])
    assert len(curve) > 50
    assert np.all(np.diff(curve) > 0)
    assert curve[-1] - curve[0] > 0.5


@pytest.mark.parametrize(
    "options",
    [
        {"kinds": "radial"},
        {"kinds": "marginal"},
        {"kinds": "radial", "rule": "paper", "steps": 200},
    ],
)
def test_neither_kind_alone_lets_it_fall(options):
    estimator = nfref.DualAscent(**{"steps": 30, **options})
    curve = estimator.fit(eight(600, 2), np.random.default_rng(3))
    assert np.all(np.diff(curve.history["train"]) > 0)
    assert curve.history["train"][-1] - curve.history["train"][0] > 0.2


def test_the_curve_is_the_likelihood_of_the_density(found):
    """With any number of maps, the chain's likelihood of the rows is the curve's."""
    x = eight(1500, 0)
    for maps in (0, 1, 17, found.maps):
        density, params = found.after(maps)
        assert np.mean(density.log_prob(params, x)) == pytest.approx(
            found.history["train"][maps], abs=1e-12
        )
    assert np.mean(found.density.log_prob(found.params, x)) == pytest.approx(
        found.history["train"][-1], abs=1e-12
    )


def test_it_starts_at_the_best_normal():
    """-(D/2) log 2 pi e - log |cov| / 2, the largest likelihood that a normal can have."""
    x = eight(300, 4) @ np.array([[2.0, 1.0], [0.0, 0.1]]) + 5
    start = nfref.DualAscent(steps=0).fit(x, np.random.default_rng(0))
    _, log_det = np.linalg.slogdet(np.cov(x.T, bias=True))
    expected = -np.log(2 * np.pi * np.e) - 0.5 * log_det
    assert start.history["train"] == [pytest.approx(expected, abs=1e-12)]
    flow, params = whitening(x)
    z, _ = flow.inverse(params, x)
    np.testing.assert_allclose(np.cov(z.T, bias=True), np.eye(2), atol=1e-12)
    np.testing.assert_allclose(
        params["weight"], np.linalg.cholesky(np.cov(x.T, bias=True)), atol=1e-12
    )


def test_it_starts_at_one_common_deviation_on_request():
    """Columns keep their ratio and their correlation; the likelihood is that of a round normal."""
    x = eight(300, 4) @ np.array([[2.0, 1.0], [0.0, 0.1]]) + 5
    options = {"start": "scaling", "rule": "paper", "kinds": "radial"}
    found = nfref.DualAscent(steps=20, **options).fit(x, np.random.default_rng(0))
    variance = np.mean(np.var(x, axis=0))
    expected = -np.log(2 * np.pi * np.e) - np.log(variance)
    assert found.history["train"][0] == pytest.approx(expected, abs=1e-12)
    assert np.all(np.diff(found.history["train"]) > 0)
    flow, params = scaling(x)
    z, _ = flow.inverse(params, x)
    np.testing.assert_allclose(z, (x - x.mean(axis=0)) / np.sqrt(variance), atol=1e-12)
    with pytest.raises(ValueError, match="^x: expected rows that differ, got equal ones$"):
        nfref.DualAscent(start="scaling").fit(np.full((9, 2), 0.1), np.random.default_rng(0))


def test_the_density_has_unit_mass_and_comes_nearer_to_the_truth(found):
    axis = np.linspace(-7, 7, 281)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    mass = np.exp(found.density.log_prob(found.params, grid)).sum() * (axis[1] - axis[0]) ** 2
    assert mass == pytest.approx(1, abs=2e-3)
    test = eight(4000, 5)
    truth = nfref.datasets.eight_gaussians.log_prob(test)

    def divergence(density, params):
        return np.mean(truth - density.log_prob(params, test))

    assert divergence(found.density, found.params) < 0.6 * divergence(*found.after(0))


def test_samples_come_back(found):
    x, log_prob = found.density.sample_and_log_prob(found.params, np.random.default_rng(6), 200)
    np.testing.assert_allclose(found.density.log_prob(found.params, x), log_prob, atol=1e-8)


def test_rows_held_out_choose_how_many_maps():
    """A normal needs zero maps: held-out rows do not confirm the ascent's gain in 60 rows."""
    rng = np.random.default_rng(7)
    x, other = rng.standard_normal((60, 3)), rng.standard_normal((2000, 3))
    found = nfref.DualAscent(steps=40, smallest=0.05).fit(x, rng, other)
    assert len(found.history["validation"]) == len(found.history["train"])
    assert found.maps == np.argmax(found.history["validation"]) < 20
    assert len(found.density.flow.flows) == found.maps + 1
    assert np.mean(found.density.log_prob(found.params, other)) == pytest.approx(
        max(found.history["validation"]), abs=1e-12
    )


@pytest.mark.parametrize("dim", [1, 4])
def test_other_dims_and_the_same_seed_the_same_fit(dim):
    x = np.random.default_rng(8).standard_normal((200, dim)) ** 3
    estimator = nfref.DualAscent(steps=10)
    a, b = (estimator.fit(x, np.random.default_rng(9)) for _ in range(2))
    assert a.history == b.history
    assert np.all(np.diff(a.history["train"]) > 0)


def test_rows_that_coincide():
    x = np.repeat(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), 50, axis=0)
    found = nfref.DualAscent(steps=10).fit(x, np.random.default_rng(0))
    assert np.all(np.isfinite(found.history["train"]))
    assert np.all(np.diff(found.history["train"]) > 0)


@pytest.mark.parametrize(
    "options, name",
    [
        ({"steps": -1}, "steps"),
        ({"kinds": "planar"}, "kinds"),
        ({"candidates": 0}, "candidates"),
        ({"smallest": 0.0}, "smallest"),
        ({"bound": 1.0}, "bound"),
        ({"rule": "first"}, "rule"),
        ({"step": 0.0}, "step"),
        ({"start": "normal"}, "start"),
        ({"bins": 1}, "bins"),
    ],
)
def test_options_are_checked(options, name):
    with pytest.raises(ValueError, match=f"^{name}: expected .* got"):
        nfref.DualAscent(**options)


@pytest.mark.parametrize(
    "x, message",
    [
        (np.zeros(5), r"x: expected shape \(N, 1\), got \(5,\)"),
        (np.zeros((1, 2)), "x: expected at least 2 rows, got 1"),
        (np.full((5, 2), np.nan), "x: expected finite numbers"),
        (np.full((9, 2), 0.1), "x: expected columns none of which .* got 2 columns of rank 0"),
        (np.eye(2), "x: expected columns none of which .* of rank 1"),
        (np.eye(4)[:2], "x: expected columns none of which .* got 4 columns of rank 1"),
        (
            np.arange(9.0)[:, None] * [1.0, 2.0] + 3,
            "x: expected columns none of which .* of rank 1",
        ),
    ],
)
def test_rows_are_checked(x, message):
    with pytest.raises(ValueError, match=message):
        FAST.fit(x, np.random.default_rng(0))


def test_other_arguments_are_checked(found):
    with pytest.raises(TypeError, match="rng: expected"):
        FAST.fit(eight(10, 0), 0)
    with pytest.raises(ValueError, match="validation: expected shape"):
        FAST.fit(eight(10, 0), np.random.default_rng(0), np.zeros((3, 3)))
    with pytest.raises(ValueError, match="maps: expected at most"):
        found.after(len(found.history["train"]))


# Gaussianization --------------------------------------------------------------------------


def test_gaussianization_is_a_density_with_an_exact_inverse():
    """Every layer raises the likelihood; the last is nearer to the truth than a normal by far."""
    rng, x = np.random.default_rng(0), eight(3000, 5)
    ascent = nfref.DualAscent(steps=40, kinds="spline", start="spline")
    found = ascent.fit(x, rng, eight(2000, 6))
    assert np.all(np.diff(found.history["train"]) > 0)
    z, log_det = found.density.flow.inverse(found.params["flow"], x)
    back, log_det_back = found.density.flow.forward(found.params["flow"], z)
    np.testing.assert_allclose(back, x, atol=1e-9)
    np.testing.assert_allclose(log_det_back, -log_det, atol=1e-7)
    normal = nfref.DualAscent(steps=0).fit(x, rng).history["train"][0]
    assert max(found.history["validation"]) > normal + 1
