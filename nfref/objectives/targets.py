"""Calls of a user's log p~, with one line for each way in which it can fail."""

import builtins
import importlib
import linecache
import re
import traceback
from types import ModuleType

import numpy as np

from nfref.runtime.annotations import Any, Array, Callable
from nfref.runtime.autograd_internals import getval, isbox
from nfref.runtime.checks import one_line

LIBRARIES = re.compile(r"[\\/](numpy|scipy|autograd)[\\/]")
TRACEABLE = "log_target: expected a function written with autograd.numpy"


def log_density(log_target: Callable[..., Any], x: Array) -> Array:
    """Return log p~ of rows (n, D), of shape (n,); autograd may trace the rows.

    Raises
    ------
    ValueError, TypeError
        If the function fails, or its result has the wrong shape, or autograd cannot follow it.
    """
    try:
        values = log_target(x)
    except Exception as error:
        if isbox(x) and _works(log_target, getval(x)):
            raise TypeError(f"{TRACEABLE}, got {_untraceable(error)}") from error
        kind = TypeError if isinstance(error, TypeError) else ValueError
        name = type(error).__name__
        raise kind(f"log_target: expected log-densities, got {name}: {one_line(error)}") from error
    if np.shape(values) != (len(x),):
        raise ValueError(
            f"log_target: expected to return shape ({len(x)},), got {np.shape(values)}"
        )
    if isbox(x) and getattr(values, "dtype", x.dtype).hasobject:
        raise TypeError(
            f"{TRACEABLE}, got an array of numpy that holds traced numbers; write "
            "autograd.numpy.array, autograd.numpy.where and so on"
        )
    return values


def check_values(x: Array, values: Array) -> None:
    """Check that log p~ is below infinity, and no NaN, at all finite rows."""
    values = np.asarray(values)
    bad = np.flatnonzero(np.isfinite(x).all(axis=1) & ~(values < np.inf))
    if len(bad):
        raise ValueError(
            f"log_target: expected numbers below infinity, got {values[bad[0]]} in {len(bad)} of "
            f"{len(x)} rows, the first at {np.array2string(x[bad[0]], precision=3, threshold=6)}"
        )


def _works(log_target, x):
    try:
        return np.shape(log_target(x)) == (len(x),)
    except Exception:
        return False


def _untraceable(error):
    """Return the call that autograd could not follow, as far as the traceback tells, and advice."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    places = traceback.extract_tb(error.__traceback__)
    own = [k for k, place in enumerate(places) if not LIBRARIES.search(place.filename)][-1]
    advice = "write it with autograd.numpy and autograd.scipy"
    for name in _calls(places[own]):
        called = _qualified(name, frames[own])
        if called.split(".")[0] in ("numpy", "scipy", "math"):
            traceable = f"autograd.{called}".replace("autograd.math", "autograd.numpy")
            return f"one that calls {called}; " + (
                f"write {traceable}" if _exists(traceable) else advice
            )
        if called in ("float", "int", "complex"):
            return f"one that calls {called}; {advice}"
    return f"one that fails on traced rows ({type(error).__name__}: {one_line(error)}); {advice}"


def _calls(place):
    """Return the dotted names of the calls in a line, from the column that failed if known."""
    line = linecache.getline(place.filename, place.lineno)
    return re.findall(r"([A-Za-z_][\w.]*)\(", line[getattr(place, "colno", None) or 0 :])


def _qualified(name, frame):
    """Return the name with its library's, as in "numpy.exp" for "np.exp"; or as it is."""
    root, *rest = name.split(".")
    found = {**vars(builtins), **frame.f_globals, **frame.f_locals}.get(root)
    if isinstance(found, ModuleType):
        return ".".join([found.__name__, *rest])
    for attribute in rest:
        found = getattr(found, attribute, None)
    if isinstance(found, np.ufunc):
        library = "numpy" if found is getattr(np, found.__name__, None) else "scipy.special"
        return f"{library}.{found.__name__}"
    library, own = getattr(found, "__module__", None), getattr(found, "__qualname__", name)
    public = re.sub(r"\._\w+", "", f"{library}.{own}")
    return public if public.split(".")[0] in ("numpy", "scipy", "math") else name


def _exists(name):
    """Return whether a dotted name of autograd, such as "autograd.numpy.exp", exists."""
    parts = name.split(".")
    for split in range(len(parts) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:split]))
        except ImportError:
            continue
        return all(
            (found := getattr(found, attribute, None)) is not None for attribute in parts[split:]
        )
    return False
