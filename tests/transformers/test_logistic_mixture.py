"""The mixture of logistics: against scipy's distributions, its sigmoidal twin and many digits."""

import mpmath as mp
import numpy as np
import pytest
from autograd.test_util import check_grads
from scipy.stats import logistic

from nfref.transformers.deep_sigmoid import sigmoids_inverse
from nfref.transformers.logistic_mixture import LogisticMixture
from tests.high_precision.maps.transformers import logistic_mixture

DTYPES = [np.float64, np.float32]


def numbers(transformer, n, dtype=np.float64, seed=0, scale=1):
    column = scale * np.random.default_rng(seed).standard_normal((transformer.size, 1))
    return np.repeat(column.astype(dtype), n, axis=1)


def test_it_takes_the_mixture_to_the_logistic_distribution():
    """The letters of Flow++: MixLogCDF(x; pi, mu, s), from scipy's logistic distributions."""
    transformer, x = LogisticMixture(3), np.linspace(-4, 4, 9)
    a, b, mu, s, log_pi = h = transformer.constrain(numbers(transformer, len(x)))
    below = np.sum(np.exp(log_pi) * logistic.cdf(x, mu, np.exp(s)), axis=0)
    density = np.sum(np.exp(log_pi) * logistic.pdf(x, mu, np.exp(s)), axis=0)
    z, log_slope = transformer.inverse(x, h)
    np.testing.assert_allclose(z, logistic.ppf(below) * np.exp(a) + b, rtol=1e-12)
    np.testing.assert_allclose(
        log_slope, a + np.log(density / (below * (1 - below))), rtol=1e-11, atol=1e-12
    )


def test_it_is_the_sigmoidal_map_in_other_letters():
    transformer, x = LogisticMixture(4), np.array([-1e5, -3.0, 0.1, 40.0])
    a, b, mu, s, log_pi = h = transformer.constrain(numbers(transformer, len(x), seed=1))
    z, log_slope = transformer.inverse(x, h)
    other, other_log = sigmoids_inverse(x, np.exp(-s), -mu * np.exp(-s), log_pi)
    np.testing.assert_allclose(z, np.exp(a) * other + b, rtol=1e-13)
    np.testing.assert_allclose(log_slope, a + other_log, rtol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [0, 1, 20])
def test_roots_for_any_z(scale, dtype):
    """For almost all of these, S would be clipped, or be 0 or 1."""
    transformer, rng = LogisticMixture(5), np.random.default_rng(2)
    z = np.concatenate([size * rng.standard_normal(100) for size in (1e-9, 1, 30, 1e6, 1e30)])
    z = z.astype(dtype)
    raw = (scale * rng.standard_normal((transformer.size, len(z)))).astype(dtype)
    a, b, mu, s, _ = h = transformer.constrain(raw)
    x, log_slope = transformer.forward(z, h)
    again, back = transformer.inverse(x, h)
    assert x.dtype == log_slope.dtype == dtype
    # Allow one rounding error of every (x - mu_k) e^-s_k, and of the sums in scale and shift.
    size = np.max((np.abs(x) + np.abs(mu)) * np.exp(-s), axis=0) * np.exp(a) + np.exp(a)
    eps = np.finfo(dtype).eps
    assert np.all(np.abs(again.astype(float) - z) <= 4 * eps * (np.abs(z) + np.abs(b) + size))
    np.testing.assert_allclose(back, -log_slope, rtol=0, atol=64 * eps)


def test_a_root_is_that_of_many_digits():
    transformer, z = LogisticMixture(3), np.array([-300.0, -1.5, 0.2, 40.0])
    raw = numbers(transformer, len(z), seed=3)
    x, _ = transformer.forward(z, transformer.constrain(raw))
    with mp.workdps(40):
        exact = [
            logistic_mixture(transformer, [mp.mpf(v) for v in raw[:, 0]], {}, mp.mpf(value))
            for value in z
        ]
    np.testing.assert_allclose(x, [float(value) for value in exact], rtol=1e-14)


@pytest.mark.parametrize("output", [0, 1])
@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_gradients_of_first_and_second_order(direction, output):
    transformer, rng = LogisticMixture(2), np.random.default_rng(4)
    check_grads(
        lambda v, raw: getattr(transformer, direction)(v, transformer.constrain(raw))[output],
        modes=["rev"],
    )(2 * rng.standard_normal(4), rng.standard_normal((transformer.size, 4)))


def test_wrong_arguments():
    with pytest.raises(ValueError, match="^components: expected at least 1, got 0$"):
        LogisticMixture(0)
    with pytest.raises(ValueError, match="^bound: expected a finite number above 0, got -1$"):
        LogisticMixture(bound=-1)
