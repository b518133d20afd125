"""Planar (Rezende and Mohamed, section 4.1 and appendix A.1)."""

import mpmath as mp

from nfref.flows.planar import Planar, PlanarLayer
from tests.high_precision.calculus import exact
from tests.high_precision.maps.composition import chain
from tests.high_precision.maps.networks import dot


def planar(flow, params, z, context):
    u, w, b = exact(params["u"]), exact(params["w"]), exact(params["b"])[0]
    if flow.context_dim:
        columns = list(zip(*exact(params["from_context"])))
        change = [dot(column, context) for column in columns]
        u = [value + change[i] for i, value in enumerate(u)]
        w = [value + change[flow.dim + i] for i, value in enumerate(w)]
        b = b + change[2 * flow.dim]
    w_u, w_w = dot(w, u), dot(w, w)
    m = -1 + mp.log(1 + mp.exp(w_u))
    u_hat = [ui + (m - w_u) * wi / w_w for ui, wi in zip(u, w)] if w_w else u
    h = mp.tanh(dot(w, z) + b)
    return [zi + ui * h for zi, ui in zip(z, u_hat)]


MAPS = {PlanarLayer: planar, Planar: chain}

CONFIGURATIONS = {
    "planar_layer": PlanarLayer(3),
    "planar_layer_context": PlanarLayer(2, context_dim=2),
    "planar": Planar(2, layers=3),
}
