r"""
7. The identity plus a contraction
==================================

*Must a layer leave some coordinates alone to be invertible?*

Couplings and autoregressive layers are invertible because of which coordinates look at which. Here
is another reason. Let all coordinates look at all, and keep the change small. From data to latent,
as in the papers:

.. math::

   z = x + g(x), \qquad |g(x) - g(y)| \le L\, |x - y| \quad \text{with } L < 1.

Two points cannot meet: if x and y had the same z, then
:math:`|x - y| = |g(x) - g(y)| \le L |x - y|`, which only holds for x = y. This page shows how to go
back, which takes steps, and how to get the log-determinant without a determinant: by a power
series, and by tossing a coin for where to end it.
Papers: i-ResNet (Behrmann et al. 2018, arXiv:1811.00995), theorem 1 and algorithm 1, and residual
flows (Chen et al. 2019, arXiv:1906.02735).
"""

# %%
import matplotlib.pyplot as plt
import numpy as np

import nfref
from nfref.plots.canvas import COLOURS
from nfref.runtime import params as trees

# %%
# Going back
# ----------
# x is wanted, z = x + g(x) is given. Then x = z - g(x): a fixed point. Put in a guess, and take
# what comes out as the next guess. How far from the true :math:`x^*` is it?
#
# .. math::  |x_{n+1} - x^*| = |g(x^*) - g(x_n)| \le L\, |x_n - x^*|.
#
# The distance is multiplied by L or less at every step, from whatever start. (That there is an
# :math:`x^*` at all follows in the same way: two guesses in a row come closer by that factor each
# time, so the guesses converge. This is Banach's theorem.)
#
# .. play: cobweb


def back(z, g, steps):
    """All guesses, from x = z on."""
    guesses = [z]
    for _ in range(steps):
        guesses.append(z - g(guesses[-1]))
    return np.array(guesses)


def sine(L):
    """A contraction of the line for L < 1, since its slope is at most L."""
    return lambda x: L * np.sin(x)


# %%
# **Predict.** For g(x) = L sin x, with L = 0.8 and then with L = 1.3: where do the guesses go?

z = 0.9
guesses = {L: back(z, sine(L), 60) for L in (0.8, 1.3)}
for L, found in guesses.items():
    print(f"L = {L}: last two guesses", found[-2:].round(4))
# 0.5097 and 0.5097; -0.3756 and 1.3769

errors = np.abs(guesses[0.8] - guesses[0.8][-1])[:12]
print("factor a step", (errors[1:] / errors[:-1]).round(2))  # none above 0.8

# %%
# .. dropdown:: Answer
#
#    With L = 1.3 they end in a cycle of two. And it is not only the search that fails: x + 1.3
#    sin x falls where cos x < -1 / 1.3, so it has values that it takes three times.
#
# A network is made a contraction layer by layer. A product of maps has at most the product of their
# constants; an activation of slope at most 1 costs nothing; and a matrix whose largest singular
# value :math:`\sigma` is above a coefficient c < 1 is multiplied by :math:`c / \sigma`. Then its
# norm is c. (Divided by :math:`\sigma` it would be 1, and 1 is no contraction.) nfref's block does
# that, whatever its parameters are.

rng = np.random.default_rng(0)
block = nfref.ResidualBlock(2, hidden=(32,), coefficient=0.9)
params = trees.tree_map(lambda a: a + rng.standard_normal(a.shape), block.init(rng))
x, y = rng.standard_normal((2, 10_000, 2))
gx, gy = block.inverse(params, x)[0] - x, block.inverse(params, y)[0] - y
stretched = np.linalg.norm(gx - gy, axis=1) / np.linalg.norm(x - y, axis=1)
print("largest stretching", stretched.max().round(2))  # 0.13
print("what L promises   ", round(block.lipschitz, 2))  # 0.81, of two matrices
again, _ = block.forward(params, block.inverse(params, x)[0])
print("round trip off by ", np.abs(again - x).max())  # 1e-15

W = params["net"][0]["weight"]
sigma = np.linalg.norm(W, 2)
scaled_norms = [np.linalg.norm(W * factor / sigma, 2) for factor in (0.9, 1)]
print("largest singular value", sigma.round(2), " times c / sigma, and divided by sigma:", end=" ")
print(*np.round(scaled_norms, 2))  # 0.9, 1

# %%
# The bound holds, and is a loose one: directions that one matrix stretches most, another need not.
# To go back nfref takes Newton's steps where they do better, and stops at rounding.

# %%
# Exercise 1: count the steps
# ---------------------------
# L = 0.9, and the first guess is at most 1 away from :math:`x^*`. After how many steps is the guess
# within 1e-6 for certain?

answer_1 = ...  # type your answer here


def check_1(answer):
    error, steps = 1.0, 0
    while error > 1e-6:
        error, steps = 0.9 * error, steps + 1
    assert answer > 100, "a step takes off a tenth of the error, not nine tenths"
    assert answer == steps, "solve 0.9^n = 1e-6 for n; steps are whole, so round up"


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = int(np.ceil(np.log(1e-6) / np.log(0.9)))
#
#    132. For L = 0.5 it would be 20: the closer L is to 1, the more a block can do and the longer
#    it takes back.

# %%
# The log-determinant as a series
# -------------------------------
# dz/dx = I + J with J = dg/dx. Let :math:`\lambda_i` be the eigenvalues of J; none is longer than
# L. The determinant is the product of the :math:`1 + \lambda_i`, and each logarithm has its
# series:
#
# .. math::
#
#    \log \det(I + J) = \sum_i \log(1 + \lambda_i)
#    = \sum_i \sum_{k=1}^{\infty} \frac{(-1)^{k+1}}{k} \lambda_i^k
#    = \sum_{k=1}^{\infty} \frac{(-1)^{k+1}}{k}\, \operatorname{tr} J^k .
#
# Traces of powers need no determinant, and not even the matrix: the next page, on the trace,
# estimates them from products with vectors. Here D = 2 and the traces are exact.

J = np.array([[-0.5, 0.3], [0.4, 0.1]])
exact = np.log(np.linalg.det(np.eye(2) + J))
radius = np.abs(np.linalg.eigvals(J)).max()


def term(k):
    return (-1) ** (k + 1) / k * np.trace(np.linalg.matrix_power(J, k))


# %%
# **Predict.** The eigenvalues are -0.66 and 0.26. Is the sum of the first few terms too large or
# too small?

terms = np.arange(1, 16)
partial = np.cumsum([term(k) for k in terms])
bias = partial - exact
print("exact", exact.round(4))  # -0.844
print("off by, after 1, 2, 4, 8 terms", bias[[0, 1, 3, 7]].round(4))  # 0.444 ... 0.0064

# %%
# .. dropdown:: Answer
#
#    Too large, every time: the series of log(1 - 0.66) has only negative terms, and those that
#    are left out are missing. In D dimensions n terms lack at most :math:`D \sum_{k>n} L^k / k`.
#    That is a bias: no number of rows averages it away.
#
# Russian roulette
# ----------------
# Toss a coin after every term, and go on with probability q. Let N be the number of terms that come
# to be, so :math:`P(N \ge k) = q^{k-1}`. Weigh the term k by :math:`1 / P(N \ge k)`:
#
# .. math::
#
#    E \sum_{k=1}^{N} \frac{a_k}{P(N \ge k)}
#    = \sum_{k=1}^{\infty} \frac{a_k}{P(N \ge k)}\, P(N \ge k) = \sum_{k=1}^{\infty} a_k .
#
# A term that comes seldom counts for more. The mean is the whole infinite series; with q = 1/2 it
# costs two terms.
#
# Exercise 2: the weight of a term
# --------------------------------
# With q = 1/2, what does term k have to be multiplied by? Write a function of k.

answer_2 = ...  # type your answer here, such as lambda k: 1


def check_2(answer):
    assert np.isclose(answer(1), 1), "the first term always comes: its weight is 1"
    counts = np.random.default_rng(2).geometric(0.5, 400_000)
    shares = [np.mean(counts >= k) for k in range(1, 7)]
    expected = [share * answer(k) for k, share in enumerate(shares, 1)]
    assert np.allclose(expected, 1, atol=0.05), (
        "weight times the chance of the term has to be 1; the chance of term 3 is 1/4"
    )


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_2 = lambda k: 2.0 ** (k - 1)
#
#    Before term k the coin has to fall k - 1 times on "go on".

# %%
# **Predict.** Twenty thousand rolls, two terms each on average. How far is their mean from the
# exact value, beside the truncated series of two terms? And how far is a single roll?

q, rolls = 0.5, 20_000
counts = rng.geometric(1 - q, rolls)
weighted = np.cumsum([term(k) / q ** (k - 1) for k in range(1, counts.max() + 1)])
estimates = weighted[counts - 1]
error, noise = estimates.mean() - exact, estimates.std() / np.sqrt(rolls)
print("two terms off by ", bias[1].round(4))  # 0.194
print(f"mean of roulette {error:.4f} +- {noise:.4f}")  # -0.0036 +- 0.0047
print("a single roll +- ", estimates.std().round(2))  # 0.67

# %%
# .. dropdown:: Answer
#
#    The bias is gone, and noise has come in its place. Noise is what stochastic gradients are
#    made for. It must be finite, though: term k of the variance goes like :math:`(\lambda^2 /
#    q)^k`, so q has to be above :math:`\lambda^2`, here 0.43.
#
# nfref has all three: ``estimator="exact"``, ``"series"`` and ``"roulette"``. The matrix J is a
# block without hidden layers; each row rolls for itself.

linear = {"net": [{"weight": J.T, "bias": np.zeros(2)}], "beta": [], "u": [np.ones(2)]}


def by_nfref(rows, **options):
    flow = nfref.ResidualBlock(2, hidden=(), coefficient=0.9, **options)
    if flow.estimator == "roulette":
        flow = flow.with_probes(np.random.default_rng(3), rows, count=0)
    return flow.inverse(linear, np.zeros((rows, 2)))[1]


series = by_nfref(1, estimator="series", terms=4)[0]
roulette = by_nfref(rolls, estimator="roulette", terms=0, continuation=q)
print("nfref, off by: four terms", (series - exact).round(4))  # 0.0566
print("               roulette  ", (roulette.mean() - exact).round(4))  # 0.005

# %%
# The figure. The steps from x to z - g(x) are drawn as a walk between the curve and the diagonal.
#
# .. alt: Left, a walk between the curve z - g(x) and the diagonal that spirals into their
#    crossing; middle, the same with a steeper curve, which ends in a square cycle. Right, the
#    truncated series comes down to the log-determinant term by term; single rolls of roulette lie
#    above and below, and their mean on it.

figure, axes = plt.subplots(
    1, 3, figsize=(7.36, 3.1), layout="constrained", width_ratios=(1, 1, 1.3)
)
line = np.linspace(-1.2, 2.2, 300)
for axis, (L, found) in zip(axes, guesses.items()):
    axis.plot(line, z - sine(L)(line), color=COLOURS[0], label="z - g(x)")
    axis.plot(line, line, color="0.6", label="x")
    walk = np.repeat(found[:25], 2)
    axis.plot(walk[:-1], walk[1:], color=COLOURS[1], linewidth=1)
    axis.plot(found[0], found[1], "o", color=COLOURS[1], markersize=5, label="start")
    axis.set(
        title=f"L = {L}: {'arrives' if L < 1 else 'goes in circles'}",
        aspect="equal",
        xlabel="guess x",
        xlim=(-1.2, 2.2),
        ylim=(-1.2, 2.2),
    )
axes[0].legend(fontsize=9, loc="lower right")
axes[0].set(ylabel="next guess")
axes[2].axhline(exact, color="black", linewidth=1, label="log det(I + J)")
axes[2].plot(terms[:10], partial[:10], "o-", color=COLOURS[0], label="truncated: biased")
shown = np.arange(1, 6)
share = np.array([np.mean(counts == k) for k in shown])
axes[2].scatter(
    shown,
    weighted[shown - 1],
    s=300 * share + 4,
    color=COLOURS[1],
    alpha=0.6,
    label="rolls: area = frequency",
)
axes[2].axhline(estimates.mean(), color=COLOURS[1], linestyle="--", label="mean of roulette")
axes[2].set(
    title="series and roulette",
    xlabel="number of terms",
    ylabel="log-determinant",
    ylim=(-2.6, 1.4),
    xlim=(0.5, 10.5),
)
axes[2].legend(fontsize=9, loc="upper right", handlelength=1)
plt.show()

# %%
# What can go wrong
# -----------------
# - A spectral norm estimated by too few power iterations is too small, so L may be above 1 without
#   notice.
# - Stopping the fixed point early and calling it the inverse.
# - Truncating the series: a bias that no number of rows averages away.

# %%
# What this page claims.

assert np.isclose(guesses[0.8][-1] + 0.8 * np.sin(guesses[0.8][-1]), z, atol=1e-6)
assert abs(guesses[1.3][-1] - guesses[1.3][-2]) > 0.5
assert np.all(errors[1:] <= 0.8 * errors[:-1] + 1e-12)
assert stretched.max() < block.lipschitz
assert np.abs(again - x).max() < 1e-12
assert sigma > 0.9 and np.allclose(scaled_norms, [0.9, 1])
shrunk = nfref.flows.residual.shrink(W, sigma**2, 0.9)  # nfref's own
assert np.isclose(np.linalg.norm(shrunk, 2), 0.9)
assert np.all(bias > 0) and np.all(bias <= 2 * radius ** (terms + 1) / (1 - radius))
assert abs(error) < 4 * noise < bias[1]
assert np.isclose(series, partial[3], rtol=1e-12)
assert abs(roulette.mean() - exact) < 4 * roulette.std() / np.sqrt(rolls)
