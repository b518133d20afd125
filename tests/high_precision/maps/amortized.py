"""The map of the inner flow, at theta_0 plus the network's output for the context."""

import numpy as np

from nfref.flows.amortized import Amortized
from nfref.flows.radial import RadialLayer
from nfref.runtime import params as trees
from tests.high_precision.calculus import exact
from tests.high_precision.maps.lookup import forward
from tests.high_precision.maps.networks import network


def amortized(flow, params, z, context):
    changes = iter(network(params["network"], context, flow.activation))

    def moved(leaf):
        numbers = [exact(number) + next(changes) for number in np.ravel(leaf)]
        return np.array(numbers, dtype=object).reshape(np.shape(leaf))

    return forward(flow.flow, trees.tree_map(moved, params["flow"]), z)


MAPS = {Amortized: amortized}

CONFIGURATIONS = {"amortized": Amortized(RadialLayer(2), context_dim=2, hidden=(3,))}
