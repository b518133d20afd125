r"""
Sampling from energies
======================

*There is only an energy, and its valleys lie apart. How do you get samples from all of them, and
the normaliser with an error that you can trust?*

A flow that is fitted to an energy U may stay in one valley (lesson 12). A Markov chain cannot cross
the hills. An *annealed sampler* leads rows along a path from a density q that is easy to sample to
the target :math:`e^{-U}`,

.. math:: \log \pi_t = (1 - t) \log q - t\, U, \qquad t = 0, \tfrac1K, \tfrac2K, \ldots, 1 ,

where the hills are low at first. At each level a flow T moves the rows, and a Markov kernel mixes
them. Every row carries a weight w, and the mean of w is the normaliser Z.

- Without flows this is *annealed importance sampling* (Neal 2001).
- With flows it is a *stochastic normalizing flow* (Wu et al. 2020, arXiv:2002.06707).
- *Annealed flow transport* (Arbel et al. 2021, arXiv:2102.07501) and *CRAFT* (Matthews et al. 2022,
  arXiv:2201.13117) fit the flows level by level and resample the rows by their weights.

The page derives the weight, and compares all of them with a plain flow.
"""

# %%
import sys
import time

import autograd.numpy as np
import matplotlib.pyplot as plt
from scipy import integrate

import nfref
from nfref.objectives import importance_estimate, negative_log_likelihood, reverse_kl
from nfref.plots.canvas import COLOURS

FULL = "--full" in sys.argv  # the long run, whose figure is kept

# %%
# Two wells
# ---------
# The energy :math:`U = x_1^4 - 6 x_1^2 - x_1 / 2 + x_2^2 / 2` has a deep well on the right and a
# shallow one on the left. Quadrature knows Z and the share of the right well.


def wells(x):
    """Log-density of wells in columns 0, 2, ..., and of normals in the others, up to log Z."""
    deep, plain = x[:, 0::2], x[:, 1::2]
    return np.sum(deep / 2 + 6 * deep**2 - deep**4 - plain**2 / 2, axis=1)


def mass(start, end):
    return integrate.quad(lambda x: np.exp(x / 2 + 6 * x**2 - x**4), start, end, epsrel=1e-12)[0]


LOG_Z = np.log(mass(-5, 5)) + 0.5 * np.log(2 * np.pi)
RIGHT = mass(0, 5) / mass(-5, 5)
print(f"log Z = {LOG_Z:.3f}, share of the right well {RIGHT:.3f}")  # 10.293, 0.844

# %%
# **Predict.** A flow is fitted by reverse KL. Its samples give log Z with an error. Is it right?


class Counted:
    """An energy that counts the rows at which it is evaluated."""

    def __init__(self):
        self.calls = 0

    def __call__(self, x):
        self.calls += len(x)
        return wells(x)


def with_costs(fit, model, steps, rate, **options):
    """Return the fit of a density or a sampler, its rows of the energy, and its seconds."""
    target, start = Counted(), time.process_time()
    params = model.init(np.random.default_rng(0))
    options |= {"steps": steps, "learning_rate": rate, "progress": False}
    found = fit(model, params, target, np.random.default_rng(1), **options)
    return found, target.calls, time.process_time() - start


def plain_flow(density, steps, rate):
    return with_costs(nfref.fit_reverse_kl, density, steps, rate)


def annealed(sampler, method, steps, rate, batch_size=256):
    return with_costs(
        nfref.fit_annealed, sampler, steps, rate, method=method, batch_size=batch_size
    )


alone, *_ = plain_flow(nfref.Density(nfref.RealNVP(2, 8, (16,))), 300, 1e-2)
print("flow:   ", alone.evidence)
sampler = nfref.AnnealedSampler(
    nfref.StandardNormal(2), nfref.Langevin(0.2, 2), 5, nfref.RealNVP(2, 2, (16,))
)
along, *_ = annealed(sampler, "craft", 60, 2e-2)
print("sampler:", along.evidence)
right = along.evidence.weights @ (along.evidence.samples[:, 0] > 0)
print(f"share of the right well by the sampler: {right:.2f}")

# %%
# .. dropdown:: Answer
#
#    The flow sits in one well. Its weights are even, its error is tiny, and nothing in it knows
#    the other well: log Z is off by the logarithm of that well's share. The sampler has both wells,
#    the shares of its weights are right, and so is log Z within its error. The verdict believes
#    both: it judges by weights, and they are known only where rows are.
#    (Tempering the target, as lesson 12 does, also finds both wells here.)

# %%
# Why the mean weight is Z
# ------------------------
# Write :math:`K(x \to x')` for the density of a kernel's step, and let r be the density of a row
# before it. Give the row the weight
#
# .. math:: w' = w\, \frac{\pi(x')\, K(x' \to x)}{\pi(x)\, K(x \to x')} .
#
# Suppose that :math:`E[w\, h(x)] = \int \pi h` for all h before the step. Then after it
#
# .. math:: E[w' h(x')] = \int \pi(x)\, K(x \to x')\,
#    \frac{\pi(x')\, K(x' \to x)}{\pi(x)\, K(x \to x')}\, h(x')\, dx\, dx'
#    = \int \pi(x')\, h(x')\, dx' ,
#
# since K integrates to one over its end x. A flow does the same with
# :math:`w' = w\, \pi'(T(x))\, |\det T'(x)| / \pi(x)`, which also changes the density from
# :math:`\pi` to :math:`\pi'`. At the start :math:`w = 1` and :math:`\pi = q`; at the end
# :math:`\pi = e^{-U}`, and for h = 1 the mean weight is Z. The logarithm of a step's factor is
# minus its *work* in physics.
#
# What this takes: q is above zero where the target is; flows and kernels do not depend on the rows
# that they move, so Z is estimated with new rows after a fit; and the average is finite. The
# *logarithm* of the mean weight is below log Z on average, the more so the fewer rows count.
#
# A step can also be *rejected*, with probability :math:`1 - \min(1, w' / w)`. Then K leaves
# :math:`\pi` as it is and the factor is one: Metropolis' rule. So one number serves both uses.
#
# If the flows were perfect, all weights would be equal to Z. Between two normal densities an affine
# map is perfect: here N(0, 1) and 3 N(1, 1/4), in one step.

exact = nfref.AnnealedSampler(
    nfref.StandardNormal(1), nfref.Langevin(0.3), 1, nfref.ElementwiseAffine(1)
)
params = exact.init(np.random.default_rng(0))
params["flows"] = [{"shift": np.array([1.0]), "log_scale": np.array([np.log(0.5)])}]
found = exact.estimate(
    params,
    lambda x: np.log(3) - 2 * (x[:, 0] - 1) ** 2 - 0.5 * np.log(2 * np.pi / 4),
    np.random.default_rng(1),
    1000,
)
spread = np.max(np.abs(1000 * found.weights - 1))
print(f"Z = {np.exp(found.value):.12f}, weights equal to {spread:.0e}")  # Z = 3.000000000000

# %%
# Weights that are uneven, and what they tell:
#
# .. play: weights
#
# A Boltzmann generator
# ---------------------
# Often some samples of each well are known, but not how much each well weighs: a chain that starts
# in a well stays there. *Boltzmann generators* (Noe et al. 2018, arXiv:1812.01729) fit a flow to
# such examples and to the energy at once, by the sum of the negative log-likelihood and the reverse
# KL. Then weights correct the shares. Half of the examples here come from each well.

rng = np.random.default_rng(2)
places = np.repeat([-1.7, 1.75], 300)
examples = np.stack([places + 0.2 * rng.standard_normal(600), rng.standard_normal(600)], axis=1)


def both(density, params, x, context, rng):
    by_example = negative_log_likelihood(density, params, x)
    return by_example + reverse_kl(density, params, wells, rng, len(x))


generator = nfref.Density(nfref.NSF(2, 2, (16,), bound=4.0))
fitted = nfref.fit(
    generator,
    generator.init(np.random.default_rng(0)),
    examples,
    np.random.default_rng(1),
    objective=both,
    validation=None,
    epochs=100,
    batch_size=200,
    learning_rate=5e-3,
    schedule="cosine",
    progress=False,
).params
weighed = importance_estimate(generator, fitted, wells, np.random.default_rng(3), 4000)
inside = weighed.samples[:, 0] > 0
print("generator:", weighed)
print(
    f"right well: {np.mean(inside):.2f} of its samples, {weighed.weights @ inside:.3f} of weights"
)

# %%
# Many wells
# ----------
# Sixteen such pairs of columns make 32 dimensions and :math:`2^{16}` wells, a common test of
# samplers. All factors are independent, so :math:`\log Z = 16 \cdot 10.293 = 164.696`. The
# published code of FAB (Midgley et al. 2022, arXiv:2208.01893) has the constant 11784.50927 for the
# first column of a pair, which is the same.
#
# Each method may evaluate the energy at about 0.8 million rows, for its fit and for the 4,000 rows
# of the estimate together. One autoregressive flow of splines is the layer of all.

DIM, LEVELS = 32, 4
start = nfref.StandardNormal(DIM)
layer = nfref.Invert(nfref.MADE(DIM, (32,), nfref.RationalQuadratic(8, 4.0)))
LAYERS = nfref.Density(nfref.Chain([layer] * 2))
STEPS = 240 if FULL else 2
BATCH = 256 if FULL else 32
BUDGET = STEPS * BATCH * 3 * LEVELS + 4000 * 3 * LEVELS


def methods():
    """Name -> function that fits it and returns (fit, calls, seconds)."""
    langevin = nfref.Langevin(0.2)
    levels = max(BUDGET // (4000 * 2 + 100 * 2 * 40), 4)

    def flows(resample):
        return nfref.AnnealedSampler(start, langevin, LEVELS, layer, resample)

    def steps(resample):
        return nfref.AnnealedSampler(start, langevin, levels, resample=resample)

    yield "annealed importance sampling", lambda: annealed(steps(None), "craft", 40, 1e-2, 100)
    yield "the same, resampled", lambda: annealed(steps(0.5), "craft", 40, 1e-2, 100)
    yield (
        "annealed flow transport",
        lambda: annealed(flows(0.3), "aft", STEPS, 4e-3, BATCH * 3 // 2),
    )
    yield "stochastic flow", lambda: annealed(flows(None), "snf", STEPS, 4e-3, BATCH)
    yield "CRAFT", lambda: annealed(flows(0.3), "craft", STEPS, 4e-3, BATCH)
    yield "flow alone", lambda: plain_flow(LAYERS, BUDGET // 256, 4e-3)


# %%
# **Predict.** Which method is best? Which is the best without a flow?

table = {}
for name, run in methods():
    found, calls, seconds = run()
    table[name] = found.evidence
    print(
        f"{name}: log Z off by {found.evidence.value - 16 * LOG_Z:+.2f} +- "
        f"{found.evidence.error:.2f}, effective {found.evidence.effective / 40:.1f} %, "
        f"{calls / 1e6:.2f} million rows, {seconds:.0f} seconds"
    )

# %%
# .. dropdown:: Answer
#
#    The flow alone, by far: 31.8 % of its rows count, and log Z is off by 0.01. Splines cross the
#    hill between two wells of a column, and it spends all its calls on fitting one map. It also
#    takes the most seconds, 26; where an energy is costly, calls count more.
#
#    Of the methods that move rows along the path, those that fit the flows of all levels at once
#    are the best: 5.5 % count for the stochastic flow and 1.1 % for CRAFT, which counts ancestors
#    of resampled rows. Annealed flow transport fits each flow to the same 384 rows, and too well:
#    its error of 3.62 is no smaller than that without a flow, 3.15. Steps alone hardly cross a
#    hill. So each of sixteen columns keeps the shares that its wells had early on the path, and the
#    weights have to correct all of them. All intervals hold the truth.
#
# The figure: samples of both methods in two wells, and log Z in 32 dimensions
# (the axis cuts the longest intervals).
#
# .. alt: Left, contours of two wells, and the samples of a plain flow in the right well only. In
#    the middle, the samples of the annealed sampler in both wells. Right, intervals of log Z less
#    the truth by six methods, shortest for the flow alone.

fig, (first, second, last) = plt.subplots(
    1, 3, figsize=(7.36, 2.9), layout="constrained", gridspec_kw={"width_ratios": (1, 1, 1.5)}
)
side = np.linspace(-3, 3, 121)
grid = np.stack(np.meshgrid(side, side), axis=-1)
heights = np.exp(wells(grid.reshape(-1, 2)) - LOG_Z).reshape(121, 121)
for ax, samples, title in (
    (first, alone.evidence.samples, "flow alone"),
    (second, along.evidence.samples, "annealed sampler"),
):
    ax.plot(*samples[:600].T, ".", color=COLOURS[0], markersize=3)
    ax.contour(side, side, heights, [0.02, 0.1, 0.4], colors="0.4", linewidths=0.8)
    ax.set(title=title, xlim=(-3, 3), ylim=(-3, 3), xlabel="$x_1$")
for k, (name, found) in enumerate(table.items()):
    colour = COLOURS[0] if "flow" in name or name == "CRAFT" else COLOURS[1]
    last.errorbar(
        found.value - 16 * LOG_Z, -k, xerr=1.96 * found.error, fmt="o", color=colour, markersize=4
    )
last.axvline(0, color="0.3", linestyle="--", linewidth=1)
last.set(yticks=-np.arange(len(table)), title="log Z less the truth, 95 %", xlim=(-4, 4))
last.set_yticklabels([name.replace(" importance", "\nimportance") for name in table], fontsize=8)
plt.show()

# %%
# What this page claims.

assert alone.evidence.believable and abs(alone.evidence.value - LOG_Z) > 5 * alone.evidence.error
assert abs(along.evidence.value - LOG_Z) < 3 * along.evidence.error < 0.4
assert abs(right - RIGHT) < 0.05 and spread < 1e-12
assert (
    abs(weighed.value - LOG_Z) < 3 * weighed.error and abs(weighed.weights @ inside - RIGHT) < 0.05
)
if FULL:
    off = {name: abs(found.value - 16 * LOG_Z) for name, found in table.items()}
    assert all(off[name] < 3 * found.error for name, found in table.items())
    assert table["flow alone"].effective > 4 * table["stochastic flow"].effective
    assert table["stochastic flow"].effective > 10 * table["annealed importance sampling"].effective

# %%
# Exercise 1: a weight from a log
# -------------------------------
# A row of annealed importance sampling, without flows and with steps that are rejected, was moved
# through the levels :math:`t_0 = 0, \ldots, t_K = 1`. Before each change of the level, log q and
# :math:`-U` of the row were written down. Type its log-weight as a function of three arrays: t with
# K + 1 numbers, log q and -U with K.

answer_1 = ...  # type your answer here: lambda t, log_q, minus_u: ...


def check_1(answer):
    assert callable(answer), "a function of t, log_q and minus_u"
    t = np.array([0.0, 0.25, 1.0])
    log_q, minus_u = np.array([-1.0, -2.0]), np.array([3.0, 2.0])
    found = answer(t, log_q, minus_u)
    assert np.ndim(found) == 0, "one row, one number: the changes add up"
    assert not np.isclose(found, -4.0), "that is log q less -U; the target is the numerator"
    assert np.isclose(found, 0.25 * 4 + 0.75 * 4), "each change is that of log pi at one place"


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = lambda t, log_q, minus_u: np.sum(np.diff(t) * (minus_u - log_q))
#
#    At one place the level changes from :math:`t_{k-1}` to :math:`t_k`, and :math:`\log \pi` by
#    their difference times :math:`-U - \log q`. Rejected steps add nothing.

# %%
# Exercise 2: a perfect map
# -------------------------
# On paper: q is N(0, 1), the energy is :math:`U = x^2 / 8`, there is one level, and the flow is
# :math:`T(x) = 2 x`. Which weight has a row that starts at 0.7?

answer_2 = ...  # type a number here


def check_2(answer):
    weights = [
        2 * np.exp(-((2 * x) ** 2) / 8) / (np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi))
        for x in (0.0, 0.7, 3.0)
    ]
    assert np.allclose(weights, weights[0])  # of every row
    assert not np.isclose(answer, weights[0] / 2), "the map stretches: its determinant is missing"
    assert np.isclose(answer, weights[0], rtol=1e-3), "target at T(x), times T', over q at x"


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_2 = 2 * np.sqrt(2 * np.pi)
#
#    The exponents cancel, so every row has the same weight: it is Z.

# %%
# What can go wrong
# -----------------
# - A density at the start that is narrower than the target: rows never come to its far parts.
# - Rows used both for the fit and for log Z: flows that know the rows make Z too large.
# - The largest weights are yet to come: log Z is too small, and its error may be, too. Pareto k and
#   the effective size say when.
# - Hills that rise early on the path: the shares of the wells freeze, and only weights, or a flow,
#   correct them.
# - A kernel's step that fits one level and not the others: the fit adapts the step of each level.
