r"""
5. An autoregressive model is a flow
====================================

*A model that predicts one number after the other: what has it to do with flows?*

Every density of D numbers is a product of D densities of one number, each given those before it:

.. math::  p(x) = p(x_1)\, p(x_2 | x_1) \cdots p(x_D | x_1, \ldots, x_{D-1}).

Let each factor be a normal density whose mean :math:`t_i` and log standard deviation :math:`s_i`
are any functions of :math:`x_1, \ldots, x_{i-1}`. To draw :math:`x_i`, draw :math:`z_i` from the
standard normal, then stretch and shift it:

.. math::  x_i = z_i\, e^{s_i(x_1, \ldots, x_{i-1})} + t_i(x_1, \ldots, x_{i-1}).

That maps noise z to data x and can be undone: it is a flow. This page shows that its
log-determinant is a sum, how one network gives all :math:`t_i` and :math:`s_i` at once, and why
one direction costs D times as much as the other. Papers: the masked network is MADE (Germain et
al. 2015, arXiv:1502.03509), section 4; the flow is MAF (Papamakarios et al. 2017,
arXiv:1705.07057), section 3.1; turned around it is IAF (Kingma et al. 2016, arXiv:1606.04934),
section 4.
"""

# %%
import time
from importlib.util import find_spec

import matplotlib.pyplot as plt
import numpy as np
from scipy import stats
from threadpoolctl import threadpool_limits

import nfref
from nfref.plots.canvas import COLOURS
from nfref.runtime import params as trees

# %%
# The log-determinant is a sum
# ----------------------------
# Two coordinates, by hand: :math:`x_1` is normal with standard deviation 2. Given it,
# :math:`x_2` is normal with mean :math:`x_1^2 / 4 - 1` and standard deviation
# :math:`e^{x_1 / 4}`. From x to z everything is known at once.


def shift_and_log_scale(x):
    x1 = x[:, 0]
    return (
        np.stack([0 * x1, x1**2 / 4 - 1], axis=1),
        np.stack([0 * x1 + np.log(2), x1 / 4], axis=1),
    )


def to_latent(x):
    t, s = shift_and_log_scale(x)
    return (x - t) * np.exp(-s), -np.sum(s, axis=1)  # z, log |det dz/dx|


# %%
# Why the sum? :math:`z_i` depends on :math:`x_1, \ldots, x_i` and on nothing after. So the matrix
# :math:`dz/dx` has zeros above its diagonal, and the determinant of a triangular matrix is the
# product of its diagonal, here of the :math:`e^{-s_i}`. Finite differences show the triangle.

x = np.array([[2.0, -1.0]])
h = 1e-6
jacobian = np.stack(
    [(to_latent(x + h * e)[0] - to_latent(x - h * e)[0])[0] / (2 * h) for e in np.eye(2)], axis=1
)
print("dz/dx\n", jacobian.round(4))  # [[ 0.5  0. ] [-0.4549  0.6065]]
print("log |det| by differences", np.log(np.linalg.det(jacobian)).round(4))  # -1.1931
print("minus the sum of s_i    ", to_latent(x)[1].round(4))  # [-1.1931]

# %%
# And the density of the flow, :math:`\log p_Z(z) + \log |\det dz/dx|`, is the product of the two
# conditional densities: the same number from two sides.

t, s = shift_and_log_scale(x)
factors = stats.norm.logpdf(x, loc=t, scale=np.exp(s)).sum(axis=1)
z, log_det = to_latent(x)
as_flow = stats.norm.logpdf(z).sum(axis=1) + log_det
print("product of conditionals", factors.round(6), " flow", as_flow.round(6))  # -3.714964

# %%
# Drag the point, and watch the density of the second number:
#
# .. play: pair
#
# Exercise 1: the way back
# ------------------------
# Draw from the same model by hand. The noise is z = (1, -1). Which x does it give? Write both
# coordinates.

answer_1 = ...  # type your answer here


def check_1(answer):
    answer = np.array(answer, dtype=float)
    assert answer.shape == (2,), "two numbers, x_1 and x_2"
    back, _ = to_latent(answer[None])
    assert np.isclose(back[0, 0], 1, atol=1e-3), "x_1 looks at nothing: 1 times its scale"
    assert np.isclose(back[0, 1], -1, atol=1e-3), "t_2 and s_2 take x_1, not z_1"


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = [2.0, -np.exp(2 / 4) + 2 ** 2 / 4 - 1]
#
#    First :math:`x_1 = 2 \cdot 1 = 2`. Only then are :math:`t_2 = 0` and :math:`s_2 = 1/2` known.

# %%
# One network for all of them
# ---------------------------
# D functions could be D networks. MADE needs one. Every input and every hidden unit gets a degree,
# and a mask multiplies each matrix of weights by zeros and ones:
#
# - input d has degree d (counted from 1), a hidden unit a degree m between 1 and D - 1;
# - a hidden unit of degree m sees the inputs with :math:`d \le m`;
# - output d sees the hidden units with :math:`m < d`.
#
# Then a path from input j to output i needs a unit with :math:`j \le m < i`. The product of the
# two masks counts the paths.

degrees = np.array([1, 2, 2, 1, 3])
place = np.arange(1, 5)  # D = 4
first = place[:, None] <= degrees[None, :]  # inputs down, hidden units across
last = degrees[:, None] < place[None, :]  # hidden units down, outputs across
paths = first.astype(int) @ last.astype(int)
print("paths from input (down) to output (across)\n", paths)
# zeros on the diagonal and below it

made = nfref.MADE(4, hidden=(5,), degrees=(tuple(degrees),), transformer=nfref.Affine("exp"))
assert np.array_equal(made.masks[0], first)
assert np.array_equal(made.masks[1], np.tile(last, 2))  # a shift and a log-scale each

# %%
# Exercise 2: fill a mask
# -----------------------
# D = 3, and a hidden layer of four units with degrees 2, 1, 1, 2. Write the two masks as a pair:
# ``first`` is (3, 4), inputs down and hidden units across; ``last`` is (4, 3), hidden units down
# and outputs across. 1 where a connection is allowed, 0 where it is not.

answer_2 = ...  # type your answer here


def check_2(answer):
    first, last = (np.array(mask, dtype=int) for mask in answer)
    assert first.shape == (3, 4) and last.shape == (4, 3), "shapes are (3, 4) and (4, 3)"
    paths = first @ last
    assert not np.any(np.tril(paths)), "an output sees its own input or a later one"
    expected = nfref.MADE(3, hidden=(4,), degrees=((2, 1, 1, 2),)).masks
    assert np.array_equal(first, expected[0]), "first: a unit of degree m sees 1 ... m"
    assert np.array_equal(last, expected[1][:, :3]), "last: output d sees all with m < d"


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_2 = ([[1, 1, 1, 1],
#                    [1, 0, 0, 1],
#                    [0, 0, 0, 0]],
#                   [[0, 0, 1],
#                    [0, 1, 1],
#                    [0, 1, 1],
#                    [0, 0, 1]])
#
#    The last input feeds nobody and the first output sees nobody: :math:`p(x_1)` is one normal.

# %%
# The way from z to x
# -------------------
# The conditioner wants x, and x is what is looked for. Start anywhere and apply the map over and
# over, each time with the x found so far.
#
# **Predict.** D = 4. After one pass, how many coordinates of x are right? After two?


def moved(flow, rng):
    """Random parameters: as ``init`` makes them, the flow is the identity."""
    return trees.tree_map(lambda a: a + 0.3 * rng.standard_normal(a.shape), flow.init(rng))


rng = np.random.default_rng(0)
params = moved(made, rng)
conditioner = made.conditioner(params, None)
z = rng.standard_normal((3, 4))
truth, _ = made.forward(params, z)
x, errors = np.zeros_like(z), []
for _ in range(4):
    t, s = conditioner(x)
    x = z * np.exp(s) + t
    errors.append(np.abs(x - truth).max(axis=0))
right = [int(np.sum(error < 1e-12)) for error in errors]
print("errors of the coordinates, a row a pass\n", np.array(errors).round(3))
print("coordinates that are right:", right)  # [1, 2, 3, 4]

# %%
# .. dropdown:: Answer
#
#    One more a pass. :math:`x_1` looks at nothing, so it is right after the first; :math:`x_2`
#    looks at :math:`x_1` and is right after the second. D coordinates take D passes of the
#    network, and the way from x to z takes one. Everything else about the two ways is the same.
#
# What the directions cost
# ------------------------
# MAF is a stack of such layers, the order of the coordinates reversed from one to the next, so that
# nobody is always first. Its density takes one pass a layer, its samples D. IAF is the same stack
# turned around: samples take one pass a layer, and the density of a row that somebody else drew
# takes D.
#
# **Predict.** Time both directions of both for D = 2 ... 64, with networks of the same width. Which
# lines stay nearly flat, and which grow?

assert nfref.IAF(4) == nfref.Invert(nfref.MAF(4))


def seconds(call):
    """Processor time, the best of three: what else the machine does can only add."""
    times = []
    for _ in range(3):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def measure(flow, backend):
    """Microseconds a row, (from x to z, from z to x)."""
    params, rows = moved(flow, np.random.default_rng(1)), np.zeros((100, flow.dim))
    with nfref.backend(backend, threads=1), threadpool_limits(1):
        flow.inverse(params, rows), flow.forward(params, rows)
        return [
            1e4 * seconds(lambda: flow.inverse(params, rows)),
            1e4 * seconds(lambda: flow.forward(params, rows)),
        ]


dims = [2, 4, 8, 16, 32, 64]
makers = {"MAF": nfref.MAF, "IAF": nfref.IAF}
costs = {
    name: np.array([measure(make(dim, 2, (128,)), "numpy") for dim in dims])
    for name, make in makers.items()
}
for name, cost in costs.items():
    print(f"{name}, D = 64: density {cost[-1, 0]:.0f}, sample {cost[-1, 1]:.0f} us a row")

# %%
# .. dropdown:: Answer
#
#    What is nearly flat for the one grows for the other, by a factor of about D. So the use
#    decides. A table is fitted and scored by densities: MAF. A variational posterior draws its own
#    samples and scores no others: IAF. If both directions have to be cheap, take a coupling (the
#    page on coupling): an autoregressive flow whose coordinates come in two groups. The first stays
#    as it is, so one pass does in both directions.
#
# The dashed line says that D passes are a matter of how the formula is written. When
# :math:`x_i` becomes known, most hidden units have not changed. nfref's compiled form computes each
# unit once, when the inputs it may see are known: one sweep, about the work of one pass.

swept = (
    {
        name: np.array([measure(make(dim, 2, (128,)), "numba") for dim in dims])
        for name, make in makers.items()
    }
    if find_spec("numba")
    else {}
)

# %%
# The figure.
#
# .. alt: Two plots of microseconds a row against the number of coordinates, both on logarithmic
#    scales. For MAF the density stays low and the sample grows with D; for IAF it is the other
#    way round. Dashed, the compiled sweep stays low.

figure, axes = plt.subplots(1, 2, figsize=(7.36, 3.8), sharey=True, layout="constrained")
for axis, (name, cost) in zip(axes, costs.items()):
    for k, what in enumerate(("density: x to z", "sample: z to x")):
        axis.loglog(dims, cost[:, k], color=COLOURS[k], marker="os"[k], label=what)
    slow = int(name == "MAF")
    if swept:
        axis.loglog(
            dims,
            swept[name][:, slow],
            color=COLOURS[slow],
            linestyle="--",
            label=f"{'sample' if slow else 'density'}, each unit once (compiled)",
        )
    axis.set(
        title=f"{name}: {'samples' if slow else 'densities'} take D passes",
        xlabel="number of coordinates D",
        xticks=dims,
        xticklabels=dims,
    )
    axis.minorticks_off()
    axis.legend(loc="upper left", fontsize=9)
axes[0].set(ylabel="microseconds a row", ylim=(0.5, 6e3))
plt.show()

# %%
# What can go wrong
# -----------------
# - Masks that let a coordinate see itself: the Jacobian is no triangle, and nothing complains.
# - Sampling from MAF, or scoring by IAF, in a loop that is run thousands of times.
# - An order of the columns that makes the law of the first ones hard. Several orders help.

# %%
# What this page claims; times are noisy, so the bounds on them are wide. Attention with a mask in
# place of a masked network: see the methods page on TarFlow.

assert np.isclose(np.log(np.linalg.det(jacobian)), log_det[0], atol=1e-8)
assert jacobian[0, 1] == 0
assert np.allclose(factors, as_flow, rtol=1e-12)
assert right == [1, 2, 3, 4]
t, s = conditioner(truth)
assert np.allclose(made.inverse(params, truth)[0], (truth - t) * np.exp(-s), rtol=1e-12)
assert np.allclose(made.inverse(params, truth)[1], -s.sum(axis=1), rtol=1e-12)
assert not np.any(np.tril(paths)) and np.all(paths[np.triu_indices(4, 1)] > 0)
assert costs["MAF"][-1, 1] > 10 * costs["MAF"][-1, 0]
assert costs["IAF"][-1, 0] > 10 * costs["IAF"][-1, 1]
