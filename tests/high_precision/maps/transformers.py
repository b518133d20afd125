"""The transformers again, one number at a time, in the letters of their papers.

Each is a function (transformer, raw, own, z) -> x of one coordinate: ``raw`` is the list of the
network's numbers for it, ``own`` the dict of its share of the transformer's own parameters.
"""

from functools import cache

import mpmath as mp
import numpy as np

from nfref.transformers.additive import Additive
from nfref.transformers.affine import Affine
from nfref.transformers.by_coordinate import ByCoordinate
from nfref.transformers.deep_sigmoid import DeepSigmoid
from nfref.transformers.logistic_mixture import LogisticMixture
from nfref.transformers.moebius import MoebiusCircle
from nfref.transformers.monotone_integral import MonotoneIntegral
from nfref.transformers.rational_quadratic import RationalQuadratic
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


def root(function, z):
    """Solve function(x) = z for an increasing function: bracket, halvings, then secants."""
    with mp.workdps(15):
        low, high = mp.mpf(-1), mp.mpf(1)
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
    MonotoneIntegral: monotone_integral,
    MoebiusCircle: moebius_circle,
}


def transform(flow, params, index, raw, z):
    """Return x of one coordinate, number ``index`` of those that the transformer changes."""
    if isinstance(flow.transformer, ByCoordinate):
        return by_coordinate(flow.transformer, raw, {}, z, index)
    own = {name: exact(values)[index] for name, values in params.get("transformer", {}).items()}
    return TRANSFORMERS[type(flow.transformer)](flow.transformer, raw, own, z)
