"""Neural spline flows: chains of autoregressive or coupling layers with spline transformers."""

from nfref.flows.neural_spline import NSF
from tests.high_precision.maps.composition import chain

MAPS = {NSF: chain}

CONFIGURATIONS = {
    "nsf_autoregressive": NSF(2, layers=2, hidden=(3,), bins=3, activation="relu", bound=3.0),
    "nsf_coupling": NSF(
        3, layers=2, hidden=(3,), bins=3, coupling=True, activation="tanh", bound=3.0, linear="lu"
    ),
}
