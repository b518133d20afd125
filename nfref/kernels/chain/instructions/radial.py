"""Radial layers; alpha and slack are made positive when the parameters are packed."""

import numpy as np

from nfref.kernels.chain import radial as kernels
from nfref.kernels.chain.instructions.instruction import Instruction


def radial(flow, direction):
    """Return the instruction of a radial map.

    softplus(a) has the slope 1 / (1 + e^-a).
    """
    if flow.context_dim:
        return None
    dim = flow.dim

    def unpack(params, cotangent):
        slopes = {name: np.exp(-np.logaddexp(0, -params[name])) for name in ("alpha", "beta")}
        return {
            "z0": cotangent[:dim],
            "alpha": cotangent[dim : dim + 1] * slopes["alpha"],
            "beta": cotangent[dim + 1 :] * slopes["beta"],
        }

    return Instruction(
        (kernels.radial, kernels.radial_vjp),
        direction,
        [dim],
        size=dim + 2,
        tape=dim + 2,
        pack=lambda params, dtype: flow.constrained(params, None),
        unpack=unpack,
    )
