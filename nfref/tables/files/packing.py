"""Store arrays in fewer bytes, and get the same bits back.

Flows are trained in float32 and scored in float64: their float64 arrays hold float32 numbers, and
the masks of autoregressive networks make about half of their weights 0.
"""

import math

import numpy as np

from nfref.runtime.annotations import Any, Array
from nfref.runtime.checks import require, shortened

PLACES = "/nonzero"  # end of the name of the bits that say where an array is not 0
FEWEST = 64  # numbers of an array whose zeros are left out; bits and names cost as much below
LEAST_SHARE, LARGEST_SHARE = 1 / 4, 7 / 8  # of numbers that are not 0


def pack(arrays: dict[str, Array]) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return arrays to store, and how each of them differs from the array that it stands for.

    Parameters
    ----------
    arrays : dict of str to array

    Returns
    -------
    stored : dict of str to array
    packed : dict of str to dict
        ``{"dtype": "float64"}`` for numbers that float32 holds; ``{"shape": [...]}`` for the
        numbers other than 0, in C order, with their places as bits in ``NAME/nonzero``.
    """
    stored: dict[str, Array] = {}
    packed: dict[str, dict[str, Any]] = {}
    for name, array in arrays.items():
        how: dict[str, Any] = {}
        if _is_float32(array):
            how["dtype"] = "float64"
            array = array.astype(np.float32)
        if array.dtype.kind == "f" and array.size >= FEWEST and array.flags.c_contiguous:
            there = (array != 0) | np.signbit(array)  # -0.0 is stored
            if LEAST_SHARE <= np.mean(there) <= LARGEST_SHARE and name + PLACES not in arrays:
                how["shape"] = [*array.shape]
                array = array[there]
                stored[name + PLACES] = np.packbits(there)
        stored[name] = array
        if how:
            packed[name] = how
    return stored, packed


def unpack(stored: dict[str, Array], packed: Any) -> dict[str, Array]:
    """Return the arrays that :func:`pack` stored; sizes are checked before they are made.

    Raises
    ------
    ValueError
        If ``packed`` does not fit the arrays.
    """
    require(isinstance(packed, dict), f"packed: expected names, got {shortened(packed)}")
    arrays = {**stored}
    for name, how in packed.items():
        require(
            name in arrays and isinstance(how, dict) and set(how) <= {"dtype", "shape"},
            f"packed: expected dtype and shape of an array, got {shortened(name)}",
        )
        array = arrays[name]
        if "shape" in how:
            array = _spread(name, array, how["shape"], arrays.pop(name + PLACES, None))
        if "dtype" in how:
            require(
                how["dtype"] == "float64" and array.dtype == np.float32,
                f"packed: expected float32 that stands for float64 in {shortened(name)}",
            )
            array = array.astype(np.float64)
        arrays[name] = array
    return arrays


def _is_float32(array):
    if array.dtype != np.float64 or not array.size:
        return False
    with np.errstate(all="ignore"):  # what overflows is not float32
        return np.array_equal(
            array.astype(np.float32).astype(np.float64).view(np.int64), array.view(np.int64)
        )


def _spread(name, numbers, shape, places):
    """Return an array of that shape with the numbers where the bits are 1, and 0 elsewhere."""
    whole = isinstance(shape, list) and all(type(size) is int and size >= 0 for size in shape)
    size = math.prod(shape) if whole else -1
    require(
        whole
        and places is not None
        and places.dtype == np.uint8
        and places.shape == ((size + 7) // 8,)
        and numbers.ndim == 1
        and size * LEAST_SHARE <= len(numbers),
        f"packed: expected numbers, places and shape that fit in {shortened(name)}",
    )
    there = np.unpackbits(places, count=size).astype(bool)
    require(
        np.count_nonzero(there) == len(numbers),
        f"packed: expected as many numbers as places in {shortened(name)}",
    )
    array = np.zeros(size, numbers.dtype)
    array[there] = numbers
    return array.reshape(shape)
