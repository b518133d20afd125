"""Wrong and right subjects of the oracle, each a function of a generator.

``WRONG`` holds those of ``causes`` and ``usual_mistakes``, samplers of closed densities, faults of
a fitted flow, and mistakes of estimators. ``RIGHT`` holds flows and densities as people write them,
the flows of nfref's table, those of ``sound`` that are nasty on purpose, and what the wrong ones
are made of, without their faults.

    python -m tests.oracle.subjects [--match TEXT] [--every N]

judges them all with one seed, and prints which were missed, named by another line, or accused.
"""

import argparse
import itertools
import time
import warnings
from functools import cache, partial

import numpy as np
from scipy import special, stats

import nfref
from nfref.oracle import adapters, check_density, check_estimator_density, check_flow
from nfref.training import fit
from tests import flow_table
from tests.oracle import causes, own_flows, wrong_densities
from tests.oracle import usual_mistakes as _  # noqa: F401 (adds to causes.WRONG)
from tests.oracle.causes import Subject
from tests.oracle.sound import SOUND

WRONG = [*causes.WRONG]
RIGHT = {f"nasty: {name}": build for name, build in SOUND.items()}
# What a report on a wrong sampler, or a wrong log-density, may name first.
SAMPLES = tuple(
    (
        "sample_follows sample_independent sample_generator sample_shape normalised answers shapes "
        "log_det precision round_trip"
    ).split()
)


def judge(build, seed=0, **options):
    """The oracle's report on what ``build`` makes."""
    rng = np.random.default_rng(seed)
    with np.errstate(all="ignore"):
        arguments = build(rng)
        if "thing" in arguments:
            return check_estimator_density(**arguments, rng=rng, **options)
        check = check_density if "log_prob" in arguments else check_flow
        return check(**arguments, rng=rng, **options)


# As people write them -----------------------------------------------------------------------------


def own(name, *options):
    """Register what the decorated function of (rng, option) builds, for each option."""

    def register(build):
        for option in options:
            RIGHT[f"{name}, {option}"] = partial(build, option=option)
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


# nfref's flows ----------------------------------------------------------------------------------

DIMS = (1, 2, 3, 8)
# Distance from the first parameters: none, the usual one, and so far that maps are steep.
SIZES = (0.0, 0.7, 1.5)
# A flow that comes back from no farther than this is asked within its reach alone: the exponential
# of a network that is not bounded leaves the range of floating point beyond.
REACH = 2.0
# Its log-determinant jumps from cell to cell, as it should.
JUMPS = {"VariationalDequantisation": ("knots_forward", "knots_inverse")}


def of_table(rng, name, dim, dtype, size, with_context):
    """A flow of nfref's table, ``size`` away from its first parameters."""
    entry, skip = flow_table.flows()[name], JUMPS.get(name, ())
    flow = entry.make(dim, 2 if entry.context and with_context else 0)
    context_dim = flow.context_dim  # some have one whether asked or not
    params = flow_table.random_params(flow, rng, size=size)
    context = rng.standard_normal((5, context_dim)) if context_dim else None
    arguments = {}
    if entry.data_rows is flow_table.rows_in_bounds:
        ends = np.array(flow_table.bounds(flow.dim), dtype=float)  # nan where there is none
        arguments["codomain"] = tuple(np.where(np.isnan(ends), [[-np.inf], [np.inf]], ends))
    elif entry.data_rows:
        arguments["codomain"] = lambda generator, n: entry.data_rows(generator, n, flow.dim)
    elif entry.reach <= REACH:

        def images(generator, n):
            z = generator.uniform(-entry.reach, entry.reach, (n, flow.dim))
            return flow.forward(params, z, None if context is None else context[[0] * n])[0]

        arguments.update(domain=(-entry.reach, entry.reach), codomain=images)
        skip = (*skip, "normalised")  # a part of the base's mass is all that is there
    # A solver's own tolerance is what it promises, for log_det as well as for values; in float32
    # tolerances below ten roundings act as that (nfref.continuous.solve).
    if entry.precision > np.finfo(np.float64).eps:
        arguments["accuracy"] = 100 * (
            entry.precision
            if dtype == np.float64
            else max(entry.precision, 10 * float(np.finfo(dtype).eps))
        )
    return dict(
        adapters.from_nfref(flow, params, context),
        dim=flow.dim,
        dtype=np.dtype(dtype),
        skip=skip,
        **arguments,
    )


def _add_flows():
    """Each flow of the table at each of its D; the other choices take turns."""
    turns = itertools.cycle(itertools.product((np.float64, np.float32), SIZES, (False, True)))
    for name, entry in flow_table.flows().items():
        dims = [dim for dim in DIMS if dim in entry.dims] or entry.dims[:1]
        for dim in dims[:1] if entry.costly else dims:
            dtype, size, with_context = next(turns)
            # At first most flows are the identity in any context.
            given = name, dim, dtype, size, with_context and size > 0
            title = f"{name}, D = {dim}, {np.dtype(dtype)}, size {size}{', context' * given[-1]}"
            RIGHT[title] = partial(_of_table, given=given)


def _of_table(rng, given):
    return of_table(rng, *given)


_add_flows()


# Samplers of closed densities ---------------------------------------------------------------------


def student(degrees, dim):
    """(log-density, sampler) of the t distribution of so many degrees and dimensions."""
    made = stats.multivariate_t(np.zeros(dim), np.eye(dim), df=degrees)
    return (
        lambda x: made.logpdf(x).reshape(len(x)),
        lambda g, n: np.reshape(made.rvs(max(n, 1), random_state=g), (-1, dim))[:n],
    )


def two_modes(share, dim):
    def log_prob(x):
        return (
            np.logaddexp(*(np.sum(-0.5 * (x - m) ** 2, axis=1) for m in (-2, 2)))
            - np.log(2)
            - dim / 2 * np.log(2 * np.pi)
        )

    def sample(g, n):
        return np.where(g.random((n, 1)) < share, -2.0, 2.0) + g.standard_normal((n, dim))

    return log_prob, sample


def of_normal(change):
    """The standard normal, with what is drawn changed: change(z, rng)."""
    return lambda dim: (
        lambda x: np.sum(-0.5 * x**2 - 0.5 * np.log(2 * np.pi), axis=1),
        lambda g, n: change(g.standard_normal((n, dim)), g),
    )


def cut(z, g):
    while np.any(np.abs(z) > 3):
        z = np.where(np.abs(z) > 3, g.standard_normal(z.shape), z)
    return z


SAMPLERS = {
    "variance 5 % too large": of_normal(lambda z, g: np.sqrt(1.05) * z),
    "variance 10 % too large": of_normal(lambda z, g: np.sqrt(1.1) * z),
    "tempered: scale 1.1": of_normal(lambda z, g: 1.1 * z),
    "one column 1.1 times as wide": of_normal(
        lambda z, g: np.concatenate([1.1 * z[:, :1], z[:, 1:]], axis=1)
    ),
    "one column moved by 0.05 sd": of_normal(
        lambda z, g: np.concatenate([z[:, :1] + 0.05, z[:, 1:]], axis=1)
    ),
    "cut at 3 sd": of_normal(cut),
    "clipped at 3 sd": of_normal(lambda z, g: np.clip(z, -3, 3)),
    "t with 4 degrees for 5": lambda dim: (student(5, dim)[0], student(4, dim)[1]),
    "modes 0.55 to 0.45 for even": lambda dim: (two_modes(0.5, dim)[0], two_modes(0.55, dim)[1]),
    "log_prob + log 1.03": lambda dim: (
        lambda x: of_normal(None)(dim)[0](x) + np.log(1.03),
        lambda g, n: g.standard_normal((n, dim)),
    ),
}
RIGHT_SAMPLERS = {
    "normal": of_normal(lambda z, g: z),
    "t with 5 degrees": lambda dim: student(5, dim),
    "two modes": lambda dim: two_modes(0.5, dim),
}


def drawn(rng, pair, dim):
    """Arguments of a check of a closed density and a sampler."""
    log_prob, sample = pair(dim)
    return dict(log_prob=log_prob, sample=sample, dim=dim)


for _dim in (1, 2, 4, 8, 16, 32):
    for _name, _pair in SAMPLERS.items():
        _build = partial(drawn, pair=_pair, dim=_dim)
        WRONG.append(Subject("of a sampler", f"{_name}, D = {_dim}", _build, SAMPLES))
    for _name, _pair in RIGHT_SAMPLERS.items():
        RIGHT[f"samples of {_name}, D = {_dim}"] = partial(drawn, pair=_pair, dim=_dim)


# A fitted flow ------------------------------------------------------------------------------------

ROWS = 3000


def data(dim, rng, n=ROWS):
    """Two bent clouds, one skewed coordinate in three, all correlated."""
    z = rng.standard_normal((n, dim))
    z[:, 1] += 0.5 * z[:, 0] ** 2
    z[:, 2::3] = np.expm1(0.5 * z[:, 2::3])
    z[rng.random(n) < 0.3, 0] += 4.0
    return (
        z
        @ (
            np.eye(dim)
            + 0.5 * np.random.default_rng(dim).standard_normal((dim, dim)) / np.sqrt(dim)
        ).T
    )


@cache
def fitted(dim):
    """(density, params) of a MAF, and those after a tenth of its training."""
    rng = np.random.default_rng(100 + dim)
    x = data(dim, rng)
    density = nfref.Density(nfref.MAF(dim, layers=3, hidden=(24, 24)))
    start = density.init(np.random.default_rng(0))
    runs = [
        fit(density, start, x, rng=np.random.default_rng(1), epochs=epochs, progress=False).params
        for epochs in (25, 3)
    ]
    return density, *runs


class Wrong:
    """log_prob and sample of the fitted flow, with ways to change them.

    ``latent(z, rng)`` changes the rows of the base, ``after(x, rng)`` what is drawn.
    """

    def __init__(self, dim, latent=None, after=None, log_prob=None, draw=None):
        self.density, self.params, self.early = fitted(dim)
        self.dim, self.latent, self.after, self.changed = dim, latent, after, log_prob
        self.draw = draw

    def push(self, z):
        return self.density.flow.forward(self.params["flow"], z)[0]

    def sample(self, rng, n):
        if self.draw is not None:
            return self.draw(self, rng, n)
        z = rng.standard_normal((n, self.dim))
        if self.latent is not None and n:
            z = self.latent(z, rng)
        x = self.push(z)
        return x if self.after is None or not n else self.after(x, rng)

    def right_log_prob(self, x):
        return self.density.log_prob(self.params, x)

    def log_prob(self, x):
        found = self.right_log_prob(x)
        if self.changed is None:
            return found
        z, log_det = self.density.flow.inverse(self.params["flow"], x)
        return self.changed(found, z, log_det, x)


def _latent(change):
    return lambda dim: Wrong(dim, latent=change)


def _after(change):
    return lambda dim: Wrong(dim, after=change)


def _log_prob(change):
    return lambda dim: Wrong(dim, log_prob=change)


def _column(j, change):
    def act(x, rng):
        x = x.copy()
        x[:, j] = change(x[:, j], rng)
        return x

    return act


def _cut(limit):
    def act(z, rng):
        from scipy.special import ndtr, ndtri

        low = ndtr(-limit)
        return ndtri(low + (1 - 2 * low) * ndtr(z))

    return act


def _clipped(x, rng):
    """At three standard deviations, as generators are that must not leave what was seen."""
    center, spread = np.mean(x, axis=0), np.std(x, axis=0)
    return np.clip(x, center - 3 * spread, center + 3 * spread)


def _around(x, factor):
    return np.mean(x, axis=0) + factor * (x - np.mean(x, axis=0))


def _mixture(z, rng, share, width):
    return np.where(rng.random((len(z), 1)) < share, width * z, z)


FAULTS = {
    # The base.
    "base scaled by 1.05": _latent(lambda z, g: 1.05 * z),
    "base scaled by 0.95": _latent(lambda z, g: 0.95 * z),
    "tempered: base scaled by 1.1": _latent(lambda z, g: 1.1 * z),
    "base moved by 0.1 in one column": _latent(_column(0, lambda c, g: c + 0.1)),
    "base cut at 3 sd": _latent(_cut(3.0)),
    "base cut at 2 sd": _latent(_cut(2.0)),
    "base t with 10 degrees": _latent(lambda z, g: g.standard_t(10, z.shape)),
    "base Laplace": _latent(lambda z, g: g.laplace(size=z.shape) / np.sqrt(2)),
    "base correlated by 0.1": _latent(
        lambda z, g: np.concatenate(
            [z[:, :1], 0.1 * z[:, :1] + np.sqrt(0.99) * z[:, 1:2], z[:, 2:]], axis=1
        )
    ),
    "5 % of the base twice as wide": _latent(lambda z, g: _mixture(z, g, 0.05, 2.0)),
    # What is drawn.
    "samples scaled by 1.05": _after(lambda x, g: _around(x, 1.05)),
    "samples scaled by 0.97": _after(lambda x, g: _around(x, 0.97)),
    "one column scaled by 1.1": _after(
        _column(-1, lambda c, g: np.mean(c) + 1.1 * (c - np.mean(c)))
    ),
    "one column moved by 0.1 sd": _after(_column(-1, lambda c, g: c + 0.1 * np.std(c))),
    "clipped at 3 sd": _after(_clipped),
    "rounded to 1 decimal": _after(lambda x, g: np.round(x, 1)),
    "noise of 0.2 sd": _after(
        lambda x, g: x + 0.2 * np.std(x, axis=0) * g.standard_normal(x.shape)
    ),
    "two columns exchanged": _after(lambda x, g: x[:, [1, 0, *range(2, x.shape[1])]]),
    "a column drawn by itself": _after(_column(1, lambda c, g: g.permutation(c))),
    "weights: one cloud 3 % too heavy": lambda dim: Wrong(dim, draw=_too_heavy),
    "drawn from an earlier epoch": lambda dim: Wrong(
        dim, draw=lambda self, g, n: self.density.sample(self.early, g, n)
    ),
    "each second row repeats": _after(lambda x, g: np.repeat(x, 2, axis=0)[: len(x)]),
    # log_prob.
    "log_prob + 0.03 (weights sum to 1.03)": _log_prob(lambda f, z, ld, x: f + np.log(1.03)),
    "log_prob + 0.1": _log_prob(lambda f, z, ld, x: f + 0.1),
    "log_det missing": _log_prob(lambda f, z, ld, x: f - ld),
    "log_prob times 0.95": _log_prob(lambda f, z, ld, x: 0.95 * f),
    "log_prob of standardised rows": lambda dim: Wrong(
        dim, log_prob=lambda f, z, ld, x: f + 0.5 * x.shape[1] * np.log(1.5)
    ),
}


def _too_heavy(self, rng, n):
    """Rows beyond the valley between the clouds are kept oftener than others."""
    x = self.push(rng.standard_normal((2 * n + 100, self.dim)))
    beyond = x[:, 0] > np.quantile(x[:, 0], 0.7)
    kept = x[beyond | (rng.random(len(x)) < 0.87)]
    return kept[:n]


def of_fitted(rng, make, dim):
    """Arguments of a check of a fitted flow with a fault."""
    made = make(dim)
    return dict(log_prob=made.log_prob, sample=made.sample, dim=dim)


for _dim in (3, 5, 8, 16):
    for _name, _make in FAULTS.items():
        _build = partial(of_fitted, make=_make, dim=_dim)
        WRONG.append(Subject("of a fitted flow", f"{_name}, D = {_dim}", _build, SAMPLES))
    RIGHT[f"a fitted flow, D = {_dim}"] = partial(of_fitted, make=Wrong, dim=_dim)


# Estimators ---------------------------------------------------------------------------------------


def of_estimator(rng, kind, fault, dim):
    """Arguments of a check of an estimator with a mistake, and its table."""
    return dict(thing=kind(fault), table=wrong_densities.table_for(kind, rng, dim))


for _dim in (2, 3):
    for _kind, _fault, _property in wrong_densities.FAULTS:
        _build = partial(of_estimator, kind=_kind, fault=_fault, dim=_dim)
        _name = f"{_kind.__name__}: {_fault}, D = {_dim}"
        WRONG.append(Subject("of an estimator", _name, _build, (_property, "units")))
        RIGHT[f"{_kind.__name__}, D = {_dim}"] = partial(
            of_estimator, kind=_kind, fault="", dim=_dim
        )


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.oracle.subjects", description=__doc__)
    parser.add_argument("--match", default="")
    parser.add_argument("--every", type=int, default=1, help="a part of them: every so many")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    everyone = [(f"{one.kind}: {one.name}", one, one.build) for one in WRONG]
    everyone += [(name, None, build) for name, build in RIGHT.items()]
    counts, seconds = dict.fromkeys(("wrong", "found", "named", "right", "accused"), 0), []
    for name, wrong, build in everyone[:: options.every]:
        if options.match not in name:
            continue
        start = time.process_time()
        report = judge(build)
        seconds.append(time.process_time() - start)
        found, named = bool(report.failures), wrong is not None and wrong.is_named_by(report)
        counts["right" if wrong is None else "wrong"] += 1
        counts["accused" if wrong is None else "found"] += found
        counts["named"] += named
        if (wrong is None and not report.ok) or (wrong is not None and not named):
            print(f"{name}\n    {report.summary[:300]}", flush=True)
    print(*(f"{count} {words}" for words, count in counts.items()), sep=", ")
    print(f"{np.median(seconds or [0]):.1f} s of CPU in the median, {max(seconds):.1f} at most")


if __name__ == "__main__":
    main()
