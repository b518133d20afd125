"""The slope and the root of planar maps, which are Sylvester maps with one direction.

See :mod:`nfref.flows.planar` for the formulas; the layer is that of ``sylvester``.
"""

import math

from nfref.kernels.jit import body

ULP = 2.0**-52


@body
def sech_squared(x):
    """Return 4 e^(-2|x|) / (1 + e^(-2|x|))^2, which keeps digits that 1 - tanh^2 loses."""
    tail = math.exp(-2 * abs(x))
    return 4 * tail / ((1 + tail) * (1 + tail))


@body
def planar_slope(a, slack):
    """See :func:`nfref.flows.planar.planar_slope`."""
    h = math.tanh(a)
    return h * h + slack * sech_squared(a)


@body
def minus_tanh(a):
    """Return a - tanh(a) for a >= 0; see :func:`nfref.flows.planar.minus_tanh`."""
    if not a < 1:
        return a - math.tanh(a)
    square = a * a
    fraction = a * 0.0
    for k in range(9):
        fraction = square / (19 - 2 * k + fraction)
    return a * fraction / (1 + fraction)


@body
def planar_root(r, slack):
    """Return the a with (a - tanh a) + slack tanh a = r, always in float64.

    See :func:`nfref.flows.planar.planar_root`.
    """
    target = abs(r)
    if not target < math.inf:
        return r
    low = max(target - max(slack - 1.0, 0.0), 0.0)
    high = target + max(1.0 - slack, 0.0)
    least = min(slack, 1.0)  # of the slope
    if least * high > target:
        high = target / least
    a = high if slack < 1 else low
    for _ in range(200):
        excess = minus_tanh(a) + slack * math.tanh(a) - target
        if excess <= 0:
            low = a
        if excess >= 0:
            high = a
        new = a - excess / planar_slope(a, slack)
        if not low <= new <= high:
            new = (low + high) / 2
        moved = abs(new - a)
        a = new
        if not moved > 4 * ULP * abs(new):
            break
    return math.copysign(a, r)
