r"""
Compression: a flow that writes files
=====================================

*How small a file does a density write?*

A flow's latent has as many numbers as its data, so a flow compresses nothing by itself. But it has
a density, and a code that knows the probability P of the next symbol spends :math:`-\log_2 P` bits
on it. Helminger et al. 2020 (arXiv:2008.10486) build on this: a bijection takes a picture to
latents, these are rounded, and an entropy coder writes the whole numbers. Only rounding loses
information. So one model serves low rates and nearly lossless ones, where an autoencoder has a
ceiling, and a picture can be coded again and again.

This page writes and reads real bytes. Blocks of 4 x 4 pixels go through a transform to 16 latents
y, which are rounded to multiples of a step. Their probabilities come from a masked autoregressive
flow that takes the latents to the logistic distribution: being monotone in :math:`y_i`, it is the
distribution function of :math:`y_i`, and the mass of a cell is a difference,

.. math::

   P(k_i) = \sigma(g_i((k_i + \tfrac12) \Delta)) - \sigma(g_i((k_i - \tfrac12) \Delta)),

where :math:`g_i` depends on the latents before it and on the pixels around the block that are
decoded already. A range coder (``_range_coder.py``) turns such masses into bytes;
``_block_codec.py`` is the format. The pictures are clothes (Fashion-MNIST), 28 x 28 grey levels.

Data: ``python tutorials/applications/fetch.py fashion``.
"""

# %%
import io
import lzma
import sys
import tempfile
import time
import zlib
from pathlib import Path

import autograd.numpy as anp
import fetch
import matplotlib.pyplot as plt
import numpy as np
from _block_codec import (
    DIM,
    SIDE,
    UNIT,
    Codec,
    bits_and_error,
    blocks_and_contexts,
    density_of_blocks,
)
from _images import encoded, fashion, sheet
from _range_coder import Encoder, counts_of
from PIL import Image
from scipy.fft import dct

import nfref

FULL = "--full" in sys.argv  # the long run, whose figure is kept
(known, _), (unseen, _) = fashion(fetch.files("fashion"))
known, unseen = (known[:6000], unseen[:100]) if FULL else (known[:100], unseen[:10])
shape = unseen.shape[1:]
folder = Path(tempfile.mkdtemp())


def learn(density, params, x, context, rate, bounds=None):
    """Parameters after two passes over the blocks.

    The loss is what a block costs, and where something is lost 6 / step^2 times the squared error:
    for fine steps the error of a number is step^2 / 12, and -log(step) + 6 / step^2 times it has
    its least value there.
    """

    def objective(density, params, x, context, rng):
        nats, error, step = bits_and_error(density, params, x, context, bounds)
        return anp.mean(nats + 6 * error / step[:, 0] ** 2)

    rng = np.random.default_rng(1)
    return nfref.fit(
        density,
        params,
        x,
        rng,
        context=context,
        validation=None,
        objective=objective,
        epochs=2,
        batch_size=512 if FULL else 256,
        learning_rate=rate,
        schedule="cosine",
        patience=None,
        progress=False,
    ).params


def codec(density, params, bounds=None):
    return Codec(density, nfref.params.cast(params, np.dtype(np.float64)), shape, bounds)


def bits(content, images=unseen):
    """Per pixel."""
    return 8 * len(content) / images.size


# %%
# Lossless
# --------
# Here the transform is the identity, the step one grey level, and nothing is lost: the file is a
# range-coded list of pixels. The training loss of the density is the coder's cost, up to a few
# bytes a file.
#
# **Predict.** PNG and xz look for repetitions, WebP predicts a pixel from its neighbours. How much
# less than the best of them does a learned density need?

hidden, components = ((128, 128), 4) if FULL else ((32, 32), 2)
identity = density_of_blocks([], (1.0,) * DIM, hidden, components)
x, context = (a.astype(np.float32) for a in blocks_and_contexts(known, 0.0))
params = learn(identity, identity.init(np.random.default_rng(0)), x, context, 3e-3, (-128, 127))
lossless = codec(identity, params, (-128, 127))

start = time.perf_counter()
path = folder / "clothes.nf"
path.write_bytes(lossless.compress(unseen, 1.0))
middle = time.perf_counter()
back = lossless.decompress(path.read_bytes())
seconds = middle - start, time.perf_counter() - middle

picture = sheet(unseen, 10)
sizes = {
    "zlib": bits(zlib.compress(unseen.tobytes(), 9)),
    "PNG": bits(encoded(picture, "PNG", optimize=True)),
    "xz": bits(lzma.compress(unseen.tobytes(), preset=9 | lzma.PRESET_EXTREME)),
    "WebP": bits(encoded(picture, "WEBP", lossless=True, quality=100, method=6)),
    "flow": bits(path.read_bytes()),
}
for name, size in sizes.items():
    print(f"{name:<5}{size:.3f} bits per pixel")
print(
    f"{len(unseen)} pictures: {seconds[0]:.1f} s to write, {seconds[1]:.1f} s to read; "
    f"equal to the byte: {np.array_equal(back, unseen)}"
)

# %%
# .. dropdown:: Answer
#
#    A tenth: 3.340 bits per pixel in the full run, where the best of the others, WebP, takes
#    3.687. Pictures differ: the standard error of the mean over the 100 is 0.102.
#
# What the coder adds to the density's own :math:`-\log_2 P` is the file's head of eighteen bytes,
# less a little for pixels of nearly zero probability: the likelihood *is* the size of the file.

x_new, context_new = blocks_and_contexts(unseen, 0.0)
nats, _, _ = bits_and_error(
    lossless.density, lossless.params, x_new.astype(float), context_new, lossless.bounds
)
ideal = np.sum(nats) / np.log(2) / 8
print(f"-log2 P is {ideal:.1f} bytes, the file {len(path.read_bytes())}")
of_pictures = nats.reshape(-1, len(unseen)).sum(axis=0) / np.log(2) / unseen[0].size
error = np.std(of_pictures, ddof=1) / np.sqrt(len(unseen))
print(f"{np.mean(of_pictures):.3f} +- {error:.3f} bits per pixel: one standard error over pictures")

# %%
# Lossy
# -----
# Two transforms: the discrete cosine transform, which is what JPEG takes (of 8 x 8 pixels), and a
# learned bijection, couplings on top of it (``nfref.NICE``), trained together with the density. A
# row of the training set has a step of its own, which the density reads, so one model serves all
# rates.

basis = dct(np.eye(SIDE), axis=0, norm="ortho")
order = sorted(np.ndindex(SIDE, SIDE), key=lambda place: (sum(place), place))
cosines = np.stack([np.outer(basis[u], basis[v]).ravel() for u, v in order], axis=1)


def with_steps(images):
    """Blocks with a step a part of the pictures, their contexts with errors as of that step."""
    rng, found = np.random.default_rng(2), []
    for part in np.array_split(images, 40):
        step = np.exp(rng.uniform(np.log(4), np.log(256)))
        x, context = blocks_and_contexts(part, np.log(step))
        context[:, :-1] += rng.uniform(-0.5, 0.5, context[:, :-1].shape) * min(step, 64) / UNIT
        found.append((x, context))
    return [np.concatenate(parts).astype(np.float32) for parts in zip(*found)]


x, context = with_steps(known)
std = tuple(np.std(x / UNIT @ cosines, axis=0))
steps = (4, 8, 16, 32, 64, 128, 256) if FULL else (16, 64, 256)
by_cosines = density_of_blocks([nfref.FixedLinear(cosines)], std, hidden, components)
learned = density_of_blocks(
    [nfref.NICE(DIM, 6, (64, 64)), nfref.FixedLinear(cosines)], std, hidden, components
)
at_cosines = learn(by_cosines, by_cosines.init(np.random.default_rng(0)), x, context, 3e-3)
start_of_learned = learned.init(np.random.default_rng(0))
start_of_learned["flow"][0] = at_cosines["flow"][0]  # couplings begin as the identity
codecs = {
    "cosines": codec(by_cosines, at_cosines),
    "flow": codec(learned, learn(learned, start_of_learned, x, context, 5e-4)),
}


def decibels(found, images):
    """Peak signal to noise ratio."""
    return 10 * np.log10(255**2 / np.mean((found.astype(float) - images) ** 2))


# JPEG codes blocks of 8 x 8 pixels, WebP of 16 x 16. So that no block holds a piece of two
# pictures, each is continued by four pixels of its edge; the pixels that count are the 28 x 28.

OPTIONS = {"JPEG": {"optimize": True}, "WebP": {"method": 6}}
WIDE = min(10, len(unseen) // 2)  # pictures in a row of a sheet


def by_format(name, quality, images=unseen, margin=4):
    sheet_of = sheet(np.pad(images, ((0, 0), (0, margin), (0, margin)), mode="edge"), WIDE)
    content = encoded(sheet_of, name, quality=quality, **OPTIONS[name])
    found = np.asarray(Image.open(io.BytesIO(content)).convert("L"))
    side = 28 + margin
    found = found.reshape(-1, side, WIDE, side).transpose(0, 2, 1, 3).reshape(-1, side, side)
    found = found[:, :28, :28]
    return bits(content, images), decibels(found, images), found


def written_and_read(codec, step, images=unseen):
    path = folder / "lossy.nf"
    path.write_bytes(codec.compress(images, step))
    found = codec.decompress(path.read_bytes())
    return bits(path.read_bytes(), images), decibels(found, images), found


QUALITIES = (1, 2, 5, 10, 20, 40, 60, 80, 90, 95)
curves = {name: [by_format(name, quality)[:2] for quality in QUALITIES] for name in OPTIONS}
tight = [by_format("JPEG", quality, margin=0)[:2] for quality in QUALITIES]
decoded = {}
for name, one in codecs.items():
    rows = [written_and_read(one, step) for step in steps]
    curves[name] = [row[:2] for row in rows]
    decoded[name] = dict(zip(steps, rows))
for name, curve in curves.items():
    print(f"{name:<8}" + "  ".join(f"{rate:.2f}: {quality:.1f} dB" for rate, quality in curve))


def rate_at(curve, quality):
    """Bits per pixel for a quality, by interpolation."""
    rates, qualities = np.transpose(sorted(curve))
    return np.interp(quality, qualities, rates, left=np.nan, right=np.nan)


for quality in (26, 30, 36):
    rates = {name: rate_at(curve, quality) for name, curve in curves.items()}
    print(
        f"{quality} dB: "
        + ", ".join(f"{name} {rate:.3f}" for name, rate in rates.items())
        + f", JPEG without the margin {rate_at(tight, quality):.3f}; flow / JPEG "
        f"{rates['flow'] / rates['JPEG']:.2f}, flow / WebP {rates['flow'] / rates['WebP']:.2f}"
    )

# %%
# How far a quotient of two rates is a matter of these pictures: its standard error over groups of
# them.

ratios = []
for group in np.array_split(unseen, 10 if FULL else 2):
    some = {name: [by_format(name, q, group)[:2] for q in QUALITIES] for name in OPTIONS}
    for name, one in codecs.items():
        some[name] = [written_and_read(one, step, group)[:2] for step in (16, 32, 64, 128)]
    rates = {name: rate_at(curve, 30) for name, curve in some.items()}
    ratios.append([rates["flow"] / rates[other] for other in ("JPEG", "WebP", "cosines")])
errors = np.std(ratios, axis=0, ddof=1) / np.sqrt(len(ratios))
print(
    "standard errors of flow / JPEG, WebP and cosines at 30 dB: "
    + ", ".join(f"{error:.3f}" for error in errors)
)

# %%
# In the full run, in bits per pixel:
#
# ======= ===== ===== ======== =================
# quality JPEG  WebP  cosines  learned bijection
# ======= ===== ===== ======== =================
# 30 dB   2.242 1.084 0.852    0.832
# 36 dB   3.339 1.701 1.386    1.358
# ======= ===== ===== ======== =================
#
# For the same quality the files are 0.37 to 0.41 times as large as JPEG's, and 0.76 to 0.80 times
# as large as WebP's. At 30 dB the standard errors of these quotients over ten groups of pictures
# are 0.005 and 0.007. The density achieves this: it knows clothes, and the pixels beside a block.
# With so good a density the learned bijection saves two percent of the bits over cosines (here the
# standard error is 0.002), and loses a few at the highest rates of the figure. JPEG and WebP know
# nothing of clothes. The size of the density's parameters, which a receiver needs once, is not
# counted. (JPEG is better off without the margin, at 2.069 and 3.091: blocks that hold pieces of
# two pictures cost it less than the margin.)

# %%
# Again and again
# ---------------
# Rounding what is already a multiple of the step changes nothing. Decoded pixels are whole numbers,
# so coding loses a little once more, but the losses do not add up: 33.45 dB in the full run, then
# 33.35 four times.

generations = [unseen]
for _ in range(5 if FULL else 2):
    one = codecs["flow"]
    generations.append(one.decompress(one.compress(generations[-1], 32)))
qualities = [decibels(found, unseen) for found in generations[1:]]
print("coded again and again:", "  ".join(f"{quality:.2f}" for quality in qualities), "dB")

# %%
# The figure.
#
# .. alt: Above, quality against bits per pixel for JPEG, WebP and two codes by flows, and bars of
#    lossless sizes. Below, rows of clothes: as they are, by the flow and by JPEG at the same
#    size.


def nearest_jpeg(rate):
    """The quality whose file is nearest in size, and its pictures."""
    return by_format(
        "JPEG", min(range(1, 96), key=lambda quality: abs(by_format("JPEG", quality)[0] - rate))
    )


colours = {"JPEG": "0.55", "WebP": "0.75", "cosines": "#e08214", "flow": "#1f4e9c"}
labels = {
    "JPEG": "JPEG",
    "WebP": "WebP",
    "cosines": "flow of cosines",
    "flow": "flow of a bijection",
}
fig = plt.figure(figsize=(7.36, 8), layout="constrained")
left, right = fig.subfigures(2, 1, height_ratios=(1, 1.25))
ax, beside = left.subplots(1, 2, width_ratios=(1.5, 1))
for name, curve in curves.items():
    ax.plot(*np.transpose(curve), "o-", markersize=4, color=colours[name], label=labels[name])
ax.set(xlabel="bits per pixel", ylabel="quality, dB", xlim=(0, 4), title="lossy")
ax.legend(frameon=False, loc="lower right")
ax.spines[["top", "right"]].set_visible(False)
beside.barh(list(sizes), list(sizes.values()), color=["0.7"] * 4 + [colours["flow"]])
for k, size in enumerate(sizes.values()):
    beside.text(size + 0.05, k, f"{size:.2f}", va="center")
beside.set(xlabel="bits per pixel", title="lossless", xlim=(0, 1.15 * max(sizes.values())))
beside.invert_yaxis()
beside.spines[["top", "right"]].set_visible(False)
shown = {}
shown["as they are: 8 bits per pixel"] = unseen[:10]
for step in steps[-2:-4:-1] if FULL else steps[:2]:
    rate, quality, found = decoded["flow"][step]
    shown[f"flow: {rate:.2f} bits per pixel, {quality:.1f} dB"] = found[:10]
    rate, quality, found = nearest_jpeg(rate)
    shown[f"JPEG: {rate:.2f} bits per pixel, {quality:.1f} dB"] = found[:10]
for ax, (name, images) in zip(right.subplots(len(shown), 1), shown.items()):
    ax.imshow(sheet(images, 10), cmap="gray_r", vmin=0, vmax=255)
    ax.set_title(name, fontsize=11)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
plt.show()

# %%
# What this page claims.

assert np.array_equal(back, unseen)
assert ideal < len(path.read_bytes()) < ideal + 30
for curve in curves.values():
    assert np.all(np.diff(np.array(sorted(curve))[:, 1]) > 0)  # more bits, better pictures
assert max(qualities) - min(qualities) < 1
if FULL:
    assert sizes["flow"] < 0.95 * min(size for name, size in sizes.items() if name != "flow")
    assert all(
        rate_at(curves[name], quality) < 0.9 * rate_at(curves[other], quality)
        for name in codecs
        for other in OPTIONS
        for quality in (26, 30, 36)
    )

# %%
# What a wrong density costs
# --------------------------
# Let the latents' cells have the probabilities P, and the coder those Q of the flow, positive
# wherever P is. A range coder spends :math:`-\log_2 Q` bits and a few bytes in all, so a symbol
# costs on average
#
# .. math:: E_P[-\log_2 Q] = E_P[-\log_2 P] + E_P\!\left[\log_2 \frac{P}{Q}\right]
#           = H(P) + \mathrm{KL}(P \,\|\, Q),
#
# the entropy and what the flow does not know. Sender and receiver need the same Q to the last bit:
# so the masses are made whole numbers first.
#
# For a small step the mass of a cell is nearly the density times :math:`\Delta`, if the density is
# continuous. So each latent costs about :math:`-\log_2 p(y_i) - \log_2 \Delta` bits.
#
# What whole numbers cost under a density, and their entropy, the least mean cost of a code:
#
# .. play: bits
#
# Exercise 1: what a coder needs
# ------------------------------
# A pixel has one of four levels, with probabilities 1/2, 1/4, 1/8 and 1/8. How many bits a pixel
# does a range coder need?

answer_1 = ...  # type a number here


def check_1(answer):
    """Ten thousand pixels are written, and the bytes counted."""
    p = np.array([1 / 2, 1 / 4, 1 / 8, 1 / 8])
    coder, counts = Encoder(), counts_of(np.append(0, np.cumsum(p)))
    for level in np.random.default_rng(1).choice(4, 10_000, p=p):
        coder.code(counts, level)
    truth = 8 * len(coder.finish()) / 10_000
    assert not np.isclose(answer, 2), "two bits would do without knowing any probabilities"
    assert np.isclose(answer, truth, rtol=0.02), "the mean of -log2 P: more likely levels cost less"


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = 0.5 * 1 + 0.25 * 2 + 2 * 0.125 * 3
#
#    1.75 bits: the entropy, to which a range coder adds a few bytes in all.

# %%
# Exercise 2: half the step
# -------------------------
# On paper: the step is small and is halved. How many more bits does a block of 16 latents cost?

answer_2 = ...  # type a number here


def check_2(answer):
    def bits_of_a_latent(step):  # of a standard normal, rounded
        k = np.arange(-8 / step, 8 / step + 1) * step
        mass = np.exp(-0.5 * k**2) * step / np.sqrt(2 * np.pi)
        return -np.sum(mass * np.log2(mass))

    assert not np.isclose(answer, 1.0), "that is one latent"
    assert np.isclose(answer, 16 * (bits_of_a_latent(0.01) - bits_of_a_latent(0.02)), rtol=0.01), (
        "a cell of half the width has half the mass"
    )


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_2 = 16 * 1.0
#
#    One bit each. In return the error of rounding falls by a factor of two.

# %%
# What can go wrong
# -----------------
# - Bits by a formula, without a file that is read back.
# - The model's own size left out: it pays only with many pictures.
# - Floating point that differs between sender and receiver.
