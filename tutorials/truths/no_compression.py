r"""
No compression by default
=========================

*A flow knows the density of the data. Does its latent compress them?*

A flow is a bijection, so z has as many numbers as x. Data may lie near a sheet of two dimensions in
a space of eight; a flow fitted to them still has eight latents, each standard normal, and you
cannot leave one out. Likelihood gives a *density*, from which you can build a coder; it does not
give a small code.

Rounding turns a bijection into a code. Helminger et al. (2020, arXiv:2008.10486) map pictures to
latents by a flow, round the latents to whole numbers, and write these by an entropy coder. A flow
for that purpose is not fitted by likelihood. It minimises

.. math::

   \underbrace{-\log_2 P(\mathrm{round}(z))}_{\text{bits}}
   + \lambda\, \underbrace{|x - f(\mathrm{round}(z))|^2}_{\text{error}}, \qquad z = f^{-1}(x),

and parts that do not matter to x shrink to less than a half in z, where rounding gives zero at
almost no cost. This page compares the two flows, and both with principal components, on a sheet
whose dimension is known and on handwritten digits.

The application on compression, ``tutorials/applications/writing_files.py``, writes real bytes.
"""

# %%
import sys

import autograd.numpy as anp
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import nfref
from nfref.objectives import dequantised_likelihood
from nfref.plots.canvas import COLOURS

FULL = "--full" in sys.argv  # the long run, whose figure is kept

# %%
# The two objectives
# ------------------
# Rounding has no gradient; noise from (-1/2, 1/2) stands in for it while learning. With a logistic
# law F for each latent, whose place and scale are learned, the probability of the whole number n is
# :math:`F(n + \tfrac12) - F(n - \tfrac12)`, and with a, b the two arguments it is
# :math:`\sigma(a)\, \sigma(-b)\, (1 - e^{b - a})`.


def bits_of_rounded(z, law):
    """-log2 (F(z + 1/2) - F(z - 1/2)), summed over the latents: (N,)."""
    narrow = anp.exp(-law["log_scale"])
    a, b = ((z - law["location"] + shift) * narrow for shift in (0.5, -0.5))
    nats = anp.logaddexp(0, -a) + anp.logaddexp(0, b) - anp.log(-anp.expm1(-narrow))
    return anp.sum(nats, axis=1) / np.log(2)


def rate_and_error(weight):
    """The objective above, with lambda = weight."""

    def objective(density, params, x, context, rng):
        z, _ = density.flow.inverse(params["flow"], x)
        z = z + rng.uniform(-0.5, 0.5, x.shape).astype(x.dtype)
        again, _ = density.flow.forward(params["flow"], z)
        return anp.mean(
            bits_of_rounded(z, params["base"]) + weight * anp.sum((again - x) ** 2, axis=1)
        )

    return objective


# %%
# Both flows are made alike: principal components, then couplings with a shuffle between. The flow
# for likelihood starts with components of variance one, as its base wants them; that for rounding
# with components in the units of the data, so that it starts as the classical coder, and any gain
# is the couplings'.


def principal(x):
    """Mean (D,), components (D, D) in rows, standard deviations (D,)."""
    centre = x.mean(axis=0)
    _, singular, rows = np.linalg.svd(x - centre, full_matrices=True)
    return centre, rows, np.sqrt(singular**2 / len(x))


def make_flow(x, scales, layers):
    centre, rows, _ = principal(x)
    dim, own = x.shape[1], np.random.default_rng(9)
    couplings = [
        nfref.RealNVP(dim, layers, (64, 64), transformer=nfref.Affine(bound=1.0)) for _ in range(2)
    ]
    return nfref.Chain(
        [
            nfref.ElementwiseAffine(dim),
            couplings[0],
            nfref.Permutation(own.permutation(dim).tolist()),
            couplings[1],
            nfref.Standardise([0.0] * dim, scales.tolist()),
            nfref.FixedLinear(rows.T.astype(float)),
            nfref.Standardise(centre.tolist(), [1.0] * dim),
        ]
    )


def learn(x, flow, base, objective, epochs):
    density, own = nfref.Density(flow, base), np.random.default_rng(1)
    result = nfref.fit(
        density,
        density.init(own),
        x,
        own,
        validation=None,
        batch_size=64,
        epochs=epochs if FULL else 2,
        learning_rate=2e-3,
        schedule="cosine",
        patience=None,
        objective=objective,
        progress=False,
    )
    return density, result.params


def codes(x, step, weight, epochs, layers, likelihood=None):
    """Three (encode, decode): principal components, a flow by likelihood, a flow for rounding."""
    centre, rows, deviations = principal(x)
    dim = x.shape[1]
    # The parameters of a DiagonalNormal, a place and a scale for each latent, serve as the law's.
    flows = {
        "flow by likelihood": (np.maximum(deviations, 0.3), nfref.StandardNormal(dim), likelihood),
        "flow for rounding": (
            np.full(dim, step),
            nfref.DiagonalNormal(dim),
            rate_and_error(weight),
        ),
    }
    found = {"principal components": (lambda x: (x - centre) @ rows.T, lambda z: z @ rows + centre)}
    for name, (scales, base, objective) in flows.items():
        density, params = learn(x, make_flow(x, scales, layers), base, objective, epochs)
        flow, own = density.flow, params["flow"]
        found[name] = (
            lambda x, f=flow, p=own: f.inverse(p, x.astype(np.float32))[0],
            lambda z, f=flow, p=own: f.forward(p, z.astype(np.float32))[0],
        )
    return found


def distance(x, y):
    """Root of the mean square of all numbers."""
    return np.sqrt(np.mean((x.astype(float) - y) ** 2))


# %%
# What rounded latents cost
# -------------------------
# Latents are divided by a step and rounded; the bits are those of an ideal coder with a histogram
# for each latent, counted on the rows that were learned from. Error and bits are of other rows.


def bits_and_error(code, x, test, step):
    """Bits per number and error of test rows whose latents are rounded to multiples of a step."""
    encode, decode = code
    known, new = (np.round(encode(rows) / step).astype(int) for rows in (x, test))
    lowest = np.minimum(known.min(axis=0), new.min(axis=0))
    bits = 0.0
    for learned, written in zip((known - lowest).T, (new - lowest).T):
        counts = np.bincount(learned, minlength=max(learned.max(), written.max()) + 1) + 0.1
        bits -= np.mean(np.log2(counts / counts.sum())[written])
    return bits / x.shape[1], distance(decode(new * step), test)


STEPS = 2.0 ** np.arange(-3, 5)


def rate_curves(found, x, test):
    """Bits and errors of every code at all steps: {name: (bits, errors)}."""
    return {
        name: np.transpose([bits_and_error(code, x, test, step) for step in STEPS])
        for name, code in found.items()
    }


def bits_at(curve, error):
    """Bits for an error, on a line of bits against the logarithm of the error."""
    bits, errors = curve[:, np.argsort(curve[1])]
    return np.interp(np.log(error), np.log(errors), bits)


# %%
# A sheet of two dimensions in eight
# ----------------------------------
# Eight curved functions of two numbers, turned by a random rotation, with noise of a tenth. To
# rounding, a latent counts if its deviation is above that of rounding itself,
# :math:`1 / \sqrt{12} = 0.29`.
#
# **Predict.** How many latents count, in each of the three codes?


def sheet(n, rng):
    a, b = rng.uniform(-1, 1, (2, n))
    curved = np.stack(
        [a, b, a * b, a**2 - b**2, np.sin(2 * a), np.sin(2 * b), np.cos(a + b), np.cos(a - b)],
        axis=1,
    )
    turn = np.linalg.qr(np.random.default_rng(3).standard_normal((8, 8)))[0]
    return (16 * curved @ turn + 0.1 * rng.standard_normal((n, 8))).astype(np.float32)


rng = np.random.default_rng(0)
x, test = sheet(4000 if FULL else 500, rng), sheet(1000, rng)
of_sheet = codes(x, step=4.0, weight=0.3, epochs=60, layers=4)
sheet_curves = rate_curves(of_sheet, x, test)
deviation = {name: np.sort(encode(x).std(axis=0))[::-1] for name, (encode, _) in of_sheet.items()}
for name in of_sheet:
    print(
        f"{name:<21} {8 * bits_at(sheet_curves[name], 0.5):5.1f} bits a row for an error of 0.5; "
        "deviations " + " ".join(f"{d:.2f}" for d in deviation[name])
    )

# %%
# .. dropdown:: Answer
#
#    Seven principal components, because the sheet bends into seven directions. All eight latents of
#    the flow by likelihood, because all are standard normal. Two latents of the flow for rounding.
#
# In the full run an error of 0.5 takes 24.7 bits a row by principal components, 37.3 by the flow
# fitted by likelihood, 10.2 by the flow for rounding. The flow by likelihood has eight latents of
# deviation 0.85 to 1, noise and sheet alike: you cannot drop one, and rounding pays for the noise
# as for the rest. The flow for rounding has unrolled the sheet: two latents of deviation 3.7, and
# six below 0.1 that are rounded to zero. The map is still a bijection and removes nothing; six of
# its rounded numbers are constant. A flow can also keep two latents from the start:
# :doc:`flows onto surfaces </methods/injective>` measures that on this sheet.
#
# Digits
# ------
# 8 x 8 pixels of 17 grey levels.

digits = np.random.default_rng(0).permutation(load_digits().data.astype(np.float32))
x, test = digits[: 1400 if FULL else 300], digits[1400:]
of_digits = codes(x, step=1.0, weight=1.0, epochs=80, layers=2, likelihood=dequantised_likelihood)
curves = rate_curves(of_digits, x, test)
raw = 64 * 32 / (64 * np.log2(17))
print(f"64 latents in float32 take {raw:.1f} times the room of 64 pixels of 17 levels")
at_one = {name: bits_at(curve, 1.0) for name, curve in curves.items()}
for name in of_digits:
    print(f"{name:<21} {at_one[name]:.2f} bits per pixel for an error of one grey level")
print(
    "flow for rounding / principal components: "
    f"{at_one['flow for rounding'] / at_one['principal components']:.2f} times the bits"
)

# %%
# Fitted by likelihood, a flow is the worst of the three as a code: an error in a latent is worth
# more or less to the picture, and the likelihood does not know how much. The flow for rounding
# is 3 % better than the principal components that it started from, which is not much: digits of
# 64 pixels and 1400 examples leave little to unroll.
#
# The figure: how wide the latents of the sheet are, what digits cost, and digits at one bit each
# pixel.
#
# .. alt: Left, standard deviations of eight latents of a sheet of two dimensions: all near one
#    for the flow by likelihood, two large and six tiny for the flow for rounding. Right, error
#    against bits for digits: the flow by likelihood needs twice the bits. Below, digits at one
#    bit per pixel by the three codes.


def at_bits(name, wanted):
    """Test digits decoded from latents rounded by the step that costs ``wanted`` bits a pixel."""
    code = of_digits[name]
    low, high = 0.05, 50.0
    for _ in range(25):
        step = np.sqrt(low * high)
        low, high = (step, high) if bits_and_error(code, x, test, step)[0] > wanted else (low, step)
    encode, decode = code
    return decode(np.round(encode(test) / step) * step)


figure = plt.figure(figsize=(7.36, 8.6), layout="constrained")
above, right = figure.subfigures(2, 1, height_ratios=(1, 1.15))
left, middle = above.subfigures(1, 2)
ax = left.subplots()
for colour, (name, deviations) in zip(COLOURS, deviation.items()):
    ax.plot(range(1, 9), deviations, "o-", color=colour, label=name)
ax.axhline(12**-0.5, color="0.4", linestyle=":")
ax.text(3, 0.31, "rounded away below", va="bottom", fontsize=9, color="0.3")
ax.set(
    yscale="log",
    xlabel="latent, widest first",
    ylabel="standard deviation",
    title="a sheet of 2 dimensions in 8",
    ylim=(0.05, 300),
)
ax.legend(fontsize=9, loc="upper right")
ax = middle.subplots()
for colour, (name, curve) in zip(COLOURS, curves.items()):
    ax.plot(*curve, "o-", color=colour, label=name, markersize=4)
ax.set(
    yscale="log",
    xlim=(0, 4),
    ylim=(0.2, 6),
    xlabel="bits per pixel",
    ylabel="error, grey levels",
    title="digits: error against bits",
)
ax.set_yticks([0.25, 0.5, 1, 2, 4], ["1/4", "1/2", "1", "2", "4"])
ax.minorticks_off()
ax.legend(fontsize=9)
strips = {"test digits": test, **{name: at_bits(name, 1.0) for name in of_digits}}
for ax, (name, rows) in zip(right.subplots(4, 1), strips.items()):
    tiles = np.pad(rows[:9].reshape(9, 8, 8), ((0, 0), (1, 1), (1, 1)))
    ax.imshow(np.concatenate(tiles, axis=1), cmap="gray_r", vmin=0, vmax=16)
    ax.set_title(name if rows is test else f"{name}, error {distance(rows, test):.2f}", fontsize=11)
    ax.axis("off")
right.suptitle("at one bit per pixel")
plt.show()

# %%
# What this page claims.

rounding, likelihood = "flow for rounding", "flow by likelihood"
for found, rows in ((of_sheet, sheet(200, rng)), (of_digits, test)):  # bijections lose nothing
    assert all(distance(decode(encode(rows)), rows) < 1e-3 for encode, decode in found.values())
assert min(deviation[likelihood]) > 12**-0.5
assert at_one[rounding] < at_one[likelihood]
if FULL:
    assert np.sum(deviation[rounding] > 12**-0.5) == 2
    assert at_one[rounding] < at_one["principal components"] < at_one[likelihood] - 0.5
    sheet_bits = {name: bits_at(curve, 0.5) for name, curve in sheet_curves.items()}
    assert sheet_bits[rounding] < 0.6 * min(
        sheet_bits[likelihood], sheet_bits["principal components"]
    )

# %%
# A narrow direction of the data is stretched to a latent that is as wide as any other:
#
# .. play: likely
#
# Exercise 1: a latent that is rounded
# ------------------------------------
# A latent is standard normal and is rounded to whole numbers. What is the probability of zero,
# :math:`P(|z| < \tfrac12)`?

answer_1 = ...  # type a number here


def check_1(answer):
    truth = np.mean(np.abs(np.random.default_rng(1).standard_normal(10**6)) < 0.5)
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-6), "the mass between -1/2 and 1/2"


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = 0.3829
#
#    0.383, so that even a zero costs 1.4 bits.

# %%
# Exercise 2: a narrow latent
# ---------------------------
# On paper: a latent is normal with deviation 0.2, and is rounded to whole numbers. What is the
# probability of zero?

answer_2 = ...  # type a number here


def check_2(answer):
    z = 0.2 * np.random.default_rng(6).standard_normal(4_000_000)
    assert np.isclose(answer, np.mean(np.abs(z) < 0.5), atol=2e-3), "P(|z| < 2.5 deviations)"


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_2 = 0.9876
#
#    0.988, so that a zero costs 0.02 bits: such a latent is nearly free.

# %%
# What can go wrong
# -----------------
# - Counting latents by their order: all are standard normal under likelihood.
# - Bits of rounded latents without the cost of the model that the receiver needs.
