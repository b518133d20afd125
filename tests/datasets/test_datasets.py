"""Toys: samples against densities, densities against one, entropies against quadrature."""

import hashlib

import autograd
import numpy as np
import pytest
from scipy import stats

from nfref import datasets

KNOWN = {name: toy for name, toy in datasets.TOYS.items() if toy.entropy is not None}
UNKNOWN = {name: toy for name, toy in datasets.TOYS.items() if toy.entropy is None}

every_toy = pytest.mark.parametrize("toy", datasets.TOYS.values(), ids=datasets.TOYS)
every_known = pytest.mark.parametrize("toy", KNOWN.values(), ids=KNOWN)

CELLS = 40  # cells per side of the board that samples are counted on
HALF = 8.0  # the board is [-8, 8]^2, so that its lines meet those of the checkerboard


def cell_integrals(toy, function, points=16):
    """Gauss-Legendre integrals of function(p, log p) over the cells, (CELLS, CELLS)."""
    nodes, weights = np.polynomial.legendre.leggauss(points)
    width = 2 * HALF / CELLS
    starts = -HALF + width * np.arange(CELLS)
    line = (starts[:, None] + width * (nodes + 1) / 2).ravel()
    line_weights = np.tile(weights * width / 2, CELLS)
    integrals = np.empty((CELLS, CELLS))
    for k in range(CELLS):  # a column of cells at a time keeps memory small
        part = slice(k * points, (k + 1) * points)
        x, y = np.meshgrid(line[part], line, indexing="ij")
        log_p = toy.log_prob(np.stack([x.ravel(), y.ravel()], axis=1))
        values = function(np.exp(log_p), log_p).reshape(x.shape)
        columns = line_weights[part] @ values * line_weights
        integrals[k] = columns.reshape(CELLS, points).sum(axis=1)
    return integrals


def minus_p_log_p(p, log_p):
    return -p * np.where(p > 0, log_p, 0)


def test_names():
    assert set(datasets.TOYS) == {
        "two_moons",
        "circles",
        "rings",
        "eight_gaussians",
        "pinwheel",
        "checkerboard",
        "two_spirals",
        "swiss_roll",
        "sheared_gaussian",
        "banana",
        "gaussian_mixture",
        "gaussian_grid",
    }
    for name, toy in datasets.TOYS.items():
        assert toy.name == name and getattr(datasets, name) is toy
        assert toy.description and "\n" not in toy.description


@every_toy
@pytest.mark.parametrize("n", [0, 1, 7])
def test_shape_and_dtype(toy, n):
    x = toy(np.random.default_rng(0), n)
    assert x.shape == (n, toy.dim) == (n, 2) and x.dtype == np.float64
    assert np.all(np.isfinite(x))


@every_toy
def test_same_seed_same_bits(toy):
    first, again, other = (toy(np.random.default_rng(seed), 50) for seed in (3, 3, 4))
    assert first.tobytes() == again.tobytes() != other.tobytes()


@every_toy
def test_size_on_the_page(toy):
    """Nearly all rows lie within [-5, 5]^2, well spread: one scale suits every toy."""
    x = toy(np.random.default_rng(1), 20000)
    assert np.mean(np.abs(x) > 5) < 0.01
    assert np.all(x.std(axis=0) > 0.5) and np.all(np.abs(x.mean(axis=0)) < 0.6)


@every_toy
def test_bad_arguments(toy):
    with pytest.raises(TypeError, match="rng: expected a numpy.random.Generator"):
        toy(0, 10)
    with pytest.raises(ValueError, match="n: expected at least 0, got -1"):
        toy(np.random.default_rng(0), -1)
    with pytest.raises(TypeError, match="n: expected a whole number"):
        toy(np.random.default_rng(0), 2.5)


def test_only_known_toys_have_a_density():
    assert set(UNKNOWN) == {"two_moons", "pinwheel", "two_spirals", "swiss_roll"}
    assert not any(hasattr(toy, "log_prob") for toy in UNKNOWN.values())
    with pytest.raises(ValueError, match=r"x: expected shape \(N, 2\), got \(3, 3\)"):
        datasets.banana.log_prob(np.zeros((3, 3)))


@pytest.mark.thorough
@every_known
def test_integrates_to_one_and_to_its_entropy(toy):
    # This board cuts off the sheared Gaussian and the banana beyond 4 s.
    tolerance = 1e-3 if toy.name in ("sheared_gaussian", "banana") else 1e-10
    assert np.isclose(cell_integrals(toy, lambda p, log_p: p).sum(), 1, rtol=0, atol=tolerance)
    entropy = cell_integrals(toy, minus_p_log_p).sum()
    assert np.isclose(entropy, toy.entropy, rtol=0, atol=10 * tolerance)


def test_sheared_gaussian_against_scipy():
    toy = datasets.sheared_gaussian
    factor = np.array([[1.2, 0], [1.5 * 1.2, 0.4]])
    normal = stats.multivariate_normal(np.zeros(2), factor @ factor.T)
    x = np.random.default_rng(0).normal(size=(100, 2)) * 3
    assert np.allclose(toy.log_prob(x), normal.logpdf(x), rtol=1e-12)
    assert np.isclose(toy.entropy, normal.entropy(), rtol=1e-14)


def test_banana_against_its_conditionals():
    """p(x) = N(x_1; 0, 1.3) N(x_2; 0.3 (x_1^2 - 1.3^2), 0.4)."""
    x = np.random.default_rng(0).normal(size=(100, 2)) * 3
    expected = stats.norm.logpdf(x[:, 0], 0, 1.3) + stats.norm.logpdf(
        x[:, 1], 0.3 * (x[:, 0] ** 2 - 1.69), 0.4
    )
    assert np.allclose(datasets.banana.log_prob(x), expected, rtol=1e-12)
    assert np.isclose(
        datasets.banana.entropy, stats.norm(scale=1.3).entropy() + stats.norm(scale=0.4).entropy()
    )


def test_gaussian_mixture_against_scipy():
    x = np.random.default_rng(0).normal(size=(100, 2)) * 3
    parts = [
        weight * stats.multivariate_normal(mean, covariance).pdf(x)
        for weight, mean, covariance in (
            (0.5, [-1.5, 0.5], [[0.64, 0.40], [0.40, 0.34]]),
            (0.3, [1.5, 1.0], [[0.25, -0.30], [-0.30, 0.52]]),
            (0.2, [0.5, -2.0], [[1.0, 0.0], [0.0, 0.04]]),
        )
    ]
    assert np.allclose(
        np.exp(datasets.gaussian_mixture.log_prob(x)), np.sum(parts, axis=0), rtol=1e-11, atol=0
    )


def test_eight_gaussians_against_scipy():
    x = np.random.default_rng(0).normal(size=(100, 2)) * 3
    centres = [np.sqrt(8) * np.array([np.cos(a), np.sin(a)]) for a in np.arange(8) * np.pi / 4]
    parts = [stats.multivariate_normal(centre, np.eye(2) / 8).pdf(x) for centre in centres]
    expected = np.mean(parts, axis=0)
    assert np.allclose(np.exp(datasets.eight_gaussians.log_prob(x)), expected, rtol=1e-11)


@pytest.mark.parametrize(
    "toy, radii, noise",
    [(datasets.circles, [1.5, 3], 0.24), (datasets.rings, [0.75, 1.5, 2.25, 3], 0.08)],
    ids=["circles", "rings"],
)
def test_circles_are_normals_averaged_over_the_angle(toy, radii, noise):
    x = np.random.default_rng(0).normal(size=(50, 2)) * 2
    angle = np.linspace(0, 2 * np.pi, 4000, endpoint=False)  # trapezoid: exact if periodic
    centres = np.concatenate([R * np.stack([np.cos(angle), np.sin(angle)], 1) for R in radii])
    distance = np.linalg.norm(x[:, None] - centres, axis=2)
    expected = np.mean(np.exp(-0.5 * (distance / noise) ** 2), axis=1) / (2 * np.pi * noise**2)
    assert np.allclose(np.exp(toy.log_prob(x)), expected, rtol=1e-9, atol=1e-300)


@every_known
def test_samples_follow_the_density(toy):
    """Counts on the cells of a board against integrals of the density: chi-square."""
    n = 40000
    x = toy(np.random.default_rng(5), n)
    edges = np.linspace(-HALF, HALF, CELLS + 1)
    counts = np.histogram2d(x[:, 0], x[:, 1], bins=[edges, edges])[0]
    expected = n * cell_integrals(toy, lambda p, log_p: p)
    large = expected > 8
    observed = np.append(counts[large], n - counts[large].sum())
    wanted = np.append(expected[large], n - expected[large].sum())
    observed, wanted = observed[wanted > 1], wanted[wanted > 1]
    statistic = np.sum((observed - wanted) ** 2 / wanted)
    assert stats.chi2.sf(statistic, len(wanted) - 1) > 1e-3
    assert len(wanted) > 100


@every_known
def test_mean_log_prob_is_minus_entropy(toy):
    log_p = toy.log_prob(toy(np.random.default_rng(6), 40000))
    standard_error = log_p.std() / np.sqrt(len(log_p))
    assert abs(log_p.mean() + toy.entropy) <= 4 * standard_error + 1e-12


@every_known
def test_float32_in_float32_out(toy):
    x = toy(np.random.default_rng(7), 200)
    single = toy.log_prob(x.astype(np.float32))
    assert single.dtype == np.float32
    assert np.allclose(single, toy.log_prob(x), rtol=1e-4, atol=1e-3)
    assert toy.log_prob(np.zeros((0, 2))).shape == (0,)


@pytest.mark.parametrize(
    "toy",
    [toy for toy in KNOWN.values() if toy is not datasets.checkerboard],  # which is constant
    ids=lambda toy: toy.name,
)
def test_gradient_against_finite_differences(toy):
    x = toy(np.random.default_rng(8), 30)
    gradient = autograd.grad(lambda x: autograd.numpy.sum(toy.log_prob(x)))(x)
    step = 1e-5 * np.eye(2)
    numeric = np.stack([(toy.log_prob(x + h) - toy.log_prob(x - h)) / 2e-5 for h in step], axis=1)
    assert np.allclose(gradient, numeric, rtol=1e-6, atol=1e-6)


def test_checkerboard_edges():
    """Squares are closed on the left and below; outside of the board the density is zero."""
    board = datasets.checkerboard
    inside = np.array([[-4.0, -4.0], [-0.5, -0.5], [2.0, 2.0], [1.0, 3.999]])
    outside = np.array([[4.0, 2.0], [-4.1, -4.1], [1.0, -1.0], [np.inf, 0.0], [-2.0, -4.0]])
    assert np.all(board.log_prob(inside)[[0, 1, 2]] == -np.log(32))
    assert np.array_equal(board.log_prob(inside)[3:], [-np.inf])
    assert np.all(board.log_prob(outside) == -np.inf)


# The real table ----------------------------------------------------------------------------


def test_wine():
    values, columns = datasets.wine()
    assert values.shape == (3961, 11) and values.dtype == np.float64
    assert len(np.unique(values, axis=0)) == 3961
    assert columns[0] == "fixed acidity" and columns[-1] == "alcohol" and len(columns) == 11
    assert values[0].tolist() == [7, 0.27, 0.36, 20.7, 0.045, 45, 170, 1.001, 3, 0.45, 8.8]


def test_wine_raw():
    values, columns = datasets.wine(raw=True)
    assert values.shape == (4898, 12) and columns[-1] == "quality"
    assert np.array_equal(np.unique(values[:, -1]), np.arange(3, 10))
    # The distinct rows in order of first appearance are the plain call's.
    seen = dict.fromkeys(map(tuple, values))
    assert np.array_equal(np.array(list(seen))[:, :-1], datasets.wine()[0])


def test_wine_file_is_the_published_one():
    from importlib import resources

    data = resources.files("nfref.datasets")
    digest = hashlib.sha256((data / "winequality-white.csv").read_bytes()).hexdigest()
    assert digest == "76c3f809815c17c07212622f776311faeb31e87610d52c26d87d6e361b169836"
    assert "CC BY 4.0" in (data / "ATTRIBUTION.rst").read_text(encoding="utf-8")
