r"""
4. Mixing
=========

*How can all coordinates be mixed at once without a costly determinant?*

Couplings move one part of the coordinates at a time. Between them a matrix can mix all of them at
once:

.. math:: x = W z, \qquad \log |\det J| = \log |\det W| \quad\text{for every point.}

RealNVP only lets the parts take turns, which is a permutation. Glow (Kingma and Dhariwal 2018,
arXiv:1807.03039), section 3.2, learns the matrix instead, in the form :math:`W = P L U` that has
its determinant on a diagonal, and applies it to the channels of an image at every pixel: a 1x1
convolution. This page takes the matrix apart, looks at the sign of its determinant, and counts
what the convolution adds to the log-likelihood.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np

import nfref
from nfref.plots.canvas import COLOURS

# %%
# A matrix in three steps
# -----------------------
# Every invertible matrix is a product :math:`P L U`: :math:`U` is upper triangular, :math:`L` lower
# triangular with ones on its diagonal, and :math:`P` changes the order of the rows. In the plane it
# is quickly found by hand. Put the row with the larger first entry on top (that is what :math:`P`
# undoes), call the rows :math:`(a, b)` and :math:`(c, d)`, and subtract :math:`c / a` times the
# first from the second:
#
# .. math::
#
#    \begin{pmatrix} a & b \\ c & d \end{pmatrix} =
#    \begin{pmatrix} 1 & 0 \\ c/a & 1 \end{pmatrix}
#    \begin{pmatrix} a & b \\ 0 & d - bc/a \end{pmatrix} .
#
# Determinants multiply. :math:`L` has 1, :math:`P` has 1 or -1, and :math:`U` has the product of
# its diagonal, so :math:`\log |\det W| = \sum_i \log |u_{ii}|`: D additions in place of
# :math:`D^3` operations. Going back is two triangular systems, solved line by line.

W = np.array([[0.5, 1.2], [1.5, 0.4]])
P = np.array([[0, 1], [1, 0]])  # the second row is on top
(a, b), (c, d) = P @ W
L = np.array([[1, 0], [c / a, 1]])
U = np.array([[a, b], [0, d - b * c / a]])
assert np.allclose(P @ L @ U, W, rtol=1e-15)
print(
    "det W =",
    np.linalg.det(W).round(3),
    " diagonal of U:",
    np.diag(U).round(3),
    " product",
    np.prod(np.diag(U)).round(3),
)  # -1.6, 1.5 and 1.067, 1.6

# %%
# nfref's layer holds :math:`P` as the order of the rows, and as its parameter one matrix with
# :math:`L` below the diagonal, :math:`U` above, and :math:`\log |u_{ii}|` on it. So no finite
# parameter makes :math:`W` singular.

layer = nfref.LULinear(2, permutation=(1, 0), bias=False)
params = {"lu": np.array([[np.log(a), b], [c / a, np.log(d - b * c / a)]])}
z = np.random.default_rng(0).standard_normal((5, 2))
x, log_det = layer.forward(params, z)
assert np.allclose(x, z @ W.T, rtol=1e-13)
print("log_det", log_det.round(4))  # 0.47 five times, the log of the product above

# %%
# Shear and flip
# --------------
# **Predict.** The three steps act on a letter F, first :math:`U`, then :math:`L`, then :math:`P`.
# After which step does its area change? After which is it a mirror image?
#
# The signed area of a polygon tells both. It is positive if the corners run counter-clockwise, and
# a mirror turns that around.
#
# .. alt: A letter F in a square, four times: as it is, stretched and sheared by U, sheared by L,
#    and turned into a red mirror image by P.

letter = (
    np.array(
        [
            [0, 0],
            [0.25, 0],
            [0.25, 0.4],
            [0.6, 0.4],
            [0.6, 0.6],
            [0.25, 0.6],
            [0.25, 0.8],
            [0.75, 0.8],
            [0.75, 1],
            [0, 1],
        ]
    )
    - 0.5
)
square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) - 0.5


def signed_area(polygon):
    x, y = polygon.T
    return 0.5 * np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)


steps = {"start": np.eye(2), "U: stretch, shear": U, "L: a shear": L @ U, "P: a flip": P @ L @ U}
areas = []
fig, axes = plt.subplots(1, 4, figsize=(7.36, 2.6), layout="constrained", sharey=True)
for ax, (name, matrix) in zip(axes, steps.items()):
    areas.append(signed_area(square @ matrix.T))
    colour = COLOURS[0] if areas[-1] > 0 else COLOURS[1]
    ax.fill(*(square @ matrix.T).T, facecolor="0.92", edgecolor="0.5")
    ax.fill(*(letter @ matrix.T).T, color=colour)
    ax.set(
        title=f"{name}\ndeterminant ${areas[-1]:.1f}$",
        aspect="equal",
        xlabel="$x_1$",
        xlim=(-1.2, 1.2),
        ylim=(-1.2, 1.2),
    )
axes[0].set_ylabel("$x_2$")
plt.show()
print("signed areas of the square", np.round(areas, 3))  # [ 1.   1.6  1.6 -1.6]

# %%
# .. dropdown:: Answer
#
#    :math:`U` changes the area, by its diagonal. :math:`L` is a shear: every point slides up or
#    down by a multiple of its :math:`x_1`, and the area stays. :math:`P` swaps the axes, which
#    reflects the plane at its diagonal; the F is now a mirror image, and the area has its sign.
#
# What the sign is good for
# -------------------------
# A density needs :math:`|\det W|`, so both signs are allowed. But learning moves :math:`W` in small
# steps, the determinant changes continuously with it, and between plus and minus there is 0. There
# :math:`\log |\det W| = -\infty`, infinitely bad: no small step downhill leads across. So with
# small steps a matrix stays on the side it starts on. The LU form says so openly, :math:`P` and the
# signs on the diagonal of :math:`U` are fixed.

for t in (0, 0.3, 0.4, 0.5, 1):
    between = (1 - t) * np.eye(2) + t * W
    print(f"from 1 to W, t = {t:.1f}: determinant {np.linalg.det(between):+.2f}")
# +1.00, +0.54, +0.32, +0.07, -1.60

# %%
# **Predict.** Is the other side a loss? Take :math:`W` with its first column turned around,
# :math:`W' = W \operatorname{diag}(-1, 1)`, whose determinant is :math:`+1.6`. By how much do the
# log-densities of the two differ?

turned = nfref.Density(nfref.FixedLinear(W @ np.diag([-1, 1])))
with_w = nfref.Density(layer)
difference = turned.log_prob({"base": {}, "flow": {}}, x) - with_w.log_prob(
    {"base": {}, "flow": params}, x
)
print("largest difference", np.abs(difference).max().round(12))  # 0.0

# %%
# .. dropdown:: Answer
#
#    By nothing: the two send a point to :math:`(z_1, z_2)` and :math:`(-z_1, z_2)`, and the
#    standard normal density does not tell these apart. With such a base one may choose the sign
#    freely, and a random orthogonal matrix of either sign is a good start. (Page 11 has a case
#    where orientation does matter.)
#
# Never through the determinant
# -----------------------------
# With many channels the determinant itself is out of the range of floating-point numbers long
# before its logarithm is anything special.

small = 0.1 * np.eye(400)
print("det", np.linalg.det(small), " sum of logs", np.sum(np.log(np.diag(small))).round(2))
# det 0.0, sum of logs -921.03

# %%
# The parallelogram is the image of the square; its area is the product of two numbers.
#
# .. play: mix
#
# One matrix at every pixel
# -------------------------
# A 1x1 convolution takes the :math:`c` channels of each pixel and multiplies them by the same
# :math:`W`. On an image of :math:`h \times w` pixels this is one big linear map of :math:`c\,h\,w`
# numbers. Sort the numbers by pixel, and its matrix has :math:`h\,w` copies of :math:`W` along the
# diagonal and zeros elsewhere. The determinant of such a matrix is the product of those of its
# blocks. Sorting rows and columns alike does not change it. So (Glow, table 1)
#
# .. math:: \log |\det J| = h\,w\,\log |\det W| .
#
# **Predict.** Three channels, 4 x 5 pixels, and a matrix: nfref draws a random orthogonal one,
# and here its third column is doubled. What is the log-determinant of the 60 x 60 matrix?

shape = (3, 4, 5)
convolution = nfref.InvertibleConv(shape, form="full")
weight = convolution.init(np.random.default_rng(1))["weight"] @ np.diag([1, 1, 2])
image = np.random.default_rng(2).standard_normal((1, 60))
y, log_det = convolution.forward({"weight": weight}, image)

by_hand = np.einsum("ij,jhw->ihw", weight, image.reshape(shape))
assert np.allclose(y.reshape(shape), by_hand, rtol=1e-13)

columns, _ = convolution.forward({"weight": weight}, np.eye(60))  # row j is J e_j
big = np.linalg.slogdet(columns.T)[1]
print(
    "of the 60 x 60 matrix",
    big.round(6),
    " log_det",
    log_det[0].round(6),
    " 20 log 2",
    (20 * np.log(2)).round(6),
)  # 13.862944 three times

# %%
# .. dropdown:: Answer
#
#    20 times :math:`\log 2`, 13.86: the matrix of the channels acts at each of 20 pixels, and its
#    own log-determinant is that of the doubled column, since an orthogonal one has 0.
#
# A layer of Glow is such a convolution, a scale and a shift for each channel, and a coupling over
# the channels. The convolution decides which mixtures of channels the coupling keeps and which it
# moves. ``nfref.Glow`` stacks them, and the page on digits among the methods draws images with it.
#
# Exercise 1: the sign of a determinant
# -------------------------------------
# Without computing: 1 or -1? (a) In three dimensions, swap the first and the third coordinate.
# (b) Send :math:`(z_1, z_2, z_3)` to :math:`(z_3, z_1, z_2)`. (c) Put five coordinates in reverse
# order. (d) In three dimensions, :math:`x = -z`.

answer_1 = ...  # type [a, b, c, d] here, each 1 or -1


def check_1(answer):
    maps = [np.eye(3)[[2, 1, 0]], np.eye(3)[[2, 0, 1]], np.eye(5)[::-1], -np.eye(3)]
    assert np.shape(answer) == (4,), "expected four numbers"
    for name, matrix, sign in zip("abcd", maps, answer):
        assert sign == np.linalg.slogdet(matrix)[0], (
            f"({name}) is not right: how many swaps of two coordinates, or changes of a sign, "
            "make it? Each of them is a mirror"
        )


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = [-1, 1, 1, -1]
#
#    One swap, two swaps, two swaps (the middle one of five stays), three changes of sign.

# %%
# Exercise 2: what a convolution adds
# -----------------------------------
# RGB images of 8 x 8 pixels, and :math:`W` is twice a rotation of the three channels. What is
# ``log_det`` for an image?

answer_2 = ...  # type a number here


def check_2(answer):
    rotation = np.array([[0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, 1]])
    truth = nfref.InvertibleConv((3, 8, 8), form="full").forward(
        {"weight": 2 * rotation}, np.zeros((1, 192))
    )[1][0]
    assert not np.isclose(answer, 3 * np.log(2)), "that is one pixel; how many are there?"
    assert np.isclose(answer, truth, atol=1e-6), (
        "what does doubling make of a unit cube of the channels, and at how many pixels?"
    )


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_2 = 8 * 8 * 3 * np.log(2)
#
#    A rotation keeps volumes, and doubling three channels multiplies them by :math:`2^3` at each of
#    the 64 pixels.

# %%
# What can go wrong
# -----------------
# - Computing the determinant and then its logarithm: it leaves the range of numbers.
# - A free matrix that starts on the wrong side of zero gets across only by a large step.
# - Forgetting that a 1x1 convolution counts once for every pixel.

# %%
# What this page claims.

assert np.allclose(areas, [1, 1.6, 1.6, -1.6])
assert np.allclose(np.exp(layer.forward(params, z)[1]), abs(np.linalg.det(W)), rtol=1e-13)
assert np.allclose(layer.inverse(params, x)[0], z, atol=1e-13)
assert np.abs(difference).max() < 1e-13
assert np.linalg.det(small) == 0
assert np.isclose(np.linalg.slogdet(small)[1], 400 * np.log(0.1), rtol=1e-12)
assert np.allclose([big, log_det[0]], 20 * np.log(2), rtol=1e-12)
anything = nfref.LULinear(6).init(np.random.default_rng(3))
anything["lu"] = np.random.default_rng(4).normal(0, 3, (6, 6))  # any numbers at all
matrix = nfref.LULinear(6).forward(anything, np.eye(6))[0].T
assert np.linalg.slogdet(matrix)[0] == 1  # as P and the signs say
