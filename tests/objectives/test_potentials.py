"""U1-U4 against the printed formulas, closed forms and SciPy's quadrature."""

import math

import autograd.numpy as np
import pytest
from autograd import elementwise_grad
from scipy.integrate import quad
from scipy.special import ndtr

from nfref.objectives.potentials import POTENTIALS, U1, U2, U3, U4, box_quadrature, log_normaliser

ROOT_TWO_PI = math.sqrt(2 * math.pi)


def printed(name, z1, z2):
    """exp(-U) as in Rezende and Mohamed, table 1, one point at a time."""
    w1 = math.sin(2 * math.pi * z1 / 4)
    w2 = 3 * math.exp(-0.5 * ((z1 - 1) / 0.6) ** 2)
    w3 = 3 / (1 + math.exp(-(z1 - 1) / 0.3))
    if name == "U1":
        ring = 0.5 * ((math.hypot(z1, z2) - 2) / 0.4) ** 2
        sides = math.exp(-0.5 * ((z1 - 2) / 0.6) ** 2) + math.exp(-0.5 * ((z1 + 2) / 0.6) ** 2)
        return math.exp(-(ring - math.log(sides)))
    if name == "U2":
        return math.exp(-0.5 * ((z2 - w1) / 0.4) ** 2)
    width, branch = (0.35, w2) if name == "U3" else (0.4, w3)
    return math.exp(-0.5 * ((z2 - w1) / width) ** 2) + math.exp(
        -0.5 * ((z2 - w1 + branch) / 0.35) ** 2
    )


@pytest.mark.parametrize("name", POTENTIALS)
def test_values_are_the_printed_ones(name):
    z = np.random.default_rng(0).uniform(-4, 4, (200, 2))
    expected = [printed(name, *map(float, row)) for row in z]
    assert np.allclose(np.exp(-POTENTIALS[name](z)), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", POTENTIALS)
def test_gradient_is_the_slope(name):
    U = POTENTIALS[name]
    z = np.random.default_rng(1).uniform(-4, 4, (50, 2))
    gradient = elementwise_grad(U)(z)
    step = 1e-5
    for k in range(2):
        ahead, behind = z + step * np.eye(2)[k], z - step * np.eye(2)[k]
        slope = (U(ahead) - U(behind)) / (2 * step)
        assert np.allclose(gradient[:, k], slope, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", POTENTIALS)
def test_far_away_nothing_overflows(name):
    z = np.array([[-1e3, 1.0], [1e3, -1.0], [0.5, 1e3], [-1e3, -1e3]])
    assert np.all(np.isfinite(POTENTIALS[name](z)))
    assert np.all(np.isfinite(elementwise_grad(POTENTIALS[name])(z)))


def mass_of_a_bump(centre, width, box):
    return width * ROOT_TWO_PI * (ndtr((box - centre) / width) - ndtr((-box - centre) / width))


def mass_along_second(name, z1, box):
    """The integral over z_2, which is a closed form for U2-U4."""
    w1 = math.sin(math.pi * z1 / 2)
    if name == "U2":
        return mass_of_a_bump(w1, 0.4, box)
    if name == "U3":
        return mass_of_a_bump(w1, 0.35, box) + mass_of_a_bump(
            w1 - 3 * math.exp(-0.5 * ((z1 - 1) / 0.6) ** 2), 0.35, box
        )
    return mass_of_a_bump(w1, 0.4, box) + mass_of_a_bump(
        w1 - 3 / (1 + math.exp(-(z1 - 1) / 0.3)), 0.35, box
    )


@pytest.mark.parametrize("box", [4.0, 2.5])
@pytest.mark.parametrize("name", ["U2", "U3", "U4"])
def test_normaliser_against_a_single_integral(name, box):
    mass, _ = quad(
        lambda z1: mass_along_second(name, z1, box),
        -box,
        box,
        points=[0, 1],
        epsabs=1e-13,
        epsrel=1e-13,
        limit=200,
    )
    assert abs(log_normaliser(POTENTIALS[name], box) - math.log(mass)) < 1e-12


def test_normaliser_of_the_ring_in_polar_coordinates():
    # The mass beyond radius 4 is below exp(-12), so take a radius and a box of 6.
    def along_angle(r):
        value, _ = quad(
            lambda t: printed("U1", r * math.cos(t), r * math.sin(t)),
            0,
            math.pi / 2,
            epsabs=1e-13,
            epsrel=1e-12,
        )
        return 4 * r * value

    mass, _ = quad(along_angle, 0, 6, points=[2], epsabs=1e-11, epsrel=1e-11)
    assert abs(log_normaliser(U1, 6.0) - math.log(mass)) < 1e-9


def test_normaliser_does_not_depend_on_the_panels():
    for U in (U1, U2, U3, U4):
        assert abs(log_normaliser(U) - log_normaliser(U, panels=70)) < 1e-13


def test_quadrature_of_polynomials_is_exact():
    points, weights = box_quadrature(box=2.0, panels=3, nodes=4)
    assert points.shape == (144, 2) and weights.shape == (144,)
    assert np.isclose(np.sum(weights), 16, rtol=1e-14)
    assert np.isclose(
        np.sum(weights * points[:, 0] ** 6 * points[:, 1] ** 2),
        (2 * 2**7 / 7) * (2 * 2**3 / 3),
        rtol=1e-13,
    )


def test_bad_input():
    with pytest.raises(ValueError, match=r"^z: expected shape \(N, 2\), got \(3, 1\)$"):
        U2(np.zeros((3, 1)))
    with pytest.raises(ValueError, match="^box: expected a finite number above 0, got -1$"):
        log_normaliser(U1, box=-1)
    with pytest.raises(ValueError, match="^panels: expected at least 1, got 0$"):
        box_quadrature(panels=0)


def test_float32_stays():
    for U in POTENTIALS.values():
        assert U(np.zeros((2, 2), np.float32) + np.float32(0.5)).dtype == np.float32
