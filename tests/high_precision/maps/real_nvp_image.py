"""RealNVP for images (RealNVP, section 3.4, eq. 9, and section 3.6)."""

from nfref.flows.images.real_nvp import ImageCoupling, RealNVPImage
from nfref.transformers.affine import Affine
from tests.high_precision.maps.composition import chain
from tests.high_precision.maps.images import image_of, row_of
from tests.high_precision.maps.networks import residual_network
from tests.high_precision.maps.transformers import transform


def stays(flow, channel, row, column):
    """Return the paper's b: 1 if row + column is odd, or in the first half of the channels."""
    if flow.mask == "checkerboard":
        first = (row + column) % 2 == 1
    else:
        first = channel < flow.shape[0] // 2
    return first if flow.parity == 0 else not first


def image_coupling(flow, params, z, context):
    channels = flow.shape[0]
    image = image_of(z, flow.shape)
    masks = {(i, j): [int(stays(flow, c, i, j)) for c in range(channels)] for i, j in image}
    seen = {
        place: [b * value for b, value in zip(masks[place], values)] + masks[place] + context
        for place, values in image.items()
    }
    outputs = residual_network(params["net"], seen, flow.activation)
    # The index of this number among those that change, in the order of the row.
    order = iter(range(flow.dim))
    number = {
        (c, i, j): next(order)
        for c in range(channels)
        for i in range(flow.shape[1])
        for j in range(flow.shape[2])
        if not masks[i, j][c]
    }
    return row_of(
        {
            (i, j): [
                value
                if masks[i, j][c]
                else transform(flow, params, number[c, i, j], outputs[i, j][c::channels], value)
                for c, value in enumerate(values)
            ]
            for (i, j), values in image.items()
        },
        flow.shape,
    )


MAPS = {ImageCoupling: image_coupling, RealNVPImage: chain}

CONFIGURATIONS = {
    "image_coupling": ImageCoupling((1, 2, 2), hidden=2, blocks=1, transformer=Affine("tanh")),
    "image_coupling_channels": ImageCoupling(
        (2, 1, 2), "channels", 1, hidden=1, blocks=1, context_dim=1
    ),
    "real_nvp_image": RealNVPImage((1, 1, 2), levels=1, hidden=1, blocks=0),
}
