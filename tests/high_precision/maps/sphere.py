"""Flows of the sphere: angles by the point, and walks whose start is found by Newton's method."""

import mpmath as mp

from nfref.flows.exponential_map import ExponentialMap
from nfref.flows.sphere import SphereSpline
from tests.high_precision.calculus import exact, solve
from tests.high_precision.maps.lookup import forward


def length(row):
    return mp.sqrt(mp.fsum(value**2 for value in row))


def sphere_spline(flow, params, z, context):
    """Move the angles, the last latitude first; the length stays."""
    angles = [mp.atan2(z[k], length(z[:k])) for k in range(flow.dim - 1, 1, -1)]
    *latitudes, longitude = forward(flow.angles, params, [*angles, mp.atan2(z[1], z[0])], context)
    x, rest = [], length(z)
    for latitude in latitudes:
        x.insert(0, rest * mp.sin(latitude))
        rest *= mp.cos(latitude)
    return [rest * mp.cos(longitude), rest * mp.sin(longitude), *x]


def exponential_map(flow, params, z, context):
    """Solve |x| F(x / |x|) = z, from z itself and in steps of growing weights."""
    centres = [[value / length(row) for value in row] for row in exact(params["centres"])]
    parts = [mp.exp(logit) for logit in exact(params["logits"])]
    weights = [part / (1 + mp.fsum(parts)) for part in parts]
    sharpness = [mp.exp(value) for value in exact(params["log_sharpness"])]

    def walk(x, share):
        radius = length(x)
        x = [value / radius for value in x]
        v = [mp.mpf(0)] * len(x)
        for centre, alpha, beta in zip(centres, weights, sharpness):
            cosine = mp.fsum(a * b for a, b in zip(centre, x))
            pull = share * alpha * mp.exp(beta * (cosine - 1))
            v = [old + pull * (m - cosine * value) for old, m, value in zip(v, centre, x)]
        speed = length(v)
        sine = mp.sin(speed) / speed
        return [radius * (mp.cos(speed) * a + sine * b) for a, b in zip(x, v)]

    x = z
    for k in range(1, 5):
        x = solve(lambda row, k=k: walk(row, mp.mpf(k) / 4), z, x)
    return x


MAPS = {SphereSpline: sphere_spline, ExponentialMap: exponential_map}

CONFIGURATIONS = {
    "sphere_spline": SphereSpline(3, 1, (2,), 2),
    "exponential_map": ExponentialMap(3, 2),
}
