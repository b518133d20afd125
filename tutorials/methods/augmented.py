r"""
Augmented flows: a way around
=============================

*No flow of the plane makes a mirror image, and none of space undoes a link. What do more
coordinates help?*

A continuous flow, :math:`dx/dt = v(x, t)` with a smooth v whose slopes are bounded, moves all
points at the same time without ever letting two of them meet, and its Jacobian determinant

.. math::

   \det \frac{\partial x(t)}{\partial x(0)}
   = \exp \int_0^t \operatorname{tr} \frac{\partial v}{\partial x}\, dt

starts at one and stays positive. So it cannot undo a link or make a mirror image.

With more coordinates the obstacles go away (Dupont et al. 2019, arXiv:1904.01681). In twice the
coordinates such flows approximate any homeomorphism on a compact set (Zhang et al. 2019,
arXiv:1907.12998; the truths page on coordinates). Lesson 11 shows what a single flow cannot do.
"""

# %%
import matplotlib.pyplot as plt
from autograd import numpy as np
from autograd import value_and_grad
from matplotlib.collections import LineCollection
from scipy.optimize import minimize
from scipy.stats import norm

import nfref
from nfref.continuous.solve import Options, solve
from nfref.flows.augmented import AugmentedODE, marginal_log_prob, padded_velocity, with_zeros
from nfref.plots.canvas import COLOURS
from nfref.runtime import params as trees

# %%
# The mirror
# ----------
# :math:`(x_1, x_2) \mapsto (-x_1, x_2)` has determinant -1. A layer may have that (lesson 04), but
# a continuous flow of the plane cannot make this map, and a continuous flow of the line cannot make
# :math:`x \mapsto -x`: paths keep their order. With one extra coordinate e the mirror is half a
# turn in the plane of :math:`x_1` and e,
#
# .. math:: \frac{dx_1}{dt} = -\pi e, \qquad \frac{dx_2}{dt} = 0, \qquad \frac{de}{dt} = \pi x_1 .
#
# It takes :math:`(x_1, x_2, 0)` to :math:`(-x_1, x_2, 0)`. Its determinant in three coordinates is
# +1: e has changed its sign too, which is invisible at e = 0.


def half_turn(t, state):
    return np.pi * np.column_stack([-state[:, 2], np.zeros(len(state)), state[:, 0]])


letter = np.concatenate(
    [  # an R, which differs from its mirror image
        np.column_stack([np.full(12, 0.4), np.linspace(0, 2, 12)]),
        np.column_stack(
            [
                0.4 + 0.9 * np.sin(np.linspace(0, np.pi, 14)),
                1.5 + 0.5 * np.cos(np.linspace(0, np.pi, 14)),
            ]
        ),
        np.column_stack([np.linspace(0.6, 1.3, 9), np.linspace(0.9, 0.0, 9)]),
    ]
)
fine = Options(rtol=1e-8, atol=1e-8)
turned = solve(half_turn, with_zeros(letter, 1), 0.0, 1.0, fine, np.linspace(0, 1, 33)).states
mirror = letter * [-1, 1]
print("mirror image missed by", np.abs(turned[-1] - with_zeros(mirror, 1)).max().round(7))
# 0.0

# %%
# Twice the coordinates make *any* homeomorphism h by one recipe: copy x, move x as the copy says,
# remove the copy. Each step is a shear and takes a third of the time. The velocity is as rough as h
# and its inverse; a network only approximates it.

velocity = padded_velocity(lambda x: x * [-1, 1], lambda x: x * [-1, 1])
state = with_zeros(letter, 2)
for k in range(3):
    state = solve(velocity, state, k / 3, (k + 1) / 3 - 1e-12, fine).last
print("and by the copy missed by", np.abs(state - with_zeros(mirror, 2)).max().round(7))
# 0.0

# %%
# A network finds such a way by itself. It learns :math:`x \mapsto -x` on the line from nine
# numbers, with fixed steps; then small steps follow its true solution. (A few big steps may jump
# over another path. A solution of a differential equation cannot.)
#
# **Predict.** What does it do without an extra coordinate?

numbers = np.linspace(-1, 1, 9)[:, None]
errors, crossing = [], []
for extra in (0, 1):
    coarse = AugmentedODE(1, extra, hidden=(16,), solver="rk4", steps=10, gradient="direct")
    vector, unflatten = trees.flatten(coarse.init(np.random.default_rng(3)))
    loss = value_and_grad(lambda v: np.mean((coarse(unflatten(v), numbers) + numbers) ** 2))
    found = unflatten(
        minimize(loss, vector, jac=True, method="L-BFGS-B", options={"maxiter": 60}).x
    )
    exact = AugmentedODE(1, extra, hidden=(16,), rtol=1e-8, atol=1e-8)
    errors.append(np.mean((exact(found, numbers) + numbers) ** 2))
    crossing.append(
        exact.flow.trajectory(
            found["flow"], with_zeros(numbers, extra), np.linspace(0, 1, 60)
        ).values[:, :, 0]
    )
    print(f"{extra} extra: mean squared error {errors[-1]:.1e}")
# 4.2e-01 without it

# %%
# .. dropdown:: Answer
#
#    It moves everything to the mean, the best map that keeps the order: the error is the variance.
#
# Two linked rings
# ----------------
# How often two rings are linked is a whole number, Gauss's integral over both,
#
# .. math:: \frac{1}{4 \pi} \oint \oint \frac{(r_A - r_B) \cdot (dr_A \times dr_B)}{|r_A - r_B|^3},
#
# which varies continuously while the rings move and never meet. So in three coordinates it stays
# constant. In four, one ring can step aside in e, pass by the other, and step back.
#
# **Predict.** While it passes, how near do the rings come to each other in the first three
# coordinates, and how near in all four?

angle = 2 * np.pi * np.arange(300) / 300
SHIFT = np.array([2.5, 0.0, 0.0])
ring_a = np.column_stack([np.cos(angle), np.sin(angle), 0 * angle])
ring_b = np.column_stack([1 + np.cos(angle), 0 * angle, np.sin(angle)])
CENTRE = np.array([1.0, 0.0, 0.0])


def linking_number(a, b):
    """Integrate by the trapezoidal rule, accurate to rounding on smooth closed curves."""
    k = np.fft.fftfreq(len(a), 1 / len(a))[:, None]

    def tangent(r):
        return np.fft.ifft(1j * k * np.fft.fft(r, axis=0), axis=0).real

    d = a[:, None] - b
    cross = np.cross(tangent(a)[:, None], tangent(b)[None])
    return np.sum(np.sum(d * cross, 2) / np.sum(d**2, 2) ** 1.5) * np.pi / len(a) ** 2


def far_from_a(x, centre):
    """0 on ring A and 1 on the ring B whose centre is given, continuous between."""
    a = (np.hypot(x[:, 0], x[:, 1]) - 1) ** 2 + x[:, 2] ** 2
    b = (np.hypot(x[:, 0] - centre[0], x[:, 2] - centre[2]) - 1) ** 2 + x[:, 1] ** 2
    return (a / (a + b))[:, None]


def unlink(t, state):
    """Step aside, pass through, step back: each a third of the time."""
    x, e = state[:, :3], state[:, 3:]
    if t < 1 / 3:
        return 3 * np.concatenate([0 * x, far_from_a(x, CENTRE)], axis=1)
    if t < 2 / 3:
        return 3 * np.concatenate([e * SHIFT, 0 * e], axis=1)
    return 3 * np.concatenate([0 * x, -far_from_a(x, CENTRE + SHIFT)], axis=1)


rings = [with_zeros(np.concatenate([ring_a, ring_b]), 1)]
for k in range(3):
    times = np.linspace(k / 3, (k + 1) / 3 - 1e-12, 31)
    rings += list(solve(unlink, rings[-1], times[0], times[-1], fine, times).states)
rings = np.array(rings)


def nearest(states, dim):
    """The smallest distance of the rings, in the first ``dim`` coordinates."""
    return min(
        np.sqrt(np.sum((s[:300, None, :dim] - s[300:, :dim]) ** 2, axis=2)).min() for s in states
    )


links = [linking_number(s[:300, :3], s[300:, :3]) for s in (rings[0], rings[-1])]
print("linked", np.round(links[0], 9), "before,", abs(np.round(links[1], 9)), "after")
# -1.0 0.0
print("back at e = 0 to", np.abs(rings[-1, :, 3]).max().round(7))  # 0.0
near = nearest(rings, 3), nearest(rings, 4)
print("nearest distance in x", near[0].round(2), " in (x, e)", near[1].round(2))
# 0.0 1.0

flow = nfref.CNF(3, (16,))
params = flow.init(np.random.default_rng(0))
params["net"][-1]["weight"] = np.random.default_rng(1).standard_normal((16, 3))
moved, _ = flow.forward(params, rings[0, :, :3])
kept = linking_number(moved[:300], moved[300:])
print("after some flow of three coordinates, linked as before:", kept.round(5))  # -1.0

# %%
# .. dropdown:: Answer
#
#    In the first three coordinates they touch: the linking number changes, so at some time the
#    rings meet. In all four they stay 1.0 apart, since one has stepped aside in e.
#
# Likelihood
# ----------
# Rows [x, 0] lie on a sheet and have no density in the larger space. For a likelihood the extra
# coordinates are noise of known density :math:`q(e)`, the flow models :math:`p(x, e)`, and
#
# .. math:: p(x) = \int p(x, e)\, de = E_{q(e)} \frac{p(x, e)}{q(e)}
#
# is an average that sampling estimates (VFlow: Chen et al. 2020, arXiv:2002.09741). Where the joint
# density is a correlated normal, the answer is known.

joint = nfref.Density(nfref.FixedLinear([[0.8, 0.6], [-0.6, 0.8]]), nfref.DiagonalNormal(2))
joint_params = {"base": {"location": np.zeros(2), "log_scale": np.log([1.5, 0.8])}, "flow": {}}
some = np.array([[-1.0], [0.0], [2.0]])
estimate, error = marginal_log_prob(joint, joint_params, some, np.random.default_rng(0), 20_000)
truth = norm(scale=np.hypot(0.8 * 1.5, 0.6 * 0.8)).logpdf(some[:, 0])
print("log p(x)", truth.round(3), "estimated", estimate.round(3), "+-", error.round(3))
# [-1.475 -1.175 -2.373] estimated [-1.473 -1.176 -2.371] +- [0.003 0.001 0.008]

# %%
# Above: x to -x without and with e, and the mirror as half a turn. Below: the ring that steps
# aside.
#
# .. alt: Above, three panels: paths of x to -x, which without e all end at zero and with e cross
#    each other and arrive; a letter R of points that turns by half through e and comes down as its
#    mirror image. Below, two linked rings; the red one at e = 1, on its way; both rings apart.

fig, axes = plt.subplots(2, 3, figsize=(7.36, 5), layout="constrained")
for ax, paths, title in zip(axes[0], crossing, ("x to -x: not without e", "x to -x with e")):
    for k in range(9):
        ax.plot(np.linspace(0, 1, 60), paths[:, k], color=plt.cm.viridis(k / 9), linewidth=1.8)
    ax.set(title=title, xlabel="t", ylabel="x", ylim=(-1.5, 1.5))

ax = axes[0, 2]
seen = turned[:, :, :2] + turned[:, :, 2:] * [0.35, 0.6]  # e drawn backwards
ax.plot(seen[:, ::2, 0], seen[:, ::2, 1], color="0.8", linewidth=0.8)
for k, colour, name, at in (
    (0, COLOURS[0], "t = 0", (0.85, -0.3)),
    (16, "0.4", "t = 1/2", (0.4, 2.65)),
    (-1, COLOURS[1], "t = 1", (-0.85, -0.3)),
):
    ax.plot(*seen[k].T, "o", color=colour, markersize=3.5)
    ax.text(*at, name, color=colour, ha="center")
ax.set(
    title="half a turn: a mirror",
    xticks=[],
    yticks=[],
    xlim=(-1.6, 1.6),
    ylim=(-0.5, 2.95),
    aspect="equal",
)


def draw_rings(ax, points):
    """Seen from the front, from the right and from above; what is near is drawn over the rest."""
    eye, right = np.array([0.45, -0.78, 0.43]), np.array([0.87, 0.5, 0.0])
    closed = points[np.append(np.arange(300), 0), :3]
    other = points[300 + np.append(np.arange(300), 0), :3]
    pieces, colours, widths = [], [], []
    ends = np.concatenate([np.stack([r[:-1], r[1:]], axis=1) for r in (closed, other)])
    for k in np.argsort(ends.mean(axis=1) @ eye):
        piece = np.stack([ends[k] @ right, ends[k] @ np.cross(eye, right)], axis=1)
        pieces += [piece, piece + 0.4 * (piece - piece[::-1])]
        colours += ["white", COLOURS[0] if k < 300 else COLOURS[1]]
        widths += [9, 4]
    ax.add_collection(LineCollection(pieces, colors=colours, linewidths=widths))
    ax.set(xlim=(-1.2, 4.1), ylim=(-1.9, 1.2), xticks=[], yticks=[], aspect="equal")


for ax, k, title in zip(
    axes[1], (0, 43, -1), ("e = 0: linked", "red at e = 1: on its way", "e = 0 again: apart")
):
    draw_rings(ax, rings[k])
    ax.set_title(title)
plt.show()

# %%
# Without extra coordinates: on the line, the gap of two heaps keeps some of the points.
#
# .. play: gap
#
# Exercise 1: how many?
# ---------------------
# Rows have 5 columns. With how many extra coordinates does the recipe above make any homeomorphism
# of them?

answer_1 = ...  # type a whole number


def check_1(answer):
    assert answer != 1, "one is enough for the mirror and the rings here, not for everything"
    assert answer == with_zeros(np.zeros((1, 5)), 5).shape[1] - 5, (
        "copy x, move x by what the copy says, remove the copy: how large is the copy?"
    )


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = 5

# %%
# Exercise 2: half way
# --------------------
# On paper: a point of the mirror starts at :math:`x_1 = 0.8` and e = 0. How large is its e at half
# time, t = 1/2?

answer_2 = ...  # type a number here


def check_2(answer):
    x_1, e = 0.8, 0.0
    for _ in range(50_000):
        x_1, e = x_1 - np.pi * e * 1e-5, e + np.pi * x_1 * 1e-5
    assert np.isclose(answer, e, atol=1e-3), (
        "it goes along a circle: where is it after a quarter turn?"
    )


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_2 = 0.8
#
#    All of the way across lies in e: after a quarter turn :math:`x_1` is zero.

# %%
# What can go wrong
# -----------------
# - A likelihood of rows padded with zeros: they lie on a sheet and have no density.
# - Too few samples of e: the estimate of p(x) is unbiased, its logarithm is too low.
# - Big solver steps, which may jump over another path: the exact solution cannot.

# %%
# What this page claims.

assert np.allclose(turned[-1], with_zeros(mirror, 1), atol=1e-6)
assert np.allclose(state, with_zeros(mirror, 2), atol=1e-6)
assert errors[0] > 0.99 * np.mean(numbers**2) and errors[1] < 1e-3
assert np.all(np.diff(crossing[0], axis=1) > 0) and np.all(np.diff(crossing[1][-1]) < 0)
assert np.allclose(links, [-1, 0], atol=1e-9) and abs(kept + 1) < 1e-3
assert np.abs(moved - rings[0, :, :3]).max() > 1
assert near[0] < 0.05 and near[1] > 0.5
assert np.all(np.abs(estimate - truth) < 5 * error)
