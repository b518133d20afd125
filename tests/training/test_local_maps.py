"""Local maps: each is the best of its kind, within its bound."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import gamma

import nfref
from nfref.bases.standard_normal import standard_normal_log_prob
from nfref.training.local_maps import (
    best_expansions,
    best_hinge,
    normal_width,
    quadratic_expansions,
)


def mean_log_prob(flow, params, x):
    z, log_det = flow.inverse(params, x)
    return np.mean(standard_normal_log_prob(z) + log_det)


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
