"""What autograd is doing with a value."""

from autograd.core import VJPNode
from autograd.extend import Box


def is_forward_mode(value):
    """Whether a value is traced by anything but reverse mode, at any level."""
    while isinstance(value, Box):
        if type(value._node) is not VJPNode:
            return True
        value = value._value
    return False
