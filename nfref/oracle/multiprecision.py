"""log |det| of any map to as many digits as you want.

>>> import mpmath as mp
>>> from nfref.oracle.multiprecision import log_abs_det
>>> mp.nstr(log_abs_det(lambda z: [z[0] + mp.tanh(z[1]), 3 * z[1]], [0.5, -1.25], digits=30), 20)
'1.0986122886681096914'

You write the map once more, on lists of mpmath numbers. For most flows that takes a few lines, and
it shares nothing with the code that is in doubt.
"""

import mpmath as mp

from nfref.runtime.annotations import Any, Callable, Sequence

__all__ = ["jacobian", "log_abs_det"]


def jacobian(function: Callable[..., Any], row: Sequence[Any], digits: int = 60) -> Any:
    """Return the (D, D) Jacobian of a map, D mpmath numbers -> D mpmath numbers, at a row.

    The row is taken exactly: a float is a binary fraction. If the map is smooth there, this many
    significant digits are correct.
    """
    with mp.workdps(2 * digits):
        row, h = exact(list(row)), step()
        columns = []
        for j in range(len(row)):
            above = function([value + h * (i == j) for i, value in enumerate(row)])
            below = function([value - h * (i == j) for i, value in enumerate(row)])
            columns.append([(a - b) / (2 * h) for a, b in zip(above, below)])
        return mp.matrix(columns).T


def log_abs_det(function: Callable[..., Any], row: Sequence[Any], digits: int = 60) -> Any:
    """Return log |det dx/dz| at a row in nats, as :func:`jacobian` takes it."""
    with mp.workdps(2 * digits):
        return mp.log(abs(mp.det(jacobian(function, row, digits))))


def exact(array: Any) -> Any:
    """Return nested lists of mpmath numbers from arrays, lists or numbers, without rounding."""
    if getattr(array, "ndim", 0) or isinstance(array, (list, tuple)):
        return [exact(part) for part in array]
    array = array.item() if hasattr(array, "item") else array
    return mp.mpf(array)


def step() -> Any:
    """Return h of central differences: their relative error h^2 takes half of the digits."""
    return mp.mpf(10) ** (-mp.mp.dps // 4)
