"""Gradients of continuous flows against finite differences."""

import numpy as np

from nfref.runtime import params as trees

TIGHT = {"rtol": 1e-11, "atol": 1e-11}
DIRECT = {"solver": "rk4", "gradient": "direct", "steps": 50}


def slopes_along(function, tree, directions, step):
    """Derivatives of a function of a nested structure along directions (K, P), of order four."""
    vector, unflatten = trees.flatten(tree)

    def at(move):
        return function(unflatten(vector + step * move))

    return np.array(
        [(8 * (at(d) - at(-d)) - (at(2 * d) - at(-2 * d))) / (12 * step) for d in directions]
    )


def check_gradient(gradient, function, tree, rng, count=6, step=4e-3, **tolerance):
    """A nested gradient against finite differences of ``function`` along random directions."""
    vector = trees.flatten(gradient)[0]
    directions = rng.standard_normal((count, len(vector)))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    np.testing.assert_allclose(
        directions @ vector, slopes_along(function, tree, directions, step), **tolerance
    )
