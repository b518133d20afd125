"""Other libraries' flows as plain functions on NumPy arrays, in nfref's direction.

Every adapter returns a dictionary of arguments for :func:`check_flow` or :func:`check_density`:

>>> report = check_flow(**adapters.from_nflows(transform), dim=3, rng=rng)  # doctest: +SKIP

``forward`` maps latent z to data x. The objects of nflows, FrEIA and zuko's flows map data to
latent variables; the adapters turn them around. ``gradient`` holds the library's own derivatives of
log_det and log_prob by rows and context. An adapter imports its library when it is called, and
copies an object before it changes the dtype.
"""

from functools import partial

import numpy as np

from nfref.oracle.adapters.jax_arrays import jax_function
from nfref.oracle.adapters.jax_libraries import (
    from_distrax,
    from_distrax_distribution,
    from_flowjax,
    from_flowjax_distribution,
    from_jax,
    from_numpyro,
    from_numpyro_distribution,
    from_tfp,
    from_tfp_distribution,
)
from nfref.oracle.adapters.nfref_flows import (
    from_nfref,
    from_nfref_density,
    random_density,
    random_flow,
)
from nfref.oracle.adapters.shapes import BY_NAME, event_shapes, with_event_shape
from nfref.oracle.adapters.torch_arrays import TORCH, torch_function
from nfref.oracle.adapters.torch_libraries import (
    from_freia,
    from_nflows,
    from_nflows_distribution,
    from_normflows,
    from_normflows_distribution,
    from_torch,
    from_torch_distribution,
    from_torch_transform,
    from_zuko,
    from_zuko_distribution,
)
from nfref.oracle.adapters.user_objects import (
    functions_of,
    is_torch_module,
    own_functions,
    with_twin,
)
from nfref.runtime.annotations import Any, Array, Callable, DTypeLike, Generator

__all__ = [
    "from_distrax",
    "from_distrax_distribution",
    "from_flowjax",
    "from_flowjax_distribution",
    "from_freia",
    "from_jax",
    "from_nflows",
    "from_nflows_distribution",
    "from_nfref",
    "from_nfref_density",
    "from_normflows",
    "from_normflows_distribution",
    "from_numpyro",
    "from_numpyro_distribution",
    "from_tfp",
    "from_tfp_distribution",
    "from_torch",
    "from_torch_distribution",
    "from_torch_transform",
    "from_zuko",
    "from_zuko_distribution",
    "jax_function",
    "maker",
    "of",
    "parameter_gradients_of",
    "torch_function",
    "with_event_shape",
]


BY_NAME["nfref.flow.Flow"] = random_flow
BY_NAME.update(dict.fromkeys(("nfref.density.Density", "nfref.bases.base.Base"), random_density))
ROWS = 24  # over which a number that parameters determine is averaged


def of(
    thing: Any,
    *,
    rng: Generator,
    dtype: DTypeLike = np.float64,
    context: Array | None = None,
    event_shape: Any = None,
    train: bool = False,
) -> dict[str, Any]:
    """Return the arguments of a check, from the adapter for the module of the object's class.

    Parameters
    ----------
    thing : object
        A flow of nfref (with random parameters), a transform or a distribution of another
        library; a module or another object of your own with ``log_prob`` and ``sample``, or
        with ``forward`` and ``inverse``; a pair of functions of NumPy, torch or JAX (the last
        are compiled); a dictionary of arguments, or one callable.
    rng : numpy.random.Generator
    dtype : numpy dtype
    context : (M, C) array, optional
        Rows of context for the object.
    event_shape : tuple of int, or pair of such tuples, optional
        The shape of one event, such as (C, H, W), if it is no vector; a pair if z and x have
        different shapes (:func:`with_event_shape`). The check uses rows of ``dim`` numbers, and
        the object gets them in that shape.
    train : bool
        Leave a flow of torch in training mode; evaluation otherwise.

    Returns
    -------
    dict

    Raises
    ------
    TypeError
        If nothing fits, or it cannot be conditioned.
    """
    functions = _functions(thing, rng, dtype, context, train)
    if context is not None and functions.get("context") is None:
        functions = {**functions, "context": np.asarray(context)}
    return functions if event_shape is None else with_event_shape(functions, event_shape)


def maker(
    construct: Callable[..., Any],
    *,
    rng: Generator,
    dtype: DTypeLike = np.float64,
    train: bool = True,
    context: Array | None = None,
    event_shape: Any = None,
) -> Callable[..., Any]:
    """Return a function that makes a new flow and adapts it: ``make=`` of ``check_flow``.

    ``construct`` returns what :func:`of` understands; the other arguments are those of :func:`of`.
    Each flow gets a generator of the same seed.
    """
    seed = int(rng.integers(2**32))

    def made(shape):
        adapt = partial(of, construct(), rng=np.random.default_rng(seed), dtype=dtype)
        return adapt(context=context, event_shape=shape, train=train)

    def make():
        shape = event_shape
        if shape is not None:  # another flow finds it, so that this one stays fresh
            shape = event_shapes(made(None), shape)
        return made(shape)

    return make


def parameter_gradients_of(
    thing: Any,
    *,
    dim: int,
    rng: Generator,
    dtype: DTypeLike = np.float64,
    direction: str = "inverse",
    context: Array | None = None,
) -> dict[str, Any]:
    """Return the library's own derivatives by its parameters, for ``check_parameter_gradients``.

    The differentiated number is a random weighting of values and log_det (of log_prob, for a
    density) over some rows. If the library detaches a log_det from its parameters, or from the
    values, the derivative differs from the differences.

    >>> report = check_parameter_gradients(                                 # doctest: +SKIP
    ...     **adapters.parameter_gradients_of(flow, dim=3, rng=rng), rng=rng)

    Parameters
    ----------
    thing : object
        A module of torch with the interface of nflows, normflows, FrEIA, Pyro or zuko; a
        bijection or a distribution of flowjax; a bijector of distrax or TFP.
    dim : int
    rng : numpy.random.Generator
    dtype : numpy dtype
    direction : {"inverse", "forward"}
        The direction of a flow that is differentiated.
    context : (M, C) array, optional

    Returns
    -------
    dict
        ``loss``, ``gradient`` and ``params``.

    Raises
    ------
    TypeError
        If its parameters cannot be reached.
    """
    adapter = _adapter_of(thing)
    if not hasattr(adapter, "library"):
        raise TypeError(f"parameters: cannot be reached in {type(thing).__name__}")
    given = [rng.standard_normal((ROWS, dim)), rng.standard_normal((ROWS, dim + 1))]
    if context is not None:
        given.append(np.asarray(context)[rng.integers(len(context), size=ROWS)])
    arrays = [array.astype(dtype) for array in given]

    def number(made, rows, w, *more):
        functions = adapter.functions(made)
        if adapter.density:
            return (w[:, -1] * functions[0](rows, *more)).mean()
        values, log_det = functions[("forward", "inverse").index(direction)](rows, *more)
        return (w[:, :-1] * values).mean() + (w[:, -1] * log_det).mean()

    return adapter.library.parameter_gradient(thing, number, dtype, *arrays)


def _functions(thing, rng, dtype, context, train):
    if isinstance(thing, dict):
        return thing
    if isinstance(thing, (tuple, list)) and all(callable(part) or part is None for part in thing):
        return functions_of((*thing, None)[:2], dtype)
    adapter = _adapter_of(thing)
    if adapter in (random_flow, random_density):
        return adapter(thing, rng, dtype, context)
    if adapter is not None:
        if context is not None and not adapter.conditional:
            raise TypeError(f"context: {type(thing).__name__} takes no context")
        make = partial(adapter, context=context, train=train)
        return with_twin(make, thing, dtype, adapter.library.in_dtype)
    if is_torch_module(thing):
        return with_twin(partial(own_functions, train=train), thing, dtype, TORCH.in_dtype)
    own = own_functions(thing, dtype)
    if own is not None:
        return own
    if callable(thing) and not isinstance(thing, type):
        return functions_of((thing, None), dtype)
    if isinstance(thing, type):
        words = "is a class: give an instance, or a function and --make (make=)"
        raise TypeError(f"{thing.__name__} {words}")
    words = f"a flow, a transform, a distribution or a callable, got {type(thing).__name__}"
    if hasattr(thing, "score_samples") or hasattr(thing, "rvs"):
        words += "; check_estimator_density (--density TABLE) takes it"
    raise TypeError(f"expected {words}")


def _adapter_of(thing):
    """Return the adapter for an object; None if none fits."""
    for kind in type(thing).__mro__:
        name = f"{kind.__module__}.{kind.__name__}"
        for start, adapter in BY_NAME.items():
            if name.startswith(start):
                return adapter
    return None
