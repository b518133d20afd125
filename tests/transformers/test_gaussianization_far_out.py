"""Gradients of the mean of normals far out, where the hazard h(v) and v are nearly equal."""

import autograd
import mpmath as mp
import numpy as np
import pytest

from nfref.transformers.gaussianization import (
    hazard,
    hazard_beyond,
    log_hazard_ratio,
    mixture_of_normals_inverse,
)

V = [-9.0, -3.0, 0.0, 1.0, 3.9, 4.1, 7.0, 40.0, 1e4, 1e8, 1e15]


def exact_hazard(v):
    """Return h(v), by Laplace's continued fraction where erfc has no digits for it."""
    v = mp.mpf(v)
    if v < 30:
        return mp.npdf(v) / mp.ncdf(-v)
    found = v
    for k in range(400, 0, -1):
        found = v + k / found
    return found


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_hazard_and_its_distance_from_its_argument(dtype):
    v, eps = np.array(V, dtype), float(np.finfo(dtype).eps)
    found, beyond = hazard(v), hazard_beyond(v)
    assert found.dtype == beyond.dtype == dtype
    with mp.workdps(60):
        for k, value in enumerate(v.tolist()):
            exact = exact_hazard(value)
            # A rounding error of v changes exp(-v^2/2) by v^2 of them.
            assert abs(found[k] / exact - 1) <= 4 * eps * (1 + min(value, 0) ** 2), value
            assert abs(beyond[k] / (exact - value) - 1) <= 64 * eps, value


@pytest.mark.parametrize("x", [3.0, 30.0, 1e3, 1e8, 1e15, 1e100, 1e150])
@pytest.mark.parametrize("sign", [-1, 1])
def test_gradients_by_rows_far_out(x, sign):
    """Two components alike are one normal, whose map is a line: the log-slope has no slope."""
    a, b = np.array([[0.5], [0.5]]), np.array([[0.0], [0.0]])
    rows = np.array([sign * x])
    by_row = [
        autograd.grad(lambda x: mixture_of_normals_inverse(x, a, b)[k][0])(rows)[0] for k in (0, 1)
    ]
    np.testing.assert_allclose(by_row[0], np.exp(0.5), rtol=1e-15 * 8)
    assert abs(by_row[1]) * x <= 1e-15 * 8


def test_the_ratio_of_two_hazards():
    v, w = np.array([[50.0], [51.0]]), np.array([50.0])
    gradient = autograd.elementwise_grad(log_hazard_ratio)(v, w)
    with mp.workdps(60):
        exact = [float(exact_hazard(value) - value) for value in (50, 51)]
    np.testing.assert_allclose(gradient[:, 0], exact, rtol=1e-14)
