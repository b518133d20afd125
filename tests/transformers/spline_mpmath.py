"""The spline again, written from its paper, one number at a time, in many digits.

NSF, section 3.1, in the paper's letters: bins of widths and heights by softmax, and in a bin

    g = y_k + (y_{k+1} - y_k) (s xi^2 + d_k xi (1 - xi)) / (s + (d_{k+1} + d_k - 2 s) xi (1 - xi)).

The inverse uses bisection instead of the quadratic equation.
"""

import mpmath as mp


def fractions(raw, minimum):
    total = mp.fsum(mp.exp(value) for value in raw)
    return [minimum + (1 - len(raw) * minimum) * mp.exp(value) / total for value in raw]


def knots_of(transformer, raw):
    """(x knots, y knots, slopes at knots) from the raw numbers of one coordinate."""
    bins, bound = transformer.bins, mp.mpf(transformer.bound)
    raw = [mp.mpf(float(value)) for value in raw]
    minimum = mp.mpf(transformer.min_slope)
    offset = mp.log(mp.exp(1 - minimum) - 1)
    slopes = [minimum + mp.log(1 + mp.exp(value + offset)) for value in raw[2 * bins :]]
    slopes = slopes + slopes[:1] if transformer.tails == "circular" else [1, *slopes, 1]
    axes = []
    for part, smallest in (
        (raw[:bins], transformer.min_width),
        (raw[bins : 2 * bins], transformer.min_height),
    ):
        parts = fractions(part, mp.mpf(smallest))
        axes.append([bound * (2 * mp.fsum(parts[:k]) - 1) for k in range(bins + 1)])
    return (*axes, slopes)


def curve(x, knots):
    """(g(x), g'(x)) for x between the first knot and the last."""
    xs, ys, slopes = knots
    k = max(k for k in range(len(xs) - 1) if k == 0 or xs[k] <= x)
    xi = (x - xs[k]) / (xs[k + 1] - xs[k])
    rise = ys[k + 1] - ys[k]
    s = rise / (xs[k + 1] - xs[k])
    bottom = s + (slopes[k + 1] + slopes[k] - 2 * s) * xi * (1 - xi)
    value = ys[k] + rise * (s * xi**2 + slopes[k] * xi * (1 - xi)) / bottom
    slope = (
        s**2
        * (slopes[k + 1] * xi**2 + 2 * s * xi * (1 - xi) + slopes[k] * (1 - xi) ** 2)
        / bottom**2
    )
    return value, slope


def split(transformer, v):
    """v as a number in [-B, B) and whole turns, or (None, v) in a linear tail."""
    bound = mp.mpf(transformer.bound)
    if transformer.tails == "circular":
        turns = 2 * bound * mp.floor((v + bound) / (2 * bound))
        return v - turns, turns
    return (v, mp.mpf(0)) if abs(v) < bound else (None, v)


def inverse(transformer, raw, x):
    """(z, log dz/dx): data to latent, the paper's g."""
    inside, rest = split(transformer, mp.mpf(x))
    if inside is None:
        return rest, mp.mpf(0)
    z, slope = curve(inside, knots_of(transformer, raw))
    return z + rest, mp.log(slope)


def forward(transformer, raw, z):
    """(x, log dx/dz): latent to data, by bisection in the bin that holds z."""
    inside, rest = split(transformer, mp.mpf(z))
    if inside is None:
        return rest, mp.mpf(0)
    knots = knots_of(transformer, raw)
    k = max(k for k in range(transformer.bins) if k == 0 or knots[1][k] <= inside)
    low, high = knots[0][k], knots[0][k + 1]
    for _ in range(int(mp.mp.prec) + 10):
        middle = (low + high) / 2
        value = curve(middle, knots)[0]
        low, high = (middle, high) if value <= inside else (low, middle)
    return low + rest, -mp.log(curve(low, knots)[1])
