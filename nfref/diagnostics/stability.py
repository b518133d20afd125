"""Stability: how far a map stretches and squeezes, and what rounding leaves of a round trip.

Source: Behrmann, Vicol, Wang, Grosse, Jacobsen 2020, arXiv:2006.09347.

A map f is bi-Lipschitz if l |a - b| <= |f(a) - f(b)| <= L |a - b| with l > 0. Near one point,
L and l are the largest and the smallest singular value of the Jacobian, and 1 / l is the Lipschitz
constant of the inverse there. Rounding z = f(x) by eps |z| moves the inverse by up to eps |z| / l,
so a flow that is invertible on paper can fail to be in float32 wherever L or 1 / l is large.

The functions take two plain functions of rows, so that flows of any library can be asked:
those of a flow of nfref, ``lambda z: flow.forward(params, z)``, or what ``nfref.oracle.adapters``
makes of a flow of torch.
"""

from dataclasses import dataclass

import numpy as np

from nfref.runtime.annotations import Any, Array, Callable
from nfref.runtime.checks import as_array, check_callable, check_finite_rows, check_positive

BLOCK = 2**21  # numbers that a function is given at once


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

    lower: np.ndarray
    upper: np.ndarray

    @property
    def condition(self):
        """L / l, by which the map can magnify a relative error: (N,) array."""
        return self.upper / self.lower


def bi_lipschitz(
    function: Callable[..., Any], rows: Array, step: float | None = None
) -> BiLipschitz:
    """Local bi-Lipschitz constants: the extreme singular values of the Jacobian at every row.

    Derivatives are central differences, 2 D calls of a row. In float64 their error is about 1e-10
    of the largest value, so that a condition above 1e9 or so is only known to be large; the
    constants of the inverse direction, asked in its turn, resolve what is small in this one.

    Parameters
    ----------
    function : callable
        (N, D) array -> (N, D) array, or a tuple that begins with one, such as (values, log_det).
    rows : (N, D) array
        Where; float32 rows are differentiated in float32, with three digits at best.
    step : float, optional
        Of the differences, times max(1, |coordinate|); the cube root of the machine's eps if
        omitted.

    Returns
    -------
    BiLipschitz
        NaN in rows where the function is not finite.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit, or the function returns another shape.
    """
    check_callable("function", function)
    rows = _rows("rows", rows)
    count, dim = rows.shape
    step = np.cbrt(np.finfo(rows.dtype).eps) if step is None else check_positive("step", step)
    size = max(1, BLOCK // (2 * dim**2))
    singular = np.concatenate(
        [
            _singular_values(_jacobians(function, block, step))
            for block in np.array_split(rows, -(-count // size))
        ]
    )
    return BiLipschitz(singular[:, -1], singular[:, 0])


def reconstruction_error(there: Callable[..., Any], back: Callable[..., Any], rows: Array) -> Array:
    """How far from where it started a round trip ends: |back(there(x)) - x|, row by row.

    Nothing but rounding keeps it from zero, so the dtype of the rows is what is asked about.

    Parameters
    ----------
    there, back : callable
        (N, D) array -> (N, D) array, or a tuple that begins with one. For density estimation
        ``there`` is the inverse of the flow, from data to latent, and ``back`` its forward.
    rows : (N, D) array
        float32 for errors in float32, if the flow's parameters are too.

    Returns
    -------
    (N,) array of float64
        The Euclidean length, in units of the rows; infinite where the trip left the finite numbers.

    Raises
    ------
    ValueError, TypeError
        If an argument does not fit, or a function returns another shape.
    """
    check_callable("there", there)
    check_callable("back", back)
    rows = _rows("rows", rows)
    with np.errstate(all="ignore"):
        again = _values(back, _values(there, rows))
        error = np.linalg.norm(again.astype(np.float64) - rows, axis=1)
    return np.where(np.isfinite(error), error, np.inf)


def _jacobians(function, rows, step):
    """(N, D, D) central differences; column j is the derivative by coordinate j."""
    count, dim = rows.shape
    steps = (step * np.maximum(1, np.abs(rows))).astype(rows.dtype)
    moved = steps[:, None] * np.eye(dim, dtype=rows.dtype)  # (N, D moved, D)
    ends = [rows[:, None] + sign * moved for sign in (1, -1)]
    with np.errstate(all="ignore"):
        high, low = (
            _values(function, end.reshape(-1, dim)).reshape(count, dim, dim) for end in ends
        )
        width = np.einsum("njj->nj", ends[0] - ends[1])  # what rounding left of two steps
        return np.swapaxes((high - low) / width[:, :, None], 1, 2)


def _singular_values(jacobians):
    """(N, D), largest first; NaN where an entry is not finite, which LAPACK refuses."""
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
