"""Coupling (NICE, RealNVP): staying coordinates determine the map of the others."""

from nfref.flows.coupling import NICE, Coupling, RealNVP
from nfref.transformers.additive import Additive
from nfref.transformers.affine import Affine
from tests.high_precision.maps.composition import chain
from tests.high_precision.maps.networks import network, read_by_network
from tests.high_precision.maps.transformers import transform


def coupling_outputs(flow, params, z, context):
    """Return the network's numbers for each changing coordinate."""
    places = [i for i in range(flow.dim) if flow.mask[i]]
    stay = read_by_network(
        [z[i] for i in places], [k for k, i in enumerate(places) if i in flow.periodic]
    )
    changing = [i for i in range(flow.dim) if not flow.mask[i]]
    outputs = network(params["net"], stay + context, flow.activation)
    return {i: outputs[k :: len(changing)] for k, i in enumerate(changing)}


def coupling(flow, params, z, context):
    outputs = coupling_outputs(flow, params, z, context)
    x = list(z)
    for k, (i, raw) in enumerate(outputs.items()):
        x[i] = transform(flow, params, k, raw, z[i])
    return x


MAPS = {Coupling: coupling, NICE: chain, RealNVP: chain}

CONFIGURATIONS = {
    "additive_coupling": Coupling((True, False, True), Additive(), hidden=(4,), activation="relu"),
    "affine_coupling": Coupling((True, False, False), hidden=(4, 3), activation="tanh"),
    "affine_coupling_context": Coupling(
        (False, True), hidden=(4,), context_dim=1, activation="relu"
    ),
    "coupling_tanh": Coupling((True, False, False), Affine("tanh"), hidden=(3,), activation="relu"),
    "nice": NICE(3, layers=3, hidden=(4,), activation="relu"),
    "real_nvp": RealNVP(3, layers=3, hidden=(4,), activation="relu"),
    "real_nvp_batch_norm": RealNVP(
        2, layers=2, hidden=(3,), activation="softplus", batch_norm=True
    ),
}
