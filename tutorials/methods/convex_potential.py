r"""
Convex potential flow
=====================

*Many maps take one density to another. Which one moves the mass least?*

Two distributions are connected by many maps, and likelihood does not care which of them a flow has
learned. One is the best in another sense: it moves the mass least, by mean squared distance.
Brenier found in 1991 that this one is the gradient of a convex function, and that there is only one
such gradient, if the first distribution has a density and both have finite variances.

So a flow that is the gradient of a convex network (Huang, Chen, Tsirigotis, Courville 2020,
arXiv:2012.05942) has no choice: if maximum likelihood alone brings it to the density of the data,
it has reached the optimal map. Between two normals with :math:`S_1` and :math:`S_2` as covariances
that map is known,

.. math:: A = S_2^{1/2} \left(S_2^{1/2} S_1 S_2^{1/2}\right)^{-1/2} S_2^{1/2},

which is symmetric. An affine autoregressive flow has a triangular matrix instead. It can have the
very same density, but it takes the same points elsewhere, by a longer way.
"""

# %%

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Ellipse
from scipy.linalg import sqrtm

import nfref

START = np.array([[1.0, 0.75], [0.75, 0.8]])
END = np.array([[0.6, -0.5], [-0.5, 1.1]])
FACTORS = np.linalg.cholesky(START), np.linalg.cholesky(END)

# %%
# The true maps: the optimal one, and the triangular one with the same two ends.


def brenier():
    root = np.real(sqrtm(END))
    return root @ np.linalg.inv(np.real(sqrtm(root @ START @ root))) @ root


def triangular():
    return FACTORS[1] @ np.linalg.inv(FACTORS[0])


# %%
# Learning from samples of the second normal; the first is a fixed matrix times the base. As in the
# paper the network maps data to latent, the direction of the likelihood. The inverse of a gradient
# of a convex function is one as well, so the way from START to END is optimal too.


def fit(rows=16_000, epochs=20, seed=0):
    """A density, its parameters, and the same for the member that takes START to END."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, 2)) @ FACTORS[1].T
    flow = nfref.Invert(nfref.ConvexPotentialFlow(2, hidden=(24,)))
    density = nfref.Density(nfref.Chain([nfref.FixedLinear(FACTORS[0]), flow]))
    fitted = nfref.fit(
        density,
        density.init(rng),
        x,
        rng,
        validation=None,
        epochs=epochs,
        batch_size=200,
        learning_rate=3e-2,
        schedule="cosine",
        patience=None,
        progress=False,
    )
    return density, fitted.params, flow, fitted.params["flow"][1]


# %%
# Comparing maps. Errors are relative, :math:`|x - A z| / |A z|` in the mean square over z.
#
# .. alt: Three panels of points on two crossed ellipses, joined by lines from z to x. By the
#    optimal map and by the convex potential flow the lines are short and alike, mean squared
#    distance 1.163 and 1.166; by the triangular map they are long, 2.128.


def apart(x, best):
    return np.sqrt(np.sum((x - best) ** 2) / np.sum(best**2))


def cost(x, z):
    return np.mean(np.sum((x - z) ** 2, axis=1))


def figure(z, maps, costs):
    """Points on ellipses of START, and the lines along which each map moves them."""
    fig, axes = plt.subplots(1, 3, figsize=(7.36, 3.7), layout="constrained")
    for ax, (name, x), way in zip(axes, maps.items(), costs):
        for start, end in zip(z, x):
            ax.plot(*np.stack([start, end]).T, color="0.7", linewidth=0.8, zorder=1)
        ax.scatter(*z.T, s=9, color="tab:blue", zorder=2, label="z")
        ax.scatter(*x.T, s=9, color="tab:orange", zorder=3, label="x")
        for matrix, color in ((START, "tab:blue"), (END, "tab:orange")):
            values, vectors = np.linalg.eigh(matrix)
            ax.add_patch(
                Ellipse(
                    (0, 0),
                    *4 * np.sqrt(values),
                    fill=False,
                    edgecolor=color,
                    angle=np.degrees(np.arctan2(*vectors[::-1, 0])),
                )
            )
        ax.set_title(f"{name}\nmean squared\ndistance {way:.3f}", fontsize=10)
        ax.set(xticks=[], yticks=[], aspect="equal", xlim=(-2.6, 2.6), ylim=(-2.6, 2.6))
    fig.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False
    )
    plt.show()


# %%
# Run it
# ------
# **Predict.** Both flows have the same likelihood. How much less does the gradient of the convex
# function move the mass?

density, params, flow, own = fit()
rng = np.random.default_rng(1)
z = rng.standard_normal((4000, 2)) @ FACTORS[0].T
best, other = z @ brenier().T, z @ triangular().T
x, _ = flow.forward(own, z)
ways = [cost(end, z) for end in (best, x, other)]
print(
    f"the flow is {apart(x, best):.1%} from the optimal map, "
    f"the triangular one {apart(other, best):.1%}"
)
print("mean squared distance: optimal {:.4f}, flow {:.4f}, triangular {:.4f}".format(*ways))

# 40 points, 20 on each of two ellipses.
angle = np.linspace(0, 2 * np.pi, 20, endpoint=False)
circle = np.column_stack([np.cos(angle), np.sin(angle)])
points = np.concatenate([circle, 2 * circle]) @ FACTORS[0].T
figure(
    points,
    {
        "optimal map A": points @ brenier().T,
        "convex potential flow": flow.forward(own, points)[0],
        "triangular map": points @ triangular().T,
    },
    ways,
)

test = rng.standard_normal((4000, 2)) @ FACTORS[1].T
exact = nfref.StandardNormal(2).log_prob({}, test @ np.linalg.inv(FACTORS[1]).T) - np.log(
    np.linalg.det(FACTORS[1])
)
above = np.mean(exact - density.log_prob(params, test))
print(f"{above:.4f} nats above the entropy")
# As likely as can be, and so at the optimal map.
assert above < 0.01
assert apart(x, best) < 0.05 and apart(other, best) > 0.3
assert ways[1] < 1.02 * ways[0] and ways[2] > 1.1 * ways[0]
# The network's gradient is undone by a convex problem, to rounding.
back, _ = flow.inverse(own, x)
assert np.allclose(back, z, atol=1e-12)

# %%
# .. dropdown:: Answer
#
#    By nearly a half, in the mean squared distance; likelihood sees no difference.
#
# The map of this figure, z + 1.5 tanh(2 z + 0.6), is the slope of a convex function.
#
# .. play: probe
#
# Exercise 1: the line
# --------------------
# On the line, z is standard normal and x normal with mean 3 and deviation 2. How large is the
# mean squared distance :math:`E (x - z)^2` under the increasing map?

answer_1 = ...  # type a number here


def check_1(answer):
    truth = np.mean((3 + np.random.default_rng(1).standard_normal(10**6)) ** 2)
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-6), (
        "the map is x = 3 + 2 z, so x - z = 3 + z"
    )


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = 3 ** 2 + (2 - 1) ** 2
#
#    10: the means are 3 apart and the deviations 1.

# %%
# Exercise 2: the plane
# ---------------------
# On paper: z is standard normal in the plane, x has the covariance diag(4, 9) and mean 0. How large
# is :math:`E |x - z|^2` under the optimal map?

answer_2 = ...  # type a number here


def check_2(answer):
    z = np.random.default_rng(2).standard_normal((1_000_000, 2))
    assert not np.isclose(answer, 13, rtol=0.01), (
        "that is the distance of independent pairs, less 2"
    )
    assert np.isclose(answer, np.mean(np.sum((z * [2, 3] - z) ** 2, axis=1)), rtol=0.01), (
        "the map is diagonal: multiply by 2 and by 3"
    )


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_2 = (2 - 1) ** 2 + (3 - 1) ** 2
#
#    5; at random they would be 4 + 9 + 2 = 15 apart.

# %%
# What can go wrong
# -----------------
# - A potential that is convex but not strictly: its gradient is flat somewhere, and has no inverse.
# - Calling the map optimal while the fit is poor: it is optimal to the density that it has.
