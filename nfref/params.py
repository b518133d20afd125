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


def shapes(params):
    """The same nested structure with the shape of every array, a tuple, in its place."""
    return tree_map(np.shape, params)


def shapes_made_by(init):
    """The shapes of what ``init(rng)`` makes; None, for unknown, where it is not implemented."""
    try:
        return shapes(init(np.random.default_rng(0)))
    except NotImplementedError:
        return None


def checked(params, expected, dtype=None):
    """The parameters in ``dtype``, after a check that a flow or base can take them.

    Kernels read packed parameters at the places where arrays of the expected shapes would be,
    so that no other array may ever reach them.

    Parameters
    ----------
    params : nested dicts and lists of arrays
    expected : nested dicts and lists of shapes
        As made by :func:`shapes`. None anywhere in it stands for parameters not known.
    dtype : dtype, optional
        The parameters are cast to it; left as they are if omitted.

    Returns
    -------
    params : nested dicts and lists of arrays
        The same object where there is nothing to cast.

    Raises
    ------
    ValueError
        If an array has another shape; if a key or an entry of a list is missing or too much.
    TypeError
        If there is something else than an array, dict or list where one is expected.
    """
    if _as_expected([params], [expected], dtype):
        return params
    _check("params", params, expected)
    return params if dtype is None else cast(params, dtype)


def _as_expected(params, expected, dtype):
    """Whether a container has everything in place and in ``dtype``.

    Every call pays for this pass, so that it stops at the first fault without a word on it.
    """
    if type(params) is not type(expected):
        params = getval(params)
    is_dict = type(expected) is dict
    if not isinstance(params, dict if is_dict else (list, tuple)) or len(params) != len(expected):
        return False
    try:
        for key in expected if is_dict else range(len(expected)):
            own, part = params[key], expected[key]
            if type(part) is tuple:
                if own.shape != part or (not _holds_numbers(own) if dtype is None
                                         else own.dtype != dtype):
                    return False
            elif part is None:
                if dtype is not None and cast(own, dtype) is not own:
                    return False
            elif not _as_expected(own, part, dtype):
                return False
    except (AttributeError, KeyError):      # not an array; not there
        return False
    return True


def _check(path, params, expected):
    """Say what :func:`_as_expected` found, with the path to it."""
    if expected is None:
        return
    params = getval(params)
    if isinstance(expected, tuple):
        _check_array(path, params, expected)
        return
    kind, name = (dict, "dict") if isinstance(expected, dict) else ((list, tuple), "list")
    if not isinstance(params, kind):
        raise TypeError(f"{path}: expected a {name}, got {type(params).__name__}")
    for key, part in _entries(expected).items():
        if key not in _entries(params):
            what = f"shape {part}" if isinstance(part, tuple) else f"a {type(part).__name__}"
            raise ValueError(f"{path}/{key}: expected {what}, got nothing")
        _check(f"{path}/{key}", params[key], part)
    for key in _entries(params):
        if key not in _entries(expected):
            raise ValueError(f"{path}/{key}: expected nothing, got {type(params[key]).__name__}")


def _check_array(path, leaf, shape):
    if not hasattr(leaf, "shape") or not hasattr(leaf, "dtype"):
        raise TypeError(f"{path}: expected an array of shape {shape}, got {type(leaf).__name__}")
    if leaf.shape != shape:
        raise ValueError(f"{path}: expected shape {shape}, got {tuple(leaf.shape)}")
    if not _holds_numbers(leaf):
        raise TypeError(f"{path}: expected numbers, got dtype {leaf.dtype}")


def _holds_numbers(leaf):
    return getattr(leaf.dtype, "kind", "f") in "buifcO"     # other libraries' dtypes have no kind


def _entries(node):
    return node if isinstance(node, dict) else dict(enumerate(node))


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
