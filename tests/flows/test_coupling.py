"""Coupling layers, their masks and the stacks made of them."""

import numpy as np
import pytest

import nfref
from nfref.networks.mlp import mlp
from tests.finite_differences import subject_of
from tests.finite_differences.contract import contract_test
from tests.flow_table import COUPLING_DIMS, Entry, hidden, stays

MASK = (True, False, False, True, False)


def coupling(transformer, parity=0):
    return lambda dim, context_dim: nfref.Coupling(
        nfref.alternating_mask(dim, parity), transformer, hidden(dim), context_dim, "tanh"
    )


def coupled(flow):
    """Return what row i of dx/dz depends on: i and, for a changing i, what stays."""
    stays = np.array(flow.mask)
    return np.eye(flow.dim, dtype=bool) | (~stays[:, None] & stays[None, :])


def half_mask(dim):
    """The first half stays: with odd dims the halves differ in size."""
    return tuple(i < dim // 2 for i in range(dim))


CONTRACT = {
    "Coupling, additive": Entry(
        coupling(nfref.Additive(), parity=1),
        dims=COUPLING_DIMS,
        context=True,
        log_det="zero",
        pattern=coupled,
        ignores_context=stays,
    ),
    "Coupling": Entry(
        coupling(nfref.Affine()),
        dims=COUPLING_DIMS,
        context=True,
        pattern=coupled,
        ignores_context=stays,
    ),
    "Coupling, tanh": Entry(
        coupling(nfref.Affine("tanh")),
        dims=COUPLING_DIMS,
        context=True,
        pattern=coupled,
        ignores_context=stays,
    ),
    "Coupling, gate": Entry(
        coupling(nfref.Affine("gate")),
        dims=COUPLING_DIMS,
        context=True,
        pattern=coupled,
        ignores_context=stays,
    ),
    "Coupling, halves": Entry(
        lambda d, c: nfref.Coupling(half_mask(d), nfref.Affine(), hidden(d), c, "softplus"),
        dims=COUPLING_DIMS,
        context=True,
        pattern=coupled,
        ignores_context=stays,
    ),
    "NICE": Entry(
        lambda d, c: nfref.NICE(d, 3, hidden(d), c, "tanh"),
        dims=COUPLING_DIMS,
        context=True,
        log_det="constant",
    ),
    "RealNVP": Entry(
        lambda d, c: nfref.RealNVP(d, 3, hidden(d), c, "tanh"), dims=COUPLING_DIMS, context=True
    ),
    "RealNVP, relu": Entry(
        lambda d, c: nfref.RealNVP(d, 2, hidden(d), c, "relu"),
        dims=COUPLING_DIMS,
        context=True,
        integrable=False,
    ),
    "RealNVP, batch norm": Entry(
        lambda d, c: nfref.RealNVP(d, 2, hidden(d), c, "tanh", batch_norm=True),
        dims=COUPLING_DIMS,
        context=True,
    ),
}
test_contract = contract_test(CONTRACT)


def test_affine_coupling_is_the_formula():
    """x_i = z_i exp(s_i) + t_i for the changed ones, written scalar by scalar."""
    flow = nfref.Coupling(MASK, nfref.Affine(bound=2.0), (6,), 2, "tanh")
    subject = subject_of(flow, seed=1)
    x, log_det = subject.run("forward")
    stay, change = np.flatnonzero(MASK), np.flatnonzero(np.logical_not(MASK))
    np.testing.assert_array_equal(x[:, stay], subject.z[:, stay])
    for n, row in enumerate(subject.z):
        out = mlp(
            subject.params["net"], np.concatenate([row[stay], subject.context[n]])[None], "tanh"
        )[0]
        shift, raw = out[:3], out[3:]
        scale = raw / np.sqrt(1 + (raw / 2.0) ** 2)
        np.testing.assert_allclose(x[n, change], row[change] * np.exp(scale) + shift, rtol=1e-12)
        np.testing.assert_allclose(log_det[n], np.sum(scale), rtol=1e-12, atol=1e-14)


def test_additive_coupling_keeps_volume_exactly():
    subject = subject_of(nfref.Coupling(MASK, nfref.Additive(), (6,)), seed=1)
    for direction in ("forward", "inverse"):
        np.testing.assert_array_equal(subject.run(direction)[1], 0)
    assert np.max(np.abs(subject.run("forward")[0] - subject.z)) > 0.1


def test_scales_stay_within_the_bound_and_never_stick():
    """Conditioner outputs of 1e3 give log-scales just inside the bound, with a nonzero slope."""
    flow = nfref.Coupling((True, False), nfref.Affine(bound=2.0), ())
    for raw in (1e3, -1e3):
        params = {"net": [{"weight": np.zeros((1, 2)), "bias": np.array([0.0, raw])}]}
        _, log_det = flow.forward(params, np.ones((1, 2)))
        assert 1.9 < abs(log_det[0]) < 2 and np.sign(log_det[0]) == np.sign(raw)


@pytest.mark.parametrize("dim", [2, 3, 5, 8])
@pytest.mark.parametrize("make", [nfref.NICE, nfref.RealNVP])
def test_alternating_masks_change_every_coordinate(make, dim):
    stack = make(dim, 2, (4,))
    masks = np.array([flow.mask for flow in stack.flows if hasattr(flow, "mask")])
    np.testing.assert_array_equal(masks[0], ~masks[1])
    assert masks.shape == (2, dim)


def test_image_masks():
    board = np.reshape(nfref.checkerboard_mask((2, 2, 3)), (2, 2, 3))
    np.testing.assert_array_equal(board[0], [[False, True, False], [True, False, True]])
    np.testing.assert_array_equal(board[0], board[1])
    np.testing.assert_array_equal(
        np.logical_not(nfref.checkerboard_mask((2, 2, 3), 1)).ravel(), board.ravel()
    )
    halves = np.reshape(nfref.channel_mask((4, 1, 2), 0), (4, 2))
    np.testing.assert_array_equal(halves, [[True] * 2, [True] * 2, [False] * 2, [False] * 2])
    np.testing.assert_array_equal(nfref.channel_mask((4, 1, 2), 1), ~halves.ravel())


@pytest.mark.parametrize("make", [nfref.NICE, nfref.RealNVP])
def test_one_coordinate_cannot_couple(make):
    with pytest.raises(
        ValueError, match=f"^{make.__name__}: expected dim of at least 2, because .*; got 1$"
    ):
        make(1)


@pytest.mark.parametrize("mask", [(True, True), (False, False), (True,), ()])
def test_a_mask_needs_both_kinds(mask):
    with pytest.raises(ValueError, match="^Coupling: expected a mask with at least one "):
        nfref.Coupling(mask)


def test_a_transformer_is_one():
    for make in (
        lambda: nfref.Coupling((True, False), "affine"),
        lambda: nfref.MADE(2, (3,), None),
        lambda: nfref.RealNVP(2, transformer=5.0),
    ):
        with pytest.raises(TypeError, match="^transformer: expected a Transformer such as "):
            make()


def test_what_is_not_a_number_stays_where_it_is():
    """No other coordinate reads a coordinate that changes."""
    flow = nfref.Coupling(MASK, hidden=(6,))
    params = flow.init(np.random.default_rng(0))
    z = np.ones((1, 5))
    z[0, 1] = np.nan
    x, _ = flow.forward(params, z)
    np.testing.assert_array_equal(np.isnan(x), np.isnan(z))


def test_a_fresh_stack_is_the_identity():
    """The conditioners' last layers start at zero."""
    z = np.random.default_rng(0).standard_normal((4, 3))
    for flow in (nfref.NICE(3), nfref.RealNVP(3), nfref.MAF(3), nfref.IAF(3)):
        x, log_det = flow.forward(flow.init(np.random.default_rng(1)), z)
        np.testing.assert_array_equal(x, z)
        np.testing.assert_array_equal(log_det, 0)
