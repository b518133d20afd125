"""Hinges: z = A + p u + q sqrt(width^2 + u^2) is a quadratic equation for u = x - m."""

import mpmath as mp

from nfref.flows.hinge import Hinge
from tests.high_precision.calculus import exact


def hinge(flow, params, z, context):
    columns = [
        exact(params[name]) for name in ("location", "shift", "log_left", "log_right", "log_width")
    ]
    x = []
    for zi, m, b, log_left, log_right, log_width in zip(z, *columns):
        left, right, width = mp.exp(log_left), mp.exp(log_right), mp.exp(log_width)
        p, q = (right + left) / 2, (right - left) / 2
        y = zi - b + q * width  # = p u + q sqrt(width^2 + u^2), so (y - p u)^2 = q^2 (...)
        a, half_b, c = p**2 - q**2, -p * y, y**2 - (q * width) ** 2
        root = mp.sqrt(half_b**2 - a * c)
        # Take the solution for which y - p u has the sign of q.
        roots = [(-half_b + root) / a, (-half_b - root) / a]
        u = min(roots, key=lambda u: abs(p * u + q * mp.sqrt(width**2 + u**2) - y))
        x.append(m + u)
    return x


MAPS = {Hinge: hinge}

CONFIGURATIONS = {"hinge": Hinge(3)}
