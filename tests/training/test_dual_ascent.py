"""Dual ascent: each map is the best of its kind and none lowers the likelihood."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import gamma

import nfref
from nfref.bases.standard_normal import standard_normal_log_prob
from nfref.training.dual_ascent import (
    best_expansions,
    best_hinge,
    information,
    normal_width,
    quadratic_expansions,
    scaling,
    whitening,
)

FAST = nfref.DualAscent(steps=60)


def eight(n, seed):
    return nfref.datasets.eight_gaussians(np.random.default_rng(seed), n)


@pytest.fixture(scope="module")
def found():
    return FAST.fit(eight(1500, 0), np.random.default_rng(1))


def mean_log_prob(flow, params, x):
    z, log_det = flow.inverse(params, x)
    return np.mean(standard_normal_log_prob(z) + log_det)


# One map ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_an_expansion_is_the_best_for_its_centre_and_width(dim):
    """Compare with a search over the flow's own likelihood."""
    rng = np.random.default_rng(dim)
    z = np.concatenate([rng.normal(-0.8, 0.3, (150, dim)), rng.standard_normal((80, dim))])
    centres, widths = rng.standard_normal((4, dim)), np.array([0.2, 0.7, 1.5, 4.0])
    flow, before = nfref.RadialExpansion(dim, "erf"), np.mean(standard_normal_log_prob(z))
    for centre, width, beta, gain in zip(centres, widths, *best_expansions(z, centres, widths, 50)):

        def loss(a):
            return -mean_log_prob(
                flow,
                {"centre": centre, "log_width": np.log([width]), "log_slack": np.atleast_1d(a)},
                z,
            )

        best = minimize(
            loss,
            [0.0],
            method="Nelder-Mead",
            options={"xatol": 1e-9, "fatol": 1e-14, "maxiter": 500},
        )
        assert np.log1p(beta) == pytest.approx(best.x[0], abs=1e-5)
        assert gain == pytest.approx(-best.fun - before, abs=1e-10)
        assert gain >= 0


@pytest.mark.parametrize("dim", [1, 3])
def test_the_rule_of_the_paper(dim):
    """Use the paper's program in its letters: beta' = -G / H, clipped, and alpha."""
    rng = np.random.default_rng(dim)
    z, centre = rng.normal(0.4, 0.7, (300, dim)), rng.standard_normal(dim)
    n_p = 15
    volume = np.pi ** (dim / 2) / gamma(dim / 2 + 1)
    alpha = (
        (2 * np.pi) ** 0.5 * (n_p / 300 / volume) ** (1 / dim) * np.exp(centre @ centre / (2 * dim))
    )
    assert normal_width(centre, n_p / 300) == pytest.approx(alpha, rel=1e-14)
    params = {"centre": centre, "log_width": np.log([alpha])}

    def likelihood(beta):
        log_slack = np.log1p([2 * beta / (np.sqrt(np.pi) * alpha)])
        return mean_log_prob(
            nfref.RadialExpansion(dim, "erf"), {**params, "log_slack": log_slack}, z
        )

    h = 1e-3 * alpha
    slope = (likelihood(h) - likelihood(-h)) / (2 * h)
    curvature = (likelihood(h) - 2 * likelihood(0) + likelihood(-h)) / h**2
    for step in (1e-3, 10.0):
        beta = np.clip(-slope / curvature, -step, step)
        found = quadratic_expansions(z, centre[None], np.array([alpha]), 1e9, step)
        assert found[0] * np.sqrt(np.pi) * alpha / 2 == pytest.approx(beta, rel=1e-4)


def test_an_expansion_stops_at_its_bound():
    # the unbounded step would grow a thousandfold
    z = np.full((10, 1), 1e-3) * np.arange(1, 11)[:, None]
    beta, _ = best_expansions(z, np.zeros((1, 1)), np.array([1.0]), 4.0)
    assert 2.99 < beta[0] <= 3


@pytest.mark.parametrize("location, width", [(0.0, 0.3), (-1.0, 1.0), (0.7, 0.05)])
def test_hinges_are_the_best_for_their_location_and_width(location, width):
    """Compare with a search over shift and slopes with the flow's own likelihood."""
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.exponential(1, 200) - 1, rng.normal(0.5, 0.2, 100)])
    flow = nfref.Hinge(1)

    def params(free):
        return {
            "location": np.array([location]),
            "shift": free[:1],
            "log_left": free[1:2],
            "log_right": free[2:],
            "log_width": np.log([width]),
        }

    best = minimize(
        lambda free: -mean_log_prob(flow, params(free), x[:, None]),
        [location, 0.0, 0.0],
        method="BFGS",
        options={"gtol": 1e-9},
    )
    shift, left, right = best_hinge(x, location, width, 50.0)
    got = np.array([shift, np.log(left), np.log(right)])
    np.testing.assert_allclose(got, best.x, atol=2e-3)
    assert mean_log_prob(flow, params(got), x[:, None]) >= -best.fun - 1e-8


def test_a_hinge_keeps_its_bound():
    x = np.random.default_rng(0).normal(0, 1e-3, 200)
    _, left, right = best_hinge(x, 0.0, 1e-3, 4.0)
    assert max(left, right) <= 4
    assert max(left, right) > 2


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


@pytest.mark.parametrize("dim, rho", [(2, 0.8), (4, 0.4), (3, 0.0)])
def test_total_correlation_of_a_gaussian(dim, rho):
    """It is -log det R / 2, and the entropy D log(2 pi e) / 2 + log det R / 2 + log of scales."""
    rng = np.random.default_rng(1)
    correlation = np.full((dim, dim), rho) + (1 - rho) * np.eye(dim)
    scales = np.arange(1.0, dim + 1)
    x = 5 + scales * (rng.standard_normal((12000, dim)) @ np.linalg.cholesky(correlation).T)
    found = information(x, rng, steps=20)
    half_log_det = 0.5 * np.linalg.slogdet(correlation)[1]
    entropy = dim / 2 * np.log(2 * np.pi * np.e) + half_log_det + np.sum(np.log(scales))
    # The fit of 6,000 rows takes a hundredth of a nat for each column, beside the standard error.
    slack = 0.01 * dim
    assert abs(found.total_correlation + half_log_det) < 3 * found.total_correlation_error + slack
    assert abs(found.entropy - entropy) < 3 * found.entropy_error + slack


def test_total_correlation_of_what_no_covariance_shows():
    """Columns x and x^2 plus noise are uncorrelated; the noise alone is left of the second."""
    rng = np.random.default_rng(2)
    x = rng.standard_normal((10000, 1))
    table = np.hstack([x, x**2 + 0.5 * rng.standard_normal(x.shape)])
    assert abs(np.corrcoef(table.T)[0, 1]) < 0.05
    assert information(table, rng, steps=60).total_correlation > 0.6


def test_information_checks_its_arguments():
    with pytest.raises(TypeError, match="rng: expected"):
        information(eight(10, 0), 0)
    with pytest.raises(ValueError, match="^validation: expected a number below 1, got 1$"):
        information(eight(10, 0), np.random.default_rng(0), validation=1)
    with pytest.raises(ValueError, match="x: expected finite numbers"):
        information(np.full((9, 2), np.nan), np.random.default_rng(0))
