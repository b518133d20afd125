r"""Block neural autoregressive flow: one network of blocks whose derivatives are positive.

Source: De Cao, Titov, Aziz 2019, arXiv:1904.04676 (Block-NAF).

The network has a units for each coordinate in every hidden layer. Its weights are blocks: units
of coordinate i read units of the coordinates j <= i, with positive weights where j = i:

    .. math::

        u^{(l+1)}_i = \sum_{j < i} A_{ij} h^{(l)}_j + e^{B_i} h^{(l)}_i + b_i, \qquad
            h^{(l)} = \tanh u^{(l)}, \qquad h^{(0)} = x.

So output i increases in x_i, and depends on no later coordinate. The Jacobian is triangular, and
its diagonal is a product of small positive matrices, one for each layer, in logarithms:

    .. math::

        \log \frac{\partial u^{(l+1)}_{i k}}{\partial x_i} = \log \sum_m
            \exp\left(B_{i k m} + \log \operatorname{sech}^2 u^{(l)}_{i m} +
            \log \frac{\partial u^{(l)}_{i m}}{\partial x_i}\right).

The output f is bounded, as tanh is. A gate 0 < g < 1 makes the map onto,

    .. math::

        z = g x + (1 - g) f(x), \qquad
        \log |\det| = \sum_i \log\left(g + (1 - g) \frac{\partial f_i}{\partial x_i}\right).

Every column of weights has the learned norm e^s: the exponentials B above are log-weights less the
logarithm of their column's norm, plus s.

For given x_1 ... x_{i-1}, z_i is a monotone function of x_i alone. So the layer is autoregressive
with the transformer :func:`monotone_network`, whose parameters are the shares of the coordinates
before. Units are ordered as ``constrained`` has its outputs: blocks of D columns, one for each
of the a units. Cost: O((a D)^2) per row and layer from x to z; from z to x D passes, each with a
root search.

Paper:   Block-NAF: the network above, with weight normalisation, its log-determinant by sums of
         logarithms, and its gated residual; data to latent in density estimation.
Differs: paper: the gate is in every layer. Without it f is bounded, and no z beyond its bound has
         an x.
         Code (pyro, ``BlockAutoregressive``): adds 1e-8 to norms, to their squares in
         logarithms, and to the gate. It has no inverse, and the gate is an option.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import autograd.numpy as np
import numpy

from nfref.flow import Flow
from nfref.flows.autoregressive import autoregressive_forward, autoregressive_inverse
from nfref.networks.activations import softplus, tanh
from nfref.runtime.annotations import Any, Array, Callable, Sequence
from nfref.runtime.checks import check_hidden
from nfref.transformers.deep_sigmoid import log_sum
from nfref.transformers.root import inverse_by_root

# Formulas: the weights ------------------------------------------------------------------------


def block_weights(weight: Array, log_scale: Array, dim: int) -> tuple[Array, Array]:
    """Return the weights A of coordinates before, and the log-weights B of the coordinate itself.

    Shapes: weight (a D, b D), log_scale (b D). Returns (a D, b D), zero outside of A, and
    (a, b, D).
    """
    blocks = np.reshape(weight, (len(weight) // dim, dim, -1, dim))
    before = blocks * numpy.triu(numpy.ones((dim, dim)), 1)[:, None, :].astype(weight.dtype)
    own = np.stack([blocks[:, i, :, i] for i in range(dim)], axis=-1)
    log_scale = np.reshape(log_scale, (-1, dim))
    squares = np.sum(before**2, axis=(0, 1)) + np.sum(np.exp(2 * own), axis=0)
    log_norm = np.log(squares) / 2
    scaled = before * np.exp(log_scale - log_norm)
    return np.reshape(scaled, weight.shape), own + (log_scale - log_norm)


# Formulas: one coordinate, given those before it ----------------------------------------------


def log_sech_squared(u: Array) -> Array:
    """Return the logarithm of the slope of tanh, 2 (log 2 - |u| - log(1 + e^(-2|u|)))."""
    return 2 * (math.log(2) - np.abs(u) - softplus(-2 * np.abs(u)))


def units(h: Array, shift: Array, log_weight: Array) -> Array:
    """Return shift + sum_m e^B_mk h_m, the units of a layer before its activation.

    Shapes: h (a, N, D), shift (b, N, D), log_weight (a, b, D). Returns (b, N, D).
    """
    return shift + np.einsum("anD,abD->bnD", h, np.exp(log_weight))


def monotone_network(x: Array, gate: Array, *layers: Array) -> tuple[Array, Array]:
    """Return z = g x + (1 - g) f(x) and log dz/dx, with g = sigma(gate). Elementwise.

    ``layers`` alternates the share of the coordinates before, (b, N, D), and log_weight (a, b, D).
    """
    u, log_slope = x[None], np.zeros_like(x)[None]
    for k in range(0, len(layers), 2):
        h, shift, log_weight = (tanh(u) if k else u), layers[k], layers[k + 1]
        inner = log_slope + (log_sech_squared(u) if k else 0)
        u = units(h, shift, log_weight)
        log_slope = log_sum(inner[:, None] + log_weight[:, :, None])
    g, log_g, log_rest = np.exp(-softplus(-gate)), -softplus(-gate), -softplus(gate)
    z = g * x + np.exp(log_rest) * u[0]
    return z, np.logaddexp(log_g, log_rest + log_slope[0])


def ends_of_network(z: Array, gate: Array, *layers: Array) -> tuple[Array, Array]:
    """Return two numbers that enclose x: f lies within the last weights' sum around its shift."""
    reach = np.sum(np.exp(layers[-1][:, 0]), axis=0)
    middle = z - np.exp(-softplus(gate)) * layers[-2][0]
    away = np.exp(-softplus(gate)) * reach
    g = np.exp(-softplus(-gate))
    return (middle - away) / g, (middle + away) / g


def monotone_network_inverse(z: Array, h: tuple[Array, ...]) -> tuple[Array, Array]:
    """Return the x that :func:`monotone_network` takes to z, and log dx/dz. Elementwise."""
    return inverse_by_root(monotone_network, ends_of_network, z, *h)


# Layer ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BlockNAF(Flow):
    """One gated layer of a block neural autoregressive flow; stack several in a Chain.

    The coordinates come in their natural order. Put a :class:`nfref.Permutation` that reverses
    them between layers, so that the first coordinate depends on others, too.

    Parameters
    ----------
    dim : int
        D, at least 1.
    hidden : sequence of int, default (8, 8)
        Units for each coordinate in every hidden layer; at least one layer.

    Examples
    --------
    >>> import numpy as np, nfref
    >>> flow = nfref.BlockNAF(2, hidden=(4,))
    >>> z, log_det = flow.inverse(flow.init(np.random.default_rng(0)), np.zeros((3, 2)))
    >>> z.shape, log_det.shape
    ((3, 2), (3,))
    """

    dim: int
    hidden: Sequence[int] = (8, 8)

    _converters = {"hidden": check_hidden}

    def __post_init__(self):
        super().__post_init__()
        if not self.hidden:
            raise ValueError("hidden: expected at least one layer, got none")

    def _init(self, rng):
        sizes = [self.dim * width for width in (1, *self.hidden, 1)]
        net = []
        for read, made in zip(sizes, sizes[1:]):
            limit = np.sqrt(6 / (read + made))
            weight = rng.uniform(-limit, limit, (read, made))
            log_scale = np.log(rng.uniform(0.1, 1, made))
            bias = rng.uniform(-1, 1, made) / np.sqrt(made)
            net.append({"weight": weight, "log_scale": log_scale, "bias": bias})
        return {"net": net, "gate": np.zeros(())}

    def conditioner(self, params: dict[str, Any]) -> Callable[..., Any]:
        """Return the function x -> (gate, shift, log_weight, shift, ...)."""
        weights = [
            block_weights(layer["weight"], layer["log_scale"], self.dim) for layer in params["net"]
        ]

        def layers(x: Array) -> Iterator[Array]:
            h = x[None]
            for (before, own), layer in zip(weights, params["net"]):
                rows = np.reshape(np.transpose(h, (1, 0, 2)), (len(x), len(before)))
                shares = np.reshape(rows @ before + layer["bias"], (len(x), own.shape[1], self.dim))
                shift = np.transpose(shares, (1, 0, 2))
                yield from (shift, own)
                h = tanh(units(h, shift, own))

        return lambda x: (params["gate"], *layers(x))

    def _forward(self, params, z, context):
        return autoregressive_forward(z, monotone_network_inverse, self.conditioner(params))

    def _inverse(self, params, x, context):
        return autoregressive_inverse(
            x, lambda x, h: monotone_network(x, *h), self.conditioner(params)
        )
