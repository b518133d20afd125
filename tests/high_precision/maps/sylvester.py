"""Sylvester (van den Berg et al. 2018)."""

import mpmath as mp

from nfref.flows.sylvester import Sylvester, SylvesterLayer
from tests.high_precision.calculus import exact
from tests.high_precision.maps.composition import chain
from tests.high_precision.maps.networks import dot


def moved(value, change, context):
    """Return value + sum_c context_c change_c, for nested lists."""
    if isinstance(value, list):
        return [moved(part, [each[i] for each in change], context) for i, part in enumerate(value)]
    return value + dot(change, context)


def orthonormal_columns(matrix):
    """Return the columns of Q, by the paper's iteration Q <- Q (I + (I - Q^T Q) / 2)."""
    columns = [list(column) for column in zip(*matrix)]
    size = mp.sqrt(mp.fsum(dot(column, column) for column in columns))
    columns = [[entry / size for entry in column] for column in columns]
    count = range(len(columns))
    while True:
        products = [[dot(columns[i], columns[j]) for j in count] for i in count]
        if max(abs(products[i][j] - (i == j)) for i in count for j in count) < 100 * mp.eps:
            return columns
        change = [[(i == j) + ((i == j) - products[i][j]) / 2 for j in count] for i in count]
        columns = [
            [mp.fsum(columns[k][d] * change[k][j] for k in count) for d in range(len(matrix))]
            for j in count
        ]


def reflected_columns(vectors, dim):
    """Return the columns of Q = H_1 H_2 ...: reflect each unit vector, last reflection first."""
    columns = []
    for j in range(dim):
        column = [mp.mpf(i == j) for i in range(dim)]
        for v in reversed(vectors):
            share = 2 * dot(v, column) / dot(v, v)
            column = [value - share * entry for value, entry in zip(column, v)]
        columns.append(column)
    return columns


def sylvester(flow, params, z, context):
    values = {name: exact(array) for name, array in params.items() if name != "from_context"}
    if flow.context_dim:
        values = {
            name: moved(value, exact(params["from_context"][name]), context)
            for name, value in values.items()
        }
    if flow.kind == "orthogonal":
        columns = orthonormal_columns(values["q"])
    elif flow.kind == "householder":
        columns = reflected_columns(values["v"], flow.dim)
    else:
        order = range(flow.dim)
        columns = [[mp.mpf(i == j) for i in order] for j in order[:: -1 if flow.reverse else 1]]

    def row_times(matrix, i, vector):
        return mp.tanh(matrix[i][i]) * vector[i] + dot(matrix[i][i + 1 :], vector[i + 1 :])

    y = [dot(column, z) for column in columns]
    h = [mp.tanh(row_times(values["r2"], i, y) + b) for i, b in enumerate(values["b"])]
    step = [row_times(values["r1"], i, h) for i in range(len(h))]
    return [
        zi + mp.fsum(column[d] * s for column, s in zip(columns, step)) for d, zi in enumerate(z)
    ]


MAPS = {SylvesterLayer: sylvester, Sylvester: chain}

CONFIGURATIONS = {
    "sylvester_orthogonal": SylvesterLayer(3, bottleneck=2),
    "sylvester_householder": SylvesterLayer(3, "householder", reflections=2),
    "sylvester_context": SylvesterLayer(2, context_dim=1),
    "sylvester": Sylvester(3, layers=2, kind="triangular"),
}
