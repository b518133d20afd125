"""Numbers that should be uniform, as rows of a report."""

import numpy as np

from nfref.oracle.instruments.merge import LEVEL, SIGMAS
from nfref.oracle.report import Row, failed, passed, show
from nfref.runtime.annotations import Array


def kolmogorov_smirnov(u: Array) -> tuple[float, float]:
    """Return the distance of (N,) numbers from the uniform distribution, and its p-value."""
    from scipy.special import kolmogorov

    u = np.sort(u)
    grid = np.arange(len(u) + 1) / len(u)
    distance = float(max(np.max(grid[1:] - u), np.max(u - grid[:-1])))
    return distance, float(kolmogorov(distance * np.sqrt(len(u))))


def uniform_row(name: str, u: Array, what: str) -> Row:
    """Check one column like :func:`ks_row`, with more power for location and scale."""
    row = ks_row(name, u[:, None], what)
    if row.failed:
        return row
    for moment, expected, spread in ((u, 1 / 2, 1 / 12), ((u - 0.5) ** 2, 1 / 12, 1 / 180)):
        z = abs(np.mean(moment) - expected) / np.sqrt(spread / len(u))
        if z > SIGMAS:
            return failed(
                name,
                f"{what}: first two moments, z-scores",
                f"{np.mean(moment):.5f}, expected {expected:.5f}",
                float(z),
                SIGMAS,
            )
    return row


def ks_row(name: str, u: Array, what: str, lost: float = 0.0) -> Row:
    """Check that each column of (N, D) numbers is uniform.

    ``lost`` is the share of rows that rounding may have moved anywhere.
    """
    bad = ~np.isfinite(u)
    if np.any(bad):
        p = np.flatnonzero(np.any(bad, axis=1))[0]
        return failed(name, f"{what}: nan or inf", f"row {p}: {show(u[p])}")
    results = [kolmogorov_smirnov(u[:, j]) for j in range(u.shape[1])]
    j = int(np.argmin([p for _, p in results]))
    distance, p_value = results[j]
    why = f"{what}: Kolmogorov-Smirnov, {len(u)} rows, p > {LEVEL:g}"
    # The distance that has this p-value, for the table.
    limit = lost + float(np.sqrt(np.log(2 / LEVEL) / (2 * len(u))))
    if p_value < LEVEL and distance > limit:
        return failed(name, why, f"coordinate {j}: p = {p_value:.1e}", distance, limit)
    return passed(name, why, distance, limit)
