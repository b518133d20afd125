"""Trees of parameters."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from autograd.test_util import check_grads

from nfref.runtime import params as trees

TREE = {"b": [np.arange(3.0), {"w": np.ones((2, 2))}], "a": np.array(7.0), "none": [], "e": {}}


def equal(one, other):
    return all(np.array_equal(a, b) for a, b in zip(trees.leaves(one), trees.leaves(other)))


def test_leaves_come_depth_first_in_insertion_order():
    assert [leaf.shape for leaf in trees.leaves(TREE)] == [(3,), (2, 2), ()]
    assert trees.count(TREE) == 8


def test_tree_map_keeps_the_structure():
    doubled = trees.tree_map(lambda a, b: a + b, TREE, TREE)
    assert list(doubled) == ["b", "a", "none", "e"] and doubled["none"] == [] and doubled["e"] == {}
    np.testing.assert_array_equal(doubled["b"][1]["w"], 2 * np.ones((2, 2)))
    assert trees.tree_map(lambda a: a, (np.zeros(1),)) == [np.zeros(1)]


def test_flatten_goes_there_and_back():
    vector, unflatten = trees.flatten(TREE)
    np.testing.assert_array_equal(vector, [0, 1, 2, 1, 1, 1, 1, 7])
    assert equal(unflatten(vector), TREE)
    assert unflatten(vector)["a"].shape == ()
    moved = unflatten(vector + 1)
    assert moved["a"] == 8 and TREE["a"] == 7


def test_the_way_back_is_the_same_for_all_of_one_structure():
    _, unflatten = trees.flatten(TREE)
    _, again = trees.flatten(trees.tree_map(lambda leaf: leaf + 1, TREE))
    _, reordered = trees.flatten(dict(reversed(TREE.items())))
    assert unflatten == again and hash(unflatten) == hash(again) and unflatten != reordered


def test_no_parameters_flatten_to_nothing():
    vector, unflatten = trees.flatten({})
    assert vector.shape == (0,) and unflatten(vector) == {}
    assert trees.dtype_of([]) == np.float64 and trees.count({}) == 0


def test_flatten_is_differentiable():
    """The gradient by the vector is the flattened gradient by the tree."""
    tree = {"w": np.array([[1.0, 2.0]]), "b": [np.array([3.0])]}
    vector, unflatten = trees.flatten(tree)

    def loss(tree):
        return anp.sum(tree["w"] ** 3) + 2 * anp.sum(tree["b"][0] * tree["w"])

    by_vector = grad(lambda v: loss(unflatten(v)))(vector)
    np.testing.assert_array_equal(by_vector, trees.flatten(grad(loss)(tree))[0])
    np.testing.assert_array_equal(by_vector, [3 + 6, 12 + 6, 6])
    check_grads(lambda v: loss(unflatten(v)), modes=["fwd", "rev"], order=2)(vector)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cast(dtype):
    cast = trees.cast(TREE, np.dtype(dtype))
    assert all(leaf.dtype == dtype for leaf in trees.leaves(cast))
    assert trees.dtype_of(cast) == dtype
    assert trees.cast(cast, np.dtype(dtype)) is cast
    assert all(leaf.dtype == np.float64 for leaf in trees.leaves(TREE))
    assert trees.cast({"a": 1.5}, np.dtype(dtype))["a"].dtype == dtype
