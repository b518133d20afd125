"""Frozen configuration: what flows, bases, transformers and densities are.

Each is a frozen dataclass whose fields say all that it does. What is computed from them on the way
(masks, orders, the shapes of parameters) may be kept on the object, and is no part of it.
"""

from dataclasses import fields, is_dataclass


class Configuration:
    """The root of all frozen dataclasses of the package that files and other processes may hold.

    Files are written from their fields: :mod:`nfref.runtime.description`.
    """

    def __getstate__(self):
        """What is pickled: the configuration, not what was cached on the way."""
        kept = {field.name for field in fields(self)} if is_dataclass(self) else self.__dict__
        return {name: value for name, value in self.__dict__.items() if name in kept}

    def _check(self):
        """A ValueError where fields that come from a file are none that the package would make.

        For what is not checked whenever one is made, because it is made often.
        """
