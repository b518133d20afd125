"""Permutations and matrices, with the cotangents of the factors that a matrix is made of."""

import numpy as np

from nfref.kernels.chain import linear as kernels
from nfref.kernels.chain.instructions.instruction import LARGE, Instruction


def permutation(flow, direction):
    return _permutation(flow.order, direction)


def squeeze(flow, direction):
    return _permutation(flow._forward({}, np.arange(flow.dim)[None, :], None)[0][0], direction)


def _permutation(order, direction):
    order = np.asarray(order) if direction == 1 else np.argsort(order)
    return Instruction(
        (kernels.permute, kernels.permute_vjp),
        direction,
        [len(order), *order],
        size=0,
        tape=len(order),
        scratch=len(order),
        pack=lambda params, dtype: [],
        unpack=lambda params, cotangent: {},
        plain=True,
        skips_columns=True,
    )


def _matrices(channels, pixels, direction, factors, packed, unpack):
    """Return the instruction of K matrices, x = ... A_1 z + b.

    ``packed``: (params) -> ([A_1, ...], b, log |det|), inverted if the direction is from data to
    latent.

    ``unpack``: (params, cotangents of the A_k, of b, and of log |det| of the direction) ->
    cotangent like params.
    """
    square = channels * channels

    def pack(params, dtype):
        matrices, b, log_det = packed(params)
        transposed = [matrix.T for matrix in matrices[::direction]]
        return [*transposed, b, np.reshape(direction * log_det, 1)]

    def split(params, cotangent):
        end = factors * square
        parts = cotangent[:end].reshape(factors, channels, channels)[::direction]
        g_matrices = [direction * part.T for part in parts]
        return unpack(params, g_matrices, direction * cotangent[end:-1], cotangent[-1])

    return Instruction(
        (kernels.linear, kernels.linear_vjp),
        direction,
        [channels, pixels, factors],
        size=factors * square + channels + 1,
        tape=(factors + 1) * channels * pixels,
        scratch=channels * pixels,
        pack=pack,
        unpack=split,
        factorises=channels >= LARGE,
    )


def _inverted(matrix):
    """Return W^-1 in float64; NaN if W is singular, and the formula then decides.

    Upper triangular matrices keep their digits: they are LU forms already. (scipy's
    solve_triangular takes ten times as long for matrices as small as these.)
    """
    try:
        return np.linalg.solve(np.asarray(matrix, np.float64), np.eye(len(matrix)))
    except np.linalg.LinAlgError:
        return np.full(matrix.shape, np.nan)


def linear(flow, direction, pixels=1):
    """Return the instruction of a matrix.

    log |det W| has the derivative W^-T.
    """
    no_bias = np.zeros(flow.dim)

    def packed(params):
        weight = np.asarray(params["weight"], np.float64)
        matrix = weight if direction == 1 else _inverted(weight)
        return [matrix], params.get("bias", no_bias), np.linalg.slogdet(weight)[1]

    def unpack(params, g_matrices, g_b, g_log_det):
        g_weight = g_matrices[0] + direction * g_log_det * _inverted(params["weight"]).T
        return {"weight": g_weight, "bias": g_b} if flow.bias else {"weight": g_weight}

    return _matrices(flow.dim, pixels, direction, 1, packed, unpack)


def fixed_linear(flow, direction):
    def packed(params):
        weight = flow._weight
        matrix = weight if direction == 1 else _inverted(weight)
        return [matrix], np.zeros(flow.dim), np.linalg.slogdet(weight)[1]

    return _matrices(flow.dim, 1, direction, 1, packed, lambda params, *cotangents: {})


def lu_linear(flow, direction, pixels=1):
    """W = (P L) U, where row i of P A is row permutation[i] of A: A_1 = U, A_2 = P L.

    The diagonal of the packed matrix is log |u_ii|, so its cotangent is U_bar_ii u_ii, and that of
    the log-determinant is added to it as it is.
    """
    order, no_bias = np.array(flow.permutation), np.zeros(flow.dim)

    def packed(params):
        lower, upper = flow.factors({"lu": np.asarray(params["lu"], np.float64)})
        if direction == 1:
            matrices = [upper, lower[order]]
        else:
            matrices = [_inverted(upper), _inverted(lower.T)[order].T]
        return matrices, params.get("bias", no_bias), np.trace(params["lu"])

    def unpack(params, g_matrices, g_b, g_log_det):
        g_upper, g_ordered = g_matrices
        g_lower = np.empty_like(g_ordered)
        g_lower[order] = g_ordered
        diagonal = flow.signs * np.exp(np.diag(params["lu"]))
        g_diagonal = np.diag(g_upper) * diagonal + direction * g_log_det
        g_lu = np.tril(g_lower, -1) + np.triu(g_upper, 1) + np.diag(g_diagonal)
        return {"lu": g_lu, "bias": g_b} if flow.bias else {"lu": g_lu}

    return _matrices(flow.dim, pixels, direction, 2, packed, unpack)


def invertible_conv(flow, direction):
    make = linear if flow.form == "full" else lu_linear
    return make(flow.linear, direction, flow.shape[1] * flow.shape[2])
