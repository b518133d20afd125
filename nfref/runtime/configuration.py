"""Frozen configuration: the common root of flows, bases, transformers and densities.

Each is a frozen dataclass, and its fields describe it completely. The object may cache values
computed from them (masks, orders, the shapes of parameters); these are not part of it.
"""

from collections import ChainMap
from dataclasses import fields
from functools import cache
from typing import ClassVar

from nfref.runtime.annotations import Any, Callable
from nfref.runtime.checks import at_least, check_count


class Checked:
    """The root of frozen dataclasses that check their fields once, when an object is made.

    A subclass lists its checks in ``_converters``: field -> function of (name, the caller's value)
    that returns the value to keep, or raises. Other fields stay as they come; subclasses inherit
    the checks. A ``__post_init__`` of its own, for fields that depend on each other, begins with
    ``super().__post_init__()``.
    """

    _converters: dict[str, Callable[[str, Any], Any]] = {}
    __dataclass_fields__: ClassVar[dict[str, Any]]

    def __post_init__(self) -> None:
        kind: Any = type(self)
        for name, convert, may_be_none in _converters_of(kind):
            value = getattr(self, name)
            if value is not None or not may_be_none:
                object.__setattr__(self, name, convert(name, value))

    def _set(self, **values):
        """Set fields while the object is made; afterwards it is frozen."""
        for name, value in values.items():
            object.__setattr__(self, name, value)


class Configuration(Checked):
    """The root of configurations that can be written to files and sent to other processes.

    :mod:`nfref.runtime.serialization` writes files from the fields.
    """

    _converters = {"dim": check_count, "context_dim": at_least(0)}

    def __getstate__(self):
        """Return the fields to pickle, without cached values."""
        kept = getattr(self, "__dataclass_fields__", self.__dict__)
        return {name: getattr(self, name) for name in kept}

    def _check(self):
        """Raise a ValueError if fields read from a file have values that nfref never writes.

        This is the place for checks that are too slow to run whenever an object is made.
        """


@cache
def _converters_of(kind: Any) -> list[tuple[str, Callable[[str, Any], Any], bool]]:
    """Return (field, converter, whether its default is None), in the order of the fields.

    A default of None stays None.
    """
    found = ChainMap(*(vars(base).get("_converters", {}) for base in kind.__mro__))
    known = [field for field in fields(kind) if field.name in found]
    return [(field.name, found[field.name], field.default is None) for field in known]
