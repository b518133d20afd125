r"""
Any two networks as a flow
==========================

*Can you train two networks that are not invertible by construction as a flow?*

A free-form flow (Draxler et al. 2023, arXiv:2310.16624) has an encoder :math:`z = f(x)` and a
decoder :math:`x = g(z)`, networks of any form; nothing in them is invertible by construction. (The
letters are the paper's: here f goes from data to latent.) They are trained by

.. math:: -\log p(f(x)) - v^\top f'(x)\, \mathrm{SG}[g'(z) v] + \beta\, |x - g(f(x))|^2 .

The middle term, in which SG stops the gradient, stands for :math:`\log |\det f'(x)|`. Its value is
not that of the determinant, but its gradient is, on average over random v, if g is the inverse of
f. This page checks this promise against the determinant itself, which two dimensions allow. It
holds to rounding if g is the inverse. And after training, when g is only nearly the inverse?
"""

# %%
import sys

import autograd.numpy as anp
import matplotlib.pyplot as plt
import numpy as np
from autograd import grad
from matplotlib.ticker import LogLocator

import nfref
from nfref import datasets
from nfref.flows.free_form import FreeFormFlow
from nfref.objectives.free_form import FreeFormLikelihood, log_det_surrogate, orthogonal_probes
from nfref.runtime import params as trees

FULL = "--full" in sys.argv  # the long run, whose figure is kept

# %%
# The gradient of the surrogate, with as many v as there are coordinates, and of :math:`\log
# |\det f'|` by the Jacobian written out. Both are vectors, one number a parameter of the encoder.


def gradients(flow, params, x, probes, rng):
    vector, unflatten = trees.flatten(params["encoder"])
    decode = flow.decoder(params)

    def surrogate(vector):
        encode = flow.encoder({"encoder": unflatten(vector)})
        return (
            sum(
                anp.mean(log_det_surrogate(encode, decode, x, v)[1])
                for v in orthogonal_probes(rng, *x.shape, probes, x.dtype)
            )
            / probes
        )

    def log_det(vector):
        return anp.mean(flow.inverse({**params, "encoder": unflatten(vector)}, x)[1])

    return grad(surrogate)(vector), grad(log_det)(vector)


def relative_error(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


# %%
# Learning. After each epoch: the error of the gradient, and the distance of the decoder from the
# inverse. The exact likelihood scores held-out rows.
#
# .. alt: Left, the density of the encoder, a banana. Right, samples by one pass of the decoder,
#    the same banana. Below, two errors against epochs: that of the gradient of the
#    log-determinant falls as the decoder gets nearer to the inverse.


def fit(rows, epochs, hidden):
    rng = np.random.default_rng(0)
    x, validation = datasets.banana(rng, rows), datasets.banana(rng, rows // 4)
    flow = FreeFormFlow(2, 3, hidden)
    density = nfref.Density(nfref.Chain([flow, nfref.Standardise.of(x)]))
    errors, misses = [], []

    def watch(state):
        params = state.best_params["flow"][0]
        z = density.flow.flows[1].inverse({}, validation[:200])[0]
        errors.append(relative_error(*gradients(flow, params, z, 2, np.random.default_rng(1))))
        misses.append(np.sqrt(np.mean(flow.reconstruction_error(params, z) ** 2)))

    found = nfref.fit(
        density,
        density.init(rng),
        x,
        rng,
        validation=validation,
        epochs=epochs,
        batch_size=100,
        learning_rate=3e-3,
        schedule="cosine",
        patience=None,
        objective=FreeFormLikelihood(beta=10.0),
        callback=watch,
        progress=False,
    )
    return density, found.params, errors, misses


def figure(density, params, errors, misses, side):
    rng = np.random.default_rng(2)
    low, high = np.array([-4.2, -2.6]), np.array([4.2, 5.8])
    axes_of = [np.linspace(a, b, side) for a, b in zip(low, high)]
    points = np.stack(np.meshgrid(*axes_of), axis=-1).reshape(-1, 2)
    values = np.exp(density.log_prob(params, points))
    fig, places = plt.subplot_mosaic(
        "AB;CC", figsize=(7.36, 6), layout="constrained", height_ratios=(1.25, 1)
    )
    axes = [places[name] for name in "ABC"]
    axes[0].pcolormesh(
        *axes_of,
        np.sqrt(values).reshape(side, side),
        cmap="Blues",
        shading="nearest",
        rasterized=True,
    )
    axes[0].set_title("density of the encoder")
    axes[1].scatter(*density.sample(params, rng, 2000).T, s=2, color="#d95f02", linewidths=0)
    axes[1].set_title("samples: one pass of the decoder")
    for ax in axes[:2]:
        ax.set(xticks=[], yticks=[], aspect="equal", xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    epochs = np.arange(1, len(errors) + 1)
    axes[2].plot(epochs, errors, color="#1f4e9c", label="gradient of log|det|: relative error")
    axes[2].plot(epochs, misses, "--", color="#d95f02", label="x - g(f(x)): root mean square")
    axes[2].set(xlabel="epochs", yscale="log", title="the better the inverse, the truer")
    axes[2].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes[2].yaxis.set_major_formatter("{x:g}")
    axes[2].minorticks_off()
    axes[2].legend(frameon=False)
    plt.show()
    return values.sum() * np.prod([axis[1] - axis[0] for axis in axes_of])


# %%
# Run it
# ------
# **Predict.** The loss never sees a determinant. How far off is its gradient once g is nearly the
# inverse?

density, params, errors, misses = fit(*((4000, 100, (64,)) if FULL else (400, 6, (16,))))
mass = figure(density, params, errors, misses, 201 if FULL else 61)
test = datasets.banana(np.random.default_rng(3), 4000 if FULL else 400)
above = np.mean(datasets.banana.log_prob(test) - density.log_prob(params, test))
print(
    f"{above:.3f} nats above the entropy; the decoder misses by {misses[-1]:.4f}, "
    f"the gradient by {errors[-1]:.2%}"
)
# Where the decoder is the inverse the surrogate's gradient is that of the determinant.
flow, start = density.flow.flows[0], density.flow.flows[0].init(np.random.default_rng(4))
assert relative_error(*gradients(flow, start, test[:50], 2, np.random.default_rng(5))) < 1e-12
# While both learn it stays near: the error is small where the decoder misses little.
assert errors[-1] < (0.1 if FULL else 0.5)
# And what was learned is a density.
assert abs(mass - 1) < (0.02 if FULL else 0.2)
assert above < (0.1 if FULL else 1.5)

# %%
# .. dropdown:: Answer
#
#    By less than a hundredth in the full run, where :math:`g(f(x))` misses x by 0.02; the error of
#    the gradient follows that of the inverse.
#
# One number: an encoder, and a decoder that is not quite its inverse.
#
# .. play: almost
#
# Exercise 1: a value that is no determinant
# ------------------------------------------
# In three dimensions g is exactly the inverse of f, and v is standard normal. What is the mean of
# the middle term, without its sign?

answer_1 = ...  # type a number here


def check_1(answer):
    truth = np.mean(np.sum(np.random.default_rng(1).standard_normal((10**6, 3)) ** 2, axis=1))
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-6), (
        "f'(x) g'(z) is the identity then, and what is the mean of v . v?"
    )


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = 3.0
#
#    3, for any determinant: only the gradient of the term is right.

# %%
# Why the gradient is right
# -------------------------
# Let the parameters of f move a little, so that its Jacobian :math:`F = f'(x)` changes by dF. By
# Jacobi's formula the logarithm of the determinant changes by
#
# .. math:: d \log |\det F| = \operatorname{tr}(F^{-1}\, dF) .
#
# If g is the inverse of f, then :math:`F^{-1} = g'(z)`. And a trace is a mean of products with
# random vectors v, if :math:`E\, v v^\top = I` (lesson 08):
#
# .. math::
#
#    \operatorname{tr}(g'(z)\, dF) = \operatorname{tr}(dF\, g'(z)) = E\; v^\top\, dF\, g'(z)\, v .
#
# That is the change of :math:`v^\top f'(x)\, \mathrm{SG}[g'(z) v]`, in which only f moves.
# Hypotheses: f is invertible at x, g' is its inverse's Jacobian there, and v has independent
# entries of mean 0 and variance 1.
#
# Exercise 2: a gradient by hand
# ------------------------------
# On paper: f(x) = A x with A = [[2, 1], [0, 1]]. What is the derivative of log det A by its entry
# :math:`A_{11}`?

answer_2 = ...  # type a number here


def check_2(answer):
    def log_det(entry):
        return np.linalg.slogdet(np.array([[entry, 1.0], [0.0, 1.0]]))[1]

    by_differences = (log_det(2 + 1e-5) - log_det(2 - 1e-5)) / 2e-5
    assert np.isclose(answer, by_differences, atol=1e-3), "an entry of the inverse of A: which one?"


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_2 = 1 / 2
#
#    dA has a one in its first corner, so the trace is :math:`(A^{-1})_{11} = 1/2`.

# %%
# What can go wrong
# -----------------
# - Reading the middle term of the loss as a log-determinant: its value is D on average.
# - A decoder that is no inverse yet: the gradient points elsewhere. Look at the reconstruction.
# - A likelihood by the encoder alone where :math:`g(f(x))` misses x: it is no density there.
