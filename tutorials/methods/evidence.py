r"""
The evidence from a chain
=========================

*A Markov chain has sampled the posterior. How large is the integral that it never computed?*

The evidence of a model is :math:`Z = \int L(\theta)\, \pi(\theta)\, d\theta`, likelihood times
prior. A chain samples :math:`p = L \pi / Z` without knowing Z. Yet its draws contain Z: for *any*
density q that is zero wherever :math:`L \pi` is,

.. math::

   E_p\left[\frac{q}{L \pi}\right] = \int \frac{L \pi}{Z}\, \frac{q}{L \pi}\, d\theta
   = \frac1Z .

With the prior for q, this is the harmonic mean of the likelihood. It needs only numbers that every
chain stores, and it is known for being wrong. This page shows how wrong, and what a q that is
learned from the chain changes (Polanska et al. 2024, arXiv:2405.05969).
"""

# %%
import matplotlib.pyplot as plt
import numpy as np

import nfref
from nfref import diagnostics
from nfref.plots.canvas import COLOURS

# %%
# A posterior whose evidence is known
# -----------------------------------
# Two parameters have a wide prior, :math:`\mathcal{N}(0, 10^2 I)`. Two measurements, of
# :math:`\theta_1` and of :math:`\theta_2 + \theta_1^2 / 2`, have an error of one. Both gave zero.
# The posterior is a banana, and in the plane a grid gives Z.

WIDE = 10.0


def log_normal(x, deviation):
    return -0.5 * (x / deviation) ** 2 - np.log(deviation) - 0.5 * np.log(2 * np.pi)


def log_prior(theta):
    return np.sum(log_normal(theta, WIDE), axis=-1)


def log_likelihood(theta):
    first, second = theta[..., 0], theta[..., 1] + theta[..., 0] ** 2 / 2
    return log_normal(first, 1) + log_normal(second, 1)


def log_target(theta):
    return log_prior(theta) + log_likelihood(theta)


side = [np.linspace(-7, 7, 701), np.linspace(-30, 7, 1851)]
grid = np.stack(np.meshgrid(*side), axis=-1)
truth = np.log(np.sum(np.exp(log_target(grid))) * 0.02 * 0.02)
print(f"log Z = {truth:.3f}")  # -6.457

# %%
# There are two hundred analyses, each with four chains of 1,000 steps by Metropolis' rule. A chain
# stays at its place for some steps, and moves little at the others, so its draws resemble each
# other. Their *effective size* is the number of independent draws whose mean is as good.

REPEATS, CHAINS, LENGTH = 200, 4, 1000
LABELS = np.repeat(np.arange(CHAINS), LENGTH)


def metropolis(rng, walkers, steps, burn_in=500):
    """Return (walkers, steps, 2) draws of independent chains."""
    theta = rng.standard_normal((walkers, 2)) - [0, 0.5]
    level, kept = log_target(theta), []
    for _ in range(burn_in + steps):
        new = theta + 1.5 * rng.standard_normal(theta.shape)
        new_level = log_target(new)
        moves = np.log(rng.random(walkers)) < new_level - level
        theta = np.where(moves[:, None], new, theta)
        level = np.where(moves, new_level, level)
        kept.append(theta)
    return np.stack(kept[burn_in:], axis=1)


draws = metropolis(np.random.default_rng(0), REPEATS * CHAINS, LENGTH)
analyses = draws.reshape(REPEATS, CHAINS * LENGTH, 2)
size = diagnostics.effective_size(draws[:CHAINS])
print(f"of 4000 draws count {size[0]:.0f} for theta_1, {size[1]:.0f} for theta_2")

# %%
# The harmonic mean
# -----------------
# **Predict.** Each of the 200 analyses gives log Z, and by the usual formula a standard error of
# the mean of 1 / L. Where do the 200 values lie, and how far apart beside their standard errors?


def plain(theta):
    """Return log Z by the harmonic mean of the likelihood, and its standard error."""
    inverse = np.exp(-log_likelihood(theta))
    independent = diagnostics.effective_size(inverse)
    return -np.log(np.mean(inverse)), np.std(inverse) / np.mean(inverse) / np.sqrt(independent)


values, errors = np.array([plain(theta) for theta in analyses]).T
print(
    f"harmonic mean: values {np.median(values) - truth:+.2f} from the truth, spread "
    f"{np.std(values):.2f}, standard error {np.median(errors):.2f}"
)  # +2.61 from the truth, spread 0.65, standard error 0.21
share = np.mean(np.abs(values - truth) < 1.96 * errors)
print(f"{share:.1%} of the 95 % intervals hold the truth")  # 6.5
print(f"{np.mean(values > truth):.0%} of the values are too large")  # 99

# %%
# .. dropdown:: Answer
#
#    All but two are too large, half of them by a factor of :math:`e^{2.6} = 14` or more, and their
#    errors claim a fifth. The average of 1 / L lives on draws where the likelihood is tiny, which a
#    chain hardly ever visits. Its second moment :math:`\int \pi / (L Z)` is infinite, since the
#    prior falls more slowly than the likelihood. An average of what was seen has no means to know
#    this. The largest ratios do: they nearly follow a Pareto law, and its shape *k* tells which
#    moments exist.

said = [diagnostics.harmonic_mean(-log_likelihood(theta), LABELS) for theta in analyses]
print(f"k = {np.median([one.pareto_k for one in said]):.1f}")  # 0.8
print(f"cannot tell: {np.mean([not one.believable for one in said]):.0%}")  # 100

# %%
# A density in place of the prior
# -------------------------------
# Any such q is allowed, and q = p would make all ratios :math:`q / (L \pi)` equal to 1 / Z: no
# error at all. A flow learns p from the draws. Two rules remain. The draws in the average must not
# be those that the flow has learned from; and since neighbours in a chain resemble each other,
# *blocks* are held out, not single draws. And q must not reach further than p, or the ratio has a
# heavy tail again: the flow is narrowed, with its latent variables times 0.8.

train, held_out = diagnostics.blocks(CHAINS * LENGTH, 2, LABELS)
rng = np.random.default_rng(1)
flow = nfref.in_units_of(nfref.NSF(2, 2, (32,), bins=8, bound=4.0), analyses[0][train])
density = nfref.Density(flow)
fitted = nfref.fit(
    density,
    density.init(rng),
    analyses[0][train],
    rng,
    epochs=60,
    learning_rate=5e-3,
    progress=False,
).params
narrowed = nfref.Density(nfref.Chain([nfref.Scale(2), flow]))
params = {"base": {}, "flow": [{"log_scale": np.full(2, np.log(0.8))}, fitted["flow"]]}


def learned(theta, labels):
    """Return the evidence from draws that the flow has not seen."""
    return diagnostics.harmonic_mean(narrowed.log_prob(params, theta) - log_target(theta), labels)


print(learned(analyses[0][held_out], LABELS[held_out]))
# log Z = -6.455 +- 0.03 by harmonic mean

# %%
# The flow of the first analysis is a valid q for all others, too. So 199 analyses show whether its
# intervals hold what they promise.

found = [learned(theta, LABELS) for theta in analyses[1:]]
off = np.array([one.value - truth for one in found])
claimed = np.array([one.error for one in found])
print(
    f"learned: values {np.median(off):+.3f} from the truth, spread {np.std(off):.3f}, "
    f"standard error {np.median(claimed):.3f}"
)  # +0.001 from the truth, spread 0.017, standard error 0.019
covered = np.mean(np.abs(off) < 1.96 * claimed)
print(f"{covered:.1%} of the 95 % intervals hold the truth")  # 96.5
print(f"cannot tell: {np.mean([not one.believable for one in found]):.0%}")  # about 21

# %%
# Draws of q have their say, too
# ------------------------------
# The flow can be sampled. *Importance sampling* averages L pi / q over its samples. *Bridge
# sampling* takes both kinds of draws, and the mixture of p and q as the density in between (Meng
# and Wong 1996): none of its ratios is unbounded, so q need not be narrowed.

samples = density.sample(fitted, np.random.default_rng(2), 2000)
at_samples = log_target(samples) - density.log_prob(fitted, samples)
at_draws = log_target(analyses[0][held_out]) - density.log_prob(fitted, analyses[0][held_out])
weighed = diagnostics.importance_sampling(at_samples)
bridged = diagnostics.bridge_sampling(at_draws, at_samples, chains=LABELS[held_out])
print(weighed, bridged, sep="\n")
# log Z = -6.457 +- 0.011, and log Z = -6.454 +- 0.008

# %%
# The figure: the draws of one chain, the flow narrowed, and forty analyses by both averages.
#
# .. alt: Left, a chain's draws in the shape of a banana, with contours of the narrowed flow inside.
#    Right, forty intervals of the harmonic mean, most of them two to three nats above the dashed
#    line of the truth, few of them near it and one below; forty of the learned one, on the line.

fig, (left, right) = plt.subplots(
    1, 2, figsize=(7.36, 3.2), layout="constrained", gridspec_kw={"width_ratios": (1, 1.5)}
)
left.plot(*analyses[0][:LENGTH].T, ".", color="0.7", markersize=3, label="one chain")
window = np.stack(np.meshgrid(np.linspace(-4, 4, 121), np.linspace(-7, 3, 121)), axis=-1)
level = narrowed.log_prob(params, window.reshape(-1, 2)).reshape(121, 121)
left.contour(*window.transpose(2, 0, 1), np.exp(level), 5, colors=COLOURS[0], linewidths=1)
left.set(xlabel=r"$\theta_1$", ylabel=r"$\theta_2$", title="draws, and the flow")
shown = np.arange(40)
for colour, name, centre, error in (
    (COLOURS[1], "harmonic mean", values[1:] - truth, errors[1:]),
    (COLOURS[0], "learned", off, claimed),
):
    right.errorbar(
        shown, centre[:40], 1.96 * error[:40], fmt=".", color=colour, label=name, linewidth=1
    )
right.axhline(0, color="0.3", linestyle="--", linewidth=1)
right.set(xlabel="analysis", title="log Z less the truth, 95 %", ylim=(-3.6, 4.4), xticks=[])
right.legend(ncols=2, loc="upper center")
plt.show()

# %%
# What this page claims.

assert np.median(values) - truth > 10 * np.median(errors)  # the plain one is ten errors off
assert np.mean(values > truth) > 0.95
assert share < 0.15 and np.mean([one.believable for one in said]) < 0.1
assert covered > 0.9 and np.std(off) < 0.05
assert all(abs(one.value - truth) < 3 * one.error for one in (weighed, bridged))

# %%
# Importance sampling of a target of two heaps. A wide q is safe; a narrow one misses a heap, and
# its effective number does not tell:
#
# .. play: weights
#
# Exercise 1: the average
# -----------------------
# Type log Z as a function of an array of :math:`\log (q / (L \pi))` at draws of p. The numbers may
# be near 2000, where exp overflows.

answer_1 = ...  # type your answer here: lambda log_ratios: ...


def check_1(answer):
    assert callable(answer), "a function of log-ratios"
    some = np.log([2.0, 4.0, 6.0])
    assert not np.isclose(answer(some), np.log(4)), "the average is 1 / Z"
    assert np.isclose(answer(some), -np.log(4)), "minus the log of the mean"
    with np.errstate(all="ignore"):
        assert np.isclose(answer(some + 2000), -np.log(4) - 2000), "subtract the largest before exp"


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       def answer_1(log_ratios):
#           largest = np.max(log_ratios)
#           return -largest - np.log(np.mean(np.exp(log_ratios - largest)))

# %%
# Exercise 2: how wide may q be
# -----------------------------
# On paper: p is :math:`\mathcal{N}(0, 1)` and q is :math:`\mathcal{N}(0, s^2)`. Below which s does
# the ratio q / p have a variance?

answer_2 = ...  # type a number here


def check_2(answer):
    wide, narrow = (2 / s**2 - 1 for s in (1.001 * answer, 0.999 * answer))
    assert narrow > 0, "for this s the integral of q^2 / p is infinite: look at its exponent"
    assert wide < 0, "a wider q still has one: look at the exponent of q^2 / p"


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_2 = np.sqrt(2)
#
#    :math:`q^2 / p` falls like :math:`\exp(-x^2 (1 / s^2 - 1 / 2))`, and its integral is finite if
#    :math:`s^2 < 2`.

# %%
# What can go wrong
# -----------------
# - Draws that q has learned from: q is too large just there, and Z comes out too small.
# - Two halves that take turns as training and held-out draws: both averages see the same chance
#   difference of the halves, and the error is too small by up to :math:`\sqrt 2`.
# - A mode that no chain has visited is in no average.
