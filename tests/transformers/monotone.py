"""Checks that every monotone map of one coordinate has to pass, for the modules of the maps."""

import autograd
import autograd.numpy as anp
import mpmath as mp
import numpy as np

from tests.high_precision.maps.transformers import TRANSFORMERS

DTYPES = [np.float64, np.float32]
DIRECTIONS = ["forward", "inverse"]
POINTS = np.array([-1e3, -7.0, -2.99, -1.3, -0.2, 0.0, 0.31, 1.1, 2.5, 2.999, 3.5, 40.0])


def raw_numbers(transformer, n, scale=1.0, seed=0, dtype=np.float64):
    """Return raw numbers of one map, the same for n arguments."""
    column = scale * np.random.default_rng(seed).standard_normal((transformer.size, 1))
    return np.repeat(column.astype(dtype), n, axis=1)


def assert_sixty_digits(transformer, scale=1.0, seed=0, times=8):
    """Both directions are those of the map of many digits, up to rounding errors of its parts."""
    raw = raw_numbers(transformer, len(POINTS), scale, seed)
    h = transformer.constrain(raw)
    x, log_slope = transformer.forward(POINTS, h)
    z, log_slope_back = transformer.inverse(x, h)
    eps = np.finfo(float).eps
    steep = np.maximum(np.exp(np.abs(log_slope)), 1)
    with mp.workdps(60):
        numbers = [mp.mpf(float(value)) for value in raw[:, 0]]

        def exact(at):
            return TRANSFORMERS[type(transformer)](transformer, numbers, {}, at)

        for i, point in enumerate(POINTS):
            size = times * eps * (abs(point) + abs(x[i]) + transformer.bound) * steep[i]
            assert abs(float(exact(mp.mpf(point)) - mp.mpf(float(x[i])))) <= size, point
            step = mp.mpf(10) ** -20 * (1 + abs(point))
            slope = (exact(point + step) - exact(point - step)) / (2 * step)
            assert (
                abs(float(mp.log(slope) - mp.mpf(float(log_slope[i]))))
                <= 8 * times * eps * (steep[i])
            ), point
    np.testing.assert_array_less(
        abs(z - POINTS), times * eps * (abs(POINTS) + transformer.bound) * steep
    )
    np.testing.assert_allclose(log_slope_back, -log_slope, atol=8 * times * eps * np.max(steep))


def assert_roots(transformer, dtype, scale, reach):
    """Latents of any size up to ``reach`` come back, and the map increases, up to rounding."""
    rng = np.random.default_rng(2)
    z = np.sort(np.concatenate([size * rng.standard_normal(60) for size in (1e-6, 1, 4, reach)]))
    z = z.astype(dtype)
    h = transformer.constrain(raw_numbers(transformer, len(z), scale, 3, dtype))
    x, log_slope = transformer.forward(z, h)
    again, back = transformer.inverse(x, h)
    assert x.dtype == log_slope.dtype == again.dtype == dtype
    assert np.all(np.isfinite(x)) and np.all(np.isfinite(log_slope))
    eps, bound = 16 * np.finfo(dtype).eps, transformer.bound
    rounding = eps * (abs(x) + (abs(z) + bound) * np.exp(np.maximum(log_slope, 0)))
    assert np.all(np.diff(x) >= -rounding[1:])
    slack = eps * (abs(z) + bound + (abs(x) + 1) * np.exp(np.maximum(back, 0)))
    np.testing.assert_array_less(abs(again - z), slack)


def assert_gradients(transformer, direction, scale=0.5):
    """Value and log-slope against differences in every raw number, and value by log-slope."""
    raw = raw_numbers(transformer, 5, scale, 4)
    at = np.array([-2.2, -0.77, 0.13, 1.4, 5.6])

    def both(v, raw):
        value, log_slope = getattr(transformer, direction)(v, transformer.constrain(raw))
        return anp.sum(anp.sin(value)) + anp.sum(anp.cos(2 * log_slope))

    found_v, found_raw = autograd.grad(lambda pair: both(*pair))((at, raw))
    step = 1e-6
    for i in range(transformer.size):
        away = np.zeros_like(raw)
        away[i] = step
        slope = (both(at, raw + away) - both(at, raw - away)) / (2 * step)
        np.testing.assert_allclose(np.sum(found_raw[i]), slope, rtol=2e-6, atol=2e-7)
    slope = [
        (both(at + away, raw) - both(at - away, raw)) / (2 * step) for away in step * np.eye(5)
    ]
    np.testing.assert_allclose(found_v, slope, rtol=2e-6, atol=2e-7)
    values = autograd.elementwise_grad(
        lambda v: getattr(transformer, direction)(v, transformer.constrain(raw))[0]
    )(at)
    log_slope = getattr(transformer, direction)(at, transformer.constrain(raw))[1]
    np.testing.assert_allclose(np.log(values), log_slope, rtol=1e-10, atol=1e-10)


def assert_identity_at_zeros(transformer):
    x = np.linspace(-9, 9, 37)
    h = transformer.constrain(np.zeros((transformer.size, len(x))))
    for value, log_slope in (transformer.forward(x, h), transformer.inverse(x, h)):
        np.testing.assert_allclose(value, x, atol=1e-14)
        np.testing.assert_allclose(log_slope, 0, atol=1e-14)
