"""Annealed samplers: exact weights on Gaussians, sixty digits, no bias, and honest errors."""

import autograd.numpy as np
import mpmath
import pytest
from scipy import integrate, special

import nfref
from nfref.sampling.annealing import Path, independent_rows, log_weights_of_ancestors

LOG_Z = 3.0


def log_gaussian(x):
    """exp(LOG_Z) times the density of N((1, -2), (0.5, 2)^2)."""
    z = (x - np.array([1.0, -2.0])) / np.array([0.5, 2.0])
    return LOG_Z - 0.5 * np.sum(z**2, axis=1) - np.log(2 * np.pi)


def mixture(x):
    """Two normals on a line in the plane, of weights 2 and 1."""
    first = -np.sum((x - 1.2) ** 2, axis=1)
    second = -np.sum((x + 1.2) ** 2, axis=1)
    return np.logaddexp(np.log(2) + first, second) - np.log(np.pi)


def sampler_of(kernel, levels=6, **options):
    return nfref.AnnealedSampler(nfref.StandardNormal(2), kernel, levels, **options)


KERNELS = {
    "metropolis": nfref.Metropolis(0.7, 2),
    "langevin": nfref.Langevin(0.6, 2),
    "unadjusted": nfref.Langevin(0.3, 2, adjusted=False),
}


def moments(t, mean=np.array([1.0, -2.0]), std=np.array([0.5, 2.0])):
    """Return mean and standard deviation of pi_t between N(0, I) and log_gaussian."""
    precision = (1 - t) + t / std**2
    return t * mean / std**2 / precision, precision**-0.5


def exact_flows(levels):
    """Return the affine maps from each Gaussian on the path to the next."""
    found = []
    for k in range(levels):
        (mean, std), (new_mean, new_std) = moments(k / levels), moments((k + 1) / levels)
        found.append({"shift": new_mean - mean * new_std / std, "log_scale": np.log(new_std / std)})
    return found


@pytest.mark.parametrize("levels", [1, 3, 8])
@pytest.mark.parametrize("kernel", ["metropolis", "langevin"])
def test_exact_flows_between_gaussians_make_every_weight_z(kernel, levels):
    sampler = sampler_of(KERNELS[kernel], levels, flow=nfref.ElementwiseAffine(2))
    params = {**sampler.init(np.random.default_rng(0)), "flows": exact_flows(levels)}
    found = sampler.estimate(params, log_gaussian, np.random.default_rng(1), 2000)
    assert abs(found.value - LOG_Z) < 1e-13
    assert np.max(np.abs(2000 * found.weights - 1)) < 1e-12
    assert found.error < 1e-13 and found.believable
    assert np.allclose(found.samples.mean(axis=0), [1, -2], atol=0.15)
    assert np.allclose(found.samples.std(axis=0), [0.5, 2], rtol=0.1)


@pytest.mark.parametrize("steps, step", [(1, 0.3), (3, 0.2), (1, 1e-7), (1, 4.0)])
def test_weights_in_sixty_digits(steps, step):
    """All of the path again, one number at a time, with the same random numbers."""
    kernel = nfref.Langevin(step, steps, adjusted=False)
    sampler = nfref.AnnealedSampler(nfref.StandardNormal(1), kernel, 3, nfref.ElementwiseAffine(1))
    flows = [
        {"shift": np.array([0.1 * k]), "log_scale": np.array([0.2 - 0.3 * k])} for k in range(3)
    ]
    params = {**sampler.init(np.random.default_rng(0)), "flows": flows}
    n = 6
    rng = np.random.default_rng(7)
    start = sampler.start.sample({}, rng, n)[:, 0]
    noise = rng.standard_normal((3, steps, n))
    found = sampler.estimate(
        params, lambda x: -np.sum(x**4 - x**2, axis=1), np.random.default_rng(7), n
    )
    with mpmath.workdps(60):
        exact = [
            path_by_hand(start[i], noise[:, :, i], flows, params["log_step"]) for i in range(n)
        ]
        largest = max(log_w for log_w, _ in exact)
        total = sum(mpmath.exp(log_w - largest) for log_w, _ in exact)
        log_z = largest + mpmath.log(total / n)
        assert abs(found.value - log_z) < 1e-13 * max(1, abs(log_z))
        for i, (log_w, x) in enumerate(exact):
            assert abs(found.samples[i, 0] - x) < 1e-13 * max(1, abs(x))
            share = mpmath.exp(log_w - largest) / total
            assert abs(found.weights[i] - share) < 1e-11 * share + 1e-300


def path_by_hand(x, noise, flows, log_step):
    """Return log w and the end of one row, from densities of positions alone."""
    x, log_w = mpmath.mpf(x), mpmath.mpf(0)

    def log_pi(x, t):
        return (1 - t) * (-(x**2) / 2 - mpmath.log(2 * mpmath.pi) / 2) + t * (x**2 - x**4)

    def drift(x, t, e):
        return x + e**2 / 2 * ((1 - t) * -x + t * (2 * x - 4 * x**3))

    for k, flow in enumerate(flows):
        shift, log_scale = mpmath.mpf(flow["shift"][0]), mpmath.mpf(flow["log_scale"][0])
        before, t, e = log_pi(x, mpmath.mpf(k) / 3), mpmath.mpf(k + 1) / 3, mpmath.exp(log_step[k])
        x = x * mpmath.exp(log_scale) + shift
        log_w += log_pi(x, t) + log_scale - before
        for xi in noise[k]:
            new = drift(x, t, e) + e * mpmath.mpf(xi)
            back = -((x - drift(new, t, e)) ** 2) + (new - drift(x, t, e)) ** 2
            log_w += log_pi(new, t) - log_pi(x, t) + back / (2 * e**2)
            x = new
    return log_w, x


@pytest.mark.parametrize(
    "kernel, resample",
    [
        ("metropolis", None),
        ("langevin", 0.6),
        ("unadjusted", None),
        pytest.param("metropolis", 0.6, marks=pytest.mark.thorough),
        pytest.param("langevin", None, marks=pytest.mark.thorough),
        pytest.param("unadjusted", 0.6, marks=pytest.mark.thorough),
    ],
)
def test_z_is_unbiased_and_its_error_honest(kernel, resample):
    """A z-test over 200 seeds: the mean of Z, its spread beside the errors, and coverage."""
    flow = nfref.ElementwiseAffine(2)
    sampler = sampler_of(KERNELS[kernel], 5, flow=flow, resample=resample)
    params = sampler.init(np.random.default_rng(0))
    for own in params["flows"]:  # any flow will do
        own["shift"], own["log_scale"] = np.array([0.03, -0.02]), np.array([0.02, -0.03])
    path, n = Path(sampler, params, mixture), 500
    runs = [path.walk(np.random.default_rng(seed), n) for seed in range(200)]
    families = np.stack([log_weights_of_ancestors(run.log_weights, run.ancestors) for run in runs])
    z = np.mean(np.exp(families), axis=1) / 3
    assert abs(np.mean(z) - 1) < 3 * np.std(z) / np.sqrt(200)
    sizes = [independent_rows(own, run.resamplings) for own, run in zip(families, runs)]
    errors = np.std(np.exp(families), axis=1) / 3 / np.sqrt(sizes)
    assert all((run.resamplings > 0) == (resample is not None) for run in runs)
    assert 0.88 < np.std(z) / np.sqrt(np.mean(errors**2)) < 1.15
    assert 0.89 < np.mean(np.abs(z - 1) < 1.96 * errors) < 0.99
    right = np.stack([run.x.sum(axis=1) > 0 for run in runs])
    weights = np.exp([run.log_weights - special.logsumexp(run.log_weights) for run in runs])
    assert abs(np.mean(np.sum(weights * right, axis=1)) - mass_on_the_right()) < 0.02


def mass_on_the_right():
    """Return the mass of the mixture at x_1 + x_2 > 0, a normal of mean 2.4 and variance 1."""
    inside = special.ndtr(2.4)
    return (2 * inside + 1 - inside) / 3


def test_resampling_lowers_the_effective_size_of_ancestors_only():
    log_weights, ancestors = np.log([1.0, 2.0, 3.0, 2.0]), np.array([1, 1, 3, 1])
    found = log_weights_of_ancestors(log_weights, ancestors)
    assert np.allclose(np.exp(found), [0, 5, 0, 3])
    sampler = sampler_of(KERNELS["langevin"], resample=0.99)
    found = sampler.estimate(
        sampler.init(np.random.default_rng(0)), mixture, np.random.default_rng(0), 400
    )
    assert found.method == "sequential Monte Carlo"
    assert found.effective < 0.8 / np.sum(found.weights**2)


def test_a_double_well_by_quadrature():
    def log_target(x):
        return -(x[:, 0] ** 4) + 6 * x[:, 0] ** 2 + 0.5 * x[:, 0] - 0.5 * x[:, 1] ** 2

    exact = np.log(
        integrate.quad(lambda x: np.exp(-(x**4) + 6 * x**2 + 0.5 * x), -5, 5, epsrel=1e-12)[0]
    ) + 0.5 * np.log(2 * np.pi)
    for kernel in (nfref.Langevin(0.3, 2), nfref.Metropolis(0.5, 4)):
        sampler = sampler_of(kernel, 20)
        found = sampler.estimate(
            sampler.init(np.random.default_rng(0)), log_target, np.random.default_rng(1), 4000
        )
        assert found.pareto_k < 0.5 and abs(found.value - exact) < 3 * found.error
        assert found.error < 0.05


def test_walls_and_a_box():
    """Densities that are 0 somewhere: of the target, and of the start."""
    sampler = sampler_of(nfref.Metropolis(0.8, 3), 10)
    found = sampler.estimate(
        sampler.init(np.random.default_rng(0)),
        lambda x: np.where(x[:, 0] > 0.5, mixture(x), -np.inf),
        np.random.default_rng(1),
        8000,
    )
    beyond = special.ndtr(np.sqrt(2) * np.array([1.2 - 0.5, -1.2 - 0.5])) @ [2, 1]
    assert abs(found.value - np.log(beyond)) < 3 * found.error < 0.2
    box = nfref.AnnealedSampler(nfref.Uniform([-5.0, -5.0], [5.0, 5.0]), nfref.Langevin(0.5, 3), 30)
    found = box.estimate(
        box.init(np.random.default_rng(0)), mixture, np.random.default_rng(2), 4000
    )
    assert abs(found.value - np.log(3)) < 3 * found.error < 0.2


def test_from_a_fitted_density_in_its_dtype():
    density = nfref.Density(nfref.ElementwiseAffine(2))
    sampler = nfref.AnnealedSampler(density, nfref.Langevin(0.3), 3)
    params = sampler.init(np.random.default_rng(0))
    params["start"]["flow"] = {"shift": np.array([1.0, -2.0]), "log_scale": np.log([0.5, 2.0])}
    found = sampler.estimate(params, log_gaussian, np.random.default_rng(1), 500)
    assert abs(found.value - LOG_Z) < 1e-12
    single = nfref.params.cast(params, np.float32)
    found = sampler.estimate(single, log_gaussian, np.random.default_rng(1), 500)
    assert found.samples.dtype == np.float32 and abs(found.value - LOG_Z) < 1e-4


def test_random_walks_need_no_gradient():
    import numpy

    sampler = sampler_of(nfref.Metropolis(0.7))
    params = sampler.init(np.random.default_rng(0))
    found = [
        sampler.estimate(params, target, np.random.default_rng(3), 300)
        for target in (
            log_gaussian,
            lambda x: numpy.array([log_gaussian(row[None])[0] for row in x]),
        )
    ]
    assert found[0].value == found[1].value


def energy(action):
    def log_target(x):
        return action(x, log_gaussian(x))

    return log_target


def fail(x, values):
    raise RuntimeError("no energy today")


@pytest.mark.parametrize("kernel", ["metropolis", "langevin"])
@pytest.mark.parametrize(
    "action, error, message",
    [
        (fail, ValueError, "log_target: expected log-densities, got RuntimeError: no energy today"),
        (lambda x, v: v[:, None], ValueError, r"log_target: expected to return shape \(50,\), got"),
        (lambda x, v: 3.0, ValueError, r"log_target: expected to return shape \(50,\), got \(\)"),
        (
            lambda x, v: v * np.nan,
            ValueError,
            "log_target: expected numbers below infinity, got nan",
        ),
        (
            lambda x, v: v + np.inf,
            ValueError,
            "log_target: expected numbers below infinity, got inf",
        ),
        (
            lambda x, v: v - np.inf,
            ValueError,
            "log_target: expected a way to it from the start, got -inf",
        ),
        (lambda x, v: ["a"] * 50, (ValueError, TypeError), "^log_target: "),
    ],
)
def test_bad_energies_get_one_line(kernel, action, error, message):
    sampler = sampler_of(KERNELS[kernel])
    with pytest.raises(error, match=message) as caught:
        sampler.estimate(
            sampler.init(np.random.default_rng(0)), energy(action), np.random.default_rng(1), 50
        )
    assert "\n" not in str(caught.value)


def test_a_gradient_that_fails_gets_one_line():
    sampler = sampler_of(KERNELS["langevin"])
    params, rng = sampler.init(np.random.default_rng(0)), np.random.default_rng(1)
    with pytest.raises(ValueError, match="gradient of log_target: expected numbers below infinity"):
        sampler.estimate(params, lambda x: log_gaussian(x) + 0 * np.sqrt(0 * x[:, 0]), rng, 50)
    # Autograd follows scipy.special.erf once its own is imported; it has none of exp1.
    with pytest.raises(TypeError, match="calls scipy.special.exp1; write it with autograd.numpy"):
        sampler.estimate(params, lambda x: -special.exp1(x[:, 0] ** 2), rng, 50)


@pytest.mark.parametrize(
    "make, message",
    [
        (
            lambda: nfref.AnnealedSampler(nfref.RealNVP(2), nfref.Langevin(0.1)),
            "start: expected a Base",
        ),
        (lambda: sampler_of(0.1), "kernel: expected a Metropolis or Langevin, got float"),
        (lambda: sampler_of(nfref.Langevin(0.1), flow="affine"), "flow: expected a Flow, got str"),
        (lambda: sampler_of(nfref.Langevin(0.1), flow=nfref.Scale(3)), "same dim, got 2 and 3"),
        (lambda: sampler_of(nfref.Langevin(0.1), levels=0), "levels: expected at least 1, got 0"),
        (
            lambda: sampler_of(nfref.Langevin(0.1), resample=-1),
            "resample: expected a finite number",
        ),
        (lambda: nfref.Langevin(0), "step: expected a finite number above 0, got 0"),
        (lambda: nfref.Metropolis(0.1, 0), "steps: expected at least 1, got 0"),
    ],
)
def test_bad_configurations_get_one_line(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_bad_parameters_get_one_line():
    sampler = sampler_of(nfref.Langevin(0.1))
    params = sampler.init(np.random.default_rng(0))
    with pytest.raises(ValueError, match="log_step"):
        sampler.estimate({**params, "log_step": np.zeros(2)}, mixture, np.random.default_rng(0), 9)
