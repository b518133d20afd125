"""The long vector of a fit and what kernels read: one pass takes the place of leaf by leaf."""

import numpy as np
import pytest

import nfref
from nfref.flows.autoregressive import random_orders
from nfref.kernels.chain import training
from nfref.kernels.chain.primitives import programs
from nfref.runtime import params as trees

FLOWS = {
    "masked": lambda seed: nfref.MAF(
        4, 2, (12,), orders=random_orders(np.random.default_rng(seed), 4, 2)
    ),
    "splines with context": lambda seed: nfref.NSF(3, 2, (12, 12), context_dim=2),
    "couplings": lambda seed: nfref.RealNVP(4, 2, (8,)),
    "triangular factors": lambda seed: nfref.Chain([nfref.MAF(4, 1, (8,)), nfref.LULinear(4)]),
    "constrained": lambda seed: nfref.Chain([nfref.MAF(4, 1, (8,)), nfref.Planar(4, layers=2)]),
}


def step(density, unflatten, vector, layout=True):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((20, density.dim)).astype(vector.dtype)
    context = rng.standard_normal((20, density.context_dim)).astype(vector.dtype)
    with pytest.MonkeyPatch.context() as patch:
        if not layout:
            patch.setattr(training, "_layout", lambda *arguments: None)
        return training.loss_and_gradient(
            density, unflatten, vector, x, context if density.context_dim else None
        )


@pytest.mark.thorough
@pytest.mark.parametrize("name", FLOWS)
def test_the_bits_are_those_of_leaf_by_leaf(name):
    """In both dtypes, and for two densities that share the way back to parameters."""
    densities = [nfref.Density(FLOWS[name](seed)) for seed in range(2)]
    params = trees.tree_map(lambda leaf: leaf + 0.1, densities[0].init(np.random.default_rng(0)))
    vector, unflatten = trees.flatten(params)
    for density in densities:
        for dtype in (np.float32, np.float64):
            found = step(density, unflatten, vector.astype(dtype))
            expected = step(density, unflatten, vector.astype(dtype), layout=False)
            assert found[0] == expected[0] and found[1].dtype == dtype
            np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize("name", FLOWS)
def test_what_is_computed_of_parameters_goes_leaf_by_leaf(name):
    density = nfref.Density(FLOWS[name](0))
    vector, unflatten = trees.flatten(density.init(np.random.default_rng(0)))
    layout = training._layout(programs(density.flow, -1)[0], unflatten, vector)
    assert (layout is None) == (name in ("triangular factors", "constrained"))


def test_matrices_that_have_no_inverse_are_no_obstacle():
    """The numbers that packing is asked with overflow in the triangular factors of Glow."""
    flow = nfref.Glow((1, 4, 4), levels=1, steps=2, hidden=(8,))
    vector, unflatten = trees.flatten(nfref.Density(flow).init(np.random.default_rng(0)))
    assert training._layout(programs(flow, -1)[0], unflatten, vector) is None
