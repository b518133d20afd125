"""The residual convolution network of RealNVP, with normalised weights.

Source: RealNVP (Dinh, Sohl-Dickstein, Bengio 2016, arXiv:1605.08803), section 3.7, and its
published code; weight normalisation: Salimans and Kingma 2016, arXiv:1602.07868.

Images are (N, H, W, C), as in ``nfref/networks/convolution.py``.
"""

import autograd.numpy as np

from nfref.networks.activations import ACTIVATIONS
from nfref.networks.convolution import convolve
from nfref.runtime.annotations import Any, Array, Generator
from nfref.runtime.autograd_internals import notrace_primitive


def weight_normalised(layer: dict[str, Array]) -> dict[str, Array]:
    """Return W_e = g_e v_e / |v_e| for each output e: length and direction are separate.

    Paper:   weight normalisation, section 2: w = (g / |v|) v.
    Differs: nothing.

    ``layer`` has "direction" v (k, k, C, E), "length" g (E,) and "bias" (E,). Returns a layer
    of :func:`convolve <nfref.networks.convolution.convolve>`.
    """
    v = layer["direction"] / power_of_two(layer["direction"])  # the squares of v cannot overflow
    length = np.sqrt(np.sum(v**2, axis=(0, 1, 2)))
    return {"weight": v * (layer["length"] / length), "bias": layer["bias"]}


@notrace_primitive
def power_of_two(v: Array) -> Array:
    """Return a power of two near the largest number of each output: dividing is exact."""
    exponent = np.frexp(np.max(np.abs(v), axis=(0, 1, 2)))[1]
    return np.ldexp(v.dtype.type(1), exponent - 1)


def init_layer(
    rng: Generator, size: int, fan_in: int, fan_out: int, length: float = 1.0
) -> dict[str, Array]:
    """Return a layer with directions uniform in +-1/sqrt(fan_in) and bias zero."""
    limit = 1 / np.sqrt(size * size * fan_in)
    return {
        "direction": rng.uniform(-limit, limit, (size, size, fan_in, fan_out)),
        "length": np.full(fan_out, length),
        "bias": np.zeros(fan_out),
    }


def init_residual_conv_net(
    rng: Generator, fan_in: int, hidden: int, blocks: int, fan_out: int
) -> dict[str, Any]:
    """Return initial parameters of :func:`residual_conv_net`.

    Each of the ``blocks`` has ``hidden`` channels. The lengths of the last layer's weights are
    zero, and so are its outputs.
    """
    of_block = {"first": 3, "second": 3, "skip": 1}  # the sizes of the convolutions
    return {
        "first": init_layer(rng, 3, fan_in, hidden),
        "skip": init_layer(rng, 1, hidden, hidden),
        "blocks": [
            {name: init_layer(rng, size, hidden, hidden) for name, size in of_block.items()}
            for _ in range(blocks)
        ],
        "last": init_layer(rng, 1, hidden, fan_out, length=0.0),
    }


def residual_conv_net(params: dict[str, Any], image: Array, activation: str = "relu") -> Array:
    """Return L * a(sum_b S_b * h_b), where h_0 = F * x, h_b = h_{b-1} + B_b * a(A_b * a(h_{b-1})).

    F, A_b and B_b are 3x3, the skips S_b and L are 1x1; each has normalised weights and a bias.

    Paper:   RealNVP v3, section 3.7: deep residual networks with batch norm and weight norm.
             The blocks, and the skip from each of them to the output, are the published code's.
    Differs: there is no batch norm in the network.

    Parameters
    ----------
    params : dict
        As made by :func:`init_residual_conv_net`.
    image : (N, H, W, C) array
    activation : {"relu", "tanh", "softplus"}

    Returns
    -------
    (N, H, W, E) array
    """
    activate = ACTIVATIONS[activation]

    def layer(parameters, image):
        return convolve(weight_normalised(parameters), image)

    h = layer(params["first"], image)
    total = layer(params["skip"], h)
    for block in params["blocks"]:
        h = h + layer(block["second"], activate(layer(block["first"], activate(h))))
        total = total + layer(block["skip"], h)
    return layer(params["last"], activate(total))
