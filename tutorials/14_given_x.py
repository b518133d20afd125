r"""
14. Given something else
========================

*How does a flow depend on something that is known, and how does one see that its probabilities
are right?*

Often the question is not how y is distributed, but how it is distributed *given x*: tomorrow's
load given the weather, a parameter given a measurement. A conditional flow answers with a whole
density for every x. Its map y = f(z; x) takes parameters that are functions of x, usually those of
a network, and

.. math::

   \log p(y \mid x) = \log p_Z(z) + \log \left| \frac{\partial z}{\partial y} \right|,
   \qquad z = f^{-1}(y; x) .

In nfref x is called the context. Two things have to be asked of such a density: is it likely, and
are its probabilities those of the world? The second is called calibration, and a histogram
shows it (for its relative with ranks, see Talts et al. 2018, arXiv:1804.06788, theorem 1).
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from scipy import stats

import nfref
from nfref import diagnostics
from nfref.plots.canvas import COLOURS
from nfref.runtime import params as trees

# %%
# Where is the derivative by x?
# -----------------------------
# x changes f, and yet no derivative by x stands in the formula. Take the map of pairs
# (x, z) to (x, y), which hands x through. It is a flow of the plane, and its Jacobian is
#
# .. math::
#
#    \frac{\partial (x, y)}{\partial (x, z)} =
#    \begin{pmatrix} 1 & 0 \\ \partial y / \partial x & \partial y / \partial z \end{pmatrix} .
#
# It is triangular, so its determinant is the product of its diagonal, 1 times
# :math:`\partial y / \partial z`: whatever x does to y, it shears, and shears keep areas. So
# :math:`p(x, y) = p(x)\,p(y \mid x)` comes out with nothing to be added.
#
# The smallest conditional flow is a shift and a scale by x; ``nfref.MAF`` with one column and a
# context is just that, with a network for the two. Differences of four neighbours give the
# determinant of pairs.

rng = np.random.default_rng(0)
flow = nfref.MAF(1, layers=1, hidden=(8,), context_dim=1)
params = trees.tree_map(lambda a: a + 0.5 * rng.standard_normal(a.shape), flow.init(rng))
x, z, h = rng.standard_normal((5, 1)), rng.standard_normal((5, 1)), 1e-6


def pair(x, z):
    return np.hstack([x, flow.forward(params, z, context=x)[0]])


by_x = (pair(x + h, z) - pair(x - h, z)) / (2 * h)
by_z = (pair(x, z + h) - pair(x, z - h)) / (2 * h)
determinant = by_x[:, 0] * by_z[:, 1] - by_x[:, 1] * by_z[:, 0]
log_det = flow.forward(params, z, context=x)[1]
print("log_det by the flow     ", log_det.round(6))
print("log determinant of pairs", np.log(determinant).round(6))  # the same

# %%
# The law of this page, at any x:
#
# .. play: given
#
# Three densities
# ---------------
# The law to be learned moves with x, widens with x, and is skewed. As we made it, we know its
# quantiles: those of a normal e, put through the same formula.


def middle(x):
    return np.sin(2 * x)


def spread(x):
    return 0.2 + 0.5 * (x + 2)


def law(x, e):
    """y for a standard normal e."""
    return middle(x) + spread(x) * (np.exp(0.4 * e) - 1)


def rows(n):
    x = rng.uniform(-2, 2, (n, 1))
    return x, law(x, rng.standard_normal((n, 1)))


x_train, y_train = rows(5000)
x_held, y_held = rows(1000)  # held out, to choose the epoch
x_new, y_new = rows(2000)  # and these are for judging alone

# %%
# Three flows are fitted: a shift and a scale by x, whose law is normal at every x; a spline by
# x; and a spline that is not told x.
#
# **Predict.** Which of them have probabilities that are right, on average over x?


def fit(flow, given=True):
    """A fitted density, its parameters, and what it costs new rows."""
    density = nfref.Density(nfref.in_units_of(flow, y_train))
    rng = np.random.default_rng(1)
    contexts = {"context": x_train, "validation_context": x_held} if given else {}
    fitted = nfref.fit(
        density,
        density.init(rng),
        y_train,
        rng,
        validation=y_held,
        epochs=40,
        batch_size=250,
        learning_rate=1e-2,
        schedule="cosine",
        average=0.95,
        patience=None,
        progress=False,
        **contexts,
    )
    log_p = density.log_prob(fitted.params, y_new, context=x_new if given else None)
    return density, fitted.params, -log_p.mean()


setting = {"layers": 1, "hidden": (32,)}
models = {
    "shift and scale by x": fit(nfref.MAF(1, context_dim=1, **setting)),
    "spline by x": fit(nfref.NSF(1, context_dim=1, bound=5.0, **setting)),
    "spline without x": fit(nfref.NSF(1, bound=5.0, **setting), given=False),
}

# %%
# Let F(y | x) be the distribution function, :math:`P(Y \le y \mid x)`. If y follows the law, then
# u = F(y | x) is uniform on (0, 1): for F continuous and increasing,
#
# .. math::
#
#    P(u \le a) = P(Y \le F^{-1}(a \mid x)) = F(F^{-1}(a \mid x) \mid x) = a .
#
# This is the *probability integral transform*, or PIT. It is uniform at every x, and therefore also
# for all rows together. A flow of one column that increases makes it easily: y is below its
# value when z is, so that :math:`u = \Phi(z)`. Hence also the quantiles:
# :math:`F^{-1}(a \mid x) = f(\Phi^{-1}(a); x)`.

pits, pvalues = {}, {}
for name, (density, params, cost) in models.items():
    context = x_new if density.context_dim else None
    pits[name] = diagnostics.pit(density, params, y_new, context)
    pvalues[name] = diagnostics.uniformity(pits[name]).pvalue[0]
    inside = np.mean((pits[name] > 0.05) & (pits[name] < 0.95))
    print(
        f"{name:<21} cost {cost:.3f} nats, p-value of a flat PIT {pvalues[name]:.1e}, "
        f"{inside:.1%} in the 90 % interval"
    )
# shift and scale by x  cost 0.683 nats, p-value of a flat PIT 6e-14, ...
# spline by x           cost 0.568 nats, p-value of a flat PIT 0.3, ...
# spline without x      cost 1.303 nats, p-value of a flat PIT 0.04, ...

truth = np.mean(
    -stats.norm.logpdf(np.log1p((y_new - middle(x_new)) / spread(x_new)) / 0.4)
    + np.log(0.4 * (spread(x_new) + y_new - middle(x_new)))
)
print(f"the law itself        cost {truth:.3f} nats")  # 0.544

# %%
# .. dropdown:: Answer
#
#    The normal one cannot be skewed, and its PIT tells. The spline's is flat (p = 0.3). And the
#    spline which knows nothing of x is hardly found out: p = 0.04 for 2,000 rows, where the
#    normal one has 6e-14. Among all rows, about one tenth lies in each tenth of it. At a given x
#    its intervals are wrong, on the left too wide, on the right too narrow, and the average hides
#    it. Its cost shows it, more than half a nat a row. *A flat PIT is necessary, and far from
#    enough*: look at calibration and at likelihood, and at the PIT for a part of the x.

left_part = x_new[:, 0] < -1
by_part = {name: diagnostics.uniformity(u[left_part]).pvalue[0] for name, u in pits.items()}
print("where x < -1:", {name: f"{p:.0e}" for name, p in by_part.items()})
# 3e-07, 2e-01, 2e-11

# %%
# Exercise 1: the PIT of the law
# ------------------------------
# Write the PIT of the law above as a function of x and y: u = P(Y <= y | x). The functions
# ``middle``, ``spread`` and ``stats.norm.cdf`` are there for it.

answer_1 = ...  # type your answer here


def check_1(answer):
    assert callable(answer), "a function of x and y, such as lambda x, y: ..."
    x, e = np.array([[-1.5], [0.0], [1.5]]), np.array([[-1.0, 0.0, 2.0]])
    u = np.asarray(answer(x, law(x, e)))
    assert u.shape == (3, 3) and np.all((u > 0) & (u < 1)), "a probability for every row"
    assert np.allclose(u[:, 1], 0.5), "e = 0 is the median: solve y = law(x, e) for e"
    assert np.allclose(u, stats.norm.cdf(e)), (
        "y increases with e, so P(Y <= y | x) = P(E <= e): which e belongs to y?"
    )


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = lambda x, y: stats.norm.cdf(np.log1p((y - middle(x)) / spread(x)) / 0.4)
#
#    The law is a flow itself: e is its latent, and the PIT is Phi of the latent.

# %%
# Exercise 2: too wide
# --------------------
# A forecast is a normal density with the right mean, but its deviation is *twice* the true one.
# Which share of its PIT values lies between 1/4 and 3/4? It would be 0.5 if it were right.

answer_2 = ...  # type your answer here


def check_2(answer):
    assert answer > 0.5, "too wide: what happens lies near its middle too often"
    quantile = np.quantile(np.random.default_rng(0).standard_normal(10**6), 0.75)
    truth = np.mean(np.abs(np.random.default_rng(1).standard_normal(10**6)) < 2 * quantile)
    assert abs(answer - truth) < 0.005, (
        "its quartiles are twice as far out as the true ones; what lies between those?"
    )


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_2 = 1 - 2 * stats.norm.cdf(-2 * stats.norm.ppf(0.75))
#
#    That is 0.82. A histogram with a hump is that of a density too wide, one with horns at both
#    ends that of one too narrow, and a slope says that it is shifted.

# %%
# The figure: above, the fan of quantiles at every x, and dashed the true ones; below, the PIT of
# new rows. The band holds the bins of a uniform law with probability 0.99 each. How columns of a
# table are asked for given others, after the fit: the page on conditionals; posteriors from
# simulations: the page on posteriors.
#
# .. alt: Above, three fans of quantiles against x over grey rows: too even, right, and blind to
#    x; the true quantiles are dashed. Below, histograms of the probability integral transform:
#    slanted, flat, and nearly flat.

levels = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
line = np.linspace(-1.98, 1.98, 120)[:, None]
true_fan = law(line, stats.norm.ppf(levels))


def fan(density, params):
    """Quantiles at every x of the line, (120, 5)."""
    z = np.tile(stats.norm.ppf(levels), len(line))[:, None]
    context = np.repeat(line, len(levels), axis=0) if density.context_dim else None
    return density.flow.forward(params["flow"], z, context)[0].reshape(len(line), -1)


figure, axes = plt.subplots(
    2, 3, figsize=(7.36, 5.4), layout="constrained", sharey="row", height_ratios=(3, 2)
)
low, high = stats.binom.ppf([0.005, 0.995], len(y_new), 1 / 20) / (len(y_new) / 20)
fans = {}
for (above, below), (name, (density, params, cost)) in zip(axes.T, models.items()):
    fans[name] = fan(density, params)
    above.plot(x_new[:700], y_new[:700], ".", color="0.6", markersize=2)
    for first, last, alpha in ((0, 4, 0.25), (1, 3, 0.45)):
        above.fill_between(
            line[:, 0],
            fans[name][:, first],
            fans[name][:, last],
            linewidth=0,
            color=COLOURS[0],
            alpha=alpha,
        )
    above.plot(line, fans[name][:, 2], color=COLOURS[0])
    dashed = above.plot(line, true_fan[:, [0, 2, 4]], color="black", linestyle="--", linewidth=1)
    above.set(title=f"{name}\ncost {cost:.2f} nats a row", xlabel="x", ylim=(-3, 5.5))
    below.axhspan(low, high, color="0.85")
    below.hist(
        pits[name],
        bins=20,
        range=(0, 1),
        density=True,
        histtype="step",
        color=COLOURS[1],
        linewidth=2,
    )
    below.set(xlabel="PIT of new rows", xlim=(0, 1), ylim=(0, 2))
axes[0, 2].legend(dashed[:1], ["the law: 5, 50, 95 %"], fontsize=9, loc="upper left")
axes[0, 0].set_ylabel("y: 5, 25, 50, 75, 95 %")
axes[1, 0].set_ylabel("density")
plt.show()

# %%
# What can go wrong
# -----------------
# - A flat PIT over all rows hides intervals that are too wide here and too narrow there.
# - Giving the context without its units: the network sees numbers of any size.
# - Choosing the epoch by the rows one judges by.

# %%
# What this page claims.

assert np.allclose(np.log(determinant), log_det, atol=1e-7)
costs = {name: cost for name, (_, _, cost) in models.items()}
assert truth < costs["spline by x"] < costs["shift and scale by x"] < costs["spline without x"]
assert costs["spline by x"] < truth + 0.05
assert pvalues["shift and scale by x"] < 1e-6
assert pvalues["spline by x"] > 1e-3 and pvalues["spline without x"] > 1e-3
assert by_part["spline without x"] < 1e-6 and by_part["spline by x"] > 1e-4
assert np.mean(np.abs(fans["spline by x"] - true_fan)) < 0.15
