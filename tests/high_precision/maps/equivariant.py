"""Flows of particles (Koehler et al.), one pair and one kernel at a time."""

import mpmath as mp

from nfref.flows.equivariant import EquivariantCNF
from tests.high_precision.calculus import exact, integrate


def shares(u, reach, count):
    """Return the share of each of ``count`` Gaussian kernels from 0 to ``reach``."""
    step = mp.mpf(reach) / (count - 1)
    heights = [mp.exp(-(((u - k * step) / step) ** 2)) for k in range(count)]
    return [height / mp.fsum(heights) for height in heights]


def equivariant(flow, params, z, context):
    weights, n = exact(params["weights"]), flow.dim // flow.particles

    def velocity(t, x):
        hours = shares(t, 1, flow.times)
        moved = [mp.mpf(0)] * len(x)
        for i in range(flow.particles):
            for j in range(i):
                r = [x[n * i + k] - x[n * j + k] for k in range(n)]
                near = shares(mp.sqrt(mp.fsum(a * a for a in r)), flow.reach, flow.kernels)
                strength = mp.fsum(
                    share * mp.fsum(w * hour for w, hour in zip(row, hours))
                    for share, row in zip(near, weights)
                )
                for k in range(n):
                    moved[n * i + k] += strength * r[k]
                    moved[n * j + k] -= strength * r[k]
        return moved

    return integrate(velocity, z, pieces=2)


MAPS = {EquivariantCNF: equivariant}

CONFIGURATIONS = {
    "equivariant": EquivariantCNF(
        2, 2, kernels=2, reach=6.0, times=2, solver="dop853", rtol=1e-12, atol=1e-12
    )
}
