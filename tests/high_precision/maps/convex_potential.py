"""Convex potential flows (CP-Flow): the gradient of F, by differences of F itself."""

import mpmath as mp

from nfref.flows.convex_potential import ConvexPotentialFlow
from tests.high_precision.calculus import exact, step
from tests.high_precision.maps.networks import dot


def softplus(value):
    return mp.log(1 + mp.exp(value))


def convex_potential(flow, params, z, context):
    layers = exact([[layer["weight"].T, layer["bias"]] for layer in params["layers"]])
    positive = [exact(layer["positive"].T) for layer in params["layers"][1:]]
    shift = exact(params["shift"])
    if context:
        shift = [
            value + dot(column, context)
            for value, column in zip(shift, exact(params["from_context"].T))
        ]
    output, strength = exact(params["output"]), softplus(exact(params["strength"])[0])

    def potential(z):
        h = None
        for k, (weight, bias) in enumerate(layers):
            values = [dot(column, z + context) + b for column, b in zip(weight, bias)]
            if k:
                values = [
                    value + dot([softplus(p) for p in column], h) / len(h)
                    for value, column in zip(values, positive[k - 1])
                ]
            h = [softplus(value) for value in values]
        return (
            strength / 2 * dot(z, z)
            + dot(shift, z)
            + dot([softplus(w) for w in output], h) / len(h)
        )

    def slope(i):
        # The error of the differences is of order h^8, so the map's Jacobian keeps its digits.
        h = step() ** mp.mpf("0.5")
        return (
            mp.fsum(
                weight
                * (
                    potential(z[:i] + [z[i] + k * h] + z[i + 1 :])
                    - potential(z[:i] + [z[i] - k * h] + z[i + 1 :])
                )
                for k, weight in enumerate(
                    (mp.mpf(4) / 5, -mp.mpf(1) / 5, mp.mpf(4) / 105, -mp.mpf(1) / 280), 1
                )
            )
            / h
        )

    return [slope(i) for i in range(len(z))]


MAPS = {ConvexPotentialFlow: convex_potential}

CONFIGURATIONS = {"convex_potential": ConvexPotentialFlow(2, hidden=(3, 2), context_dim=1)}
