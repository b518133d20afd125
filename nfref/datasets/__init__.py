"""Data to fit: two-dimensional toys, sampled with ``f(rng, n)``, and one real table.

Some toys have a known density. These have ``log_prob`` and ``entropy``. The entropy is a
lower bound: no model has a smaller expected negative log-likelihood, in nats per row.

Examples
--------
>>> import numpy as np
>>> from nfref import datasets
>>> x = datasets.checkerboard(np.random.default_rng(0), 1000)
>>> x.shape
(1000, 2)
>>> round(datasets.checkerboard.entropy, 4)      # log 32
3.4657
"""

from nfref.datasets.known import (
    banana,
    checkerboard,
    circles,
    eight_gaussians,
    gaussian_grid,
    gaussian_mixture,
    rings,
    sheared_gaussian,
)
from nfref.datasets.real import wine
from nfref.datasets.shapes import pinwheel, swiss_roll, two_moons, two_spirals
from nfref.datasets.toy import KnownToy, Toy

TOYS = {
    toy.name: toy
    for toy in (
        two_moons,
        circles,
        rings,
        eight_gaussians,
        pinwheel,
        checkerboard,
        two_spirals,
        swiss_roll,
        sheared_gaussian,
        banana,
        gaussian_mixture,
        gaussian_grid,
    )
}

__all__ = [
    "TOYS",
    "KnownToy",
    "Toy",
    "banana",
    "checkerboard",
    "circles",
    "eight_gaussians",
    "gaussian_grid",
    "gaussian_mixture",
    "pinwheel",
    "rings",
    "sheared_gaussian",
    "swiss_roll",
    "two_moons",
    "two_spirals",
    "wine",
]
