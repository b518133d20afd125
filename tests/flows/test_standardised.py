"""Log-likelihoods are in the units of the data as given."""

import numpy as np
import pytest
from scipy import stats

import nfref
from nfref.runtime import params as trees
from nfref.tables.fitting.flow_kinds import FLOWS, flow_kind

SCALES = np.array([1000.0, 1.0, 0.25])


def random_params(density, seed=0, size=0.3):
    rng = np.random.default_rng(seed)
    return trees.tree_map(lambda leaf: size * rng.standard_normal(leaf.shape), density.init(rng))


def in_units(flow, x, lower=None, upper=None):
    return nfref.Density(nfref.in_units_of(flow, x, lower, upper))


def made(name):
    """A small flow of that kind, of three columns."""
    kind = FLOWS[name]
    sizes = {
        option: size for option, size in (("layers", 2), ("hidden", (8,))) if kind.takes(option)
    }
    return flow_kind(name, **sizes).made(200, 3, 0, np.random.default_rng(0))


@pytest.mark.parametrize("name", FLOWS)
def test_scaling_a_column_shifts_log_likelihoods_by_its_logarithm(name):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 3)) @ rng.standard_normal((3, 3)) + [5, -3, 0]
    flow = made(name)
    density, scaled = in_units(flow, x), in_units(flow, x * SCALES)
    params = random_params(density)
    np.testing.assert_allclose(
        scaled.log_prob(params, x[:20] * SCALES),
        density.log_prob(params, x[:20]) - np.sum(np.log(SCALES)),
        rtol=0,
        atol=1e-9,
    )


@pytest.mark.parametrize("name", FLOWS)
def test_standardised_units_differ_by_the_log_of_the_standard_deviations(name):
    x = np.random.default_rng(1).gamma(2.0, size=(300, 3)) * SCALES
    flow = made(name)
    density, bare = in_units(flow, x), nfref.Density(flow)
    params = random_params(bare)
    z = (x - np.mean(x, axis=0)) / np.std(x, axis=0)
    np.testing.assert_allclose(
        density.log_prob({"base": {}, "flow": [params["flow"], {}]}, x),
        bare.log_prob(params, z) - np.sum(np.log(np.std(x, axis=0))),
        rtol=0,
        atol=1e-9,
    )


def test_the_identity_flow_is_the_normal_density_of_the_data():
    x = np.random.default_rng(2).standard_normal((100, 3)) * SCALES + 7
    density = in_units(nfref.ElementwiseAffine(3), x)
    expected = stats.norm(np.mean(x, axis=0), np.std(x, axis=0)).logpdf(x).sum(axis=1)
    log_prob = density.log_prob(density.init(np.random.default_rng(0)), x)
    np.testing.assert_allclose(log_prob, expected, rtol=1e-12)


def test_the_logit_of_a_bounded_column_counts():
    """The identity flow with a logit is a logit-normal density, which has a closed form."""
    low, high = -2.0, 5.0
    rng = np.random.default_rng(3)
    x = np.stack([low + (high - low) * rng.beta(2, 5, 200), rng.standard_normal(200)], axis=1)
    density = in_units(nfref.ElementwiseAffine(2), x, (low, None), (high, None))
    params = density.init(np.random.default_rng(0))
    logit = np.log(x[:, 0] - low) - np.log(high - x[:, 0])
    slope = (high - low) / ((x[:, 0] - low) * (high - x[:, 0]))
    expected = (
        stats.norm(np.mean(logit), np.std(logit)).logpdf(logit)
        + np.log(slope)
        + stats.norm(np.mean(x[:, 1]), np.std(x[:, 1])).logpdf(x[:, 1])
    )
    np.testing.assert_allclose(density.log_prob(params, x), expected, rtol=0, atol=1e-12)
    samples = density.sample(params, rng, 1000)
    assert np.all((samples[:, 0] > low) & (samples[:, 0] < high))


def test_a_bounded_density_integrates_to_one_in_the_units_of_the_data():
    low, high = 10.0, 14.0
    x = low + (high - low) * np.random.default_rng(4).beta(2, 2, (500, 1))
    density = in_units(nfref.Planar(1, layers=3), x, (low,), (high,))
    params = random_params(density, size=1.0)
    grid = np.linspace(low, high, 2_001)[1:-1]
    total = np.sum(np.exp(density.log_prob(params, grid[:, None]))) * (grid[1] - grid[0])
    assert total == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    "x, message",
    [
        (np.zeros((5, 2)), "x: columns 0 and 1 are constant"),
        (np.eye(5)[:, :2] * [1, 0], "x: column 1 is constant"),
        (np.eye(5)[:, :3], "in_units_of: flow has dim 2, x has 3 columns"),
        (
            np.array([[1, 2], [3, np.nan], [np.inf, 4]]),
            "x: expected finite numbers, got 2 rows with NaN or infinity, the first is row 1",
        ),
    ],
)
def test_columns_that_do_not_fit(x, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        nfref.in_units_of(nfref.Scale(2), x)


def test_many_constant_columns_are_counted():
    with pytest.raises(ValueError, match="^x: columns 0, 1, 2, 3 and 5 more are constant$"):
        nfref.in_units_of(nfref.Scale(9), np.zeros((5, 9)))
