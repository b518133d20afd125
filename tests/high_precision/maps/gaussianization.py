"""Gaussianization flows, one coordinate at a time."""

from nfref.flows.gaussianization import Elementwise, GaussianizationFlow
from tests.high_precision.calculus import exact
from tests.high_precision.maps.composition import chain
from tests.high_precision.maps.transformers import transform


def elementwise(flow, params, z, context):
    raw = exact(params["raw"])
    return [transform(flow, params, k, raw[k :: flow.dim], value) for k, value in enumerate(z)]


MAPS = {Elementwise: elementwise, GaussianizationFlow: chain}

CONFIGURATIONS = {"gaussianization": GaussianizationFlow(2, layers=2, components=2)}
