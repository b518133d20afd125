"""A small convolution network for images: the conditioner of Glow's couplings.

Images are (N, H, W, C) here, channels last, so that a convolution is one matrix product over
all pixels. Copying is the main cost: every pixel belongs to nine neighbourhoods. The code copies
the input or the output, whichever has fewer channels:

    rows of neighbourhoods @ W                  (im2col), where the input has fewer,
    sum of nine shifted parts of image @ W      where the output has fewer.

:func:`correlate` is bilinear in image and weight, and so are its two derivatives. Two primitives,
each the derivative of the other, give derivatives of any order, and autograd never traces the
copies.
"""

import autograd.numpy as np
import numpy

from nfref.networks.activations import ACTIVATIONS
from nfref.runtime.annotations import Any, Array, Generator, Sequence
from nfref.runtime.autograd_internals import defvjp, primitive

GAIN = 3.0  # of the published code of Glow: its log-gains learn three times as fast

# Copies -----------------------------------------------------------------------------------


def neighbours(image: Array, size: int) -> Array:
    """Return each pixel's neighbourhood, zero-padded: (N, H, W, C) -> (N*H*W, k*k*C).

    Row (n, i, j) has image[n, i + a - r, j + b - r, c] at column (a, b, c), with r = (k - 1) / 2.
    """
    n, height, width, channels = image.shape
    if size == 1:
        return image.reshape(n * height * width, channels)
    reach = size // 2
    # numpy.pad would keep the memory order of the image, which may not be C order.
    padded = numpy.zeros((n, height + 2 * reach, width + 2 * reach, channels), image.dtype)
    padded[:, reach : reach + height, reach : reach + width] = image
    per_image, per_row, per_pixel, per_number = padded.strides
    # One row of a neighbourhood is contiguous: k pixels of C numbers each.
    view = numpy.lib.stride_tricks.as_strided(
        padded,
        (n, height, width, size, size * channels),
        (per_image, per_row, per_pixel, per_row, per_number),
        writeable=False,
    )
    return view.reshape(n * height * width, size * size * channels)


def gathered(copies: Array, shape: tuple[int, ...], size: int) -> Array:
    """Apply the transpose of :func:`neighbours`: (N*H*W, k*k*C) -> ``shape`` (N, H, W, C).

    out[n, i, j] = sum_ab copies[(n, i - a + r, j - b + r), (a, b)].
    """
    n, height, width, channels = shape
    if size == 1:
        return copies.reshape(shape)
    copies = copies.reshape(n, height, width, size, size, channels)
    padded = numpy.zeros((n, height + size - 1, width + size - 1, channels), copies.dtype)
    for a in range(size):
        for b in range(size):
            padded[:, a : a + height, b : b + width] += copies[:, :, :, a, b]
    reach = size // 2
    return padded[:, reach : reach + height, reach : reach + width]


# Convolution ------------------------------------------------------------------------------


def turned(weight: Array) -> Array:
    """Return the weight of the transposed convolution: rotated, input and output swapped.

    Shapes: weight (k, k, C, E). Returns (k, k, E, C).
    """
    return np.transpose(weight[::-1, ::-1], (0, 1, 3, 2))


@primitive
def correlate(image: Array, weight: Array) -> Array:
    """Return out[n, i, j] = sum_ab image[n, i + a - r, j + b - r] W[a, b], r = (k - 1) / 2.

    Shapes: image (N, H, W, C); weight (k, k, C, E) with odd k. Returns (N, H, W, E).
    """
    n, height, width, fan_in = image.shape
    size, _, _, fan_out = weight.shape
    shape = (n, height, width, fan_out)
    if size == 1 or fan_in <= fan_out:
        rows = neighbours(image, size) @ weight.reshape(size * size * fan_in, fan_out)
        return rows.reshape(shape)
    by_place = turned(weight).transpose(3, 0, 1, 2).reshape(fan_in, size * size * fan_out)
    return gathered(image.reshape(n * height * width, fan_in) @ by_place, shape, size)


@primitive
def weight_gradient(image: Array, g: Array, size: int) -> Array:
    """Return sum_nij image[n, i + a - r, j + b - r]^T g[n, i, j], the gradient of W[a, b].

    Shapes: image (N, H, W, C); g (N, H, W, E). Returns (size, size, C, E).
    """
    n, height, width, fan_in = image.shape
    fan_out = g.shape[3]
    if size == 1 or fan_in <= fan_out:
        total = neighbours(image, size).T @ g.reshape(n * height * width, fan_out)
        return total.reshape(size, size, fan_in, fan_out)
    total = neighbours(g, size).T @ image.reshape(n * height * width, fan_in)
    return turned(total.reshape(size, size, fan_out, fan_in))


defvjp(
    correlate,
    lambda out, image, weight: lambda g: correlate(g, turned(weight)),
    lambda out, image, weight: lambda g: weight_gradient(image, g, len(weight)),
)
defvjp(
    weight_gradient,
    lambda out, image, g, size: lambda weight: correlate(g, turned(weight)),
    lambda out, image, g, size: lambda weight: correlate(image, weight),
)


def beyond_the_edge(height: int, width: int, size: int) -> Array:
    """Return which neighbours of a pixel lie beyond the edge, (H, W, k*k) of 0 and 1."""
    inside = neighbours(numpy.ones((1, height, width, 1)), size)
    return 1 - inside.reshape(height, width, size * size)


def convolve(layer: dict[str, Any], image: Array) -> Array:
    """Return (image * W + bias of the pixel) exp(3 g), the convolution of the networks here.

    With ``layer["edge"]`` the bias of a pixel depends on its neighbours beyond the edge. It acts
    like a further input channel that is 1 beyond the edge and 0 in the image.

    Paper:   Glow, the published code: an input channel of ones in the padding
             (``add_edge_padding``); the output of the last convolution times exp(3 logs), with
             logs zero at the start (``conv2d_zeros``). The text has neither.
    Differs: nothing.

    Parameters
    ----------
    layer : dict
        "bias" (E,); "weight" (k, k, C, E) with odd k, unless the image has no channels;
        optionally "edge" (k, k, E) and "log_gain" g (E,).
    image : (N, H, W, C) array

    Returns
    -------
    (N, H, W, E) array
    """
    bias = layer["bias"]
    if "edge" in layer:
        size, _, fan_out = layer["edge"].shape
        beyond = beyond_the_edge(*image.shape[1:3], size).astype(bias.dtype)
        bias = bias + np.dot(beyond, np.reshape(layer["edge"], (size * size, fan_out)))
    if "weight" in layer:
        out = correlate(image, layer["weight"]) + bias
    else:
        out = np.zeros((*image.shape[:3], 1), dtype=bias.dtype) + bias
    return out * np.exp(GAIN * layer["log_gain"]) if "log_gain" in layer else out


# Network ----------------------------------------------------------------------------------


def init_conv_net(
    rng: Generator, channels: Sequence[int], edge_channel: bool = False, output_gain: bool = False
) -> list[dict[str, Array]]:
    """Return initial parameters of a network with ``channels``: input, hidden ..., output.

    The first and the last convolution are 3x3, those between them 1x1, as in Glow. Hidden
    layers are uniform in +-1/sqrt(fan_in), weights and biases; the last is zero. For
    ``edge_channel`` (of the 3x3 ones) and ``output_gain`` (of the last) see :func:`convolve`.
    """
    layers: list[dict[str, Array]] = []
    last = len(channels) - 2
    for k, (fan_in, fan_out) in enumerate(zip(channels, channels[1:])):
        size = 3 if k in (0, last) else 1
        has_edge = edge_channel and size > 1
        limit = 0 if k == last else 1 / np.sqrt(max(size * size * (fan_in + has_edge), 1))
        layer = {}
        if fan_in:
            layer["weight"] = rng.uniform(-limit, limit, (size, size, fan_in, fan_out))
        layer["bias"] = rng.uniform(-limit, limit, fan_out)
        if has_edge:
            layer["edge"] = rng.uniform(-limit, limit, (size, size, fan_out))
        layers.append(layer)
    if output_gain:
        layers[last]["log_gain"] = np.zeros(channels[-1])
    return layers


def conv_net(params: list[dict[str, Any]], image: Array, activation: str = "relu") -> Array:
    """Return W_L * h_{L-1} + b_L, where h_0 = image and h_l = a(W_l * h_{l-1} + b_l).

    Parameters
    ----------
    params : list of dict
        The layers, see :func:`convolve`.
    image : (N, H, W, C) array
    activation : {"relu", "tanh", "softplus"}

    Returns
    -------
    (N, H, W, E) array
    """
    activate = ACTIVATIONS[activation]
    for layer in params[:-1]:
        image = activate(convolve(layer, image))
    return convolve(params[-1], image)
