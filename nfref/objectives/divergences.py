"""Objectives: forward and reverse KL, and importance sampling.

Both KL are in nats, and ``autograd.grad`` differentiates them with respect to the parameters.

Sources: Papamakarios et al. 2021, arXiv:1912.02762, section 2.3 (forward and reverse KL);
Rezende and Mohamed 2015, arXiv:1505.05770, sections 4.2 and 6 (the variational bound, annealed).
"""

from dataclasses import dataclass, field

import autograd.numpy as np

from nfref.density import Density
from nfref.diagnostics.evidence import Evidence, importance_sampling
from nfref.objectives.targets import check_values, log_density
from nfref.runtime.annotations import Any, Array, Callable, Generator, Params
from nfref.runtime.checks import check_count, check_positive


def negative_log_likelihood(
    density: Density,
    params: Params,
    x: Array,
    context: Array | None = None,
    weight: Array | None = None,
) -> float:
    """Return -1/N sum_n w_n log q(x_n), the forward KL to the data up to their entropy.

    Parameters
    ----------
    density : Density
    params : nested dicts and lists of arrays
    x : (N, D) array
    context : (N, C) array, optional
    weight : (N,) array, optional
        w, with mean 1; 1 for every row if omitted.

    Returns
    -------
    scalar
        In nats per row.
    """
    log_prob = density.log_prob(params, x, context)
    return -np.mean(log_prob if weight is None else weight * log_prob)


def reverse_kl(
    density: Density,
    params: Params,
    log_target: Callable[..., Any],
    rng: Generator,
    n: int,
    beta: float = 1.0,
) -> float:
    """Return 1/n sum_i log q(x_i) - beta log p~(x_i), with samples x_i of q.

    For beta = 1 it is an unbiased estimate of KL(q || p) - log Z, where Z is the normaliser of
    p~. The samples are functions of the parameters (x = forward(z)), so its gradient is the
    pathwise one. The flow is never inverted.

    Parameters
    ----------
    density : Density
        q.
    params : nested dicts and lists of arrays
    log_target : callable
        log p~: (n, D) array -> (n,) array, written with ``autograd.numpy``; it need not be
        normalised.
    rng : numpy.random.Generator
    n : int
        Number of samples, at least 1.
    beta : float
        Inverse temperature of the target, as in annealing (Rezende and Mohamed, section 6).

    Returns
    -------
    scalar
        In nats.
    """
    check_positive("beta", beta)
    _, log_q, log_p = _log_q_and_target(density, params, log_target, rng, n)
    return np.mean(log_q - beta * log_p)


@dataclass(frozen=True)
class ImportanceEstimate(Evidence):
    """The evidence of a target by importance sampling, with the weighted samples behind it.

    Attributes
    ----------
    samples : (n, D) array
        Samples x_i of q.
    weights : (n,) array
        p~(x_i) / q(x_i), divided by their sum: averages over samples with these weights are
        averages under the target.
    """

    samples: Array = field(repr=False)
    weights: Array = field(repr=False)

    @classmethod
    def of(cls, evidence: Evidence, samples: Array, log_weights: Array) -> "ImportanceEstimate":
        """Return the evidence with its samples, and with their weights from logs, (n,)."""
        weights = np.exp(log_weights - np.max(log_weights))
        return cls(**vars(evidence), samples=samples, weights=weights / np.sum(weights))


def importance_estimate(
    density: Density, params: Params, log_target: Callable[..., Any], rng: Generator, n: int
) -> ImportanceEstimate:
    """Estimate the normaliser of the target by importance sampling, and its reliability.

    With weights w_i = p~(x_i) / q(x_i) for samples x_i of q:  log Z ~ log 1/n sum_i w_i, and
    the effective sample size is (sum_i w_i)^2 / sum_i w_i^2 (Kong 1992), between 1 and n.

    Parameters
    ----------
    density, params, log_target, rng, n
        As for :func:`reverse_kl`; autograd need not follow the target.

    Returns
    -------
    ImportanceEstimate
        ``value`` is log Z in nats, never below its bound -reverse_kl on the same samples.
        ``error``, ``effective``, ``pareto_k`` and ``believable`` say how far to trust it, as for
        :class:`nfref.diagnostics.evidence.Evidence`.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong shape, type or value, or the target fails or is NaN at a
        sample.
    """
    x, log_q, log_p = _log_q_and_target(density, params, log_target, rng, n)
    check_values(x, log_p)
    log_weight = (log_p - log_q).astype(np.float64)
    return ImportanceEstimate.of(importance_sampling(log_weight), x, log_weight)


def _log_q_and_target(density, params, log_target, rng, n):
    check_count("n", n)
    x, log_q = density.sample_and_log_prob(params, rng, n)
    return x, log_q, log_density(log_target, x)
