"""Determinants and solutions of N small matrices at once.

The Jacobians of N rows are N matrices (D, D). Each function exists twice: the formula, with
an underscore, and the public function of the same name, which checks and dispatches.

Up to D = 64 the ``numba`` twins eliminate several matrices side by side. Under ``cuda`` the device
computes values of :func:`log_abs_det`; the ``numba`` twins compute everything else, gradients
included. Larger matrices and complex numbers take the formulas.
"""

import autograd.numpy as np

from nfref.runtime import dispatch
from nfref.runtime.annotations import Array
from nfref.runtime.autograd_internals import getval
from nfref.runtime.checks import as_array

# Formulas ---------------------------------------------------------------------------------


def _log_abs_det(matrices):
    """Return log |det A_n|, by LU decomposition with partial pivoting; -inf for a singular A_n.

    Shapes: matrices (N, D, D). Returns (N,).
    """
    return np.linalg.slogdet(matrices)[1]


def _solve(matrices, rows):
    """Return the y_n that solve A_n y_n = r_n.

    Shapes: matrices (N, D, D), rows (N, D). Returns (N, D).
    """
    return np.linalg.solve(matrices, rows[:, :, None])[:, :, 0]


# Public functions -------------------------------------------------------------------------


def log_abs_det(matrices: Array) -> Array:
    """Return log |det A_n| of each matrix, in nats.

    Parameters
    ----------
    matrices : (N, D, D) array
        Float32 stays float32; every other real dtype becomes float64.

    Returns
    -------
    (N,) array
        -inf for a singular matrix, NaN for a matrix with a NaN.

    Raises
    ------
    ValueError, TypeError
        If ``matrices`` has the wrong shape or does not hold numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from nfref.runtime.small_matrices import log_abs_det
    >>> log_abs_det(np.array([[[2.0, 1.0], [0.0, 0.5]], [[1.0, 2.0], [2.0, 4.0]]]))
    array([  0., -inf])
    """
    return _run("log_abs_det", _log_abs_det, _as_matrices(matrices))


def solve(matrices: Array, rows: Array) -> Array:
    """Solve A_n y_n = r_n for each n.

    Parameters
    ----------
    matrices : (N, D, D) array
        Float32 stays float32; every other real dtype becomes float64.
    rows : (N, D) array
        Taken in the dtype of ``matrices``, unless one of them is complex.

    Returns
    -------
    (N, D) array

    Raises
    ------
    ValueError, TypeError
        If a shape is wrong, something does not hold numbers, or a matrix is singular.
    """
    matrices, rows = _as_matrices(matrices), as_array("rows", rows)
    if rows.shape != matrices.shape[:2]:
        raise ValueError(f"rows: expected shape {matrices.shape[:2]}, got {rows.shape}")
    if rows.dtype.kind == matrices.dtype.kind:
        rows = rows.astype(matrices.dtype)
    try:
        solution = _run("solve", _solve, matrices, rows)
    except np.linalg.LinAlgError:
        _refuse_singular(getval(matrices))
        raise
    # A twin returns NaN where LAPACK raises; but a NaN in the matrix gives NaN, too.
    suspects = np.isnan(getval(solution)[:, 0])
    if suspects.any():
        _refuse_singular(
            np.where(suspects[:, None, None], getval(matrices), np.eye(matrices.shape[1]))
        )
    return solution


def _as_matrices(value):
    matrices = as_array("matrices", value)
    if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2] or matrices.shape[1] == 0:
        raise ValueError(
            f"matrices: expected shape (N, D, D) with D of at least 1, got {matrices.shape}"
        )
    return matrices


def _run(name, formula, *arrays):
    """Dispatch without LAPACK's warnings: NaN is a valid answer here."""
    with np.errstate(invalid="ignore"):
        return dispatch.run(name, formula, *arrays)


def _refuse_singular(matrices):
    singular = np.flatnonzero(_run("log_abs_det", _log_abs_det, matrices) == -np.inf)
    if len(singular):
        raise ValueError(
            f"matrices: expected invertible matrices, got a singular one at index {singular[0]}"
        )
