"""Compare one column given the others, on grids, with exact mixtures, quadrature and samples."""

import numpy as np
import pytest
from scipy import stats

import nfref
from nfref.tables.densities.gaussian import Gaussian
from nfref.tables.densities.mixture import GaussianMixture
from nfref.tables.densities.pool import FittedFlow, Pool
from nfref.tables.densities.wide import Wide
from nfref.tables.queries import quantiles
from nfref.tables.queries.column_grid import TOLERANCE, Line, _refined
from nfref.tables.queries.conditional_sampler import ConditionalSampler
from nfref.tables.queries.marginals import ClosedForm

LEVELS = np.array([1e-7, 0.01, 0.3, 0.5, 0.9, 1 - 1e-6])


class Opaque:
    """A candidate with a known density only."""

    def __init__(self, density):
        self.density = density

    def log_prob(self, x):
        return self.density.log_prob(x)


def mixture(seed=0, narrow=0.02):
    """Three components of three columns, one of them narrow."""
    rng = np.random.default_rng(seed)
    factors = np.tril(rng.standard_normal((3, 3, 3)) * 0.3) + np.eye(3)
    factors[2] *= narrow
    return GaussianMixture(np.log([0.5, 0.3, 0.2]), 2 * rng.standard_normal((3, 3)), factors)


def exact(found, row, column):
    """(shares, means, deviations) of a column of a mixture given the others: by inverses."""
    rest = np.setdiff1d(range(3), [column])
    joint, middle, deviation = [], [], []
    for log_weight, mean, factor in zip(found.log_weights, found.means, found.choleskys):
        covariance = factor @ factor.T
        slope = np.linalg.solve(covariance[np.ix_(rest, rest)], covariance[rest, column])
        middle.append(mean[column] + slope @ (row[rest] - mean[rest]))
        deviation.append(np.sqrt(covariance[column, column] - slope @ covariance[rest, column]))
        joint.append(
            log_weight
            + stats.multivariate_normal(mean[rest], covariance[np.ix_(rest, rest)]).logpdf(
                row[rest]
            )
        )
    total = np.logaddexp.reduce(joint)
    return np.exp(np.array(joint) - total), np.array(middle), np.array(deviation), total


@pytest.mark.parametrize("column", [0, 1, 2])
def test_mixtures_are_exact(column):
    """Quantiles far into the tails, totals and ranks."""
    of, rng = mixture(), np.random.default_rng(1)
    rows = of.sample(rng, 20)
    pool = Pool((of,), np.array([1.0]), ("mixture",))
    observed = np.setdiff1d(range(3), [column])
    (grid,) = Line(pool, column, None).grids(rows, observed, least=1e-7)
    t = grid.quantiles(LEVELS)
    assert np.all(grid.error == 0)
    for k, row in enumerate(rows):
        shares, middle, deviation, total = exact(of, row, column)
        assert grid.log_total[k] == pytest.approx(total, abs=1e-9)
        below = stats.norm.cdf((t[k][:, None] - middle) / deviation) @ shares
        np.testing.assert_allclose(below, LEVELS, rtol=1e-5, atol=1e-10)
        assert grid.below(rows[:, column])[k] == pytest.approx(
            stats.norm.cdf((row[column] - middle) / deviation) @ shares, abs=1e-10
        )


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("column", [0, 1, 2])
def test_what_is_asked_is_within_the_stated_error(column, single):
    """Treat the mixture as an opaque candidate, beside closed forms of low weight."""
    of, rng = mixture(narrow=0.3), np.random.default_rng(1)
    rows = of.sample(rng, 40)
    pool = Pool(
        (Opaque(of), Gaussian(np.zeros(3), 3 * np.eye(3)), Wide(3)),
        np.array([0.9, 0.05, 0.05]),
        ("mixture", "gaussian", "wide"),
    )
    observed = np.setdiff1d(range(3), [column])
    seen = np.zeros(len(rows), int)
    for grid in Line(pool, column, None, single).grids(rows, observed):
        seen[grid.places] += 1
        assert np.all(grid.error < 1.01 * TOLERANCE)
        t = grid.quantiles(LEVELS[1:-1])
        for k, place in enumerate(grid.places):
            row = rows[place]
            shares, middle, deviation, total = exact(of, row, column)
            others = [
                part.log_prob(np.delete(row, column)[None])[0]
                for part in (Gaussian(np.zeros(2), 3 * np.eye(2)), Wide(2))
            ]
            joint = np.log([0.9, 0.05, 0.05]) + [total, *others]
            share = np.exp(joint - np.logaddexp.reduce(joint))
            below = (
                share[0] * (stats.norm.cdf((t[k][:, None] - middle) / deviation) @ shares)
                + share[1] * stats.norm.cdf(t[k] / 3)
                + share[2] * stats.t.cdf(t[k], 3)
            )
            assert np.max(np.abs(below - LEVELS[1:-1])) < grid.error[k] + 1e-6
            assert abs(grid.log_total[k] - np.logaddexp.reduce(joint)) < grid.error[k] + 1e-6
    assert np.all(seen == 1)


@pytest.mark.parametrize("share", [1.0, 0.7])
def test_flows_that_take_the_column_last_are_exact(share):
    """Their P(t | others) is Phi(z_t); beside them a Gaussian has its own."""
    rng = np.random.default_rng(2)
    density = nfref.Density(nfref.MAF(3, 2, (8, 8), orders="natural"))
    params = density.init(rng)
    params["flow"] = [
        {
            "net": [
                {**layer, "bias": rng.normal(0, 0.3, layer["bias"].shape)} for layer in own["net"]
            ]
        }
        for own in params["flow"]
    ]
    gaussian = Gaussian(np.zeros(3), 2 * np.eye(3))
    pool = Pool(
        (FittedFlow(density, params), gaussian), np.array([share, 1 - share]), ("maf", "gaussian")
    )
    rows = rng.standard_normal((6, 3))
    # Without a closed form in the pool another one near it places the first nodes.
    (grid,) = Line(pool, 2, lambda: ClosedForm.of([gaussian], np.ones(1))).grids(rows, np.arange(2))
    assert np.all(grid.error == 0)
    z, _ = density.flow.inverse(params["flow"], rows)
    # The density of the first two columns is that of the row over that of the last one alone.
    moved = rows + np.array([0, 0, 1e-6])
    slope = (density.flow.inverse(params["flow"], moved)[0] - z)[:, 2] / 1e-6
    last = stats.norm.logpdf(z[:, 2]) + np.log(slope)
    first = density.log_prob(params, rows) - last, stats.norm(0, 2).logpdf(rows[:, :2]).sum(axis=1)
    with np.errstate(divide="ignore"):
        joint = np.log([share, 1 - share])[:, None] + first
    total = np.logaddexp.reduce(joint, axis=0)
    np.testing.assert_allclose(grid.log_total, total, atol=1e-5)
    below = np.exp(joint - total) * [stats.norm.cdf(z[:, 2]), stats.norm.cdf(rows[:, 2] / 2)]
    np.testing.assert_allclose(grid.below(rows[:, 2]), below.sum(axis=0), atol=1e-5)
    levels = np.array([0.01, 0.5, 0.9])
    found = grid.quantiles(levels)
    for t, level in zip(found.T, levels):
        np.testing.assert_allclose(grid.below(t), level, atol=1e-9)


def test_a_cubic_keeps_to_its_nodes():
    """It stays near its nodes beside a wide interval where values differ by hundreds of nats."""
    nodes = np.array([[-60.0, -12.0, -11.0, -3.0, 0.0, 60.0]])
    values = np.array([[0.0, -650.0, -640.0, -5.0, 0.0, -600.0]])
    t, found = _refined(nodes, values)
    low = np.interp(t[0], nodes[0], np.minimum.accumulate(values[0]))
    assert np.all(found <= 1.0) and np.all(found >= np.minimum(low, -651.0))
    inside = (t[0] > -60) & (t[0] < -12)
    assert np.all(np.diff(found[0][inside]) < 1.0) and np.all(found[0][inside] < 0.0)


@pytest.fixture(scope="module")
def model():
    """Fit flows of three columns: one positive, and one on a circle that depends on it."""
    rng = np.random.default_rng(0)
    a, e = rng.standard_normal((2, 1200))
    y = np.exp(0.5 * a + 0.3 * e)
    angle = np.mod(2 * a + 0.3 * rng.standard_normal(1200), 2 * np.pi)
    return nfref.FlowDensity(
        nfref.MAF(3, 2, (16, 16)),
        members=1,
        epochs=5,
        random_state=0,
        columns={"x2": "positive", "x3": f"period {2 * np.pi}"},
    ).fit(np.stack([a, y, angle], axis=1))


@pytest.mark.parametrize("column", ["x1", "x2", "x3"])
def test_answers_are_those_of_draws(model, column):
    """Compare ranks from the grid with ranks from weighted samples, within the errors of both."""
    rows = model.sample(30, random_state=1)
    density, place = model.density_, int(column[1]) - 1
    by_grid = model.distribution(rows, column)
    gaps = rows.copy()
    gaps[:, place] = np.nan
    sampler = ConditionalSampler(density)
    own = density.columns[place].encode(rows[:, place])[0]
    for block in sampler.blocks(sampler.encode(list(gaps.T)), 4000, np.random.default_rng(0)):
        shares = block.shares()
        drawn = np.sum(shares * (block.u[:, :, place] <= own[block.places][:, None]), axis=1)
        error = np.sqrt(0.25 * np.sum(shares**2, axis=1)) + TOLERANCE
        assert np.all(np.abs(drawn - by_grid[block.places]) < 3.5 * error)


def test_counts_are_tried_one_by_one():
    """P(count | others) is the joint divided by its sum; mean and quantiles are its own."""
    rng = np.random.default_rng(3)
    count = rng.poisson(4.0, 400).astype(float)
    rows = np.stack([count, count + rng.standard_normal(400)], axis=1)
    model = nfref.FlowDensity("mixture", columns={"x1": "count"}, random_state=0).fit(rows)
    numbers = np.arange(60.0)
    joint = np.exp(model.score_samples(np.stack([numbers, np.full(60, 5.5)], axis=1)))
    mean, found, error = quantiles.predictions(
        model.density_, [np.array([np.nan]), np.array([5.5])], "x1", [0.1, 0.5, 0.9]
    )
    below = np.cumsum(joint) / np.sum(joint)
    np.testing.assert_array_equal(found[0], numbers[np.searchsorted(below, [0.1, 0.5, 0.9])])
    assert mean[0] == pytest.approx(numbers @ joint / np.sum(joint), abs=1e-3)
    assert 0 <= error[0] < 1e-3


def test_ranks_on_a_lattice_are_randomised_in_its_cells():
    """Ranks are uniform for two decimals, also if a few grid steps span the spread."""
    rng = np.random.default_rng(0)
    x = np.round(rng.standard_normal((1500, 2)) @ [[1.0, 0.6], [0.0, 0.8]], 0) * 0.05
    model = nfref.FlowDensity("gaussian", random_state=0).fit(x[:1000])
    assert model.columns_[1].step == pytest.approx(0.05)
    ranks = model.distribution(x[1000:], "x2")
    assert stats.kstest(ranks, "uniform").pvalue > 1e-3
    assert len(np.unique(ranks)) == 500


def test_quantiles_on_a_lattice_are_the_least_points_that_reach_their_levels():
    """The quantiles are those of counts; a value with a cell of its own is met exactly."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((400, 3))
    x[:, 1] = np.round(x[:, 0] + x[:, 1])
    x[:, 2] = np.where(x[:, 2] < 0, 0, x[:, 2])
    model = nfref.FlowDensity("gaussian", random_state=0).fit(x)
    points = np.arange(-9.0, 10)
    cells = np.stack([np.full(19, 0.3), points, np.full(19, 1.0)], axis=1)
    below = np.cumsum(np.exp(model.score_samples(cells, cells=True)))
    found = model.predict_quantiles(cells[:1], "x2", (0.1, 0.5, 0.8))[0]
    np.testing.assert_array_equal(
        found, points[np.searchsorted(below / below[-1], [0.1, 0.5, 0.8])]
    )
    levels = np.linspace(0.05, 0.95, 91)
    found = model.predict_quantiles(cells[:1], "x3", levels)[0]
    assert np.all(np.diff(found) >= 0) and np.any(found == 0)
