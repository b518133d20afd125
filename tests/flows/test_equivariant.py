"""Flows of particles: symmetries, the divergence, the centre of mass, and flow matching."""

from dataclasses import replace

import numpy as np
import pytest

import nfref
from nfref.flows import equivariant
from nfref.objectives.flow_matching import FlowMatching
from tests.finite_differences.contract import contract_test
from tests.flow_table import Entry, random_params

TIGHT = {"solver": "dop853", "rtol": 1e-9, "atol": 1e-9}

CONTRACT = {
    "EquivariantCNF": Entry(
        lambda d, c: nfref.EquivariantCNF(d, d // 2, kernels=5, times=3, **TIGHT),
        dims=(4, 6),
        precision=1e-7,
        reach=10.0,
    )
}
test_contract = contract_test(CONTRACT)


def made(particles, n, size=0.5, **options):
    flow = nfref.EquivariantCNF(particles * n, particles, kernels=12, times=4, **options)
    return flow, random_params(flow, np.random.default_rng(0), size)


SYMMETRIES = {
    "order": lambda x, rng: x[:, rng.permutation(x.shape[1])],
    "rotation or reflection": lambda x, rng: (
        x @ np.linalg.qr(rng.standard_normal((x.shape[2], x.shape[2])))[0]
    ),
    "reflection": lambda x, rng: x * np.where(np.arange(x.shape[2]) == 0, -1.0, 1.0),
    "shift": lambda x, rng: x + rng.standard_normal(x.shape[2]),
}


@pytest.mark.parametrize("particles, n", [(4, 2), (13, 3), (3, 1)])
@pytest.mark.parametrize("name", SYMMETRIES)
def test_symmetries_hold_to_twelve_digits(name, particles, n):
    flow, params = made(particles, n, 0.5 / particles)
    x = 1.5 * np.random.default_rng(1).standard_normal((20, particles, n))

    def act(x):
        x = SYMMETRIES[name](x.reshape(-1, particles, n), np.random.default_rng(2))
        return x.reshape(len(x), -1)

    for move in (flow.forward, flow.inverse):
        (first, log_det), (then, log_det_then) = (
            move(params, act(x)),
            move(params, x.reshape(20, -1)),
        )
        np.testing.assert_allclose(first, act(then), rtol=0, atol=1e-12)
        np.testing.assert_allclose(log_det, log_det_then, rtol=0, atol=1e-12)


@pytest.mark.parametrize("particles, n", [(2, 1), (4, 2), (13, 3)])
def test_divergence_is_the_trace_of_the_jacobian(particles, n):
    flow, params = made(particles, n)
    x, step = np.random.default_rng(1).standard_normal((3, flow.dim)), 1e-5

    def velocity(x):
        return flow._velocity_and_trace(params, 0.3, x)[0]

    slopes = [
        (velocity(x + e) - velocity(x - e))[:, k] / (2 * step)
        for k, e in enumerate(step * np.eye(flow.dim))
    ]
    found = flow._velocity_and_trace(params, 0.3, x)[1]
    np.testing.assert_allclose(found, np.sum(slopes, axis=0), rtol=1e-7, atol=1e-8)


def test_velocity_is_the_sum_over_pairs():
    flow, params = made(5, 3)
    x = np.random.default_rng(1).standard_normal((1, 5, 3))
    centres, hours = np.linspace(0, 8, 12), np.linspace(0, 1, 4)

    def strength(d, t):
        near = np.exp(-(((d - centres) * 11 / 8) ** 2))
        now = np.exp(-(((t - hours) * 3) ** 2))
        return near / near.sum() @ params["weights"] @ (now / now.sum())

    expected = [
        sum((a - b) * strength(np.linalg.norm(a - b), 0.3) for b in x[0] if b is not a)
        for a in x[0]
    ]
    found = flow._velocity_and_trace(params, 0.3, x.reshape(1, -1))[0]
    np.testing.assert_allclose(found.reshape(5, 3), expected, atol=1e-13)


def test_constant_strength_is_a_dilation():
    """With phi = c, a row without centre of mass grows by e^(M c), and the space by its power."""
    flow, _ = made(4, 2)
    z = nfref.CentredNormal(8, 4).sample({}, np.random.default_rng(3), 10)
    x, log_det = replace(flow, steps=100).forward({"weights": np.full((12, 4), 0.2)}, z)
    np.testing.assert_allclose(x, np.exp(0.8) * z, rtol=1e-8)
    np.testing.assert_allclose(log_det, 6 * 0.8, rtol=1e-12)


def test_log_determinant_on_the_space_without_centre_of_mass_is_the_same():
    flow, params = made(3, 2, **TIGHT)
    z = nfref.CentredNormal(6, 3).sample({}, np.random.default_rng(3), 5)
    frame = np.kron(np.linalg.qr(np.eye(3) - 1 / 3)[0][:, :2], np.eye(2))
    columns = [
        (flow.forward(params, z + e)[0] - flow.forward(params, z - e)[0]) @ frame / 2e-5
        for e in 1e-5 * frame.T
    ]
    log_det = np.linalg.slogdet(np.stack(columns, axis=2))[1]
    np.testing.assert_allclose(flow.forward(params, z)[1], log_det, atol=1e-6)


def test_far_rows_and_coinciding_particles_are_finite():
    flow, params = made(3, 2, 0.2)
    x = np.concatenate([np.zeros((1, 6)), 1e6 * np.random.default_rng(1).standard_normal((2, 6))])
    for found in (*flow.forward(params, x), *flow.inverse(params, x)):
        assert np.all(np.isfinite(found))
    shares = equivariant.gaussian_shares(np.array([1e6]), np.linspace(0, 8, 12), 0.7)
    np.testing.assert_allclose(shares, [[0] * 11 + [1]], atol=1e-15)


def test_flow_matching_learns_a_pair_at_a_distance():
    """Two particles on the line, at distance 3: by flow matching, then by likelihood."""
    rng = np.random.default_rng(0)
    away = 3 + 0.3 * rng.standard_normal((2000, 1))
    x = 0.5 * away * np.where(rng.random((2000, 1)) < 0.5, 1, -1) * np.array([1.0, -1.0])
    flow = nfref.EquivariantCNF(2, 2, kernels=16, times=6, reach=6.0)
    density = nfref.Density(flow, nfref.CentredNormal(2, 2))
    options = {"epochs": 20, "learning_rate": 0.05, "progress": False, "validation": None}
    params = nfref.fit(
        density, density.init(rng), x, rng, objective=FlowMatching(), **options
    ).params
    # x lies on a line, at |x| = away / sqrt(2): a mixture of two normals.
    scale = 0.3 / np.sqrt(2)
    truth = -np.mean(0.5 * ((away - 3) / 0.3) ** 2 + np.log(2 * scale * np.sqrt(2 * np.pi)))
    start = density.log_prob(density.init(rng), x).mean()
    assert start < truth - 1.5
    assert density.log_prob(params, x).mean() > truth - 0.3


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: nfref.EquivariantCNF(9, 4), "^particles: expected a divisor of dim 9, got 4$"),
        (lambda: nfref.EquivariantCNF(8, 1), "^particles: expected at least 2, got 1$"),
        (lambda: nfref.EquivariantCNF(8, 4, kernels=1), "^kernels: expected at least 2, got 1$"),
        (lambda: nfref.EquivariantCNF(8, 4, reach=0), "^reach: expected a finite number above 0"),
        (
            lambda: nfref.EquivariantCNF(8, 4).forward({"weights": np.zeros((40, 8))}, np.zeros(8)),
            r"^z: expected shape \(N, 8\), got \(8,\)",
        ),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
