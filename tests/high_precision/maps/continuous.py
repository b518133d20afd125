"""Continuous (neural ODE): dz/dt = f(z, t, c) from t = 0 to 1."""

from nfref.flows.continuous import CNF
from tests.high_precision.calculus import integrate
from tests.high_precision.maps.networks import network


def continuous(flow, params, z, context):
    return integrate(lambda t, at: network(params["net"], at + [t] + context, flow.activation), z)


MAPS = {CNF: continuous}

CONFIGURATIONS = {"cnf": CNF(2, hidden=(2,), solver="dop853", rtol=1e-12, atol=1e-12)}
