"""Residual flows: the bound on the norm, the fixed point, three log-determinants, two gradients."""

import itertools

import autograd.numpy as anp
import mpmath
import numpy as np
import pytest
from autograd import elementwise_grad, grad
from autograd.tracer import getval

import nfref
from nfref.flows import residual
from nfref.runtime import params as trees
from tests.finite_differences import numerics
from tests.finite_differences.contract import contract_test
from tests.flow_table import Entry, hidden, random_params


def series(**options):
    """Return the constructor of blocks that sum the power series, with exact traces."""
    return lambda d, c: nfref.ResidualBlock(
        d, hidden(d), c, coefficient=0.8, estimator="series", terms=80, **options
    )


CONTRACT = {
    "ResidualBlock": Entry(lambda d, c: nfref.ResidualBlock(d, hidden(d), c), context=True),
    "ResidualFlow": Entry(lambda d, c: nfref.ResidualFlow(d, 2, (d + 3, 4), c), context=True),
    "ResidualFlow, affine": Entry(lambda d, c: nfref.ResidualFlow(d, 2, ()), log_det="constant"),
    # L = 0.64: the terms after the 80th add less than 1e-17, so these are log-determinants.
    "ResidualBlock, series": Entry(series(), context=True),
    "ResidualBlock, Neumann": Entry(series(gradient="neumann"), dims=(1, 3)),
}
test_contract = contract_test(CONTRACT)

DIMS = (1, 2, 3, 5, 8)


def drawn(flow, seed=0, size=1.0):
    """Random parameters and seven data rows."""
    rng = np.random.default_rng(seed)
    return random_params(flow, rng, size), 1.5 * rng.standard_normal((7, flow.dim))


def spectral_norms(flow, params):
    """Return spectral norms, by SVD, of the weights that the flow uses, without context rows."""
    weights = [layer["weight"] for layer in flow.normalised(params)]
    return [
        np.linalg.svd(w[: flow.dim] if k == 0 else w, compute_uv=False)[0]
        for k, w in enumerate(weights)
    ]


# Lipschitz constants ----------------------------------------------------------------------


def test_slope_of_the_activation_stays_below_one():
    """Find the extremes with 50 digits: u is a root of sigma'' u + 2 sigma'."""
    with mpmath.workdps(50):

        def swish_slope(u):
            return (1 + u / (1 + mpmath.exp(u))) / (1 + mpmath.exp(-u)) / mpmath.mpf("1.1")

        extremes = [
            swish_slope(mpmath.findroot(lambda u: mpmath.diff(swish_slope, u), start))
            for start in (2.4, -2.4)
        ]
        assert 0.9998 < extremes[0] < 1 and abs(extremes[1]) < 0.1
    u = np.linspace(-60, 60, 100_001)[:, None]
    _, slopes = residual.lipschitz_swish(u / 0.3, 0.3)
    assert np.max(slopes) == pytest.approx(float(extremes[0]), rel=1e-7)
    assert np.min(slopes) == pytest.approx(float(extremes[1]), rel=1e-6)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_activation_keeps_its_digits(dtype):
    a = np.array([-80, -40, -9, -1.3, -1e-9, 0, 1e-9, 0.7, 9, 40, 80, 1e3], dtype)[:, None]
    beta = dtype(0.75)
    with np.errstate(all="raise", under="ignore"):
        value, slope = residual.lipschitz_swish(a, beta)
    assert value.dtype == slope.dtype == dtype
    with mpmath.workdps(50):
        for k, number in enumerate(a[:, 0].tolist()):
            u = mpmath.mpf(number) * mpmath.mpf(float(beta))
            gate = 1 / (1 + mpmath.exp(-u))
            exact = [
                mpmath.mpf(number) * gate / mpmath.mpf("1.1"),
                gate * (1 + u * (1 - gate)) / mpmath.mpf("1.1"),
            ]
            # e^-|u| turns one rounding error of u into |u| of them.
            allowed = (8 + 2 * abs(float(u))) * float(np.finfo(dtype).eps)
            for got, true in zip((value[k, 0], slope[k, 0]), exact):
                assert abs(got - float(true)) <= allowed * abs(float(true)), (number, got)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("dim", DIMS)
def test_evaluation_keeps_the_bound_whatever_the_parameters(dim, dtype):
    """No weight's SVD norm exceeds c, and no Jacobian of g or pair of rows shows more."""
    for size in (0.3, 3.0, 100.0):
        flow = nfref.ResidualBlock(dim, (dim + 3, 6), context_dim=2, coefficient=0.9)
        params, x = drawn(flow, dim, size)
        params, x = trees.cast(params, np.dtype(dtype)), x.astype(dtype)
        eps = float(np.finfo(dtype).eps)
        assert max(spectral_norms(flow, params)) <= 0.9 * (1 + 16 * eps)
        context = np.zeros((7, 2), dtype)
        g, slopes = residual.residual(flow.normalised(params), x, context)
        lengths = np.linalg.norm(residual.jacobian(flow.normalised(params), slopes, x), 2, (1, 2))
        assert flow.lipschitz == 0.9**3
        assert np.max(lengths) <= flow.lipschitz
        for i, j in itertools.combinations(range(7), 2):
            assert np.linalg.norm(g[i] - g[j]) <= flow.lipschitz * np.linalg.norm(x[i] - x[j])


def test_small_weights_are_left_alone_and_context_is_not_bounded():
    flow = nfref.ResidualBlock(2, (3,), context_dim=1)
    params, _ = drawn(flow, 1)
    params["net"][0]["weight"] = np.array([[0.1, 0, 0.2], [0.3, 0, 0], [50.0, -70.0, 8.0]])
    np.testing.assert_array_equal(flow.normalised(params)[0]["weight"], params["net"][0]["weight"])


def test_gradient_of_the_norm():
    """Compare with differences; the zero matrix has no gradient and passes nothing on."""
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (2, 5), (5, 2), (4, 4)):
        weight = 2 * rng.standard_normal(shape)
        cotangent = rng.standard_normal(shape)

        def total(vector):
            own = vector.reshape(shape)
            return anp.sum(cotangent * residual.shrink(own, residual.squared_norm(own), 0.9))

        numeric, _ = numerics.numerical_gradient(lambda v: np.array([total(v)]), weight.ravel())
        np.testing.assert_allclose(grad(total)(weight.ravel()), numeric[0], rtol=1e-9, atol=1e-10)
    zero = grad(lambda w: anp.sum(residual.shrink(w, residual.squared_norm(w), 0.9)))
    np.testing.assert_array_equal(zero(np.zeros((3, 2))), np.ones((3, 2)))


# Power iteration --------------------------------------------------------------------------


def with_singular_values(rng, values, shape):
    left, right = (np.linalg.qr(rng.standard_normal((n, n)))[0] for n in shape)
    return left[:, : len(values)] * values @ right[:, : len(values)].T


def test_power_iteration_comes_from_below_at_the_stated_rate():
    rng = np.random.default_rng(5)
    weight = with_singular_values(rng, np.array([3.0, 2.4, 1.0]), (6, 4))
    start = rng.standard_normal(6)
    exact = residual.squared_norm(weight)
    assert exact == pytest.approx(9, rel=1e-14)
    lacks = [
        exact
        - residual.estimated_squared_norm(weight, residual.power_iteration(weight, start, steps))
        for steps in range(1, 26)
    ]
    assert np.all(np.diff(lacks) < 0) and lacks[-1] > 0
    rates = np.array(lacks[12:]) / np.array(lacks[11:-1])
    np.testing.assert_allclose(rates, (2.4 / 3.0) ** 4, rtol=0.01)
    u = residual.power_iteration(weight, start, 200)
    assert residual.estimated_squared_norm(weight, u) == pytest.approx(exact, rel=1e-13)
    assert residual.estimated_squared_norm(weight, -7 * u) == pytest.approx(exact, rel=1e-13)


def test_state_is_explicit():
    """``adapt`` moves ``u`` and nothing else; the map itself changes nothing."""
    flow = nfref.ResidualFlow(2, 2, (4,), iterations=3)
    params, x = drawn(flow, 2)
    adapted = nfref.adapt(flow, params, x)
    exactly = nfref.adapt(flow, params, x, stage="start")
    for block, before, after, first in zip(flow.flows, params, adapted, exactly):
        for name in ("net", "beta"):
            for a, b, c in zip(*map(trees.leaves, (before[name], after[name], first[name]))):
                assert a is b is c
        for k, weight in enumerate(block._weights(before["net"])):
            np.testing.assert_array_equal(
                after["u"][k], residual.power_iteration(weight, before["u"][k], 3)
            )
            assert residual.estimated_squared_norm(weight, first["u"][k]) == pytest.approx(
                np.linalg.norm(weight, 2) ** 2, rel=1e-13
            )
    gradient = grad(lambda p: anp.sum(nfref.in_training(flow).inverse(p, x)[1]))(params)
    assert all(np.all(u == 0) for block in gradient for u in block["u"])
    np.testing.assert_allclose(
        nfref.in_training(flow).inverse(exactly, x)[0], flow.inverse(params, x)[0], rtol=1e-12
    )


def test_nothing_is_learned_of_a_zero_weight():
    u = np.array([3.0, 4.0])
    np.testing.assert_array_equal(residual.power_iteration(np.zeros((2, 3)), u, 5), u)


@pytest.mark.parametrize(
    "iterations, longest",
    [pytest.param(5, 1.1, marks=pytest.mark.thorough), (0, 0.97 * (1 + 1e-14))],
)
def test_how_far_a_fit_exceeds_the_coefficient(iterations, longest):
    """SVD after each batch: five iterations lag behind, and only exact norms keep the bound."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((400, 2)) @ np.array([[2.0, 0.0], [1.5, 0.3]]) + [1.0, -2.0]
    density = nfref.Density(nfref.ResidualFlow(2, 3, (16, 16), iterations=iterations))
    measured = []

    def objective(training, params, rows, context, rng):
        values = trees.tree_map(getval, params["flow"])
        measured.append(
            [spectral_norms(block, own) for block, own in zip(training.flow.flows, values)]
        )
        return -anp.mean(training.log_prob(params, rows))

    params = density.init(rng)
    before = np.mean(density.log_prob(params, x))
    result = nfref.fit(
        density,
        params,
        x,
        rng,
        epochs=5,
        batch_size=50,
        learning_rate=3e-3,
        objective=objective,
        progress=False,
    )
    after = density.log_prob(result.params, x)
    assert np.mean(after) > before + 0.3
    assert len(measured) == 40
    assert 0.96 < np.max(measured) <= longest
    assert np.max(np.prod(measured, axis=2)) < 1
    exactly = nfref.adapt(density, result.params, x, stage="start")
    np.testing.assert_allclose(nfref.in_training(density).log_prob(exactly, x), after, rtol=1e-11)
    assert ("u" in params["flow"][0]) == bool(iterations)


def test_a_fit_with_fresh_random_numbers_for_each_batch():
    """Fit as ResidualFlow's docstring shows; the exact log-determinant scores the fit."""
    rng = np.random.default_rng(4)
    x = rng.standard_normal((300, 2)) * [0.5, 1.8] + [1.0, -2.0]
    flow = nfref.ResidualFlow(2, 3, (8,), estimator="roulette", terms=2, gradient="neumann")
    density, exact = nfref.Density(flow), nfref.Density(nfref.ResidualFlow(2, 3, (8,)))

    def objective(density, params, x, context, rng):
        flow = density.flow.with_probes(rng, len(x))
        return -anp.mean(nfref.Density(flow, density.base).log_prob(params, x, context))

    params = density.init(rng)
    result = nfref.fit(
        density,
        params,
        x,
        rng,
        epochs=8,
        batch_size=50,
        learning_rate=1e-2,
        validation=None,
        objective=objective,
        progress=False,
    )
    before, after = (np.mean(exact.log_prob(p, x)) for p in (params, result.params))
    assert after > before + 1


# The fixed point --------------------------------------------------------------------------


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("slope", [0.97, -0.97])
def test_the_steepest_linear_maps_come_back(slope, dim):
    """g = 0.97 x and g = -0.97 x, where the plain iteration is slowest: 1e-12 of each row."""
    block = nfref.ResidualBlock(dim, ())
    params = {
        "net": [{"weight": slope * np.eye(dim), "bias": np.zeros(dim)}],
        "beta": [],
        "u": [np.ones(dim)],
    }
    x = np.random.default_rng(0).standard_normal((50, dim)) * 10.0 ** np.arange(-4, 6, 0.2)[:, None]
    z, log_det = block.inverse(params, x)
    np.testing.assert_allclose(z, (1 + slope) * x, rtol=1e-13)
    np.testing.assert_allclose(log_det, dim * np.log1p(slope), rtol=1e-13)
    returned, back = block.forward(params, z)
    assert np.max(np.linalg.norm(returned - x, axis=1) / np.linalg.norm(x, axis=1)) < 1e-12
    np.testing.assert_allclose(back, -log_det, rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("dim", DIMS)
def test_the_inverse_is_as_exact_as_the_residual_shows(dim, dtype):
    """The error |x - x*| is at most |x + g(x) - z| / (1 - L), and the residual is at rounding."""
    for seed in range(3):
        flow = nfref.ResidualBlock(dim, (dim + 3,), coefficient=0.99)
        params, z = drawn(flow, seed, 3.0)
        params, z = trees.cast(params, np.dtype(dtype)), z.astype(dtype)
        x, _ = flow.forward(params, z)
        assert x.dtype == dtype
        again, _ = flow.inverse(params, x)
        numbers = 1 + np.linalg.norm(z, axis=1) + np.linalg.norm(x, axis=1)
        assert np.all(np.linalg.norm(again - z, axis=1) <= 16 * np.finfo(dtype).eps * numbers)


def test_plain_steps_lead_where_newton_would_leave():
    """In a corner the slope nearly vanishes; compare with plain steps x <- z - g(x)."""
    flow = nfref.ResidualBlock(1, (1,), coefficient=0.998)
    params = {
        "net": [
            {"weight": np.array([[1.0]]), "bias": np.zeros(1)},
            {"weight": np.array([[-1.0]]), "bias": np.zeros(1)},
        ],
        "beta": [np.array(100.0)],
        "u": [np.ones(1), np.ones(1)],
    }
    net = flow.normalised(params)
    z = np.linspace(-0.1, 0.1, 401)[:, None]
    g, slopes = residual.residual(net, z)
    newton = z - g / (1 + residual.jacobian(net, slopes, z)[:, 0])
    leaves = np.abs(newton + residual.residual(net, newton)[0] - z) > 10 * np.abs(g)
    assert np.sum(leaves) >= 5
    x, _ = flow.forward(params, z)
    plain = z
    for _ in range(8000):
        plain = z - residual.residual(net, plain)[0]
    np.testing.assert_allclose(x, plain, rtol=1e-12, atol=1e-14)


def test_a_wrong_constant_is_an_error_of_one_line():
    flow = nfref.ResidualBlock(2, (40,))
    params, z = drawn(flow, 1, 30.0)
    layers = [layer[name] for layer in flow.normalised(params) for name in layer]
    layers[0], layers[3] = 5 * layers[0], 5 * layers[3]
    with pytest.raises(
        ArithmeticError,
        match=r"^forward: expected a fixed point within 16 steps, "
        r"as the Lipschitz constant 0.001 promises, got \d rows without$",
    ):
        residual.fixed_point(1e-3, 30 * z, None, *layers)


def test_rows_that_are_not_finite_become_nan_alone():
    flow = nfref.ResidualFlow(2, 2, (4,), context_dim=1)
    params, z = drawn(flow, 3)
    context = np.zeros((7, 1))
    expected, _ = flow.forward(params, z, context)
    z[1, 0], z[2, 1], context[4, 0] = np.nan, np.inf, np.nan
    x, log_det = flow.forward(params, z, context)
    lost = [1, 2, 4]
    assert np.all(np.isnan(x[lost])) and np.all(np.isnan(log_det[lost]))
    np.testing.assert_array_equal(np.delete(x, lost, 0), np.delete(expected, lost, 0))


def test_derivatives_of_the_fixed_point_of_both_orders():
    """dx/dz = 1 / (1 + g'), d2x/dz2 = -g'' / (1 + g')^3 at D = 1, and by a weight."""
    flow = nfref.ResidualBlock(1, (4,))
    params, z = drawn(flow, 4)

    def g(x):
        return residual.residual(flow.normalised(params), x)[0]

    x, _ = flow.forward(params, z)
    slope, bend = elementwise_grad(g)(x), elementwise_grad(elementwise_grad(g))(x)
    first = elementwise_grad(lambda z: flow.forward(params, z)[0])
    np.testing.assert_allclose(first(z), 1 / (1 + slope), rtol=1e-12)
    np.testing.assert_allclose(
        elementwise_grad(first)(z), -bend / (1 + slope) ** 3, rtol=1e-9, atol=1e-12
    )

    def of_bias(bias):
        net = [params["net"][0], {**params["net"][1], "bias": bias}]
        return anp.sum(flow.forward({**params, "net": net}, z)[0])

    # dx/db = -dx/dz, so that d2x/db2 = d2x/dz2.
    second = grad(lambda bias: anp.sum(grad(of_bias)(bias)))(params["net"][1]["bias"])
    np.testing.assert_allclose(second, np.sum(-bend / (1 + slope) ** 3), rtol=1e-9)


@pytest.mark.parametrize("estimator", ["exact", "series"])
def test_gradients_keep_the_dtype(estimator):
    flow = nfref.ResidualFlow(2, 2, (4, 3), context_dim=1, estimator=estimator)
    params, z = drawn(flow, 5, 3.0)
    context = np.ones((7, 1))

    def total(params, z, context):
        x, log_det = flow.forward(params, z, context)
        return anp.sum(x) + anp.sum(flow.inverse(params, z, context)[1]) + anp.sum(log_det)

    single = np.dtype(np.float32)
    double = grad(total, (0, 1))(params, z, context)
    half = grad(total, (0, 1))(trees.cast(params, single), z.astype(single), context.astype(single))
    for a, b in zip(trees.leaves(list(double)), trees.leaves(list(half))):
        assert b.dtype == single
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-3)


# Log-determinants -------------------------------------------------------------------------


def series_bound(dim, lipschitz, terms):
    """D sum_{k>n} L^k / k, with 50 digits."""
    with mpmath.workdps(50):
        ratio = mpmath.mpf(lipschitz)
        return float(
            dim * (-mpmath.log(1 - ratio) - mpmath.fsum(ratio**k / k for k in range(1, terms + 1)))
        )


@pytest.mark.parametrize("gradient", ["direct", "neumann"])
@pytest.mark.parametrize("dim", DIMS)
def test_the_series_lacks_no_more_than_theory_allows(dim, gradient):
    exact_flow = nfref.ResidualBlock(dim, (dim + 3,), coefficient=0.9)
    params, x = drawn(exact_flow, dim, 3.0)
    z, exact = exact_flow.inverse(params, x)
    for terms in (1, 2, 3, 5, 10, 20, 200):
        flow = nfref.ResidualBlock(
            dim, (dim + 3,), coefficient=0.9, estimator="series", terms=terms, gradient=gradient
        )
        same, log_det = flow.inverse(params, x)
        np.testing.assert_array_equal(same, z)
        error = np.max(np.abs(log_det - exact))
        assert error <= series_bound(dim, flow.lipschitz, terms) + 1e-14
        assert terms > 2 or error > 1e-4
    returned, back = flow.forward(params, z)
    np.testing.assert_allclose(returned, x, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(back, -exact, rtol=0, atol=1e-13)


def test_the_bound_is_reached_by_the_steepest_map():
    """All eigenvalues of g = -c x are -c, and no term cancels another."""
    params = {
        "net": [{"weight": -0.8 * np.eye(3), "bias": np.zeros(3)}],
        "beta": [],
        "u": [np.ones(3)],
    }
    for terms in (1, 4, 16):
        flow = nfref.ResidualBlock(3, (), coefficient=0.8, estimator="series", terms=terms)
        _, log_det = flow.inverse(params, np.ones((2, 3)))
        np.testing.assert_allclose(
            log_det - 3 * np.log(0.2), series_bound(3, 0.8, terms), rtol=1e-13
        )


def all_signs(dim, rows):
    """Every Rademacher vector once: the mean over them is the expectation."""
    signs = np.array(list(itertools.product((-1.0, 1.0), repeat=dim)))
    return np.repeat(signs[:, None, :], rows, axis=1)


@pytest.mark.parametrize("gradient", ["direct", "neumann"])
@pytest.mark.parametrize("dim", [1, 2, 3, 5])
def test_probes_have_the_right_expectation_in_value_and_gradient(dim, gradient):
    """Average over all sign vectors; exact traces and, for the direct gradient, its definition."""
    options = {"hidden": (dim + 3,), "context_dim": 1, "estimator": "series", "terms": 6}
    definition = nfref.ResidualBlock(dim, **options)
    flow = nfref.ResidualBlock(dim, **options, gradient=gradient, probes=all_signs(dim, 7))
    params, x = drawn(flow, dim, 2.0)
    context, weights = np.linspace(-1, 1, 7)[:, None], np.linspace(0.5, 1.5, 7)
    results = [
        grad(lambda p, x, c: anp.sum(weights * member.inverse(p, x, c)[1]), (0, 1, 2))(
            params, x, context
        )
        for member in (definition, flow)
    ]
    np.testing.assert_allclose(
        flow.inverse(params, x, context)[1], definition.inverse(params, x, context)[1], rtol=1e-12
    )
    for a, b in zip(*(trees.leaves(list(result)) for result in results)):
        np.testing.assert_allclose(b, a, rtol=1e-10, atol=1e-12)


def test_a_long_neumann_series_gives_the_gradient_of_the_determinant():
    flows = [
        nfref.ResidualFlow(3, 2, (6,), coefficient=0.8),
        nfref.ResidualFlow(
            3, 2, (6,), coefficient=0.8, estimator="series", terms=90, gradient="neumann"
        ),
    ]
    params, x = drawn(flows[0], 7, 2.0)
    results = [
        grad(lambda p, x: anp.sum(flow.inverse(p, x)[1]), (0, 1))(params, x) for flow in flows
    ]
    for a, b in zip(*(trees.leaves(list(result)) for result in results)):
        np.testing.assert_allclose(b, a, rtol=1e-10, atol=1e-12)


def test_roulette_weights_have_expectation_one():
    """sum_c P(count = c) w_k(c) = 1 for every k, but for the counts above 60 (q = 0.9: 400)."""
    for q, largest in ((0.5, 60), (0.9, 400)):
        counts = np.arange(1, largest + 1)
        expected = (1 - q) * q ** (counts - 1) @ residual.roulette_weights(counts, 2, q)
        np.testing.assert_allclose(expected[:20], 1, rtol=0, atol=1e-11)
    np.testing.assert_array_equal(
        residual.roulette_weights(np.array([1, 3]), 1, 0.5), [[1, 1, 0, 0], [1, 1, 2, 4]]
    )


def test_roulette_draws_counts_of_the_stated_distribution():
    flow = nfref.ResidualFlow(1, 2, (), estimator="roulette", continuation=0.8)
    counts = flow.with_probes(np.random.default_rng(0), 50_000).counts.ravel()
    for k in (1, 2, 3, 8, 15):
        expected = 0.8 ** (k - 1)
        error = np.sqrt(expected * (1 - expected) / counts.size)
        assert abs(np.mean(counts >= k) - expected) <= 3 * error


@pytest.mark.parametrize("gradient", ["direct", "neumann"])
@pytest.mark.parametrize("estimator, count", [("series", 2), ("roulette", 0), ("roulette", 2)])
@pytest.mark.parametrize("dim", [1, 3])
def test_estimates_are_sums_of_powers_of_the_jacobian(dim, estimator, count, gradient):
    """Fixed probes and counts give sum_k (-1)^(k+1) w_k / k mean_e e^T J^k e, J by differences."""
    flow = nfref.ResidualBlock(
        dim, hidden(dim), coefficient=0.9, estimator=estimator, terms=4, gradient=gradient
    ).with_probes(np.random.default_rng(6), 7, count)
    params, x = drawn(flow, dim)
    exact = nfref.ResidualBlock(dim, hidden(dim), coefficient=0.9)
    steps, _ = numerics.numerical_jacobian(
        lambda rows, repeats: exact.inverse(params, rows)[0], x, np.full(x.shape, 1e-15)
    )
    expected = np.zeros(7)
    for n, jacobian in enumerate(steps - np.eye(dim)):
        terms = 4 if estimator == "series" else 4 + flow.counts[n]
        for k in range(1, terms + 1):
            weight = 1 if k <= 4 else 2.0 ** (k - 5)  # 1 / P(N >= k - 4)
            power = np.linalg.matrix_power(jacobian, k)
            trace = (
                np.trace(power)
                if count == 0
                else np.mean([probe @ power @ probe for probe in flow.probes[:, n]])
            )
            expected[n] += (-1) ** (k + 1) * weight / k * trace
    z, log_det = flow.inverse(params, x)
    np.testing.assert_allclose(log_det, expected, rtol=0, atol=1e-10)
    returned, back = flow.forward(params, z)
    np.testing.assert_allclose(returned, x, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(back, -expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("gradient", ["direct", "neumann"])
@pytest.mark.parametrize("count", [0, 1])
def test_roulette_is_unbiased_and_the_series_is_not(count, gradient):
    """The mean over 40 000 copies of a row is near slogdet, in standard errors; L^2 < 1/2."""
    options = {"hidden": (5,), "coefficient": 0.83}
    exact_flow = nfref.ResidualBlock(2, **options)
    params, x = drawn(exact_flow, 2, 3.0)
    exact = exact_flow.inverse(params, x[:1])[1][0]
    n = 40_000
    flow = nfref.ResidualBlock(2, **options, estimator="roulette", terms=0, gradient=gradient)
    flow = flow.with_probes(np.random.default_rng(11), n, count)
    estimates = flow.inverse(params, np.repeat(x[:1], n, axis=0))[1]
    error = np.std(estimates) / np.sqrt(n)
    assert abs(np.mean(estimates) - exact) < 3 * error
    series = nfref.ResidualBlock(2, **options, estimator="series", terms=1)
    assert abs(series.inverse(params, x[:1])[1][0] - exact) > 3 * error


def test_variance_of_the_roulette_falls_with_the_terms_that_are_always_there():
    flow = nfref.ResidualBlock(2, (5,), coefficient=0.83)
    params, x = drawn(flow, 2, 3.0)
    rows = np.repeat(x[:1], 4000, axis=0)
    deviations = []
    for terms in (0, 2, 4, 8):
        roulette = nfref.ResidualBlock(2, (5,), coefficient=0.83, estimator="roulette", terms=terms)
        roulette = roulette.with_probes(np.random.default_rng(terms), 4000, count=0)
        deviations.append(np.std(roulette.inverse(params, rows)[1]))
    assert np.all(np.diff(np.log(deviations)) < -0.5), deviations


def test_random_numbers_are_configuration():
    """They stay fixed while a flow is in use; ``with_probes`` makes new ones, one set a block."""
    plain = nfref.ResidualFlow(2, 3, (4,), estimator="roulette", terms=1)
    params, x = drawn(plain, 1)
    flow = plain.with_probes(np.random.default_rng(0), 7, count=2)
    assert flow.probes.shape == (3, 2, 7, 2) and flow.counts.shape == (3, 7)
    np.testing.assert_array_equal(flow.inverse(params, x)[1], flow.inverse(params, x)[1])
    other = flow.with_probes(np.random.default_rng(1), 7, count=2)
    assert np.all(flow.inverse(params, x)[1] != other.inverse(params, x)[1])
    z, there = flow.inverse(params, x)
    np.testing.assert_allclose(flow.forward(params, z)[1], -there, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(nfref.in_training(flow).probes, flow.probes)
    assert flow == plain
    for block in range(3):
        assert flow.flows[block].probes is not None
        np.testing.assert_array_equal(flow.flows[block].counts, flow.counts[block])


# The papers' forms ------------------------------------------------------------------------


def test_the_papers_form():
    """x -> y = x + g(x), g = W3 s(W2 s(W1 x)); ln det = tr ln(I + J_g); i-ResNet, algorithm 1."""
    flow = nfref.ResidualBlock(3, (5, 4), coefficient=0.9)
    params, x = drawn(flow, 6, 2.0)
    (w1, b1), (w2, b2), (w3, b3) = [(layer["weight"].T, layer["bias"]) for layer in params["net"]]
    beta = [np.log1p(np.exp(raw)) for raw in params["beta"]]
    y, log_det = flow.inverse(params, x)

    def normalise(w, c=0.9):
        return w * min(1, c / np.linalg.norm(w, 2))

    def s(t, beta):
        return t / (1 + np.exp(-beta * t)) / 1.1

    def g(x):
        return (
            normalise(w3) @ s(normalise(w2) @ s(normalise(w1) @ x + b1, beta[0]) + b2, beta[1]) + b3
        )

    for row, latent, log_det_row in zip(x, y, log_det):
        np.testing.assert_allclose(latent, row + g(row), rtol=1e-13, atol=1e-14)
        back = latent
        for _ in range(400):
            back = latent - g(back)
        np.testing.assert_allclose(flow.forward(params, latent[None])[0][0], back, atol=1e-13)
        h = 1e-5
        j_g = np.stack([(g(row + h * e) - g(row - h * e)) / (2 * h) for e in np.eye(3)], axis=1)
        eigenvalues = np.linalg.eigvals(j_g)
        assert np.sum(np.log(1 + eigenvalues)).real == pytest.approx(log_det_row, abs=1e-8)


# Errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message, call",
    [
        (
            "coefficient: expected a number below 1, got 1",
            lambda: nfref.ResidualBlock(2, coefficient=1),
        ),
        ("layers: expected at least 1, got 0", lambda: nfref.ResidualFlow(2, 0)),
        (
            "terms: expected at least 1, got 0",
            lambda: nfref.ResidualFlow(2, estimator="series", terms=0),
        ),
        (
            "estimator: expected one of exact, series, roulette; got 'power'",
            lambda: nfref.ResidualFlow(2, estimator="power"),
        ),
        (
            "gradient: expected one of direct, neumann; got 'adjoint'",
            lambda: nfref.ResidualFlow(2, gradient="adjoint"),
        ),
        (
            "estimator: expected 'series' or 'roulette', which take probes; got 'exact'",
            lambda: nfref.ResidualFlow(2).with_probes(np.random.default_rng(0), 3),
        ),
    ],
)
def test_configurations_that_are_refused(message, call):
    with pytest.raises(ValueError, match=f"^{message}$"):
        call()


def test_probes_have_to_fit_the_batch():
    flow = nfref.ResidualFlow(2, 2, (4,), estimator="roulette")
    params, x = drawn(flow, 0)
    with pytest.raises(
        ValueError,
        match=r"^counts: expected counts for 7 rows, made by "
        r"flow.with_probes\(rng, 7\); got none$",
    ):
        flow.inverse(params, x)
    with pytest.raises(ValueError, match="expected counts for 7 rows, .* got counts for 5 rows$"):
        flow.with_probes(np.random.default_rng(0), 5).inverse(params, x)
    flow = nfref.ResidualFlow(2, 2, (4,), estimator="series")
    with pytest.raises(ValueError, match="expected probes for 7 rows, .* got probes for 5 rows$"):
        flow.with_probes(np.random.default_rng(0), 5).inverse(params, x)
