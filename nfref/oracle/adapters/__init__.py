"""Other libraries' flows as plain functions on NumPy arrays, in nfref's direction.

:func:`of` returns a dictionary of arguments for :func:`check_flow` or :func:`check_density`:

>>> report = check_flow(**adapters.of(transform, rng=rng), dim=3, rng=rng)  # doctest: +SKIP

``forward`` maps latent z to data x. The objects of nflows, FrEIA and zuko's flows map data to
latent variables; the adapters turn them around. ``gradient`` holds the library's own derivatives of
log_det and log_prob by rows and context. An adapter imports its library when it is called, and
copies an object before it changes the dtype.
"""

from functools import partial

import numpy as np

from nfref.oracle.adapters import jax_libraries  # noqa: F401 (its descriptions enter BY_NAME)
from nfref.oracle.adapters.nfref_flows import (
    from_nfref,
    from_nfref_density,
    random_density,
    random_flow,
)
from nfref.oracle.adapters.shapes import BY_NAME, event_shapes, with_event_shape
from nfref.oracle.adapters.torch_arrays import TORCH
from nfref.oracle.adapters.torch_libraries import from_zuko_distribution
from nfref.oracle.adapters.user_objects import (
    functions_of,
    is_torch_module,
    own_functions,
    with_twin,
)
from nfref.runtime.annotations import Any, Array, Callable, DTypeLike, Generator

__all__ = [
    "from_nfref",
    "from_nfref_density",
    "from_zuko_distribution",
    "maker",
    "of",
    "with_event_shape",
]


BY_NAME["nfref.flow.Flow"] = random_flow
BY_NAME.update(dict.fromkeys(("nfref.density.Density", "nfref.bases.base.Base"), random_density))


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
