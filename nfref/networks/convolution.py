"""A small convolution network for images: the conditioner of Glow's couplings.

Images are (N, H, W, C) in here, channels last, so that every convolution is one matrix
product over all pixels. A 3x3 convolution is a 1x1 convolution of the nine shifted copies
of the image, and a 1x1 convolution is a matrix product.
"""

import autograd.numpy as np
from autograd.extend import defvjp, primitive

from nfref.networks.activations import ACTIVATIONS

OFFSETS = [(row, column) for row in range(3) for column in range(3)]


@primitive
def neighbours(image):
    """The nine pixels around every pixel, zeros beyond the edge: (N, H, W, C) -> (N, H, W, 9, C).

    out[n, i, j, 3 a + b] = image[n, i + a - 1, j + b - 1].
    """
    _, height, width, _ = image.shape
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return np.stack([padded[:, a:a + height, b:b + width] for a, b in OFFSETS], axis=3)


@primitive
def gather_neighbours(copies):
    """The transpose of :func:`neighbours`, which is linear: (N, H, W, 9, C) -> (N, H, W, C).

    out[n, i, j] = sum_ab copies[n, i - a + 1, j - b + 1, 3 a + b].
    """
    _, height, width, _, _ = copies.shape
    padded = np.pad(copies, ((0, 0), (1, 1), (1, 1), (0, 0), (0, 0)))
    return sum(padded[:, 2 - a:2 - a + height, 2 - b:2 - b + width, 3 * a + b]
               for a, b in OFFSETS)


defvjp(neighbours, lambda copies, image: gather_neighbours)
defvjp(gather_neighbours, lambda image, copies: neighbours)


def convolve(image, weight, bias):
    """out[n, i, j] = b + sum_ab image[n, i + a - r, j + b - r] W[a, b] with r = (k - 1) / 2.

    Shapes: image (N, H, W, C); weight (k, k, C, E) with k = 1 or 3; bias (E,).
    Returns (N, H, W, E).
    """
    n, height, width, _ = image.shape
    size, _, fan_in, fan_out = weight.shape
    seen = image if size == 1 else neighbours(image)
    rows = seen.reshape((n * height * width, size * size * fan_in))
    out = rows @ weight.reshape((size * size * fan_in, fan_out)) + bias
    return out.reshape((n, height, width, fan_out))


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
