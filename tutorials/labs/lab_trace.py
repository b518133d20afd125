r"""
Lab: write the trace of a continuous flow
=========================================

*A network, its derivative by hand, and a likelihood.*

The velocity is a network with two hidden layers,

.. math:: f(x, t) = W_3 \tanh(W_2 \tanh(W_1 [x, t] + b_1) + b_2),

in rows: ``tanh(tanh([x, t] @ W1 + b1) @ W2 + b2) @ W3``. You write its trace, an estimate of it,
and the log-density of rows,

.. math:: \log p(x) = \log p_Z(z) - \int_0^1 \operatorname{tr} \frac{\partial f}{\partial x}\, dt .

No solution stands here; lesson 8 has the derivation.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np

import nfref


def new_net(rng, dim, hidden=12):
    """Return W1, b1, W2, b2, W3; the last row of W1 belongs to t."""
    return (
        rng.normal(size=(dim + 1, hidden)) / np.sqrt(dim + 1),
        0.3 * rng.normal(size=hidden),
        rng.normal(size=(hidden, hidden)) / np.sqrt(hidden),
        0.3 * rng.normal(size=hidden),
        rng.normal(size=(hidden, dim)) / np.sqrt(hidden),
    )


def velocity(net, t, x):
    W1, b1, W2, b2, W3 = net
    first = np.tanh(x @ W1[:-1] + t * W1[-1] + b1)
    return np.tanh(first @ W2 + b2) @ W3


def as_nfref(net, dim):
    """Return nfref's CNF with the same network."""
    W1, b1, W2, b2, W3 = net
    layers = [(W1, b1), (W2, b2), (W3, np.zeros(dim))]
    flow = nfref.CNF(dim, (len(b1), len(b2)), rtol=1e-8, atol=1e-8)
    return nfref.Density(flow), {
        "base": {},
        "flow": {"net": [{"weight": weight, "bias": bias} for weight, bias in layers]},
    }


# %%
# **Predict.** Points start at the corners of a small square and follow f. Where the trace is
# positive, does the square grow or shrink?

net = new_net(np.random.default_rng(3), 2)
density, params = as_nfref(net, 2)
starts = np.random.default_rng(0).normal(size=(60, 2))
paths = density.flow.trajectory(params["flow"], starts, np.linspace(0, 1, 30)).values

# %%
# .. dropdown:: Answer
#
#    It grows, at the rate of the trace, and the density at a moving point falls.
#
# .. alt: Sixty curved paths in the plane, each from a grey point to a blue one.

fig, ax = plt.subplots(figsize=(5, 3.4), layout="constrained")
ax.plot(paths[:, :, 0], paths[:, :, 1], color="0.7", linewidth=0.8)
ax.plot(*paths[-1].T, ".", color="tab:blue")
ax.set(xticks=[], yticks=[], title="points carried by f")
plt.show()

# %%
# Exercise 1: the exact trace
# ---------------------------
# ``answer_1(net, t, x)`` returns the trace of df/dx, (N,), from the weights and the slopes of tanh,
# for t a number.

answer_1 = ...  # type your answer here, as a function


def check_1(answer):
    rng = np.random.default_rng(1)
    for dim in (1, 3):
        net, x, h = new_net(rng, dim), rng.normal(size=(10, dim)), 1e-5
        found = sum(
            (velocity(net, 0.3, x + h * e) - velocity(net, 0.3, x - h * e))[:, k] / (2 * h)
            for k, e in enumerate(np.eye(dim))
        )
        got = answer(net, 0.3, x)
        assert np.shape(got) == (10,), "one trace for each row"
        assert np.allclose(got, found, atol=1e-7), (
            "by the chain rule df/dx = W1 diag(slope) W2 diag(slope) W3, without the row of t"
        )


nfref.exercises.grade(check_1, answer_1)

# %%
# Exercise 2: an estimate
# -----------------------
# ``answer_2(net, t, x, v)`` returns Hutchinson's estimate :math:`v^\top (\partial f/\partial x)\,
# v` for rows v, without a D x D matrix.

answer_2 = ...  # type your answer here, as a function


def check_2(answer):
    rng = np.random.default_rng(2)
    net, x, h = new_net(rng, 3), rng.normal(size=(10, 3)), 1e-5
    v = rng.normal(size=x.shape)
    along = (velocity(net, 0.6, x + h * v) - velocity(net, 0.6, x - h * v)) / (2 * h)
    assert np.allclose(answer(net, 0.6, x, v), np.sum(v * along, axis=1), atol=1e-6), (
        "the derivative along v, times v"
    )


nfref.exercises.grade(check_2, answer_2)

# %%
# Exercise 3: the likelihood
# --------------------------
# ``answer_3(net, x, steps)`` returns log p(x), by ``steps`` steps of Runge and Kutta from t = 1
# back to t = 0, for x and the integral together.

answer_3 = ...  # type your answer here, as a function


def check_3(answer):
    rng = np.random.default_rng(4)
    net, x = new_net(rng, 2), rng.normal(size=(20, 2))
    density, params = as_nfref(net, 2)
    expected = density.log_prob(params, x)
    got = answer(net, x, 20)
    assert not np.allclose(got, density.log_prob(params, x[::-1])), "row by row"
    assert np.allclose(got, expected, atol=1e-4), "nfref has another log-density"
    coarse = np.max(np.abs(answer(net, x, 5) - expected))
    fine = np.max(np.abs(answer(net, x, 10) - expected))
    assert fine < coarse / 8, "half the step, a sixteenth of the error: is it of fourth order?"


nfref.exercises.grade(check_3, answer_3)

# %%
# What can go wrong
# -----------------
# - The integral taken along another path than that of x: both belong into one step.
# - Time forgotten in the middle of a step: f at t + h / 2.
