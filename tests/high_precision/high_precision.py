"""The truth to sixty digits, and how far the float64 formulas are from it.

The maps come from :mod:`tests.high_precision.maps`. Log-determinants come from numerical
differentiation of the map and inverses from Newton steps on the map, so neither uses a formula for
them.
"""

from dataclasses import dataclass

import mpmath as mp
import numpy as np

from nfref.flows.composition import Invert
from nfref.runtime.backends import backend
from tests.high_precision.calculus import exact, jacobian, log_abs_det, solve
from tests.high_precision.maps import forward

DIGITS = 60
EPSILON = 2.0**-52


def truth(flow, params, row, direction="forward", context=()):
    """Return the value and log-determinant of one row, right to sixty digits.

    Parameters
    ----------
    flow : Flow
    params : nested dicts and lists of arrays
    row : (D,) array
        A latent row for "forward", a data row for "inverse".
    direction : {"forward", "inverse"}
    context : (C,) array, optional

    Returns
    -------
    value : list of mpmath numbers, length D
    log_det : mpmath number
        Of the direction taken.
    """
    if isinstance(flow, Invert):
        turned = {"forward": "inverse", "inverse": "forward"}[direction]
        return truth(flow.flow, params, row, turned, context)
    with mp.workdps(2 * DIGITS):
        point, given = exact(row), exact(context)

        def function(z):
            return forward(flow, params, z, given)

        if direction == "forward":
            return function(point), log_abs_det(jacobian(function, point))
        # Newton's method starts from the float64 root and continues independently.
        start, _ = flow.inverse(
            params,
            np.array([row], dtype=float),
            np.array([context], dtype=float) if len(context) else None,
        )
        z = solve(function, point, exact(start[0]))
        return z, -log_abs_det(jacobian(function, z))


@dataclass(frozen=True)
class Errors:
    """Largest errors of a float64 formula over some rows, in units in the last place.

    Attributes
    ----------
    value, log_det : float
        |error| / (2^-52 max(1, |truth|)).
    value_conditioned, log_det_conditioned : float
        The same divided by what relative changes of 2^-52 in the entries of the row would
        do to the truth. Values of a few say that the formula loses nothing; what remains
        in the columns without conditioning is the steepness of the map.
    """

    value: float
    log_det: float
    value_conditioned: float
    log_det_conditioned: float


def measure(flow, params, rows, direction="forward", context=None):
    """Compare the float64 formula with the truth.

    Parameters
    ----------
    flow : Flow
    params : nested dicts and lists of float64 arrays
    rows : (N, D) array
    direction : {"forward", "inverse"}
    context : (N, C) array, optional

    Returns
    -------
    Errors
    """
    with backend("numpy"):  # the formula, for any backend of the process
        values, log_dets = getattr(flow, direction)(params, rows, context)
    worst = np.zeros(4)
    for n, row in enumerate(rows):
        given = () if context is None else context[n]
        value, log_det = truth(flow, params, row, direction, given)
        error = np.array([float(abs(mp.mpf(float(a)) - b)) for a, b in zip(values[n], value)])
        error_log_det = float(abs(mp.mpf(float(log_dets[n])) - log_det))
        size = np.maximum(1, np.abs(np.array(value, dtype=float)))
        size_log_det = max(1, abs(float(log_det)))
        moved, moved_log_det = sensitivity(flow, params, row, direction, given, value, log_det)
        worst = np.maximum(
            worst,
            [
                np.max(error / size) / EPSILON,
                error_log_det / size_log_det / EPSILON,
                np.max(error / (size + moved)) / EPSILON,
                error_log_det / (size_log_det + moved_log_det) / EPSILON,
            ],
        )
    return Errors(*worst.tolist())


def sensitivity(flow, params, row, direction, context, value, log_det):
    """Return first-order moves of value (D,) and log_det per relative change in the row."""
    moved, moved_log_det = np.zeros(len(value)), 0.0
    with mp.workdps(2 * DIGITS):
        h = mp.mpf(10) ** -DIGITS / 2
    for j in range(len(row)):
        with mp.workdps(2 * DIGITS):
            nudged = exact(row)
            nudged[j] += h
        near, near_log_det = truth(flow, params, nudged, direction, context)
        with mp.workdps(2 * DIGITS):
            slopes = [float((a - b) / h) for a, b in zip(near, value)]
            moved += np.abs(row[j]) * np.abs(slopes)
            moved_log_det += abs(row[j] * float((near_log_det - log_det) / h))
    return moved, moved_log_det
