"""check_parameter_gradients: check the derivative of a number by parameters."""

import numpy as np

from nfref.oracle.checks.base_check import reported
from nfref.oracle.checks.pointwise import verdict
from nfref.oracle.instruments.guarded_calls import NO_ANSWER, CallFailed, Stopwatch, no_answer
from nfref.oracle.instruments.jacobian import differentiate
from nfref.oracle.instruments.measurement import ULPS
from nfref.oracle.report import Report, failed, judged, passed
from nfref.runtime import params as trees
from nfref.runtime.annotations import Any, Callable, Generator, Params, Sequence
from nfref.runtime.checks import check_callable, check_positive, check_rng

ENTRIES, DIRECTIONS = 48, 4  # single parameters, one in each array at least; random directions


def check_parameter_gradients(
    loss: Callable[..., Any],
    gradient: Callable[..., Any],
    params: Params,
    *,
    rng: Generator,
    seconds: float = 60.0,
    skip: Sequence[str] = (),
    subject: str = "loss",
) -> Report:
    """Check a gradient against numerical differentiation of its function.

    Parameters
    ----------
    loss : callable
        params -> one number.
    gradient : callable
        params -> the same structure as params.
    params : nested dicts and lists of arrays
        The parameters of the derivative. Their dtype is the dtype of the check.
    rng : numpy.random.Generator
    seconds : float
        Time for one property.
    skip : sequence of str
    subject : str

    Returns
    -------
    Report

    Raises
    ------
    ValueError, TypeError
        If an argument of the oracle itself is wrong.
    """
    check_rng(rng)
    check_positive("seconds", seconds)
    check_callable("loss", loss)
    check_callable("gradient", gradient)
    vector, unflatten = trees.flatten(params)
    if not vector.size:
        raise ValueError("params: expected at least one number, got none")
    rows = _rows(loss, gradient, params, vector, unflatten, rng, Stopwatch(seconds))
    return reported(f"{subject}, {vector.size} parameters, {vector.dtype}", rows, skip)


def _call(name, function, vector, unflatten, stopwatch):
    given = vector.copy()
    try:
        answer = stopwatch.call(
            name, function, (unflatten(given),), lambda: f": {stopwatch.seconds:g} s"
        )
    except CallFailed as error:
        raise CallFailed(f"{name} {error}") from None
    return answer, given.tobytes() == vector.tobytes()


def _number(answer):
    value = np.asarray(answer)
    if value.size != 1 or value.dtype.kind not in "fiu":
        raise CallFailed(
            f"loss returned {type(answer).__name__} of shape {value.shape}, expected one number"
        )
    return float(value.reshape(()))


def _vector(answer, params, dtype):
    """Return the gradient as one vector, or raise `CallFailed` if its structure is wrong."""
    try:
        pairs = trees.leaves(
            trees.tree_map(lambda p, g: np.shape(p) == np.shape(g), params, answer)
        )
    except (KeyError, IndexError, TypeError):
        raise CallFailed("gradient has another structure than the parameters") from None
    if not all(pairs):
        raise CallFailed("gradient has arrays of other shapes than the parameters")
    flat, _ = trees.flatten(answer)
    if flat.dtype != dtype:
        raise CallFailed(f"gradient has dtype {flat.dtype}, the parameters {dtype}")
    return flat.astype(np.float64)


def _rows(loss, gradient, params, vector, unflatten, rng, stopwatch):
    try:
        value = _number(_call("loss", loss, vector, unflatten, stopwatch)[0])
        answer, clean = _call("gradient", gradient, vector, unflatten, stopwatch)
    except NO_ANSWER as error:
        yield no_answer("answers", "no answer", error)
        return
    yield passed("answers", f"loss {value:.6g}")
    try:
        ours = _vector(answer, params, vector.dtype)
    except CallFailed as error:
        yield failed("structure", "as the parameters", str(error))
        return
    yield passed("structure", "structure, shapes and dtype compared")
    if not np.all(np.isfinite(ours)) or not np.isfinite(value):
        yield failed(
            "finite",
            f"{np.sum(~np.isfinite(ours))} of {len(ours)} entries",
            f"entry {np.flatnonzero(~np.isfinite(ours))[:1]}, loss {value}",
        )
        return
    yield passed("finite", f"{len(ours)} entries")
    stopwatch.restart()
    eps = float(np.finfo(vector.dtype).eps)
    slack = ULPS[vector.dtype.name] * eps
    try:
        again = _vector(
            _call("gradient", gradient, vector, unflatten, stopwatch)[0], params, vector.dtype
        )
        twice = _number(_call("loss", loss, vector, unflatten, stopwatch)[0])
    except NO_ANSWER as error:
        yield no_answer("repeatable", "the second call", error)
        return
    size = np.max(np.abs(ours)) + 1e-300
    error = max(np.max(np.abs(again - ours)) / size, abs(twice - value) / (abs(value) + 1))
    yield judged("repeatable", "rounding; the same call twice", "", float(error), slack)
    yield (
        passed("input_unchanged", "bytes compared before and after")
        if clean
        else failed(
            "input_unchanged",
            "bytes compared before and after",
            "gradient wrote into the parameters",
        )
    )
    chosen = _spread(params, rng, min(ENTRIES, len(vector)))
    axes = np.zeros((len(chosen), len(vector)))
    axes[np.arange(len(chosen)), chosen] = 1
    drawn = rng.standard_normal((DIRECTIONS, len(vector)))
    drawn /= np.max(np.abs(drawn), axis=1, keepdims=True)
    for name, rays, labels in (
        ("entries", axes, chosen),
        ("directions", drawn, np.arange(DIRECTIONS)),
    ):
        stopwatch.restart()
        try:
            yield _derivatives(name, loss, vector, unflatten, ours, rays, labels, slack, stopwatch)
        except NO_ANSWER as error:
            yield no_answer(name, "no answer near the parameters", error)


def _spread(params, rng, count):
    """Return indices into the vector: at least one in every array, the others anywhere."""
    sizes = [np.size(leaf) for leaf in trees.leaves(params)]
    starts = np.cumsum([0, *sizes[:-1]])
    first = [start + rng.integers(size) for start, size in zip(starts, sizes) if size]
    rest = rng.choice(sum(sizes), size=count, replace=False)
    return np.unique(np.concatenate([first, rest]).astype(int))


def _derivatives(name, loss, vector, unflatten, ours, rays, labels, slack, stopwatch):
    def along(rows, owner):
        values = []
        for row in rows:
            moved = (vector.astype(np.float64) + row @ rays).astype(vector.dtype)
            values.append(_number(_call("loss", loss, moved, unflatten, stopwatch)[0]))
        return np.array(values)[:, None]

    zero = np.zeros((1, len(rays)))
    width = np.array([max(np.max(np.abs(vector[ray != 0])), 0.1) for ray in rays])
    found = differentiate(along, zero, 0.5 * width[None])
    numeric, error = found.jacobian[0, 0], found.error[0, 0]
    expected = rays @ ours
    # In float32 the moved parameters are rounded, which the measured noise does not contain.
    rounding = slack * (np.abs(expected) + np.max(np.abs(ours)) + abs(found.value[0, 0]))
    tolerance = 4 * error + rounding
    known = np.flatnonzero(error < 0.05 * np.max(np.abs(ours)) + slack)
    if not len(known):
        return failed(name, "the loss is too rough to be differentiated numerically")

    def describe(k):
        p = known[k]
        return (
            f"{name}, number {labels[p]}: gradient {expected[p]:.9g}, numerically {numeric[p]:.9g}"
        )

    return verdict(
        name,
        np.abs(expected - numeric)[known],
        tolerance[known],
        f"error of Richardson differences + rounding, {len(known)} of {len(rays)}",
        describe,
    )
