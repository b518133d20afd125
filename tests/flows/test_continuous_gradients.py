"""Gradients: the adjoint and the unrolled steps, against closed forms and finite differences."""

from dataclasses import replace

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad, jacobian
from scipy.linalg import expm, expm_frechet

import nfref
from nfref.continuous import adjoint as adjoints
from nfref.flows.continuous import NeuralSystem
from nfref.objectives.path_penalties import PathLikelihood
from nfref.runtime import params as trees
from tests.flows.continuous_cases import filled, linear

MATRIX = np.array([[0.3, 1.2, -0.4], [-0.9, -0.5, 0.2], [0.1, 0.7, 0.6]])
TIGHT = {"rtol": 1e-11, "atol": 1e-11}
DIRECT = {"solver": "rk4", "gradient": "direct", "steps": 50}


def loss_of(flow, weights, inverse=False):
    """A loss that looks at value and log_det of every row, not linearly."""
    def loss(params, rows, context):
        value, log_det = (flow.inverse if inverse else flow.forward)(params, rows, context)
        return anp.sum(weights * anp.sin(value)) + anp.sum(weights[:, 0] * log_det ** 2)
    return loss


def slopes_along(function, tree, directions, step):
    """Derivatives of a function of a nested structure along directions (K, P), of order four."""
    vector, unflatten = trees.flatten(tree)

    def at(move):
        return function(unflatten(vector + step * move))

    return np.array([(8 * (at(d) - at(-d)) - (at(2 * d) - at(-2 * d))) / (12 * step)
                     for d in directions])


def check_gradient(gradient, function, tree, rng, count=6, step=4e-3, **tolerance):
    """A nested gradient against finite differences of ``function`` along random directions."""
    vector = trees.flatten(gradient)[0]
    directions = rng.standard_normal((count, len(vector)))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    np.testing.assert_allclose(directions @ vector, slopes_along(function, tree, directions, step),
                               **tolerance)


@pytest.mark.parametrize("solver", ["rk45", "dop853", "lsoda", "rk4"])
def test_adjoint_of_linear_dynamics_is_analytic(solver):
    rng = np.random.default_rng(0)
    flow = nfref.CNF(3, (), solver=solver, steps=200, rtol=1e-10, atol=1e-10)
    params = linear(flow, MATRIX)
    z, a, q = rng.standard_normal((4, 3)), rng.standard_normal((4, 3)), rng.standard_normal(4)

    def loss(params, z):
        x, log_det = flow.forward(params, z)
        return anp.sum(a * x) + anp.sum(q * log_det)

    params_bar, z_bar = grad(loss, (0, 1))(params, z)
    np.testing.assert_allclose(z_bar, a @ expm(MATRIX), atol=1e-8)
    # d/dA of sum(a * z expm(A)^T) + sum(q) tr A, by the Frechet derivative of expm.
    expected = expm_frechet(MATRIX.T, a.T @ z, compute_expm=False) + q.sum() * np.eye(3)
    weight_bar = params_bar["net"][0]["weight"]
    np.testing.assert_allclose(weight_bar[:3].T, expected, atol=1e-8)
    # A shift b moves x by (integral of expm(s A) ds) b; time adds b = t w: both by quadrature.
    nodes, weights = np.polynomial.legendre.leggauss(20)
    s, weights = (nodes + 1) / 2, weights / 2
    bias = sum(w * a.sum(axis=0) @ expm((1 - t) * MATRIX) for t, w in zip(s, weights))
    time = sum(w * t * a.sum(axis=0) @ expm((1 - t) * MATRIX) for t, w in zip(s, weights))
    np.testing.assert_allclose(params_bar["net"][0]["bias"], bias, atol=1e-8)
    np.testing.assert_allclose(weight_bar[3], time, atol=1e-8)


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("settings", [
    {"hidden": (5,)}, {"hidden": (5, 4)}, {"hidden": (5, 4), "activation": "softplus"},
    {"hidden": (4, 3, 3), "trace": "brute"}, {"hidden": (5,), "trace": "hutchinson"}],
    ids=["one", "two", "softplus", "brute", "hutchinson"])
def test_both_gradients_equal_finite_differences(settings, inverse):
    rng = np.random.default_rng(1)
    rows = 3
    flow = nfref.CNF(2, context_dim=1, solver="dop853", **TIGHT, **settings)
    if flow.trace == "hutchinson":
        flow = flow.with_probes(rng, rows)
    tree = [filled(flow, rng, gain=1.5), rng.standard_normal((rows, 2)),
            rng.standard_normal((rows, 1))]
    weights = rng.standard_normal((rows, 2))
    unrolled = replace(flow, **DIRECT)

    def function(tree):
        return loss_of(flow, weights, inverse)(*tree)

    for ours, tolerance in ((flow, 1e-7), (unrolled, 1e-6)):
        gradient = grad(loss_of(ours, weights, inverse), (0, 1, 2))(*tree)
        assert all(np.all(leaf != 0) for leaf in trees.leaves(list(gradient)))
        check_gradient(list(gradient), function, tree, np.random.default_rng(2), rtol=tolerance,
                       atol=tolerance)


def test_unrolled_gradient_is_that_of_the_steps_however_coarse():
    rng = np.random.default_rng(2)
    flow = nfref.CNF(2, (5, 4), solver="rk4", gradient="direct", steps=2)
    tree = [filled(flow, rng, gain=2.0), rng.standard_normal((3, 2))]
    weights = rng.standard_normal((3, 2))

    def loss(params, rows):
        return loss_of(flow, weights)(params, rows, None)

    gradient = list(grad(loss, (0, 1))(*tree))
    check_gradient(gradient, lambda tree: loss(*tree), tree, rng, count=20, step=1e-3, rtol=1e-9,
                   atol=1e-9)
    # The adjoint of so coarse a solve is something else: it differentiates the flow, not the steps.
    continuous = replace(flow, gradient="adjoint")
    other = grad(lambda *tree: loss_of(continuous, weights)(*tree, None), (0, 1))(*tree)
    assert np.abs(trees.flatten(list(other))[0] - trees.flatten(gradient)[0]).max() > 1e-3


def test_the_two_gradients_meet_with_the_order_of_the_method():
    rng = np.random.default_rng(3)
    flow = nfref.CNF(2, (6, 5), solver="dop853", rtol=1e-12, atol=1e-12)
    tree = [filled(flow, rng, gain=1.5), rng.standard_normal((4, 2))]
    weights = rng.standard_normal((4, 2))

    def gradient(flow):
        return trees.flatten(list(grad(
            lambda params, rows: loss_of(flow, weights)(params, rows, None), (0, 1))(*tree)))[0]

    reference = gradient(flow)
    gaps = [np.abs(gradient(replace(flow, solver="rk4", gradient="direct", steps=steps))
                   - reference).max() for steps in (8, 16, 32)]
    orders = np.log2(np.array(gaps[:-1]) / gaps[1:])
    assert np.all(np.abs(orders - 4) < 0.5), orders

    unrolled = gradient(replace(flow, solver="rk4", gradient="direct", steps=100))
    tolerances = 10.0 ** -np.arange(3, 10)
    gaps = np.array([np.abs(gradient(replace(flow, solver="rk45", rtol=tolerance, atol=tolerance))
                            - unrolled).max() for tolerance in tolerances])
    order = np.polyfit(np.log10(tolerances), np.log10(gaps), 1)[0]
    assert gaps[0] / gaps[-1] > 1e3 and 0.7 < order < 1.3, (order, gaps)


def test_the_jacobian_by_autograd_has_the_log_det():
    rng = np.random.default_rng(4)
    flow = nfref.CNF(2, (6, 5), **TIGHT)
    params, z = filled(flow, rng, gain=1.5), rng.standard_normal((1, 2))
    matrix = jacobian(lambda z: flow.forward(params, z)[0])(z)[0, :, 0, :]
    np.testing.assert_allclose(np.linalg.slogdet(matrix)[1], flow.forward(params, z)[1][0],
                               atol=1e-8)


def test_the_adjoint_does_not_depend_on_the_scale_of_the_loss():
    rng = np.random.default_rng(5)
    flow = nfref.CNF(2, (6, 5), rtol=1e-6, atol=1e-6)
    params, z = filled(flow, rng, gain=1.5), rng.standard_normal((4, 2))
    weights = rng.standard_normal((4, 2))

    def gradient(scale):
        return trees.flatten(grad(lambda params: scale * anp.sum(
            weights * flow.forward(params, z)[0]))(params))[0]

    np.testing.assert_allclose(gradient(1e-9) * 1e9, gradient(1.0), rtol=1e-9)


def test_the_backward_solve_is_counted_and_bounded():
    rng = np.random.default_rng(6)
    flow = nfref.CNF(2, (6,))
    params, z = filled(flow, rng), rng.standard_normal((4, 2))
    system = NeuralSystem(flow, False)
    arguments = system.arguments(params, None)
    last = adjoints.solve_adjoint(system, 0.0, 1.0, system.start(z), *arguments)
    cotangent = np.ones_like(last)
    state_bar, bars, evaluations = adjoints.adjoint(system, 0.0, 1.0, last, cotangent, *arguments)
    assert state_bar.shape == last.shape and evaluations > 6
    assert [bar.shape for bar in bars] == [argument.shape for argument in arguments]
    bounded = NeuralSystem(replace(flow, max_evaluations=evaluations - 1), False)
    with pytest.raises(nfref.continuous.solve.SolverError, match="max_evaluations"):
        adjoints.adjoint(bounded, 0.0, 1.0, last, cotangent, *arguments)
    zero, _, none = adjoints.adjoint(system, 0.0, 1.0, last, 0 * cotangent, *arguments)
    assert not zero.any() and none == 0


def test_gradients_keep_float32_and_inputs():
    rng = np.random.default_rng(7)
    flow = nfref.CNF(2, (6, 5))
    params = trees.cast(filled(flow, rng), np.float32)
    z = rng.standard_normal((4, 2)).astype(np.float32)
    before = trees.flatten(params)[0].copy(), z.copy()
    for ours in (flow, replace(flow, **DIRECT)):
        bars = grad(lambda params: anp.sum(ours.inverse(params, z)[1]))(params)
        assert {leaf.dtype for leaf in trees.leaves(bars)} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(trees.flatten(params)[0], before[0])
    np.testing.assert_array_equal(z, before[1])


# RNODE ------------------------------------------------------------------------------------


@pytest.mark.parametrize("trace", ["exact", "brute"])
@pytest.mark.parametrize("hidden", [(), (6,)])
def test_penalties_are_the_integrals_along_the_path(hidden, trace):
    rng = np.random.default_rng(8)
    flow = nfref.CNF(2, hidden, trace=trace, **TIGHT)
    params, x = filled(flow, rng, gain=1.5), rng.standard_normal((5, 2))
    nodes, weights = np.polynomial.legendre.leggauss(30)
    times = np.concatenate([[1.0], (1 - nodes) / 2, [0.0]])
    path = flow.trajectory(params, x, times, norm=trace)
    # Velocity and Jacobian again at quadrature nodes, the latter by finite differences.
    kinetic, jacobian_norm, step = 0.0, 0.0, 1e-5
    for t, z, weight in zip(times[1:-1], path.values[1:-1], weights / 2):
        kinetic = kinetic + weight * np.sum(flow.velocity(params, t, z) ** 2, axis=1)
        for move in step * np.eye(2):
            slope = (flow.velocity(params, t, z + move) - flow.velocity(params, t, z - move))
            jacobian_norm = jacobian_norm + weight * np.sum((slope / (2 * step)) ** 2, axis=1)
    np.testing.assert_allclose(-path.kinetic[-1], kinetic, rtol=1e-5)
    np.testing.assert_allclose(-path.jacobian[-1], jacobian_norm, rtol=1e-5)
    _, _, ours, norms = flow.solve_with_penalties(params, x, None, 1.0, 0.0, trace)
    np.testing.assert_allclose(ours, -path.kinetic[-1], rtol=1e-8)
    np.testing.assert_allclose(norms, -path.jacobian[-1], rtol=1e-8)


def density_of(flow):
    return nfref.Density(nfref.Chain([flow, nfref.Standardise((1.0, -2.0), (2.0, 0.5))]))


@pytest.mark.parametrize("trace, hidden", [("exact", (4,)), ("exact", (4, 3)), ("brute", (4,)),
                                           ("hutchinson", (4,))])
def test_the_objective_and_both_its_gradients(trace, hidden):
    rng = np.random.default_rng(9)
    flow = nfref.CNF(2, hidden, solver="dop853", rtol=1e-9, atol=1e-9)
    density = density_of(flow)
    params = density.init(rng)
    params["flow"][0] = filled(flow, rng, gain=1.5)
    x = rng.standard_normal((4, 2))
    objective = PathLikelihood(0.3, 0.2, trace=trace)

    def loss(density):
        # The same generator state each time: the same probes.
        return lambda params: objective(density, params, x, None, np.random.default_rng(1))

    for ours in (density, density_of(replace(flow, **DIRECT))):
        gradient = grad(loss(ours))(params)["flow"][0]
        check_gradient(gradient, lambda net: loss(density)({"base": {}, "flow": [net, {}]}),
                       params["flow"][0], np.random.default_rng(2), count=4, rtol=1e-6, atol=1e-6)


def test_without_penalties_the_objective_is_the_likelihood():
    rng = np.random.default_rng(10)
    density = density_of(nfref.CNF(2, (6, 5)))
    params = density.init(rng)
    params["flow"][0] = filled(density.flow.flows[0], rng)
    x = rng.standard_normal((6, 2))
    nats = -density.log_prob(params, x).mean()
    assert PathLikelihood()(density, params, x, None, rng) == pytest.approx(nats, abs=1e-12)
    penalised = PathLikelihood(0.1, 0.0, trace="brute")(density, params, x, None, rng)
    assert penalised > nats
    noisy = [PathLikelihood(trace="hutchinson", probes=4)(density, params, x, None, rng)
             for _ in range(200)]
    assert abs(np.mean(noisy) - nats) < 4 * np.std(noisy) / 200 ** 0.5 + 1e-4


def test_the_objective_refuses_what_it_cannot_do():
    density = nfref.Density(nfref.RealNVP(2))
    params = density.init(np.random.default_rng(0))
    with pytest.raises(ValueError, match="density: expected a CNF in its flow, got RealNVP"):
        PathLikelihood()(density, params, np.zeros((3, 2)), None, np.random.default_rng(0))
    with pytest.raises(ValueError, match="kinetic: expected a finite number of at least 0"):
        PathLikelihood(kinetic=-1.0)
    with pytest.raises(ValueError, match="trace: expected one of"):
        PathLikelihood(trace="guess")
