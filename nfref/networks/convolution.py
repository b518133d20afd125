"""A small convolution network for images: the conditioner of Glow's couplings.

Images are (N, H, W, C) in here, channels last, so that a convolution is one matrix product
over all pixels. Its cost is in the copies: every pixel stands in nine neighbourhoods. They are
made of whichever side has fewer channels:

    rows of neighbourhoods @ W                  (im2col), where the input has fewer,
    sum of nine shifted parts of image @ W      where the output has fewer.

:func:`correlate` is bilinear in image and weight, and each of its two derivatives is a
bilinear function of the same kind. So two primitives, each the derivative of the other,
differentiate as often as one likes, and autograd never sees the copies.
"""

import autograd.numpy as np
import numpy
from autograd.extend import defvjp, primitive

from nfref.networks.activations import ACTIVATIONS

# Copies -----------------------------------------------------------------------------------


def neighbours(image, size):
    """The pixels around every pixel, zeros beyond the edge: (N, H, W, C) -> (N*H*W, k*k*C).

    Row (n, i, j) has image[n, i + a - r, j + b - r, c] at column (a, b, c), with r = (k - 1) / 2.
    """
    n, height, width, channels = image.shape
    if size == 1:
        return image.reshape(n * height * width, channels)
    reach = size // 2
    # Not numpy.pad, whose result is in the order of the image, and that may be another one.
    padded = numpy.zeros((n, height + 2 * reach, width + 2 * reach, channels), image.dtype)
    padded[:, reach:reach + height, reach:reach + width] = image
    per_image, per_row, per_pixel, per_number = padded.strides
    # One row of a neighbourhood lies in one piece: k pixels of C numbers each.
    view = numpy.lib.stride_tricks.as_strided(
        padded, (n, height, width, size, size * channels),
        (per_image, per_row, per_pixel, per_row, per_number), writeable=False)
    return view.reshape(n * height * width, size * size * channels)


def gathered(copies, shape, size):
    """The transpose of :func:`neighbours`: (N*H*W, k*k*C) -> (N, H, W, C), which is ``shape``.

    out[n, i, j] = sum_ab copies[(n, i - a + r, j - b + r), (a, b)].
    """
    n, height, width, channels = shape
    if size == 1:
        return copies.reshape(shape)
    copies = copies.reshape(n, height, width, size, size, channels)
    padded = numpy.zeros((n, height + size - 1, width + size - 1, channels), copies.dtype)
    for a in range(size):
        for b in range(size):
            padded[:, a:a + height, b:b + width] += copies[:, :, :, a, b]
    reach = size // 2
    return padded[:, reach:reach + height, reach:reach + width]


# Convolution ------------------------------------------------------------------------------


def turned(weight):
    """The weight of the transposed convolution: turned by 180 degrees, input and output swapped.

    Shapes: weight (k, k, C, E). Returns (k, k, E, C).
    """
    return np.transpose(weight[::-1, ::-1], (0, 1, 3, 2))


@primitive
def correlate(image, weight):
    """out[n, i, j] = sum_ab image[n, i + a - r, j + b - r] W[a, b] with r = (k - 1) / 2.

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
def weight_gradient(image, g, size):
    """out[a, b] = sum_nij image[n, i + a - r, j + b - r]^T g[n, i, j], the gradient of W.

    Shapes: image (N, H, W, C); g (N, H, W, E). Returns (size, size, C, E).
    """
    n, height, width, fan_in = image.shape
    fan_out = g.shape[3]
    if size == 1 or fan_in <= fan_out:
        total = neighbours(image, size).T @ g.reshape(n * height * width, fan_out)
        return total.reshape(size, size, fan_in, fan_out)
    total = neighbours(g, size).T @ image.reshape(n * height * width, fan_in)
    return turned(total.reshape(size, size, fan_out, fan_in))


defvjp(correlate,
       lambda out, image, weight: lambda g: correlate(g, turned(weight)),
       lambda out, image, weight: lambda g: weight_gradient(image, g, len(weight)))
defvjp(weight_gradient,
       lambda out, image, g, size: lambda weight: correlate(g, turned(weight)),
       lambda out, image, g, size: lambda weight: correlate(image, weight))


def convolve(image, weight, bias):
    """:func:`correlate` and a bias: what networks call a convolution.

    Shapes: image (N, H, W, C); weight (k, k, C, E) with odd k; bias (E,). Returns (N, H, W, E).
    """
    return correlate(image, weight) + bias


# Network ----------------------------------------------------------------------------------


def init_conv_net(rng, channels):
    """Parameters of a network with ``channels``: input, hidden ..., output.

    The first and the last convolution are 3x3, those between them 1x1, as in Glow.
    Hidden layers are uniform in +-1/sqrt(fan_in), weights and biases; the last is zero.
    """
    layers = []
    last = len(channels) - 2
    for k, (fan_in, fan_out) in enumerate(zip(channels, channels[1:])):
        size = 3 if k in (0, last) else 1
        limit = 0 if k == last else 1 / np.sqrt(size * size * fan_in)
        layers.append({"weight": rng.uniform(-limit, limit, (size, size, fan_in, fan_out)),
                       "bias": rng.uniform(-limit, limit, fan_out)})
    return layers


def conv_net(params, image, activation="relu"):
    """h_0 = image, h_l = a(W_l * h_{l-1} + b_l), output W_L * h_{L-1} + b_L.

    Parameters
    ----------
    params : list of {"weight", "bias"}
    image : (N, H, W, C) array
    activation : {"relu", "tanh", "softplus"}

    Returns
    -------
    (N, H, W, E) array
    """
    activate = ACTIVATIONS[activation]
    for layer in params[:-1]:
        image = activate(convolve(image, layer["weight"], layer["bias"]))
    return convolve(image, params[-1]["weight"], params[-1]["bias"])
