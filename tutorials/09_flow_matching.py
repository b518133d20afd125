r"""
9. Flow matching: a velocity learned by regression
==================================================

*Can the velocity of a continuous flow be learned without ever solving its equation?*

A continuous flow moves points with a velocity, :math:`dx/dt = f(x, t)`, from noise at
:math:`t = 0` to data at :math:`t = 1`. Maximum likelihood learns f by solving this equation
again and again. Flow matching solves nothing while it learns. It draws noise z and a row of
data :math:`x_1`, independently, and joins them by a straight line,

.. math:: x_t = t\,x_1 + (1 - t)\,z, \qquad \frac{dx_t}{dt} = x_1 - z,

and asks a network to guess the velocity of the line from a point on it:

.. math:: \min_f \; E\,|f(x_t, t) - (x_1 - z)|^2 .

Many lines pass through one point, with different velocities, and no f can match them all. This
page shows what is learned instead, why it still carries the noise to the data, and why the learned
flow has an exact likelihood of its own (Lipman et al. 2022, arXiv:2210.02747).
"""

# %%
import matplotlib.pyplot as plt
import numpy as np

import nfref
from nfref.objectives.flow_matching import FlowMatching, pair_by_transport
from nfref.plots.canvas import COLOURS

# %%
# The data are one number a row: three tenths lie around -2, seven tenths around 1.5. On the line
# a picture can show the whole of it, time to the right and x upwards; and the density is known.

WEIGHTS, MEANS, SCALE = np.array([0.3, 0.7]), np.array([-2.0, 1.5]), 0.35


def draw(rng, n):
    k = rng.choice(2, size=n, p=WEIGHTS)
    return (MEANS[k] + SCALE * rng.standard_normal(n))[:, None], k


def density_at(t, x):
    """The density of x_t: each bump has shrunk the noise to 1 - t and moved to t m."""
    variance = (t * SCALE) ** 2 + (1 - t) ** 2
    bumps = np.exp(-0.5 * (x[..., None] - t * MEANS) ** 2 / variance)
    return bumps @ WEIGHTS / np.sqrt(2 * np.pi * variance)


# %%
# What regression finds
# ---------------------
# Fix a point x and a time t, and call u the random velocity of the lines through it. For any
# number f,
#
# .. math:: E\,(f - u)^2 = (f - E\,u)^2 + \operatorname{Var} u .
#
# So the best answer is the *mean* velocity :math:`f(x, t) = E[x_1 - z \mid x_t = x]`, and what
# is left of the loss is the variance, which no network can remove.
#
# **Predict.** At t = 0.5, through x = 0 pass lines that go up and lines that go down. What will
# the network say there?
#
# The loss is three lines. The tiny noise that is left on the data at t = 1 is nfref's default,
# and the paper's: :math:`\sigma_t = 1 - (1 - \sigma_{\min}) t` (flow matching, section 4.1).

rng = np.random.default_rng(0)
x1, _ = draw(rng, 4000)
cnf = nfref.CNF(1, (32, 32))
density = nfref.Density(cnf)
start = density.init(rng)


def loss_by_hand(params, x, z, t, sigma_min=1e-4):
    x_t = t * x + (1 - (1 - sigma_min) * t) * z
    f = cnf.velocity(params["flow"], t, x_t)
    return np.mean((f - (x - (1 - sigma_min) * z)) ** 2)


draws = np.random.default_rng(1)
z, t = draws.standard_normal((4000, 1)), draws.random((4000, 1))
by_hand = loss_by_hand(start, x1, z, t)
by_nfref = FlowMatching()(density, start, x1, None, np.random.default_rng(1))
print("loss before learning", by_hand.round(4), by_nfref.round(4))
# 3.8963 3.8963

result = nfref.fit(
    density,
    start,
    x1,
    rng,
    validation=None,
    epochs=30,
    batch_size=100,
    learning_rate=2e-2,
    schedule="cosine",
    patience=None,
    progress=False,
    objective=FlowMatching(),
)
params = result.params

# %%
# The judge knows no network: draw many lines, cut the plane of t and x into small cells, and take
# mean and variance of the velocities in each cell.

z, t = rng.standard_normal((400_000, 1)), rng.random((400_000, 1))
x, _ = draw(rng, len(z))
x_t, u = t * x + (1 - t) * z, x - z
cell = (np.floor(40 * t) * 1000 + np.floor(10 * x_t + 500)).astype(int)[:, 0]
count = np.maximum(np.bincount(cell), 1)
mean = np.bincount(cell, u[:, 0]) / count
floor = np.mean((u[:, 0] - mean[cell]) ** 2)
loss = np.mean((cnf.velocity(params["flow"], t, x_t) - u) ** 2)
print("loss after learning", loss.round(2), " variance that is left", floor.round(2))
# 2.09 2.05

here = np.abs(x_t[:, 0]) < 0.05
middle = here & (np.abs(t[:, 0] - 0.5) < 0.02)
at_zero = cnf.velocity(params["flow"], 0.5, np.zeros((1, 1)))[0, 0]
print(
    "velocities at t = 0.5, x = 0: from",
    np.quantile(u[middle], 0.1).round(1),
    "to",
    np.quantile(u[middle], 0.9).round(1),
    " mean",
    u[middle].mean().round(2),
    " learned",
    at_zero.round(2),
)  # from -3.5 to 3.4, mean 1.57, learned 1.48

# %%
# .. dropdown:: Answer
#
#    The network says the mean, which is the velocity of hardly any of the lines. And the loss
#    stays far above zero however well it learns: what counts is the small rest above the
#    variance.
#
# Why the mean is enough
# ----------------------
# Let :math:`\varphi` be any smooth function. Along the lines, by the chain rule and then by
# averaging first over all lines through the same point,
#
# .. math::
#
#    \frac{d}{dt} E\,\varphi(x_t) = E\,\varphi'(x_t)\,(x_1 - z)
#    = E\,\varphi'(x_t)\,E[x_1 - z \mid x_t] = E\,\varphi'(x_t)\,f(x_t, t).
#
# Points that move with :math:`dx/dt = f(x, t)` obey the same rule,
# :math:`\frac{d}{dt} E\,\varphi(x) = E\,\varphi'(x) f(x, t)`. Both start from the same noise, so
# all averages agree for all t: they have the same density at every time, though no point follows
# a line (flow matching, theorem 1). Here f has to be smooth in x, with slopes bounded over all t:
# then only one density obeys the rule.
#
# **Predict.** Lines cross. Two solutions of a differential equation do not, because from the
# point where they met they would go on together. What do the paths look like, and in which order
# do they arrive?
#
# .. play: paths

noise = np.sort(np.random.default_rng(5).standard_normal((60, 1)), axis=0)
target, mode = draw(np.random.default_rng(7), 60)
times = np.linspace(0, 1, 101)
paths = cnf.trajectory(params["flow"], noise, times).values[:, :, 0]
lines = times[:, None] * target[:, 0] + (1 - times[:, None]) * noise[:, 0]


def crossings(curves):
    """The pairs of curves that arrive in another order than they set out in."""
    return sum(np.sum(curves[-1, k] > curves[-1, k + 1 :]) for k in range(len(curves[0])))


print("crossings of 60 lines", crossings(lines), " of 60 paths", crossings(paths))  # 842 0

# %%
# Nobody says that noise has to meet data at random. Optimal transport within each batch (Tong et
# al. 2023, arXiv:2302.00482) pairs them so that the squared ways are shortest in sum; on a line
# that is the lowest with the lowest. Then even the lines do not cross, and paths hardly bend.

matched = pair_by_transport(noise, target)
pairs = times[:, None] * np.sort(target[:, 0]) + (1 - times[:, None]) * noise[:, 0]
in_order = np.array_equal(matched[np.argsort(target[:, 0])], noise)
print("paired by transport: in order", in_order, " crossings", crossings(pairs))  # True 0

axis = np.linspace(-5, 5, 1001)
step = axis[1] - axis[0]
log_prob = density.log_prob(params, axis[:, None])
truth = density_at(1.0, axis)
kl = np.sum(truth * (np.log(truth) - log_prob)) * step
mass = np.exp(log_prob).sum() * step
print("mass of the learned density", mass.round(4), " KL from the truth", kl.round(3))
# 1.0 0.012

# %%
# .. dropdown:: Answer
#
#    The paths bend and never cross. Noise that starts lowest arrives lowest: the lowest three
#    tenths make the left mode. And although no likelihood was looked at, the learned f is the
#    velocity of an ordinary CNF: its log-likelihood is the integral of a trace, as on the page
#    about the trace.
#
# .. alt: Left, straight lines from noise to two heaps, crossing everywhere. Middle, velocities of
#    lines at half time as a grey cloud, their mean as black dots, and the learned velocity, a
#    green curve through the dots. Right, the learned paths: they bend and never cross.

colour = np.array(COLOURS)
fig, (left, middle_axes, right) = plt.subplots(1, 3, figsize=(7.36, 3.3), layout="constrained")
for k in range(60):
    left.plot(times, lines[:, k], color=colour[mode[k]], linewidth=0.8)
    right.plot(times, paths[:, k], color=colour[int(paths[-1, k] > 0)], linewidth=0.9)
left.set(title="lines: they cross", xlabel="t", ylabel="x", ylim=(-3.4, 3.4))
right.set(title="paths: none cross", xlabel="t", ylim=(-3.4, 3.4))
at_half = np.abs(t[:, 0] - 0.5) < 0.01
some = np.flatnonzero(at_half)[:900]
edges = np.linspace(-2.2, 2, 43)
centres = 0.5 * (edges[1:] + edges[:-1])
slab = np.digitize(x_t[at_half, 0], edges)
slab_mean = np.array([u[at_half, 0][slab == k].mean() for k in range(1, len(edges))])
learned = cnf.velocity(params["flow"], 0.5, centres[:, None])[:, 0]
middle_axes.scatter(x_t[some], u[some], s=4, color="0.75", linewidths=0, label="lines")
middle_axes.plot(centres, slab_mean, "o", color="black", markersize=3.5, label="their mean")
middle_axes.plot(centres, learned, color=COLOURS[2], linewidth=2, label="learned")
middle_axes.set(
    title="velocities at t = 0.5", xlabel="x", ylabel="velocity", xlim=(-2.2, 2), ylim=(-6, 6)
)
middle_axes.legend(loc="upper left", fontsize="small")
plt.show()

# %%
# What this page claims.

assert np.isclose(by_hand, by_nfref, rtol=1e-12)
assert floor - 0.02 < loss < floor + 0.15
assert np.quantile(u[middle], 0.1) < -2 and np.quantile(u[middle], 0.9) > 2
assert np.sqrt(np.mean((learned - slab_mean) ** 2)) < 0.4
assert crossings(paths) == 0 < crossings(lines)
assert in_order and crossings(pairs) == 0
assert abs(mass - 1) < 1e-3 and 0 <= kl < 0.1

# %%
# Exercise 1: the start
# ---------------------
# With which velocity does the perfectly learned flow of this page leave z = 1 at t = 0? No
# program is needed: which lines begin there?

answer_1 = ...  # type your answer here


def check_1(answer):
    assert not np.isclose(answer, MEANS[1] - 1), "lines from z = 1 go to both modes"
    assert not np.isclose(answer, MEANS @ WEIGHTS), "subtract where the lines begin"
    assert np.isclose(answer, MEANS @ WEIGHTS - 1.0, atol=1e-3), (
        "at t = 0 the lines through z = 1 end at all of the data, in their proportions"
    )


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = 0.3 * -2.0 + 0.7 * 1.5 - 1.0
#
#    Every row of the data is equally likely at the other end: the mean way is E x - z = -0.55.
#    At first the whole noise moves to the mean of the data, where there are no data at all.

# %%
# Exercise 2: the velocity of a normal distribution
# -------------------------------------------------
# Let the data be normal with mean m = 1.5 and standard deviation s = 0.4. Give f(x, t) in closed
# form, as a function of arrays t and x. Hint: x_t is normal too. What are its mean and its
# variance v(t)? A flow that keeps :math:`(x_t - E x_t) / \sqrt{v}` fixed along a path has the
# right density at every time; differentiate.

M, S = 1.5, 0.4

answer_2 = ...  # type your answer here, as a function: lambda t, x: ...


def check_2(answer):
    """Against E[x_1 - z | x_t], by quadrature over z: x_1 = (x_t - (1 - t) z) / t."""
    z = np.linspace(-9, 9, 4001)
    for t in (0.2, 0.5, 0.8):
        for x in (-0.7, 0.3, 1.9):
            x1 = (x - (1 - t) * z) / t
            weight = np.exp(-0.5 * z**2 - 0.5 * ((x1 - M) / S) ** 2)
            wanted = np.sum(weight * (x1 - z)) / np.sum(weight)
            got = answer(np.array(t), np.array(x))
            if np.isclose(x, t * M):
                assert np.isclose(got, M), "the middle of x_t is t m: it moves with velocity m"
            assert np.isclose(got, wanted, atol=1e-6), (
                f"at t = {t}, x = {x} the mean velocity is {wanted:.3f}, not {got:.3f}; v is "
                "(t s)^2 + (1 - t)^2, and sqrt(v) grows at the rate v' / (2 sqrt(v))"
            )


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_2 = lambda t, x: M + (x - t * M) * (t * S**2 - (1 - t)) / ((t * S)**2 + (1 - t)**2)
#
#    Along a path x = t m + c sqrt(v), so dx/dt = m + c v' / (2 sqrt(v)) = m + (x - t m) v' / (2 v).
#    It is ``nfref.objectives.flow_matching.gaussian_velocity``.

# %%
# The velocity at t = 1
# ---------------------
# Noise and data are independent. So for a smooth law, where x at t = 1 says nothing about z,
# :math:`f(x, 1) = x - E z = x`: set t = 1 in exercise 2. The lines to one row :math:`x_1` are
# different. At x they have the velocity :math:`(x_1 - x) / (1 - t)`, which grows without bound
# where :math:`x \ne x_1`. A finite table consists of such atoms. Its best f is a mean of these
# velocities, and as steep near t = 1. So nfref leaves noise of 1e-4 on the data.

nearly = 0.999
on_grid = np.array([-2.5, -1.0, 0.0, 1.0, 2.5])


def smooth_velocity(t, x):
    """E[x_1 - z | x_t = x] for the law of this page: the mean over both modes of exercise 2's f."""
    v = (t * SCALE) ** 2 + (1 - t) ** 2
    own = MEANS + (x[:, None] - t * MEANS) * (t * SCALE**2 - (1 - t)) / v
    weight = WEIGHTS * np.exp(-0.5 * (x[:, None] - t * MEANS) ** 2 / v)
    return np.sum(weight * own, axis=1) / np.sum(weight, axis=1)


print("at t = 0.999, x =", on_grid)
print("  the smooth law", smooth_velocity(nearly, on_grid).round(2))
print("  lines to x_1 = 0", ((0 - on_grid) / (1 - nearly)).round())
# 2500, 1000, 0, -1000, -2500

assert np.sqrt(np.mean((smooth_velocity(0.5, centres) - slab_mean) ** 2)) < 0.2  # by counting
assert np.max(np.abs(smooth_velocity(nearly, on_grid) - on_grid)) < 0.1
assert np.allclose(smooth_velocity(1.0, on_grid), on_grid, atol=1e-12)

# %%
# What can go wrong
# -----------------
# - Reading the loss as a distance: its floor is a variance, and not zero.
# - A low loss and a poor likelihood: errors of the velocity add up along the path.
# - Noise of zero at t = 1 and a finite table: the best velocity grows without bound, see above.
