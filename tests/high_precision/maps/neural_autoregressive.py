"""Monotone networks as transformers: chains of MADE, and a coupling."""

from nfref.flows.coupling import Coupling
from nfref.flows.neural_autoregressive import NAF, UMNN
from nfref.transformers.logistic_mixture import LogisticMixture
from tests.high_precision.maps.composition import chain

MAPS = {NAF: chain, UMNN: chain}

CONFIGURATIONS = {
    "naf": NAF(2, layers=2, hidden=(1,), units=2, activation="tanh"),
    "umnn": UMNN(1, layers=1, hidden=(1,), units=2, nodes=16, bound=2.0, activation="tanh"),
    "coupling_logistics": Coupling(
        (True, False), LogisticMixture(2), hidden=(1,), activation="tanh"
    ),
}
