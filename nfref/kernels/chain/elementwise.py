"""Affine maps with one shift and log-scale a coordinate: on a block of rows, and its derivative.

theta: shift (D,), log_scale (D,). Tape: the products p (D, ROWS) = e^s u_latent, which give the
derivative by the log-scale, as in ``transformers/affine.py``.
"""

from nfref.kernels.chain.block import DIRECTION, FORWARD, HEADER
from nfref.kernels.chain.block_rows import units_of
from nfref.kernels.jit import called_kernel, called_reduction_kernel
from nfref.kernels.simd.elementary import exp


@called_kernel
def elementwise(chain, pc, storage, block):
    """Compute x = z e^s + t, or z = (x - t) e^-s, in place."""
    direction, dim = chain.code[pc + DIRECTION], chain.code[pc + HEADER]
    theta, at, u, log_det = storage.theta, storage.at, block.u, block.log_det
    products = units_of(storage.tape, storage.tape_at, dim)
    for j in range(dim):
        shift, log_scale = theta[at + j], theta[at + dim + j]
        slope = exp(log_scale) if direction == FORWARD else exp(-log_scale)
        for r in range(storage.columns):
            if direction == FORWARD:
                products[j, r] = u[j, r] * slope
                u[j, r] = products[j, r] + shift
                log_det[r] += log_scale
            else:
                products[j, r] = (u[j, r] - shift) * slope
                u[j, r] = products[j, r]
                log_det[r] -= log_scale


@called_reduction_kernel
def elementwise_vjp(chain, pc, storage, cotangents, scratch):
    direction, dim = chain.code[pc + DIRECTION], chain.code[pc + HEADER]
    theta, at = storage.theta, storage.at
    g, g_log_det, g_theta = cotangents.u, cotangents.log_det, cotangents.theta
    products = units_of(storage.tape, storage.tape_at, dim)
    for j in range(dim):
        log_scale = theta[at + dim + j]
        slope = exp(log_scale) if direction == FORWARD else exp(-log_scale)
        g_shift = g.dtype.type(0)
        g_scale = g.dtype.type(0)
        for r in range(storage.columns):
            g_shift += g[j, r] if direction == FORWARD else -g[j, r] * slope
            g_scale += g[j, r] * products[j, r] + g_log_det[r]
            g[j, r] *= slope
        g_theta[at + j] += g_shift
        g_theta[at + dim + j] += direction * g_scale
