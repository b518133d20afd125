"""Frozen parameters: nobody can change them, so they are checked and prepared for kernels once.

Plain parameters may change between two calls, so every call checks and packs them anew. For one
row this takes longer than the arithmetic.
"""

from functools import cached_property

import numpy as np

from nfref.runtime.annotations import Any, Callable, Params
from nfref.runtime.autograd_internals import isbox


def frozen(params: Params) -> Any:
    """Return a copy of the parameters that nobody can change.

    It takes the place of the parameters in every call. If you call with few rows many times, the
    check of the parameters and their preparation for a kernel are then done once, not in every
    call. The results are the same, to the bit.

    Parameters
    ----------
    params : nested dicts and lists of arrays

    Returns
    -------
    nested dicts and tuples of read-only arrays
        The same object if the parameters are frozen already.

    Raises
    ------
    TypeError
        If autograd traces the parameters.

    Examples
    --------
    >>> import numpy as np, nfref
    >>> density = nfref.Density(nfref.RealNVP(2))
    >>> params = nfref.frozen(density.init(np.random.default_rng(0)))
    >>> scores = [density.log_prob(params, row[None]) for row in np.zeros((3, 2))]
    """
    if is_frozen(params):
        return params
    if isinstance(params, dict):
        return FrozenDict({key: frozen(part) for key, part in params.items()})
    if isinstance(params, (list, tuple)):
        return FrozenList(map(frozen, params))
    if isbox(params):
        raise TypeError("params: expected plain arrays, got some that autograd traces")
    if hasattr(params, "shape") and hasattr(params, "dtype"):
        params = np.array(params)
        params.flags.writeable = False
    return params


def is_frozen(params: Any) -> bool:
    """Return whether parameters are frozen."""
    return isinstance(params, Frozen)


def once(params: Any, key: Any, make: Callable[[], Any]) -> Any:
    """Return ``make()``, which depends on ``key`` and parameters alone; frozen ones keep it."""
    if not is_frozen(params):
        return make()
    made = params._made
    if key not in made:
        made[key] = make()
    return made[key]


class Frozen:
    """A container of frozen parameters; ``_made`` holds what :func:`once` made of them."""

    _made: Any = cached_property(lambda self: {})

    def __reduce__(self: Any) -> Any:
        return frozen, (dict(self) if isinstance(self, dict) else list(self),)


class FrozenDict(Frozen, dict):
    """A dict of frozen parameters."""

    def _refuse(self, *arguments: Any, **named: Any) -> Any:
        raise TypeError("params: are frozen; flow.init and nfref.fit make others")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse


class FrozenList(Frozen, tuple):
    """A list of frozen parameters."""
