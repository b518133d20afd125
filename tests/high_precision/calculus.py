"""Calculus on plain functions from lists to lists of mpmath numbers.

Everything here works at the current precision (``mp.mp.dps``) and gives results that are right to
about half of its digits: central differences with step h = 10^(-dps/4) have a relative error of
h^2. So callers set twice the digits they want.
"""

import mpmath as mp

from nfref.oracle import multiprecision
from nfref.oracle.multiprecision import exact, step

__all__ = ["exact", "integrate", "jacobian", "log_abs_det", "midpoint", "solve", "step"]


def jacobian(function, z):
    """Return the matrix of derivatives of ``function`` at z."""
    return multiprecision.jacobian(function, z, digits=mp.mp.dps // 2)


def log_abs_det(matrix):
    """Return log |det J|, or 1/2 log det J^T J for the tall J of an injective flow."""
    if matrix.rows > matrix.cols:
        return mp.log(mp.det(matrix.T * matrix)) / 2
    return mp.log(abs(mp.det(matrix)))


def solve(function, x, start):
    """Return the z with function(z) = x, by Newton's method from a start near it.

    Raises
    ------
    ArithmeticError
        If the steps do not settle.
    """
    z = list(start)
    for _ in range(100):
        residual = [target - value for target, value in zip(x, function(z))]
        move = mp.lu_solve(jacobian(function, z), mp.matrix(residual))
        z = [value + change for value, change in zip(z, move)]
        if max(abs(change) for change in move) <= step() * (1 + max(map(abs, z))):
            return z  # the error of this last step is about the square of its length
    raise ArithmeticError(
        "solve: expected Newton's method to settle within 100 steps, "
        f"got a last step of {mp.nstr(max(map(abs, move)), 3)}"
    )


def integrate(velocity, z, pieces=4, orders=22):
    """Return z(1) for dz/dt = velocity(t, z), z(0) = z, by extrapolation (Gragg, Bulirsch, Stoer).

    On each piece the midpoint rule runs with 2, 4, 6, ... steps. Its error has only even powers of
    the step, so each finer run removes two more orders (Hairer et al., section II.9). For
    velocities that change over times of order one, the remaining error is below 10^-45.
    """
    for piece in range(pieces):
        start, length = mp.mpf(piece) / pieces, mp.mpf(1) / pieces
        table = []
        for k in range(1, orders + 1):
            table.append(midpoint(velocity, z, start, length, 2 * k))
            for j in range(k - 1, 0, -1):
                ratio = (mp.mpf(k) / j) ** 2 - 1
                table[j - 1] = [a + (a - b) / ratio for a, b in zip(table[j], table[j - 1])]
        z = table[0]
    return z


def midpoint(velocity, z, start, length, steps):
    """Take one Euler step, then midpoint steps, and end with Gragg's smoothing."""
    h = length / steps
    before, now = z, [a + h * v for a, v in zip(z, velocity(start, z))]
    for k in range(1, steps):
        ahead = [a + 2 * h * v for a, v in zip(before, velocity(start + k * h, now))]
        before, now = now, ahead
    last = velocity(start + length, now)
    return [(a + b + h * v) / 2 for a, b, v in zip(before, now, last)]
