"""What parameters have to look like: nested dicts and lists with an array of a shape at each place.

A flow finds out at its first call, from what ``init`` makes, and compares at each.
"""

import numpy as np

from nfref.runtime.annotations import DTypeLike, Params
from nfref.runtime.autograd_internals import getval
from nfref.runtime.params import cast, leaves, tree_map


class Structure:
    """Nested dicts and lists of shapes, and a quick way to the arrays that should have them.

    Every call of a flow pays for that way: one step for a container or array, and no word on
    what is wrong before something is.

    Parameters
    ----------
    shapes : nested dicts and lists of tuples
        None anywhere in it stands for parameters not known.

    Attributes
    ----------
    known : bool
        Whether all are.
    """

    def __init__(self, shapes: Params) -> None:
        self.shapes = shapes
        # (container among those before, key in it, kind) of each container, the first around all.
        self._containers: list = []
        self._lengths = [1]
        self._places: list = []
        self._shapes: list = []
        self._unknown: list = []
        self._add(0, 0, shapes)
        self.known = not self._unknown

    @classmethod
    def made_by(cls, init):
        """That of what ``init(rng)`` makes; unknown where it is not implemented."""
        try:
            return cls(tree_map(np.shape, init(np.random.default_rng(0))))
        except NotImplementedError:
            return cls(None)

    def _add(self, parent, key, part):
        if part is None:
            self._unknown.append((parent, key))
        elif isinstance(part, tuple):
            self._places.append((parent, key))
            self._shapes.append(part)
        else:
            self._containers.append((parent, key, type(part)))
            self._lengths.append(len(part))
            own = len(self._containers)
            for key, inner in _entries(part).items():
                self._add(own, key, inner)

    def checked(self, params: Params, dtype: DTypeLike | None = None) -> Params:
        """The parameters in ``dtype``, after a check that a flow or base can take them.

        Kernels read packed parameters at the places where arrays of the expected shapes would be,
        so that no other array may ever reach them.

        Parameters
        ----------
        params : nested dicts and lists of arrays
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
        if not self._holds(params, dtype):
            _check("params", params, self.shapes)
            return params if dtype is None else cast(params, dtype)
        return params

    def _holds(self, params, dtype):
        """Whether all is in place and in ``dtype``; numbers, where that is left open."""
        try:
            found = self.arrays(params)
            return [leaf.shape for leaf in found[: len(self._shapes)]] == self._shapes and (
                all(map(_holds_numbers, found))
                if dtype is None
                else {leaf.dtype for leaf in found} <= {dtype}
            )
        except (AttributeError, LookupError, TypeError):  # not an array; not there; no container
            return False

    def arrays(self, params):
        """What stands where arrays are expected, in their order; of unknown parts all, at the end.

        A LookupError or TypeError where containers are not as expected.
        """
        nodes = [(params,)]
        for parent, key, kind in self._containers:
            node = nodes[parent][key]
            nodes.append(node if type(node) is kind else _plain(node, kind))
        if list(map(len, nodes)) != self._lengths:
            raise LookupError
        found = [nodes[parent][key] for parent, key in self._places]
        for parent, key in self._unknown:
            found += leaves(nodes[parent][key])
        return found


def _plain(node, kind):
    """A container of a kind, or what autograd traces as one; a TypeError for anything else."""
    node = getval(node)
    if not isinstance(node, dict if kind is dict else (list, tuple)):
        raise TypeError
    return node


def _check(path, params, expected):
    """Say what is not as expected, with the path to it."""
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
    return getattr(leaf.dtype, "kind", "f") in "buifcO"  # other libraries' dtypes have no kind


def _entries(node):
    return node if isinstance(node, dict) else dict(enumerate(node))
