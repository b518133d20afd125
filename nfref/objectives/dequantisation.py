"""Maximum likelihood for whole numbers: new noise at every step."""

import autograd.numpy as np

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
