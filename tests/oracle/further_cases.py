"""Densities and flows of many families, right and wrong, written without a look at the checker.

Circular, truncated, discrete, mixed and heavy-tailed densities, copulas, compositions, mixtures,
conditional flows, single precision, permutations, caches, batch norm. ``RIGHT`` and ``WRONG`` map a
name to a function of a generator that returns the arguments of ``check_flow``, of ``check_density``
(with "log_prob" among them) or of ``check_estimator_density`` (with "thing").
"""

import numpy as np
from scipy import special, stats

RIGHT, WRONG = {}, {}
LOG_2PI = np.log(2 * np.pi)


def _right(name, **options):
    def register(build):
        RIGHT[name] = lambda rng: build(rng, **options)
        return build

    return register


def _wrong(name, **options):
    def register(build):
        WRONG[name] = lambda rng: build(rng, **options)
        return build

    return register


def _log_normal(z):
    return np.sum(-0.5 * z**2 - 0.5 * LOG_2PI, axis=1)


# Independent columns of one distribution of scipy.stats ----------------------------------------

COLUMNS = {
    "Rayleigh": (stats.rayleigh(scale=2), (0, np.inf)),
    "Maxwell": (stats.maxwell(loc=-3, scale=0.4), (-3, np.inf)),
    "half Cauchy": (stats.halfcauchy(), (0, np.inf)),
    "inverse gamma": (stats.invgamma(1.5), (0, np.inf)),
    "Laplace, narrow": (stats.laplace(7, 1e-3), None),
    "Gumbel, left": (stats.gumbel_l(2, 5), None),
    "hyperbolic secant": (stats.hypsecant(), None),
    "truncated normal": (stats.truncnorm(-0.5, 3), (-0.5, 3)),
    "triangle": (stats.triang(0.2, loc=-1, scale=4), (-1, 3)),
    "Lomax": (stats.lomax(1.2), (0, np.inf)),
    "power function": (stats.powerlaw(3), (0, 1)),
    "beta, U": (stats.beta(0.7, 0.6), (0, 1)),
    "Nakagami": (stats.nakagami(0.8), (0, np.inf)),
    "inverse normal": (stats.invgauss(0.6), (0, np.inf)),
    "log-logistic": (stats.fisk(2.5), (0, np.inf)),
    "t, 1.2 degrees": (stats.t(1.2, scale=1e3), None),
    "generalised normal, 8": (stats.gennorm(8), None),
}


def columns(rng, kind, dim, of_sample=lambda x, g: x, offset=0.0, times=1.0):
    made, bounds = COLUMNS[kind]

    def sample(g, n):
        return of_sample(made.rvs(size=(n, dim), random_state=g).reshape(n, dim), g)

    more = {} if bounds is None else {"domain": bounds}
    return dict(
        log_prob=lambda x: times * np.sum(made.logpdf(x), axis=1) + offset,
        sample=sample,
        dim=dim,
        **more,
    )


for _kind in COLUMNS:
    for _dim in (1, 3):
        _right(f"{_kind}, D = {_dim}", kind=_kind, dim=_dim)(columns)


# Angles ----------------------------------------------------------------------------------------


def von_mises(rng, dim=1, kappa=2.0, fault=""):
    """On [-pi, pi), or unwrapped where the sampler has the fault."""
    center = rng.uniform(-np.pi, np.pi, dim)

    def log_prob(x):
        found = kappa * np.cos(x - center) - LOG_2PI - np.log(special.i0(kappa))
        return np.sum(found, axis=1)

    def sample(g, n):
        angle = center + g.vonmises(0, kappa, (n, dim))
        if fault == "degrees":
            angle = center + np.deg2rad(g.vonmises(0, kappa, (n, dim)) * 57)
        if fault == "mean":
            angle = g.vonmises(0, kappa, (n, dim))
        return (angle + np.pi) % (2 * np.pi) - np.pi

    if fault == "i0e":
        right = log_prob
        return dict(
            log_prob=lambda x: right(x) + dim * kappa,
            sample=sample,
            dim=dim,
            domain=(-np.pi, np.pi),
        )
    return dict(log_prob=log_prob, sample=sample, dim=dim, domain=(-np.pi, np.pi))


_right("von Mises, D = 1")(von_mises)
_right("von Mises, D = 2", dim=2, kappa=0.7)(von_mises)
_wrong("von Mises with i0e for i0", fault="i0e")(von_mises)
_wrong("von Mises drawn about 0", fault="mean", dim=2)(von_mises)


def wrapped_normal(rng, sigma=1.2, terms=6, dim=1):
    def log_prob(x):
        k = 2 * np.pi * np.arange(-terms, terms + 1)
        return np.sum(
            special.logsumexp(stats.norm.logpdf(x[..., None] + k, scale=sigma), axis=-1), axis=1
        )

    def sample(g, n):
        return (sigma * g.standard_normal((n, dim)) + np.pi) % (2 * np.pi) - np.pi

    return dict(log_prob=log_prob, sample=sample, dim=dim, domain=(-np.pi, np.pi))


_right("wrapped normal, D = 1")(wrapped_normal)
_right("wrapped normal, D = 3", dim=3)(wrapped_normal)
_wrong("wrapped normal, not wrapped", terms=0)(wrapped_normal)


def circular_shift(rng, sign=1):
    """A flow of the circle: x = z + a sin(z - c), inverted by Newton's method."""
    a, c = 0.6, rng.uniform(-3, 3, 2)

    def inverse(x):
        z = x
        for _ in range(200):
            z = z - (z + a * np.sin(z - c) - x) / (1 + 0.9 * a)
        return z, -sign * np.sum(np.log1p(a * np.cos(z - c)), axis=1)

    def forward(z):
        return z + a * np.sin(z - c), np.sum(np.log1p(a * np.cos(z - c)), axis=1)

    return dict(forward=forward, inverse=inverse, dim=2)


_right("sine on the line, fixed-point inverse")(circular_shift)
_wrong("sine: sign of the inverse's log-det", sign=-1)(circular_shift)


# Truncation ------------------------------------------------------------------------------------


def truncated(rng, dim=2, normalised=True, clipped=False, edge=1.0):
    """A normal distribution of which each column is kept above -edge."""
    kept = np.log(stats.norm.sf(-edge))

    def log_prob(x):
        found = _log_normal(x) - (dim * kept if normalised else 0.0)
        return np.where(np.all(x >= -edge, axis=1), found, -np.inf)

    def sample(g, n):
        if clipped:
            return np.maximum(g.standard_normal((n, dim)), -edge)
        return -special.ndtri(g.random((n, dim)) * np.exp(kept))

    return dict(log_prob=log_prob, sample=sample, dim=dim, domain=(-edge, np.inf))


for _dim in (1, 2, 5):
    _right(f"truncated normal of {_dim} columns", dim=_dim)(truncated)
_wrong("truncated, not renormalised", normalised=False)(truncated)
_wrong("truncated, not renormalised, D = 5, edge 2", dim=5, normalised=False, edge=2.0)(truncated)
_wrong("truncated, samples clipped", clipped=True)(truncated)


def simplex(rng, alpha=(2.0, 3.0, 1.5), fault=False):
    """The first columns of a Dirichlet distribution."""
    alpha = np.array(alpha)
    norm = special.gammaln(np.sum(alpha)) - np.sum(special.gammaln(alpha))

    def log_prob(x):
        last = 1 - np.sum(x, axis=1)
        with np.errstate(all="ignore"):
            found = (
                norm
                + np.sum(special.xlogy(alpha[:-1] - 1, x), axis=1)
                + (0 if fault else special.xlogy(alpha[-1] - 1, last))
            )
        return np.where((last > 0) & np.all(x > 0, axis=1), found, -np.inf)

    return dict(
        log_prob=log_prob,
        sample=lambda g, n: g.dirichlet(alpha, n)[:, :-1],
        dim=len(alpha) - 1,
        domain=(0, 1),
        support=lambda x: (np.sum(x, axis=1) < 1) & np.all(x > 0, axis=1),
    )


_right("Dirichlet of 3")(simplex)
_right("Dirichlet of 5", alpha=(1.0, 2, 3, 4, 5))(simplex)
_wrong("Dirichlet without its last factor", fault=True)(simplex)


# Copulas ---------------------------------------------------------------------------------------


def gaussian_copula(rng, dim=3, fault=""):
    root = rng.standard_normal((dim, dim)) + 1.5 * np.eye(dim)
    covariance = root @ root.T
    scale = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(scale, scale)
    chol = np.linalg.cholesky(correlation)

    def log_prob(u):
        z = special.ndtri(u)
        w = np.linalg.solve(chol, z.T).T
        found = _log_normal(w) - np.sum(np.log(np.diag(chol)))
        return found if fault == "not divided" else found - _log_normal(z)

    def sample(g, n):
        z = g.standard_normal((n, dim)) @ chol.T
        if fault == "transposed":
            z = g.standard_normal((n, dim)) @ chol
        return special.ndtr(z)

    return dict(log_prob=log_prob, sample=sample, dim=dim, domain=(0, 1))


for _dim in (2, 3, 6):
    _right(f"Gaussian copula, D = {_dim}", dim=_dim)(gaussian_copula)
_wrong("Gaussian copula, not divided by its marginals", fault="not divided")(gaussian_copula)
_wrong("Gaussian copula, Cholesky transposed", fault="transposed")(gaussian_copula)


def clayton(rng, theta=1.5, drawn=1.5):
    def log_prob(u):
        a, b = u.T
        return (
            np.log1p(theta)
            - (1 + theta) * (np.log(a) + np.log(b))
            - (2 + 1 / theta) * np.log(a**-theta + b**-theta - 1)
        )

    def sample(g, n):
        a, v = g.random((2, n))
        b = (a**-drawn * (v ** (-drawn / (1 + drawn)) - 1) + 1) ** (-1 / drawn)
        return np.column_stack([a, b])

    return dict(log_prob=log_prob, sample=sample, dim=2, domain=(0, 1))


_right("Clayton copula")(clayton)
_right("Clayton copula, strong", theta=6.0, drawn=6.0)(clayton)
_wrong("Clayton copula drawn with theta 1.2", drawn=1.2)(clayton)


def with_margins(rng, fault=False):
    """A Gaussian copula with gamma and t margins."""
    inner, margins = gaussian_copula(rng, 2), (stats.gamma(3, scale=5), stats.t(4, loc=-10))

    def log_prob(x):
        u = np.column_stack([m.cdf(column) for m, column in zip(margins, x.T)])
        with np.errstate(all="ignore"):
            found = inner["log_prob"](np.clip(u, 1e-300, 1 - 2**-53))
        return found + (0 if fault else sum(m.logpdf(c) for m, c in zip(margins, x.T)))

    def sample(g, n):
        u = inner["sample"](g, n)
        return np.column_stack([m.ppf(column) for m, column in zip(margins, u.T)])

    return dict(
        log_prob=log_prob, sample=sample, dim=2, domain=(np.array([0, -np.inf]), np.full(2, np.inf))
    )


_right("copula with gamma and t margins")(with_margins)
_wrong("copula density without its margins", fault=True)(with_margins)


# Mixtures and heavy tails ----------------------------------------------------------------------


def mixture(rng, dim=2, weights=(0.2, 0.5, 0.3), drawn=None, df=np.inf, fault=""):
    centers = 3 * rng.standard_normal((len(weights), dim))
    widths = np.exp(0.5 * rng.standard_normal((len(weights), dim)))
    drawn = weights if drawn is None else drawn
    base = stats.norm if np.isinf(df) else stats.t(df)

    def log_prob(x):
        z = (x[:, None] - centers) / widths
        volume = 0 if fault == "volume" else np.sum(np.log(widths), axis=1)
        parts = np.sum(base.logpdf(z), axis=2) - volume
        if fault == "argmax":
            return np.max(parts + np.log(weights), axis=1)
        return special.logsumexp(parts + np.log(weights), axis=1)

    def sample(g, n):
        k = g.choice(len(weights), n, p=drawn)
        z = base.rvs(size=(n, dim), random_state=g).reshape(n, dim)
        return centers[k] + widths[k] * z

    return dict(log_prob=log_prob, sample=sample, dim=dim)


for _dim in (1, 2, 4, 8):
    _right(f"mixture of 3 normals, D = {_dim}", dim=_dim)(mixture)
_right("mixture of t, 2.5 degrees", df=2.5)(mixture)
_right("mixture of t, 3 degrees, D = 5", df=3, dim=5)(mixture)
_wrong("mixture: the largest part for the sum", fault="argmax")(mixture)
_wrong("mixture: volumes forgotten", fault="volume", dim=3)(mixture)
_wrong("mixture: even weights drawn", drawn=(1 / 3,) * 3, dim=4)(mixture)


def narrow_piece(rng, dim=2, share=0.3, width=1e-3, drawn=None, mass=1.0):
    """A standard normal density with a narrow one inside, of this share."""
    center = np.linspace(-1, 1, dim)
    drawn = share if drawn is None else drawn

    def log_prob(x):
        narrow = _log_normal((x - center) / width) - dim * np.log(width)
        return np.logaddexp(np.log1p(-share) + _log_normal(x), np.log(mass * share) + narrow)

    def sample(g, n):
        z = g.standard_normal((n, dim))
        return np.where(g.random((n, 1)) < drawn, center + width * z, z)

    return dict(log_prob=log_prob, sample=sample, dim=dim)


_right("narrow piece")(narrow_piece)
_right("narrow piece, D = 1", dim=1, share=0.05)(narrow_piece)
_right("narrow piece, D = 6", dim=6, share=0.5, width=0.1)(narrow_piece)
_wrong("narrow piece too heavy", mass=3.0)(narrow_piece)
_wrong("narrow piece drawn too often", drawn=0.4)(narrow_piece)
_wrong("narrow piece drawn too often, D = 1", dim=1, share=0.05, drawn=0.1)(narrow_piece)
_wrong("narrow piece drawn too seldom, D = 6", dim=6, share=0.5, width=0.1, drawn=0.4)(narrow_piece)


def elliptical(rng, dim=4, df=3.0, fault=""):
    """A multivariate t; the sampler divides by the root of one chi-square a row."""
    root = np.linalg.cholesky(0.5 * np.eye(dim) + 0.5)

    def log_prob(x):
        w = np.linalg.solve(root, x.T).T
        found = (
            special.gammaln((df + dim) / 2)
            - special.gammaln(df / 2)
            - dim / 2 * np.log(df * np.pi)
            - np.sum(np.log(np.diag(root)))
        )
        power = (df + 1) / 2 if fault == "power" else (df + dim) / 2
        return found - power * np.log1p(np.sum(w**2, axis=1) / df)

    def sample(g, n):
        chi = g.chisquare(df, (n, dim if fault == "columns" else 1)) / df
        return (g.standard_normal((n, dim)) / np.sqrt(chi)) @ root.T

    return dict(log_prob=log_prob, sample=sample, dim=dim)


for _dim in (2, 4, 10):
    _right(f"elliptical t, 3 degrees, D = {_dim}", dim=_dim)(elliptical)
_wrong("elliptical t: power of one column", fault="power")(elliptical)
_wrong("elliptical t: one chi-square a column", fault="columns")(elliptical)


def von_mises_on_a_ring(rng, fault=False):
    """Polar coordinates: radius about 5, any angle; without the 1/r of the change of variables."""

    def log_prob(x):
        r = np.hypot(*x.T)
        return stats.norm.logpdf(r, 5, 0.5) - LOG_2PI - (0 if fault else np.log(r))

    def sample(g, n):
        r, angle = 5 + 0.5 * g.standard_normal(n), g.uniform(0, 2 * np.pi, n)
        return r[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])

    return dict(log_prob=log_prob, sample=sample, dim=2)


_right("ring in polar coordinates")(von_mises_on_a_ring)
_wrong("ring without 1 / r", fault=True)(von_mises_on_a_ring)


# Discrete and mixed columns --------------------------------------------------------------------


class MixedChain:
    """A Poisson count, and a normal distribution about it."""

    def __init__(self, fault=""):
        self.fault = fault

    def logpdf(self, x):
        count, value = x[:, 0], x[:, 1]
        rate = 3.0
        known = (count >= 0) & (count == np.round(count))
        with np.errstate(all="ignore"):
            first = np.where(
                known,
                special.xlogy(count, rate)
                - rate
                - (0 if self.fault == "factorial" else special.gammaln(count + 1)),
                -np.inf,
            )
        return first + stats.norm.logpdf(value, count, 0.7)

    def rvs(self, size=1, random_state=None):
        g = np.random.default_rng(random_state)
        count = g.poisson(3.0, size)
        value = count + 0.7 * g.standard_normal(size)
        if self.fault == "other count":
            value = value[::-1]
        return np.column_stack([count, value])


def mixed(rng, fault=""):
    return dict(thing=MixedChain(fault), table=MixedChain().rvs(400, rng))


_right("a count and a number")(mixed)
_wrong("a count without its factorial", fault="factorial")(mixed)
_wrong("a number drawn about another row's count", fault="other count")(mixed)


def of_scipy(rng, make):
    return dict(thing=make(stats))


for _name, _make in {
    "negative binomial": lambda s: s.nbinom(5, 0.3),
    "Boltzmann": lambda s: s.boltzmann(0.4, 9),
    "discrete Laplace": lambda s: s.dlaplace(0.8),
    "Yule-Simon": lambda s: s.yulesimon(3),
    "Dirichlet-like beta": lambda s: s.beta(3, 3, loc=100, scale=50),
    "log-Laplace": lambda s: s.loglaplace(3),
    "Lévy": lambda s: s.levy(0, 2),
    "Wald": lambda s: s.wald(0, 10),
    "argus": lambda s: s.argus(1.5),
    "rectangle of t": lambda s: s.multivariate_t([0, 5, -5], np.eye(3) + 0.2, df=6),
}.items():
    _right(f"scipy: {_name}", make=_make)(of_scipy)


# Flows -----------------------------------------------------------------------------------------


def linear(rng, dim=4, dtype=np.float64, fault="", context=0):
    """A permutation, a triangular matrix and a shift that a context may give."""
    order = rng.permutation(dim)
    if fault == "order":  # no involution: its own inverse it is not
        order = np.roll(np.arange(dim), 1)
    back = order if fault == "order" else np.argsort(order)
    lower = np.tril(0.4 * rng.standard_normal((dim, dim)), -1) + np.diag(
        np.exp(0.5 * rng.standard_normal(dim))
    )
    weights = rng.standard_normal((max(context, 1), dim)) / 2
    lower, weights = lower.astype(dtype), weights.astype(dtype)
    log_det = np.sum(np.log(np.diag(lower)))

    def terms(c, n):
        if c is None:
            return np.zeros((n, dim), dtype)
        if fault == "context of the first row":
            c = np.broadcast_to(c[:1], c.shape)
        return np.tanh(c @ weights)

    def forward(z, c=None):
        log_scale = terms(c, len(z))
        x = (z[:, order] @ lower.T + log_scale) * np.exp(log_scale)
        return x, np.full(len(z), log_det, dtype) + np.sum(log_scale, axis=1)

    def inverse(x, c=None):
        log_scale = terms(
            None if c is None else (c[::-1] if fault == "context reversed" else c), len(x)
        )
        y = x * np.exp(-log_scale) - log_scale
        z = np.linalg.solve(lower, y.T).T[:, back].astype(dtype)
        volume = 0 if fault == "context's volume" else np.sum(log_scale, axis=1)
        return z, -np.full(len(x), log_det, dtype) - volume

    more = {} if not context else {"context": rng.standard_normal((6, context)).astype(dtype)}
    return dict(forward=forward, inverse=inverse, dim=dim, dtype=dtype, **more)


for _dim in (2, 4, 12):
    for _dtype in (np.float64, np.float32):
        _right(f"permutation and triangle, D = {_dim}, {np.dtype(_dtype)}", dim=_dim, dtype=_dtype)(
            linear
        )
_right("triangle with a context", context=3)(linear)
_right("triangle with a context, float32", context=3, dtype=np.float32)(linear)
_wrong("permutation undone by itself", fault="order")(linear)
_wrong("context of the first row for all", context=3, fault="context of the first row")(linear)
_wrong("context reversed in the inverse", context=3, fault="context reversed")(linear)
_wrong(
    "log-det of the inverse without the context's",
    context=3,
    fault="context's volume",
    dtype=np.float32,
)(linear)


def batch_norm(rng, dim=3, fault=""):
    """With running moments, as in evaluation; with the batch's own where it is wrong."""
    mean, deviation = rng.standard_normal(dim), np.exp(rng.standard_normal(dim) / 2)

    def moments(x):
        if fault == "training" and len(x) > 1:
            return np.mean(x, axis=0), np.std(x, axis=0) + 1e-5
        if fault == "momentum" and len(x):
            mean[:] = 0.999 * mean + 0.001 * np.mean(x, axis=0)
        return mean, deviation

    def forward(z):
        return z * deviation + mean, np.full(len(z), np.sum(np.log(deviation)))

    def inverse(x):
        center, width = moments(x)
        return (x - center) / width, np.full(len(x), -np.sum(np.log(width)))

    return dict(forward=forward, inverse=inverse, dim=dim)


_right("batch norm in evaluation")(batch_norm)
_wrong("batch norm left in training", fault="training")(batch_norm)
_wrong("batch norm's mean goes on moving", fault="momentum")(batch_norm)


def coupling(rng, dim=3, fault="", dtype=np.float64):
    """An affine coupling with a cached network; the cache goes by identity of memory or by sum."""
    weight = rng.standard_normal((1, 2 * (dim - 1))).astype(dtype) / 2
    stored = {}

    def network(first):
        key = {
            "by sum": lambda: (len(first), float(np.round(np.sum(first), 3))),
            "by length": lambda: len(first),
        }.get(fault)
        if key is None or not len(first):
            return np.split(np.tanh(first @ weight), 2, axis=1)
        if key() not in stored:
            if len(stored) > 3:
                stored.clear()
            stored[key()] = np.split(np.tanh(first @ weight), 2, axis=1)
        return stored[key()]

    def forward(z):
        shift, log_scale = network(z[:, :1])
        return (
            np.concatenate([z[:, :1], z[:, 1:] * np.exp(log_scale) + shift], axis=1),
            np.sum(log_scale, axis=1),
        )

    def inverse(x):
        shift, log_scale = network(x[:, :1])
        value = np.mean(log_scale, axis=1) if fault == "mean" else np.sum(log_scale, axis=1)
        z = (x[:, 1:] - shift) * np.exp(-log_scale)
        if fault == "order of operations":
            z = x[:, 1:] * np.exp(-log_scale) - shift
        return np.concatenate([x[:, :1], z], axis=1), -value

    return dict(forward=forward, inverse=inverse, dim=dim, dtype=dtype)


_right("affine coupling")(coupling)
_right("affine coupling, float32", dtype=np.float32)(coupling)
_wrong("coupling: cache by length of the batch", fault="by length")(coupling)
_wrong("coupling: mean for sum over columns", fault="mean")(coupling)
_wrong("coupling: inverse shifts after scaling", fault="order of operations")(coupling)


def yeo_johnson(rng, dim=2, power=0.6, fault=False):
    """Yeo and Johnson's transformation as the inverse of a flow: x to z."""
    power = np.full(dim, power)

    def inverse(x):
        up, down = power, 2 - power
        a = np.abs(x)
        z = np.where(x >= 0, np.expm1(up * np.log1p(a)) / up, -np.expm1(down * np.log1p(a)) / down)
        slope = (np.where(x >= 0, up, down) - 1) * np.log1p(a)
        return z, np.sum(slope if not fault else (power - 1) * np.log1p(a), axis=1)

    def forward(z):
        up, down = power, 2 - power
        a = np.abs(z)
        x = np.where(z >= 0, np.expm1(np.log1p(up * a) / up), -np.expm1(np.log1p(down * a) / down))
        return x, -inverse(x)[1]

    return dict(forward=forward, inverse=inverse, dim=dim)


_right("Yeo-Johnson")(yeo_johnson)
_right("Yeo-Johnson, power 1.5, D = 4", dim=4, power=1.5)(yeo_johnson)
_wrong("Yeo-Johnson: one side's slope on both", fault=True)(yeo_johnson)


def torch_module(rng, fault="", single=False):
    """A module of torch with dropout, judged as of() takes it."""
    import torch

    from nfref.oracle import adapters

    torch.manual_seed(int(rng.integers(1000)))

    class Affine(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Sequential(
                torch.nn.Linear(1, 8), torch.nn.Tanh(), torch.nn.Linear(8, 4)
            )

        def terms(self, first):
            shift, log_scale = self.net(first).chunk(2, 1)
            if fault == "noise":
                shift = torch.nn.functional.dropout(shift, 0.1, training=True)
            if fault == "detached":
                log_scale = log_scale.detach()
            return shift, log_scale

        def forward(self, z):
            shift, log_scale = self.terms(z[:, :1])
            return (torch.cat([z[:, :1], z[:, 1:] * log_scale.exp() + shift], 1), log_scale.sum(1))

        def inverse(self, x):
            shift, log_scale = self.terms(x[:, :1])
            return (
                torch.cat([x[:, :1], (x[:, 1:] - shift) / log_scale.exp()], 1),
                -log_scale.sum(1),
            )

    dtype = np.float32 if single else np.float64
    return dict(**adapters.of(Affine(), rng=rng, dtype=dtype), dim=3, dtype=dtype)


_right("torch: a module of one's own")(torch_module)
_right("torch: a module of one's own, float32", single=True)(torch_module)
_wrong("torch: dropout in evaluation", fault="noise")(torch_module)
_wrong("torch: log-det cut off from the graph", fault="detached")(torch_module)


def reject(rng, fault=False):
    """A banana whose sampler rejects; the wrong one takes no account of what it rejects."""
    share = stats.norm.cdf(2.0)

    def log_prob(x):
        found = stats.norm.logpdf(x[:, 0]) + stats.norm.logpdf(x[:, 1], x[:, 0] ** 2, 0.5)
        return np.where(x[:, 0] < 2, found - np.log(share), -np.inf)

    def sample(g, n):
        z = special.ndtri(g.random(n) * share) if not fault else g.standard_normal(n)
        return np.column_stack([z, z**2 + 0.5 * g.standard_normal(n)])

    return dict(log_prob=log_prob, sample=sample, dim=2, support=lambda x: x[:, 0] < 2)


_right("banana cut at 2")(reject)
_wrong("banana cut in log_prob alone", fault=True)(reject)


def conditional(rng, fault=False):
    """A heteroscedastic regression as a conditional density."""
    contexts = rng.standard_normal((7, 2))

    def terms(c):
        return np.column_stack([c[:, 0], -c[:, 1]]), np.column_stack([0.3 * c[:, 1], c[:, 0]])

    def log_prob(x, c):
        center, log_scale = terms(c)
        return _log_normal((x - center) / np.exp(log_scale)) - np.sum(log_scale, axis=1)

    def sample(g, n, c):
        center, log_scale = terms(c)
        return center + np.exp(0 if fault else log_scale) * g.standard_normal((n, 2))

    return dict(log_prob=log_prob, sample=sample, dim=2, context=contexts)


_right("regression with a context")(conditional)
_wrong("regression: one width is drawn for all contexts", fault=True)(conditional)


def judge(build, seed, **options):
    """The oracle's report on what ``build`` makes."""
    from nfref.oracle import check_density, check_estimator_density, check_flow

    rng = np.random.default_rng(seed)
    arguments = build(rng)
    if "thing" in arguments:
        return check_estimator_density(**arguments, rng=rng, **options)
    check = check_density if "log_prob" in arguments else check_flow
    return check(**arguments, rng=rng, **options)
