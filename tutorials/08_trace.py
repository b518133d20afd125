r"""
8. From determinant to trace
============================

*What is left of the determinant when layers become infinitely thin?*

Take very many layers, each of which moves a point by very little. In the limit a point moves with
a velocity, and the log-determinant grows with a rate:

.. math::

   \frac{dz}{dt} = f(z, t), \qquad
   \frac{d}{dt} \log \left| \det \frac{dz(t)}{dz(0)} \right|
   = \operatorname{tr} \frac{\partial f}{\partial z}(z(t), t) .

That is a continuous normalizing flow: neural ODE (Chen et al. 2018, arXiv:1806.07366), theorem 1,
eq. 8. The Jacobian of f is free to be anything: no coordinate has to wait for another, and only
its trace is ever asked for. This page derives the formula, estimates the trace from single random
vectors as FFJORD (Grathwohl et al. 2018, arXiv:1810.01367), section 3.1, does, with the proof and
the variance, and looks at a density on its way from noise to data.
"""

# %%
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
from scipy.linalg import expm

import nfref
from nfref import datasets
from nfref.objectives.flow_matching import FlowMatching
from nfref.plots.canvas import COLOURS

# %%
# Why a trace
# -----------
# In a short time h a point goes to :math:`z + h f(z)`, a map with the Jacobian :math:`I + h J`,
# where :math:`J = \partial f / \partial z`. If :math:`\lambda_i` are the eigenvalues of J,
#
# .. math::
#
#    \log \det (I + h J) = \sum_i \log (1 + h \lambda_i) = h \sum_i \lambda_i + O(h^2)
#    = h\, \operatorname{tr} J + O(h^2).
#
# Log-determinants of maps one after the other add up. So do these, and with h to 0 their sum is the
# integral of the trace along the path. Layers with a large step need a determinant; infinitely
# small ones a trace.
#
# **Predict.** Velocity A z, cut into n steps :math:`z + A z / n`. How does the difference from tr A
# fall with n?

A = np.array([[0.5, 2.0], [-1.0, -0.2]])
for n in (1, 10, 100, 1000):
    log_det = n * np.log(np.linalg.det(np.eye(2) + A / n))
    print(f"{n:5d} steps: log det = {log_det:.4f}")  # 1.1632 0.4784 0.3185 0.3019
print("tr A", np.trace(A))  # 0.3

# %%
# .. dropdown:: Answer
#
#    Like 1/n.
#
# nfref solves the equation for position and log-determinant together, in steps that it
# chooses itself. A network without hidden layers is such a linear velocity; its last row is the
# weight of t, here 0.

linear = nfref.CNF(2, hidden=(), rtol=1e-10, atol=1e-10)
params = {"net": [{"weight": np.vstack([A.T, np.zeros((1, 2))]), "bias": np.zeros(2)}]}
z = np.array([[1.0, 0.5], [-0.3, 2.0]])
x, log_det = linear.forward(params, z)
print("x      ", x.round(4).tolist())
print("e^A z  ", (z @ expm(A).T).round(4).tolist())  # the same
print("log det", log_det.round(10))  # [0.3 0.3], wherever the point is

# %%
# Exercise 1: x' = Ax
# -------------------
# Points move with x' = Ax, now with A as below, from t = 0 to t = 2. What is log abs det of the map
# from the start to the end? Write a number.

A_1 = np.array([[1.0, 7.0], [0.0, -0.4]])
answer_1 = ...  # type your answer here


def check_1(answer):
    truth = np.log(np.abs(np.linalg.det(expm(2 * A_1))))
    assert not np.isclose(answer, truth / 2), "that is the rate; the time is 2"
    assert np.isclose(answer, truth, atol=1e-6), "integrate the trace of the Jacobian A"


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = 2 * np.trace(A_1)
#
#    1.2: :math:`\det e^{tA} = e^{t\, \operatorname{tr} A}`. The 7 shears and changes no area.

# %%
# Free-form against triangular
# ----------------------------
# A coupling and an autoregressive layer buy a cheap determinant with zeros in their Jacobian. Here
# are dx/dz of one layer of each kind, at one point, by finite differences.

rng = np.random.default_rng(0)


def moved(flow):
    """Random parameters: as ``init`` makes them, the flow is the identity."""
    params = flow.init(rng)
    return {
        "net": [
            {name: part + 0.4 * rng.standard_normal(part.shape) for name, part in layer.items()}
            for layer in params["net"]
        ]
    }


def jacobian(flow, params, z, h=1e-4):
    ahead, _ = flow.forward(params, z + h * np.eye(len(z)))
    behind, _ = flow.forward(params, z - h * np.eye(len(z)))
    return (ahead - behind).T / (2 * h)


made, cnf = nfref.MADE(4, hidden=(16,)), nfref.CNF(4, hidden=(16,), rtol=1e-9, atol=1e-9)
made_params, cnf_params = moved(made), moved(cnf)
point = rng.standard_normal(4)
triangular, free = jacobian(made, made_params, point), jacobian(cnf, cnf_params, point)
print("autoregressive\n", triangular.round(2))
print("continuous\n", free.round(2))
_, by_trace = cnf.forward(cnf_params, point[None])
print("log det of the second", np.linalg.slogdet(free)[1].round(6))  # 0.821142
print("by the trace         ", by_trace[0].round(6))  # 0.821142
print("calls of the network ", cnf.trajectory(cnf_params, point[None]).evaluations)

# %%
# One layer mixes all coordinates, and no order had to be chosen. The price is the solve, which
# calls the network again and again.
#
# Hutchinson's estimate
# ---------------------
# The trace needs D entries of J, and each costs a pass through the derivative of the network. (For
# up to two hidden layers nfref has it from one product of matrices instead, exactly.) A random
# vector e gives it from a single pass, on average. Let :math:`E\, e_i e_j` be 1 for i = j and 0
# otherwise. Then
#
# .. math::  E\, e^\top J e = \sum_{ij} J_{ij}\, E\, e_i e_j = \sum_i J_{ii} = \operatorname{tr} J.
#
# How far off is one e? Only the symmetric part :math:`S = (J + J^\top) / 2` matters, as
# :math:`e^\top J e = e^\top S e`.
#
# - *Signs* (Rademacher, every entry 1 or -1). :math:`e_i^2 = 1`, so
#   :math:`e^\top S e = \operatorname{tr} S + 2 \sum_{i<j} S_{ij}\, e_i e_j`. The products
#   :math:`e_i e_j` have mean 0 and variance 1, and two different ones are uncorrelated. The
#   variance is :math:`4 \sum_{i<j} S_{ij}^2 = 2 \sum_{i \ne j} S_{ij}^2`.
# - *Normal*. A normal vector looks the same in the axes in which S is diagonal, with the
#   eigenvalues :math:`\lambda_i`: :math:`e^\top S e = \sum_i \lambda_i \epsilon_i^2`. Each
#   :math:`\epsilon_i^2` has the variance 2. The variance is
#   :math:`2 \sum_i \lambda_i^2 = 2 \sum_{ij} S_{ij}^2`.
#
# So signs are never worse: they lack the diagonal's part.
#
# **Predict.** For a J with a large diagonal: by how much?

J = 0.3 * rng.standard_normal((6, 6)) + np.diag([2.0, -1.0, 1.5, 0.5, -2.0, 1.0])
S = (J + J.T) / 2
variances = {
    "rademacher": 2 * (np.sum(S**2) - np.sum(np.diag(S) ** 2)),
    "gaussian": 2 * np.sum(S**2),
}
draws = 50_000
wide = nfref.CNF(6, hidden=(), solver="rk4", steps=1)  # one step: the trace is constant
weight = np.vstack([J.T, np.zeros((1, 6))])
wide_params = {"net": [{"weight": weight, "bias": np.zeros(6)}]}
estimates = {}
for noise, variance in variances.items():
    probed = wide.with_probes(rng, draws, noise=noise)
    _, estimates[noise] = probed.forward(wide_params, np.zeros((draws, 6)))
    by_hand = np.sum(probed.probes[0] @ J * probed.probes[0], axis=1)  # e^T J e
    assert np.allclose(estimates[noise], by_hand, rtol=1e-10)
    print(
        f"{noise:10s} mean {estimates[noise].mean():.3f} (tr J = {np.trace(J):.3f}), "
        f"variance {estimates[noise].var():.2f} (predicted {variance:.2f})"
    )

# %%
# .. dropdown:: Answer
#
#    More than tenfold here.
#
# The estimate is unbiased for the log-density of a row, not for the
# density: the exponential of a noisy number is too large on average. To fit, noise will do; to
# report a density, take the exact trace.
#
# Exercise 2: the variance by hand
# --------------------------------
# J = [[1, 2], [0, 3]]. What is the variance of :math:`e^\top J e` if e has random signs?

answer_2 = ...  # type your answer here


def check_2(answer):
    J = np.array([[1, 2], [0, 3]])
    all_signs = np.array([e @ J @ e for e in np.array(list(product((-1, 1), repeat=2)))])
    assert not np.isclose(answer, 24), "that is for normal e; signs square to 1"
    assert np.isclose(answer, all_signs.var()), (
        "write out e^T J e = 1 + 3 + 2 e_1 e_2; what are its two values?"
    )


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_2 = 2 * (1 ** 2 + 1 ** 2)
#
#    S = [[1, 1], [1, 3]] has two entries 1 off its diagonal. Indeed the estimate is 4 + 2 or 4 - 2.

# %%
# In the plane, with a matrix for f:
#
# .. play: carry
#
# A density that flows
# --------------------
# Along the way there is a density at every t, not only at the ends:
#
# .. math::
#
#    \log p_t(z(t)) = \log p_0(z(0)) - \int_0^t \operatorname{tr} \frac{\partial f}{\partial z}\,
#    dt.
#
# The velocity is learned here by flow matching, which page 09 explains: no equation is solved while
# it learns. To know the density at time t, follow each point of a grid back to the noise.

rows = datasets.eight_gaussians(rng, 2000)
flow = nfref.Chain([nfref.CNF(2, (48, 48)), nfref.Standardise.of(rows)])
density = nfref.Density(flow)
learned = nfref.fit(
    density,
    density.init(rng),
    rows,
    rng,
    validation=None,
    epochs=40,
    batch_size=64,
    learning_rate=1e-2,
    schedule="cosine",
    patience=None,
    objective=FlowMatching(pairing="ot"),
    progress=False,
).params
cnf, cnf_params = flow.flows[0], learned["flow"][0]
test = datasets.eight_gaussians(rng, 1000)
above = np.mean(datasets.eight_gaussians.log_prob(test) - density.log_prob(learned, test))
print("nats above the entropy of the data", above.round(2))  # about 0.1

# %%
# **Predict.** p is a density at t = 0 and at t = 1. What is its integral in between, where nothing
# was ever fitted?

times = (0.0, 0.4, 0.7, 1.0)
axis = np.linspace(-3, 3, 81)
points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)


def log_density_at(t):
    if t == 0:
        return density.base.log_prob({}, points)
    path = cnf.trajectory(cnf_params, points, (t, 0.0))
    return density.base.log_prob({}, path.values[-1]) + path.log_det[-1]


pictures = [np.exp(log_density_at(t)) for t in times]
masses = [picture.sum() * (axis[1] - axis[0]) ** 2 for picture in pictures]
print("integrals", np.round(masses, 3))  # 1, but for mass outside of the grid

# %%
# .. dropdown:: Answer
#
#    One, at every time: each smooth velocity, learned or not, moves mass and makes none.
#
# .. alt: Four panels at t = 0, 0.4, 0.7 and 1: a round cloud of density becomes a ring and then
#    eight spots, with red paths of points that follow it.

starts = rng.standard_normal((60, 2))
paths = cnf.trajectory(cnf_params, starts, np.linspace(0, 1, 41)).values
figure, axes = plt.subplots(1, 4, figsize=(7.36, 2.2), layout="constrained")
for ax, t, picture in zip(axes, times, pictures):
    ax.pcolormesh(
        axis, axis, picture.reshape(81, 81), cmap="Blues", shading="nearest", rasterized=True
    )
    now = round(40 * t)
    ax.plot(*paths[: now + 1].transpose(2, 0, 1), color=COLOURS[1], linewidth=0.7)
    ax.plot(*paths[now].T, ".", color=COLOURS[1], markersize=4)
    ax.set(title=f"t = {t:g}", xticks=[], yticks=[], aspect="equal", xlim=(-3, 3), ylim=(-3, 3))
plt.show()

# %%
# What can go wrong
# -----------------
# - A solver's tolerance is an error of the log-density, too.
# - Reporting a density by Hutchinson's estimate: unbiased in the log, not in the density.
# - A velocity that gets steep while it learns: the solve takes ever more steps.

# %%
# What this page claims. Networks without any inverse of their own go one step further: see the
# methods page on free-form flows.

assert np.allclose(x, z @ expm(A).T, atol=1e-8)
assert np.allclose(log_det, np.trace(A), atol=1e-9)
assert np.allclose(np.triu(triangular, 1), 0, atol=1e-9) and np.all(np.abs(free) > 1e-3)
assert np.isclose(np.linalg.slogdet(free)[1], by_trace[0], atol=1e-6)
for noise, estimate in estimates.items():
    assert abs(estimate.mean() - np.trace(J)) < 4 * np.sqrt(variances[noise] / draws)
    assert np.isclose(estimate.var(), variances[noise], rtol=0.05)
assert variances["gaussian"] > 5 * variances["rademacher"]
assert np.all(np.abs(np.array(masses) - 1) < 0.03) and above < 0.5
rows_back, log_prob = density.sample_and_log_prob(learned, np.random.default_rng(3), 200)
assert np.allclose(density.log_prob(learned, rows_back), log_prob, atol=1e-2)
