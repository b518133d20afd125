"""Evidence against normalisers in closed form: values, coverage of the errors, and verdicts.

The target is exp(LOG_Z) N(0, I), the proposal N(0, scale^2 I).
"""

import numpy as np
import pytest
from scipy import stats

from nfref import diagnostics
from tests.diagnostics.test_chains import autoregressive

LOG_Z = -2.5


def log_ratio(x, scale):
    """Return log p~ - log q."""
    return LOG_Z + np.sum(stats.norm.logpdf(x) - stats.norm.logpdf(x, scale=scale), axis=1)


def weigh(rng, dim, scale, n):
    return diagnostics.importance_sampling(log_ratio(scale * rng.standard_normal((n, dim)), scale))


def learned(rng, dim, scale, n, rho=0.0, count=1):
    x = np.concatenate([autoregressive(rng, n // count, rho, dim) for _ in range(count)])
    return diagnostics.harmonic_mean(-log_ratio(x, scale), np.repeat(range(count), n // count))


def bridge(rng, dim, scale, n, rho=0.0, count=1):
    x = np.concatenate([autoregressive(rng, n // count, rho, dim) for _ in range(count)])
    y = scale * rng.standard_normal((n, dim))
    return diagnostics.bridge_sampling(
        log_ratio(x, scale), log_ratio(y, scale), None, np.repeat(range(count), n // count)
    )


def believed_and_covering(found):
    """Return the share of believable estimates, and how many of those have log Z in 1.96 errors."""
    believed = [one for one in found if one.believable]
    near = [abs(one.value - LOG_Z) < 1.96 * one.error for one in believed]
    return len(believed) / len(found), np.mean(near)


@pytest.mark.parametrize(
    "estimate",
    [
        lambda rng: weigh(rng, 2, 1.3, 1000),
        lambda rng: weigh(rng, 10, 0.9, 1000),
        lambda rng: weigh(rng, 20, 0.95, 1000),
        lambda rng: learned(rng, 2, 0.8, 1000),
        lambda rng: learned(rng, 10, 0.9, 2000, 0.9),
        lambda rng: learned(rng, 5, 1.1, 2000, 0.8, 4),
        lambda rng: bridge(rng, 2, 1.3, 1000),
        lambda rng: bridge(rng, 5, 0.9, 2000, 0.9),
        lambda rng: bridge(rng, 5, 0.8, 2000, 0.8, 4),
    ],
)
def test_intervals_cover_and_are_believed(estimate):
    """Of 200 intervals of 95 %, at least 92 % cover: 2 standard errors of that share are 3 %."""
    rng = np.random.default_rng(0)
    believed, covering = believed_and_covering([estimate(rng) for _ in range(200)])
    assert believed > 0.9 and covering > 0.92


def test_errors_are_not_much_larger_than_needed():
    """Where the tail is light, the spread of the values is the error."""
    rng = np.random.default_rng(1)
    for estimate in (
        lambda: weigh(rng, 2, 1.3, 1000),
        lambda: learned(rng, 2, 0.8, 1000),
        lambda: bridge(rng, 10, 0.9, 1000),
    ):
        found = [estimate() for _ in range(200)]
        spread = np.std([one.value for one in found])
        assert np.median([one.error for one in found]) == pytest.approx(spread, rel=0.2)


def test_the_plain_harmonic_mean_is_not_believed():
    """A wide prior as q: the ratios 1 / likelihood have Pareto k near one, and no variance."""
    rng = np.random.default_rng(2)
    found = [learned(rng, 2, 10.0, 2000) for _ in range(50)]
    assert np.mean([one.believable for one in found]) < 0.1
    text = str(found[0])
    assert text.startswith("cannot tell: Pareto k is ") and "single weights dominate" in text


def test_a_proposal_that_is_too_narrow_is_not_believed():
    rng = np.random.default_rng(3)
    found = [weigh(rng, 10, 0.6, 1000) for _ in range(50)]
    assert np.mean([one.believable for one in found]) < 0.1


def test_a_density_far_from_the_target_is_not_believed():
    """KL(p || q) of Gaussians is D (log s + (1 / s^2 - 1) / 2) nats."""
    exact = 12 * (np.log(0.75) + (0.75**-2 - 1) / 2)
    found = learned(np.random.default_rng(0), 12, 0.75, 20_000)
    [reason] = [one for one in found.reasons if one.startswith("the density is")]
    assert float(reason.split()[3]) == pytest.approx(exact, rel=0.1) and exact > 0.25
    assert "nats from the target" in str(found)


def test_the_error_of_importance_sampling_grows_with_the_distance():
    x = 1.5 * np.random.default_rng(0).standard_normal((20_000, 4))
    log_weights = log_ratio(x, 1.5)
    found = diagnostics.importance_sampling(log_weights)
    exact = 4 * (np.log(1.5) + (1.5**-2 - 1) / 2)
    weights = np.exp(log_weights)
    plain = weights.std() / weights.mean() / np.sqrt(len(x))
    assert found.error == pytest.approx(plain * (1 + exact / 3), rel=0.03)


def test_bridge_sampling_believes_what_the_others_cannot():
    """Of the ratios, those of importance sampling have no variance at this scale."""
    rng = np.random.default_rng(4)
    believed, covering = believed_and_covering([bridge(rng, 5, 0.6, 1000) for _ in range(200)])
    assert believed > 0.95 and covering > 0.92
    assert np.mean([weigh(rng, 5, 0.6, 1000).believable for _ in range(50)]) < 0.5


def test_chains_that_disagree_are_not_believed():
    """One of four chains sits elsewhere, where the proposal has less mass."""
    x = np.random.default_rng(5).standard_normal((2000, 2))
    x[1500:] *= 0.3
    labels = np.repeat(range(4), 500)
    y = 0.8 * np.random.default_rng(6).standard_normal((2000, 2))
    for found in (
        diagnostics.harmonic_mean(-log_ratio(x, 0.8), labels),
        diagnostics.bridge_sampling(log_ratio(x, 0.8), log_ratio(y, 0.8), chains=labels),
    ):
        assert not found.believable
        assert any("standard errors from the rest, above 3" in one for one in found.reasons)
    assert not diagnostics.harmonic_mean(-log_ratio(x, 0.8)).believable  # one chain that drifts


def test_importance_sampling_by_hand():
    weights = np.array([3.0, 1.0, 0.0, 4.0])
    with np.errstate(divide="ignore"):
        found = diagnostics.importance_sampling(np.log(weights) - 5000)
    assert found.value == pytest.approx(np.log(2) - 5000, abs=1e-9)
    assert found.effective == pytest.approx(64 / 26)
    gap = (3 * np.log(3) + 4 * np.log(4)) / 8 - np.log(2)
    assert found.error == pytest.approx(weights.std() / weights.mean() / 2 * (1 + gap / 3))
    assert not found.believable and np.isnan(found.pareto_k)
    assert found.reasons[0].startswith("the effective size is 2 +- 1, below 50")


def test_equal_weights_are_exact():
    found = diagnostics.importance_sampling(np.full(200, LOG_Z))
    assert found.value == pytest.approx(LOG_Z) and found.error < 1e-12
    assert found.effective == pytest.approx(200) and found.believable
    assert str(found).startswith("log Z = -2.500 +- 0.000 by importance sampling (")
    found = diagnostics.bridge_sampling(np.full(200, LOG_Z), np.full(100, LOG_Z))
    assert found.value == pytest.approx(LOG_Z) and found.effective == pytest.approx(100)


@pytest.mark.parametrize("dim, scale", [(5, 1.4), (10, 0.9)])
def test_an_effective_size_has_its_own_error(dim, scale):
    """Of n independent draws, n / E_q (p / q)^2 count, which is known for normal densities."""
    rng = np.random.default_rng(6)
    share = (np.sqrt(2 - scale**-2) / scale) ** dim
    found = [weigh(rng, dim, scale, 1000) for _ in range(200)]
    off = np.array([(one.effective - 1000 * share) / one.effective_error for one in found])
    assert np.mean(np.abs(off) < 2) > 0.92


def test_a_pilot_that_overestimates_its_size_has_a_large_error():
    """Of these draws a tenth counts, and a pilot of 1,000 sees three times that."""
    rng = np.random.default_rng(9)
    share = (np.sqrt(2 - 0.75**-2) / 0.75) ** 5
    found = [weigh(rng, 5, 0.75, 1000) for _ in range(100)]
    assert np.median([one.effective for one in found]) > 2.5 * 1000 * share
    assert np.median([one.effective_error / one.effective for one in found]) > 0.3


def test_bridge_sampling_takes_the_effective_size_of_the_chain():
    rng = np.random.default_rng(7)
    x, y = rng.standard_normal((2, 1000, 3))
    ratios = log_ratio(x, 1.3), log_ratio(1.3 * y, 1.3)
    long, short = (diagnostics.bridge_sampling(*ratios, size) for size in (1000, 100))
    assert short.error > 1.1 * long.error and short.effective < 100
    rows = np.arange(1000) % 10 == 0  # a tenth of independent draws has the same error
    thinned = diagnostics.bridge_sampling(ratios[0][rows], ratios[1], 100)
    assert thinned.error == pytest.approx(short.error, rel=0.25)


def test_zeros_of_the_densities_are_allowed():
    """The uniform density on (0, 1) and on (0, 2): each is zero at some draws of the other."""
    rng = np.random.default_rng(8)
    at_p = np.full(500, np.log(2.0))
    at_q = np.where(rng.random(500) < 0.5, np.log(2.0), -np.inf)
    assert abs(diagnostics.importance_sampling(at_q).value) < 0.15
    found = diagnostics.bridge_sampling(at_p, at_q)
    assert abs(found.value) < 3 * found.error and found.error < 0.1


def test_bad_input():
    for call, message in (
        (lambda: diagnostics.importance_sampling([[0.0]]), r"^log_weights: expected shape \(N,\)"),
        (lambda: diagnostics.harmonic_mean([0.0] * 6), "^chains: expected at least 8 draws of"),
        (
            lambda: diagnostics.harmonic_mean(np.zeros(9), np.zeros(8)),
            r"^chains: expected shape \(9,\), one label for each draw; got \(8,\)$",
        ),
        (
            lambda: diagnostics.bridge_sampling([-np.inf] + [0.0] * 9, np.zeros(9)),
            "^-log_ratios_posterior: expected numbers below infinity, got inf in row 0$",
        ),
        (
            lambda: diagnostics.bridge_sampling(np.zeros(9), np.zeros(9), 0),
            "^effective: expected a finite number above 0, got 0$",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()
