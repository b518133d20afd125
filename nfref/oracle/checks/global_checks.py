"""Properties of a density as a whole: it integrates to one, and samples follow it.

Statistical tests reject at a level of about 1e-9 a test, so that a correct subject is not
rejected by chance however many are checked.
"""

from dataclasses import dataclass

import numpy as np

from nfref.oracle.instruments.calling import CallFailed
from nfref.oracle.report import failed, not_applicable, passed, show

LEVEL = 1e-9
SIGMAS = 6.1                # two-sided level 1e-9
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


def integrate(log_prob, codomain, pilot, rng):
    """Integral of exp(log_prob) over a box: quadrature at D <= 2, importance sampling above.

    Parameters
    ----------
    log_prob : callable
        (N, D) float64 rows -> (N,) float64.
    codomain : Box
    pilot : (N, D) array
        Rows from about where the density is.
    rng : numpy.random.Generator

    Returns
    -------
    Integral, error inf when it cannot be computed well enough.
    """
    dim = pilot.shape[1]
    if dim == 1:
        return line_integral(log_prob, codomain, pilot)[0]
    if dim == 2:
        plane = plane_integral(log_prob, codomain, pilot)
        if plane.error < 1e-2:
            return plane
    return importance_integral(log_prob, codomain, pilot, rng)


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
    mass = _panels(log_prob, edges, nodes)
    for _ in range(4):
        finer = np.unique(np.concatenate([edges, 0.5 * (edges[1:] + edges[:-1])]))
        before, edges, mass = float(np.sum(mass)), finer, _panels(log_prob, finer, nodes)
        total = float(np.sum(mass))
        error = abs(total - before)
        if error < 1e-9:
            break
    return Integral(total, error, f"Gauss-Legendre, {len(mass)} panels"), edges, mass


def _panels(log_prob, edges, nodes):
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


def importance_integral(log_prob, codomain, pilot, rng, count=16000):
    """E_q[p / q] with q a mixture of broad Student t around some of the pilot rows."""
    propose = Proposal.around(pilot, rng)
    x = propose.sample(rng, count)
    with np.errstate(all="ignore"):
        inside = codomain.contains(x)
        log_weight = np.full(count, -np.inf)
        if np.any(inside):
            log_weight[inside] = log_prob(x[inside]) - propose.log_prob(x[inside])
        weight = np.exp(log_weight)
    if not np.all(np.isfinite(weight)):
        return Integral(np.nan, np.inf, "importance sampling met nan or inf")
    total = np.sum(weight)
    effective = total ** 2 / np.sum(weight ** 2) if total > 0 else 0.0
    how = f"importance sampling, {count} rows, effective {effective:.0f}"
    # Few effective rows mean that the standard error itself cannot be trusted.
    if effective < 400 or np.max(weight) > 0.02 * total:
        return Integral(total / count, np.inf, how)
    return Integral(total / count, float(np.std(weight) / np.sqrt(count)), how)


@dataclass(frozen=True)
class Proposal:
    """A mixture of Student t densities, all of one scale matrix, around given centers."""

    centers: np.ndarray
    root: np.ndarray
    freedom: float = 5.0

    @classmethod
    def around(cls, pilot, rng, components=64):
        dim = pilot.shape[1]
        chosen = pilot[rng.choice(len(pilot), size=min(components, len(pilot)), replace=False)]
        covariance = np.atleast_2d(np.cov(pilot.T))
        shrink = len(chosen) ** (-1 / (dim + 4))
        scale = covariance * shrink ** 2 + 1e-10 * np.trace(covariance) / dim * np.eye(dim)
        return cls(chosen, np.linalg.cholesky(scale))

    def sample(self, rng, count):
        dim = self.centers.shape[1]
        normal = rng.standard_normal((count, dim))
        chi = rng.chisquare(self.freedom, (count, 1)) / self.freedom
        return self.centers[rng.integers(len(self.centers), size=count)] + (
            normal / np.sqrt(chi)) @ self.root.T

    def log_prob(self, x):
        from scipy.special import gammaln, logsumexp
        dim, nu = self.centers.shape[1], self.freedom
        inverse = np.linalg.inv(self.root)
        a, b = x @ inverse.T, self.centers @ inverse.T
        square = np.maximum(np.sum(a ** 2, 1)[:, None] + np.sum(b ** 2, 1) - 2 * a @ b.T, 0)
        constant = (gammaln((nu + dim) / 2) - gammaln(nu / 2) - dim / 2 * np.log(nu * np.pi)
                    - np.sum(np.log(np.abs(np.diag(self.root)))) - np.log(len(self.centers)))
        return constant + logsumexp(-(nu + dim) / 2 * np.log1p(square / nu), axis=1)


def normalised(name, log_prob, codomain, pilot, rng, floor=1e-5):
    """The density integrates to one."""
    if not hasattr(codomain, "contains"):
        return not_applicable(name, "the domain is known by samples only")
    pilot = pilot[np.isfinite(pilot).all(axis=1)]
    if len(pilot) < 100:
        return not_applicable(name, "too few finite samples to know where to integrate")
    try:
        with np.errstate(all="ignore"):
            integral = integrate(log_prob, codomain, pilot, rng)
    except CallFailed as error:
        return failed(name, "no answer on the way", str(error))
    except np.linalg.LinAlgError:
        return not_applicable(name, "samples do not fill the space")
    if np.isnan(integral.value):
        return failed(name, integral.how, "log-density is nan or inf where it is integrated")
    sampled = integral.how.startswith("importance")
    tolerance = floor + (SIGMAS if sampled else 10) * integral.error
    if not tolerance < 0.2 * max(1.0, integral.value):
        return not_applicable(name, f"cannot be integrated well enough: {integral.how}")
    error = abs(integral.value - 1)
    why = f"integral's own error; {integral.how}"
    if error > tolerance:
        return failed(name, why, f"integral {integral.value:.8g}", error, tolerance)
    return passed(name, why, error, tolerance)


def kolmogorov_smirnov(u):
    """Distance of (N,) numbers from the uniform distribution, and its p-value."""
    from scipy.special import kolmogorov
    u = np.sort(u)
    grid = np.arange(len(u) + 1) / len(u)
    distance = float(max(np.max(grid[1:] - u), np.max(u - grid[:-1])))
    return distance, float(kolmogorov(distance * np.sqrt(len(u))))


def uniform_row(name, u, what):
    """Like :func:`ks_row` for one column, and more sensitive to location and scale."""
    row = ks_row(name, u[:, None], what)
    if row.failed:
        return row
    for moment, expected, spread in ((u, 1 / 2, 1 / 12), ((u - 0.5) ** 2, 1 / 12, 1 / 180)):
        z = abs(np.mean(moment) - expected) / np.sqrt(spread / len(u))
        if z > SIGMAS:
            return failed(name, f"{what}: first two moments, z-scores",
                          f"{np.mean(moment):.5f}, expected {expected:.5f}", float(z), SIGMAS)
    return row


def ks_row(name, u, what):
    """The row for (N, D) numbers each column of which should be uniform."""
    bad = ~np.isfinite(u)
    if np.any(bad):
        p = np.flatnonzero(np.any(bad, axis=1))[0]
        return failed(name, f"{what}: nan or inf", f"row {p}: {show(u[p])}")
    results = [kolmogorov_smirnov(u[:, j]) for j in range(u.shape[1])]
    j = int(np.argmin([p for _, p in results]))
    distance, p_value = results[j]
    why = f"{what}: Kolmogorov-Smirnov, {len(u)} rows, p > {LEVEL:g}"
    # The distance that has this p-value, for the table.
    limit = float(np.sqrt(np.log(2 / LEVEL) / (2 * len(u))))
    if p_value < LEVEL:
        return failed(name, why, f"coordinate {j}: p = {p_value:.1e}", distance, limit)
    return passed(name, why, distance, limit)
