r"""
Lab: write a coupling
=====================

*Fifty lines from an empty function to a density.*

You write RealNVP's affine coupling for rows of any length D at least 2, and a stack of them. The
network is given. Split a row after :math:`k = \lfloor D / 2 \rfloor` numbers, z = (a, b); then

.. math:: x = (a,\; b\, e^{s(a)} + t(a)), \qquad
          \log\left|\det \frac{dx}{dz}\right| = \sum_i s_i(a).

Before each further layer of a stack, the order of all coordinates is reversed. No solution stands
here. The checks try your functions by finite differences; lesson 3 has the derivation.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np

import nfref


def network(weights, a):
    """Return (s, t) from the first part of the rows."""
    first, bias, last = weights
    return np.split(np.tanh(a @ first + bias) @ last, 2, axis=1)


def new_weights(rng, dim, hidden=16):
    k = dim // 2
    return (
        rng.normal(size=(k, hidden)),
        rng.normal(size=hidden),
        0.3 * rng.normal(size=(hidden, 2 * (dim - k))),
    )


def by_differences(map_of_rows, rows, h=1e-5):
    """log |det| of the Jacobian of a map at each row, by central differences."""
    columns = [
        (map_of_rows(rows + h * e) - map_of_rows(rows - h * e)) / (2 * h)
        for e in np.eye(rows.shape[1])
    ]
    return np.linalg.slogdet(np.stack(columns, axis=2))[1]


# %%
# **Predict.** A grid of straight lines goes through one coupling of the plane. Which of its lines
# stay straight?

rng = np.random.default_rng(0)
line = np.linspace(-2, 2, 81)
flow = nfref.Coupling((True, False), nfref.Affine("exp"), hidden=(16,))
params = flow.init(rng)
params["net"][-1]["weight"] = 0.3 * rng.normal(size=params["net"][-1]["weight"].shape)

# %%
# .. dropdown:: Answer
#
#    The lines along the second axis, since the first number of a row stays as it is.
#
# .. alt: A square grid, and its image: upright lines stay straight, the others are bent.

fig, axes = plt.subplots(1, 2, figsize=(7.36, 3), layout="constrained")
for value in np.linspace(-2, 2, 9):
    for rows in (
        np.stack([line, np.full(81, value)], axis=1),
        np.stack([np.full(81, value), line], axis=1),
    ):
        for ax, curve in zip(axes, (rows, flow.forward(params, rows)[0])):
            ax.plot(*curve.T, color="tab:blue", linewidth=0.8)
for ax, title in zip(axes, ("z", "x, by one coupling")):
    ax.set(title=title, xticks=[], yticks=[])
plt.show()

# %%
# Exercise 1: forward
# -------------------
# ``answer_1(weights, z)`` returns (x, log_det), of the shapes (N, D) and (N,).

answer_1 = ...  # type your answer here, as a function


def check_1(answer):
    rng = np.random.default_rng(1)
    for dim in (2, 4):
        weights, z = new_weights(rng, dim), rng.normal(size=(20, dim))
        x, log_det = answer(weights, z)
        assert np.array_equal(x[:, : dim // 2], z[:, : dim // 2]), "the first part stays"
        assert np.shape(log_det) == (20,), "one log-determinant for each row"
        found = by_differences(lambda rows: answer(weights, rows)[0], z)
        assert np.allclose(log_det, found, atol=1e-6), "log_det is not that of your own map"
        _, t = network(weights, z[:, : dim // 2])
        still = answer(weights, np.concatenate([z[:, : dim // 2], 0 * t], axis=1))[0]
        assert np.allclose(still[:, dim // 2 :], t), "b = 0 goes to t(a)"


nfref.exercises.grade(check_1, answer_1)

# %%
# Exercise 2: inverse
# -------------------
# ``answer_2(weights, x)`` returns (z, log_det), the log-determinant of the direction just taken.

answer_2 = ...  # type your answer here, as a function


def check_2(answer):
    rng = np.random.default_rng(2)
    weights, x = new_weights(rng, 4), rng.normal(size=(20, 4))
    z, log_det = answer(weights, x)
    s, t = network(weights, x[:, :2])
    assert np.allclose(z[:, 2:] * np.exp(s) + t, x[:, 2:]), "solve for b"
    assert np.allclose(z[:, :2], x[:, :2]), "a stays"
    assert np.allclose(log_det, by_differences(lambda rows: answer(weights, rows)[0], x)), (
        "of the direction just taken, x to z"
    )


nfref.exercises.grade(check_2, answer_2)

# %%
# Exercise 3: a density
# ---------------------
# ``answer_3(stack, x)`` returns log p(x) of a list of weights; the first one acts first on z. The
# base is standard normal.

answer_3 = ...  # type your answer here, as a function


def check_3(answer):
    rng = np.random.default_rng(3)
    stack = [(*first, 0.4 * last) for *first, last in (new_weights(rng, 2) for _ in range(3))]
    side = np.linspace(-14, 14, 561)
    rows = np.stack(np.meshgrid(side, side), axis=2).reshape(-1, 2)
    mass = np.exp(answer(stack, rows)).sum() * (side[1] - side[0]) ** 2
    assert abs(mass - 1) < 0.01, f"the density has mass {mass:.3f}, not 1"
    one = np.array([[0.3, -0.8]])
    s, t = network(stack[0], one[:, :1])
    z = np.concatenate([one[:, :1], (one[:, 1:] - t) * np.exp(-s)], axis=1)
    expected = -0.5 * np.sum(z**2, axis=1) - np.log(2 * np.pi) - s[:, 0]
    assert np.allclose(answer(stack[:1], one), expected), "one layer: no reversal before it"
    assert not np.allclose(answer(stack[:2], one), answer([stack[1], stack[0]], one)), (
        "the order of the layers counts"
    )


nfref.exercises.grade(check_3, answer_3)

# %%
# What can go wrong
# -----------------
# - A log-determinant with the sign of the other direction: the round trip does not show it.
# - Rows changed in place: the second call then sees other rows.
