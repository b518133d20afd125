"""Whole numbers: a cell's mass by quadrature, bounds on it, and bits per dimension."""

import numpy as np
import pytest
from autograd import grad
from scipy.special import logsumexp
from scipy.stats import norm

import nfref
from nfref.objectives import dequantised_likelihood
from tests.finite_differences.contract import contract_test
from tests.flow_table import Entry, random_params


def rows_in_cells(rng, n, dim):
    return np.floor(3 * rng.standard_normal((n, dim))) + rng.uniform(0.1, 0.9, (n, dim))


def layer(dim, context_dim):
    noise = nfref.RealNVP(dim, 2, (3,), dim + context_dim, transformer=nfref.Affine(bound=0.5))
    return nfref.VariationalDequantisation(noise, levels=8)


def beside_the_edges(dim, context_dim):
    """Put the layer behind a shift: it has no derivative at whole numbers, such as the origin."""
    shift = nfref.Standardise((0.3,) * dim, (1.0,) * dim)
    return nfref.Chain([shift, layer(dim, context_dim)])


CONTRACT = {
    "VariationalDequantisation": Entry(
        beside_the_edges, dims=(2, 3), context=True, integrable=False, data_rows=rows_in_cells
    )
}
test_contract = contract_test(CONTRACT)

NODES, WEIGHTS = np.polynomial.legendre.leggauss(60)
NODES, WEIGHTS = (NODES + 1) / 2, WEIGHTS / 2


def cell(n):
    """Nodes of quadrature in the cell of two whole numbers, with their weights."""
    u = np.stack(np.meshgrid(NODES, NODES), axis=-1).reshape(-1, 2)
    return n + u, np.outer(WEIGHTS, WEIGHTS).ravel()


def with_layer(seed=0):
    """A density on the plane without and with the layer at its data end, and parameters."""
    rng = np.random.default_rng(seed)
    flow = nfref.ElementwiseAffine(2)
    noised = nfref.Density(nfref.Chain([flow, layer(2, 0)]))
    params = random_params(noised, rng)
    return nfref.Density(flow), {"base": {}, "flow": params["flow"][0]}, noised, params


# The layer ----------------------------------------------------------------------------------


def test_every_cell_goes_onto_itself():
    rng = np.random.default_rng(1)
    flow = layer(3, 0)
    params, x = random_params(flow, rng), rows_in_cells(rng, 200, 3)
    for direction in (flow.forward, flow.inverse):
        value, _ = direction(params, x)
        np.testing.assert_array_equal(np.floor(value), np.floor(x))
        assert np.max(np.abs(value - x)) > 0.1


def test_the_mass_of_a_cell_stays():
    """P(n) by quadrature is the same with and without the layer."""
    plain, theta, noised, params = with_layer()
    for n in ([0, 0], [1, -2], [-1, 1]):
        x, weights = cell(np.array(n))
        mass = weights @ np.exp(plain.log_prob(theta, x))
        # The layer has tails at the cell's edges; u = sin^2 makes Gauss quadrature converge.
        half = np.pi / 2
        angle, jacobian = NODES * half, half * np.sin(2 * half * NODES)
        u = np.sin(angle) ** 2
        grid = np.stack(np.meshgrid(u, u), axis=-1).reshape(-1, 2)
        weights = np.outer(WEIGHTS * jacobian, WEIGHTS * jacobian).ravel()
        found = weights @ np.exp(noised.log_prob(params, np.array(n) + grid))
        assert found == pytest.approx(mass, rel=1e-3)


def test_paper_form():
    """log p(n + u) - log q(u | n), with q the density of u = sigma(noise(logit e))."""
    plain, theta, noised, params = with_layer(3)
    rng = np.random.default_rng(3)
    n = np.array([[0, 1], [-2, 3], [1, 1]])
    e = rng.uniform(0.1, 0.9, n.shape)
    noise = noised.flow.flows[1].noise
    seen = (2 * n + 1) / 8 - 1
    z = np.log(e / (1 - e))
    v, log_det = noise.forward(params["flow"][1], z, seen)
    u = 1 / (1 + np.exp(-v))
    log_q = np.sum(np.log(e * (1 - e)), axis=1) - log_det - np.sum(np.log(u * (1 - u)), axis=1)
    expected = plain.log_prob(theta, n + u) - log_q
    np.testing.assert_allclose(noised.log_prob(params, n + e), expected, rtol=1e-10)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rows_stay_in_their_cells_at_the_edges(dtype):
    """Whole numbers and the float below the next whole number stay finite and keep their floor."""
    flow = layer(2, 0)
    params = random_params(flow, np.random.default_rng(4))
    low = np.array([[0, 255], [3, 7], [-1, -5]], dtype)
    for x in (low, np.nextafter(low + 1, low)):
        for direction in (flow.forward, flow.inverse):
            value, log_det = direction(params, x)
            np.testing.assert_array_equal(np.floor(value), low)
            assert np.all(np.isfinite(log_det)) and value.dtype == dtype


# Noise --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_dequantised_rows_have_their_floor_and_even_noise(dtype):
    rng = np.random.default_rng(5)
    n = rng.integers(0, 256, (4000, 3)).astype(dtype)
    x = nfref.dequantised(rng, n)
    assert x.dtype == dtype
    np.testing.assert_array_equal(np.floor(x), n)
    # 12,000 uniform numbers: mean and variance within four standard errors.
    u = (x - n).ravel().astype(float)
    assert abs(u.mean() - 0.5) < 4 / np.sqrt(12 * u.size)
    assert abs(u.var() - 1 / 12) < 4 / np.sqrt(180 * u.size)


def test_noise_that_rounds_up_stays_below():
    class Ones(np.random.Generator):
        def random(self, size, dtype):
            return np.full(size, np.nextafter(dtype.type(1), dtype.type(0)))

    n = np.array([[0, 255, 1e6]], np.float32)
    x = nfref.dequantised(Ones(np.random.PCG64(0)), n)
    np.testing.assert_array_equal(np.floor(x), n)


# Bounds and bits ----------------------------------------------------------------------------


def test_uniform_noise_bounds_the_mass_of_a_cell():
    """E log p(n + u) < log P(n) with P(n) in closed form; K draws close the gap."""
    density = nfref.Density(nfref.ElementwiseAffine(1))
    params = {"base": {}, "flow": {"shift": np.array([0.3]), "log_scale": np.array([-0.5])}}
    n = np.array([[0.0]])
    mass = norm.cdf(1, 0.3, np.exp(-0.5)) - norm.cdf(0, 0.3, np.exp(-0.5))
    bound = WEIGHTS @ norm.logpdf(NODES, 0.3, np.exp(-0.5))
    assert bound < np.log(mass) - 0.01
    rng = np.random.default_rng(6)
    many = np.repeat(n, 20_000, axis=0)
    one = nfref.bits_per_dim(density, params, many, rng)
    error = one.std() / np.sqrt(len(one))
    assert abs(one.mean() + bound / np.log(2)) < 4 * error
    more = nfref.bits_per_dim(density, params, many[:2000], rng, samples=64)
    assert more.std() < one.std() / 4
    gap = (-np.log(mass) - bound * -1) / np.log(2)
    assert abs(more.mean() + np.log(mass) / np.log(2)) < abs(gap) / 10


def test_learned_noise_makes_the_bound_tighter():
    """A density is much narrower than a cell: learned noise wastes fewer bits than uniform."""
    rng = np.random.default_rng(7)
    n = np.zeros((256, 2))
    base = nfref.Chain([nfref.Standardise((0.5, 0.5), (0.15, 0.15))])
    plain = nfref.Density(base)
    noise = nfref.Coupling((True, False), hidden=(8,), context_dim=2)
    other = nfref.Coupling((False, True), hidden=(8,), context_dim=2)
    noised = nfref.Density(
        nfref.Chain([base, nfref.VariationalDequantisation(nfref.Chain([noise, other]), levels=2)])
    )
    fitted = nfref.fit(
        noised,
        noised.init(rng),
        nfref.dequantised(rng, n),
        rng,
        epochs=150,
        validation=None,
        batch_size=256,
        learning_rate=0.03,
        patience=None,
        average=0,
        objective=dequantised_likelihood,
        progress=False,
    )
    cost = np.mean(nfref.bits_per_dim(noised, fitted.params, n, rng))
    plain_cost = np.mean(nfref.bits_per_dim(plain, plain.init(rng), n, rng))
    exact = -np.log2(norm.cdf(0.5 / 0.15) - norm.cdf(-0.5 / 0.15))
    assert exact <= cost < exact + 0.2
    assert plain_cost > exact + 1


@pytest.mark.parametrize(
    "flow, base",
    [
        (nfref.Standardise((0.0,) * 3, (1.0,) * 3), nfref.Uniform((0,) * 3, (256,) * 3)),
        (
            nfref.Standardise((-3.0,) * 3, (256.0,) * 3),
            nfref.Uniform((3 / 256,) * 3, (259 / 256,) * 3),
        ),
        (nfref.Logit((0,) * 3, (256,) * 3), nfref.Logistic(3)),
        (
            nfref.Chain([nfref.Logit((0,) * 3, (1,) * 3), nfref.Standardise((0,) * 3, (256,) * 3)]),
            nfref.Logistic(3),
        ),
    ],
)
def test_even_numbers_of_eight_bits_cost_eight(flow, base):
    """The flow may work in any units, with any number of samples."""
    density = nfref.Density(flow, base)
    rng = np.random.default_rng(8)
    n = rng.integers(0, 256, (50, 3))
    for samples in (1, 3):
        bits = nfref.bits_per_dim(density, density.init(rng), n, rng, samples)
        assert bits.shape == (50,)
        np.testing.assert_allclose(bits, 8, rtol=0, atol=1e-12)


def test_bits_of_more_draws_are_those_of_the_mean_of_densities():
    density = nfref.Density(nfref.ElementwiseAffine(2))
    params = random_params_of(density)
    n = np.array([[0, 1], [2, -1]])
    found = nfref.bits_per_dim(density, params, n, np.random.default_rng(9), samples=4)
    rng = np.random.default_rng(9)
    log_probs = [density.log_prob(params, nfref.dequantised(rng, n)) for _ in range(4)]
    expected = (np.log(4) - logsumexp(log_probs, axis=0)) / (2 * np.log(2))
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def random_params_of(density):
    return {"base": {}, "flow": random_params(density.flow, np.random.default_rng(0))}


def test_objective_gives_rows_new_noise_and_has_a_gradient():
    density = nfref.Density(nfref.ElementwiseAffine(2))
    params = random_params_of(density)
    x = np.array([[0.2, 1.9], [3.5, -0.5]])
    loss = dequantised_likelihood(density, params, x, None, np.random.default_rng(10))
    rows = nfref.dequantised(np.random.default_rng(10), np.floor(x))
    assert loss == pytest.approx(-np.mean(density.log_prob(params, rows)), rel=1e-14)
    slope = grad(
        lambda params: dequantised_likelihood(density, params, x, None, np.random.default_rng(10))
    )(params)
    assert np.all(slope["flow"]["shift"] != 0)


@pytest.mark.parametrize(
    "call, kind, message",
    [
        (
            lambda: nfref.VariationalDequantisation(nfref.RealNVP(2)),
            ValueError,
            "noise: expected a context_dim of at least 2, for the whole numbers, got 0",
        ),
        (
            lambda: nfref.VariationalDequantisation("flow"),
            TypeError,
            "noise: expected a flow, got str",
        ),
        (
            lambda: nfref.VariationalDequantisation(nfref.RealNVP(2, context_dim=2), 0),
            ValueError,
            "levels: expected at least 1, got 0",
        ),
        (lambda: nfref.dequantised(0, [[1.0]]), TypeError, "rng: expected"),
        (
            lambda: nfref.bits_per_dim(
                nfref.Density(nfref.Scale(2)), {}, [[1.0]], np.random.default_rng(0)
            ),
            ValueError,
            "n: expected",
        ),
    ],
)
def test_refuses(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
