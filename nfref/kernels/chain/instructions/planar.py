"""Planar layers; the constraint on u is met when the parameters are packed."""

import numpy as np

from nfref.kernels.chain import sylvester as kernels
from nfref.kernels.chain.instructions.instruction import Instruction


def planar(flow, direction):
    """Return a Sylvester map with Q = w, Q R1 = u_hat and R2 = 1: the kernel uses nothing else.

    The kernel does not use R1 = slack - 1 by itself; its cotangent in the inverse direction is that
    of slack through the root. With n = w . w, p = w . u and sigma the logistic function of p:

    slack = log(1 + e^p),  u_hat = u + c w with c = (slack - 1 - p) / n;
    dslack = sigma dp,  dc = ((sigma - 1) dp - c dn) / n,  dp = w . du + u . dw,  dn = 2 w . dw.
    """
    if flow.context_dim:
        return None
    dim = flow.dim

    def pack(params, dtype):
        u_hat, slack, w, b = flow.constrained(params, None)
        return [w, u_hat, np.zeros(1, dtype), np.ones(1, dtype), slack, b]

    def unpack(params, cotangent):
        g_w, g_u_hat, g_root, _, g_slope, g_b = np.split(cotangent, np.cumsum([dim, dim, 1, 1, 1]))
        u, w, g_slack = params["u"], params["w"], g_root + g_slope
        n, p = w @ w, w @ u
        if not n > 0:  # u_hat = u and slack = 1 there
            return {"u": g_u_hat, "w": g_w, "b": g_b}
        sigma, slack = np.exp(-np.logaddexp(0, -p)), np.logaddexp(0, p)
        c, g_c = (slack - 1 - p) / n, w @ g_u_hat
        g_p = g_slack * sigma + g_c * (sigma - 1) / n
        g_w = g_w + c * g_u_hat + g_p * u - (2 * g_c * c / n) * w
        return {"u": g_u_hat + g_p * w, "b": g_b, "w": g_w}

    return Instruction(
        (kernels.sylvester, kernels.sylvester_vjp),
        direction,
        [dim, 1],
        size=2 * dim + 4,
        tape=dim + 3,
        scratch=3,
        pack=pack,
        unpack=unpack,
    )
