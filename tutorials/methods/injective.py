r"""
Flows onto surfaces
===================

*Data of eight numbers lie near a surface of two. Can a flow have two latents and still a density?*

A flow keeps the number of coordinates. An *injective* flow does not: it maps d numbers one to one
into D of them, onto a curve or a surface, and its density is with respect to length or area there.
With J the D x d matrix of derivatives of :math:`x = g(z)`,

.. math:: \log p(x) = \log p_Z(z) - \tfrac12 \log \det J^\top J .

``nfref.InjectiveFlow`` makes one of any flow h of D coordinates: it appends zeros,
:math:`g(z) = h([z, 0])`, and on the way back drops the coordinates that it appended. (Rectangular
flows: Caterini et al. 2021, arXiv:2106.01413. With two free networks: Sorrenson et al. 2023,
arXiv:2306.01843.)

The surface has to be found, too. A row beside it gets the density of its neighbour :math:`g(f(x))`,
so the likelihood alone does not pull the surface to the rows. The loss adds their distance,

.. math:: -\log p(g(f(x))) + \beta \, |x - g(f(x))|^2 ,

where :math:`\beta = 1 / (2 s^2)` stands for normal noise of deviation s around the surface.
"""

# %%
import sys

import matplotlib.pyplot as plt
import numpy as np

import nfref
from nfref.flows.free_form import FreeFormFlow
from nfref.objectives.free_form import FreeFormLikelihood
from nfref.objectives.injective import InjectiveLikelihood
from nfref.plots.canvas import COLOURS

FULL = "--full" in sys.argv  # the long run, whose figure is kept


def fit(flow, x, objective, epochs, batch_size, rate):
    density, rng = nfref.Density(flow), np.random.default_rng(0)
    found = nfref.fit(
        density,
        density.init(rng),
        x,
        rng,
        validation=None,
        epochs=epochs if FULL else 2,
        batch_size=batch_size,
        learning_rate=rate,
        schedule="cosine",
        patience=None,
        objective=objective,
        progress=False,
    )
    return density, found.params


def apart(x, y):
    """Root of the mean square of all numbers."""
    return np.sqrt(np.mean((x - y) ** 2))


# %%
# A circle and a sphere
# ---------------------
# Two surfaces whose densities are known: angles of a circle from the von Mises law, and directions
# around a pole from that of von Mises and Fisher. One latent has to draw a circle, two a cap. The
# truth is a density by length and by area, as the flow's is, so both can be compared.


def on_circle(rng, n):
    angle = rng.vonmises(0, 2, n)
    log_prob = 2 * np.cos(angle) - np.log(2 * np.pi * np.i0(2))
    return np.stack([np.cos(angle), np.sin(angle)], axis=1), log_prob


def on_sphere(rng, n):
    base = nfref.VonMisesFisher(3)
    pole = {"direction": np.array([0.0, 0.0, 1.0]), "log_concentration": np.log([4.0])}
    x = base.sample(pole, rng, n)
    return x, base.log_prob(pole, x)


def compared(surface, flow, objective, epochs):
    rng = np.random.default_rng(1)
    (x, _), (test, truth) = surface(rng, 2000 if FULL else 300), surface(rng, 2000)
    density, params = fit(flow, x, objective, epochs, 200, 5e-3)
    flow, own = density.flow, params["flow"]
    off = apart(flow.decoder(own)(flow.encoder(own)(test)), test)
    behind = np.mean(truth - density.log_prob(params, test))
    return density, params, off, behind


def coupling(dim, layers):
    return nfref.RealNVP(dim, layers if FULL else 2, (32,), activation="tanh")


# %%
# The free-form flow has an encoder and a decoder of its own, and a loss that needs no J.

NARROW = 200.0  # beta for s = 0.05
exact, free = InjectiveLikelihood(NARROW), FreeFormLikelihood(NARROW)
circle = compared(on_circle, nfref.InjectiveFlow(coupling(2, 6), 1), exact, 60)
networks = nfref.InjectiveFlow(FreeFormFlow(2, 3, (64,)), 1)
free_circle = compared(on_circle, networks, free, 150)
sphere = compared(on_sphere, nfref.InjectiveFlow(coupling(3, 4), 2), exact, 40)
fits = {"circle": circle, "circle, free-form": free_circle, "sphere": sphere}
for name, (_, _, off, behind) in fits.items():
    print(f"{name}: {abs(behind):.3f} nats from the truth, the surface is off by {off:.3f}")

# %%
# In the full run the circle's density ends 0.039 nats from the truth, and the curve is off by
# 0.047; 0.029 and 0.044 by the free-form flow. The cap's ends 0.030 nats from the truth, and is off
# by 0.048. A curve of one latent has two ends, and a circle has none: it is cut where the data are
# fewest, opposite to their centre. There rows lie beside the curve, and what the flow calls their
# neighbour may be far.
#
# The sheet
# ---------
# This is the sheet of the page :doc:`no compression </truths/no_compression>`: eight curved
# functions of two numbers, and noise of a tenth. That page rounds latents and counts bits. A flow
# fitted by likelihood has eight latents of deviation one, noise and sheet alike, and rounding pays
# for all.
#
# **Predict.** Principal components take 24.7 bits a row for an error of 0.5, the flow fitted by
# likelihood 37.3, a flow trained for rounding 10.2. And the two latents of an injective flow?

OTHERS = {"principal components": 24.7, "flow by likelihood": 37.3, "flow for rounding": 10.2}


def sheet(n, rng):
    a, b = rng.uniform(-1, 1, (2, n))
    curved = np.stack(
        [a, b, a * b, a**2 - b**2, np.sin(2 * a), np.sin(2 * b), np.cos(a + b), np.cos(a - b)],
        axis=1,
    )
    turn = np.linalg.qr(np.random.default_rng(3).standard_normal((8, 8)))[0]
    return (16 * curved @ turn + 0.1 * rng.standard_normal((n, 8))).astype(np.float32)


# %%
# The flow is that of the other page: couplings, and then the principal components. With zeros for
# six of its latents it starts as the plane of the two widest components.


def onto_plane(x, layers):
    dim, own = x.shape[1], np.random.default_rng(9)
    centre = x.mean(axis=0)
    _, singular, rows = np.linalg.svd(x - centre, full_matrices=True)
    couplings = [
        nfref.RealNVP(dim, layers, (64, 64), transformer=nfref.Affine(bound=1.0)) for _ in range(2)
    ]
    chain = [
        nfref.ElementwiseAffine(dim),
        couplings[0],
        nfref.Permutation(own.permutation(dim).tolist()),
        couplings[1],
        nfref.Standardise([0.0] * dim, np.maximum(singular / len(x) ** 0.5, 0.3).tolist()),
        nfref.FixedLinear(rows.T.astype(float)),
        nfref.Standardise(centre.tolist(), [1.0] * dim),
    ]
    return nfref.InjectiveFlow(nfref.Chain(chain), 2)


def bits_and_error(encode, decode, x, test, step):
    """Bits a row and error of test rows whose latents are rounded to multiples of a step."""
    known, new = (np.round(encode(rows) / step).astype(int) for rows in (x, test))
    lowest = np.minimum(known.min(axis=0), new.min(axis=0))
    bits = 0.0
    for learned, written in zip((known - lowest).T, (new - lowest).T):
        counts = np.bincount(learned, minlength=max(learned.max(), written.max()) + 1) + 0.1
        bits -= np.mean(np.log2(counts / counts.sum())[written])
    return bits, apart(decode((new * step).astype(np.float32)), test)


rng = np.random.default_rng(0)
x, test = sheet(4000 if FULL else 300, rng), sheet(1000, rng)
density, params = fit(onto_plane(x, 4 if FULL else 1), x, InjectiveLikelihood(5.0), 30, 64, 2e-3)
encode, decode = density.flow.encoder(params["flow"]), density.flow.decoder(params["flow"])
steps = 2.0 ** np.arange(-5, 1, 0.25)
curve = np.transpose([bits_and_error(encode, decode, x, test, step) for step in steps])
print(f"sheet: the surface is off by {apart(decode(encode(test)), test):.3f}")
if FULL:
    order = np.argsort(curve[1])
    bits = np.interp(np.log(0.5), np.log(curve[1][order]), curve[0][order])
    for name, count in {**OTHERS, "injective flow": bits}.items():
        print(f"{name:<21} {count:.1f} bits a row for an error of 0.5")

# %%
# .. dropdown:: Answer
#
#    9.5 bits. The flow has no latents for the noise, so rounding pays for the sheet alone.
#
# That page says why a flow does not compress: a bijection keeps everything. This one keeps two
# numbers of eight. Its surface is off by 0.15; the noise that it leaves out is 0.1.
#
# The figure: the circle and its curve, the density along the circle, and bits of the sheet.
#
# .. alt: Left, points on a circle and a curve that follows them almost all the way around. Middle,
#    the density by angle, a bump, learned and true on each other. Right, error against bits: the
#    curve of the injective flow passes left of the three others at an error of one half.


def figure():
    fig, axes = plt.subplots(1, 3, figsize=(7.36, 2.9), layout="constrained")
    flow, own = circle[0].flow, circle[1]["flow"]
    points, _ = on_circle(np.random.default_rng(2), 300)
    latents = np.linspace(-2.6, 2.6, 400)[:, None]
    line, stretched = flow.forward(own, latents)
    axes[0].scatter(*points.T, s=4, color="0.6", linewidths=0)
    axes[0].plot(*line.T, color=COLOURS[0])
    axes[0].set(aspect="equal", xticks=[], yticks=[], title="one latent")
    angle = np.linspace(-np.pi, np.pi, 300)
    axes[1].plot(angle, np.exp(2 * np.cos(angle)) / (2 * np.pi * np.i0(2)), color="0.7", lw=4)
    along = circle[0].base.log_prob({}, latents) - stretched
    axes[1].plot(np.arctan2(line[:, 1], line[:, 0]), np.exp(along), color=COLOURS[0])
    axes[1].set(xlabel="angle", title="density by length", ylim=(0, None))
    axes[2].plot(*curve, color=COLOURS[0], label="injective flow")
    for colour, (name, count) in zip(COLOURS[1:], OTHERS.items()):
        axes[2].plot(count, 0.5, "o", color=colour, label=name)
    axes[2].set(
        yscale="log", xlabel="bits a row", ylabel="error", title="the sheet", ylim=(0.08, 3)
    )
    axes[2].set_yticks([0.1, 0.25, 0.5, 1, 2], ["0.1", "1/4", "1/2", "1", "2"])
    axes[2].minorticks_off()
    axes[2].legend(fontsize=7)
    plt.show()


figure()

# %%
# What this page claims.

for found in (circle, sphere):
    rows = found[0].sample(found[1], np.random.default_rng(3), 100)
    assert found[0].flow.reconstruction_error(found[1]["flow"], rows).max() < 1e-6
if FULL:
    assert all(abs(behind) < 0.1 and off < 0.1 for _, _, off, behind in fits.values())
    assert bits < min(OTHERS.values())

# %%
# The area that a map carries along is the quantity in question:
#
# .. play: carry
#
# Exercise 1: a wide circle
# -------------------------
# x is uniform on a circle of radius 3. What is its density by length?

answer_1 = ...  # type a number here


def check_1(answer):
    angle = np.random.default_rng(0).uniform(-np.pi, np.pi, 1_000_000)
    share = np.mean(np.abs(3 * angle) < 0.5)  # of a piece of length 1
    assert not np.isclose(answer, 1 / (2 * np.pi)), "that is the density of the angle"
    assert not np.isclose(answer, 1 / (9 * np.pi)), "that is the density in a disc, by area"
    assert np.isclose(answer, share, rtol=0.02), "the whole length is 6 pi"


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = 1 / (6 * np.pi)
#
#    0.053. The angle has the density 1 / (2 pi), and J has the length 3.

# %%
# Where the formula comes from
# ----------------------------
# A small cube of latents, of side e, has a parallelepiped as its image; the edges are e times the
# columns of J. Its volume is the product of its heights: the length of the first column, then what
# of each further column is across all columns before it. With :math:`J = Q R`, Q orthonormal and R
# triangular, the heights are the diagonal of R, so that
#
# .. math:: \textrm{volume} = \prod_i |R_{ii}| = \sqrt{\det R^\top R} = \sqrt{\det J^\top J} .
#
# The mass of the cube stays, so the density is divided by this volume. For d = D it is
# :math:`|\det J|`. Two hypotheses: g is one to one, or masses of several z would add up; and J has
# rank d, or the volume is zero. nfref raises an error in the second case.
#
# The gradient needs no determinant. From :math:`d \log \det A = \textrm{tr}(A^{-1} dA)`,
#
# .. math::
#
#    \tfrac12 \, d \log \det J^\top J = \textrm{tr}\left((J^\top J)^{-1} J^\top dJ\right)
#    = E_v \, (J w)^\top dJ \, v, \qquad J^\top J w = v,
#
# for random v with :math:`E v v^\top` the identity. ``InjectiveLikelihood(probes=1)`` solves for w
# by conjugate gradients, which takes products with J only. For two latents the exact volume is
# cheaper, and this page uses it.
#
# Exercise 2: two columns
# -----------------------
# On paper: the columns of J are (1, 0, 1) and (1, 2, 1). What is :math:`\sqrt{\det J^\top J}`?

answer_2 = ...  # type a number here


def check_2(answer):
    one, two = np.array([1.0, 0.0, 1.0]), np.array([1.0, 2.0, 1.0])
    lengths = np.linalg.norm(one) * np.linalg.norm(two)
    assert not np.isclose(answer, lengths), "the second height is shorter than its column"
    assert not np.isclose(answer, 8.0), "that is det J^T J"
    area = np.linalg.norm(np.cross(one, two))
    assert np.isclose(answer, area, atol=1e-3), "length times height"


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_2 = 2 * np.sqrt(2)
#
#    The height of the second column above the first is (0, 2, 0), of length 2.

# %%
# What can go wrong
# -----------------
# - The likelihood without the distance: a short curve far from the data has a high density.
# - Densities of different d: nats by length and nats by area cannot be compared, nor with those of
#   a flow in the whole space.
# - Too few latents: the surface takes the widest directions and drops the rest.
# - A circle or a sphere as the whole surface: the image of a line or a plane has an edge. For a
#   known sphere take :doc:`a flow of directions </methods/sphere>`.
# - A decoder that collapses: J loses rank. nfref says in which row.
