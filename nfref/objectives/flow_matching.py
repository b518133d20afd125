"""Flow matching: train a continuous flow by regression, without a solve.

Sources: Lipman et al. 2022, arXiv:2210.02747; Tong et al. 2023, arXiv:2302.00482 (pairing by
optimal transport); Albergo, Vanden-Eijnden 2022, arXiv:2209.15571 (stochastic interpolants).

Given noise z and a data row x, a conditional path  x_t = alpha_t x + sigma_t z  has the
velocity  u_t = alpha_t' x + sigma_t' z. The network that is closest to u_t at x_t in mean
square, over t, z and x, is the velocity whose flow maps the noise to the data (flow
matching, theorems 1 and 2). Samples and log-likelihoods are those of its CNF, with the exact
trace; so a density trained this way is normalised like any other.
"""

from dataclasses import dataclass

import autograd.numpy as np

from nfref.density import Density
from nfref.flow import Flow
from nfref.flows.continuous import CNF
from nfref.flows.velocity_flow import VelocityFlow
from nfref.objectives.objective import Objective
from nfref.runtime import params as trees
from nfref.runtime.annotations import Any, Array, Callable, Generator
from nfref.runtime.autograd_internals import getval
from nfref.runtime.checks import one_of

# Formulas ---------------------------------------------------------------------------------


def transport_path(t: Array, sigma_min: float = 1e-4) -> tuple[Array, Array, Array, Array]:
    """Return (alpha, sigma, alpha', sigma') of the optimal-transport path.

    Paper:   flow matching v2, section 4.1, (20)-(23): mu_t = t x_1 and
             sigma_t = 1 - (1 - sigma_min) t, noise to data as here; x_1 is x, x_0 is z.
    Differs: nothing. At t = 1 noise of scale sigma_min remains on the data.

    alpha = t, sigma = 1 - (1 - sigma_min) t: straight lines at constant speed. Elementwise.
    """
    one = np.ones_like(t)
    return t, 1 - (1 - sigma_min) * t, one, -(1 - sigma_min) * one


def variance_preserving_path(
    t: Array, beta_min: float = 0.1, beta_max: float = 20.0
) -> tuple[Array, Array, Array, Array]:
    """Return (alpha, sigma, alpha', sigma') of the variance-preserving path.

    Paper:   flow matching v2, section 4.1, (18)-(19): mu_t = alpha_{1-t} x_1,
             sigma_t^2 = 1 - alpha_{1-t}^2, alpha_t = exp(-T(t)/2), noise to data as here.
    Differs: nothing. At t = 0 a trace exp(-T(1)/2) x of the data remains, as in the paper.

    With s = 1 - t, beta(s) = beta_min + s (beta_max - beta_min) and T its integral from 0 to s:
    alpha = e^(-T/2), sigma = sqrt(1 - e^(-T)). Since dT/dt = -beta,
    alpha' = alpha beta / 2 and sigma' = -beta e^(-T) / (2 sigma), which is infinite at t = 1.
    Elementwise.
    """
    s = 1 - t
    beta = beta_min + s * (beta_max - beta_min)
    integral = s * beta_min + 0.5 * s**2 * (beta_max - beta_min)
    alpha, sigma = np.exp(-0.5 * integral), np.sqrt(-np.expm1(-integral))
    return alpha, sigma, 0.5 * alpha * beta, -0.5 * beta * np.exp(-integral) / sigma


def trigonometric_path(t: Array) -> tuple[Array, Array, Array, Array]:
    """Return (alpha, sigma, alpha', sigma') of the trigonometric interpolant.

    Paper:   stochastic interpolants: I_t = cos(pi t / 2) x_0 + sin(pi t / 2) x_1, from x_0 of
             the base, here z, to x_1 of the data, here x.
    Differs: nothing. The base may be any density: z need not be normal.

    alpha = sin(pi t / 2), sigma = cos(pi t / 2): if z and x have the same covariance, x_t keeps it.
    Elementwise.
    """
    alpha, sigma = np.sin(0.5 * np.pi * t), np.cos(0.5 * np.pi * t)
    return alpha, sigma, 0.5 * np.pi * sigma, -0.5 * np.pi * alpha


PATHS: dict[str, Callable[[Array], tuple[Array, Array, Array, Array]]] = {
    "ot": transport_path,
    "vp": variance_preserving_path,
    "trigonometric": trigonometric_path,
}
# The largest t of a sample; at t = 1 the velocity of the variance-preserving path is infinite.
LATEST = {"ot": 1.0, "vp": 1 - 1e-5, "trigonometric": 1.0}


def conditional_path(path: str, t: Array, z: Array, x: Array) -> tuple[Array, Array]:
    """Return position x_t and velocity u_t on the way from noise z to data x.

    Shapes: t (N, 1); z, x (N, D). Returns two (N, D) arrays.
    """
    alpha, sigma, d_alpha, d_sigma = PATHS[path](t)
    return alpha * x + sigma * z, d_alpha * x + d_sigma * z


def pair_by_transport(z: Array, x: Array) -> Array:
    """Return the rows of z in the order that makes the sum of |z_n - x_n|^2 smallest.

    Exact minibatch optimal transport (OT-CFM, section 3.2): an assignment problem, solved by
    ``scipy.optimize.linear_sum_assignment`` in at most O(N^3). Shapes: (N, D) both.

    Differs: the paper samples pairs from the plan of the batch, with replacement in its code;
             here each of the plan's pairs is taken once. The path between them is
             :func:`transport_path`, whose noise shrinks with t; that of the paper's
             N(t x_1 + (1 - t) x_0, sigma^2) is constant.
    """
    from scipy.optimize import linear_sum_assignment

    cost = -2 * x @ z.T + np.sum(z**2, axis=1)  # |x|^2 is the same for every partner
    return z[linear_sum_assignment(cost)[1]]


def gaussian_velocity(t: Array, x: Array, mean: Array, scale: Array) -> Array:
    """Return the marginal velocity of straight paths from N(0, 1) to N(mean, scale^2).

    The pairs are random.

    1. x_t = t x + (1 - t) z is normal with mean t m and variance v = t^2 s^2 + (1 - t)^2.
    2. A flow with these normals leaves (x_t - t m) / sqrt(v) constant:
       u = m + (x - t m) v' / (2 v),  v' / 2 = t s^2 - (1 - t).

    Its flow from t = 0 to 1 is x = m + s z. Elementwise.
    """
    variance = t**2 * scale**2 + (1 - t) ** 2
    return mean + (x - t * mean) * (t * scale**2 - (1 - t)) / variance


# Objective --------------------------------------------------------------------------------


@dataclass(frozen=True)
class FlowMatching(Objective):
    """An objective: the mean of |f(x_t, t) - u_t|^2, not in nats, which needs no solve.

    The density's flow is a CNF, or a chain whose first member (next to the noise) is one. The
    other members map the data to the end of the CNF and are not trained.

    Parameters
    ----------
    path : {"ot", "vp", "trigonometric"}
        Optimal-transport path, variance-preserving path, or trigonometric interpolant.
    pairing : {"independent", "ot"}
        Pairs of noise and data: random, or by minibatch optimal transport. The latter makes
        paths cross less, and is for flows without context: pairs that ignore the context would
        make the noise depend on it.
    """

    path: str = "ot"
    pairing: str = "independent"

    _converters = {"path": one_of(PATHS), "pairing": one_of(("independent", "ot"))}

    def _loss(self, density, params, x, context, rng):
        """Return the loss of a batch: one t and one noise row for each row of x."""
        if self.pairing == "ot" and context is not None:
            raise ValueError("pairing: expected 'independent' for a flow with a context, got 'ot'")
        flow, flow_params, x = end_of_cnf(density.flow, params["flow"], x, context)
        z = noise_rows(density, params, rng, len(x)).astype(x.dtype)
        t = (LATEST[self.path] * rng.random((len(x), 1))).astype(x.dtype)
        if self.pairing == "ot":
            z = pair_by_transport(z, x)
        x_t, u_t = conditional_path(self.path, t, z, x)
        f = flow._velocity(flow_params, t, x_t, context)
        return np.mean(np.sum((f - u_t) ** 2, axis=1))


def noise_rows(density: Density, params: dict[str, Any], rng: Generator, n: int) -> Array:
    """Return n rows of the base, (n, D), whose parameters no gradient reaches."""
    return density.base.sample(trees.tree_map(getval, params["base"]), rng, n)


def end_of_cnf(
    flow: Flow, params: Any, x: Array, context: Array | None
) -> tuple[CNF | VelocityFlow, Any, Array]:
    """Return the CNF at the latent end of a flow, its parameters, and the data where it ends."""
    *others, (cnf, last, place) = flow.members(-1)
    if not isinstance(cnf, (CNF, VelocityFlow)) or last != -1:
        found = type(cnf).__name__ if last == -1 else f"Invert({type(cnf).__name__})"
        raise ValueError(f"density: expected a CNF as the flow's first member, got {found}")
    for member, direction, path in others:
        x, _ = member._apply(direction, trees.at_path(params, path), x, context)
    return cnf, trees.at_path(params, place), getval(x)
