r"""
Images: Glow
============

*What is Glow good for on small pictures: bits, samples, or a direction for sleeves?*

Glow (Kingma and Dhariwal 2018, arXiv:1807.03039) takes an image to a latent of the same size by
steps of three layers: actnorm, an invertible 1x1 convolution of the channels, a coupling whose
networks are convolutions. Every scale factors out half of the remaining numbers. Here
``nfref.Glow`` learns the clothes of Fashion-MNIST and the digits of MNIST, 16 x 16 pixels of 256
grey levels.

The page shows three uses, and what each is worth:

- *likelihood*: the bits per pixel of a test image, beside three baselines;
- *samples*, whose temperature :math:`T` trades variety for tidiness: z is T times standard normal;
- *an attribute as a direction*: the mean z of images with it, less the mean z of images without it.
  Added to the z of an image, it gives the image the attribute.

A density of real numbers becomes the cost of whole ones by noise u, uniform on the unit cube: for
an image x of n pixels, in bits a pixel,

.. math:: -\frac1n \log_2 P(x) \le -\frac1n\, E_u \log_2 p(x + u) .

Data: ``python tutorials/applications/fetch.py fashion digits``.
"""

# %%
import sys

import fetch
import matplotlib.pyplot as plt
import numpy as np
from _images import encoded, fashion, halved, mnist, sheet
from scipy.stats import multivariate_normal
from sklearn.linear_model import LogisticRegression

import nfref

FULL = "--full" in sys.argv  # the long run, whose figure is kept
SHAPE, PIXELS, LEVELS = (1, 16, 16), 256, 256
TSHIRT, PULLOVER = 0, 2

# %%
# The data: means of 2 x 2 pixels, rounded to whole grey levels again.

known, test = fashion(fetch.files("fashion"))
digits, _ = mnist(*fetch.files("digits"))
order = np.random.default_rng(0).permutation(len(digits))
digits = halved(digits[order])
clothes = halved(known[0][:12_000])
sets = {"clothes": (clothes, halved(test[0][:1000])), "digits": (digits[:4000], digits[4000:])}
if not FULL:
    sets = {name: (x[:400], held_out[:100]) for name, (x, held_out) in sets.items()}

# %%
# Learning. A logit opens the range of a pixel to the whole line, and is part of the flow, so that
# its log-determinant counts. Rows are whole numbers with noise, n + u.


def learn(x, epochs):
    """Glow with its parameters."""
    rng = np.random.default_rng(1)
    steps, hidden = (4, (32, 32)) if FULL else (1, (8,))
    flow = nfref.Chain(
        [
            nfref.Glow(SHAPE, levels=2, steps=steps, hidden=hidden),
            nfref.Logit((-0.5,) * PIXELS, (LEVELS + 0.5,) * PIXELS),
        ]
    )
    density = nfref.Density(flow)
    rows = nfref.dequantised(rng, x.astype(np.float32))
    result = nfref.fit(
        density,
        density.init(rng),
        rows,
        rng,
        validation=0.05,
        epochs=epochs,
        batch_size=64,
        learning_rate=3e-3,
        schedule="cosine",
        patience=None,
        progress=False,
    )
    return density, nfref.params.cast(result.params, np.dtype(np.float64))


epochs = {"clothes": 6, "digits": 12} if FULL else {"clothes": 1, "digits": 1}
learned = {name: learn(x, epochs[name]) for name, (x, _) in sets.items()}

# %%
# What a test image costs
# -----------------------
# 8 bits per pixel suffice for any image. *Histograms*: each pixel by how often it had each level.
# *One normal* for all 256 pixels, with its full covariance. *PNG*: the bytes of a sheet of all test
# images in a general-purpose format, which has seen no other image. Glow's is an upper bound, by
# one draw of u.
#
# **Predict.** In which order do the four come?


def by_histograms(x, held_out):
    counts = np.stack([np.bincount(column, minlength=LEVELS) for column in x.T.astype(int)])
    share = (counts + 0.01) / np.sum(counts + 0.01, axis=1, keepdims=True)
    return -np.log2(share[np.arange(PIXELS), held_out.astype(int)]).mean(axis=1)


def by_one_normal(x, held_out):
    rng = np.random.default_rng(2)
    rows = nfref.dequantised(rng, x)
    normal = multivariate_normal(rows.mean(axis=0), np.cov(rows.T))
    return -normal.logpdf(nfref.dequantised(rng, held_out)) / PIXELS / np.log(2)


def by_png(held_out):
    picture = sheet(held_out.reshape(-1, 16, 16).astype(np.uint8), 10)
    return 8 * len(encoded(picture, "PNG", optimize=True)) / picture.size


costs = {}
for name, (x, held_out) in sets.items():
    by_glow = nfref.bits_per_dim(*learned[name], held_out, np.random.default_rng(3))
    costs[name] = {
        "histograms": by_histograms(x, held_out),
        "PNG": np.array([by_png(held_out)]),
        "one normal": by_one_normal(x, held_out),
        "Glow": by_glow,
    }
    for model, bits in costs[name].items():
        error = f" +- {bits.std() / np.sqrt(len(bits)):.3f}" if len(bits) > 1 else ""
        print(f"{name:<9}{model:<11}{bits.mean():.3f}{error} bits per pixel")

# %%
# .. dropdown:: Answer
#
#    Glow, histograms, PNG, one normal. One normal is worst: half of the pixels are black, which it
#    cannot represent. On digits, where most pixels are black or white, Glow is only just ahead of
#    histograms, which represent exactly that.
#
# In the full run, in bits per pixel:
#
# ========== ============== ==============
# model      clothes        digits
# ========== ============== ==============
# histograms 3.899 +- 0.027 1.909 +- 0.013
# PNG        3.961          2.202
# one normal 4.988 +- 0.015 4.568 +- 0.129
# Glow       3.159 +- 0.022 1.863 +- 0.011
# ========== ============== ==============
#
# Samples
# -------
# All priors of Glow are part of the flow, so one factor T narrows every one of them.


def drawn(name, n, temperature):
    density, params = learned[name]
    z = temperature * np.random.default_rng(4).standard_normal((n, PIXELS))
    return density.flow.forward(params["flow"], z)[0]


samples = {(name, t): drawn(name, 10, t) for name in sets for t in (1.0, 0.7, 0.5)}

# %%
# A direction for sleeves
# -----------------------
# T-shirts and pullovers differ by their sleeves. The direction is the difference of their mean z,
# from training images; it is added to the z of T-shirts of the test set, which Glow never saw. Are
# they pullovers now? The judge is independent of flows: logistic regression on pixels. For
# comparison, the mean difference of pixels is added without a flow.
#
# **Predict.** Both convince the judge. Which of the two makes images, with no pixel below black or
# above white?

density, params = learned["clothes"]
labels = known[1][: len(sets["clothes"][0])]
x = sets["clothes"][0]
z = density.flow.inverse(params["flow"], x + 0.5)[0]
sleeves = z[labels == PULLOVER].mean(axis=0) - z[labels == TSHIRT].mean(axis=0)
pixel_sleeves = x[labels == PULLOVER].mean(axis=0) - x[labels == TSHIRT].mean(axis=0)

either = np.isin(labels, (TSHIRT, PULLOVER))
judge = LogisticRegression(C=0.1, max_iter=300)
judge.fit(x[either] / LEVELS, labels[either] == PULLOVER)
shirts = halved(test[0][:1000][test[1][:1000] == TSHIRT])
z_of_shirts = density.flow.inverse(params["flow"], shirts + 0.5)[0]
strengths = (-0.5, 0.0, 0.5, 1.0, 1.5)
moved = {a: density.flow.forward(params["flow"], z_of_shirts + a * sleeves)[0] for a in strengths}
moved_pixels = {a: shirts + a * pixel_sleeves for a in strengths}


def share_of_pullovers(rows):
    return judge.predict(np.clip(rows, 0, 255) / LEVELS).mean()


shares = {a: share_of_pullovers(moved[a]) for a in strengths}
for a in strengths:
    print(
        f"{a:+.1f} of sleeves: {shares[a]:.0%} of {len(shirts)} T-shirts are pullovers, "
        f"{share_of_pullovers(moved_pixels[a]):.0%} by pixels"
    )
outside = {
    name: np.mean((found[1.0] < -0.5) | (found[1.0] > LEVELS + 0.5))
    for name, found in (("z", moved), ("pixels", moved_pixels))
}
print(f"pixels out of range at +1: {outside['z']:.1%}, without a flow {outside['pixels']:.1%}")

# %%
# .. dropdown:: Answer
#
#    Glow. In the full run none of its pixels is out of range; with the pixels' difference 10.0 %
#    are.
#
# The flow's images are images: its logit keeps every pixel between black and white. The place of a
# sleeve depends on the shirt, and the flow maps the same direction in z differently for each shirt.
# In pixels it is the same grey shadow for all.

# %%
# The figure.
#
# .. alt: Above, clothes and digits of the test sets and drawn at three temperatures. Below, bars
#    of bits per pixel for histograms, PNG, one normal and Glow; below, T-shirts to which sleeves
#    are added along a direction in z and in pixels.

fig = plt.figure(figsize=(7.36, 13.2), layout="constrained")
left, right = fig.subfigures(2, 1, height_ratios=(1.25, 1))
rows = [(f"{name}\nT = {t:g}", samples[name, t]) for name in sets for t in (1.0, 0.7, 0.5)]
rows.insert(0, ("clothes\nto test", sets["clothes"][1][:10]))
rows.insert(4, ("digits\nto test", sets["digits"][1][:10]))
for ax, (name, images) in zip(left.subplots(len(rows), 1), rows):
    picture = sheet(np.clip(images, 0, 255).reshape(-1, 16, 16), 10)
    ax.imshow(picture, cmap="gray_r", vmin=0, vmax=255)
    ax.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=10)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
top, bottom = right.subfigures(2, 1, height_ratios=(1, 1.25))
ax = top.subplots()
models = list(costs["clothes"])
for k, name in enumerate(sets):
    values = [costs[name][model].mean() for model in models]
    places = np.arange(len(models)) + 0.4 * k
    ax.barh(places, values, 0.38, color=("#1f4e9c", "#9db8dc")[k], label=name)
    for place, value in zip(places, values):
        ax.text(value + 0.05, place, f"{value:.2f}", va="center", fontsize=10)
ax.set_yticks(np.arange(len(models)) + 0.2, models)
ax.set(xlabel="bits per pixel of test images", xlim=(0, 1.3 * ax.dataLim.x1))
ax.invert_yaxis()
ax.spines[["top", "right"]].set_visible(False)
ax.legend(frameon=False, loc="lower right")
axes = bottom.subplots(2, len(strengths))
chosen = np.argsort(judge.decision_function(shirts / LEVELS))[2:5]
for row, (name, images) in zip(axes, (("z of Glow", moved), ("pixels", moved_pixels))):
    for ax, a in zip(row, strengths):
        picture = np.clip(images[a][chosen], 0, 255).reshape(-1, 16)
        ax.imshow(picture, cmap="gray_r", vmin=0, vmax=255)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        ax.set_xlabel(f"{share_of_pullovers(images[a]):.0%}", fontsize=10)
    row[0].set_ylabel(name)
for ax, a in zip(axes[0], strengths):
    ax.set_title(f"{a:+g}" if a else "0", fontsize=10)
bottom.suptitle(
    "T-shirts, and how much sleeve is added to them;\nbelow: judged to be pullovers", fontsize=11
)
plt.show()

# %%
# What this page claims.

for name, (density, params) in learned.items():
    rows = sets[name][1] + 0.5
    z, log_det = density.flow.inverse(params["flow"], rows)
    back, log_det_back = density.flow.forward(params["flow"], z)
    assert np.max(np.abs(back - rows)) < 1e-6
    assert np.max(np.abs(log_det + log_det_back)) < 1e-6
    assert costs[name]["Glow"].mean() < 8
    if FULL:
        assert costs[name]["Glow"].mean() < min(
            costs[name][other].mean() for other in ("histograms", "one normal", "PNG")
        )
assert outside["z"] == 0 < outside["pixels"]
assert shares[0.0] < 0.2 < shares[1.5] if FULL else shares[0.0] < shares[1.5]

# %%
# What the noise costs
# --------------------
# With :math:`P(x) = E_u\, p(x + u)` on the unit cube, and if the mean of the logarithm exists,
#
# .. math:: E_u \log \frac{P(x)}{p(x + u)}
#           = \mathrm{KL}\!\left(\text{uniform} \,\|\, \frac{p(x + u)}{P(x)}\right) \ge 0,
#
# since :math:`p(x + u) / P(x)` is a density of u on the cube. So the bits that the page counts are
# too many by the divergence of even noise from the model's own law within a cell. They are exact if
# the density is constant there. A model with a finer law within a cell pays for it.
#
# The direction of an attribute has no such derivation. It is exact if z has one normal law for
# images with the attribute, and the same law, only shifted, for those without.
#
# A 1x1 convolution of two channels is such a matrix:
#
# .. play: mix
#
# Exercise 1: temperature
# -----------------------
# z has 256 numbers, each standard normal, and is multiplied by the temperature T = 0.5. What is the
# mean of its squared length?

answer_1 = ...  # type a number here


def check_1(answer):
    z = 0.5 * np.random.default_rng(1).standard_normal((20_000, PIXELS))
    truth = np.mean(np.sum(z**2, axis=1))
    assert not np.isclose(answer, 128, rtol=0.05), "a square: T counts twice"
    assert np.isclose(answer, truth, rtol=0.01), "each number has variance T^2, and there are 256"


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = 256 * 0.5 ** 2
#
#    64, where 256 is usual: such a z is nearer to the origin than nearly every sample of the base.
#    So tidy samples are not samples of the density whose bits are counted.

# %%
# Exercise 2: an uneven cell
# --------------------------
# On paper: one pixel, and in its cell the density is 3/2 on one half and 1/2 on the other. By how
# many bits do the counted bits exceed :math:`-\log_2 P`?

answer_2 = ...  # type a number here


def check_2(answer):
    p = np.array([1.5, 0.5])
    assert answer > 0, "the counted bits are never fewer"
    assert np.isclose(answer, np.log2(p.mean()) - np.log2(p).mean(), atol=1e-3), (
        "P is the mean of p, 1; the counted bits are the mean of -log2 p"
    )


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_2 = -0.5 * np.log2(1.5 * 0.5)
#
#    About a fifth of a bit.

# %%
# What can go wrong
# -----------------
# - Samples at a low temperature shown beside bits at T = 1: two densities.
# - An attribute's direction from few images: it holds what else they have in common.
# - Bits of different ranges of grey, or without noise.
