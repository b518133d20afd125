"""Small flows with written-out parameters: the subjects of golden vectors and precision table.

The flows stand beside their maps, in :mod:`tests.high_precision.maps`. Their numbers follow from
their names, so a new flow changes no other's. There are no random numbers: parameters are dyadic
fractions from a short recurrence, exact in float32 too, so every version of every library sees the
same ones.
"""

from dataclasses import dataclass
from zlib import crc32

import numpy as np

from nfref.flow import Flow
from nfref.flows.equivariant import EquivariantCNF
from nfref.flows.exponential_map import ExponentialMap
from nfref.flows.sphere import SphereSpline
from nfref.runtime import params as trees
from tests.high_precision.maps import CONFIGURATIONS

# Maps of directions have no derivative at the origin, and those of particles have kinks where all
# meet; they get an opposite point instead.
NOT_AT_ORIGIN = (EquivariantCNF, ExponentialMap, SphereSpline)


def fractions(size, seed):
    """Return ``size`` odd multiples of 1/128 between -1 and 1, from x -> 75 x + 74 mod 65537.

    None of them is zero: a bias of zero would put the origin on the kink of a relu.
    """
    state, values = 1 + seed, []
    for _ in range(size):
        state = (75 * state + 74) % 65537
        values.append((2 * (state % 128) - 127) / 128)
    return np.array(values)


@dataclass(frozen=True)
class Configuration:
    """A flow with its parameters and a few latent rows.

    Attributes
    ----------
    flow : Flow
    params : nested dicts and lists of float64 arrays
    z : (N, D) array, (N, d) for an injective flow
        Two bulk rows, the origin (for maps of directions another row), and one row far out.
    context : (N, C) array or None
    """

    flow: Flow
    params: object
    z: np.ndarray
    context: np.ndarray


def configuration(flow, seed):
    """Fill the parameters of ``flow`` and choose its rows."""
    shapes = flow.init(np.random.default_rng(0))  # only the shapes are used
    vector, unflatten = trees.flatten(shapes)
    params = trees.tree_map(np.array, unflatten(fractions(vector.size, seed)))
    for node in _dicts(params):
        if "running_variance" in node:  # a variance is above zero
            node["running_variance"] = 0.25 + np.abs(node["running_variance"])
    rows = fractions(2 * flow.latent_dim, seed + 1).reshape(2, flow.latent_dim)
    third = -rows[1:] if isinstance(flow, NOT_AT_ORIGIN) else 0 * rows[1:]
    z = np.concatenate([2 * rows, third, 8 * rows[:1]])
    context = (
        fractions(4 * flow.context_dim, seed + 2).reshape(4, flow.context_dim)
        if flow.context_dim
        else None
    )
    return Configuration(flow, params, z, context)


def _dicts(params):
    if isinstance(params, dict):
        yield params
    children = params.values() if isinstance(params, dict) else params
    for child in children if isinstance(params, (dict, list)) else ():
        yield from _dicts(child)


def configurations():
    """name -> :class:`Configuration`, in alphabetical order."""
    return {
        name: configuration(flow, seed=crc32(name.encode()))
        for name, flow in sorted(CONFIGURATIONS.items())
    }
