"""The absolute value: exact one way, a bound the other way, with a known gap."""

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from scipy import stats

import nfref
from nfref.bases.absolute_value import signs_log_prob
from nfref.runtime import params as trees
from tests.flow_table import random_params


def moved(base, seed=0, size=1.0):
    """Parameters far from where ``init`` puts them."""
    return random_params(base, np.random.default_rng(seed), size)


def flow_density(dim=2):
    return nfref.Density(
        nfref.RealNVP(dim, layers=2, hidden=(4,)) if dim > 1 else nfref.MADE(1, (4,))
    )


def grid(half_width, count, dim=2):
    """Return midpoints of cells and a cell's volume; the axes are edges of cells."""
    axis = half_width * (2 * np.arange(count) + 1 - count) / count
    rows = np.stack(np.meshgrid(*[axis] * dim, indexing="ij"), axis=-1).reshape(-1, dim)
    return rows, (2 * half_width / count) ** dim


# Closed forms -------------------------------------------------------------------------------


def test_the_absolute_value_of_a_normal_is_the_folded_normal():
    base = nfref.GenerativeAbs(nfref.DiagonalNormal(2))
    location, scale = np.array([0.7, -1.1]), np.array([0.5, 2.0])
    params = {"density": {"location": location, "log_scale": np.log(scale)}}
    x = np.abs(np.random.default_rng(0).standard_normal((20, 2))) * 3
    expected = stats.foldnorm(np.abs(location) / scale, scale=scale).logpdf(x).sum(axis=1)
    np.testing.assert_allclose(base.log_prob(params, x), expected, rtol=1e-12)
    assert base.log_prob(params, [[0.5, -0.5]])[0] == -np.inf


def test_there_and_back_a_symmetric_density_is_itself():
    base = nfref.InferenceAbs(nfref.GenerativeAbs(nfref.StandardNormal(3)))
    x = np.random.default_rng(1).standard_normal((20, 3))
    np.testing.assert_allclose(
        base.log_prob(base.init(np.random.default_rng(0)), x),
        stats.norm.logpdf(x).sum(axis=1),
        rtol=1e-13,
    )


def test_there_and_back_any_density_is_the_mean_over_its_mirror_images():
    base = nfref.InferenceAbs(nfref.GenerativeAbs(flow_density()))
    params = moved(base)
    x = np.random.default_rng(1).standard_normal((10, 2))
    images = [
        base.density.density.log_prob(params["density"]["density"], x * signs)
        for signs in ((1, 1), (1, -1), (-1, 1), (-1, -1))
    ]
    np.testing.assert_allclose(
        base.log_prob(params, x), np.log(np.mean(np.exp(images), axis=0)), rtol=1e-12
    )


def test_paper_form_of_the_published_code():
    """log p(x) = log p(|x|) - D log 2 with fair coins."""
    density = nfref.Density(
        nfref.Chain((nfref.RealNVP(2, layers=2, hidden=(4,)), nfref.Logit((0.0, 0.0), (4.0, 4.0))))
    )
    base = nfref.InferenceAbs(density)
    params = moved(base)
    x = np.random.default_rng(2).uniform(-4, 4, (10, 2))
    np.testing.assert_allclose(
        base.log_prob(params, x),
        density.log_prob(params["density"], np.abs(x)) - 2 * np.log(2),
        rtol=1e-14,
    )


# Exactness ----------------------------------------------------------------------------------


@pytest.mark.parametrize("hidden", [None, (3,)], ids=["fair", "learned"])
def test_the_exact_direction_integrates_to_one_and_its_samples_follow_it(hidden):
    base = nfref.InferenceAbs(nfref.GenerativeAbs(flow_density()), hidden)
    params = moved(base, size=0.5)
    rows, cell = grid(11.0, 300)
    mass = cell * np.exp(base.log_prob(params, rows))
    assert mass.sum() == pytest.approx(1, abs=2e-4)  # the signs' odds jump at the axes
    x = base.sample(params, np.random.default_rng(3), 4000)
    for quadrant in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        p = mass[np.all(rows * quadrant > 0, axis=1)].sum()
        share = np.mean(np.all(x * quadrant > 0, axis=1))
        assert abs(share - p) < 4 * (p * (1 - p) / len(x)) ** 0.5
    assert hidden is None or np.ptp([mass[rows[:, 0] > 0].sum(), 0.5]) > 0.02
    observed = -base.log_prob(params, x)
    expected = -mass @ base.log_prob(params, rows)
    assert abs(observed.mean() - expected) < 4 * observed.std() / len(x) ** 0.5 + 1e-3


def test_the_other_direction_integrates_to_one_over_the_positive_quadrant():
    base = nfref.GenerativeAbs(flow_density())
    params = moved(base, size=0.5)
    rows, cell = grid(11.0, 300)
    rows = rows[np.all(rows > 0, axis=1)]
    assert cell * np.exp(base.log_prob(params, rows)).sum() == pytest.approx(1, abs=1e-6)
    assert np.all(base.sample(params, np.random.default_rng(0), 100) >= 0)


# The bound ----------------------------------------------------------------------------------


def posterior(base, params, x):
    """p(s | x) for all signs, and q(s | x), from their definitions."""
    signs = np.array([(a, b) for a in (1, -1) for b in (1, -1)])
    joint = np.exp([base.density.log_prob(params["density"], x * s) for s in signs])
    logits = base._logits(params)(x)
    odds = 1 / (1 + np.exp(-logits))
    q = np.array([np.prod(np.where(s > 0, odds, 1 - odds), axis=1) for s in signs])
    return joint / joint.sum(axis=0), q


@pytest.mark.parametrize("hidden", [None, (5,)], ids=["fair", "learned"])
def test_the_gap_is_the_divergence_of_the_guess_from_the_posterior(hidden):
    base = nfref.GenerativeAbs(flow_density(), hidden)
    params = moved(base)
    x = np.abs(np.random.default_rng(4).standard_normal((30, 2)))
    gap = base.log_prob(params, x) - base.lower_bound(params, x)
    p, q = posterior(base, params, x)
    np.testing.assert_allclose(gap, np.sum(q * np.log(q / p), axis=0), rtol=1e-9, atol=1e-12)
    assert np.all(gap >= 0) and np.max(gap) > 0.1


def test_the_gap_is_zero_for_a_symmetric_density():
    base = nfref.GenerativeAbs(nfref.StandardNormal(4))
    x = np.abs(np.random.default_rng(5).standard_normal((20, 4)))
    params = base.init(np.random.default_rng(0))
    np.testing.assert_allclose(base.lower_bound(params, x), base.log_prob(params, x), rtol=1e-13)
    # The variance is zero: every sample gives the same number.
    np.testing.assert_allclose(
        base.lower_bound(params, x, np.random.default_rng(1)), base.log_prob(params, x), rtol=1e-13
    )


def test_the_gap_is_zero_where_the_guess_is_the_posterior():
    """For |N(m, v)| the log-odds of the sign are 2 m x / v, linear in x."""
    base = nfref.GenerativeAbs(nfref.DiagonalNormal(1), hidden=())
    params = {
        "density": {"location": np.array([0.8]), "log_scale": np.log([0.6])},
        "signs": [{"weight": np.array([[2 * 0.8 / 0.36]]), "bias": np.zeros(1)}],
    }
    x = np.array([[0.05], [0.4], [1.7]])
    np.testing.assert_allclose(base.lower_bound(params, x), base.log_prob(params, x), rtol=1e-13)
    params["signs"][0]["bias"] = np.ones(1)
    assert np.all(base.lower_bound(params, x) < base.log_prob(params, x) - 1e-6)


def test_drawn_signs_are_unbiased_for_the_bound():
    base = nfref.GenerativeAbs(flow_density(), (5,))
    params = moved(base)
    x = np.abs(np.random.default_rng(6).standard_normal((1, 2)))
    drawn = base.lower_bound(params, np.repeat(x, 20_000, axis=0), np.random.default_rng(7))
    error = drawn.std() / len(drawn) ** 0.5
    assert error > 1e-3
    assert abs(drawn.mean() - base.lower_bound(params, x)[0]) < 4 * error


def test_log_odds_of_a_thousand():
    assert signs_log_prob(np.array([1.0, -1.0]), np.array([1e3, -1e3])) == 0
    assert signs_log_prob(np.array([-1.0, 1.0]), np.array([1e3, 0.0])) == -1e3 - np.log(2)


# Use ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [nfref.InferenceAbs, nfref.GenerativeAbs])
def test_gradients(kind):
    inner = flow_density() if kind is nfref.GenerativeAbs else nfref.GenerativeAbs(flow_density())
    base = kind(inner, (3,))
    vector, unflatten = trees.flatten(moved(base))
    x = np.abs(np.random.default_rng(8).standard_normal((4, 2))) + 0.1

    def quantity(vector):
        total = anp.mean(base.log_prob(unflatten(vector), x))
        return total + (
            anp.mean(base.lower_bound(unflatten(vector), x)) if kind is nfref.GenerativeAbs else 0
        )

    slope = autograd.grad(quantity)(vector)
    step = 1e-6
    numeric = [
        (quantity(vector + step * e) - quantity(vector - step * e)) / (2 * step)
        for e in np.eye(len(vector))
    ]
    np.testing.assert_allclose(slope, numeric, atol=1e-7)
    assert np.sum(np.abs(slope) > 1e-4) > len(slope) / 2


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_dtype_and_rows_that_are_not_finite(dtype):
    base = nfref.InferenceAbs(nfref.GenerativeAbs(flow_density()), (3,))
    density = nfref.Density(nfref.ElementwiseAffine(2), base)
    params = density.init(np.random.default_rng(0))
    x = np.array([[1, 2], [-0.5, np.inf], [np.nan, 0]], dtype)
    found = density.log_prob(params, x)
    assert found.dtype == dtype and np.isfinite(found[0])
    assert found[1] == -np.inf and np.isnan(found[2])


@pytest.mark.thorough
def test_a_density_on_top_of_it_is_fitted_and_kept(tmp_path):
    """Two clusters mirror each other around a point that has to be learned."""
    rng = np.random.default_rng(9)
    x = rng.normal(1.5, 0.3, (600, 1)) * rng.choice([-1, 1], (600, 1)) + 2
    base = nfref.InferenceAbs(nfref.GenerativeAbs(nfref.DiagonalNormal(1)))
    density = nfref.Density(nfref.ElementwiseAffine(1), base)
    params = density.init(np.random.default_rng(0))
    params["base"]["density"]["density"]["location"] = np.ones(1)
    params["flow"]["shift"] = np.mean(x, axis=0)
    result = nfref.fit(
        density,
        params,
        x,
        rng,
        epochs=60,
        batch_size=100,
        learning_rate=2e-2,
        validation=None,
        patience=None,
        progress=False,
    )
    entropy = 0.5 * (1 + np.log(2 * np.pi)) + np.log(0.3) + np.log(2)
    assert -density.log_prob(result.params, x).mean() == pytest.approx(entropy, abs=0.05)
    assert result.params["flow"]["shift"][0] == pytest.approx(2, abs=0.1)
    path = tmp_path / "folded.npz"
    nfref.save_model(path, density, result.params)
    kept = nfref.load_model(path)
    assert kept.density == density
    np.testing.assert_array_equal(
        kept.density.log_prob(kept.params, x), density.log_prob(result.params, x)
    )


def test_refusals():
    with pytest.raises(TypeError, match="density: expected a Base or a Density, got RealNVP"):
        nfref.InferenceAbs(nfref.RealNVP(2))
    with pytest.raises(ValueError, match="density: expected one without a context"):
        nfref.InferenceAbs(nfref.Density(nfref.RealNVP(2, context_dim=1)))
    wide = nfref.GenerativeAbs(nfref.StandardNormal(13))
    with pytest.raises(ValueError, match="expected at most 12 coordinates .* got 13"):
        wide.log_prob(wide.init(np.random.default_rng(0)), np.ones((1, 13)))
    bound = wide.lower_bound(
        wide.init(np.random.default_rng(0)), np.ones((1, 13)), np.random.default_rng(0)
    )
    assert bound[0] == pytest.approx(13 * stats.halfnorm.logpdf(1))
    with pytest.raises(ValueError, match="x: expected no number below 0, got 1 rows"):
        wide.lower_bound({"density": {}}, -np.ones((1, 13)))
