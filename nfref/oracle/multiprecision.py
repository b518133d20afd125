"""log |det| of anybody's map to as many digits as wanted, for those who must be sure.

>>> import mpmath as mp
>>> from nfref.oracle.multiprecision import log_abs_det
>>> mp.nstr(log_abs_det(lambda z: [z[0] + mp.tanh(z[1]), 3 * z[1]], [0.5, -1.25], digits=30), 20)
'1.0986122886681096914'

The map is written once more, on lists of mpmath numbers; that is a few lines for most flows, and
shares nothing with the code that is in doubt.
"""

import mpmath as mp

from nfref.oracle.truth import multiprecision as exact_calculus

__all__ = ["jacobian", "log_abs_det"]


def jacobian(function, row, digits=60):
    """The Jacobian of a map at a row.

    Parameters
    ----------
    function : callable
        List of D mpmath numbers -> list of D mpmath numbers.
    row : sequence of D numbers
        Taken exactly: a float is the binary fraction that it is.
    digits : int
        Significant digits that are right, for a map that is smooth there.

    Returns
    -------
    (D, D) mpmath matrix
    """
    with mp.workdps(2 * digits):
        return exact_calculus.jacobian(function, exact_calculus.exact(list(row)))


def log_abs_det(function, row, digits=60):
    """log |det dx/dz| of a map at a row, by central differences in twice the digits.

    Parameters as in :func:`jacobian`.

    Returns
    -------
    mpmath number
        In nats.
    """
    with mp.workdps(2 * digits):
        return exact_calculus.log_abs_det(jacobian(function, row, digits))
