r"""
0. What a flow is
=================

*How likely is a row like this one, and can you make another?*

Many questions about data are one of these two. Is this measurement odd? What are the values of the
cells that are missing? What would a thousand more rows look like? A model that answers both is a
**density** one can compute and sample. There are few of them: a histogram needs too many cells once
there are more than three columns, and one normal density is one bump.

A **normalizing flow** bends a normal density until it fits. It is a function f, made of simple
layers, that takes a point z of the normal density to a point :math:`x = f(z)` that looks like data,
and that can be undone. To sample, draw z and compute :math:`f(z)`. To say how likely x is, go back
to its z, ask the normal density there, and account for how much f has stretched space on the way:

.. math:: \log p(x) = \log \mathcal{N}(z) - \log |\det J|, \qquad z = f^{-1}(x).

Here J is the *Jacobian* of f at z, the table of all slopes
:math:`J_{ij} = \partial x_i / \partial z_j`. Its determinant is the factor by which f stretches a
small volume around z. The last term, the *log-determinant*, is what flows are about: it is the
price of bending, and all layers are built such that it is cheap. The lessons that follow build it
up from one dimension.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np

import nfref
from nfref.plots.canvas import COLOURS

# %%
# Fit one
# -------
# The data are two half moons, 2,000 points. The flow has eight layers, and it starts as no bend at
# all. Fitting moves its parameters until the data are as likely as possible.

rng = np.random.default_rng(0)
data = nfref.datasets.two_moons(rng, 2000)

flow = nfref.in_units_of(nfref.RealNVP(2, layers=8, hidden=(32, 32)), data)
density = nfref.Density(flow)
params = nfref.fit(
    density,
    density.init(rng),
    data,
    rng,
    epochs=60,
    batch_size=100,
    learning_rate=1e-2,
    schedule="cosine",
    patience=None,
    progress=False,
).params

# %%
# Use it
# ------
# **Predict.** Two points, one on a moon and one between the moons. How many times as likely is the
# first?

points = np.array([[-1.0, 1.5], [0.0, 0.0]])
log_p = density.log_prob(params, points)
print("log-density on a moon", log_p[0].round(1), " between them", log_p[1].round(1))
print("ratio", np.exp(log_p[0] - log_p[1]).round())

new = density.sample(params, rng, 1000)
print("new points are of shape", new.shape)  # (1000, 2)

z, log_det = flow.inverse(params["flow"], data)
print("data taken back: mean", z.mean(axis=0).round(1), " deviation", z.std(axis=0).round(1))
assert np.allclose(flow.forward(params["flow"], z)[0], data, atol=1e-5)

# %%
# .. dropdown:: Answer
#
#    Many times: between the moons there are no data at all, and the flow has learned to say so. The
#    density there is never zero, because a flow cannot tear the normal density in two (lesson 11).
#    Taken back through the flow, the data look like draws of the standard normal density: mean 0,
#    deviation 1.
#
# The figure: on the left, points of the normal density, coloured by the quarter they are from. In
# the middle, the same points after the flow. On the right, its density.
#
# .. alt: Left, a round cloud of normal points in four colours, one a quarter. Middle, the same
#    points bent into two half moons; each colour stays together. Right, the density of the flow,
#    dark on the two moons and pale elsewhere.

start = rng.standard_normal((1500, 2))
end, _ = flow.forward(params["flow"], start)
quarter = np.array(COLOURS)[2 * (start[:, 0] > 0) + (start[:, 1] > 0)]
fig, (left, middle, right) = plt.subplots(1, 3, figsize=(7.36, 2.9), layout="constrained")
left.scatter(*start.T, s=3, c=quarter, linewidth=0)
left.set(title="noise z", xlim=(-3.5, 3.5), ylim=(-3.5, 3.5))
middle.scatter(*end.T, s=3, c=quarter, linewidth=0)
middle.set(title="x = f(z)", xlim=(-4, 4), ylim=(-4, 4))
axis = np.linspace(-4, 4, 161)
grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
right.pcolormesh(
    axis,
    axis,
    np.exp(density.log_prob(params, grid)).reshape(161, 161),
    cmap="Blues",
    shading="nearest",
    rasterized=True,
)
right.plot(*points.T, "o", color=COLOURS[1])
right.set(title="density of x")
for ax in (left, middle, right):
    ax.set(xticks=[], yticks=[], aspect="equal")
plt.show()

# %%
# The two terms of one row:
#
# .. play: likely
#
# What it is for
# --------------
# - *Odd rows*: those of low density. (With care: the truths page on out-of-distribution data.)
# - *More rows*, with some columns held fixed, or empty cells filled in.
# - *Distributions given something*: not one prediction, but all that may happen (lesson 14).
# - *Posteriors*: a flow fitted to an energy instead of data (lesson 12).
#
# And what it is not for: a table of ten rows; columns that are copies of each other; a single
# number to predict, where a regression does it better.

# %%
# Exercise 1: stretch
# -------------------
# The simplest flow: :math:`x = 3 z` in one dimension, with z standard normal. Points are spread
# three times as far apart. What is the density of x at 0? (That of z at 0 is 0.399.)

answer_1 = ...  # type a number here


def check_1(answer):
    samples = 3 * np.random.default_rng(1).standard_normal(1_000_000)
    counted = np.mean(np.abs(samples) < 0.05) / 0.1
    assert not np.isclose(answer, 3 * 0.399, rtol=0.02), "farther apart is less dense, not more"
    assert not np.isclose(answer, 0.399, rtol=0.02), "that is the density of z, before stretching"
    assert abs(answer - counted) < 0.003, f"counting a million points gives {counted:.3f}"


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = 0.399 / 3
#
#    The same points on three times the length: a third of the density, 0.133. That is the whole of
#    lesson 01.

# %%
# Exercise 2: both directions
# ---------------------------
# For the same flow: which z belongs to x = 6, and what is ``log_det`` of the way back, from x to z?

answer_2 = ...  # type (z, log_det) here


def check_2(answer):
    assert np.shape(answer) == (2,), "a pair: z and log_det"
    z, log_det = answer
    flow = nfref.Standardise([0.0], [3.0])
    there, back = flow.inverse({}, np.array([[6.0]]))
    assert np.isclose(z, there[0, 0]), "undo x = 3 z"
    assert not np.isclose(log_det, np.log(3)), "that is the way from z to x"
    assert np.isclose(log_det, back[0], atol=1e-3), "on the way back lengths become a third"


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_2 = (2.0, -np.log(3))

# %%
# What can go wrong
# -----------------
# - A density is not a probability: it may be above 1, and its size depends on the unit of x
#   (lesson 13).
# - A flow that is fitted too long remembers its rows. Judge it by rows it has not seen (lesson 15).
# - A wrong log-determinant looks like a good fit. Lesson 16 shows how to find out.

# %%
# What this page claims.

assert log_p[0] - log_p[1] > 2
assert np.all(np.abs(z.mean(axis=0)) < 0.3) and np.all(np.abs(z.std(axis=0) - 1) < 0.3)
assert abs(np.exp(density.log_prob(params, grid)).sum() * 0.05**2 - 1) < 0.05
