"""Compare the scores of the benchmarks with definitions and closed forms."""

import numpy as np
from scipy import stats

from tests.benchmarks.density_peers import CONTENDERS
from tests.benchmarks.gaps import crps, neighbours
from tests.benchmarks.questions import LEVELS, pinball


def crps_of_a_normal(y):
    """Return the integral of (F(x) - [x >= y])^2, the definition."""
    x = np.linspace(-9, 9, 36_001)[:, None]
    return np.sum((stats.norm.cdf(x) - (x >= y)) ** 2, axis=0) * 5e-4


def test_draws_and_quantiles_give_the_crps_of_a_normal():
    rng = np.random.default_rng(0)
    y = np.array([[-1.5, 0.0, 0.3, 2.0]])
    few = crps(y, rng.standard_normal((3, 40_000, 4)))  # three samples, without bias
    error = few.std(axis=0) / 200
    assert np.all(np.abs(few.mean(axis=0) - crps_of_a_normal(y)) < 4 * error)
    quantiles = np.tile(stats.norm.ppf(LEVELS), (4, 1))
    assert np.allclose(2 * pinball(y[0], quantiles), crps_of_a_normal(y[0]), rtol=0.06)


def test_neighbours_are_the_nearest_rows_that_have_the_cell():
    fit = np.array([[float(k), 10.0 * k] for k in range(30)])
    fit[0, 1] = np.nan
    drawn = neighbours(fit, np.array([[0.0, np.nan]]), 0)
    assert np.array_equal(np.sort(drawn[:, 0, 1]), 10.0 * np.arange(1, 11))


def test_the_gaussian_contender_is_that_of_maximum_likelihood_but_for_one_degree():
    rows = np.random.default_rng(0).standard_normal((40, 2))
    scores, _ = CONTENDERS["gaussian"](rows[:30], rows[30:], 0, 1.0)(rows)
    centred = rows - rows.mean(axis=0)
    covariance = centred.T @ centred / 39
    exponent = np.sum(centred @ np.linalg.inv(covariance) * centred, axis=1)
    assert np.allclose(scores, -0.5 * (exponent + np.log(np.linalg.det(2 * np.pi * covariance))))
