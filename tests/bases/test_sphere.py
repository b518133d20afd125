"""Densities of directions: SciPy's, their entropies, their derivatives, and their samples."""

import mpmath
import numpy as np
import pytest
from autograd import elementwise_grad, value_and_grad
from autograd import numpy as anp
from scipy.stats import vonmises_fisher

import nfref
from nfref.bases import von_mises_fisher as bessel

AREA = 4 * np.pi


def params_of(direction, concentration):
    return {"direction": np.asarray(direction), "log_concentration": np.log([concentration])}


@pytest.mark.parametrize("dim", [2, 3, 7])
@pytest.mark.parametrize("c", [0.1, 0.999, 1.001, 30.0, 1e5])
def test_density_and_entropy_are_those_of_scipy(dim, c):
    rng = np.random.default_rng(dim)
    base, mean = nfref.VonMisesFisher(dim), rng.standard_normal(dim)
    other = vonmises_fisher(mean / np.linalg.norm(mean), c)
    z = base.sample(params_of(mean, c), rng, 500)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, rtol=1e-12)
    found = base.log_prob(params_of(mean, c), z)
    np.testing.assert_allclose(found, other.logpdf(z), rtol=1e-9, atol=1e-9)
    entropy = base.entropy(params_of(mean, c))
    assert entropy == pytest.approx(float(other.entropy()), rel=1e-9, abs=1e-6)
    assert abs(entropy + found.mean()) < 5 * found.std() / np.sqrt(len(z)) + 1e-9


@pytest.mark.parametrize("order", [0, 0.5, 2.5])
def test_bessel_functions_to_sixty_digits(order):
    c = np.array([1e-8, 1e-3, 0.5, 0.999999, 1.000001, 7.0, 300.0, 1e6])
    with mpmath.workdps(60):
        exact = [
            float(mpmath.log(mpmath.besseli(order, v)) - v - order * mpmath.log(v))
            for v in map(mpmath.mpf, map(float, c))
        ]
        slope = [
            float(mpmath.besseli(order + 1, v) / mpmath.besseli(order, v))
            for v in map(mpmath.mpf, map(float, c))
        ]
    np.testing.assert_allclose(bessel.log_bessel(c, order), exact, rtol=1e-13, atol=1e-16)
    np.testing.assert_allclose(bessel.mean_cosine(c, order), slope, rtol=1e-13)
    grown = elementwise_grad(lambda c: bessel.log_bessel(c, order))(c)
    np.testing.assert_allclose(grown, np.array(slope) - 1, rtol=1e-13, atol=2e-16)
    step = 1e-6 * c
    ahead, back = (bessel.mean_cosine(c + move, order) for move in (step, -step))
    found = elementwise_grad(lambda c: bessel.mean_cosine(c, order))(c)
    np.testing.assert_allclose(found[2:6], ((ahead - back) / (2 * step))[2:6], rtol=1e-6)


def test_little_concentration_is_uniform():
    rng = np.random.default_rng(0)
    z = nfref.UniformSphere(3).sample({}, rng, 1000)
    found = nfref.VonMisesFisher(3).log_prob(params_of([0, 0, 1.0], 1e-9), z)
    np.testing.assert_allclose(found, -np.log(AREA), atol=1e-8)
    np.testing.assert_allclose(nfref.UniformSphere(3).log_prob({}, z), -np.log(AREA), rtol=1e-14)
    assert nfref.UniformSphere(3).entropy({}) == pytest.approx(np.log(AREA))
    assert nfref.UniformSphere(2).entropy({}) == pytest.approx(np.log(2 * np.pi))


def test_a_direction_of_zeros_is_one_line():
    base, params = nfref.VonMisesFisher(3), params_of(np.zeros(3), 2.0)
    message = "^direction: expected a length above 0, got only zeros$"
    with pytest.raises(ValueError, match=message):
        base.log_prob(params, np.eye(3))
    with pytest.raises(ValueError, match=message):
        base.sample(params, np.random.default_rng(0), 3)


def test_a_direction_of_zeros_that_a_network_computes_has_finite_gradients():
    base = nfref.VonMisesFisher(3)

    def total(weight):
        params = {"direction": weight * np.ones(3), "log_concentration": np.log([2.0])}
        return anp.sum(base.log_prob(params, np.eye(3)))

    value, gradient = value_and_grad(total)(0.0)
    assert value == pytest.approx(base.log_prob(params_of([0, 0, 1.0], 2.0), np.eye(3)).sum())
    assert gradient == 0


@pytest.mark.parametrize("dtype, sizes", [(float, (5e-324, 1e-200, 1e200)), (np.float32, (1e-30,))])
def test_the_length_of_a_direction_does_not_matter(dtype, sizes):
    base, z = nfref.VonMisesFisher(2), np.array([[0.6, 0.8]], dtype)
    expected = base.log_prob(params_of([1.0, 1.0], 2.0), z)
    for size in sizes:
        found = base.log_prob(params_of(np.array([size, size], dtype), 2.0), z)
        np.testing.assert_allclose(found, expected, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("base", [nfref.UniformSphere(3), nfref.VonMisesFisher(3)])
def test_rows_off_the_sphere_are_one_line(base):
    params = base.init(np.random.default_rng(0))
    message = "^z: expected points of the unit sphere, got a row of length 1.41421 in row 1$"
    with pytest.raises(ValueError, match=message):
        base.log_prob(params, np.array([[1.0, 0, 0], [1.0, 1.0, 0]]))
    single = np.array([[0.6, 0.0, 0.8]], np.float32)
    assert base.log_prob(params, single).shape == (1,)
