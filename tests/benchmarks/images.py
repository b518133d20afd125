"""Glow and RealNVP for images, in torch: nfref's layers, with nfref's parameters.

No library offers both at one size, so they are written here as users of torch would write them:
convolutions of channels-first images, and autograd for the gradient.
"""

import functools

import numpy as np
import torch
from torch.nn.functional import conv2d, pixel_unshuffle, relu

import nfref
from nfref.networks.convolution import GAIN
from nfref.runtime import params as trees


def torch_density(density, params):
    """log_prob of rows (N, D), and the tensors that it depends on.

    They are those of the parameters, but for weights of convolutions in torch's order.
    """
    tensors = trees.tree_map(lambda leaf: torch.tensor(in_order(leaf), requires_grad=True), params)

    def log_prob(x):
        z, log_det = inverse(density.flow, tensors["flow"], x)
        normal = -0.5 * (z**2).sum(dim=1) - 0.5 * density.dim * np.log(2 * np.pi)
        return normal + log_det

    return log_prob, trees.leaves(tensors)


def in_order(leaf):
    """(k, k, C, E) as (E, C, k, k)."""
    return leaf.transpose(3, 2, 0, 1).copy() if leaf.ndim == 4 else leaf


def inverse(flow, params, rows):
    """(z, log |det dz/dx|) of rows (N, D), by the layers of Glow and of RealNVP for images."""
    if isinstance(flow, nfref.OnFirst):
        first, rest = rows.split([flow.flow.dim, flow.dim - flow.flow.dim], dim=1)
        first, log_det = inverse(flow.flow, params, first)
        return torch.cat([first, rest], dim=1), log_det
    if hasattr(flow, "flows"):
        total = 0
        for k in reversed(range(len(flow.flows))):
            rows, log_det = inverse(flow.flows[k], params[k], rows)
            total = total + log_det
        return rows, total
    layer = {
        nfref.Squeeze: squeeze,
        nfref.ActNorm: act_norm,
        nfref.ImageCoupling: image_coupling,
        nfref.InvertibleConv: invertible_conv,
    }.get(type(flow), channel_coupling)
    images, log_det = layer(flow, params, rows.unflatten(1, flow.shape))
    return images.flatten(1), log_det


def squeeze(flow, params, x):
    return pixel_unshuffle(x, 2), 0


def act_norm(flow, params, x):
    shift, log_scale = (params[name][:, None, None] for name in ("shift", "log_scale"))
    return (x - shift) * torch.exp(-log_scale), -x[0, 0].numel() * params["log_scale"].sum()


def invertible_conv(flow, params, x):
    """W = P L U; the inverse of the small matrix, and then a 1x1 convolution."""
    lu, ones = params["lu"], torch.eye(flow.shape[0])
    log_size = torch.diagonal(lu)
    upper = torch.triu(lu, 1) + torch.diag(torch.exp(log_size) * torch.tensor(flow.signs))
    order = torch.tensor(np.argsort(flow.permutation))
    lower = torch.tril(lu, -1) + ones
    weight = torch.linalg.solve_triangular(
        upper, torch.linalg.solve_triangular(lower, ones[order], upper=False), upper=True
    )
    return conv2d(x, weight[:, :, None, None]), -x[0, 0].numel() * log_size.sum()


def affine(x, outputs, bound):
    """(x - t) exp(-s) and -s."""
    shift, raw = outputs.chunk(2, dim=1)
    log_scale = raw / torch.sqrt(1 + (raw / bound) ** 2)
    return (x - shift) * torch.exp(-log_scale), -log_scale


def channel_coupling(flow, params, x):
    kept, changed = x.split([flow.kept, flow.shape[0] - flow.kept], dim=1)
    image = kept
    for layer in params["net"][:-1]:
        image = relu(convolve(layer, image))
    outputs = (
        convolve(params["net"][-1], image)
        * torch.exp(GAIN * params["net"][-1]["log_gain"])[:, None, None]
    )
    changed, slopes = affine(changed, outputs, flow.transformer.bound)
    return torch.cat([kept, changed], dim=1), slopes.flatten(1).sum(dim=1)


def convolve(layer, image):
    """Convolve; with "edge", border pixels add a bias: what ones beyond the edge would give."""
    bias = layer["bias"][:, None, None]
    if "edge" in layer:
        beyond = torch.ones(1, 1, *(size + 2 for size in image.shape[2:]))
        beyond[:, :, 1:-1, 1:-1] = 0
        bias = bias + conv2d(beyond, layer["edge"].permute(2, 0, 1)[:, None])
    if "weight" not in layer:
        return bias.expand(len(image), *bias.shape[1:])
    return conv2d(image, layer["weight"], padding="same") + bias


@functools.cache
def mask(flow):
    return torch.from_numpy(flow.stays.reshape(1, *flow.shape).astype(np.float32))


def image_coupling(flow, params, x):
    stays = mask(flow)
    image = torch.cat([stays * x, stays.expand(x.shape)], dim=1)
    changed, slopes = affine(x, residual_net(params["net"], image), flow.transformer.bound)
    return stays * x + (1 - stays) * changed, ((1 - stays) * slopes).flatten(1).sum(dim=1)


def residual_net(params, image):
    h = normalised(params["first"], image)
    total = normalised(params["skip"], h)
    for block in params["blocks"]:
        h = h + normalised(block["second"], relu(normalised(block["first"], relu(h))))
        total = total + normalised(block["skip"], h)
    return normalised(params["last"], relu(total))


def normalised(layer, image):
    """Return a convolution that stores the length of each output's weights separately."""
    length = layer["direction"].flatten(1).norm(dim=1)
    weight = layer["direction"] * (layer["length"] / length)[:, None, None, None]
    return conv2d(image, weight, layer["bias"], padding="same")
