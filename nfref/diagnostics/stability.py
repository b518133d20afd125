"""Stability: local bi-Lipschitz constants of a map, and the rounding error of a round trip.

Source: Behrmann, Vicol, Wang, Grosse, Jacobsen 2020, arXiv:2006.09347.

A map f is bi-Lipschitz if l |a - b| <= |f(a) - f(b)| <= L |a - b| with l > 0. Near one point,
L and l are the largest and the smallest singular value of the Jacobian, and 1 / l is the Lipschitz
constant of the inverse there. Rounding z = f(x) by eps |z| moves the inverse by up to eps |z| / l.
So a flow that is invertible on paper may not be invertible in float32 where L or 1 / l is large.

The functions take plain functions of rows, so they work for flows of any library:
``lambda z: flow.forward(params, z)`` for a flow of nfref, or the functions that
``nfref.oracle.adapters`` makes from a flow of torch.
"""

from dataclasses import dataclass

import numpy as np

from nfref.runtime.annotations import Any, Array, Callable
from nfref.runtime.checks import as_array, check_callable, check_finite_rows, check_positive

BLOCK = 2**21  # numbers passed to a function at once


@dataclass(frozen=True)
class BiLipschitz:
    """Local bi-Lipschitz constants of a map at N rows.

    Attributes
    ----------
    lower : (N,) array
        l, the smallest singular value of the Jacobian; the inverse's constant is 1 / l.
    upper : (N,) array
        L, the largest.
    """

    lower: Array
    upper: Array

    @property
    def condition(self) -> Array:
        """The condition L / l, the largest magnification of a relative error: (N,) array."""
        return self.upper / self.lower


def bi_lipschitz(
    function: Callable[..., Any], rows: Array, step: float | None = None
) -> BiLipschitz:
    """Return local bi-Lipschitz constants: the extreme singular values of the Jacobians.

    Derivatives are central differences, with 2 D calls per row. In float64 their error is about
    1e-10 of the largest value, so a condition above about 1e9 is only known to be large. The
    constants of the inverse direction resolve the small values of this direction.

    Parameters
    ----------
    function : callable
        (N, D) array -> (N, D) array, or a tuple that begins with one, such as (values, log_det).
    rows : (N, D) array
        Points of the Jacobians; float32 rows are differentiated in float32, with at most three
        digits.
    step : float, optional
        Step of the differences, in units of max(1, |coordinate|); the cube root of the machine's
        eps if omitted.

    Returns
    -------
    BiLipschitz
        NaN in rows where the function is not finite.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong shape, type or value, or the function returns another shape.
    """
    check_callable("function", function)
    rows = _rows("rows", rows)
    count, dim = rows.shape
    step = np.cbrt(np.finfo(rows.dtype).eps) if step is None else check_positive("step", step)
    size = max(1, BLOCK // (2 * dim**2))
    blocks = np.array_split(rows, -(-count // size))
    jacobians = (_jacobians(function, block, step) for block in blocks)
    singular = np.concatenate([_singular_values(one) for one in jacobians])
    return BiLipschitz(singular[:, -1], singular[:, 0])


def reconstruction_error(there: Callable[..., Any], back: Callable[..., Any], rows: Array) -> Array:
    """Return the error of a round trip, |back(there(x)) - x|, row by row.

    Only rounding makes it differ from zero, so it tests the dtype of the rows.

    Parameters
    ----------
    there, back : callable
        (N, D) array -> (N, D) array, or a tuple that begins with one. For density estimation
        ``there`` is the inverse of the flow, from data to latent, and ``back`` its forward.
    rows : (N, D) array
        Pass float32 for errors in float32, with parameters in float32, too.

    Returns
    -------
    (N,) array of float64
        The Euclidean length, in units of the rows; infinite if the trip overflows.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong shape, type or value, or a function returns another shape.
    """
    check_callable("there", there)
    check_callable("back", back)
    rows = _rows("rows", rows)
    with np.errstate(all="ignore"):
        again = _values(back, _values(there, rows))
        error = np.linalg.norm(again.astype(np.float64) - rows, axis=1)
    return np.where(np.isfinite(error), error, np.inf)


def _jacobians(function, rows, step):
    """Return (N, D, D) central differences; column j is the derivative by coordinate j."""
    count, dim = rows.shape
    steps = (step * np.maximum(1, np.abs(rows))).astype(rows.dtype)
    moved = steps[:, None] * np.eye(dim, dtype=rows.dtype)  # (N, D moved, D)
    ends = [rows[:, None] + sign * moved for sign in (1, -1)]
    with np.errstate(all="ignore"):
        high, low = (
            _values(function, end.reshape(-1, dim)).reshape(count, dim, dim) for end in ends
        )
        width = np.einsum("njj->nj", ends[0] - ends[1])  # two steps, after rounding
        return np.swapaxes((high - low) / width[:, :, None], 1, 2)


def _singular_values(jacobians):
    """Return (N, D) singular values, largest first; NaN for entries that are not finite."""
    finite = np.isfinite(jacobians).all(axis=(1, 2))
    singular = np.full(jacobians.shape[:2], np.nan, jacobians.dtype)
    singular[finite] = np.linalg.svd(jacobians[finite], compute_uv=False)
    return singular


def _values(function, rows):
    found = function(rows)
    values = np.asarray(found[0] if isinstance(found, tuple) else found)
    if values.shape != rows.shape:
        raise ValueError(f"function: expected values of shape {rows.shape}, got {values.shape}")
    return values


def _rows(name, rows):
    rows = as_array(name, rows)
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(f"{name}: expected shape (N, D), neither of them 0; got {rows.shape}")
    return check_finite_rows(name, rows)
