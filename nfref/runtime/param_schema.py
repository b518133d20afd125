"""The structure of parameters: nested dicts and lists, and the shape of each array in them.

A flow derives its structure from the parameters of ``init`` at its first call, and checks against
it at every call.
"""

import numpy as np

from nfref.runtime.annotations import Any, Callable, DTypeLike, Params
from nfref.runtime.autograd_internals import getval
from nfref.runtime.frozen_params import once
from nfref.runtime.params import cast, leaves, tree_map


class Structure:
    """Nested dicts and lists of shapes, and a fast check of the arrays that should have them.

    Every call of a flow pays for this check: one step for each container or array. The message is
    only composed once something is wrong.

    Parameters
    ----------
    shapes : nested dicts and lists of tuples
        None anywhere in it stands for unknown parameters.

    Attributes
    ----------
    known : bool
        True if all parameters are known.
    """

    def __init__(self, shapes: Any) -> None:
        self.shapes = shapes
        # (index of the parent container, key in it, kind) of each container, outermost first.
        self._containers: list[tuple[int, Any, type]] = []
        self._lengths = [1]
        self._places: list[tuple[int, Any]] = []
        self._shapes: list[tuple[int, ...]] = []
        self._unknown: list[tuple[int, Any]] = []
        self._add(0, 0, shapes)
        self.known = not self._unknown

    @classmethod
    def made_by(cls, init: Callable[[np.random.Generator], Any]) -> "Structure":
        """Return the structure of ``init(rng)``; unknown if that is not implemented."""
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

    def checked(self, params: Params, dtype: DTypeLike | None = None) -> Any:
        """Check that a flow or base can take the parameters, and return them in ``dtype``.

        Kernels read packed parameters at places computed from the expected shapes. So arrays of
        other shapes must never reach them.

        Parameters
        ----------
        params : nested dicts and lists of arrays
        dtype : dtype, optional
            Target of a cast; the parameters stay as they are if omitted.

        Returns
        -------
        params : nested dicts and lists of arrays
            The same object if there is nothing to cast.

        Raises
        ------
        ValueError
            If an array has another shape; if a key or a list entry is missing or superfluous.
        TypeError
            If something other than the expected array, dict or list is found.
        """
        return once(params, (self, dtype), lambda: self._checked(params, dtype))

    def _checked(self, params, dtype):
        if self._holds(params, dtype):
            return params
        if not self._holds(params, None):
            try:
                _check("params", params, self.shapes)
            except (TypeError, ValueError) as error:
                raise type(error)(f"{error}{_advice(params, self.shapes)}") from None
        return params if dtype is None else cast(params, dtype)

    def _holds(self, params, dtype):
        """Return whether all arrays are in place and in ``dtype``; None allows any numbers."""
        try:
            found = self.arrays(params)
            return [leaf.shape for leaf in found[: len(self._shapes)]] == self._shapes and (
                all(map(_holds_numbers, found))
                if dtype is None
                else {leaf.dtype for leaf in found} <= {dtype}
            )
        except (AttributeError, LookupError, TypeError):  # not an array; missing; no container
            return False

    def arrays(self, params: Any) -> list[Any]:
        """Return the expected arrays in order, then all arrays of unknown parts.

        Raises a LookupError or TypeError if a container is not as expected.
        """
        nodes: list[Any] = [(params,)]
        for parent, key, kind in self._containers:
            node = nodes[parent][key]
            nodes.append(node if type(node) is kind else _plain(node, kind))
        if list(map(len, nodes)) != self._lengths:
            raise LookupError
        found = [nodes[parent][key] for parent, key in self._places]
        for parent, key in self._unknown:
            found += leaves(nodes[parent][key])
        return found


def _advice(params, expected):
    """Return what to do without parameters, or with a flow's in the place of a density's."""
    if not isinstance(getval(params), (dict, list, tuple)):
        return "; init(rng) makes parameters"
    of_density = [
        isinstance(one := getval(tree), dict) and set(one) == {"base", "flow"}
        for tree in (params, expected)
    ]
    if of_density == [True, False]:
        return "; these look like a Density's parameters: use params['flow']"
    if of_density == [False, True]:
        return (
            "; a Density's parameters have 'base' and 'flow', these look like a flow's: use "
            "density.flow"
        )
    return ""


def _plain(node, kind):
    """Return a container of a kind without autograd's box; raise a TypeError for anything else."""
    node = getval(node)
    if not isinstance(node, dict if kind is dict else (list, tuple)):
        raise TypeError
    return node


def _check(path, params, expected):
    """Raise an error that names the first difference and the path to it."""
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
