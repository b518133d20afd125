"""Gradients of convex potentials; P, w and a are made positive when the parameters are packed."""

import numpy as np

from nfref.kernels.chain import convex_potential as kernels
from nfref.kernels.chain.instructions.instruction import Instruction
from nfref.networks.activations import sigmoid

OF_LAYER = ("weight", "bias", "positive")  # in the order in which the kernel reads them
OF_ALL = ("output", "shift", "strength", "from_context")


def convex_potential(flow, direction):
    """Return the instruction from latent to data.

    The other direction is an optimisation. Without hidden layers the map is affine.
    """
    if direction == -1 or not flow.hidden:
        return None
    dim, context_dim, widths = flow.dim, flow.context_dim, flow.hidden
    inputs, hidden, widest = dim + context_dim, sum(widths), max([dim, *widths])
    between = sum(before * width for before, width in zip(widths, widths[1:]))

    def unpack(params, cotangent):
        ends = np.cumsum([leaf.size for leaf in _in_order(params)])
        parts = iter(np.split(cotangent, ends[:-1]))
        layers = [_through_softplus(layer, OF_LAYER, parts) for layer in params["layers"]]
        return {"layers": layers, **_through_softplus(params, OF_ALL, parts)}

    return Instruction(
        (kernels.potential, kernels.potential_vjp),
        direction,
        [dim, context_dim, len(widths), *widths],
        size=(inputs + 1) * hidden + between + widths[-1] + dim + 1 + context_dim * dim,
        tape=inputs + (4 + dim) * hidden + dim * dim + 2 * widest,
        scratch=(3 + dim) * hidden + 2 * widest,
        pack=lambda params, dtype: _in_order(flow.constrained(params)),
        unpack=unpack,
    )


def _in_order(net):
    leaves = [layer[name] for layer in net["layers"] for name in OF_LAYER if name in layer]
    return leaves + [net[name] for name in OF_ALL if name in net]


def _through_softplus(params, names, parts):
    """Return cotangents through the constraints.

    P and w are softplus(.) / H, and a is softplus(.).
    """
    found = {name: next(parts).reshape(params[name].shape) for name in names if name in params}
    for name in {"positive", "output", "strength"} & found.keys():
        found[name] = found[name] * sigmoid(params[name]) / len(params[name])
    return found
