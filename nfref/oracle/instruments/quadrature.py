"""Integrals of densities in one and two dimensions, with an error estimate."""

from dataclasses import dataclass

import numpy as np

HIDDEN = 5e-4               # a tenth of the mass that may hide between the points of a grid


@dataclass(frozen=True)
class Integral:
    """An integral of a density and how sure it is.

    Attributes
    ----------
    value, error : float
    how : str
    """

    value: float
    error: float
    how: str


def line_integral(log_prob, codomain, pilot, nodes=8):
    """Composite Gauss-Legendre between quantiles of the pilot rows, then out into the tails.

    Returns
    -------
    Integral
    edges : (K,) array
        Ends of the panels.
    mass : (K - 1,) array
        The integral over each.
    """
    quantiles = np.unique(np.quantile(pilot[:, 0], np.linspace(0, 1, 101)))
    spread = max(quantiles[-1] - quantiles[0], 1e-300)
    outward = spread * np.geomspace(1e-3, 1e4, 60)
    edges = np.concatenate([quantiles[0] - outward[::-1], quantiles, quantiles[-1] + outward])
    low, high = codomain.lower[0], codomain.upper[0]
    if np.isfinite(low):
        edges = np.append(edges, low + (quantiles[0] - low) * np.geomspace(1e-9, 1, 40))
    if np.isfinite(high):
        edges = np.append(edges, high - (high - quantiles[-1]) * np.geomspace(1e-9, 1, 40))
    edges = np.unique(np.clip(edges, low, high))
    mass = panel_masses(log_prob, edges, nodes)
    for _ in range(4):
        finer = np.unique(np.concatenate([edges, 0.5 * (edges[1:] + edges[:-1])]))
        before, edges, mass = float(np.sum(mass)), finer, panel_masses(log_prob, finer, nodes)
        total = float(np.sum(mass))
        error = abs(total - before)
        if error < 1e-9:
            break
    return Integral(total, error, f"Gauss-Legendre, {len(mass)} panels"), edges, mass


def panel_masses(log_prob, edges, nodes):
    """The integral over each panel by Gauss-Legendre with this many nodes."""
    t, weight = np.polynomial.legendre.leggauss(nodes)
    half = 0.5 * np.diff(edges)[:, None]
    x = 0.5 * (edges[1:] + edges[:-1])[:, None] + half * t
    density = np.exp(log_prob(x.reshape(-1, 1))).reshape(x.shape)
    return np.sum(density * weight * half, axis=1)


def plane_integral(log_prob, codomain, pilot):
    """The midpoint rule on two grids of coprime sizes, in whitened coordinates of the pilot rows.

    A bounded coordinate is integrated over its interval; a free one out to ten standard
    deviations and beyond all pilot rows.
    """
    everything = codomain.is_everything
    center = np.mean(pilot, axis=0)
    if everything:
        root = np.linalg.cholesky(np.cov(pilot.T) + 1e-12 * np.eye(2))
        reach = np.max(np.abs(np.linalg.solve(root, (pilot - center).T)), axis=1)
        low, high = -np.maximum(10, 1.5 * reach), np.maximum(10, 1.5 * reach)
    else:
        root, center = np.eye(2), np.zeros(2)
        spread = np.std(pilot, axis=0)
        low = np.where(np.isfinite(codomain.lower), codomain.lower,
                       np.min(pilot, axis=0) - 6 * spread)
        high = np.where(np.isfinite(codomain.upper), codomain.upper,
                        np.max(pilot, axis=0) + 6 * spread)
    volume = np.prod(high - low) * abs(np.linalg.det(root))
    for counts in ((130, 177), (260, 353)):
        sums, seen = [], np.inf
        for count in counts:
            axes = [lo + (hi - lo) * (np.arange(count) + 0.5) / count
                    for lo, hi in zip(low, high)]
            grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
            density = np.exp(log_prob(center + grid @ root.T))
            sums.append(volume * float(np.mean(density)))
            seen = min(seen, np.sum(density) ** 2 / max(np.sum(density ** 2), 1e-300))
        # Two grids may agree by chance where only a few of their points see the density, and
        # both may miss a ridge that is thinner than they are. One that holds more than half
        # a percent would have shown among the pilot rows; hence HIDDEN.
        error = abs(sums[0] - sums[1]) if seen > 300 else np.inf
        if error < 1e-7:
            break
    ridge = np.max(log_prob(pilot[:1000]))
    if not ridge < np.log(4 * np.max(density)):
        error = np.inf
    return Integral(sums[1], error + HIDDEN, f"midpoint rule, {counts[1]} x {counts[1]} points")
