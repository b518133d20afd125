"""Mistakes that people make in flows and densities, and the cause that the first line has to name.

They were written before the oracle was run on any of them: ``docs/oracle.rst`` says how many it
found at first. Each is registered in ``causes.WRONG``.
"""

import numpy as np
from scipy import special, stats

from tests.oracle.causes import BATCH, LOG_DET, STATE, add, affine, coupling, normal, wrong

ROUND = ("round_trip",)
MASS = ("normalised",)
SAMPLES = ("sample_follows",)
# A map that is not the inverse of the other one, or whose own log_det is not that of its values.
EITHER = LOG_DET + ROUND


def each(forward, inverse, log_slope, dim=3, back=None, **more):
    """A scalar map of all columns; ``back`` is the log-slope of the inverse at (z, x)."""
    slope_back = back or (lambda z, x: -log_slope(z))

    def there(z):
        return forward(z), np.sum(log_slope(z), axis=1)

    def here(x):
        z = inverse(x)
        return z, np.sum(slope_back(z, x), axis=1)

    return dict(forward=there, inverse=here, dim=dim, **more)


def changed(change, direction="inverse", **options):
    """A subject's build: the affine coupling with one direction's (values, log_det) changed."""

    def build(rng):
        right = affine(rng, **options)
        function = right[direction]
        return {**right, direction: lambda rows, *c: change(rows, *function(rows, *c))}

    return build


# Sums, signs and factors --------------------------------------------------------------------------

add("sums", "mean over the columns", coupling(lambda g: dict(log_det=lambda v, z: v / 4)), *LOG_DET)
add(
    "sums",
    "inverse's log_det not negated",
    changed(lambda x, z, log_det: (z, -log_det)),
    *LOG_DET,
    words="minus",
)
add("sums", "log_det of rows in place of columns", lambda g: _sum_of_rows(g), "answers", "shapes")
add("sums", "log_det squared", coupling(lambda g: dict(log_det=lambda v, z: v * v)), *LOG_DET)
add(
    "sums",
    "log_det in base 10",
    coupling(lambda g: dict(log_det=lambda v, z: v / np.log(10))),
    *LOG_DET,
)
add("sums", "log_det of the last layer alone", lambda g: two_layers(g, "last"), *LOG_DET)
add("sums", "layers inverted in the order of forward", lambda g: two_layers(g, "order"), *ROUND)
add("sums", "log_det of a layer counted twice", lambda g: two_layers(g, "twice"), *LOG_DET)


def _sum_of_rows(rng):
    right = affine(rng, dim=2)

    def forward(z):
        x, log_det = right["forward"](z)
        return x, np.sum(np.stack([log_det, 0 * log_det], axis=1), axis=0)

    return {**right, "forward": forward}


def two_layers(rng, fault):
    first, second = affine(rng), affine(rng)

    def forward(z):
        y, one = first["forward"](z)
        x, two = second["forward"](y)
        return x, {"last": two, "twice": 2 * one + two}.get(fault, one + two)

    def inverse(x):
        layers = (first, second) if fault == "order" else (second, first)
        y, two = layers[0]["inverse"](x)
        z, one = layers[1]["inverse"](y)
        return z, one + two

    return dict(forward=forward, inverse=inverse, dim=4)


# Scales -------------------------------------------------------------------------------------------


@wrong("scales", "log_det clipped, not the scale", *LOG_DET, where="log_det")
@wrong("scales", "scale clipped, not log_det", *LOG_DET, where="scale")
@wrong("scales", "scale clipped in the inverse alone", *EITHER, where="inverse")
@wrong("scales", "log(scale + 1e-3)", *LOG_DET, where="eps", eps=1e-3)
@wrong("scales", "log(scale + 1e-7)", *LOG_DET, where="eps", eps=1e-7)
@wrong("scales", "division by scale + 1e-5", *EITHER, where="division", eps=1e-5)
@wrong("scales", "raw scale in log_det, softplus in the map", *LOG_DET, where="softplus")
@wrong("scales", "sigmoid(s + 2) in the map, sigmoid(s) in log_det", *LOG_DET, where="sigmoid")
@wrong("scales", "log_det over all columns, map on half of them", *LOG_DET, where="all")
def scaled(rng, where, eps=0.0):
    """A coupling of four columns."""
    weight = rng.standard_normal((2, 2))

    def terms(first):
        raw = 1.2 * np.tanh(first @ weight)
        log_scale = raw
        if where == "scale":
            raw, log_scale = np.clip(raw, -0.8, 0.8), raw
        if where == "log_det":
            log_scale = np.clip(raw, -0.8, 0.8)
        scale = np.exp(raw)
        if where == "eps":
            log_scale = np.log(scale + eps)
        if where == "softplus":
            scale, log_scale = np.logaddexp(0, raw), raw
        if where == "sigmoid":
            scale, log_scale = special.expit(raw + 2), np.log(special.expit(raw))
        return scale, log_scale

    def forward(z):
        scale, log_scale = terms(z[:, :2])
        total = np.sum(log_scale, axis=1)
        if where == "all":
            total = total + np.sum(z[:, :2] @ weight.T, axis=1)
        return np.concatenate([z[:, :2], z[:, 2:] * scale + 0.3], axis=1), total

    def inverse(x):
        scale, log_scale = terms(x[:, :2])
        if where == "inverse":
            scale = np.maximum(scale, 0.5)
        return (
            np.concatenate([x[:, :2], (x[:, 2:] - 0.3) / (scale + eps * (where == "division"))], 1),
            -np.sum(log_scale, axis=1),
        )

    return dict(forward=forward, inverse=inverse, dim=4)


# Scalar maps --------------------------------------------------------------------------------------

add(
    "scalar map",
    "slope of tanh at its image",
    lambda g: each(
        lambda z: z + 0.9 * np.tanh(z),
        _bisection(lambda z: z + 0.9 * np.tanh(z), 60),
        lambda z: np.log1p(0.9 / np.cosh(z + 0.9 * np.tanh(z)) ** 2),
    ),
    *LOG_DET,
)
add(
    "scalar map",
    "sigmoid: log s twice, not log s + log(1 - s)",
    lambda g: each(
        special.expit, special.logit, lambda z: -2 * np.logaddexp(0, -z), codomain=(0, 1)
    ),
    *LOG_DET,
)
add(
    "scalar map",
    "softplus: log_det of the value",
    lambda g: each(
        lambda z: np.logaddexp(0, z),
        lambda x: x + np.log(-np.expm1(-x)),
        lambda z: np.log(np.logaddexp(0, z)),
        codomain=(0, np.inf),
    ),
    *LOG_DET,
)
add(
    "scalar map",
    "logit of squeezed pixels without their factor",
    lambda g: each(
        lambda z: special.logit(0.05 + 0.9 * z),
        lambda x: (special.expit(x) - 0.05) / 0.9,
        lambda z: -np.log((0.05 + 0.9 * z) * (0.95 - 0.9 * z)),
        domain=(0, 1),
        codomain=(special.logit(0.05), special.logit(0.95)),
    ),
    *LOG_DET,
)
add(
    "scalar map",
    "log of a slope without its modulus",
    lambda g: each(lambda z: -2 * z, lambda x: -x / 2, lambda z: np.log(-2.0 + 0 * z)),
    "finite",
    "answers",
    *LOG_DET,
)
add(
    "scalar map",
    "the wrong root for negative numbers",
    lambda g: each(
        lambda z: z + z * np.abs(z),
        lambda x: np.where(
            x >= 0, (np.sqrt(1 + 4 * np.abs(x)) - 1) / 2, (np.sqrt(1 + 4 * np.abs(x)) + 1) / -2
        ),
        lambda z: np.log1p(2 * np.abs(z)),
    ),
    *ROUND,
)
add(
    "scalar map",
    "inverse's log_det at x in place of z",
    lambda g: each(
        np.sinh,
        np.arcsinh,
        lambda z: np.log(np.cosh(z)),
        back=lambda z, x: -np.log(np.cosh(np.tanh(x))),
    ),
    *LOG_DET,
)
add(
    "scalar map",
    "modulus on the way",
    lambda g: each(np.abs, lambda x: x, lambda z: 0 * z, dim=2),
    "orientation",
    *ROUND,
    "log_det",
    "normalised",
)
add(
    "scalar map",
    "angles wrapped to one turn",
    lambda g: each(
        lambda z: np.mod(2 * z + np.pi, 2 * np.pi) - np.pi,
        lambda x: x / 2,
        lambda z: np.log(2.0) + 0 * z,
    ),
    *ROUND,
    "normalised",
)
add(
    "scalar map",
    "values rounded to six decimals",
    lambda g: each(lambda z: np.round(3 * z, 6), lambda x: x / 3, lambda z: np.log(3) + 0 * z),
    "precision",
    *EITHER,
)
add(
    "scalar map",
    "columns sorted on the way",
    lambda g: dict(
        forward=lambda z: (np.sort(z, axis=1), np.zeros(len(z))),
        inverse=lambda x: (x, np.zeros(len(x))),
        dim=3,
    ),
    "orientation",
    *ROUND,
    "log_det",
    "normalised",
)


def _bisection(function, steps, reach=10.0):
    def inverse(x):
        low, high = np.full_like(x, -reach), np.full_like(x, reach)
        for _ in range(steps):
            middle = 0.5 * (low + high)
            above = function(middle) > x
            low, high = np.where(above, low, middle), np.where(above, middle, high)
        return 0.5 * (low + high)

    return inverse


# Roots --------------------------------------------------------------------------------------------


@wrong("root search", "bisection of 12 steps", *ROUND, "precision")
@wrong("root search", "bisection of 26 steps", *ROUND, "precision", words="search", steps=26)
@wrong("root search", "bracket of [-2, 2]", *ROUND, steps=60, reach=2.0)
@wrong("root search", "two steps of Newton's method", *ROUND, "log_det", method="newton", steps=2)
@wrong("root search", "eight fixed-point steps", *ROUND, "log_det", method="fixed", steps=8)
def roots(rng, steps=12, reach=10.0, method="bisection"):
    def function(z):
        return z + 0.8 * np.sin(z)

    def inverse(x):
        if method == "bisection":
            return _bisection(function, steps, reach)(x)
        z = x
        for _ in range(steps):
            z = (
                z - (function(z) - x) / (1 + 0.8 * np.cos(z))
                if method == "newton"
                else (x - 0.8 * np.sin(z))
            )
        return z

    # Beyond the bracket no root is found; the domain is inside the first of them.
    return each(
        function, inverse, lambda z: np.log1p(0.8 * np.cos(z)), domain=(-6, 6), codomain=_images
    )


def _images(rng, n):
    z = rng.uniform(-6, 6, (n, 3))
    return z + 0.8 * np.sin(z)


# Linear maps and layers of papers -----------------------------------------------------------------


@wrong("linear", "reflection by a vector that is not of length one", *LOG_DET, "round_trip")
def reflection(rng):
    v = rng.standard_normal(4)
    matrix = np.eye(4) - 2 * np.outer(v, v)
    return dict(
        forward=lambda z: (z @ matrix, np.zeros(len(z))),
        inverse=lambda x: (x @ matrix, np.zeros(len(x))),
        dim=4,
    )


@wrong("linear", "transpose for the inverse", *ROUND, "log_det", fault="transpose")
@wrong("linear", "diagonal of L for that of U", *LOG_DET, fault="diagonal")
@wrong("linear", "determinant without the number of pixels", *LOG_DET, fault="pixels")
@wrong("linear", "log_det of the matrix times D", *LOG_DET, fault="times D")
def linear(rng, fault):
    lower = np.tril(0.5 * rng.standard_normal((4, 4)), -1) + np.eye(4)
    upper = np.triu(0.3 * rng.standard_normal((4, 4)), 1) + np.diag([0.5, 2.0, 1.5, 3.0])
    matrix = lower @ upper
    if fault == "pixels":
        matrix = np.kron(np.eye(2), 1.5 * matrix[:2, :2])
    back = matrix.T if fault == "transpose" else np.linalg.inv(matrix)
    constant = np.linalg.slogdet(matrix)[1]
    constant = {
        "diagonal": np.sum(np.log(np.diag(lower))),
        "pixels": constant / 2,
        "times D": 4 * constant,
    }.get(fault, constant)
    return dict(
        forward=lambda z: (z @ matrix, np.full(len(z), constant)),
        inverse=lambda x: (x @ back, np.full(len(x), -constant)),
        dim=4,
    )


@wrong("layer", "radial layer: power D of the radial factor", *LOG_DET, dim=3)
def radial(rng, dim):
    center = rng.standard_normal(dim)

    def forward(z):
        offset = z - center
        r = np.linalg.norm(offset, axis=1)
        h = 1.5 / (1 + r)
        x = z + h[:, None] * offset
        return x, dim * np.log1p(h) + np.log1p(h - 1.5 * r / (1 + r) ** 2)

    return dict(forward=forward, dim=dim, skip=("normalised",))


@wrong("layer", "planar layer: raw u in log_det, constrained u in the map", *LOG_DET)
def planar(rng):
    w, u = np.array([1.0, -0.5]), np.array([-1.0, 1.5])
    inner = w @ u
    constrained = u + (np.logaddexp(0, inner) - 1 - inner) * w / (w @ w)

    def forward(z):
        a = z @ w + 0.2
        slope = 1 / np.cosh(a) ** 2
        return z + np.tanh(a)[:, None] * constrained, np.log(np.abs(1 + slope * inner))

    return dict(forward=forward, dim=2, skip=("normalised",))


@wrong("layer", "continuous flow: trace by Euler's method", *LOG_DET)
def continuous(rng):
    weight = 0.7 * rng.standard_normal((3, 3))

    def speed(z):
        return np.tanh(z @ weight)

    def trace(z):
        return (1 - np.tanh(z @ weight) ** 2) @ np.diag(weight)

    def run(z, sign):
        step, total = sign / 20, 0
        for _ in range(20):
            total = total + step * trace(z)
            one = speed(z)
            two = speed(z + step / 2 * one)
            three = speed(z + step / 2 * two)
            z = z + step / 6 * (one + 2 * two + 2 * three + speed(z + step * three))
        return z, total

    return dict(forward=lambda z: run(z, 1), inverse=lambda x: run(x, -1), dim=3, accuracy=1e-4)


# Between the ends, its inverse is constant.
@wrong(
    "layer",
    "spline of whose ends one is not on the diagonal",
    *ROUND,
    "log_det",
    "normalised",
    "knots",
)
def detached(rng):
    knots, images = np.array([-2.0, -0.5, 1.0, 2.0]), np.array([-2.0, -1.0, 0.5, 1.7])
    slopes = np.diff(images) / np.diff(knots)

    def log_slope(z):
        k = np.clip(np.searchsorted(knots, z) - 1, 0, 2)
        return np.where(np.abs(z) < 2, np.log(slopes[k]), 0.0)

    return each(
        lambda z: np.where(np.abs(z) < 2, np.interp(z, knots, images), z),
        lambda x: np.where(np.abs(x) < 2, np.interp(x, images, knots), x),
        log_slope,
        dim=2,
    )


# Precision, state, batches ------------------------------------------------------------------------

add(
    "precision",
    "inverse computed in float32",
    changed(lambda x, z, log_det: (z.astype(np.float32).astype(float), log_det)),
    "precision",
    "round_trip",
    words="float32",
)
add(
    "precision",
    "values of forward through float32",
    changed(lambda z, x, log_det: (x.astype(np.float32).astype(float), log_det), "forward"),
    "precision",
    *EITHER,
)
add(
    "memory",
    "log_det of the last forward call",
    lambda g: _kept(g),
    *STATE,
    "row_independence",
    "log_det",
    "batch_sizes",
)
add(
    "memory",
    "answer kept by the shape of the rows",
    lambda g: _by_shape(g),
    *STATE,
    *BATCH,
    "log_det",
)
add(
    "memory",
    "log_det added to an attribute in place",
    lambda g: _running_total(g),
    *STATE,
    "answers_stay",
)
add("memory", "rows changed in place", lambda g: _in_place(g), "input_unchanged")
add("memory", "a buffer is returned", lambda g: _buffer(g), "answers_stay", *STATE)
add("memory", "dropout left on", lambda g: _dropout(g), "repeatable")
add("memory", "dropout of a fixed seed", lambda g: _dropout(g, 7), *BATCH)
add("memory", "noise of 1e-4 in the inverse", lambda g: _noise(g), "repeatable")
add(
    "batches",
    "softmax over the rows",
    coupling(
        lambda g: dict(conditioner=lambda f, w: special.softmax(f @ w, axis=0) if len(f) else f @ w)
    ),
    "row_independence",
)
add(
    "batches",
    "conditioner's layer norm over the batch",
    coupling(
        lambda g: dict(
            conditioner=lambda f, w: np.tanh(
                f @ w - (0.1 * np.mean(f @ w, axis=0) if len(f) else 0)
            )
        )
    ),
    "row_independence",
)
add(
    "batches",
    "context divided by its deviation in the batch",
    coupling(
        lambda g: dict(
            conditioner=lambda f, w: np.tanh(
                np.concatenate(
                    [f[:, :2], f[:, 2:] / (1 + (np.std(f[:, 2:], 0) if len(f) else 0))], 1
                )
                @ w
            )
        ),
        context=2,
    ),
    "row_independence",
)


def _kept(rng):
    right, kept = affine(rng), {}

    def forward(z):
        x, kept["log_det"] = right["forward"](z)
        return x, kept["log_det"]

    def inverse(x):
        z, log_det = right["inverse"](x)
        old = kept.get("log_det")
        return z, -old if old is not None and len(old) == len(x) else log_det

    return dict(forward=forward, inverse=inverse, dim=4)


def _by_shape(rng):
    right, kept = affine(rng), {}

    def forward(z):
        if z.shape not in kept:
            kept[z.shape] = right["forward"](z)[1]
        return right["forward"](z)[0], kept[z.shape].copy()

    return {**right, "forward": forward}


def _running_total(rng):
    right, total = affine(rng), np.zeros(1)

    def forward(z):
        x, log_det = right["forward"](z)
        total[:] += 1e-3
        return x, log_det + total

    return {**right, "forward": forward}


def _in_place(rng):
    right = affine(rng)

    def inverse(x):
        z, log_det = right["inverse"](x)
        x[:, 0] -= 0.1
        return z, log_det

    return {**right, "inverse": inverse}


def _buffer(rng):
    right, room = affine(rng), np.empty((20000, 4))

    def forward(z):
        x, log_det = right["forward"](z)
        room[: len(z)] = x
        return room[: len(z)], log_det

    return {**right, "forward": forward}


def _dropout(rng, seed=None):
    state = np.random.default_rng(0)

    def conditioner(first, weights):
        g = state if seed is None else np.random.default_rng(seed)
        kept = g.random((len(first), weights.shape[1])) < 0.9
        return np.tanh(first @ weights) * kept

    return affine(rng, conditioner=conditioner)


def _noise(rng):
    right, state = affine(rng), np.random.default_rng(0)

    def inverse(x):
        z, log_det = right["inverse"](x)
        return z + 1e-4 * state.standard_normal(z.shape), log_det

    return {**right, "inverse": inverse}


# What a function returns --------------------------------------------------------------------------

add(
    "answers",
    "log_det first, then the values",
    changed(lambda z, x, log_det: (log_det, x), "forward"),
    "answers",
    "shapes",
)
add(
    "answers",
    "log_det as a column",
    changed(lambda z, x, log_det: (x, log_det[:, None]), "forward"),
    "answers",
    "shapes",
)
add(
    "answers",
    "one log_det for the batch",
    changed(lambda z, x, log_det: (x, np.sum(log_det)), "forward"),
    "answers",
    "shapes",
    "row_independence",
)
add(
    "answers",
    "log_det of each column",
    changed(lambda z, x, log_det: (x, np.repeat(log_det[:, None] / 4, 4, axis=1)), "forward"),
    "answers",
    "shapes",
)


# Densities ----------------------------------------------------------------------------------------


def density(kind, name, log_prob, sample, *leads, words="", dim=2, **more):
    """Register a density."""
    add(
        kind,
        name,
        lambda g: dict(log_prob=log_prob, sample=sample, dim=dim, **more),
        *leads,
        words=words,
    )


SCALE = np.array([0.5, 2.0])
CENTERS = np.array([[-2.0, 0.0], [2.0, 1.0]])
COVARIANCE = np.array([[1.0, 0.8], [0.8, 2.0]])


def parts(x):
    return stats.norm.logpdf(x[:, None] - CENTERS).sum(2)


def of_two(g, n):
    return CENTERS[g.choice(2, n, p=[0.3, 0.7])] + g.standard_normal((n, 2))


def normals(g, n):
    return SCALE * g.standard_normal((n, 2))


for _name, _log_prob in {
    "logits for log-weights": lambda x: special.logsumexp(parts(x) + [0.4, 1.2], axis=1),
    "weights that sum to two": lambda x: special.logsumexp(parts(x) + np.log([0.6, 1.4]), axis=1),
    "mean of the logarithms": lambda x: parts(x) @ [0.3, 0.7],
    "largest part in place of the sum": lambda x: np.max(parts(x) + np.log([0.3, 0.7]), axis=1),
    "sum of columns after that of parts": lambda x: np.sum(
        special.logsumexp(stats.norm.logpdf(x[:, None] - CENTERS) + np.log([[0.3], [0.7]]), axis=1),
        axis=1,
    ),
    "weights of the parts the other way round": lambda x: special.logsumexp(
        parts(x) + np.log([0.7, 0.3]), axis=1
    ),
}.items():
    density(
        "mixture",
        _name,
        _log_prob,
        of_two,
        *(SAMPLES if "sum of columns" in _name or "way round" in _name else MASS + SAMPLES),
    )


def exact(x):
    return stats.norm.logpdf(x, 0, SCALE).sum(1)


def standard(x):
    return stats.norm.logpdf(x / SCALE).sum(1)


# Name: what log_prob returns, and words of the first line.
for _name, (_log_prob, _words) in {
    "log-scale added, not subtracted": (lambda x: standard(x) + np.log(0.75), "integrates to"),
    "log-scale of one column alone": (lambda x: standard(x) - np.log(SCALE[0]), "log 2"),
    "scales of the columns exchanged": (
        lambda x: stats.norm.logpdf(x, 0, SCALE[::-1]).sum(1),
        "disagree",
    ),
    "clamped at -12": (lambda x: np.maximum(exact(x), -12), ""),
    "clamped at -3 from above": (lambda x: np.minimum(exact(x), -3), "integrates to"),
    "log(p + 1e-4)": (lambda x: np.log(np.exp(exact(x)) + 1e-4), "integrates to"),
    "density, not its logarithm": (lambda x: np.exp(exact(x)), "not its logarithm"),
    "mean of the columns": (
        lambda x: stats.norm.logpdf(x, 0, SCALE).mean(1),
        "half of a log-density",
    ),
}.items():
    density("log_prob", _name, _log_prob, normals, *MASS, *SAMPLES, words=_words)
density(
    "log_prob",
    "nan for a negative column",
    lambda x: np.where(x[:, 0] < -1, np.nan, exact(x)),
    normals,
    "finite",
    "answers",
)
density(
    "log_prob",
    "half-normal without log 2",
    lambda x: stats.norm.logpdf(x).sum(1),
    lambda g, n: np.abs(g.standard_normal((n, 2))),
    *MASS,
    domain=(0, np.inf),
    words="log 2",
)
density(
    "log_prob",
    "truncated normal, not renormalised",
    lambda x: stats.norm.logpdf(x).sum(1),
    lambda g, n: stats.truncnorm.rvs(-1, 2, size=(n, 2), random_state=g),
    *MASS,
    domain=(-1, 2),
)
density(
    "log_prob",
    "Laplace: log b for log 2b",
    lambda x: -np.sum(np.abs(x) / SCALE + np.log(SCALE), axis=1),
    lambda g, n: g.laplace(0, SCALE, (n, 2)),
    *MASS,
    words="log 2",
)
density(
    "log_prob",
    "lognormal without 1 / x",
    lambda x: stats.norm.logpdf(np.log(x)).sum(1),
    lambda g, n: np.exp(g.standard_normal((n, 2))),
    *MASS,
    *SAMPLES,
    words="integrates to",
    domain=(0, np.inf),
)
density(
    "log_prob",
    "t density of D columns with the constant of one",
    lambda x: stats.t.logpdf(0, 5) * 2 - 3.5 * np.log1p(np.sum(x**2, axis=1) / 5),
    lambda g, n: (
        stats.multivariate_t([0, 0], np.eye(2), df=5).rvs(max(n, 1), random_state=g)[:n]
        if n > 1
        else stats.multivariate_t([0, 0], np.eye(2), df=5).rvs(2, random_state=g)[:n]
    ),
    *MASS,
)
density(
    "gradient",
    "gradient without its scale",
    exact,
    normals,
    "gradient",
    gradient=lambda x: -x / SCALE,
)
density(
    "gradient",
    "gradient by differences in float32",
    exact,
    normals,
    "gradient",
    gradient=lambda x: -np.float32(x / SCALE**2 * (1 + 1e-3 * np.sin(100 * x))).astype(float),
)

# Samplers -----------------------------------------------------------------------------------------

_ROOT = np.linalg.cholesky(COVARIANCE)
for _name, _sample in {
    "covariance for its Cholesky factor": lambda g, n: g.standard_normal((n, 2)) @ COVARIANCE,
    "Cholesky factor not transposed": lambda g, n: g.standard_normal((n, 2)) @ _ROOT,
    "temperature 0.8": lambda g, n: 0.8 * g.standard_normal((n, 2)) @ _ROOT.T,
    "columns without correlation": lambda g, n: (
        g.standard_normal((n, 2)) * np.sqrt(np.diag(COVARIANCE))
    ),
    "one noise for both columns": lambda g, n: (
        np.repeat(g.standard_normal((n, 1)), 2, axis=1) @ _ROOT.T
    ),
    "20 steps of Metropolis from the middle": lambda g, n: _metropolis(g, n),
    "means in place of samples": lambda g, n: np.zeros((n, 2)),
    "noise of the base uniform": lambda g, n: (g.random((n, 2)) - 0.5) * np.sqrt(12) @ _ROOT.T,
}.items():
    density(
        "drawn",
        _name,
        lambda x: np.reshape(stats.multivariate_normal([0, 0], COVARIANCE).logpdf(x), len(x)),
        _sample,
        *SAMPLES,
        *(("sample_generator", "sample_independent") if "means" in _name else ()),
    )


def _metropolis(g, n):
    made, x = stats.multivariate_normal([0, 0], COVARIANCE), np.zeros((n, 2))
    for _ in range(20 if n else 0):
        new = x + 0.4 * g.standard_normal((n, 2))
        kept = np.log(g.random(n)) < np.reshape(made.logpdf(new) - made.logpdf(x), n)
        x = np.where(kept[:, None], new, x)
    return x


add(
    "drawn",
    "blocks of 500 samples repeat",
    lambda g: normal(g, lambda r, n: np.resize(r.standard_normal((min(n, 500), 3)), (n, 3))),
    "sample_independent",
    "sample_follows",
)
add(
    "drawn",
    "samples sorted by their first column",
    lambda g: normal(g, lambda r, n: (x := r.standard_normal((n, 3)))[np.argsort(x[:, 0])]),
    "sample_independent",
)
add(
    "drawn",
    "inverse in place of forward",
    lambda g: dict(
        log_prob=lambda x: stats.norm.logpdf(np.arcsinh(x)).sum(1) - 0.5 * np.log1p(x**2).sum(1),
        sample=lambda r, n: np.arcsinh(r.standard_normal((n, 2))),
        dim=2,
    ),
    *SAMPLES,
)


def given_context(name, *leads, words="", seen=lambda c: c, drawn=lambda c: c):
    """Register a conditional normal; log_prob sees ``seen(c)``, sample ``drawn(c)``."""

    def build(rng):
        return dict(
            log_prob=lambda x, c: stats.norm.logpdf(x, seen(c), np.exp(0.3 * seen(c)[:, :1])).sum(
                1
            ),
            sample=lambda g, n, c: (
                drawn(c) + np.exp(0.3 * drawn(c)[:, :1]) * g.standard_normal((n, 2))
            ),
            dim=2,
            context=rng.standard_normal((6, 2)),
        )

    add("conditional", name, build, *leads, words=words)


given_context("sampler reads the first context alone", *SAMPLES, drawn=lambda c: c[:1] + 0 * c)
given_context("sampler standardises its context", *SAMPLES, drawn=lambda c: c / 1.3)
given_context("sampler ignores the context", *SAMPLES, "context_read", drawn=lambda c: 0 * c)
given_context("context features exchanged by log_prob", *SAMPLES, seen=lambda c: c[:, ::-1])
given_context("context of the row before", "row_independence", seen=lambda c: np.roll(c, 1, axis=0))
given_context(
    "context averaged over the batch",
    "row_independence",
    seen=lambda c: (np.mean(c, axis=0) if len(c) else 0) + 0 * c,
)
