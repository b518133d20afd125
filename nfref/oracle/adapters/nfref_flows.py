"""nfref's own flows and densities."""

from functools import partial

from nfref.runtime.backends import backend, chosen


def by_formula(function):
    """The function by the formulas of nfref, or by the backend that is chosen around this call.

    Left to itself a batch takes formulas or twins by its size, and a check of both at once
    would be one of neither. The checks call from threads of their own, which know nothing of
    a choice made here.
    """
    name = chosen() or "numpy"

    def call(*arguments):
        with backend(name):
            return function(*arguments)

    return call


def from_nfref(flow, params, context=None):
    """A flow of nfref with its parameters; its formulas, unless a backend has been chosen."""
    forward, inverse = (by_formula(partial(act, params)) for act in (flow.forward, flow.inverse))
    functions = {"forward": forward, "inverse": inverse}
    functions["twin"] = functions.copy()  # of rows in float64 it computes in float64
    return functions if context is None else {**functions, "context": context}


def from_nfref_density(density, params):
    """A Density or a base of nfref with its parameters; by its formulas, as a flow is."""
    return {
        "log_prob": by_formula(partial(density.log_prob, params)),
        "sample": by_formula(partial(density.sample, params)),
    }


def drawn_flow(flow, rng, dtype, context):
    params = flow.init(rng)
    if context is None and getattr(flow, "context_dim", 0):
        context = rng.standard_normal((8, flow.context_dim)).astype(dtype)
    return from_nfref(flow, params, context)


def drawn_density(density, rng):
    return from_nfref_density(density, density.init(rng))
