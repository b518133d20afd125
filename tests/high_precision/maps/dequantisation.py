"""Variational dequantisation (Flow++, section 3.1): from a density's row to uniform noise."""

import mpmath as mp

from nfref.flows.composition import Chain, Invert
from nfref.flows.coupling import RealNVP
from nfref.flows.dequantisation import VariationalDequantisation
from nfref.flows.elementwise import Standardise
from tests.high_precision.maps.composition import invert


def evened(flow, params, z, context):
    """Map the noise in each number's cell through the inverse of the noise flow."""
    n = [mp.floor(value) for value in z]
    v = [mp.log(value - whole) - mp.log(1 - value + whole) for value, whole in zip(z, n)]
    seen = [(2 * whole + 1) / flow.levels - 1 for whole in n]
    v = invert(Invert(flow.noise), params, v, seen + context)
    return [whole + 1 / (1 + mp.exp(-value)) for whole, value in zip(n, v)]


MAPS = {VariationalDequantisation: evened}

# Every configuration has the origin as a row, where a layer of cells jumps.
CONFIGURATIONS = {
    "dequantisation": Chain(
        (
            Standardise((0.3, 1.7), (1.0, 2.0)),
            VariationalDequantisation(RealNVP(2, layers=1, hidden=(2,), context_dim=2), levels=4),
        )
    )
}
