"""Right flows and densities as strangers vary them; every alarm is a false one.

``right_variations()`` yields (library, name, D, function of a seed that returns the report): the
flows of nfref's table at each D, with and without a context, in both dtypes, at their first
parameters and far from them; flows of other libraries in both dtypes; and flows and densities as
people write them themselves, in NumPy and torch.
"""

import itertools
from functools import partial

import numpy as np
from scipy import special, stats

from nfref.oracle import adapters, check_density, check_estimator_density, check_flow
from tests import flow_table
from tests.oracle import own_flows
from tests.oracle.false_alarms import JUMPS, peer_cases, report_on

DIMS = (1, 2, 3, 8)
# Distance from the first parameters: none, the usual one, and so far that maps are steep.
SIZES = (0.0, 0.7, 1.5)


def of_nfref():
    """Each flow of the table at each of its D; the other choices take turns."""
    turns = itertools.cycle(itertools.product((np.float64, np.float32), SIZES, (False, True)))
    for name, entry in flow_table.flows().items():
        dims = [dim for dim in DIMS if dim in entry.dims] or entry.dims[:1]
        for dim in dims[:1] if entry.costly else dims:
            dtype, size, with_context = next(turns)
            with_context &= size > 0  # at first most flows are the identity in any context
            context = ", context" * (with_context and entry.context)
            yield (
                "nfref",
                f"{name} {np.dtype(dtype)}, size {size}{context}",
                dim,
                partial(_of_entry, entry, dim, dtype, size, with_context, JUMPS.get(name, ())),
            )


def _of_entry(entry, dim, dtype, size, with_context, skip, seed):
    return report_on(entry, dim, seed, np.dtype(dtype), skip, size, with_context)


def of_libraries():
    """Transforms of other libraries, in both dtypes."""
    for name, dim, report in peer_cases():
        for dtype in (np.float64, np.float32):
            yield (name.partition(" ")[0], f"{name} {np.dtype(dtype)}", dim, _of(report, dtype))


def _of(report, dtype):
    return lambda seed: report(seed, np.dtype(dtype))


# As people write them -----------------------------------------------------------------------------

OWN = {}


def own(name, *options):
    """Register what the decorated function of (rng, option) builds, for each option."""

    def register(build):
        for option in options:
            OWN[f"{name}, {option}"] = partial(build, option=option)
        return build

    return register


def product(distribution, dim, domain=None):
    """Arguments of a check of columns that follow one distribution of scipy.stats."""
    return dict(
        log_prob=lambda x: np.sum(distribution.logpdf(x), axis=1),
        sample=lambda g, n: distribution.rvs(size=(n, dim), random_state=g),
        dim=dim,
        domain=domain,
    )


@own("half-open supports", "exponential", "pareto", "negative gamma", "shifted lognormal")
def half_open(rng, option):
    made, domain = {
        "exponential": (stats.expon(2.0, 0.5), (2.0, np.inf)),
        "pareto": (stats.pareto(3.0), (1.0, np.inf)),
        "negative gamma": (None, (-np.inf, 0.0)),
        "shifted lognormal": (stats.lognorm(0.8, loc=-1.0), (-1.0, np.inf)),
    }[option]
    if made is not None:
        return product(made, 2, domain)
    gamma = stats.gamma(2.5)
    return dict(
        log_prob=lambda x: np.sum(gamma.logpdf(-x), axis=1),
        sample=lambda g, n: -g.gamma(2.5, size=(n, 2)),
        dim=2,
        domain=domain,
    )


@own("bounded supports", "beta", "uniform", "triangle", "a bound for each column")
def bounded(rng, option):
    if option != "a bound for each column":
        made = {
            "beta": stats.beta(2, 5, loc=-3, scale=7),
            "uniform": stats.uniform(10, 1e-3),
            "triangle": stats.triang(0.3, loc=-1, scale=2),
        }[option]
        return product(made, 3, made.support())
    low, wide = np.array([-1.0, 0.0, 5.0]), np.array([1.0, 1e-2, 30.0])
    return dict(
        log_prob=lambda x: stats.beta(2, 2, low, wide).logpdf(x).sum(1),
        sample=lambda g, n: low + wide * g.beta(2, 2, (n, 3)),
        dim=3,
        domain=(low, low + wide),
    )


@own("a support without domain", "disc", "triangle below the diagonal", "annulus")
def shapes(rng, option):
    def inside(x):
        radius = np.hypot(*x.T)
        if option == "disc":
            return radius < 1
        if option == "annulus":
            return (radius > 0.5) & (radius < 1)
        return (x[:, 0] > 0) & (x[:, 1] < 1) & (x[:, 0] < x[:, 1])

    area = {"disc": np.pi, "annulus": 0.75 * np.pi}.get(option, 0.5)

    def sample(g, n):
        found = np.zeros((0, 2))
        while len(found) < n:
            more = g.uniform(-1, 1, (4 * n + 8, 2))
            found = np.concatenate([found, more[inside(more)]])
        return found[:n]

    return dict(
        log_prob=lambda x: np.where(inside(x), -np.log(area), -np.inf),
        sample=sample,
        dim=2,
        support=inside,
        domain=(-1, 1),
    )


@own("a support that moves with the context", "both ends", "lower end", "scale")
def moving(rng, option):
    def ends(c):
        low = np.zeros((len(c), 1)) if option == "scale" else c[:, :1]
        return low, np.exp(0.3 * c[:, -1:])

    def log_prob(x, c):
        low, wide = ends(c)
        made = stats.expon(low, wide) if option == "lower end" else stats.beta(2, 3, low, wide)
        return made.logpdf(x).sum(1)

    def sample(g, n, c):
        low, wide = ends(c)
        drawn = g.exponential(size=(n, 2)) if option == "lower end" else g.beta(2, 3, (n, 2))
        return low + wide * drawn

    def inside(x, c):
        low, wide = ends(c)
        top = np.inf if option == "lower end" else low + wide
        return np.all((x > low) & (x < top), axis=1)

    return dict(
        log_prob=log_prob,
        sample=sample,
        dim=2,
        support=inside,
        context=rng.standard_normal((6, 1 if option == "scale" else 2)),
    )


@own("mixtures", "unequal weights", "one inside the other", "apart", "t and normal", "of ten")
def mixtures(rng, option):
    parts = {
        "unequal weights": [(0.9, -1, 1), (0.1, 3, 0.5)],
        "one inside the other": [(0.5, 0, 0.1), (0.5, 0, 3)],
        "apart": [(0.3, -20, 1), (0.7, 20, 2)],
        "t and normal": [(0.5, -2, 1), (0.5, 2, 1)],
        "of ten": [(0.1, 3 * k, 0.5 + 0.1 * k) for k in range(10)],
    }[option]
    weights, centers, scales = np.array(parts, dtype=float).T
    made = [stats.norm(m, s) for m, s in zip(centers, scales)]
    if option == "t and normal":
        made[0] = stats.t(3, loc=-2)
    dim = 3

    def log_prob(x):
        terms = np.stack([one.logpdf(x).sum(1) for one in made], axis=1)
        return special.logsumexp(terms + np.log(weights), axis=1)

    def sample(g, n):
        drawn = np.stack([one.rvs(size=(n, dim), random_state=g) for one in made])
        return drawn[g.choice(len(made), n, p=weights), np.arange(n)]

    return dict(log_prob=log_prob, sample=sample, dim=dim)


@own("conditional normal", "mean", "scale", "correlation", "a feature without effect")
def conditional(rng, option):
    weights = rng.standard_normal((2, 2))

    def terms(c):
        mean = c @ weights if option != "scale" else 0 * c
        scale = np.exp(0.5 * np.tanh(c)) if option == "scale" else np.ones_like(c)
        turn = 0.9 * np.tanh(c[:, 0]) if option == "correlation" else np.zeros(len(c))
        if option == "a feature without effect":
            mean = c[:, :1] * np.ones(2)
        return mean, scale, turn

    def log_prob(x, c):
        mean, scale, turn = terms(c)
        z = (x - mean) / scale
        rest = (z[:, 1] - turn * z[:, 0]) / np.sqrt(1 - turn**2)
        return (
            stats.norm.logpdf(z[:, 0])
            + stats.norm.logpdf(rest)
            - 0.5 * np.log1p(-(turn**2))
            - np.log(scale).sum(1)
        )

    def sample(g, n, c):
        mean, scale, turn = terms(c)
        z = g.standard_normal((n, 2))
        z[:, 1] = turn * z[:, 0] + np.sqrt(1 - turn**2) * z[:, 1]
        return mean + scale * z

    skip = ("context_read",) if option == "a feature without effect" else ()
    return dict(
        log_prob=log_prob, sample=sample, dim=2, context=rng.standard_normal((7, 2)), skip=skip
    )


@own("closed maps", "sinh-arcsinh", "softsign", "cube", "logit", "log", "polar", "Householder")
def closed(rng, option):
    def each(forward, inverse, log_slope, back=None, **more):
        slope_back = back or (lambda x: -log_slope(inverse(x)))
        return dict(
            forward=lambda z: (forward(z), np.sum(log_slope(z), axis=1)),
            inverse=lambda x: (inverse(x), np.sum(slope_back(x), axis=1)),
            dim=2,
            **more,
        )

    if option == "sinh-arcsinh":
        return each(
            lambda z: np.sinh(0.5 + 0.7 * np.arcsinh(z)),
            lambda x: np.sinh((np.arcsinh(x) - 0.5) / 0.7),
            lambda z: np.log(0.7 * np.cosh(0.5 + 0.7 * np.arcsinh(z))) - 0.5 * np.log1p(z**2),
        )
    if option == "softsign":
        return each(
            lambda z: z / (1 + np.abs(z)),
            lambda x: x / (1 - np.abs(x)),
            lambda z: -2 * np.log1p(np.abs(z)),
            codomain=(-1, 1),
        )
    if option == "cube":
        return each(
            lambda z: z**3 + z,
            lambda x: -2 / np.sqrt(3) * np.sinh(np.arcsinh(-1.5 * np.sqrt(3) * x) / 3),
            lambda z: np.log1p(3 * z**2),
        )
    if option == "logit":
        return each(
            special.logit,
            special.expit,
            lambda z: -np.log(z) - np.log1p(-z),
            lambda x: special.log_expit(x) + special.log_expit(-x),
            domain=(0, 1),
        )
    if option == "log":
        return each(np.log, np.exp, lambda z: -np.log(z), lambda x: x, domain=(0, np.inf))
    if option == "polar":
        return dict(
            forward=lambda z: (
                np.exp(z[:, :1]) * np.stack([np.cos(z[:, 1]), np.sin(z[:, 1])], axis=1),
                2 * z[:, 0],
            ),
            inverse=lambda x: (
                np.stack([np.log(np.hypot(*x.T)), np.arctan2(x[:, 1], x[:, 0])], axis=1),
                -2 * np.log(np.hypot(*x.T)),
            ),
            dim=2,
            domain=(np.array([-np.inf, -3.1]), np.array([np.inf, 3.1])),
            codomain=lambda g, n: (
                np.exp(g.standard_normal((n, 1)))
                * (lambda a: np.stack([np.cos(a), np.sin(a)], axis=1))(g.uniform(-3, 3, n))
            ),
            skip=("normalised",),
        )
    v = rng.standard_normal(5)
    matrix = np.eye(5) - 2 * np.outer(v, v) / (v @ v)
    return dict(
        forward=lambda z: (z @ matrix, np.zeros(len(z))),
        inverse=lambda x: (x @ matrix, np.zeros(len(x))),
        dim=5,
    )


@own("an autoregressive sampler", "normal", "exponential rates", "deep")
def autoregressive(rng, option):
    dim = 4

    def terms(x, i):
        before = np.sin(x[:, :i]).sum(1) + (x[:, :i] ** 2).sum(1) * (option == "deep") * 0.1
        return before, np.exp(0.3 * np.cos(before))

    def part(x, i):
        mean, scale = terms(x, i)
        if option == "exponential rates":
            return stats.expon.logpdf(x[:, i], 0, scale)
        return stats.norm.logpdf(x[:, i], mean, scale)

    def sample(g, n):
        x = np.zeros((n, dim))
        for i in range(dim):
            mean, scale = terms(x, i)
            drawn = g.exponential(size=n) if option == "exponential rates" else None
            x[:, i] = scale * drawn if drawn is not None else mean + scale * g.standard_normal(n)
        return x

    domain = (0, np.inf) if option == "exponential rates" else None
    return dict(
        log_prob=lambda x: sum(part(x, i) for i in range(dim)),
        sample=sample,
        dim=dim,
        domain=domain,
    )


@own("a module of torch", "float32", "float64", "one layer", "ten layers")
def of_torch(rng, option):
    dtype = "float32" if option == "float32" else "float64"
    made = own_flows.torch_flow(dtype, {"one layer": 1, "ten layers": 10}.get(option, 4))
    return dict(adapters.of(made, rng=rng, dtype=np.dtype(dtype)), dim=3, dtype=np.dtype(dtype))


@own("a density of torch", "of a number", "of a shape")
def density_of_torch(rng, option):
    made = own_flows.torch_density(shaped=option == "of a shape")
    return dict(adapters.of(made, rng=rng), dim=2)


@own("tables", "Poisson", "a count and its waiting time", "binary and normal", "zero-inflated")
def of_tables(rng, option):
    class Found:
        """A count first, then a number that depends on it; or a count alone."""

        def log_prob(self, x):
            count = x[:, 0]
            if option == "Poisson":
                return stats.poisson(3.0).logpmf(count)
            if option == "zero-inflated":
                p = 0.4 * (count == 0) + 0.6 * stats.poisson(2.0).pmf(count)
                return np.log(np.maximum(p, 1e-300))
            first = (
                stats.poisson(2.0).logpmf(count)
                if option == "a count and its waiting time"
                else np.log(np.where(count == 1, 0.3, np.where(count == 0, 0.7, 1e-300)))
            )
            return first + stats.norm(count, 1.0).logpdf(x[:, 1])

        def sample(self, n, rng):
            if option == "Poisson":
                return rng.poisson(3.0, (n, 1)).astype(float)
            if option == "zero-inflated":
                return np.where(rng.random((n, 1)) < 0.4, 0.0, rng.poisson(2.0, (n, 1)))
            count = (
                rng.poisson(2.0, n)
                if option == "a count and its waiting time"
                else rng.random(n) < 0.3
            ).astype(float)
            return np.stack([count, count + rng.standard_normal(n)], axis=1)

    made = Found()
    return dict(thing=made, table=made.sample(400, rng), discrete=[0], refit=False)


def judge(build, seed, **options):
    """The oracle's report on what ``build`` makes."""
    rng = np.random.default_rng(seed)
    arguments = build(rng)
    check = (
        check_estimator_density
        if "thing" in arguments
        else check_density
        if "log_prob" in arguments
        else check_flow
    )
    return check(**arguments, rng=rng, **options)


def of_own():
    """The subjects of this file."""
    for name, build in OWN.items():
        yield "NumPy or torch", name, 0, partial(judge, build)


def right_variations():
    """(library, name, D, function of a seed) of all."""
    yield from of_own()
    yield from of_libraries()
    yield from of_nfref()
