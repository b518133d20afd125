"""Block neural autoregressive flow: one unit after the other, in the letters of Block-NAF."""

import mpmath as mp

from nfref.flows.block_autoregressive import BlockNAF
from tests.high_precision.calculus import exact
from tests.high_precision.maps.transformers import root


def block_naf(flow, params, z, context):
    """Solve z_i = g x_i + (1 - g) f_i(x_1 ... x_i) for one coordinate after the other."""
    dim = flow.dim
    net = [{name: exact(values) for name, values in layer.items()} for layer in params["net"]]
    gate = 1 / (1 + mp.exp(-exact(params["gate"])))

    def weights(layer, unit):
        """Return g_k v / |v| of one unit; v is exp(w) on the diagonal, w before it, 0 after."""
        i = unit % dim
        v = [
            mp.exp(row[unit]) if j % dim == i else row[unit] if j % dim < i else mp.mpf(0)
            for j, row in enumerate(layer["weight"])
        ]
        norm = mp.sqrt(mp.fsum(value**2 for value in v))
        return [mp.exp(layer["log_scale"][unit]) * value / norm for value in v]

    rows = [[weights(layer, unit) for unit in range(len(layer["bias"]))] for layer in net]

    def f(x):
        h = list(x)
        for k, (layer, matrix) in enumerate(zip(net, rows)):
            h = [
                mp.fsum(w * value for w, value in zip(row, h)) + bias
                for row, bias in zip(matrix, layer["bias"])
            ]
            h = [mp.tanh(value) for value in h] if k + 1 < len(net) else h
        return h

    x = [mp.mpf(0)] * dim
    for i in range(dim):

        def image(value, i=i):
            at = [*x[:i], value, *x[i + 1 :]]
            return gate * value + (1 - gate) * f(at)[i]

        x[i] = root(image, z[i])
    return x


MAPS = {BlockNAF: block_naf}

CONFIGURATIONS = {"block_naf": BlockNAF(2, hidden=(2, 2))}
