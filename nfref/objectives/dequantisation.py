"""Maximum likelihood for whole numbers: new noise at every step."""

import autograd.numpy as np

from nfref.density import Density
from nfref.flows.dequantisation import dequantised
from nfref.objectives.divergences import negative_log_likelihood
from nfref.runtime.annotations import Array, Generator, Params


def dequantised_likelihood(
    density: Density, params: Params, x: Array, context: Array | None, rng: Generator
) -> float:
    """-1/N sum_n log p(floor(x_n) + u_n) with uniform noise u drawn at this call.

    Its mean over the noise is at least -1/N sum log P(floor(x_n)), the cost of the whole numbers;
    see ``nfref/flows/dequantisation.py``. As the ``objective`` of :func:`nfref.fit` it gives rows
    that :func:`nfref.dequantised` made their noise anew at every step.

    Parameters
    ----------
    density : Density
    params : nested dicts and lists of arrays
    x : (N, D) array
        Whole numbers, or these with noise.
    context : (N, C) array or None
    rng : numpy.random.Generator

    Returns
    -------
    scalar
        In nats per row.
    """
    return negative_log_likelihood(density, params, dequantised(rng, np.floor(x)), context)
