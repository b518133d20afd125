"""Layers that map each coordinate by a shift and a log-scale: affine maps and normalisations."""

import numpy as np

from nfref.kernels.chain import elementwise as kernels
from nfref.kernels.chain.instructions.instruction import Instruction


def _halves(params, cotangent):
    """Return the cotangents of those of shift and log-scale that are parameters."""
    halves = zip(("shift", "log_scale"), np.split(cotangent, 2))
    return {name: half for name, half in halves if name in params}


def _elementwise(flow, direction, unpack=_halves, plain=False):
    return Instruction(
        (kernels.elementwise, kernels.elementwise_vjp),
        direction,
        [flow.dim],
        size=2 * flow.dim,
        tape=flow.dim,
        pack=flow._affine,
        unpack=unpack,
        plain=plain,
        skips_columns=True,
    )


def elementwise_affine(flow, direction):
    return _elementwise(flow, direction, plain=True)


def scale(flow, direction):
    return _elementwise(flow, direction)


def standardise(flow, direction):
    return _elementwise(flow, direction)


def act_norm(flow, direction):
    pixels = flow.shape[1] * flow.shape[2]

    def unpack(params, cotangent):
        shift, log_scale = cotangent.reshape(2, flow.shape[0], pixels).sum(axis=2)
        return {"shift": shift, "log_scale": log_scale}

    return _elementwise(flow, direction, unpack)


def batch_norm(flow, direction):
    """Use fixed s = log(v + eps)/2 - gamma and t = m - beta e^s in evaluation mode."""
    if flow.mode == "training":
        return _batch_norm_in_training(flow) if direction == -1 else None

    def unpack(params, cotangent):
        g_t, g_s = cotangent[: flow.dim], cotangent[flow.dim :]
        scale = np.exp(flow._affine(params, None)[1])
        g_s = g_s - g_t * params["shift"] * scale
        return {
            "shift": -g_t * scale,
            "log_scale": -g_s,
            "running_mean": g_t,
            "running_variance": 0.5 * g_s / (params["running_variance"] + flow.epsilon),
        }

    return _elementwise(flow, direction, unpack)


def _batch_norm_in_training(flow):
    def unpack(params, cotangent):
        nothing = np.zeros_like(cotangent[flow.dim :])
        found = _halves(params, cotangent)
        return {**found, "running_mean": nothing, "running_variance": nothing}

    return Instruction(
        (),
        -1,
        [flow.dim],
        size=2 * flow.dim,
        tape=flow.dim,
        unpack=unpack,
        reals=(flow.epsilon,),
        pack=lambda params, dtype: [params["shift"], params["log_scale"]],
    )
