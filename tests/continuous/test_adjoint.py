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
from nfref.runtime import params as trees
from tests.continuous.cases import filled, linear
from tests.continuous.gradients import DIRECT, TIGHT, check_gradient

MATRIX = np.array([[0.3, 1.2, -0.4], [-0.9, -0.5, 0.2], [0.1, 0.7, 0.6]])


def loss_of(flow, weights, inverse=False):
    """Return a loss that depends nonlinearly on value and log_det of every row."""

    def loss(params, rows, context):
        value, log_det = (flow.inverse if inverse else flow.forward)(params, rows, context)
        return anp.sum(weights * anp.sin(value)) + anp.sum(weights[:, 0] * log_det**2)

    return loss


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


@pytest.mark.thorough
@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize(
    "settings",
    [
        {"hidden": (5,)},
        {"hidden": (5, 4)},
        {"hidden": (5, 4), "activation": "softplus"},
        {"hidden": (4, 3, 3), "trace": "brute"},
        {"hidden": (5,), "trace": "hutchinson"},
    ],
    ids=["one", "two", "softplus", "brute", "hutchinson"],
)
def test_both_gradients_equal_finite_differences(settings, inverse):
    rng = np.random.default_rng(1)
    rows = 3
    flow = nfref.CNF(2, context_dim=1, solver="dop853", **TIGHT, **settings)
    if flow.trace == "hutchinson":
        flow = flow.with_probes(rng, rows)
    tree = [
        filled(flow, rng, gain=1.5),
        rng.standard_normal((rows, 2)),
        rng.standard_normal((rows, 1)),
    ]
    weights = rng.standard_normal((rows, 2))
    unrolled = replace(flow, **DIRECT)

    def function(tree):
        return loss_of(flow, weights, inverse)(*tree)

    for ours, tolerance in ((flow, 1e-7), (unrolled, 1e-6)):
        gradient = grad(loss_of(ours, weights, inverse), (0, 1, 2))(*tree)
        assert all(np.all(leaf != 0) for leaf in trees.leaves(list(gradient)))
        check_gradient(
            list(gradient), function, tree, np.random.default_rng(2), rtol=tolerance, atol=tolerance
        )


def test_unrolled_gradient_is_that_of_the_steps_however_coarse():
    rng = np.random.default_rng(2)
    flow = nfref.CNF(2, (5, 4), solver="rk4", gradient="direct", steps=2)
    tree = [filled(flow, rng, gain=2.0), rng.standard_normal((3, 2))]
    weights = rng.standard_normal((3, 2))

    def loss(params, rows):
        return loss_of(flow, weights)(params, rows, None)

    gradient = list(grad(loss, (0, 1))(*tree))
    check_gradient(
        gradient, lambda tree: loss(*tree), tree, rng, count=20, step=1e-3, rtol=1e-9, atol=1e-9
    )
    # With so coarse a solve the adjoint differs: it differentiates the flow, not the steps.
    continuous = replace(flow, gradient="adjoint")
    other = grad(lambda *tree: loss_of(continuous, weights)(*tree, None), (0, 1))(*tree)
    assert np.abs(trees.flatten(list(other))[0] - trees.flatten(gradient)[0]).max() > 1e-3


def test_the_two_gradients_meet_with_the_order_of_the_method():
    rng = np.random.default_rng(3)
    flow = nfref.CNF(2, (6, 5), solver="dop853", rtol=1e-12, atol=1e-12)
    tree = [filled(flow, rng, gain=1.5), rng.standard_normal((4, 2))]
    weights = rng.standard_normal((4, 2))

    def gradient(flow):
        return trees.flatten(
            list(
                grad(lambda params, rows: loss_of(flow, weights)(params, rows, None), (0, 1))(*tree)
            )
        )[0]

    reference = gradient(flow)
    gaps = [
        np.abs(
            gradient(replace(flow, solver="rk4", gradient="direct", steps=steps)) - reference
        ).max()
        for steps in (8, 16, 32)
    ]
    orders = np.log2(np.array(gaps[:-1]) / gaps[1:])
    assert np.all(np.abs(orders - 4) < 0.5), orders

    unrolled = gradient(replace(flow, solver="rk4", gradient="direct", steps=100))
    tolerances = 10.0 ** -np.arange(3, 10)
    gaps = np.array(
        [
            np.abs(
                gradient(replace(flow, solver="rk45", rtol=tolerance, atol=tolerance)) - unrolled
            ).max()
            for tolerance in tolerances
        ]
    )
    order = np.polyfit(np.log10(tolerances), np.log10(gaps), 1)[0]
    assert gaps[0] / gaps[-1] > 1e3 and 0.7 < order < 1.3, (order, gaps)


def test_the_jacobian_by_autograd_has_the_log_det():
    rng = np.random.default_rng(4)
    flow = nfref.CNF(2, (6, 5), **TIGHT)
    params, z = filled(flow, rng, gain=1.5), rng.standard_normal((1, 2))
    matrix = jacobian(lambda z: flow.forward(params, z)[0])(z)[0, :, 0, :]
    np.testing.assert_allclose(
        np.linalg.slogdet(matrix)[1], flow.forward(params, z)[1][0], atol=1e-8
    )


def test_the_adjoint_does_not_depend_on_the_scale_of_the_loss():
    rng = np.random.default_rng(5)
    flow = nfref.CNF(2, (6, 5), rtol=1e-6, atol=1e-6)
    params, z = filled(flow, rng, gain=1.5), rng.standard_normal((4, 2))
    weights = rng.standard_normal((4, 2))

    def gradient(scale):
        return trees.flatten(
            grad(lambda params: scale * anp.sum(weights * flow.forward(params, z)[0]))(params)
        )[0]

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
