"""The instructions of flows, and the functions that pack and unpack their parameters.

A flow with a twin becomes an :class:`Instruction`: whole numbers, and two functions. ``pack`` turns
the flow's parameters into the flat arrays that the kernels read. ``unpack`` turns the cotangent of
those arrays into one shaped like the parameters. If the two differ (masks, triangular factors,
planar's constraint), the derivation stands beside it.
"""

from nfref.kernels.chain.instructions import (
    elementwise,
    images,
    linear,
    networks,
    planar,
    radial,
    residual,
    sylvester,
)
from nfref.kernels.chain.instructions.instruction import twin_of


def instruction_of(flow, direction):
    """Return the instruction of a flow in a direction (1 or -1); None without a twin."""
    encode = ENCODERS.get(twin_of(flow))
    return None if encode is None else encode(flow, direction)


def on_first(flow, direction):
    """Return the flow's instruction, which names its coordinates and leaves the last ones alone."""
    return instruction_of(flow.flow, direction)


# Each has the name of the twin that it encodes.
ENCODERS = {
    encode.__name__: encode
    for encode in (
        elementwise.act_norm,
        elementwise.batch_norm,
        elementwise.elementwise_affine,
        elementwise.scale,
        elementwise.standardise,
        images.channel_coupling,
        images.image_coupling,
        linear.fixed_linear,
        linear.invertible_conv,
        linear.linear,
        linear.lu_linear,
        linear.permutation,
        linear.squeeze,
        networks.coupling,
        networks.made,
        on_first,
        planar.planar,
        radial.radial,
        residual.residual,
        sylvester.sylvester,
    )
}
