r"""
Digits
======

*What does a handwritten digit cost, in bits per pixel?*

Two flows for images learn the 1,797 handwritten digits of scikit-learn: 8 x 8 pixels of 17 grey
levels. RealNVP couples pixels by checkerboards and channels by halves; Glow mixes channels by
invertible 1x1 convolutions. Both factor out half of the remaining numbers at every scale.

A pixel is a whole number n and a flow has a density p, so the flow's probability of a digit is the
mass of its cell, :math:`P(n) = E_u\, p(n + u)` with u uniform. Training sees new u at every step,
and the cost of a test digit is counted in bits per pixel,

.. math:: -\log_2 P(n) / 64 \le -E \log_2 p(n + u) / 64,

where 17 equally likely levels cost :math:`\log_2 17 = 4.09`. Beside the flows stand two baselines:
a histogram for every pixel, and one normal for the whole digit.

With the class as a context, the flow is a classifier as well: the class under which a digit
is most probable.
"""

# %%
import sys

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import multivariate_normal
from sklearn.datasets import load_digits

import nfref
from nfref.objectives import dequantised_likelihood

FULL = "--full" in sys.argv  # the long run, whose figure is kept
SHAPE, PIXELS, LEVELS = (1, 8, 8), 64, 17
EPOCHS = {"RealNVP": 40, "Glow": 80, "Glow given the class": 60}  # under two minutes each

# %%
# The data, in a fixed random order: to learn from, to stop by, to test.


def parts():
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.data))
    pixels, labels = digits.data[order].astype(np.float32), digits.target[order]
    return [
        (pixels[rows], labels[rows])
        for rows in (slice(0, 1300), slice(1300, 1400), slice(1400, None))
    ]


def one_hot(labels):
    return np.eye(10, dtype=np.float32)[labels]


# %%
# Learning. A logit, which is part of the flow, opens the range of a pixel to the whole line; its
# ends lie half a level outside, so that black and white have finite places. Its log-determinant
# counts, and so the density is that of n + u in levels: bits need no correction.


def learn(flow, training, validation, epochs):
    rng = np.random.default_rng(1)
    range_of_a_pixel = nfref.Logit((-0.5,) * PIXELS, (LEVELS + 0.5,) * PIXELS)
    density = nfref.Density(nfref.Chain([flow, range_of_a_pixel]))
    (x, labels), (held_out, held_out_labels) = training, validation
    contexts = {}
    if flow.context_dim:
        contexts = {"context": one_hot(labels), "validation_context": one_hot(held_out_labels)}
    result = nfref.fit(
        density,
        density.init(rng),
        nfref.dequantised(rng, x),
        rng,
        validation=nfref.dequantised(rng, held_out),
        **contexts,
        epochs=epochs,
        batch_size=64,
        learning_rate=3e-3,
        schedule="cosine",
        patience=None,
        objective=dequantised_likelihood,
        progress=False,
    )
    return density, nfref.params.cast(result.params, np.dtype(np.float64))


def flows():
    """The two stacks, and Glow with the class as its context."""
    steps, hidden = (4, (32, 32)) if FULL else (1, (8,))
    return {
        "RealNVP": nfref.RealNVPImage(SHAPE, 2, hidden[0] // 2, 1),
        "Glow": nfref.Glow(SHAPE, 2, steps, hidden),
        "Glow given the class": nfref.Glow(SHAPE, 2, steps, hidden, context_dim=10),
    }


# %%
# What a test digit costs. The histogram is exact; the others are bounds, by one draw of u.


def bits_of_histograms(known, x):
    counts = np.stack([np.bincount(column, minlength=LEVELS) for column in known.T.astype(int)])
    share = (counts + 0.1) / (counts + 0.1).sum(axis=1, keepdims=True)
    return -np.mean(np.log2(share[np.arange(PIXELS), x.astype(int)]))


def bits_of_a_normal(known, x):
    rng = np.random.default_rng(2)
    noisy = nfref.dequantised(rng, known)
    normal = multivariate_normal(noisy.mean(axis=0), np.cov(noisy.T))
    return -np.mean(normal.logpdf(nfref.dequantised(rng, x))) / PIXELS / np.log(2)


def bits(density, params, x, labels):
    context = one_hot(labels) if density.context_dim else None
    return np.mean(
        nfref.bits_per_dim(density, params, x, np.random.default_rng(3), context=context)
    )


def most_probable_class(density, params, x):
    """argmax_c log p(x | c): Bayes' rule with ten classes that are equally frequent."""
    rows = nfref.dequantised(np.random.default_rng(4), x.astype(float))
    scores = [
        density.log_prob(params, rows, one_hot(np.full(len(x), label))) for label in range(10)
    ]
    return np.argmax(scores, axis=0)


# %%
# Pictures. At a temperature T the latent rows are T times standard normal: as all priors are part
# of the flow, that narrows every one of them.
#
# .. alt: Above, rows of handwritten digits: of the test, rebuilt from the deepest half, drawn by
#    RealNVP and by Glow at two temperatures, along a line, and drawn for each class. Below, bars
#    of bits per pixel, from 4.09 for even levels to 1.98 for Glow given the class.


def drawn(density, params, n, temperature, labels=None):
    z = temperature * np.random.default_rng(5).standard_normal((n, PIXELS))
    context = None if labels is None else one_hot(labels)
    return density.flow.forward(params["flow"], z, context)[0]


def between(density, params, x, count):
    """Interpolate from the first digit to the second, along a straight line in z."""
    z, _ = density.flow.inverse(params["flow"], x[:2] + 0.5)
    weight = np.linspace(0, 1, count)[:, None]
    return density.flow.forward(params["flow"], (1 - weight) * z[:1] + weight * z[1:])[0]


def from_the_deepest_half(density, params, x):
    """Set the half that Glow factors out first to its mean, and return the digits."""
    z, _ = density.flow.inverse(params["flow"], x + 0.5)
    z[:, PIXELS // 2 :] = 0
    return density.flow.forward(params["flow"], z)[0]


def strip(rows):
    """Digits side by side, with a white column between them."""
    images = np.clip(np.floor(rows), 0, LEVELS - 1).reshape(-1, 8, 8)
    return np.concatenate([np.pad(image, ((1, 1), (1, 1))) for image in images], axis=1)


def figure(learned, x, labels, costs, right_share):
    glow, real_nvp, by_class = (
        learned[name] for name in ("Glow", "RealNVP", "Glow given the class")
    )
    first = [np.flatnonzero(labels == label)[0] for label in range(10)]
    shown = x[first].astype(float)
    classes = np.arange(10)
    pictures = [
        ("test digits", [shown]),
        ("deepest half, Glow", [from_the_deepest_half(*glow, shown)]),
        ("RealNVP, T = 1", [drawn(*real_nvp, 10, 1.0)]),
        ("RealNVP, T = 0.7", [drawn(*real_nvp, 10, 0.7)]),
        ("Glow, T = 1", [drawn(*glow, 10, 1.0)]),
        ("Glow, T = 0.7", [drawn(*glow, 10, 0.7)]),
        ("a line in z, Glow", [between(*glow, shown[[3, 8]], 10)]),
        (
            "Glow given the\nclass, T = 0.7",
            np.split(drawn(*by_class, 30, 0.7, np.tile(classes, 3)), 3),
        ),
    ]
    fig = plt.figure(figsize=(7.36, 9.6), layout="constrained")
    grid = fig.add_gridspec(
        len(pictures) + 1, 1, height_ratios=[*(len(rows) for _, rows in pictures), 4.2]
    )
    for place, (name, rows) in enumerate(pictures):
        ax = fig.add_subplot(grid[place])
        ax.imshow(
            np.concatenate([strip(row) for row in rows]),
            cmap="gray_r",
            vmin=0,
            vmax=LEVELS - 1,
            interpolation="nearest",
        )
        ax.set(xticks=[], yticks=[])
        ax.set_ylabel(name, rotation=0, ha="right", va="center")
        ax.spines[:].set_visible(False)
    ax = fig.add_subplot(grid[-1])
    names = list(costs)[::-1]
    ax.barh(
        names,
        [costs[name] for name in names],
        color=["C0" if name in learned else "0.6" for name in names],
    )
    for k, name in enumerate(names):
        ax.text(costs[name] + 0.03, k, f"{costs[name]:.2f}", va="center")
    ax.set_title(
        f"{right_share:.1%} of test digits are most probable under their own class",
        fontsize="medium",
    )
    ax.set(xlabel="bits per pixel of test digits", xlim=(0, 1.15 * max(costs.values())))
    ax.spines[["top", "right"]].set_visible(False)
    plt.show()


# %%
# All together, with checks that hold even after little training.


def report(learned, known, test):
    x, labels = test
    costs = {
        "17 even levels": np.log2(LEVELS),
        "a histogram a pixel": bits_of_histograms(known, x),
        "one normal": bits_of_a_normal(known, x),
        **{name: bits(*found, x, labels) for name, found in learned.items()},
    }
    for name, cost in costs.items():
        print(f"{name:<22}{cost:.3f} bits per pixel")
    right = np.mean(most_probable_class(*learned["Glow given the class"], x) == labels)
    print(f"{right:.1%} of {len(x)} test digits are most probable under their own class")
    figure(learned, x, labels, costs, right)

    for name in ("RealNVP", "Glow"):
        density, params = learned[name]
        rows = x.astype(float) + 0.5
        z, log_det = density.flow.inverse(params["flow"], rows)
        back, log_det_back = density.flow.forward(params["flow"], z)
        print(f"{name}: there and back within {np.max(np.abs(back - rows)):.1e} levels")
        assert np.max(np.abs(back - rows)) < 1e-6
        assert np.max(np.abs(log_det + log_det_back)) < 1e-6
        assert costs[name] < costs["17 even levels"]
    assert right > (0.9 if FULL else 0.2)
    if FULL:
        assert max(costs["RealNVP"], costs["Glow"]) < min(
            costs["one normal"], costs["a histogram a pixel"]
        )
        assert costs["Glow given the class"] < costs["17 even levels"]


# %%
# Run it
# ------
# **Predict.** Which of the baselines is nearest to the flows, and how often is a digit most
# probable under its own class?

training, validation, test = parts()
few = slice(None) if FULL else slice(0, 256)
learned = {
    name: learn(
        flow, tuple(part[few] for part in training), validation, EPOCHS[name] if FULL else 5
    )
    for name, flow in flows().items()
}
known = np.concatenate([training[0], validation[0]])
report(learned, known, test if FULL else tuple(part[:100] for part in test))

# %%
# .. dropdown:: Answer
#
#    The histograms, which know the places without ink; and nearly always.
#
# A pixel with five levels, and bumps of a model on them: what noise within a level is for.
#
# .. play: bits
#
# Exercise 1: even levels
# -----------------------
# A model holds all 17 levels to be equally likely at each of 64 pixels. How many bits does it
# spend on a whole digit?

answer_1 = ...  # type a number here


def check_1(answer):
    truth = 64 * np.log(17) / np.log(2)
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-6), "log2 17 bits a pixel, and 64 pixels"


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = 64 * np.log2(17)
#
#    262 bits, 4.09 a pixel.

# %%
# Exercise 2: what a label is worth
# ---------------------------------
# On paper: ten classes are equally likely. A digit costs b bits under the flow that is given its
# class. By how many bits more can it cost at most under the mean of the ten densities?

answer_2 = ...  # type a number here


def check_2(answer):
    alone, others = 1.0, np.zeros(9)  # the worst case: the other classes give it nothing
    assert not np.isclose(answer, np.log(10), atol=1e-3), "bits, not nats"
    assert np.isclose(answer, -np.log2(np.mean([alone, *others])), atol=1e-3), "a tenth is left"


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_2 = np.log2(10)
#
#    3.32 bits a digit, 0.05 a pixel: at least a tenth of the density is left.

# %%
# What can go wrong
# -----------------
# - Bits of pixels without dequantisation: they fall without bound.
# - One draw of u for a comparison of close models: the noise of u is in the difference.
