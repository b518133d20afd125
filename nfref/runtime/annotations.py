"""Names for what is passed around, as annotations say it."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from numpy.random import Generator
from numpy.typing import DTypeLike, NDArray

__all__ = [
    "Any",
    "Array",
    "Callable",
    "DTypeLike",
    "Generator",
    "Iterable",
    "Iterator",
    "Mapping",
    "Params",
    "PathLike",
    "Sequence",
]

Array: TypeAlias = NDArray[Any]
Params: TypeAlias = Any  # nested dicts and lists of arrays, as ``init`` makes them
PathLike: TypeAlias = str | os.PathLike[str]
