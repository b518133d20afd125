"""Continuous maps with extra dimensions, and their likelihood.

Sources: Dupont, Doucet, Teh 2019, arXiv:1904.01681 (augmented neural ODEs); Zhang et al. 2019,
arXiv:1907.12998 (2n dimensions approximate any homeomorphism of n); Chen et al. 2020,
arXiv:2002.09741 (VFlow: likelihood with extra dimensions).

Paths of an ODE never cross. On the line they keep their order, so x -> -x is impossible,
and in the plane an inner disc stays enclosed by the ring around it. With extra coordinates
paths can pass each other.

A row padded with *zeros* lies on a D-dimensional sheet of the larger space and has no density
there. For a likelihood the extra coordinates e are *noise* of a known density q(e), and the
flow models p(x, e). That joint density is exact. Sampling e gives an estimate of
p(x) = E_q [p(x, e) / q(e)]. The estimate is never below zero and unbiased for p(x); its
logarithm is biased downwards.
"""

from dataclasses import dataclass
from functools import cached_property

import autograd.numpy as np
import numpy

from nfref.bases.standard_normal import StandardNormal
from nfref.density import Density
from nfref.flows.composition import with_fields_of
from nfref.flows.continuous import CNF
from nfref.runtime.annotations import Any, Array, Callable, Generator, Sequence
from nfref.runtime.checks import as_rows, check_count, check_rng


def with_zeros(x: Array, extra: int) -> Array:
    """Return rows [x, 0] of D + ``extra`` coordinates."""
    return np.concatenate([x, np.zeros((len(x), extra), dtype=x.dtype)], axis=1)


def with_noise(x: Array, extra: int, rng: Generator) -> Array:
    """Return rows [x, e] with e standard normal, to which a density of [x, e] is fitted."""
    check_rng(rng)
    return np.concatenate([x, rng.standard_normal((len(x), extra)).astype(x.dtype)], axis=1)


# The construction in 2n dimensions --------------------------------------------------------


def padded_velocity(
    function: Callable[..., Any], inverse: Callable[..., Any]
) -> Callable[..., Any]:
    """Return a velocity on 2n coordinates [y, w] that moves [x, 0] to [h(x), 0], from t = 0 to 1.

    It works for any homeomorphism h, by three shears that take a third of the time each:

    1. dw/dt = 3 y           [x, 0]    -> [x, x]        w becomes a copy of x
    2. dy/dt = 3 (h(w) - w)  [x, x]    -> [h(x), x]     y moves to h(w)
    3. dw/dt = -3 h^-1(y)    [h(x), x] -> [h(x), 0]     w is removed again

    Every shear keeps volume, so the log-determinant on 2n coordinates is zero: it does not
    determine that of h.

    Paper:   Zhang et al. v2: flows in 2n dimensions approximate every homeomorphism h.
    Differs: this flow is piecewise in time, so that you can check it by eye. It equals h, with a
             velocity as rough as h and its inverse.

    Parameters
    ----------
    function, inverse : callable
        h and its inverse, (N, n) array -> (N, n) array.

    Returns
    -------
    callable
        (t, (N, 2n) array) -> (N, 2n) array.
    """

    def velocity(t, state):
        n = state.shape[1] // 2
        y, w = state[:, :n], state[:, n:]
        still = np.zeros_like(y)
        if t < 1 / 3:
            return np.concatenate([still, 3 * y], axis=1)
        if t < 2 / 3:
            return np.concatenate([3 * (function(w) - w), still], axis=1)
        return np.concatenate([still, -3 * inverse(y)], axis=1)

    return velocity


# The learned map --------------------------------------------------------------------------


@dataclass(frozen=True)
class AugmentedODE:
    """A map of D coordinates by an ODE in D + extra: pad with zeros, solve, read out.

    It is a regression model and has no log-determinant. ``extra=0`` is the plain neural
    ODE, ``extra=dim`` the 2n dimensions of Zhang et al.

    Parameters
    ----------
    dim : int
    extra : int
        Zeros appended to each row.
    outputs : int, optional
        Width of a linear layer that reads all D + extra coordinates, as in Dupont et al.;
        if omitted, the first D coordinates are the result.
    hidden, activation, solver, rtol, atol, steps, gradient
        As in :class:`nfref.CNF`.
    """

    dim: int
    extra: int = 1
    outputs: int | None = None
    hidden: Sequence[int] = (32,)
    activation: str = "tanh"
    solver: str = "rk45"
    rtol: float = 1e-5
    atol: float = 1e-5
    steps: int = 20
    gradient: str = "adjoint"

    def __post_init__(self):
        check_count("extra", self.extra, minimum=0)
        if self.outputs is not None:
            check_count("outputs", self.outputs)
        self.flow  # noqa: B018, making it checks the other fields

    @cached_property
    def flow(self) -> CNF:
        """The flow on D + extra coordinates."""
        return with_fields_of(self, CNF, dim=self.dim + self.extra)

    def init(self, rng: Generator) -> dict[str, Any]:
        """Return initial parameters: the flow's, and those of the read-out if there is one."""
        params = {"flow": self.flow.init(rng)}
        if self.outputs is not None:
            width = self.dim + self.extra
            weight = rng.standard_normal((width, self.outputs)) / width**0.5
            params["readout"] = {"weight": weight, "bias": np.zeros(self.outputs)}
        return params

    def __call__(self, params: dict[str, Any], x: Array) -> Array:
        """Return the value of the map.

        Parameters
        ----------
        params : dict
        x : (N, D) array

        Returns
        -------
        (N, D) or (N, outputs) array
        """
        padded = with_zeros(as_rows("x", x, self.dim), self.extra)
        end, _ = self.flow.forward(params["flow"], padded)
        if self.outputs is None:
            return end[:, : self.dim]
        return end @ params["readout"]["weight"] + params["readout"]["bias"]


# Likelihood -------------------------------------------------------------------------------


def marginal_log_prob(
    density: Density, params: dict[str, Any], x: Array, rng: Generator, samples: int = 100
) -> tuple[Array, Array]:
    """Estimate log p(x) under a density of [x, e], by importance sampling over e.

    log p(x) ~ log 1/K sum_k w_k,  w_k = p(x, e_k) / q(e_k),  e_k standard normal. It is a
    lower bound on average. The standard error is that of the mean of w, divided by the mean
    (delta method).

    Parameters
    ----------
    density : Density
        Density of D + extra coordinates, fitted to rows of :func:`with_noise`.
    params : dict
    x : (N, D) array
    rng : numpy.random.Generator
    samples : int
        K, at least 2. N K rows are scored in one batch.

    Returns
    -------
    log_prob : (N,) array
        In nats.
    standard_error : (N,) array
        In nats.

    Raises
    ------
    ValueError
        If x has as many columns as the density has coordinates, or more.
    """
    check_rng(rng)
    check_count("samples", samples, minimum=2)
    width = numpy.shape(x)[1] if numpy.ndim(x) == 2 else 0
    if not 0 < width < density.dim:
        raise ValueError(
            f"x: expected shape (N, D) with D below the density's {density.dim} "
            f"coordinates, got {numpy.shape(x)}"
        )
    x = as_rows("x", x, width)
    rows = with_noise(np.repeat(x, samples, axis=0), density.dim - width, rng)
    noise = StandardNormal(density.dim - width)
    log_weight = density.log_prob(params, rows) - noise.log_prob({}, rows[:, width:])
    log_weight = log_weight.reshape(len(x), samples)
    top = np.max(log_weight, axis=1, keepdims=True)
    weight = np.exp(log_weight - top)
    mean = np.mean(weight, axis=1)
    error = np.std(weight, axis=1, ddof=1) / (mean * samples**0.5)
    return top[:, 0] + np.log(mean), error
