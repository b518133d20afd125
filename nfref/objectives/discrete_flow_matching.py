r"""The loss of discrete flow matching from masks: predict what is masked.

Source: Gat, Remez, Shaul, Kreuk, Chen, Synnaeve, Adi, Lipman 2024, arXiv:2407.15595.

With x_t the row in which each coordinate is revealed with probability kappa_t,

    .. math::

        \mathrm{loss} = \int_0^1 \frac{\kappa'_t}{1 - \kappa_t} \, \mathbb{E}_{x_t}
            \sum_{i \text{ masked}} -\log p_i(x_i | x_t) \, dt \; \ge \; -\log P(x).

The integral over t needs no sample of t: k of D coordinates are masked for a part 1/k of it,
whatever kappa, so with k uniform on 1 ... D and a random set of k coordinates the loss is D/k
times the sum. It is the mean of -log P over the orders of :mod:`nfref.bases.masked_flow`, hence the
bound, by Jensen's inequality.
"""

import autograd.numpy as np
import numpy

from nfref.bases.masked_flow import MaskedFlow
from nfref.density import Density
from nfref.objectives.dequantisation import rows_at_base
from nfref.runtime.annotations import Array, Generator, Params
from nfref.runtime.checks import check_rng, check_whole


def masked_loss(log_probs: Array, masked: Array) -> Array:
    """Return D/k sum_{i masked} -log p_i(x_i | rest) of each row, k the number of masks.

    Paper:   discrete flow matching, in its published library: -kappa' / (1 - kappa) log p(x_1^i |
             x_t) where x_t^i differs from x_1^i, with t uniform.
    Differs: the integral over t is done; there are fewer random numbers and the same mean.

    Shapes: log_probs, masked (N, D). Returns (N,).
    """
    weight = masked.shape[1] / numpy.sum(masked, axis=1)
    return -weight * np.sum(log_probs * masked, axis=1)


def discrete_flow_matching(
    density: Density, params: Params, x: Array, context: Array | None, rng: Generator
) -> float:
    """Return the loss of a batch, an objective for :func:`nfref.fit`.

    Parameters
    ----------
    density : Density
        Its base is a :class:`nfref.MaskedFlow`, its flow takes categories to categories.
    params : dict
    x : (N, D) array
    context : (N, C) array or None
    rng : numpy.random.Generator

    Returns
    -------
    scalar
        In nats per row; on average at least -log P(x).

    Raises
    ------
    TypeError, ValueError
        If the base is another one, or rows are not categories.
    """
    check_rng(rng)
    own, z = rows_at_base(density, MaskedFlow, params, x, context)
    z = check_whole("z", z, density.base.levels)
    count = rng.integers(1, density.dim + 1, size=(len(z), 1))
    masked = numpy.argsort(numpy.argsort(rng.random(z.shape), axis=1), axis=1) < count
    return np.mean(masked_loss(density.base.log_probs(own, z, ~masked), masked))
