"""Logits of mixtures of sigmoids (NAF, Flow++) far out, and where they are flat or steep."""

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from autograd.builtins import tuple as traced_tuple

import nfref
from nfref.runtime import params as trees

FLOWS = {
    "NAF": nfref.MADE(3, (4,), nfref.DeepSigmoid(5)),
    "Flow++": nfref.MADE(3, (4,), nfref.LogisticMixture(4, bound=2.0)),
}
# Compiled for each dtype; one of them in every run.
DTYPES = ["float64", pytest.param("float32", marks=pytest.mark.slow)]
# How often the effect of one rounding error in every number that goes in results may be off; the
# effect is the largest of a few draws, which is less than the largest possible.
TIMES = 16


def problem(name, scale, dtype):
    """With biases alone, of that size, all rows have the same units; rows reach far out."""
    flow, rng = FLOWS[name], np.random.default_rng(0)
    params = flow.init(rng)
    last = params["net"][-1]
    last["weight"] = np.zeros_like(last["weight"])
    last["bias"] = scale * rng.standard_normal(last["bias"].shape)
    rows = np.concatenate(
        [
            rng.standard_normal((40, 3)),
            10.0 * rng.standard_normal((40, 3)),
            [[0] * 3, [-50] * 3, [50] * 3, [-1e3] * 3, [1e3] * 3, [1e6] * 3],
        ]
    )
    return flow, trees.cast(params, np.dtype(dtype)), rows.astype(dtype)


def results(flow, direction, params, x, backend):
    """Value, log-det, and the cotangents of rows and biases of a random combination of both."""
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal(x.shape), rng.standard_normal(len(x))

    def weighted(variables):
        value, log_det = getattr(flow, direction)(*variables)
        return anp.sum(value * a.astype(x.dtype)) + anp.sum(log_det * b.astype(x.dtype))

    with nfref.backend(backend):
        g_params, g_x = autograd.grad(weighted)(traced_tuple((params, x)))
        return [*getattr(flow, direction)(params, x), g_x, g_params["net"][-1]["bias"]]


@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [pytest.param(1, marks=pytest.mark.thorough), 10])
@pytest.mark.parametrize("name", FLOWS)
def test_far_out_and_where_units_are_far_apart(name, scale, dtype, direction):
    """As near to the formula in float64 as rounding of what goes in lets be, row by row."""
    flow, params, x = problem(name, scale, dtype)
    twin = results(flow, direction, params, x, "numba")
    params, x = trees.cast(params, np.dtype("float64")), x.astype("float64")
    formula = results(flow, direction, params, x, "numpy")
    rng, nudge, eps = np.random.default_rng(2), 2.0**-30, np.finfo(dtype).eps

    def moved(array):
        return array + nudge * rng.choice([-1, 1], array.shape) * np.maximum(np.abs(array), 1)

    far = [np.zeros_like(result) for result in formula]
    for _ in range(6):
        others = results(flow, direction, trees.tree_map(moved, params), moved(x), "numpy")
        far = [
            np.maximum(a, np.abs(other - result)) for a, other, result in zip(far, others, formula)
        ]
    far[3] = np.max(far[3])  # sums over rows
    for one, other, effect in zip(twin, formula, far, strict=True):
        assert one.dtype == dtype and np.all(np.isfinite(one))
        slack = TIMES * eps * (effect / nudge + np.maximum(np.abs(other), 1))
        assert np.all(np.abs(one - other) <= slack), np.max(np.abs(one - other) / slack)


@pytest.mark.parametrize("name", FLOWS)
def test_what_is_not_finite_becomes_nan_and_stays_alone(name):
    flow, params, x = problem(name, 1, "float64")
    expected = results(flow, "forward", params, x, "numba")
    for value in (np.nan, np.inf, -np.inf):
        x[2] = value
        with np.errstate(invalid="ignore"):  # uncompiled, NumPy warns
            twin = results(flow, "forward", params, x, "numba")
        for one, other in zip(twin[:3], expected[:3]):
            assert np.all(np.isnan(one[2]))
            assert np.array_equal(np.delete(one, 2, axis=0), np.delete(other, 2, axis=0))
