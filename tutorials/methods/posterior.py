r"""
A posterior from simulations
============================

*A simulator can be run but not inverted. Which parameters gave this outcome?*

A simulator draws x for parameters :math:`\theta`, and its likelihood may be unknown. A conditional
flow :math:`q(\theta \,|\, x)`, fitted by maximum likelihood to pairs :math:`(\theta, x)` from prior
and simulator, tends to the posterior for every x at once: its expected log-likelihood is highest
where q is :math:`p(\theta \,|\, x)`.

The simulator here is a known benchmark, the two moons (Lueckmann et al. 2021, arXiv:2101.04653).
With :math:`\theta` uniform on the square :math:`(-1, 1)^2`,

.. math::

   a \sim \text{uniform on } (-\pi/2, \pi/2), \qquad r \sim \mathcal{N}(0.1,\, 0.01^2),

   x = (r \cos a + \tfrac14,\; r \sin a)
   + (-|\theta_1 + \theta_2|,\; -\theta_1 + \theta_2) / \sqrt2 .

Because of the absolute value every x has two moons of parameters, thin as a hundredth. The
likelihood does have a closed form, so the truth is known: x minus the shift is a point of the
moon, in polar coordinates (r, a) around (1/4, 0), where its density is
:math:`\mathcal{N}(r; 0.1, 0.01^2) / (\pi r)`.

Is q calibrated? For fresh pairs, the rank of :math:`\theta` among draws of :math:`q(\cdot \,|\, x)`
has to be uniform, and so have its probability integral transforms (:mod:`nfref.diagnostics`). A
density that is too narrow shows: too many ranks at both ends.

``nfref.Posterior.from_simulations`` does all this in one call, for any simulator with a bounded
prior (:doc:`/how_to/posterior_from_simulations`).
"""

# %%
import sys

import matplotlib.pyplot as plt
import numpy as np

import nfref
from nfref import diagnostics

FULL = "--full" in sys.argv  # the long run, whose figure is kept
RADIUS, WIDTH = 0.1, 0.01
OBSERVED = np.array([[0.0, 0.0], [-0.25, 0.3]])
DRAWS, BINS = 99, 20

# %%
# The simulator, its likelihood, and exact draws of the posterior: turn the moon around, take
# either sign of :math:`\theta_1 + \theta_2`, and keep what lies in the square.


def moon(rng, n):
    a, r = rng.uniform(-np.pi / 2, np.pi / 2, n), rng.normal(RADIUS, WIDTH, n)
    return np.stack([r * np.cos(a) + 0.25, r * np.sin(a)], axis=1)


def shift(theta):
    return np.stack(
        [-np.abs(theta[:, 0] + theta[:, 1]), theta[:, 1] - theta[:, 0]], axis=1
    ) / np.sqrt(2)


def simulate(rng, n):
    """n pairs: theta from the prior, and x given theta."""
    theta = rng.uniform(-1, 1, (n, 2))
    return theta, moon(rng, n) + shift(theta)


def log_likelihood(theta, x):
    """log p(x | theta)."""
    point = x - shift(theta) - [0.25, 0.0]
    r = np.hypot(*point.T)
    log_normal = -0.5 * ((r - RADIUS) / WIDTH) ** 2 - np.log(np.sqrt(2 * np.pi) * WIDTH)
    return np.where(point[:, 0] > 0, log_normal - np.log(np.pi * r), -np.inf)


def turned_around(x, point, sign):
    """The theta with x = point + shift(theta) and that sign of theta_1 + theta_2, and whether it is
    one of the prior."""
    total, difference = -(x - point)[:, 0], (x - point)[:, 1]
    theta = np.stack([sign * total - difference, sign * total + difference], axis=1) / np.sqrt(2)
    return theta, (total >= 0) & np.all(np.abs(theta) < 1, axis=1)


def exact_posterior(rng, x):
    """Sample p(theta | x) once for each row of x, by rejection."""
    theta, open_rows = np.zeros_like(x), np.arange(len(x))
    while len(open_rows):
        found, inside = turned_around(
            x[open_rows], moon(rng, len(open_rows)), rng.choice([-1, 1], len(open_rows))
        )
        theta[open_rows[inside]] = found[inside]
        open_rows = open_rows[~inside]
    return theta


def log_evidence(x, angles=200):
    """log p(x): the share of both moons that lies in the square, times its density 1/4."""
    a = (np.arange(angles) + 0.5) / angles * np.pi - np.pi / 2
    total = 0
    for r, weight in zip(RADIUS + WIDTH * np.sqrt(3) * np.arange(-1, 2), (1 / 6, 2 / 3, 1 / 6)):
        for angle in a:
            point = np.array([r * np.cos(angle) + 0.25, r * np.sin(angle)])
            total = total + sum(
                weight / angles * turned_around(x, point, sign)[1] for sign in (-1, 1)
            )
    return np.log(total / 4)


# %%
# Fitting. A logit takes the square to the plane, so that no mass falls outside of it; the
# context is x.


def fit(pairs, epochs, layers, hidden):
    rng = np.random.default_rng(0)
    theta, x = simulate(rng, pairs)
    flow = nfref.Chain(
        [
            nfref.NSF(2, layers=layers, hidden=hidden, context_dim=2),
            nfref.Logit((-1.0, -1.0), (1.0, 1.0)),
        ]
    )
    density = nfref.Density(flow)
    result = nfref.fit(
        density,
        density.init(rng),
        theta,
        rng,
        context=x,
        epochs=epochs,
        batch_size=256,
        learning_rate=2e-3,
        schedule="cosine",
        patience=None,
        progress=False,
    )
    return density, result.params


def narrowed(density, params, factor):
    """The same density with its latent variables drawn together: surer than it should be."""
    flow = nfref.Chain([nfref.Scale(2), density.flow])
    return nfref.Density(flow), {
        "base": {},
        "flow": [{"log_scale": np.full(2, np.log(factor))}, params["flow"]],
    }


# %%
# Both posteriors on a grid (their roots are shown), and how often each rank came. The normal that
# the flow starts from is in one piece, so that a thin bridge is left between its moons.
#
# .. alt: Left, the exact posteriors of two observations, a pair of thin moons each; middle, those
#    of the flow, with a faint bridge between the moons. Right, histograms of ranks: level for the
#    flow, all bins but one within the grey band that holds 99 of 100 counts, with horns at both
#    ends for a density that is too narrow.


def grid(side, reach=0.75):
    axis = np.linspace(-reach, reach, side)
    return axis, np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)


def on_grid(x, density, params, side):
    """p(theta | x) and q(theta | x) on the grid, each (side, side), and the area of a cell."""
    axis, theta = grid(side)
    x = np.repeat(x[None], len(theta), axis=0)
    p = np.exp(log_likelihood(theta, x) + np.log(1 / 4) - log_evidence(x[:1]))
    q = np.exp(density.log_prob(params, theta, x))
    return p.reshape(side, side), q.reshape(side, side), (axis[1] - axis[0]) ** 2


def rank_histogram(ax, ranks, title):
    """Counts a bin, and the band that holds 99 of 100 counts of a calibrated density."""
    expected = len(ranks) / BINS
    spread = 2.576 * np.sqrt(expected * (1 - 1 / BINS))
    ax.axhspan(expected - spread, expected + spread, color="0.88")  # 99 % of chance
    edges = np.linspace(0, DRAWS + 1, BINS + 1)
    styles = ((r"$\theta_1$", "#1f4e9c", "-"), (r"$\theta_2$", "#d95f02", "--"))
    highest = 1.6 * expected
    for column, (name, color, style) in enumerate(styles):
        counts = np.bincount(ranks[:, column] * BINS // (DRAWS + 1), minlength=BINS)
        ax.stairs(counts, edges, color=color, linestyle=style, linewidth=1.4, label=name)
        highest = max(highest, np.max(counts))
    ax.set_title(title, fontsize=10)
    ax.set(
        xlabel=f"rank among {DRAWS} draws",
        ylabel="pairs",
        xlim=(0, DRAWS + 1),
        ylim=(0, 1.2 * highest),
    )
    ax.legend(frameon=False, ncols=2, loc="upper center")


def figure(density, params, right, wrong, side):
    fig, axes = plt.subplots(
        2, 3, figsize=(7.36, 5), layout="constrained", gridspec_kw={"width_ratios": (1, 1, 1.25)}
    )
    masses = []
    for row, x in zip(axes, OBSERVED):
        *densities, cell = on_grid(x, density, params, side)
        masses.append([values.sum() * cell for values in densities])
        for ax, values, name in zip(row, densities, ("exact posterior", "flow")):
            ax.imshow(
                np.sqrt(values),
                cmap="Blues",
                origin="lower",
                extent=(-0.75, 0.75) * 2,
                vmax=np.sqrt(np.max(densities[0])),
            )
            ax.set_title(f"{name}\nx = ({x[0]:g}, {x[1]:g})", fontsize=10)
            ax.set(
                xlabel=r"$\theta_1$",
                ylabel=r"$\theta_2$",
                xticks=(-0.5, 0, 0.5),
                yticks=(-0.5, 0, 0.5),
            )
    rank_histogram(axes[0, 2], right, "calibration of the flow")
    rank_histogram(axes[1, 2], wrong, "of one that is too sure")
    plt.show()
    return np.array(masses)


# %%
# Run it
# ------
# **Predict.** A density that is too sure: where do the ranks of the true parameters pile up?

# %%
density, params = fit(*((50_000, 40, 5, (64, 64)) if FULL else (2000, 8, 2, (32,))))
theta, x = simulate(np.random.default_rng(1), 4000 if FULL else 500)
truth = np.mean(log_likelihood(theta, x) + np.log(1 / 4) - log_evidence(x))
learned = np.mean(density.log_prob(params, theta, x))
print(
    f"log-density of the true parameters, nats: prior {np.log(1 / 4):.3f}, "
    f"flow {learned:.3f}, exact posterior {truth:.3f}"
)


def ranks(density, params):
    return diagnostics.ranks(density, params, theta, np.random.default_rng(2), x, DRAWS)


right, wrong = ranks(density, params), ranks(*narrowed(density, params, 0.6))
masses = figure(density, params, right, wrong, 241 if FULL else 121)
for name, found in (("flow", right), ("narrowed", wrong)):
    p = diagnostics.rank_uniformity(found, DRAWS, BINS).pvalue
    print(f"ranks of the {name}: p = {p[0]:.2g}, {p[1]:.2g}")
p = diagnostics.uniformity(diagnostics.pit(density, params, theta, x)).pvalue
print(f"PIT of the flow: p = {p[0]:.2g}, {p[1]:.2g}")

# The flow has learned from x, and cannot be better than the truth.
assert np.log(1 / 4) + (4.0 if FULL else 1.5) < learned < truth
# Exact draws are what the ranks are uniform for; they see when a density is too sure.
draws = np.stack([exact_posterior(np.random.default_rng(k), x) for k in range(DRAWS)])
exact = np.sum(draws < theta, axis=0)
assert np.all(diagnostics.rank_uniformity(exact, DRAWS, BINS).pvalue > 1e-3)
assert np.all(diagnostics.rank_uniformity(wrong, DRAWS, BINS).pvalue < 1e-6)
# Both are densities: the window holds all of the exact one, and no more than all of the flow.
assert np.all(np.abs(masses[:, 0] - 1) < 0.05) and np.all(masses[:, 1] < 1.05)

# %%
# .. dropdown:: Answer
#
#    At both ends: the truth lies outside of the draws too often.
#    The flow's own ranks, in the full run, are not quite uniform either: p = 0.0046 for
#    :math:`\theta_1`, of 4,000 pairs. It joins the two moons by a faint bridge.
#
# A conditional density of one number:
#
# .. play: given
#
# Exercise 1: ranks
# -----------------
# The posterior is exact. In what share of pairs is theta smaller than all but at most nine of 99
# draws, so that its rank is 0 to 9?

answer_1 = ...  # type a number here


def check_1(answer):
    truth = np.mean(np.random.default_rng(1).integers(0, 100, 10**6) < 10)
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-6), "all 100 ranks are equally likely"


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = 0.1
#
#    One tenth.

# %%
# Exercise 2: the lowest rank
# ---------------------------
# On paper: the posterior is exact. With 999 draws, how often is theta below all of them?

answer_2 = ...  # type a number here


def check_2(answer):
    u = (np.arange(10**6) + 0.5) / 10**6  # the place of theta in its posterior
    assert np.isclose(answer, np.mean((1 - u) ** 999), rtol=1e-4), "a thousand ranks, all alike"


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_2 = 1 / 1000
#
#    One in a thousand: there are a thousand ranks, and each is as likely.

# %%
# What can go wrong
# -----------------
# - Flat ranks on average over x, and wrong ones at the x that you have.
# - A prior that does not reach the truth: no flow can put mass there.
# - An observed x unlike all simulated ones: the flow extrapolates without notice.
