r"""
Piecewise flows
===============

*Data in several pieces: should one flow bridge the gaps, or should each piece have a flow?*

A flow carries a normal distribution, which is in one piece, to the data. If the data are in
several, thin bridges remain between them, never quite empty (lesson 11). One cure is to cut first:
divide the rows into clusters, and give each a flow of its own (Bevins, Handley, Gessey-Jones 2023,
arXiv:2305.02930). The density is then a mixture,

.. math:: p(x) = \sum_k w_k\, p_k(x),

with :math:`w_k` the share of rows in cluster k: as normalised as its parts, known at every x, and
sampled by drawing k first. How many clusters? As many as have the largest mean silhouette, which
for each row compares the distance to its own cluster with that to the next.

The page compares, for data in rings and in eight heaps, one flow with the pieces: all parts
together have about as many parameters as the one flow has, and each row is seen as often.
"""

# %%
import sys

import matplotlib.pyplot as plt
import numpy as np
from scipy.cluster.vq import kmeans2, vq
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

import nfref
from nfref import datasets
from nfref.runtime.params import count

FULL = "--full" in sys.argv  # the long run, whose figure is kept

# %%
# Cutting.


def silhouette(x, labels):
    """Mean over rows of (b - a) / max(a, b): a is the mean distance to the others of the row's own
    cluster, b the smallest mean distance to another cluster."""
    names, sizes = np.unique(labels, return_counts=True)
    sums = np.stack([cdist(x, x[labels == name]).sum(axis=1) for name in names], axis=1)
    own = labels[:, None] == names
    a = sums[own] / np.maximum(sizes[np.searchsorted(names, labels)] - 1, 1)
    b = np.where(own, np.inf, sums / sizes).min(axis=1)
    return np.mean((b - a) / np.maximum(a, b))


def cut(x, most, seed=0):
    """Centres of the clustering with the largest silhouette, on at most 1,000 of the rows."""
    x = x[:1000]
    tried = [kmeans2(x, k, minit="++", seed=seed) for k in range(2, most + 1)]
    return max(tried, key=lambda found: silhouette(x, found[1]))[0]


# %%
# Learning: one flow for each piece, in the units of the piece.


def learn(x, hidden, epochs, seed=0):
    rng = np.random.default_rng(seed)
    density = nfref.Density(nfref.Chain([nfref.NSF(2, 3, hidden), nfref.Standardise.of(x)]))
    fit = nfref.fit(
        density,
        density.init(rng),
        x,
        rng,
        validation=None,
        epochs=epochs,
        batch_size=128,
        learning_rate=5e-3,
        schedule="cosine",
        patience=None,
        progress=False,
    )
    return density, fit.params


def learn_pieces(x, centres, hidden, epochs):
    """(log-weight, density, parameters) of each piece."""
    labels, _ = vq(x, centres)
    return [
        (np.log(np.mean(labels == k)), *learn(x[labels == k], hidden, epochs))
        for k in range(len(centres))
    ]


def log_prob(pieces, x):
    """log sum_k w_k p_k(x): the logarithm is taken once, of the sum."""
    return logsumexp(
        [log_w + density.log_prob(params, x) for log_w, density, params in pieces], axis=0
    )


def sample(pieces, rng, n):
    shares = np.exp([log_w for log_w, _, _ in pieces])
    counts = rng.multinomial(n, shares / shares.sum())
    return np.concatenate(
        [density.sample(params, rng, m) for m, (_, density, params) in zip(counts, pieces)]
    )


# %%
# The figure: samples, where the log-density of the data lies beneath them.
#
# .. alt: Two rows of points: data, one flow, and pieces. For eight heaps a few red points of the
#    one flow lie between them; for rings 17.7 % of its points are off the data, and of the ten
#    pieces 1.6 %.


def figure(results):
    fig, axes = plt.subplots(2, 3, figsize=(7.36, 5.7), layout="constrained")
    for row, (toy, test, *fits) in zip(axes, results):
        row[0].scatter(*test[:3000].T, s=2, c="#BBBBBB")
        row[0].set_title(f"data: {toy.name.replace('_', ' ')}", fontsize=10)
        for ax, (name, pieces, above) in zip(row[1:], fits):
            points = sample(pieces, np.random.default_rng(5), 3000)
            # Off the data: less likely than all but one in a thousand of them.
            off = toy.log_prob(points) < np.quantile(toy.log_prob(test), 1e-3)
            ax.scatter(*points[~off].T, s=2, c="#4477AA")
            ax.scatter(*points[off].T, s=5, c="#EE6677")
            ax.set_title(
                f"{name}: entropy + {above.mean():.3f}\n{100 * off.mean():.1f} % of samples off",
                fontsize=10,
            )
            print(f"{toy.name}, {name}: {100 * off.mean():.1f} % of samples off the data")
        for ax in row:
            ax.set(
                xticks=[], yticks=[], xlim=row[0].get_xlim(), ylim=row[0].get_ylim(), aspect="equal"
            )
    plt.show()


# %%
# Run it
# ------
# **Predict.** Compare one flow with a flow for each piece, with about as many parameters in total.
# Where is the difference large?

rows, epochs = (20_000, 60) if FULL else (2000, 12)
results = []
for toy in (datasets.eight_gaussians, datasets.rings):
    rng = np.random.default_rng(0)
    x, test = toy(rng, rows), toy(rng, 5000)
    one = [(0.0, *learn(x, (64, 64), epochs))]
    pieces = learn_pieces(x, cut(x, 10), (14, 14), epochs)
    fits = []
    for name, fit in (("one flow", one), (f"{len(pieces)} pieces", pieces)):
        above = toy.log_prob(test) - log_prob(fit, test)
        numbers = sum(count(params) for _, _, params in fit)
        print(
            f"{toy.name}, {name}, {numbers} parameters: {above.mean():.4f} +- "
            f"{above.std() / np.sqrt(len(above)):.4f} nats above the entropy"
        )
        fits.append((name, fit, above))
    results.append((toy, test, *fits))
figure(results)
(_, _, heaps, cut_heaps), _ = results
assert cut_heaps[0] == "8 pieces"
assert cut_heaps[2].mean() < heaps[2].mean()
# The pieces are a density: their mass is one.
side = np.linspace(-6, 6, 401)
grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
assert abs(np.exp(log_prob(cut_heaps[1], grid)).sum() * (side[1] - side[0]) ** 2 - 1) < 0.01

# %%
# .. dropdown:: Answer
#
#    For rings, which one flow must tear apart many times. For eight heaps it is small.
#
# The spline of lesson 6:
#
# .. play: knots
#
# Exercise 1: the price of a choice
# ---------------------------------
# Two pieces that do not overlap have the weights 0.3 and 0.7, and in each its own density costs 1
# nat a row. What does a row of the mixture cost on average?

answer_1 = ...  # type a number here


def check_1(answer):
    truth = 1 - np.mean(np.log(np.random.default_rng(1).choice([0.3, 0.7], 10**6, p=[0.3, 0.7])))
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-6), (
        "in piece k, -log p is -log w_k more than there"
    )


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = 1 - 0.3 * np.log(0.3) - 0.7 * np.log(0.7)
#
#    1.61: one nat, and the entropy of the choice.

# %%
# Exercise 2: a silhouette
# ------------------------
# On paper: a row is 1 away from the others of its cluster on average, and 4 from those of the next.
# Its silhouette is the difference over the larger. How large is it?

answer_2 = ...  # type a number here


def check_2(answer):
    own, other = 1.0, 4.0
    assert -1 <= answer <= 1, "a silhouette lies between -1 and 1"
    assert np.isclose(answer, (other - own) / np.maximum(own, other), atol=1e-3), "divide by 4"


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_2 = (4 - 1) / 4
#
#    0.75: well inside of its cluster.

# %%
# What can go wrong
# -----------------
# - Clusters that overlap: the parts share rows, and a hard cut makes edges.
# - A cluster of few rows: its flow remembers them.
