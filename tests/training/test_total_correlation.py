"""Total correlation: that of a Gaussian, and of what no covariance shows."""

import numpy as np
import pytest

import nfref
from nfref.training import information


def eight(n, seed):
    return nfref.datasets.eight_gaussians(np.random.default_rng(seed), n)


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
