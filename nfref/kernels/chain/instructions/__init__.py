"""How each flow is written down for the compiled chain, and how its parameters travel.

A flow with a twin becomes an :class:`Instruction`: whole numbers, and two functions.
``pack`` turns the flow's parameters into the flat arrays that the kernels read; ``unpack``
turns the cotangent of those arrays back into one shaped like the parameters. Where the two
differ (masks, triangular factors, planar's constraint) the derivation stands beside it.
"""

from nfref.kernels.chain.instructions import (convex_potential, elementwise, images, linear,
                                              networks, planar, radial, residual, sylvester,
                                              tarflow)
from nfref.kernels.names import twin_of


def instruction_of(flow, direction):
    """The ``Instruction`` of a flow in a direction (1 forward, -1 inverse); None without a twin."""
    encode = ENCODERS.get(twin_of(flow))
    return None if encode is None else encode(flow, direction)


ENCODERS = {
    "act_norm": elementwise.act_norm,
    "batch_norm": elementwise.batch_norm,
    "channel_coupling": images.channel_coupling,
    "convex_potential": convex_potential.convex_potential,
    "coupling": networks.coupling,
    "elementwise_affine": elementwise.elementwise_affine,
    "fixed_linear": linear.fixed_linear,
    "image_coupling": images.image_coupling,
    "invertible_conv": linear.invertible_conv,
    "linear": linear.linear,
    "lu_linear": linear.lu_linear,
    "made": networks.made,
    # Instructions name the coordinates they act on, so they leave the last ones alone.
    "on_first": lambda flow, direction: instruction_of(flow.flow, direction),
    "permutation": lambda flow, direction: linear.permutation(flow.order, direction),
    "planar": planar.planar,
    "radial": radial.radial,
    "residual": residual.residual,
    "scale": elementwise.scale,
    "squeeze": linear.squeeze,
    "standardise": elementwise.standardise,
    "sylvester": sylvester.sylvester,
    "tarflow_block": tarflow.tarflow_block,
}
