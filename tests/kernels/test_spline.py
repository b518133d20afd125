"""The spline's kernels against its formulas: values, and derivatives against autograd."""

import autograd
import autograd.numpy as anp
import numpy as np
import pytest

from nfref.kernels.chain.block import (
    Place,
    Transformer,
    call_transform,
    call_transform_vjp,
    types_for,
)
from nfref.kernels.chain.instructions.transformers import operands_of
from nfref.kernels.chain.transformers.spline import (
    TAPE_ROWS,
    rational_quadratic,
    rational_quadratic_vjp,
)
from nfref.kernels.jit import address, kernel
from nfref.kernels.simd.matmul import ROWS
from nfref.transformers.rational_quadratic import RationalQuadratic

TRANSFORMERS = {
    "linear": RationalQuadratic(),
    "circular": RationalQuadratic(bins=5, bound=np.pi, tails="circular"),
    "one bin": RationalQuadratic(bins=1, bound=1.0),
    "one circular bin": RationalQuadratic(bins=1, bound=2.0, tails="circular"),
    "high minima": RationalQuadratic(bins=3, min_width=0.1, min_height=0.2, min_slope=0.3),
}

# How often the effect of one rounding error in every number that goes in results may be off;
# the effect is the largest of a few draws, which is less than the largest possible.
TIMES = 16


@kernel
def value_and_vjp(value, vjp, both, u, raw, tape, place, log_det, g, g_log_det, g_raw):
    """Call the spline as a layer does."""
    transformer, direction = both
    call_transform(value, (transformer, direction, u, raw, tape, place, log_det, ROWS))
    given = transformer, direction, g, g_log_det, raw, tape, place, g_raw, ROWS
    call_transform_vjp(vjp, given)


def by_kernel(transformer, direction, u, raw, g, g_log_det):
    """Value, log-slope, and the cotangents of the argument and of raw."""
    operands = operands_of(transformer)
    value, raw, g_u = u[None].copy(), raw.copy(), g[None].copy()
    log_det, g_raw = np.zeros_like(u), np.empty_like(raw)
    given = (
        Transformer(*operands.whole, np.array(operands.reals)),
        1 if direction == "forward" else -1,
    )
    tape, place = np.empty((TAPE_ROWS, ROWS), u.dtype), Place(0, 0, 1, 0)
    types = types_for(u.dtype)
    addresses = (
        address(rational_quadratic, types["transform"]),
        address(rational_quadratic_vjp, types["transform_vjp"]),
    )
    arguments = given, value, raw, tape, place, log_det, g_u, g_log_det, g_raw
    value_and_vjp(*addresses, *arguments)
    return value[0], log_det, g_u[0], g_raw


def by_formula(transformer, direction, u, raw, g, g_log_det):
    def both(u, raw):
        return getattr(transformer, direction)(u, transformer.constrain(raw))

    def weighted(variables):
        value, log_slope = both(variables[0], variables[1])
        return anp.sum(value * g) + anp.sum(log_slope * g_log_det)

    g_u, g_raw = autograd.grad(weighted)((u, raw))
    return (*both(u, raw), g_u, g_raw)


def problem(transformer, dtype, scale):
    """A block of rows inside and outside, the same for every dtype but for rounding."""
    rng = np.random.default_rng(0)
    u = rng.uniform(-1.3, 1.3, ROWS) * transformer.bound
    raw = scale * rng.standard_normal((transformer.size, ROWS))
    g, g_log_det = rng.standard_normal((2, ROWS))
    return [array.astype(dtype) for array in (u, raw, g, g_log_det)]


def response(transformer, direction, u, raw, g, g_log_det, eps):
    """How far one rounding error of each number that goes in moves what comes out, row by row.

    The formula in float64 tells: all numbers move a little at random, six times. A number below
    the size of the interval, or a raw number below 1, moves by what is one rounding error there.
    """
    rng, nudge = np.random.default_rng(1), 2.0**-24
    u, raw, g, g_log_det = (array.astype(np.float64) for array in (u, raw, g, g_log_det))

    def moved(array, least):
        return array + nudge * rng.choice([-1, 1], array.shape) * np.maximum(np.abs(array), least)

    results = by_formula(transformer, direction, u, raw, g, g_log_det)
    far = [np.zeros_like(result) for result in results]
    for _ in range(6):
        others = by_formula(
            transformer,
            direction,
            moved(u, transformer.bound),
            moved(raw, 1),
            moved(g, 0),
            moved(g_log_det, 0),
        )
        far = [
            np.maximum(a, np.abs(other - result)) for a, other, result in zip(far, others, results)
        ]
    # The cotangents of a row's raw numbers are differences of numbers of one size, measured by
    # the largest of them, or, where softmax lets nothing through, by what they are made of.
    far[3] = np.max(far[3], axis=0)
    made_of = np.abs(g) * transformer.bound + np.abs(g_log_det)
    largest = [
        transformer.bound,
        1,
        np.abs(results[2]),
        np.maximum(np.max(np.abs(results[3]), axis=0), made_of),
    ]
    return results, [eps * (a / nudge + b) for a, b in zip(far, largest)]


@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("scale", [0.1, 2])
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_value_and_derivative(name, scale, dtype, direction):
    transformer = TRANSFORMERS[name]
    arguments = problem(transformer, dtype, scale)
    twin = by_kernel(transformer, direction, *arguments)
    formula, slack = response(transformer, direction, *arguments, np.finfo(dtype).eps)
    for one, other, most in zip(twin, formula, slack, strict=True):
        assert one.dtype == dtype
        assert np.all(np.abs(one - other) <= TIMES * most)


@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_tails_let_everything_through(dtype, direction):
    transformer = TRANSFORMERS["linear"]
    u, raw, g, g_log_det = problem(transformer, dtype, 2)
    u = np.sign(u) * transformer.bound * dtype(1) ** u
    u[:4] = -1000, 1000, np.nextafter(dtype(3), dtype(4)), np.nextafter(dtype(-3), dtype(-4))
    value, log_det, g_u, g_raw = by_kernel(transformer, direction, u, raw, g, g_log_det)
    assert np.array_equal(value, u) and np.array_equal(g_u, g)
    assert not np.any(log_det) and not np.any(g_raw)


@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("scale", [50, 1000])
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_steep_bins_stay_finite(name, scale, dtype, direction):
    """At knots, one ulp beside them, and everywhere else; the value is the formula's."""
    transformer = TRANSFORMERS[name]
    u, raw, g, g_log_det = problem(transformer, dtype, scale)
    knots = transformer.constrain(raw)[0 if direction == "inverse" else 1]
    for k, row in enumerate(knots[:, :40]):
        side = dtype([np.inf, -np.inf, 0][k % 3])
        u[k :: len(knots)][: len(row)] = np.nextafter(row, side)[: len(u[k :: len(knots)])]
    results = by_kernel(transformer, direction, u, raw, g, g_log_det)
    assert all(np.all(np.isfinite(result)) for result in results)
    if direction == "inverse":
        value = transformer.inverse(u, transformer.constrain(raw))[0]
        np.testing.assert_allclose(
            results[0], value, rtol=0, atol=1000 * np.finfo(dtype).eps * transformer.bound
        )


def test_raw_zeros_are_the_identity():
    for name, transformer in TRANSFORMERS.items():
        for direction in ("forward", "inverse"):
            for dtype in (np.float64, np.float32):
                u, raw, g, g_log_det = problem(transformer, dtype, 0)
                value, log_det, _, _ = by_kernel(transformer, direction, u, raw, g, g_log_det)
                most = 4 * np.finfo(dtype).eps * transformer.bound
                np.testing.assert_allclose(value, u, rtol=0, atol=most, err_msg=name)
                np.testing.assert_allclose(log_det, 0, rtol=0, atol=most, err_msg=name)


def test_a_nan_stays_one_and_alone():
    transformer = TRANSFORMERS["linear"]
    u, raw, g, g_log_det = problem(transformer, np.float64, 1)
    u[5] = np.nan
    value, log_det, _, _ = by_kernel(transformer, "inverse", u, raw, g, g_log_det)
    assert np.isnan(value[5]) and np.sum(np.isnan(value)) == 1
    raw[3, 7] = np.nan
    u[7] = 0.5
    value, log_det, _, _ = by_kernel(transformer, "inverse", u, raw, g, g_log_det)
    assert np.isnan(value[7]) and np.isnan(log_det[7]) and np.sum(np.isnan(value)) == 2
