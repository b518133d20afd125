"""The continuous flow: closed forms, time reversal, its density, and refused input."""

from dataclasses import replace

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from scipy.linalg import expm

import nfref
from nfref.continuous.solve import SOLVERS
from tests.continuous.cases import filled, linear
from tests.finite_differences.contract import contract_test
from tests.flow_table import Entry

MATRIX = np.array([[0.3, 1.2, -0.4], [-0.9, -0.5, 0.2], [0.1, 0.7, 0.6]])  # not symmetric
TIGHT = {"rtol": 1e-11, "atol": 1e-11}
CONTRACT = {
    "CNF": Entry(
        lambda d, c: nfref.CNF(d, (4, 4), c, rtol=1e-9, atol=1e-9),
        dims=(2,),
        context=True,
        precision=1e-8,
        reach=10.0,
        integrable=False,
        costly=True,
    ),
    "CNF, fixed steps": Entry(
        lambda d, c: nfref.CNF(d, (4,), c, solver="rk4", steps=30, gradient="direct"),
        dims=(1,),
        precision=1e-7,
        reach=3.0,
    ),
}
test_contract = contract_test(CONTRACT)


# Closed forms -----------------------------------------------------------------------------


@pytest.mark.parametrize("trace", ["exact", "brute", "hutchinson"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_linear_dynamics_are_the_matrix_exponential(solver, trace):
    flow = nfref.CNF(3, (), solver=solver, trace=trace, steps=200, **TIGHT)
    params = linear(flow, MATRIX)
    rng = np.random.default_rng(0)
    z = rng.standard_normal((6, 3))
    log_det = np.full(6, np.trace(MATRIX))
    if trace == "hutchinson":
        flow = flow.with_probes(rng, 6, count=2, noise="gaussian")
        log_det = np.mean(np.einsum("kni,ij,knj->kn", flow.probes, MATRIX, flow.probes), axis=0)
    for ours, expected, sign in (
        (flow.forward(params, z), z @ expm(MATRIX).T, 1),
        (flow.inverse(params, z), z @ expm(-MATRIX).T, -1),
    ):
        np.testing.assert_allclose(ours[0], expected, atol=2e-9)
        np.testing.assert_allclose(ours[1], sign * log_det, atol=2e-9)


def test_trajectory_follows_the_exponential_at_every_time():
    flow = nfref.CNF(3, (), **TIGHT)
    params = linear(flow, MATRIX)
    z = np.random.default_rng(0).standard_normal((4, 3))
    for times in ((0.0, 0.2, 0.7, 1.0), (1.0, 0.9, 0.0), (0.25, 0.5)):
        path = flow.trajectory(params, z, times)
        np.testing.assert_array_equal(path.times, times)
        for t, values, log_det in zip(times, path.values, path.log_det):
            np.testing.assert_allclose(values, z @ expm((t - times[0]) * MATRIX).T, atol=1e-8)
            np.testing.assert_allclose(log_det, (t - times[0]) * np.trace(MATRIX), atol=1e-9)
        assert path.kinetic is None and path.evaluations > 0


def test_a_constant_shift_moves_and_keeps_volume():
    flow = nfref.CNF(2, ())
    params = linear(flow, np.zeros((2, 2)), shift=[1.0, -2.0])
    x, log_det = flow.forward(params, np.ones((2, 2)))
    np.testing.assert_allclose(x, [[2.0, -1.0]] * 2, rtol=1e-14)
    assert not log_det.any()


def test_starts_as_the_identity():
    flow = nfref.CNF(3, context_dim=2)
    z = np.random.default_rng(0).standard_normal((4, 3))
    x, log_det = flow.forward(flow.init(np.random.default_rng(0)), z, np.ones((4, 2)))
    np.testing.assert_array_equal(x, z)
    assert not log_det.any()


# The nonlinear flow -----------------------------------------------------------------------


@pytest.mark.parametrize("hidden", [(9,), (9, 8)])
@pytest.mark.parametrize("activation", ["tanh", "softplus"])
def test_time_reversal_and_the_numerical_jacobian(hidden, activation):
    rng = np.random.default_rng(0)
    flow = nfref.CNF(3, hidden, 2, activation, solver="dop853", **TIGHT)
    params = filled(flow, rng, gain=1.5)
    z, context = rng.standard_normal((5, 3)), rng.standard_normal((5, 2))
    x, log_det = flow.forward(params, z, context)
    back, back_log_det = flow.inverse(params, x, context)
    np.testing.assert_allclose(back, z, atol=1e-9)
    np.testing.assert_allclose(log_det + back_log_det, 0, atol=1e-9)
    step = 1e-3

    def jacobian_column(axis):
        def at(k):
            return flow.forward(params, z + k * step * np.eye(3)[axis], context)[0]

        return (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * step)

    columns = np.stack([jacobian_column(axis) for axis in range(3)], axis=2)
    assert np.ptp(log_det) > 0.1
    np.testing.assert_allclose(np.linalg.slogdet(columns)[1], log_det, atol=1e-8)


def test_density_integrates_to_one_and_matches_its_samples():
    rng = np.random.default_rng(4)
    flow = nfref.CNF(2, (8, 8), rtol=1e-7, atol=1e-7)
    density = nfref.Density(flow)
    params = {"base": {}, "flow": filled(flow, rng, gain=1.5)}
    x, log_prob = density.sample_and_log_prob(params, rng, 400)
    np.testing.assert_allclose(density.log_prob(params, x), log_prob, atol=1e-6)
    low, high = x.min(axis=0) - 3, x.max(axis=0) + 3
    axes = [np.linspace(a, b, 121) for a, b in zip(low, high)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    cell = np.prod([axis[1] - axis[0] for axis in axes])
    mass = np.exp(density.log_prob(params, grid)).sum() * cell
    assert abs(mass - 1) < 1e-5


def test_rows_of_a_batch_share_steps_and_agree_within_tolerance():
    rng = np.random.default_rng(5)
    flow = nfref.CNF(2, (8, 8), rtol=1e-7, atol=1e-7)
    params, z = filled(flow, rng, gain=1.5), rng.standard_normal((30, 2))
    together = flow.forward(params, z)
    for alone, whole in zip(flow.forward(params, z[:1]), together):
        np.testing.assert_allclose(alone, whole[:1], atol=1e-5)
    fixed = replace(flow, solver="rk4")
    for alone, whole in zip(fixed.forward(params, z[:1]), fixed.forward(params, z)):
        np.testing.assert_allclose(alone, whole[:1], rtol=1e-12)


def test_float32_stays_and_is_close():
    rng = np.random.default_rng(6)
    flow = nfref.CNF(3, (8, 8), context_dim=1)
    params, z, context = filled(flow, rng), rng.standard_normal((5, 3)), rng.standard_normal((5, 1))
    for ours in (
        flow,
        replace(flow, solver="rk4"),
        replace(flow, solver="lsoda"),
        flow.with_probes(rng, 5),
        replace(flow, rtol=1e-12, atol=1e-12),
    ):
        wide = ours.forward(params, z, context)
        narrow = ours.forward(params, z.astype(np.float32), context)
        assert [part.dtype for part in narrow] == [np.float32] * 2
        for a, b in zip(narrow, wide):
            np.testing.assert_allclose(a, b, atol=1e-4)


def test_an_empty_batch_needs_no_evaluation():
    flow = nfref.CNF(2)
    params = flow.init(np.random.default_rng(0))
    for ours in (flow, replace(flow, solver="rk4", gradient="direct")):
        x, log_det = ours.forward(params, np.zeros((0, 2)))
        assert x.shape == (0, 2) and log_det.shape == (0,)
    assert flow.trajectory(params, np.zeros((0, 2))).evaluations == 0


# Entry checks ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"trace": "none"}, "trace: expected one of exact, hutchinson, brute; got 'none'"),
        ({"solver": "euler"}, "solver: expected one of"),
        ({"activation": "relu"}, "activation: expected one of tanh, softplus"),
        ({"gradient": "direct"}, "gradient: expected 'adjoint', because 'direct' needs"),
        ({"rtol": 0.0}, "rtol: expected a finite number above 0"),
        ({"max_evaluations": 0}, "max_evaluations: expected at least 1"),
        ({"steps": 0}, "steps: expected at least 1"),
    ],
)
def test_wrong_settings_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        nfref.CNF(2, **wrong)


@pytest.mark.parametrize("options", [{}, {"solver": "rk4", "gradient": "direct"}])
def test_a_second_derivative_is_refused(options):
    flow = nfref.CNF(2, (4,), **options)
    params, rows = flow.init(np.random.default_rng(0)), np.ones((3, 2))

    def total(x):
        return anp.sum(flow.inverse(params, x)[0])

    with pytest.raises(NotImplementedError, match="^a continuous flow has first derivatives only"):
        grad(lambda x: anp.sum(grad(total)(x) ** 2))(rows)


def test_probes_must_be_drawn_for_the_batch():
    flow = nfref.CNF(2, trace="hutchinson")
    params, z = flow.init(np.random.default_rng(0)), np.zeros((3, 2))
    with pytest.raises(ValueError, match="probes: expected probes for 3 rows.* got none"):
        flow.forward(params, z)
    with pytest.raises(ValueError, match="got probes for 4 rows"):
        flow.with_probes(np.random.default_rng(0), 4).forward(params, z)
    with pytest.raises(TypeError, match="rng: expected a numpy.random.Generator"):
        flow.with_probes(0, 4)
    with pytest.raises(ValueError, match="noise: expected one of rademacher, gaussian"):
        flow.with_probes(np.random.default_rng(0), 4, noise="uniform")


def test_a_probe_is_fixed_for_a_solve_and_back():
    rng = np.random.default_rng(7)
    flow = nfref.CNF(3, (8, 8), rtol=1e-9, atol=1e-9).with_probes(rng, 6)
    params, z = filled(flow, rng), rng.standard_normal((6, 3))
    x, log_det = flow.forward(params, z)
    _, back = flow.inverse(params, x)
    np.testing.assert_allclose(log_det + back, 0, atol=1e-7)
    exact = replace(flow, trace="exact").forward(params, z)[1]
    assert np.abs(log_det - exact).max() > 1e-3
