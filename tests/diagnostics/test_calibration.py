"""Calibration: right densities pass, wrong ones fail as their error predicts."""

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import trapezoid

import nfref
from nfref import diagnostics
from nfref.diagnostics import calibration
from tests.flow_table import random_params

SURE, CHANCE = 1e-8, 1e-3  # fixed seeds: a test passes or fails for good


def affine(shift, scale):
    """The density of N(shift, scale^2) on a line."""
    density = nfref.Density(nfref.ElementwiseAffine(1))
    return density, {"base": {}, "flow": {"shift": np.array([shift]), "log_scale": np.log([scale])}}


def conditional(seed=0, dim=2):
    density = nfref.Density(nfref.MAF(dim, layers=1, hidden=(8,), context_dim=1))
    return density, {"base": {}, "flow": random_params(density.flow, np.random.default_rng(seed))}


def rows_of(density, params, n, seed):
    rng = np.random.default_rng(seed)
    context = rng.standard_normal((n, density.context_dim)) if density.context_dim else None
    return density.sample(params, rng, n, context), context


# The probability integral transform --------------------------------------------------------


def test_pit_is_the_distribution_function_by_quadrature():
    """u_1 = F(x_1 | c) and u_2 = F(x_2 | x_1, c), integrated on a grid of both columns."""
    density, params = conditional()
    (member,) = density.flow.flows
    assert tuple(member.order) == (0, 1)
    x, context = rows_of(density, params, 3, 1)
    u = diagnostics.pit(density, params, x, context)
    axis = np.linspace(-40, 40, 16001)
    for row, c, got in zip(x, context, u):
        column = np.stack([np.full_like(axis, row[0]), axis], axis=1)
        p = np.exp(density.log_prob(params, column, np.repeat(c[None], len(axis), axis=0)))
        inside = np.append(axis[axis < row[1]], row[1])
        values = np.interp(inside, axis, p)
        assert got[1] == pytest.approx(trapezoid(values, inside) / trapezoid(p, axis), abs=1e-4)
        across = np.linspace(-30, 30, 601)
        grid = np.stack(np.meshgrid(across, across, indexing="ij"), axis=-1).reshape(-1, 2)
        given = np.repeat(c[None], len(grid), axis=0)
        joint = np.exp(density.log_prob(params, grid, given)).reshape(601, 601)
        margin = np.cumsum(joint.sum(axis=1)) * 0.01
        assert got[0] == pytest.approx(np.interp(row[0] - 0.05, across, margin), abs=5e-3)


def test_pit_of_a_right_density_is_uniform_and_of_a_wrong_one_is_not():
    density, params = conditional()
    x, context = rows_of(density, params, 2000, 2)
    found = diagnostics.uniformity(diagnostics.pit(density, params, x, context))
    assert np.all(found.pvalue > CHANCE)
    other = conditional(seed=3)
    assert np.all(diagnostics.uniformity(diagnostics.pit(*other, x, context)).pvalue < SURE)


@pytest.mark.parametrize(
    "shift, scale, shape", [(0.0, 2.0, "hill"), (0.0, 0.5, "valley"), (1.0, 1.0, "slope")]
)
def test_the_shape_of_the_histogram_says_what_is_wrong(shift, scale, shape):
    x = np.random.default_rng(4).standard_normal((3000, 1))
    u = diagnostics.pit(*affine(shift, scale), x)[:, 0]
    r = diagnostics.ranks(*affine(shift, scale), x, np.random.default_rng(5), draws=19)[:, 0] / 19
    for values in (u, r):
        first, middle, last = (
            np.mean(values < 0.25),
            np.mean(np.abs(values - 0.5) < 0.25),
            np.mean(values > 0.75),
        )
        assert {
            "hill": middle > 0.6,
            "valley": middle < 0.4 and min(first, last) > 0.3,
            "slope": first > 2 * last,
        }[shape]


def test_pit_needs_a_standard_normal():
    density = nfref.Density(nfref.Scale(1), nfref.Logistic(1))
    with pytest.raises(TypeError, match="^density: expected one over a StandardNormal, got a Log"):
        diagnostics.pit(density, density.init(np.random.default_rng(0)), np.zeros((1, 1)))


# Ranks -------------------------------------------------------------------------------------


def test_ranks_are_counts_of_the_draws(monkeypatch):
    """Row by row with the same generator; and blocks of any size hold the same numbers of rows."""
    density, params = conditional()
    x, context = rows_of(density, params, 7, 6)
    got = diagnostics.ranks(density, params, x, np.random.default_rng(7), context, draws=9)
    drawn = density.sample(params, np.random.default_rng(7), 63, np.repeat(context, 9, axis=0))
    for n in range(7):
        own = drawn[9 * n : 9 * n + 9]
        np.testing.assert_array_equal(got[n], [sum(own[:, i] < x[n, i]) for i in range(2)])
    monkeypatch.setattr(calibration, "BLOCK", 20)
    small = diagnostics.ranks(density, params, x, np.random.default_rng(7), context, draws=9)
    assert small.shape == got.shape and np.all((small >= 0) & (small <= 9))


def test_ranks_estimate_the_pit_of_one_dimension():
    """A rank among L is binomial with L trials of probability u."""
    density, params = affine(0.3, 1.7)
    x, _ = rows_of(density, params, 40, 8)
    u, draws = diagnostics.pit(density, params, x), 4000
    r = diagnostics.ranks(density, params, x, np.random.default_rng(9), draws=draws)
    z = (r - draws * u) / np.sqrt(draws * u * (1 - u))
    assert np.max(np.abs(z)) < 4
    assert 0.5 < np.std(z) < 1.5


@pytest.mark.parametrize("statistic", ["columns", "log_prob", "sum"])
def test_ranks_of_a_right_density_are_uniform_and_of_a_wrong_one_are_not(statistic):
    density, params = conditional()
    x, context = rows_of(density, params, 1500, 10)

    def p(model):
        density, params = model
        measure = {
            "columns": None,
            "log_prob": lambda rows, c: density.log_prob(params, rows, c),
            "sum": lambda rows, c: np.sum(rows, axis=1) * c[:, 0],
        }[statistic]
        r = diagnostics.ranks(density, params, x, np.random.default_rng(11), context, 39, measure)
        assert r.shape == (1500, 2 if statistic == "columns" else 1)
        return diagnostics.rank_uniformity(r, 39).pvalue

    assert np.all(p((density, params)) > CHANCE)
    assert np.all(p(conditional(seed=3)) < SURE)


def test_a_density_that_ignores_its_context_is_calibrated_all_the_same():
    """The margin of x passes although p(x | c) is asked for; the module's page warns of it."""
    rng = np.random.default_rng(12)
    c = rng.standard_normal((2000, 1))
    x = c + rng.standard_normal((2000, 1))
    assert diagnostics.uniformity(diagnostics.pit(*affine(0.0, np.sqrt(2)), x)).pvalue[0] > CHANCE


# Tests of uniformity -----------------------------------------------------------------------


def test_kolmogorov_smirnov_by_hand():
    u = np.array([[0.1, 0.9], [0.35, 0.8], [0.4, 0.95]])
    found = diagnostics.uniformity(u)
    for column, got in zip(np.sort(u, axis=0).T, found.statistic):
        steps = np.arange(3) / 3
        assert got == pytest.approx(max(np.max(column - steps), np.max(steps + 1 / 3 - column)))
    # P(D >= d) for N = 3 and d >= 2/3 is 2 (1 - d)^3.
    assert found.pvalue[1] == pytest.approx(2 * (1 - found.statistic[1]) ** 3)


def test_chi_squared_by_hand():
    ranks = np.repeat(np.arange(4), [10, 20, 30, 40])[:, None]
    found = diagnostics.rank_uniformity(ranks, 3, bins=4)
    assert found.statistic[0] == pytest.approx((15**2 + 5**2 + 5**2 + 15**2) / 25)
    assert found.pvalue[0] == pytest.approx(stats.chi2.sf(20, 3))
    halves = diagnostics.rank_uniformity(ranks, 3, bins=2)
    assert halves.statistic[0] == pytest.approx(2 * 20**2 / 50)


def test_p_values_are_uniform_themselves():
    rng = np.random.default_rng(13)
    p = diagnostics.uniformity(rng.uniform(size=(200, 400))).pvalue
    assert stats.kstest(p, "uniform").pvalue > CHANCE
    p = diagnostics.rank_uniformity(rng.integers(100, size=(1000, 400)), 99).pvalue
    assert stats.kstest(p, "uniform").pvalue > CHANCE


# Arguments ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: diagnostics.uniformity(np.zeros(3)), r"u: expected shape \(N, K\)"),
        (lambda: diagnostics.uniformity(np.zeros((0, 2))), r"u: expected shape \(N, K\)"),
        (lambda: diagnostics.uniformity([[1.5]]), r"u: expected numbers in \[0, 1\]"),
        (lambda: diagnostics.uniformity([[np.nan]]), r"u: expected numbers in \[0, 1\]"),
        (
            lambda: diagnostics.rank_uniformity(np.zeros((200, 1), int), 99, 30),
            "bins: expected a div",
        ),
        (
            lambda: diagnostics.rank_uniformity(np.zeros((200, 1)), 99),
            "ranks: expected an .* of int",
        ),
        (
            lambda: diagnostics.rank_uniformity(np.zeros((99, 1), int), 99),
            "ranks: expected at least",
        ),
        (
            lambda: diagnostics.rank_uniformity(np.full((200, 1), 100), 99),
            "ranks: expected 0 ... 99",
        ),
        (
            lambda: diagnostics.ranks(*affine(0, 1), np.zeros((2, 2)), np.random.default_rng(0)),
            r"x: expected shape \(N, 1\)",
        ),
        (
            lambda: diagnostics.ranks(
                *affine(0, 1), np.zeros((2, 1)), np.random.default_rng(0), np.zeros((2, 1))
            ),
            "context: expected None",
        ),
        (
            lambda: diagnostics.ranks(
                *affine(0, 1), np.zeros((2, 1)), np.random.default_rng(0), None, 0
            ),
            "draws: expected at least 1",
        ),
        (
            lambda: diagnostics.ranks(
                *affine(0, 1),
                np.zeros((2, 1)),
                np.random.default_rng(0),
                None,
                3,
                lambda x, c: np.zeros(5),
            ),
            r"statistic: expected shape \(2,\)",
        ),
    ],
)
def test_arguments_are_checked(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()
