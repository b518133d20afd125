r"""
10. Straightness: what a solver pays for
========================================

*Infinitely many velocities take the noise to the data. Which one is cheap?*

Which velocity f takes the noise to the data? Not one: infinitely many do. Let :math:`p_t` be the
densities on the way. Mass moves according to the continuity equation,

.. math:: \frac{\partial p_t}{\partial t} = -\operatorname{div}(p_t f),

so in two or more dimensions any smooth field v with :math:`\operatorname{div}(p_t v) = 0` and
slopes that are bounded can be added to f, and every :math:`p_t` stays what it was. (On a line only
:math:`v = c / p_t` has that divergence, which carries mass in from infinity.) Maximum likelihood
sees only :math:`p_1` and is indifferent. The solver is not: it pays for every bend. How bent a path
is can be measured by what it costs beyond the straight line between its ends,

.. math:: S = E \int_0^1 \left|\frac{dx}{dt} - (x(1) - x(0))\right|^2 dt ,

which is zero exactly for straight lines at constant speed. Two ways to straight paths follow: RNODE
(Finlay et al. 2020, arXiv:2002.02798) punishes bends while it fits, and rectified flow (Liu, Gong,
Liu 2022, arXiv:2209.03003) learns once more from where the flow took its own noise.
"""

# %%
from dataclasses import replace

import autograd.numpy as np
import matplotlib.pyplot as plt

import nfref
from nfref.continuous.solve import Options, solve
from nfref.objectives.path_penalties import PathLikelihood
from nfref.objectives.rectified_flow import RectifiedFlow, reflow_pairs, straightness
from nfref.plots.canvas import COLOURS

# %%
# Three round bumps in the plane. Joined to the noise by straight lines, their densities
# :math:`p_t` are mixtures of three normals too, and the mean velocity of the lines, which flow
# matching would learn (the page before), can be written down.

ANGLES = np.pi / 2 + 2 * np.pi * np.arange(3) / 3
MEANS, SCALE = 2 * np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1), 0.4


def draw(rng, n):
    return MEANS[rng.integers(3, size=n)] + SCALE * rng.standard_normal((n, 2))


def bumps(t, x):
    """t and variance (N, 1), x from the centres (N, 3, 2), and the bumps' heights (N, 3)."""
    t = t * np.ones((len(x), 1))
    variance = (t * SCALE) ** 2 + (1 - t) ** 2
    off = x[:, None] - t[:, :, None] * MEANS
    heights = np.exp(-0.5 * np.sum(off**2, axis=2) / variance) / (6 * np.pi * variance)
    return t, variance, off, heights


def log_density(t, x):
    return np.log(np.sum(bumps(t, x)[3], axis=1))


def mean_velocity(t, x):
    t, variance, off, heights = bumps(t, x)
    share = (heights / np.sum(heights, axis=1, keepdims=True))[:, :, None]
    rate = ((t * SCALE**2 - (1 - t)) / variance)[:, :, None]
    return np.sum(share * (MEANS + rate * off), axis=1)


# %%
# Infinitely many
# ---------------
# Let J be the quarter turn :math:`J(a, b) = (-b, a)`, and take :math:`v = J \nabla \log p_t`. Then
# :math:`p_t v = J \nabla p_t`, and its divergence is
# :math:`-\partial_1 \partial_2 p_t + \partial_2 \partial_1 p_t = 0`. So c J grad log p can be added
# for any c: points also circle along the level lines of the density, which doesn't change it.
#
# **Predict.** The same noise follows both velocities. Do the points arrive at the same places? Do
# they arrive with the same density? Which of the two costs the solver more?


def swirling(t, x, c=1.0):
    _, variance, off, heights = bumps(t, x)
    share = (heights / np.sum(heights, axis=1, keepdims=True))[:, :, None]
    score = -np.sum(share * off, axis=1) / variance  # grad log p_t
    return mean_velocity(t, x) + c * np.stack([-score[:, 1], score[:, 0]], axis=1)


def with_trace(field, h=1e-4):
    """d/dt of [x, log det] with the trace by central differences, to be sure of it."""

    def derivative(t, state):
        x, steps = state[:, :2], h * np.eye(2)
        trace = sum(
            (field(t, x + e) - field(t, x - e))[:, k] / (2 * h) for k, e in enumerate(steps)
        )
        return np.concatenate([field(t, x), trace[:, None]], axis=1)

    return derivative


z = np.random.default_rng(1).standard_normal((300, 2))
base_log_prob = nfref.StandardNormal(2).log_prob({}, z)
ends = []
for field in (mean_velocity, swirling):
    solution = solve(
        with_trace(field),
        np.column_stack([z, np.zeros(300)]),
        0.0,
        1.0,
        Options(rtol=1e-6, atol=1e-6),
    )
    x, log_det = solution.last[:, :2], solution.last[:, 2]
    error = np.max(np.abs(base_log_prob - log_det - log_density(1.0, x)))
    ends.append(x)
    print(
        f"{field.__name__:14} evaluations {solution.evaluations:4}   "
        f"largest error of log p {error:.0e}"
    )
    assert error < 1e-3
apart = np.sqrt(np.mean(np.sum((ends[0] - ends[1]) ** 2, axis=1)))
print("the same noise arrives apart by", apart.round(2))  # 2.16

# %%
# .. dropdown:: Answer
#
#    Other paths, other ends, one density: both log-likelihoods are right to the solver's
#    tolerance. The swirl only costs evaluations.
#
# Indifferent likelihood
# ----------------------
# A network learns the swirling velocity by regression. From there two fits go on, by maximum
# likelihood alone and with RNODE's two penalties, integrals along the same solve:
#
# .. math:: \lambda_k \int |f|^2 dt + \lambda_j \int \left\|\frac{df}{dx}\right\|_F^2 dt .
#
# Go no faster than needed, they say, and let neighbours move alike.
#
# **Predict.** Will maximum likelihood alone remove the swirl?


def learn_swirl(density, params, x, context, rng):
    z, t = rng.standard_normal(x.shape), rng.random((len(x), 1))
    x_t = t * x + (1 - t) * z
    f = density.flow.velocity(params["flow"], t, x_t)
    return np.mean(np.sum((f - swirling(t, x_t)) ** 2, axis=1))


rng = np.random.default_rng(0)
rows, test = draw(rng, 2000), draw(np.random.default_rng(9), 1000)
cnf = nfref.CNF(2, (48,))
# Fixed steps to learn with, whose gradient is exact; to judge with, the adaptive solver.
learner = nfref.Density(replace(cnf, solver="rk4", steps=6, gradient="direct"))


def fit(density, params, objective, epochs, batch_size=100, learning_rate=0.02):
    return nfref.fit(
        density,
        params,
        rows,
        np.random.default_rng(1),
        objective=objective,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        schedule="cosine",
        validation=None,
        patience=None,
        progress=False,
    ).params


swirl = fit(learner, learner.init(rng), learn_swirl, 30, learning_rate=0.03)
fits = {
    "likelihood alone": (cnf, fit(learner, swirl, PathLikelihood(), 6, 200)),
    "with penalties": (cnf, fit(learner, swirl, PathLikelihood(0.05, 0.05), 6, 200)),
}

# %%
# One bent path, and Euler's steps along it:
#
# .. play: bend
#
# Learned once more
# -----------------
# Flow matching learns the mean velocity of lines that cross, and its paths bend where they cross.
# A reflow takes pairs (z, x) of noise and where this flow takes it, joins them by straight lines,
# and learns the mean velocity of *these* lines. They hardly cross any more, and where only one line
# passes, the mean is its velocity.
#
# Since :math:`\int_0^1 \frac{dx}{dt}\, dt = x(1) - x(0)`, the cost beyond the line is a variance
# over t,
#
# .. math:: S = E \int_0^1 \left|\frac{dx}{dt}\right|^2 dt - E\,|x(1) - x(0)|^2 .
#
# No reflow lengthens the mean squared way, if the velocity is learned exactly: the flow keeps the
# mean of the lines' velocities, and a mean has no larger square than what it is a mean of.

wider = nfref.Density(nfref.CNF(2, (48, 48)))
matched = fit(wider, wider.init(rng), RectifiedFlow(), 30)
pairs = reflow_pairs(wider, matched, rng, 4000)
reflowed = fit(wider, matched, RectifiedFlow(pairs), 15)
fits |= {"flow matching": (wider.flow, matched), "after a reflow": (wider.flow, reflowed)}

# %%
# The judge: S, nats above the entropy on fresh rows, evaluations of an adaptive solver, and what a
# plain Euler solver with few steps is off by.


def euler(cnf, params, z, steps):
    for k in range(steps):
        z = z + cnf.velocity(params["flow"], k / steps, z) / steps
    return z


STEPS = 2 ** np.arange(7)
found = {}
print(f"{'':18}{'S':>6}{'nats above':>12}{'evaluations':>13}{'one Euler step off by':>23}")
for name, (flow, params) in fits.items():
    S = np.mean(straightness(flow, params["flow"], z)[0])
    above = np.mean(log_density(1.0, test) - nfref.Density(flow).log_prob(params, test))
    exact = flow.forward(params["flow"], z)[0]
    off = [
        np.sqrt(np.mean(np.sum((euler(flow, params, z, n) - exact) ** 2, axis=1))) for n in STEPS
    ]
    evaluations = replace(flow, rtol=1e-4, atol=1e-4).trajectory(params["flow"], z).evaluations
    found[name] = S, above, evaluations, off
    print(f"{name:18}{S:6.3f}{above:12.3f}{evaluations:13}{off[0]:23.2f}")
# likelihood alone   5.017       0.094           44                   2.25
# with penalties     1.012       0.177           38                   1.57
# flow matching      1.226       0.122           56                   1.98
# after a reflow     0.004       0.133           32                   0.18

# %%
# .. dropdown:: Answer
#
#    Likelihood alone leaves the swirl where it was. The penalties remove most of it and cost a
#    little likelihood, against which they are weighed. The reflow is nearly straight: a single
#    Euler step, one evaluation, goes about where the adaptive solver does. Its density is no
#    better than that of the flow whose pairs it learned.
#
# .. alt: Four small panels of paths from noise to three bumps: swirling for likelihood alone,
#    less with penalties, bent for flow matching, straight after a reflow. Right, the error of
#    Euler's method falls with the number of steps, and for the straight paths it starts ten times
#    lower.

fig = plt.figure(figsize=(7.36, 3.9), layout="constrained")
panels = fig.subplot_mosaic([["a", "b", "e", "e"], ["c", "d", "e", "e"]])
times = np.linspace(0, 1, 41)
for ax, (name, (flow, params)), colour in zip("abcd", fits.items(), COLOURS):
    paths = flow.trajectory(params["flow"], z[:60], times).values
    panels[ax].plot(paths[:, :, 0], paths[:, :, 1], color=colour, linewidth=0.7)
    panels[ax].plot(*paths[-1].T, ".", color="black", markersize=3)
    panels[ax].set(xticks=[], yticks=[], aspect="equal", xlim=(-3.2, 3.2), ylim=(-2.6, 3.4))
    panels[ax].set_title(name, fontsize=11)
for (name, (S, _, _, off)), colour, marker in zip(found.items(), COLOURS, "os^D"):
    panels["e"].loglog(STEPS, off, marker + "-", color=colour, label=f"{name}: S = {S:.2g}")
panels["e"].set(
    xlabel="evaluations (Euler steps)",
    ylabel="root mean square error at t = 1",
    title="straight paths need few steps",
    ylim=(8e-4, 4),
)
panels["e"].legend()
plt.show()

# %%
# What this page claims.

alone, penalised, matched, reflowed = found.values()
assert apart > 0.5
assert alone[0] > 3 and penalised[0] < alone[0] / 2 and penalised[2] < alone[2]
assert reflowed[0] < matched[0] / 20 and reflowed[2] < matched[2]
assert reflowed[3][0] < matched[3][0] / 4  # a single Euler step
assert reflowed[1] < matched[1] + 0.1
for *_, off in found.values():  # Euler's error falls like 1 / steps
    assert 0.35 < off[-1] / off[-2] < 0.65

# %%
# Exercise 1: one step
# --------------------
# On the line, the data are normal with mean m = 1.5 and standard deviation s = 0.4, and each z has
# been paired with x = m + s z. Give the velocity f(t, x) of the straight lines between these
# pairs. One Euler step from t = 0 must be exact, and so must two, or ten.

M, S1 = 1.5, 0.4

answer_1 = ...  # type your answer here, as a function: lambda t, x: ...


def check_1(answer):
    z = np.linspace(-3, 3, 7)
    assert np.allclose(z + answer(0.0, z), M + S1 * z), (
        "the step from t = 0 leads from z to m + s z: what is their difference?"
    )
    for steps in (2, 10):
        x = z
        for k in range(steps):
            x = x + answer(k / steps, x) / steps
        assert np.allclose(x, M + S1 * z), (
            f"{steps} steps end elsewhere than one: which z has its line through x at time t?"
        )


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = lambda t, x: M + (S1 - 1) * (x - t * M) / (1 - t + t * S1)
#
#    At time t the line of z is at x = (1 - t) z + t (m + s z), so z = (x - t m) / (1 - t + t s);
#    its velocity is m + (s - 1) z. Compare exercise 2 of the page before: the same densities at the
#    ends, pairs at random, and another velocity.

# %%
# Exercise 2: straightness
# ------------------------
# A path y goes from 0 to 1 in unit time, with velocity :math:`2 t`. What does it cost beyond the
# straight line, :math:`\int_0^1 (dy/dt - 1)^2\, dt`?

answer_2 = ...  # type a number here


def check_2(answer):
    truth = np.mean((2 * (np.arange(10**5) + 0.5) / 10**5 - 1) ** 2)
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-6), "integrate (2 t - 1)^2 from 0 to 1"


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_2 = 1 / 3
#
#    A third: it goes along the line, but not at constant speed.

# %%
# Exercise 3: pairs in order
# --------------------------
# On paper: on the line, z and x are both standard normal. By how much does :math:`E |x - z|^2` fall
# from independent pairs to pairs in order?

answer_3 = ...  # type a number here


def check_3(answer):
    z, x = np.random.default_rng(4).standard_normal((2, 10**6))
    fall = np.mean((x - z) ** 2) - np.mean((np.sort(x) - np.sort(z)) ** 2)
    assert np.isclose(answer, fall, rtol=0.02), "in order, the ways are zero"


nfref.exercises.grade(check_3, answer_3)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_3 = 2.0
#
#    From 2 to 0: in order each z meets its equal.

# %%
# What can go wrong
# -----------------
# - Penalties that are too strong: paths are straight and end in the wrong place.
# - Reflowing the errors of the first flow: its pairs are its samples, not the data.
# - One Euler step before any reflow: the paths bend, and it lands in the middle.
# - Counting steps and not evaluations: a step of Runge-Kutta takes four.
