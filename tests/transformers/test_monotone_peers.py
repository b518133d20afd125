"""Monotone maps against other libraries, with the parameters of either, value and log-slope.

The libraries are those of the extra ``peers``. All have the direction data to latent.
"""

import numpy as np
import pytest

import nfref
from nfref.transformers import bernstein, cubic_spline, linear_spline, quadratic_spline
from tests.high_precision.test_vectors_peers import torch_double
from tests.transformers.monotone import raw_numbers

pytestmark = pytest.mark.peers
CLOSE = dict(rtol=1e-13, atol=1e-13)


def inside(bound, n=300):
    return np.random.default_rng(1).uniform(-bound, bound, n)


def inverse_softplus(value):
    return value + np.log(-np.expm1(-value))


# nflows ---------------------------------------------------------------------------------------


def test_linear_spline_of_nflows():
    """Its search for the bin moves the last knot by 1e-6, and its inverse uses the moved knot."""
    from nflows.transforms.splines import unconstrained_linear_spline

    transformer = nfref.LinearSpline(4)
    x = np.concatenate([inside(3), [-4.0, 5.0]])
    h = transformer.constrain(raw_numbers(transformer, len(x)))
    shares = torch_double(np.log(h[2] / 4).T)
    last_bin = (x >= h[1][-2]) & (x < 3)
    for direction, inverse in (("inverse", False), ("forward", True)):
        found = getattr(transformer, direction)(x, h)
        other = unconstrained_linear_spline(torch_double(x), shares, inverse, 3.0)
        exact = ~last_bin if inverse else slice(None)
        for mine, theirs in zip(found, other):
            np.testing.assert_allclose(mine[exact], theirs.numpy()[exact], **CLOSE)
            np.testing.assert_allclose(mine, theirs.numpy(), atol=1e-4)


def test_linear_spline_with_the_parameters_of_nflows():
    from nflows.transforms.splines import unconstrained_linear_spline

    x, raw = inside(2), 0.5 * raw_numbers(nfref.LinearSpline(6), 300, seed=3)
    found = linear_spline.linear_curve(x, linear_spline.constrain(raw, 2.0, 0.0))
    other = unconstrained_linear_spline(torch_double(x), torch_double(raw.T), False, 2.0)
    for mine, theirs in zip(found, other):
        np.testing.assert_allclose(mine, theirs.numpy(), **CLOSE)


def nflows_quadratic(x, widths, heights, inverse, bound):
    """nflows' spline with all K + 1 heights given, which its softplus and sum reproduce."""
    from nflows.transforms.splines.quadratic import quadratic_spline as spline

    return spline(
        torch_double(x),
        torch_double(np.log(widths).T),
        torch_double(inverse_softplus(heights - 1e-3).T),
        inverse,
        -bound,
        bound,
        -bound,
        bound,
        min_bin_width=0.0,
        min_bin_height=0.0,
    )


def test_quadratic_spline_of_nflows():
    transformer = nfref.QuadraticSpline(5)
    x = inside(3)
    x_k, _, d = h = transformer.constrain(raw_numbers(transformer, len(x), 0.7))
    for direction, inverse in (("inverse", False), ("forward", True)):
        found = getattr(transformer, direction)(x, h)
        for mine, theirs in zip(found, nflows_quadratic(x, np.diff(x_k, axis=0), d, inverse, 3.0)):
            np.testing.assert_allclose(mine, theirs.numpy(), rtol=3e-13, atol=3e-13)


def test_the_ends_of_nflows_quadratic_spline_are_not_one():
    """Its comment says that they are. With the slopes that it really has, the formulas agree."""
    import torch
    from nflows.transforms.splines import unconstrained_quadratic_spline

    zeros, x = torch.zeros(300, 15, dtype=torch.float64), inside(3)
    value, log_slope = unconstrained_quadratic_spline(
        torch_double(x), zeros[:, :8], zeros[:, 8:], tail_bound=3.0
    )
    at_end = unconstrained_quadratic_spline(
        torch.full((1,), -3.0, dtype=torch.float64), zeros[:1, :8], zeros[:1, 8:], tail_bound=3.0
    )[1].exp()
    assert 0.86 < at_end.item() < 0.9
    v = np.full((9, 300), np.log(2) + 1e-3)
    # The outer widths are halved twice there, once in normalised_slopes.
    v[[0, 8]] *= (1 - 0.75 / 4) / (1 - 0.25 / 4)
    d = 1e-3 + (1 - 1e-3) * v / np.mean((v[1:] + v[:-1]) / 2, axis=0)
    knots = np.linspace(-3, 3, 9)[:, None] * np.ones(300)
    heights = np.concatenate([[np.zeros(300)], np.cumsum((d[1:] + d[:-1]) / 2 * 0.75, axis=0)]) - 3
    found = quadratic_spline.quadratic_curve(x, (knots, heights, d))
    for mine, theirs in zip(found, (value, log_slope)):
        np.testing.assert_allclose(mine, theirs.numpy(), **CLOSE)


def test_cubic_spline_of_nflows():
    """Its inverse has the digits of Cardano's formula, about half of ours."""
    from nflows.transforms.splines import unconstrained_cubic_spline

    transformer = nfref.CubicSpline(5)
    x = np.concatenate([inside(3), [-4.0, 5.0]])
    raw = raw_numbers(transformer, len(x))
    h = transformer.constrain(raw)
    shares = [h[3][0] / h[2][0] / 3, h[3][-1] / h[2][-1] / 3]
    logits = [torch_double((np.log(share) - np.log1p(-share))[:, None]) for share in shares]
    options = {"tail_bound": 3.0}
    for direction, inverse, close in (
        ("inverse", False, CLOSE),
        ("forward", True, dict(rtol=1e-6, atol=1e-6)),
    ):
        found = getattr(transformer, direction)(x, h)
        other = unconstrained_cubic_spline(
            torch_double(x),
            torch_double(raw[:5].T),
            torch_double(raw[5:10].T),
            *logits,
            inverse,
            **options,
        )
        for mine, theirs in zip(found, other):
            np.testing.assert_allclose(mine, theirs.numpy(), **close)


def test_cubic_spline_with_the_parameters_of_nflows():
    from nflows.transforms.splines import unconstrained_cubic_spline

    x, raw = inside(2), 0.5 * raw_numbers(nfref.CubicSpline(6), 300, seed=3)
    parts = [torch_double(part.T) for part in np.split(raw, [6, 12, 13])]
    other = unconstrained_cubic_spline(torch_double(x), *parts, False, 2.0)
    moved = np.concatenate([raw[:12], raw[12:] + np.log(2)])  # our raw zeros mean one third
    h = cubic_spline.constrain(moved, 6, 2.0, 1e-3, 1e-3, 0.0)
    for mine, theirs in zip(cubic_spline.cubic_curve(x, *h), other):
        np.testing.assert_allclose(mine, theirs.numpy(), **CLOSE)


# zuko -----------------------------------------------------------------------------------------


def zuko_pair(map_of_zuko, x):
    value, log_slope = map_of_zuko.call_and_ladj(torch_double(x))
    return value.detach().numpy(), log_slope.detach().numpy()


def test_bernstein_of_zuko():
    import zuko

    transformer = nfref.Bernstein(9, 4.0)
    x = np.concatenate([inside(3.99), [-4.5, 9.0]])
    first, steps = transformer.constrain(raw_numbers(transformer, len(x)))
    raw = inverse_softplus(steps[1:-1])
    shift = np.log(2) * (len(raw) + 1) / 2
    theirs = zuko.transforms.BernsteinTransform(
        torch_double(np.concatenate([[first + shift], raw]).T), bound=4.0
    )
    z, log_slope = transformer.inverse(x, (first, steps))
    value, other_slope = zuko_pair(theirs, x)
    # Its tangents start 1e-6 of the interval inside of ours, and its binomials are logarithms.
    np.testing.assert_allclose(z[:-2], value[:-2], **CLOSE)
    np.testing.assert_allclose(log_slope[:-2], other_slope[:-2], **CLOSE)
    np.testing.assert_allclose(z[-2:], value[-2:], rtol=1e-9)
    back, _ = transformer.forward(value, (first, steps))
    np.testing.assert_allclose(back, theirs.inv(torch_double(value)).numpy(), atol=1e-5)


def test_bernstein_with_the_parameters_of_zuko():
    import zuko

    theta, x = raw_numbers(nfref.Bernstein(9), 300, seed=3), inside(4.99)
    theirs = zuko.transforms.BernsteinTransform(torch_double(theta.T))
    steps = np.log1p(np.exp(theta[[1, *range(1, 8), 7]]))
    found = bernstein.bernstein_inverse(x, theta[0] - np.log(2) * len(theta) / 2, steps, 5.0)
    for mine, other in zip(found, zuko_pair(theirs, x)):
        np.testing.assert_allclose(mine, other, **CLOSE)


def test_sum_of_squares_of_zuko():
    """nfref's slope is (1 - m) times a mean of squares, plus m; zuko has the mean plus its m."""
    import zuko

    transformer = nfref.SumOfSquares(3, 4, 5.0)
    x = inside(6)
    beta, a = transformer.constrain(raw_numbers(transformer, len(x)))
    scale = np.sqrt(1 - 1e-3)
    theirs = scale * (1 + a[:1]) - 1, scale * a[1:]
    theirs = zuko.transforms.SOSPolynomialTransform(
        torch_double(np.concatenate(theirs).transpose(2, 1, 0)), slope=1e-3, bound=5.0
    )
    z, log_slope = transformer.inverse(x, (beta, a))
    value, other_slope = zuko_pair(theirs, x)
    np.testing.assert_allclose(z - beta, value, rtol=1e-13, atol=3e-13)
    np.testing.assert_allclose(log_slope, other_slope, **CLOSE)


def test_sum_of_squares_with_the_parameters_of_zuko():
    import zuko

    from nfref.transformers.sum_of_squares import squares_inverse

    x = inside(9)
    coefficients = 0.5 * np.random.default_rng(4).standard_normal((300, 3, 5))
    theirs = zuko.transforms.SOSPolynomialTransform(torch_double(coefficients), slope=0.0)
    a = coefficients.transpose(2, 1, 0)
    for mine, other in zip(squares_inverse(x, 0.0, a, 10.0, 0.0), zuko_pair(theirs, x)):
        np.testing.assert_allclose(mine, other, rtol=1e-13, atol=3e-13)
