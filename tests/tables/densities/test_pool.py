"""The linear pool: weights against a search, and bounds for any candidates."""

import numpy as np
import pytest
from scipy import optimize, stats

import nfref
from nfref.runtime import params as trees
from nfref.tables.densities.gaussian import Gaussian
from nfref.tables.densities.pool import FittedFlow, Pool, mean_and_error, stacking_weights
from nfref.tables.densities.wide import Wide


def log_densities(rng, rows=300):
    """Three densities of rows that come from a mixture of the first two."""
    x = np.where(rng.random(rows) < 0.3, rng.normal(-2, 1, rows), rng.normal(1, 0.5, rows))
    return np.stack(
        [stats.norm(-2, 1).logpdf(x), stats.norm(1, 0.5).logpdf(x), stats.norm(0, 5).logpdf(x)],
        axis=1,
    )


def test_em_finds_the_best_weights():
    values = log_densities(np.random.default_rng(0))
    weights = stacking_weights(values, tolerance=1e-13, iterations=100_000)

    def loss(free):
        w = np.exp(free - np.logaddexp.reduce(free))
        return -np.mean(np.log(np.exp(values) @ w))

    found = optimize.minimize(loss, np.zeros(3), method="BFGS", options={"gtol": 1e-9})
    best = np.exp(found.x - np.logaddexp.reduce(found.x))
    assert -np.mean(np.log(np.exp(values) @ weights)) <= found.fun + 1e-10
    np.testing.assert_allclose(weights, best, atol=1e-3)
    assert weights[0] == pytest.approx(0.3, abs=0.1) and np.sum(weights) == pytest.approx(1)


def test_where_em_ends_no_member_could_gain():
    """The optimum's condition: the mean of p_k / p is 1 if w_k > 0, and at most 1."""
    values = log_densities(np.random.default_rng(1))
    weights = stacking_weights(values, tolerance=1e-14, iterations=100_000)
    gain = np.mean(np.exp(values) / (np.exp(values) @ weights)[:, None], axis=0)
    np.testing.assert_allclose(gain[weights > 1e-6], 1, atol=1e-8)
    assert np.all(gain <= 1 + 1e-6)


def test_whole_weights_are_repeated_rows():
    rng = np.random.default_rng(2)
    values, weight = log_densities(rng), rng.integers(0, 4, 300)
    one = stacking_weights(values, weight)
    np.testing.assert_allclose(one, stacking_weights(np.repeat(values, weight, axis=0)), atol=1e-12)


def test_a_prior_keeps_a_weight_away_from_zero():
    values = np.array([[0.0, -50.0]] * 99)
    weights = stacking_weights(values, prior=(0.0, 1.0))
    np.testing.assert_allclose(weights, [0.99, 0.01], atol=1e-6)
    assert stacking_weights(values)[1] < 1e-9


def test_rows_that_no_member_allows_say_nothing():
    values = np.array([[0.0, -1.0], [-np.inf, -np.inf], [-1.0, 0.0]])
    np.testing.assert_allclose(stacking_weights(values), [0.5, 0.5])
    np.testing.assert_allclose(stacking_weights(np.full((4, 2), -np.inf)), [0.5, 0.5])
    np.testing.assert_allclose(stacking_weights(np.zeros((0, 2))), [0.5, 0.5])


class Broken:
    """A candidate that is NaN, or zero, beyond 3."""

    def log_prob(self, x):
        return np.where(np.abs(x[:, 0]) > 3, np.nan, -1.0)


def test_no_row_costs_more_than_the_wide_member():
    weights = np.array([0.5, 0.49, 0.01])
    pool = Pool((Broken(), Gaussian(np.zeros(1), np.eye(1)), Wide(1)), weights, ("a", "b", "c"))
    x = np.array([[0.0], [5.0], [1e3], [1e200]])
    cost = -pool.log_prob(x)
    assert np.all(cost <= -np.log(0.01) - Wide(1).log_prob(x) + 1e-9)
    by_hand = np.log(0.5 * np.exp(-1) + 0.49 * stats.norm.pdf(0) + 0.01 * stats.t(3).pdf(0))
    assert -cost[0] == pytest.approx(by_hand, rel=1e-14)


def test_samples_come_from_the_members_by_their_weights():
    pool = Pool(
        (Gaussian(np.full(1, -10.0), np.eye(1)), Gaussian(np.full(1, 10.0), np.eye(1))),
        np.array([0.25, 0.75]),
        ("a", "b"),
    )
    x = pool.sample(np.random.default_rng(3), 4000)
    assert x.shape == (4000, 1) and pool.sample(np.random.default_rng(3), 0).shape == (0, 1)
    left = np.mean(x < 0)
    assert abs(left - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 4000)
    half = np.mean(x[:2000] < 0)  # rows are not sorted
    assert abs(half - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 2000)


def test_mean_and_error():
    values, weight = np.array([1.0, 2.0, 4.0]), np.array([2, 1, 3])
    repeated = np.repeat(values, weight)
    assert mean_and_error(values, weight) == pytest.approx((np.mean(repeated), stats.sem(repeated)))
    assert np.isnan(mean_and_error(np.ones(1))[1])


def test_a_member_of_weight_0_is_not_scored():
    class Refused:
        def log_prob(self, x, context=None):
            raise AssertionError

    pool = Pool((Refused(), Wide(2), Wide(2, 5.0)), np.array([0, 0.25, 0.75]), ("a", "b", "b"))
    x = np.random.default_rng(0).standard_normal((5, 2))
    expected = np.log(0.25 * np.exp(Wide(2).log_prob(x)) + 0.75 * np.exp(Wide(2, 5.0).log_prob(x)))
    np.testing.assert_allclose(pool.log_prob(x), expected, rtol=1e-14)


def flows_of_a_pool(dtype=np.float64, context_dim=0, **others):
    """Return a pool of two flows of different kinds, and simpler members around them."""
    rng = np.random.default_rng(3)
    flows = [
        nfref.MAF(3, 2, (16, 16), context_dim=context_dim),
        others.get("other") or nfref.NSF(3, 2, (16,), context_dim=context_dim),
    ]
    members = [Wide(3)] if not context_dim else []
    for flow in flows:
        density = nfref.Density(flow)
        params = trees.tree_map(
            lambda leaf: leaf + 0.1 * rng.standard_normal(leaf.shape), density.init(rng)
        )
        members.append(FittedFlow(density, trees.cast(params, dtype)))
    members += [Wide(3, 5.0)] if not context_dim else []
    weights = np.full(len(members), 1 / len(members))
    return Pool(tuple(members), weights, tuple("abcd"[: len(members)]))


@pytest.mark.parametrize(
    "pool",
    [
        flows_of_a_pool(),
        flows_of_a_pool(np.float32),
        flows_of_a_pool(context_dim=2),
        flows_of_a_pool(other=nfref.MAF(3, 2, ())),  # without a twin
    ],
    ids=["float64", "float32", "context", "other flow"],
)
@pytest.mark.parametrize("rows", [1, 5, 128, 129])
def test_flows_in_one_call_give_the_bits_of_each_alone(pool, rows):
    pytest.importorskip("numba")
    rng = np.random.default_rng(4)
    x = rng.standard_normal((rows, 3))
    given = () if not pool.members[0].takes(3, 2) else (rng.standard_normal((rows, 2)),)
    for special in ({}, {0: np.nan}, {0: np.inf, rows - 1: 1e300}):
        for row, value in special.items():
            x[row, 1] = value
        with nfref.backend("numba"), np.errstate(all="ignore"):
            together = pool.log_probs(x, *given)
            alone = np.stack([member.log_prob(x, *given) for member in pool.members], axis=1)
        np.testing.assert_array_equal(together, np.where(np.isnan(alone), -np.inf, alone))
