"""
Extra coordinates
=================

Paths of a differential equation never cross: two points that met would have to move on
together. So on the line every flow keeps the order of points, and x -> -x is out of reach of
any velocity; in the plane, a disc stays inside of the ring around it.

With one more coordinate paths can go around (Dupont et al. 2019, arXiv:1904.01681). As many
extra coordinates as there were to begin with are enough for any homeomorphism (Zhang et al.
2019, arXiv:1907.12998).
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from _figures import figure_path
from autograd import numpy as anp
from autograd import value_and_grad
from scipy.optimize import minimize

from nfref import params as trees
from nfref.flows.augmented import AugmentedODE, padded_velocity, with_zeros
from nfref.continuous.solve import Options, solve

FIXED = {"hidden": (16,), "solver": "rk4", "steps": 10, "gradient": "direct"}
ADAPTIVE = {"hidden": (16,), "rtol": 1e-8, "atol": 1e-8}


def fit(dim, extra, x, loss_of_outputs, steps, outputs=None, seed=3):
    """A model, its fitted parameters and its loss.

    It learns with fixed steps and is judged with small adaptive ones: a few big steps may jump
    over another path, which no solution of a differential equation can do.
    """
    model = AugmentedODE(dim, extra, outputs, **FIXED)
    vector, unflatten = trees.flatten(model.init(np.random.default_rng(seed)))
    loss = value_and_grad(lambda vector: loss_of_outputs(model(unflatten(vector), x)))
    found = minimize(loss, vector, jac=True, method="L-BFGS-B", options={"maxiter": steps})
    params, model = unflatten(found.x), AugmentedODE(dim, extra, outputs, **ADAPTIVE)
    return model, params, float(loss_of_outputs(model(params, x)))


# %%
# The line. The best a plain flow can do for a target that decreases is a constant: the mean.


def turn_around(axes):
    x = np.linspace(-1, 1, 9)[:, None]
    errors = []
    for ax, extra in zip(axes, (0, 1)):
        model, params, error = fit(1, extra, x, lambda y: anp.mean((y + x) ** 2), 100)
        times = np.linspace(0, 1, 60)
        paths = model.flow.trajectory(params["flow"], with_zeros(x, extra), times).values
        for k in range(len(x)):
            ax.plot(times, paths[:, k, 0], color=plt.cm.coolwarm(k / 8), linewidth=1.5)
        ax.set(title=f"x to -x, {'one extra' if extra else 'no extra'}: error {error:.1g}",
               xlabel="t", ylabel="first coordinate", ylim=(-1.6, 1.6))
        errors.append(error)
    assert errors[0] > 0.99 * np.mean(x ** 2)
    assert errors[1] < 1e-3


# %%
# A disc and the ring around it, to be told apart by a line at the end of the flow.


def disc_and_ring(rng, n):
    radius = np.where(np.arange(n) % 2, rng.uniform(1.0, 1.5, n), rng.uniform(0, 0.5, n))
    angle = rng.uniform(0, 2 * np.pi, n)
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle)]), np.arange(n) % 2


def tell_apart(axes):
    x, label = disc_and_ring(np.random.default_rng(0), 200)
    sign = 2.0 * label - 1
    losses = []
    for ax, extra in zip(axes, (0, 1)):
        model, params, loss = fit(2, extra, x, lambda y: anp.mean(
            anp.logaddexp(0, -sign * y[:, 0])), 60, outputs=1)
        end, _ = model.flow.forward(params["flow"], with_zeros(x, extra))
        ax.scatter(end[:, 0], end[:, -1], s=6, c=np.where(label, "tab:orange", "tab:blue"))
        wrong = np.mean(np.sign(model(params, x)[:, 0]) != sign)
        ax.set(title=f"ring and disc, {'one extra' if extra else 'no extra'}: loss {loss:.1g}, "
                     f"{wrong:.0%} wrong",
               xlabel="first coordinate at t = 1", ylabel="last coordinate at t = 1")
        losses.append(loss)
    assert losses[1] < losses[0] / 2


# %%
# Twice the coordinates make any invertible map, with a velocity that can be written down:
# copy x, move x by what the copy says, remove the copy.


def check_construction():
    x = np.random.default_rng(0).uniform(-1, 1, (10, 1))
    velocity = padded_velocity(np.sinh, np.arcsinh)
    state = with_zeros(x, 1)
    for start, end in ((0, 1 / 3 - 1e-12), (1 / 3, 2 / 3 - 1e-12), (2 / 3, 1)):
        state = solve(velocity, state, start, end, Options(rtol=1e-9, atol=1e-9)).last
    assert np.allclose(state, with_zeros(np.sinh(x), 1), atol=1e-6)


def main():
    fig, axes = plt.subplots(2, 2, figsize=(9.5, 7), layout="constrained")
    turn_around(axes[0])
    tell_apart(axes[1])
    check_construction()
    fig.savefig(figure_path("12_extra_coordinates.png"), dpi=130)
    plt.close(fig)


if __name__ == "__main__":
    main()
