"""
A density that flows
====================

A continuous flow moves every point with a velocity, dz/dt = f(z, t), from noise at t = 0 to
data at t = 1. Along the way there is a density at every t, not only at the ends:

    log p_t(z(t)) = log p_0(z(0)) - integral from 0 to t of tr df/dz.

Here the velocity is learned by flow matching (Lipman et al. 2022, arXiv:2210.02747): noise z
and data x are joined by a straight line, and a network learns the mean velocity of all the
lines through a point. No differential equation is solved while it learns. Afterwards it
is the velocity of a flow like any other, and its likelihood is exact.

Run it with ``--full`` for the figure as it is kept here; without, it learns for a moment.
"""

# %%
import argparse

import matplotlib.pyplot as plt
import numpy as np
from _figures import figure_path

import nfref
from nfref import datasets
from nfref.objectives.flow_matching import FlowMatching

TIMES = (0.0, 0.4, 0.7, 0.9, 1.0)

# %%
# Learning. The data are brought to unit variance first; that step is part of the flow, so
# log-likelihoods stay in the units of the data. Noise is paired with data by optimal
# transport within each batch, which leaves fewer lines that cross.


def fit(rows, epochs, hidden, seed=0):
    rng = np.random.default_rng(seed)
    x = datasets.eight_gaussians(rng, rows)
    flow = nfref.Chain([nfref.CNF(2, hidden), nfref.Standardise.of(x)])
    density = nfref.Density(flow)
    result = nfref.fit(density, density.init(rng), x, rng, validation=None, epochs=epochs,
                       batch_size=128, learning_rate=5e-3, schedule="cosine", patience=None,
                       objective=FlowMatching(pairing="ot"), progress=False)
    return density, result.params


# %%
# The density at time t: follow each point of a grid back to the noise.


def log_density_at(cnf, params, t, points):
    if t == 0:
        return nfref.StandardNormal(2).log_prob({}, points)
    path = cnf.trajectory(params, points, (t, 0.0))
    return nfref.StandardNormal(2).log_prob({}, path.values[-1]) + path.log_det[-1]


def figure(cnf, params, side):
    axis = np.linspace(-3, 3, side)
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    cell = (axis[1] - axis[0]) ** 2
    starts = np.random.default_rng(1).standard_normal((300, 2))
    paths = cnf.trajectory(params, starts, TIMES).values
    fig, axes = plt.subplots(1, len(TIMES), figsize=(12, 2.9), layout="constrained")
    masses = []
    for ax, t, here in zip(axes, TIMES, paths):
        log_density = log_density_at(cnf, params, t, points)
        masses.append(np.exp(log_density).sum() * cell)
        ax.pcolormesh(axis, axis, np.exp(log_density).reshape(side, side), cmap="Blues",
                      shading="nearest", rasterized=True)
        ax.scatter(*here.T, s=3, c=np.arctan2(*starts.T), cmap="twilight")
        ax.set(title=f"t = {t:g}", xticks=[], yticks=[], aspect="equal", xlim=(-3, 3),
               ylim=(-3, 3))
    fig.savefig(figure_path("10_density_over_time.png"), dpi=130)
    plt.close(fig)
    return masses


def main():
    parser = argparse.ArgumentParser(description="A density that flows")
    parser.add_argument("--full", action="store_true", help="learn for minutes, not a moment")
    full = parser.parse_args().full
    density, params = fit(*((20_000, 60, (96, 96)) if full else (3000, 12, (32, 32))))
    cnf = density.flow.flows[0]
    masses = figure(cnf, params["flow"][0], 161 if full else 81)
    test = datasets.eight_gaussians(np.random.default_rng(2), 4000 if full else 1000)
    above = np.mean(datasets.eight_gaussians.log_prob(test) - density.log_prob(params, test))
    print(f"{above:.3f} nats above the entropy of the data")
    print("mass at each time:", ", ".join(f"{mass:.4f}" for mass in masses))
    # However little it has learned, it is a density, at every time.
    assert np.all(np.abs(np.array(masses) - 1) < 0.03)
    assert above < (0.1 if full else 1.0)
    # And the way back is the way there.
    x, log_prob = density.sample_and_log_prob(params, np.random.default_rng(3), 200)
    assert np.allclose(density.log_prob(params, x), log_prob, atol=1e-2)


if __name__ == "__main__":
    main()
