r"""
2. Area and determinant
=======================

*In the plane a map stretches one way and squeezes another. What becomes of the density, and what
does it cost to know?*

In the plane a small square takes the place of the short probe of page 01. A smooth map
:math:`x = f(z)` carries it to a small parallelogram, whose area is larger by the factor
:math:`|\det J|`, where :math:`J_{ij} = \partial x_i / \partial z_j` is the Jacobian. The square and
its image hold the same points, so the density falls by that factor:

.. math:: \log p_X(x) = \log p_Z(z) - \log |\det J(z)|, \qquad x = f(z).

The same holds for volumes in :math:`D` dimensions. A determinant of a full matrix costs
:math:`D^3` operations for every row of data, so a flow is a map that bends space *and* has a
determinant that is cheap. The first of them were planar layers (Rezende and Mohamed 2015,
arXiv:1505.05770, section 4.1). This page derives the likelihood of a chain of :math:`K` maps, the
determinant of a planar layer, and the condition under which a planar layer can be inverted.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba

import nfref
from nfref.plots.canvas import COLOURS

# %%
# K maps
# ------
# Let :math:`z_0 = z`, :math:`z_k = f_k(z_{k-1})` and :math:`x = z_K`. By the chain rule the
# Jacobian of the whole is the product of the Jacobians, each at the point where its map is applied.
# The determinant of a product is the product of the determinants. So, with
# :math:`J_k = \partial z_k / \partial z_{k-1}`,
#
# .. math::
#
#    J = J_K \cdots J_2 J_1, \qquad |\det J| = \prod_{k=1}^K |\det J_k|, \qquad
#    \log p_X(x) = \log p_Z(z_0) - \sum_{k=1}^K \log |\det J_k(z_{k-1})| .
#
# This is the log-likelihood of every flow made of layers. To evaluate it for a given :math:`x`,
# undo the maps from the last to the first; to sample, apply them in order and sum on the way.
#
# **Predict.** Below are three planar layers with parameters drawn at random. The determinant of the
# Jacobian of the whole chain, by finite differences, and the sum over the layers: how far apart
# will they be?

rng = np.random.default_rng(3)
layer = nfref.PlanarLayer(2)
three = [
    {"u": rng.normal(0, 1, 2), "w": rng.normal(0, 1, 2), "b": rng.normal(0, 1, 1)} for _ in range(3)
]
z0 = np.array([[0.4, -0.7]])


def jacobian(function, z, h=1e-5):
    """Columns are dx/dz_j by central differences, at the one row z."""
    return np.stack(
        [(function(z + h * e) - function(z - h * e))[0] / (2 * h) for e in np.eye(z.shape[1])],
        axis=1,
    )


z, total = z0, 0
for k, params in enumerate(three, 1):
    z, log_det = layer.forward(params, z)
    total += log_det[0]
    print(f"layer {k}: log |det J| = {log_det[0]:+.3f}, sum so far {total:+.3f}")
# sums: +0.868, +0.869, +0.628

chain = nfref.Chain([layer] * 3)
of_the_whole = np.linalg.slogdet(jacobian(lambda z: chain.forward(three, z)[0], z0))[1]
print(
    "log |det| of the whole Jacobian", of_the_whole.round(6), " sum", total.round(6)
)  # 0.627571 0.627571

# %%
# .. dropdown:: Answer
#
#    They agree to the accuracy of the differences. A chain in nfref is a flow, and its
#    ``log_det`` is this sum.
#
# The determinant of a planar layer
# ---------------------------------
# A planar layer moves every point along one direction :math:`u`, by an amount that depends on
# :math:`a = w \cdot z + b` alone:
#
# .. math:: f(z) = z + u\,\tanh(w \cdot z + b), \qquad
#           J = I + u\, v^\top \quad\text{with}\quad v = (1 - \tanh^2 a)\, w .
#
# Its determinant can be read off. Every vector :math:`e` at right angles to :math:`v` is left as it
# is, :math:`J e = e + u (v \cdot e) = e`. And :math:`u` itself is only made longer or shorter,
# :math:`J u = (1 + v \cdot u)\, u`. So, if :math:`v \cdot u \neq 0`, there are :math:`D - 1`
# eigenvalues 1 and one :math:`1 + v \cdot u`, and the determinant is their product. (If
# :math:`v \cdot u = 0` the map is a shear; both sides depend continuously on :math:`u`, so the
# formula holds there too.)
#
# .. math:: \det J = 1 + v \cdot u = 1 + (w \cdot u)(1 - \tanh^2 a).
#
# One scalar product a row in place of :math:`D^3` operations. As code:


def planar(z, u, w, b):
    a = z @ w + b
    return z + np.outer(np.tanh(a), u), 1 + (w @ u) * (1 - np.tanh(a) ** 2)


w, b = np.array([1.2, 0.4]), 0.3
places = rng.standard_normal((200, 2))
u = np.array([1.0, 1.5])
full = [np.linalg.det(jacobian(lambda z: planar(z, u, w, b)[0], row[None])) for row in places]
worst = np.max(np.abs(full - planar(places, u, w, b)[1]))
print(f"largest difference from the full determinant: {worst:.0e}")  # 1e-10

# %%
# When it can be inverted
# -----------------------
# Multiply :math:`x = f(z)` by :math:`w` and add :math:`b`. With :math:`a = w \cdot z + b`,
#
# .. math:: w \cdot x + b = a + (w \cdot u)\,\tanh\,a .
#
# If this scalar equation has exactly one :math:`a` for every left-hand side, then
# :math:`z = x - u\,\tanh\,a` is the inverse. Its slope, :math:`1 + (w \cdot u)(1 - \tanh^2 a)`, is
# :math:`1 + w \cdot u` at :math:`a = 0` and tends to 1 far away. So it is positive everywhere if
# :math:`w \cdot u > -1`. If :math:`w \cdot u < -1`, the curve falls around :math:`a = 0`: some
# values belong to three different :math:`a`, the map folds the plane, and the determinant is
# negative on the fold.
#
# **Predict.** One grid, three layers: :math:`w \cdot u` = 2, -0.8 and -3. In which is the middle
# wider than before, in which narrower, and what does the third look like?
#
# .. alt: Three grids after a planar layer. Left, w . u = 2: the middle is pulled apart. Middle,
#    -0.8: it is pressed together. Right, -3: the middle is folded over and drawn in red, three
#    sheets on top of each other.

wide, high = np.meshgrid(np.linspace(-6, 6, 49), np.linspace(-2, 2, 17))
corners = np.stack([wide, high], axis=-1)  # (row, column, coordinate)
middles = (corners[:-1, :-1] + corners[1:, 1:]) / 2
direction = np.array([1.0, -0.25])
settings = [2.0, -0.8, -3.0]


def u_with(product):
    """The u along the direction that has w . u = product."""
    return product * direction / (w @ direction)


smallest = []
fig, axes = plt.subplots(1, 3, figsize=(7.36, 2.9), layout="constrained", sharey=True)
for ax, product in zip(axes, settings):
    u = u_with(product)
    x = planar(corners.reshape(-1, 2), u, w, b)[0].reshape(corners.shape)
    dets = planar(middles.reshape(-1, 2), u, w, b)[1]
    smallest.append(dets.min())
    cells = np.stack([x[:-1, :-1], x[:-1, 1:], x[1:, 1:], x[1:, :-1]], axis=2).reshape(-1, 4, 2)
    for turned_over, colour, alpha in ((False, COLOURS[0], 0.2), (True, COLOURS[1], 0.5)):
        shown = PolyCollection(
            cells[(dets < 0) == turned_over],
            linewidth=0.7,
            facecolor=to_rgba(colour, alpha),
            edgecolor=to_rgba(colour, 0.8),
        )
        ax.add_collection(shown)
    ax.set(
        title=f"$w \\cdot u = {product:g}$\nsmallest determinant ${dets.min():.1f}$",
        aspect="equal",
        xlim=(-4.2, 4.2),
        ylim=(-3, 3),
        xlabel="$x_1$",
    )
axes[0].set_ylabel("$x_2$")
plt.show()
print("smallest determinants", np.round(smallest, 2))  # [ 1.   0.2 -2. ]

# %%
# .. dropdown:: Answer
#
#    At 2 the middle is pulled apart, and the density falls there. At -0.8 it is pressed together,
#    to a fifth of the area. At -3 the middle is turned over (red) and lies on top of two other
#    sheets: a point there has three origins. So there is no inverse, and a formula that looks at
#    one origin is no longer a density.
#
# By how much is it wrong? Average :math:`1 / p_X(x)` over all samples, with
# 0 for those outside a square. If :math:`p_X` is their density and above zero there, the average is
# :math:`\int p_X / p_X = \int 1` over the square, its area.
#
# .. play: fold

samples = rng.standard_normal((400_000, 2))
areas = []
for product in settings:
    x, dets = planar(samples, u_with(product), w, b)
    inside = np.max(np.abs(x), axis=1) < 0.5
    p = np.exp(-np.sum(samples**2, axis=1) / 2) / (2 * np.pi) / np.abs(dets)
    areas.append(np.mean(inside / p))
    print(f"w . u = {product:+.1f}: area of a unit square by the formula {areas[-1]:.2f}")
# 1.00, 1.00, 2.95

# %%
# nfref cannot be led there. Its parameter is a free :math:`u`, and the layer uses
#
# .. math::
#
#    \hat u = u + (m(w \cdot u) - w \cdot u)\, w / |w|^2, \qquad m(a) = -1 + \log(1 + e^a),
#
# so that :math:`w \cdot \hat u = m(w \cdot u) > -1` (Rezende and Mohamed, appendix A.1).

params = {"u": u_with(-3.0), "w": w, "b": np.array([b])}
u_hat = params["u"] + (np.log1p(np.exp(-3.0)) - 1 + 3.0) * w / (w @ w)
x, log_det = layer.forward(params, places)
print("w . u = -3 becomes", (w @ u_hat).round(3))  # -0.951
assert np.allclose(x, planar(places, u_hat, w, b)[0], rtol=1e-12)
assert np.allclose(np.exp(log_det), planar(places, u_hat, w, b)[1], rtol=1e-10)

# %%
# Page 12 fits such chains to densities of which only an energy is known, as the paper did. What
# two other determinants look like is the subject of page 03 (triangular matrices) and page 04
# (one matrix for all points).
#
# Exercise 1: fold the plane
# --------------------------
# Take :math:`w = (1, 0)` and :math:`b = 0`. Break :math:`w \cdot u > -1`: find a :math:`u` for
# which the two points (1, 0) and (-1, 0) land on the same point. Paper and pencil are enough.

answer_1 = ...  # type np.array([u1, u2]) here


def check_1(answer):
    assert np.shape(answer) == (2,), "expected two numbers, u1 and u2"
    two = np.array([[1.0, 0.0], [-1.0, 0.0]])
    landed, _ = planar(two, answer, w=np.array([1.0, 0.0]), b=0.0)
    apart = landed[0] - landed[1]
    assert abs(apart[1]) < 1e-9, "they land apart in x2, which moves by u2 tanh 1 and -u2 tanh 1"
    assert abs(apart[0]) < 1e-9, (
        f"they land {apart[0]:.3f} apart in x1: one at 1 + u1 tanh 1; where is the other?"
    )


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = np.array([-1 / np.tanh(1), 0.0])
#
#    :math:`1 + u_1 \tanh(1) = -1 - u_1 \tanh(1)` gives
#    :math:`u_1 = -1 / \tanh(1) = -1.313`. Both land at (0, 0), where that point itself stays:
#    three origins of one point.

# %%
# Exercise 2: add up
# ------------------
# In the plane, turn by 30 degrees, then double both coordinates, then shear,
# :math:`x_1 \to x_1 + 5 x_2`. What is :math:`\log |\det J|` of the whole?

answer_2 = ...  # type a number here


def check_2(answer):
    c, s = np.cos(np.pi / 6), np.sin(np.pi / 6)
    whole = np.array([[1, 5], [0, 1]]) @ np.diag([2, 2]) @ np.array([[c, -s], [s, c]])
    assert np.isclose(answer, np.log(abs(np.linalg.det(whole))), atol=1e-6), (
        "how large is a unit square after each step? log_det is the logarithm of that area"
    )


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_2 = np.log(4)
#
#    Turning and shearing keep areas, :math:`\log 1 = 0` each. Doubling both coordinates makes them
#    four times as large.

# %%
# What can go wrong
# -----------------
# - A map that folds has several origins for one x; a formula that looks at one of them is no
#   density.
# - A planar layer whose :math:`w \cdot u` gets near -1 has a log-determinant that falls without
#   bound.
# - Adding log-determinants at the wrong points: each belongs to where its own map is applied.

# %%
# What this page claims.

assert abs(of_the_whole - total) < 1e-8
assert np.isclose(chain.forward(three, z0)[1][0], total, rtol=1e-12)
assert worst < 1e-8
assert smallest[0] >= 1 and abs(smallest[1] - 0.2) < 0.05 and smallest[2] < -1
assert abs(areas[0] - 1) < 0.02 and abs(areas[1] - 1) < 0.02 and areas[2] > 2
assert np.allclose(layer.inverse(params, x)[0], places, atol=1e-9) and w @ u_hat > -1
line = np.arange(-9, 9, 0.05)
square = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
density = nfref.Density(chain)
mass = np.exp(density.log_prob({"base": {}, "flow": three}, square)).sum() * 0.05**2
assert abs(mass - 1) < 1e-6  # and still a density
