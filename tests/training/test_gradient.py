"""The loss and its gradient by a vector of parameters."""

import autograd.numpy as anp
import numpy as np

import nfref
from nfref.runtime import params as trees
from nfref.training import gradient


def test_loss_and_gradient_are_those_of_autograd_on_the_nested_parameters():
    from autograd import value_and_grad

    from nfref.objectives.divergences import negative_log_likelihood

    density = nfref.Density(nfref.MAF(3, 2, (8,)))
    rng = np.random.default_rng(0)
    params = trees.tree_map(lambda leaf: rng.standard_normal(leaf.shape), density.init(rng))
    x = rng.standard_normal((10, 3))
    vector, unflatten = trees.flatten(params)
    loss, slope = gradient.loss_and_gradient(density, unflatten, vector, x)
    expected = value_and_grad(lambda params: negative_log_likelihood(density, params, x))(params)
    assert loss == expected[0]
    assert np.array_equal(slope, trees.flatten(expected[1])[0])


def test_a_parameter_used_twice_gets_both_gradients():
    vector, unflatten = trees.flatten([np.array([[1.0, 2.0]]), np.array(3.0)])
    value, slope = gradient.value_and_gradient(
        lambda p: anp.sum(p[0] ** 2) * p[1] + anp.sum(p[0]), unflatten, vector
    )
    assert value == 18
    assert np.allclose(slope, [7, 13, 5])
