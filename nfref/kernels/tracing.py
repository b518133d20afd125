"""What autograd is doing with a value."""

from autograd.core import VJPNode
from autograd.extend import Box


def parts(params):
    """The arrays of a structure, where a boxed container counts as one part."""
    if isinstance(params, dict):
        return [part for value in params.values() for part in parts(value)]
    if isinstance(params, (list, tuple)):
        return [part for value in params for part in parts(value)]
    return [params]


def boxes(*values):
    """What autograd traces among values and the arrays of structures."""
    return [value for value in parts(values) if isinstance(value, Box)]


def is_forward_mode(value):
    """Whether a value is traced by anything but reverse mode, at any level."""
    while isinstance(value, Box):
        if type(value._node) is not VJPNode:
            return True
        value = value._value
    return False
