r"""
Probability flow
================

*A diffusion model adds noise to points. How does it get a likelihood?*

A diffusion takes data to noise by shaking every point, :math:`dy = -\frac{\beta}{2}\, y\, ds +
\sqrt{\beta}\, dw`. By lesson 18, its *probability flow* gives the points the same densities
:math:`p_s` without any noise, if the score is smooth with slopes bounded over all s:

.. math:: \frac{dy}{ds} = -\frac{\beta}{2} \left(y + \nabla \log p_s(y)\right).

Lesson 18 learns the score. Here the data are a mixture of three normals on the line, whose score is
known. So only the solver and the start separate the likelihood from the truth: one samples from a
standard normal and not from :math:`p_1`.
"""

# %%

import matplotlib.pyplot as plt
import numpy as np

import nfref
from nfref.flows.probability_flow import noise_schedule

MIXTURE = {
    "logits": np.log([0.5, 0.3, 0.2]),
    "means": np.array([[-1.2], [0.4], [1.6]]),
    "log_scales": np.log([[0.25], [0.1], [0.2]]),
}
BASE = nfref.NormalMixture(1, 3)
TOLERANCES = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9)

# %%
# Two ways from data to noise, from the same points: with noise, by small steps of the diffusion,
# and without, by the flow.


def diffusion_paths(rng, y, times):
    """Euler and Maruyama's steps of the diffusion, (T, N)."""
    paths = [y]
    for s, h in zip(times, np.diff(times)):
        beta, _, _ = noise_schedule(s)
        y = y - 0.5 * beta * y * h + np.sqrt(beta * h) * rng.standard_normal(len(y))
        paths.append(y)
    return np.array(paths)


def flow_paths(y, times):
    """Return where the flow takes the points: on a line p_s keeps each point's rank."""
    grid = np.linspace(-5, 5, 4001)
    weights = np.diff(grid, prepend=grid[0])

    def cumulative(s):
        params = nfref.ProbabilityFlow(1, 3).diffused(MIXTURE, s)
        return np.cumsum(np.exp(BASE.log_prob(params, grid[:, None])) * weights)

    rank = np.interp(y, grid, cumulative(0.0))
    return np.array([np.interp(rank, cumulative(s), grid) for s in times])


# %%
# The likelihood, from :math:`p_1` as it is and from the standard normal in its place.
#
# .. alt: Left, jagged paths of a diffusion from three bumps to noise; right, smooth paths of its
#    probability flow through the same densities. Below, the largest error of log p against the
#    tolerance of the solver: it falls with it when the start is exact, and stays near 0.005 with
#    the standard normal.


def log_probs(x, tolerance):
    """(from p_1, from the standard normal), each (N,)."""
    flow = nfref.ProbabilityFlow(1, 3, rtol=tolerance, atol=tolerance)
    z, log_det = flow.inverse(MIXTURE, x)
    return (
        BASE.log_prob(flow.diffused(MIXTURE, 1.0), z) + log_det,
        nfref.StandardNormal(1).log_prob({}, z) + log_det,
    )


def divergence(log_p, log_q, h):
    """KL(p | q) by quadrature on a grid."""
    return np.sum(np.exp(log_p) * (log_p - log_q)) * h


def figure(errors):
    fig, places = plt.subplot_mosaic("AB;CC", figsize=(7.36, 6), layout="constrained")
    axes = [places[name] for name in "ABC"]
    times, axis = np.linspace(0, 1, 401), np.linspace(-3, 3, 301)
    flow = nfref.ProbabilityFlow(1, 3)
    density = np.array(
        [np.exp(BASE.log_prob(flow.diffused(MIXTURE, s), axis[:, None])) for s in times]
    )
    rng = np.random.default_rng(0)
    start = np.sort(BASE.sample(MIXTURE, rng, 12)[:, 0])
    for ax, paths, name in zip(
        axes,
        (diffusion_paths(rng, start, times), flow_paths(start, times)),
        ("diffusion", "probability flow"),
    ):
        ax.pcolormesh(
            times, axis, np.minimum(density, 1).T, cmap="Blues", shading="nearest", rasterized=True
        )
        ax.plot(times, paths, color="black", linewidth=0.8)
        ax.set(title=f"{name}: density p_s", xlabel="time s, data to noise", ylim=(-3, 3))
    axes[0].set_ylabel("y")
    for error, color, label in zip(
        np.transpose(errors),
        ("tab:blue", "tab:orange"),
        ("starts at p_1", "starts at the standard normal"),
    ):
        axes[2].loglog(TOLERANCES, error, "o-", color=color, label=label)
    axes[2].set(title="largest error of log p(x)", xlabel="tolerance of the solver", ylabel="nats")
    axes[2].legend()
    plt.show()


# %%
# Run it
# ------
# **Predict.** Lower the tolerance of the solver by six factors of ten, from 1e-3 to 1e-9. Does the
# error of :math:`\log p` go to zero?

axis = np.linspace(-2.6, 2.6, 521)
x, h = axis[:, None], axis[1] - axis[0]
truth = BASE.log_prob(MIXTURE, x)
found = [log_probs(x, tolerance) for tolerance in TOLERANCES]
errors = [[np.abs(log_prob - truth).max() for log_prob in both] for both in found]
exact, usual = found[-1]
print(
    f"log p(x) is off by at most {errors[-1][0]:.1e} nats from p_1, "
    f"by {errors[-1][1]:.1e} from the standard normal"
)
figure(errors)

# Quadrature: it is a density, whatever it starts from.
masses = [np.sum(np.exp(log_prob)) * h for log_prob in (exact, usual)]
print("mass:", ", ".join(f"{mass:.9f}" for mass in masses))
at_the_data = divergence(truth, usual, h)
y = np.linspace(-9, 9, 2001)[:, None]
p_1 = BASE.log_prob(nfref.ProbabilityFlow(1, 3).diffused(MIXTURE, 1.0), y)
at_the_noise = divergence(p_1, nfref.StandardNormal(1).log_prob({}, y), 18 / 2000)
print(
    f"KL from the standard start: {at_the_data:.6e} nats at the data, "
    f"{at_the_noise:.6e} at the noise"
)
assert np.isclose(TOLERANCES[0] / TOLERANCES[-1], 1e6)  # six factors of ten
assert errors[-1][0] < 1e-7 < 1e-4 < errors[-1][1] < 0.1
assert abs(masses[0] - 1) < 1e-6
assert abs(at_the_data / at_the_noise - 1) < 1e-2
# The flow is the map that keeps ranks, which was found here without solving anything.
some = np.linspace(-1.8, 2.0, 7)
z, _ = nfref.ProbabilityFlow(1, 3).inverse(MIXTURE, some[:, None])
assert np.allclose(flow_paths(some, [1.0])[-1], z[:, 0], atol=1e-2)

# %%
# .. dropdown:: Answer
#
#    Only if the start is right: the standard normal is not quite the density at s = 1, and that
#    error stays.
#
# More or less noise on the way, and the same densities (lesson 18):
#
# .. play: walk
#
# What the start costs
# --------------------
# The flow's map T takes the data's density p to :math:`p_1`, and the model q that starts at the
# standard normal :math:`p_Z` uses the same T. Both change by the factor :math:`|\det \partial T|`,
# which cancels in their ratio: :math:`p(x) / q(x) = p_1(T(x)) / p_Z(T(x))`. The mean of its
# logarithm over the data is a mean over :math:`p_1`, so
#
# .. math:: \mathrm{KL}(p \| q) = \mathrm{KL}(p_1 \| p_Z),
#
# for any invertible smooth T, if one of the two is finite. The page prints both. No solver makes
# them smaller. More noise does: with a larger integral of :math:`\beta`, :math:`p_1` comes nearer
# to the standard normal.
#
# Exercise 1: at rest
# -------------------
# Let the data be standard normal themselves, so that
# :math:`p_s` is standard normal at every s. With :math:`\beta = 5`, how fast does a point at
# :math:`y = 2` move, :math:`dy/ds`?

answer_1 = ...  # type a number here


def check_1(answer):
    def log_p(y):
        return -0.5 * y**2

    score = (log_p(2 + 1e-5) - log_p(2 - 1e-5)) / 2e-5
    assert np.isclose(answer, -5 / 2 * (2 + score), atol=1e-3), (
        "the score of the standard normal is -y"
    )


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = 0.0
#
#    Not at all: the diffusion moves it at random, and the flow keeps it in place.

# %%
# Exercise 2: a wide normal
# -------------------------
# On paper: the data are normal with mean 0 and variance 4. With :math:`\beta = 5` at s = 0, how
# fast does a point at y = 2 move, dy/ds?

answer_2 = ...  # type a number here


def check_2(answer):
    def log_p(y):
        return -0.5 * y**2 / 4

    score = (log_p(2 + 1e-5) - log_p(2 - 1e-5)) / 2e-5
    assert not np.isclose(answer, -5.0), "that is the drift of the diffusion, without the score"
    assert np.isclose(answer, -5 / 2 * (2 + score), atol=1e-3), "the score of N(0, 4) is -y / 4"


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_2 = -5 / 2 * (2 - 2 / 4)
#
#    -3.75: the wide normal shrinks towards the standard one.

# %%
# What can go wrong
# -----------------
# - A tolerance that is too loose: its error goes into the density.
# - Taking the standard normal for :math:`p_1`: the error stays at any tolerance.
# - A learned score: the density is that of the flow, and not that of the diffusion.
