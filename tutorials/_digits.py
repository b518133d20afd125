"""The digits of lessons 17 to 20: rows for a velocity, bits of one test set, and one table.

The rows, their order and the 397 test digits are those of the methods page on digits.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits

import nfref
from nfref.objectives.flow_matching import FlowMatching

LARGE = (256, 256), 36  # their hidden sizes and epochs: 80 seconds of one thread
NOTHING = [{}, {}]  # the parameters of the two layers that are fixed
LEVELS, KNOWN = 17, 1400  # greys of a pixel; digits to learn from, the others are the test
# Bits per dimension of the test digits. Each lesson measures its own rows again and compares them.
BITS = {
    "17 even levels": 4.09,
    "one normal": 2.97,
    "a histogram a pixel": 2.43,
    "RealNVP, two minutes": 2.03,
    "17: flow matching": 2.19,
    "17: the same, 16 x 16": 2.29,
    "18: by its score": 2.26,
    "18: the same, 16 x 16": 2.38,
    "19: given the label": 2.09,
    "19: guided, w = 2": 2.32,
    "19: labels, 16 x 16": 2.21,
    "19: w = 2, 16 x 16": 2.44,
    "20: mean flow": 2.26,
    "20: the same, 16 x 16": 2.34,
}


def parts():
    """Return (pixels, labels) to learn from and to test by."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.data))
    pixels, labels = digits.data[order], digits.target[order]
    return (pixels[:KNOWN], labels[:KNOWN]), (pixels[KNOWN:], labels[KNOWN:])


def mosaics(rng, pixels, labels, n):
    """Return n pictures of 16 x 16 pixels, four digits each, chosen independently; their labels."""
    chosen = rng.integers(len(pixels), size=(n, 2, 2))
    four = pixels[chosen].reshape(n, 2, 2, 8, 8)
    return four.transpose(0, 1, 3, 2, 4).reshape(n, 256), labels[chosen].reshape(n, 4)


def large_parts():
    """Return mosaics of digits to learn from, and 400 of digits to test by."""
    rng = np.random.default_rng(4)
    known, test = parts()
    return mosaics(rng, *known, 40_000), mosaics(rng, *test, 400)


def quarters(pictures):
    """Return the four digits of each picture of 16 x 16 pixels, (4 N, 64)."""
    return pictures.reshape(-1, 2, 8, 2, 8).transpose(0, 1, 3, 2, 4).reshape(-1, 64)


def to_the_line(pixels):
    """Return the fixed flow from rows of mean 0 and variance 1 to pixels with noise.

    The logit opens the range of a pixel to the whole line; its ends lie half a level outside.
    """
    dim = pixels.shape[1]
    logit = nfref.Logit((-0.5,) * dim, (LEVELS + 0.5,) * dim)
    noisy = pixels + np.random.default_rng(1).random(pixels.shape)
    return nfref.Chain([nfref.Standardise.of(logit.inverse({}, noisy)[0]), logit])


def rows_of(fixed, pixels, copies=8, seed=2):
    """Return copies of the pixels, each with noise of its own, as float32 rows of the line."""
    x = np.tile(pixels, (copies, 1))
    x = x + np.random.default_rng(seed).random(x.shape)
    return fixed.inverse(NOTHING, x)[0].astype(np.float32)


def learn(rows, hidden, epochs, path="ot", context=None, seed=0):
    """Return a CNF and its parameters after flow matching."""
    rng = np.random.default_rng(seed)
    context_dim = 0 if context is None else context.shape[1]
    cnf = nfref.CNF(rows.shape[1], hidden, context_dim=context_dim, rtol=1e-4, atol=1e-4)
    density = nfref.Density(cnf)
    result = nfref.fit(
        density,
        nfref.params.cast(density.init(rng), rows.dtype),
        rows,
        rng,
        context=context,
        validation=None,
        epochs=epochs,
        batch_size=256,
        learning_rate=5e-3,
        schedule="cosine",
        patience=None,
        progress=False,
        objective=FlowMatching(path),
    )
    return cnf, result.params


def draw(cnf, params, n, context=None, seed=5):
    """Return n samples on the line."""
    wide = nfref.params.cast(params, np.dtype(np.float64))
    return nfref.Density(cnf).sample(wide, np.random.default_rng(seed), n, context)


def bits(cnf, params, fixed, pixels, context=None):
    """Return the bits per dimension of pixels, with one sample of noise each."""
    noisy = pixels + np.random.default_rng(3).random(pixels.shape)
    rows, log_det = fixed.inverse(NOTHING, noisy)
    wide = nfref.params.cast(params, np.dtype(np.float64))
    log_prob = nfref.Density(cnf).log_prob(wide, rows, context) + log_det
    return -np.mean(log_prob) / pixels.shape[1] / np.log(2)


def table(found):
    """Print the table as far as these rows, name -> bits, and compare them with it."""
    shown = list(BITS)[: max(list(BITS).index(name) for name in found) + 1]
    for name in shown:
        print(f"{name:24}{found.get(name, BITS[name]):.2f} bits per dimension")
    for name, value in found.items():
        assert abs(value - BITS[name]) < 0.05, f"{name}: {value:.2f}, the table says {BITS[name]}"


def energy_distance(a, b):
    """Return 2 E|a - b| - E|a - a'| - E|b - b'|: 0 in the mean if both have one law."""

    def within(rows):
        return cdist(rows, rows).sum() / (len(rows) * (len(rows) - 1))

    return 2 * cdist(a, b).mean() - within(a) - within(b)


def greys(fixed, rows):
    """Return rows of the line as pixels, whole numbers from 0 to 16."""
    return np.clip(np.floor(fixed.forward(NOTHING, np.asarray(rows, float))[0]), 0, LEVELS - 1)


def strip(fixed, rows):
    """Return rows of the line as one picture, digits side by side."""
    pixels = greys(fixed, rows)
    side = round(pixels.shape[1] ** 0.5)
    return np.concatenate([np.pad(one, 1) for one in pixels.reshape(-1, side, side)], axis=1)


def with_strips(pictures, height):
    """Draw pictures, name -> picture, below each other; return the part of the figure beside."""
    figure = plt.figure(figsize=(7.36, height), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1, 1.3])
    shares = [len(picture) / picture.shape[1] for picture in pictures.values()]
    panels = right.subplots(len(pictures), height_ratios=shares)
    for panel, (title, picture) in zip(panels, pictures.items(), strict=True):
        panel.imshow(picture, cmap="gray_r", vmin=0, vmax=LEVELS - 1)
        panel.set(xticks=[], yticks=[])
        panel.set_title(title, fontsize=11)
    return left
