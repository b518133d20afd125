"""
Straighter paths
================

Many velocities carry the same noise to the same data. Maximum likelihood doesn't care which,
and the solver pays for every bend. RNODE (Finlay et al. 2020, arXiv:2002.02798) adds two
penalties to the loss, both integrals along the same solve:

    lambda_k |f|^2        kinetic energy: go straight and no faster than needed
    lambda_j |df/dz|_F^2  Frobenius norm: let neighbours move alike

Both flows here learn the same two spirals. With one hidden layer the Frobenius norm is exact
and costs one matrix product. How much is saved depends on the tolerance: most where it is
loose and the solver takes few steps.

Run it with ``--full`` for the figure as it is kept here; without, it learns for a moment.
"""

# %%
import argparse
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
from _figures import figure_path

import nfref
from nfref import datasets
from nfref.objectives.path_penalties import PathLikelihood

PENALTY = 0.02
TOLERANCES = (1e-4, 1e-5, 1e-6)

# %%
# Training takes fixed steps, whose gradient is exact; afterwards the adaptive solver says how
# many evaluations the learned velocity really needs.


def fit(penalty, epochs, seed=0):
    """A density of the two spirals with its parameters, and test rows."""
    rng = np.random.default_rng(seed)
    x, test = datasets.two_spirals(rng, 4000), datasets.two_spirals(rng, 4000)
    flow = nfref.CNF(2, (64,), solver="rk4", steps=8, gradient="direct")
    units = nfref.Standardise.of(x)
    density = nfref.Density(nfref.Chain([flow, units]))
    result = nfref.fit(density, density.init(rng), x, rng, validation=None, epochs=epochs,
                       batch_size=250, learning_rate=0.05, schedule="cosine", patience=None,
                       objective=PathLikelihood(penalty, penalty), progress=False)
    flow = replace(flow, solver="rk45", gradient="adjoint")
    return nfref.Density(nfref.Chain([flow, units]), density.base), result.params, test


# %%
# Scoring test rows: their mean in nats, what it took the solver, and how far they travelled.


def judge(density, params, test):
    flow, units = density.flow.flows
    z = units.inverse({}, test)[0]
    evaluations = [replace(flow, rtol=tolerance, atol=tolerance)
                   .trajectory(params["flow"][0], z, (1.0, 0.0)).evaluations
                   for tolerance in TOLERANCES]
    path = flow.trajectory(params["flow"][0], z, (1.0, 0.0), norm="exact")
    return (-density.log_prob(params, test), evaluations, -np.mean(path.kinetic[-1]),
            -np.mean(path.jacobian[-1]))


def draw_paths(ax, density, params):
    starts = np.random.default_rng(2).standard_normal((150, 2))
    flow = replace(density.flow.flows[0], rtol=1e-6, atol=1e-6)
    paths = flow.trajectory(params["flow"][0], starts, np.linspace(0, 1, 60)).values
    for k in range(len(starts)):
        ax.plot(*paths[:, k].T, color="tab:blue", linewidth=0.6, alpha=0.7)
    ax.scatter(*starts.T, s=5, color="tab:gray", label="noise, t = 0")
    ax.scatter(*paths[-1].T, s=7, color="tab:orange", label="data, t = 1")
    ax.set(aspect="equal", xlim=(-3, 3), ylim=(-3, 3))


def main():
    parser = argparse.ArgumentParser(description="Straighter paths")
    parser.add_argument("--full", action="store_true", help="learn for a minute, not a moment")
    full = parser.parse_args().full
    fig, axes = plt.subplots(1, 2, figsize=(9, 5.2), sharey=True, layout="constrained")
    found = []
    for ax, name, penalty in zip(axes, ("without penalties", "with penalties"), (0.0, PENALTY)):
        density, params, test = fit(penalty, 40 if full else 3)
        nats, evaluations, kinetic, jacobian = judge(density, params, test)
        print(f"{name:18s} {nats.mean():.4f} test nats, {evaluations} evaluations at tolerances "
              f"{TOLERANCES}, kinetic energy {kinetic:.2f}, Frobenius norm {jacobian:.2f}")
        draw_paths(ax, density, params)
        ax.set_title(f"{name}: {evaluations[0]} evaluations, {nats.mean():.3f} nats")
        found.append((nats, evaluations, kinetic, jacobian))
    axes[0].legend(loc="upper left")
    fig.savefig(figure_path("11_straighter_paths.png"), dpi=130)
    plt.close(fig)
    plain, penalised = found
    assert penalised[2] < plain[2]
    assert penalised[3] < plain[3]
    if full:
        more = penalised[0] - plain[0]      # row by row
        print(f"{more.mean():.4f} +- {more.std() / len(more) ** 0.5:.4f} nats more")
        assert more.mean() < 2 * more.std() / len(more) ** 0.5      # as likely
        assert penalised[1][0] <= 2 / 3 * plain[1][0]               # for a third less


if __name__ == "__main__":
    main()
