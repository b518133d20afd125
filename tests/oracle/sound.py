"""Flows and densities that are right, and nasty on purpose: every alarm is a false one.

Steep, chaotic, kinked, narrow, heavy-tailed, bounded, with holes, of one dimension and of
thirty, in both dtypes. ``SOUND`` maps a name to a function of a generator that returns the
arguments of check_flow or, with "log_prob" among them, of check_density.
"""

import numpy as np
from scipy import special, stats

import nfref
from nfref.oracle import adapters
from tests import flow_table

SOUND = {}
DTYPES = (np.float64, np.float32)


def sound(name):
    def register(build):
        SOUND[name] = build
        return build

    return register


# Scalar maps, applied to every coordinate: (forward, inverse, log-slope at z, what they take).


def softplus(t):
    return np.logaddexp(t, np.zeros((), dtype=t.dtype))


def _leaky(slope):
    return (
        lambda z: np.where(z < 0, z.dtype.type(slope) * z, z),
        lambda x: np.where(x < 0, x / x.dtype.type(slope), x),
        lambda z: np.where(z < 0, np.log(z.dtype.type(slope)), 0 * z),
        {},
    )


def _linear(scale, shift):
    return (
        lambda z: z * z.dtype.type(scale) + z.dtype.type(shift),
        lambda x: (x - x.dtype.type(shift)) / x.dtype.type(scale),
        lambda z: 0 * z + np.log(z.dtype.type(scale)),
        {},
    )


def _bisected(function, slope, reach):
    """A map without a closed inverse: bisection until nothing changes any more."""

    def inverse(x):
        low, high = x - x.dtype.type(reach), x + x.dtype.type(reach)
        for _ in range(90):
            middle = x.dtype.type(0.5) * (low + high)
            above = function(middle) > x
            low, high = np.where(above, low, middle), np.where(above, middle, high)
        return x.dtype.type(0.5) * (low + high)

    return function, inverse, lambda z: np.log(slope(z)), {}


def _wave(frequency, size):
    def act(z):
        k, a = z.dtype.type(frequency), z.dtype.type(size / frequency)
        return z + a * np.sin(k * z)

    return _bisected(
        act,
        lambda z: 1 + z.dtype.type(size) * np.cos(z.dtype.type(frequency) * z),
        2 * size / frequency,
    )


def _step(width, height):
    def act(z):
        return z + z.dtype.type(height) * np.tanh(z / z.dtype.type(width))

    def slope(z):
        return (
            1
            + z.dtype.type(height / width) / np.cosh(np.clip(z / z.dtype.type(width), -40, 40)) ** 2
        )

    return _bisected(act, slope, 1.01 * height)


def _pieces(knots, heights):
    def through(t, here, there):
        here, there = np.array(here, t.dtype), np.array(there, t.dtype)
        k = np.clip(np.searchsorted(here, t, side="right") - 1, 0, len(here) - 2)
        inside = (t > here[0]) & (t < here[-1])
        slope = np.diff(there) / np.diff(here)
        return (
            np.where(inside, there[k] + (t - here[k]) * slope[k], t),
            np.where(inside, np.log(slope)[k], 0 * t),
        )

    return (
        lambda z: through(z, knots, heights)[0],
        lambda x: through(x, heights, knots)[0],
        lambda z: through(z, knots, heights)[1],
        {},
    )


SCALAR = {
    "tiny": _linear(1e-6, 0),
    "huge": _linear(1e6, 0),
    "far away": _linear(1.0, 50.0),
    "narrow": _linear(1e-2, 3.0),
    "leaky 0.1": _leaky(0.1),
    "leaky 0.001": _leaky(1e-3),
    "exp": (np.exp, np.log, lambda z: z, dict(codomain=(0, np.inf))),
    "softplus": (
        softplus,
        lambda x: x + np.log(-np.expm1(-x)),
        lambda z: -softplus(-z),
        dict(codomain=(0, np.inf)),
    ),
    "sigmoid": (
        lambda z: np.exp(-softplus(-z)),
        lambda x: np.log(x) - np.log1p(-x),
        lambda z: -softplus(z) - softplus(-z),
        dict(codomain=(0, 1)),
    ),
    "sinh": (np.sinh, np.arcsinh, lambda z: np.logaddexp(z, -z) - np.log(z.dtype.type(2)), {}),
    "arcsinh": (np.arcsinh, np.sinh, lambda z: -np.log(np.hypot(1, z)), {}),
    "wave": _wave(10.0, 0.5),
    "fast wave": _wave(1e3, 0.5),
    "step": _step(0.3, 3.0),
    "steep step": _step(0.01, 1.0),
    "pieces": _pieces((-2, -1, 0.5, 2), (-2, 0, 0.2, 2)),
    "many pieces": _pieces(np.linspace(-3, 3, 25), np.linspace(-3, 3, 25) ** 3 / 9),
    "square": (
        lambda z: z * z,
        np.sqrt,
        lambda z: np.log(2 * z),
        dict(domain=(0, np.inf), codomain=(0, np.inf)),
    ),
    "reciprocal": (
        lambda z: 1 / z,
        lambda x: 1 / x,
        lambda z: -2 * np.log(z),
        dict(domain=(0, np.inf), codomain=(0, np.inf)),
    ),
    "probit": (
        lambda z: special.ndtr(z).astype(z.dtype),
        lambda x: special.ndtri(x).astype(x.dtype),
        lambda z: (-0.5 * z * z - 0.5 * np.log(2 * np.pi)).astype(z.dtype),
        dict(codomain=(0, 1)),
    ),
}
# sinh and its like overflow or lose all digits at radius 1000 in float32 by what they are.


def _elementwise(maps, dim, dtype):
    forward, inverse, log_slope, more = maps

    def there(z):
        return forward(z), np.sum(log_slope(z), axis=1)

    def back(x):
        z = inverse(x)
        return z, -np.sum(log_slope(z), axis=1)

    return dict(dim=dim, dtype=dtype, forward=there, inverse=back, **more)


for _name, _maps in SCALAR.items():
    for _dim in (1, 2, 5, 30):
        for _dtype in DTYPES:
            if _dim in (5, 30) and _dtype == np.float32 and _name not in ("leaky 0.1", "wave"):
                continue
            SOUND[f"{_name}, D = {_dim}, {np.dtype(_dtype)}"] = (
                lambda rng, maps=_maps, dim=_dim, dtype=_dtype: _elementwise(maps, dim, dtype)
            )


# Maps of the plane ------------------------------------------------------------------------


def _standard_map(strength, times):
    """Chirikov's: area-preserving, and chaotic when iterated."""

    def forward(z):
        q, p = z[:, 0], z[:, 1]
        for _ in range(times):
            p = p + z.dtype.type(strength) * np.sin(q)
            q = q + p
        return np.stack([q, p], axis=1), np.zeros(len(z), z.dtype)

    def inverse(x):
        q, p = x[:, 0], x[:, 1]
        for _ in range(times):
            q = q - p
            p = p - x.dtype.type(strength) * np.sin(q)
        return np.stack([q, p], axis=1), np.zeros(len(x), x.dtype)

    return forward, inverse


for _times in (1, 3, 6, 10, 20):
    for _dtype in DTYPES:
        SOUND[f"standard map, {_times} times, {np.dtype(_dtype)}"] = (
            lambda rng, times=_times, dtype=_dtype: dict(
                zip(("forward", "inverse"), _standard_map(2.0, times)), dim=2, dtype=dtype
            )
        )


@sound("Henon map, 4 times")
def henon(rng):
    def forward(z):
        x, y = z.T
        for _ in range(4):
            x, y = y + 1 - 1.4 * x**2, 0.3 * x
        return np.stack([x, y], 1), np.full(len(z), 4 * np.log(0.3))

    def inverse(u):
        x, y = u.T
        for _ in range(4):
            x, y = y / 0.3, x - 1 + 1.4 * (y / 0.3) ** 2
        return np.stack([x, y], 1), np.full(len(u), -4 * np.log(0.3))

    # 1.4 x^2 four times over reaches 1e16 from x = 10: there nothing comes back.
    return dict(
        dim=2,
        forward=forward,
        inverse=inverse,
        domain=(-1.5, 1.5),
        codomain=lambda g, n: forward(g.uniform(-1.5, 1.5, (n, 2)))[0],
        skip=("normalised",),
    )


def _swirl(speed):
    """A rotation by an angle that grows with the radius: volume-preserving."""

    def turn(sign):
        def act(z):
            a = sign * speed * np.sum(z * z, axis=1)
            c, s = np.cos(a), np.sin(a)
            return (
                np.stack([c * z[:, 0] - s * z[:, 1], s * z[:, 0] + c * z[:, 1]], 1),
                np.zeros(len(z), z.dtype),
            )

        return act

    return dict(dim=2, forward=turn(1), inverse=turn(-1))


SOUND["swirl"] = lambda rng: _swirl(0.5)
SOUND["fast swirl"] = lambda rng: _swirl(10.0)


# Flows of nfref ---------------------------------------------------------------------------

_FLOWS = {
    "RealNVP": lambda dim: nfref.RealNVP(dim, layers=3, hidden=(8,)),
    "deep RealNVP": lambda dim: nfref.RealNVP(dim, layers=8, hidden=(8,)),
    "NICE": lambda dim: nfref.NICE(dim, layers=4, hidden=(8,)),
    "MAF": lambda dim: nfref.MAF(dim, layers=2, hidden=(2 * dim,)),
    "IAF": lambda dim: nfref.IAF(dim, layers=2, hidden=(2 * dim,)),
    "planar": lambda dim: nfref.PlanarLayer(dim),
}


def _nfref(make, dim, dtype, size):
    def build(rng):
        flow = make(dim)
        params = nfref.params.tree_map(
            lambda leaf: leaf.astype(dtype), flow_table.random_params(flow, rng, size)
        )
        return dict(adapters.from_nfref(flow, params), dim=dim, dtype=dtype)

    return build


for _name, _make in _FLOWS.items():
    for _dim in (2, 4, 30):
        for _dtype in DTYPES:
            if _dim == 30 and (_dtype == np.float32 or _name in ("IAF", "deep RealNVP")):
                continue
            SOUND[f"{_name}, D = {_dim}, {np.dtype(_dtype)}"] = _nfref(_make, _dim, _dtype, 0.5)


# Densities --------------------------------------------------------------------------------


def _product(distribution, dim, domain=None):
    def build(rng):
        return dict(
            dim=dim,
            domain=domain,
            log_prob=lambda x: np.sum(distribution.logpdf(x), axis=1),
            sample=lambda g, n: distribution.rvs(size=(n, dim), random_state=g),
        )

    return build


_DISTRIBUTIONS = {
    "normal": (stats.norm(), None),
    "narrow normal": (stats.norm(100.0, 1e-3), None),
    "t, 2 degrees": (stats.t(2), None),
    "Cauchy": (stats.cauchy(), None),
    "logistic": (stats.logistic(), None),
    "exponential": (stats.expon(), (0, np.inf)),
    "gamma 0.7": (stats.gamma(0.7), (0, np.inf)),
    "lognormal": (stats.lognorm(1.0), (0, np.inf)),
    "uniform": (stats.uniform(), (0, 1)),
    "beta": (stats.beta(2, 3), (0, 1)),
    "arcsine": (stats.beta(0.5, 0.5), (0, 1)),
    "Gumbel": (stats.gumbel_r(), None),
}
for _name, (_distribution, _domain) in _DISTRIBUTIONS.items():
    for _dim in (1, 2, 4, 10, 20) if _name in ("normal", "exponential") else (1, 2, 4, 10):
        SOUND[f"{_name} density, D = {_dim}"] = _product(_distribution, _dim, _domain)


def _funnel(dim):
    def log_prob(x):
        return stats.norm.logpdf(x[:, 0], scale=3) + np.sum(
            stats.norm.logpdf(x[:, 1:], scale=np.exp(x[:, :1] / 2)), axis=1
        )

    def sample(g, n):
        first = 3 * g.standard_normal((n, 1))
        return np.concatenate([first, np.exp(first / 2) * g.standard_normal((n, dim - 1))], 1)

    return dict(dim=dim, log_prob=log_prob, sample=sample)


def _modes(dim, distance):
    def log_prob(x):
        parts = [np.sum(stats.norm.logpdf(x - m), axis=1) for m in (-distance, distance)]
        return np.logaddexp(*parts) - np.log(2)

    def sample(g, n):
        return np.where(g.random((n, 1)) < 0.5, -distance, distance) + g.standard_normal((n, dim))

    return dict(dim=dim, log_prob=log_prob, sample=sample)


def _hole(dim):
    """A normal density with the inside of the ball of its median radius cut out."""
    radius = np.sqrt(stats.chi2(dim).median())

    def support(x):
        return np.sum(x * x, axis=1) > radius**2

    def log_prob(x):
        return np.where(support(x), np.sum(stats.norm.logpdf(x), axis=1) + np.log(2), -np.inf)

    def sample(g, n):
        direction = g.standard_normal((n, dim))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        r = np.sqrt(stats.chi2(dim).ppf(g.uniform(0.5, 1, n)))
        return r[:, None] * direction

    return dict(dim=dim, log_prob=log_prob, sample=sample, support=support)


def _banana(dim):
    def log_prob(x):
        bent = x.copy()
        bent[:, 1:] = x[:, 1:] - x[:, :1] ** 2
        return np.sum(stats.norm.logpdf(bent), axis=1)

    def sample(g, n):
        x = g.standard_normal((n, dim))
        x[:, 1:] += x[:, :1] ** 2
        return x

    return dict(dim=dim, log_prob=log_prob, sample=sample)


for _dim in (2, 4, 10):
    SOUND[f"funnel, D = {_dim}"] = lambda rng, dim=_dim: _funnel(dim)
    SOUND[f"modes, D = {_dim}"] = lambda rng, dim=_dim: _modes(dim, 4.0)
    SOUND[f"hole, D = {_dim}"] = lambda rng, dim=_dim: _hole(dim)
    SOUND[f"banana, D = {_dim}"] = lambda rng, dim=_dim: _banana(dim)
SOUND["modes far apart, D = 2"] = lambda rng: _modes(2, 40.0)
SOUND["simplex-like corner, D = 3"] = lambda rng: dict(
    dim=3,
    domain=(0, 1),
    support=lambda x: np.sum(x, axis=1) < 1,
    log_prob=lambda x: np.where(np.sum(x, axis=1) < 1, np.log(6.0), -np.inf),
    sample=lambda g, n: g.dirichlet(np.ones(4), n)[:, :3],
)
