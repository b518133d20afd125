"""Compare one column given the others with exact mixtures, counts one by one, and samples."""

import numpy as np
import pytest
from scipy import stats

import nfref
from nfref.tables.densities.gaussian import Gaussian
from nfref.tables.densities.mixture import GaussianMixture
from nfref.tables.densities.pool import Pool
from nfref.tables.densities.table_density import TableDensity
from nfref.tables.densities.wide import Wide
from nfref.tables.queries import answers, closed_form
from nfref.tables.queries.closed_form import chosen_part, latin_hypercube
from nfref.tables.schema.columns import Continuous

LEVELS = np.array([0.01, 0.3, 0.5, 0.9, 0.99])


class Opaque(GaussianMixture):
    """A mixture that says nothing of its marginals."""


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


def table_of(pool):
    """Return the density of a table of three real columns in their own units."""
    columns = tuple(Continuous(name) for name in "abc")
    return TableDensity(columns, None, pool)


@pytest.mark.parametrize("column", [0, 1, 2])
def test_mixtures_have_exact_likelihoods_and_even_quantiles(column):
    of, rng = mixture(), np.random.default_rng(1)
    rows = np.clip(of.sample(rng, 20), -5, 5)  # beyond, columns compress their tails
    density = table_of(Pool((of,), np.array([1.0]), ("mixture",)))
    table = list(rows.T)
    table[column] = np.full(len(rows), np.nan)
    name = "abc"[column]
    found = answers.log_marginal(density, table)
    assert np.all(found.error == 0) and np.all(np.isinf(found.effective))
    _, t, _ = answers.predictions(density, table, name, LEVELS, 2000)
    ranks = answers.distribution(density, list(rows.T), name, 2000)
    t = density.columns[column].encode(t.ravel())[0].reshape(t.shape)
    for k, row in enumerate(rows):
        shares, middle, deviation, total = exact(of, row, column)
        assert found.log_prob[k] == pytest.approx(total, abs=1e-9)
        below = stats.norm.cdf((t[k][:, None] - middle) / deviation) @ shares
        np.testing.assert_allclose(below, LEVELS, atol=2e-3)
        rank = stats.norm.cdf((row[column] - middle) / deviation) @ shares
        assert ranks[k] == pytest.approx(rank, abs=2e-3)


@pytest.mark.parametrize("column", [0, 1, 2])
def test_a_member_without_marginals_is_near_its_exact_conditional(column, monkeypatch):
    """Treat the mixture as if it had no closed form, beside closed forms of low weight."""
    monkeypatch.setattr(closed_form, "is_closed", lambda member: not isinstance(member, Opaque))
    of, rng = mixture(narrow=0.3), np.random.default_rng(1)
    rows = np.clip(of.sample(rng, 40), -5, 5)
    pool = Pool(
        (
            Opaque(of.log_weights, of.means, of.choleskys),
            Gaussian(np.zeros(3), 3 * np.eye(3)),
            Wide(3),
        ),
        np.array([0.9, 0.05, 0.05]),
        ("mixture", "gaussian", "wide"),
    )
    density, table = table_of(pool), list(rows.T)
    table[column] = np.full(len(rows), np.nan)
    found = answers.log_marginal(density, table)
    _, t, error = answers.predictions(density, table, "abc"[column], LEVELS, 2000)
    t = density.columns[column].encode(t.ravel())[0].reshape(t.shape)
    apart, misplaced = [], []
    for k, row in enumerate(rows):
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
        misplaced.append(np.max(np.abs(below - LEVELS)))
        apart.append(abs(found.log_prob[k] - np.logaddexp.reduce(joint)))
    assert np.median(misplaced) < 0.02 and np.max(misplaced / error) < 2
    assert np.median(apart) < 0.01 and np.max(apart) < 0.1


def test_one_number_chooses_a_part_and_is_uniform_again():
    log_joint = np.log([[0.2, 0.5, 0.3], [1e-300, 1.0, 3.0]])
    uniform = np.tile((np.arange(1000) + 0.5) / 1000, (2, 1))
    chosen, rest = chosen_part(log_joint, uniform)
    assert np.bincount(chosen[0]).tolist() == [200, 500, 300]
    assert np.bincount(chosen[1]).tolist() == [0, 250, 750]
    for k in range(3):
        here = np.sort(rest[0][chosen[0] == k])
        np.testing.assert_allclose(here, (np.arange(len(here)) + 0.5) / len(here), rtol=1e-9)


def test_a_latin_hypercube_has_a_point_in_each_stratum():
    points = latin_hypercube(np.random.default_rng(0), 50, 3)
    for coordinate in points.T:
        assert np.sort(np.floor(coordinate * 50)).tolist() == list(range(50))


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
def test_answers_are_those_of_samples_of_the_row(model, column):
    """Compare ranks with those among many imputed cells, which have noise of their own."""
    rows = model.sample(30, random_state=1)
    place = int(column[1]) - 1
    found = model.distribution(rows, column)
    gaps = rows.copy()
    gaps[:, place] = np.nan
    own = model.columns_[place].encode(rows[:, place])[0]
    drawn = [
        model.columns_[place].encode(table[:, place])[0]
        for table in model.impute(gaps, random_state=0, draws=1000)
    ]
    share = np.mean(np.stack(drawn) <= own, axis=0)
    assert np.all(np.abs(share - found) < 3.5 * np.sqrt(0.25 / 1000) + 0.012)


def test_counts_are_enumerated():
    """P(count | others) is the joint divided by its sum; mean and quantiles are its own."""
    rng = np.random.default_rng(3)
    count = rng.poisson(4.0, 400).astype(float)
    rows = np.stack([count, count + rng.standard_normal(400)], axis=1)
    model = nfref.FlowDensity("mixture", columns={"x1": "count"}, random_state=0).fit(rows)
    numbers = np.arange(60.0)
    joint = np.exp(model.score_samples(np.stack([numbers, np.full(60, 5.5)], axis=1)))
    mean, found, error = answers.predictions(
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
