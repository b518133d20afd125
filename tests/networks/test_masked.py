"""Masked networks."""

import numpy as np
from autograd import make_vjp

from nfref.networks import masked


def test_masked_weights_take_no_part():
    """Neither value nor gradient depends on them, for any numbers."""
    rng = np.random.default_rng(1)
    params = [{"weight": rng.standard_normal((3, 3)), "bias": rng.standard_normal(3)}]
    mask = np.array([[True, False, True], [False, False, True], [True, True, False]])
    x = rng.standard_normal((4, 3))
    vjp, value = make_vjp(lambda p: masked.masked_mlp(p, [mask], x))(params)
    np.testing.assert_array_equal(vjp(np.ones_like(value))[0]["weight"][~mask], 0)
    other = [{**params[0], "weight": np.where(mask, params[0]["weight"], 1e6)}]
    np.testing.assert_array_equal(masked.masked_mlp(other, [mask], x), value)
