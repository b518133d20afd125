"""Batch norm (MAF, appendix B), with its stored statistics."""

import mpmath as mp

from nfref.flows.batch_norm import BatchNorm
from tests.high_precision.calculus import exact


def batch_norm(flow, params, z, context):
    mean, variance = exact(params["running_mean"]), exact(params["running_variance"])
    beta, gamma = exact(params["shift"]), exact(params["log_scale"])
    return [
        (z[i] - beta[i]) * mp.exp(-gamma[i]) * mp.sqrt(variance[i] + mp.mpf(flow.epsilon)) + mean[i]
        for i in range(flow.dim)
    ]


MAPS = {BatchNorm: batch_norm}

CONFIGURATIONS = {"batch_norm": BatchNorm(3)}
