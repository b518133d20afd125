"""Batched determinants, solves and inverses against LAPACK and autograd."""

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from autograd.test_util import check_grads

from nfref.kernels import matrices


def stack(n, dim, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).standard_normal((n, dim, dim)).astype(dtype)


def error(one, other, condition, dtype):
    """Largest difference in units of what rounding can do to a matrix of that condition."""
    if len(other) == 0:
        return 0 if one.shape == other.shape else np.inf
    scale = np.maximum(np.max(np.abs(other).reshape(len(other), -1), axis=1), 1)
    difference = np.max(np.abs(one - other).reshape(len(other), -1), axis=1)
    return np.max(difference / (np.finfo(dtype).eps * condition * scale), initial=0)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("dim", [1, 2, 3, 8, 17, 33])
def test_values_against_lapack(dim, dtype):
    for n in (0, 1, 7, 1000):
        a, b = stack(n, dim, dtype), stack(n, dim, dtype, 1)[:, :, :2]
        condition = np.linalg.cond(a.astype(np.float64)) if n else np.ones(0)
        sign, log_det = matrices.slogdet(a)
        expected = np.linalg.slogdet(a.astype(np.float64))
        assert np.array_equal(sign, expected[0])
        assert error(log_det, expected[1], condition * dim, dtype) < 10
        assert np.array_equal(matrices.log_abs_det(a), log_det)
        x = matrices.solve(a, b)
        assert error(x, np.linalg.solve(a.astype(np.float64), b), condition * dim, dtype) < 10
        inverse = matrices.inv(a)
        assert error(inverse, np.linalg.inv(a.astype(np.float64)), condition * dim, dtype) < 10
        assert log_det.dtype == sign.dtype == x.dtype == inverse.dtype == dtype


def test_singular_huge_and_missing_numbers():
    a = np.stack([np.eye(3), np.eye(3), np.eye(3)])
    a[0, 1] = 0
    a[1] *= 1e300
    a[2, 0, 1] = np.nan
    sign, log_det = matrices.slogdet(a)
    assert sign[0] == 0 and log_det[0] == -np.inf
    assert sign[1] == 1 and np.isclose(log_det[1], 900 * np.log(10), rtol=1e-15)
    assert np.isnan(matrices.slogdet(np.full((1, 2, 2), np.nan))[1][0])


def test_derivatives_are_those_of_autograd_through_lapack():
    a, b = stack(4, 3) + 2 * np.eye(3), stack(4, 3, seed=1)[:, :, :2]
    twin = autograd.grad(lambda a: anp.sum(anp.sin(matrices.log_abs_det(a))))(a)
    formula = autograd.grad(lambda a: anp.sum(anp.sin(anp.linalg.slogdet(a)[1])))(a)
    assert np.allclose(twin, formula, rtol=1e-12, atol=1e-12)
    check_grads(matrices.log_abs_det, modes=["rev"], order=2)(a)
    check_grads(matrices.solve, argnum=[0, 1], modes=["rev"], order=2)(a, b)
    check_grads(matrices.inv, modes=["rev"], order=2)(a)
