r"""
18. Scores: the same densities with noise on the way
====================================================

*A diffusion model walks at random from noise to a picture. Where is its likelihood?*

A *diffusion model* draws a picture by a random walk. It learns the *score* :math:`\nabla \log p_t`
of data with noise, :math:`x_t = \alpha_t x_1 + \sigma_t z`, and walks by the stochastic
differential equation

.. math:: dx = \left(f(x, t) + \frac{g_t^2}{2} \nabla \log p_t(x)\right) dt + g_t\, dw,

from noise at :math:`t = 0` to data at :math:`t = 1`. Here f is the velocity of flow matching, and
w a Brownian motion. The size g of the noise is free: with the exact score, the densities
:math:`p_t` are the same for every g, even zero. With g = 0 nothing is random, the equation is a
flow, the *probability flow*, and it has a likelihood (Song et al. 2020, arXiv:2011.13456).
"""

# %%
import sys

import matplotlib.pyplot as plt
import numpy as np
from _digits import (
    BITS,
    LARGE,
    bits,
    draw,
    energy_distance,
    large_parts,
    learn,
    parts,
    rows_of,
    strip,
    table,
    to_the_line,
    with_strips,
)

import nfref
from nfref.objectives.flow_matching import conditional_path, variance_preserving_path
from nfref.plots.canvas import COLOURS

FULL = "--full" in sys.argv  # also learn pictures of 16 x 16

# %%
# Why every g will do
# -------------------
# The density of the walk obeys the Fokker-Planck equation: its drift moves mass, and its noise
# spreads it at the rate :math:`g^2 / 2`. Put the drift in, and use
# :math:`p\, \nabla \log p = \nabla p`:
#
# .. math::
#
#    \frac{\partial p_t}{\partial t}
#    = -\operatorname{div}\left(p_t f + \frac{g_t^2}{2}\, p_t \nabla \log p_t\right)
#      + \frac{g_t^2}{2}\, \Delta p_t
#    = -\operatorname{div}(p_t f).
#
# Spreading and drift along the score cancel, and the continuity equation of f is left (lesson 10).
# The hypotheses: :math:`p_t` is positive and smooth, drift and g are continuous in t, and the drift
# has a Lipschitz constant in x that holds for all t, so that one density alone obeys the equation
# from the same start. If the data lie in a bounded set, that holds on every interval on which
# :math:`\sigma_t` stays above a positive number, so on each that ends before t = 1.
#
# .. play: walk
#
# Score, noise and velocity are one thing
# ---------------------------------------
# The density :math:`p_t` is a mean over the data of normals, with mean :math:`\alpha_t x_1` and
# variance :math:`\sigma_t^2`. Where :math:`\sigma_t > 0` it may be differentiated under the mean:
#
# .. math:: \nabla \log p_t(x)
#           = E\left[-\frac{x - \alpha_t x_1}{\sigma_t^2} \;|\; x_t = x\right]
#           = -\frac{E[z \mid x_t = x]}{\sigma_t} .
#
# So the score points away from the noise. The velocity
# :math:`f = E[\alpha' x_1 + \sigma' z \mid x]` knows the same mean. With
# :math:`x_1 = (x - \sigma z) / \alpha`, where :math:`\alpha > 0`,
#
# .. math:: f = \frac{\alpha'}{\alpha}\, x
#               + \left(\sigma' - \frac{\alpha' \sigma}{\alpha}\right) E[z \mid x],
#           \qquad
#           E[z \mid x] = \frac{\alpha f - \alpha' x}{\alpha \sigma' - \alpha' \sigma} .
#
# One network gives all three. On the *variance-preserving* path, :math:`\alpha^2 + \sigma^2 = 1`
# with noise at the rate :math:`\beta`, it reads :math:`f = \frac{\beta}{2} (x + \nabla \log p_t)`.


def score(f, t, x):
    """The score at x, of the velocity f there that was learned on the variance-preserving path."""
    alpha, sigma, d_alpha, d_sigma = variance_preserving_path(t)
    return -(alpha * f - d_alpha * x) / (alpha * d_sigma - d_alpha * sigma) / sigma


# %%
# *Denoising score matching* asks a network s for the score by regression, with noise that is known.
# Its loss is flow matching's, with another weight for each time:
#
# .. math:: |f - u|^2 = \left(\frac{\alpha \sigma' - \alpha' \sigma}{\alpha}\right)^2 |\hat z - z|^2
#           = \left(\frac{\beta_t}{2}\right)^2 \left|s(x_t, t) + \frac{z}{\sigma_t}\right|^2,
#
# where u is the velocity of one line and :math:`\hat z = -\sigma s`. So a fit by flow matching on
# this path is a fit of a score.

(pixels, _), (test, _) = parts()
fixed = to_the_line(pixels)
rows = rows_of(fixed, pixels)
cnf, params = learn(rows, (192, 192), 30, path="vp")
params = nfref.params.cast(params, np.dtype(np.float64))["flow"]

rng = np.random.default_rng(1)
z, t = rng.standard_normal((500, 64)), rng.uniform(0.05, 0.95, (500, 1))
x_t, u = conditional_path("vp", t, z, rows[:500].astype(float))
_, sigma, _, _ = variance_preserving_path(t)
beta = 0.1 + 19.9 * (1 - t)
f = cnf.velocity(params, t, x_t)
by_velocity = np.sum((f - u) ** 2, axis=1)
by_score = np.sum((beta / 2 * (score(f, t, x_t) + z / sigma)) ** 2, axis=1)
print(f"two losses, largest relative difference {np.max(np.abs(by_score / by_velocity - 1)):.0e}")

found = {"18: by its score": bits(cnf, {"base": {}, "flow": params}, fixed, test)}
table(found)

# %%
# Walk or flow
# ------------
# The walk of diffusion models has :math:`g = \sqrt\beta`; we take c times as much, for c = 0, the
# flow, and c = 1. Euler's steps, with their noise, are all there is to it. (They start at a
# standard normal, without the data's part at t = 0, :math:`\alpha_0 = 0.007`. The last one ends a
# little before t = 1, where the score of a table has no bound: lesson 9.)
#
# **Predict.** A judge measures the energy distance of 397 samples from the test digits, 0 in the
# mean where two laws are the same. Which is nearer after 30 steps, the walk or the flow? And after
# 600?


def walk(steps, c, n=397, seed=6):
    """Euler and Maruyama's steps, in equal parts of the integral of beta."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 64))
    total = np.linspace(1, 1e-4, steps + 1) * 10.05  # the integral of beta from 0 to s = 1 - t
    times = 1 - (np.sqrt(0.1**2 + 2 * 19.9 * total) - 0.1) / 19.9
    for now, after in zip(times, times[1:]):
        h, beta = after - now, 0.1 + 19.9 * (1 - now)
        f = cnf.velocity(params, now, x)
        drift = f + c**2 * beta / 2 * score(f, now, x)
        x = x + h * drift + c * np.sqrt(beta * h) * rng.standard_normal(x.shape)
    return x


truth = rows_of(fixed, test, 1, seed=7)
STEPS = (10, 30, 100, 300, 600)
distances = {c: [energy_distance(walk(n, c), truth) for n in STEPS] for c in (0, 1)}
for n, flow, noisy in zip(STEPS, *distances.values()):
    print(f"{n:4} steps: flow {flow:.3f}  walk {noisy:.3f}")
itself = energy_distance(rows_of(fixed, pixels[:397], 1), truth)
print(f"other digits {itself:.3f}")

# %%
# .. dropdown:: Answer
#
#    With few steps the flow is nearer, since noise needs small steps. From a hundred steps on the
#    walk is as near as the flow, or nearer: on its way it forgets a part of what the network did
#    wrong. But only the flow has a likelihood. With a learned score, the law of the walk is another
#    one.
#
# The same at 16 x 16
# -------------------
# The mosaics of lesson 17, with the same network and the same number of steps, in the full run.

if FULL:
    (large, _), (large_test, _) = large_parts()
    fixed_large = to_the_line(large)
    cnf_large, params_large = learn(rows_of(fixed_large, large, 1), *LARGE, path="vp")
    found["18: the same, 16 x 16"] = bits(cnf_large, params_large, fixed_large, large_test)
    table(found)

# %%
# On this path, too, the larger picture costs more bits per dimension than a digit alone: 2.38 in
# place of 2.26.
#
# .. alt: Left, the energy distance against the number of steps. Right, strips of digits drawn by
#    the flow and by the walk, and a strip of pictures of 16 x 16, four figures in each.

pictures = {
    "test digits": strip(fixed, truth[:9]),
    "flow, 600 steps": strip(fixed, walk(600, 0, 9)),
    "walk, 600 steps": strip(fixed, walk(600, 1, 9)),
}
if FULL:
    pictures["flow, 16 x 16"] = strip(fixed_large, draw(cnf_large, params_large, 5))
axes = with_strips(pictures, 3.8).subplots()
for (c, found_c), colour, marker, label in zip(
    distances.items(), COLOURS, "os", ("flow, g = 0", "walk, g² = β")
):
    axes.loglog(STEPS, np.maximum(found_c, 1e-3), marker + "-", color=colour, label=label)
axes.axhline(max(itself, 1e-3), color="0.6", linestyle="--", label="other digits")
axes.set(xlabel="steps", ylabel="energy distance")
axes.legend()
plt.show()

# %%
# What this page claims.

assert np.max(np.abs(by_score / by_velocity - 1)) < 1e-9
assert found["18: by its score"] < BITS["a histogram a pixel"]
few, many = 0, -1
assert distances[0][few] < distances[1][few] / 5  # noise needs small steps
assert distances[1][many] < distances[1][few] / 10
assert distances[1][many] < distances[0][many] + 0.01

# %%
# Exercise 1: the noise in a row
# ------------------------------
# On paper: the data are normal with mean 0 and variance 4, and
# :math:`\alpha_t^2 = \sigma_t^2 = 1/2`. What is :math:`E[z \mid x_t = 2]`?

answer_1 = ...  # type a number here


def check_1(answer):
    z, x1 = np.random.default_rng(0).standard_normal((2, 4_000_000))
    x_t = np.sqrt(0.5) * (2 * x1 + z)
    assert not np.isclose(answer, -0.8, atol=1e-3), "that is the score: times -sigma"
    assert np.isclose(answer, z[np.abs(x_t - 2) < 0.01].mean(), atol=0.03), (
        "x_t is normal with variance 2.5: what is its score at 2?"
    )


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = np.sqrt(0.5) * 2 / 2.5
#
#    The variance of x_t is 4 / 2 + 1 / 2 = 2.5, the score -2 / 2.5 = -0.8, and z is on average
#    0.8 sigma = 0.566: a fifth of the variance of x_t is noise.

# %%
# Exercise 2: a score for nothing
# -------------------------------
# Lesson 17 learned a velocity f on straight lines, :math:`x_t = t x_1 + (1 - t) z`. Give the score
# as a function of t, x and f(x, t), for 0 <= t < 1.

answer_2 = ...  # type your answer here, as a function: lambda t, x, f: ...


def check_2(answer):
    m, s, x = 1.5, 0.4, np.array([-1.0, 0.3, 2.0])
    for t in (0.0, 0.3, 0.9):
        v = (t * s) ** 2 + (1 - t) ** 2
        f = m + (x - t * m) * (t * s**2 - (1 - t)) / v
        assert np.allclose(answer(t, x, f), -(x - t * m) / v), (
            f"at t = {t} the score of N(t m, v) is -(x - t m) / v; first find E[z | x] from f"
        )


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_2 = lambda t, x, f: -(x - t * f) / (1 - t)
#
#    f = E[x_1 - z | x] and x = z + t (x_1 - z), so E[z | x] = x - t f, and sigma = 1 - t. No
#    second network is needed. With g^2 = 2 c (1 - t), the drift of the walk is f - c (x - t f),
#    which has no 1 - t below a line.

# %%
# What can go wrong
# -----------------
# - Calling the likelihood of the flow that of the walk: with a learned score they are two laws.
# - Steps that are too large for the noise: see ten steps in the figure.
# - The score at the end: with sigma near 0 it grows without bound on a finite table.
# - Weights that are large where the noise is small: a few times make most of the loss.
