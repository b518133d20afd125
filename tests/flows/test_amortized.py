"""Amortized flows: the inner flow at the network's parameters, row by row."""

import numpy as np
import pytest
from autograd import grad

import nfref
from nfref.flows.amortized import same_rows
from nfref.networks.mlp import mlp
from nfref.runtime.params import flatten
from tests.finite_differences.contract import contract_test
from tests.flow_table import Entry, random_params

CONTRACT = {
    "Amortized": Entry(
        lambda d, c: nfref.Amortized(nfref.PlanarLayer(d), c or 1, (4,)),
        dims=(1, 2, 3),
        context=True,
        costly=True,
    )
}
test_contract = contract_test(CONTRACT)


@pytest.fixture(scope="module")
def subject():
    flow = nfref.Amortized(nfref.MAF(2, layers=2, hidden=(5,)), 1, (6,))
    return flow, random_params(flow, np.random.default_rng(0), 0.5)


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_each_row_has_the_parameters_of_its_context(subject, direction):
    """Compare with the inner flow, called row by row with theta_0 + network(c)."""
    flow, params = subject
    rng = np.random.default_rng(1)
    rows, context = rng.standard_normal((9, 2)), rng.integers(3, size=(9, 1)) - 1.0
    value, log_det = getattr(flow, direction)(params, rows, context)
    vector, unflatten = flatten(params["flow"])
    for n in range(9):
        theta = unflatten(vector + mlp(params["network"], context[n : n + 1], "tanh")[0])
        alone, own = getattr(flow.flow, direction)(theta, rows[n : n + 1])
        np.testing.assert_allclose(value[n], alone[0], rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(log_det[n], own[0], rtol=1e-13, atol=1e-13)


def test_it_starts_as_the_flow_itself():
    flow = nfref.Amortized(nfref.RealNVP(2, layers=2, hidden=(4,)), 3)
    params = flow.init(np.random.default_rng(2))
    z, context = np.random.default_rng(3).standard_normal((5, 2)), np.arange(15.0).reshape(5, 3)
    np.testing.assert_array_equal(
        flow.forward(params, z, context)[0],
        np.concatenate([flow.flow.forward(params["flow"], row[None])[0] for row in z]),
    )


def test_a_class_costs_one_call(subject, monkeypatch):
    flow, params = subject
    calls = []
    inner = type(flow.flow)._inverse
    monkeypatch.setattr(
        type(flow.flow), "_inverse", lambda self, *rest: calls.append(1) or inner(self, *rest)
    )
    rows = np.random.default_rng(4).standard_normal((100, 2))
    flow.inverse(params, rows, (np.arange(100) % 4)[:, None])
    assert len(calls) == 4


def test_rows_of_one_context_have_gradients_of_their_own(subject):
    """Compare with central differences; two rows of the same context do not mix."""
    flow, params = subject
    rows = np.random.default_rng(5).standard_normal((3, 2))
    context = np.array([[0.4], [0.4], [-1.0]])

    def total(context):
        z, log_det = flow.inverse(params, rows, context)
        return (z**2).sum() + log_det.sum()

    found = grad(total)(context)
    for n in range(3):
        step = np.zeros((3, 1))
        step[n] = 1e-5
        numeric = (total(context + step) - total(context - step)) / 2e-5
        assert found[n, 0] == pytest.approx(numeric, rel=1e-6, abs=1e-8)
    assert abs(found[0, 0] - found[1, 0]) > 1e-3


def test_groups_of_equal_rows():
    groups = same_rows(np.array([[1.0, 2], [0, 2], [1, 2], [0, 3], [0, 2]]))
    assert sorted(map(tuple, groups)) == [(0, 2), (1, 4), (3,)]
    assert [list(group) for group in same_rows(np.zeros((2, 1)))] == [[0, 1]]


def test_it_learns_what_depends_on_the_class():
    """Two classes have different normals; a flow without a context of its own learns both."""
    rng = np.random.default_rng(6)
    label = rng.integers(2, size=(600, 1)).astype(float)
    x = np.where(label, 3.0, -1.0) + np.where(label, 0.5, 2.0) * rng.standard_normal((600, 1))
    density = nfref.Density(nfref.Amortized(nfref.ElementwiseAffine(1), 1, (4,)))
    found = nfref.fit(
        density,
        density.init(rng),
        x,
        rng,
        context=label,
        validation=None,
        epochs=40,
        batch_size=100,
        learning_rate=3e-2,
        patience=None,
        progress=False,
    )
    for c, mean, std in ((0.0, -1.0, 2.0), (1.0, 3.0, 0.5)):
        own = x[label[:, 0] == c]
        y = np.array([[np.mean(own)], [np.mean(own) + np.std(own)]])
        log_prob = density.log_prob(found.params, y, np.full((2, 1), c))
        # The best normal of the class: its density at the mean and one standard deviation away.
        best = -np.log(np.std(own)) - 0.5 * np.log(2 * np.pi) - np.array([0, 0.5])
        np.testing.assert_allclose(log_prob, best, atol=0.1)


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: nfref.Amortized(3, 1), TypeError, "flow: expected a flow, got int"),
        (
            lambda: nfref.Amortized(nfref.PlanarLayer(2, 1), 1),
            ValueError,
            "flow: expected one without a context, got context_dim 1",
        ),
        (
            lambda: nfref.Amortized(nfref.BatchNorm(2), 1),
            ValueError,
            "flow: expected one that is the",
        ),
        (
            lambda: nfref.Amortized(nfref.Permutation((1, 0)), 1),
            ValueError,
            "flow: expected one with parameters",
        ),
        (lambda: nfref.Amortized(nfref.PlanarLayer(2), 0), ValueError, "context_dim: expected"),
        (lambda: nfref.Amortized(nfref.PlanarLayer(2), 1, (0,)), ValueError, "hidden: expected"),
        (lambda: nfref.Amortized(nfref.PlanarLayer(2), 1, (3,), "sin"), ValueError, "activation:"),
    ],
)
def test_arguments_are_checked(make, error, message):
    with pytest.raises(error, match=f"^{message}"):
        make()
