"""What autograd is doing with a value."""

import numpy as np
from autograd.core import VJPNode
from autograd.extend import Box
from autograd.tracer import trace_stack


def parts(params):
    """The arrays of a structure, where a boxed container counts as one part."""
    if isinstance(params, dict):
        return [part for value in params.values() for part in parts(value)]
    if isinstance(params, (list, tuple)):
        return [part for value in params for part in parts(value)]
    return [params]


def boxes(*values):
    """What autograd traces among values and the arrays of structures."""
    if trace_stack.top < 0:     # it is not at work, and there is nothing to look for
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


def is_forward_mode(value):
    """Whether a value is traced by anything but reverse mode, at any level."""
    while isinstance(value, Box):
        if type(value._node) is not VJPNode:
            return True
        value = value._value
    return False
