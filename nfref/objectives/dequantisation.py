"""Maximum likelihood for whole numbers and categories: new noise at every step."""

import autograd.numpy as np

from nfref.bases.argmax_flow import ArgmaxFlow
from nfref.density import Density
from nfref.flows.dequantisation import dequantised
from nfref.objectives.divergences import negative_log_likelihood
from nfref.runtime.annotations import Array, Generator, Params


def dequantised_likelihood(
    density: Density, params: Params, x: Array, context: Array | None, rng: Generator
) -> float:
    """Return -1/N sum_n log p(floor(x_n) + u_n), with new uniform noise u at each call.

    Its mean over the noise is at least -1/N sum log P(floor(x_n)); see
    ``nfref/flows/dequantisation.py``. As the ``objective`` of :func:`nfref.fit` it gives rows
    of :func:`nfref.dequantised` new noise at every step.

    Parameters
    ----------
    density : Density
    params : nested dicts and lists of arrays
    x : (N, D) array
        Whole numbers, or whole numbers plus noise.
    context : (N, C) array or None
    rng : numpy.random.Generator

    Returns
    -------
    scalar
        In nats per row.
    """
    return negative_log_likelihood(density, params, dequantised(rng, np.floor(x)), context)


def argmax_bound(
    density: Density, params: Params, x: Array, context: Array | None, rng: Generator
) -> float:
    """Return minus the mean of :meth:`nfref.ArgmaxFlow.lower_bound`, by one sample a row.

    Parameters
    ----------
    density : Density
        Its base is a :class:`nfref.ArgmaxFlow`, its flow takes categories to categories.
    params : nested dicts and lists of arrays
    x : (N, D) array
    context : (N, C) array or None
    rng : numpy.random.Generator

    Returns
    -------
    scalar
        In nats per row; on average at least -log P(x).
    """
    own, z = rows_at_base(density, ArgmaxFlow, params, x, context)
    return -np.mean(density.base.lower_bound(own, z, rng))


def rows_at_base(
    density: Density, kind: type, params: Params, x: Array, context: Array | None
) -> tuple[Params, Array]:
    """Return the parameters of a base, which has to be of this kind, and the rows that reach it."""
    if not isinstance(density.base, kind):
        found = type(density.base).__name__
        raise TypeError(f"density: expected the base {kind.__name__}, got {found}")
    checked, x, context = density._checked(params, "x", x, context)
    return checked["base"], density.flow._inverse(checked["flow"], x, context)[0]
