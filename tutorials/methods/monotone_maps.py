r"""
Monotone maps
=============

*A coupling can apply any smooth increasing map to a coordinate. Which one, and does it matter?*

An affine map moves and stretches. A coordinate with two modes needs more: a map whose slope rises
and falls. Libraries offer many. This page puts them side by side, all onto the line:

- **splines**, one simple curve for each bin, and the identity outside: linear and quadratic
  (Mueller et al. 2018, arXiv:1808.03856), cubic (Durkan et al. 2019, arXiv:1906.02145) and
  rational-quadratic (Durkan et al. 2019, arXiv:1906.04032);
- a **Bernstein polynomial** with increasing coefficients, and its tangents outside (Sick et al.
  2020, arXiv:2004.00464);
- a **sum of squares**, integrated: a polynomial of odd degree (Jaini et al. 2019,
  arXiv:1905.02325).

Each comes from data to latent, as its slope is then at hand for the likelihood,

.. math:: z = g(x), \qquad \log p(x) = \log \mathcal{N}(g(x); 0, 1) + \log g'(x) .

For all splines but the cubic one nfref computes the way back by a formula. The other maps take
Newton steps between two ends that are known to enclose the root.

A further idea needs no map of one coordinate at all. A *block neural autoregressive flow* is one
network whose weights from a coordinate to itself are positive (De Cao et al. 2019,
arXiv:1904.04676).
"""

# %%
import sys
import time

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import norm

import nfref
from nfref import datasets

FULL = "--full" in sys.argv  # the long run, whose figure is kept
MAPS = {
    "linear spline": nfref.LinearSpline(8, 4.0),
    "quadratic spline": nfref.QuadraticSpline(8, 4.0),
    "cubic spline": nfref.CubicSpline(8, 4.0),
    "rational-quadratic spline": nfref.RationalQuadratic(8, 4.0),
    "Bernstein polynomial": nfref.Bernstein(16, 4.0),
    "sum of squares": nfref.SumOfSquares(3, 4, 4.0),
}

# %%
# A coordinate with two modes. The increasing map that takes it to a normal is known: first its
# distribution function, then the normal's quantiles.

MODES, WIDTH = np.array([-1.5, 1.5]), 0.5


def exact(x):
    """The known map and its slope."""
    at = (x[:, None] - MODES) / WIDTH
    z = norm.ppf(norm.cdf(at).mean(axis=1))
    return z, norm.pdf(at).mean(axis=1) / WIDTH / norm.pdf(z)


def fit(flow, x, epochs, rate):
    """The fitted flow, and the seconds of the processor that it took. All run as formulas."""
    density, rng, start = nfref.Density(flow), np.random.default_rng(0), time.process_time()
    with nfref.backend("numpy"):
        params = nfref.fit(
            density,
            density.init(rng),
            x,
            rng,
            validation=None,
            epochs=epochs,
            batch_size=200,
            learning_rate=rate,
            schedule="cosine",
            patience=None,
            progress=False,
        ).params
    return density, params, time.process_time() - start


def fitted_maps(rows, epochs):
    """Name -> (x -> z and slope), each fitted to the same coordinate."""
    rng = np.random.default_rng(1)
    x = rng.choice(MODES, (rows, 1)) + WIDTH * rng.standard_normal((rows, 1))
    found = {}
    for name, transformer in MAPS.items():
        density, params, _ = fit(nfref.MADE(1, (1,), transformer), x, epochs, 3e-2)
        found[name] = lambda at, flow=density.flow, params=params["flow"]: flow.inverse(params, at)
    return found


# %%
# What to look at. Above, the map; below, its slope. The known ones are grey.
#
# .. alt: Six pairs of plots, one for each kind of map. The maps all follow the grey curve. The
#    slopes differ: steps for the linear spline, a polygon for the quadratic one, arcs with kinks
#    for the other splines, smooth curves for both polynomials. The valley of the Bernstein
#    polynomial is too shallow.


def figure(maps):
    x = np.linspace(-3.4, 3.4, 600)
    z, slope = exact(x)
    fig, axes = plt.subplots(
        2, 6, figsize=(7.36, 3.3), layout="constrained", sharex=True, sharey="row"
    )
    off = {}
    for (name, run), above, below in zip(maps.items(), *axes):
        value, log_slope = run(x[:, None])
        for ax, curve, found in ((above, z, value[:, 0]), (below, slope, np.exp(log_slope))):
            ax.plot(x, curve, color="0.7", linewidth=3)
            ax.plot(x, found, color="C0", linewidth=1)
        above.set_title(name.replace(" ", "\n").replace("-", "-\n"), fontsize=8)
        below.set_xlabel("x")
        inside = np.abs(z) < 2
        off[name] = np.sqrt(np.mean((log_slope - np.log(slope))[inside] ** 2))
    axes[0, 0].set(ylabel="z", ylim=(-3.6, 3.6))
    axes[1, 0].set(ylabel="slope", ylim=(0, 3.2))
    plt.show()
    return off


# %%
# The same maps in one small coupling flow of two coordinates, whose data have a known density. So
# the loss is in nats behind the truth. Beside them stands a block neural autoregressive flow.


def couplings(layers):
    for name, transformer in MAPS.items():
        yield name, nfref.RealNVP(2, layers, (24,), activation="tanh", transformer=transformer)
    blocks = [nfref.BlockNAF(2, (8, 8)), nfref.Permutation((1, 0))] * (layers // 2)
    yield "blocks", nfref.Chain(blocks)


def compared(rows, epochs, layers):
    """Name -> (seconds, nats behind the truth on rows held out)."""
    rng, toy = np.random.default_rng(2), datasets.circles
    x, held_out = toy(rng, rows), toy(rng, 4000)
    truth, found = np.mean(toy.log_prob(held_out)), {}
    for name, flow in couplings(layers):
        density, params, seconds = fit(flow, x, epochs, 1e-2)
        found[name] = seconds, truth - np.mean(density.log_prob(params, held_out))
        back, _ = density.flow.forward(
            params["flow"], density.flow.inverse(params["flow"], held_out[:200])[0]
        )
        assert np.max(np.abs(back - held_out[:200])) < 1e-6
    return found


# %%
# Run it
# ------
# **Predict.** A linear spline has jumps in its slope, a rational-quadratic one has none. How many
# nats lie between them in a coupling flow?

off = figure(fitted_maps(*((4000, 120) if FULL else (800, 15))))
table = compared(*((2000, 60, 4) if FULL else (400, 2, 2)))
for name, (seconds, nats) in table.items():
    slopes = f", log-slope off by {off[name]:.2f}" if name in off else ""
    print(f"{name}: {seconds:.1f} seconds, {nats:.3f} nats behind the truth{slopes}")
assert all(np.isfinite(nats) and nats > 0 for _, nats in table.values())
if FULL:
    assert off["quadratic spline"] < off["linear spline"]

# %%
# .. dropdown:: Answer
#
#    In the full run by about 0.2 nats: the linear spline ends 0.284 behind the truth, the
#    rational-quadratic one 0.068. The quadratic spline is in between, 0.154. The cubic one is as
#    good as the rational-quadratic one, 0.059, but samples need a root search. The Bernstein
#    polynomial of degree 16 is too smooth for two modes: its log-slope is off by 0.68, that of the
#    cubic spline by 0.13. The linear spline takes the fewest seconds, 5.6.
#
# The rational-quadratic spline, with knots to drag:
#
# .. play: knots
#
# Exercise 1: slopes of a quadratic spline
# ----------------------------------------
# A bin of a quadratic spline has slope 1 at its left knot and 3 at its right one. What is the slope
# at the point halfway up its *height*?

answer_1 = ...  # type a number here


def check_1(answer):
    x = np.linspace(0, 1, 100_001)
    height = x + x**2
    there = np.interp(1.0, height, 1 + 2 * x)
    assert not np.isclose(answer, 2.0), "that is the slope halfway along its width"
    assert np.isclose(answer, there, rtol=1e-3), "the area below a line from 1 to 3, half of it"


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = 5**0.5
#
#    The root mean square of 1 and 3.

# %%
# Why the way back needs no search there
# --------------------------------------
# In a bin of width 1 the slope :math:`g' = d_0 + (d_1 - d_0) a` is linear in the place a, so the
# height is :math:`g = d_0 a + (d_1 - d_0) a^2 / 2`, and
#
# .. math:: g'^2 = d_0^2 + 2 (d_1 - d_0) g .
#
# The square of the slope is linear in the *height*: from :math:`d_0^2` to :math:`d_1^2` as the part
# p of the height runs from 0 to 1. So the slope is :math:`\sqrt{(1 - p) d_0^2 + p d_1^2}`, and the
# place is the height over the mean of both slopes. Nothing cancels, as all terms are positive. The
# usual formula for the root of :math:`a g^2 + b g + c = 0` divides by a, which is zero for a line.
#
# Exercise 2: squares
# -------------------
# On paper: the slope of a map is :math:`(1 + 2 x)^2`. How far apart are the images of 0 and 1?

answer_2 = ...  # type a number here


def check_2(answer):
    nodes, weights = np.polynomial.legendre.leggauss(2)
    integral = np.sum(weights / 2 * (2 + nodes) ** 2)  # 1 + 2 x at x = (1 + node) / 2
    assert not np.isclose(answer, 9.0), "that is the slope at 1"
    assert np.isclose(answer, integral, atol=1e-3), "the integral of 1 + 4 x + 4 x^2"


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_2 = 1 + 2 + 4 / 3
#
#    13 / 3. Two nodes of Gauss and Legendre give it exactly, since the slope has degree two.

# %%
# What can go wrong
# -----------------
# - Data outside of a spline's bound: the map is the identity there, and learns nothing. Standardise
#   the columns, and give a bound that holds them.
# - A linear or a cubic spline has jumps in its slope, at all knots or at both ends. So has the
#   density.
# - A sum of squares of degree four grows like the ninth power far out, so the density has almost no
#   tails. Rows far out in the data then dominate the loss.
# - The slope of a Bernstein polynomial is a mean of its steps. A narrow mode needs a high degree.
# - A block network is bounded without its gate. Then no row of data belongs to a latent row beyond
#   the bound.
