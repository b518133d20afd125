r"""
Several flows are better than one
=================================

*Another seed gives another flow. Which one should be kept?*

All of them. The mean of K densities is a density, and by Jensen's inequality

.. math::

   -\log \frac1K \sum_k q_k(x) \le \frac1K \sum_k -\log q_k(x)

in *every* row. It is nearly an equality where the flows agree, and a gain where they do not: where
one has almost no density by accident, the others keep the cost down. ``nfref.FlowDensity`` fits
such a pool, and weights its candidates by held-out rows.

Here five flows learn the same hundred rows of a banana, whose entropy is known.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from scipy.special import logsumexp

import nfref
from nfref.plots.canvas import COLOURS

# %%
# Five seeds
# ----------
# **Predict.** Will the mean of five be better than the best of the five?

toy = nfref.datasets.banana
rng = np.random.default_rng(0)
train, held_out, fresh = toy(rng, 100), toy(rng, 1000), toy(rng, 4000)
flow = nfref.in_units_of(nfref.NSF(2, layers=3, hidden=(64,), bins=12, bound=4.0), train)
density = nfref.Density(flow)


def fit(seed):
    own = np.random.default_rng(seed)
    return nfref.fit(
        density,
        density.init(own),
        train,
        own,
        validation=held_out,
        epochs=90,
        batch_size=25,
        learning_rate=1e-2,
        average=0.9,
        patience=15,
        progress=False,
    ).params


members = [fit(seed) for seed in range(5)]
log_q = np.array([density.log_prob(params, fresh) for params in members])


def mean_of(rows):
    """log of the mean of the densities whose logarithms are the rows."""
    return logsumexp(rows, axis=0) - np.log(len(rows))


alone = -log_q.mean(axis=1)
together = -mean_of(log_q).mean()
print("alone   ", alone.round(2), " nats a row, entropy", round(toy.entropy, 2))
print("together", together.round(2))

# %%
# .. dropdown:: Answer
#
#    Yes: 0.03 nats better than the best, 0.1 better than their mean. The theorem says only that it
#    beats the *mean* of the five. It usually beats each of them if they are about equally good and
#    disagree.

# %%
# How many?
# ---------
# On average each further flow helps, by the same inequality: the mean of K densities is the mean of
# the K means that leave one out. Here the second gains most, and each further one less.

costs = [-mean_of(log_q[:k]).mean() for k in range(1, 6)]
print("mean of the first 1, 2, ... 5:", np.round(costs, 2))

# %%
# .. alt: Bars of the cost of five single flows, and a line that falls as more of them are averaged,
#    towards the entropy, a dashed line below all.

fig, ax = plt.subplots(figsize=(7.36, 3.2), layout="constrained")
ax.bar(np.arange(1, 6), alone, color="0.85", label="a flow alone")
ax.plot(np.arange(1, 6), costs, "o-", color=COLOURS[1], label="mean of the first k")
ax.axhline(toy.entropy, color="black", linestyle="--", label="entropy")
ax.set(ylim=(2.1, 2.75), xlabel="k", ylabel="nats a row, lower is better", xticks=np.arange(1, 6))
ax.legend(ncols=3, loc="upper right")
plt.show()

# %%
# Two densities and one row:
#
# .. play: blend
#
# Exercise 1: the gain of two
# ---------------------------
# In one row, two flows have the densities 0.4 and 0.1. By how many nats is the mean of their
# densities better than the mean of their log-densities?

answer_1 = ...  # type a number here


def check_1(answer):
    q = np.array([0.4, 0.1])
    assert not np.isclose(answer, 0), "log of a mean and mean of logs differ where the flows differ"
    assert answer > 0, "by Jensen's inequality it is a gain"
    assert np.isclose(answer, np.log(q.mean()) - np.log(q).mean(), atol=1e-3), (
        "log((0.4 + 0.1) / 2) less the mean of log 0.4 and log 0.1"
    )


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = np.log(0.25) - np.log(0.2)
#
#    The mean of the logs is the log of the geometric mean, :math:`\sqrt{0.4 \cdot 0.1} = 0.2`. The
#    gain is 0.22 nats.

# %%
# Exercise 2: a weak member
# -------------------------
# On paper: two flows have losses of 2 and 3 nats in every row. What is the loss of the mean of
# their densities?

answer_2 = ...  # type a number here


def check_2(answer):
    assert not np.isclose(answer, 2.5), (
        "that is the mean of the losses; the mean density does better"
    )
    assert np.isclose(answer, -np.log(np.mean(np.exp([-2.0, -3.0]))), atol=1e-3), (
        "average the densities, exp(-2) and exp(-3)"
    )


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_2 = 2 - np.log((1 + np.exp(-1)) / 2)
#
#    2.38: better than the mean of the losses, and worse than the better flow.

# %%
# What can go wrong
# -----------------
# - Averaging *log*-densities, or parameters: neither gives the mean of the densities.
# - Flows of one seed are copies: you pay K times and gain nothing.

# %%
# What this page claims.

assert toy.entropy < together < alone.mean()
assert together < alone.min()
assert costs[0] - costs[1] > costs[3] - costs[4]
