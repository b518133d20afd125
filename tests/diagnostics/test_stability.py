"""Bi-Lipschitz constants and reconstruction errors, against maps where both are known."""

import numpy as np
import pytest

import nfref
from nfref import diagnostics
from nfref.oracle import adapters
from tests.flow_table import random_params

EPS32 = 2.0**-24


def linear(matrix):
    return lambda rows: rows @ matrix.T.astype(rows.dtype)


def with_singular_values(values, seed=0):
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.standard_normal((len(values),) * 2))[0] for _ in range(2))
    return left @ np.diag(values) @ right


# Bi-Lipschitz constants --------------------------------------------------------------------


def test_a_linear_map_has_the_singular_values_it_was_made_of():
    matrix = with_singular_values([1e3, 2.0, 0.5, 1e-3])
    rows = np.random.default_rng(1).standard_normal((7, 4))
    found = diagnostics.bi_lipschitz(linear(matrix), rows)
    np.testing.assert_allclose(found.upper, 1e3, rtol=1e-9)
    np.testing.assert_allclose(found.lower, 1e-3, rtol=1e-4)
    np.testing.assert_allclose(found.condition, 1e6, rtol=1e-4)


def test_a_curved_map_by_its_jacobian_on_paper():
    """f(a, b) = (a, b e^a): the Jacobian [[1, 0], [b e^a, e^a]] by hand."""
    rows = np.random.default_rng(2).uniform(-3, 3, (50, 2))

    def coupling(rows):
        a, b = rows.T
        return np.stack([a, b * np.exp(a)], axis=1), a

    found = diagnostics.bi_lipschitz(coupling, rows)
    for (a, b), lower, upper in zip(rows, found.lower, found.upper):
        singular = np.linalg.svd([[1, 0], [b * np.exp(a), np.exp(a)]], compute_uv=False)
        assert upper == pytest.approx(singular[0], rel=1e-7)
        assert lower == pytest.approx(singular[1], rel=1e-5)


def test_the_inverse_has_the_reciprocal_constants():
    flow = nfref.NSF(3, layers=2, hidden=(8,))
    params = random_params(flow, np.random.default_rng(3))
    z = np.random.default_rng(4).standard_normal((20, 3))
    x, log_det = flow.forward(params, z)
    there = diagnostics.bi_lipschitz(lambda rows: flow.forward(params, rows), z)
    back = diagnostics.bi_lipschitz(lambda rows: flow.inverse(params, rows), x)
    np.testing.assert_allclose(there.lower * back.upper, 1, rtol=1e-4)
    np.testing.assert_allclose(there.upper * back.lower, 1, rtol=1e-4)
    assert np.all(3 * np.log(there.lower) <= log_det) and np.all(log_det <= 3 * np.log(there.upper))


def test_a_residual_flow_keeps_the_bounds_it_promises():
    """x + g(x) with Lip(g) <= L: every block stretches by 1 - L at least and by 1 + L at most."""
    flow = nfref.ResidualFlow(2, layers=3, hidden=(16,), coefficient=0.9)  # two weights: L = 0.81
    params = random_params(flow, np.random.default_rng(5), 3.0)
    x = np.random.default_rng(6).standard_normal((30, 2))
    found = diagnostics.bi_lipschitz(lambda rows: flow.inverse(params, rows), x)
    assert np.max(found.upper) <= 1.81**3 and np.min(found.lower) >= 0.19**3
    assert np.max(found.condition) > 1.2  # and it is not the identity


def test_blocks_and_dtypes(monkeypatch):
    matrix = with_singular_values([5.0, 1.0, 0.2])
    rows = np.random.default_rng(7).standard_normal((11, 3))
    whole = diagnostics.bi_lipschitz(linear(matrix), rows)
    monkeypatch.setattr("nfref.diagnostics.stability.BLOCK", 40)
    parts = diagnostics.bi_lipschitz(linear(matrix), rows)
    np.testing.assert_array_equal(whole.upper, parts.upper)
    single = diagnostics.bi_lipschitz(linear(matrix), rows.astype(np.float32))
    assert single.upper.dtype == np.float32
    np.testing.assert_allclose(single.upper, 5, rtol=1e-3)
    np.testing.assert_allclose(single.lower, 0.2, rtol=0.02)


def test_where_a_map_is_not_finite_its_constants_are_not_numbers():
    found = diagnostics.bi_lipschitz(np.log, np.array([[-1.0, 1.0], [2.0, 4.0]]))
    assert np.isnan(found.upper[0]) and found.upper[1] == pytest.approx(0.5)


# Reconstruction errors ---------------------------------------------------------------------


def test_the_error_of_a_round_trip_by_hand():
    rows = np.array([[3.0, 4.0], [0.0, 0.0]])
    error = diagnostics.reconstruction_error(lambda x: x + 1, lambda z: 2 * (z - 1), rows)
    np.testing.assert_allclose(error, [5, 0])


def test_the_error_grows_with_the_constant_of_the_inverse():
    """Rounding moves z by eps |z|, magnified by 1 / l, at the lost coordinate's scale."""
    rng = np.random.default_rng(8)
    rows = rng.standard_normal((200, 2)).astype(np.float32)
    for lower in (1e-1, 1e-2, 1e-3):
        matrix = with_singular_values([1.0, lower])
        error = diagnostics.reconstruction_error(
            linear(matrix), linear(np.linalg.inv(matrix)), rows
        )
        assert 0.1 * EPS32 / lower < np.median(error) < 10 * EPS32 / lower
    exact = diagnostics.reconstruction_error(
        linear(matrix), linear(np.linalg.inv(matrix)), rows.astype(float)
    )
    assert np.max(exact) < 1e-11


def test_a_trip_that_leaves_the_numbers_is_infinitely_wrong():
    rows = np.array([[0.0], [200.0]], np.float32)
    error = diagnostics.reconstruction_error(np.exp, np.log, rows)
    assert error[0] == 0 and error[1] == np.inf


def test_a_coupling_explodes_and_a_bounded_one_does_not():
    """In x_2 = z_2 e^s + t with s = t = z_1, t absorbs a part that e^-s makes small."""
    rows = np.array([[0.5, 1.0], [12.0, 1.0], [100.0, 1.0]], np.float32)

    def error(log_scale):
        def forward(z):
            return np.stack([z[:, 0], z[:, 1] * np.exp(log_scale(z[:, 0])) + z[:, 0]], axis=1)

        def inverse(x):
            return np.stack([x[:, 0], (x[:, 1] - x[:, 0]) * np.exp(-log_scale(x[:, 0]))], axis=1)

        return diagnostics.reconstruction_error(forward, inverse, rows)

    free, bounded = error(lambda s: -s), error(lambda s: -2 * np.tanh(s / 2))
    assert free[0] < 1e-6 and 1e-3 < free[1] < 1 and free[2] >= 1
    assert np.max(bounded) < 100 * EPS32 * np.exp(2)


# Other libraries' flows --------------------------------------------------------------------


@pytest.mark.peers
@pytest.mark.parametrize("library", ["zuko", "nflows"])
def test_flows_of_torch_by_the_adapters(library):
    """The numbers are those of torch's Jacobian; the round trip uses the requested dtype."""
    import torch

    torch.manual_seed(0)
    if library == "zuko":
        import zuko

        flow = zuko.flows.MAF(3, 0, transforms=2, hidden_features=(16,))
    else:
        from nflows.nn.nets import ResidualNet
        from nflows.transforms import AffineCouplingTransform

        flow = AffineCouplingTransform(
            [0, 1, 0], lambda i, o: ResidualNet(i, o, hidden_features=16)
        )
    functions = adapters.of(flow, rng=np.random.default_rng(0))
    x = np.random.default_rng(9).standard_normal((5, 3))
    found = diagnostics.bi_lipschitz(functions["inverse"], x)
    _, log_det = functions["inverse"](x)
    for row, lower, upper in zip(x, found.lower, found.upper):
        jacobian = torch.autograd.functional.jacobian(
            lambda r: _latent_of_torch(library, flow.double(), r), torch.from_numpy(row[None])
        )
        singular = np.linalg.svd(jacobian.numpy().reshape(3, 3), compute_uv=False)
        assert (lower, upper) == pytest.approx((singular[-1], singular[0]), rel=1e-5)
    assert np.all(3 * np.log(found.lower) <= log_det)
    single = adapters.of(flow, rng=np.random.default_rng(0), dtype=np.float32)
    in_float32 = diagnostics.reconstruction_error(
        single["inverse"], single["forward"], x.astype(np.float32)
    )
    in_float64 = diagnostics.reconstruction_error(functions["inverse"], functions["forward"], x)
    assert np.max(in_float64) < 1e-12 and 1e-9 < np.max(in_float32) < 1e-4


def _latent_of_torch(library, flow, rows):
    return flow().transform(rows) if library == "zuko" else flow(rows)[0]


# Arguments ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, error, message",
    [
        (
            lambda: diagnostics.bi_lipschitz(None, np.zeros((1, 1))),
            TypeError,
            "function: expected a c",
        ),
        (lambda: diagnostics.bi_lipschitz(np.sin, np.zeros(3)), ValueError, r"rows: .*got \(3,\)"),
        (
            lambda: diagnostics.bi_lipschitz(np.sin, np.zeros((0, 3))),
            ValueError,
            r"rows: .*\(0, 3\)",
        ),
        (lambda: diagnostics.bi_lipschitz(np.sin, [[np.nan]]), ValueError, "rows: expected finite"),
        (
            lambda: diagnostics.bi_lipschitz(np.sin, [[1.0]], step=0),
            ValueError,
            "step: expected a fin",
        ),
        (
            lambda: diagnostics.bi_lipschitz(lambda x: x[:, 0], np.ones((2, 2))),
            ValueError,
            r"function: expected values of shape \(4, 2\), got \(4,\)",
        ),
        (
            lambda: diagnostics.reconstruction_error(np.sin, 3, [[1.0]]),
            TypeError,
            "back: expected a c",
        ),
        (
            lambda: diagnostics.reconstruction_error(np.sin, np.sum, [[1.0]]),
            ValueError,
            "function: expected values of shape",
        ),
    ],
)
def test_arguments_are_checked(call, error, message):
    with pytest.raises(error, match=f"^{message}"):
        call()
