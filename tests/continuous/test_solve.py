"""Solvers: they agree, their errors fall, their evaluations are counted, and they give up."""

from dataclasses import replace

import autograd
import autograd.numpy as anp
import numpy as np
import pytest

import nfref
from nfref.continuous.solve import SOLVERS, Options, SolverError, solve
from tests.continuous.cases import filled

TIGHT = {"rtol": 1e-11, "atol": 1e-11}


def test_all_solvers_agree():
    rng = np.random.default_rng(1)
    flow = nfref.CNF(2, (8, 8), rtol=1e-9, atol=1e-9, steps=150)
    params, z = filled(flow, rng, gain=1.5), rng.standard_normal((7, 2))
    reference = flow.forward(params, z)
    for solver in ("dop853", "lsoda", "rk4"):
        for ours, expected in zip(replace(flow, solver=solver).forward(params, z), reference):
            np.testing.assert_allclose(ours, expected, atol=2e-7, err_msg=solver)


@pytest.mark.parametrize("solver", ["rk45", "dop853", "lsoda"])
def test_error_falls_with_the_tolerance(solver):
    rng = np.random.default_rng(2)
    flow = nfref.CNF(2, (16, 16), solver=solver)
    params, z = filled(flow, rng, gain=2.0), rng.standard_normal((20, 2))
    truth = np.column_stack(
        replace(flow, solver="dop853", rtol=1e-13, atol=1e-13).forward(params, z)
    )
    tolerances = 10.0 ** -np.arange(3, 11)
    errors, evaluations = [], []
    for tolerance in tolerances:
        path = replace(flow, rtol=tolerance, atol=tolerance).trajectory(params, z)
        ours = np.column_stack([path.values[-1], path.log_det[-1]])
        errors.append(np.abs(ours - truth).max())
        evaluations.append(path.evaluations)
    # Seven decades of tolerance: at least five of error, and never far above the tolerance.
    assert errors[0] / errors[-1] > 1e5
    assert np.all(errors < 200 * tolerances)
    assert np.all(np.diff(evaluations) >= 0)


def test_rk4_has_order_four():
    rng = np.random.default_rng(3)
    flow = nfref.CNF(2, (8, 8), solver="rk4")
    params, z = filled(flow, rng, gain=1.5), rng.standard_normal((9, 2))
    truth = np.column_stack(replace(flow, solver="dop853", **TIGHT).forward(params, z))
    errors = [
        np.abs(np.column_stack(replace(flow, steps=steps).forward(params, z)) - truth).max()
        for steps in (8, 16, 32)
    ]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all(np.abs(orders - 4) < 0.5), orders


# Counting and giving up -------------------------------------------------------------------


@pytest.mark.parametrize("solver", SOLVERS)
def test_evaluations_are_counted(solver):
    calls = []

    def derivative(t, y):
        calls.append(t)
        return -y

    solution = solve(derivative, np.ones((3, 2)), 0.0, 1.0, Options(solver=solver, steps=5))
    assert solution.evaluations == len(calls)
    np.testing.assert_allclose(solution.last, np.exp(-1.0), atol=1e-3)
    if solver == "rk4":
        assert len(calls) == 20


@pytest.mark.parametrize("solver", SOLVERS)
def test_an_exploding_field_says_where_it_gave_up(solver):
    # y' = y^2 from 1 is 1 / (1 - t): it explodes at t = 1, long before the end.
    options = Options(solver=solver, steps=100, max_evaluations=5000)
    with pytest.raises(SolverError, match=r"gave up at t = (0\.99|1|1\.[0-9]+)") as caught:
        solve(lambda t, y: y * y, np.ones((2, 1)), 0.0, 2.0, options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("solver", ["rk45", "dop853"])
def test_a_stiff_field_hits_the_bound_which_is_named(solver):
    options = Options(solver=solver, max_evaluations=500)
    with pytest.raises(SolverError, match=r"max_evaluations: .* all 500 .* gave up at t = 0\.\d+"):
        solve(lambda t, y: -1e6 * (y - np.cos(t)), np.zeros((2, 1)), 0.0, 1.0, options)
    # LSODA turns to its stiff method, with a Jacobian as narrow as one row.
    stiff = solve(
        lambda t, y: -1e6 * (y - np.cos(t)),
        np.zeros((2, 3)),
        0.0,
        1.0,
        replace(options, solver="lsoda"),
        bandwidth=2,
    )
    np.testing.assert_allclose(stiff.last, np.cos(1.0), atol=1e-4)


def test_the_bound_holds_for_the_flow_forwards_and_backwards():
    rng = np.random.default_rng(0)
    flow = nfref.CNF(2, (8,), max_evaluations=30)
    params = filled(flow, rng, gain=30.0)
    for call in (flow.forward, flow.inverse):
        with pytest.raises(SolverError, match="max_evaluations: rk45 used all 30 evaluations"):
            call(params, rng.standard_normal((4, 2)))


@pytest.mark.parametrize("solver", SOLVERS)
def test_what_is_not_finite_is_refused_at_once(solver):
    flow = nfref.CNF(2, solver=solver)
    params = flow.init(np.random.default_rng(0))
    rows = np.array([[0.0, np.nan]])
    with pytest.raises(SolverError, match="state: expected finite numbers.* at t = 0 after 0 "):
        flow.trajectory(params, rows)
    value, log_det = flow.forward(params, rows)
    assert np.isnan(value).all() and np.isnan(log_det).all()  # it changes no other row
    params["net"][-1]["bias"][0] = np.inf
    with pytest.raises(SolverError, match="derivative: expected finite.* at t = 1 after 1 "):
        flow.inverse(params, np.zeros((1, 2)))


@pytest.mark.parametrize("spoilt", [np.nan, np.inf])
def test_a_row_that_is_not_finite_moves_no_other_by_a_bit(spoilt):
    """Rows share a step size, which such a row does not influence."""
    rng = np.random.default_rng(0)
    flow = nfref.CNF(2, (8,))
    params, rows = filled(flow, rng, gain=2.0), rng.standard_normal((6, 2))

    def gradient(rows):
        return autograd.elementwise_grad(lambda rows: anp.sum(flow.inverse(params, rows)[1]))(rows)

    with_it = np.insert(rows, 2, [0.5, spoilt], axis=0)
    for backend in ("numpy", "numba"):
        with nfref.backend(backend):
            for one, other in zip(
                (*flow.inverse(params, with_it), gradient(with_it)),
                (*flow.inverse(params, rows), gradient(rows)),
            ):
                np.testing.assert_array_equal(np.delete(one, 2, axis=0), other)
