"""Frozen parameters: the same bits, prepared once, and nobody can change them."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import numpy as np
import pytest
from autograd import grad, hessian

import nfref
from nfref.runtime import params as trees
from nfref.runtime.frozen_params import frozen, is_frozen
from tests import flow_table

FLOWS = [nfref.RealNVP(3), nfref.MAF(3), nfref.NSF(3), nfref.RealNVP(3, batch_norm=True)]


def made(flow, dtype=np.float64):
    density = nfref.Density(flow)
    return density, trees.cast(density.init(np.random.default_rng(0)), dtype)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: type(flow).__name__)
def test_results_are_the_same_to_the_bit(flow, backend):
    density, params = made(flow)
    fixed = nfref.frozen(params)
    x = np.random.default_rng(1).standard_normal((40, 3))
    with nfref.backend(backend):
        for rows in (x[:1], x, x.astype(np.float32), x[:1]):
            np.testing.assert_array_equal(
                density.log_prob(fixed, rows), density.log_prob(params, rows)
            )
        for _ in range(2):
            for one, other in zip(
                density.sample_and_log_prob(fixed, np.random.default_rng(2), 5),
                density.sample_and_log_prob(params, np.random.default_rng(2), 5),
            ):
                np.testing.assert_array_equal(one, other)

        def total(params):
            return lambda x: density.log_prob(params, x).sum()

        far = np.where(np.arange(40)[:, None] == 3, 1e200, x)  # where the formula decides
        for rows in (x, x[:1], far):
            with np.errstate(all="ignore"):
                one, other = (grad(total(of))(rows) for of in (fixed, params))
            np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(hessian(total(fixed))(x[:2]), hessian(total(params))(x[:2]))


def test_kernels_get_them_packed_once_for_each_dtype():
    density, params = made(nfref.MAF(3))
    fixed, x = frozen(params), np.zeros((1, 3))
    with nfref.backend("numba"):
        density.log_prob(fixed, x)
        (program,) = density.flow.__dict__["_pieces"][-1]
        with mock.patch.object(program, "_pack", wraps=program._pack) as pack:
            for _ in range(3):
                density.log_prob(fixed, x)
                density.log_prob(params, x)
                density.log_prob(fixed, x.astype(np.float32))
    assert pack.call_count == 3 + 1


def test_they_are_checked_once_and_wrong_ones_every_time():
    density, params = made(nfref.MAF(3))
    fixed, x = frozen(params), np.zeros((1, 3))
    density.log_prob(fixed, x)
    with mock.patch.object(density._structure, "_holds", side_effect=AssertionError):
        density.log_prob(fixed, x)
    wrong = nfref.Density(nfref.MAF(2))
    for _ in range(2):
        with pytest.raises(ValueError, match="params/flow/0/net/0/weight: expected shape"):
            wrong.log_prob(fixed, x[:, :2])


def test_parameters_that_change_later_change_nothing():
    density, params = made(nfref.MAF(3))
    fixed, x = frozen(params), np.ones((1, 3))
    before = density.log_prob(fixed, x)
    for leaf in trees.leaves(params):
        leaf += 1
    params["flow"].clear()
    assert density.log_prob(fixed, x) == before


def test_nobody_can_change_them():
    fixed = frozen({"a": [np.zeros(2), {"b": np.ones(1)}]})
    for change in (
        lambda: fixed.update(a=0),
        lambda: fixed.__setitem__("a", 0),
        lambda: fixed["a"][1].pop("b"),
        lambda: fixed["a"].__setitem__(0, 0),
    ):
        with pytest.raises((TypeError, AttributeError)):
            change()
    with pytest.raises(ValueError, match="read-only"):
        fixed["a"][0][:] = 1
    assert frozen(fixed) is fixed


def test_copies_and_pickles_are_frozen_too_without_what_is_prepared():
    density, params = made(nfref.MAF(3))
    fixed, x = frozen(params), np.ones((1, 3))
    size = len(pickle.dumps(fixed))
    with nfref.backend("numba"):
        expected = density.log_prob(fixed, x)
        assert len(pickle.dumps(fixed)) == size
        for other in (
            pickle.loads(pickle.dumps(fixed)),
            copy.deepcopy(fixed),
            copy.copy(fixed),
            trees.cast(trees.cast(fixed, np.float32), np.float64),
        ):
            assert is_frozen(other) and is_frozen(other["flow"])
            assert not any(leaf.flags.writeable for leaf in trees.leaves(other))
        assert density.log_prob(pickle.loads(pickle.dumps(fixed)), x) == expected


def test_threads_share_them():
    density, params = made(nfref.MAF(3))
    fixed, x = frozen(params), np.random.default_rng(0).standard_normal((64, 3))
    with nfref.backend("numba"):
        expected = [density.log_prob(params, row[None]) for row in x]

        def score(row):
            with nfref.backend("numba", threads=1):
                return density.log_prob(fixed, row[None])

        with ThreadPoolExecutor(4) as pool:
            np.testing.assert_array_equal(list(pool.map(score, x)), expected)


def test_a_fit_begins_with_them():
    density, params = made(nfref.MAF(2))
    x = np.random.default_rng(0).standard_normal((64, 2))
    one, other = (
        nfref.fit(density, start, x, np.random.default_rng(1), epochs=1).params
        for start in (params, frozen(params))
    )
    for leaf, same in zip(trees.leaves(one), trees.leaves(other)):
        np.testing.assert_array_equal(leaf, same)


def test_traced_parameters_cannot_be_frozen():
    with pytest.raises(TypeError, match="params: expected plain arrays, got some that autograd"):
        grad(lambda params: frozen(params)["a"].sum())({"a": np.ones(2)})


def test_formulas_mask_weights_once_for_each_flow():
    """Two flows with parameters of the same shapes and other orders keep weights of their own."""
    one, other = (nfref.Density(nfref.MADE(3, order=order)) for order in ((0, 1, 2), (2, 1, 0)))
    params = one.init(np.random.default_rng(0))
    fixed, x = frozen(params), np.random.default_rng(1).standard_normal((4, 3))
    with nfref.backend("numpy"):
        for density in (one, other, one):
            np.testing.assert_array_equal(density.log_prob(fixed, x), density.log_prob(params, x))
    assert len(fixed["flow"]["net"]._made) == 2


@pytest.mark.thorough
@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("name", flow_table.flows())
def test_every_flow_takes_them(name, backend):
    entry = flow_table.flows()[name]
    flow = entry.make(entry.dims[min(1, len(entry.dims) - 1)], 0)
    params = flow.init(np.random.default_rng(0))
    fixed, x = frozen(params), 0.3 * np.random.default_rng(1).random((3, flow.dim))
    with nfref.backend(backend):
        try:
            expected = flow.inverse(params, x)
        except (NotImplementedError, ValueError) as error:
            with pytest.raises(type(error)):
                flow.inverse(fixed, x)
            return
        for _ in range(2):
            for one, other in zip(flow.inverse(fixed, x), expected):
                np.testing.assert_array_equal(one, other)
