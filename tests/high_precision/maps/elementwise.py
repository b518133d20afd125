"""Maps that act on one coordinate at a time."""

import mpmath as mp

from nfref.flows.elementwise import ElementwiseAffine, Logit, Scale, Standardise
from tests.high_precision.calculus import exact


def scale(flow, params, z, context):
    return [zi * mp.exp(s) for zi, s in zip(z, exact(params["log_scale"]))]


def elementwise_affine(flow, params, z, context):
    return [
        zi * mp.exp(s) + t
        for zi, s, t in zip(z, exact(params["log_scale"]), exact(params["shift"]))
    ]


def standardise(flow, params, z, context):
    return [mp.mpf(mean) + mp.mpf(std) * zi for zi, mean, std in zip(z, flow.mean, flow.std)]


def logit(flow, params, z, context):
    return [
        zi if low is None else low + (mp.mpf(high) - low) / (1 + mp.exp(-zi))
        for zi, low, high in zip(z, flow.lower, flow.upper)
    ]


MAPS = {Scale: scale, ElementwiseAffine: elementwise_affine, Standardise: standardise, Logit: logit}

CONFIGURATIONS = {
    "scale": Scale(3),
    "elementwise_affine": ElementwiseAffine(3),
    "standardise": Standardise((0.5, -2.0, 100.0), (0.25, 3.0, 10.0)),
    "logit": Logit((0.0, None, -1.0), (1.0, None, 3.0)),
}
