"""MADE's connectivity, and its two directions against one scalar at a time."""

import numpy as np
import pytest

import nfref
from nfref.flows import autoregressive
from nfref.networks.masked import even_degrees, made_masks, random_degrees
from tests.finite_differences import subject_of
from tests.finite_differences.contract import contract_test
from tests.flow_table import (
    Entry,
    constant_at_one,
    hidden,
    made,
    random_order,
    random_params,
    triangular,
)

ORDERS = {"natural": (0, 1, 2, 3, 4), "reversed": (4, 3, 2, 1, 0), "random": (2, 0, 4, 1, 3)}


def maf(**options):
    def make(dim, context_dim):
        orders = {"orders": nfref.random_orders(np.random.default_rng(dim), dim, 2)}
        return nfref.MAF(
            dim,
            2,
            hidden(dim),
            context_dim=context_dim,
            **{"activation": "tanh", **orders, **options},
        )

    return make


CONTRACT = {
    "MADE": Entry(made(), context=True, log_det=constant_at_one, pattern=triangular),
    "MADE, reversed": Entry(
        made(lambda d: tuple(reversed(range(d)))),
        context=True,
        log_det=constant_at_one,
        pattern=triangular,
    ),
    "MADE, random order": Entry(
        made(random_order), context=True, log_det=constant_at_one, pattern=triangular
    ),
    "MADE, additive": Entry(
        made(transformer=nfref.Additive()), context=True, log_det="zero", pattern=triangular
    ),
    "MADE, exp": Entry(
        made(transformer=nfref.Affine("exp")),
        context=True,
        log_det=constant_at_one,
        pattern=triangular,
    ),
    # Splines are the identity beyond their ends, so random rows must lie within them. Their slopes
    # have kinks and jumps at knots, which no grid meets.
    "MADE, linear spline": Entry(
        made(transformer=nfref.LinearSpline(3, 6.0)),
        dims=(1, 3),
        context=True,
        pattern=triangular,
        integrable=False,
    ),
    "MADE, quadratic spline": Entry(
        made(transformer=nfref.QuadraticSpline(4, 4.0)),
        dims=(1, 3),
        context=True,
        pattern=triangular,
        integrable=False,
    ),
    "MADE, cubic spline": Entry(
        made(transformer=nfref.CubicSpline(3, 6.0)),
        dims=(1, 3),
        context=True,
        pattern=triangular,
        integrable=False,
    ),
    "MADE, Bernstein": Entry(
        made(transformer=nfref.Bernstein(5)), dims=(1, 3), context=True, pattern=triangular
    ),
    "MADE, sum of squares": Entry(
        made(transformer=nfref.SumOfSquares(2, 2)), dims=(1, 3), context=True, pattern=triangular
    ),
    "MAF": Entry(maf(orders="alternate"), context=True, log_det=constant_at_one),
    "MAF, relu": Entry(
        maf(activation="relu"), context=True, log_det=constant_at_one, integrable=False
    ),
    "MAF, batch norm": Entry(maf(batch_norm=True), context=True, log_det=constant_at_one),
    "IAF": Entry(
        lambda d, c: nfref.IAF(d, 2, hidden(d), context_dim=c, activation="tanh"),
        context=True,
        log_det=constant_at_one,
    ),
}
test_contract = contract_test(CONTRACT)


def connected(masks):
    """Return the inputs that have a path to each output."""
    paths = masks[0].astype(int)
    for mask in masks[1:]:
        paths = ((paths @ mask.astype(int)) > 0).astype(int)
    return paths.astype(bool)


@pytest.mark.parametrize("hidden", [(5,), (6, 5), (13, 7, 9)])
@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("context_dim", [0, 3])
def test_connectivity_is_exactly_the_strict_order(order, hidden, context_dim):
    """Output i has a path from input j if and only if order[j] < order[i]; context has all."""
    paths = connected(made_masks(order, even_degrees(5, hidden, context_dim), 2, context_dim))
    order = np.array(order)
    strict = order[:, None] < order[None, :]
    np.testing.assert_array_equal(paths[:5], np.tile(strict, 2))
    assert paths[5:].all() and len(paths) == 5 + context_dim


def test_connectivity_of_one_coordinate():
    assert not connected(made_masks((0,), even_degrees(1, (4,)), 2)).any()
    np.testing.assert_array_equal(
        connected(made_masks((0,), even_degrees(1, (4,), 2), 2, 2)),
        [[False] * 2, [True] * 2, [True] * 2],
    )


def test_narrowest_networks_still_connect_everything():
    """Networks need D - 1 hidden units, D with a context; one fewer is refused."""
    for dim in (2, 3, 8):
        order = tuple(range(dim))
        masks = made_masks(order, even_degrees(dim, (dim - 1,)), 1)
        assert connected(masks).sum() == dim * (dim - 1) // 2
        assert connected(made_masks(order, even_degrees(dim, (dim,), 1), 1, 1))[dim:].all()
    with pytest.raises(ValueError, match="^hidden: expected at least 4 units a layer.*got"):
        nfref.MADE(5, (3,))
    with pytest.raises(ValueError, match="^hidden: expected at least 5 units a layer.*got"):
        nfref.MADE(5, (4,), context_dim=1)


def one_network_per_coordinate(made, params, z, context):
    """Compute x_i = z_i exp(alpha_i) + mu_i, scalar by scalar, each from a network of its own.

    Coordinate i's network reads zeros in place of every coordinate that is not before it: only the
    order comes from the masks' construction.
    """
    x, log_det = np.zeros_like(z), np.zeros(len(z))
    layers, dim = params["net"], made.dim
    for n in range(len(z)):
        for place in range(dim):
            i = made.order.index(place)
            seen = [x[n, j] if made.order[j] < place else 0.0 for j in range(dim)]
            h = np.array(seen + ([] if context is None else list(context[n])))
            for layer, mask in zip(layers[:-1], made.masks[:-1]):
                h = np.tanh(h @ (layer["weight"] * mask) + layer["bias"])
            raw = h @ (layers[-1]["weight"] * made.masks[-1]) + layers[-1]["bias"]
            alpha = raw[dim + i] / np.sqrt(1 + (raw[dim + i] / made.transformer.bound) ** 2)
            x[n, i] = z[n, i] * np.exp(alpha) + raw[i]
            log_det[n] += alpha
    return x, log_det


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("context_dim", [0, 2])
def test_both_directions_equal_one_scalar_at_a_time(order, context_dim):
    made = nfref.MADE(5, (9, 8), nfref.Affine(), order, context_dim, "tanh")
    subject = subject_of(made, seed=2)
    slow, slow_log_det = one_network_per_coordinate(
        made, subject.params, subject.z, subject.context
    )
    x, log_det = subject.run("forward")
    np.testing.assert_allclose(x, slow, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(log_det, slow_log_det, rtol=1e-12, atol=1e-13)
    z, back = subject.run("inverse", slow)
    np.testing.assert_allclose(z, subject.z, rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(back, -slow_log_det, rtol=1e-12, atol=1e-13)


def test_forward_takes_as_many_passes_as_there_are_coordinates():
    calls = []

    def conditioner(x):
        calls.append(x.copy())
        return np.concatenate([np.zeros((len(x), 1)), x[:, :-1]], axis=1), np.zeros_like(x)

    affine = nfref.Affine()
    x, _ = autoregressive.autoregressive_forward(np.ones((1, 4)), affine.forward, conditioner)
    np.testing.assert_array_equal(x, [[1, 2, 3, 4]])
    assert len(calls) == 4
    calls.clear()
    autoregressive.autoregressive_inverse(x, affine.inverse, conditioner)
    assert len(calls) == 1


def test_iaf_is_maf_turned_around():
    iaf = nfref.IAF(3, 2, (6,), context_dim=2, activation="tanh")
    maf = nfref.MAF(3, 2, (6,), context_dim=2, activation="tanh")
    assert iaf == nfref.Invert(maf)
    rng = np.random.default_rng(0)
    params = random_params(maf, rng)
    rows, context = rng.standard_normal((4, 3)), rng.standard_normal((4, 2))
    for ours, theirs in ((iaf.forward, maf.inverse), (iaf.inverse, maf.forward)):
        for a, b in zip(ours(params, rows, context), theirs(params, rows, context)):
            np.testing.assert_array_equal(a, b)


def test_orders_of_a_stack():
    """The layer next to the data, the last one, has the natural order for any number of layers."""
    for layers in (1, 2, 3, 4):
        orders = [made.order for made in nfref.MAF(3, layers, (4,)).flows]
        assert orders[::-1] == [(0, 1, 2), (2, 1, 0), (0, 1, 2), (2, 1, 0)][:layers]
    natural = nfref.MAF(3, 2, (4,), orders="natural")
    assert [made.order for made in natural.flows] == [(0, 1, 2)] * 2
    drawn = nfref.random_orders(np.random.default_rng(0), 6, 4)
    assert all(sorted(order) == list(range(6)) for order in drawn) and len(set(drawn)) > 1
    assert [made.order for made in nfref.MAF(6, 4, (8,), orders=drawn).flows] == list(drawn)


def test_random_degrees_are_drawn_as_in_the_paper():
    """They are uniform from the lowest of the layer below to D - 1, never beyond the order."""
    first, second = random_degrees(np.random.default_rng(0), 5, (400, 400))
    assert set(first) == {1, 2, 3, 4}
    np.testing.assert_allclose(np.bincount(first)[1:], 100, atol=30)
    first, second = random_degrees(np.random.default_rng(3), 30, (2, 400))
    assert min(second) >= min(first) > 1 and max(second) == 29
    assert set(random_degrees(np.random.default_rng(0), 3, (50,), context_dim=1)[0]) == {0, 1, 2}
    assert random_degrees(np.random.default_rng(0), 1, (2,)) == ((1, 1),)
    made = nfref.MADE(5, (9, 8), degrees="random")
    assert made == nfref.MADE(5, (9, 8), degrees=made.degrees) != nfref.MADE(5, (9, 8))
    # Each layer of a stack has its own fixed degrees, and you may give the numbers.
    stack = nfref.MAF(5, 3, (9, 8), degrees="random")
    drawn = [layer.degrees for layer in stack.flows]
    assert len(set(drawn)) == 3 and tuple(drawn) == stack.degrees
    assert stack == nfref.MAF(5, 3, (9, 8), degrees="random")
    assert stack == nfref.MAF(5, 3, (9, 8), degrees=stack.degrees) != nfref.MAF(5, 3, (9, 8))
    strict = np.tile(np.less.outer(np.arange(5), np.arange(5)), 2)
    assert not np.any(connected(made.masks) & ~strict)


@pytest.mark.parametrize(
    "degrees, message",
    [
        ("odd", "^degrees: expected one of even, random; got 'odd'$"),
        (((1, 2),), r"^degrees: expected \(3,\) numbers, one a hidden unit; got \(2,\)$"),
        (((1, 2, 3),), "^degrees: expected whole numbers from 1 to 2, got"),
    ],
)
def test_degrees_that_are_not(degrees, message):
    with pytest.raises(ValueError, match=message):
        nfref.MADE(3, (3,), degrees=degrees)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"orders": "sideways"}, "^orders: expected one of alternate, natural; got 'sideways'$"),
        ({"orders": [(0, 1, 2)]}, "^orders: expected 2, one a layer; got 1$"),
        ({"layers": 0}, "^layers: expected at least 1, got 0$"),
        ({"dim": 0}, "^dim: expected at least 1, got 0$"),
        ({"degrees": "odd"}, "^degrees: expected one of even, random; got 'odd'$"),
        ({"degrees": [((1,) * 5,)]}, "^degrees: expected 2 sets, one a layer; got 1$"),
        (
            {"degrees": [((1,) * 5,), ((3,) * 5,)]},
            "^degrees: expected whole numbers from 1 to 2, got",
        ),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        nfref.MAF(**{"dim": 3, "layers": 2, "hidden": (5,), **arguments})


def test_an_order_is_a_permutation():
    with pytest.raises(ValueError, match="^order: expected a permutation of 0 ... 2, got"):
        nfref.MADE(3, (5,), order=(0, 1, 1))
