"""The transformers again, one number at a time, in the letters of their papers.

Each is a function (transformer, raw, own, z) -> x of one coordinate: ``raw`` is the list of the
network's numbers for it, ``own`` the dict of its share of the transformer's own parameters.
"""

from functools import cache

import mpmath as mp
import numpy as np

from nfref.transformers.additive import Additive
from nfref.transformers.affine import Affine
from nfref.transformers.bernstein import Bernstein
from nfref.transformers.by_coordinate import ByCoordinate
from nfref.transformers.cubic_spline import CubicSpline
from nfref.transformers.deep_sigmoid import DeepSigmoid
from nfref.transformers.gaussianization import Gaussianization
from nfref.transformers.linear_spline import LinearSpline
from nfref.transformers.logistic_mixture import LogisticMixture
from nfref.transformers.moebius import MoebiusCircle
from nfref.transformers.monotone_integral import MonotoneIntegral
from nfref.transformers.quadratic_spline import QuadraticSpline
from nfref.transformers.rational_quadratic import RationalQuadratic
from nfref.transformers.sum_of_squares import SumOfSquares
from tests.high_precision.calculus import exact


def sigmoid(value):
    return 1 / (1 + mp.exp(-value))


def additive(transformer, raw, own, z):
    return z + raw[0]


def affine(transformer, raw, own, z):
    """Latent to data; z = sigma x + (1 - sigma) m (IAF) and z = (x - p) sigma (Glow) solved."""
    p, r = raw
    if transformer.scale == "gate":
        gate = sigmoid(r + mp.mpf(transformer.offset))
        return (z - (1 - gate) * p) / gate
    if transformer.scale == "sigmoid":
        return z / sigmoid(r + mp.mpf(transformer.offset)) + p
    bound = mp.mpf(transformer.bound)
    s = {
        "bounded": lambda: r / mp.sqrt(1 + (r / bound) ** 2),
        "exp": lambda: r,
        "tanh": lambda: own["factor"] * mp.tanh(r),
    }[transformer.scale]()
    return z * mp.exp(s) + p


def rational_quadratic(transformer, raw, own, z):
    """Latent to data: NSF's y is z and its x is x, so this solves the curve for x in a bin."""
    bins, bound = transformer.bins, mp.mpf(transformer.bound)
    turns = mp.mpf(0)
    if transformer.circular:
        turns = mp.floor((z + bound) / (2 * bound))
        z = z - 2 * bound * turns
    elif abs(z) >= bound:
        return z
    x_k = ends(raw[:bins], mp.mpf(transformer.min_width), bound)
    y_k = ends(raw[bins : 2 * bins], mp.mpf(transformer.min_height), bound)
    least = mp.mpf(transformer.min_slope)
    slopes = [
        least + mp.log(1 + mp.exp(value) * (mp.exp(1 - least) - 1)) for value in raw[2 * bins :]
    ]
    delta = [*slopes, slopes[0]] if transformer.circular else [1, *slopes, 1]
    k = max(k for k in range(bins) if y_k[k] <= z)
    width, height = x_k[k + 1] - x_k[k], y_k[k + 1] - y_k[k]
    s, y = height / width, z - y_k[k]
    bend = delta[k + 1] + delta[k] - 2 * s
    a = height * (s - delta[k]) + y * bend
    b = height * delta[k] - y * bend
    c = -s * y
    xi = 2 * c / (-b - mp.sqrt(b**2 - 4 * a * c))
    return x_k[k] + xi * width + 2 * bound * turns


def ends(raw, least, bound):
    """Return knots from -B to B: a softmax of raw shares out what exceeds the least sizes."""
    total = mp.fsum(mp.exp(value) for value in raw)
    parts = [least + (1 - len(raw) * least) * mp.exp(value) / total for value in raw]
    return [-bound + 2 * bound * mp.fsum(parts[:k]) for k in range(len(raw))] + [bound]


def positive(value, least):
    """Return m + softplus(value + c), which is 1 where value is 0."""
    return least + mp.log(1 + mp.exp(value) * (mp.exp(1 - least) - 1))


def linear_spline(transformer, raw, own, z):
    """NIS's cumulative histogram takes x to z; so this walks along its bins from z to x."""
    bins, bound = transformer.bins, mp.mpf(transformer.bound)
    if abs(z) >= bound:
        return z
    y_k = ends(raw, mp.mpf(transformer.min_height), bound)
    k = max(k for k in range(bins) if y_k[k] <= z)
    return -bound + 2 * bound * (k + (z - y_k[k]) / (y_k[k + 1] - y_k[k])) / bins


def quadratic_spline(transformer, raw, own, z):
    """NIS's integral of a polygon takes x to z; a quadratic equation in each bin gives x."""
    bins, bound = transformer.bins, mp.mpf(transformer.bound)
    if abs(z) >= bound:
        return z
    x_k, least = ends(raw[:bins], mp.mpf(transformer.min_width), bound), transformer.min_slope
    v = [positive(value, mp.mpf(least)) for value in raw[bins:]]

    def area(d):
        widths = (x_k[k + 1] - x_k[k] for k in range(bins))
        return [mp.fsum(d[k : k + 2]) / 2 * width for k, width in enumerate(widths)]

    # The area is linear in the factor of v; its values at 0 and 1 give the factor.
    none, one = (mp.fsum(area([1, *(f * value for value in v), 1])) for f in (0, 1))
    factor = (2 * bound - none) / (one - none)
    d = [1, *(least + (1 - mp.mpf(least)) * factor * value for value in v), 1]
    y = -bound
    for k, height in enumerate(area(d)):
        if z <= y + height or k == bins - 1:
            break
        y += height
    # y + d_k t + (d_{k+1} - d_k) t^2 / (2 w) = z
    bend = (d[k + 1] - d[k]) / (x_k[k + 1] - x_k[k])
    return x_k[k] + 2 * (z - y) / (d[k] + mp.sqrt(d[k] ** 2 + 2 * bend * (z - y)))


def cubic_spline(transformer, raw, own, z):
    """nflows' a t^3 + b t^2 + c t + d takes x to z; this solves for t = x - x_k in a bin."""
    bins, bound, least = transformer.bins, mp.mpf(transformer.bound), mp.mpf(transformer.min_slope)
    if abs(z) >= bound:
        return z
    x_k = ends(raw[:bins], mp.mpf(transformer.min_width), bound)
    y_k = ends(raw[bins : 2 * bins], mp.mpf(transformer.min_height), bound)
    w = [right - left for left, right in zip(x_k, x_k[1:])]
    s = [(y_k[k + 1] - y_k[k]) / w[k] for k in range(bins)]
    p = [(w[k + 1] * s[k] + w[k] * s[k + 1]) / (w[k] + w[k + 1]) for k in range(bins - 1)]
    odds = (mp.mpf(1) / 3 - least) / (mp.mpf(2) / 3 - least)
    share = [least + (1 - 2 * least) / (1 + mp.exp(-value) / odds) for value in raw[2 * bins :]]
    slopes = [
        3 * s[0] * share[0],
        *(2 * min(s[k], s[k + 1], p[k] / 2) for k in range(bins - 1)),
        3 * s[-1] * share[1],
    ]
    k = max(k for k in range(bins) if y_k[k] <= z)
    a = (slopes[k] + slopes[k + 1] - 2 * s[k]) / w[k] ** 2
    b = (3 * s[k] - 2 * slopes[k] - slopes[k + 1]) / w[k]
    return x_k[k] + root(lambda t: ((a * t + b) * t + slopes[k]) * t + y_k[k], z, 0, w[k])


def bernstein(transformer, raw, own, z):
    """The Bernstein polynomial of increasing coefficients, by de Casteljau's scheme, is z."""
    degree, bound = transformer.degree, mp.mpf(transformer.bound)
    steps = [positive(value, mp.mpf(transformer.min_slope)) for value in raw[1:]]
    theta = [raw[0] - bound]
    for step in [steps[0], *steps, steps[-1]]:
        theta.append(theta[-1] + 2 * bound / degree * step)
    if z <= theta[0]:
        return -bound + (z - theta[0]) / steps[0]
    if z >= theta[-1]:
        return bound + (z - theta[-1]) / steps[-1]

    def polynomial(x):
        t, level = (x + bound) / (2 * bound), theta
        while len(level) > 1:
            level = [(1 - t) * left + t * right for left, right in zip(level, level[1:])]
        return level[0]

    return root(polynomial, z, -bound, bound)


def sum_of_squares(transformer, raw, own, z):
    """SOS flows' polynomial with its coefficients multiplied out takes x to z; solved for x."""
    K, L, bound = transformer.polynomials, transformer.degree, mp.mpf(transformer.bound)
    least = mp.mpf(transformer.min_slope)
    square = [mp.mpf(0)] * (2 * L + 1)
    for k in range(K):
        a = [raw[1 + K * power + k] for power in range(L + 1)]
        a[0] += 1
        a[1] += exact(np.array(0.1)) * exact(np.linspace(-1, 1, K) if K > 1 else np.zeros(1))[k]
        for i in range(L + 1):
            for j in range(L + 1):
                square[i + j] += (1 - least) / K * a[i] * a[j]
    square[0] += least

    def polynomial(x):
        u = x / bound
        return raw[0] + bound * mp.fsum(c * u ** (i + 1) / (i + 1) for i, c in enumerate(square))

    return root(polynomial, z)


def root(function, z, low=-1, high=1):
    """Solve function(x) = z for an increasing function: bracket, halvings, then secants."""
    with mp.workdps(15):
        low, high = mp.mpf(low), mp.mpf(high)
        while function(low) > z:
            low *= 4
        while function(high) < z:
            high *= 4
        while high - low > mp.mpf("1e-6") * (1 + abs(low)):
            middle = (low + high) / 2
            low, high = (middle, high) if function(middle) <= z else (low, middle)
    off_low, off = function(low) - z, function(high) - z
    while off != 0 and abs(high - low) > mp.mpf(10) ** (-mp.mp.dps) * (1 + abs(high)):
        if off == off_low:
            raise ArithmeticError("root: expected secants to settle, got two equal values")
        low, high, off_low = high, high - off * (high - low) / (off - off_low), off
        off = function(high) - z
    return high


def deep_sigmoid(transformer, raw, own, z):
    """NAF's y = sigma^-1(w^T sigma(a x + b)) takes x to z; so this solves for x."""
    J, least = transformer.units, mp.mpf(transformer.min_slope)
    a = [least + mp.log(1 + mp.exp(value) * (mp.exp(1 - least) - 1)) for value in raw[:J]]
    b = [value + spread for value, spread in zip(raw[J:], exact(np.linspace(-1, 1, J)))]
    w = [mp.exp(value) for value in raw[2 * J :]]

    def y(x):
        odds = [mp.exp(a[j] * x + b[j]) for j in range(J)]
        return mp.log(
            mp.fsum(w[j] * odds[j] / (1 + odds[j]) for j in range(J))
            / mp.fsum(w[j] / (1 + odds[j]) for j in range(J))
        )

    return root(y, z)


def logistic_mixture(transformer, raw, own, z):
    """Flow++'s sigma^-1(MixLogCDF(x; pi, mu, s)) exp(a) + b takes x to z; this solves for x."""
    K, bound = transformer.components, mp.mpf(transformer.bound)

    def within(r):
        return r / mp.sqrt(1 + (r / bound) ** 2)

    a, b, raw = within(raw[0]), raw[1], raw[2:]
    mu = [value + spread for value, spread in zip(raw, exact(np.linspace(-1, 1, K)))]
    scale = [mp.exp(within(value)) for value in raw[K : 2 * K]]
    pi = [mp.exp(value) for value in raw[2 * K :]]

    def y(x):
        odds = [mp.exp((x - mu[k]) / scale[k]) for k in range(K)]
        return mp.log(
            mp.fsum(pi[k] * odds[k] / (1 + odds[k]) for k in range(K))
            / mp.fsum(pi[k] / (1 + odds[k]) for k in range(K))
        )

    return root(y, (z - b) / mp.exp(a))


def gaussianization(transformer, raw, own, z):
    """Gaussianization's Phi^-1(mean of Phi(e^a x + b)) takes x to z; this solves for x.

    It compares logarithms in the nearer tail: in the other one Phi is 1 to any number of digits.
    """
    K, bound = transformer.components, mp.mpf(transformer.bound)
    a = [r / mp.sqrt(1 + (r / bound) ** 2) for r in raw[:K]]
    b = [value + spread for value, spread in zip(raw[K:], exact(np.linspace(-1, 1, K)))]

    side = 1 if z > 0 else -1

    def log_tail(y):
        return mp.log(mp.fsum(mp.ncdf(mp.exp(p) * y - side * q) for p, q in zip(a, b)) / K)

    return -side * root(log_tail, mp.log(mp.ncdf(-side * z)))


def monotone_integral(transformer, raw, own, z):
    """UMNN's F(x; h), as the rule of Clenshaw and Curtis has it, takes x to z; solved for x."""
    J, n, bound = transformer.units, transformer.nodes, mp.mpf(transformer.bound)
    beta, level, raw = raw[0], raw[1], raw[2:]
    alpha = [mp.exp(value / mp.sqrt(1 + value**2)) for value in raw[:J]]
    mu = [value + 3 * spread for value, spread in zip(raw[J:], exact(np.linspace(-1, 1, J)))]
    length = mp.sqrt(1 + J * mp.fsum(value**2 for value in raw[2 * J :]) * (bound / n) ** 2)
    nodes, weights = rule(n, mp.mp.prec)

    def f(t):
        r = level
        for j in range(J):
            odds = mp.exp(2 * alpha[j] * (t - mu[j]))
            r += raw[2 * J + j] / length / alpha[j] * (odds - 1) / (odds + 1)
        return mp.exp(r / mp.sqrt(1 + (r / 5) ** 2))

    def F(x):
        return beta + x * mp.fsum(w * f(x * node) for w, node in zip(weights, nodes))

    for end in (-bound, bound):
        if (z - F(end)) * end >= 0:
            return end + (z - F(end)) / mp.diff(F, end)
    return root(F, z)


@cache
def rule(n, precision):
    """Nodes on [0, 1] and the weights that integrate x^0, ..., x^n exactly at them."""
    nodes = [(1 - mp.cos(mp.pi * k / n)) / 2 for k in range(n + 1)]
    powers = mp.matrix(n + 1, n + 1)
    for d in range(n + 1):
        for k in range(n + 1):
            powers[d, k] = nodes[k] ** d
    return nodes, list(mp.lu_solve(powers, mp.matrix([mp.mpf(1) / (d + 1) for d in range(n + 1)])))


def moebius_circle(transformer, raw, own, z):
    """The angle whose image under the convex combination is z, counted from -pi; whole turns kept.

    Each map is omega's (1 - |omega|^2) / |e - omega|^2 (e - omega) - omega of the point e of the
    unit circle, divided by the image of the point 1. Its argument in [0, 2 pi) is the new angle.
    """
    count, limit = transformer.components, mp.mpf(transformer.limit)
    total = mp.fsum(mp.exp(value) for value in raw[:count])
    weights = [mp.exp(value) / total for value in raw[:count]]
    omegas = []
    for k in range(count):
        start = mp.expjpi(mp.mpf(2 * k + 1) / count) / 2 if count > 1 else 0
        point = start + mp.mpc(raw[count + k], raw[2 * count + k])
        omegas.append(limit * point / mp.sqrt(1 + abs(point) ** 2))

    def value_and_slope(angle):
        point, value, slope = mp.expj(angle), mp.mpf(0), mp.mpf(0)
        for weight, omega in zip(weights, omegas):
            stretch, at_one = ((1 - abs(omega) ** 2) / abs(e - omega) ** 2 for e in (point, 1))
            image = stretch * (point - omega) - omega
            image_of_one = at_one * (1 - omega) - omega
            value += weight * (mp.arg(image / image_of_one) % (2 * mp.pi))
            slope += weight * stretch
        return value, slope

    turns = mp.floor((z + mp.pi) / (2 * mp.pi))
    target = z + mp.pi - 2 * mp.pi * turns
    low, high = mp.mpf(0), 2 * mp.pi
    with mp.workdps(15):
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (middle, high) if value_and_slope(middle)[0] <= target else (low, middle)
    angle = low
    for _ in range(5):  # each Newton step doubles the digits, from nine
        value, slope = value_and_slope(angle)
        angle -= (value - target) / slope
    return angle - mp.pi + 2 * mp.pi * turns


def by_coordinate(transformer, raw, own, z, index):
    """Apply this coordinate's transformer to as many numbers as it takes."""
    kind = transformer.transformers[index]
    return TRANSFORMERS[type(kind)](kind, raw[: kind.size], own, z)


TRANSFORMERS = {
    Additive: additive,
    Affine: affine,
    RationalQuadratic: rational_quadratic,
    DeepSigmoid: deep_sigmoid,
    LogisticMixture: logistic_mixture,
    Gaussianization: gaussianization,
    MonotoneIntegral: monotone_integral,
    MoebiusCircle: moebius_circle,
    LinearSpline: linear_spline,
    QuadraticSpline: quadratic_spline,
    CubicSpline: cubic_spline,
    Bernstein: bernstein,
    SumOfSquares: sum_of_squares,
}


def transform(flow, params, index, raw, z):
    """Return x of one coordinate, number ``index`` of those that the transformer changes."""
    if isinstance(flow.transformer, ByCoordinate):
        return by_coordinate(flow.transformer, raw, {}, z, index)
    own = {name: exact(values)[index] for name, values in params.get("transformer", {}).items()}
    return TRANSFORMERS[type(flow.transformer)](flow.transformer, raw, own, z)
