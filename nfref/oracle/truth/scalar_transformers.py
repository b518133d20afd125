"""The transformers once more, one number at a time, in the letters of their papers.

Each is a function (transformer, raw, own, z) -> x of one coordinate: ``raw`` is the list of the
numbers that the network gives for it, ``own`` the dict of its share of the transformer's own
parameters.
"""

import mpmath as mp

from nfref.oracle.truth.multiprecision import exact
from nfref.transformers.additive import Additive
from nfref.transformers.affine import Affine


def sigmoid(value):
    return 1 / (1 + mp.exp(-value))


def additive(transformer, raw, own, z):
    return z + raw[0]


def affine(transformer, raw, own, z):
    """Latent to data; z = sigma x + (1 - sigma) m (IAF) and z = (x - p) sigma (Glow) solved."""
    p, r = raw
    if transformer.scale == "gate":
        gate = sigmoid(r + mp.mpf(transformer.offset))
        return (z - (1 - gate) * p) / gate
    if transformer.scale == "sigmoid":
        return z / sigmoid(r + mp.mpf(transformer.offset)) + p
    bound = mp.mpf(transformer.bound)
    s = {"bounded": lambda: r / mp.sqrt(1 + (r / bound) ** 2), "exp": lambda: r,
         "tanh": lambda: own["factor"] * mp.tanh(r)}[transformer.scale]()
    return z * mp.exp(s) + p


TRANSFORMERS = {Additive: additive, Affine: affine}


def transform(flow, params, index, raw, z):
    """x of one coordinate, number ``index`` of those that the flow's transformer changes."""
    own = {name: exact(values)[index] for name, values in params.get("transformer", {}).items()}
    return TRANSFORMERS[type(flow.transformer)](flow.transformer, raw, own, z)
