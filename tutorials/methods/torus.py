r"""
Angles
======

*Angles have no edge. What does a flow of real numbers do to them?*

Two angles make a torus, and a torus has no edge. A flow of real numbers ignores this. It has to cut
the torus open along a seam, and its density differs between the two sides of the cut. Some of its
mass may even lie outside the square of the angles.

Three changes make the same kind of flow one of the torus (Rezende et al. (tori and spheres) 2020,
arXiv:2002.02428):

- the *base* is a density of angles, here the uniform one;
- each *transformer* is a map of the circle to itself, which closes with equal slopes: here a
  convex combination of Moebius maps, ``nfref.MoebiusCircle``;
- the *networks* read the cosine and sine of an angle, so that they cannot tell it from the same
  angle one turn on: ``periodic=(0, 1)``.

A Moebius map takes a point z of the unit circle, as a complex number, along the line through a
point w inside of it to the other side, and turns it by half. The log-determinant needs only its
change of lengths:

.. math:: m(z) = \frac{z - w}{1 - \overline{w} z}, \qquad |m'(z)| = \frac{1 - |w|^2}{|z - w|^2} .

The data here wind around the torus in two bands, one once and one twice, and cross both seams.
"""

# %%
import sys

import matplotlib.pyplot as plt
import numpy as np

import nfref

FULL = "--full" in sys.argv  # the long run, whose figure is kept
TURN = 2 * np.pi
NARROW = {"location": np.zeros(1), "log_concentration": np.log([12.0])}
WIDE = {"location": np.full(1, np.pi), "log_concentration": np.log([0.6])}
CIRCLE = nfref.VonMises(1)

# %%
# A density that is known: the first angle is von Mises around pi, on the seam; the second one is
# von Mises around the first, or around minus twice the first, with equal odds.


def wrapped(angles):
    return (angles + np.pi) % TURN - np.pi


def drawn(rng, n):
    a = CIRCLE.sample(WIDE, rng, n)
    centre = np.where(rng.random((n, 1)) < 0.5, a, -2 * a)
    return wrapped(np.concatenate([a, centre + CIRCLE.sample(NARROW, rng, n)], axis=1))


def log_prob_of_data(x):
    a, b = x[:, :1], x[:, 1:]
    bands = [CIRCLE.log_prob(NARROW, b - centre) for centre in (a, -2 * a)]
    return CIRCLE.log_prob(WIDE, a) + np.logaddexp(*bands) - np.log(2)


# %%
# Two flows of the same kind and size: autoregressive, with a spline on the line or Moebius maps
# on the circle.


def on_the_line(hidden):
    flow = nfref.MAF(2, 2, hidden, transformer=nfref.RationalQuadratic(12, 4.0))
    return nfref.Density(flow)


def on_the_torus(hidden):
    flow = nfref.MAF(2, 2, hidden, transformer=nfref.MoebiusCircle(12), periodic=(0, 1))
    return nfref.Density(flow, nfref.Uniform((-np.pi,) * 2, (np.pi,) * 2, periodic=True))


def fit(density, rows, epochs):
    rng = np.random.default_rng(0)
    x = drawn(rng, rows)
    result = nfref.fit(
        density,
        density.init(rng),
        x,
        rng,
        validation=None,
        epochs=epochs,
        batch_size=250,
        learning_rate=1e-2,
        schedule="cosine",
        patience=None,
        progress=False,
    )
    return lambda x: density.log_prob(result.params, x)


# %%
# What to look at. The picture starts half a turn late, so that the seams lie in its middle.
#
# .. alt: Squares of two angles with two bright bands that wind around. Left, the data; middle, by
#    a flow of the line, torn and displaced at the dashed seams; right, by a flow of the torus,
#    which passes the seams without a break.


def on_grid(log_prob, side):
    axis = TURN * (np.arange(side) + 0.5) / side
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    return axis, np.exp(log_prob(wrapped(points))).reshape(side, side)


def across_the_seams(log_prob, side=200):
    """The largest difference of log-density between the two sides of a seam, in nats."""
    along = wrapped(TURN * (np.arange(side) + 0.5) / side)
    gaps = []
    for i in range(2):
        left, right = (
            np.insert(along[:, None], i, edge, axis=1) for edge in (np.pi - 1e-9, -np.pi + 1e-9)
        )
        gaps.append(np.max(np.abs(log_prob(left) - log_prob(right))))
    return max(gaps)


def figure(densities, side):
    fig, axes = plt.subplots(1, 3, figsize=(7.36, 3), layout="constrained", sharey=True)
    grids = [on_grid(log_prob, side) for log_prob in densities.values()]
    # Roots, so that the faint parts are seen too.
    highest = np.sqrt(grids[0][1].max())
    for ax, name, (axis, values) in zip(axes, densities, grids):
        image = ax.pcolormesh(
            axis,
            axis,
            np.sqrt(values),
            cmap="viridis",
            vmin=0,
            vmax=highest,
            shading="nearest",
            rasterized=True,
        )
        for line in (ax.axvline, ax.axhline):
            line(np.pi, color="white", linestyle="--", linewidth=1)
        ax.set_title(name, fontsize=10)
        ax.set(aspect="equal", xlabel="first angle", xlim=(0, TURN), ylim=(0, TURN))
        for spin in (ax.xaxis, ax.yaxis):
            spin.set_ticks([0, np.pi, TURN], ["0", "±π", "0"])
    axes[0].set_ylabel("second angle")
    fig.colorbar(image, ax=axes, label="root of the density", shrink=0.8)
    axes[0].text(0.1, np.pi + 0.1, "seam", color="white", fontsize=9)
    plt.show()
    return [values.sum() * (TURN / side) ** 2 for _, values in grids]


# %%
# Run it
# ------
# **Predict.** By how much do the two flows jump at the seams?

rows, epochs, hidden = (3000, 40, (32,)) if FULL else (1000, 15, (16,))
line, torus = (fit(make(hidden), rows, epochs) for make in (on_the_line, on_the_torus))
masses = figure(
    {"the data": log_prob_of_data, "a flow of the line": line, "a flow of the torus": torus},
    240 if FULL else 96,
)
x = drawn(np.random.default_rng(1), 4000)
behind = [np.mean(log_prob_of_data(x) - log_prob(x)) for log_prob in (line, torus)]
gaps = [across_the_seams(log_prob) for log_prob in (line, torus)]
for name, nats, gap, mass in zip(("line", "torus"), behind, gaps, masses[1:]):
    print(
        f"flow of the {name}: {nats:.3f} nats behind the truth, up to {gap:.2g} nats between "
        f"the sides of a seam, mass {mass:.5f} on the torus"
    )
# All of the mass is on the torus, and nothing happens at the seams; on the line it does.
assert abs(masses[2] - 1) < 1e-3 and abs(masses[0] - 1) < 1e-3
assert gaps[1] < 1e-5 < 0.1 < gaps[0]
assert behind[1] < (0.1 if FULL else 0.6)
assert behind[1] < behind[0]
# A turn more is the same point.
assert np.allclose(torus(x + [TURN, -2 * TURN]), torus(x), atol=1e-9)

# %%
# .. dropdown:: Answer
#
#    The flow of the torus does not jump; that of the line jumps by up to 3.7 nats in the full run.
#    Of 3,000 rows it ends 0.267 nats behind the truth, the flow of the torus 0.068.
#
# One coupling of this page is such a map; its angle w is what a network says:
#
# .. play: circle
#
# Exercise 1: the base
# --------------------
# What is the density of the uniform base on the torus of two angles, in radians?

answer_1 = ...  # type a number here


def check_1(answer):
    truth = np.exp(-2 * np.log(2 * np.pi))
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-6), "its area is (2 pi)^2"


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = 1 / (2 * np.pi) ** 2
#
#    0.025.

# %%
# The change of lengths
# ---------------------
# By the rule for quotients,
#
# .. math::
#
#    m'(z) = \frac{(1 - \overline{w} z) + \overline{w} (z - w)}{(1 - \overline{w} z)^2}
#    = \frac{1 - |w|^2}{(1 - \overline{w} z)^2} .
#
# On the circle :math:`z \overline{z} = 1`, so
# :math:`|1 - \overline{w} z| = |\overline{z} - \overline{w}|\, |z| = |z - w|`. That gives both
# facts at once: :math:`|m(z)| = |z - w| / |1 - \overline{w} z| = 1`, so the circle goes to itself,
# and :math:`|m'(z)| = (1 - |w|^2) / |z - w|^2`. It is above zero for :math:`|w| < 1`, so angles
# keep their order, and one turn of z is one turn of m(z). A convex combination of such angles has
# the convex combination of the slopes, which is above zero too.
#
# Exercise 2: stretched and pressed
# ---------------------------------
# On paper: w = 1/2. By which factor are lengths multiplied at z = -1?

answer_2 = ...  # type a number here


def check_2(answer):
    w, ends = 0.5, np.exp(1j * (np.pi + np.array([-1e-5, 1e-5])))
    images = (ends - w) / (1 - w * ends)
    assert not np.isclose(answer, 3.0), "that is the factor at z = 1, next to w"
    assert np.isclose(answer, abs(images[1] - images[0]) / 2e-5, atol=1e-3), "how far is -1 from w?"


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_2 = (1 - 0.5 ** 2) / 1.5 ** 2
#
#    1/3; at z = 1 it is 3.

# %%
# What can go wrong
# -----------------
# - Angles in degrees: the networks read radians.
# - A flow of the line on angles: mass outside of the square, and a jump at the seam.
# - A w near the circle: the slope there is :math:`(1 + |w|) / (1 - |w|)`, and explodes.
