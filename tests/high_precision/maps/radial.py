"""Radial (Rezende and Mohamed, section 4.1 and appendix A.2)."""

import mpmath as mp

from nfref.flows.radial import Radial, RadialLayer
from tests.high_precision.calculus import exact
from tests.high_precision.maps.composition import chain
from tests.high_precision.maps.networks import dot


def radial(flow, params, z, context):
    numbers = [*exact(params["z0"]), *exact(params["alpha"]), *exact(params["beta"])]
    if flow.context_dim:
        numbers = [
            value + dot(column, context)
            for value, column in zip(numbers, zip(*exact(params["from_context"])))
        ]
    *z0, alpha, beta = numbers
    alpha = mp.log(1 + mp.exp(alpha))
    beta_hat = -alpha + mp.log(1 + mp.exp(beta))
    r = mp.sqrt(mp.fsum((zi - ci) ** 2 for zi, ci in zip(z, z0)))
    h = 1 / (alpha + r)
    return [zi + beta_hat * h * (zi - ci) for zi, ci in zip(z, z0)]


MAPS = {RadialLayer: radial, Radial: chain}

CONFIGURATIONS = {
    "radial_layer": RadialLayer(3),
    "radial_layer_context": RadialLayer(2, context_dim=2),
    "radial": Radial(2, layers=3),
}
