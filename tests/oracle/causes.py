"""Wrong flows and densities, each with the cause that the first line of the report has to name.

``WRONG`` holds subjects of kinds that the other tables lack: estimators, batches, places in a
batch, running statistics, short formats, constants, samplers, contexts, splines, masks. A subject
is a function of a generator that returns the arguments of ``check_flow`` or, with "log_prob" among
them, of ``check_density``.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from nfref.oracle import check_density, check_flow


@dataclass(frozen=True)
class Subject:
    """A wrong flow or density.

    Attributes
    ----------
    kind, name : str
    build : callable
        rng -> arguments of a check.
    leads : tuple of str
        Stems of the properties that may stand in the first line.
    words : str
        What the first line has to contain.
    """

    kind: str
    name: str
    build: Callable
    leads: tuple
    words: str = ""

    def is_named_by(self, report):
        """True if the first line of a report names the cause."""
        lead = report.lead
        return lead is not None and lead.stem in self.leads and self.words in report.summary


WRONG = []
LOG_2PI = np.log(2 * np.pi)
LOG_DET = ("log_det",)
BATCH = ("row_independence", "batch_sizes")
STATE = ("repeatable", "history")
SHORT = ("precision",)


def wrong(kind, name, *leads, words="", **options):
    """Register what the decorated function builds with these options."""

    def register(build):
        WRONG.append(Subject(kind, name, lambda rng: build(rng, **options), leads, words))
        return build

    return register


def judge(subject, seed=0, **options):
    """The oracle's report on a subject."""
    rng = np.random.default_rng(seed)
    arguments = subject.build(rng)
    check = check_density if "log_prob" in arguments else check_flow
    with np.errstate(all="ignore"):
        return check(**arguments, rng=rng, **options)


# A coupling that is right, with a place for a fault ---------------------------------------------


def affine(rng, dim=4, context=0, conditioner=None, log_det=None, latent=None, **more):
    """An affine coupling layer between two fixed linear maps.

    ``conditioner(first, weights, tanh)``, ``log_det(value, rows)`` and ``latent(rows)`` replace a
    part of it.
    """
    keep = dim // 2
    width = dim - keep
    weights = 0.7 * rng.standard_normal((keep + context, 2 * width))
    mixing = np.linalg.qr(rng.standard_normal((dim, dim)))[0] * np.exp(
        0.4 * rng.standard_normal(dim)
    )
    back, constant = np.linalg.inv(mixing), np.linalg.slogdet(mixing)[1]
    network = conditioner or (lambda first, weights: np.tanh(first @ weights))
    change = log_det or (lambda value, rows: value)
    begin = latent or (lambda rows: rows)

    def terms(first, c):
        given = first if not c else np.concatenate([first, c[0]], axis=1)
        return np.split(network(given, weights), 2, axis=1)

    def forward(z, *c):
        z = begin(z)
        shift, log_scale = terms(z[:, :keep], c)
        y = np.concatenate([z[:, :keep], z[:, keep:] * np.exp(log_scale) + shift], axis=1)
        return y @ mixing.T, change(np.sum(log_scale, axis=1) + constant, z)

    def inverse(x, *c):
        y = begin(x) @ back.T
        shift, log_scale = terms(y[:, :keep], c)
        z = np.concatenate([y[:, :keep], (y[:, keep:] - shift) * np.exp(-log_scale)], axis=1)
        return z, -change(np.sum(log_scale, axis=1) + constant, z)

    found = dict(forward=forward, inverse=inverse, dim=dim, **more)
    return {**found, "context": rng.standard_normal((6, context))} if context else found


def coupling(change, **options):
    """A subject's build: the coupling with arguments that ``change(rng)`` makes."""
    return lambda rng: affine(rng, **change(rng), **options)


def add(kind, name, build, *leads, words=""):
    """Register a build without options."""
    WRONG.append(Subject(kind, name, build, leads, words))


# Short formats ----------------------------------------------------------------------------------


def _through(kind):
    return lambda values: values.astype(kind).astype(values.dtype)


half, single = _through(np.float16), _through(np.float32)

for _name, _short in (("float16", half), ("float32", single)):
    add(
        "short format",
        f"conditioner in {_name}",
        coupling(lambda rng, s=_short: dict(conditioner=lambda first, w: s(np.tanh(s(first) @ w)))),
        *SHORT,
        words="precision" if _name == "float16" else "float32",
    )
    add(
        "short format",
        f"log_det in {_name}",
        coupling(lambda rng, s=_short: dict(log_det=lambda value, rows: s(value))),
        *SHORT,
        words="precision" if _name == "float16" else "float32",
    )
    add("short format", f"rows in {_name}", coupling(lambda rng, s=_short: dict(latent=s)), *SHORT)


@wrong("short format", "conditioner in float32, D = 2, one layer", *SHORT, words="float32")
def one_layer(rng):
    """The log-scale that column 0 gives is flat between steps, so log_det is exact."""

    def terms(first):
        log_scale, shift = 0.5 * single(np.sin(3 * single(first))), single(np.cos(single(first)))
        return log_scale, shift

    def forward(z):
        log_scale, shift = terms(z[:, :1])
        return np.c_[z[:, :1], z[:, 1:] * np.exp(log_scale) + shift], log_scale[:, 0]

    def inverse(x):
        log_scale, shift = terms(x[:, :1])
        return np.c_[x[:, :1], (x[:, 1:] - shift) * np.exp(-log_scale)], -log_scale[:, 0]

    return dict(forward=forward, inverse=inverse, dim=2)


add(
    "short format",
    "conditioner in float16, D = 2",
    coupling(lambda rng: dict(conditioner=lambda f, w: half(np.tanh(half(f) @ half(w)))), dim=2),
    *SHORT,
)
add(
    "short format",
    "output of the conditioner in float16",
    coupling(lambda rng: dict(conditioner=lambda f, w: half(np.tanh(f @ w)))),
    *SHORT,
)
add(
    "short format",
    "log-scale on a grid of 1/64",
    coupling(lambda rng: dict(conditioner=lambda f, w: np.round(64 * np.tanh(f @ w)) / 64)),
    *SHORT,
)
add(
    "short format",
    "context in float16",
    coupling(
        lambda rng: dict(
            conditioner=lambda f, w: np.tanh(np.concatenate([f[:, :2], half(f[:, 2:])], 1) @ w)
        ),
        context=2,
    ),
    "precision",
)


@wrong("short format", "float16 conditioner of a density", "precision")
def half_density(rng):
    weight = rng.standard_normal(2)

    def center(first):
        return half(np.tanh(half(first) @ weight))

    def log_prob(x):
        terms = stats.norm.logpdf(x[:, :2]).sum(1)
        return terms + stats.norm.logpdf(x[:, 2], center(x[:, :2]), 0.5)

    def sample(g, n):
        first = g.standard_normal((n, 2))
        return np.column_stack([first, center(first) + 0.5 * g.standard_normal(n)])

    return dict(log_prob=log_prob, sample=sample, dim=3)


# Estimates of log_det ---------------------------------------------------------------------------


def residual(rng, estimate, dim=4):
    """x = z + A tanh(z B) with a log-determinant by ``estimate(jacobian of the residual)``."""
    a, b = (0.5 * rng.standard_normal((dim, dim)) / np.sqrt(dim) for _ in range(2))

    def jacobian(z):
        return np.einsum("ik,nk,jk->nij", a, 1 - np.tanh(z @ b) ** 2, b.T)

    def forward(z):
        return z + np.tanh(z @ b) @ a.T, estimate(jacobian(z))

    def inverse(x):
        z = x
        for _ in range(120):
            z = x - np.tanh(z @ b) @ a.T
        return z, -estimate(jacobian(z))

    return dict(forward=forward, inverse=inverse, dim=dim)


def series(terms, probe=None, sign=True):
    def estimate(jacobian):
        total, power = np.zeros(len(jacobian)), np.eye(jacobian.shape[1])
        for k in range(1, terms + 1):
            power = power @ jacobian
            trace = (
                np.trace(power, axis1=1, axis2=2)
                if probe is None
                else np.einsum("i,nij,j->n", probe, power, probe)
            )
            total += ((-1) ** (k + 1) if sign else 1) * trace / k
        return total

    return estimate


for _name, _of in {
    "one fixed probe of Hutchinson": lambda rng: series(60, rng.choice([-1.0, 1.0], 4)),
    "a normal probe of Hutchinson": lambda rng: series(60, rng.standard_normal(4)),
    "three terms of the series": lambda rng: series(3),
    "five terms of the series": lambda rng: series(5),
    "the trace for the log-determinant": lambda rng: series(1),
    "all terms of the series positive": lambda rng: series(60, sign=False),
    "determinant of the symmetric part": lambda rng: (
        lambda j: np.linalg.slogdet(np.eye(4) + 0.5 * (j + j.transpose(0, 2, 1)))[1]
    ),
    "product of the diagonal": lambda rng: (
        lambda j: np.sum(np.log(np.abs(1 + np.diagonal(j, axis1=1, axis2=2))), axis=1)
    ),
}.items():
    add("estimate", _name, lambda rng, of=_of: residual(rng, of(rng)), *LOG_DET)


@wrong("estimate", "one probe for each call", "repeatable")
def new_probe(rng):
    state = np.random.default_rng(3)
    return residual(rng, lambda j: series(40, state.choice([-1.0, 1.0], 4))(j))


# The batch --------------------------------------------------------------------------------------


def of_the_batch(function, context=0):
    def build(rng):
        right = affine(rng, context=context)
        forward, inverse = right["forward"], right["inverse"]
        return {**right, "inverse": lambda x, *c: function(inverse, x, *c), "forward": forward}

    return build


def _centred(inverse, x, *c):
    z, log_det = inverse(x, *c)
    return z - (0.1 * np.mean(z, axis=0) if len(z) else 0), log_det


def _log_det_centred(inverse, x, *c):
    z, log_det = inverse(x, *c)
    return z, log_det - (1e-3 * np.mean(log_det) if len(z) else 0)


def _largest(inverse, x, *c):
    z, log_det = inverse(x, *c)
    return z, log_det + (1e-4 * np.max(np.abs(x)) if len(z) else 0)


def _context_of_the_first(inverse, x, c):
    return inverse(x, np.broadcast_to(c[:1], c.shape))


def _context_mean(inverse, x, c):
    return inverse(x, c - 0.2 * np.mean(c, axis=0) if len(c) else c)


def _sorted(inverse, x, *c):
    return inverse(x[np.argsort(x[:, 0])], *c)


for _context in (0, 2):
    _words = " and a context" * bool(_context)
    for _name, _function in {
        "values less a part of their mean": _centred,
        "log_det less a part of its mean": _log_det_centred,
        "log_det with the largest entry": _largest,
    }.items():
        add("batch", _name + _words, of_the_batch(_function, _context), "row_independence")
add("batch", "context of the first row", of_the_batch(_context_of_the_first, 2), "row_independence")
add("batch", "context less its mean", of_the_batch(_context_mean, 2), "row_independence")
add("batch", "rows sorted on the way", of_the_batch(_sorted), "row_independence")


def by_place(noise):
    def act(inverse, x, *c):
        z, log_det = inverse(x, *c)
        return z + noise(np.arange(len(z)))[:, None], log_det

    return of_the_batch(act)


for _name, _noise in {
    "noise of 1e-8 by place": lambda k: 1e-8 * np.sin(37.0 * k),
    "noise of 1e-6 by place": lambda k: 1e-6 * np.sin(37.0 * k),
    "noise of 1e-10 by place": lambda k: 1e-10 * np.sin(37.0 * k),
    "every other row off by 1e-9": lambda k: 1e-9 * (k % 2),
    "rows of the second tile off by 1e-7": lambda k: 1e-7 * (k // 32 % 2),
    "the last rows off by 1e-8": lambda k: 1e-8 * (k > len(k) - 4) * (len(k) % 8 > 0),
}.items():
    add("place", _name, by_place(_noise), *BATCH)


# State ------------------------------------------------------------------------------------------


def running(rng, rate=0.01, by="batch", when=lambda calls: True):
    """Running moments that every call of the inverse goes on moving."""
    right, state = affine(rng), {"mean": np.zeros(4), "calls": 0}
    forward, inverse = right["forward"], right["inverse"]

    def moving(x):
        state["calls"] += 1
        if len(x) and when(state["calls"]):
            new = np.mean(x, axis=0) if by == "batch" else x[0]
            state["mean"] = (1 - rate) * state["mean"] + rate * new
        return inverse(x - state["mean"])

    return {**right, "inverse": moving, "forward": lambda z: _plus(forward(z), state["mean"])}


def _plus(answer, mean):
    return answer[0] + np.real(mean), answer[1]


add("running statistics", "mean of each batch", running, *STATE)
add("running statistics", "slowly", lambda rng: running(rng, 1e-6), *STATE)
add("running statistics", "by the first row", lambda rng: running(rng, 1e-3, "row"), *STATE)
add(
    "running statistics",
    "every tenth call",
    lambda rng: running(rng, 1e-3, when=lambda calls: calls % 10 == 0),
    *STATE,
    *BATCH,
    words="from call to call",
)


def late(rng, change, after=40):
    """Right for some calls; then the answer goes through ``change``."""
    right, calls = affine(rng), []

    def forward(z):
        calls.append(None)
        answer = right["forward"](z)
        return change(*answer) if len(calls) > after else answer

    return {**right, "forward": forward}


for _name, _change in {
    "float32 from the 40th call": lambda x, logs: (x.astype(np.float32), logs.astype(np.float32)),
    "log_det as a column from the 40th call": lambda x, logs: (x, logs[:, None] + 1e-3),
    "one nat more from the 40th call": lambda x, logs: (x, logs + 1),
}.items():
    add("late", _name, lambda rng, c=_change: late(rng, c), *STATE, *BATCH, "threads", words="call")


@wrong("threads", "a buffer that two calls share", "threads")
def shared_buffer(rng):
    right, kept = affine(rng), {}

    def forward(z):
        mine = kept.setdefault(z.shape, np.empty_like(z))
        mine[:] = z
        for _ in range(150):
            sum(range(20))
        return right["forward"](mine.copy())

    return {**right, "forward": forward}


@wrong("threads", "an error while another thread is inside", "threads")
def one_at_a_time(rng):
    right, lock = affine(rng), threading.Lock()

    def forward(z):
        if not lock.acquire(blocking=False):
            raise RuntimeError("one call at a time")
        try:
            for _ in range(150):
                sum(range(20))
            return right["forward"](z)
        finally:
            lock.release()

    return {**right, "forward": forward}


# Constants --------------------------------------------------------------------------------------


def offset(rng, constant, dim=5):
    """A normal density whose log_prob has a constant too many."""
    scale = np.exp(rng.standard_normal(dim) / 2)

    return dict(
        log_prob=lambda x: stats.norm.logpdf(x, 0, scale).sum(1) + constant(dim),
        sample=lambda g, n: scale * g.standard_normal((n, dim)),
        dim=dim,
    )


CONSTANTS = {
    "log 2": lambda d: np.log(2),
    "D log 2": lambda d: d * np.log(2),
    "D/2 log 2 pi": lambda d: d / 2 * LOG_2PI,
    "(D - 1)/2 log 2 pi": lambda d: (d - 1) / 2 * LOG_2PI,
    "D log 256": lambda d: d * np.log(256),
}
for _name, _constant in CONSTANTS.items():
    add(
        "constant",
        f"density: {_name}",
        lambda rng, c=_constant: offset(rng, c),
        "normalised",
        words=_name,
    )
    add(
        "constant",
        f"flow: minus {_name}",
        coupling(lambda rng, c=_constant: dict(log_det=lambda value, rows: value - c(5)), dim=5),
        *LOG_DET,
        words=f"-{_name}" if "(" not in _name else _name,
    )
add(
    "constant",
    "log p over D",
    lambda rng: {**normal(rng, lambda g, n: g.standard_normal((n, 5)), 5), "log_prob": _over_dim},
    "normalised",
    "sample_follows",
    words="over D",
)


def _over_dim(x):
    return stats.norm.logpdf(x).sum(1) / x.shape[1]


# Samplers ---------------------------------------------------------------------------------------


def two_modes(rng, dim=2, weights=(0.5, 0.5), apart=3.0, sample=None):
    centers = np.zeros((2, dim))
    centers[:, 0] = -apart / 2, apart / 2

    def log_prob(x):
        parts = stats.norm.logpdf(x[:, None] - centers).sum(2)
        return special.logsumexp(parts + np.log(weights), axis=1)

    def right(g, n):
        return centers[g.choice(2, n, p=weights)] + g.standard_normal((n, dim))

    return dict(
        log_prob=log_prob, sample=(lambda g, n: sample(g, n, right)) if sample else right, dim=dim
    )


@wrong("sampler", "Langevin with 5 % too much variance, two modes", "sample_follows")
def langevin(rng):
    centers = np.array([[-1.5, 0.0], [1.5, 0.0]])

    def score(x):
        parts = stats.norm.logpdf(x[:, None] - centers).sum(2)
        share = special.softmax(parts, axis=1)
        return np.einsum("ni,nij->nj", share, centers - x[:, None])

    def sample(g, n, right):
        x, step = right(g, n), 0.05
        for _ in range(60):
            noise = np.sqrt(2 * step * 1.05) * g.standard_normal(x.shape)
            x = x + step * score(x) + noise
        return x

    return two_modes(rng, sample=sample)


@wrong("sampler", "Langevin started at one mode", "sample_follows")
def one_mode(rng):
    return two_modes(
        rng, apart=6.0, sample=lambda g, n, right: [-3.0, 0.0] + g.standard_normal((n, 2))
    )


def mixture_to_a_power(rng, dim=12, power=1.15):
    centers = 2.5 * rng.standard_normal((5, dim))
    weights = np.array([0.4, 0.25, 0.2, 0.1, 0.05])
    drawn = weights**power / np.sum(weights**power)

    def log_prob(x):
        parts = stats.norm.logpdf(x[:, None] - centers).sum(2)
        return special.logsumexp(parts + np.log(weights), axis=1)

    return dict(
        log_prob=log_prob,
        sample=lambda g, n: centers[g.choice(5, n, p=drawn)] + g.standard_normal((n, dim)),
        dim=dim,
    )


for _dim in (2, 6, 12):
    wrong("sampler", f"mixture weights to the power 1.15, D = {_dim}", "sample_follows", dim=_dim)(
        mixture_to_a_power
    )


def normal(rng, sample, dim=3, **more):
    return dict(log_prob=lambda x: stats.norm.logpdf(x).sum(1), sample=sample, dim=dim, **more)


SAMPLERS = {
    "antithetic pairs": (
        lambda g, n: np.concatenate([h := g.standard_normal((-(-n // 2), 3)), -h])[:n],
        ("sample_independent",),
    ),
    "antithetic pairs, the last sample first": (
        lambda g, n: np.concatenate([h := g.standard_normal((n // 2 + 1, 3)), -h[::-1]])[:n],
        ("sample_independent",),
    ),
    "one sample more between antithetic pairs": (
        lambda g, n: np.concatenate([h := g.standard_normal((n // 2 + 1, 3)), -h])[:n],
        ("sample_independent",),
    ),
    "an autoregressive chain": (lambda g, n: _chain(g, n, 0.3), ("sample_independent",)),
    "the global generator": (
        lambda g, n: np.random.standard_normal((n, 3)),  # noqa: NPY002
        ("sample_repeatable",),
    ),
    "a fixed seed": (
        lambda g, n: np.random.default_rng(5).standard_normal((n, 3)),
        ("sample_generator",),
    ),
    "a table of 4000 rows": (
        lambda g, n: np.random.default_rng(5).standard_normal((4000, 3))[g.integers(4000, size=n)],
        ("sample_independent", "sample_follows"),
    ),
    "rounded to two decimals": (
        lambda g, n: np.round(g.standard_normal((n, 3)), 2),
        ("sample_follows",),
    ),
    "columns in float16": (lambda g, n: half(g.standard_normal((n, 3))), ("sample_follows",)),
    "uniform noise for normal": (
        lambda g, n: np.sqrt(12) * (g.random((n, 3)) - 0.5),
        ("sample_follows",),
    ),
    "scale for variance": (lambda g, n: 1.2 * g.standard_normal((n, 3)), ("sample_follows",)),
    "Box-Muller without its second half": (lambda g, n: _half_a_pair(g, n), ("sample_follows",)),
}


def _chain(g, n, kept):
    x, noise = np.empty((n, 3)), g.standard_normal((n, 3))
    state = g.standard_normal(3)
    for k in range(n):
        state = kept * state + np.sqrt(1 - kept**2) * noise[k]
        x[k] = state
    return x


def _half_a_pair(g, n):
    u, v = g.random((2, n, 3))
    return np.abs(np.sqrt(-2 * np.log(u))) * np.cos(np.pi * v / 2)


for _name, (_sample, _leads) in SAMPLERS.items():
    add("sampler", _name, lambda rng, s=_sample: normal(rng, s), *_leads)


# A log_prob that integrates to one, or does not -------------------------------------------------


@wrong(
    "which of the two",
    "log_prob: variance for scale",
    "sample_follows",
    words="so log_prob is wrong",
)
def variance_for_scale(rng):
    """The exponent divides by the variance squared, the normaliser by the scale."""
    scale = np.array([0.5, 2.0, 1.5])
    return dict(
        log_prob=lambda x: np.sum(
            -0.5 * (x / scale**2) ** 2 - np.log(scale) - 0.5 * LOG_2PI, axis=1
        ),
        sample=lambda g, n: scale * g.standard_normal((n, 3)),
        dim=3,
    )


@wrong("which of the two", "log_prob: no log-scale", "normalised", words="integrates to")
def no_log_scale(rng):
    scale = np.array([0.5, 2.0, 1.5])
    return dict(
        log_prob=lambda x: np.sum(-0.5 * (x / scale) ** 2 - 0.5 * LOG_2PI, axis=1),
        sample=lambda g, n: scale * g.standard_normal((n, 3)),
        dim=3,
    )


@wrong(
    "which of the two",
    "sampler: forgets its scale",
    "sample_follows",
    words="so the sampler is wrong",
)
def forgets_scale(rng):
    scale = np.array([0.5, 2.0, 1.5])
    return dict(
        log_prob=lambda x: stats.norm.logpdf(x, 0, scale).sum(1),
        sample=lambda g, n: g.standard_normal((n, 3)),
        dim=3,
    )


@wrong(
    "which of the two",
    "sampler: one column negative",
    "sample_follows",
    words="so the sampler is wrong",
)
def negative_column(rng):
    return dict(
        log_prob=lambda x: stats.gumbel_r.logpdf(x).sum(1),
        sample=lambda g, n: g.gumbel(size=(n, 2)) * [1, -1],
        dim=2,
    )


@wrong(
    "which of the two",
    "log_prob: exponent of the t",
    "sample_follows",
    words="so log_prob is wrong",
)
def t_exponent(rng):
    return dict(
        log_prob=lambda x: np.sum(stats.t.logpdf(x, 5) - 0.5 * np.log1p(x**2 / 5), axis=1),
        sample=lambda g, n: g.standard_t(5, (n, 2)),
        dim=2,
    )


# Masks, splines, contexts -----------------------------------------------------------------------


@wrong("mask", "an autoregressive mask that sees its own column", *LOG_DET)
def mask_off_by_one(rng, dim=4):
    weight = 0.5 * np.tril(rng.standard_normal((dim, dim)))  # the diagonal should be zero

    def forward(z):
        log_scale = np.tanh(z @ weight.T)
        return z * np.exp(log_scale), np.sum(log_scale, axis=1)

    return dict(forward=forward, dim=dim, skip=("normalised",))


@wrong("mask", "a coupling whose masks overlap", *LOG_DET)
def masks_overlap(rng):
    weight = rng.standard_normal((2, 3)) / 2

    def forward(z):
        log_scale = np.tanh(z[:, :2] @ weight)
        return (
            np.concatenate([z[:, :1], z[:, 1:] * np.exp(log_scale)], axis=1),
            np.sum(log_scale, axis=1),
        )

    return dict(forward=forward, dim=4, skip=("normalised",))


@wrong("mask", "a permutation undone in the wrong order", "round_trip", "log_det")
def wrong_order(rng):
    order = np.array([2, 0, 3, 1])
    right = affine(rng)

    def inverse(x):
        z, log_det = right["inverse"](x)
        return z[:, order], log_det

    def forward(z):
        return right["forward"](z[:, order])

    return {**right, "forward": forward, "inverse": inverse}


def piecewise(rng, fault):
    """A piecewise linear map on [-2, 2], the identity outside."""
    knots = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    images = np.array([-2.0, -1.5, 0.3, 0.9, 2.0])
    slopes = np.diff(images) / np.diff(knots)

    def slope_of(z):
        bins = np.clip(np.searchsorted(knots, z, side="right") - 1, 0, 3)
        if fault == "bin":
            bins = np.clip(bins + (z > 0.995), 0, 3)
        slope = slopes[bins]
        if fault != "tails":
            slope = np.where(np.abs(z) < 2, slope, 1.0)
        return slope

    def forward(z):
        x = np.where(np.abs(z) < 2, np.interp(z, knots, images), z)
        return x, np.sum(np.log(slope_of(z)), axis=1)

    def inverse(x):
        z = np.where(np.abs(x) < 2, np.interp(x, images, knots), x)
        return z, -np.sum(np.log(slope_of(z)), axis=1)

    return dict(forward=forward, inverse=inverse, dim=2)


add("spline", "slope of the outer bin in the tails", lambda g: piecewise(g, "tails"), *LOG_DET)
add("spline", "bin found a little too early", lambda g: piecewise(g, "bin"), *LOG_DET, "knots")


def with_context(name, change, *leads, words="", **options):
    """A conditional normal density; ``change(c)`` is what log_prob sees."""

    def build(rng):
        contexts = rng.standard_normal((6, 2))

        def terms(c):
            return np.column_stack([c[:, 0], -c[:, 1]]), 0.3 * c

        def log_prob(x, c):
            center, log_scale = terms(change(c))
            scale = np.exp(log_scale)
            return stats.norm.logpdf(x, center, scale).sum(1)

        def sample(g, n, c):
            center, log_scale = terms(c)
            return center + np.exp(log_scale) * g.standard_normal((n, 2))

        return dict(log_prob=log_prob, sample=sample, dim=2, context=contexts)

    add("context", name, build, *leads, words=words)


with_context("log_prob clips its context", lambda c: np.clip(c, -0.8, 0.8), "sample_follows")
with_context("log_prob scales its context", lambda c: 1.2 * c, "sample_follows")
with_context("context in float32", single, "precision")
with_context("context through int", lambda c: np.round(4 * c) / 4, "precision")
with_context("context reversed", lambda c: c[::-1], "row_independence")
with_context("a feature ignored", lambda c: c * [1, 0], "context_read")


@wrong("context", "the last context is remembered", "context_memory", "repeatable")
def remembered_context(rng):
    right, kept = affine(rng, context=2), {}

    def forward(z, c):
        if len(kept.get("c", ())) != len(c):
            kept["c"] = c.copy()
        return right["forward"](z, kept["c"])

    return {**right, "forward": forward}


# Domains ----------------------------------------------------------------------------------------


@wrong("domain", "a scaled tanh leaves its interval", "stays_inside")
def leaves(rng):
    def forward(z):
        return 1.05 * np.tanh(z), np.sum(
            np.log(1.05) + 2 * (np.log(2) - z - np.logaddexp(0, -2 * z)), axis=1
        )

    return dict(forward=forward, dim=2, codomain=(-1, 1), skip=("normalised",))


@wrong("domain", "log(1 - tanh^2)", "finite", "log_det", "precision")
def tanh_tails(rng):
    with np.errstate(all="ignore"):
        return dict(
            forward=lambda z: (np.tanh(z), np.sum(np.log(1 - np.tanh(z) ** 2), axis=1)),
            dim=2,
            codomain=(-1, 1),
            skip=("normalised",),
        )


@wrong("domain", "a map that folds", "orientation", "log_det", "round_trip")
def folds(rng):
    return dict(
        forward=lambda z: (
            z + 1.5 * np.sin(z),
            np.sum(np.log(np.abs(1 + 1.5 * np.cos(z))), axis=1),
        ),
        dim=2,
        skip=("normalised",),
    )


@wrong("domain", "samples clipped at the end", "sample_follows")
def clipped(rng):
    return dict(
        log_prob=lambda x: stats.truncnorm.logpdf(x, -1, 1).sum(1),
        sample=lambda g, n: np.clip(g.standard_normal((n, 2)), -1, 1),
        dim=2,
        domain=(-1, 1),
    )
