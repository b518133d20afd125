"""Neural autoregressive flows: chains of MADE with monotone networks as transformers."""

from nfref.flows.neural_autoregressive import NAF
from nfref.oracle.truth.maps.composition import chain

MAPS = {NAF: chain}

CONFIGURATIONS = {
    "naf": NAF(2, layers=2, hidden=(1,), units=2, activation="tanh"),
}
