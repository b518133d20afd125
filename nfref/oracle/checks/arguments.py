"""Checks of the oracle's own arguments."""

import numpy as np

from nfref.runtime import params as trees
from nfref.runtime.annotations import Any, Array, DTypeLike, Generator, Sequence
from nfref.runtime.checks import check_callable, check_count, check_positive, check_rng


def checked_skip(skip: Sequence[str], properties: dict[str, str]) -> tuple[str, ...]:
    """Return the names of properties to leave out, as a tuple; an unknown one is an error."""
    names = (skip,) if isinstance(skip, str) else tuple(skip)
    for name in names:
        if name not in properties:
            raise ValueError(f"skip: expected names of properties, got {name!r}")
    return names


def check_callables(**functions: Any) -> None:
    """Check that arguments are callable or None."""
    for name, function in functions.items():
        if function is not None:
            check_callable(name, function)


def bytes_of(parameters: Any) -> list[bytes] | None:
    """Return the bytes of every array of nested parameters, or of a function's result."""
    if parameters is None:
        return None
    tree = parameters() if callable(parameters) else parameters
    return [np.asarray(leaf).tobytes() for leaf in trees.leaves(tree)]


def checked_setting(
    dim: int, rng: Generator, seconds: float, dtype: DTypeLike, context: Any
) -> tuple[np.dtype[Any], Array | None]:
    """Return the dtype, and the context as an (M, C) array of it or None."""
    check_count("dim", dim)
    check_rng(rng)
    check_positive("seconds", seconds)
    dtype = np.dtype(dtype)
    if dtype not in (np.dtype(np.float64), np.dtype(np.float32)):
        raise ValueError(f"dtype: expected float64 or float32, got {dtype}")
    if context is not None:
        context = np.asarray(context, dtype=dtype)
        if context.ndim != 2 or not len(context):
            raise ValueError(f"context: expected shape (M, C), got {context.shape}")
    return dtype, context
