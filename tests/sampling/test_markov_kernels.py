"""Markov kernels: detailed balance by quadrature, work in sixty digits, and equilibrium."""

import mpmath
import numpy as np
import pytest
from scipy import integrate, stats

import nfref
from nfref.sampling.markov_kernels import log_kernel_ratio, log_weight_change, move, proposal


def log_pi(x):
    """A double well on the line, not normalised."""
    return -(x**4) + 3 * x**2 + 0.3 * x


def force(x):
    return -4 * x**3 + 6 * x + 0.3


MASS = integrate.quad(lambda x: np.exp(log_pi(x)), -6, 6, epsrel=1e-12)[0]


def log_kernel(x, new, drift, step):
    """Return the log-density of x -> new, from the positions alone."""
    return stats.norm.logpdf(new, x + 0.5 * step**2 * drift * force(x), step)


@pytest.mark.parametrize("drift", [0, 1])
def test_accepted_steps_balance_in_detail(drift):
    """pi(x) K(x -> x') a(x, x') is symmetric on a grid, and one direction always accepts."""
    step, side = 0.4, np.linspace(-2.5, 2.5, 41)
    x, new = (grid.ravel() for grid in np.meshgrid(side, side))
    noise = (new - x - 0.5 * step**2 * drift * force(x)) / step
    assert np.allclose(proposal(x, drift * force(x), noise, step), new, atol=1e-13)
    ratio = log_kernel_ratio(
        drift * force(x)[:, None], drift * force(new)[:, None], noise[:, None], step
    )
    change = log_weight_change(log_pi(x), log_pi(new), ratio)
    flux = log_pi(x) + log_kernel(x, new, drift, step) + np.minimum(0, change)
    swapped = flux.reshape(41, 41).T.ravel()
    assert np.allclose(flux, swapped, rtol=0, atol=1e-10)
    assert np.allclose(change, -change.reshape(41, 41).T.ravel(), atol=1e-10)


def evaluate(drift):
    def evaluated(x):
        level = log_pi(x[:, 0])
        return np.stack([level, level]), level, drift * force(x)

    return evaluated


def equilibrium(rng, n):
    """Exact samples of pi, by the quantiles of a fine grid."""
    side = np.linspace(-4, 4, 40_001)
    mass = np.cumsum(np.exp(log_pi(side)))
    return np.interp(rng.random(n), mass / mass[-1], side)[:, None]


@pytest.mark.parametrize(
    "kernel",
    [nfref.Metropolis(0.6, 3), nfref.Langevin(0.4, 3), nfref.Langevin(0.3, 2, adjusted=False)],
)
def test_equilibrium_stays_or_is_weighed_back(kernel):
    rng, n = np.random.default_rng(0), 100_000
    x = equilibrium(rng, n)
    start = evaluate(kernel._drifts)
    new, parts, log_weight, acceptance = move(kernel, start, x, start(x), kernel.step, rng)
    assert np.array_equal(parts[0], log_pi(new[:, 0]))
    assert 0.3 < acceptance < 0.99 and np.mean(new != x) > 0.3
    assert np.all(log_weight == 0) == kernel._rejects
    weight = np.exp(log_weight)
    for power in range(5):  # power 0: the mean weight is 1
        exact = integrate.quad(lambda x: x**power * np.exp(log_pi(x)), -6, 6)[0] / MASS
        terms = weight * new[:, 0] ** power
        assert abs(np.mean(terms) - exact) < 4 * np.std(terms) / np.sqrt(n) + 1e-12


@pytest.mark.parametrize(
    "step, size", [(0.3, 1.0), (1e-9, 1.0), (0.3, 1e6), (30.0, 1e-3), (1e-6, 1e9)]
)
def test_the_kernels_ratio_in_sixty_digits(step, size):
    """From the positions of x and x', at ordinary and extreme steps and forces."""
    rng = np.random.default_rng(1)
    noise, here, there = rng.standard_normal((3, 5, 3))
    here, there = size * here, size * there
    found = log_kernel_ratio(here, there, noise, step)
    with mpmath.workdps(60):
        for row in range(5):
            e, exact, terms = mpmath.mpf(step), mpmath.mpf(0), mpmath.mpf(0)
            for xi, f, g in zip(noise[row], here[row], there[row]):
                xi, f, g = mpmath.mpf(xi), mpmath.mpf(f), mpmath.mpf(g)
                moved = e**2 / 2 * f + e * xi
                back = (-moved - e**2 / 2 * g) / e
                exact += (xi**2 - back**2) / 2
                terms += abs(e / 4 * (f + g)) * (abs(2 * xi) + abs(e / 2 * (f + g)))
            assert abs(found[row] - exact) <= 8 * np.finfo(float).eps * terms


def test_a_density_of_zero_gives_a_weight_of_zero():
    change = log_weight_change(
        np.array([0.0, -np.inf, -np.inf, 1.0]),
        np.array([-np.inf, 0.0, -np.inf, 3.0]),
        np.array([np.nan, 0.0, np.nan, 0.5]),
    )
    assert change.tolist() == [-np.inf, -np.inf, -np.inf, 2.5]
