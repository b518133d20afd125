"""Continuous flows with parameters far from the identity."""

import numpy as np


def filled(flow, rng, gain=1.0):
    """Parameters of a CNF with normal weights of unit gain times ``gain``."""
    params = flow.init(rng)
    for layer in params["net"]:
        fan_in = len(layer["weight"])
        layer["weight"] = gain * rng.standard_normal(layer["weight"].shape) / fan_in**0.5
        layer["bias"] = 0.3 * rng.standard_normal(layer["bias"].shape)
    return params


def linear(flow, matrix, shift=None):
    """Parameters of a CNF without hidden layers whose dynamics are dz/dt = A z + b."""
    params = flow.init(np.random.default_rng(0))
    dim = flow.dim
    params["net"][0]["weight"][:dim] = np.asarray(matrix).T
    if shift is not None:
        params["net"][0]["bias"][:] = shift
    return params
