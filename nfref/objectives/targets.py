"""Calls of a user's log p~, with one line for each way in which it can fail."""

import builtins
import dis
import importlib
import re
from types import ModuleType

import numpy as np

from nfref.continuous.solve import SolverError
from nfref.runtime.annotations import Any, Array, Callable
from nfref.runtime.autograd_internals import getval, isbox
from nfref.runtime.checks import one_line

LIBRARIES = re.compile(r"[\\/](numpy|scipy|autograd)[\\/]")
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
        if isbox(x) and _works(log_target, getval(x)):
            raise TypeError(f"{TRACEABLE}, got {_untraceable(error)}") from error
        kind = TypeError if isinstance(error, TypeError) else ValueError
        found = f"{type(error).__name__}: {one_line(error)}"
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


def _untraceable(error):
    """Return the call that autograd could not follow, as far as the traceback tells, and advice."""
    frames, step = [], error.__traceback__
    while step is not None:
        frames.append(step)
        step = step.tb_next
    own = [one for one in frames if not LIBRARIES.search(one.tb_frame.f_code.co_filename)][-1]
    advice = "write it with autograd.numpy and autograd.scipy"
    called = _qualified(_name_of_call(own), own.tb_frame)
    if called.split(".")[0] in ("numpy", "scipy", "math"):
        traceable = f"autograd.{called}".replace("autograd.math", "autograd.numpy")
        advice = f"write {traceable}" if _exists(traceable) else advice
    elif called not in ("float", "int", "complex"):
        failure = f"{type(error).__name__}: {one_line(error)}"
        return f"one that fails on traced rows ({failure}); {advice}"
    return f"one that calls {called}; {advice}"


def _name_of_call(step):
    """Return the dotted name of the function that a step of a traceback calls, as it is written.

    It is read from the bytecode, since code typed at a prompt has no file. All parts of the name
    begin where the call begins. Before Python 3.11 places are unknown, and so is the name.
    """
    instructions = dis.get_instructions(step.tb_frame.f_code)
    done = [one for one in instructions if one.offset <= step.tb_lasti and _start(one)]
    if not done or "CALL" not in done[-1].opname:
        return ""
    parts = [one for one in done if one.opname.startswith("LOAD_") and isinstance(one.argval, str)]
    return ".".join(one.argval for one in parts if _start(one) == _start(done[-1]))


def _start(instruction):
    """Return line and column where the source of an instruction begins, if known."""
    positions = getattr(instruction, "positions", None)
    return positions and (positions.lineno, positions.col_offset)


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
