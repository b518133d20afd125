"""Sylvester layers; Q and the triangles are made when the parameters are packed."""

import numpy as np
from autograd import make_vjp

from nfref.kernels.chain import sylvester as kernels
from nfref.kernels.chain.instructions.instruction import LARGE, Instruction


def sylvester(flow, direction):
    """Return the instruction of a Sylvester map.

    The kernel gives the cotangent W_bar of W = Q R1: Q gets W_bar R1^T, R1 gets Q^T W_bar. The
    diagonals are tanh d1 and tanh d2, and slack = 1 + tanh d1 tanh d2. Autograd differentiates Q by
    its own parameters; these are a few small matrices.
    """
    if flow.context_dim:
        return None
    dim, m = flow.dim, flow.bottleneck

    def pack(params, dtype):
        q, r1, r2, slack, b = flow.constrained(params, None)
        if direction == -1:
            flow.check_invertible(slack)
        return [q, (q @ r1).T, r1, r2, slack, b]

    def unpack(params, cotangent):
        q, r1, r2, _, _ = flow.constrained(params, None)
        ends = np.cumsum([dim * m, m * dim, m * m, m * m, m])
        g_q, g_across, g_r1, g_r2, g_slack, g_b = np.split(cotangent, ends)
        g_product = g_across.reshape(m, dim).T
        g_q = g_q.reshape(dim, m) + g_product @ r1.T
        g_r1 = g_r1.reshape(m, m) + q.T @ g_product
        g_r2 = g_r2.reshape(m, m)
        d1, d2 = np.diag(r1), np.diag(r2)
        found = {
            "r1": _upper(g_r1, g_slack * d2, params["r1"]),
            "r2": _upper(g_r2, g_slack * d1, params["r2"]),
            "b": g_b,
        }
        if flow.kind == "triangular":
            return found
        return {**found, **_through_columns(flow, params, g_q)}

    return Instruction(
        (kernels.sylvester, kernels.sylvester_vjp),
        direction,
        [dim, m],
        size=2 * m * (dim + m + 1),
        tape=dim + 3 * m,
        scratch=2 * m + 1,
        pack=pack,
        unpack=unpack,
        factorises=dim >= LARGE,
    )


def _upper(g, g_diagonal, raw):
    """Return the cotangent of a raw matrix: its upper triangle, through tanh on the diagonal."""
    tail = np.exp(-2 * np.abs(np.diag(raw)))
    slope = 4 * tail / (1 + tail) ** 2
    return np.triu(g, 1) + np.diag((np.diag(g) + g_diagonal) * slope)


def _through_columns(flow, params, g_q):
    name = {"orthogonal": "q", "householder": "v"}[flow.kind]
    back, _ = make_vjp(lambda own: flow._columns({**params, name: own}))(params[name])
    return {name: back(g_q)}
