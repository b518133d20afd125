"""Neural spline flows: their layers, and their tails outside the splines."""

import numpy as np
import pytest

import nfref
from tests.finite_differences.contract import contract_test
from tests.flow_table import (
    COUPLING_DIMS,
    Entry,
    constant_at_one,
    hidden,
    made,
    random_params,
    triangular,
)


def nsf(bound=lambda dim: 6.0, **options):
    """Return a spline flow; it is the identity at its ends, so random rows must lie within them."""
    return lambda dim, context_dim: nfref.NSF(
        dim,
        2,
        hidden(dim),
        4,
        context_dim=context_dim,
        activation="tanh",
        bound=bound(dim),
        **options,
    )


CONTRACT = {
    "MADE, spline": Entry(
        made(transformer=nfref.RationalQuadratic(4, 6.0)),
        context=True,
        log_det=constant_at_one,
        pattern=triangular,
        integrable=False,
    ),
    "NSF": Entry(nsf(), context=True, log_det=constant_at_one, integrable=False),
    "NSF, a bound each": Entry(
        nsf(lambda dim: np.linspace(6.0, 9.0, dim)),
        context=True,
        log_det=constant_at_one,
        integrable=False,
    ),
    "NSF, coupling": Entry(nsf(coupling=True), dims=COUPLING_DIMS, context=True, integrable=False),
    "NSF, LU": Entry(
        nsf(coupling=True, linear="lu"), dims=(2, 5), context=True, costly=True, integrable=False
    ),
}
test_contract = contract_test(CONTRACT)


@pytest.mark.parametrize("coupling", [False, True])
def test_a_fresh_flow_is_the_identity(coupling):
    flow = nfref.NSF(3, layers=2, coupling=coupling)
    z = 4 * np.random.default_rng(0).standard_normal((6, 3))
    x, log_det = flow.forward(flow.init(np.random.default_rng(1)), z)
    np.testing.assert_allclose(x, z, rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(log_det, 0, atol=1e-14)


@pytest.mark.parametrize("coupling", [False, True])
def test_outside_of_the_splines_rows_stay(coupling):
    flow = nfref.NSF(
        2, layers=3, hidden=(4,), bins=4, coupling=coupling, activation="tanh", bound=2.0
    )
    params = random_params(flow, np.random.default_rng(0))
    far = np.array([[2.0, -2.0], [-3.0, 1e9], [1e300, -2.5]])
    for act in (flow.forward, flow.inverse):
        value, log_det = act(params, far)
        np.testing.assert_array_equal(value, far)
        np.testing.assert_array_equal(log_det, 0)
    x, log_det = flow.forward(params, far / 4)
    assert np.any(x[0] != far[0] / 4) and log_det[0] != 0


def test_each_coordinate_has_its_own_bound():
    """In units of its bound, a coordinate sees the spline of one bound for all."""
    bounds = np.array([0.5, 2.0, 8.0])
    spline = nfref.RationalQuadratic(4, tuple(bounds))
    one = nfref.RationalQuadratic(4, 1.0)
    rng = np.random.default_rng(0)
    raw, z = rng.standard_normal((11, 20, 3)), bounds * rng.uniform(-1.2, 1.2, (20, 3))
    for dtype, rtol in ((np.float64, 1e-12), (np.float32, 1e-4)):
        x, log_slope = spline.forward(z.astype(dtype), spline.constrain(raw.astype(dtype)))
        u, same_slope = one.forward((z / bounds).astype(dtype), one.constrain(raw.astype(dtype)))
        assert x.dtype == dtype
        np.testing.assert_allclose(x, bounds * u, rtol=rtol, atol=rtol)
        np.testing.assert_allclose(log_slope, same_slope, rtol=rtol, atol=10 * rtol)


def test_couplings_change_every_coordinate_by_turns():
    masks = np.array([layer.mask for layer in nfref.NSF(4, 3, coupling=True).flows])
    np.testing.assert_array_equal(
        masks[::-1], [[False, True] * 2, [True, False] * 2, [False, True] * 2]
    )
    orders = ((3, 1, 0, 2), (0, 1, 2, 3))
    drawn = [layer.mask for layer in nfref.NSF(4, 2, coupling=True, orders=orders).flows]
    assert drawn == [(False, False, True, True), (False, True, False, True)]
    assert [layer.order for layer in nfref.NSF(4, 2, orders=orders).flows] == list(orders)


def test_its_density_integrates_to_one():
    """Integrate on a grid within the splines; outside, the density is the standard normal's."""
    for coupling in (False, True):
        flow = nfref.NSF(2, 2, (5,), 4, coupling, activation="tanh", bound=5.0)
        params = random_params(flow, np.random.default_rng(2), size=0.7)
        axis = np.linspace(-8, 8, 401)
        grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
        density = np.exp(nfref.Density(flow).log_prob({"base": {}, "flow": params}, grid))
        assert abs(np.sum(density) * (axis[1] - axis[0]) ** 2 - 1) < 1e-3


@pytest.mark.parametrize(
    "options, message",
    [
        ({"dim": 1, "coupling": True}, "^NSF: expected dim of at least 2"),
        ({"layers": 0}, "^layers: expected at least 1, got 0$"),
        ({"linear": "qr"}, "^linear: expected one of none, lu; got 'qr'$"),
        ({"bins": 0}, "^bins: expected at least 1, got 0$"),
        ({"bound": 0.0}, "^bound: expected a finite number above 0"),
        ({"bound": (1.0, 2.0)}, "^bound: expected 3 numbers, got 2$"),
        ({"bound": (1.0, 2.0, 0.0)}, "^bound: expected a finite number above 0"),
        ({"bound": (1.0,) * 3, "coupling": True}, "^bound: expected one number for couplings"),
        ({"orders": [(0, 1, 2)]}, "^orders: expected 5, one a layer; got 1$"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        nfref.NSF(**{"dim": 3, **options})
