"""Pareto k against laws whose shape is known."""

import numpy as np
import pytest

from nfref import diagnostics
from nfref.diagnostics.pareto import shape_and_deviation


@pytest.mark.parametrize("k", [-0.5, 0.2, 0.5, 0.7, 1.0])
def test_the_shape_of_a_pareto_law_is_found(k):
    """The prior pulls k by 10 / (tail + 10) of its distance from 1/2, less than 0.05 here."""
    uniform = np.random.default_rng(0).random((40, 4000))
    found = [diagnostics.pareto_k(np.log((row**-k - 1) / k)) for row in uniform]
    assert np.mean(found) == pytest.approx(k, abs=0.08)


def test_the_error_of_the_shape():
    uniform = np.random.default_rng(5).random((200, 1000))
    found = np.array([shape_and_deviation(-0.5 * np.log(row)) for row in uniform])
    assert np.std(found[:, 0]) == pytest.approx(np.mean(found[:, 1]), rel=0.25)


def test_a_factor_of_all_weights_changes_nothing():
    log_weights = np.random.default_rng(1).standard_normal(500)
    k = diagnostics.pareto_k(log_weights)
    assert diagnostics.pareto_k(log_weights - 5000) == pytest.approx(k, rel=1e-9)


def test_equal_weights_have_no_tail_and_few_weights_no_shape():
    assert diagnostics.pareto_k(np.full(100, -3.0)) == -np.inf
    assert diagnostics.pareto_k(1e-14 * np.random.default_rng(2).standard_normal(100)) == -np.inf
    assert np.isnan(diagnostics.pareto_k(np.arange(20.0)))


def test_weights_of_zero_count():
    log_weights = np.random.default_rng(3).standard_normal(500)
    log_weights[100:200] = -np.inf
    k, error, deviation = shape_and_deviation(log_weights)
    weights = np.exp(log_weights)
    assert np.isfinite(k) and 0 < error < 0.5 and deviation >= weights.std() / weights.mean()


def test_the_deviation_allows_for_weights_yet_to_come():
    """Half of small samples of a Pareto law show less than its deviation; few fall short now."""
    k, n = 0.4, 1000
    mean, second = 1 / (1 - k), 2 / ((1 - k) * (1 - 2 * k))
    true = np.sqrt(second - mean**2) / mean
    uniform = np.random.default_rng(4).random((200, n))
    weights = (uniform**-k - 1) / k
    seen = weights.std(axis=1) / weights.mean(axis=1)
    found = np.array([shape_and_deviation(np.log(row))[2] for row in weights])
    assert np.mean(seen < true) > 0.5
    assert np.mean(found < 0.9 * true) < 0.1 and np.all(found >= seen * (1 - 1e-12))


@pytest.mark.parametrize(
    "log_weights, message",
    [
        ([0.0], r"^log_weights: expected shape \(N,\) with N at least 2, got \(1,\)$"),
        ([0.0, np.nan], "^log_weights: expected numbers below infinity, got nan in row 1$"),
        ([np.inf, 0.0], "^log_weights: expected numbers below infinity, got inf in row 0$"),
        ([-np.inf] * 3, "^log_weights: expected one above -inf, got -inf in each of 3 rows$"),
    ],
)
def test_bad_weights(log_weights, message):
    with pytest.raises(ValueError, match=message):
        diagnostics.pareto_k(log_weights)
