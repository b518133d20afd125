"""Residual blocks; weights are shrunk when the parameters are packed."""

import numpy as np

from nfref.kernels.chain import residual as kernels
from nfref.kernels.chain.instructions.instruction import LARGE, Instruction
from nfref.kernels.chain.instructions.networks import net_arrays, net_cotangent, net_size


def residual(flow, direction):
    """Return the instruction from data to latent.

    The log-determinant is exact or a power series. The series has exact traces. There is no twin of
    the fixed point, of estimates with random numbers for each row, and of blocks without a hidden
    layer, which are affine.
    """
    random = flow.estimator == "roulette" or flow.probes is not None
    if direction == 1 or not flow.hidden or random and flow.estimator != "exact":
        return None
    dim, terms = flow.dim, flow.terms if flow.estimator == "series" else 0
    widths = [dim + flow.context_dim, *flow.hidden, dim]
    size, units, hidden = net_size(widths), sum(widths[:-1]), sum(flow.hidden)
    widest = max(widths)

    def pack(params, dtype):
        net = flow.normalised(params)
        betas = [np.reshape(layer["beta"], 1) for layer in net[:-1]]
        return [*net_arrays({"net": net}, dtype), *betas]

    def unpack(params, cotangent):
        net = net_cotangent(widths, cotangent[:size])["net"]
        for k, (weight, g) in enumerate(zip(flow._weights(params["net"]), net)):
            u = params["u"][k] if flow.mode == "training" else _leading(weight)
            g_weight = _through_norm(weight, u, flow.coefficient, g["weight"][: len(weight)])
            g["weight"] = np.concatenate([g_weight, g["weight"][len(weight) :]])
        slopes = [np.exp(-np.logaddexp(0, -beta)) for beta in params["beta"]]
        betas = [np.reshape(g * slope, ()) for g, slope in zip(cotangent[size:], slopes)]
        found = {"net": net, "beta": betas}
        # No gradient reaches the state of the power iteration.
        return {**found, "u": [np.zeros_like(u) for u in params["u"]]} if "u" in params else found

    matrices = dim * dim * (3 if terms else 1)
    return Instruction(
        (kernels.residual, kernels.residual_vjp),
        direction,
        [dim, terms, len(widths), *widths],
        size=size + len(flow.hidden),
        tape=3 * units + matrices + dim * hidden + widest,
        scratch=units + 2 * widest,
        pack=pack,
        unpack=unpack,
        factorises=widest >= LARGE,
    )


def _leading(weight):
    """Return the left singular vector of the largest singular value."""
    if len(weight) <= weight.shape[1]:
        return np.linalg.eigh(weight @ weight.T)[1][:, -1]
    return weight @ np.linalg.eigh(weight.T @ weight)[1][:, -1]


def _through_norm(weight, u, coefficient, g):
    """Return the VJP of W' = W c / s for s > c, with s = |u W| / |u|.

    ds = u^T dW v / |u| with v = W^T u / |W^T u|. For the singular vector u that is the derivative
    of the largest singular value.
    """
    v = u @ weight
    length, along = np.sqrt(u @ u), np.sqrt(v @ v)
    norm = along / length
    if not norm > coefficient:
        return g
    down = np.sum(g * weight) / (norm * length * along)
    return coefficient / norm * (g - np.outer(down * u, v))
