"""Parameters: nested dicts and lists of arrays, and the few operations on them.

Every flow takes its parameters as the first argument, and they are never anything
but dicts, lists and arrays. So ``autograd.grad`` needs no help, a checkpoint is a
flat file, and an optimiser sees one long vector.
"""

import numpy as np

from nfref.runtime.annotations import Any, Array, Callable, Params
from nfref.runtime.autograd_internals import (
    Box,
    SparseObject,
    defjvp,
    defvjp,
    getval,
    primitive,
    vspace,
)


def leaves(params: Array) -> list[Any]:
    """All arrays of a nested structure, depth first, in insertion order.

    Parameters
    ----------
    params : dict, list, tuple or array
        Nested parameters.

    Returns
    -------
    list of array
    """
    params = getval(params)
    if isinstance(params, dict):
        return [leaf for value in params.values() for leaf in leaves(value)]
    if isinstance(params, (list, tuple)):
        return [leaf for value in params for leaf in leaves(value)]
    return [params]


def tree_map(function: Any, params: Any, *others: Any) -> Any:
    """Apply ``function`` leaf by leaf to one or several structures of the same shape.

    Returns
    -------
    Nested structure of the same shape; tuples become lists.
    """
    structure = getval(params)
    if isinstance(structure, dict):
        return {
            key: tree_map(function, params[key], *(other[key] for other in others))
            for key in structure
        }
    if isinstance(structure, (list, tuple)):
        return [
            tree_map(function, params[k], *(other[k] for other in others))
            for k in range(len(structure))
        ]
    return function(params, *others)


def filled(params, arrays):
    """The same structure with other arrays, in the order of :func:`leaves`."""
    arrays = iter(arrays)
    return tree_map(lambda leaf: next(arrays), params)


def matching(params, other):
    """The arrays of another structure of the same shape, in the order of ``params``."""
    found = []
    tree_map(lambda leaf, own: found.append(own), params, other)
    return found


def cast(params, dtype):
    """The same parameters with every array in ``dtype``; untouched where they already are."""
    # NumPy reads None as float64, so a leaf without a dtype must not be compared by it.
    if all(hasattr(leaf, "dtype") and leaf.dtype == dtype for leaf in leaves(params)):
        return params
    return tree_map(
        lambda leaf: leaf.astype(dtype) if hasattr(leaf, "astype") else np.asarray(leaf, dtype),
        params,
    )


def dtype_of(params):
    """The common dtype of the parameters; float64 where there are none."""
    arrays = leaves(params)
    return np.result_type(*(leaf.dtype for leaf in arrays)) if arrays else np.dtype(np.float64)


def at_path(params, path):
    """The part that a sequence of keys and indices leads to."""
    for step in path:
        params = params[step]
    return params


def with_part(params, path, part):
    """The same parameters, with another part at the end of a path."""
    if not path:
        return part
    found = dict(params) if isinstance(params, dict) else list(params)
    found[path[0]] = with_part(params[path[0]], path[1:], part)
    return found


def count(params):
    """How many numbers the parameters hold."""
    return sum(np.size(leaf) for leaf in leaves(params))


def flatten(params: Params) -> tuple[Array, Callable[..., Any]]:
    """One long vector, and the function that turns such a vector back.

    Autograd passes through the way back cheaply: a step of RealNVP(2, layers=8) on 512 float32
    rows takes 16.8 ms, 19.4 with autograd's own slices of the vector, and 22.8 with the nested
    parameters as the variable.

    Parameters
    ----------
    params : nested dicts and lists of arrays

    Returns
    -------
    vector : (P,) array
        All leaves, raveled and joined in the order of :func:`leaves`.
    unflatten : callable
        Maps a (P,) vector to a structure shaped like ``params``. The arrays it
        returns are views of the vector.
    """
    arrays = [np.asarray(leaf) for leaf in leaves(params)]
    vector = np.concatenate([leaf.ravel() for leaf in arrays]) if arrays else np.zeros(0)
    ends = np.cumsum([leaf.size for leaf in arrays], dtype=int).tolist()
    places = [(end - leaf.size, end, leaf.shape) for leaf, end in zip(arrays, ends)]

    def unflatten(vector):
        # Where nothing is traced, a primitive takes ten times as long as the slice.
        piece = _piece if isinstance(vector, Box) else _slice
        return filled(params, [piece(vector, *place) for place in places])

    return vector, unflatten


def _slice(vector, start, end, shape):
    return vector[start:end].reshape(shape)


_piece = primitive(_slice)


@primitive
def _at_its_place(piece, start, end, space):
    """A vector that is zero but for one piece; autograd's own is added up by numpy.add.at."""

    def add(total):
        total[start:end] += piece.ravel()
        return total

    return SparseObject(space, add)


defvjp(
    _piece,
    lambda answer, vector, start, end, shape: (
        lambda g: _at_its_place(g, start, end, vspace(vector))
    ),
)
defvjp(
    _at_its_place,
    lambda answer, piece, start, end, space: lambda g: _piece(g, start, end, np.shape(piece)),
)
defjvp(_piece, "same")
defjvp(_at_its_place, "same")
