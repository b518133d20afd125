"""Check one rule for rows with NaN or infinity, in every flow and backend."""

from dataclasses import replace

import numpy as np
import pytest

import nfref
from nfref.runtime import params as trees

FLOWS = {
    "planar": nfref.Planar(3, layers=2),
    "RealNVP": nfref.RealNVP(3, layers=2, hidden=(8,)),
    "MAF": nfref.MAF(3, 2, (8,), activation="tanh"),
    "IAF": nfref.IAF(3, 2, (8,)),
    "linear": nfref.Chain([nfref.LULinear(3), nfref.Scale(3)]),
    "CNF": nfref.CNF(3, (8,)),
    "bounded": nfref.Chain(
        [nfref.CNF(3, (8,)), nfref.Logit((None, -9.0, None), (None, 9.0, None))]
    ),
}
ROWS = np.array(
    [
        [0.1, 0.2, 0.3],
        [np.nan, 0, 0],
        [np.inf, 0, 0],
        [0, -np.inf, np.nan],
        [-1, 2, 0.5],
        [0, 0, -np.inf],
    ]
)


@pytest.mark.parametrize(
    "backend, dtype",
    [
        ("numpy", np.float64),
        ("numpy", np.float32),
        ("numba", np.float64),
        pytest.param("numba", np.float32, marks=pytest.mark.thorough),
    ],
)
@pytest.mark.parametrize("name", FLOWS)
def test_nan_is_nan_and_infinity_has_no_density(name, backend, dtype):
    density = nfref.Density(FLOWS[name])
    rng = np.random.default_rng(0)
    params = trees.tree_map(
        lambda leaf: leaf + 0.1 * rng.standard_normal(leaf.shape), density.init(rng)
    )
    x = ROWS.astype(dtype)
    with nfref.backend(backend):
        log_prob = density.log_prob(params, x)
        expected = density.log_prob(params, x[[0, 4]])
    assert log_prob.dtype == dtype
    np.testing.assert_array_equal(log_prob[[1, 2, 3, 5]], [np.nan, -np.inf, np.nan, -np.inf])
    np.testing.assert_array_equal(log_prob[[0, 4]], expected)
    assert np.all(np.isfinite(expected))


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_a_row_that_is_not_finite_costs_no_other_row_of_a_continuous_flow(direction):
    flow = nfref.CNF(3, (8,))
    params = flow.init(np.random.default_rng(0))
    value, log_det = getattr(flow, direction)(params, ROWS)
    good = getattr(flow, direction)(params, ROWS[[0, 4]])
    np.testing.assert_array_equal(value[[0, 4]], good[0])
    np.testing.assert_array_equal(log_det[[0, 4]], good[1])
    assert np.all(np.isnan(value[[1, 2, 3, 5]])) and np.all(np.isnan(log_det[[1, 2, 3, 5]]))


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_nor_does_a_context_that_is_not_finite_nor_a_row_with_probes(backend):
    rng = np.random.default_rng(0)
    flow = nfref.CNF(3, (8,), context_dim=1)
    params, x = flow.init(rng), rng.standard_normal((4, 3))
    params = trees.tree_map(lambda leaf: leaf + 0.3 * rng.standard_normal(leaf.shape), params)
    context = np.array([[0.1], [np.nan], [0.3], [0.4]])
    others, bad = [0, 2, 3], x.copy()
    bad[1, 2] = np.nan
    probes = flow.with_probes(rng, 4).probes
    whole = replace(flow, trace="hutchinson", probes=probes)
    part = replace(flow, trace="hutchinson", probes=probes[:, others])
    with nfref.backend(backend):
        for one, other, rows in ((flow, flow, x), (whole, part, bad)):
            given = context if one is flow else np.abs(np.nan_to_num(context))
            found = one.inverse(params, rows, given)
            expected = other.inverse(params, rows[others], given[others])
            for array, alone in zip(found, expected):
                np.testing.assert_array_equal(array[others], alone)
                assert np.all(np.isnan(array[1]))


def test_outside_of_its_bounds_a_row_costs_no_other_row():
    density = nfref.Density(FLOWS["bounded"])
    params = density.init(np.random.default_rng(0))
    x = np.array([[0.1, 0.2, 0.3], [0, 10.0, 0]])
    log_prob = density.log_prob(params, x)
    assert np.isfinite(log_prob[0]) and log_prob[1] == -np.inf


def test_gradients_pass_rows_that_are_not_finite():
    from autograd import grad

    density = nfref.Density(FLOWS["MAF"])
    params = density.init(np.random.default_rng(0))
    gradient = grad(lambda x: density.log_prob(params, x)[0])(ROWS)
    assert np.all(np.isfinite(gradient[0])) and np.all(gradient[[1, 2, 3, 4, 5]] == 0)


def test_masks_and_none_are_refused():
    density = nfref.Density(nfref.Scale(2))
    params = density.init(np.random.default_rng(0))
    masked = np.ma.masked_greater(np.ones((2, 2)) * [1, 3], 2)
    with pytest.raises(TypeError, match="x: expected numbers, got a masked array with 2 masked"):
        density.log_prob(params, masked)
    with pytest.raises(TypeError, match="x: expected numbers, got None"):
        density.log_prob(params, [[1, None], [2, 3]])
    with pytest.raises(TypeError, match="x: expected numbers, got None"):
        density.log_prob(params, None)
    assert np.all(density.log_prob(params, np.ma.array(np.ones((2, 2)))) < 0)
