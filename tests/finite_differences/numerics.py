"""Numerical derivatives and rounding errors. Nothing here uses a flow's own log-determinant.

Three tools: the Jacobian by central differences with Richardson's extrapolation and an error
estimate; the Jacobian by autograd; and ``rounding_response``, a measured condition number. It is
the distance that a result moves when every input moves by one rounding error.

The oracle has its own extrapolation (``nfref/oracle/instruments/jacobian.py``), for functions of
unknown scale with kinks and edges. The one here knows that its functions are smooth and of scale
one. They are separate on purpose: the contract and the oracle check the same flows, and a shared
fault would spoil both.
"""

import numpy as np
from autograd import make_vjp

from nfref.runtime import params as trees

EPS = float(np.finfo(np.float64).eps)

# Relative size of the perturbations in rounding_response: far above rounding, and so small that the
# response is linear.
NUDGE = 2.0**-24


def extrapolate(central, steps, noise):
    """Extrapolate central differences to step zero by Richardson's method, entry by entry.

    ``central[k]`` is the difference quotient with step ``steps[k]``, each step half of the
    one before; its error is a series in even powers of the step, so that
    (4^m T[k+1] - T[k]) / (4^m - 1) removes the power 2m. The entry of the table that agrees
    best with its two parents is returned, with that disagreement as the error estimate
    (Ridders 1982), plus what rounding ``noise`` in the function contributes at that step.
    """
    best = np.array(central[0], dtype=float)
    error = np.full(np.shape(best), np.inf)
    column = list(central)
    for order in range(1, len(column)):
        factor = 4.0**order
        extended = [
            (factor * fine - coarse) / (factor - 1) for coarse, fine in zip(column, column[1:])
        ]
        for k, value in enumerate(extended):
            disagreement = np.maximum(np.abs(value - column[k]), np.abs(value - column[k + 1]))
            estimate = disagreement + noise / steps[k + order]
            better = estimate < error
            best, error = np.where(better, value, best), np.where(better, estimate, error)
        column = extended
    return best, error


def halvings(largest, count):
    return [largest * 0.5**k for k in range(count)]


def numerical_jacobian(function, rows, noise, largest=2.0**-4, count=9):
    """Return d function / d rows for each row, and its error estimate.

    All perturbed rows go through ``function(rows, repeats)`` as one batch. ``repeats`` is the
    number of copies of every row, so that the context can be repeated as often.

    Parameters
    ----------
    function : callable
        (M, D) array, int -> (M, E) array, row by row.
    rows : (N, D) array
    noise : (N, E) array
        Rounding error of the function's values.

    Returns
    -------
    jacobian, error : (N, E, D) arrays
    """
    n, dim = rows.shape
    steps = halvings(largest, count)
    moves = np.array(
        [sign * step * axis for step in steps for sign in (1, -1) for axis in np.eye(dim)]
    )
    shifted = (rows[:, None, :] + moves[None]).reshape(-1, dim)
    values = function(shifted, len(moves))
    values = values.reshape(n, count, 2, dim, -1)
    # The actual distance, after rows + step was rounded.
    walked = shifted.reshape(n, count, 2, dim, dim)
    walked = np.einsum("nkjj->nkj", walked[:, :, 0] - walked[:, :, 1])
    central = np.moveaxis((values[:, :, 0] - values[:, :, 1]) / walked[..., None], 1, 0)
    estimate, error = extrapolate(central, steps, noise[:, None, :])
    return np.swapaxes(estimate, 1, 2), np.swapaxes(error, 1, 2)


def numerical_gradient(function, vector, rounding=0, largest=2.0**-9, count=3):
    """Return the gradient of a function with k values, one entry of ``vector`` after another.

    Parameters
    ----------
    function : callable
        (P,) array -> (k,) array
    vector : (P,) array
    rounding : (k,) array
        How far rounding moves each value, beyond a few ulp.

    Returns
    -------
    gradient, error : (k, P) arrays
    """
    steps = halvings(largest, count)
    noise = 4 * EPS * (1 + np.abs(function(vector))) + rounding
    columns = []
    for entry in range(len(vector)):
        central = []
        for step in steps:
            up, down = vector.copy(), vector.copy()
            up[entry] += step
            down[entry] -= step
            central.append((function(up) - function(down)) / (up[entry] - down[entry]))
        columns.append(extrapolate(central, steps, noise))
    if not columns:
        return np.zeros((len(noise), 0)), np.zeros((len(noise), 0))
    estimates, errors = zip(*columns)
    return np.stack(estimates, axis=1), np.stack(errors, axis=1)


def autograd_jacobian(function, rows):
    """Return the Jacobians (N, E, D) by one backward pass for each of the E outputs.

    A pass sums over the rows. So this is the Jacobian of each row only if rows do not depend on
    each other, which ``rows_independent`` checks.
    """
    vjp, values = make_vjp(function)(rows)
    columns = []
    for k in range(values.shape[1]):
        cotangent = np.zeros(values.shape)
        cotangent[:, k] = 1
        columns.append(vjp(cotangent))
    return np.stack(columns, axis=1)


def rounding_response(function, params, rows, context, eps=EPS, draws=6):
    """Measure how far rounding may move the results of ``function``: a condition number.

    Every operation of a stable computation is exact for arguments that are off by about one
    rounding error. So all inputs (rows, context, parameters) move together, each up or down at
    random by a relative ``NUDGE``. The largest move of the results over a few trials, scaled
    from NUDGE to ``eps``, is the effect of one rounding error in each input. One rounding error
    of the result itself is added: relative for a value, absolute for a log-determinant, because
    it is the logarithm of a factor.

    Parameters
    ----------
    function : callable
        (params, rows, context) -> tuple of arrays; one-dimensional ones are log-determinants.

    Returns
    -------
    tuple of arrays, shaped like the results
    """
    rng = np.random.default_rng(20240229)

    def nudged(array):
        if array is None:
            return None
        array = np.asarray(array)
        return array * (1 + NUDGE * rng.choice((-1.0, 1.0), array.shape))

    results = function(params, rows, context)
    moved = [np.zeros_like(result) for result in results]
    for _ in range(draws):
        others = function(trees.tree_map(nudged, params), nudged(rows), nudged(context))
        moved = [
            np.maximum(far, np.abs(other - result))
            for far, other, result in zip(moved, others, results)
        ]
    return tuple(
        eps / NUDGE * far + eps * (np.abs(result) + (1 if result.ndim == 1 else eps))
        for far, result in zip(moved, results)
    )


def assert_log_det_of_jacobians(act, rows, log_det):
    """Compare log_det with Jacobians of ``act`` (rows -> values), by differences and autograd."""
    numeric, _ = numerical_jacobian(lambda r, repeats: act(r), rows, np.full(rows.shape, 1e-15))
    np.testing.assert_allclose(log_det, log_abs_det(numeric), rtol=0, atol=1e-10)
    analytic = autograd_jacobian(act, rows)
    np.testing.assert_allclose(log_det, log_abs_det(analytic), rtol=0, atol=1e-13)


def log_abs_det(jacobian):
    return np.linalg.slogdet(jacobian)[1]


def log_det_slack(jacobian, error):
    """Return the largest error of a log-determinant for given errors of the Jacobian's entries.

    To first order d log|det J| = tr(J^-1 dJ), which is at most sum_ij |J^-1|_ji |dJ|_ij.
    """
    inverse = np.linalg.inv(jacobian)
    return np.einsum("nji,nij->n", np.abs(inverse), np.abs(error))
