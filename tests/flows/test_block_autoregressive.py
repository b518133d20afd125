"""Block neural autoregressive flow: the paper's network, roots far out, its bounds, bad input."""

import numpy as np
import pytest

import nfref
from nfref.flows import block_autoregressive
from nfref.runtime import params as trees
from tests.finite_differences.contract import contract_test
from tests.flow_table import Entry, random_params


def lower(flow):
    return np.tri(flow.dim, dtype=bool)


CONTRACT = {
    "Block NAF": Entry(lambda d, c: nfref.BlockNAF(d, (3,)), dims=(1, 2, 3, 5), pattern=lower),
    "Block NAF, deep": Entry(
        lambda d, c: nfref.BlockNAF(d, (2, 3)), dims=(1, 3), pattern=lower, costly=True
    ),
}
test_contract = contract_test(CONTRACT)


def drawn(flow, seed=0, dtype=np.float64):
    params = random_params(flow, np.random.default_rng(seed))
    return trees.cast(params, np.dtype(dtype))


def test_in_the_letters_of_its_paper():
    """W = g(exp(w) on the diagonal + w below), y = W tanh(...) + b; its Jacobian by products."""
    dim, flow = 3, nfref.BlockNAF(3, (4, 2))
    params, x = drawn(flow), np.random.default_rng(1).standard_normal(3)
    h, jacobian = x, np.eye(dim)
    for k, layer in enumerate(params["net"]):
        w = layer["weight"].T  # rows are the units that a layer makes
        coordinate = [np.arange(size) % dim for size in w.shape]
        same = coordinate[0][:, None] == coordinate[1]
        before = coordinate[0][:, None] > coordinate[1]
        v = np.exp(w) * same + w * before
        matrix = np.exp(layer["log_scale"])[:, None] * v / np.linalg.norm(v, axis=1)[:, None]
        if k:
            jacobian, h = (1 - np.tanh(h) ** 2)[:, None] * jacobian, np.tanh(h)
        h, jacobian = matrix @ h + layer["bias"], matrix @ jacobian
    gate = 1 / (1 + np.exp(-params["gate"]))
    z, log_det = flow.inverse(params, x[None])
    np.testing.assert_allclose(z[0], gate * x + (1 - gate) * h, rtol=1e-13)
    full = gate * np.eye(dim) + (1 - gate) * jacobian
    np.testing.assert_allclose(log_det, np.linalg.slogdet(full)[1], rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_latents_come_back_however_far_they_are_out(dtype):
    flow = nfref.BlockNAF(2, (3, 2))
    params = drawn(flow, 2, dtype)
    sizes = np.array([[10.0**k, -(10.0**k)] for k in range(-3, 9)], dtype)
    z = np.concatenate([sizes, sizes[:, ::-1], 1e8 * sizes[:3]])
    x, log_det = flow.forward(params, z)
    again, back = flow.inverse(params, x)
    eps = np.finfo(dtype).eps
    assert x.dtype == log_det.dtype == dtype
    np.testing.assert_allclose(again, z, rtol=64 * eps, atol=64 * eps)
    np.testing.assert_allclose(back, -log_det, atol=64 * eps)


def test_ends_enclose_the_root():
    """At the ends z is too small and too large, for gates of any size."""
    for gate in (-6.0, 0.0, 6.0):
        flow = nfref.BlockNAF(3, (4,))
        params = {**drawn(flow, 3), "gate": np.array(gate)}
        z = 3 * np.random.default_rng(4).standard_normal((50, 3))
        x, _ = flow.forward(params, z)
        h = flow.conditioner(params)(x)
        low, high = block_autoregressive.ends_of_network(z, *h)
        assert np.all(low - x <= 1e-14 * abs(x)) and np.all(x - high <= 1e-14 * abs(x))
        rounding = 1e-14 * (1 + abs(z))  # where all tanh are at their bounds, an end is the root
        assert np.all(block_autoregressive.monotone_network(low, *h)[0] <= z + rounding)
        assert np.all(block_autoregressive.monotone_network(high, *h)[0] >= z - rounding)


def test_a_closed_gate_leaves_the_bounded_network():
    """With g at 0 the log-determinant is that of the products alone, far out too."""
    flow = nfref.BlockNAF(1, (3,))
    params = {**drawn(flow, 5), "gate": np.array(-500.0)}
    x = np.array([[0.3], [40.0]])
    z, log_det = flow.inverse(params, x)
    first, last = params["net"]
    u = 40 * np.exp(first["log_scale"]) + first["bias"]
    own = last["weight"][:, 0]
    log_last = own + last["log_scale"] - np.log(np.sum(np.exp(2 * own))) / 2
    terms = log_last + first["log_scale"] + 2 * (np.log(2) - np.logaddexp(u, -u))
    np.testing.assert_allclose(log_det[1], np.logaddexp.reduce(terms), rtol=1e-12)
    assert np.all(np.isfinite(z)) and log_det[1] < -10


@pytest.mark.parametrize(
    "options, message",
    [
        ({"dim": 0}, "^dim: expected at least 1, got 0$"),
        ({"hidden": ()}, "^hidden: expected at least one layer, got none$"),
        ({"hidden": (3, 0)}, "^hidden: expected at least 1, got 0$"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        nfref.BlockNAF(**{"dim": 2, **options})
