"""RNODE's penalties: integrals along the path, and the objective with its gradients."""

from dataclasses import replace

import numpy as np
import pytest
from autograd import grad

import nfref
from nfref.objectives.path_penalties import PathLikelihood
from tests.continuous.cases import filled
from tests.continuous.gradients import DIRECT, TIGHT, check_gradient


@pytest.mark.parametrize("trace", ["exact", "brute"])
@pytest.mark.parametrize("hidden", [(), (6,)])
def test_penalties_are_the_integrals_along_the_path(hidden, trace):
    rng = np.random.default_rng(8)
    flow = nfref.CNF(2, hidden, trace=trace, **TIGHT)
    params, x = filled(flow, rng, gain=1.5), rng.standard_normal((5, 2))
    nodes, weights = np.polynomial.legendre.leggauss(30)
    times = np.concatenate([[1.0], (1 - nodes) / 2, [0.0]])
    path = flow.trajectory(params, x, times, norm=trace)
    # Recompute velocity and Jacobian at quadrature nodes, the latter by finite differences.
    kinetic, jacobian_norm, step = 0.0, 0.0, 1e-5
    for t, z, weight in zip(times[1:-1], path.values[1:-1], weights / 2):
        kinetic = kinetic + weight * np.sum(flow.velocity(params, t, z) ** 2, axis=1)
        for move in step * np.eye(2):
            slope = flow.velocity(params, t, z + move) - flow.velocity(params, t, z - move)
            jacobian_norm = jacobian_norm + weight * np.sum((slope / (2 * step)) ** 2, axis=1)
    np.testing.assert_allclose(-path.kinetic[-1], kinetic, rtol=1e-5)
    np.testing.assert_allclose(-path.jacobian[-1], jacobian_norm, rtol=1e-5)
    _, _, ours, norms = flow.solve_with_penalties(params, x, None, trace)
    np.testing.assert_allclose(ours, -path.kinetic[-1], rtol=1e-8)
    np.testing.assert_allclose(norms, -path.jacobian[-1], rtol=1e-8)


def density_of(flow):
    return nfref.Density(nfref.Chain([flow, nfref.Standardise((1.0, -2.0), (2.0, 0.5))]))


@pytest.mark.parametrize(
    "trace, hidden",
    [
        ("exact", (4,)),
        ("brute", (4,)),
        ("hutchinson", (4,)),
        pytest.param("exact", (4, 3), marks=pytest.mark.thorough),
    ],
)
def test_the_objective_and_both_its_gradients(trace, hidden):
    rng = np.random.default_rng(9)
    flow = nfref.CNF(2, hidden, solver="dop853", rtol=1e-9, atol=1e-9)
    density = density_of(flow)
    params = density.init(rng)
    params["flow"][0] = filled(flow, rng, gain=1.5)
    x = rng.standard_normal((4, 2))
    objective = PathLikelihood(0.3, 0.2, trace=trace)

    def loss(density):
        # The same generator state each time: the same probes.
        return lambda params: objective(density, params, x, None, np.random.default_rng(1))

    for ours in (density, density_of(replace(flow, **DIRECT))):
        gradient = grad(loss(ours))(params)["flow"][0]
        check_gradient(
            gradient,
            lambda net: loss(density)({"base": {}, "flow": [net, {}]}),
            params["flow"][0],
            np.random.default_rng(2),
            count=4,
            rtol=1e-6,
            atol=1e-6,
        )


def test_without_penalties_the_objective_is_the_likelihood():
    rng = np.random.default_rng(10)
    density = density_of(nfref.CNF(2, (6, 5)))
    params = density.init(rng)
    params["flow"][0] = filled(density.flow.flows[0], rng)
    x = rng.standard_normal((6, 2))
    nats = -density.log_prob(params, x).mean()
    assert PathLikelihood()(density, params, x, None, rng) == pytest.approx(nats, abs=1e-12)
    penalised = PathLikelihood(0.1, 0.0, trace="brute")(density, params, x, None, rng)
    assert penalised > nats
    noisy = [
        PathLikelihood(trace="hutchinson", probes=4)(density, params, x, None, rng)
        for _ in range(200)
    ]
    assert abs(np.mean(noisy) - nats) < 4 * np.std(noisy) / 200**0.5 + 1e-4


def test_the_objective_refuses_what_it_cannot_do():
    density = nfref.Density(nfref.RealNVP(2))
    params = density.init(np.random.default_rng(0))
    with pytest.raises(ValueError, match="density: expected a CNF in its flow, got RealNVP"):
        PathLikelihood()(density, params, np.zeros((3, 2)), None, np.random.default_rng(0))
    with pytest.raises(ValueError, match="kinetic: expected a finite number of at least 0"):
        PathLikelihood(kinetic=-1.0)
    with pytest.raises(ValueError, match="trace: expected one of"):
        PathLikelihood(trace="guess")
