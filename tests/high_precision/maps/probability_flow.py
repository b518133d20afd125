"""The probability flow of a diffused mixture (score SDE), one component at a time."""

import mpmath as mp

from nfref.flows.probability_flow import ProbabilityFlow
from tests.high_precision.calculus import exact, integrate


def probability_flow(flow, params, z, context):
    logits, means, log_scales = (exact(params[name]) for name in ("logits", "means", "log_scales"))
    weights = [mp.exp(logit) for logit in logits]
    squares = [[mp.exp(2 * s) for s in row] for row in log_scales]
    low, high = mp.mpf(flow.beta_min), mp.mpf(flow.beta_max)

    def velocity(t, y):
        s = 1 - t
        alpha = mp.exp(-(s * low + s**2 * (high - low) / 2) / 2)
        density, slope = mp.mpf(0), [mp.mpf(0)] * len(y)
        for weight, mean, square in zip(weights, means, squares):
            variance = [alpha**2 * q + 1 - alpha**2 for q in square]
            off = [yi - alpha * m for yi, m in zip(y, mean)]
            part = (
                weight
                * mp.exp(-mp.fsum(o * o / v for o, v in zip(off, variance)) / 2)
                / mp.sqrt(mp.fprod(variance))
            )
            density += part
            slope = [total - part * o / v for total, o, v in zip(slope, off, variance)]
        return [(low + s * (high - low)) / 2 * (yi + g / density) for yi, g in zip(y, slope)]

    return integrate(velocity, z)


MAPS = {ProbabilityFlow: probability_flow}

# Its rates are low, because the extrapolation needs velocities that change slowly.
CONFIGURATIONS = {
    "probability_flow": ProbabilityFlow(1, components=2, beta_max=1.0, rtol=1e-12, atol=1e-12)
}
