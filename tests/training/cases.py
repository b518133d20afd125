"""Densities, rows and a target that are small, and a fit that is short."""

import numpy as np

import nfref
from nfref.runtime import params as trees

LOG_TWO_PI = np.log(2 * np.pi)


def normal(dim=2):
    """A density with one exact best fit: a normal with independent coordinates."""
    density = nfref.Density(nfref.ElementwiseAffine(dim))
    return density, density.init(np.random.default_rng(0))


def rows(n=400, dim=2, seed=0):
    return np.random.default_rng(seed).standard_normal((n, dim)) * 2 + 3


def fit(density, params, x, seed=0, **options):
    options = {"epochs": 3, "batch_size": 64, "progress": False, **options}
    return nfref.fit(density, params, x, np.random.default_rng(seed), **options)


def same_bits(first, second):
    return first.history == second.history and np.array_equal(
        trees.flatten(first.params)[0], trees.flatten(second.params)[0]
    )


def target(x):
    """log of 3 times the density of N((1, -2), diag(0.25, 4))."""
    return np.log(3) - 2 * (x[:, 0] - 1) ** 2 - (x[:, 1] + 2) ** 2 / 8 - LOG_TWO_PI
