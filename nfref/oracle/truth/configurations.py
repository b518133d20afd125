"""Small flows with written-out parameters: what the golden vectors and the precision table run on.

No random numbers: parameters are dyadic fractions from a short recurrence, exact in float32
too, so that every version of every library sees the same ones.
"""

from dataclasses import dataclass

import numpy as np

from nfref import params as trees
from nfref.flow import Chain, Flow
from nfref.flows.autoregressive import IAF, MADE, MAF
from nfref.flows.batch_norm import BatchNorm
from nfref.flows.continuous import CNF
from nfref.flows.coupling import NICE, Coupling, RealNVP
from nfref.flows.elementwise import ElementwiseAffine, Logit, Scale, Standardise
from nfref.flows.glow import Glow, OnFirst
from nfref.flows.image_layers import (ActNorm, ChannelAffine, ChannelCoupling, InvertibleConv,
                                      SplitPrior, Squeeze)
from nfref.flows.linear import FixedLinear, Linear, LULinear, Permutation
from nfref.flows.neural_spline import NSF
from nfref.flows.planar import Planar, PlanarLayer
from nfref.transformers.additive import Additive
from nfref.transformers.affine import Affine


def fractions(size, seed):
    """``size`` odd multiples of 1/128 between -1 and 1, from x -> 75 x + 74 mod 65537.

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
    z : (N, D) array
        Two bulk rows, the origin, and one row far out.
    context : (N, C) array or None
    """

    flow: Flow
    params: object
    z: np.ndarray
    context: np.ndarray


def configuration(flow, seed):
    """Fill the parameters of ``flow`` and choose its rows."""
    shapes = flow.init(np.random.default_rng(0))    # only the shapes are used
    vector, unflatten = trees.flatten(shapes)
    params = trees.tree_map(np.array, unflatten(fractions(vector.size, seed)))
    for node in _dicts(params):
        if "running_variance" in node:      # a variance is above zero
            node["running_variance"] = 0.25 + np.abs(node["running_variance"])
    rows = fractions(2 * flow.dim, seed + 1).reshape(2, flow.dim)
    z = np.concatenate([2 * rows, np.zeros((1, flow.dim)), 8 * rows[:1]])
    context = (fractions(4 * flow.context_dim, seed + 2).reshape(4, flow.context_dim)
               if flow.context_dim else None)
    return Configuration(flow, params, z, context)


def _dicts(params):
    if isinstance(params, dict):
        yield params
    children = params.values() if isinstance(params, dict) else params
    for child in children if isinstance(params, (dict, list)) else ():
        yield from _dicts(child)


FLOWS = {
    "scale": Scale(3),
    "elementwise_affine": ElementwiseAffine(3),
    "standardise": Standardise((0.5, -2.0, 100.0), (0.25, 3.0, 10.0)),
    "logit": Logit((0.0, None, -1.0), (1.0, None, 3.0)),
    "batch_norm": BatchNorm(3),
    "permutation": Permutation((2, 0, 1)),
    "fixed_linear": FixedLinear(((0.5, -1.0), (2.0, 0.25))),
    "linear": Linear(3),
    "lu_linear": LULinear(3, permutation=(1, 2, 0), signs=(1, -1, 1)),
    "squeeze": Squeeze((1, 2, 4)),
    "actnorm": ActNorm((2, 1, 2)),
    "invertible_conv": InvertibleConv((2, 1, 2), "full"),
    "invertible_conv_lu": InvertibleConv((3, 2, 1), "lu", (2, 0, 1), (1, -1, 1)),
    "channel_coupling": ChannelCoupling((2, 2, 2), hidden=(2,), context_dim=1),
    "split_prior": SplitPrior((2, 1, 2)),
    "on_first": OnFirst(LULinear(2), 3),
    "glow": Glow((1, 2, 2), levels=1, steps=2, hidden=(2,),
                 pivots=(((2, 0, 3, 1), (1, -1, 1, 1)), ((0, 1, 2, 3), (1, 1, -1, -1)))),
    "planar_layer": PlanarLayer(3),
    "planar_layer_context": PlanarLayer(2, context_dim=2),
    "planar": Planar(2, layers=3),
    "additive_coupling": Coupling((True, False, True), Additive(), hidden=(4,)),
    "affine_coupling": Coupling((True, False, False), hidden=(4, 3), activation="tanh"),
    "affine_coupling_context": Coupling((False, True), hidden=(4,), context_dim=1),
    "nice": NICE(3, layers=3, hidden=(4,)),
    "real_nvp": RealNVP(3, layers=3, hidden=(4,)),
    "real_nvp_batch_norm": RealNVP(2, layers=2, hidden=(3,), activation="softplus",
                                   batch_norm=True),
    "made": MADE(3, hidden=(4, 4)),
    "made_context": MADE(3, hidden=(4,), order=(2, 0, 1), context_dim=1, activation="tanh"),
    "maf": MAF(3, layers=2, hidden=(4,)),
    "iaf": IAF(2, layers=2, hidden=(3,)),
    "chain": Chain((RealNVP(2, layers=2, hidden=(3,)), Standardise((1.0, -1.0), (2.0, 0.5)))),
    "cnf": CNF(2, hidden=(2,), solver="dop853", rtol=1e-12, atol=1e-12),
    "channel_affine": ChannelAffine((2, 1, 2)),
    "coupling_tanh": Coupling((True, False, False), Affine("tanh"), hidden=(3,)),
    "channel_sigmoid": ChannelCoupling((2, 1, 2), (2,), transformer=Affine("sigmoid")),
    "made_exp": MADE(3, (4,), Affine("exp"), activation="tanh", degrees=((2, 1, 1, 2),)),
    "iaf_gate": IAF(2, layers=2, hidden=(3,), transformer=Affine("gate")),
    "nsf_autoregressive": NSF(2, layers=2, hidden=(3,), bins=3),
    "nsf_coupling": NSF(3, layers=2, hidden=(3,), bins=3, coupling=True, activation="tanh",
                        linear="lu"),
}


def configurations():
    """name -> :class:`Configuration`, in a fixed order."""
    return {name: configuration(flow, seed=100 * k)
            for k, (name, flow) in enumerate(FLOWS.items())}
