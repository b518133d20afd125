"""
Fitting a flow to an energy: reverse KL
=======================================

There is no data here, only an energy U(z) in the plane, and the density proportional to
exp(-U) is wanted in a form that can be sampled. A flow q is fitted by making

    E_q[log q(x) + U(x)] = KL(q || p) - log Z

small. Only samples of q are needed, never the inverse and never the normaliser Z. These are
the four energies, and the planar flows with K = 2, 8 and 32 layers, of Rezende and Mohamed
2015, arXiv:1505.05770, figure 3. The paper shows pictures; in the plane the KL can also be
computed, by quadrature, and stands above each picture.

Run it with ``--full`` for the figure of all four energies (it takes a while); without, it
fits one of them for a moment and checks the arithmetic.
"""

# %%
import argparse
from pathlib import Path

import autograd.numpy as np
import matplotlib.pyplot as plt

import nfref
from nfref.objectives.potentials import POTENTIALS, box_quadrature, log_normaliser

BOX = 4.0
FIGURE = Path(__file__).parent.parent / "figures" / "02_variational_fitting.png"

# %%
# The target. U2, U3 and U4 repeat along the first coordinate for ever, so exp(-U) has no
# normaliser on the plane. What is wanted is p = exp(-U) / Z on the square [-4, 4]^2. A flow
# reaches everywhere, and log p = -infinity outside has no gradient that would lead it back;
# so it is fitted to exp(-U) with a wall around the square that falls off like a normal
# density of width 0.1.


def wall(z, width=0.1):
    beyond = np.maximum(np.abs(z) - BOX, 0)
    return np.sum(0.5 * (beyond / width) ** 2, axis=1)


def fit(potential, layers, steps, seed=0, progress=False):
    """A planar flow of ``layers`` layers, and its fit to exp(-U - wall)."""
    density = nfref.Density(nfref.Planar(2, layers))
    rng = np.random.default_rng(seed)
    return density, nfref.fit_reverse_kl(
        density, density.init(rng), lambda z: -potential(z) - wall(z), rng, steps=steps,
        batch_size=512, learning_rate=1e-2, anneal=steps // 2, progress=progress)


# %%
# The judgement. With M the mass that q has on the square, q / M is a density there, and
#
#     KL(q / M || p) = 1/M int q (log q + U) - log M + log Z,
#
# all integrals over the square. M is reported too: a flow that leaves it should not look good.


def log_prob_in_blocks(density, params, points):
    return np.concatenate([density.log_prob(params, points[k:k + 8192])
                           for k in range(0, len(points), 8192)])


def kl_on_box(density, params, potential, panels=40):
    """(KL in nats, mass of q outside the square), exact up to the quadrature."""
    points, weights = box_quadrature(BOX, panels)
    log_q = log_prob_in_blocks(density, params, points)
    mass = np.sum(weights * np.exp(log_q))
    cost = np.sum(weights * np.exp(log_q) * (log_q + potential(points)))
    return cost / mass - np.log(mass) + log_normaliser(potential, BOX), 1 - mass


# %%
# The picture: the target, then the flows.


def show(axes, log_density, title):
    side = np.linspace(-BOX, BOX, 201)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    axes.imshow(np.exp(log_density(grid)).reshape(201, 201), extent=(-BOX, BOX, -BOX, BOX),
                origin="lower", cmap="viridis", interpolation="bilinear")
    axes.set_title(title, fontsize=11)
    axes.set_xticks([])
    axes.set_yticks([])


def draw(fits, names, depths):
    """One row of pictures an energy: the target, then a column for each depth."""
    figure, axes = plt.subplots(len(names), 1 + len(depths), squeeze=False,
                                figsize=(2.6 * (1 + len(depths)), 2.85 * len(names)),
                                layout="constrained")
    for row, name in zip(axes, names):
        show(row[0], lambda z: -POTENTIALS[name](z), rf"$\exp(-U_{name[1]})$")
        for column, depth in zip(row[1:], depths):
            density, params, kl = fits[name, depth]
            show(column, lambda z: log_prob_in_blocks(density, params, z),
                 f"K = {depth}: KL {kl:.3f} nats")
    return figure


# %%
# Fit, judge, print.


def run(names, depths, steps, panels=40, progress=False):
    fits = {}
    print(f"{'energy':8}{'K':>4}{'KL on the square':>18}{'mass outside':>14}")
    for name in names:
        for depth in depths:
            density, result = fit(POTENTIALS[name], depth, steps, progress=progress)
            kl, outside = kl_on_box(density, result.params, POTENTIALS[name], panels)
            fits[name, depth] = density, result.params, kl
            print(f"{name:8}{depth:4}{kl:13.4f} nats{outside:14.5f}", flush=True)
    return fits


# %%
# Three checks hold for any flow, fitted well or badly. KL is not negative. Quadrature, which
# goes through the inverse, and sampling, which goes through forward, find the same mass
# outside. And the same two ways agree on the KL to the walled target.


def check(density, params, potential, panels=40, draws=20_000):
    kl, outside = kl_on_box(density, params, potential, panels)
    assert kl > 0

    x, log_q = density.sample_and_log_prob(params, np.random.default_rng(1), draws)
    sampled = np.mean(np.any(np.abs(x) > BOX, axis=1))
    assert abs(sampled - outside) < 5 * np.sqrt(max(outside, 1 / draws) / draws)

    def energy(z):
        return potential(z) + wall(z)

    points, weights = box_quadrature(2 * BOX, 2 * panels)   # all that q reaches
    log_q_there = log_prob_in_blocks(density, params, points)
    exact = np.sum(weights * np.exp(log_q_there) * (log_q_there + energy(points)))
    costs = log_q + energy(x)
    assert abs(np.mean(costs) - exact) < 5 * np.std(costs) / np.sqrt(draws)


# %%
# The long run, 2,500 steps of 512 draws for each flow, gives this KL in nats, and this mass
# outside the square:
#
#             K = 2              K = 8              K = 32
#     U1   0.837  0.0025      0.106  0.0001      0.009  0.0000
#     U2   0.354  0.0027      0.171  0.0059      0.033  0.0127
#     U3   0.955  0.0046      0.273  0.0069      0.070  0.0192
#     U4   0.939  0.0054      0.268  0.0083      0.062  0.0221


def main():
    parser = argparse.ArgumentParser(description="Planar flows fitted to U1-U4 by reverse KL.")
    parser.add_argument("--full", action="store_true",
                        help="all energies, K = 2, 8, 32, and write the figure")
    parser.add_argument("--steps", type=int, default=2500, help="steps of each fit of --full")
    options = parser.parse_args()
    if options.full:
        depths = (2, 8, 32)
        # The compiled twins give the same numbers several times faster.
        with nfref.backend("numba", threads=1):
            fits = run(POTENTIALS, depths, options.steps, progress=True)
            nfref.plots.save(draw(fits, POTENTIALS, depths), FIGURE, dpi=110)
        for name in POTENTIALS:
            shallow, _, deep = (fits[name, depth][2] for depth in depths)
            assert 0 < deep < shallow
    else:
        fits = run(["U2"], (2, 6), steps=300, panels=16)
        draw(fits, ["U2"], (2, 6))
        density, params, kl = fits["U2", 6]
        check(density, params, POTENTIALS["U2"], panels=16)
        assert kl < fits["U2", 2][2]


if __name__ == "__main__":
    main()
