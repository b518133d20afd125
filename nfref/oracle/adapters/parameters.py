"""A library's own derivatives of a flow or density by its parameters."""

import numpy as np

from nfref.oracle.adapters import jax_arrays, jax_libraries, torch_arrays, torch_libraries
from nfref.runtime.annotations import Any, Callable, DTypeLike, Generator

ROWS = 24  # rows over which the number is averaged

# Adapter -> the function that turns its objects into functions of tensors or JAX's arrays.
_FLOWS = {
    torch_libraries.from_nflows: torch_libraries.nflows_transform,
    torch_libraries.from_normflows: torch_libraries.normflows_flow,
    torch_libraries.from_freia: torch_libraries.freia_module,
    torch_libraries.from_torch_transform: torch_libraries.torch_transform,
    torch_libraries.from_zuko: torch_libraries.zuko_flow,
    jax_libraries.from_flowjax: jax_libraries.flowjax_bijection,
    jax_libraries.from_distrax: jax_libraries.distrax_bijector,
    jax_libraries.from_tfp: jax_libraries.tfp_bijector,
    jax_libraries.from_numpyro: jax_libraries.numpyro_transform,
}
_DENSITIES = {
    torch_libraries.from_nflows_distribution: torch_libraries.nflows_distribution,
    torch_libraries.from_normflows_distribution: torch_libraries.normflows_distribution,
    torch_libraries.from_zuko_distribution: torch_libraries.zuko_distribution,
    jax_libraries.from_flowjax_distribution: jax_libraries.flowjax_distribution,
}


def parameter_gradients(
    adapter: Callable,
    thing: Any,
    dim: int,
    rng: Generator,
    dtype: DTypeLike,
    direction: str,
    context: Any,
) -> dict[str, Any]:
    """Return arguments of ``check_parameter_gradients`` for an object of a library.

    The differentiated number is a random weighting of values and log_det (of log_prob, for a
    density) over some rows. If the library detaches a log_det from its parameters, or from the
    values, the derivative differs from the differences.
    """
    if adapter not in (*_FLOWS, *_DENSITIES):
        raise TypeError(f"parameters: cannot be reached through {adapter.__name__}")
    x = rng.standard_normal((ROWS, dim)).astype(dtype)
    weights = rng.standard_normal((ROWS, dim + 1)).astype(dtype)
    given = [x]
    if context is not None:
        given.append(np.asarray(context, dtype)[rng.integers(len(context), size=ROWS)])
    in_torch = adapter.__module__ == torch_libraries.__name__

    def arrays():
        if in_torch:
            import torch

            return [torch.from_numpy(array) for array in (*given, weights)]
        import jax

        return [jax.numpy.asarray(array) for array in (*given, weights)]

    def number(made):
        *inputs, w = arrays()
        if adapter in _DENSITIES:
            return (w[:, -1] * _DENSITIES[adapter](made)[0](*inputs)).mean()
        run = _FLOWS[adapter](made)[("forward", "inverse").index(direction)]
        values, log_det = run(*inputs)
        return (w[:, :-1] * values).mean() + (w[:, -1] * log_det).mean()

    library = torch_arrays if in_torch else jax_arrays
    return library.parameter_gradient(thing, number, dtype)
