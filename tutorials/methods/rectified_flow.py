r"""
Rectified flow
==============

*Paths of a learned velocity bend. Can they be made straight?*

Join noise z and data x by straight lines, learn the mean velocity of the lines through each point,
and solve the differential equation (Liu, Gong, Liu 2022, arXiv:2209.03003). The lines cross, and
solutions of a differential equation with a smooth velocity do not: where two lines meet, the flow
bends. So its paths are curved, and a solver that takes one big step lands elsewhere.

But the flow pairs each z with where it ends, and the lines between *these* pairs hardly cross.
Learned again, once, they give a flow to nearly the same data whose paths are nearly straight. Let
:math:`y(t)` be the path of the flow from :math:`y(0) = z` to :math:`y(1) = x`. A number measures
straightness, the cost of a path beyond the line between its ends:

.. math:: S = E \int_0^1 \left|\frac{dy}{dt} - (x - z)\right|^2 dt
          = E \int_0^1 \left|\frac{dy}{dt}\right|^2 dt - E\,|x - z|^2 ,

since :math:`\int_0^1 \frac{dy}{dt}\, dt = x - z`. S is zero only if all paths are straight lines at
constant speed.

Neither flow is trained by likelihood, and both have one: it is that of a CNF with its exact trace.
"""

# %%
import sys

import matplotlib.pyplot as plt
import numpy as np

import nfref
from nfref import datasets
from nfref.objectives.rectified_flow import RectifiedFlow, reflow_pairs, straightness

FULL = "--full" in sys.argv  # the long run, whose figure is kept

# %%
# Learning twice. The second fit starts from the first one's parameters, and sees its pairs alone.


def fit_twice(rows, epochs, hidden, seed=0):
    """A density, and its parameters after the first fit and after the reflow."""
    rng = np.random.default_rng(seed)
    x = datasets.eight_gaussians(rng, rows)
    density = nfref.Density(nfref.Chain([nfref.CNF(2, hidden), nfref.Standardise.of(x)]))
    options = {
        "validation": None,
        "epochs": epochs,
        "batch_size": 128,
        "learning_rate": 1e-2,
        "schedule": "cosine",
        "patience": None,
        "progress": False,
    }
    first = nfref.fit(density, density.init(rng), x, rng, objective=RectifiedFlow(), **options)
    pairs = reflow_pairs(density, first.params, rng, rows)
    second = nfref.fit(
        density, first.params, pairs[1], rng, objective=RectifiedFlow(pairs), **options
    )
    return density, first.params, second.params


# %%
# Measuring. One Euler step is :math:`z + v(z, 0)`: right if the path is a straight line at
# constant speed.


def one_step(cnf, params, z):
    return z + cnf.velocity(params, 0.0, z)


def measure(density, params, z, test):
    """S, the mean squared way, what one Euler step is off by, and nats above the entropy."""
    cnf, own = density.flow.flows[0], params["flow"][0]
    excess, cost = straightness(cnf, own, z)
    off = one_step(cnf, own, z) - cnf.forward(own, z)[0]
    above = datasets.eight_gaussians.log_prob(test) - density.log_prob(params, test)
    return {
        "S": excess.mean(),
        "cost": cost.mean(),
        "above": above.mean(),
        "off": np.sqrt(np.mean(np.sum(off**2, axis=1))),
    }


# %%
# The figure: paths (from the grey points), where a solver takes 1,500 points, and where a single
# Euler step does.
#
# .. alt: Two rows of three panels: paths, what a solver reaches, and what one Euler step reaches.
#    Learned once, the paths bend and one step ends in a clump in the middle; after one reflow
#    they are straight, and one step fills the ring.


def figure(density, fits, found):
    cnf = density.flow.flows[0]
    z = np.random.default_rng(1).standard_normal((1500, 2))
    fig, axes = plt.subplots(2, 3, figsize=(7.36, 5.3), layout="constrained")
    for row, name, params, numbers in zip(axes, ("learned once", "after one reflow"), fits, found):
        own = params["flow"][0]
        path = cnf.trajectory(own, z, np.linspace(0, 1, 41))
        color = plt.cm.viridis(np.clip(0.45 + 0.3 * path.values[-1, :, 0], 0, 0.9))
        row[0].scatter(*z[:120].T, s=4, c="lightgrey", zorder=3)
        for k in range(120):
            row[0].plot(*path.values[:, k].T, color=color[k], linewidth=1.1)
        row[1].scatter(*path.values[-1].T, s=3, c=color)
        row[2].scatter(*one_step(cnf, own, z).T, s=3, c=color)
        row[0].set(title=f"paths: S = {numbers['S']:.2g}", ylabel=name)
        row[1].set(title=f"solver: {path.evaluations} calls")
        row[2].set(title=f"one step: off by {numbers['off']:.2g}")
        for ax in row:
            ax.title.set_fontsize(10)
            ax.set(xticks=[], yticks=[], aspect="equal", xlim=(-2.3, 2.3), ylim=(-2.3, 2.3))
    plt.show()


# %%
# Run it
# ------
# **Predict.** One big Euler step: where do the points land with the first flow, and where after a
# reflow?

density, *fits = fit_twice(*((20_000, 60, (96, 96)) if FULL else (3000, 14, (32, 32))))
z = np.random.default_rng(2).standard_normal((1000, 2))
test = datasets.eight_gaussians(np.random.default_rng(3), 4000 if FULL else 500)
found = [measure(density, params, z, test) for params in fits]
for name, numbers in zip(("learned once", "reflow"), found):
    print(
        f"{name:>12}: S = {numbers['S']:.4f}, E|x - z|^2 = {numbers['cost']:.4f}, one Euler "
        f"step off by {numbers['off']:.3f}, {numbers['above']:.3f} nats above the entropy"
    )
figure(density, fits, found)
before, after = found
# Both forms of S agree. Straight at once, hardly farther, and the same density, as far as the
# network learns it.
y = density.flow.flows[0].trajectory(fits[0]["flow"][0], z, np.linspace(0, 1, 201)).values
velocity = np.diff(y, axis=0) * 200
along = np.mean(np.sum((velocity - (y[-1] - y[0])) ** 2, axis=2))
print(f"S of the first flow by {len(velocity)} steps along its paths: {along:.4f}")
assert np.isclose(along, before["S"], rtol=0.02)
assert after["S"] < before["S"] / (100 if FULL else 20)
assert after["cost"] < 1.02 * before["cost"]
assert after["off"] < before["off"] / 5
assert after["above"] < before["above"] + 0.1

# %%
# .. dropdown:: Answer
#
#    In a clump near the mean of the data; after the reflow about where the exact solution is.
#
# A path with a bend b, and Euler's steps along it.
#
# .. play: bend
#
# Exercise 1: straightness
# ------------------------
# A path y goes from 0 to 1 in unit time, with velocity :math:`2 t`. What does it cost beyond the
# straight line, :math:`\int_0^1 (dy/dt - 1)^2\, dt`?

answer_1 = ...  # type a number here


def check_1(answer):
    truth = np.mean((2 * (np.arange(10**5) + 0.5) / 10**5 - 1) ** 2)
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-6), "integrate (2 t - 1)^2 from 0 to 1"


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = 1 / 3
#
#    A third: it goes along the line, but not at constant speed.

# %%
# Exercise 2: pairs in order
# --------------------------
# On paper: on the line, z and x are both standard normal. By how much does :math:`E |x - z|^2` fall
# from independent pairs to pairs in order?

answer_2 = ...  # type a number here


def check_2(answer):
    z, x = np.random.default_rng(4).standard_normal((2, 10**6))
    fall = np.mean((x - z) ** 2) - np.mean((np.sort(x) - np.sort(z)) ** 2)
    assert np.isclose(answer, fall, rtol=0.02), "in order, the ways are zero"


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_2 = 2.0
#
#    From 2 to 0: in order each z meets its equal.

# %%
# What can go wrong
# -----------------
# - Reflowing the errors of the first flow: its pairs are its samples, not the data.
# - One Euler step after the first fit: the paths bend, and it lands in the middle.
