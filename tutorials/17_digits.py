r"""
17. Digits: a velocity and its bits
===================================

*How many bits does a picture cost a velocity that was never trained to save them?*

Lessons 17 to 20 carry one example through the methods that draw most of today's pictures: flow
matching, scores, guidance, and maps of one step. The pictures are handwritten digits of 8 x 8
pixels, each pixel one of 17 greys. All four methods learn a velocity by regression, as in lesson 9.
So each is a continuous flow, and each has a likelihood by the trace of lesson 8:

.. math:: \log p(y) = \log p_Z(z)
          - \int_0^1 \operatorname{tr} \frac{\partial f}{\partial x}(x_t, t)\, dt .

Here :math:`x_t` is the solution of :math:`dx/dt = f(x, t)` that ends in y, and z is where it
starts. One table grows over the four lessons: bits per dimension of the same 397 test digits.

A pixel is a whole number n. A density may be as high as it likes on whole numbers, so noise u,
uniform on [0, 1], is added to each pixel (lesson 13). By Jensen's inequality, the bits of the noisy
pixels bound those of the numbers themselves, for any density p:

.. math:: -\frac{1}{D} \log_2 P(n) \le -\frac{1}{D}\, E_u \log_2 p(n + u),
          \qquad P(n) = E_u\, p(n + u).
"""

# %%
import sys
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
from _digits import (
    BITS,
    LARGE,
    bits,
    draw,
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
from nfref.objectives.flow_matching import gaussian_velocity
from nfref.plots.canvas import COLOURS

FULL = "--full" in sys.argv  # also learn pictures of 16 x 16

# %%
# From pixels to rows of a velocity
# ---------------------------------
# A pixel with its noise lies in [0, 17]. A logit opens this range to the whole line, and each pixel
# is brought to mean 0 and variance 1. Both steps are layers without parameters to learn, and their
# log-determinants count. So the bits are those of pixels in units of one grey.
#
# .. play: bits

(pixels, labels), (test, _) = parts()
fixed = to_the_line(pixels)
rows = rows_of(fixed, pixels)
print(rows.shape, "rows to learn from,", len(test), "digits to test")  # 11200, 64, 397

# %%
# **Predict.** One normal density costs 2.97 bits, a histogram for every pixel 2.43, a RealNVP of
# two minutes 2.03 (methods, digits). A velocity with two hidden layers learns for ten seconds, and
# its loss contains no likelihood. Which of them does it beat?
#
# The trainer, ``learn``, is lesson 9's: ``nfref.fit`` with the objective ``FlowMatching``, batches
# of 256 rows and 30 epochs.

cnf, params = learn(rows, (192, 192), 30)
found = {"17: flow matching": bits(cnf, params, fixed, test)}
table(found)  # 4.09, 2.97, 2.43, 2.03, 2.19

# %%
# The solver is not exact: a tolerance of 1e-4 a step. Two digits more change nothing that counts.

fine = bits(replace(cnf, rtol=1e-6, atol=1e-6), params, fixed, test[:100])
coarse = bits(cnf, params, fixed, test[:100])
print(f"the solver moves the bits by {abs(fine - coarse):.0e}")

# %%
# .. dropdown:: Answer
#
#    It beats the normal density and the histograms, and comes within a fifth of a bit of the
#    RealNVP, which was trained for nothing but this number, and for ten times as long.
#
# What the regression says about the likelihood
# ---------------------------------------------
# Let u be the mean velocity of the lines, with densities :math:`p_t`, and f the learned velocity,
# with densities :math:`q_t`; both start from the same noise. Let all of them be smooth, the
# densities positive, and let the products below vanish far out, so that integrals by parts have no
# terms at the ends. With the continuity equations (lesson 10) for p and q,
#
# .. math::
#
#    \frac{d}{dt} \mathrm{KL}(p_t \| q_t)
#    = \int \frac{\partial p_t}{\partial t} \log\frac{p_t}{q_t}
#      - \int \frac{p_t}{q_t} \frac{\partial q_t}{\partial t}
#    = \int p_t\, u \cdot \nabla \log\frac{p_t}{q_t} - \int q_t\, f \cdot \nabla \frac{p_t}{q_t},
#
# and since :math:`q \nabla (p/q) = p \nabla \log (p/q)`,
#
# .. math:: \mathrm{KL}(p_1 \| q_1)
#           = \int_0^1 E_{p_t}\!\left[(u - f) \cdot (\nabla \log p_t - \nabla \log q_t)\right] dt .
#
# The first factor is the error that the regression makes small. The second is the distance of two
# *scores*, which the loss never sees. So a small loss alone bounds no likelihood: the product can
# stay large where the scores differ. And an error of f that is orthogonal to it costs nothing.
#
# On the line with normal densities everything is known. The truth has mean 3/2 and deviation 2/5;
# the model moves as if they were 6/5 and 3/5.

TRUTH, MODEL = (1.5, 0.4), (1.2, 0.6)


def normal_at(t, mean, scale):
    """Mean and variance of x_t for data N(mean, scale)."""
    return t * mean, (t * scale) ** 2 + (1 - t) ** 2


def kl_rate(t):
    x = np.linspace(-8, 8, 4001)
    (m, v), (n, w) = (normal_at(t, *law) for law in (TRUTH, MODEL))
    p = np.exp(-0.5 * (x - m) ** 2 / v) / np.sqrt(2 * np.pi * v)
    error = gaussian_velocity(t, x, *TRUTH) - gaussian_velocity(t, x, *MODEL)
    return np.sum(p * error * (-(x - m) / v + (x - n) / w)) * (x[1] - x[0])


times = (np.arange(2000) + 0.5) / 2000
by_rate = np.mean([kl_rate(t) for t in times])
(m, s), (n, w) = TRUTH, MODEL
by_formula = np.log(w / s) + (s**2 + (m - n) ** 2) / (2 * w**2) - 0.5
print(f"KL at t = 1: {by_rate:.4f} by the integral, {by_formula:.4f} by the formula")
# 0.2527, 0.2527

# %%
# The same at 16 x 16
# -------------------
# Put four digits together, chosen independently: a picture of 16 x 16 pixels. Nobody tells the
# network that its quarters know nothing of each other.
#
# **Predict.** The true law costs the same bits per dimension as one digit. What will the network
# pay?
#
# The learning takes minutes, so that only the full run does it; the table keeps its bits.

if FULL:
    (large, _), (large_test, _) = large_parts()
    fixed_large = to_the_line(large)
    cnf_large, params_large = learn(rows_of(fixed_large, large, 1), *LARGE)
    found["17: the same, 16 x 16"] = bits(cnf_large, params_large, fixed_large, large_test)
    table(found)

# %%
# .. dropdown:: Answer
#
#    More bits than one digit at a time, 2.29: a dense network has to find out that a quarter says
#    nothing about the others. That is one reason why networks for pictures look at neighbours
#    first.
#
# .. alt: Left, bars of bits per dimension: 4.09 for even levels down to 2.03 for RealNVP, flow
#    matching just above it. Right, three strips of digits: test digits, samples of the flow at
#    8 x 8, which can be read, and samples at 16 x 16, four figures in each square.

pictures = {
    "test digits": strip(fixed, rows_of(fixed, test[:12], 1)),
    "samples, 8 x 8": strip(fixed, draw(cnf, params, 12)),
}
if FULL:
    pictures["samples, 16 x 16"] = strip(fixed_large, draw(cnf_large, params_large, 5))
axes = with_strips(pictures, 3.4).subplots()
shown = list(BITS)[:6][::-1]
bars = axes.barh(shown, [BITS[name] for name in shown], color=COLOURS[0])
axes.bar_label(bars, fmt="%.2f", padding=3)
axes.set(xlabel="bits per dimension", xlim=(0, 6))
plt.show()

# %%
# What this page claims.

cost = found["17: flow matching"]
assert BITS["RealNVP, two minutes"] < cost < BITS["a histogram a pixel"] < BITS["one normal"]
assert cost < found.get("17: the same, 16 x 16", BITS["17: the same, 16 x 16"])
assert abs(fine - coarse) < 2e-3
assert np.isclose(by_rate, by_formula, atol=1e-4)

# %%
# Exercise 1: another unit
# ------------------------
# On paper: somebody divides the noisy pixels by 17, so that they lie in [0, 1], and forgets to
# convert. By how many bits per dimension does the number differ from ours? Give theirs minus ours.

answer_1 = ...  # type a number here


def check_1(answer):
    x = np.random.default_rng(0).normal(8, 2, 100_000)

    def cost(values):  # of the normal with their mean and deviation
        return np.log2(np.std(values)) + 0.5 * np.log2(2 * np.pi * np.e)

    assert not np.isclose(answer, np.log2(17), atol=1e-3), "smaller numbers have larger densities"
    assert np.isclose(answer, cost(x / 17) - cost(x), atol=1e-3), "the density is 17 times as high"


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = -np.log2(17)
#
#    The density of x / 17 is 17 p(x) for each dimension, so its bits are lower by 4.09. A digit
#    that costs "-1.9 bits per dimension" costs 2.2.

# %%
# Exercise 2: the bits of a row
# -----------------------------
# Rows have been scaled to [-1, 1] by :math:`y = (n + u) / 8.5 - 1`, and a flow gives the
# log-density of y in nats. Write a function of ``log_prob``, an array, and of the dimension D, that
# returns the bits per dimension of each row, in units of one grey.

answer_2 = ...  # type your answer here, as a function: lambda log_prob, D: ...


def check_2(answer):
    uniform = np.full(3, -64 * np.log(2))  # the density of even noise on [-1, 1]^64
    got = answer(uniform, 64)
    assert not np.allclose(got, 1), "these are bits in units of y: a grey is 1 / 8.5 of them"
    assert np.allclose(got, np.log2(17)), f"17 even levels cost 4.09 bits, not {got[0]:.2f}"
    assert np.allclose(answer(uniform + 64 * np.log(2), 64), np.log2(8.5)), "in bits, not nats"


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_2 = lambda log_prob, D: (np.log(8.5) - log_prob / D) / np.log(2)
#
#    The density of n + u is that of y, divided by 8.5 for each dimension.

# %%
# What can go wrong
# -----------------
# - Bits in another unit, as in exercise 1, beside bits of this one.
# - A velocity judged by its loss: two losses that are equal can differ in likelihood.
# - Rows of whole numbers without noise: the best density is infinite on them, see the figure above.
# - Bits of the rows that were learned: with more epochs they fall; those of the test may rise.
