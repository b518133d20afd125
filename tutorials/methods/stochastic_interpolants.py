r"""
Stochastic interpolants
=======================

*Must a flow start from the normal distribution?*

A flow need not start from a normal distribution. Take any two densities, draw :math:`x_0` from one
and, independently, :math:`x_1` from the other, and join them (Albergo, Vanden-Eijnden 2022,
arXiv:2209.15571):

.. math:: I_t = \cos(\pi t / 2)\, x_0 + \sin(\pi t / 2)\, x_1 .

The density of :math:`I_t` goes from the first to the second, and the velocity that carries it is
the mean of :math:`dI_t/dt` at each point, which a network learns by regression. As the first
density is known, the flow has a likelihood: at the end, and at every time on the way.

Here both densities are mixtures of normals, two and eight of them. Then the density at every time
is a mixture too, and the velocity is known: the page compares the fit with both.
"""

# %%
import sys

import matplotlib.pyplot as plt
import numpy as np
from scipy.special import logsumexp, softmax

import nfref
from nfref import datasets
from nfref.objectives.flow_matching import FlowMatching, trigonometric_path

FULL = "--full" in sys.argv  # the long run, whose figure is kept
FIRST_MEANS, FIRST_SCALE = np.array([[-1.5, 0.0], [1.5, 0.0]]), 0.5
ANGLES = np.pi / 4 * np.arange(8)
LAST_MEANS = np.sqrt(8) * np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
LAST_SCALE = np.sqrt(1 / 8)
TIMES = np.linspace(0, 1, 5)

# %%
# What is known. With :math:`\sigma = \cos(\pi t / 2)` and :math:`\alpha = \sin(\pi t / 2)`, a
# pair of components, normal with means :math:`m_0, m_1` and deviations :math:`s_0, s_1`, gives a
# normal :math:`I_t` with mean m and variance v,
#
# .. math:: m = \sigma m_0 + \alpha m_1, \qquad v = \sigma^2 s_0^2 + \alpha^2 s_1^2, \qquad
#           E\left[\frac{dI_t}{dt} \;|\; I_t = x\right] = m' + \frac{v'}{2 v} (x - m).
#
# The sixteen pairs share x by their posterior weights.


def pairs_at(t, x):
    """(N, 16) log-densities of the pairs at time t, and (N, 16, 2) velocities in each."""
    alpha, sigma, d_alpha, d_sigma = trigonometric_path(t)
    first, last = np.repeat(FIRST_MEANS, 8, axis=0), np.tile(LAST_MEANS, (2, 1))
    variance = sigma**2 * FIRST_SCALE**2 + alpha**2 * LAST_SCALE**2
    half_slope = sigma * d_sigma * FIRST_SCALE**2 + alpha * d_alpha * LAST_SCALE**2
    away = x[:, None, :] - (sigma * first + alpha * last)
    log_density = -0.5 * np.sum(away**2, axis=2) / variance - np.log(2 * np.pi * variance)
    return log_density, d_sigma * first + d_alpha * last + away * half_slope / variance


def log_density_at(t, x):
    return logsumexp(pairs_at(t, x)[0], axis=1) - np.log(16)


def velocity_at(t, x):
    log_density, velocities = pairs_at(t, x)
    return np.sum(softmax(log_density, axis=1)[:, :, None] * velocities, axis=1)


# %%
# Learning. The base is the mixture, its parameters are given and stay as they are.


def learn(rows, epochs, hidden, seed=0):
    rng = np.random.default_rng(seed)
    density = nfref.Density(nfref.CNF(2, hidden), nfref.NormalMixture(2, 2))
    params = density.init(rng)
    params["base"] = {
        "logits": np.zeros(2),
        "means": FIRST_MEANS,
        "log_scales": np.full((2, 2), np.log(FIRST_SCALE)),
    }
    fit = nfref.fit(
        density,
        params,
        datasets.eight_gaussians(rng, rows),
        rng,
        objective=FlowMatching("trigonometric"),
        validation=None,
        epochs=epochs,
        batch_size=128,
        learning_rate=1e-2,
        schedule="cosine",
        patience=None,
        progress=False,
    )
    return density, fit.params


# %%
# Measuring, with points that follow the flow from the first density: how far the velocity is from
# the one that is known, as a share of its mean square, and how many nats the likelihood at each
# time is from the density of :math:`I_t`. The mean of the latter is a Kullback-Leibler divergence.
#
# .. alt: Five times on the way from two heaps to eight: above, the known densities; below, the
#    points of the flow, coloured by its likelihood, which is off by 0 to 0.15 nats.


def measure(density, params, rows, seed=1):
    start = density.base.sample(params["base"], np.random.default_rng(seed), rows)
    path = density.flow.trajectory(params["flow"], start, TIMES)
    log_probs = density.base.log_prob(params["base"], start) - path.log_det
    exact = [velocity_at(t, x) for t, x in zip(TIMES, path.values)]
    off = [
        density.flow.velocity(params["flow"], t, x) - u
        for t, x, u in zip(TIMES, path.values, exact)
    ]
    nats = np.array(
        [log_prob - log_density_at(t, x) for t, x, log_prob in zip(TIMES, path.values, log_probs)]
    )
    return path.values, log_probs, np.mean(np.square(off)) / np.mean(np.square(exact)), nats


def figure(positions, log_probs, nats):
    side = np.linspace(-4, 4, 161)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    fig, axes = plt.subplots(2, 5, figsize=(7.36, 3.7), layout="constrained")
    for k, (t, (above, below)) in enumerate(zip(TIMES, axes.T)):
        known = np.exp(log_density_at(t, grid)).reshape(161, 161)
        above.imshow(known, origin="lower", extent=(-4, 4, -4, 4), vmin=0)
        below.scatter(
            *positions[k, :3000].T,
            s=2,
            c=np.exp(log_probs[k, :3000]),
            vmin=0,
            vmax=known.max(),
            rasterized=True,
        )
        above.set_title(f"t = {t:.2f}", fontsize=10)
        below.set_title(f"{nats[k].mean():.3f} nats off", fontsize=10)
        below.set(facecolor=plt.cm.viridis(0.0))
    axes[0, 0].set(ylabel="known density")
    axes[1, 0].set(ylabel="the flow's points")
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[], xlim=(-4, 4), ylim=(-4, 4), aspect="equal")
    plt.show()


# %%
# Run it
# ------
# **Predict.** The regression is learned well. Does the likelihood stay right all the way?

density, params = learn(*((20_000, 80, (96, 96)) if FULL else (5000, 40, (48, 48))))
positions, log_probs, off, nats = measure(density, params, 4000 if FULL else 500)
error = nats.std(axis=1) / np.sqrt(nats.shape[1])
print(f"velocity: {off:.4f} of its mean square is not the known one")
for t, mean, e in zip(TIMES, nats.mean(axis=1), error):
    print(f"t = {t:.2f}: {mean:.4f} +- {e:.4f} nats from the density of I_t")
figure(positions, log_probs, nats)
assert np.all(np.abs(nats[0]) < 1e-9)  # the first density is the base
# A divergence is not negative, and after learning it is small.
assert np.all(nats.mean(axis=1) > -3 * error - 1e-9)
assert nats[-1].mean() < (0.25 if FULL else 0.6)
assert off < (0.1 if FULL else 0.3)

# %%
# .. dropdown:: Answer
#
#    No: the network's errors add up from time 0 to the last time. The regression is an easy loss,
#    but not a bound on the likelihood.
#
# Paths of a velocity from a normal to two heaps:
#
# .. play: paths
#
# Exercise 1: half way
# --------------------
# :math:`x_0` and :math:`x_1` are independent, both with variance 1. What is the variance of
# :math:`I_t` at :math:`t = 1/2`?

answer_1 = ...  # type a number here


def check_1(answer):
    truth = np.var(
        (
            np.random.default_rng(1).standard_normal(10**6)
            + np.random.default_rng(2).standard_normal(10**6)
        )
        / np.sqrt(2)
    )
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-6), "cos^2 + sin^2"


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = 1.0
#
#    1 at every t. By the straight line :math:`(x_0 + x_1) / 2` it would be 1/2.

# %%
# Exercise 2: the middle
# ----------------------
# On paper: :math:`x_0` has the mean 0, :math:`x_1` the mean 3. What is the mean of :math:`I_t` at t
# = 1/2?

answer_2 = ...  # type a number here


def check_2(answer):
    t = 0.5
    x_0, x_1 = np.random.default_rng(5).standard_normal((2, 10**6)) + [[0.0], [3.0]]
    middle = np.mean(np.cos(np.pi * t / 2) * x_0 + np.sin(np.pi * t / 2) * x_1)
    assert np.isclose(answer, middle, rtol=0.01), "the sine of 45 degrees, not a half"


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_2 = 3 / np.sqrt(2)
#
#    2.12: on the quarter circle the middle is farther than half way.

# %%
# What can go wrong
# -----------------
# - A low loss read as a good likelihood: errors add up along the path.
# - Base and data paired by their order in a file: the formulas need independent pairs.
