"""Moebius maps of the circle: the paper's form, sixty digits, the seam, roots and their slopes."""

import autograd.numpy as anp
import mpmath
import numpy as np
import pytest
from autograd import elementwise_grad, grad
from autograd.test_util import check_grads

import nfref
from nfref.transformers import moebius
from tests.high_precision.maps.transformers import moebius_circle

EPS = np.finfo(float).eps
ANGLES = np.array([-np.pi, -3.141, -2.0, -1e-9, 0.0, 0.4, 1.7, 3.1, 3.14159265])


def drawn(count, columns, size=1.0, seed=0):
    transformer = nfref.MoebiusCircle(count)
    raw = size * np.random.default_rng(seed).standard_normal((3 * count, columns))
    return transformer, raw, transformer.constrain(raw)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_paper_form(count):
    """Points of the plane, omega and angles as Rezende et al. (tori and spheres) write them."""
    transformer, _, h = drawn(count, 40, 2.0)
    x = np.random.default_rng(1).uniform(-np.pi, np.pi, 40)
    z, log_slope = transformer.inverse(x, h)
    rho, *omega = h[:3]
    omega = np.stack(omega, axis=-1)

    def transformed(angle):
        point = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        away = point - omega
        stretch = (1 - np.sum(omega**2, -1)) / np.sum(away**2, -1)
        image = stretch[..., None] * away - omega
        np.testing.assert_allclose(np.sum(image**2, -1), 1, rtol=1e-10)
        return np.arctan2(image[..., 1], image[..., 0]), stretch

    angle, stretch = transformed(x + np.pi)
    first, _ = transformed(np.zeros(40))
    expected = np.sum(rho * ((angle - first) % (2 * np.pi)), axis=0) - np.pi
    np.testing.assert_allclose(z, expected, atol=1e-12)
    np.testing.assert_allclose(log_slope, np.log(np.sum(rho * stretch, axis=0)), atol=1e-12)


@pytest.mark.parametrize("count, size", [(1, 1.0), (3, 1.0), (3, 50.0)])
def test_values_and_slopes_against_sixty_digits(count, size):
    """The error is that of one rounding of the angle and of each point w.

    |z - w| is at least 1 - limit, so that the relative error of a slope is at most some
    eps / (1 - limit); a value moves by its slope times one rounding error of the angle.
    """
    transformer, raw, h = drawn(count, len(ANGLES), size)
    x, log_slope = transformer.forward(ANGLES, h)
    back, log_slope_back = transformer.inverse(x, h)
    steep = np.exp(log_slope)
    with mpmath.workdps(60):
        for i, z in enumerate(ANGLES):
            numbers = list(map(mpmath.mpf, raw[:, i]))

            def truth(at, numbers=numbers):
                return moebius_circle(transformer, numbers, {}, at)

            assert abs(x[i] - truth(mpmath.mpf(z))) <= 8 * EPS * (1 + steep[i])
            step = mpmath.mpf(10) ** -20  # central: slopes do not jump at the seam
            slope = (truth(z + step) - truth(z - step)) / (2 * step)
            near = 100 if size > 1 else 20
            assert abs(log_slope[i] - mpmath.log(slope)) <= 8 * EPS * near
    np.testing.assert_array_less(abs(back - ANGLES), 16 * EPS * (1 + 1 / steep))
    np.testing.assert_array_less(abs(log_slope + log_slope_back), 8 * EPS * near)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("size", [0.0, 1.0, 1e3])
def test_roots_to_a_few_ulp(dtype, size):
    """f(forward(z)) is z within a few rounding errors of the parts of f.

    One rounding error of the angle, 2 pi eps, moves f by its slope times that; one of z and w, eps,
    moves the angle of z - w by eps / |z - w|.
    """
    transformer = nfref.MoebiusCircle(5)
    rng = np.random.default_rng(3)
    h = transformer.constrain((size * rng.standard_normal((15, 4000))).astype(dtype))
    z = rng.uniform(-np.pi, np.pi, 4000).astype(dtype)
    z[:2] = -np.pi, np.nextafter(dtype(-np.pi), dtype(0))
    x, log_slope = transformer.forward(z, h)
    back, _ = transformer.inverse(x, h)
    assert x.dtype == log_slope.dtype == back.dtype == dtype
    distance = np.hypot(np.cos(x + np.pi) - h[1], np.sin(x + np.pi) - h[2])
    tolerance = 2 * np.pi * (4 + 2 * np.exp(-log_slope)) + 4 * np.sum(h[0] / distance, axis=0)
    np.testing.assert_array_less(abs(back - z), np.finfo(dtype).eps * tolerance)


def test_a_root_depends_on_no_other_number():
    transformer, _, h = drawn(4, 200, 10.0)
    z = np.random.default_rng(4).uniform(-np.pi, np.pi, 200)
    x, log_slope = transformer.forward(z, h)
    for i in (0, 57, 199):
        alone = transformer.forward(z[i : i + 1], [part[:, i : i + 1] for part in h])
        assert (x[i], log_slope[i]) == (alone[0][0], alone[1][0])


def test_one_map_has_a_closed_inverse():
    """m(z) = (z - w) / (1 - conj(w) z) is undone by the same with -w."""
    transformer, _, h = drawn(1, 30, 1.0)
    w = (h[1] + 1j * h[2])[0]
    x = np.random.default_rng(5).uniform(-np.pi, np.pi, 30)
    y = np.exp(1j * (x + np.pi)) * (1 - w) / (1 - np.conj(w))
    closed = np.angle(-(y + w) / (1 + np.conj(w) * y))
    off = transformer.forward(x, h)[0] - closed
    np.testing.assert_allclose((off + np.pi) % (2 * np.pi), np.pi, atol=1e-12)


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_the_seam(direction):
    """-pi stays; a turn more is a turn more; slopes and their derivatives agree on both sides."""
    transformer, _, h = drawn(3, 1, 1.5)
    run = getattr(transformer, direction)
    value, log_slope = run(np.array([-np.pi]), h)
    assert value[0] == -np.pi
    above, below = (run(np.array([edge]), h) for edge in (np.pi, np.nextafter(np.pi, 0)))
    assert above[0][0] == np.pi and below[0][0] == pytest.approx(np.pi, abs=1e-14)
    assert above[1] == log_slope and below[1] == pytest.approx(log_slope, abs=1e-12)
    bend = elementwise_grad(lambda v: run(v, h)[1])
    assert bend(np.array([3.1415926]))[0] == pytest.approx(
        bend(np.array([-3.1415926]))[0], rel=1e-4
    )
    h = [part * np.ones(len(ANGLES)) for part in h]
    np.testing.assert_allclose(
        run(ANGLES + 6 * np.pi, h)[0], run(ANGLES, h)[0] + 6 * np.pi, atol=1e-13
    )


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_gradients_against_finite_differences(direction):
    """Differentiate value and log-slope in the angle and every raw number, twice."""
    transformer, raw, _ = drawn(3, 6)
    at = np.random.default_rng(6).uniform(-3, 3, 6)

    def both(v, raw):
        value, log_slope = getattr(transformer, direction)(v, transformer.constrain(raw))
        return anp.sum(anp.sin(value)) + anp.sum(anp.cos(2 * log_slope))

    check_grads(both, modes=["rev"], order=2)(at, raw)
    np.testing.assert_allclose(
        elementwise_grad(
            lambda v: getattr(transformer, direction)(v, transformer.constrain(raw))[0]
        )(at),
        np.exp(getattr(transformer, direction)(at, transformer.constrain(raw))[1]),
        rtol=1e-12,
    )


def test_raw_zeros_are_nearly_the_identity():
    x = np.linspace(-np.pi, np.pi, 1001)
    for count in (4, 8, 16):
        transformer = nfref.MoebiusCircle(count)
        h = transformer.constrain(np.zeros((3 * count, 1001)))
        bound = 4 * (0.99 / 5**0.5) ** count / count
        assert np.max(abs(transformer.inverse(x, h)[0] - x)) <= bound
    single = nfref.MoebiusCircle(1)
    h = single.constrain(np.zeros((3, 1001)))
    np.testing.assert_allclose(single.forward(x, h)[0], x, atol=1e-15)


def test_maps_do_not_start_as_one():
    """Their gradients differ; otherwise K maps would stay equal during all training."""
    transformer = nfref.MoebiusCircle(4)
    x = np.random.default_rng(7).vonmises(1.0, 4.0, 100)
    slope = grad(
        lambda raw: anp.sum(
            transformer.inverse(x, transformer.constrain(raw * anp.ones((1, 100))))[1]
        )
    )(np.zeros((12, 1)))
    assert len(np.unique(np.round(slope[4:8], 6))) == 4


def test_slopes_stay_within_their_bounds():
    transformer, _, h = drawn(2, 3000, 1e4)
    x = np.random.default_rng(8).uniform(-np.pi, np.pi, 3000)
    _, log_slope = transformer.inverse(x, h)
    limit = np.log(1.99 / 0.01)
    assert np.all(abs(log_slope) <= limit + 1e-12)
    assert np.max(abs(log_slope)) > 0.9 * limit


def test_numbers_that_are_not_finite_stay_to_themselves():
    transformer, _, h = drawn(2, 3)
    with np.errstate(invalid="ignore"):
        x, _ = transformer.forward(np.array([np.nan, 0.5, np.inf]), h)
    alone, _ = transformer.forward(np.array([0.5]), [part[:, 1:2] for part in h])
    assert x[1] == alone[0] and not np.any(np.isfinite(x[[0, 2]]))


def test_moebius_turns_start_at_zero_exactly():
    p, q = np.array([0.7]), np.array([-0.2])
    assert moebius.moebius_turns(np.zeros(1), p, q) == 0
    tiny = np.array([1e-200])
    slope = (1 - 0.53) / ((1 - 0.7) ** 2 + 0.04)
    np.testing.assert_allclose(tiny + moebius.moebius_turns(tiny, p, q), slope * tiny, rtol=1e-14)


def test_configurations_that_are_not():
    with pytest.raises(ValueError, match="^components: expected at least 1, got 0$"):
        nfref.MoebiusCircle(0)
    with pytest.raises(ValueError, match="^limit: expected a number below 1, got 1$"):
        nfref.MoebiusCircle(3, 1)
