r"""
Video: a frame, given those before it
=====================================

*How likely is the next frame, given those before it?*

VideoFlow (Kumar et al. 2019, arXiv:1903.01434) predicts a video with an exact likelihood. Each
frame goes through one and the same multi-scale flow to latents; time is in their prior alone, a
Gaussian whose mean and scale at every level come from a network that reads the latents of the
frames before. To sample the next frame, sample from that prior and run the flow; to go on, add the
sampled frame to the past.

Here two clips are cut down to small grey frames: a man in a car, 72 x 88, and a crossing with
bicycles, 68 x 160. The flow learns from pieces of 16 x 16 pixels of the first four fifths of each
clip. Its layers are convolutions, so it is then asked about whole frames, of the last fifth.
``_video_flow.py`` has it in nfref's terms.

The baseline is *copying*: most of a frame does not change. Copying is not a density, so the
difference gets a distribution, fitted to the same frames.

Data: ``python tutorials/applications/fetch.py video``, and ``pip install imageio-ffmpeg``.
"""

# %%
import sys

import fetch
import matplotlib.pyplot as plt
import numpy as np
from _images import encoded
from _video_flow import VideoFlow, frames_and_past, read_video
from scipy.stats import logistic, norm

import nfref

FULL = "--full" in sys.argv  # the long run, whose figure is kept
PAST, PIECE = 2, 16
SIZES = {"carphone_pristine.mp4": ("car", 72, 88), "bikes.mp4": ("bicycles", 68, 160)}

# %%
# The clips, cut in time: early frames to learn from, late ones to test.

early, late = {}, {}
for path in fetch.files("video"):
    name, height, width = SIZES[path.name]
    frames = read_video(path, height, width)
    cut = len(frames) * 4 // 5
    early[name], late[name] = frames[:cut], frames[cut:] if FULL else frames[cut : cut + 5]
    print(f"{name}: {len(frames)} frames of {height} x {width}")


def pieces(rng, count):
    """(count, 256) pieces of frames and (count, 512) the same place in the two frames before."""
    found, before = [], []
    for name in rng.choice(list(early), count):
        frames = early[name]
        t = rng.integers(PAST, len(frames))
        i, j = (rng.integers(0, size - PIECE + 1) for size in frames.shape[1:])
        cube = frames[t - PAST : t + 1, i : i + PIECE, j : j + PIECE].reshape(PAST + 1, -1)
        found.append(cube[-1])
        before.append(cube[-2::-1].ravel())
    return np.array(found, dtype=np.float32), np.array(before, dtype=np.float32)


# %%
# Copying, and more than copying
# ------------------------------
# The difference between a pixel and its prediction is normal, or logistic, which has longer tails;
# whole grey levels take the mass of their cells. The third baseline predicts by a linear function
# of the 3 x 3 pixels around the place in both frames before. The last writes the difference to the
# frame before as a PNG, and counts bytes.
#
# **Predict.** 8 bits per pixel suffice for any noise. How many are left with copying?


def neighbours(frames):
    """(T, H, W, 9) of frames (T, H, W), edges repeated."""
    wide = np.pad(frames.astype(float), ((0, 0), (1, 1), (1, 1)), mode="edge")
    height, width = frames.shape[1:]
    return np.stack(
        [wide[:, a : a + height, b : b + width] for a in range(3) for b in range(3)], -1
    )


def past_of(frames):
    """(T - 2, H, W, 19) of what the linear prediction reads."""
    around = neighbours(frames)
    return np.concatenate([around[1:-1], around[:-2], np.ones((*around[2:].shape[:3], 1))], axis=3)


coefficients = np.linalg.lstsq(
    np.concatenate([past_of(frames).reshape(-1, 19) for frames in early.values()]),
    np.concatenate([frames[2:].ravel() for frames in early.values()]).astype(float),
    rcond=None,
)[0]
predictions = {
    "copy": lambda frames: frames[1:-1].astype(float),
    "linear": lambda frames: past_of(frames) @ coefficients,
}


def fitted(family, predict):
    """The family's scale on differences of the early frames."""
    e = np.concatenate([(f[2:] - predict(f)).ravel() for f in early.values()])
    return family.fit(e[::17], floc=0)[1]


def bits_of_cells(family, predict, frames):
    """Bits per pixel of each frame but the first two; levels 0 and 255 take what is outside."""
    n, scale = frames[2:], fitted(family, predict)
    e = n - predict(frames)
    upper = np.where(n == 255, np.inf, e + 0.5)
    lower = np.where(n == 0, -np.inf, e - 0.5)
    # Both on the side where the tail is thin, so that their difference keeps its digits.
    flip = lower > 0
    upper, lower = np.where(flip, -lower, upper), np.where(flip, -upper, lower)
    mass = family.cdf(upper, scale=scale) - family.cdf(lower, scale=scale)
    return -np.log2(np.maximum(mass, 1e-300)).mean(axis=(1, 2))


def bits_of_png(frames):
    """Bits per pixel of each difference, modulo 256."""
    return np.array(
        [
            8 * len(encoded(new - old, "PNG", optimize=True)) / new.size
            for old, new in zip(frames[1:], frames[2:])
        ]
    )


costs = {name: {} for name in late}
for name, frames in late.items():
    for kind, family, predict in (
        ("copy, normal noise", norm, "copy"),
        ("copy, logistic noise", logistic, "copy"),
        ("linear, logistic noise", logistic, "linear"),
    ):
        costs[name][kind] = bits_of_cells(family, predictions[predict], frames)
    costs[name]["difference as PNG"] = bits_of_png(frames)

# %%
# VideoFlow
# ---------

options = {} if FULL else {"steps": 1, "hidden": (8,), "prior_hidden": (8,)}
density = nfref.Density(VideoFlow((PIECE, PIECE), PAST, **options))
rng = np.random.default_rng(0)
x, before = pieces(rng, 6000 if FULL else 128)
held_out, before_held_out = pieces(rng, 300 if FULL else 32)
result = nfref.fit(
    density,
    density.init(rng),
    nfref.dequantised(rng, x),
    rng,
    context=before,
    validation=nfref.dequantised(rng, held_out),
    validation_context=before_held_out,
    epochs=5 if FULL else 2,
    batch_size=32,
    learning_rate=3e-3,
    schedule="cosine",
    patience=None,
    progress=False,
)
params = nfref.params.cast(result.params, np.dtype(np.float64))


def density_of(name):
    """The same parameters for whole frames."""
    return nfref.Density(VideoFlow(late[name].shape[1:], PAST, **options))


for name, frames in late.items():
    rows, past = frames_and_past(frames, PAST)
    costs[name]["VideoFlow"] = nfref.bits_per_dim(
        density_of(name), params, rows.astype(float), rng, context=past
    )
    for kind, bits in costs[name].items():
        print(
            f"{name:<9}{kind:<23}{bits.mean():.2f} +- {bits.std() / np.sqrt(len(bits)):.2f} "
            "bits per pixel"
        )

# %%
# .. dropdown:: Answer
#
#    About five with a normal, and a little less with longer tails: camera noise does not repeat.
#
# In the full run, in bits per pixel:
#
# ====================== ============ ============
# model                  car          bicycles
# ====================== ============ ============
# copy, normal noise     5.58 +- 0.01 5.99 +- 0.21
# copy, logistic noise   4.66 +- 0.02 5.23 +- 0.27
# linear, logistic noise 4.89 +- 0.02 5.34 +- 0.24
# difference as PNG      3.61 +- 0.07 3.71 +- 0.05
# VideoFlow              3.17 +- 0.06 3.59 +- 0.15
# ====================== ============ ============
#
# The film of the bicycles is cut: one of its late frames, on average more than 40 grey levels from
# the one before it, shows another street. The past predicts neither this frame nor the next one,
# which gets one frame of each street. A Gaussian pays dearly for such surprises: the two frames
# cost 10.4 and 4.6 bits per pixel, where 8 suffice for any frame. The PNG only loses the saving by
# copying, and takes less than 6. In the 46 other frames the flow is ahead of it by 0.24 +- 0.01
# bits, and in the car, which is not cut, by 0.44 +- 0.02.

surprising = {}
for name, frames in late.items():
    jumps = np.abs(np.diff(frames.astype(float), axis=0)).mean(axis=(1, 2)) > 40
    surprising[name] = jumps[1:] | jumps[:-1]
    calm = ~surprising[name]
    ahead = costs[name]["difference as PNG"] - costs[name]["VideoFlow"]
    error = ahead[calm].std() / np.sqrt(np.sum(calm))
    print(
        f"{name:<9}ahead of PNG by {ahead.mean():.2f} bits; in {np.sum(calm)} frames without a "
        f"cut by {ahead[calm].mean():.2f} +- {error:.2f}"
    )
    for bits in costs[name]["VideoFlow"][surprising[name]]:
        print(f"{name:<9}a frame at a cut: {bits:.1f} bits per pixel")

# %%
# What may come
# -------------
# Frames are sampled one after the other, each given the two before it. Many samples of one frame
# show where the future is open: their deviation is large along moving edges.


def drawn_on(name, start, count, temperature, seed):
    """``count`` frames after the frame ``start`` of a late clip, each drawn from the two before."""
    whole, rng = density_of(name), np.random.default_rng(seed)
    frames = list(late[name][start - 1 : start + 1].reshape(2, -1).astype(float))
    for _ in range(count):
        context = np.concatenate([frames[-1], frames[-2]])[None]
        z = temperature * rng.standard_normal((1, whole.dim))
        frames.append(np.clip(whole.flow.forward(params["flow"], z, context)[0][0], 0, 256))
    return np.array(frames[2:]).reshape(count, *late[name].shape[1:])


start, count = (6, 4) if FULL else (1, 2)
truth = late["car"][start + 1 : start + 1 + count]
going_on = drawn_on("car", start, count, 0.5, 1)
many = np.array([drawn_on("car", start, 1, 1.0, seed)[0] for seed in range(8 if FULL else 2)])
copied = np.broadcast_to(late["car"][start], truth.shape)
error = {
    "copy": truth[0].astype(float) - copied[0],
    "drawn at T = 0": truth[0] - drawn_on("car", start, 1, 0.0, 0)[0],
    "mean of drawn": truth[0] - many.mean(axis=0),
}
for kind, e in error.items():
    print(f"next frame, {kind}: off by {np.sqrt(np.mean(e**2)):.2f} grey levels")

# %%
# As a guess, the most probable frame is no better than copying (off by 3.66 grey levels, not 3.54,
# in the full run), and the mean of eight has the noise of eight (4.24). What the flow knows better
# is where, and by how much, a guess may be wrong.

# %%
# The figure.
#
# .. alt: Above, bars of bits per pixel for five models of two clips, VideoFlow lowest. Below,
#    frames of a man in a car: what came, what was drawn, and where the two differ.

fig = plt.figure(figsize=(7.36, 7.8), layout="constrained")
left, right = fig.subfigures(2, 1, height_ratios=(1, 2.2))
for ax, name in zip(left.subplots(1, 2, sharey=True), late):
    kinds = list(costs[name])
    values = [costs[name][kind].mean() for kind in kinds]
    ax.barh(
        kinds,
        values,
        color=["0.7"] * (len(kinds) - 1) + ["#1f4e9c"],
        xerr=[costs[name][kind].std() / np.sqrt(len(late[name])) for kind in kinds],
    )
    for k, value in enumerate(values):
        ax.text(value + 0.35, k, f"{value:.2f}", va="center")
    ax.set(title=f"{name}: bits per pixel", xlim=(0, 8))
    ax.spines[["top", "right"]].set_visible(False)
ax.invert_yaxis()
axes = right.subplots(3, count)
for column, k in enumerate(range(count)):
    for row, (name, frames) in enumerate((("what came", truth), ("drawn, T = 0.5", going_on))):
        axes[row, column].imshow(frames[k], cmap="gray", vmin=0, vmax=255)
        axes[row, 0].set_ylabel(name)
    axes[0, column].set_title(f"frame {k + 1}", fontsize=11)
below = (
    ("the last frame\ngiven", late["car"][start], "gray", 255),
    ("what came,\nless it", np.abs(error["copy"]), "magma", 30),
    ("deviation of\nfirst frames drawn", many.std(axis=0), "magma", 30),
    ("one of them, T = 1", many[0], "gray", 255),
)
for ax, (name, image, colours, most) in zip(axes[2], below):
    ax.imshow(image, cmap=colours, vmin=0, vmax=most)
    ax.set_xlabel(name)
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
plt.show()

# %%
# What this page claims.

rows, past = frames_and_past(late["car"], PAST)
whole = density_of("car").flow
z, log_det = whole.inverse(params["flow"], rows[:2].astype(float) + 0.5, past[:2])
back, log_det_back = whole.forward(params["flow"], z, past[:2])
assert np.max(np.abs(back - rows[:2] - 0.5)) < 1e-6
assert np.max(np.abs(log_det + log_det_back)) < 1e-6
assert going_on.shape == truth.shape
for name in late:
    assert costs[name]["VideoFlow"].mean() < (8 if FULL else 20)
    assert costs[name]["copy, logistic noise"].mean() < costs[name]["copy, normal noise"].mean()
    if FULL:
        for kind in ("copy, normal noise", "copy, logistic noise", "linear, logistic noise"):
            assert costs[name]["VideoFlow"].mean() < costs[name][kind].mean() - 1
        ahead = costs[name]["difference as PNG"] - costs[name]["VideoFlow"]
        assert ahead[~surprising[name]].mean() > 0.1

# %%
# Why one frame after the other is a density
# ------------------------------------------
# For any law with densities,
# :math:`p(x_1, \ldots, x_T) = \prod_t p(x_t \mid x_1, \ldots, x_{t-1})`. Every frame
# goes through one flow f with latents :math:`z_t = f(x_t)`, and the prior of :math:`z_t` reads the
# frames before. Hence
#
# .. math:: \log p(x_t \mid \text{past}) = \log \mathcal{N}(z_t;\, \mu(\text{past}),
#           \sigma(\text{past})) + \log \left|\det \frac{dz_t}{dx_t}\right| .
#
# No derivative by the past enters, as it is given (lesson 14). The network reads only a few frames.
# That is a model in which frames further back add nothing, and still a density. Bits of whole
# frames use that layers are convolutions: at the edges of a piece they see other neighbours than
# inside of a frame, so a network that learned from pieces is a little wrong there.
#
# The density of y given x, as of a frame given the one before:
#
# .. play: given
#
# Exercise 1: a pixel that stays
# ------------------------------
# Copying with logistic noise of scale 2: how many bits does a pixel cost that is exactly what it
# was? Its cell goes from -1/2 to 1/2, and the distribution function is :math:`F(e) = 1 / (1 +
# e^{-e/2})`.

answer_1 = ...  # type a number here


def check_1(answer):
    truth = -np.log2(logistic.cdf(0.5, scale=2) - logistic.cdf(-0.5, scale=2))
    assert answer > 0, "it is not free: the model holds other levels to be possible as well"
    assert np.isclose(answer, truth, rtol=0.01), "-log2 of F(1/2) - F(-1/2)"


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = -np.log2(np.tanh(0.125))
#
#    3.01 bits, since :math:`F(\tfrac12) - F(-\tfrac12) = \tanh \tfrac18`.

# %%
# Exercise 2: the first frame
# ---------------------------
# On paper: a clip has five frames. The first costs 3 bits a pixel, each other 1. How many bits does
# a pixel of the clip cost on average?

answer_2 = ...  # type a number here


def check_2(answer):
    costs_of_frames = np.array([3.0, 1.0, 1.0, 1.0, 1.0])
    assert not np.isclose(answer, 2.0), "the first is one frame of five"
    assert np.isclose(answer, costs_of_frames.mean(), atol=1e-3), "add all frames, divide by five"


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_2 = (3 + 4 * 1) / 5
#
#    1.4: a number "given the past" is smaller, and another one.

# %%
# What can go wrong
# -----------------
# - Bits given the past beside bits of single frames.
# - A clip's last fifth that shows what its first fifths do: a static camera.
# - Sampled frames fed back: errors grow, and no likelihood shows it.
