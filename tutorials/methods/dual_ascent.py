r"""
Dual ascent
===========

*Can a flow be grown, a small map at a time, without a network and without a learning rate?*

Before flows had networks they were grown. Tabak and Vanden-Eijnden (2010) and Tabak and Turner
(2013) take the data towards a normal by one small map after the other, :math:`z_k = g_k(z_{k-1})`.
Each map is chosen for the points where they stand by then, so that it raises

.. math:: \text{mean of}\; \log \mathcal{N}(z_k; 0, 1) + \log \left|\det
          \frac{\partial z_k}{\partial x}\right|,

and is never touched again. The likelihood can only rise. What comes out is a flow like any other:
turned around, the maps take a normal to the data, and the density is in closed form.

It starts at the best normal (the data are whitened). Then come in turns a radial expansion about a
random point and smooth bends along random directions; each has a few parameters and a concave
likelihood of its own, so that finding the best takes Newton's method and no learning rate.
"""

# %%
import sys

import matplotlib.pyplot as plt
import numpy as np

import nfref
from nfref import datasets

FULL = "--full" in sys.argv     # the long run, whose figure is kept
REACH = 4.6

# %%
# Growing. Rows that are held out say how many of the maps are worth keeping.


def grow(rows, steps):
    rng = np.random.default_rng(0)
    x, held_out = datasets.pinwheel(rng, rows), datasets.pinwheel(rng, rows)
    return x, nfref.DualAscent(steps=steps, smallest=0.01).fit(x, rng, held_out)


# %%
# The density after 0, a few, and all maps. Every beginning of the chain is a density. What is
# shown is its root, so that the faint parts between the arms are seen too.
#
# .. alt: The pinwheel of the data, the best normal, and the density after 62,
#    250 and 1000 maps, which takes on the five arms; then the log-likelihood against the number
#    of maps, rising for rows it climbs on and for rows held out.


def figure(x, found, side):
    axis = np.linspace(-REACH, REACH, side)
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    shown = (0, found.maps // 16, found.maps // 4, found.maps)
    fig, axes = plt.subplots(2, 3, figsize=(7.36, 5), layout="constrained")
    axes = axes.ravel()
    axes[0].scatter(*x[:2000].T, s=1, color="0.25", linewidths=0)
    axes[0].set_title("data")
    masses = []
    for ax, maps in zip(axes[1:], shown):
        density, params = found.after(maps)
        values = np.exp(density.log_prob(params, points)).reshape(side, side)
        masses.append(values.sum() * (axis[1] - axis[0]) ** 2)
        ax.pcolormesh(axis, axis, np.sqrt(values), cmap="Blues", shading="nearest",
                      rasterized=True)
        ax.set_title("best normal" if not maps else f"{maps} maps")
    for ax in axes[:5]:
        ax.set(xticks=[], yticks=[], aspect="equal", xlim=(-REACH, REACH),
               ylim=(-REACH, REACH))
    for name, style in (("train", "-"), ("validation", "--")):
        label = {"train": "the rows it climbs on", "validation": "rows held out"}[name]
        axes[5].plot(found.history[name], style, label=label,
                     color={"train": "#1f4e9c", "validation": "#d95f02"}[name])
    axes[5].set(xlabel="maps", ylabel="nats per row", title="log-likelihood")
    axes[5].legend(frameon=False, fontsize=9, loc="lower right")
    plt.show()
    return masses


# %%
# Run it
# ------
# **Predict.** Every map is chosen greedily and never touched again. Can the likelihood of rows
# held out fall on the way?

x, found = grow(*((4000, 1000) if FULL else (1000, 120)))
masses = figure(x, found, 201 if FULL else 81)
curve = np.array(found.history["train"])
print(f"{curve[0]:.3f} nats per row as a normal, {curve[-1]:.3f} after {len(curve) - 1} maps; "
      f"held out: {found.history['validation'][found.maps]:.3f}")
# The curve never falls, and what is gained shows in rows that were not seen.
assert np.all(np.diff(curve) > 0)
assert found.history["validation"][found.maps] > found.history["validation"][0] + 0.3
# Closed form along the chain: every stage is a density, and it is the one of the curve.
assert np.all(np.abs(np.array(masses) - 1) < 0.02)
density, params = found.after(len(curve) - 1)
assert np.isclose(np.mean(density.log_prob(params, x)), curve[-1], atol=1e-10)

# %%
# .. dropdown:: Answer
#
#    It may, though that of the rows it climbs on cannot. Here both rise together nearly to the
#    end.
#
# Exercise 1: one map
# -------------------
# Rows are normal with mean 0 and deviation 2. The first map divides them by 2. By how many nats a
# row does the likelihood rise?

answer_1 = ...      # type a number here


def check_1(answer):
    truth = 1.5 - np.log(2)
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-6), \
        "E x^2 / 2 falls from 2 to 1/2, and the determinant costs log 2"


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = 2 - 0.5 - np.log(2)
#
#    0.81 nats.
