r"""
Inverses that explode
=====================

*Every flow is invertible on paper. Which ones are on a computer?*

A flow is invertible on paper. A computer rounds: it holds :math:`z = f^{-1}(x)` with an error of
:math:`\varepsilon |z|`, where :math:`\varepsilon = 6 \cdot 10^{-8}` in float32, and f, the way back
to x, magnifies that error. Two numbers, the local bi-Lipschitz constants, say by how much: near x

.. math::

   \ell\, |a - b| \le |f^{-1}(a) - f^{-1}(b)| \le L\, |a - b|,

and so, to first order,

.. math::

   |f(\mathrm{round}(z)) - x| \lesssim \varepsilon\, |z| / \ell, \qquad z = f^{-1}(x).

:math:`L` and :math:`\ell` are the largest and the smallest singular value of the Jacobian of
:math:`f^{-1}`, and nothing in a likelihood bounds them where there are no data. Behrmann et al.
(2020, arXiv:2006.09347) found that the couplings in common use lose their inverse there. This page
moves rows away from a chessboard and tests whether each family of flows reconstructs them.
"""

# %%
import sys

import autograd.numpy as anp
import matplotlib.pyplot as plt
import numpy as np

import nfref
from nfref.diagnostics import bi_lipschitz, reconstruction_error
from nfref.plots.canvas import COLOURS

FULL = "--full" in sys.argv  # the long run, whose figure is kept

# %%
# A chessboard, and rows at a distance from it
# --------------------------------------------
# Eight black fields of side 2. A row is moved away by a distance in a random direction, and every
# flow is asked about the same rows, in float32.


def chessboard(n, rng):
    """(n, 2) rows on the fields of a board with corners (-4, -4) and (4, 4)."""
    rows = rng.uniform(-4, 4, (3 * n, 2))
    black = np.floor(rows / 2).sum(axis=1) % 2 == 0
    return rows[black][:n].astype(np.float32)


rng = np.random.default_rng(0)
x = chessboard(6000 if FULL else 1000, rng)
test = chessboard(2000, rng)
direction = rng.standard_normal((300, 2))
direction /= np.linalg.norm(direction, axis=1, keepdims=True)
distances = np.array([0, 1, 3, 10, 30, 100, 300, 1000])


def moved(distance):
    return (test[:300] + distance * direction).astype(np.float32)


# %%
# The flows
# ---------
# Couplings :math:`x_2 = z_2 e^{s(z_1)} + t(z_1)` with networks of ReLUs, as in the published flows
# of images, and five ways to get s; then splines, an autoregressive flow, a residual flow, which is
# made to be bi-Lipschitz, and a continuous one, whose solver steps back the way that it came.

LAYERS = 10 if FULL else 4


def coupling(transformer, activation="relu"):
    return nfref.RealNVP(2, LAYERS, (64, 64), activation=activation, transformer=transformer)


FLOWS = {
    "coupling, exp": coupling(nfref.Affine("exp")),
    "coupling, |s| < 5": coupling(nfref.Affine("bounded", bound=5.0)),
    "MAF, exp": nfref.MAF(2, LAYERS, (64, 64), activation="relu", transformer=nfref.Affine("exp")),
    "spline": nfref.NSF(2, 3, (64, 64), activation="relu"),
    "residual": nfref.ResidualFlow(2, LAYERS, (32, 32)),
    "continuous": nfref.CNF(2, (32, 32)),
    "coupling, |s| < 0.7": coupling(nfref.Affine("bounded", bound=0.7)),
    "coupling, sigmoid": coupling(nfref.Affine("sigmoid")),
    "coupling, exp, tanh network": coupling(nfref.Affine("exp"), activation="tanh"),
    "coupling, exp, regularised": coupling(nfref.Affine("exp")),
}

# %%
# The last one has free scales and is told to keep them moderate: at rows up to 60 away from the
# data, no small step v may be stretched or squeezed more than by :math:`e^2`. That is the idea of
# the paper's regulariser by finite differences; with the logarithm in place of the ratio one term
# speaks for both directions, and what is moderate costs nothing.


def regularised(density, params, x, context, rng, weight=0.1, step=0.05):
    n, dim = x.shape
    away = np.asarray(x + rng.uniform(0, 30, (n, 1)) * rng.standard_normal((n, dim)), x.dtype)
    v = rng.standard_normal((n, dim))
    v = np.asarray(step * v / np.linalg.norm(v, axis=1, keepdims=True), x.dtype)
    z, log_det = density.flow.inverse(params["flow"], anp.concatenate([x, away, away + v]))
    stretch = 0.5 * anp.log(anp.sum((z[2 * n :] - z[n : 2 * n]) ** 2, axis=1) / step**2)
    log_prob = density.base.log_prob(params["base"], z[:n]) + log_det[:n]
    return -anp.mean(log_prob) + weight * anp.mean(anp.maximum(anp.abs(stretch) - 2, 0) ** 2)


def learn(name):
    density, own = nfref.Density(FLOWS[name]), np.random.default_rng(1)
    objective = regularised if name.endswith("regularised") else None
    result = nfref.fit(
        density,
        density.init(own),
        x,
        own,
        epochs=60 if FULL else 2,
        batch_size=128,
        learning_rate=2e-3,
        schedule="cosine",
        patience=None,
        objective=objective,
        progress=False,
    )
    return result.params


learned = {name: learn(name) for name in FLOWS}

# %%
# **Predict.** All of them reconstruct the data to six digits. Which ones still reconstruct rows ten
# units away, where there are no data? What do ReLUs do to s there?


def there_and_back(name, dtype=np.float32):
    """The maps data to latent and latent to data, in float32 or in float64."""
    params = nfref.params.cast(learned[name]["flow"], np.dtype(dtype))
    flow = FLOWS[name]
    return (lambda rows: flow.inverse(params, rows)), (lambda rows: flow.forward(params, rows))


errors, constants, scores = {}, {}, {}
for name in FLOWS:
    errors[name] = np.array(
        [
            reconstruction_error(*there_and_back(name), moved(distance)).max()
            for distance in distances
        ]
    )
    at_ten = bi_lipschitz(there_and_back(name, np.float64)[0], moved(10).astype(float))
    with np.errstate(divide="ignore"):
        constants[name] = at_ten.upper.max(), (1 / at_ten.lower).max()  # NaN: one overflows
    log_prob = nfref.Density(FLOWS[name]).log_prob(learned[name], test)
    scores[name] = log_prob.mean(), log_prob.std() / np.sqrt(len(test))

print(f"{'':<28} nats a row        largest error at 0, 10, 100          L, 1/l at 10")
for name in FLOWS:
    at = "  ".join(f"{errors[name][distances == d][0]:7.0e}" for d in (0, 10, 100))
    print(
        f"{name:<28} {scores[name][0]:.3f} +- {scores[name][1]:.3f}   {at}     "
        + "  ".join(f"{constant:.0e}" for constant in constants[name])
    )

# %%
# .. dropdown:: Answer
#
#    Those with limited scales: by a bound of 0.7, by a sigmoid, by networks of tanh, by residual
#    layers, by a solver. In the full run a coupling with free scales has lost its inverse in some
#    rows at distance 10.
#
# A network of ReLUs is a straight line far out. Where its slope in that direction is not zero, s
# grows with the distance and :math:`e^s` without bound: in the full run some rows overflow already
# at distance 3. A bound of 5 on s does not help. Couplings take turns, so ten of them scale each
# coordinate five times, by up to :math:`e^{25} = 7 \cdot 10^{10}`. That is far from float32's
# range, :math:`3 \cdot 10^{38}`, but beyond its precision of seven digits. A bound of 0.7 allows
# :math:`e^{3.5} = 33` and keeps the inverse, at -3.649 nats a row beside -3.614. (Shifts that
# depend on the other coordinate magnify as well: the printed L of 400 is above 33.) Networks of
# tanh, which are nfref's default, have bounded outputs, and so bounded scales. A spline's slopes
# may be as small as 1/1000, and those of its layers multiply.
#
# A residual flow keeps its promise at every distance: with blocks of Lipschitz constant c its
# inverse magnifies by at most :math:`(1 - c)^{-10}`. It pays for that, with -4.014. The errors of
# the continuous flow are those of its solver's tolerance, 1e-5. The regulariser, at -3.653,
# protects where it looked and not further: a local cure, which is what the paper proposes it for.
#
# The log-density suffers as well: it is the density of a map that no longer inverts the sampler. At
# distance 10, :math:`\log p` in float32 and in float64 differ by up to 7.5e+10 nats where the bound
# is 5, by up to 0.0094 where it is 0.7.

rows = moved(10)
for name in ("coupling, |s| < 5", "coupling, |s| < 0.7"):
    single, double = (
        nfref.Density(FLOWS[name]).log_prob(
            nfref.params.cast(learned[name], np.dtype(dtype)), rows.astype(dtype)
        )
        for dtype in (np.float32, np.float64)
    )
    print(
        f"{name}: log p at distance 10 differs by up to {np.abs(single - double).max():.1e} nats "
        "between float32 and float64"
    )

# %%
# Anybody's flow
# --------------
# The two diagnostics take plain functions, and the oracle's adapters make these of a flow of torch.
# Here is zuko's MAF with networks of ReLUs, fitted to the same chessboard. Its scales are bounded
# (a log-scale stays within log 1000), as they are in nfref's default.

try:
    import torch
    import zuko
except ImportError:
    print("zuko is not installed")
else:
    from nfref.oracle import adapters

    torch.manual_seed(0)
    theirs = zuko.flows.MAF(2, 0, transforms=LAYERS, hidden_features=(64, 64))
    optimiser = torch.optim.Adam(theirs.parameters(), lr=2e-3)
    for _ in range(1500 if FULL else 50):
        batch = torch.from_numpy(x[rng.integers(len(x), size=128)])
        loss = -theirs().log_prob(batch).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    functions = adapters.of(theirs, rng=rng, dtype=np.float32)
    away = [
        reconstruction_error(functions["inverse"], functions["forward"], moved(d)).max()
        for d in (0, 10, 100)
    ]
    inside = adapters.of(theirs, rng=rng)
    at_ten = bi_lipschitz(inside["inverse"], moved(10).astype(float))
    print(
        "zuko's MAF: largest error at 0, 10, 100: " + "  ".join(f"{e:.0e}" for e in away),
        f"  L, 1/l at 10: {at_ten.upper.max():.0e}  {(1 / at_ten.lower).max():.0e}",
    )

# %%
# The figure: above, the plane around the board, where the coupling with free scales has lost
# its inverse and where bounded scales keep it; below, the largest error of 300 rows against
# their distance from the data.
#
# .. alt: Above, maps of the error of there and back around a chessboard: a coupling with free
#    scales loses all but a small region, one with bounded scales keeps the plane. Below, largest
#    errors against the distance from the data for ten flows: some are lost at distance 1, some
#    stay near rounding at 1000.

side = 160 if FULL else 60
axis = np.linspace(-24, 24, side)
plane = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2).astype(np.float32)
figure = plt.figure(figsize=(7.36, 9), layout="constrained")
maps, curves = figure.subfigures(2, 1, height_ratios=(1, 1.6))
for ax, name in zip(maps.subplots(1, 2), ("coupling, exp", "coupling, |s| < 0.7")):
    error = reconstruction_error(*there_and_back(name), plane).reshape(side, side)
    image = ax.imshow(
        np.log10(np.clip(error, 1e-7, 1e3)),
        extent=(-24, 24, -24, 24),
        origin="lower",
        cmap="inferno",
        vmin=-7,
        vmax=3,
    )
    ax.plot(*test[:300].T, ".", color="white", markersize=1, alpha=0.5)
    ax.set_title(f"{name}\n(white: the data)", fontsize=11)
maps.colorbar(image, ax=maps.axes, label="log10 of the error", shrink=0.8)

TOP, WIDE = 1e8, (*COLOURS, "#AA3377", "#66CCEE")
halves = {"every family": list(FLOWS)[:6], "what helps": ["coupling, exp", *list(FLOWS)[6:]]}
for ax, (title, names) in zip(curves.subplots(1, 2, sharey=True), halves.items()):
    at = np.maximum(distances, 0.3)  # zero has no place on an axis of logarithms
    for colour, name in zip(WIDE, names):
        ax.plot(at, np.clip(errors[name], 1e-7, TOP), "o-", color=colour, markersize=4, label=name)
    ax.plot(at, 6e-8 * np.maximum(distances, 3), ":", color="0.4", label="rounding of the row")
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="distance from the data",
        title=title,
        ylim=(1e-7, 3 * TOP),
    )
    ax.set_xticks([0.3, 1, 10, 100, 1000], ["0", "1", "10", "100", "1000"])
    ax.set_yticks(
        [1e-6, 1e-4, 1e-2, 1, 1e2, 1e4, 1e6, TOP],
        ["$10^{-6}$", "$10^{-4}$", "0.01", "1", "100", "$10^4$", "$10^6$", "lost"],
    )
    ax.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.13))
curves.axes[0].set_ylabel("largest error of there and back, in float32")
plt.show()

# %%
# What this page claims.

scaled = {bound: np.exp(5 * bound) for bound in (0.7, 5.0)}  # a coordinate in ten couplings
assert scaled[0.7] < 1 / np.finfo(np.float32).eps < scaled[5.0]  # beyond precision,
assert np.exp(10 * 5.0) < np.finfo(np.float32).max  # and far within the range
ten, hundred = (np.flatnonzero(distances == d)[0] for d in (10, 100))
assert all(error[0] < 1e-3 for error in errors.values())
assert errors["coupling, exp"][hundred] > 1 > 1e-2 > errors["coupling, |s| < 0.7"][hundred]
assert errors["residual"][hundred] < 1e-3 and errors["continuous"][hundred] < 1e-2
bound = (1 - FLOWS["residual"].flows[0].lipschitz) ** -LAYERS
assert constants["residual"][1] < bound
if FULL:
    assert errors["coupling, exp"][ten] == np.inf and errors["spline"][ten] > 0.01
    assert errors["coupling, exp, regularised"][ten] < 1e-3
    assert scores["coupling, |s| < 0.7"][0] > scores["coupling, exp"][0] - 0.1

# %%
# A coordinate that n layers scale by :math:`e^s`, and the error of the way back:
#
# .. play: lost
#
# Exercise 1: how many digits
# ---------------------------
# A flow takes a row to z of size 10 and its smallest singular value there is 0.001. About how far
# off may the way back be in float32? Use epsilon = 6e-8.

answer_1 = ...  # type a number here


def check_1(answer):
    truth = 6e-8 * 10 / 1e-3
    assert np.isclose(answer, truth, rtol=0.01, atol=1e-6), (
        "epsilon |z| over the smallest singular value"
    )


nfref.exercises.grade(check_1, answer_1)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_1 = 6e-8 * 10 / 0.001
#
#    6e-4: four digits of seven are gone.

# %%
# Exercise 2: in turns
# --------------------
# On paper: ten couplings take turns on two coordinates, and each s is below 2. By which factor can
# one coordinate be scaled at most?

answer_2 = ...  # type a number here


def check_2(answer):
    scale = np.ones(2)
    for layer in range(10):
        scale[layer % 2] *= np.exp(2)
    assert not np.isclose(answer, np.exp(20), rtol=0.01), "a coordinate moves in half of the layers"
    assert np.isclose(answer, scale[0], rtol=0.01), "five layers, each exp(2)"


nfref.exercises.grade(check_2, answer_2)

# %%
# .. dropdown:: Solution
#
#    .. code-block:: python
#
#       answer_2 = np.exp(5 * 2)
#
#    22,026: of the seven digits of float32 less than three are left.

# %%
# What can go wrong
# -----------------
# - A likelihood quoted where the round trip fails: it is no density of the sampler.
# - A bound on one layer's scale: those of all layers multiply.
# - A check at the data alone: the inverse is lost far from them.
