r"""
Energies: a flow without data
=============================

There are no data here, only an energy U(x), and the density :math:`p(x) = e^{-U(x)} / Z` is wanted
in a form that can be sampled. The normaliser :math:`Z = \int e^{-U}` is not known. In Bayes'
theorem :math:`e^{-U}` is likelihood times prior, p is the posterior and Z the *evidence*. A flow q
is fitted by its own samples:

.. math::

   E_q[\log q(x) + U(x)] = E_q\left[\log \frac{q(x)}{p(x)}\right] - \log Z
   = \mathrm{KL}(q \,\|\, p) - \log Z .

Log Z does not depend on q, so making the left side small makes this *reverse* KL small. It needs
neither Z nor the inverse of the flow. The energies are the four of Rezende and Mohamed 2015,
arXiv:1505.05770, table 1. This page fits them, asks how far such a q can be trusted, and what
it is good for when it is not quite right.
"""

# %%
import autograd.numpy as np
import matplotlib.pyplot as plt
from _exercises import grade
from _figures import figure_path

import nfref
from nfref.objectives.divergences import importance_estimate, reverse_kl
from nfref.objectives.potentials import POTENTIALS, box_quadrature, log_normaliser
from nfref.plots.canvas import COLOURS

# %%
# U2, U3 and U4 repeat along the first coordinate for ever, so p is meant on the square [-4, 4]^2.
# The flow here maps this square to itself: its base is uniform there, and one autoregressive layer
# of splines bends x_1 by itself and x_2 depending on x_1. Samples take one pass of its network.

BOX = 4.0
SQUARE = nfref.Uniform([-BOX, -BOX], [BOX, BOX])
density = nfref.Density(nfref.Invert(nfref.NSF(2, 1, (32, 32), bound=BOX)), SQUARE)
start = density.init(np.random.default_rng(0))

# %%
# The objective is three lines: draw, map, and average log q + U. Pathwise gradients come with it,
# because the draws are functions of the parameters.


def by_hand(params, energy, rng, n):
    z = density.base.sample(params["base"], rng, n)
    x, log_det = density.flow.forward(params["flow"], z)
    return np.mean(density.base.log_prob(params["base"], z) - log_det + energy(x))


U1 = POTENTIALS["U1"]
ours = by_hand(start, U1, np.random.default_rng(1), 500)
theirs = reverse_kl(density, start, lambda x: -U1(x), np.random.default_rng(1), 500)
print("objective at the start", ours.round(4), theirs.round(4))            # 5.1152 5.1152

# %%
# Each fit takes 250 steps. In the first half the target is tempered, p~^b with b growing from 0.01
# to 1 (Rezende and Mohamed, section 6), so that q spreads before the valleys get steep.

fits = {name: nfref.fit_reverse_kl(density, start, lambda x: -energy(x), np.random.default_rng(0),
                                   steps=250, batch_size=800, learning_rate=1e-2, anneal=125,
                                   progress=False).params
        for name, energy in POTENTIALS.items()}

# %%
# Importance weights
# ------------------
# A sample of q is no sample of p, but it can be weighed. With :math:`w(x) = e^{-U(x)} / q(x)`,
#
# .. math:: E_q\,w = \int q\, \frac{e^{-U}}{q} = Z, \qquad E_p\,h = \frac{E_q\,w h}{E_q\,w},
#
# exactly, however bad q is, as long as it reaches everywhere. What suffers is the noise. If few of
# the n weights carry all the sum, few samples count: the *effective sample size* is
#
# .. math:: n_{\text{eff}} = \frac{(\sum w)^2}{\sum w^2}, \qquad
#    \frac{n_{\text{eff}}}{n} \to \frac{(E_q w)^2}{E_q w^2} = \frac{1}{E_q (p / q)^2} .
#
# Without weights, Jensen's inequality gives a bound, :math:`E_q \log w \le \log E_q w = \log Z`,
# which is minus the objective. The gap is KL(q || p).
#
# **Predict.** In the table below, which of the two is nearer to log Z, the bound or the log of the
# mean weight? And how many percent of 20,000 draws count? Two independent sets are tried.

points, quadrature = box_quadrature(BOX, panels=20)
found = {}
print("      bound  weights  log Z     KL   effective, two sets of draws")
for name, energy in POTENTIALS.items():
    params, log_z = fits[name], log_normaliser(energy)
    bound = -reverse_kl(density, params, lambda x: -energy(x), np.random.default_rng(1), 20_000)
    (weighed, first), (_, second) = (importance_estimate(density, params, lambda x: -energy(x),
                                                         np.random.default_rng(seed), 20_000)
                                     for seed in (1, 2))
    log_q = density.log_prob(params, points)
    mass = np.sum(quadrature * np.exp(log_q))
    kl = np.sum(quadrature * np.exp(log_q) * (log_q + energy(points))) + log_z
    found[name] = bound, weighed, log_z, kl, first / 20_000, second / 20_000, mass
    print("{} {:8.3f}{:9.3f}{:7.3f}{:7.3f}{:9.0%}{:6.0%}".format(name, *found[name]))
# U1    1.612    1.881  1.878  0.272      87%   86%
# U2    1.962    2.080  2.082  0.126      84%   41%
# U3    2.468    2.635  2.642  0.182      74%    4%
# U4    2.577    2.685  2.685  0.118      79%   23%

# %%
# The bound misses by the KL, as it must. The weights remove nearly all of this, and log Z, the
# evidence, comes out to about a hundredth. But the two sets of U3 disagree badly, and nothing has
# changed but the seed: a single one of the draws has come from a place where q is far below p, and
# its weight is as large as that of thousands of others. KL(q || p) punishes draws where p is
# tiny, the effective size places where q is tiny; and it is itself only an estimate.
#
# Insurance
# ---------
# Draw every tenth x from the uniform base instead. The density of all draws is then
# 0.9 q + 0.1 / 64 on the square of area 64, so no weight is above 640 times the largest
# :math:`e^{-U}`.
#
# **Predict.** What does this cost where q was good, and what does it gain where it was not?


def draw_and_weigh(params, energy, rng, n, share):
    """x from a mixture of the flow and, with probability ``share``, its base; and log w."""
    from_flow, _ = density.sample_and_log_prob(params, rng, n)
    x = np.where(rng.random((n, 1)) < share, SQUARE.sample({}, rng, n), from_flow)
    log_mixture = np.logaddexp(np.log1p(-share) + density.log_prob(params, x),
                               np.log(share) + SQUARE.log_prob({}, x))
    return x, -energy(x) - log_mixture


def share_that_counts(log_w):
    w = np.exp(log_w - np.max(log_w))
    return np.sum(w) ** 2 / np.sum(w ** 2) / len(w)


bars = {}
print("effective: uniform, flow, insured flow by two sets of draws")
for name, energy in POTENTIALS.items():
    none = share_that_counts(-energy(SQUARE.sample({}, np.random.default_rng(1), 20_000)))
    insured = [share_that_counts(draw_and_weigh(fits[name], energy, np.random.default_rng(seed),
                                                20_000, 0.1)[1]) for seed in (1, 2)]
    bars[name] = none, found[name][5], *insured
    print("{}{:15.0%}{:7.0%}{:9.0%}{:5.0%}".format(name, *bars[name]))
# U1            18%    86%      84%  84%
# U2            18%    41%      80%  80%
# U3            18%     4%      70%  59%
# U4            20%    23%      80%  80%

# %%
# It costs at most a tenth, and the answer hardly depends on luck any more. With such weights
# averages under p can be trusted, and so can their error bars.

x, log_w = draw_and_weigh(fits["U4"], POTENTIALS["U4"], np.random.default_rng(3), 20_000, 0.1)
w = np.exp(log_w - np.max(log_w))
w = w / np.sum(w)
truth = np.sum(quadrature * np.exp(-POTENTIALS["U4"](points) - found["U4"][2]) * points[:, 1])
weighted = np.sum(w * x[:, 1])
noise = np.sqrt(np.sum(w ** 2 * (x[:, 1] - weighted) ** 2))
print(f"E x_2 under U4: {truth:.3f}; unweighted {np.mean(x[:, 1]):.3f}, "
      f"weighted {weighted:.3f} +- {noise:.3f}")
# -0.427; unweighted -0.428, weighted -0.433 +- 0.011

# %%
# What no weight can tell
# -----------------------
# Weights are known only where q has been. Let p have two equal modes, at -4 and 4, and let q be
# the normal density of one of them, with which reverse KL is content.
#
# **Predict.** What is the effective size, and what comes out for log Z, whose true value is 0?


def two_modes(x):
    """log of 1/2 N(-4, 1) + 1/2 N(4, 1); its normaliser is 1."""
    return (np.logaddexp(-0.5 * (x[:, 0] - 4) ** 2, -0.5 * (x[:, 0] + 4) ** 2)
            - 0.5 * np.log(2 * np.pi) - np.log(2))


one_mode = nfref.Density(nfref.Standardise([4.0], [1.0]))
missed, size = importance_estimate(one_mode, {"base": {}, "flow": {}}, two_modes,
                                   np.random.default_rng(0), 1000)
print(f"effective {size / 1000:.1%}, log Z = {missed:.3f}")
# 100.0%, -0.693 = -log 2

# %%
# All weights are equal to one half, and everything looks perfect. A whole mode is missing, and only
# other starts, tempering, or knowledge of the energy can find it.
#
# The figure: the targets, the flows, and what is left of 100 draws. The thin lines at the edges of
# the first flow are there because a spline ends with slope one (the page on
# splines).

fig = plt.figure(figsize=(9, 3.6), layout="constrained")
cells = fig.add_gridspec(2, 5, width_ratios=(1, 1, 1, 1, 2))
blues = plt.get_cmap("Blues", 12)
side = np.linspace(-BOX, BOX, 81)
grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
for column, (name, energy) in enumerate(POTENTIALS.items()):
    for row, (values, title) in enumerate((
            (-energy(grid) - found[name][2], f"$e^{{-U_{name[1]}}} / Z$"),
            (density.log_prob(fits[name], grid), f"flow, KL {found[name][3]:.2f}"))):
        ax = fig.add_subplot(cells[row, column], xticks=[], yticks=[])
        ax.imshow(np.exp(values).reshape(81, 81), origin="lower", cmap=blues, vmin=0,
                  vmax=np.exp(np.max(-energy(grid)) - found[name][2]))
        ax.set_title(title, fontsize=11)
ax = fig.add_subplot(cells[:, 4])
for k, (colour, label) in enumerate((("0.7", "uniform"), (COLOURS[0], "flow"),
                                     (COLOURS[2], "insured"))):
    heights = [100 * shares[k] for shares in bars.values()]
    ax.bar_label(ax.bar(np.arange(4) + 0.27 * (k - 1), heights, 0.25, color=colour, label=label),
                 fmt="%.0f", fontsize=9)
ax.set(xticks=np.arange(4), xticklabels=list(found), ylim=(0, 119),
       title="of 100 samples, so many count")
ax.legend(loc="upper right", ncols=3, fontsize=9, columnspacing=0.8, handlelength=1)
fig.savefig(figure_path("12_energies.png"), dpi=130)

# %%
# What this page claims.

assert np.isclose(ours, theirs, rtol=1e-12)
for bound, weighed, log_z, kl, *_, mass in found.values():
    assert abs(mass - 1) < 2e-3
    assert 0 < kl < 0.5 and abs(log_z - bound - kl) < 0.05
    assert abs(weighed - log_z) < min(0.08, log_z - bound)
for none, _, first, second in bars.values():
    assert min(first, second) > 2 * none and abs(first - second) < 0.25
assert abs(weighted - truth) < 5 * noise
assert size > 999 and abs(missed + np.log(2)) < 1e-3

# %%
# Exercise 1: Metropolis with a flow
# ----------------------------------
# A Markov chain can use the flow as its proposal: from x go to a fresh draw x' of q with
# probability a, else stay. Type a as a function of log w(x) and log w(x'), where w = exp(-U) / q.
# It must leave p as it is, p(x) q(x') a(x, x') = p(x') q(x) a(x', x), and accept as often as it
# can.

answer_1 = ...      # type your answer here: lambda log_w, log_w_new: ...


def check_1(answer):
    """On five states, where the matrix of the chain can be written down; then on U4."""
    p, q = np.array([0.1, 0.3, 0.2, 0.05, 0.35]), np.array([0.3, 0.1, 0.2, 0.25, 0.15])
    log_ratio = np.log(2.5 * p / q)         # p~ need not be normalised
    accept = np.array([[float(answer(a, b)) for b in log_ratio] for a in log_ratio])
    assert np.all((accept >= 0) & (accept <= 1 + 1e-12)), "a probability is between 0 and 1"
    flux = p[:, None] * q * accept
    assert np.allclose(flux, flux.T), \
        "p(x) q(x') a(x, x') is not symmetric; divide it by q(x) q(x'): only w and a are left"
    assert np.allclose(np.maximum(accept, accept.T), 1), \
        "it leaves p as it is, but moves could be accepted more often: one of two ways always"
    rng, here, chain = np.random.default_rng(4), 0, []
    for k in range(1, len(x)):
        if rng.random() < answer(log_w[here], log_w[k]):
            here = k
        chain.append(x[here, 1])
    batches = np.mean(np.reshape(chain[:19_900], (100, -1)), axis=1)
    assert abs(np.mean(batches) - truth) < 5 * np.std(batches) / 10, \
        "the mean of x_2 along the chain is not that of p"


grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = lambda log_w, log_w_new: np.exp(np.minimum(0, log_w_new - log_w))
#
#    Divided by q(x) q(x') the condition says w(x) a(x, x') = w(x') a(x', x). The largest such
#    probabilities are a = min(1, w(x') / w(x)). The chain forgets its start as fast as the
#    weights are even: with q = p it accepts everything.
