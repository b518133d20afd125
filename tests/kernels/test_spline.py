"""The spline's kernels against its formulas: values, and derivatives against autograd."""

import autograd
import autograd.numpy as anp
import numpy as np
import pytest

from nfref.kernels.chain.network import units_of
from nfref.kernels.jit import kernel
from nfref.kernels.simd.products import ROWS
from nfref.kernels.spline import FORWARD, TAPE_ROWS, spline, spline_vjp
from nfref.transformers.rational_quadratic import RationalQuadratic

TRANSFORMERS = {
    "linear": RationalQuadratic(),
    "circular": RationalQuadratic(bins=5, bound=np.pi, tails="circular"),
    "one bin": RationalQuadratic(bins=1, bound=1.0),
    "one circular bin": RationalQuadratic(bins=1, bound=2.0, tails="circular"),
    "high minima": RationalQuadratic(bins=3, min_width=0.1, min_height=0.2, min_slope=0.3)}


@kernel
def value_and_vjp(direction, u, raw, bins, bound, circular, min_width, min_height, min_slope,
                  tape, log_det, g, g_log_det, g_raw):
    tape, raw = units_of(tape, 0, TAPE_ROWS), units_of(raw, 0, 3 * bins if circular else 3 * bins - 1)
    g_raw = units_of(g_raw, 0, len(raw))
    spline(direction, u, raw, bins, bound, circular, min_width, min_height, min_slope, tape,
           log_det)
    spline_vjp(direction, g, g_log_det, raw, bins, bound, circular, min_width, min_height,
               min_slope, tape, g_raw)


def by_kernel(transformer, direction, u, raw, g, g_log_det):
    """Value, log-slope, and the cotangents of the argument and of raw."""
    t = transformer
    u, raw, g = u.copy(), raw.copy(), g.copy()
    log_det, g_raw = np.zeros_like(u), np.empty(raw.size, u.dtype)
    value_and_vjp(FORWARD if direction == "forward" else -1, u, raw.ravel(), t.bins, t.bound,
                  t.circular, t.min_width, t.min_height, t.min_slope,
                  np.empty(TAPE_ROWS * ROWS, u.dtype), log_det, g, g_log_det, g_raw)
    return u, log_det, g, g_raw.reshape(raw.shape)


def by_formula(transformer, direction, u, raw, g, g_log_det):
    def both(u, raw):
        return getattr(transformer, direction)(u, transformer.constrain(raw))

    def weighted(variables):
        value, log_slope = both(variables[0], variables[1])
        return anp.sum(value * g) + anp.sum(log_slope * g_log_det)

    g_u, g_raw = autograd.grad(lambda v: weighted(v))((u, raw))
    return (*both(u, raw), g_u, g_raw)


def problem(transformer, dtype, scale, seed=0):
    """Rows inside, in both tails, at +-B and 0."""
    rng = np.random.default_rng(seed)
    u = rng.uniform(-1.3, 1.3, ROWS) * transformer.bound
    u[:6] = np.array([-1, 1, 0, 1000, -1000, 5]) * transformer.bound
    raw = scale * rng.standard_normal((transformer.size, ROWS))
    g, g_log_det = rng.standard_normal((2, ROWS))
    return [array.astype(dtype) for array in (u, raw, g, g_log_det)]


@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_value_and_derivative_of_kernel_and_formula(name, dtype, direction):
    transformer = TRANSFORMERS[name]
    arguments = problem(transformer, dtype, scale=1.0)
    twin = by_kernel(transformer, direction, *arguments)
    formula = by_formula(transformer, direction, *arguments)
    for one, other in zip(twin, formula, strict=True):
        assert one.dtype == other.dtype == dtype
        print(name, direction, dtype.__name__, np.max(np.abs(one-other)/(1+np.abs(other)))/np.finfo(dtype).eps)
