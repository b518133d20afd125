"""Planar layers; the constraint on u is met when the parameters are packed."""

import numpy as np

from nfref.kernels.chain import interpreter as chain
from nfref.kernels.chain.instructions.instruction import Instruction


def planar(flow, direction):
    """With n = w . w, p = w . u and sigma the logistic function of p:

    slack = log(1 + e^p),  u_hat = u + c w with c = (slack - 1 - p) / n;
    dslack = sigma dp,  dc = ((sigma - 1) dp - c dn) / n,  dp = w . du + u . dw,  dn = 2 w . dw.
    """
    if flow.context_dim:
        return None
    dim = flow.dim

    def pack(params, dtype):
        u_hat, slack, w, b = flow.constrained(params, None)
        return [u_hat, w, slack, b]

    def unpack(params, cotangent):
        g_u_hat, g_w, g_slack = cotangent[:dim], cotangent[dim:2 * dim], cotangent[2 * dim]
        u, w = params["u"], params["w"]
        n, p = w @ w, w @ u
        g_b = cotangent[2 * dim + 1:]
        if not n > 0:       # u_hat = u and slack = 1 there
            return {"u": g_u_hat, "w": g_w, "b": g_b}
        sigma, slack = np.exp(-np.logaddexp(0, -p)), np.logaddexp(0, p)
        c, g_c = (slack - 1 - p) / n, w @ g_u_hat
        g_p = g_slack * sigma + g_c * (sigma - 1) / n
        return {"u": g_u_hat + g_p * w, "b": g_b,
                "w": g_w + c * g_u_hat + g_p * u - (2 * g_c * c / n) * w}

    return Instruction(chain.PLANAR, direction, [dim], size=2 * dim + 2, tape=dim + 1, scratch=0,
                       pack=pack, unpack=unpack, needs=("others",))
