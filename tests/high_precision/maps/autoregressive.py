"""Autoregressive (MAF, section 3.1): one coordinate after the other."""

import mpmath as mp

from nfref.flows.autoregressive import IAF, MADE, MAF
from nfref.transformers.affine import Affine
from nfref.transformers.bernstein import Bernstein
from nfref.transformers.cubic_spline import CubicSpline
from nfref.transformers.linear_spline import LinearSpline
from nfref.transformers.quadratic_spline import QuadraticSpline
from nfref.transformers.sum_of_squares import SumOfSquares
from tests.high_precision.maps.composition import chain
from tests.high_precision.maps.networks import network, read_by_network
from tests.high_precision.maps.transformers import transform


def made(flow, params, z, context):
    dim = flow.dim
    # The coordinate behind each input of the network.
    read = [i for i in range(dim) if i not in flow.periodic] + 2 * list(flow.periodic)

    def degree(layer, unit):
        """Return how many coordinates, in the order, unit ``unit`` of ``layer`` may depend on."""
        if layer == 0:
            return flow.order[read[unit]] + 1 if unit < len(read) else 0
        if layer == len(params["net"]):
            return flow.order[unit % dim]
        if flow.degrees != "even":
            return flow.degrees[layer - 1][unit]
        lowest = 0 if flow.context_dim else 1
        return lowest + unit * max(dim - lowest, 1) // flow.hidden[layer - 1]

    def sees(layer, source, target):
        return degree(layer, source) <= degree(layer + 1, target)

    x = [mp.mpf(0)] * dim
    for i in sorted(range(dim), key=lambda i: flow.order[i]):
        inputs = read_by_network(x, flow.periodic) + context
        outputs = network(params["net"], inputs, flow.activation, sees)
        x[i] = transform(flow, params, i, outputs[i::dim], z[i])
    return x


MAPS = {MADE: made, MAF: chain}

CONFIGURATIONS = {
    "made": MADE(3, hidden=(4, 4), activation="relu"),
    "made_context": MADE(3, hidden=(4,), order=(2, 0, 1), context_dim=1, activation="tanh"),
    "made_exp": MADE(3, (4,), Affine("exp"), activation="tanh", degrees=((2, 1, 1, 2),)),
    "made_linear_spline": MADE(2, (2,), LinearSpline(4), activation="tanh"),
    "made_quadratic_spline": MADE(2, (2,), QuadraticSpline(4), activation="tanh"),
    "made_cubic_spline": MADE(2, (2,), CubicSpline(3), activation="tanh"),
    "made_bernstein": MADE(2, (2,), Bernstein(5, 2.0), activation="tanh"),
    "made_sum_of_squares": MADE(2, (2,), SumOfSquares(2, 2, 2.0), activation="tanh"),
    "maf": MAF(3, layers=2, hidden=(4,), activation="relu"),
    "iaf": IAF(2, layers=2, hidden=(3,), activation="relu"),
    "iaf_gate": IAF(2, layers=2, hidden=(3,), transformer=Affine("gate"), activation="relu"),
}
