"""The affine formula that elementwise, coupling and autoregressive flows share.

They differ only in where shift and log_scale come from: from nothing (elementwise), from
the coordinates that a coupling leaves alone, or from the coordinates that come earlier.
"""

import autograd.numpy as np


def affine_forward(z, shift, log_scale):
    """x_i = z_i exp(s_i) + t_i,  log |det dx/dz| = sum_i s_i.

    Shapes: z (N, D); shift and log_scale (N, D) or (D,). Returns (N, D) and (N,).
    """
    x = z * np.exp(log_scale) + shift
    return x, np.sum(log_scale + np.zeros_like(z), axis=1)


def affine_inverse(x, shift, log_scale):
    """z_i = (x_i - t_i) exp(-s_i),  log |det dz/dx| = -sum_i s_i.

    Shapes: x (N, D); shift and log_scale (N, D) or (D,). Returns (N, D) and (N,).
    """
    z = (x - shift) * np.exp(-log_scale)
    return z, -np.sum(log_scale + np.zeros_like(x), axis=1)
