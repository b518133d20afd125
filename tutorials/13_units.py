r"""
13. What a density is measured in
=================================

*A likelihood is a number of nats. Per what?*

A probability is a pure number; a density is one *per unit of x*. Its logarithm depends on the
units, on the digits to which a table was rounded, and on bounds that the data know and the flow
does not. Each of the three can make a likelihood mean something else than one thinks. The formula
behind all of them is the change of variables: for :math:`y = a x` with a > 0 in D dimensions,

.. math::

   \log p_Y(y) = \log p_X(x) - D \log a .

Whole numbers n, such as pixels or rounded measurements, need one more step. Noise u, uniform on
:math:`[0, 1)`, turns them into x = n + u, which has a density; and no density of x can promise more
than the entropy of n allows (Theis et al. 2015, arXiv:1511.01844). Where is that floor, and what
happens to a flow that is fitted without it?
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from scipy import stats

import nfref
from nfref.plots.canvas import COLOURS

# %%
# The unit counts
# ---------------
# Temperatures of 20 degrees, give or take 3. One and the same density is written down per degree
# and per thousandth of a degree.
#
# **Predict.** In which of the two units is the mean log-density larger, and by how much?

rng = np.random.default_rng(0)
degrees = 20 + 3 * rng.standard_normal((2000, 1))
means = {}
for unit, a in (("degree", 1), ("millidegree", 1000)):
    flow = nfref.Standardise.of(a * degrees)
    means[unit] = np.mean(nfref.Density(flow).log_prob({"base": {}, "flow": {}}, a * degrees))
    print(f"per {unit}: {means[unit]:.3f} nats")  # -2.518, -9.426
gap = means["degree"] - means["millidegree"]
print(f"difference {gap:.3f}, log 1000 = {np.log(1000):.3f}")  # 6.908 both

# %%
# .. dropdown:: Answer
#
#    Nothing was learned or lost: the same heap is measured with another stick. So "-2.5 nats"
#    says nothing without a unit, and two likelihoods may be compared only in the same one.
#
# Flows learn best from columns with mean 0 and deviation 1. To divide by the deviation *outside* of
# the flow would change the unit behind your back. ``nfref.Standardise`` is a layer instead, the one
# next to the data; its log-determinant :math:`-\sum_i \log s_i` counts, and ``log_prob`` stays in
# the units of the table. ``nfref.in_units_of(flow, x)`` puts it there.

# %%
# A row in two units:
#
# .. play: unit
#
# Bounds
# ------
# Shares lie between 0 and 1. A normal density does not know that, and spends mass on what cannot
# be. If m is the mass inside, then p / m is a density too, on the interval, and every row is
# :math:`-\log m` nats more likely under it: that much is wasted, whatever the rows are.
# A logit, :math:`z = \log x - \log (1 - x)`, takes the interval to the whole line, where nothing
# can be wasted; ``nfref.Logit`` is this layer.

shares = rng.beta(1.2, 3, (2000, 1))
normal = nfref.Standardise.of(shares)
inside = np.diff(stats.norm.cdf([0, 1], normal.mean[0], normal.std[0]))[0]
print(f"mass inside {inside:.3f}, wasted {-np.log(inside):.3f} nats a row")  # 0.929, 0.074
with_logit = nfref.in_units_of(nfref.ElementwiseAffine(1), shares, lower=[0], upper=[1])
between = (np.arange(20_000)[:, None] + 0.5) / 20_000
on_interval = nfref.Density(with_logit)
params = on_interval.init(rng)
mass_with_logit = np.exp(on_interval.log_prob(params, between)).mean()
print(f"mass inside with a logit {mass_with_logit:.4f}")  # 1

# %%
# Ties
# ----
# Now the thermometer shows whole degrees, and the table has ties: the same number again and again.
# Let a density put a narrow normal of deviation s on each number n, with the right probability
# P(n). At x = n it is :math:`P(n) / (s \sqrt{2 \pi})`, and so its cost is
#
# .. math::
#
#    -\mathrm{E} \log p(n) = H(P) + \log (s \sqrt{2 \pi}),
#    \qquad H(P) = -\sum_n P(n) \log P(n) .
#
# With s towards zero it falls without end. A better likelihood, and nothing was learned: all it
# says is that the data are whole numbers.
#
# Against it helps noise. Give each row the u that rounding took away, evenly within its cell. For
# *any* density p, with :math:`Q(n) = \int_0^1 p(n + u)\,du` the mass of the cell,
#
# .. math::
#
#    \mathrm{E}_u \log p(n + u) \le \log \mathrm{E}_u\, p(n + u) = \log Q(n),
#    \qquad
#    -\mathrm{E}_n \log Q(n) \ge H(P) .
#
# The first step is Jensen's inequality, the second holds since
# :math:`\mathrm{E}_n \log (Q/P) \le \log \mathrm{E}_n (Q/P)` and
# :math:`\mathrm{E}_n (Q/P) \le \sum_n Q(n) \le 1`. Together: no density of x = n + u costs less
# than H(P) on average. That is the floor, and it is reached where p is flat in every cell with
# Q = P.

cells = np.arange(41)
P = np.diff(stats.norm.cdf(np.arange(-0.5, 41), 20, 3))
H = -np.sum(P * np.log(P))
print(f"entropy of the rounded numbers {H:.4f} nats")  # 2.5222

widths = np.geomspace(0.02, 3, 60)
u = (np.arange(400) + 0.5) / 400
grid = (cells[:, None] - 0.5 + u).ravel()  # rounding: the cell is n -+ 1/2
raw, noisy = [], []
for s in widths:
    peaks = P * stats.norm.pdf(grid[:, None], cells, s)
    log_p = np.log(np.maximum(peaks.sum(axis=1), 1e-300)).reshape(41, 400).mean(axis=1)
    noisy.append(-P @ log_p)
    raw.append(-P @ np.log(stats.norm.pdf(cells[:, None], cells, s) @ P))
raw, noisy = np.array(raw), np.array(noisy)
print(f"narrowest peaks: {raw[0]:.2f} on ties, {noisy[0]:.0f} with noise")  # -0.47, 104

# %%
# A flow finds this out by itself.
#
# **Predict.** A spline flow with narrow bins is fitted to 1000 rounded rows, once as they are, once
# with noise. Below which number can the loss on fresh rows fall? Will those rows show the fraud?


def fit(train, fresh):
    """Losses on fresh rows, epoch by epoch."""
    flow = nfref.in_units_of(nfref.NSF(1, layers=1, hidden=(16,), bins=42, bound=3.5), train)
    density = nfref.Density(flow)
    rng = np.random.default_rng(1)
    fitted = nfref.fit(
        density,
        density.init(rng),
        train,
        rng,
        validation=fresh,
        epochs=30,
        batch_size=64,
        learning_rate=3e-2,
        schedule="cosine",
        average=0.95,
        patience=None,
        progress=False,
    )
    return density, fitted


train, fresh = (np.rint(20 + 3 * rng.standard_normal((n, 1))) for n in (1000, 4000))
on_whole, on_ties = fit(train, fresh)
# ``dequantised`` gives n + u; half a degree less is the cell of a rounded number.
with_noise, fitted = fit(nfref.dequantised(rng, train) - 0.5, nfref.dequantised(rng, fresh) - 0.5)
losses = {"ties": on_ties.history["validation"], "noise": fitted.history["validation"]}
print(
    f"fresh rows: {min(losses['ties']):.2f} on ties, {min(losses['noise']):.2f} with noise, "
    f"floor {H:.2f}"
)  # 0.25, 2.53, 2.52

# %%
# .. dropdown:: Answer
#
#    On ties it falls through the floor, and fresh rows do not show it: they lie on the same whole
#    numbers. With noise the loss comes to a stop just above H. If a table gives you likelihoods
#    that seem too good, look for ties first.

# %%
# Exercise 1: eight bits for a byte
# ---------------------------------
# A flow was fitted to images of D bytes that were dequantised and scaled to (0, 1):
# x = (n + u) / 256. On average its :math:`-\log p(x)` is L nats an image. How many bits does it
# spend on each byte? Write a function of L and D. Remember that bytes that are all alike must
# cost 8 bits each.

answer_1 = ...  # type your answer here


def check_1(answer):
    assert callable(answer), "a function of L and D, such as lambda L, D: ..."
    assert np.isclose(answer(0.0, 12), 8), (
        "uniform bytes have the density 1 on (0, 1), L = 0, and need 8 bits each"
    )
    assert np.isclose(answer(-12 * np.log(256), 12), 0), (
        "L = -D log 256 is a flow that knows every byte in advance: it spends nothing"
    )
    rng, D = np.random.default_rng(5), 3
    n = np.minimum(rng.poisson(60, (500, D)), 255).astype(float)
    scaled = nfref.Chain([nfref.ElementwiseAffine(D), nfref.Standardise([0.24] * D, [0.03] * D)])
    as_bytes = nfref.Chain([*scaled.flows, nfref.Standardise([0.0] * D, [256.0] * D)])
    density, params = nfref.Density(as_bytes), nfref.Density(as_bytes).init(rng)
    unit, unit_params = nfref.Density(scaled), nfref.Density(scaled).init(rng)
    x = nfref.dequantised(np.random.default_rng(6), n) / 256
    bits = nfref.bits_per_dim(density, params, n, np.random.default_rng(6)).mean()
    assert np.isclose(answer(-unit.log_prob(unit_params, x).mean(), D), bits), (
        "a bit is log 2 nats, and each of the D numbers was divided by 256"
    )


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = lambda L, D: L / (D * np.log(2)) + np.log2(256)
#
#    Dividing by 256 makes every density larger by a factor of 256 a coordinate. Bits are counted in
#    units of one step, where neighbouring numbers are 1 apart.

# %%
# Exercise 2: the floor in other units
# ------------------------------------
# The rounded temperatures are written in kilodegrees, 0.020 for 20, and the noise with them.
# Below which value can no mean :math:`-\log p` fall now? Use ``H``.

answer_2 = ...  # type your answer here


def check_2(answer):
    assert not np.isclose(answer, H), "H is the floor where neighbours are 1 apart"
    assert answer < 0, "per kilodegree densities are large; which sign has their cost?"
    edges = np.arange(-0.5, 41) / 1000
    density_in_cells = P / np.diff(edges)  # flat in each cell, with the right mass
    assert np.isclose(answer, -P @ np.log(density_in_cells)), (
        "y = x / 1000, so log p is larger by log 1000 in every row"
    )


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_2 = H + np.log(1 / 1000)
#
#    With cells of width h the floor is H(P) + log h, for every column that was rounded.

# %%
# The figure: peaks of deviation s on every whole number; the two fits, epoch by epoch; and their
# densities, a comb on ties and a bell with noise. The noise need not be uniform: a learned one
# brings the bound closer to the mass of the cells (Flow++, section 3.1;
# ``nfref.VariationalDequantisation``).
#
# .. alt: Left, the cost of narrow peaks on whole numbers: on ties it falls below the floor as the
#    peaks get narrower, with noise it rises. Middle, a flow while it is fitted: on ties its cost
#    falls from 2 to 0.2, with noise it stays at the floor of 2.52. Right, what it has learned:
#    spikes at whole degrees on ties, a bell with noise.

figure, (left, middle, right) = plt.subplots(1, 3, figsize=(7.36, 3.2), layout="constrained")
left.semilogx(widths, raw, color=COLOURS[1], label="on ties")
left.semilogx(widths, noisy, color=COLOURS[0], label="with noise")
left.set(
    ylim=(-0.6, 6.5),
    xlabel="deviation s of the peaks, degrees",
    ylabel="cost, nats a row",
    title="peaks on whole numbers",
)
epochs = np.arange(1, len(losses["ties"]) + 1)
middle.plot(epochs, losses["ties"], color=COLOURS[1], label="on ties")
middle.plot(epochs, losses["noise"], color=COLOURS[0], label="with noise")
middle.set(xlabel="epoch", ylabel="cost of fresh rows", title="a flow that is fitted")
for axes in (left, middle):
    axes.axhline(H, color="black", linestyle="--", linewidth=1, label=f"floor {H:.2f}")
    axes.legend(fontsize=9)
for density, params, colour, label in (
    (on_whole, on_ties.params, COLOURS[1], "on ties"),
    (with_noise, fitted.params, COLOURS[0], "with noise"),
):
    p = np.exp(density.log_prob(params, grid[:, None]))
    right.plot(grid, p, color=colour, linewidth=1.2, label=label)
right.set(
    xlim=(9, 31), ylim=(0, 4.8), xlabel="degrees", ylabel="density", title="what it has learned"
)
right.legend(fontsize=9, loc="upper right")
plt.show()

# %%
# What can go wrong
# -----------------
# - Comparing nats of a standardised table with nats of the table itself.
# - Ties: a likelihood that gets better and better on whole numbers.
# - Bits per pixel of data scaled to (0, 1): eight bits are missing.

# %%
# What this page claims.

assert np.isclose(gap, np.log(1000))
assert inside < 0.95 and abs(mass_with_logit - 1) < 1e-3
assert np.all(noisy > H) and raw[0] < 0
assert np.isclose(raw[0], H + np.log(widths[0] * np.sqrt(2 * np.pi)), atol=1e-6)
assert min(losses["ties"]) < H - 1
assert H - 0.02 < min(losses["noise"]) < H + 0.1
