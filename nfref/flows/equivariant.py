r"""Continuous flows of particles that know no place, no direction and no order.

Source: Koehler, Klein, Noe 2020, arXiv:2006.02425 (equivariant flows).

A row holds M particles of n coordinates each. Every pair of particles pulls along the line between
them, with a strength that depends on the distance and the time alone:

    .. math::

        \frac{dx_i}{dt} = \sum_{j \ne i} (x_i - x_j) \, \varphi(d_{ij}, t), \qquad
            d_{ij} = |x_i - x_j|.

So a motion, a reflection or a new order of the particles before the flow is the same one after it
(E(n)- and permutation-equivariance), and the centre of mass stays. The divergence is

    .. math::

        \sum_i \operatorname{div}_i \frac{dx_i}{dt}
            = 2 \sum_{i < j} \left(n \, \varphi(d_{ij}, t) + d_{ij} \, \varphi'(d_{ij}, t)\right),

since the derivative of :math:`r \varphi(|r|)` by r has the trace :math:`n \varphi + |r| \varphi'`.
It costs no more than the velocity: O(M^2 K) for K kernels.

The strength is a mean of weights, by Gaussian kernels of the distance and of the time,

    .. math::

        \varphi(d, t) = \sum_{k, l} R_k(d) \, T_l(t) \, w_{kl}, \qquad
            R_k(d) = \frac{g(d - \mu_k)}{\sum_j g(d - \mu_j)}, \quad
            g(d) = e^{-d^2 / \gamma^2},

and :math:`\varphi'` is a covariance: :math:`R_k' = \frac{2}{\gamma^2} R_k (\mu_k - \sum_j R_j
\mu_j)`.

The centre of mass has no density that knows no place. So the density is one on the
(M - 1) n-dimensional space of rows with centre of mass 0, with :class:`nfref.CentredNormal` as
base; with a normal base it is one on the whole space. The log-determinant is the same on both, for
the flow moves every centre of mass by the identity.
"""

from dataclasses import dataclass

import autograd.numpy as np

from nfref.bases.centred_normal import check_particles
from nfref.flows.radial import length
from nfref.flows.velocity_flow import VelocityFlow
from nfref.runtime.annotations import Array
from nfref.runtime.checks import at_least, check_positive

# Formulas ---------------------------------------------------------------------------------


def gaussian_shares(u: Array, centres: Array, width: float) -> Array:
    """Return g(u - mu_k) / sum_j g(u - mu_j) with g(u) = exp(-(u / width)^2), in a new last axis.

    The terms u^2 cancel, and so does the largest exponent: nothing vanishes far from all centres.
    """
    exponent = (2 * u[..., None] - centres) * centres / width**2
    share = np.exp(exponent - np.max(exponent, axis=-1, keepdims=True))
    return share / np.sum(share, axis=-1, keepdims=True)


def strength_and_slope(
    d: Array, weights: Array, centres: Array, width: float
) -> tuple[Array, Array]:
    """Return phi(d) and d phi'(d) = 2 d / width^2 (mean of mu w - mean of mu times mean of w).

    The means are over the kernels k with the shares R_k(d).

    Shapes: d (N, P); weights (1, K) or (N, K); centres (K,). Returns (N, P) and (N, P).
    """
    shares, w = gaussian_shares(d, centres, width), weights[:, :, None]
    phi, moment = np.matmul(shares, w)[:, :, 0], np.matmul(shares, centres[:, None] * w)[:, :, 0]
    return phi, 2 / width**2 * d * (moment - shares @ centres * phi)


def pair_velocity(x: Array, weights: Array, centres: Array, width: float) -> tuple[Array, Array]:
    """Return dx/dt and its divergence, for the weights w(t) = w T(t) of one time or of each row.

    Paper:   equivariant flows, its vector field of pairs with Gaussian radial basis functions and a
             normal prior without centre of mass, latent to data as here.
    Differs: paper: only its opening could be read here; the form is that of the code.
             Code (E(n) flows 2021, its kernel dynamics): learns the kernels' widths, adds a
             constant and squared offsets to the kernels, and 1e-6 to the sums of shares. Here
             centres and widths are fixed, so the velocity is linear in the parameters, and the
             shares add up to 1.

    Shapes: x (N, M, n); weights (1, K) or (N, K); centres (K,). Returns (N, M, n) and (N,).
    """
    _, particles, n = x.shape
    first, second = np.triu_indices(particles, 1)
    signs = np.eye(particles, dtype=centres.dtype)
    signs = signs[:, first] - signs[:, second]  # 1 at the first of a pair, -1 at the second
    r = np.matmul(signs.T, x)
    d = np.reshape(length(np.reshape(r, (-1, n))), r.shape[:2])
    phi, d_slope = strength_and_slope(d, weights, centres, width)
    return np.matmul(signs, phi[:, :, None] * r), 2 * np.sum(n * phi + d_slope, axis=1)


# Flow -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EquivariantCNF(VelocityFlow):
    """A continuous flow of particles that is equivariant to motions, reflections and new orders.

    It starts as the identity. :class:`nfref.objectives.flow_matching.FlowMatching` trains it, and
    so does likelihood.

    Parameters
    ----------
    dim : int
        D = M n.
    particles : int
        M, at least 2; a row holds the coordinates of the first particle, then of the second.
    kernels : int, default 40
        K, kernels of the distance.
    reach : float, default 8.0
        Their centres lie evenly from 0 to this distance; beyond it the strength is constant.
    times : int, default 8
        Kernels of the time, with centres from 0 to 1.
    solver : {"rk4", "rk45", "dop853", "lsoda"}, default "rk4"
        The steps of rk4 do not depend on the rows, so it is equivariant to rounding. The others
        judge each coordinate's error alone, so they are equivariant within their tolerance.
    rtol, atol : float, default 1e-05
        Tolerances of the adaptive solvers.
    steps : int, default 20
        Equal steps of rk4.
    max_evaluations : int, default 10000
        Bound on the calls of the right-hand side in one solve.

    Examples
    --------
    >>> import numpy as np, nfref
    >>> flow = nfref.EquivariantCNF(8, particles=4)
    >>> density = nfref.Density(flow, nfref.CentredNormal(8, particles=4))
    >>> params = density.init(np.random.default_rng(0))
    >>> x = density.sample(params, np.random.default_rng(1), 3)
    >>> bool(abs(x.reshape(3, 4, 2).mean(axis=1)).max() < 1e-12)
    True
    """

    dim: int
    particles: int
    kernels: int = 40
    reach: float = 8.0
    times: int = 8
    solver: str = "rk4"
    rtol: float = 1e-5
    atol: float = 1e-5
    steps: int = 20
    max_evaluations: int = 10_000

    _converters = {
        "particles": at_least(2),
        "kernels": at_least(2),
        "reach": check_positive,
        "times": at_least(2),
    }

    def __post_init__(self):
        super().__post_init__()
        check_particles(self.particles, self.dim)

    def _init(self, rng):
        return {"weights": np.zeros((self.kernels, self.times))}

    def _velocity_and_trace(self, params, t, rows):
        dtype = params["weights"].dtype
        centres = np.linspace(0, self.reach, self.kernels, dtype=dtype)
        hours = np.linspace(0, 1, self.times, dtype=dtype)
        shares = gaussian_shares(np.array(t, dtype), hours, 1 / (self.times - 1))
        x = np.reshape(rows, (len(rows), self.particles, self.dim // self.particles))
        width = self.reach / (self.kernels - 1)
        weights = (shares @ params["weights"].T).reshape(-1, self.kernels)
        velocity, trace = pair_velocity(x, weights, centres, width)
        return np.reshape(velocity, rows.shape), trace
