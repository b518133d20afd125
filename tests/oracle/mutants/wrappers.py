"""Correct flows, called wrongly: every way in which a wrapper around a formula goes astray."""

import numpy as np

import nfref


def right(rng, dim=3, dtype=np.float64, context_dim=0):
    """A correct flow far from the identity, volume-changing, as two callables.

    Weights are of moderate size, so that the mutants are rejected for what they do.
    """
    flow = nfref.RealNVP(dim, layers=3, hidden=(8,), context_dim=context_dim, activation="tanh")
    params = nfref.params.tree_map(
        lambda leaf: (leaf + 0.4 * rng.standard_normal(leaf.shape)).astype(dtype), flow.init(rng)
    )

    def forward(z, context=None):
        return flow.forward(params, z, context)

    def inverse(x, context=None):
        return flow.inverse(params, x, context)

    return forward, inverse


def _both(change):
    """A mutant that changes both directions: change(function, rng) -> function."""

    def build(rng):
        forward, inverse = right(rng)
        return dict(dim=3, forward=change(forward, rng), inverse=change(inverse, rng))

    return build


def _one(change, name):
    """A mutant that changes one direction."""

    def build(rng):
        functions = dict(zip(("forward", "inverse"), right(rng)))
        functions[name] = change(functions[name], rng)
        return dict(dim=3, **functions)

    return build


def on_log_det(formula):
    """log_det -> formula(log_det, values, rows)."""

    def change(function, rng):
        def changed(rows):
            values, log_det = function(rows)
            return values, formula(log_det, values, rows)

        return changed

    return change


def on_values(formula):
    """values -> formula(values, rows)."""

    def change(function, rng):
        def changed(rows):
            values, log_det = function(rows)
            return formula(values, rows), log_det

        return changed

    return change


def on_rows(formula):
    """The input -> formula(input)."""

    def change(function, rng):
        return lambda rows: function(formula(rows))

    return change


def twice(function, rng):
    def changed(rows):
        values, log_det = function(rows)
        return function(values)[0], log_det

    return changed


def at_the_image(function, rng):
    """The log-determinant is computed where the map leads, not where it starts."""

    def changed(rows):
        values, _ = function(rows)
        return values, function(values)[1]

    return changed


def cached_log_det(function, rng):
    """The first log_det of each batch size is remembered for ever."""
    memory = {}

    def changed(rows):
        values, log_det = function(rows)
        return values, memory.setdefault(len(rows), log_det)

    return changed


def cached_answer(function, rng):
    """The last answer is given again to any rows with the same first entry and number."""
    memory = {}

    def changed(rows):
        key = (len(rows), float(np.sum(rows[:1, :1])) > 0)
        return memory.setdefault(key, function(rows))

    return changed


def counting(function, rng):
    """It drifts a little with every call."""
    calls = []

    def changed(rows):
        calls.append(None)
        values, log_det = function(rows)
        return values + 1e-6 * len(calls), log_det

    return changed


def noisy(size):
    def change(function, rng):
        def changed(rows):
            values, log_det = function(rows)
            return values + size * rng.standard_normal(values.shape), log_det

        return changed

    return change


def noisy_log_det(function, rng):
    """An unbiased estimate instead of the number, as from one Hutchinson probe."""

    def changed(rows):
        values, log_det = function(rows)
        return values, log_det + 0.1 * rng.standard_normal(log_det.shape)

    return changed


def reused_buffer(function, rng):
    buffers = {}

    def changed(rows):
        values, log_det = function(rows)
        buffer = buffers.setdefault(len(rows), np.empty_like(values))
        buffer[:] = values
        return buffer, log_det

    return changed


def in_place(function, rng):
    def changed(rows):
        values, log_det = function(rows.copy())
        rows *= 2
        return values, log_det

    return changed


def batch_centered(function, rng):
    """Batch norm with the statistics of the batch."""

    def changed(rows):
        if len(rows) == 0:
            return function(rows)
        return function((rows - np.mean(rows, axis=0)) / (np.std(rows, axis=0) + 1e-2))

    return changed


def chunked_wrongly(function, rng):
    """Rows beyond the first 32 are forgotten."""

    def changed(rows):
        values, log_det = function(rows)
        values, log_det = values.copy(), log_det.copy()
        values[32:], log_det[32:] = 0, 0
        return values, log_det

    return changed


def no_small_batches(function, rng):
    """A squeeze() too many: a batch of one loses its axis."""

    def changed(rows):
        values, log_det = function(rows)
        return np.squeeze(values), np.squeeze(log_det)

    return changed


def no_empty_batches(function, rng):
    def changed(rows):
        if not len(rows):
            raise IndexError("index 0 is out of bounds")
        return function(rows)

    return changed


def raises_far_out(function, rng):
    def changed(rows):
        if np.any(np.abs(rows) > 50):
            raise ValueError("input outside of the domain")
        return function(rows)

    return changed


def shuffled(function, rng):
    def changed(rows):
        values, log_det = function(rows)
        return values[::-1], log_det

    return changed


LOG_DET = {
    "log_det times 0.5": lambda ld, y, x: 0.5 * ld,
    "log_det times 2": lambda ld, y, x: 2 * ld,
    "log_det times -3": lambda ld, y, x: -3 * ld,
    "log_det times 7": lambda ld, y, x: 7 * ld,
    "log_det times 1 + 1e-6": lambda ld, y, x: ld * (1 + 1e-6),
    "log_det negated": lambda ld, y, x: -ld,
    "log_det zero": lambda ld, y, x: 0 * ld,
    "log_det plus 1e-7": lambda ld, y, x: ld + 1e-7,
    "log_det absolute": lambda ld, y, x: np.abs(ld) + 0.1,
    "log_det clipped": lambda ld, y, x: np.clip(ld, -0.2, 0.2),
    "log_det in base 2": lambda ld, y, x: ld / np.log(2),
    "log_det exponentiated": lambda ld, y, x: np.exp(ld),
    "log_det averaged over the batch": lambda ld, y, x: np.full_like(
        ld, np.sum(ld) / max(len(ld), 1)
    ),
    "log_det divided by D": lambda ld, y, x: ld / 3,
    "log_det as a column": lambda ld, y, x: ld[:, None],
    "log_det as one number": lambda ld, y, x: np.sum(ld),
    "log_det a coordinate": lambda ld, y, x: np.tile(ld[:, None] / 3, 3),
    "log_det for half the batch": lambda ld, y, x: ld[: len(ld) // 2],
    "log_det in float32": lambda ld, y, x: ld.astype(np.float32),
    "log_det through float32": lambda ld, y, x: ld.astype(np.float32).astype(np.float64),
    "log_det wrong beyond 6": lambda ld, y, x: np.where(np.max(np.abs(x), axis=1) > 6, 0, ld),
    "log_det wrong where x_0 < 0": lambda ld, y, x: np.where(x[:, 0] < 0, ld + 0.1, ld),
    "log_det wrong at the origin": lambda ld, y, x: np.where(np.all(x == 0, axis=1), 0, ld),
    "log_det nan far out": lambda ld, y, x: np.where(np.max(np.abs(x), axis=1) > 90, np.nan, ld),
    "log_det -inf far out": lambda ld, y, x: np.where(np.max(np.abs(x), axis=1) > 90, -np.inf, ld),
    "log_det with the base density": lambda ld, y, x: ld - 0.5 * np.sum(y**2, axis=1),
    "log_det plus log eps": lambda ld, y, x: np.log(np.exp(ld) + 1e-4),
    "log_det None": lambda ld, y, x: None if len(ld) < 3 else ld,
    "log_det a string": lambda ld, y, x: "ld",
}

VALUES = {
    "values plus 1e-8 of their sines": lambda y, x: y + 1e-8 * np.sin(1e3 * y),
    "values through float32": lambda y, x: y.astype(np.float32).astype(np.float64),
    "values in float32": lambda y, x: y.astype(np.float32),
    "values clipped": lambda y, x: np.clip(y, -4, 4),
    "values rounded": lambda y, x: np.round(y, 6),
    "values reversed": lambda y, x: y[:, ::-1],
    "values rotated": lambda y, x: np.roll(y, 1, axis=1),
    "values scaled": lambda y, x: 1.001 * y,
    "values shifted": lambda y, x: y + 1e-6,
    "values folded": lambda y, x: np.abs(y),
    "values squared": lambda y, x: y**2,
    "values saturated": lambda y, x: np.tanh(y),
    "values nan far out": lambda y, x: np.where(np.abs(x) > 90, np.nan, y),
    "values without a coordinate": lambda y, x: y[:, :2],
    "values transposed": lambda y, x: y.T,
    "values as a list": lambda y, x: [list(map(str, row)) for row in y],
    "values of other rows": lambda y, x: np.roll(y, 1, axis=0),
    "values sorted": lambda y, x: np.sort(y, axis=0),
    "values with one coordinate untouched": lambda y, x: np.column_stack([x[:, :1], y[:, 1:]]),
    "values centered": lambda y, x: y - np.sum(y, axis=0) / max(len(y), 1),
    "values None": lambda y, x: None,
}

BOTH = {
    "double application": twice,
    "log_det at the image": at_the_image,
    "cached log_det": cached_log_det,
    "cached answer": cached_answer,
    "drifting": counting,
    "noise 1e-9": noisy(1e-9),
    "noise 0.1": noisy(0.1),
    "estimated log_det": noisy_log_det,
    "reused buffer": reused_buffer,
    "in place": in_place,
    "batch statistics": batch_centered,
    "chunked": chunked_wrongly,
    "squeezed": no_small_batches,
    "no empty batch": no_empty_batches,
    "raises far out": raises_far_out,
    "shuffled": shuffled,
    "input scaled": on_rows(lambda x: 1.001 * x),
    "input clipped": on_rows(lambda x: np.clip(x, -5, 5)),
    "input through float32": on_rows(lambda x: x.astype(np.float32).astype(np.float64)),
    "input absolute": on_rows(np.abs),
}

WRAPPERS = {}
for _name, _formula in LOG_DET.items():
    WRAPPERS[f"{_name}, both"] = _both(on_log_det(_formula))
    WRAPPERS[f"{_name}, inverse"] = _one(on_log_det(_formula), "inverse")
for _name, _formula in VALUES.items():
    WRAPPERS[f"{_name}, forward"] = _one(on_values(_formula), "forward")
    WRAPPERS[f"{_name}, inverse"] = _one(on_values(_formula), "inverse")
for _name, _change in BOTH.items():
    WRAPPERS[f"{_name}, both"] = _both(_change)
    WRAPPERS[f"{_name}, forward"] = _one(_change, "forward")


def float32_gives_float64(rng):
    """A float64 constant in a float32 path: NumPy promotes."""
    forward, inverse = right(rng, dtype=np.float32)
    one = np.array([1.0])
    return dict(
        dim=3,
        dtype=np.float32,
        forward=lambda z: forward(z),
        inverse=lambda x: tuple(part * one for part in inverse(x)),
    )


def float32_gives_float16(rng):
    forward, inverse = right(rng, dtype=np.float32)
    return dict(
        dim=3,
        dtype=np.float32,
        inverse=inverse,
        forward=lambda z: tuple(part.astype(np.float16).astype(np.float32) for part in forward(z)),
    )


def float32_wrong(rng):
    forward, inverse = right(rng, dtype=np.float32)
    return dict(
        dim=3,
        dtype=np.float32,
        inverse=inverse,
        forward=lambda z: (forward(z)[0], forward(z)[1] * np.float32(1.05)),
    )


def forward_alone(rng):
    forward, _ = right(rng)
    return dict(dim=3, forward=on_log_det(lambda ld, y, x: 1.01 * ld)(forward, rng))


def inverse_alone(rng):
    _, inverse = right(rng)
    return dict(dim=3, inverse=on_log_det(lambda ld, y, x: -ld)(inverse, rng))


def directions_swapped(rng):
    """Each direction returns the log-determinant of the other one, at its own input."""
    forward, inverse = right(rng)
    return dict(
        dim=3,
        forward=lambda z: (forward(z)[0], inverse(z)[1]),
        inverse=lambda x: (inverse(x)[0], forward(x)[1]),
    )


def other_inverse(rng):
    return dict(dim=3, forward=right(rng)[0], inverse=right(rng)[1])


def loose_inverse(rng):
    """A root finder that stops too early, in one place of the domain."""
    forward, inverse = right(rng)

    def loose(x):
        z, log_det = inverse(x)
        return np.where(z > 1, z + 1e-7 * (z - 1), z), log_det

    return dict(dim=3, forward=forward, inverse=loose)


def _with_context(change):
    def build(rng):
        forward, inverse = right(rng, context_dim=2)
        return dict(
            dim=3,
            context=rng.standard_normal((5, 2)),
            forward=forward,
            inverse=lambda x, context: inverse(x, change(context)),
        )

    return build


WRAPPERS.update(
    {
        "float32 gives float64": float32_gives_float64,
        "float32 through float16": float32_gives_float16,
        "float32 log_det times 1.05": float32_wrong,
        "forward alone": forward_alone,
        "inverse alone": inverse_alone,
        "directions swapped": directions_swapped,
        "another flow's inverse": other_inverse,
        "loose inverse": loose_inverse,
        "context ignored": _with_context(np.zeros_like),
        "context of the first row": _with_context(lambda c: np.repeat(c[:1], len(c), axis=0)),
        "context rolled": _with_context(lambda c: np.roll(c, 1, axis=0)),
        "context averaged": _with_context(lambda c: c * 0 + np.sum(c, axis=0) / max(len(c), 1)),
    }
)
