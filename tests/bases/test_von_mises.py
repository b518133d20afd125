"""Von Mises: Bessel functions to their digits, the circle, and parameters that are learned."""

import autograd.numpy as anp
import mpmath
import numpy as np
import pytest
from autograd import elementwise_grad, grad
from scipy import stats

import nfref
from nfref.bases import von_mises

CONCENTRATIONS = np.array([0.0, 1e-9, 1e-3, 0.5, 3.0, 20.0, 39.9, 40.0, 40.1, 300.0, 1e4])


def test_bessel_functions_against_fifty_digits():
    """Values and slopes: d log i0e = -(1 - A), d(1 - A) = -(1 - A / c - A^2), A = I1 / I0."""
    log_i0e, lacking = (
        function(CONCENTRATIONS) for function in (von_mises.log_i0e, von_mises.deficit)
    )
    slopes = [
        elementwise_grad(function)(CONCENTRATIONS)
        for function in (von_mises.log_i0e, von_mises.deficit)
    ]
    with mpmath.workdps(50):
        for k, c in enumerate(map(mpmath.mpf, CONCENTRATIONS)):
            i0, i1 = mpmath.besseli(0, c), mpmath.besseli(1, c)
            truth = 1 - i1 / i0
            slope = -(1 - (i1 / (c * i0) if c else mpmath.mpf(0.5)) - (i1 / i0) ** 2)
            assert abs(log_i0e[k] - (mpmath.log(i0) - c)) <= 5e-16 * (1 + abs(log_i0e[k]))
            assert abs(lacking[k] - truth) <= 1e-14 * truth
            assert abs(slopes[0][k] + truth) <= 1e-14 * truth
            # The slope, 1 / (2 c^2) for large c, is a difference of terms like 1 / c.
            assert abs(slopes[1][k] - slope) <= 1e-14 / (1 + c)


def test_the_series_has_the_known_coefficients():
    """1 - I1/I0 = 1/(2c) + 1/(8c^2) + 1/(8c^3) + 25/(128c^4) + 13/(32c^5) + ..."""
    np.testing.assert_array_equal(
        von_mises.deficit_series(5), [1 / 2, 1 / 8, 1 / 8, 25 / 128, 13 / 32]
    )


def test_a_turn_changes_nothing():
    base = nfref.VonMises(2)
    params = {"location": np.array([3.0, -7.0]), "log_concentration": np.array([1.0, 6.0])}
    z = base.sample(params, np.random.default_rng(0), 500)
    assert np.all(np.abs(z) <= np.pi)
    turns = np.random.default_rng(1).integers(-3, 4, z.shape)
    np.testing.assert_allclose(
        base.log_prob(params, z + 2 * np.pi * turns),
        base.log_prob(params, z),
        rtol=1e-12,
        atol=1e-12,
    )


@pytest.mark.parametrize("concentration", [1e-6, 0.5, 50.0, 1e5])
def test_a_turn_holds_all_the_mass(concentration):
    """The trapezoid on a circle converges faster than any power of the step."""
    base = nfref.VonMises(1, concentration)
    params = {**base.init(np.random.default_rng(0)), "location": np.array([2.0])}
    z = np.linspace(-np.pi, np.pi, 8192, endpoint=False)
    mass = np.exp(base.log_prob(params, z[:, None])).sum() * (2 * np.pi / 8192)
    assert mass == pytest.approx(1, abs=1e-13)


def test_much_concentration_is_the_normal():
    """log p keeps its digits where c (cos z - 1) would have lost them."""
    base, c = nfref.VonMises(1, 1e12), 1e12
    params = base.init(np.random.default_rng(0))
    z = np.random.default_rng(1).standard_normal((50, 1)) / np.sqrt(c)
    np.testing.assert_allclose(
        base.log_prob(params, z), stats.norm.logpdf(z[:, 0], 0, c**-0.5), rtol=1e-11
    )
    assert base.entropy(params) == pytest.approx(stats.norm.entropy(0, c**-0.5), rel=1e-11)


@pytest.mark.parametrize("c", [0.2, 3.0, 40.0])
def test_samples_move_with_their_rank(c):
    """da/dc against finite differences of scipy's quantiles."""
    rank = np.array([0.02, 0.3, 0.5, 0.6, 0.97])
    angle, h = stats.vonmises(c).ppf(rank), 1e-4 * c
    numeric = (stats.vonmises(c + h).ppf(rank) - stats.vonmises(c - h).ppf(rank)) / (2 * h)
    found = von_mises.shift_in_concentration(np.array([c]), angle[:, None])[:, 0]
    np.testing.assert_allclose(found, numeric, rtol=1e-5, atol=1e-9)


def test_the_gradient_of_samples_is_that_of_the_mean():
    """E cos(z - m) = I1(c) / I0(c), so d/dlog c of a mean of samples is c A'(c)."""
    base, at = nfref.VonMises(1), np.log([2.0])

    def mean_cosine(log_c, seed):
        params = {"location": np.array([1.0]), "log_concentration": log_c}
        return anp.mean(anp.cos(base.sample(params, np.random.default_rng(seed), 2000) - 1))

    slopes = [grad(mean_cosine)(at, seed)[0] for seed in range(20)]
    exact = -2 * elementwise_grad(von_mises.deficit)(np.array([2.0]))[0]
    error = np.std(slopes) / np.sqrt(20)
    assert abs(np.mean(slopes) - exact) < 4 * error < 0.1 * exact


def test_location_and_concentration_are_learned():
    """Four standard errors: 1 / sqrt(n c A) for m, 1 / (c sqrt(n A')) for log c."""
    true = {"location": np.array([3.0, -0.5]), "log_concentration": np.log([0.7, 30.0])}
    base, rng = nfref.VonMises(2), np.random.default_rng(3)
    x = base.sample(true, rng, 4000)
    density = nfref.Density(nfref.Permutation((0, 1)), base)
    result = nfref.fit(
        density,
        density.init(rng),
        x,
        rng,
        validation=None,
        epochs=60,
        batch_size=500,
        learning_rate=0.05,
        schedule="cosine",
        patience=None,
        progress=False,
    )
    found = result.params["base"]
    c = np.exp(true["log_concentration"])
    a, slope = 1 - von_mises.deficit(c), -elementwise_grad(von_mises.deficit)(c)
    off = (found["location"] - true["location"] + np.pi) % (2 * np.pi) - np.pi
    assert np.all(np.abs(off) < 4 / np.sqrt(len(x) * c * a))
    assert np.all(
        np.abs(found["log_concentration"] - true["log_concentration"])
        < 4 / (c * np.sqrt(len(x) * slope))
    )
