"""nfref's own flows and densities."""

from functools import partial

from nfref.runtime.annotations import Any, Array, Callable, DTypeLike, Generator, Params
from nfref.runtime.backends import backend, chosen


def by_formula(function: Callable) -> Callable:
    """Return the function, computed by formulas or by the backend chosen around this call.

    Without a choice the size of a batch decides between formulas and twins, and one check would
    test a mixture of both. The checks call from other threads, which do not inherit a choice made
    here.
    """
    name = chosen() or "numpy"

    def call(*arguments):
        with backend(name):
            return function(*arguments)

    return call


def from_nfref(flow: Any, params: Params, context: Array | None = None) -> dict[str, Any]:
    """Return the functions of a flow, by formulas unless a backend is chosen."""
    forward, inverse = (by_formula(partial(act, params)) for act in (flow.forward, flow.inverse))
    functions: dict[str, Any] = {"forward": forward, "inverse": inverse}
    functions["twin"] = functions.copy()  # float64 rows are computed in float64
    return functions if context is None else {**functions, "context": context}


def from_nfref_density(density: Any, params: Params) -> dict[str, Any]:
    """Return the functions of a Density or a base with its parameters, as for a flow."""
    return {
        "log_prob": by_formula(partial(density.log_prob, params)),
        "sample": by_formula(partial(density.sample, params)),
    }


def random_flow(
    flow: Any, rng: Generator, dtype: DTypeLike, context: Array | None
) -> dict[str, Any]:
    """Return the functions of a flow with random parameters."""
    params = flow.init(rng)
    if context is None and getattr(flow, "context_dim", 0) > 0:
        context = rng.standard_normal((8, flow.context_dim)).astype(dtype)
    return from_nfref(flow, params, context)


def random_density(density: Any, rng: Generator, *unused: Any) -> dict[str, Any]:
    """Return the functions of a density with random parameters."""
    return from_nfref_density(density, density.init(rng))
