"""The best map of a kind near the identity: a radial expansion, or a hinge in one column.

Sources: Tabak and Vanden-Eijnden 2010; Tabak and Turner 2013.

The log-likelihood of the rows after a map is concave in the few parameters of the map, and Newton's
method maximises it. The rule of the paper takes one step of it.
"""

import math

import numpy as np

from nfref.flows.hinge import branches
from nfref.flows.radial_expansion import shares
from nfref.runtime.annotations import Array


def best_expansions(
    z: Array, centres: Array, widths: Array, bound: float, rounds: int = 50
) -> tuple[Array, Array]:
    """Return the beta of each radial expansion with the largest gain in log-likelihood, and gains.

    With v = z - c and the profile f, g of :class:`nfref.RadialExpansion` at |v| / width, the gain
    is the mean over the rows of

        -beta f z.v - beta^2 f^2 |v|^2 / 2 + (D - 1) log(1 + beta f) + log(1 + beta g),

    which is concave in beta. Newton's steps run inside a bracket that the slope narrows. If a step
    would leave the bracket, a halving on the scale of log(1 + beta) replaces it.

    Shapes: z (N, D); centres (K, D); widths (K,). Returns two (K,).
    """
    dim, f, g, linear, quadratic = _moments(z, centres, widths)
    low, high = np.full(len(widths), 1 / bound - 1), np.full(len(widths), bound - 1)
    beta = np.zeros(len(widths))
    for _ in range(rounds):
        across, along = f / (1 + beta[:, None] * f), g / (1 + beta[:, None] * g)
        slope = np.mean((dim - 1) * across + along, axis=1) - linear - beta * quadratic
        curvature = np.mean((dim - 1) * across**2 + along**2, axis=1) + quadratic
        low, high = np.where(slope > 0, beta, low), np.where(slope > 0, high, beta)
        newton, before = beta + slope / curvature, beta
        beta = np.where(
            (newton > low) & (newton < high), newton, np.sqrt((1 + low) * (1 + high)) - 1
        )
        if np.all(np.abs(beta - before) < 1e-6 * (1 + beta)):
            break
    across, along = beta[:, None] * f, beta[:, None] * g
    gain = np.mean((dim - 1) * np.log1p(across) + np.log1p(along), axis=1)
    return beta, gain - beta * linear - 0.5 * beta**2 * quadratic


def quadratic_expansions(
    z: Array, centres: Array, widths: Array, bound: float, step: float
) -> Array:
    """Return the beta of each radial expansion by the paper's rule: one quadratic, a bounded step.

    Paper:   Tabak and Turner, section 1: the parameters of a map maximise a local quadratic
             approximation to the log-likelihood. In a program based on it,
             beta' = -G / H, G and H its two derivatives at 0, clipped to +-step.
    Differs: beta' is explained at :func:`nfref.flows.radial_expansion.expansion_inverse`;
             nfref's bound on the change of lengths applies in addition to the step.

    Shapes as for :func:`best_expansions`. Returns (K,).
    """
    dim, f, g, linear, quadratic = _moments(z, centres, widths)
    slope = np.mean((dim - 1) * f + g, axis=1) - linear
    beta = slope / (np.mean((dim - 1) * f**2 + g**2, axis=1) + quadratic)
    longest = 2 * step / (np.sqrt(np.pi) * widths)
    return np.clip(np.clip(beta, -longest, longest), 1 / bound - 1, bound - 1)


def _moments(z, centres, widths):
    """Return D; f and g (K, N) of the profile "erf"; the means of f z.v and f^2 |v|^2, (K,)."""
    v = z[None] - centres[:, None]
    square = np.sum(v**2, axis=2)
    f, _, g, _ = shares(square / widths[:, None] ** 2, "erf")
    linear, quadratic = np.mean(f * np.sum(z * v, axis=2), axis=1), np.mean(f**2 * square, axis=1)
    return z.shape[1], f, g, linear, quadratic


def normal_width(centre: Array, share: float) -> float:
    """Return the radius of the ball about a centre that holds a share of a standard normal.

    The share is approximated by the density at the centre times the ball's volume Omega alpha^D.

    Paper:   Tabak and Turner, as implemented in a program based on it: the share is n_p / m, of m
             rows, and alpha = sqrt(2 pi) (n_p / (m Omega))^(1/D) exp(|c|^2 / (2 D)).
    Differs: nothing.

    Shapes: centre (D,). Returns a float.
    """
    dim = len(centre)
    log_volume = 0.5 * dim * np.log(np.pi) - math.lgamma(0.5 * dim + 1)
    return np.sqrt(2 * np.pi) * np.exp((np.log(share) - log_volume + 0.5 * centre @ centre) / dim)


def best_hinge(
    x: Array, location: float, width: float, bound: float, rounds: int = 30
) -> tuple[float, float, float]:
    """Return the best hinge for one column: (shift, left slope, right slope).

    With u = x - location, z = c . (1, u, sqrt(width^2 + u^2)) and the slope are linear in c, so
    the mean of -z^2/2 + log dz/dx is concave in c. Newton's steps are halved until they raise it
    and both slopes, c_1 - c_2 and c_1 + c_2, are between 1/bound and bound.

    Paper:   Tabak and Vanden-Eijnden, section 1: steps that move the marginals towards the normal.
    Differs: the paper's map and step could not be read.

    Shapes: x (N,); location, width, floats. Returns three floats.
    """
    u = x - location
    right, left = branches(u[:, None], np.array([width]))
    root = (right + left)[:, 0]
    basis = np.stack([np.ones_like(u), u, root], axis=1)
    derivative = np.stack([np.zeros_like(u), np.ones_like(u), u / root], axis=1)
    squares = basis.T @ basis / len(x)

    def score(c):
        if not all(1 / bound <= slope <= bound for slope in (c[1] - c[2], c[1] + c[2])):
            return -np.inf
        return np.mean(np.log(derivative @ c)) - 0.5 * c @ squares @ c

    c = np.array([location, 1.0, 0.0])  # the identity
    best = score(c)
    for _ in range(rounds):
        relative = derivative / (derivative @ c)[:, None]
        slope = np.mean(relative, axis=0) - squares @ c
        step = np.linalg.solve(squares + relative.T @ relative / len(x), slope)
        size = 1.0
        while size > 1e-3 and not score(c + size * step) > best:
            size /= 2
        if size <= 1e-3:
            break
        c = c + size * step
        best, before = score(c), best
        if best - before < 1e-9:
            break
    return c[0] + c[2] * width, c[1] - c[2], c[1] + c[2]
