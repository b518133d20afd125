"""The integral of a sum of squares: sixty digits, numpy's polynomials, roots, gradients."""

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from numpy.polynomial import Polynomial

import nfref
from tests.transformers import monotone

TRANSFORMER = nfref.SumOfSquares(3, 4, 5.0)


@pytest.mark.parametrize("scale", [0.3, 2])
def test_sixty_digits(scale):
    monotone.assert_sixty_digits(TRANSFORMER, scale, times=64)


@pytest.mark.parametrize("dtype", monotone.DTYPES)
@pytest.mark.parametrize("scale", [0, 1, 4])
def test_roots(dtype, scale):
    monotone.assert_roots(TRANSFORMER, dtype, scale, 1e6)


@pytest.mark.parametrize("direction", monotone.DIRECTIONS)
def test_gradients(direction):
    monotone.assert_gradients(TRANSFORMER, direction)


def test_it_is_the_integral_of_the_paper():
    """c + integral of sum_k (sum_l a_lk u^l)^2, by numpy's polynomials in x / B (SOS flows)."""
    raw = monotone.raw_numbers(TRANSFORMER, 200, 1.5, seed=1)
    beta, a = h = TRANSFORMER.constrain(raw)
    slope = 1e-3 + sum(
        (1 - 1e-3) / 3 * (1 + Polynomial(a[:, k, 0], [-5, 5], [-1, 1])) ** 2 for k in range(3)
    )
    x = np.linspace(-6, 6, 200)
    z, log_slope = TRANSFORMER.inverse(x, h)
    integral = slope.integ(lbnd=0)
    np.testing.assert_allclose(z, beta[0] + integral(x), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(np.exp(log_slope), slope(x), rtol=1e-11)


def test_raw_zeros_are_nearly_the_identity():
    transformer, x = nfref.SumOfSquares(), np.linspace(-10, 10, 101)
    h = transformer.constrain(np.zeros((transformer.size, 101)))
    z, log_slope = transformer.inverse(x, h)
    assert np.all((log_slope > -1e-15) & (log_slope <= np.log(1.01)))
    np.testing.assert_allclose(z, x, rtol=0.01)


def test_polynomials_do_not_start_as_one():
    transformer = nfref.SumOfSquares()
    x = np.linspace(-3, 5, 50)
    slope = autograd.grad(
        lambda raw: anp.sum(
            anp.exp(transformer.inverse(x, transformer.constrain(raw * anp.ones((1, 50))))[1])
        )
    )(np.zeros((transformer.size, 1)))
    first = slope[1:4, 0]
    assert np.ptp(first) > 1e-3 * np.max(abs(first))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"polynomials": 0}, "^polynomials: expected at least 1, got 0$"),
        ({"degree": 0}, "^degree: expected at least 1, got 0$"),
        ({"bound": 0}, "^bound: expected a finite number above 0, got 0$"),
        ({"min_slope": 1}, "^min_slope: expected a number below 1, got 1$"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        nfref.SumOfSquares(**options)
