"""Marginal splines: one cubic after the other, by its four coefficients."""

import mpmath as mp

from nfref.flows.marginal_spline import MarginalSpline
from tests.high_precision.calculus import exact
from tests.high_precision.maps.transformers import root


def marginal_spline(flow, params, z, context):
    """Solve z = a t^3 + b t^2 + c t + z_k for t = x - x_k; outside of the knots a line."""
    first, z_first = exact(params["x_first"]), exact(params["z_first"])
    widths, heights = (
        [[mp.exp(value) for value in row] for row in exact(params[name])]
        for name in ("log_widths", "log_heights")
    )
    x = []
    for i, target in enumerate(z):
        w, h = [row[i] for row in widths], [row[i] for row in heights]
        s = [height / width for height, width in zip(h, w)]
        parabola = [
            (w[k + 1] * s[k] + w[k] * s[k + 1]) / (w[k] + w[k + 1]) for k in range(len(w) - 1)
        ]
        d = [s[0], *(2 * min(s[k], s[k + 1], parabola[k] / 2) for k in range(len(w) - 1)), s[-1]]
        left, low = first[i], z_first[i]
        if target < low:
            x.append(left + (target - low) / d[0])
            continue
        for k in range(len(w)):
            if target <= low + h[k]:
                a = (d[k] + d[k + 1] - 2 * s[k]) / w[k] ** 2
                b = (3 * s[k] - 2 * d[k] - d[k + 1]) / w[k]
                c = d[k]
                x.append(
                    left
                    + root(
                        lambda t, a=a, b=b, c=c, low=low: ((a * t + b) * t + c) * t + low,
                        target,
                        0,
                        w[k],
                    )
                )
                break
            left, low = left + w[k], low + h[k]
        else:
            x.append(left + (target - low) / d[-1])
    return x


MAPS = {MarginalSpline: marginal_spline}

CONFIGURATIONS = {"marginal_spline": MarginalSpline(2, bins=3)}
