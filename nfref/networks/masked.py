"""The masked network of MADE: each output sees only the inputs that come before it.

Source: Germain, Gregor, Murray, Larochelle 2015, arXiv:1502.03509.
"""

import autograd.numpy as np
import numpy

from nfref.networks.activations import ACTIVATIONS
from nfref.networks.mlp import real_columns
from nfref.runtime.annotations import Array, Generator, Sequence
from nfref.runtime.autograd_internals import getval
from nfref.runtime.batching import merge_rows
from nfref.runtime.checks import check_hidden, check_rng
from nfref.runtime.frozen_params import once


def even_degrees(
    dim: int, hidden: Sequence[int], context_dim: int = 0
) -> tuple[tuple[int, ...], ...]:
    """Return degrees of the hidden units, spread evenly over the possible ones and sorted.

    Returns one tuple for each layer. With a context the lowest degree is 0, which sees the context
    alone; otherwise it is 1.
    """
    lowest = 0 if context_dim else 1
    levels = max(dim - lowest, 1)  # degrees lowest ... D-1
    return tuple(tuple((lowest + np.arange(width) * levels // width).tolist()) for width in hidden)


def random_degrees(
    rng: Generator, dim: int, hidden: Sequence[int], context_dim: int = 0
) -> tuple[tuple[int, ...], ...]:
    """Return random degrees of hidden units as in MADE, for ``MADE(..., degrees=...)``.

    Each is uniform between the lowest degree of the layer below and D - 1. For the first
    hidden layer the lowest is 1, or 0 with a context.

    Paper:   MADE v2, section 4: m(k) uniform on 1 ... D-1, in deeper layers from the lowest of
             the layer below on.
    Differs: nothing; with a context, which the paper does not have, degree 0 is possible, too.

    Parameters
    ----------
    rng : numpy.random.Generator
    dim : int
    hidden : sequence of int
        Widths of the hidden layers.
    context_dim : int

    Returns
    -------
    tuple of tuples of int, one for each hidden layer
    """
    check_rng(rng)
    degrees, lowest = [], 0 if context_dim else 1
    highest = max(dim - 1, lowest)
    for width in check_hidden("hidden", hidden):
        degrees.append(tuple(rng.integers(lowest, highest + 1, width).tolist()))
        lowest = min(degrees[-1])
    return tuple(degrees)


def made_masks(
    order: Sequence[int],
    degrees: Sequence[Sequence[int]],
    outputs_per_dim: int,
    context_dim: int = 0,
    periodic: Sequence[int] = (),
) -> list[Array]:
    """Return masks that make an MLP autoregressive.

    Input i has degree ``order[i]`` + 1, the context has degree 0. A hidden unit sees inputs and
    units of degree at most its own; output i sees hidden units of degree at most
    ``order[i]``. So output i depends only on the context and on inputs j with
    order[j] < order[i]. It depends on all of them if there are hidden units of every degree.

    Paper:   MADE v2, section 4: M^W_kd = 1 where m(k) >= d, M^V_dk = 1 where d > m(k), with d
             counted from 1; between hidden layers 1 where m(k') >= m(k).
    Differs: nothing. The degrees are an argument: the paper has random ones
             (:func:`random_degrees`) and also names equal counts of each
             (:func:`even_degrees`, the default here), so that no input is ever lost.

    Parameters
    ----------
    order : sequence of int
        order[i] is the place of coordinate i in the autoregressive order, 0 to D-1.
    degrees : sequence of sequences of int
        Degrees of the hidden units, one sequence for each layer.
    outputs_per_dim : int
        How many outputs each coordinate has; output columns come in blocks of D.
    context_dim : int
    periodic : tuple of int
        Coordinates that the network reads as two numbers each, see
        :func:`nfref.networks.mlp.angles_as_points`; both have the degree of the coordinate.

    Returns
    -------
    list of (in, out) bool arrays, one for each layer
    """
    places = np.asarray(order)
    inputs = [*real_columns(len(places), periodic), *periodic, *periodic]
    levels = [
        np.concatenate([places[inputs] + 1, np.zeros(context_dim, dtype=int)]),
        *map(np.asarray, degrees),
    ]
    masks = [below[:, None] <= above[None, :] for below, above in zip(levels, levels[1:])]
    masks.append(levels[-1][:, None] <= np.tile(places, outputs_per_dim)[None, :])
    return masks


def masked_mlp(
    params: list[dict[str, Array]], masks: Sequence[Array], x: Array, activation: str = "relu"
) -> Array:
    """Apply the network of :func:`mlp` with every weight multiplied by its mask."""
    activate = ACTIVATIONS[activation]

    def masked():
        return masks, [np.where(mask, layer["weight"], 0) for layer, mask in zip(params, masks)]

    # Frozen parameters keep the masks too, so no others get their id.
    _, weights = once(params, id(masks), masked)
    for k, (layer, weight, mask) in enumerate(zip(params, weights, masks)):
        x = masked_product(x, weight, mask) + layer["bias"]
        x = activate(x) if k < len(masks) - 1 else x
    return x


def masked_product(x: Array, weight: Array, mask: Array) -> Array:
    """Return x @ W for a masked W, without hidden non-finite inputs: 0 * inf would be NaN.

    Shapes: x (N, in); weight, mask (in, out). Returns (N, out).
    """
    finite = numpy.isfinite(getval(x)).all(axis=1)
    if finite.all():
        return x @ weight
    others = np.where(mask, x[~finite][:, :, None] * numpy.ones(mask.shape, x.dtype), 0)
    return merge_rows(finite, x[finite] @ weight, np.sum(others * weight, axis=1))
