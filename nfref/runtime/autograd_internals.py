"""The internals of autograd that nfref uses: how autograd traces a value.

While autograd takes a derivative, it wraps each traced value in a box. This module imports
``autograd.extend`` for all other modules. The contents of a box are not documented. So they
are tested once, on import: a misread box would give wrong gradients.
"""

import numpy as np
from autograd import grad, make_jvp

from nfref.runtime.annotations import Any


def _another_version(came):
    """Return the error for an autograd with other internals."""
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
    from autograd.tracer import trace_stack
except ImportError as error:
    raise _another_version(error) from error


def isbox(value: Any) -> bool:
    """Return whether autograd traces a value."""
    return isinstance(value, Box)


def getval(value: Any) -> Any:
    """Return a value without autograd's boxes around it, at any level."""
    while isinstance(value, Box):
        value = value._value
    return value


def is_forward_mode(value: Any) -> bool:
    """Return whether a mode other than reverse mode traces a value, at any level."""
    while isinstance(value, Box):
        if type(value._node) is not VJPNode:
            return True
        value = value._value
    return False


def parts(params: Any) -> list[Any]:
    """Return the arrays of a structure, with a boxed container as one part."""
    if isinstance(params, dict):
        return [part for value in params.values() for part in parts(value)]
    if isinstance(params, (list, tuple)):
        return [part for value in params for part in parts(value)]
    return [params]


def boxes(*values: Any) -> list[Any]:
    """Return the boxes among values and the arrays of structures."""
    if trace_stack.top < 0:  # autograd traces nothing at all
        return []
    found: list[Any] = []
    _add_boxes(values, found)
    return found


def _add_boxes(values, found):
    """Append the boxes among ``values`` to ``found``."""
    # Every traced call of a flow pays for this: no call for an array, no intermediate lists.
    for value in values:
        if type(value) is np.ndarray:
            continue
        if isinstance(value, Box):
            found.append(value)
        elif isinstance(value, dict):
            _add_boxes(value.values(), found)
        elif isinstance(value, (list, tuple)):
            _add_boxes(value, found)


def traces_of(*values: Any) -> int:
    """Return how many traces hold values or the arrays of structures: the order of a derivative."""
    found = set()
    for value in boxes(*values):
        while isinstance(value, Box):
            found.add(value._trace)
            value = value._value
    return len(found)


# Trial --------------------------------------------------------------------------------------


def _try_boxes():
    """Check that boxes of each mode, and boxes in boxes, are read correctly."""
    modes = []

    def cube(x):
        """Return x^3 with one factor held constant: its derivatives are 2 x^2 and 2 x."""
        modes.append((isbox(x), is_forward_mode(x), trace_stack.top >= 0))
        return x * x * getval(x)

    try:
        found = grad(cube)(3.0), grad(grad(cube))(3.0), make_jvp(cube)(3.0)(1.0)[1]
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
    expected = (18.0, 6.0, 18.0), [(True, False, True), (True, False, True), (True, True, True)]
    if (found, modes) != expected:
        raise _another_version(f"derivatives come out as {found}")


_try_boxes()
