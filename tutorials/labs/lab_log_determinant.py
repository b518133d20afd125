r"""
Lab: find a wrong log-determinant
=================================

*Four layers. One lies, and only somewhere.*

Each function below takes rows z (N, 2) and returns (x, log_det). Every map is right and can be
inverted. The log-determinant of one is wrong, for some rows only. Write the tool that finds it,
find it, and mend it. For a layer with Jacobian J, what counts at a row is

.. math:: e(z) = \text{log\_det}(z) - \log |\det J(z)| .

No solution stands here; lesson 16 has the ways to look.
"""

# %%
import hashlib

import matplotlib.pyplot as plt
import numpy as np

import nfref


def shear(z):
    x = np.stack([z[:, 0], z[:, 1] + np.sin(2 * z[:, 0])], axis=1)
    return x, np.zeros(len(z))


def leaky(z):
    x = np.where(z > 0, z, 0.2 * z)
    return x, np.log(0.2) * np.sum(z[:, :1] < 0, axis=1) + np.log(0.2) * (z[:, 1] < 0)


def radial(z):
    r = np.sqrt(np.sum(z**2, axis=1, keepdims=True))
    h = 1 / (1 + r)
    x = z * (1 + 0.8 * h)
    slope = 1 + 0.8 * h - 0.8 * h**2 * r
    return x, np.log(np.where(r > 1.5, 1 + 0.8 * h, slope) * (1 + 0.8 * h))[:, 0]


def swish(z):
    s = 1 / (1 + np.exp(-z))
    x = z + 0.5 * s
    return x, np.sum(np.log(1 + 0.5 * s * (1 - s)), axis=1)


LAYERS = {"shear": shear, "leaky": leaky, "radial": radial, "swish": swish}

# %%
# **Predict.** A round trip maps z to x and back. Will it find the layer?
#
# .. dropdown:: Answer
#
#    No. It never looks at a log-determinant.
#
# .. alt: Four small panels: a grid after each of the four layers. All look smooth or folded at most
#    at the axes.

line = np.linspace(-2, 2, 61)
fig, axes = plt.subplots(1, 4, figsize=(7.36, 2.1), layout="constrained")
for ax, (name, layer) in zip(axes, LAYERS.items()):
    for value in np.linspace(-2, 2, 9):
        for rows in (np.stack([line, 0 * line + value], 1), np.stack([0 * line + value, line], 1)):
            ax.plot(*layer(rows)[0].T, color="tab:blue", linewidth=0.7)
    ax.set(title=name, xticks=[], yticks=[])
plt.show()

# %%
# Exercise 1: the tool
# --------------------
# ``answer_1(layer, z)`` returns e(z), (N,), by central differences.

answer_1 = ...  # type your answer here, as a function


def check_1(answer):
    z = np.random.default_rng(0).normal(size=(50, 2))
    error = answer(lambda rows: (rows @ [[2.0, 1.0], [0.5, -1.0]], np.full(len(rows), 1.0)), z)
    assert np.shape(error) == (50,), "one error for each row"
    assert np.allclose(error, 1 - np.log(2.5), atol=1e-6), "log_det minus log |det J|: the sign?"
    cube = answer(lambda rows: (rows**3, np.sum(np.log(3 * rows**2), axis=1)), z + 3)
    assert np.allclose(cube, 0, atol=1e-5), "a right layer has no error"


nfref.exercises.grade(check_1, answer_1)

# %%
# Exercise 2: the layer
# ---------------------
# Which layer is it? Its name, as text.

answer_2 = ...  # type your answer here


def check_2(answer):
    assert answer in LAYERS, f"one of {', '.join(LAYERS)}"
    digest = hashlib.sha256(f"nfref {answer}".encode()).hexdigest()
    assert digest.startswith("f5d28e6db127"), "this one is right: look at more rows, and far out"


nfref.exercises.grade(check_2, answer_2)

# %%
# Exercise 3: the mend
# --------------------
# ``answer_3(z)`` is the layer with the right log-determinant, and the same map.

answer_3 = ...  # type your answer here, as a function


def check_3(answer):
    z, h = 2 * np.random.default_rng(1).normal(size=(500, 2)), 1e-6
    x, log_det = answer(z)
    assert any(np.allclose(x, layer(z)[0]) for layer in LAYERS.values()), "the map was right"
    columns = [(answer(z + h * e)[0] - answer(z - h * e)[0]) / (2 * h) for e in np.eye(2)]
    truth = np.linalg.slogdet(np.stack(columns, axis=2))[1]
    old = max(np.max(np.abs(layer(z)[1] - log_det)) for layer in LAYERS.values())
    assert old > 0 and np.allclose(log_det, truth, atol=1e-5), "still wrong somewhere"
    assert not any(np.allclose(log_det, layer(z)[1]) for layer in LAYERS.values()), (
        "you mended a layer that was right"
    )


nfref.exercises.grade(check_3, answer_3)

# %%
# What can go wrong
# -----------------
# - Rows near zero alone: most errors of published layers were far out, or at the edge of a case.
# - A step of the differences that crosses a kink: the error there is the tool's.
