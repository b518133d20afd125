"""What autograd is doing with a value: all that nfref knows of its insides.

While autograd takes a derivative, a box stands for each value that it follows. What it offers to
extensions (``autograd.extend``) is imported here for all other modules. What a box holds is not
documented, and is tried once, on import: from boxes misread come gradients that are wrong.
"""

import numpy as np
from autograd import grad, make_jvp

__all__ = [
    "Box",
    "SparseObject",
    "boxes",
    "defjvp",
    "defvjp",
    "defvjp_argnums",
    "getval",
    "is_forward_mode",
    "isbox",
    "notrace_primitive",
    "parts",
    "primitive",
    "vspace",
]


def _another_version(came):
    """The error for an autograd that is not as expected."""
    from importlib.metadata import version  # slow to import, so only on use

    return ImportError(
        "autograd: expected version 1.7 to 1.9, or one that is the same inside, got "
        f"{version('autograd')}; {came}"
    )


try:
    from autograd.extend import (
        Box,
        SparseObject,
        VJPNode,
        defjvp,
        defvjp,
        defvjp_argnums,
        notrace_primitive,
        primitive,
        vspace,
    )
except ImportError as error:
    raise _another_version(error) from error


def isbox(value):
    """Whether autograd follows a value."""
    return isinstance(value, Box)


def getval(value):
    """A value as it is, followed by autograd or not, at any level."""
    while isinstance(value, Box):
        value = value._value
    return value


def is_forward_mode(value):
    """Whether a value is traced by anything but reverse mode, at any level."""
    while isinstance(value, Box):
        if type(value._node) is not VJPNode:
            return True
        value = value._value
    return False


def parts(params):
    """The arrays of a structure, where a boxed container counts as one part."""
    if isinstance(params, dict):
        return [part for value in params.values() for part in parts(value)]
    if isinstance(params, (list, tuple)):
        return [part for value in params for part in parts(value)]
    return [params]


def boxes(*values):
    """What autograd traces among values and the arrays of structures."""
    if _TRACES.top < 0:  # it is not at work, and there is nothing to look for
        return []
    found = []
    _add_boxes(values, found)
    return found


def _add_boxes(values, found):
    """Every traced call of a flow pays for this pass: no call for an array, no lists in between."""
    for value in values:
        if type(value) is np.ndarray:
            continue
        if isinstance(value, Box):
            found.append(value)
        elif isinstance(value, dict):
            _add_boxes(value.values(), found)
        elif isinstance(value, (list, tuple)):
            _add_boxes(value, found)


# Trials -------------------------------------------------------------------------------------


class _AlwaysTracing:
    """In place of autograd's count of traces at work: then boxes are always looked for."""

    top = 0


def _traces():
    """Autograd's count, if there is one and it says of a trace that it is at work."""
    try:
        from autograd.tracer import trace_stack

        tops = []
        grad(lambda x: tops.append(trace_stack.top) or x)(1.0)
        return trace_stack if tops[0] >= 0 else _AlwaysTracing
    except (ImportError, AttributeError, TypeError):
        return _AlwaysTracing


def _try_boxes():
    """Read boxes of each mode, and boxes in boxes, where the outcome is known."""
    modes = []

    def cube(x):
        """x^3, of which one factor is held constant: the derivatives are 2 x^2 and 2 x."""
        modes.append((isbox(x), is_forward_mode(x)))
        return x * x * getval(x)

    try:
        found = grad(cube)(3.0), grad(grad(cube))(3.0), make_jvp(cube)(3.0)(1.0)[1]
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
    expected = (18.0, 6.0, 18.0), [(True, False), (True, False), (True, True)]
    if (found, modes) != expected:
        raise _another_version(f"derivatives come out as {found}")


_try_boxes()
_TRACES = _traces()
