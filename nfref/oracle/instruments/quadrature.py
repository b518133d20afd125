"""Integrals of densities in one and two dimensions, with an error estimate."""

import math
from dataclasses import dataclass

import numpy as np

from nfref.oracle.instruments.importance import root_of
from nfref.oracle.instruments.probes import Box
from nfref.runtime.annotations import Array, Callable

UNSEEN = 21.0  # expected rows in a region; none of them occurs with probability 1e-9
NODES, MOST = 8, 25000  # of a panel; edges of panels
BETWEEN = 64  # rows of the grid in each of the first panels
NARROW = 2.0**-12  # of a first panel: the width of panels at a step
NOTHING = 1e-10  # mass of a decade that ends the search for further mass


@dataclass(frozen=True)
class Integral:
    """The integral of a density with its error."""

    value: float
    error: float
    how: str


def line_integral(subject: Callable, codomain: Box, pilot: Array, rows: Array) -> Integral:
    """Integrate by adaptive Gauss-Legendre: panels between quantiles of the pilot and in the tails.

    A panel is halved if fewer nodes give another number. It is also halved if one of the ``rows``,
    or a point of a fine grid, has another density than the nodes around it predict: two steps may
    lie between the nodes.
    """
    low, high = codomain.lower[0], codomain.upper[0]
    low, high = low + _least(low), high - _least(high)

    def log_prob(x):
        """Return the log-density, but -inf where exp may overflow beside a pole at an end."""
        return np.where((x[:, 0] < low) | (x[:, 0] > high), -np.inf, subject(x))

    edges = first = _first_edges(log_prob, codomain, pilot[:, 0])
    between = edges[:-1, None] + np.diff(edges)[:, None] * (np.arange(BETWEEN) + 0.5) / BETWEEN
    rows = np.unique(np.concatenate([between.ravel(), rows[:, 0]]))
    rows = rows, np.exp(log_prob(rows[:, None]))
    mass, error = _masses(log_prob, np.stack([edges[:-1], edges[1:]], axis=1), rows)
    for _ in range(40):
        wrong = np.flatnonzero(error > 1e-12 + 1e-13 * np.nansum(mass))
        if not len(wrong) or len(edges) + len(wrong) > MOST:
            break
        middle = 0.5 * (edges[wrong] + edges[wrong + 1])
        apart = (middle > edges[wrong]) & (middle < edges[wrong + 1])
        error[wrong[~apart]] = 0  # as narrow as numbers go
        wrong, middle = wrong[apart], middle[apart]
        if not len(wrong):
            break
        ends = np.stack([edges[wrong], middle, edges[wrong + 1]], axis=1)
        halves = [_masses(log_prob, end, rows) for end in (ends[:, :2], ends[:, 1:])]
        edges = np.insert(edges, wrong + 1, middle)
        mass[wrong], error[wrong] = halves[0]
        mass = np.insert(mass, wrong + 1, halves[1][0])
        error = np.insert(error, wrong + 1, halves[1][1])
    unseen = _unseen_steps(log_prob, first, edges)
    how = f"adaptive Gauss-Legendre, {len(mass)} panels"
    return Integral(float(np.sum(mass)), float(np.sum(error) + unseen), how)


def _first_edges(log_prob, codomain, pilot):
    tails = np.array([1e-3, 2e-3, 5e-3, 1e-4, 2e-4, 5e-4])
    levels = np.concatenate([np.linspace(0, 1, 101), tails, 1 - tails])
    quantiles = np.unique(np.quantile(pilot, levels))
    spread = max(quantiles[-1] - quantiles[0], 1e-300)
    edges = [quantiles]
    for end, last, sign in (
        (codomain.lower[0], quantiles[0], -1),
        (codomain.upper[0], quantiles[-1], 1),
    ):
        edges.append(last + sign * spread * np.geomspace(1e-3, 1e4, 60))
        if np.isfinite(end):
            edges.append(end + (last - end) * np.geomspace(1e-9, 1, 40))
            decades = end + (last - end) * 10.0 ** -np.arange(10, 324)
        else:
            last_decade = min(308, 307 - math.log10(spread))
            decades = last + sign * spread * 10.0 ** np.arange(5, last_decade)
        edges.append(_with_mass(log_prob, end, last, decades))
    return np.unique(np.clip(np.concatenate(edges), codomain.lower[0], codomain.upper[0]))


def _least(end):
    """Return the least distance from an end of a domain at which its density is integrated."""
    return 0.0 if np.isinf(end) else max(np.spacing(abs(end)) / 2, np.finfo(np.float64).tiny)


def _with_mass(log_prob, end, last, decades):
    """Return the points up to which the density holds any mass.

    Each point is ten times as near to an end, or as far out, as the one before. Logarithms of heavy
    tails have mass everywhere.
    """
    distance = np.abs(decades - (end if np.isfinite(end) else last))
    decades = decades[distance > 0]
    with np.errstate(all="ignore"):
        found = log_prob(decades[:, None]) + np.log(distance[distance > 0])
    nothing = np.flatnonzero(~((found > np.log(NOTHING)) & (found < np.inf)))
    return decades[: nothing[0]] if len(nothing) else decades


def _unseen_steps(log_prob, first, edges):
    """Return the standard deviation of the mass between pairs of steps that no grid row separates.

    Such a pair goes up and down again. It is estimated where many steps were found, as in a
    histogram of many narrow bins. Of J steps in a first panel, J (J - 1) / (4 BETWEEN) such pairs
    are expected within a gap of the grid, a third of the gap apart.
    """
    width, panel = np.diff(edges), np.searchsorted(first, edges[:-1], side="right") - 1
    narrow = np.diff(width < NARROW * np.diff(first)[panel], prepend=False, append=False)
    start, end = np.flatnonzero(narrow)[::2], np.flatnonzero(narrow)[1::2]
    if not len(start):
        return 0.0
    before, after = (np.exp(log_prob(edges[ends, None])) for ends in (start, end))
    height = np.abs(after - before)
    steps = np.bincount(panel[start], minlength=len(first))
    mean = np.bincount(panel[start], height, len(first)) / np.maximum(steps, 1)
    gap = np.diff(first, append=first[-1]) / BETWEEN
    several = steps > 1
    pairs = steps * (steps - 1) / (4 * BETWEEN)
    return float(np.sqrt(np.sum((pairs * (mean * gap / 3) ** 2)[several])))


def _masses(log_prob, edges, rows):
    """Return (mass, error) of panels (K, 2); ``rows`` are rising rows and densities there."""
    density, mass = _panels(log_prob, edges, NODES)
    _, rough = _panels(log_prob, edges, NODES - 3)
    # A jump between the last node and an end of its panel changes neither sum. Then the density
    # at the end differs from the value that the nodes predict.
    at_ends = np.exp(log_prob(edges.reshape(-1, 1))).reshape(edges.shape)
    t, _ = np.polynomial.legendre.leggauss(NODES)
    expected = density @ _interpolation(t, np.array([-1.0, 1.0])).T
    width = np.diff(edges)[:, 0]
    jump = np.max(np.abs(expected - at_ends), axis=1)
    error = np.abs(mass - rough) + 0.5 * (1 - t[-1]) * width * jump
    panel = np.searchsorted(edges[:, 0], rows[0], side="right") - 1
    inside = np.flatnonzero((panel >= 0) & (rows[0] < edges[panel, 1]))
    panel = panel[inside]
    place = 2 * (rows[0][inside] - edges[panel, 0]) / width[panel] - 1
    expected = np.sum(_interpolation(t, place) * density[panel], axis=1)
    np.maximum.at(error, panel, np.abs(expected - rows[1][inside]) * width[panel] / NODES)
    return mass, np.nan_to_num(error, nan=0.0, posinf=0.0)


def _interpolation(nodes, points):
    """Return (P, N) weights of the polynomial through values at the nodes (Lagrange)."""
    factor = (points[:, None, None] - nodes) / (nodes[:, None] - nodes + np.eye(len(nodes)))
    factor[:, np.eye(len(nodes), dtype=bool)] = 1
    return np.prod(factor, axis=2)


def _panels(log_prob, ends, nodes):
    """Return densities at the nodes of panels with (K, 2) ends, and their integrals."""
    t, weight = np.polynomial.legendre.leggauss(nodes)
    half = 0.5 * (ends[:, 1:] - ends[:, :1])
    x = 0.5 * (ends[:, 1:] + ends[:, :1]) + half * t
    density = np.exp(log_prob(x.reshape(-1, 1))).reshape(x.shape)
    return density, np.sum(density * weight * half, axis=1)


def mass_beyond(log_prob: Callable[..., Array], box: Box) -> float:
    """Return the mass of a density on a line between the ends of a box and the floats inside.

    At the distance t from a finite end the density falls or grows like t^(a - 1), at the distance t
    from the origin like t^(-a - 1). Then t p(t) / a of the mass is closer, or farther out.
    """
    total = 0.0
    for end, inward in ((box.lower[0], 1.0), (box.upper[0], -1.0)):
        if np.isinf(end):
            distance = np.finfo(np.float64).max * 0.5 ** np.arange(1000)
            x = -inward * distance
        else:
            smallest = _least(end)
            distance = smallest * 2.0 ** np.arange(min(1000, 1000 - np.log2(smallest / 2e-308)))
            x = end + inward * distance
            distance = np.abs(x - end)
        log_mass = log_prob(x[:, None]) + np.log(distance)
        known = np.flatnonzero(np.isfinite(log_mass))
        if len(known) < 4 or not log_mass[known[0]] > -30:
            continue
        near, far = known[0], known[3]
        power = (log_mass[far] - log_mass[near]) / np.log(distance[far] / distance[near])
        total += np.exp(log_mass[near]) / max(power if np.isfinite(end) else -power, 1e-3)
    return float(total)


def plane_integral(log_prob: Callable, codomain: Box, pilot: Array, samples: Array) -> Integral:
    """Integrate by the midpoint rule on two grids of coprime sizes, in whitened coordinates.

    A bounded coordinate is integrated over its interval. A free one is integrated out to ten
    standard deviations and beyond all pilot rows. Samples reveal mass that the grids miss.
    """
    everything = codomain.is_everything
    center = np.mean(pilot, axis=0)
    if everything:
        root = root_of(pilot)
        reach = np.max(np.abs(np.linalg.solve(root, (pilot - center).T)), axis=1)
        low, high = -np.maximum(10, 1.5 * reach), np.maximum(10, 1.5 * reach)
    else:
        root, center = np.eye(2), np.zeros(2)
        spread = np.std(pilot, axis=0)
        low, high = np.min(pilot, axis=0) - 6 * spread, np.max(pilot, axis=0) + 6 * spread
        low = np.where(np.isfinite(codomain.lower), codomain.lower, low)
        high = np.where(np.isfinite(codomain.upper), codomain.upper, high)
    volume = np.prod(high - low) * abs(np.linalg.det(root))
    sums = []
    for counts in ((130, 177), (260, 353)):
        seen = np.inf
        for count in counts:
            axes = [lo + (hi - lo) * (np.arange(count) + 0.5) / count for lo, hi in zip(low, high)]
            grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
            density = np.exp(log_prob(center + grid @ root.T))
            sums.append(volume * float(np.mean(density)))
            seen = min(seen, np.sum(density) ** 2 / max(np.sum(density**2), 1e-300))
        # Two grids may agree by chance where only a few of their points see the density.
        # At kinks and steps two sums are close by chance; all that were made rarely are.
        error = max(abs(rough - sums[-1]) for rough in sums[:-1]) if seen > 300 else np.inf
        if error < 1e-7:
            break
    place = (np.linalg.solve(root, (samples - center).T).T - low) / (high - low)
    grid = density.reshape(count, count)
    hidden = np.sum(_between_points(log_prob(samples), grid, place)) + UNSEEN
    how = f"midpoint rule, {counts[1]} x {counts[1]} points"
    return Integral(sums[-1], error + 0.1 * hidden / len(samples), how)


def _between_points(log_density, grid, place):
    """Return (N,) bool: rows whose density is far above that at the four grid points around them.

    ``place`` is the place of the rows in the unit square. On a ridge that is thinner than the grid
    there are such rows.
    """
    count = len(grid)
    i, j = np.clip(np.floor(place * count - 0.5).astype(int), 0, count - 2).T
    around = np.max([grid[i, j], grid[i + 1, j], grid[i, j + 1], grid[i + 1, j + 1]], axis=0)
    outside = np.any((place < 0) | (place > 1), axis=1)
    with np.errstate(divide="ignore"):
        return outside | (log_density > np.log(around) + 1)
