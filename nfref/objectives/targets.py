"""Calls of a user's log p~, with one line for each way in which it can fail."""

import numpy as np

from nfref.continuous.solve import SolverError
from nfref.runtime.annotations import Any, Array, Callable
from nfref.runtime.autograd_internals import getval, isbox
from nfref.runtime.checks import one_line

TRACEABLE = "log_target: expected a function written with autograd.numpy"


def log_density(log_target: Callable[..., Any], x: Array, name: str = "log_target") -> Array:
    """Return log p~ of rows (n, D), of shape (n,); autograd may trace the rows.

    Messages call the function by ``name``.

    Raises
    ------
    ValueError, TypeError
        If the function fails, or its result has the wrong shape, or autograd cannot follow it.
    """
    try:
        values = log_target(x)
    except SolverError:  # of a continuous flow in the target; a fit ends with its parameters
        raise
    except Exception as error:
        found = f"{type(error).__name__}: {one_line(error)}"
        if isbox(x) and _works(log_target, getval(x)):
            raise TypeError(
                f"{TRACEABLE}, got one that fails on traced rows ({found}); write autograd.numpy "
                "for numpy and math, autograd.scipy for scipy"
            ) from error
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name}: expected log-densities, got {found}") from error
    if np.shape(values) != (len(x),):
        raise ValueError(f"{name}: expected to return shape ({len(x)},), got {np.shape(values)}")
    dtype = np.asarray(values).dtype if not isbox(values) else values.dtype
    if isbox(x) and dtype.hasobject:
        raise TypeError(
            f"{TRACEABLE}, got an array of numpy that holds traced numbers; write "
            "autograd.numpy.array, autograd.numpy.where and so on"
        )
    if dtype.kind not in "fiub":
        raise TypeError(f"{name}: expected numbers, got dtype {dtype}")
    return values


def check_values(x: Array, values: Array, name: str = "log_target") -> None:
    """Check that log p~ is below infinity, and no NaN, at all finite rows."""
    values = np.asarray(values)
    bad = np.flatnonzero(np.isfinite(x).all(axis=1) & ~(values < np.inf))
    if len(bad):
        raise ValueError(
            f"{name}: expected numbers below infinity, got {values[bad[0]]} in {len(bad)} of "
            f"{len(x)} rows, the first at {np.array2string(x[bad[0]], precision=3, threshold=6)}"
        )


def _works(log_target, x):
    try:
        return np.shape(log_target(x)) == (len(x),)
    except Exception:
        return False
