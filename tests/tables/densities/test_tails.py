"""Few rows, many columns, rows far out, tails without a mean: answers stay sensible."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn.covariance import LedoitWolf

import nfref
from nfref.tables.densities.gaussian import Gaussian
from nfref.tables.densities.wide import REACH, Wide
from nfref.tables.fitting.flow_kinds import FLOWS
from nfref.tables.queries.closed_form import ClosedForm

FEW = {"random_state": 0}
ONE_FLOW = {"members": 1, "epochs": 15, "random_state": 0}
QUICK = {**ONE_FLOW, "effort": "quick"}
EACH = pytest.mark.parametrize(
    "options",
    [
        pytest.param(options, id=name, marks=pytest.mark.thorough)
        for name, options in (("few", {**FEW, "flow": "mixture"}), ("flow", ONE_FLOW))
    ],
)


def mixed(rng, n, dim):
    """Correlated normal rows."""
    mix = np.random.default_rng(100).standard_normal((dim, dim)) + 2 * np.eye(dim)
    return rng.standard_normal((n, dim)) @ mix.T


@pytest.mark.parametrize(
    "rows, dim",
    [
        (6, 2),
        *(
            pytest.param(*size, marks=pytest.mark.thorough)
            for size in ((12, 3), (25, 4), (60, 3), (200, 8))
        ),
    ],
)
def test_few_rows_are_never_worse_than_the_gaussian(rows, dim):
    """On normal rows, where nothing is better, the loss is at most one standard error."""
    gains, errors = [], []
    for seed in range(4):
        rng = np.random.default_rng([seed, rows])
        x, new = mixed(rng, rows, dim), mixed(rng, 2000, dim)
        model = nfref.FlowDensity(**FEW).fit(x)
        gains.append(np.mean(model.score_samples(new) - Gaussian.fit(x).log_prob(new)))
        errors.append(np.std(model.score_samples(x)) / np.sqrt(rows))
    # The standard error is that of a mean over the number of training rows.
    assert np.mean(gains) > -np.mean(errors)


@pytest.mark.parametrize(
    "rows, dim",
    [(5, 10), *(pytest.param(*size, marks=pytest.mark.thorough) for size in ((15, 40), (40, 60)))],
)
def test_more_columns_than_rows(rows, dim):
    """The fit is at most a standard error below independent normals, and keeps every column."""
    gains = []
    for seed in range(3):
        rng = np.random.default_rng([seed, dim])
        x, new = mixed(rng, rows, dim), mixed(rng, 500, dim)
        model = nfref.FlowDensity(**FEW).fit(x)
        alone = np.sum(stats.norm(np.mean(x, axis=0), np.std(x, axis=0)).logpdf(new), axis=1)
        gains.append(np.mean(model.score_samples(new) - alone))
        assert np.all(np.isfinite(model.sample(100, random_state=0)))
    assert np.mean(gains) > -0.1 * dim / np.sqrt(rows)


@pytest.mark.thorough
@pytest.mark.parametrize("law", ["a few causes", "neighbours", "each its own"])
def test_more_columns_than_rows_beside_ledoit_and_wolf(law):
    """The fit is no worse than their Gaussian of standardised columns, for any dependence."""
    dim, rng = 60, np.random.default_rng(0)
    causes = rng.standard_normal((6, dim))
    covariance = {
        "a few causes": causes.T @ causes + 0.25 * np.eye(dim),
        "neighbours": 0.7 ** np.abs(np.subtract.outer(np.arange(dim), np.arange(dim))),
        "each its own": np.diag(np.exp(rng.standard_normal(dim))),
    }[law]
    x, new = (rng.multivariate_normal(np.zeros(dim), covariance, n) for n in (40, 500))
    mean, std = np.mean(x, axis=0), np.std(x, axis=0)
    fitted = LedoitWolf(assume_centered=True).fit((x - mean) / std)
    expected = stats.multivariate_normal(cov=fitted.covariance_).logpdf(
        (new - mean) / std
    ) - np.sum(np.log(std))
    gain = nfref.FlowDensity(**FEW).fit(x).score_samples(new) - expected
    # The standard error is that of a mean over the number of training rows.
    assert np.mean(gain) > -np.std(expected) / np.sqrt(len(x))


@EACH
def test_a_row_at_a_million_sigma_leaves_the_others_alone(options):
    x = mixed(np.random.default_rng(0), 1000, 3)
    new = mixed(np.random.default_rng(1), 1000, 3)
    far = np.concatenate([x, [[1e6, -1e6, 1e6]] * np.std(x, axis=0)])
    alone, beside = [], []
    for seed in range(2):
        options = {**options, "random_state": seed}
        alone.append(nfref.FlowDensity(**options).fit(x).score_samples(new))
        model = nfref.FlowDensity(**options).fit(far)
        beside.append(model.score_samples(new))
    # Another start of training moves as much; ruined units would cost many nats.
    alone, beside = np.stack(alone), np.stack(beside)
    assert abs(np.mean(beside - alone)) < 0.03
    starts = np.median(np.quantile(np.abs(alone - np.roll(alone, 1, axis=0)), 0.99, axis=1))
    assert np.median(np.quantile(np.abs(beside - alone), 0.99, axis=1)) < 2 * starts + 0.05
    assert np.all(model.score_samples(far) > -150)


def test_splines_reach_a_group_far_out():
    """A tenth of a column lies 150 deviations from the rest and costs nothing for that."""
    rng = np.random.default_rng(0)
    far = np.where(
        rng.random(400) < 0.1, 30 + 5 * rng.standard_normal(400), 0.2 * rng.standard_normal(400)
    )
    x = np.column_stack([far, rng.standard_normal(400)])
    model = nfref.FlowDensity("nsf", **ONE_FLOW).fit(x)
    scores = {one.name: one.mean for one in model.candidates_}
    assert scores["nsf"] > scores["gaussian"] + 1
    bounds = [flow.density.flow.bound for flow in model.density_.pool.members[-5:]]
    assert min(bounds) > np.quantile(np.abs(model.density_.encode(list(x.T))[1]), 0.99)


def test_splines_reach_no_further_than_rows():
    """Bins are where rows and a normal are; with few rows there is one per two robust units."""
    u = np.random.default_rng(1).uniform(-1.5, 1.5, (3000, 2))
    for factor, few in ((1, (4.0, 4)), (8, (pytest.approx(14.4, 0.02), 8))):
        rows = u * [factor, 1]
        flow = FLOWS["nsf"].reaching(rows[:200]).made(200, 2, 0, None)
        assert (flow.bound, flow.bins) == few
        flow = FLOWS["nsf"].reaching(rows).made(3000, 2, 0, None)
        assert flow.bound == (pytest.approx(max(1.8 * factor, 3.0), 0.02), 3.0) and flow.bins == 12
    asked = replace(FLOWS["nsf"], options={"bound": 5.0})
    assert asked.reaching(u) is asked


def test_splines_cost_little_on_columns_without_tails():
    """A spline that ends where such a column does loses what a normal has beyond that end."""
    rng, noise = np.random.default_rng(5), 0.1
    u = rng.uniform(-1, 1, (3000, 4)) + noise * rng.standard_normal((3000, 4))
    x = u @ (np.eye(4) + 0.5 * np.eye(4, k=1))  # of determinant 1
    inside = stats.norm.cdf((u + 1) / noise) - stats.norm.cdf((u - 1) / noise)
    truth = np.sum(np.log(inside / 2), axis=1)[2000:]
    model = nfref.FlowDensity("nsf", **ONE_FLOW).fit(x[:2000])
    assert model.score(x[2000:]) > np.mean(truth) - 0.1  # 0.17 for bounds near the values


def test_no_row_costs_more_than_the_widest_member():
    x = mixed(np.random.default_rng(2), 600, 2)
    model = nfref.FlowDensity(**QUICK).fit(x)
    scales = 10.0 ** np.arange(0, 300, 10)
    rows = np.concatenate(
        [np.stack([scales, -scales], axis=1), np.stack([scales, 0 * scales], axis=1)]
    )
    cost = -model.score_samples(rows)
    _, u, log_slope = model.density_.encode(list(rows.T))
    widest = -np.log(model.weights_["wide"]) - Wide(2, reach=REACH).log_prob(u) - log_slope
    assert np.all(np.isfinite(cost)) and np.all(cost <= widest + 1e-9)
    assert model.weights_["wide"] > 1 / 200
    # A row c scales out costs about log c + 12 log log c a column, not c^2.
    far = np.log(scales[-1])
    assert np.max(cost) < 2 * (far + 12 * np.log(far / REACH)) + 60


def test_what_is_drawn_is_as_far_out_as_the_density_says():
    """With few rows the wide density weighs most; each column has a closed form."""
    x = mixed(np.random.default_rng(4), 60, 2)
    model = nfref.FlowDensity("mixture", **FEW).fit(x)
    rows = model.sample(20_000, random_state=1)
    pool, u = model.density_.pool, model.density_.encode(list(rows.T))[1]
    closed = ClosedForm.of(pool.members, pool.weights)
    t = np.linspace(-15, 15, 60_001)
    for j in range(2):
        grid = np.zeros((len(t), 2))
        grid[:, j] = t
        mass = np.exp(closed.log_prob(grid, np.array([j]))) * (t[1] - t[0])
        # One in a million lies some thousand scales out; under a Student t it would be 1e13.
        assert abs(np.sum(mass) - 1) < 2e-6
        levels = np.array([1e-3, 0.01, 0.5, 0.99, 1 - 1e-3])
        below = np.mean(u[:, j, None] < np.interp(levels, np.cumsum(mass), t), axis=0)
        assert np.all(np.abs(below - levels) < 4.5 * np.sqrt(levels * (1 - levels) / len(u)))


@EACH
def test_tails_without_a_mean(options):
    """Cauchy columns: near their true density, where a Gaussian is many nats away."""
    rng = np.random.default_rng(3)
    truth = stats.cauchy([1e3, -5.0], [10.0, 0.01])
    x, new = truth.rvs((2000, 2), random_state=rng), truth.rvs((2000, 2), random_state=rng)
    scores = nfref.FlowDensity(**options).fit(x).score_samples(new)
    exact = np.sum(truth.logpdf(new), axis=1)
    assert np.mean(scores - exact) > -0.15
    assert np.min(scores - exact) > -12
    assert np.mean(Gaussian.fit(x).log_prob(new) - exact) < -3


def test_a_column_in_which_most_values_are_one():
    rng = np.random.default_rng(4)
    x = np.stack(
        [np.where(rng.random(500) < 0.8, 0.0, rng.gamma(2.0, size=500)), rng.standard_normal(500)],
        axis=1,
    )
    model = nfref.FlowDensity(**QUICK).fit(x)
    assert np.all(np.isfinite(model.score_samples(x)))
    assert np.all(np.isfinite(model.sample(1000, random_state=0)))


def test_numbers_at_the_ends_of_what_floats_can_hold():
    rng = np.random.default_rng(5)
    for scale in (1e-150, 1e150):
        x = rng.standard_normal((300, 2)) * scale
        scores = nfref.FlowDensity("gaussian", **FEW).fit(x).score_samples(x)
        near = nfref.FlowDensity("gaussian", **FEW).fit(x / scale).score_samples(x / scale)
        np.testing.assert_allclose(scores + 2 * np.log(scale), near, atol=0.2)
