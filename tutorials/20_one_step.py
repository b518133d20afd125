r"""
20. One step: the mean velocity
===============================

*A solver calls the network again and again. Can one call do?*

A velocity f says how fast a point moves now. To arrive, one wants to know how far it gets. Call
:math:`x_t` the path of the flow. Over the time from t to :math:`t + d` its *mean velocity* is

.. math:: u(x_t, t, d) = \frac{1}{d} \int_t^{t + d} f(x_s, s)\, ds = \frac{x_{t + d} - x_t}{d},

and :math:`z + u(z, 0, 1)` is the end of the path from z, in one call. A network can learn u by
regression, and solve nothing while it learns (Geng et al. 2025: MeanFlow, arXiv:2505.13447,
section 4.1, eq. 3). With d = 0 it is the velocity, :math:`u(x, t, 0) = f(x, t)`. So the same
network is also a continuous flow, with the likelihood of lesson 17.
"""

# %%
import sys

import matplotlib.pyplot as plt
import numpy as np
from _digits import (
    BITS,
    LARGE,
    bits,
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
from autograd import numpy as anp

import nfref
from nfref.objectives.mean_flow import MeanFlow
from nfref.plots.canvas import COLOURS

FULL = "--full" in sys.argv  # also learn pictures of 16 x 16

# %%
# The identity
# ------------
# Let f be continuous, with a Lipschitz constant in x that holds for all t, so that one path leads
# through each point, and let u be differentiable. Hold the end :math:`e = t + d` fixed, walk along
# the path, and differentiate :math:`d\, u = \int_t^e f(x_s, s)\, ds` by t. Since d falls at the
# rate 1,
#
# .. math:: -u + d\, \frac{du}{dt} = -f(x_t, t), \qquad
#           u(x_t, t, d) = f(x_t, t) + d\, \frac{du}{dt},
#           \qquad \frac{du}{dt} = \frac{\partial u}{\partial x} f
#           + \frac{\partial u}{\partial t} - \frac{\partial u}{\partial d} .
#
# Conversely, a smooth u that obeys it for all d between 0 and 1 - t is the mean velocity: the left
# side says that :math:`d\, u` has the derivative of the integral, and both are 0 at d = 0. (This is
# MeanFlow, section 4.1, eq. 6, whose time runs from data to noise, so that it reads
# :math:`u = v - (t - r)\, du/dt` there.)
#
# Hence the regression (MeanFlow, section 4.1, eq. 9). Draw a line as in flow matching, with its own
# velocity :math:`x_1 - z` in place of f; take the right side as a fixed target, as it stands now;
# and learn:
#
# .. math:: \min_u\; E\left|u(x_t, t, d) - \left((x_1 - z) + d \left[
#           \frac{\partial u}{\partial x} (x_1 - z) + \frac{\partial u}{\partial t}
#           - \frac{\partial u}{\partial d}\right]\right)\right|^2 .
#
# The target is linear in :math:`x_1 - z`, so its mean over the lines through a point is the right
# side with f itself, as in lesson 9. No gradient goes through the target.
#
# .. play: mean
#
# On the line, with normal data, everything is known: a path keeps
# :math:`(x_t - t m) / \sqrt{v_t}`. Check the identity before learning it.

M, S = 1.5, 0.4


def spread(t):
    return anp.sqrt((t * S) ** 2 + (1 - t) ** 2)


def mean_velocity(t, x, d):
    end = (t + d) * M + (x - t * M) * spread(t + d) / spread(t)
    return (end - x) / d


t, x, d, h = 0.3, 0.7, 0.5, 1e-5
f = M + (x - t * M) * (t * S**2 - (1 - t)) / spread(t) ** 2
ahead, behind = (mean_velocity(t + k, x + k * f, d - k) for k in (h, -h))
gap = mean_velocity(t, x, d) - (f + d * (ahead - behind) / (2 * h))
print(f"the identity is off by {abs(gap):.0e}")

# %%
# Learning u
# ----------
# nfref's CNF with a context of one number is this network: the context is d. The objective
# ``nfref.objectives.mean_flow.MeanFlow`` has three parts: a batch, the derivative along the line in
# one forward pass, and the squares. Half of the rows have d = 0, which is flow matching.
#
# **Predict.** A single Euler step of lesson 17's flow is z + f(z, 0). Where does it land? And where
# does z + u(z, 0, 1)?


def learn_mean(rows, hidden, first, then):
    """Flow matching for some epochs, then the mean velocity."""
    whole = np.zeros((len(rows), 1), np.float32)  # the context of a likelihood: d = 0
    cnf, params = learn(rows, hidden, first, context=whole)
    result = nfref.fit(
        nfref.Density(cnf),
        params,
        rows,
        np.random.default_rng(1),
        context=whole,
        validation=None,
        epochs=then,
        batch_size=256,
        learning_rate=3e-3,
        schedule="cosine",
        patience=None,
        progress=False,
        objective=MeanFlow(),
    )
    return cnf, nfref.params.cast(result.params, np.dtype(np.float64))


def ends(cnf, params, z, steps):
    """Return where steps of the mean velocity lead, and as many Euler steps of f."""
    far, euler = z, z
    for k in range(steps):
        d = np.full((len(z), 1), 1 / steps)
        far = far + d * cnf.velocity(params["flow"], k / steps, far, d)
        euler = euler + d * cnf.velocity(params["flow"], k / steps, euler, 0 * d)
    return far, euler


(pixels, _), (test, _) = parts()
fixed = to_the_line(pixels)
cnf, params = learn_mean(rows_of(fixed, pixels), (192, 192), 30, 20)
found = {"20: mean flow": bits(cnf, params, fixed, test, np.zeros((len(test), 1)))}
table(found)

z, truth = np.random.default_rng(6).standard_normal((397, 64)), rows_of(fixed, test, 1, seed=7)
path = cnf.trajectory(params["flow"], z, context=np.zeros((397, 1)))
STEPS = (1, 2, 4, 8)
found_by = {n: ends(cnf, params, z, n) for n in STEPS}
distances = {n: [energy_distance(end, truth) for end in both] for n, both in found_by.items()}
for n, (far, euler) in distances.items():
    print(f"{n} steps: mean velocity {far:.3f}  Euler {euler:.3f}")
whole = energy_distance(path.values[-1], truth)
print(f"the flow, {path.evaluations} evaluations: {whole:.3f}")

# %%
# .. dropdown:: Answer
#
#    Euler's step lands near the mean of all digits, a grey blot, since at t = 0 the velocity of
#    every z points there. The mean velocity lands on digits, in the same one call.
#
# Is one step a flow?
# -------------------
# The true map :math:`z \mapsto z + u(z, 0, 1)` is the flow's, and invertible. The learned one is
# any function. On pictures of 64 numbers its Jacobian can be written out.
#
# **Predict.** The determinant of an invertible smooth map of the whole space has one sign. Does
# this one?

at = z[:100]
steps = 1e-5 * np.eye(64)[:, None]
one = np.ones((100, 1))
slopes = np.stack(
    [
        cnf.velocity(params["flow"], 0.0, at + e, one)
        - cnf.velocity(params["flow"], 0.0, at - e, one)
        for e in steps
    ],
    axis=2,
)
signs, _ = np.linalg.slogdet(np.eye(64) + slopes / 2e-5)
positive = np.mean(signs > 0)
print(f"the determinant is positive at {positive:.0%} of the points")

# %%
# .. dropdown:: Answer
#
#    No: it is negative at about half of the points. So somewhere it is zero, the learned step folds
#    the space, and it has no change of variables with one term. Its samples have a law, and nobody
#    knows its density. The likelihood in the table is that of the probability flow of the same
#    network, d = 0, from which one step only approximates samples.
#
# The same at 16 x 16
# -------------------
# The mosaics once more: flow matching as in lesson 17, then the mean velocity, in the full run.

if FULL:
    (large, _), (large_test, _) = large_parts()
    fixed_large = to_the_line(large)
    cnf_large, params_large = learn_mean(rows_of(fixed_large, large, 1), *LARGE, 18)
    context = np.zeros((len(large_test), 1))
    found["20: the same, 16 x 16"] = bits(cnf_large, params_large, fixed_large, large_test, context)
    table(found)
    noise = np.random.default_rng(6).standard_normal(large_test.shape)
    ends_large = ends(cnf_large, params_large, noise, 1)
    truth_large = rows_of(fixed_large, large_test, 1, seed=7)
    far, euler = (energy_distance(end, truth_large) for end in ends_large)
    print(f"16 x 16, 1 step: mean velocity {far:.3f}  Euler {euler:.3f}")

# %%
# At this size, too, one call of the mean velocity lands nearer to the digits than one Euler step,
# at 0.161 against 1.431. The network costs 2.34 bits per dimension as a flow, a little more than
# the 2.29 of lesson 17, which learned nothing else.
#
# .. alt: Left, energy distance from the test digits against the number of calls: the mean velocity
#    starts near the flow, Euler's steps start far away. Right, strips of digits: test digits, the
#    flow, one step of the mean velocity, which can be read, and one Euler step, all alike and grey;
#    below, pictures of 16 x 16 by one step of the mean velocity.

strips = {
    "test digits": truth,
    f"the flow, {path.evaluations} evaluations": path.values[-1],
    "mean velocity, 1 call": found_by[1][0],
    "Euler, 1 call": found_by[1][1],
}
pictures = {name: strip(fixed, some[:9]) for name, some in strips.items()}
if FULL:
    pictures["mean velocity, 1 call, 16 x 16"] = strip(fixed_large, ends_large[0][:5])
axes = with_strips(pictures, 4.2).subplots()
for k, (label, marker) in enumerate((("mean velocity", "o"), ("Euler", "s"))):
    values = [distances[n][k] for n in STEPS]
    axes.loglog(STEPS, values, marker + "-", color=COLOURS[k], label=label)
axes.axhline(whole, color="0.6", linestyle="--", label="the flow")
axes.set(xlabel="calls of the network", ylabel="energy distance")
axes.set_xticks(STEPS, [str(n) for n in STEPS], minor=False)
axes.set_xticks([], minor=True)
axes.legend()
plt.show()

# %%
# What this page claims.

assert abs(gap) < 1e-8
assert found["20: mean flow"] < BITS["a histogram a pixel"]
assert distances[1][0] < distances[1][1] / 5  # one call: the mean velocity against Euler
assert whole < distances[1][0] < 0.3
assert 0.05 < positive < 0.95

# %%
# Exercise 1: the way and the speed
# ---------------------------------
# On paper: a path has the velocity 2 t. What is its mean velocity from t = 0.2 over d = 0.6?

answer_1 = ...  # type a number here


def check_1(answer):
    times = 0.2 + 0.6 * (np.arange(10**5) + 0.5) / 10**5
    assert not np.isclose(answer, 0.6, atol=1e-3), "that is the way: divide it by d"
    assert not np.isclose(answer, 0.4, atol=1e-3), "that is the velocity at the start"
    assert np.isclose(answer, np.mean(2 * times), atol=1e-3), "the mean of 2 t from 0.2 to 0.8"


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = (0.8**2 - 0.2**2) / 0.6
#
#    1.0. By the identity: f + d du/dt with u = (e^2 - t^2) / (e - t) = e + t, so du/dt = 1, and
#    0.4 + 0.6 = 1.0.

# %%
# Exercise 2: two short steps for a long one
# ------------------------------------------
# The mean velocity over d follows from those of its two halves: u_1 from x over the first half, u_2
# from where that leads over the second. Write ``answer_2(u, t, x, d)``, which asks ``u(t, x, d)``
# twice, at half the length, and returns the mean velocity over d. (A network can also be trained by
# this rule: it needs no derivative.)

answer_2 = ...  # type your answer here, as a function


def check_2(answer):
    def u(t, x, d):  # of the path with velocity x: x grows by the factor exp(d)
        assert np.isclose(d, 0.2), "ask for half the length, d / 2"
        return x * np.expm1(d) / d

    got = answer(u, 0.1, 1.5, 0.4)
    assert not np.isclose(got, u(0.1, 1.5, 0.2)), "the second half starts where the first one ends"
    assert np.isclose(got, 1.5 * np.expm1(0.4) / 0.4), "the mean of both halves"


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       def answer_2(u, t, x, d):
#           first = u(t, x, d / 2)
#           return (first + u(t + d / 2, x + d / 2 * first, d / 2)) / 2
#
#    Ways add, and both halves take equal time.

# %%
# What can go wrong
# -----------------
# - A gradient through the target: the loss falls, and u is no mean velocity.
# - Reading the likelihood at d = 0 as that of the samples of one step: two laws, see the sign.
# - Only long intervals: without rows of d = 0 nothing anchors u to the data.
# - Time in the other direction: with noise at t = 1 the sign of d du/dt changes.
