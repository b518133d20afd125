"""The spline's formula: against many digits, differences, quadrature; its knots, ends and tails."""

import math

import autograd
import autograd.numpy as anp
import mpmath as mp
import numpy as np
import pytest

from nfref.transformers.rational_quadratic import RationalQuadratic
from tests.transformers import spline_mpmath as truth

TAILS = ["linear", "circular"]
DTYPES = [np.float64, np.float32]
DIRECTIONS = ["inverse", "forward"]

# Allowed multiple of the effect of one rounding error in every input.
TIMES = 6
# If a rounding error moves a result by more than this, in single precision on slopes of 1e-5 and
# less, its effect is no longer proportional.
NOT_LINEAR = 1e-3


def raw_numbers(transformer, scale, n, dtype=np.float64, seed=0):
    """Raw numbers of one spline, the same for n arguments."""
    column = scale * np.random.default_rng(seed).standard_normal((transformer.size, 1))
    return np.repeat(column.astype(dtype), n, axis=1)


def act(transformer, direction, v, raw):
    return getattr(transformer, direction)(v, transformer.constrain(raw))


def derivatives(transformer, direction, v, raw, output):
    """Return the derivatives, row by row, of one output: value (0) or log-slope (1)."""
    return autograd.grad(lambda both: anp.sum(act(transformer, direction, *both)[output]))((v, raw))


def response(transformer, direction, v, raw, eps):
    """Return how far a rounding error of each input moves value and log-slope.

    The answer is first order, computed in float64. An input below the size of the interval, or a
    raw number below 1, moves by the rounding error at that size, since knots are sums of that size.
    So does the value.
    """
    v, raw = v.astype(np.float64), raw.astype(np.float64)
    size = np.maximum(np.abs(v), transformer.bound)
    found = []
    for output in (0, 1):
        g_v, g_raw = derivatives(transformer, direction, v, raw, output)
        moved = np.abs(g_v) * size + np.sum(np.abs(g_raw) * np.maximum(np.abs(raw), 1), axis=0)
        found.append(eps * (moved + (size if output == 0 else 0)))
    return found


def points(transformer, direction, raw, dtype):
    """Inside, at each knot, one ulp beside it, at the ends and beside them, and far out."""
    bound = dtype(transformer.bound)
    knots = transformer.constrain(raw[:, :1])[0 if direction == "inverse" else 1][:, 0]
    infinity = dtype(np.inf)
    beside = [np.nextafter(knots, side) for side in (infinity, -infinity)]
    inside = np.random.default_rng(1).uniform(-bound, bound, 12)
    return np.concatenate([inside, knots, *beside, [-bound, bound, 0, 1000, -1000]]).astype(dtype)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "scale",
    [
        1,
        *(pytest.param(scale, marks=pytest.mark.thorough) for scale in (0.1, 50)),
        pytest.param(1000, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("tails", TAILS)
def test_many_digits(tails, scale, dtype, direction):
    transformer = RationalQuadratic(tails=tails)
    eps, rng = np.finfo(dtype).eps, np.random.default_rng(0)
    column = (scale * rng.standard_normal((transformer.size, 1))).astype(dtype)
    v = points(transformer, direction, column, dtype)
    raw = np.repeat(column, len(v), axis=1)
    value, log_slope = act(transformer, direction, v, raw)
    assert value.dtype == log_slope.dtype == dtype
    # At a knot the log-slope has a kink: the steeper side counts.
    near = [
        response(transformer, direction, v.astype(float) + shift, raw, eps)
        for shift in (0, 1e-12, -1e-12, 4 * eps, -4 * eps)
    ]
    slack_value, slack_log = np.max(near, axis=0)
    exact = truth.inverse if direction == "inverse" else truth.forward
    with mp.workdps(40):
        for i in range(len(v)):
            right_value, right_log = exact(transformer, column[:, 0], float(v[i]))
            off = abs(float(mp.mpf(float(value[i])) - right_value))
            assert off <= TIMES * slack_value[i] or slack_value[i] > NOT_LINEAR, v[i]
            off = abs(float(mp.mpf(float(log_slope[i])) - right_log))
            assert off <= TIMES * slack_log[i] + eps * abs(float(right_log)), v[i]


@pytest.mark.parametrize("tails", TAILS)
def test_slope_of_the_many_digits_is_the_derivative_of_their_curve(tails):
    transformer = RationalQuadratic(bins=4, tails=tails)
    raw = raw_numbers(transformer, 2, 1)[:, 0]
    with mp.workdps(40):
        for x in (-2.5, -0.3, 1.1, 2.9):
            slope = mp.diff(lambda x: truth.inverse(transformer, raw, x)[0], x)
            assert abs(mp.log(slope) - truth.inverse(transformer, raw, x)[1]) < 1e-15


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tails", TAILS)
@pytest.mark.parametrize("bins", [1, 2, 8, 33])
def test_raw_zeros_are_the_identity(bins, tails, dtype, direction):
    transformer = RationalQuadratic(bins, bound=2.5, tails=tails, min_slope=0.2)
    v = np.linspace(-4, 4, 101).astype(dtype)
    value, log_slope = act(transformer, direction, v, np.zeros((transformer.size, 101), dtype))
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(value, v, rtol=0, atol=4 * eps)
    np.testing.assert_allclose(log_slope, 0, rtol=0, atol=4 * eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1, 3])
@pytest.mark.parametrize("tails", TAILS)
def test_round_trip_as_far_as_slopes_let_it(tails, scale, dtype):
    transformer, rng = RationalQuadratic(tails=tails), np.random.default_rng(2)
    raw = (scale * rng.standard_normal((transformer.size, 1000))).astype(dtype)
    x = (4 * rng.uniform(-1, 1, 1000)).astype(dtype)
    z, log_slope = act(transformer, "inverse", x, raw)
    again, log_slope_again = act(transformer, "forward", z, raw)
    eps = np.finfo(dtype).eps
    slack, slack_log = response(transformer, "forward", z, raw, eps)
    gentle = slack < NOT_LINEAR
    assert np.mean(gentle) > 0.3
    assert np.all(np.abs(again - x)[gentle] <= TIMES * slack[gentle])
    assert np.all(np.abs(log_slope + log_slope_again)[gentle] <= TIMES * (slack_log + eps)[gentle])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1, 5, 50])
@pytest.mark.parametrize("tails", TAILS)
def test_monotone(tails, scale, dtype):
    transformer = RationalQuadratic(tails=tails)
    raw = raw_numbers(transformer, scale, 20_001, dtype)
    for direction in DIRECTIONS:
        v = np.linspace(-4, 4, 20_001).astype(dtype)
        value, log_slope = act(transformer, direction, v, raw)
        assert np.all(np.diff(value) >= -4 * np.finfo(dtype).eps * transformer.bound)
        assert np.all(np.isfinite(log_slope))
    h = transformer.constrain(raw[:, :1])
    for axis, smallest in ((h[0], transformer.min_width), (h[1], transformer.min_height)):
        rounding = 8 * np.finfo(dtype).eps * transformer.bound
        assert np.all(np.diff(axis, axis=0) >= 2 * transformer.bound * smallest - rounding)
    assert np.all(h[3] >= dtype(transformer.min_slope))


@pytest.mark.parametrize("tails", TAILS)
def test_induced_density_has_mass_one(tails):
    """The latent is normal for linear tails and uniform on the circle."""
    transformer = RationalQuadratic(tails=tails)
    raw = raw_numbers(transformer, 1.5, 40)
    nodes, weights = np.polynomial.legendre.leggauss(40)
    ends = transformer.constrain(raw)[0][:, 0]
    mass = 0 if tails == "circular" else math.erfc(transformer.bound / math.sqrt(2))
    for low, high in zip(ends, ends[1:]):
        # Towards a bin's ends slopes may change fast: nodes crowd there by x = sin^2.
        angle = math.pi / 4 * (nodes + 1)
        x = low + (high - low) * np.sin(angle) ** 2
        z, log_slope = act(transformer, "inverse", x, raw)
        density = (
            1 / (2 * transformer.bound)
            if tails == "circular"
            else np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
        )
        mass += np.sum(
            weights * math.pi / 4 * (high - low) * np.sin(2 * angle) * density * np.exp(log_slope)
        )
    assert abs(mass - 1) < 1e-12


# Gradients -----------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("output", [0, 1])
@pytest.mark.parametrize("tails", TAILS)
def test_gradients_against_differences(tails, output, direction):
    """Differentiate in the argument and every raw number, inside and in both tails."""
    transformer, rng = RationalQuadratic(bins=4, tails=tails), np.random.default_rng(3)
    raw = rng.standard_normal((transformer.size, 60))
    v = rng.uniform(-1.5, 1.5, 60) * transformer.bound
    g_v, g_raw = derivatives(transformer, direction, v, raw, output)
    step = 2.0**-10

    def difference(move):
        """Return a difference quotient of sixth order in the step."""

        def central(h):
            above, below = (
                act(transformer, direction, *move(sign * h))[output] for sign in (1, -1)
            )
            return (above - below) / (2 * h)

        one, two, four = central(step), central(step / 2), central(step / 4)
        first, second = (4 * two - one) / 3, (4 * four - two) / 3
        return (16 * second - first) / 15

    # The log-slope has kinks at knots: leave out rows that cross one as a number moves.
    knots = transformer.constrain(raw)[0 if direction == "inverse" else 1]
    near = np.min(np.abs(anp.mod(v + 3, 6) - 3 - knots), axis=0) < 8 * step
    assert np.sum(~near) > 40 and np.any(~near & (np.abs(v) > transformer.bound))
    tolerance = {"rtol": 2e-8, "atol": 2e-9}
    np.testing.assert_allclose(g_v[~near], difference(lambda h: (v + h, raw))[~near], **tolerance)
    for p in range(transformer.size):
        unit = (np.arange(transformer.size) == p)[:, None]
        np.testing.assert_allclose(
            g_raw[p][~near], difference(lambda h: (v, raw + h * unit))[~near], **tolerance
        )


def batch(kind, transformer, dtype):
    rng, bound = np.random.default_rng(4), transformer.bound
    return {
        "inside": rng.uniform(-0.9, 0.9, 20) * bound,
        "in the tails": rng.choice([-1, 1], 20) * rng.uniform(1.1, 300, 20) * bound,
        "mixed": rng.uniform(-2, 2, 20) * bound,
        "at the ends": np.array([-bound, bound]),
        "empty": np.zeros(0),
    }[kind].astype(dtype)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1, 50, 1000])
@pytest.mark.parametrize("kind", ["inside", "in the tails", "mixed", "at the ends", "empty"])
@pytest.mark.parametrize("tails", TAILS)
def test_all_is_finite_and_of_its_dtype(tails, kind, scale, dtype, direction):
    transformer = RationalQuadratic(tails=tails)
    v = batch(kind, transformer, dtype)
    signs = np.random.default_rng(5).choice([-1, 1], (transformer.size, len(v)))
    raw = (scale * signs).astype(dtype)
    kept = v.copy(), raw.copy()
    results = list(act(transformer, direction, v, raw))
    for output in (0, 1):
        results += derivatives(transformer, direction, v, raw, output)
    for result in results:
        assert result.dtype == dtype and np.all(np.isfinite(result))
    assert np.array_equal(v, kept[0]) and np.array_equal(raw, kept[1])


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1, 50])
def test_gradients_at_inside_and_outside_of_the_interval_in_one_batch(scale, dtype, direction):
    """No row changes another's gradient; at the ends the gradient is that of the tails, 1 and 0.

    A branch not taken with an infinite derivative would give 0 times infinity, NaN.
    """
    transformer = RationalQuadratic(bins=4)
    bound, infinity = dtype(transformer.bound), dtype(np.inf)
    ends = np.array([-bound, bound])
    within = np.nextafter(ends, dtype(0))
    beyond = np.concatenate([ends, np.nextafter(ends, infinity * ends), [-1e30, 1e30]])
    v = np.concatenate([beyond, within, [-1.7, 0.0, 2.2]]).astype(dtype)
    raw = scale * np.random.default_rng(7).standard_normal((transformer.size, len(v)))
    raw = raw.astype(dtype)
    for output in (0, 1):
        g_v, g_raw = derivatives(transformer, direction, v, raw, output)
        assert g_v.dtype == g_raw.dtype == dtype
        for n in range(len(v)):
            alone_v, alone_raw = derivatives(
                transformer, direction, v[n : n + 1], raw[:, n : n + 1], output
            )
            np.testing.assert_array_equal(g_v[n], alone_v[0])
            np.testing.assert_array_equal(g_raw[:, n], alone_raw[:, 0])
        assert np.all(np.isfinite(g_v)) and np.all(np.isfinite(g_raw))
        np.testing.assert_array_equal(g_v[: len(beyond)], 1 - output)
        np.testing.assert_array_equal(g_raw[:, : len(beyond)], 0)
        assert np.all(np.any(g_raw[:, len(beyond) + 2 :] != 0, axis=0))
    # The curve joins the tails with slope 1: one ulp inside, it is that slope to rounding.
    if scale == 1:
        slopes = derivatives(transformer, direction, v, raw, 0)[0][len(beyond) : len(beyond) + 2]
        np.testing.assert_allclose(slopes, 1, atol=1e3 * np.finfo(dtype).eps)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_linear_tails_are_the_identity_whatever_the_knots(direction):
    transformer = RationalQuadratic()
    v = np.concatenate([batch("in the tails", transformer, float), [-3.0, 3.0]])
    raw = np.random.default_rng(6).standard_normal((transformer.size, len(v)))
    value, log_slope = act(transformer, direction, v, raw)
    assert np.array_equal(value, v) and not np.any(log_slope)
    for output in (0, 1):
        g_v, g_raw = derivatives(transformer, direction, v, raw, output)
        assert np.array_equal(g_v, np.full_like(v, 1 - output)) and not np.any(g_raw)


def test_nan_stays_one():
    transformer = RationalQuadratic()
    z, _ = act(transformer, "inverse", np.array([np.nan, 0.5]), np.zeros((transformer.size, 2)))
    assert np.isnan(z[0]) and np.isfinite(z[1])


# The circle ----------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_circle_has_no_seam(direction):
    transformer = RationalQuadratic(bound=math.pi, tails="circular")
    bound = transformer.bound
    edge = np.array(
        [
            -bound,
            np.nextafter(-bound, -9),
            np.nextafter(-bound, 9),
            bound,
            np.nextafter(bound, -9),
            np.nextafter(bound, 9),
            5 * bound,
            -7 * bound,
        ]
    )
    raw = raw_numbers(transformer, 1, len(edge))
    value, log_slope = act(transformer, direction, edge, raw)
    np.testing.assert_allclose(value, edge, rtol=1e-14, atol=0)
    slope_at_seam = transformer.constrain(raw)[3][0, 0]
    assert abs(math.log(slope_at_seam)) > 0.1
    expected = math.log(slope_at_seam) * (1 if direction == "inverse" else -1)
    np.testing.assert_allclose(log_slope, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_circle_repeats_itself(direction):
    transformer = RationalQuadratic(tails="circular", bound=2.0)
    v = np.random.default_rng(7).uniform(-2, 2, 50)
    v = np.round(v * 2**30) / 2**30  # whole turns add without rounding
    raw = np.random.default_rng(8).standard_normal((transformer.size, 50))
    value, log_slope = act(transformer, direction, v, raw)
    for turns in (-3, 1, 10):
        again, log_slope_again = act(transformer, direction, v + 4 * turns, raw)
        np.testing.assert_allclose(again - 4 * turns, value, rtol=0, atol=1e-14)
        assert np.array_equal(log_slope_again, log_slope)


# Shapes and arguments ------------------------------------------------------------------------


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("tails", TAILS)
def test_any_shape(tails, direction):
    transformer, rng = RationalQuadratic(bins=3, tails=tails), np.random.default_rng(9)
    shape = (2, 3, 4, 5)
    v, raw = 2 * rng.standard_normal(shape), rng.standard_normal((transformer.size, *shape))
    value, log_slope = act(transformer, direction, v, raw)
    flat, flat_log = act(transformer, direction, v.ravel(), raw.reshape(transformer.size, -1))
    assert value.shape == log_slope.shape == shape
    assert np.array_equal(value.ravel(), flat) and np.array_equal(log_slope.ravel(), flat_log)


def test_sizes():
    assert RationalQuadratic(bins=8).size == 23
    assert RationalQuadratic(bins=8, tails="circular").size == 24


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"bins": 0}, ValueError, "bins: expected at least 1, got 0"),
        ({"bound": -1}, ValueError, "bound: expected a finite number above 0, got -1"),
        ({"tails": "flat"}, ValueError, "tails: expected one of linear, circular; got 'flat'"),
        ({"min_width": 0.125}, ValueError, "min_width: expected a number below 0.125, got 0.125"),
        ({"min_height": 0}, ValueError, "min_height: expected a finite number above 0, got 0"),
        ({"min_slope": 1.0}, ValueError, "min_slope: expected a number below 1, got 1.0"),
        ({"bins": 2.5}, TypeError, "bins: expected a whole number, got 2.5"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error) as caught:
        RationalQuadratic(**arguments)
    assert str(caught.value) == message
