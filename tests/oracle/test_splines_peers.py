"""The rational-quadratic spline against other libraries, in float64, value and log-slope.

The libraries are those of the extra ``peers``. All of them have the paper's direction, data to
latent, so their forward is nfref's inverse.
"""

import numpy as np
import pytest

from nfref.transformers.rational_quadratic import RationalQuadratic, slope_offset
from tests.high_precision.test_vectors_peers import (
    assert_close,
    flowjax_raw,
    flowjax_spline,
    torch_double,
    zuko_spline,
)

pytestmark = pytest.mark.peers


def spline_cases(tails="linear"):
    """(transformer, raw (P, N), points (N,)): in bins, at knots, outside, and beside the ends.

    With raw numbers of four and more, bins become so steep that an ulp of a knot, which is where
    libraries differ, moves the log-slope beside it by 1e-10.
    """
    for bins, bound, size in ((1, 2.0, 1.0), (5, 3.0, 2.0), (8, 5.0, 1.5)):
        transformer = RationalQuadratic(bins, bound, tails)
        rng = np.random.default_rng(bins)
        raw = size * rng.standard_normal((transformer.size, 200))
        points = rng.uniform(-1.2 * bound, 1.2 * bound, 200)
        x_k, y_k = (values[:, 0] for values in transformer.constrain(raw)[:2])
        ends = bound * np.array([-1 - 1e-12, -1 + 1e-12, 1 - 1e-12, 1 + 1e-12])
        special = np.concatenate([x_k, y_k, ends])
        yield (
            transformer,
            np.concatenate([raw, raw[:, :1].repeat(len(special), 1)], 1),
            np.concatenate([points, special]),
        )


def assert_spline(inverse, forward, cases):
    """(transformer, raw, points) -> (value, log-slope) of another library, both directions."""
    for transformer, raw, points in cases:
        h = transformer.constrain(raw)
        assert_close(inverse(transformer, raw, points), transformer.inverse(points, h))
        assert_close(forward(transformer, raw, points), transformer.forward(points, h))


def torch_spline(function, tails):
    """nflows' and normflows' spline as a function of (transformer, raw, points)."""

    def spline(inverse):
        def call(transformer, raw, points):
            raw = torch_double(raw.T)
            bins = transformer.bins
            return function(
                torch_double(points),
                raw[:, :bins],
                raw[:, bins : 2 * bins],
                raw[:, 2 * bins :] + slope_offset(transformer.min_slope),
                inverse,
                tails,
                transformer.bound,
                transformer.min_width,
                transformer.min_height,
                transformer.min_slope,
            )

        return call

    return spline(False), spline(True)


def test_nflows_spline():
    from nflows.transforms.splines import unconstrained_rational_quadratic_spline

    assert_spline(*torch_spline(unconstrained_rational_quadratic_spline, "linear"), spline_cases())


@pytest.mark.parametrize("tails", ["linear", "circular"])
def test_normflows_spline(tails):
    """On the circle normflows leaves what is outside as it is; nfref goes on by whole turns."""
    from normflows.utils.splines import unconstrained_rational_quadratic_spline

    cases = list(spline_cases(tails))
    if tails == "circular":
        cases = [
            (transformer, raw, np.clip(points, -transformer.bound, 0.999 * transformer.bound))
            for transformer, raw, points in cases
        ]
    assert_spline(*torch_spline(unconstrained_rational_quadratic_spline, tails), cases)


def test_zuko_spline():
    def inverse(transformer, raw, points):
        return zuko_spline(transformer, transformer.constrain(raw)).call_and_ladj(
            torch_double(points)
        )

    def forward(transformer, raw, points):
        return zuko_spline(transformer, transformer.constrain(raw)).inv.call_and_ladj(
            torch_double(points)
        )

    assert_spline(inverse, forward, spline_cases())


def test_flowjax_spline():
    import equinox as eqx
    import jax
    from flowjax.utils import get_ravelled_pytree_constructor
    from paramax import unwrap

    def call(method):
        def spline(transformer, raw, points):
            make, _ = get_ravelled_pytree_constructor(
                flowjax_spline(transformer), eqx.is_inexact_array
            )
            return jax.vmap(lambda numbers, point: getattr(unwrap(make(numbers)), method)(point))(
                flowjax_raw(transformer, raw), points
            )

        return spline

    with jax.enable_x64(True):
        assert_spline(call("transform_and_log_det"), call("inverse_and_log_det"), spline_cases())


def test_gradients_at_the_end_of_several_zuko_splines():
    """Automatic differentiation takes each layer from one side or the other, as rounding has it.

    At the end that three splines have in common, every gradient of the sum of their log-slopes is
    the sum of some of the layers' own gradients inside (outside they are zero), and not only of
    all or none. So it may be no side's, and outside of both.
    """
    import torch
    import zuko

    count, layers, end = 400, 3, 5.0
    rng = np.random.default_rng(0)

    def slope(spline, x):
        x = torch.full((count,), x, dtype=torch.float64, requires_grad=True)
        return torch.autograd.grad(spline(x).sum(), x)[0].numpy()

    splines = [
        zuko.transforms.MonotonicRQSTransform(
            *(torch_double(0.7 * rng.standard_normal((count, n))) for n in (8, 8, 7)), bound=end
        )
        for _ in range(layers)
    ]

    def all_of_them(x):
        total = 0
        for spline in splines:
            x, log_slope = spline.call_and_ladj(x)
            total = total + log_slope
        return total

    inside = np.stack(
        [slope(lambda x: spline.call_and_ladj(x)[1], end * (1 - 1e-7)) for spline in splines]
    )
    chosen = np.array(list(np.ndindex(*(2,) * layers)))  # (8, 3): which layers are inside
    sums, found = chosen @ inside, slope(all_of_them, end)
    nearest = np.argmin(np.abs(sums - found), axis=0)
    np.testing.assert_allclose(
        found, np.take_along_axis(sums, nearest[None], 0)[0], rtol=1e-4, atol=1e-4
    )
    mixed = (nearest > 0) & (nearest < len(chosen) - 1)
    low, high = np.minimum(0, sums[-1]), np.maximum(0, sums[-1])
    assert np.sum(mixed) > 0.2 * count
    assert np.sum((found < low - 0.1) | (found > high + 0.1)) > 0.1 * count
