"""Toys that are easy to sample but have no density in closed form.

The scales follow the toys of Grathwohl et al. 2019, arXiv:1810.01367 (FFJORD): all of them
fit into [-4, 4]^2.
"""

import numpy as np

from nfref.datasets.toy import Toy


def _two_moons(rng, n):
    angle = rng.uniform(0, np.pi, n)
    upper = rng.integers(2, size=n) == 1
    x = np.where(upper, np.cos(angle), 1 - np.cos(angle))
    y = np.where(upper, np.sin(angle), 0.5 - np.sin(angle))
    moons = np.stack([x - 0.5, y - 0.25], axis=1)
    return 2 * (moons + 0.1 * rng.standard_normal((n, 2)))


def _pinwheel(rng, n):
    arms = 5
    along = 1 + 0.3 * rng.standard_normal(n)
    across = 0.1 * rng.standard_normal(n)
    # Points further out turn further, which bends the arms.
    angle = 2 * np.pi / arms * rng.integers(arms, size=n) + 0.25 * np.exp(along)
    x = along * np.cos(angle) - across * np.sin(angle)
    y = along * np.sin(angle) + across * np.cos(angle)
    return 2 * np.stack([x, y], axis=1)


def _two_spirals(rng, n):
    # The root spreads the points about evenly along the arm, whose radius is its angle.
    angle = 3 * np.pi * np.sqrt(rng.uniform(size=n))
    sign = 2 * rng.integers(2, size=n) - 1
    arm = np.stack([-np.cos(angle), np.sin(angle)], axis=1) * (sign * angle / 3)[:, None]
    return arm + 0.1 * rng.standard_normal((n, 2))


def _swiss_roll(rng, n):
    angle = 1.5 * np.pi * (1 + 2 * rng.uniform(size=n))
    roll = np.stack([np.cos(angle), np.sin(angle)], axis=1) * angle[:, None]
    return (roll + rng.standard_normal((n, 2))) / 5


two_moons = Toy("two_moons", "two interleaving half circles with normal noise", _two_moons)
pinwheel = Toy("pinwheel", "five bent arms around the origin", _pinwheel)
two_spirals = Toy("two_spirals", "two arms of one and a half turns each", _two_spirals)
swiss_roll = Toy("swiss_roll", "one arm of one and a half turns with normal noise", _swiss_roll)
