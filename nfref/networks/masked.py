"""The masked network of MADE: each output sees only the inputs that come before it."""

import autograd.numpy as np

from nfref.networks.mlp import mlp


def made_masks(order, hidden, outputs_per_dim, context_dim=0):
    """Masks that make an MLP autoregressive (Germain et al. 2015, eq. 8-9).

    Input i has degree ``order[i]`` + 1, context has degree 0, hidden units have degrees
    spread evenly and sorted. A hidden unit sees inputs and units of degree at most its
    own; output i sees hidden units of degree at most ``order[i]``. So output i depends on
    exactly those inputs j with order[j] < order[i], and on all of the context.

    Parameters
    ----------
    order : sequence of int
        order[i] is the place of coordinate i in the autoregressive order, 0 to D-1.
    hidden : sequence of int
        Widths of the hidden layers.
    outputs_per_dim : int
        How many outputs each coordinate has; output columns come in blocks of D.
    context_dim : int

    Returns
    -------
    list of (in, out) bool arrays, one a layer
    """
    order = np.asarray(order)
    lowest = 0 if context_dim else 1        # degree 0 sees the context alone
    levels = max(len(order) - lowest, 1)    # degrees lowest ... D-1
    degrees = [np.concatenate([order + 1, np.zeros(context_dim, dtype=int)])]
    degrees += [lowest + np.arange(width) * levels // width for width in hidden]
    masks = [below[:, None] <= above[None, :] for below, above in zip(degrees, degrees[1:])]
    masks.append(degrees[-1][:, None] <= np.tile(order, outputs_per_dim)[None, :])
    return masks


def masked_mlp(params, masks, x, activation="relu"):
    """The network of :func:`mlp` with every weight multiplied by its mask."""
    masked = [{"weight": params[k]["weight"] * mask, "bias": params[k]["bias"]}
              for k, mask in enumerate(masks)]
    return mlp(masked, x, activation)
