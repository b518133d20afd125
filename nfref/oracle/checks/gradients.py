"""check_parameter_gradients: check the derivative of a number by parameters."""

import numpy as np

from nfref.oracle.checks.base_check import reported
from nfref.oracle.instruments.guarded_calls import NO_ANSWER, CallFailed, Stopwatch, no_answer
from nfref.oracle.instruments.jacobian import differentiate
from nfref.oracle.instruments.measurement import ULPS
from nfref.oracle.report import Report, failed, held, judged, passed, verdict
from nfref.runtime import params as trees
from nfref.runtime.annotations import Any, Array, Callable, Generator, Params, Sequence
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
    loss_of = _Function("loss", loss, params, Stopwatch(seconds))
    rows = _rows(loss_of, _Function("gradient", gradient, params, loss_of.stopwatch), rng)
    count, dtype = loss_of.vector.size, loss_of.vector.dtype
    return reported(f"{subject}, {count} parameters, {dtype}", rows, skip)


class _Function:
    """A loss or a gradient as a function of the vector of all parameters."""

    def __init__(self, name, function, params, stopwatch):
        self.name, self.function, self.params, self.stopwatch = name, function, params, stopwatch
        self.vector, self.unflatten = trees.flatten(params)
        if not self.vector.size:
            raise ValueError("params: expected at least one number, got none")
        self.clean = True  # no call has written into its argument

    def __call__(self, vector: Array) -> Any:
        """Return the answer at a vector of parameters."""
        given = vector.copy()
        try:
            answer = self.stopwatch.call(self.name, self.function, (self.unflatten(given),))
        except CallFailed as error:
            raise CallFailed(f"{self.name} {error}") from None
        self.clean &= given.tobytes() == vector.tobytes()
        return answer

    def number(self, vector: Array) -> float:
        """Return the answer as one number."""
        answer = self(vector)
        value = np.asarray(answer)
        if value.size != 1 or value.dtype.kind not in "fiu":
            got = f"{type(answer).__name__} of shape {value.shape}"
            raise CallFailed(f"loss returned {got}, expected one number")
        return float(value.reshape(()))

    def flat(self, answer: Any) -> Array:
        """Return a gradient as one vector; raise `CallFailed` if its structure is wrong."""
        try:
            pairs = trees.tree_map(lambda p, g: np.shape(p) == np.shape(g), self.params, answer)
        except (KeyError, IndexError, TypeError):
            raise CallFailed("gradient has another structure than the parameters") from None
        if not all(trees.leaves(pairs)):
            raise CallFailed("gradient has arrays of other shapes than the parameters")
        flat, _ = trees.flatten(answer)
        if flat.dtype != self.vector.dtype:
            raise CallFailed(f"gradient has dtype {flat.dtype}, the parameters {self.vector.dtype}")
        return flat.astype(np.float64)


def _rows(loss, gradient, rng):
    vector, name, why = loss.vector, "answers", "no answer"
    slack = ULPS[vector.dtype.name] * float(np.finfo(vector.dtype).eps)
    try:
        value, answer = loss.number(vector), gradient(vector)
        yield passed("answers", f"loss {value:.6g}")
        name, why = "structure", "as the parameters"
        ours = gradient.flat(answer)
        yield passed("structure", "structure, shapes and dtype compared")
        bad = np.flatnonzero(~np.isfinite(ours))
        if len(bad) or not np.isfinite(value):
            words = f"{len(bad)} of {len(ours)} entries"
            yield failed("finite", words, f"entry {bad[:1]}, loss {value}")
            return
        yield passed("finite", f"{len(ours)} entries")
        name, why = "repeatable", "the second call"
        loss.stopwatch.restart()
        again, twice = gradient.flat(gradient(vector)), loss.number(vector)
        change = np.max(np.abs(again - ours)) / (np.max(np.abs(ours)) + 1e-300)
        change = max(change, abs(twice - value) / (abs(value) + 1))
        yield judged("repeatable", "rounding; the same call twice", "", float(change), slack)
        where = "" if gradient.clean else "gradient wrote into the parameters"
        yield held("input_unchanged", "bytes compared before and after", where)
        why = "no answer near the parameters"
        chosen = _spread(gradient.params, rng, min(ENTRIES, len(vector)))
        drawn = rng.standard_normal((DIRECTIONS, len(vector)))
        drawn /= np.max(np.abs(drawn), axis=1, keepdims=True)
        for name, rays, labels in (
            ("entries", (np.arange(len(vector)) == chosen[:, None]).astype(float), chosen),
            ("directions", drawn, np.arange(DIRECTIONS)),
        ):
            loss.stopwatch.restart()
            yield _derivatives(name, loss, ours, rays, labels, slack)
    except NO_ANSWER as error:
        yield no_answer(name, why, error)


def _spread(params, rng, count):
    """Return indices into the vector: at least one in every array, the others anywhere."""
    sizes = [np.size(leaf) for leaf in trees.leaves(params)]
    starts = np.cumsum([0, *sizes[:-1]])
    first = [start + rng.integers(size) for start, size in zip(starts, sizes) if size]
    rest = rng.choice(sum(sizes), size=count, replace=False)
    return np.unique(np.concatenate([first, rest]).astype(int))


def _derivatives(name, loss, ours, rays, labels, slack):
    vector = loss.vector

    def along(rows, owner):
        moved = ((vector.astype(np.float64) + row @ rays).astype(vector.dtype) for row in rows)
        return np.array([loss.number(row) for row in moved])[:, None]

    width = np.array([max(np.max(np.abs(vector[ray != 0])), 0.1) for ray in rays])
    found = differentiate(along, np.zeros((1, len(rays))), 0.5 * width[None])
    numeric, error = found.jacobian[0, 0], found.error[0, 0]
    expected = rays @ ours
    # In float32 the moved parameters are rounded, which the measured noise does not contain.
    rounding = slack * (np.abs(expected) + np.max(np.abs(ours)) + abs(found.value[0, 0]))
    known = np.flatnonzero(error < 0.05 * np.max(np.abs(ours)) + slack)
    if not len(known):
        return failed(name, "the loss is too rough to be differentiated numerically")

    def describe(k):
        p = known[k]
        found = f"gradient {expected[p]:.9g}, numerically {numeric[p]:.9g}"
        return f"{name}, number {labels[p]}: {found}"

    why = f"error of Richardson differences + rounding, {len(known)} of {len(rays)}"
    found, tolerance = np.abs(expected - numeric)[known], (4 * error + rounding)[known]
    return verdict(name, found, tolerance, why, describe)
