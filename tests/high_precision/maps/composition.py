"""Flows made of flows."""

import numpy as np

from nfref.flows.composition import Chain, Invert
from nfref.flows.coupling import RealNVP
from nfref.flows.elementwise import Standardise
from nfref.runtime import params as trees
from tests.high_precision.calculus import exact, solve
from tests.high_precision.maps.lookup import forward


def chain(flow, params, z, context):
    for member, parameters in zip(flow.flows, params):
        z = forward(member, parameters, z, context)
    return z


def on_first(flow, params, z, context):
    return forward(flow.flow, params, z[: flow.flow.dim], context) + z[flow.flow.dim :]


def invert(flow, params, z, context):
    """Invert the inner map by Newton's method from the float64 root."""
    floats = trees.tree_map(lambda leaf: np.array(leaf, dtype=float), params)
    start = flow.forward(
        floats, np.array([z], dtype=float), np.array([context], dtype=float) if context else None
    )[0]
    return solve(lambda row: forward(flow.flow, params, row, context), z, exact(start[0]))


MAPS = {Chain: chain, Invert: invert}

CONFIGURATIONS = {
    "chain": Chain(
        (RealNVP(2, layers=2, hidden=(3,), activation="relu"), Standardise((1.0, -1.0), (2.0, 0.5)))
    )
}
