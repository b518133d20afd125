r"""
15. What a loss can fall to
===========================

*A loss falls. How low can it get, and when has it fallen too low?*

A flow is fitted by maximum likelihood: parameters :math:`\theta` are moved until the mean of
:math:`-\log q_\theta(x)` over the training rows is small. What number is small? Let p be the law
of the data. The mean over *all* rows that p could give is the cross entropy, and

.. math::

   \mathrm{KL}(p \,\|\, q) = \mathrm{E}_p \log p(x) - \mathrm{E}_p \log q(x)
   = \underbrace{-\mathrm{E}_p \log q(x)}_{\text{cross entropy}} -
   \underbrace{\left(-\mathrm{E}_p \log p(x)\right)}_{\text{entropy } H(p)} \ge 0

(Papamakarios et al. v2, section 2.3, where it is the forward divergence). The entropy does not
depend on q. So to lower the loss is to lower the divergence, and *no loss can fall below the
entropy*, if it is the mean over all fresh rows, that is rows which the flow has not seen. (Over a
few thousand it may by chance, by a standard error or two.) Over rows that it has seen it can. This
page is about the difference.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np

import nfref
from nfref import datasets
from nfref.plots.canvas import COLOURS

# %%
# Why is KL not negative? :math:`\log t \le t - 1` for every t > 0, with equality only at 1. So
#
# .. math::
#
#    -\mathrm{KL}(p \,\|\, q) = \mathrm{E}_p \log \frac{q(x)}{p(x)}
#    \le \mathrm{E}_p \frac{q(x)}{p(x)} - 1 = \int q(x)\,dx - 1 = 0 ,
#
# the integral being over where p > 0, and at most 1. Equality needs q = p.
#
# A case for pencil and paper: the data are standard normal, and q is normal with mean m and
# deviation s. Then :math:`\mathrm{E}_p (x - m)^2 = 1 + m^2`, and
#
# .. math::
#
#    -\mathrm{E}_p \log q = \tfrac12 \log 2 \pi + \log s + \frac{1 + m^2}{2 s^2},
#    \qquad H(p) = \tfrac12 \log 2 \pi + \tfrac12 .

rng = np.random.default_rng(0)
normal_rows = rng.standard_normal((100_000, 1))
normal_entropy = 0.5 * np.log(2 * np.pi) + 0.5


def cross_entropy(m, s):
    return 0.5 * np.log(2 * np.pi) + np.log(s) + (1 + m**2) / (2 * s**2)


q = nfref.Density(nfref.ElementwiseAffine(1))
moved = {"base": {}, "flow": {"shift": np.array([1.0]), "log_scale": np.log([2.0])}}
measured = -q.log_prob(moved, normal_rows).mean()
print(f"cost of m = 1, s = 2: {measured:.4f}, formula {cross_entropy(1, 2):.4f}")  # 1.862 both
print(f"entropy {normal_entropy:.4f}, so KL = {cross_entropy(1, 2) - normal_entropy:.4f}")

# %%
# One normal as the model of another:
#
# .. play: split
#
# Exercise 1: the best of the wrong
# ---------------------------------
# The data are standard normal, and q is normal with the mean 1, which is wrong and cannot move.
# Which deviation s does maximum likelihood choose?

answer_1 = ...  # type your answer here


def check_1(answer):
    assert answer > 0, "a deviation"
    cost = cross_entropy(1.0, answer)
    assert not np.isclose(answer, 1), (
        "s = 1 is the deviation of the data; but q measures from its own mean, which is off by 1"
    )
    assert cost < cross_entropy(1.0, answer * np.array([0.999, 1.001])).min(), (
        "set the derivative of log s + (1 + m^2) / (2 s^2) by s to zero"
    )


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = np.sqrt(2)
#
#    A q that cannot be right grows until it covers what p does: a row to which it gives
#    hardly any density costs too much. (The other divergence, KL(q || p), does the opposite;
#    it belongs to the lesson on energies.)

# %%
# Two curves
# ----------
# We have a hundred rows of a toy whose entropy is known, and a flow with thousands of parameters.
# One epoch takes each row once, in batches of 25; the gradient of a batch is that of all rows on
# average, and Adam (Adam v9, algorithm 1) divides it by its usual size.
#
# **Predict.** How does the loss go on, for the rows of the training, and for fresh rows?

toy = datasets.banana
train, held_out, fresh = toy(rng, 100), toy(rng, 1000), toy(rng, 4000)
flow = nfref.in_units_of(nfref.NSF(2, layers=3, hidden=(64,), bins=12, bound=4.0), train)
density = nfref.Density(flow)
setting = {
    "validation": held_out,
    "batch_size": 25,
    "learning_rate": 1e-2,
    "average": 0.9,
    "progress": False,
}


def fit(seed, **options):
    """A fit, and the parameters after its last epoch."""
    rng, last = np.random.default_rng(seed), []
    fitted = nfref.fit(
        density,
        density.init(rng),
        train,
        rng,
        **setting,
        **options,
        callback=lambda state: last.append(state.averaged),
    )
    _, unflatten = nfref.params.flatten(fitted.params)
    return fitted, unflatten(last[-1])


fitted, last_params = fit(0, epochs=90, patience=None)
curves = {part: np.array(fitted.history[part]) for part in ("train", "validation")}
memory = -density.log_prob(last_params, train).mean()
print("parameters", nfref.params.count(fitted.params))
print(f"last epoch: its own rows {memory:.1f}, rows held out {curves['validation'][-1]:.1f}")
lowest = curves["validation"].min()
print(f"best epoch {fitted.best_epoch}: {lowest:.2f}, entropy {toy.entropy:.2f}")
# 14226 parameters; last: 1.8 and 2.7; best epoch 13: 2.49, entropy 2.18

# %%
# .. dropdown:: Answer
#
#    The loss of its own rows goes on falling, and *below the entropy*. No law can do that: what
#    is below is memory of these hundred rows. The loss of rows held out falls, too, while the
#    flow learns what they have in common with the others, and then rises, while it learns the
#    rest. It cannot come below the entropy, except by the chance of a thousand rows.
#
# So one keeps the parameters of the epoch that is best for rows held out, and ends when no better
# one has come for a while, the *patience*. ``nfref.fit`` does both. It scores a running average of
# the parameters, which takes the noise of the batches out.
#
# These rows have been used to choose, and are not quite fresh any more. For the number that goes
# into a report there is a third part of the data.

cost = {
    "best": -density.log_prob(fitted.params, fresh).mean(),
    "last": -density.log_prob(last_params, fresh).mean(),
}
print(f"fresh rows: best epoch {cost['best']:.2f}, last epoch {cost['last']:.2f}")  # 2.52, 2.7
stopped, _ = fit(0, epochs=90, patience=15)
print(f"with a patience of 15: {len(stopped.history['train'])} epochs, ended by {stopped.stopped}")
# 29 epochs, ended by patience

# %%
# Exercise 2: when to stop
# ------------------------
# Write a function of a list of losses of rows held out, one an epoch, and a patience K. It
# returns the number of epochs that are run: the fit ends after the first epoch at which the best
# one so far lies K epochs back, or with the list. A loss that is equal to the best is no new best.

answer_2 = ...  # type your answer here


def check_2(answer):
    assert callable(answer), "a function of losses and K"
    assert answer([3.0, 2.0, 1.0], 2) == 3, "while it gets better, nothing ends it but the list"
    assert answer([3.0, 1.0, 2.0, 2.0, 0.5], 2) == 4, (
        "epoch 1 (from 0) is the best; after two more it ends, whatever would have come"
    )
    assert answer([1.0, 2.0, 1.5, 1.2, 1.1], 2) == 3, (
        "it has to be a new best, not merely better than the epoch before"
    )
    assert answer([1.0, 1.0, 1.0, 1.0], 2) == 3, "an equal loss is no new best"
    assert answer(fitted.history["validation"], 15) == len(stopped.history["train"]), (
        "nfref.fit with a patience of 15 ended after another number of epochs"
    )


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       def answer_2(losses, K):
#           for done in range(1, len(losses) + 1):
#               best = int(np.argmin(losses[:done]))
#               if done - (best + 1) >= K:
#                   return done
#           return len(losses)
#
#    ``argmin`` takes the first of equal ones. A patience too short takes a bump for the end, one
#    too long costs little but time, since the best parameters are kept.

# %%
# The figure. Other seeds give other flows, and the mean of several densities is better than they
# are: the methods page on ensembles.
#
# .. alt: Left, the loss of training rows falls below the entropy while that of held-out rows
#    turns up again; an arrow marks its lowest point. Middle, the banana of density at that point;
#    right, the last epoch's, narrower and closer to the training rows.

figure, (left, middle, right) = plt.subplots(
    1, 3, figsize=(7.36, 3.1), layout="constrained", width_ratios=(5, 4, 4)
)
epochs = np.arange(len(curves["train"]))
left.plot(epochs, curves["train"], color=COLOURS[0], label="training rows")
left.plot(epochs, curves["validation"], color=COLOURS[1], label="rows held out")
left.axhline(toy.entropy, color="black", linestyle="--", linewidth=1, label="entropy")
left.plot(fitted.best_epoch, lowest, "o", color=COLOURS[1])
left.annotate(
    "keep this",
    (fitted.best_epoch, lowest),
    (0.3, 0.6),
    textcoords="axes fraction",
    arrowprops={"arrowstyle": "->"},
)
left.set(xlabel="epoch", ylabel="loss, nats a row", title="two curves", ylim=(1.6, 3.7))
left.legend(fontsize=9, loc="upper right")
grid = np.stack(np.meshgrid(np.linspace(-4, 4, 161), np.linspace(-2.2, 4, 161)), axis=-1)
for axes, params, title in (
    (middle, fitted.params, f"kept: {cost['best']:.2f} nats"),
    (right, last_params, f"last: {cost['last']:.2f} nats"),
):
    log_density = density.log_prob(params, grid.reshape(-1, 2)).reshape(161, 161)
    axes.pcolormesh(
        grid[:, :, 0],
        grid[:, :, 1],
        np.exp(log_density),
        cmap="Blues",
        vmax=0.45,
        shading="nearest",
        rasterized=True,
    )
    axes.plot(*train.T, ".", color=COLOURS[1], markersize=4)
    axes.set(title=title, xticks=[], yticks=[], xlim=(-4, 4), ylim=(-2.2, 4))
plt.show()

# %%
# What can go wrong
# -----------------
# - Comparing training losses of two models: the larger one remembers more.
# - A patience that is too short takes a bump for the end.
# - Held-out rows that are copies of training rows, or their neighbours in time.

# %%
# What this page claims.

assert abs(measured - cross_entropy(1, 2)) < 0.01
assert memory < toy.entropy - 0.1
assert lowest > toy.entropy - 0.1
assert curves["validation"][-1] > lowest + 0.1
assert toy.entropy < cost["best"] < cost["last"]
assert stopped.history["train"] == fitted.history["train"][: stopped.best_epoch + 16]
