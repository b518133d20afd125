"""Frozen configuration: what flows, bases, transformers and densities are.

Each is a frozen dataclass whose fields say all that it does. What is computed from them on the way
(masks, orders, the shapes of parameters) may be kept on the object, and is no part of it.
"""

from collections import ChainMap
from dataclasses import fields, is_dataclass
from functools import cache

from nfref.runtime.checks import at_least, check_count


class Checked:
    """The root of frozen dataclasses that look at their fields once, when one is made.

    A subclass says in ``_converters`` what its fields may be: name -> function of (name, what the
    caller gave), which returns what is kept or raises. Fields that it does not name stay as they
    come; what a class says holds in its subclasses too. A ``__post_init__`` of its own, for what
    ties fields to each other, begins with ``super().__post_init__()``.
    """

    _converters: dict = {}

    def __post_init__(self):
        for name, convert, may_be_none in _converters_of(type(self)):
            value = getattr(self, name)
            if value is not None or not may_be_none:
                object.__setattr__(self, name, convert(name, value))

    def _set(self, **values):
        """Fields as they are kept, while the object is made: it is frozen afterwards."""
        for name, value in values.items():
            object.__setattr__(self, name, value)


class Configuration(Checked):
    """The root of those that files and other processes may hold.

    Files are written from the fields: :mod:`nfref.runtime.serialization`.
    """

    _converters = {"dim": check_count, "context_dim": at_least(0)}

    def __getstate__(self):
        """What is pickled: the configuration, not what was cached on the way."""
        kept = {field.name for field in fields(self)} if is_dataclass(self) else self.__dict__
        return {name: value for name, value in self.__dict__.items() if name in kept}

    def _check(self):
        """A ValueError where fields that come from a file are none that the package would make.

        For what is not checked whenever one is made, because it is made often.
        """


@cache
def _converters_of(kind):
    """(field, converter, whether None is its default and stays) of a class, in order of fields."""
    found = ChainMap(*(vars(base).get("_converters", {}) for base in kind.__mro__))
    return [
        (field.name, found[field.name], field.default is None)
        for field in fields(kind)
        if field.name in found
    ]
