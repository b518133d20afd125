"""Injective flows: the map of another flow, on a row that ends in zeros."""

import mpmath as mp

from nfref.flows.coupling import RealNVP
from nfref.flows.injective import InjectiveFlow
from tests.high_precision.maps.lookup import forward


def padded(flow, params, z, context):
    zeros = [mp.mpf(0) for _ in range(flow.dim - flow.kept)]
    return forward(flow.flow, params, z + zeros, context)


MAPS = {InjectiveFlow: padded}

CONFIGURATIONS = {"injective": InjectiveFlow(RealNVP(3, layers=2, hidden=(2,), context_dim=1), 2)}
