"""Convex potential flows: convexity, the conjugate, hard convex problems, and Brenier's map."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import elementwise_grad, grad, jacobian
from scipy.linalg import sqrtm

import nfref
from nfref.flows import convex_potential
from nfref.runtime import params as trees
from tests.finite_differences import numerics
from tests.finite_differences.contract import contract_test
from tests.flow_table import Entry, hidden, random_params

CONTRACT = {
    "ConvexPotentialFlow": Entry(
        lambda d, c: nfref.ConvexPotentialFlow(d, (*hidden(d), 4), c), context=True
    ),
    "ConvexPotentialFlow, no network": Entry(
        lambda d, c: nfref.ConvexPotentialFlow(d, (), c), context=True, log_det="constant"
    ),
}
test_contract = contract_test(CONTRACT)


def drawn(flow, seed=0, size=1.0, rows=7):
    rng = np.random.default_rng(seed)
    return random_params(flow, rng, size), 1.5 * rng.standard_normal((rows, flow.dim))


# Map and Jacobian -------------------------------------------------------------------------


def test_paper_form():
    """z = grad of softplus(w0) |x|^2 / 2 + ICNN(x), data to latent, as in CP-Flow's code."""
    flow = nfref.ConvexPotentialFlow(2, (4, 3, 5))
    params, rows = drawn(flow)

    def positive(raw):
        return anp.log(1 + anp.exp(raw)) / len(raw)

    def convex(x):
        h = 0
        for k, layer in enumerate(params["layers"]):
            from_h = anp.dot(h, positive(layer["positive"])) if k else 0
            h = anp.log(1 + anp.exp(from_h + anp.dot(x, layer["weight"]) + layer["bias"]))
        strength = anp.log(1 + anp.exp(params["strength"][0]))
        return (
            anp.dot(h, positive(params["output"]))
            + anp.dot(params["shift"], x)
            + strength * anp.dot(x, x) / 2
        )

    z, log_det = nfref.Invert(flow).inverse(params, rows)
    for n, x in enumerate(rows):
        assert flow.potential(params, rows)[n] == pytest.approx(convex(x), rel=1e-13)
        np.testing.assert_allclose(z[n], grad(convex)(x), rtol=1e-12, atol=1e-13)
        hessian = jacobian(grad(convex))(x)
        assert log_det[n] == pytest.approx(np.linalg.slogdet(hessian)[1], abs=1e-12)


def test_second_and_third_derivatives_of_the_inverse():
    """By rows, by parameters and by both, as the first derivatives change."""
    flow = nfref.ConvexPotentialFlow(2, (5, 4), context_dim=1)
    params, rows = drawn(flow, 5)
    context, h = np.random.default_rng(6).standard_normal((7, 1)), 1e-5

    def first(params, x):
        z, log_det = flow.inverse(params, x, context)
        return anp.sum(anp.sin(z)) + anp.sum(z**2) + anp.sum(anp.sin(log_det))

    def second(params, x):
        return anp.sum(grad(first, 1)(params, x) ** 2)

    def third(params, x):
        return anp.sum(grad(second, 1)(params, x) ** 2)

    for function in (second, third):
        change = function(params, rows + h) - function(params, rows - h)
        assert np.sum(grad(function, 1)(params, rows)) == pytest.approx(change / (2 * h), rel=1e-7)
    by_params = grad(second)(params, rows)
    sizes = [trees.tree_map(lambda a, by=by: a + by, params) for by in (h, -h)]
    change = second(sizes[0], rows) - second(sizes[1], rows)
    total = sum(np.sum(part) for part in trees.leaves(by_params))
    assert total == pytest.approx(change / (2 * h), rel=1e-7)


@pytest.mark.parametrize("size", [0.3, 3.0, 30.0])
def test_potential_is_strongly_convex_in_z_whatever_the_parameters(size):
    """No curvature is below a, and (z - y) . (x(z) - x(y)) >= a |z - y|^2, for every context."""
    flow = nfref.ConvexPotentialFlow(3, (6, 5, 4), context_dim=2)
    params, z = drawn(flow, 1, size, 40)
    context = np.tile(np.random.default_rng(2).standard_normal((1, 2)), (40, 1))
    net = flow.constrained(params)
    _, hessian = convex_potential.gradient_and_hessian(net, z, context)
    np.testing.assert_allclose(hessian, np.swapaxes(hessian, 1, 2), rtol=1e-12, atol=1e-12)
    lowest = np.linalg.eigvalsh(hessian)[:, 0]
    rounding = 64 * np.finfo(float).eps * np.abs(hessian).max()
    assert np.all(lowest >= net["strength"] - rounding)
    x, _ = flow.forward(params, z, context)
    for shift in range(1, 40):
        dz, dx = z - np.roll(z, shift, 0), x - np.roll(x, shift, 0)
        assert np.all(np.sum(dz * dx, 1) >= net["strength"] * np.sum(dz * dz, 1) * (1 - 1e-9))


# Inverse ----------------------------------------------------------------------------------


def test_inverse_is_the_gradient_of_the_conjugate():
    """d/dx (x . z - F(z)) at the minimiser is z itself, by the envelope theorem."""
    flow = nfref.ConvexPotentialFlow(3, (6, 5))
    params, x = drawn(flow, 3)

    def conjugate(x):
        z = flow.inverse(params, x)[0]
        return anp.sum(x * z) - anp.sum(flow.potential(params, z))

    z, _ = flow.inverse(params, x)
    np.testing.assert_allclose(elementwise_grad(conjugate)(x), z, rtol=1e-11, atol=1e-12)
    numeric, _ = numerics.numerical_gradient(
        lambda v: np.array([conjugate(v.reshape(x.shape))]), x.ravel()
    )
    np.testing.assert_allclose(numeric[0].reshape(x.shape), z, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("size", [1.0, 10.0, 100.0])
@pytest.mark.parametrize("strength", [0.0, -3.0, -10.0])
def test_hard_convex_problems_are_solved_to_rounding(size, strength):
    """One potential has curvatures from a = 5e-5 to 1e4; rows are 1e-3 to 100 long."""
    flow = nfref.ConvexPotentialFlow(2, (8, 8))
    params, z = drawn(flow, 4, size, 80)
    z = z * np.array([1e-3, 1, 10, 60])[np.arange(80) % 4, None]
    params["strength"] = np.array([strength])
    x, _ = flow.forward(params, z)
    found, _ = flow.inverse(params, x)
    np.testing.assert_allclose(
        flow.forward(params, found)[0], x, rtol=1e-13, atol=1e-13 * np.abs(x).max()
    )


def test_error_is_bounded_by_the_residual():
    """|z - z*| <= |grad F(z) - x| / a, at any z."""
    flow = nfref.ConvexPotentialFlow(2, (8, 8))
    params, z = drawn(flow, 5, 5.0, 200)
    x, _ = flow.forward(params, z)
    other = z + np.random.default_rng(6).standard_normal(z.shape)
    residual = np.linalg.norm(flow.forward(params, other)[0] - x, axis=1)
    bound = residual / flow.constrained(params)["strength"]
    assert np.all(np.linalg.norm(other - z, axis=1) <= bound * (1 + 1e-12))


def test_too_few_steps_are_an_error_and_lost_rows_stay_lost():
    flow = nfref.ConvexPotentialFlow(2, (8,), context_dim=1)
    params, z = drawn(flow, 7, 10.0, 5)
    context = np.ones((5, 1))
    x, _ = flow.forward(params, z, context)
    with pytest.raises(ArithmeticError, match=r"inverse: expected a minimum .* within 2 Newton st"):
        convex_potential.minimiser(flow.constrained(params), x, context, limit=2)
    x[1, 0], context[3, 0] = np.nan, np.inf
    found, log_det = flow.inverse(params, x, context)
    lost = np.array([False, True, False, True, False])
    np.testing.assert_array_equal(np.isnan(found), lost[:, None] | np.zeros((1, 2), bool))
    np.testing.assert_array_equal(np.isnan(log_det), lost)
    np.testing.assert_allclose(found[~lost], z[~lost], rtol=1e-9, atol=1e-9)


def test_float32_rows_are_inverted_as_well_as_they_can_be():
    """The minimum is found in float64: the only error is the rounding of x and z."""
    flow = nfref.ConvexPotentialFlow(2, (8, 8))
    params, z = drawn(flow, 8, 10.0, 50)
    params = trees.cast(params, np.float32)
    x = flow.forward(params, z.astype(np.float32))[0]
    found, log_det = flow.inverse(params, x)
    assert found.dtype == log_det.dtype == np.float32
    exact, _ = flow.inverse(trees.cast(params, np.float64), x.astype(float))
    # The free numbers become P, w and a in float32 before that.
    stiff = np.linalg.cond(
        convex_potential.gradient_and_hessian(
            flow.constrained(trees.cast(params, np.float64)), exact
        )[1]
    ).max()
    np.testing.assert_allclose(found, exact, atol=8 * np.finfo(np.float32).eps * stiff)


# Optimal transport ------------------------------------------------------------------------


def brenier_matrix(start, end):
    """A = E (E S E)^(-1/2) E, E = end^(1/2): symmetric, and A S A = end for S = start."""
    root = np.real(sqrtm(end))
    return root @ np.linalg.inv(np.real(sqrtm(root @ start @ root))) @ root


def test_closed_form_of_the_gaussian_map():
    start, end = np.array([[1.0, 0.6], [0.6, 0.8]]), np.array([[0.5, -0.3], [-0.3, 1.2]])
    matrix = brenier_matrix(start, end)
    np.testing.assert_allclose(matrix @ start @ matrix, end, atol=1e-14)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-14)


@pytest.mark.thorough
def test_maximum_likelihood_finds_the_optimal_map_between_normals():
    """The fit uses only samples of the end and the density of the start.

    Of all maps between the two, the gradient of a convex function is the optimal one, and there is
    no other such gradient. A triangular map reaches the same likelihood, but is another map.
    """
    start, end = np.array([[1.0, 0.6], [0.6, 0.8]]), np.array([[0.5, -0.3], [-0.3, 1.2]])
    factors = np.linalg.cholesky(start), np.linalg.cholesky(end)
    rng = np.random.default_rng(0)
    before = nfref.FixedLinear(factors[0])
    flow = nfref.ConvexPotentialFlow(2, (16,))
    density = nfref.Density(nfref.Chain([before, nfref.Invert(flow)]))
    x = rng.standard_normal((4000, 2)) @ factors[1].T
    fitted = nfref.fit(
        density,
        density.init(rng),
        x,
        rng,
        validation=None,
        epochs=25,
        batch_size=100,
        learning_rate=2e-2,
        schedule="cosine",
        patience=None,
        progress=False,
    )
    z = rng.standard_normal((2000, 2)) @ factors[0].T
    moved, _ = nfref.Invert(flow).forward(fitted.params["flow"][1], z)
    best = z @ brenier_matrix(start, end)

    def apart(x):
        return np.sqrt(np.mean(np.sum((x - best) ** 2, 1)) / np.mean(np.sum(best**2, 1)))

    triangular = z @ np.linalg.inv(factors[0]).T @ factors[1].T
    assert apart(moved) < 0.08
    assert apart(triangular) > 0.25
