r"""
1. Stretching
=============

*A map moves points of a known density. How dense are they where they arrive?*

A flow makes a density by moving points: draw :math:`z` from a simple base density, say the
standard normal, and map it, :math:`x = f(z)`. How dense are the :math:`x`? Where :math:`f`
stretches, the same points cover more space, and the density falls by the factor of the stretching:

.. math::

    p_X(x) = p_Z(z) \left|\frac{dz}{dx}\right|, \qquad z = f^{-1}(x).

This one factor is what a flow has to know besides :math:`f`, and what nfref returns with every
value, as a logarithm. One coordinate is enough to see it at work, to see what goes wrong without
it, and to check it. The map of this page is a planar layer in one dimension (Rezende and Mohamed
2015, arXiv:1505.05770, section 4.1); page 02 has the plane.
"""

# %%
import math

import matplotlib.pyplot as plt
import numpy as np

import nfref
from nfref.plots.canvas import COLOURS

# %%
# The map
# -------
# :math:`f(z) = z + \hat u\,\tanh(w z + b)` is steep where :math:`w z + b` is near zero and only
# shifts far away. Its derivative is
#
# .. math:: f'(z) = 1 + \hat u\, w\, (1 - \tanh^2(w z + b)).
#
# In these letters it is:

w, b, u_hat = 2.0, 0.6, 1.5


def f(z):
    return z + u_hat * np.tanh(w * z + b)


def slope(z):
    return 1 + u_hat * w * (1 - np.tanh(w * z + b) ** 2)


# %%
# nfref's layer is the same map. Its parameter is not :math:`\hat u` but a free number :math:`u`
# with :math:`w \hat u = \log(1 + e^{w u}) - 1`, so that every :math:`u` gives a map one can
# invert. Parameters come first in every call. What comes back is the value and ``log_det``, the
# logarithm of the stretching in the direction just taken.

flow = nfref.PlanarLayer(1)
params = {
    "u": np.array([np.log(np.expm1(1 + w * u_hat)) / w]),
    "w": np.array([w]),
    "b": np.array([b]),
}
density = nfref.Density(flow)
density_params = {"base": {}, "flow": params}

z = np.array([[-1.6], [-0.3], [1.0]])
x, log_det = flow.forward(params, z)
print("z           ", z[:, 0])  # [-1.6 -0.3  1. ]
print("x = f(z)    ", x[:, 0].round(3))  # [-3.084 -0.3    2.484]
print("stretched by", np.exp(log_det).round(3))  # [1.065 4.    1.065]
assert np.allclose(x, f(z), rtol=1e-14)
assert np.allclose(np.exp(log_det), slope(z[:, 0]), rtol=1e-14)

# %%
# A probe that slides
# -------------------
# Where does the formula come from? Put a short probe of length :math:`h` on the axis of
# :math:`z`. About a share :math:`p_Z(z)\, h` of all points lies in it. The map carries these very
# points, no more and no fewer, to an interval of length :math:`f(z + h/2) - f(z - h/2)`. Density
# is share by length:
#
# .. math::
#
#     p_X(x) \approx \frac{p_Z(z)\, h}{f(z + h/2) - f(z - h/2)}
#     \;\xrightarrow{\;h \to 0\;}\; \frac{p_Z(z)}{f'(z)}.
#
# Where :math:`f` falls, the length is minus that difference; hence the absolute value.
#
# .. play: probe

h = 0.3
share = np.exp(-(z[:, 0] ** 2) / 2) / np.sqrt(2 * np.pi) * h
length = (f(z + h / 2) - f(z - h / 2))[:, 0]
print("share of points   ", share.round(4))  # [0.0333 0.1144 0.0726]
print("length of image   ", length.round(3))  # [0.321 1.174 0.321]
print("density by probe  ", (share / length).round(3))  # [0.104 0.097 0.226]
print("density by formula", np.exp(density.log_prob(density_params, x)).round(3))
# [0.104 0.095 0.227]

# %%
# How short should the probe be? Its error falls like :math:`h^2`, because the curve bends within
# it. But a difference of two numbers that nearly agree has few digits left, and that error rises
# like :math:`1/h`. The best :math:`h` is near the cube root of the machine precision, 6e-6;
# shorter is not better. The formula has neither error.

places = np.random.default_rng(0).standard_normal((200, 1))
exact = flow.forward(params, places)[1]
errors = {}
for h in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-8, 1e-10):
    by_probe = np.log((f(places + h / 2) - f(places - h / 2))[:, 0] / h)
    errors[h] = np.max(np.abs(by_probe - exact))
    print(f"h = {h:.0e}: largest error of log f'  {errors[h]:.0e}")
# smallest, 7e-11, at h = 1e-05

# %%
# The density of x
# ----------------
# **Predict.** The base density has one peak, at :math:`z = 0`, and :math:`f(0) = 0.81`. The map is
# steepest at :math:`z = -0.3`, close by. How many peaks does the density of :math:`x` have, and
# where: one at 0.81?
#
# A histogram of mapped points is the judge. It knows no formula.

rng = np.random.default_rng(0)
samples, _ = flow.forward(params, rng.standard_normal((200_000, 1)))
edges = np.linspace(-6, 6, 121)
heights, _ = np.histogram(samples[:, 0], bins=edges, density=True)

line = np.linspace(-9, 9, 3601)[:, None]
back, log_det_back = flow.inverse(params, line)  # z, and log |dz/dx|
log_base = density.base.log_prob({}, back)
with_factor = np.exp(log_base + log_det_back)
without = np.exp(log_base)
assert np.array_equal(with_factor, np.exp(density.log_prob(density_params, line)))

higher = (with_factor[1:-1] > with_factor[:-2]) & (with_factor[1:-1] > with_factor[2:])
peaks = line[1:-1, 0][higher]
print("peaks of the density of x at", peaks.round(2))  # [-2.5   2.13]

# %%
# .. dropdown:: Answer
#
#    There are two peaks, and near 0.81 there is neither: the density falls wherever the steep
#    part of the map pulls the points apart, and most of them come from there. A peak does not
#    move along with its point. Only shares do.
#
# And without the factor? The curve :math:`p_Z(f^{-1}(x))` has its peak at 0.81, but it is no
# density at all: substituting :math:`x = f(z)`, its integral is the mean stretching
# :math:`E[f'(z)]`.

step = line[1, 0] - line[0, 0]
mean_stretching = np.mean(np.exp(-flow.inverse(params, samples)[1]))
print("integral with the factor   ", (with_factor.sum() * step).round(6))  # 1.0
print("integral without the factor", (without.sum() * step).round(3))  # 2.054
print("mean stretching of samples ", mean_stretching.round(2))  # 2.05

# %%
# The figure: three positions of the probe. Below, the base density; beside it, the map; on the
# left, the density of :math:`x`. Areas of one colour are equal, in the units of the axes, because
# they hold the same points. Where the map is steep the area is drawn out long, so it has to be low.
#
# .. alt: Above right, an increasing curve x = f(z), steep in its middle. Below it, the bell of
#    the base density; left of it, lying on its side, the density of x with two peaks. Three
#    strips of equal area, red, blue and green, are carried from below to the left: the steep part
#    draws its strip out long and low.

fig, axes = plt.subplot_mosaic(
    [["x", "map"], ["key", "z"]],
    figsize=(7.36, 6),
    width_ratios=(1.25, 2),
    height_ratios=(2.3, 1),
    layout="constrained",
)
curve = np.linspace(-3, 3, 601)
axes["map"].plot(curve, f(curve), color="black")
axes["z"].plot(curve, np.exp(-(curve**2) / 2) / np.sqrt(2 * np.pi), color="black")
axes["x"].stairs(
    heights, edges, orientation="horizontal", fill=True, color="0.85", label="histogram of f(z)"
)
axes["x"].plot(without, line, color="black", linestyle=":", label="without the factor")
axes["x"].plot(with_factor, line, color="black", label="with it")
for middle, colour in zip(z[:, 0], COLOURS):
    probe = np.linspace(middle - 0.15, middle + 0.15, 41)
    image = f(probe)
    below = np.exp(density.base.log_prob({}, probe[:, None]))
    beside = np.exp(density.log_prob(density_params, image[:, None]))
    axes["z"].fill_between(probe, below, color=colour)
    axes["x"].fill_betweenx(image, beside, color=colour)
    axes["map"].fill_between(probe, -4.6, image, color=colour, alpha=0.25, linewidth=0)
    axes["map"].fill_betweenx(image, -3, probe, color=colour, alpha=0.25, linewidth=0)
    axes["map"].plot(probe, image, color=colour, linewidth=5)
axes["map"].set(xlim=(-3, 3), ylim=(-4.6, 4.6), title="the map $x = f(z)$")
axes["z"].set(xlim=(-3, 3), ylim=(0, 0.45), xlabel="z", ylabel="$p_Z(z)$")
axes["x"].set(
    xlim=(0.45, 0),
    ylim=(-4.6, 4.6),
    ylabel="x",
    xlabel="density of x",
    title="equal areas, other lengths",
)
axes["key"].axis("off")
axes["key"].legend(*axes["x"].get_legend_handles_labels(), loc="center", frameon=False)
plt.show()

# %%
# Exercise 1: the peak
# --------------------
# Let :math:`z` be standard normal and :math:`x = e^z`. At which :math:`x` is the density of
# :math:`x` highest? Write :math:`\log p_X` as a function of :math:`z` first.

answer_1 = ...  # type the x of the peak here


def check_1(answer):
    def density_of_x(x):  # by a short probe of the share of points below x
        below = [math.erfc(-math.log(end) / math.sqrt(2)) / 2 for end in (x - 1e-4, x + 1e-4)]
        return (below[1] - below[0]) / 2e-4

    assert answer > 0, "x = e^z is positive"
    here = density_of_x(answer)
    assert here >= density_of_x(0.98 * answer), (
        "a little to the left it is higher still: the map stretches less there"
    )
    assert here >= density_of_x(1.02 * answer), "a little to the right it is higher still"


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = np.exp(-1)
#
#    The derivative of :math:`e^z` is :math:`e^z`, so :math:`\log p_X = -z^2/2 - z` and a constant.
#    That is highest at :math:`z = -1`, not at the peak of the base density.

# %%
# Exercise 2: a density of your own
# ---------------------------------
# Now :math:`x = \sinh z`, with :math:`z` standard normal. Write a function that takes an array of
# :math:`x` and returns :math:`\log p_X(x)`. The inverse is ``np.arcsinh``, and
# :math:`\cosh^2 z = 1 + x^2`.

answer_2 = ...  # type lambda x: ... here


def check_2(answer):
    z = np.linspace(-9, 9, 20001)
    share = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    log_p = answer(np.sinh(z))
    assert np.shape(log_p) == z.shape, "expected one log-density for each x"
    mass = np.sum(np.exp(log_p) * np.cosh(z)) * (z[1] - z[0])
    assert abs(mass - 1) < 1e-6, f"its integral is {mass:.4g}, and that of a density is 1"
    assert np.allclose(np.exp(log_p) * np.cosh(z), share), (
        "the integral is right; compare a short probe's share of points with its image's"
    )


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_2 = lambda x: (-np.arcsinh(x) ** 2 / 2 - 0.5 * np.log(2 * np.pi)
#                             - 0.5 * np.log1p(x ** 2))
#
#    :math:`dz/dx = 1 / \cosh z = (1 + x^2)^{-1/2}`, and its logarithm is the last term.

# %%
# What can go wrong
# -----------------
# - Forgetting the factor: the curve is no density, and its integral says so.
# - Taking a peak of z for a peak of x. Peaks do not move along with points.
# - Checking a derivative with a step that is too short: below 1e-5 rounding wins.

# %%
# What this page claims.

assert abs(with_factor.sum() * step - 1) < 1e-9
assert abs(without.sum() * step - mean_stretching) < 0.02 and mean_stretching > 2
assert len(peaks) == 2 and np.all(np.abs(peaks - f(0)) > 1)
assert abs(line[without.argmax(), 0] - f(0)) < step
assert 50 < errors[1e-2] / errors[1e-3] < 200 and errors[1e-5] < 1e-9 < errors[1e-10]
inside = edges[:-1, None] + (edges[1] - edges[0]) * (np.arange(20) + 0.5) / 20
within = np.exp(density.log_prob(density_params, inside.reshape(-1, 1))).reshape(-1, 20)
expected = 20_000 * within.mean(axis=1)  # counts in bins 0.1 wide
enough = expected > 25
deviations = (20_000 * heights - expected)[enough] / np.sqrt(expected[enough])
assert 0.8 < np.sqrt(np.mean(deviations**2)) < 1.2  # it scatters as counts do
assert np.allclose(flow.inverse(params, x)[1], -log_det, rtol=1e-12)
