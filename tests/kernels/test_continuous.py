"""Twins of continuous flows: against the formulas, scipy's solver, and mpmath."""

import autograd
import autograd.numpy as anp
import mpmath
import numpy as np
import pytest
from autograd.builtins import tuple as traced_tuple

import nfref
from nfref.continuous import dynamics
from nfref.continuous.dynamics_vjp import exact_vjp
from nfref.continuous.solve import SolverError
from nfref.flows.continuous import NeuralSystem
from nfref.kernels import jit
from nfref.kernels.chain.network import ACTIVATIONS, SOFTPLUS, TANH
from nfref.kernels.continuous import activations
from nfref.kernels.continuous import solves as continuous
from nfref.kernels.simd.matmul import ROWS
from nfref.runtime import params as trees
from tests.continuous.cases import filled

# None of five units: OpenBLAS's sgemv for AVX-512 multiplies lanes there that nobody has written,
# see docs/kernels.rst.
NETWORKS = [(), (6,), (9, 7), (70, 33)]
# In units of the last place of the largest entry: sums over rows and units.
ULPS = {"float32": 200, "float64": 400}
EPS = {name: np.finfo(name).eps for name in ULPS}


def problem(flow, n, dtype, seed=0):
    """Parameters away from the identity, rows, and context or None."""
    rng = np.random.default_rng(seed)
    params = trees.cast(filled(flow, rng), np.dtype(dtype))
    x = rng.standard_normal((n, flow.dim)).astype(dtype)
    context = rng.standard_normal((n, flow.context_dim)).astype(dtype) if flow.context_dim else None
    return params, x, context


def assert_close(twin, formula, dtype, ulps=None):
    """Arrays one by one, each in units of its largest entry."""
    for one, other in zip(twin, formula, strict=True):
        assert one.shape == other.shape and one.dtype == other.dtype == dtype
        error = np.max(np.abs(one - other), initial=0)
        scale = np.max(np.abs(other), initial=0)
        assert error <= (ulps or ULPS[dtype]) * EPS[dtype] * scale, (error, scale)


# One evaluation ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ULPS)
@pytest.mark.parametrize("activation", dynamics.ACTIVATIONS)
@pytest.mark.parametrize("hidden", NETWORKS)
@pytest.mark.parametrize("context_dim", [0, 2])
def test_right_hand_side_and_its_derivative(hidden, activation, dtype, context_dim):
    flow = nfref.CNF(3, hidden, context_dim=context_dim, activation=activation)
    for n in (1, 7, 1000):
        params, x, context = problem(flow, n, dtype)
        net, rng = params["net"], np.random.default_rng(1)
        fixed = dynamics.Fixed(matrix=dynamics.trace_matrix(net))
        state, cotangent = (
            np.concatenate([rows, rng.standard_normal((n, 1))], axis=1).astype(dtype)
            for rows in (x, rng.standard_normal(x.shape))
        )
        arguments = (net, context, fixed, activation, 0.3, state)

        value = dynamics.right_hand_side(net, 0.3, state, context, fixed, activation)
        assert_close([continuous.derivative(*arguments)], [value], dtype)

        formula = exact_vjp(net, 0.3, state, cotangent, context, fixed, activation)
        twin = continuous.derivative_vjp(*arguments, cotangent)
        assert (twin[2] is None) == (context is None)
        assert_close(
            *(
                [part for part in trees.leaves(list(vjp)) if part is not None]
                for vjp in (twin, formula)
            ),
            dtype,
        )


def test_derivative_is_that_of_autograd():
    flow = nfref.CNF(3, (9, 7), context_dim=2)
    params, x, context = problem(flow, 50, "float64")
    rng = np.random.default_rng(1)
    state, cotangent = rng.standard_normal((2, 50, 4))

    def scalar(variables):
        net, state, context = variables
        fixed = dynamics.Fixed(matrix=dynamics.trace_matrix(net))
        return anp.sum(cotangent * dynamics.right_hand_side(net, 0.3, state, context, fixed))

    g_net, g_state, g_context = autograd.grad(scalar)(traced_tuple((params["net"], state, context)))
    fixed = dynamics.Fixed(matrix=dynamics.trace_matrix(params["net"]))
    twin = continuous.derivative_vjp(params["net"], context, fixed, "tanh", 0.3, state, cotangent)
    assert_close(
        [*twin[1:3], *trees.leaves(twin[3])],
        [g_state[:, :3], g_context, *trees.leaves(g_net)],
        "float64",
    )


# Whole solves -----------------------------------------------------------------------------


def both(flow, n, dtype, direction):
    """Value, log-det and gradients of something nonlinear: by formula and by twin."""
    params, x, context = problem(flow, n, dtype)
    results = []
    for backend in ("numpy", "numba"):
        with nfref.backend(backend):
            call = getattr(flow, direction)

            def loss(variables):
                value, log_det = call(*variables, *([None] if context is None else []))
                return anp.sum(anp.sin(value)) + anp.sum(log_det**2)

            variables = traced_tuple((params, x) if context is None else (params, x, context))
            results.append(
                [*call(params, x, context), *trees.leaves(list(autograd.grad(loss)(variables)))]
            )
    return results


@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize("dtype", ULPS)
@pytest.mark.parametrize("hidden", NETWORKS)
def test_steps_of_rk4(hidden, dtype, direction):
    for gradient, context_dim in (("adjoint", 2), ("direct", 0)):
        flow = nfref.CNF(
            2, hidden, context_dim=context_dim, solver="rk4", steps=3, gradient=gradient
        )
        for n in (0, 1, 7, 300):
            formula, twin = both(flow, n, dtype, direction)
            assert_close(twin, formula, dtype)


@pytest.mark.parametrize(
    "settings",
    [
        {"hidden": ()},
        {"hidden": (6,), "context_dim": 2},
        {"hidden": (9, 7), "context_dim": 1},
        {"hidden": (9, 7), "activation": "softplus"},
    ],
    ids=str,
)
def test_solves_of_rk45_take_the_steps_of_scipy(settings):
    flow = nfref.CNF(3, **settings)
    for n in (1, 7, 300):
        for direction in ("forward", "inverse"):
            formula, twin = both(flow, n, "float64", direction)
            # A step that differs by an ulp moves the result by as much of its error.
            assert_close(twin, formula, "float64", ulps=20_000)


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6])
def test_evaluations_are_those_of_scipy(tolerance, monkeypatch):
    flow = nfref.CNF(3, (5, 4), context_dim=1, rtol=tolerance, atol=tolerance)
    params, x, context = problem(flow, 20, "float64")
    params = trees.tree_map(lambda leaf: 3 * leaf, params)
    system = NeuralSystem(flow, True)
    counted = []
    solve = continuous.solve

    def counting(*arguments):
        counted.append(solve(*arguments))
        return counted[-1]

    monkeypatch.setattr(continuous, "solve", counting)
    arguments = system.arguments(params, context)
    with nfref.backend("numba"):
        last = system.solve(0.0, 1.0, system.start(x), *arguments)
        *_, backwards = system.solve_back(0.0, 1.0, last, np.ones_like(last), *arguments)
    assert counted[1] == backwards
    with nfref.backend("numpy"):
        expected = flow.trajectory(params, x, (0.0, 1.0), context)
        *_, expected_backwards = system.solve_back(0.0, 1.0, last, np.ones_like(last), *arguments)
    assert counted == [expected.evaluations, expected_backwards]
    np.testing.assert_allclose(last[:, :3], expected.values[-1], rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", ULPS)
@pytest.mark.parametrize("solver", ["rk45", "rk4"])
def test_threads_do_not_change_a_bit(solver, dtype):
    flow = nfref.CNF(2, (9, 7), context_dim=1, solver=solver)
    params, x, context = problem(flow, 2 * ROWS + 5, dtype)

    def loss(params):
        value, log_det = flow.inverse(params, x, context)
        return anp.sum(value**2) + anp.sum(log_det)

    results = []
    for threads in (1, 2, 3):
        with nfref.backend("numba", threads=threads):
            results.append(
                trees.leaves([*flow.inverse(params, x, context), autograd.grad(loss)(params)])
            )
    for one, two, three in zip(*results, strict=True):
        assert np.array_equal(one, two) and np.array_equal(one, three)


def test_sums_over_many_rows_take_the_few_slots_there_are(monkeypatch):
    flow = nfref.CNF(2, (5, 4))
    monkeypatch.setattr(continuous, "MOST_SUMS", 2)
    formula, twin = both(flow, 2 * ROWS + 1, "float64", "forward")
    assert_close(twin, formula, "float64", ulps=20_000)


@pytest.mark.parametrize("solver", ["dop853", "lsoda"])
def test_other_solvers_call_the_twins_of_the_right_hand_side(solver, monkeypatch):
    calls = []
    for name in ("derivative", "derivative_vjp"):
        twin = getattr(continuous, name)
        monkeypatch.setattr(
            continuous,
            name,
            lambda *arguments, name=name, twin=twin: (calls.append(name), twin(*arguments))[1],
        )
    formula, twin = both(
        nfref.CNF(2, (5, 4), solver=solver, rtol=1e-9, atol=1e-9), 7, "float64", "inverse"
    )
    assert set(calls) == {"derivative", "derivative_vjp"}
    for one, other in zip(twin, formula, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-7 * np.abs(other).max())


# What has no twin, and what cannot be finished ----------------------------------------------


@pytest.mark.parametrize("settings", [{"trace": "brute"}, {"trace": "hutchinson"}], ids=str)
def test_other_traces_run_by_their_formula(settings):
    flow = nfref.CNF(2, (4,), **settings)
    if flow.trace == "hutchinson":
        flow = flow.with_probes(np.random.default_rng(0), 7)
    formula, twin = both(flow, 7, "float64", "inverse")
    for one, other in zip(twin, formula, strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize(
    "settings, message",
    [
        (
            {"max_evaluations": 20, "rtol": 1e-9, "atol": 1e-9},
            "max_evaluations: rk45 used all 20 evaluations",
        ),
        ({"max_evaluations": 7, "solver": "rk4"}, "max_evaluations: rk4 used all 7 evaluations"),
    ],
)
def test_bounds_are_kept_and_explained(settings, message):
    flow = nfref.CNF(2, (4,), **settings)
    params, x, _ = problem(flow, 7, "float64")
    with nfref.backend("numba"), pytest.raises(SolverError, match=message):
        flow.inverse(params, x)


@pytest.mark.parametrize("solver", ["rk45", "rk4"])
def test_dynamics_that_are_not_finite_are_explained(solver):
    flow = nfref.CNF(2, (4,), solver=solver)
    params, x, _ = problem(flow, 7, "float64")
    params["net"][1]["bias"][0] = np.nan
    with nfref.backend("numba"), pytest.raises(SolverError, match="derivative: expected finite"):
        flow.inverse(params, x)


def test_explosions_are_explained():
    flow = nfref.CNF(1, (), solver="rk4")
    params, x, _ = problem(flow, 3, "float64")
    params["net"][0]["weight"][0] = 1e40
    for backend in ("numpy", "numba"):
        with nfref.backend(backend), pytest.raises(SolverError, match="expected finite"):
            flow.forward(params, x)


# Activations ------------------------------------------------------------------------------


@jit.kernel
def activated(activation, bias, values, slopes):
    activations.activate(activation, bias, 0, len(bias), values, slopes, 0)


def exact(activation, a):
    """Value and slope with many digits."""
    with mpmath.workprec(200):
        a = mpmath.mpf(float(a))
        if activation == TANH:
            return mpmath.tanh(a), mpmath.sech(a) ** 2
        return mpmath.log1p(mpmath.exp(a)), 1 / (1 + mpmath.exp(-a))


@pytest.mark.parametrize("dtype", ULPS)
@pytest.mark.parametrize("activation", dynamics.ACTIVATIONS)
def test_activations_lose_few_ulp(activation, dtype):
    rng = np.random.default_rng(0)
    units = 4
    near = rng.uniform(-5, 5, units * ROWS // 2)
    far = rng.choice([-1, 1], units * ROWS // 2) * 10 ** rng.uniform(-12, 1.9, units * ROWS // 2)
    a = np.concatenate([near, far]).astype(dtype)
    a[:2] = 0.0, -0.0
    values, slopes = a.copy(), np.empty_like(a)
    kind = ACTIVATIONS[activation]
    activated(kind, np.zeros(units, dtype), values, slopes)
    for number, value, slope in zip(a, values, slopes):
        for ours, truth, most in zip((value, slope), exact(kind, number), (3, 6)):
            ulp = float(np.spacing(np.asarray(abs(float(truth)), dtype)))
            tiny = float(np.finfo(dtype).tiny)  # below it slopes are 0
            assert abs(float(mpmath.mpf(float(ours)) - truth)) <= max(most * ulp, 4 * tiny), number


@pytest.mark.parametrize("dtype", ULPS)
def test_activations_at_the_ends(dtype):
    ends = np.repeat(np.array([np.inf, -np.inf, np.nan], dtype), ROWS)
    expected = {
        TANH: ([1, -1, np.nan], [0, 0, np.nan]),
        SOFTPLUS: ([np.inf, 0, np.nan], [1, 0, np.nan]),
    }
    for kind, (value, slope) in expected.items():
        values, slopes = ends.copy(), np.empty_like(ends)
        activated(kind, np.zeros(3, dtype), values, slopes)
        assert np.array_equal(values[::ROWS], np.array(value, dtype), equal_nan=True)
        assert np.array_equal(slopes[::ROWS], np.array(slope, dtype), equal_nan=True)
