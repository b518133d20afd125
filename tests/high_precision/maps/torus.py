"""Flows of angles, also beside other numbers: the layers of other families, periodic."""

import math

from nfref.flows.autoregressive import MADE
from nfref.flows.coupling import Coupling
from nfref.transformers.affine import Affine
from nfref.transformers.by_coordinate import ByCoordinate
from nfref.transformers.moebius import MoebiusCircle
from nfref.transformers.rational_quadratic import RationalQuadratic

MAPS = {}

CONFIGURATIONS = {
    "torus_coupling": Coupling(
        (True, False), MoebiusCircle(2), hidden=(2,), activation="tanh", periodic=(0, 1)
    ),
    "torus_spline": MADE(
        3,
        (3,),
        RationalQuadratic(2, math.pi, "circular"),
        (1, 2, 0),
        activation="tanh",
        periodic=(0, 1, 2),
    ),
    "cylinder": MADE(
        3,
        (2,),
        ByCoordinate((RationalQuadratic(2, math.pi, "circular"), Affine("exp"), Affine())),
        activation="tanh",
        periodic=(0,),
    ),
}
