"""Toys with a known density: sampler, log p and entropy side by side.

Entropies are closed forms where there is one. The others are integrals of -p log p to
twelve digits, written as numbers; the tests compute them again.
"""

import autograd.numpy as np
from scipy.special import i0e, i1e

from nfref.bases.normal_mixture import logsumexp
from nfref.bases.standard_normal import LOG_TWO_PI, standard_normal_log_prob
from nfref.datasets.toy import KnownToy
from nfref.runtime.autograd_internals import defvjp, primitive

# Gaussians and volume-preserving maps of them ----------------------------------------------
# x = mean + L e has log-determinant sum log L_ii; a shear or a bend does not change it. With e
# standard normal, the entropy is that of e plus the log-determinant.

NORMAL_ENTROPY = 1 + LOG_TWO_PI  # of a standard normal in two dimensions


def _bent(name, description, scale, bend):
    """Return the toy x_1 = s_1 e_1, x_2 = s_2 e_2 + b(x_1), with e standard normal.

    log p(x) = log N(e; 0, 1) - log s_1 s_2.
    """
    log_scale = float(np.sum(np.log(scale)))

    def draw(rng, n):
        e = rng.standard_normal((n, 2))
        first = scale[0] * e[:, 0]
        return np.stack([first, scale[1] * e[:, 1] + bend(first)], axis=1)

    def log_density(x):
        e_1, e_2 = x[:, 0] / scale[0], (x[:, 1] - bend(x[:, 0])) / scale[1]
        return -0.5 * (e_1**2 + e_2**2) - LOG_TWO_PI - log_scale

    return KnownToy(name, description, draw, log_density, NORMAL_ENTROPY + log_scale)


sheared_gaussian = _bent(
    "sheared_gaussian",
    "a Gaussian whose coordinates are strongly correlated",
    (1.2, 0.4),
    lambda first: 1.5 * first,
)
banana = _bent(
    "banana",
    "a Gaussian bent along a parabola",  # with mean zero
    (1.3, 0.4),
    lambda first: 0.3 * (first**2 - 1.3**2),
)


# Mixtures of normals -----------------------------------------------------------------------


def _mixture(name, description, weights, means, factors, entropy):
    """Return the toy p(x) = sum_k w_k N(x; m_k, L_k L_k^T).

    Shapes: weights (K,), means (K, 2), factors (K, 2, 2), lower triangular.
    """
    inverses = np.linalg.inv(factors)
    log_diagonals = np.log(np.diagonal(factors, axis1=1, axis2=2))
    log_constants = np.log(weights) - np.sum(log_diagonals, axis=1)

    def draw(rng, n):
        k = rng.choice(len(weights), size=n, p=weights)
        return means[k] + np.einsum("nij,nj->ni", factors[k], rng.standard_normal((n, 2)))

    def log_density(x):
        centred = x[:, None, :] - means.astype(x.dtype)
        e = np.einsum("kij,nkj->nki", inverses.astype(x.dtype), centred)
        return logsumexp(standard_normal_log_prob(e) + log_constants.astype(x.dtype))

    return KnownToy(name, description, draw, log_density, entropy)


def _round(scale, count):
    return np.tile(scale * np.eye(2), (count, 1, 1))


_octagon = np.arange(8) * np.pi / 4
eight_gaussians = _mixture(
    "eight_gaussians",
    "eight equal round Gaussians on a circle",
    weights=np.full(8, 1 / 8),
    means=np.sqrt(8) * np.stack([np.cos(_octagon), np.sin(_octagon)], axis=1),
    factors=_round(np.sqrt(1 / 8), 8),
    entropy=2.83157836053,
)

gaussian_grid = _mixture(
    "gaussian_grid",
    "twenty-five equal round Gaussians on a five by five grid",
    weights=np.full(25, 1 / 25),
    means=1.5 * (np.indices((5, 5)).reshape(2, 25).T - 2.0),
    factors=_round(0.15, 25),
    entropy=2.26251015937,
)

gaussian_mixture = _mixture(
    "gaussian_mixture",
    "three Gaussians of different weight, size and direction",
    weights=np.array([0.5, 0.3, 0.2]),
    means=np.array([[-1.5, 0.5], [1.5, 1.0], [0.5, -2.0]]),
    factors=np.array(
        [[[0.8, 0.0], [0.5, 0.3]], [[0.5, 0.0], [-0.6, 0.4]], [[1.0, 0.0], [0.0, 0.2]]]
    ),
    entropy=2.33462670439,
)


# Circles with normal noise -----------------------------------------------------------------


@primitive
def _log_i0e(u):
    """Return log(e^-u I_0(u)) for u >= 0, without overflow or underflow."""
    return np.log(i0e(u))


defvjp(_log_i0e, lambda ans, u: lambda g: g * (i1e(u) / i0e(u) - 1))  # I_0' = I_1


def _noisy_circles(name, description, radii, noise, entropy):
    """Return the toy x = R (cos a, sin a) + s e, with uniform a and R from ``radii``.

    All radii have equal probability. The mean of N(x; R (cos a, sin a), s^2) over a is, with
    r = |x|,

        p(x | R) = exp(-(r^2 + R^2) / 2 s^2) I_0(r R / s^2) / (2 pi s^2)
                 = exp(-(r - R)^2 / 2 s^2) [e^-u I_0(u)] / (2 pi s^2),   u = r R / s^2.
    """
    radii = np.asarray(radii)
    log_constant = -LOG_TWO_PI - 2 * float(np.log(noise)) - float(np.log(len(radii)))

    def draw(rng, n):
        angle = rng.uniform(0, 2 * np.pi, n)
        radius = rng.choice(radii, size=n)
        circle = np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius[:, None]
        return circle + noise * rng.standard_normal((n, 2))

    def log_density(x):
        r = np.sqrt(np.sum(x**2, axis=1))[:, None]
        R = radii.astype(x.dtype)
        log_parts = -0.5 * ((r - R) / noise) ** 2 + _log_i0e(r * R / noise**2)
        return logsumexp(log_parts) + log_constant

    return KnownToy(name, description, draw, log_density, entropy)


circles = _noisy_circles(
    "circles",
    "two concentric circles with normal noise",
    radii=[1.5, 3.0],
    noise=0.24,
    entropy=3.26813571171,
)
rings = _noisy_circles(
    "rings",
    "four thin concentric circles with normal noise",
    radii=[0.75, 1.5, 2.25, 3.0],
    noise=0.08,
    entropy=2.62318277030,
)


# Checkerboard ------------------------------------------------------------------------------
# Uniform on eight squares of side 2 inside [-4, 4]^2: p = 1 / 32 there.


def _checkerboard(rng, n):
    column = rng.integers(4, size=n)
    row = 2 * rng.integers(2, size=n) + column % 2
    return 2 * (np.stack([column, row], axis=1) - 2 + rng.uniform(size=(n, 2)))


def _checkerboard_log_prob(x):
    """Return log p = -log 32 where column + row is even, -inf elsewhere."""
    inside = np.all((x >= -4) & (x < 4), axis=1)
    square = np.floor(np.where(inside[:, None], x, 0) / 2)
    even = np.sum(square, axis=1) % 2 == 0
    return np.where(inside & even, np.asarray(-np.log(32), dtype=x.dtype), -np.inf)


checkerboard = KnownToy(
    "checkerboard",
    "uniform on eight of the sixteen squares of a board",
    _checkerboard,
    _checkerboard_log_prob,
    float(np.log(32)),
)
