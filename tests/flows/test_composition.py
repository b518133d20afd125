"""Chain and Invert: composition on top of the inner flows."""

import copy
import pickle

import numpy as np
import pytest

import nfref
from nfref.runtime.params import at_path
from tests.finite_differences.contract import contract_test
from tests.flow_table import Entry, bounds, hidden, random_params, rows_in_bounds, standardise


def units(dim, context_dim):
    """A flow on bounded data, in the data's own units."""
    return nfref.Chain(
        (
            nfref.MAF(dim, 2, hidden(dim), context_dim=context_dim, activation="tanh"),
            standardise(dim),
            nfref.Logit(*bounds(dim)),
        )
    )


def mixed(dim, context_dim):
    """Return nested chains and inverted flows; only one member takes the context."""
    inner = nfref.Chain(
        (nfref.ElementwiseAffine(dim), nfref.Invert(nfref.Planar(dim, 2, context_dim)))
    )
    return nfref.Chain(
        (inner, nfref.Scale(dim), nfref.Invert(nfref.MADE(dim, hidden(dim), activation="tanh")))
    )


CONTRACT = {
    "Chain in data units": Entry(units, context=True, data_rows=rows_in_bounds, reach=3.0),
    "Chain of Invert": Entry(mixed, context=True),
}
test_contract = contract_test(CONTRACT)


def parts(rng):
    flows = (
        nfref.PlanarLayer(3, 2),
        nfref.ElementwiseAffine(3),
        nfref.MADE(3, (6,), context_dim=2, activation="tanh"),
    )
    return flows, [random_params(flow, rng) for flow in flows]


def data(rng, n=5):
    return rng.standard_normal((n, 3)), rng.standard_normal((n, 2))


def test_chain_applies_in_list_order():
    """Apply members one by one, add log-determinants, pass a context only to those that take it."""
    rng = np.random.default_rng(0)
    flows, params = parts(rng)
    z, context = data(rng)
    x, total = z, 0.0
    for flow, own in zip(flows, params):
        x, log_det = flow.forward(own, x, context if flow.context_dim else None)
        total = total + log_det
    chain = nfref.Chain(flows)
    assert (chain.dim, chain.context_dim) == (3, 2)
    value, log_det = chain.forward(params, z, context)
    np.testing.assert_array_equal(value, x)
    np.testing.assert_allclose(log_det, total, rtol=1e-15)


def test_nesting_changes_nothing():
    rng = np.random.default_rng(1)
    flows, params = parts(rng)
    z, context = data(rng)
    flat = nfref.Chain(flows).forward(params, z, context)
    nested = nfref.Chain((nfref.Chain(flows[:2]), flows[2]))
    deep = nested.forward([params[:2], params[2]], z, context)
    np.testing.assert_array_equal(deep[0], flat[0])
    np.testing.assert_allclose(deep[1], flat[1], rtol=1e-14)


def test_inverting_a_chain_is_chaining_the_inverses_backwards():
    rng = np.random.default_rng(2)
    flows, params = parts(rng)
    z, context = data(rng)
    one = nfref.Invert(nfref.Chain(flows)).forward(params, z, context)
    other = nfref.Chain([nfref.Invert(flow) for flow in flows[::-1]]).forward(
        params[::-1], z, context
    )
    for a, b in zip(one, other):
        np.testing.assert_array_equal(a, b)
    twice = nfref.Invert(nfref.Invert(flows[0]))
    np.testing.assert_array_equal(
        twice.forward(params[0], z, context)[0], flows[0].forward(params[0], z, context)[0]
    )


@pytest.mark.parametrize("direction", [1, -1])
def test_members_are_the_flow_taken_apart(direction):
    """Members in sequence equal the whole, through chains, Invert and OnFirst."""
    rng = np.random.default_rng(4)
    inner = nfref.Chain([nfref.Invert(nfref.ElementwiseAffine(2)), nfref.LULinear(2)])
    flow = nfref.Chain([nfref.OnFirst(inner, 3), nfref.Invert(nfref.Chain(parts(rng)[0]))])
    params = random_params(flow, rng)
    start, context = data(rng)
    members = flow.members(direction)
    assert [(type(member).__name__, sign, path) for member, sign, path in members][::direction] == [
        ("OnFirst", -direction, (0, 0)),
        ("OnFirst", direction, (0, 1)),
        ("MADE", -direction, (1, 2)),
        ("ElementwiseAffine", -direction, (1, 1)),
        ("PlanarLayer", -direction, (1, 0)),
    ]
    rows, total = start, 0
    for member, sign, path in members:
        step = member.forward if sign == 1 else member.inverse
        rows, log_det = step(at_path(params, path), rows, context if member.context_dim else None)
        total = total + log_det
    value, log_det = (flow.forward if direction == 1 else flow.inverse)(params, start, context)
    np.testing.assert_array_equal(rows, value)
    np.testing.assert_allclose(total, log_det, rtol=1e-13)


def test_a_composition_with_maps_of_its_own_is_not_taken_apart():
    class Halved(nfref.Chain):
        def _forward(self, params, z, context):
            value, log_det = super()._forward(params, z, context)
            return value / 2, log_det - self.dim * np.log(2)

    class Odd(nfref.Invert):
        def _inverse(self, params, x, context):
            return x, np.zeros(len(x))

    for flow in (Halved([nfref.Scale(2)]), Odd(nfref.Scale(2))):
        assert nfref.Chain([flow]).members(-1) == [(flow, -1, (0,))]


def test_flows_are_values():
    """Equal configurations are equal and hash alike; their fields cannot be set."""
    assert nfref.RealNVP(3, 2) == nfref.RealNVP(3, 2) != nfref.RealNVP(3, 4)
    assert hash(nfref.Chain([nfref.Scale(2)])) == hash(nfref.Chain((nfref.Scale(2),)))
    with pytest.raises(AttributeError):
        nfref.Scale(2).dim = 3


def test_adapt_passes_the_batch_on_and_training_mode_reaches_the_inside():
    """Batch norm inside a chain receives its own input; nothing changes in place."""
    rng = np.random.default_rng(6)
    chain = nfref.Chain((nfref.BatchNorm(2), nfref.ElementwiseAffine(2)))
    params = random_params(chain, rng)
    x = 3 + 2 * rng.standard_normal((200, 2))
    before = [leaf.copy() for leaf in nfref.params.leaves(params)]
    adapted = nfref.adapt(chain, params, x, stage="start")
    seen, _ = chain.flows[1].inverse(params[1], x)
    np.testing.assert_allclose(adapted[0]["running_mean"], np.mean(seen, axis=0), rtol=1e-12)
    np.testing.assert_allclose(adapted[0]["running_variance"], np.var(seen, axis=0), rtol=1e-12)
    assert all(np.array_equal(a, b) for a, b in zip(before, nfref.params.leaves(params)))
    assert nfref.in_training(chain).flows[0].mode == "training"
    plain = nfref.RealNVP(2)
    assert nfref.in_training(plain) is plain
    own = plain.init(rng)
    assert nfref.adapt(plain, own, x) is own


@pytest.mark.parametrize(
    "make, error, message",
    [
        (
            lambda: nfref.Chain((nfref.Scale(2), nfref.Scale(3))),
            ValueError,
            r"^Chain: expected flows of one common dim, got dims \[2, 3\]$",
        ),
        (
            lambda: nfref.Chain((nfref.MADE(2, context_dim=1), nfref.MADE(2, context_dim=2))),
            ValueError,
            r"^Chain: expected flows of one common context_dim, got \[1, 2\]$",
        ),
        (
            lambda: nfref.Chain((nfref.Scale(2), "scale")),
            TypeError,
            "^flows: expected a flow, got str$",
        ),
        (lambda: nfref.Chain(()), ValueError, "^Chain: expected at least one flow, got none$"),
        (lambda: nfref.Invert(3), TypeError, "^flow: expected a flow, got int$"),
        (
            lambda: nfref.Density(nfref.Scale(3), nfref.StandardNormal(2)),
            ValueError,
            "^Density: expected base and flow of the same dim, got 2 and 3$",
        ),
        (lambda: nfref.Density("flow"), TypeError, "^flow: expected a flow, got str$"),
        (
            lambda: nfref.Density(nfref.Scale(2), "base"),
            TypeError,
            "^Density: expected base to be a Base, got str$",
        ),
    ],
)
def test_what_does_not_fit_together(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_flow_can_be_pickled_and_copied_after_use():
    flow = nfref.Chain([nfref.RealNVP(2, layers=2, hidden=(4,)), nfref.ElementwiseAffine(2)])
    params = flow.init(np.random.default_rng(0))
    with nfref.backend("numba"):
        x, log_det = flow.forward(params, np.ones((3, 2)))
    for again in (pickle.loads(pickle.dumps(flow)), copy.deepcopy(flow)):
        assert again == flow
        with nfref.backend("numba"):
            np.testing.assert_array_equal(again.forward(params, np.ones((3, 2)))[0], x)


def test_a_chain_takes_flows_one_by_one():
    one, other = nfref.Scale(2), nfref.Linear(2)
    assert nfref.Chain(one, other) == nfref.Chain([one, other]) == nfref.Chain(flows=(one, other))
    assert nfref.Chain(one) == nfref.Chain([one])
    assert repr(nfref.Chain(one)) == "Chain(flows=(Scale(dim=2),))"
    with pytest.raises(ValueError, match="Chain: expected at least one flow, got none"):
        nfref.Chain()
    with pytest.raises(TypeError, match="flows: expected a flow, got int"):
        nfref.Chain(one, 2)
