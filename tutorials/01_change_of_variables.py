"""
The change of variables
=======================

A flow makes a density by moving points: draw z from a simple base density, say the standard
normal, and map it, x = f(z). How dense are the x? Where f stretches, the same points cover
more space, and the density falls by the factor of the stretching:

    p_X(x) = p_Z(z) |dz/dx|,    z = f^-1(x),

and in D dimensions |det dz/dx| takes the place of |dz/dx|. This one factor is what a flow has
to know besides f, and what nfref returns with every value, as a logarithm. Here one coordinate
is enough to see the formula at work, to see what is wrong without the factor, and to check the
factor itself against finite differences.
"""

# %%
import numpy as np
from _figures import figure_path

import nfref
from nfref.plots.canvas import COLOURS, new_figure

# %%
# The map is one layer of a planar flow in one dimension, x = z + u' tanh(w z + b), where u' is
# made from the parameter u so that the map is invertible. It stretches where w z + b is near
# zero and only shifts far away. Parameters come first in every call, and they are only arrays.

flow = nfref.PlanarLayer(1)
params = {"u": np.array([2.0]), "w": np.array([2.0]), "b": np.array([0.6])}
density = nfref.Density(flow)
density_params = {"base": {}, "flow": params}

z = np.array([[-2.0], [-0.3], [1.0]])
x, log_det = flow.forward(params, z)
print("z           ", z[:, 0])                      # [-2.  -0.3  1. ]
print("x = f(z)    ", x[:, 0].round(3))             # [-3.506 -0.3    2.493]
print("stretched by", np.exp(log_det).round(3))     # [1.013 4.018 1.066]

# %%
# Samples are mapped base samples, and a histogram of them is the judge: it knows no formula.

rng = np.random.default_rng(0)
samples, _ = flow.forward(params, rng.standard_normal((200_000, 1)))
edges = np.linspace(-5, 6, 111)
heights, _ = np.histogram(samples[:, 0], bins=edges, density=True)

# %%
# The density with the factor, and without it. ``inverse`` returns z and log |dz/dx|; the last
# line is the same sum as ``density.log_prob`` makes.

line = np.linspace(-8, 9, 3401)[:, None]
back, log_det_back = flow.inverse(params, line)
log_base = density.base.log_prob({}, back)
with_factor = np.exp(log_base + log_det_back)
without = np.exp(log_base)
assert np.array_equal(with_factor, np.exp(density.log_prob(density_params, line)))

step = line[1, 0] - line[0, 0]
print("integral with the factor   ", (with_factor.sum() * step).round(6))       # 1.0
print("integral without the factor", (without.sum() * step).round(6))           # 2.059928

# %%
# Without the factor the curve is no density at all: substituting x = f(z), its integral is the
# mean stretching E[dx/dz]. With the factor the curve passes through the histogram, up to the
# noise of counting: a bin of expected count m scatters by sqrt(m).

mean_stretching = np.mean(np.exp(-flow.inverse(params, samples)[1]))
print("mean stretching of samples ", mean_stretching.round(2))                  # 2.06

width = edges[1] - edges[0]
inside = edges[:-1, None] + width * (np.arange(20) + 0.5) / 20         # 20 points a bin
in_bins = np.exp(density.log_prob(density_params, inside.reshape(-1, 1))).reshape(-1, 20)
expected = len(samples) * width * in_bins.mean(axis=1)
counts = len(samples) * width * heights
enough = expected > 25
deviations = (counts - expected)[enough] / np.sqrt(expected[enough])
print("bins off by, in standard deviations: root mean square",
      np.sqrt(np.mean(deviations ** 2)).round(2))                               # 0.92

# %%
# The factor itself needs a check that knows nothing of derivatives: the central difference
# (f(z + h) - f(z - h)) / 2h. Its error falls with h^2 while the curve of f matters, and rises
# again like 1/h when the difference drowns in rounding. The best h lies near the cube root of
# the machine precision, about 6e-6: smaller is not better.

points = rng.standard_normal((200, 1))
_, exact = flow.forward(params, points)
sizes = np.logspace(-12, 0, 49)
errors = []
for h in sizes:
    above, _ = flow.forward(params, points + h)
    below, _ = flow.forward(params, points - h)
    errors.append(np.max(np.abs(np.log((above - below)[:, 0] / (2 * h)) - exact)))
errors = np.array(errors)
best = sizes[errors.argmin()]
print(f"smallest error {errors.min():.1e} at step size {best:.0e}")       # 7.3e-11 at 6e-06

# %%
# The figure.

figure = new_figure(13, 4)
left, middle, right = figure.subplots(1, 3)

ticks = np.linspace(-2.4, 2.4, 25)[:, None]
images, _ = flow.forward(params, ticks)
curve = np.linspace(-3, 3, 301)[:, None]
left.plot(curve, flow.forward(params, curve)[0], color="black")
for tick, image in zip(ticks[:, 0], images[:, 0]):
    left.plot([tick, tick, -3], [-5, image, image], color=COLOURS[0], linewidth=0.6)
left.set(xlim=(-3, 3), ylim=(-5, 5), xlabel="z, evenly spaced", ylabel="x = f(z)",
         title="steep: the points move apart")

middle.stairs(heights, edges, fill=True, color="0.8", label="histogram of f(z)")
middle.plot(line, without, color=COLOURS[1], label=f"$p_Z(z)$: integral {without.sum() * step:.2f}")
middle.plot(line, with_factor, color=COLOURS[0], label="$p_Z(z)\\,|dz/dx|$: integral 1")
middle.set(xlim=(-5, 6), ylim=(0, 0.58), xlabel="x", ylabel="density",
           title="with the factor it is a density")
middle.legend(loc="upper right", fontsize="small")

right.loglog(sizes, errors, color=COLOURS[0], marker="o", markersize=3)
right.loglog(sizes[28:], 2 * sizes[28:] ** 2, color="0.5", linestyle="--", label="$h^2$")
right.loglog(sizes[:28], 2e-16 / sizes[:28], color="0.5", linestyle=":", label="$1/h$")
right.set(xlabel="step size h", ylabel="largest error of log |dx/dz|", ylim=(1e-12, 10),
          title="the check against finite differences")
right.legend()
nfref.plots.save(figure, figure_path("01_change_of_variables.png"))

# %%
# What this page claims.

assert abs(with_factor.sum() * step - 1) < 1e-9
assert abs(without.sum() * step - mean_stretching) < 0.02 and mean_stretching > 2
assert 0.8 < np.sqrt(np.mean(deviations ** 2)) < 1.2
assert errors.min() < 1e-9 and 1e-7 < best < 1e-3
truncation = (sizes > 1e-4) & (sizes < 1e-2)
slope = np.polyfit(np.log(sizes[truncation]), np.log(errors[truncation]), 1)[0]
assert abs(slope - 2) < 0.05
assert np.allclose(flow.inverse(params, x)[1], -log_det, rtol=1e-12)
