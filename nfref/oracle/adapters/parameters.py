"""A library's own derivatives of a flow or density by its parameters."""

import numpy as np

from nfref.runtime.annotations import Any, Callable, DTypeLike, Generator

ROWS = 24  # rows over which the number is averaged


def parameter_gradients(
    adapter: Callable | None,
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
    described: Any = adapter
    if not hasattr(described, "parameter_gradient"):
        raise TypeError(f"parameters: cannot be reached in {type(thing).__name__}")
    given = [rng.standard_normal((ROWS, dim)), rng.standard_normal((ROWS, dim + 1))]
    if context is not None:
        given.append(np.asarray(context)[rng.integers(len(context), size=ROWS)])

    def number(made):
        rows, w, *more = (described.as_array(array.astype(dtype)) for array in given)
        functions = described.functions(made)
        if described.density:
            return (w[:, -1] * functions[0](rows, *more)).mean()
        values, log_det = functions[("forward", "inverse").index(direction)](rows, *more)
        return (w[:, :-1] * values).mean() + (w[:, -1] * log_det).mean()

    return described.parameter_gradient(thing, number, dtype)
