"""Radial expansions: the radius by bisection, because ``inverse`` is the explicit direction."""

import mpmath as mp

from nfref.flows.radial_expansion import RadialExpansion
from tests.high_precision.calculus import exact


def radial_expansion(flow, params, z, context):
    centre, width = exact(params["centre"]), mp.exp(exact(params["log_width"])[0])
    beta = mp.exp(exact(params["log_slack"])[0]) - 1
    distance = mp.sqrt(mp.fsum((zi - ci) ** 2 for zi, ci in zip(z, centre)))

    def share(r):
        if flow.profile == "erf":
            return mp.hyp1f1(mp.mpf(1) / 2, mp.mpf(3) / 2, -((r / width) ** 2))
        return 1 / mp.sqrt(1 + (r / width) ** 2)

    def excess(r):
        return r * (1 + beta * share(r)) - distance

    low, high = mp.mpf(0), distance + abs(beta) * width
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) < 0 else (low, middle)
    r = mp.findroot(excess, (low, high), tol=mp.mpf(10) ** (-2 * mp.mp.dps)) if distance else low
    grown = 1 + beta * share(r)
    return [ci + (zi - ci) / grown for zi, ci in zip(z, centre)]


MAPS = {RadialExpansion: radial_expansion}

CONFIGURATIONS = {
    "radial_expansion": RadialExpansion(3),
    "radial_expansion_erf": RadialExpansion(3, "erf"),
}
