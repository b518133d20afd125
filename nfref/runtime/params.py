"""Parameters: nested dicts and lists of arrays, and the few operations on them.

Every flow takes its parameters as the first argument, and they are never anything
but dicts, lists and arrays. So ``autograd.grad`` needs no help, a checkpoint is a
flat file, and an optimiser sees one long vector.
"""

import numpy as np
from autograd.tracer import getval


def leaves(params):
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


def tree_map(function, params, *others):
    """Apply ``function`` leaf by leaf to one or several structures of the same shape.

    Returns
    -------
    Nested structure of the same shape; tuples become lists.
    """
    structure = getval(params)
    if isinstance(structure, dict):
        return {key: tree_map(function, params[key], *(other[key] for other in others))
                for key in structure}
    if isinstance(structure, (list, tuple)):
        return [tree_map(function, params[k], *(other[k] for other in others))
                for k in range(len(structure))]
    return function(params, *others)


def cast(params, dtype):
    """The same parameters with every array in ``dtype``; untouched where they already are."""
    # NumPy reads None as float64, so a leaf without a dtype must not be compared by it.
    if all(hasattr(leaf, "dtype") and leaf.dtype == dtype for leaf in leaves(params)):
        return params
    return tree_map(
        lambda leaf: leaf.astype(dtype) if hasattr(leaf, "astype") else np.asarray(leaf, dtype),
        params)


def dtype_of(params):
    """The common dtype of the parameters; float64 where there are none."""
    arrays = leaves(params)
    return np.result_type(*(leaf.dtype for leaf in arrays)) if arrays else np.dtype(np.float64)


def at_path(params, path):
    """The part that a sequence of keys and indices leads to."""
    for step in path:
        params = params[step]
    return params


def count(params):
    """How many numbers the parameters hold."""
    return sum(np.size(leaf) for leaf in leaves(params))


def flatten(params):
    """One long vector, and the function that turns such a vector back.

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
    ends = np.cumsum([leaf.size for leaf in arrays], dtype=int).tolist()
    vector = (np.concatenate([leaf.ravel() for leaf in arrays]) if arrays
              else np.zeros(0))

    def unflatten(vector):
        pieces = iter([vector[end - leaf.size:end].reshape(leaf.shape)
                       for leaf, end in zip(arrays, ends)])
        return tree_map(lambda leaf: next(pieces), params)

    return vector, unflatten
