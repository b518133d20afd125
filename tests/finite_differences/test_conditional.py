"""Conditional flows: p(x | c) is a density of x for every context c, and c moves it.

Some flows of the table take a context themselves. All others take one inside of
:class:`nfref.Amortized`.
"""

from dataclasses import replace

import numpy as np
import pytest

import nfref
from tests import finite_differences, flow_table
from tests.finite_differences import quadrature
from tests.finite_differences.case import FlowCase
from tests.flow_table import CONTEXT_DIM, random_params
from tests.test_declarations import exported, kinds_within

CONTEXTS = np.array([[0.0, 0.0], [1.0, -2.0], [-0.5, 3.0]])

TABLE = flow_table.flows()
# The table calls these not integrable: on a plane, 1e-6 takes long or cannot be reached. 1e-3 can.
ROUGH = {"CNF", "MADE, circular", "NSF, LU", "NSF, coupling"}
OWN = [
    (name, entry.dims[0])
    for name, entry in TABLE.items()
    if entry.context
    and (entry.dims[0] == 1 or entry.dims[0] == 2 and (entry.integrable or name in ROUGH))
]


def families():
    """Return name -> (flow without a context, entry) of the flows that a network conditions."""
    exact = flow_table.Entry(None)
    found = {
        "ResidualBlock, exact norms": (nfref.ResidualBlock(2, (4,), iterations=0), exact),
        "ResidualFlow, exact norms": (nfref.ResidualFlow(1, 2, (4,), iterations=0), exact),
    }
    for name, entry in TABLE.items():
        flow = entry.make(entry.dims[0], 0)
        learns = flow.init(np.random.default_rng(0))
        if nfref.in_training(flow) is flow and learns and not entry.costly:
            found[name] = flow, entry
    return found


FAMILIES = families()
ADAPTIVE = {"ProbabilityFlow", "EquivariantCNF"}  # many steps of a solver, seconds each


def mass(flow, params, context, most=512):
    """Return the integral of p(x | c) and its change at the last halving of the grid."""
    rows = np.zeros((1, flow.dim))
    subject = FlowCase(flow, params, rows, rows, context[None])
    return quadrature.integral(subject, most=most)[:2]


@pytest.mark.parametrize(
    "name, dim",
    [
        pytest.param(*case, marks=pytest.mark.thorough if case[0] == "MADE, circular" else ())
        for case in OWN
    ],
)
def test_it_integrates_to_one_for_every_context(name, dim):
    """The error is below 1e-6; below 1e-3 for splines on a plane, whose knots miss the grid."""
    tolerance, most = (1e-3, 256) if name in ROUGH else (1e-6, 512)
    flow = TABLE[name].make(dim, CONTEXT_DIM)
    params = random_params(flow, np.random.default_rng(1), 0.5)
    for context in CONTEXTS:
        total, change = mass(flow, params, context, most)
        assert abs(total - 1) < tolerance and change < 3 * tolerance, (context, total, change)


@pytest.mark.parametrize(
    "name", [name for name, (flow, entry) in FAMILIES.items() if entry.integrable and flow.dim <= 2]
)
def test_any_family_is_conditional_by_a_network(name):
    """The mass is one for every context, and two contexts give two densities."""
    inner, entry = FAMILIES[name]
    flow = nfref.Amortized(inner, CONTEXT_DIM, (4,))
    params = random_params(flow, np.random.default_rng(2), 0.3)
    densities = []
    for context in CONTEXTS:
        total, change = mass(flow, params, context)
        tolerance = max(1e-6, 10 * entry.precision)
        assert abs(total - 1) < tolerance and change < tolerance, (context, total, change)
        rows = (entry.data_rows or normal_rows)(np.random.default_rng(3), 5, flow.dim)
        densities.append(
            nfref.Density(flow).log_prob(
                {"base": {}, "flow": params}, rows, np.repeat(context[None], 5, axis=0)
            )
        )
    for k in range(len(CONTEXTS)):
        assert np.max(np.abs(densities[k] - densities[k - 1])) > 1e-3


def normal_rows(rng, n, dim):
    return rng.standard_normal((n, dim))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.thorough if name in ADAPTIVE else ())
        for name, (flow, entry) in FAMILIES.items()
        if not (entry.integrable and flow.dim <= 2)
    ],
)
def test_larger_families_are_conditional_by_a_network(name):
    """Where a grid is too large: compare the log-determinant with the Jacobian by autograd."""
    inner, entry = FAMILIES[name]
    flow = nfref.Amortized(inner, CONTEXT_DIM, (4,))
    known = replace(entry, pattern=None, ignores_context=None)  # these ask the flow inside
    subject = finite_differences.subject_of(flow, 4, entry=known, size=0.3)
    jacobian = subject.jacobian("forward")
    _, log_det = subject.run("forward")
    np.testing.assert_allclose(np.linalg.slogdet(jacobian)[1], log_det, rtol=1e-8, atol=1e-8)
    other = subject.run("forward", context=subject.context[::-1] + 1.0)[0]
    assert np.max(np.abs(other - subject.run("forward")[0])) > 1e-3


def test_no_family_is_left_out():
    """The tests above have every flow but those without parameters, and BatchNorm.

    Batch normalisation has statistics among its parameters. Costly flows take a context by
    themselves, and the contract examines them with nothing else.
    """
    conditional = set().union(
        *(kinds_within(flow) for flow, _ in FAMILIES.values()),
        *(
            kinds_within(entry.make(entry.dims[-1], CONTEXT_DIM))
            for entry in TABLE.values()
            if entry.costly and entry.context
        ),
    )
    flows = [entry.make(entry.dims[0], 0) for entry in TABLE.values()]
    fixed = {type(flow) for flow in flows if not flow.init(np.random.default_rng(0))}
    left = set(exported().values()) - conditional - fixed - {nfref.BatchNorm}
    assert not left, f"tests/flows/test_NAME.py: add an Entry to CONTRACT for each of {left}"
