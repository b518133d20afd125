r"""The mean velocity of a flow's paths: from noise to data in one call of the network.

Source: Geng et al. 2025, arXiv:2505.13447 (MeanFlow).

Call f the velocity and :math:`x_t` a path. Over the time from t to t + d,

    .. math::

        u(x_t, t, d) = \frac{1}{d} \int_t^{t+d} f(x_s, s) \, ds, \qquad
            u = f + d \, \frac{du}{dt}, \qquad \frac{du}{dt} = \frac{\partial u}{\partial x} f
            + \frac{\partial u}{\partial t} - \frac{\partial u}{\partial d},

and z + u(z, 0, 1) is the end of the path from z. With d = 0 it is the velocity, so one network is
both: a CNF whose context is d. Its likelihood is that at d = 0. The map of one step is learned and
need not be one to one, so its samples have another density, which nobody knows.
"""

from dataclasses import dataclass

import autograd.numpy as np
from autograd.differential_operators import make_jvp

from nfref.flow import Flow
from nfref.flows.continuous import CNF
from nfref.objectives.flow_matching import noise_rows, pair_by_transport
from nfref.objectives.objective import Objective
from nfref.objectives.rectified_flow import straight_path
from nfref.runtime import params as trees
from nfref.runtime.annotations import Any, Array, Callable
from nfref.runtime.autograd_internals import getval
from nfref.runtime.checks import one_of

# Formulas ---------------------------------------------------------------------------------


def mean_velocity_target(
    u: Callable[[Array], Array], x: Array, t: Array, d: Array, speed: Array
) -> Array:
    """Return v + d du/dt at x, where du/dt is the derivative of u along (v, 1, -1).

    One forward-mode derivative of u.

    Paper:   MeanFlow, section 4.1, (6): u = v - (t - r) du/dt; (9): the velocity of a line as v,
             and no gradient through the target.
    Differs: the direction of time, so the sign of du/dt. Here d is t - r there.

    Shapes: x, speed (v) (N, D); t, d (N, 1); u maps rows [x, t, d] (N, D + 2) to (N, D).
    """
    row = np.concatenate([x, t, d], axis=1)
    along = np.concatenate([speed, np.ones_like(t), -np.ones_like(d)], axis=1)
    return speed + d * make_jvp(u)(row)(along)[1]


def gaussian_mean_velocity(t: Array, x: Array, d: Array, mean: Array, scale: Array) -> Array:
    """Return the mean velocity of straight paths from N(0, 1) to N(mean, scale^2).

    A path keeps (x_t - t m) / sqrt(v_t) with v_t = t^2 s^2 + (1 - t)^2, as for
    :func:`nfref.objectives.flow_matching.gaussian_velocity`. So it moves from x by
    d m + (x - t m) (sqrt(v_{t+d} / v_t) - 1). Elementwise; d not 0.
    """
    before, after = (np.sqrt((s * scale) ** 2 + (1 - s) ** 2) for s in (t, t + d))
    return mean + (x - t * mean) * (after / before - 1) / d


# Use --------------------------------------------------------------------------------------


def check_mean_flow(name: str, flow: Flow) -> CNF:
    """Return the flow; raise an error unless it is a CNF whose context is one number."""
    if not isinstance(flow, CNF):
        raise TypeError(f"{name}: expected a CNF, got {type(flow).__name__}")
    if flow.context_dim != 1:
        raise ValueError(f"{name}: expected a CNF with context_dim 1, got {flow.context_dim}")
    return flow


def mean_flow_steps(flow: CNF, params: dict[str, Any], z: Array, steps: int = 1) -> Array:
    """Return where equal steps of the mean velocity lead from z.

    Parameters
    ----------
    flow : CNF
        With context_dim 1, fitted by :class:`MeanFlow`.
    params : dict
    z : (N, D) array
    steps : int, default 1
        Calls of the network.

    Returns
    -------
    (N, D) array
    """
    check_mean_flow("flow", flow)
    d = np.full((len(z), 1), 1 / steps)
    for k in range(steps):
        z = z + d * flow.velocity(params, k / steps, z, d)
    return z


@dataclass(frozen=True)
class MeanFlow(Objective):
    """An objective: the mean of |u(x_t, t, d) - target|^2 on straight lines, without a solve.

    It is not in nats. The density's flow is a CNF with context_dim 1. The context of the rows is 0,
    as for a likelihood, and is not read.

    Parameters
    ----------
    instant : float, default 0.5
        The share of rows with d = 0, which are flow matching. The others have t and t + d uniform.
    pairing : {"independent", "ot"}
        Pairs of noise and data: random, or by minibatch optimal transport, as for
        :class:`nfref.objectives.flow_matching.FlowMatching`. Lines that cross less make targets
        less noisy, and paths that are nearly straight are easy to jump along.
    """

    instant: float = 0.5
    pairing: str = "independent"

    _converters = {"pairing": one_of(("independent", "ot"))}

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.instant <= 1:
            raise ValueError(f"instant: expected a share from 0 to 1, got {self.instant}")

    def _loss(self, density, params, x, context, rng):
        """Return the loss of a batch: one noise row, t and d for each row of x."""
        flow = check_mean_flow("density", density.flow)
        z = noise_rows(density, params, rng, len(x))
        if self.pairing == "ot":
            z = pair_by_transport(z, x)
        t, end = np.sort(rng.random((2, len(x), 1)), axis=0).astype(x.dtype)
        d = np.where(rng.random((len(x), 1)) < 1 - self.instant, end - t, 0)
        x_t, speed = straight_path(t, z.astype(x.dtype), x)

        def u(own, row):
            dim = flow.dim
            return flow._velocity(own, row[:, dim : dim + 1], row[:, :dim], row[:, dim + 1 :])

        fixed = trees.tree_map(getval, params["flow"])
        target = mean_velocity_target(lambda row: u(fixed, row), x_t, t, d, speed)
        found = u(params["flow"], np.concatenate([x_t, t, d], axis=1))
        return np.mean(np.sum((found - target) ** 2, axis=1))
