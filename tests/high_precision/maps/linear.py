"""Permutations and matrices (Glow, section 3.2, for the LU form)."""

import mpmath as mp

from nfref.flows.linear import FixedLinear, Linear, LULinear, Permutation
from tests.high_precision.calculus import exact
from tests.high_precision.maps.networks import dot


def permutation(flow, params, z, context):
    return [z[place] for place in flow.order]


def fixed_linear(flow, params, z, context):
    return [dot(row, z) for row in exact(flow.matrix)]


def linear_matrix(flow, params):
    """Return the rows of W: as they are, or as the product P L U of the packed factors."""
    if "weight" in params:
        return exact(params["weight"])
    packed, size = exact(params["lu"]), flow.dim

    def lower(i, j):
        return packed[i][j] if i > j else mp.mpf(i == j)

    def upper(i, j):
        return flow.signs[i] * mp.exp(packed[i][i]) if i == j else packed[i][j] * (i < j)

    product = [
        [mp.fsum(lower(i, k) * upper(k, j) for k in range(size)) for j in range(size)]
        for i in range(size)
    ]
    return [product[place] for place in flow.permutation]


def linear(flow, params, z, context):
    bias = exact(params["bias"]) if flow.bias else [mp.mpf(0)] * flow.dim
    return [dot(row, z) + b for row, b in zip(linear_matrix(flow, params), bias)]


MAPS = {Permutation: permutation, FixedLinear: fixed_linear, Linear: linear, LULinear: linear}

CONFIGURATIONS = {
    "permutation": Permutation((2, 0, 1)),
    "fixed_linear": FixedLinear(((0.5, -1.0), (2.0, 0.25))),
    "linear": Linear(3),
    "lu_linear": LULinear(3, permutation=(1, 2, 0), signs=(1, -1, 1)),
}
