"""Permutations and matrices, with the cotangents of the factors that a matrix is made of."""

import numpy as np

from nfref.kernels.chain import interpreter as chain
from nfref.kernels.chain.instructions.instruction import LARGE, Instruction


def permutation(order, direction):
    order = np.asarray(order) if direction == 1 else np.argsort(order)
    return Instruction(chain.PERMUTE, direction, [len(order), *order], size=0, tape=len(order),
                       scratch=len(order), pack=lambda params, dtype: [],
                       unpack=lambda params, cotangent: {}, plain=True, needs=("others",))


def squeeze(flow, direction):
    return permutation(flow._forward({}, np.arange(flow.dim)[None, :], None)[0][0], direction)


def _matrix(channels, pixels, direction, matrix, unpack):
    """``matrix``: (params) -> (M, b, log |det M|) with u -> M u + b in the given direction.

    ``unpack``: (params, cotangents of M, b and log |det M|) -> cotangent like params.
    """
    def pack(params, dtype):
        m, b, log_det = matrix(params)
        return [m.T, b, np.reshape(log_det, 1)]

    def split(params, cotangent):
        square = channels * channels
        return unpack(params, cotangent[:square].reshape(channels, channels).T,
                      cotangent[square:-1], cotangent[-1])

    return Instruction(chain.LINEAR, direction, [channels, pixels],
                       size=channels * (channels + 1) + 1, tape=channels * pixels,
                       scratch=channels * pixels, pack=pack, unpack=split, needs=("others",),
                       factorises=channels >= LARGE)


def _through_inverse(inverse, b, g_m, g_b):
    """Cotangents of W and b from those of M = W^-1 and of -M b.

    -M b:  M_bar += -g_b b^T,  b_bar = -M^T g_b;  M = W^-1:  W_bar = -M^T M_bar M^T.
    """
    g_m = g_m - np.outer(g_b, b)
    return -inverse.T @ g_m @ inverse.T, -inverse.T @ g_b


def linear(flow, direction, pixels=1):
    """log |det W| has the derivative W^-T."""
    dim = flow.dim
    no_bias = np.zeros(dim)

    def matrix(params):
        weight, b = np.asarray(params["weight"], np.float64), params.get("bias", no_bias)
        log_det = np.linalg.slogdet(weight)[1]
        if direction == 1:
            return weight, b, log_det
        inverse = np.linalg.inv(weight)
        return inverse, -inverse @ b, -log_det

    def unpack(params, g_m, g_b, g_log_det):
        inverse = np.linalg.inv(np.asarray(params["weight"], np.float64))
        if direction == -1:
            g_m, g_b = _through_inverse(inverse, params.get("bias", no_bias), g_m, g_b)
        g_weight = g_m + direction * g_log_det * inverse.T
        return {"weight": g_weight, "bias": g_b} if flow.bias else {"weight": g_weight}

    return _matrix(dim, pixels, direction, matrix, unpack)


def fixed_linear(flow, direction):
    def matrix(params):
        log_det = np.linalg.slogdet(flow._weight)[1]
        if direction == 1:
            return flow._weight, np.zeros(flow.dim), log_det
        return np.linalg.inv(flow._weight), np.zeros(flow.dim), -log_det

    return _matrix(flow.dim, 1, direction, matrix, lambda params, *cotangents: {})


def lu_linear(flow, direction, pixels=1):
    """W = P L U, where row i of P A is row permutation[i] of A.

    (L U)_bar = P^T W_bar,  L_bar = (L U)_bar U^T,  U_bar = L^T (L U)_bar, inside the
    triangles; the diagonal of the packed matrix is log |u_ii|, so its cotangent is
    U_bar_ii u_ii, and that of the log-determinant is added to it as it is.
    """
    order, ones = np.array(flow.permutation), np.eye(flow.dim)
    no_bias = np.zeros(flow.dim)

    def factors(params):
        return flow.factors({"lu": np.asarray(params["lu"], np.float64)})

    def inverse_of(lower, upper):
        # Upper triangular matrices, so L^T too, are LU forms already; scipy's solve_triangular
        # takes ten times as long for matrices as small as these.
        return np.linalg.solve(upper, np.linalg.solve(lower.T, ones)[order].T)

    def matrix(params):
        lower, upper = factors(params)
        log_det, b = np.trace(params["lu"]), params.get("bias", no_bias)
        if direction == 1:
            return (lower @ upper)[order], b, log_det
        inverse = inverse_of(lower, upper)
        return inverse, -inverse @ b, -log_det

    def unpack(params, g_m, g_b, g_log_det):
        lower, upper = factors(params)
        if direction == -1:
            g_m, g_b = _through_inverse(inverse_of(lower, upper), params.get("bias", no_bias),
                                        g_m, g_b)
        g_product = np.empty_like(lower)
        g_product[order] = g_m
        g_lower, g_upper = g_product @ upper.T, lower.T @ g_product
        g_lu = (np.tril(g_lower, -1) + np.triu(g_upper, 1)
                + np.diag(np.diag(g_upper) * np.diag(upper) + direction * g_log_det))
        return {"lu": g_lu, "bias": g_b} if flow.bias else {"lu": g_lu}

    return _matrix(flow.dim, pixels, direction, matrix, unpack)


def invertible_conv(flow, direction):
    make = linear if flow.form == "full" else lu_linear
    return make(flow.linear, direction, flow.shape[1] * flow.shape[2])
