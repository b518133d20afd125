r"""
One step from pairs
===================

*A map from noise to data is an old problem: who is whose partner? Does the answer train a flow?*

Lesson 20 learned to jump along the paths of a flow. Here are two ways that begin with pairs. Give
each noise row z a partner x among the data, so that all squared distances together are small:
*optimal transport*. On a batch it is an assignment problem.

- The lines between partners hardly cross. So the *mean velocity* along them is easy to learn
  (Geng et al. 2025: MeanFlow, arXiv:2505.13447), and one call of a network makes the step.
- Or a flow with an inverse in closed form learns the step itself by least squares,
  :math:`\min E |f(z) - x|^2`, without a determinant (Rehman et al. 2025, arXiv:2506.01158: FORT).
  It is a flow as before, so its likelihood is exact.

A rectified flow needs two trainings for its one step: the first makes the pairs for the second.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from scipy.spatial.distance import cdist

import nfref
from nfref.objectives.forward_regression import ForwardRegression
from nfref.objectives.mean_flow import MeanFlow, gaussian_mean_velocity, mean_flow_steps
from nfref.objectives.rectified_flow import RectifiedFlow, reflow_pairs
from nfref.plots.canvas import COLOURS

# %%
# Why partners must be a function of z
# ------------------------------------
# Least squares give the mean: the best f takes z to :math:`E[x \mid z]`. With partners at random
# that is the mean of all data, for every z. With one partner for each z it is that partner. So the
# pairs decide, and optimal transport with squared distances has one partner for almost every z, if
# the noise has a density (Brenier's theorem).
#
# Two normals on the line are a case to check by hand. Transport pairs them in order,
# :math:`x = m + s z`. Random pairs have the same ends by another way: a path of flow matching keeps
# :math:`(x_t - t m) / \sqrt{v_t}`, and its mean velocity from t = 0 over d = 1 is known.

z = np.linspace(-3, 3, 7)
off = np.max(np.abs(z + gaussian_mean_velocity(0.0, z, 1.0, 1.5, 0.4) - (1.5 + 0.4 * z)))
print(f"one step of the mean velocity between normals is off by {off:.0e}")

# %%
# Two normals in the plane
# ------------------------
# **Predict.** Which step lands nearest to the data: Euler's step of flow matching, Euler's step
# after a reflow, the mean velocity, or the regression?

MEANS = np.array([[-2.0, 0.5], [2.0, -0.5]])


def two_normals(rng, n):
    return MEANS[rng.integers(2, size=n)] + 0.3 * rng.standard_normal((n, 2))


def energy_distance(a, b):
    """2 E|a - b| - E|a - a'| - E|b - b'|: 0 in the mean if both have one law."""
    within = (cdist(rows, rows).sum() / (len(rows) * (len(rows) - 1)) for rows in (a, b))
    return 2 * cdist(a, b).mean() - sum(within)


rng = np.random.default_rng(0)
x, noise = two_normals(rng, 2000), rng.standard_normal((1000, 2))
truth = two_normals(np.random.default_rng(9), 1000)


def fit(density, params, objective, epochs, context=None):
    return nfref.fit(
        density,
        params,
        x,
        np.random.default_rng(1),
        context=context,
        objective=objective,
        epochs=epochs,
        batch_size=200,
        learning_rate=0.01,
        schedule="cosine",
        validation=None,
        patience=None,
        progress=False,
    ).params


straight = nfref.Density(nfref.CNF(2, (32, 32)))
first = fit(straight, straight.init(rng), RectifiedFlow(), 40)
second = fit(straight, first, RectifiedFlow(reflow_pairs(straight, first, rng, 2000)), 20)
mean = nfref.Density(nfref.CNF(2, (32, 32), context_dim=1))
jump = fit(mean, mean.init(rng), MeanFlow(pairing="ot"), 60, np.zeros((len(x), 1)))
flow = nfref.Density(nfref.RealNVP(2, 6, (32,)))
step = fit(flow, flow.init(rng), ForwardRegression(), 60)
ends = {
    "Euler, flow matching": noise + straight.flow.velocity(first["flow"], 0.0, noise),
    "Euler, after a reflow": noise + straight.flow.velocity(second["flow"], 0.0, noise),
    "mean velocity": mean_flow_steps(mean.flow, jump["flow"], noise),
    "regression": flow.flow.forward(step["flow"], noise)[0],
}
distances = {name: energy_distance(end, truth) for name, end in ends.items()}
for name, distance in distances.items():
    print(f"{name:22} energy distance {distance:.3f}")
likely = fit(flow, flow.init(rng), None, 60)
by_step, by_likelihood = (np.mean(flow.log_prob(params, truth)) for params in (step, likely))
print(f"nats a row: {by_step:.2f} by regression, {by_likelihood:.2f} by likelihood")

# %%
# .. dropdown:: Answer
#
#    The mean velocity, at 0.006, then the regression, at 0.009. Euler's step is at 1.207 and, after
#    a reflow, at 0.024. The likelihood of the regression, -1.36 nats a row, stays below the -1.17
#    of the same flow trained by likelihood: it was not asked.
#
# .. alt: Four panels of a thousand points on two grey heaps of data. Euler's step of flow matching
#    ends in the middle. The three others end in the heaps, with a few points between them.

fig, axes = plt.subplots(1, 4, figsize=(7.36, 1.7), layout="constrained")
for ax, (name, end), colour in zip(axes, ends.items(), COLOURS):
    ax.plot(*truth.T, ".", color="0.8", markersize=3)
    ax.plot(*end.T, ".", color=colour, markersize=2)
    ax.set(xticks=[], yticks=[], aspect="equal", xlim=(-3.4, 3.4), ylim=(-2.4, 2.4))
    ax.set_title(name, fontsize=9)
plt.show()

# %%
# Velocity and mean velocity on the line:
#
# .. play: mean
#
# What this page claims.

assert off < 1e-12
assert distances["Euler, after a reflow"] < distances["Euler, flow matching"] / 5
assert max(distances["mean velocity"], distances["regression"]) < 0.03
assert by_step < by_likelihood

# %%
# Exercise 1: partners at random
# ------------------------------
# On paper: data and noise are standard normal in the plane. What is the smallest
# :math:`E |f(z) - x|^2` over all maps f, if partners are random?

answer_1 = ...  # type a number here


def check_1(answer):
    x = np.random.default_rng(0).standard_normal((10**5, 2))
    least = np.mean(np.sum((x - x.mean(axis=0)) ** 2, axis=1))
    assert not np.isclose(answer, 0, atol=0.01), "z says nothing about x: the best f is the mean"
    assert np.isclose(answer, least, rtol=0.02), "the variance of x, over both coordinates"


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = 2.0
#
#    f = 0, and all that is left is the variance of x.

# %%
# Exercise 2: partners in order
# -----------------------------
# On paper: on the line the noise is N(0, 1) and the data are N(1.5, 0.16). Partners are those of
# optimal transport. By which number does the best map multiply z?

answer_2 = ...  # type a number here


def check_2(answer):
    rng = np.random.default_rng(0)
    z = np.sort(rng.standard_normal(10**5))
    x = np.sort(1.5 + 0.4 * rng.standard_normal(10**5))
    assert not np.isclose(answer, 0.16), "that is the variance: the map multiplies deviations"
    assert np.isclose(answer, np.polyfit(z, x, 1)[0], rtol=0.02), "in order, x = m + s z"


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_2 = 0.4

# %%
# What can go wrong
# -----------------
# - Reading a small regression error as a good likelihood: between the heaps the map is steep, and
#   the few rows that end beside their partner cost many nats.
# - Small batches: their transport is not that of the whole, so partners change from batch to batch,
#   and the map goes to their mean.
# - Partners at random: every z ends at the mean of the data.
