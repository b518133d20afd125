"""Names for the types in annotations."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from numpy import integer
from numpy.random import Generator, RandomState
from numpy.typing import ArrayLike, DTypeLike, NDArray

# Formulas take anything that computes like an array: a number, a box of autograd's, an object
# array of sixty-digit numbers.
Array: TypeAlias = NDArray[Any]

# Which rows of an array: their numbers, a mask or a slice.
Places: TypeAlias = Array | slice | Sequence[int]

# Nested dicts and lists of arrays, as arguments. As a result they are Any or ``dict[str, Any]``:
# of a union, ``params["flow"][0]`` would be an error in a user's code.
Params: TypeAlias = Array | Mapping[str, "Params"] | Sequence["Params"]

# The random state of an estimator of scikit-learn.
Seed: TypeAlias = int | integer[Any] | Generator | RandomState | None

PathLike: TypeAlias = str | os.PathLike[str]
