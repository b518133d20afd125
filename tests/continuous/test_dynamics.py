"""Velocity, traces and norms against finite differences; estimators against their own theory."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd.core import make_vjp

import nfref
from nfref.continuous import dynamics
from nfref.continuous.dynamics_vjp import exact_vjp
from nfref.runtime import params as trees
from tests.continuous.cases import filled

HIDDEN = [(), (7,), (7, 6), (7, 6, 5)]
ACTIVATIONS = ["tanh", "softplus"]
T = 0.3


def case(hidden, activation, dim=4, rows=5, context_dim=2, seed=0):
    """(net, z, context, f, slopes) of a velocity far from zero."""
    rng = np.random.default_rng(seed)
    trace = "exact" if len(hidden) <= dynamics.EXACT_LAYERS else "brute"
    flow = nfref.CNF(dim, hidden, context_dim, activation, trace)
    net = filled(flow, rng)["net"]
    z, context = rng.standard_normal((rows, dim)), rng.standard_normal((rows, context_dim))
    return net, z, context, *dynamics.velocity(net, T, z, context, activation)


def numerical_jacobian(net, z, context, activation, step=1e-3):
    """df_o/dz_i as (N, i, o), by central differences of order four."""

    def f(rows):
        return dynamics.velocity(net, T, rows, context, activation)[0]

    def row(i):
        move = step * np.eye(z.shape[1])[i]
        return (8 * (f(z + move) - f(z - move)) - (f(z + 2 * move) - f(z - 2 * move))) / (12 * step)

    return np.stack([row(i) for i in range(z.shape[1])], axis=1)


def fixed_for(net, hidden):
    return dynamics.Fixed(
        matrix=dynamics.trace_matrix(net),
        gram=dynamics.norm_matrix(net) if len(hidden) < 2 else None,
    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", HIDDEN)
def test_vector_jacobian_is_the_derivative(hidden, activation):
    net, z, context, _, slopes = case(hidden, activation)
    v = np.random.default_rng(1).standard_normal(z.shape)
    jacobian = numerical_jacobian(net, z, context, activation)
    ours = dynamics.vector_jacobian(net, slopes, v) + np.zeros_like(z)
    np.testing.assert_allclose(ours, np.einsum("nio,no->ni", jacobian, v), atol=1e-9)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", HIDDEN)
def test_traces_equal_the_finite_difference_trace(hidden, activation):
    net, z, context, _, slopes = case(hidden, activation)
    expected = np.einsum("nii->n", numerical_jacobian(net, z, context, activation))
    assert np.ptp(expected) > 0.1 or not hidden  # it depends on the row
    traces = {"brute": dynamics.Fixed()}
    if len(hidden) <= dynamics.EXACT_LAYERS:
        traces["exact"] = dynamics.Fixed(matrix=dynamics.trace_matrix(net))
    # Scaled basis vectors are probes with e e^T = I on average, and leave no noise.
    traces["hutchinson"] = dynamics.Fixed(probes=2 * dynamics.basis(4, float) + np.zeros((4, 5, 4)))
    for name, fixed in traces.items():
        ours = dynamics.TRACES[name](net, slopes, fixed) + np.zeros(len(z))
        np.testing.assert_allclose(ours, expected, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", HIDDEN)
def test_norms_equal_the_finite_difference_norm(hidden, activation):
    net, z, context, _, slopes = case(hidden, activation)
    expected = np.sum(numerical_jacobian(net, z, context, activation) ** 2, axis=(1, 2))
    brute = dynamics.brute_norm(net, slopes, None) + np.zeros(len(z))
    np.testing.assert_allclose(brute, expected, atol=1e-8)
    if len(hidden) < 2:
        exact = dynamics.exact_norm(net, slopes, fixed_for(net, hidden)) + np.zeros(len(z))
        np.testing.assert_allclose(exact, expected, atol=1e-8)


@pytest.mark.parametrize("noise", ["rademacher", "gaussian"])
def test_hutchinson_is_unbiased_with_the_variance_of_its_formula(noise):
    net, z, context, _, slopes = case((7, 6), "tanh", rows=1)
    jacobian = numerical_jacobian(net, z, context, "tanh")[0]
    draws = 40_000
    flow = nfref.CNF(4).with_probes(np.random.default_rng(3), draws, noise=noise)
    values = dynamics.hutchinson_trace(net, slopes, dynamics.Fixed(probes=flow.probes))
    symmetric = (jacobian + jacobian.T) / 2
    variance = 2 * np.sum(symmetric**2)
    if noise == "rademacher":
        variance -= 2 * np.sum(np.diag(symmetric) ** 2)
    assert abs(values.mean() - np.trace(jacobian)) < 4 * (variance / draws) ** 0.5
    # The sample variance has a standard error too, from the fourth moment.
    spread = np.std((values - values.mean()) ** 2) / draws**0.5
    assert abs(values.var() - variance) < 4 * spread
    norms = dynamics.hutchinson_norm(net, slopes, dynamics.Fixed(probes=flow.probes))
    assert abs(norms.mean() - np.sum(jacobian**2)) < 4 * norms.std() / draws**0.5


def test_several_probes_are_averaged():
    net, z, context, _, slopes = case((7, 6), "tanh")
    flow = nfref.CNF(4).with_probes(np.random.default_rng(0), len(z), count=3)
    single = [
        dynamics.hutchinson_trace(net, slopes, dynamics.Fixed(probes=flow.probes[k : k + 1]))
        for k in range(3)
    ]
    together = dynamics.hutchinson_trace(net, slopes, dynamics.Fixed(probes=flow.probes))
    np.testing.assert_allclose(together, np.mean(single, axis=0), rtol=1e-13)


@pytest.mark.parametrize(
    "hidden, norm", [((), None), ((7,), None), ((7, 6), None), ((), "exact"), ((7,), "exact")]
)
@pytest.mark.parametrize("with_context", [True, False])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_derivative_by_hand_equals_the_tape(hidden, activation, with_context, norm):
    net, z, context, f, _ = case(hidden, activation)
    if not with_context:
        net[0]["weight"], context = net[0]["weight"][:5], None
        f, _ = dynamics.velocity(net, T, z, None, activation)
    rng = np.random.default_rng(2)
    state = np.concatenate([z, rng.standard_normal((len(z), 3 if norm else 1))], axis=1)
    cotangent = rng.standard_normal(state.shape)

    def value(tracked):
        state, context, net = tracked
        return dynamics.right_hand_side(
            net,
            T,
            state,
            context if with_context else None,
            fixed_for(net, hidden),
            activation,
            norm=norm,
        )

    vjp, _ = make_vjp(value, (state, anp.zeros(1) if context is None else context, net))
    state_bar, context_bar, net_bar = vjp(cotangent)
    assert not state_bar[:, 4:].any()
    ours = exact_vjp(net, T, state, cotangent, context, fixed_for(net, hidden), activation)
    np.testing.assert_allclose(ours[0], f, rtol=1e-13)
    np.testing.assert_allclose(ours[1], state_bar[:, :4], rtol=1e-12, atol=1e-13)
    if with_context:
        np.testing.assert_allclose(ours[2], context_bar, rtol=1e-12, atol=1e-13)
    else:
        assert ours[2] is None
    for a, b in zip(trees.leaves(ours[3]), trees.leaves(net_bar)):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_keep_their_digits_far_out(activation):
    a = np.array([-800.0, -40.0, -1.0, 0.0, 1.0, 40.0, 800.0])
    h, slope = dynamics.ACTIVATIONS[activation](a)
    assert np.isfinite(h).all() and np.isfinite(slope).all()
    if activation == "softplus":
        np.testing.assert_allclose(slope[1], np.exp(-40.0), rtol=1e-14)
        np.testing.assert_allclose(h[1], np.exp(-40.0), rtol=1e-14)
        assert h[-1] == 800.0 and slope[-1] == 1.0


def test_exact_needs_at_most_two_hidden_layers():
    with pytest.raises(ValueError, match="trace: expected 'brute' or 'hutchinson'"):
        nfref.CNF(2, (4, 4, 4))
