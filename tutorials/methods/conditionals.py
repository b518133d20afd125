r"""
One column given the others
===========================

*You have a model of whole rows. What does it say about one column, given another?*

A joint density answers questions that were not known during the fit. Here the question is the law
of a column given another, :math:`p(y \,|\, x) = p(x, y) / p(x)`: its quantiles at every x are a
fan, which is wide where y is uncertain. Where y has two branches its median lies anywhere between
them: the intervals still hold their share of new rows, but no single number predicts y. Missing
cells are integrated out in the same way: the likelihood of the observed cells is

.. math:: p(x_O) = q(x_O)\, E\left[\frac{p(x)}{q(x)}\right], \qquad x_M \sim q(x_M \,|\, x_O),

with q a density near p that has marginals and conditionals in closed form (a mixture of Gaussians
and a wide density), so the mean over samples has a standard error, which nfref returns.

Is a joint density the right tool? If all you want is :math:`p(y \,|\, x)` for one y, a few thousand
rows at most and columns of many kinds, then try a model such as TabPFN first. It was trained on
very many synthetic tables, reads yours as its context, and needs no fitting. (This is an opinion
from the design of such models; nothing was measured here.) A joint density is the better choice if
any column may be the target, if cells are missing, or if you need the likelihood of whole rows, new
rows, many rows, a small file, or a formula that you can check.
"""

# %%
import sys

import matplotlib.pyplot as plt
import numpy as np
from scipy import stats

import nfref

FULL = "--full" in sys.argv  # the long run, whose figure is kept
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


# %%
# The data: spread that grows with x, and beyond x = 1 two branches.


def rows(rng, n):
    x = rng.uniform(-3, 3, n)
    branch = np.where(rng.random(n) < 0.5, 1.0, -1.0) * np.maximum(x - 1, 0) * 1.5
    y = np.sin(2 * x) + branch + (0.15 + 0.1 * (x + 3)) * rng.standard_normal(n)
    return np.stack([x, y], axis=1)


# %%
# The fan, and the probability integral transform of new rows, :math:`P(Y \le y \,|\, x)`. It is
# flat if the density is right. In the full run it is not quite flat: the lowest bin falls to 0.6,
# at the right end, so the largest y at an x are rarer than the density says.
#
# .. alt: Left, rows and a fan of quantiles of y given x, narrow on the left, wide where the data
#    have two branches on the right, with a median that jumps between the branches. Right, a
#    histogram of the ranks of 500 new rows, about level and lowest near its right end.


def figure(model, train, ranks):
    x = np.linspace(-2.9, 2.9, 80)
    fan = model.predict_quantiles(np.stack([x, np.full(80, np.nan)], axis=1), "x2", LEVELS)
    fig, (left, right) = plt.subplots(
        1, 2, figsize=(7.36, 3.4), layout="constrained", width_ratios=(1.7, 1)
    )
    left.scatter(*train[:800].T, s=4, color="0.5", label="rows")
    for low, high, alpha, share in ((0, 4, 0.25, "90 %"), (1, 3, 0.45, "50 %")):
        left.fill_between(
            x,
            fan[:, low],
            fan[:, high],
            color="tab:blue",
            alpha=alpha,
            lw=0,
            label=f"{share} interval of y given x",
        )
    left.plot(x, fan[:, 2], color="tab:orange", label="median")
    left.set(xlabel="x", ylabel="y", title="Quantiles of y given x")
    left.legend(loc="upper left", fontsize=9)
    right.hist(ranks, bins=20, range=(0, 1), density=True, color="tab:blue", alpha=0.6)
    right.axhline(1, color="black", lw=1)
    right.set(xlabel="P(Y ≤ y | x) of new rows", title="Flat where it is right")
    plt.show()


# %%
# Run it
# ------
# **Predict.** Two branches: what will the median do there, and will the intervals still hold
# their share?

rng = np.random.default_rng(0)
train, test = rows(rng, 3000), rows(rng, 500)
model = nfref.FlowDensity("nsf" if FULL else "mixture", members=1, epochs=40, random_state=0).fit(
    train
)
ranks = model.distribution(test, "x2")
figure(model, train, ranks)
low, high = model.predict_quantiles(test, "x2", (0.05, 0.95)).T
inside = np.mean((low < test[:, 1]) & (test[:, 1] < high))
pvalue = stats.kstest(ranks, "uniform").pvalue
heights = np.histogram(ranks, bins=20, range=(0, 1), density=True)[0]
print(
    f"{inside:.1%} of new rows within their 90 % intervals; ranks uniform, p = {pvalue:.2f}, "
    f"bins from {heights.min():.1f} to {heights.max():.1f}"
)
assert abs(inside - 0.9) < 0.06
assert pvalue > 1e-3
# Of the law at x = 2.5 both branches are drawn, and little between them.
drawn = model.sample(1000, random_state=0, given={"x1": 2.5})
assert np.all(drawn[:, 0] == 2.5)
assert 0.3 < np.mean(drawn[:, 1] > np.sin(5)) < 0.7

# %%
# .. dropdown:: Answer
#
#    The median jumps between the branches and predicts neither; the intervals still hold their
#    share.
#
# The second number given the first:
#
# .. play: pair
#
# Exercise 1: an interval by hand
# -------------------------------
# x and y are jointly normal with variances 1 and correlation 0.8. How far from the mean of y
# given x do the ends of its 90 % interval lie?

answer_1 = ...  # type a number here


def check_1(answer):
    truth = np.quantile(np.random.default_rng(1).standard_normal(10**6), 0.95) * 0.6
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-6), (
        "given x, y has the variance 1 - 0.8^2; its deviation is the root of that"
    )


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = stats.norm.ppf(0.95) * np.sqrt(1 - 0.8 ** 2)
#
#    0.99: knowing x takes two fifths of the width away.

# %%
# Exercise 2: a mean by hand
# --------------------------
# On paper: with the same x and y, what is the mean of y given x = 2?

answer_2 = ...  # type a number here


def check_2(answer):
    x, y = np.random.default_rng(2).standard_normal((2, 4_000_000))
    y = 0.8 * x + 0.6 * y
    assert abs(answer - y[np.abs(x - 2) < 0.02].mean()) < 0.03, "the correlation times x"


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_2 = 0.8 * 2
#
#    1.6, nearer to the mean of y than x is to its own.

# %%
# What can go wrong
# -----------------
# - A conditional where the joint has seen hardly a row: the fan is drawn there all the same.
# - A point forecast between two branches, where y hardly ever is.
# - Few samples of the missing cells: look at the standard error.
