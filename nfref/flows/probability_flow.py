r"""The probability flow of a diffusion, for data from a mixture of normals.

Source: Song, Sohl-Dickstein, Kingma, Kumar, Ermon, Poole 2020, arXiv:2011.13456 (score SDE).

A diffusion turns data into noise, dy = -beta(s)/2 y ds + sqrt(beta(s)) dw, from s = 0 to 1. With
p_s the density of y at time s, the differential equation

    .. math::

        \frac{dy}{ds} = -\frac{\beta(s)}{2} (y + \nabla \log p_s(y))

moves points so that their density is p_s at every s, without any noise. So a diffusion is a
continuous flow, and has a likelihood. In practice a network learns the score grad log p_s. For a
mixture of normals it is known, and so is the exact likelihood to compare with.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import autograd.numpy as np

from nfref.bases.normal_mixture import NormalMixture, logsumexp
from nfref.continuous.solve import Options
from nfref.flows.velocity_flow import VelocityFlow
from nfref.runtime.annotations import Array
from nfref.runtime.checks import check_count, check_positive

# Formulas ---------------------------------------------------------------------------------


def noise_schedule(
    s: float, beta_min: float = 0.1, beta_max: float = 20.0
) -> tuple[float, float, float]:
    """Return (beta, alpha, variance) at time s: y(s) is alpha y(0) plus normal noise.

    beta = beta_min + s (beta_max - beta_min), T its integral from 0 to s, alpha = e^(-T/2),
    variance = 1 - e^(-T).

    Paper:   score SDE, its variance-preserving (VP) equation, with the published code's numbers.
    Differs: nothing.

    Shapes: s a float. Returns three floats.
    """
    beta = beta_min + s * (beta_max - beta_min)
    integral = s * beta_min + 0.5 * s**2 * (beta_max - beta_min)
    return beta, math.exp(-0.5 * integral), -math.expm1(-integral)


def diffused_moments(
    means: Array, log_scales: Array, alpha: float, variance: float
) -> tuple[Array, Array]:
    """Return means alpha m_k and variances alpha^2 exp(2 s_k) + variance of the components.

    Shapes: means, log_scales (K, D). Returns (K, D) and (K, D).
    """
    return alpha * means, alpha**2 * np.exp(2 * log_scales) + variance


def score_and_trace(y: Array, logits: Array, means: Array, variances: Array) -> tuple[Array, Array]:
    """Return grad log p(y) of a mixture of diagonal normals, and the trace of its Jacobian.

    1. Component k has the score e_k = (m_k - y) / v_k, and the share r_k of the density at y:
       log r_k = log w_k + log N(y; m_k, v_k) - log p(y).
    2. grad log p = sum_k r_k e_k.
    3. dr_k = r_k (e_k - grad log p) . dy, and the trace of de_k/dy is -sum_i 1 / v_ki. So the
       trace of the Hessian of log p is sum_k r_k (|e_k - grad log p|^2 - sum_i 1 / v_ki). The
       first part is a variance over k, in a form that does not cancel.

    Shapes: y (N, D); logits (K,); means, variances (K, D). Returns (N, D) and (N,).
    """
    pull = (means - y[:, None, :]) / variances
    log_share = (
        logits
        - 0.5 * np.sum(np.log(variances), axis=1)
        - 0.5 * np.sum(pull * pull * variances, axis=2)
    )
    share = np.exp(log_share - logsumexp(log_share)[:, None])
    score = np.sum(share[:, :, None] * pull, axis=1)
    spread = np.sum((pull - score[:, None, :]) ** 2, axis=2)
    return score, np.sum(share * (spread - np.sum(1 / variances, axis=1)), axis=1)


def velocity_and_trace(
    t: float,
    y: Array,
    logits: Array,
    means: Array,
    log_scales: Array,
    beta_min: float = 0.1,
    beta_max: float = 20.0,
) -> tuple[Array, Array]:
    """Return dy/dt and its divergence, with nfref's time t = 1 - s: noise at 0, data at 1.

    dy/dt = beta/2 (y + grad log p_s(y)),    divergence = beta/2 (D + tr d^2 log p_s).

    Paper:   score SDE, the probability flow ODE dx = (f - g^2 grad log p_t / 2) dt with
             f = -beta x / 2, g^2 = beta, data to noise; its likelihood by the instantaneous change
             of variables.
    Differs: the direction of time. The score is exact and so is the trace; the paper's are a
             network's and Hutchinson's. The published code ends at s = 1e-5, here at 0.

    Shapes: t a float; y (N, D). Returns (N, D) and (N,).
    """
    beta, alpha, variance = noise_schedule(1 - t, beta_min, beta_max)
    score, trace = score_and_trace(y, logits, *diffused_moments(means, log_scales, alpha, variance))
    return 0.5 * beta * (y + score), 0.5 * beta * (y.shape[1] + trace)


# Flow -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ProbabilityFlow(VelocityFlow):
    """The probability flow of a variance-preserving diffusion of a mixture of normals.

    ``forward`` moves noise to data. It starts from the density p_1 at the end of the diffusion,
    which :meth:`diffused` returns. p_1 is nearly the standard normal: the means of the data are
    multiplied by exp(-(beta_min + beta_max) / 4), 0.7 %.

    The parameters are those of the mixture, as in :class:`nfref.NormalMixture`. The continuous
    adjoint gives gradients in all of them.

    Parameters
    ----------
    dim : int
        D.
    components : int
        Number K of normals.
    beta_min : float, default 0.1
    beta_max : float, default 20.0
        Rates of the noise at the data and at the end.
    rtol, atol : float, default 1e-08
        Tolerances of the solver (dop853).
    max_evaluations : int, default 10000
        Bound on the calls of the right-hand side in one solve.

    Notes
    -----
    Far from all components the density has sharp ridges between the regions of two components.
    Towards noise the flow contracts space onto them. With three components of scales near 1, all
    rows at distance 10 return to nine digits. Some rows at distance 30 do not, since the way to
    noise contracts them by more than float64 resolves. For some rows at distance 1,000 the solver
    raises an error.

    All is solved in float64, for any dtype of the rows. On a ridge the shares depend on a
    difference of squared distances, about 100 at distance 10, and float32 holds five digits of it.
    In float32 the log-determinant there was wrong in the fourth digit, by an amount that changed
    with the other rows of the batch.

    Examples
    --------
    >>> import numpy as np, nfref
    >>> flow = nfref.ProbabilityFlow(2, components=3)
    >>> params = flow.init(np.random.default_rng(0))
    >>> start = nfref.NormalMixture(2, 3)
    >>> exact = nfref.Density(flow, start)
    >>> x = np.array([[0.5, -1.0]])
    >>> p = exact.log_prob({"base": flow.diffused(params, 1.0), "flow": params}, x)
    >>> bool(abs(p - start.log_prob(params, x)) < 1e-6)
    True
    """

    dim: int
    components: int
    beta_min: float = 0.1
    beta_max: float = 20.0
    rtol: float = 1e-8
    atol: float = 1e-8
    max_evaluations: int = 10_000

    _converters = {
        "components": check_count,
        "beta_min": check_positive,
        "beta_max": check_positive,
    }

    @cached_property
    def options(self) -> Options:
        """The solver's settings, see :class:`nfref.continuous.solve.Options`."""
        return Options("dop853", self.rtol, self.atol, max_evaluations=self.max_evaluations)

    def diffused(self, params: dict[str, Array], s: float) -> dict[str, Array]:
        """Return parameters of p_s for a :class:`nfref.NormalMixture`: data at s = 0, noise at 1.

        Parameters
        ----------
        params : dict
        s : float
            In [0, 1].

        Returns
        -------
        dict
        """
        _, alpha, variance = noise_schedule(float(s), self.beta_min, self.beta_max)
        means, variances = diffused_moments(params["means"], params["log_scales"], alpha, variance)
        return {"logits": params["logits"], "means": means, "log_scales": 0.5 * np.log(variances)}

    def _init(self, rng):
        return NormalMixture(self.dim, self.components)._init(rng)

    def _velocity_and_trace(self, params, t, rows):
        mixture = (params[name] for name in ("logits", "means", "log_scales"))
        return velocity_and_trace(t, rows, *mixture, self.beta_min, self.beta_max)
