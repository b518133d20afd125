"""How each flow is written down for the compiled chain, and how its parameters travel.

A flow with a twin becomes a :class:`record.Layer`: a record of whole numbers, and two functions.
``pack`` turns the flow's parameters into the flat arrays that the kernels read; ``unpack``
turns the cotangent of those arrays back into one shaped like the parameters. Where the two
differ (masks, triangular factors, planar's constraint) the derivation stands beside it.
"""

from nfref.flows.autoregressive import MADE
from nfref.flows.batch_norm import BatchNorm
from nfref.flows.coupling import Coupling
from nfref.flows.elementwise import ElementwiseAffine, Scale, Standardise
from nfref.flows.image_layers import ActNorm, ChannelAffine, InvertibleConv, Squeeze
from nfref.flows.linear import FixedLinear, Linear, LULinear, Permutation
from nfref.flows.planar import PlanarLayer
from nfref.kernels.chain.instructions import elementwise, linear, networks, planar


def layer_of(flow, direction):
    """The ``Layer`` of a flow in a direction (1 forward, -1 inverse); None without a twin."""
    make = LAYERS.get(type(flow))       # the very type: a subclass may compute something else
    return None if make is None else make(flow, direction)


LAYERS = {
    ActNorm: elementwise.act_norm,
    BatchNorm: elementwise.batch_norm,
    ChannelAffine: elementwise.act_norm,
    Coupling: networks.coupling,
    ElementwiseAffine: elementwise.elementwise_affine,
    FixedLinear: linear.fixed_linear,
    InvertibleConv: linear.invertible_conv,
    Linear: linear.linear,
    LULinear: linear.lu_linear,
    MADE: networks.made,
    Permutation: lambda flow, direction: linear.permutation(flow.order, direction),
    PlanarLayer: planar.planar,
    Scale: elementwise.scale,
    Squeeze: linear.squeeze,
    Standardise: elementwise.standardise,
}
