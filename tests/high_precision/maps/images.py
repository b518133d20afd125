"""Images (Glow, table 1): rows are raveled (C, H, W)."""

import mpmath as mp

from nfref.flows.images.glow import Glow, OnFirst
from nfref.flows.images.layers import (
    ActNorm,
    ChannelAffine,
    ChannelCoupling,
    InvertibleConv,
    SplitPrior,
    Squeeze,
    TopPrior,
)
from nfref.flows.linear import LULinear
from nfref.transformers.affine import Affine
from tests.high_precision.calculus import exact
from tests.high_precision.maps.composition import chain, on_first
from tests.high_precision.maps.linear import linear_matrix
from tests.high_precision.maps.networks import convolution_network, dot
from tests.high_precision.maps.transformers import transform


def image_of(row, shape):
    """Return {(row, column): list of channels}."""
    channels, height, width = shape
    return {
        (i, j): [row[(c * height + i) * width + j] for c in range(channels)]
        for i in range(height)
        for j in range(width)
    }


def row_of(image, shape):
    channels, height, width = shape
    return [image[i, j][c] for c in range(channels) for i in range(height) for j in range(width)]


def at_pixels(change):
    """Apply a map of the channels at every pixel."""

    def whole_image(flow, params, z, context):
        image = image_of(z, flow.shape)
        return row_of(
            {place: change(flow, params, channels) for place, channels in image.items()}, flow.shape
        )

    return whole_image


@at_pixels
def channel_affine(flow, params, channels):
    return [
        value * mp.exp(s) + t
        for value, s, t in zip(channels, exact(params["log_scale"]), exact(params["shift"]))
    ]


@at_pixels
def invertible_convolution(flow, params, channels):
    return [dot(row, channels) for row in linear_matrix(flow.linear, params)]


def unsqueeze(flow, params, z, context):
    """Move channel 4c + 2a + b of pixel (i, j) to channel c of pixel (2i + a, 2j + b)."""
    channels, height, width = flow.shape
    small = image_of(z, (4 * channels, height // 2, width // 2))
    return row_of(
        {
            (i, j): [small[i // 2, j // 2][4 * c + 2 * (i % 2) + j % 2] for c in range(channels)]
            for i in range(height)
            for j in range(width)
        },
        flow.shape,
    )


def channel_coupling(flow, params, z, context):
    channels = flow.shape[0]
    kept = flow.kept
    image = image_of(z, flow.shape)
    seen = {place: values[:kept] + context for place, values in image.items()}
    outputs = convolution_network(params["net"], seen, flow.activation)
    changed, pixels = channels - kept, flow.shape[1] * flow.shape[2]
    return row_of(
        {
            (i, j): values[:kept]
            + [
                transform(
                    flow,
                    params,
                    k * pixels + i * flow.shape[2] + j,
                    outputs[i, j][k::changed],
                    values[kept + k],
                )
                for k in range(changed)
            ]
            for (i, j), values in image.items()
        },
        flow.shape,
    )


MAPS = {
    ActNorm: channel_affine,
    ChannelAffine: channel_affine,
    InvertibleConv: invertible_convolution,
    Squeeze: unsqueeze,
    ChannelCoupling: channel_coupling,
    SplitPrior: channel_coupling,
    TopPrior: channel_coupling,
    OnFirst: on_first,
    Glow: chain,
}

CONFIGURATIONS = {
    "squeeze": Squeeze((1, 2, 4)),
    "actnorm": ActNorm((2, 1, 2)),
    "channel_affine": ChannelAffine((2, 1, 2)),
    "invertible_conv": InvertibleConv((2, 1, 2), "full"),
    "invertible_conv_lu": InvertibleConv((3, 2, 1), "lu", (2, 0, 1), (1, -1, 1)),
    "channel_coupling": ChannelCoupling((2, 2, 2), hidden=(2,), context_dim=1),
    "channel_sigmoid": ChannelCoupling((2, 1, 2), (2,), transformer=Affine("sigmoid")),
    "channel_text": ChannelCoupling((2, 2, 1), (2,), edge_channel=False, output_gain=False),
    "split_prior": SplitPrior((2, 1, 2)),
    "top_prior": TopPrior((1, 2, 2), context_dim=1),
    "on_first": OnFirst(LULinear(2), 3),
    "glow": Glow(
        (1, 2, 2), levels=1, steps=1, hidden=(1,), pivots=(((2, 0, 3, 1), (1, -1, 1, 1)),)
    ),
}
