r"""
6. A spline: a curve through knots
==================================

*What can bend a single coordinate at will, and still be undone by a formula?*

A shift and a scale treat all values of a coordinate alike: a normal density stays normal. A spline
stretches here and squeezes there. It is an increasing curve :math:`z = g(x)`, here from data to
latent as in its paper, through knots :math:`(x_k, y_k)`, with a chosen slope :math:`d_k > 0` at
each of them. Between two knots it is a ratio of two quadratics: with :math:`\xi = (x - x_k) /
(x_{k+1} - x_k)`, which goes from 0 to 1, and the mean slope :math:`s = (y_{k+1} - y_k) / (x_{k+1} -
x_k)` of the bin,

.. math::

   g(x) = y_k + (y_{k+1} - y_k)\,
   \frac{s\,\xi^2 + d_k\,\xi (1 - \xi)}{s + (d_{k+1} + d_k - 2 s)\,\xi (1 - \xi)}.

This is the transformer of neural spline flows (NSF v2, section 3.1; Durkan et al. 2019,
arXiv:1906.04032). What do its knots do to a density, why this odd formula, and what has to hold
where the curve ends?
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from scipy import stats
from scipy.interpolate import CubicHermiteSpline

import nfref
from nfref.plots.canvas import COLOURS

# %%
# The formula and its slope
# -------------------------
# Write the fraction as N / M. Its derivative by :math:`\xi` is :math:`(N'M - NM') / M^2`. One
# multiplies out, and much cancels:
#
# .. math::
#
#    g'(x) = s^2\, \frac{d_{k+1}\,\xi^2 + 2 s\,\xi (1 - \xi) + d_k\,(1 - \xi)^2}
#    {\left( s + (d_{k+1} + d_k - 2 s)\,\xi (1 - \xi) \right)^2}.
#
# At :math:`\xi = 0` that is :math:`d_k`, at :math:`\xi = 1` it is :math:`d_{k+1}`, and every term
# above is positive. So the curve increases, *whatever* positive numbers a network comes up with.


def spline(x, x_k, y_k, d):
    """g(x) and log g'(x) between the first knot and the last."""
    k = np.clip(np.searchsorted(x_k, x) - 1, 0, len(x_k) - 2)
    width, height = np.diff(x_k)[k], np.diff(y_k)[k]
    s, xi = height / width, (x - x_k[k]) / width
    M = s + (d[k + 1] + d[k] - 2 * s) * xi * (1 - xi)
    z = y_k[k] + height * (s * xi**2 + d[k] * xi * (1 - xi)) / M
    above = d[k + 1] * xi**2 + 2 * s * xi * (1 - xi) + d[k] * (1 - xi) ** 2
    return z, np.log(s**2 * above / M**2)


# %%
# The way back solves :math:`w M = N` for :math:`\xi`, where :math:`w = (z - y_k) / (y_{k+1} - y_k)`
# is known. That is a quadratic equation, :math:`a \xi^2 + b \xi - w s = 0`, and the form of its
# root below divides by a sum, so that nothing cancels where a is near zero. Both directions cost
# the same.


def spline_back(z, x_k, y_k, d):
    """The x with g(x) = z."""
    k = np.clip(np.searchsorted(y_k, z) - 1, 0, len(y_k) - 2)
    width, height = np.diff(x_k)[k], np.diff(y_k)[k]
    s, w = height / width, (z - y_k[k]) / height
    c = w * (d[k + 1] + d[k] - 2 * s)
    a, b = s - d[k] + c, d[k] - c
    return x_k[k] + width * 2 * w * s / (b + np.sqrt(b**2 + 4 * a * w * s))


x_k = np.array([-3.0, -1.2, 0.0, 1.2, 3.0])
y_k = np.array([-3.0, -0.4, 0.2, 0.8, 3.0])
d = np.array([1.0, 0.5, 2.0, 0.5, 1.0])
x = np.linspace(-2.99, 2.99, 400)
z, log_slope = spline(x, x_k, y_k, d)
print("round trip off by", np.abs(spline_back(z, x_k, y_k, d) - x).max())  # 2e-15


def knots(x_k, y_k, d):
    """Return nfref's arguments (x_k, y_k, s_k, d_k), one column for all rows."""
    return x_k[:, None], y_k[:, None], (np.diff(y_k) / np.diff(x_k))[:, None], d[:, None]


transformer = nfref.RationalQuadratic(bins=4, bound=3.0)
theirs = transformer.inverse(x, knots(x_k, y_k, d))  # data to latent, as here
print("numbers a coordinate takes", transformer.size)  # widths, heights, slopes: 11

# %%
# Why not a cubic? It too can take two values and two slopes.
#
# **Predict.** A bin from (0, 0) to (1, 1), with the slope 8 at both ends. Is the cubic increasing?

ends, steep = np.array([0.0, 1.0]), np.array([8.0, 8.0])
cubic_slope = CubicHermiteSpline(ends, ends, steep).derivative()(0.5)
rational_slope = np.exp(spline(np.array([0.5]), ends, ends, steep)[1])[0]
print("slope in the middle: cubic", cubic_slope.round(3))  # -2.5
print("                  rational", rational_slope.round(3))  # 0.222

# %%
# .. dropdown:: Answer
#
#    It turns back: leaving steeply on both sides, it overshoots and has to come down again
#    between. The ratio is flat in the middle instead, and increases.

# %%
# Dragging a knot
# ---------------
# The density of x is :math:`p(x) = \varphi(g(x))\, g'(x)`, with :math:`\varphi` the standard normal
# density. The mass between two knots is therefore :math:`\Phi(y_{k+1}) - \Phi(y_k)`: *heights
# share out the mass*, widths say over which x it is spread, and slopes only move it within a bin.
#
# **Predict.** Start from the identity, with knots at -3, -1, 0, 1, 3. Drag the middle knot up to
# 0.8. On which side of x = 0 does the density rise?
#
# .. play: knots

even = np.array([-3.0, -1.0, 0.0, 1.0, 3.0])
ones = np.ones(5)
line = np.linspace(-3.6, 3.6, 1441)


def density(y_k, d=ones):
    """z, and p at ``line``; outside of [-3, 3] the curve is the identity."""
    z, log_slope = transformer.inverse(line, knots(even, y_k, d))
    return z, np.exp(stats.norm.logpdf(z) + log_slope)


def dragged(height):
    return np.where(even == 0, height, even)


_, p = density(dragged(0.8))
step = line[1] - line[0]
left, right = (p[(line > low) & (line < low + 1)].sum() * step for low in (-1, 0))
by_heights = np.diff(stats.norm.cdf([-1, 0.8, 1]))
print("mass in (-1, 0) and (0, 1)", left.round(3), right.round(3))  # 0.628 0.052
print("by heights                ", by_heights.round(3))  # 0.629 0.053
print("integral", (p.sum() * step).round(3))  # 1, however it is dragged

# %%
# .. dropdown:: Answer
#
#    On the left: there the curve is steep, and z runs through 1.8 of its units while x runs
#    through one. From 0.341 each, the masses of the two bins become 0.629 and 0.053.

# %%
# Exercise 1: four quarters
# -------------------------
# To which heights must the three inner knots be dragged, so that a quarter of the mass lies left of
# x = -1, and a quarter in each of (-1, 0), (0, 1) and right of 1? Write an array of three.

answer_1 = ...  # type your answer here


def check_1(answer):
    inner = np.array(answer, dtype=float)
    assert inner.shape == (3,), "three heights, of the knots at -1, 0 and 1"
    assert np.all(np.diff(inner) > 0), "heights of knots increase"
    z, p = density(np.array([-3, *inner, 3]))
    below = [p[line < edge].sum() * step for edge in even[1:4]]
    assert np.allclose(below, [0.25, 0.5, 0.75], atol=0.005), (
        "the mass left of a knot is Phi(its height): which z has a quarter below it?"
    )


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = stats.norm.ppf([0.25, 0.5, 0.75])
#
#    Where the knots sit in x does not matter, and neither do the slopes.

# %%
# Where the curve ends
# --------------------
# Outside of its last knots nfref's spline is the identity, whose slope is 1. So the slopes of the
# first and last knot have to be 1 too: the density is :math:`\varphi(z)` times the slope, and where
# the slope jumps, so does the density. On a circle there is no outside; there, first and last
# slope must be one number (the page on the torus).
#
# Exercise 2: match the end slopes
# --------------------------------
# Another spline goes on as straight lines, chosen so that the tail on its left is a piece of a
# normal density with standard deviation 2, and the one on its right of one with deviation 1/2.
# Which slopes must its first and last knot have, so that the density has no jump? Write a pair.

answer_2 = ...  # type your answer here


def check_2(answer):
    first, last = map(float, answer)
    _, log_slope = spline(even[[0, -1]], even, even, np.array([first, 1, 1, 1, last]))
    p_inside = np.exp(stats.norm.logpdf([-3, 3]) + log_slope)
    tails = [stats.norm.pdf(-3, loc=3, scale=2), stats.norm.pdf(3, loc=1.5, scale=0.5)]
    assert not np.allclose([first, last], [2, 0.5]), (
        "g goes from x to z: a wide density is one where z changes slowly with x"
    )
    assert np.allclose(p_inside, tails, rtol=1e-3), (
        "a normal density with deviation sigma has z = (x - m) / sigma; what is its slope?"
    )


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_2 = (1 / 2, 2)
#
#    The line through the end of the curve is z = (x - m) / sigma, and its slope 1 / sigma.

# %%
# How many knots?
# ---------------
# For a density with distribution function F the ideal curve is :math:`z = \Phi^{-1}(F(x))`, since
# both sides have the same mass below them. Take two bumps, and put knots on that curve, with its
# slopes.
#
# **Predict.** With twice as many bins, how much smaller is the largest error of z?

bumps = [stats.norm(-1.1, 0.45), stats.norm(1.1, 0.45)]
between = np.linspace(-2.2, 2.2, 2001)


def ideal(x):
    """(z, dz/dx) of the two bumps."""
    z = stats.norm.ppf(sum(bump.cdf(x) for bump in bumps) / 2)
    return z, sum(bump.pdf(x) for bump in bumps) / 2 / stats.norm.pdf(z)


def through(bins):
    """Knots on the ideal curve, evenly spaced in x."""
    x_k = np.linspace(-2.2, 2.2, bins + 1)
    return (x_k, *ideal(x_k))


errors = {
    bins: np.abs(spline(between, *through(bins))[0] - ideal(between)[0]).max()
    for bins in (8, 16, 32, 64)
}
order = np.log2(errors[32] / errors[64])
for bins, error in errors.items():
    print(f"{bins} bins: {error:.1e}")  # 3.8e-03, 2.9e-04, 2.0e-05, 1.2e-06
print("order", order.round(2))  # 3.99

# %%
# .. dropdown:: Answer
#
#    Sixteen times: the error falls with the fourth power of the width of a bin. That is why a few
#    bins do; nfref's default is 8. In a flow, a network gives the knots: widths and heights by a
#    softmax, slopes by a softplus, for each coordinate from the ones before it (``nfref.NSF``).
#
# The figure.
#
# .. alt: Two rows of three panels. Above, curves through knots: a middle knot dragged up and
#    down, its slope turned, and eight bins for two bumps. Below, the densities they make: mass
#    moves to where the curve is steep.

figure, axes = plt.subplots(2, 3, figsize=(7.36, 5.2), sharex=True, layout="constrained")
shades = plt.get_cmap("viridis")(np.linspace(0, 0.85, 4))
slopes = np.array([0.2, 1.0, 2.0, 3.0])
settings = [
    [(f"{h:g}", dragged(h), ones) for h in (-0.8, 0.0, 0.4, 0.8)],
    [(f"{m:g}", even, np.where(even == 0, m, 1.0)) for m in slopes],
]
for column, setting in zip(axes.T, settings):
    for shade, (label, y_k_now, d_now) in zip(shades, setting):
        curve, p_now = density(y_k_now, d_now)
        column[0].plot(line, curve, color=shade, label=label)
        column[0].plot(even, y_k_now, "o", color=shade, markersize=5)
        column[1].plot(line, p_now, color=shade)
last = axes[:, 2]
x_k_now, y_k_now, d_now = through(8)
curve, log_slope_now = spline(between, x_k_now, y_k_now, d_now)
last[0].plot(between, curve, color=COLOURS[0], label="spline, 8 bins")
last[0].plot(x_k_now, y_k_now, "o", color=COLOURS[0], markersize=5)
last[1].fill_between(
    between, stats.norm.pdf(ideal(between)[0]) * ideal(between)[1], color="0.85", label="two bumps"
)
last[1].plot(between, np.exp(stats.norm.logpdf(curve) + log_slope_now), color=COLOURS[0])
spread = np.sqrt(1.1**2 + 0.45**2)
last[0].plot(between, between / spread, "--", color=COLOURS[1], label="shift and scale")
last[1].plot(between, stats.norm.pdf(between, scale=spread), "--", color=COLOURS[1])
titles = ("drag the middle knot", "turn its slope", "8 bins for two bumps")
for ax, title in zip(axes[0], titles):
    ax.set(title=title, ylim=(-3.4, 3.4))
    ax.legend(fontsize=9, loc="lower right" if ax is not last[0] else "upper left", handlelength=1)
for ax in axes[1]:
    ax.set(xlabel="x", ylim=(0, 1.25))
last[1].set(ylim=(0, 0.6))
last[1].legend(fontsize=9, loc="upper left")
axes[0, 0].set(ylabel="z = g(x)")
axes[1, 0].set(ylabel="density of x")
plt.show()

# %%
# What can go wrong
# -----------------
# - Rows outside of the knots: there the spline is the identity, so columns need units first.
# - Slopes that do not match at the ends: the density jumps.
# - Bins narrower than the data can fill: they remember single rows.

# %%
# What this page claims.

assert np.allclose(theirs, (z, log_slope), rtol=1e-10, atol=1e-12)
assert np.allclose(spline_back(z, x_k, y_k, d), x, atol=1e-12)
h = 1e-6
differences = (spline(x + h, x_k, y_k, d)[0] - spline(x - h, x_k, y_k, d)[0]) / (2 * h)
assert np.allclose(differences, np.exp(log_slope), rtol=1e-4)
assert cubic_slope < 0 < rational_slope
assert np.allclose([left, right], by_heights, atol=0.005) and left > 10 * right
assert abs(p.sum() * step - 1) < 0.002
assert abs(order - 4) < 0.3
