"""Flows that are wrong only where and when they are used in a certain way.

Batch sizes, places in a batch, later calls, other threads, memory layouts, contexts, regions of
little mass; and densities and samplers that are off by a known amount. Each kind comes in
many sizes, so that the score says from which size on a fault is seen.
"""

import threading

import numpy as np
from scipy import stats

from tests.oracle.mutants.wrappers import right

USAGE = {}


def _wrong(values, log_det, rows, how, where=slice(None)):
    """The answer with a fault in some of its rows."""
    values, log_det = values.copy(), log_det.copy()
    if how == "log_det":
        log_det[where] += 0.1
    elif how == "values":
        values[where] += 0.01
    elif how == "untouched":
        values[where] = rows[where, : values.shape[1]]
        log_det[where] = 0
    return values, log_det


def _flow(change, directions=("forward", "inverse")):
    """A mutant from change(rows, values, log_det) -> (values, log_det), for some directions."""

    def build(rng):
        functions = dict(zip(("forward", "inverse"), right(rng)))
        for name in directions:
            functions[name] = _changed(functions[name], change)
        return dict(dim=3, **functions)

    return build


def _changed(function, change):
    return lambda rows: change(rows, *function(rows))


FAULTS = ("log_det", "values", "untouched")
SIDES = {"both": ("forward", "inverse"), "forward": ("forward",), "inverse": ("inverse",)}

# Batch size -------------------------------------------------------------------------------

_SIZES = {
    f"of {n}": (lambda n: lambda m: m == n)(n)
    for n in (1, 2, 4, 11, 16, 31, 33, 37, 64, 97, 128, 257, 511, 1000, 1024, 4096)
}
_SIZES.update(
    {
        "of odd size": lambda m: m % 2 == 1,
        "of whole eights": lambda m: m and m % 8 == 0,
        "of 4 to 7": lambda m: 3 < m < 8,
        "above 2000": lambda m: m > 2000,
        "of prime size above 100": lambda m: m in (101, 127, 251, 257, 509, 521, 997),
    }
)
for _name, _is in _SIZES.items():
    for _how in FAULTS:
        for _side in SIDES if _how == "log_det" else ("both",):
            USAGE[f"batch {_name}: {_how}, {_side}"] = _flow(
                lambda rows, values, logs, test=_is, how=_how: (
                    _wrong(values, logs, rows, how) if test(len(rows)) else (values, logs)
                ),
                SIDES[_side],
            )

# Place ------------------------------------------------------------------------------------

_PLACES = {
    f"from {n} on": (lambda n: lambda i, m: i >= n)(n)
    for n in (1, 8, 63, 128, 256, 1000, 2048, 5000)
}
_PLACES.update({f"{n}": (lambda n: lambda i, m: i == n)(n) for n in (0, 7, 32, 100, 255)})
_PLACES.update(
    {
        "last": lambda i, m: i == m - 1,
        "beyond the last whole 16": lambda i, m: i >= m - m % 16,
        "every 100th": lambda i, m: i % 100 == 99,
    }
)
for _name, _at in _PLACES.items():
    for _how in FAULTS:
        for _side in SIDES if _how == "untouched" else ("both",):
            USAGE[f"row {_name}: {_how}, {_side}"] = _flow(
                lambda rows, values, logs, at=_at, how=_how: _wrong(
                    values, logs, rows, how, at(np.arange(len(rows)), len(rows))
                ),
                SIDES[_side],
            )

# History ----------------------------------------------------------------------------------


def _by_call(test, how):
    def build(rng):
        functions = {}
        for name, function in zip(("forward", "inverse"), right(rng)):
            calls = []

            def changed(rows, function=function, calls=calls):
                calls.append(None)
                values, logs = function(rows)
                return _wrong(values, logs, rows, how) if test(len(calls)) else (values, logs)

            functions[name] = changed
        return dict(dim=3, **functions)

    return build


_CALLS = {f"after {n}": (lambda n: lambda k: k > n)(n) for n in (1, 2, 10, 50, 100, 200)}
_CALLS.update({f"every {n}th": (lambda n: lambda k: k % n == 0)(n) for n in (2, 3, 10, 40, 100)})
_CALLS.update({f"the {n}th": (lambda n: lambda k: k == n)(n) for n in (1, 2, 5)})
for _name, _test in _CALLS.items():
    for _how in FAULTS:
        USAGE[f"call {_name}: {_how}"] = _by_call(_test, _how)

# Threads ----------------------------------------------------------------------------------


def _shared_buffer(rng):
    """Both calls write into one array, and read it a moment later."""
    functions = {}
    for name, function in zip(("forward", "inverse"), right(rng)):
        shared = {}

        def changed(rows, function=function, shared=shared):
            shared["rows"] = rows
            for _ in range(200):  # long enough for the other thread to come in
                sum(range(20))
            values, logs = function(shared["rows"])
            return values, logs

        functions[name] = changed
    return dict(dim=3, **functions)


def _busy(how):
    """Wrong while another call is running."""

    def build(rng):
        functions = {}
        for name, function in zip(("forward", "inverse"), right(rng)):
            running = []

            def changed(rows, function=function, running=running):
                running.append(threading.get_ident())
                for _ in range(200):
                    sum(range(20))
                alone = len(set(running)) == 1
                values, logs = function(rows)
                running.remove(threading.get_ident())
                return (values, logs) if alone else _wrong(values, logs, rows, how)

            functions[name] = changed
        return dict(dim=3, **functions)

    return build


USAGE["threads: shared buffer"] = _shared_buffer
for _how in FAULTS:
    USAGE[f"threads: {_how} while another runs"] = _busy(_how)

# Memory layout ----------------------------------------------------------------------------

_LAYOUTS = {
    "Fortran order": lambda rows: rows.flags.f_contiguous and not rows.flags.c_contiguous,
    "strides": lambda rows: not rows.flags.c_contiguous and not rows.flags.f_contiguous,
    "read-only": lambda rows: not rows.flags.writeable,
}
for _name, _is in _LAYOUTS.items():
    for _how in FAULTS:
        for _side in SIDES:
            USAGE[f"layout {_name}: {_how}, {_side}"] = _flow(
                lambda rows, values, logs, test=_is, how=_how: (
                    _wrong(values, logs, rows, how)
                    if len(rows) > 1 and test(rows)
                    else (values, logs)
                ),
                SIDES[_side],
            )

# Regions of little mass, consistently wrong in both directions: the log-determinants cancel ----


def _region(mass, size):
    """log_det is off where z_0 lies in an interval of this probability."""
    low = stats.norm.ppf(0.9)
    high = stats.norm.ppf(0.9 + mass)

    def build(rng):
        forward, inverse = right(rng)

        def there(z):
            x, logs = forward(z)
            return x, logs + size * ((z[:, 0] > low) & (z[:, 0] < high))

        def back(x):
            z, logs = inverse(x)
            return z, logs - size * ((z[:, 0] > low) & (z[:, 0] < high))

        return dict(dim=3, forward=there, inverse=back)

    return build


for _mass in (0.08, 0.05, 0.03, 0.02, 0.01):
    for _size in (1.0, 0.1, 1e-3):
        USAGE[f"region of mass {_mass}: log_det off by {_size}"] = _region(_mass, _size)

# Context ----------------------------------------------------------------------------------


def _context(change):
    def build(rng):
        forward, inverse = right(rng, context_dim=2)
        state = {}
        return dict(
            dim=3,
            context=rng.standard_normal((5, 2)),
            context_moves=np.ones((2, 3)),
            forward=lambda z, c: forward(z, change(c, state)),
            inverse=lambda x, c: inverse(x, change(c, state)),
        )

    return build


def _remembered(context, state):
    """The context of the first call for ever, as far as it reaches."""
    first = state.setdefault("context", context.copy())
    return first[np.arange(len(context)) % len(first)] if len(first) else context


def _remembered_by_size(context, state):
    return state.setdefault(len(context), context.copy())


_CONTEXTS = {
    "ignored": lambda c, s: 0 * c,
    "first feature alone": lambda c, s: c * np.array([1.0, 0.0]),
    "second feature alone": lambda c, s: c * np.array([0.0, 1.0]),
    "through float32": lambda c, s: c.astype(np.float32).astype(np.float64),
    "through float16": lambda c, s: c.astype(np.float16).astype(np.float64),
    "rounded": lambda c, s: np.round(c, 3),
    "clipped to signs": lambda c, s: np.sign(c),
    "of the first row": lambda c, s: np.repeat(c[:1], len(c), axis=0),
    "averaged": lambda c, s: c * 0 + np.sum(c, axis=0) / max(len(c), 1),
    "rolled": lambda c, s: np.roll(c, 1, axis=0),
    "sorted": lambda c, s: np.sort(c, axis=0),
    "reversed": lambda c, s: c[::-1],
    "remembered": _remembered,
    "remembered by size": _remembered_by_size,
}
for _name, _change in _CONTEXTS.items():
    USAGE[f"context in both directions {_name}"] = _context(_change)

# After calls of the other direction ----------------------------------------------------------


def _worn_by_the_other(calls, worn):
    def build(rng):
        forward, inverse = right(rng)
        functions, asked = {"forward": forward, "inverse": inverse}, [0]
        other = "inverse" if worn == "forward" else "forward"
        sound = functions[other]

        def count(rows):
            asked[0] += 1
            return sound(rows)

        functions[other] = count
        functions[worn] = _changed(
            functions[worn],
            lambda rows, values, log_det: _wrong(
                values, log_det, rows, "log_det" if asked[0] > calls else None
            ),
        )
        return dict(dim=3, **functions)

    return build


for _calls in (1, 10, 40, 200):
    for _worn in ("forward", "inverse"):
        _name = f"{_worn} after {_calls} calls of the other direction"
        USAGE[_name] = _worn_by_the_other(_calls, _worn)

# Densities: a constant offset, at a size that the power table says is seen --------------------


def _density(dim, offset=0.0, scale=1.0, shift=0.0, sample=None, gradient=None):
    def log_prob(x):
        return np.sum(stats.norm.logpdf(x), axis=1) + offset

    def draw(g, n):
        x = sample(g, n, dim) if sample else g.standard_normal((n, dim))
        return scale * x + shift

    return lambda rng: dict(
        dim=dim, log_prob=log_prob, sample=draw, **({"gradient": gradient} if gradient else {})
    )


for _dim, _seen in ((1, 2e-5), (2, 0.006), (4, 0.01), (10, 0.02), (20, 0.03), (50, 0.08)):
    for _sign in (1, -1):
        for _times in (1, 3, 10, 100):
            USAGE[f"offset: D = {_dim}, {_sign * _times * _seen:+g} nats"] = _density(
                _dim, offset=_sign * _times * _seen
            )

# Samplers ---------------------------------------------------------------------------------


def _repeats(g, n, dim):
    return np.repeat(g.standard_normal(((n + 1) // 2, dim)), 2, axis=0)[:n]


def _antithetic(g, n, dim):
    half = g.standard_normal(((n + 1) // 2, dim))
    return np.stack([half, -half], axis=1).reshape(-1, dim)[:n]


def _chain(correlation):
    def sample(g, n, dim):
        x = g.standard_normal((n, dim))
        for k in range(1, n):
            x[k] = correlation * x[k - 1] + np.sqrt(1 - correlation**2) * x[k]
        return x

    return sample


def _shared_coordinate(g, n, dim):
    x = g.standard_normal((n, dim))
    x[1:, 0] = x[:-1, -1]
    return x


def _not_empty(g, n, dim):
    if not n:
        raise ValueError("n: expected at least 1")
    return g.standard_normal((n, dim))


_SAMPLERS = {
    "every row twice": _repeats,
    "antithetic": _antithetic,
    "chain 0.2": _chain(0.2),
    "chain 0.9": _chain(0.9),
    "coordinate of the row before": _shared_coordinate,
    "no n = 0": _not_empty,
    "uniform": lambda g, n, dim: g.uniform(-np.sqrt(3), np.sqrt(3), (n, dim)),
    "t": lambda g, n, dim: g.standard_t(5, (n, dim)) * np.sqrt(3 / 5),
    "clipped": lambda g, n, dim: np.clip(g.standard_normal((n, dim)), -1.5, 1.5),
    "same seed": lambda g, n, dim: np.random.default_rng(1).standard_normal((n, dim)),
    "few digits": lambda g, n, dim: np.round(g.standard_normal((n, dim)), 0),
    "absolute": lambda g, n, dim: np.abs(g.standard_normal((n, dim))),
}
for _name, _sample in _SAMPLERS.items():
    for _dim in (1, 2, 4, 10):
        if _dim == 1 and _name.startswith("coordinate"):
            continue  # the rows moved by one: as independent as before
        USAGE[f"sampler {_name}: D = {_dim}"] = _density(_dim, sample=_sample)
for _dim in (1, 2, 4, 10):
    for _scale in (1.3, 1.1, 0.9):
        USAGE[f"sampler scaled by {_scale}: D = {_dim}"] = _density(_dim, scale=_scale)
    for _shift in (0.15, 0.5):
        USAGE[f"sampler shifted by {_shift}: D = {_dim}"] = _density(_dim, shift=_shift)

# Gradients of log_prob --------------------------------------------------------------------

_GRADIENTS = {
    "negated": lambda x: x,
    "zero": lambda x: 0 * x,
    "None": lambda x: None,
    "times 1 + 1e-6": lambda x: -x * (1 + 1e-6),
    "of one coordinate": lambda x: -x[:, :1],
    "cut off beyond 6": lambda x: np.where(np.abs(x) > 6, 0, -x),
    "nan at zero": lambda x: np.where(x == 0, np.nan, -x),
    "nan far out": lambda x: np.where(np.abs(x) > 100, np.nan, -x),
    "of half the rows": lambda x: np.where(np.arange(len(x))[:, None] % 2, -x, 0),
    "swapped": lambda x: -x[:, ::-1],
    "clipped": lambda x: -np.clip(x, -1, 1),
    "in float16": lambda x: -x.astype(np.float16).astype(np.float64),
}
for _name, _gradient in _GRADIENTS.items():
    for _dim in (2, 4):
        USAGE[f"gradient {_name}: D = {_dim}"] = _density(_dim, gradient=_gradient)
