"""Checks of a density at D = 1 and 2: its integral, and its samples.

A flow is a homeomorphism, so it maps the disc |z| <= R onto the region that the image of its edge
encloses. All mass lies there but P(|z| > R): 2 Phi(-R) at D = 1 (1.2e-15 for R = 8), exp(-R^2/2)
at D = 2 (2.3e-11 for R = 7).

The trapezoid rule integrates over this region on both axes; the inner axis has its own interval for
each column of the outer one. For smooth integrands that vanish at the ends, it converges faster
than any power of the spacing. So the change from half the spacing shows the error.
"""

import numpy as np
from scipy import stats

import nfref
from tests.finite_differences.case import Finding, gravest, worst

SAMPLES = 2000
KS_THRESHOLD = 1e-3  # p-value; seeds are fixed, so a test always passes or always fails


def log_prob(subject, rows):
    """Return the log-density of rows, all under the subject's first context."""
    density = nfref.Density(subject.flow)
    params = {"base": {}, "flow": subject.params}
    blocks = [
        density.log_prob(params, block, first_context(subject, len(block)))
        for block in np.array_split(rows, max(1, len(rows) // 2**15))
    ]
    return np.concatenate(blocks)


def first_context(subject, n):
    return None if subject.context is None else np.repeat(subject.context[:1], n, axis=0)


def image_of_edge(subject):
    """Return the images of z = -8 and 8, or of 4,096 points of a circle of radius 7.1."""
    if subject.flow.dim == 1:
        edge = np.array([[-8.0], [8.0]])
    else:
        angle = np.linspace(0, 2 * np.pi, 4096, endpoint=False)
        edge = 7.1 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return subject.flow.forward(subject.params, edge, first_context(subject, len(edge)))[0]


def spans(edge, columns):
    """Return the lowest and highest x_2 of the closed polygon in every column x_1 = c."""
    start, end = edge, np.roll(edge, -1, axis=0)
    a, b = start[:, 0] - columns[:, None], end[:, 0] - columns[:, None]
    crosses = (a <= 0) != (b <= 0)
    share = np.where(crosses, a / np.where(crosses, a - b, 1), 0)
    height = start[:, 1] + share * (end[:, 1] - start[:, 1])
    return (
        np.min(np.where(crosses, height, np.inf), axis=1),
        np.max(np.where(crosses, height, -np.inf), axis=1),
    )


def marginal(subject, count):
    """Return the grid of x_1 with ``count`` points, its spacing, and the density of x_1 on it."""
    edge = image_of_edge(subject)
    low, high = np.min(edge[:, 0]), np.max(edge[:, 0])
    spacing = (high - low) / count
    grid = low + spacing * (np.arange(count) + 0.5)
    if subject.flow.dim == 1:
        return grid, spacing, np.exp(log_prob(subject, grid[:, None]))
    bottom, top = spans(edge, grid)
    inner = (top - bottom) / count
    heights = bottom[:, None] + inner[:, None] * (np.arange(count) + 0.5)
    rows = np.stack([np.repeat(grid, count), heights.ravel()], axis=1)
    values = np.exp(log_prob(subject, rows)).reshape(count, count)
    return grid, spacing, np.sum(values, axis=1) * inner


def integral(subject, tolerance=1e-7, most=1024):
    """Return the integral, its change at the last halving, the grid, and the marginal density."""
    count, before = 64, np.inf
    while True:
        grid, spacing, values = marginal(subject, count)
        total = spacing * np.sum(values)
        change = abs(total - before)
        if change < tolerance or 2 * count > (most if subject.flow.dim == 2 else 2**16):
            return total, change, grid, values
        count, before = 2 * count, total


def integrates_to_one(subject, quadrature=None):
    """Check that the density has mass one to 1e-6, and the quadrature a tenth of that error."""
    total, change, _, _ = quadrature or integral(subject)
    tolerance = max(1e-6, 10 * subject.precision)
    return worst(
        "density integrates to one",
        np.array([abs(total - 1), 10 * change]),
        tolerance,
        f"integral {total:.9f}, last change {change:.1e};",
        "entry",
    )


def samples_follow_density(subject, quadrature=None):
    """Compare samples of x_1 with the integral of the density, the distribution function."""
    density = nfref.Density(subject.flow)
    rng = np.random.default_rng(subject.seed + 3)
    x = density.sample(
        {"base": {}, "flow": subject.params}, rng, SAMPLES, first_context(subject, SAMPLES)
    )
    _, _, grid, values = quadrature or integral(subject)
    spacing = grid[1] - grid[0]
    cumulative = spacing * (np.cumsum(values) - 0.5 * values)
    p = stats.kstest(x[:, 0], lambda at: np.interp(at, grid, cumulative, 0, 1)).pvalue
    return surprise("samples follow the density", [p])


def density_on_a_grid(subject):
    """Check that the density integrates to one and that its samples follow it."""
    area = integral(subject)
    return gravest([integrates_to_one(subject, area), samples_follow_density(subject, area)])


def samples_come_back(subject):
    """Check that ``inverse`` maps samples to standard normal coordinates and chi-squared lengths.

    With a context, every sample has its own.
    """
    dim = subject.flow.dim
    rng = np.random.default_rng(subject.seed + 4)
    density = nfref.Density(subject.flow)
    context = (
        rng.standard_normal((SAMPLES, subject.flow.context_dim))
        if subject.flow.context_dim
        else None
    )
    x = density.sample({"base": {}, "flow": subject.params}, rng, SAMPLES, context)
    z, _ = subject.flow.inverse(subject.params, x, context)
    p = [stats.kstest(z[:, i], "norm").pvalue for i in range(dim)]
    p.append(stats.kstest(np.sum(z**2, axis=1), "chi2", args=(dim,)).pvalue)
    return surprise("samples come back normal", p)


def surprise(check, p_values):
    """Compare -log10 of the smallest p-value, corrected for their number, with the threshold."""
    p = min(1.0, len(p_values) * float(np.min(p_values)))
    return Finding(check, -np.log10(max(p, 1e-300)), -np.log10(KS_THRESHOLD), "-log10 p")
