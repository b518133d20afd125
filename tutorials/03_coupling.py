r"""
3. Coupling
===========

*Which map bends space as it likes, can be undone, and has a determinant that costs nothing?*

A flow needs a map that bends space, can be undone, and has a determinant that is cheap. A coupling
layer gets all three from one idea: split the coordinates into two parts, leave the first as it is,
and let it decide how the second is moved:

.. math::

    x_a = z_a, \qquad x_b = z_b \odot e^{s(z_a)} + t(z_a), \qquad
    \log |\det J| = \sum_i s_i(z_a) .

The functions :math:`s` and :math:`t` may be any networks: nobody has to invert them or to
differentiate them for the determinant. With :math:`s = 0` this is
NICE (Dinh et al. 2014, arXiv:1410.8516), section 3.2; in full it is
RealNVP (Dinh et al. 2016, arXiv:1605.08803), section 3.3, which writes it from data to latent.
What the layer cannot do is move :math:`x_a`. So layers are stacked, and each moves what the one
before left alone.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np

import nfref
from nfref import datasets
from nfref.plots.canvas import COLOURS

# %%
# A curvy shear
# -------------
# Take the plane, keep :math:`z_1`, and shift :math:`z_2` by a function of it:
# :math:`x_2 = z_2 + t(z_1)`. Think of a deck of thin cards that stand upright, one for each
# :math:`z_1`. Every card slides up or down, and none becomes longer or thinner. However wild
# :math:`t` is, areas stay as they are.


def shear(z):
    return np.stack([z[:, 0], z[:, 1] + np.sin(3 * z[:, 0]) - z[:, 0] ** 2], axis=1)


def area(polygon):
    x, y = polygon.T
    return 0.5 * np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)


angle = np.linspace(0, 2 * np.pi, 20_000, endpoint=False)
circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
print("area of a circle ", area(circle).round(4))  # 3.1416
print("sheared          ", area(shear(circle)).round(4))  # 3.1416

# %%
# Scale as well as shift
# ----------------------
# RealNVP also stretches each card, by :math:`e^{s(z_1)}`. The Jacobian is triangular,
#
# .. math:: J = \begin{pmatrix} 1 & 0 \\ \partial x_2 / \partial z_1 & e^{s(z_1)} \end{pmatrix},
#
# and the determinant of a triangular matrix is the product of its diagonal. The complicated entry,
# the only one with derivatives of networks in it, does not matter. The inverse is as easy: since
# :math:`z_a = x_a`, the same :math:`s` and :math:`t` can be computed again and undone. With a mask
# :math:`b` that is 1 where a coordinate stays (RealNVP, section 3.4, eq. 9):


def couple(z, b, s, t):
    kept = b * z
    x = kept + (1 - b) * (z * np.exp(s(kept)) + t(kept))
    return x, np.sum((1 - b) * s(kept), axis=1)


def uncouple(x, b, s, t):
    kept = b * x
    z = kept + (1 - b) * (x - t(kept)) * np.exp(-s(kept))
    return z, -np.sum((1 - b) * s(kept), axis=1)


# %%
# nfref's layer takes the mask and a transformer, which says what is done to the moved part. Its
# network has one hidden layer here, with numbers drawn at random, and its two outputs are
# :math:`t` and :math:`s`.

rng = np.random.default_rng(0)


def random_params(layer):
    """A new layer is the identity: its last weights are zero. Here they are random."""
    params = layer.init(rng)
    last = params["net"][-1]
    last["weight"] = rng.normal(0, 0.5, last["weight"].shape)
    return params


b = np.array([1, 0])
layer = nfref.Coupling((True, False), nfref.Affine("exp"), hidden=(16,))
params = random_params(layer)


def network(kept, column):
    first, last = params["net"]
    hidden = np.tanh(kept[:, :1] @ first["weight"] + first["bias"])
    return hidden @ last["weight"][:, [column]] + last["bias"][column]


z = rng.standard_normal((5, 2))
x, log_det_by_hand = couple(z, b, s=lambda kept: network(kept, 1), t=lambda kept: network(kept, 0))
assert np.allclose(x, layer.forward(params, z)[0], rtol=1e-13)
assert np.allclose(log_det_by_hand, layer.forward(params, z)[1], rtol=1e-13)
assert np.allclose(
    z, uncouple(x, b, lambda kept: network(kept, 1), lambda kept: network(kept, 0))[0], rtol=1e-12
)


def jacobian(function, z, h=1e-5):
    """Columns are dx/dz_j by central differences, at the one row z."""
    return np.stack(
        [(function(z + h * e) - function(z - h * e))[0] / (2 * h) for e in np.eye(z.shape[1])],
        axis=1,
    )


J = jacobian(lambda z: layer.forward(params, z)[0], z[:1])
print("Jacobian at one point\n", J.round(3))  # upper right corner 0
print(
    "log of its determinant", np.log(np.linalg.det(J)).round(6), " s", log_det_by_hand[0].round(6)
)

# %%
# NICE is the case :math:`s = 0`. With zeros in the column of :math:`s`, the affine layer and the
# additive one give the same numbers.

first, last = params["net"]
shift = [first, {"weight": last["weight"][:, :1], "bias": np.zeros(1)}]
no_scale = [first, {"weight": last["weight"] * [1, 0], "bias": np.zeros(2)}]
additive = nfref.Coupling((True, False), nfref.Additive(), hidden=(16,))
as_nice, zero = additive.forward({"net": shift}, z)
as_real_nvp, also_zero = layer.forward({"net": no_scale}, z)
print(f"largest difference {np.max(np.abs(as_nice - as_real_nvp)):.0e}")  # rounding
print("log_det", zero, also_zero)  # zeros

# %%
# Why the parts take turns
# ------------------------
# **Predict.** Stack a hundred layers with the same mask and train them for a week. What is the
# density of :math:`x_1`?
#
# .. dropdown:: Answer
#
#    Still the base density, because :math:`x_1 = z_1` after every one of them.
#
# The remedy is to change parts. How many layers does it take until every coordinate depends on
# every other? Below, four coordinates with random networks. Between two bars is the row of one
# :math:`x_i`; a star stands where :math:`\partial x_i / \partial z_j \neq 0`.

masks = [nfref.alternating_mask(4, k) for k in range(3)]
taking_turns = [nfref.Coupling(mask, hidden=(16,)) for mask in masks]
several = [random_params(layer) for layer in taking_turns]
start = rng.standard_normal((1, 4))
filled = []
for k in (1, 2, 3):
    stack = nfref.Chain(taking_turns[:k])
    depends = np.abs(jacobian(lambda z: stack.forward(several[:k], z)[0], start)) > 1e-8
    filled.append(depends.sum())
    stars = [" ".join(np.where(row, "*", "-")) for row in depends]
    print(f"after {k}:  ", "  |  ".join(stars))
# after 1:   * - - -  |  * * * -  |  - - * -  |  * - * *
# after 2:   * * * *  |  * * * -  |  * * * *  |  * - * *
# after 3:   * * * *  |  * * * *  |  * * * *  |  * * * *

same_mask = nfref.Chain(taking_turns[:1] * 3)
moved = same_mask.forward(several, start)[0] - start
print("one mask, three layers: x - z =", moved[0].round(2))  # 0, -2.31, 0, -2.03

# %%
# After one layer the moved coordinates depend on the others; after two the kept ones do in their
# turn; only after the third does each depend on all, also on its own neighbours in the same part.
# Three is the least number (NICE, section 3.2).
#
# .. play: steps
#
# Layer after layer
# -----------------
# Now both learn the same data: six couplings each, and in NICE one scaling of the axes before them,
# since nothing else in it could change a volume.
#
# **Predict.** Each fit gives a ``log_det`` for every point, the sum over its layers. How much does
# it vary from point to point in NICE, and in RealNVP?

data = datasets.two_moons(rng, 1500)
test = datasets.two_moons(rng, 1500)
fitted, scores = {}, {}
for name, flow in (
    ("NICE", nfref.NICE(2, layers=6, hidden=(24, 24))),
    ("RealNVP", nfref.RealNVP(2, layers=6, hidden=(24, 24))),
):
    density = nfref.Density(nfref.Chain([flow, nfref.Standardise.of(data)]))
    result = nfref.fit(
        density,
        density.init(np.random.default_rng(1)),
        data,
        np.random.default_rng(2),
        validation=None,
        epochs=40,
        batch_size=100,
        learning_rate=1e-2,
        schedule="cosine",
        patience=None,
        progress=False,
    )
    fitted[name] = flow, result.params["flow"][0]
    scores[name] = -np.mean(density.log_prob(result.params, test))
    print(f"{name}: {scores[name]:.2f} nats a row on new data")
# NICE 2.61, RealNVP 2.55

# %%
# The figure: each column is one layer later, and a colour is a quarter of the base, which NICE has
# already scaled. A layer moves points only up and down, or only left and right.
#
# .. alt: Two rows of seven clouds of points in four colours, from a round base to two moons, a
#    layer at a time. Above, NICE, whose colours keep their areas and become ribbons; below,
#    RealNVP, which also presses and spreads.

points = np.random.default_rng(3).standard_normal((600, 2))
quarter = 2 * (points[:, 0] > 0) + (points[:, 1] > 0)
dots = {"s": 4, "c": np.array(COLOURS)[quarter], "linewidth": 0}
fig, axes = plt.subplots(2, 7, figsize=(7.36, 2.9), layout="constrained")
log_dets = {}
for row, (name, (flow, flow_params)) in zip(axes, fitted.items()):
    x, log_dets[name] = points, 0
    scaled = len(flow.flows) - 6  # NICE scales before its couplings
    for k, (member, own) in enumerate(zip(flow.flows, flow_params), 1 - scaled):
        if k == 1:
            row[0].scatter(*x.T, **dots)
        x, log_det = member.forward(own, x)
        log_dets[name] = log_dets[name] + log_det
        if k > 0:
            row[k].scatter(*x.T, **dots)
    row[0].set_ylabel(name)
for k, ax in enumerate(axes[0]):
    ax.set_title(f"layer {k}\n$x_{2 if k % 2 else 1}$ moves" if k else "base")
for ax in axes.flat:
    ax.set(xlim=(-3, 3), ylim=(-3, 3), xticks=[], yticks=[], aspect="equal")
plt.show()
for name, values in log_dets.items():
    print(f"{name}: log_det from {values.min():.2f} to {values.max():.2f}")
# NICE: from -0.77 to -0.77, RealNVP: from -2.50 to 1.05

# %%
# .. dropdown:: Answer
#
#    In NICE it does not vary at all. Its layers are shears, and the one volume that changes is in
#    the scaling, the same for all points. Along the upper row every region keeps its area; it is
#    only drawn out into a ribbon and folded. RealNVP also presses points together here and pulls
#    them apart there, which takes fewer bends where the data are denser in one place than in
#    another. On two moons, which are even ribbons, the difference is small.
#
# Pages that go on from here: 04 mixes the coordinates by more than taking turns, 05 gives every
# coordinate a part of its own, 06 puts a more flexible curve in the place of :math:`z e^s + t`.
#
# Exercise 1: undo two layers
# ---------------------------
# Two layers in three dimensions. The first keeps :math:`z_1`:
# :math:`y_1 = z_1`, :math:`y_2 = z_2 + z_1^2`, :math:`y_3 = 2^{z_1} z_3 - z_1`.
# The second keeps :math:`y_2` and :math:`y_3`: :math:`x_1 = y_1 + y_2\, y_3`, :math:`x_2 = y_2`,
# :math:`x_3 = y_3`. By hand: which :math:`z` is mapped to :math:`x = (7, 3, 2)`?

answer_1 = ...  # type np.array([z1, z2, z3]) here


def two_layers(z):
    y1, y2, y3 = z[:, 0], z[:, 1] + z[:, 0] ** 2, 2 ** z[:, 0] * z[:, 2] - z[:, 0]
    return np.stack([y1 + y2 * y3, y2, y3], axis=1)


def check_1(answer):
    assert np.shape(answer) == (3,), "expected three numbers"
    x = two_layers(np.array([answer], dtype=float))[0]
    assert np.isclose(answer[0] + 3 * 2, 7), (
        "z1 is not right: undo the second layer first, with the x2 and x3 you are given"
    )
    assert np.isclose(x[1], 3), f"x2 comes out as {x[1]:g}: undo its shift with your z1"
    assert np.isclose(x[2], 2), f"x3 comes out as {x[2]:g}: first the shift, then the factor"


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = np.array([1.0, 2.0, 1.5])
#
#    The last layer is undone first: :math:`y_1 = 7 - 3 \cdot 2 = 1`. Then :math:`z_1 = 1`,
#    :math:`z_2 = 3 - 1` and :math:`z_3 = (2 + 1) / 2`. No equation had to be solved.

# %%
# Exercise 2: the determinant of the way back
# -------------------------------------------
# What is the ``log_det`` of that inverse, at the same :math:`x`?

answer_2 = ...  # type a number here


def check_2(answer):
    forward = np.log(np.linalg.det(jacobian(two_layers, np.array([[1.0, 2.0, 1.5]]))))
    assert not np.isclose(answer, forward, atol=1e-6), "that is log_det of the way there"
    assert np.isclose(answer, -forward, atol=1e-6), (
        "shifts do not count; by which factor is the third coordinate divided on the way back?"
    )


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_2 = -np.log(2)
#
#    Only :math:`2^{z_1} = 2` changes a volume, and on the way back it divides.

# %%
# What can go wrong
# -----------------
# - The same mask in every layer: some coordinates never move.
# - A scale :math:`e^s` without a bound: far from the data the inverse is lost (the truths page on
#   inverses).
# - The sign of :math:`s`: papers write the layer from x to z, nfref from z to x.

# %%
# What this page claims.

assert abs(area(shear(circle)) - area(circle)) < 1e-6
assert J[0, 1] == 0 and np.isclose(np.log(np.linalg.det(J)), log_det_by_hand[0], atol=1e-8)
assert np.allclose(as_nice, as_real_nvp, rtol=1e-13)
assert np.all(zero == 0) and np.all(also_zero == 0)
assert filled[0] < filled[1] < filled[2] == 16
assert np.ptp(log_dets["NICE"]) < 1e-12 < 1 < np.ptp(log_dets["RealNVP"])
assert max(scores.values()) < 2.8  # a Gaussian has 3.2
