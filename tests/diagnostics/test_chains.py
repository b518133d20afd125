"""Effective sizes against autoregressive chains, whose autocorrelation is known."""

import numpy as np
import pytest
from scipy.signal import lfilter

from nfref import diagnostics


def autoregressive(rng, n, rho, columns=1):
    """Return (n, columns) draws of stationary chains with correlation rho^t at lag t."""
    noise = rng.standard_normal((n, columns)) * np.sqrt(1 - rho**2)
    noise[0] /= np.sqrt(1 - rho**2)
    return lfilter([1], [1, -rho], noise, axis=0)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, -0.5])
def test_the_effective_size_of_an_autoregressive_chain(rho):
    """Tau is (1 + rho) / (1 - rho)."""
    draws = autoregressive(np.random.default_rng(0), 20_000, rho, columns=20)
    share = diagnostics.effective_size(draws) / len(draws)
    assert np.median(share) == pytest.approx((1 - rho) / (1 + rho), rel=0.06)


def test_means_vary_like_those_of_as_many_independent_draws():
    rng = np.random.default_rng(1)
    draws = autoregressive(rng, 2000, 0.8, columns=300)
    error = draws.mean(axis=0) * np.sqrt(diagnostics.effective_size(draws)) / draws.std(axis=0)
    assert np.std(error) == pytest.approx(1, abs=0.13)


def test_shapes():
    draws = autoregressive(np.random.default_rng(2), 1200, 0.3, columns=2)
    both = diagnostics.effective_size(draws)
    assert both.shape == (2,) and diagnostics.effective_size(draws[:, 0]) == both[0]
    assert isinstance(diagnostics.effective_size(draws[:, 0]), float)
    chains = diagnostics.effective_size(draws.reshape(3, 400, 2))
    assert chains.shape == (2,) and np.all(np.abs(chains / both - 1) < 0.5)


def test_chains_that_disagree_count_little():
    draws = np.random.default_rng(3).standard_normal((4, 500, 1))
    assert diagnostics.effective_size(draws)[0] > 1500
    assert diagnostics.effective_size(draws + np.array([0, 0, 0, 5])[:, None, None])[0] < 20


def test_equal_draws_count_as_independent():
    assert diagnostics.effective_size(np.full(50, 0.1)) == 50


@pytest.mark.parametrize(
    "values, message",
    [
        (np.zeros(3), r"^values: expected shape \(N,\), .* with N at least 4, got \(3,\)$"),
        (np.zeros((2, 2, 5, 1)), "^values: expected shape"),
        ([0, 1, np.nan, 2], "^values: expected finite numbers, got NaN or infinity$"),
    ],
)
def test_bad_values(values, message):
    with pytest.raises(ValueError, match=message):
        diagnostics.effective_size(values)


def test_blocks_are_contiguous_and_hold_each_draw_once():
    found = diagnostics.blocks(10, 3)
    assert [list(block) for block in found] == [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9]]


def test_each_block_holds_a_stretch_of_each_chain():
    labels = np.array(["a", "b"] * 4)
    found = diagnostics.blocks(8, 2, labels)
    assert [list(block) for block in found] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    found = diagnostics.blocks(8, 4, np.repeat([0, 1], 4))
    assert [list(block) for block in found] == [[0, 4], [1, 5], [2, 6], [3, 7]]


def test_bad_blocks():
    with pytest.raises(ValueError, match="^count: expected at most 2, the draws of the shortest "):
        diagnostics.blocks(5, 3, [0, 0, 0, 1, 1])
    with pytest.raises(ValueError, match=r"^chains: expected shape \(5,\), one label for each"):
        diagnostics.blocks(5, 2, [0, 1])
