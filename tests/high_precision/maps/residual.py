"""Residual flows (i-ResNet, theorem 1): z = x + g(x), solved for x."""

import mpmath as mp

from nfref.flows.residual import ResidualBlock, ResidualFlow
from tests.high_precision.calculus import exact, solve
from tests.high_precision.maps.composition import chain
from tests.high_precision.maps.networks import dot


def normalised(flow, params):
    """Return (weight as rows by inputs, bias) of each layer, with the norm bounded."""
    layers = []
    for k, layer in enumerate(params["net"]):
        weight = exact(layer["weight"])
        bounded = weight[: flow.dim] if k == 0 else weight
        sigma = max(mp.svd_r(mp.matrix(bounded), compute_uv=False))
        factor = min(mp.mpf(1), mp.mpf(flow.coefficient) / sigma)
        weight = [[value * factor for value in row] for row in bounded] + weight[len(bounded) :]
        layers.append((weight, exact(layer["bias"])))
    return layers


def residual_block(flow, params, z, context):
    layers = normalised(flow, params)
    betas = [mp.log(1 + mp.exp(raw)) for raw in exact(params["beta"])]

    def latent(x):
        values = list(x) + context
        for k, (weight, bias) in enumerate(layers):
            values = [dot(column, values) + b for column, b in zip(zip(*weight), bias)]
            if k < len(betas):
                values = [
                    value / (1 + mp.exp(-betas[k] * value)) / mp.mpf("1.1") for value in values
                ]
        return [a + b for a, b in zip(x, values)]

    # Start with the papers' iteration, then use Newton's method for the digits.
    start = z
    for _ in range(30):
        start = [a + target - value for a, target, value in zip(start, z, latent(start))]
    return solve(latent, z, start)


MAPS = {ResidualBlock: residual_block, ResidualFlow: chain}

CONFIGURATIONS = {
    "residual_block": ResidualBlock(2, (3,), context_dim=1, iterations=0),
    "residual_flow": ResidualFlow(2, layers=2, hidden=(2,), coefficient=0.9),
}
