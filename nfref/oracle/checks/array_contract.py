"""Properties of a flow as a function of arrays: shapes, dtypes, its results and its arguments."""

import numpy as np

from nfref.oracle.instruments.guarded_calls import CallFailed, columns, refused
from nfref.oracle.instruments.measurement import Measurement
from nfref.oracle.instruments.probes import Box
from nfref.oracle.report import Row, failed, held, not_applicable, passed, show
from nfref.runtime.annotations import Array, Callable

# Parts of the way short of an edge, and the largest fall of log_prob there, in parts of log eps: a
# factor that is rounded to zero falls that far.
EDGE, DEEP = (1e-3, 1e-5, 1e-7), 0.75


def finite(name: str, measured: Measurement) -> Row:
    """Check that there is no NaN and no infinity, except where the answer overflows the dtype.

    A log-density may be infinite if the density underflows the dtype, is zero at a point or has a
    pole.
    """
    answers = columns(measured.values, measured.log_det)
    bad = np.flatnonzero(~np.all(np.isfinite(answers), axis=1))
    overflows = 0
    for p in bad:
        log_density = measured.subject.dim is None and np.isinf(measured.values[p, 0])
        if _vanishes(measured, p) if log_density else _overflows(measured, p):
            overflows += 1
            continue
        log_det = "" if measured.log_det is None else f", log_det {measured.log_det[p]:.6g}"
        where = f"{measured.subject.name} at {show(measured.probes.rows[p])}: "
        where += f"{show(measured.values[p])}{log_det}"
        return failed(name, f"{len(bad)} of {len(measured.probes)} points gave nan or inf", where)
    what = f"rightly overflow {measured.dtype}"
    if measured.subject.dim is None:
        what = "are rightly infinite: the density is zero or has a pole"
    note = f"; {overflows} {what}" if overflows else ""
    return passed(name, f"{len(measured.probes)} points, out to the tails{note}")


def last_finite(answer_at: Callable[[float], Array], steps: int = 50) -> tuple[float, Array]:
    """Return the largest part of a way up to which answers are finite, and the last of them."""
    low, high, last = 0.0, 1.0, np.zeros(1)
    for _ in range(steps):
        middle = 0.5 * (low + high)
        answer = answer_at(middle)
        finite = np.all(np.isfinite(answer))
        low, high, last = (middle, high, answer) if finite else (low, middle, last)
    return low, last


def _overflows(measured, p):
    """Check that values or log_det grow past the largest float on the way to point p."""
    start = measured.probes.rows[measured.probes.bulk][0].astype(np.float64)
    end = measured.probes.rows[p].astype(np.float64)

    def answer_at(t):
        row = (start + t * (end - start))[None].astype(measured.dtype)
        return measured.subject.numbers(row, measured.probes.context_row[p : p + 1])

    try:
        _, last = last_finite(answer_at, 40)
    except CallFailed:
        return False
    return np.max(np.abs(last)) > float(np.finfo(measured.dtype).max) ** 0.9


def _vanishes(measured, p):
    """Check that an infinite log-density at point p is right.

    The density falls to zero in its dtype on the way there, just there, or at an edge. Or it rises
    without end, but so slowly that its integral is finite.
    """
    finite_ones = measured.probes.bulk & measured.finite
    same = measured.probes.context_row == measured.probes.context_row[p]
    finite_ones &= same | ~np.any(finite_ones & same)
    if not np.any(finite_ones):
        return False
    eps = float(np.finfo(measured.dtype).eps)
    typical, start = np.median(measured.values[finite_ones, 0]), measured.probes.rows[finite_ones]
    start, end = start[0].astype(np.float64), measured.probes.rows[p].astype(np.float64)

    def along(t):
        """Return log_prob at parts t of the way from p to the middle."""
        rows = (end + np.asarray(t)[:, None] * (start - end)).astype(measured.dtype)
        values, _ = measured.subject(rows, np.repeat(measured.probes.context_row[p], len(rows)))
        return values[:, 0]

    try:
        # The edge in one column alone, if it has one: other columns may be far out, too.
        single = (start + np.eye(len(start)) * (end - start)).astype(measured.dtype)
        values, _ = measured.subject(single, np.repeat(measured.probes.context_row[p], len(single)))
        if np.any(values[:, 0] == -np.inf):
            end = single[np.argmin(values[:, 0])].astype(np.float64)
        # Just there: it falls or rises without end as a power of the distance.
        near = along(2.0 ** -np.array([5.0, 12.0, 19.0]))
        if measured.values[p, 0] > 0:
            first, second = np.diff(near)
            most = 7 * np.log(2) * measured.probes.rows.shape[1]
            return max(0.5 * first, 0.1) < second < most
        falls = bool(np.all(np.isfinite(near)) and near[0] - near[1] > 0)
        if falls and near[1] - near[2] > 0.5 * (near[0] - near[1]):
            return True
        part, least = last_finite(lambda t: along([1 - t]))
        # Short of an edge it is as high as elsewhere, or falls as a power of the distance.
        high = along(1 - part * (1 - np.array(EDGE))) > typical + DEEP * np.log(eps)
        if np.any(high) and not falls:
            return True
    except CallFailed:
        return False
    return least[0] < 0.9 * np.log(np.finfo(measured.dtype).tiny)


def empty_batch(name: str, measured: Measurement, dim: int) -> Row:
    """Check that a batch of no rows gives arrays of no rows."""
    subject = measured.subject
    rows = np.zeros((0, dim), dtype=subject.dtype)
    try:
        answer = subject.raw(rows, np.zeros(0, dtype=int))
    except CallFailed as error:
        return refused(name, "no answer", error, "a batch of no rows")
    _, log_det = subject.read(answer, rows)
    expected = "(0, D)" if log_det is None else "(0, D) and (0,)"
    return passed(name, f"shapes {expected}")


def answers_stay(name: str, measured: Measurement) -> Row:
    """Check that later calls do not overwrite arrays that were returned."""
    subject, probes = measured.subject, measured.probes
    index = np.flatnonzero(probes.bulk)
    if len(index) < 2:
        return not_applicable(name, "too few rows")
    answer = subject.raw(probes.rows[index], probes.context_row[index])
    answer = answer if isinstance(answer, (tuple, list)) else (answer,)
    parts = [part for part in answer if part is not None]
    before = [np.array(part) for part in parts]
    subject.raw(probes.rows[index[::-1]], probes.context_row[index])
    where = ""
    for old, part in zip(before, parts):
        if old.tobytes() != np.array(part).tobytes():
            where = f"{subject.name}: {show(old.ravel())} became {show(np.ravel(part))}"
    return held(name, "the arrays of one call compared after the next", where)


def stays_inside(name: str, measured: Measurement) -> Row:
    """Check that values lie in the codomain, or on its edge after rounding."""
    codomain = measured.codomain
    if not isinstance(codomain, Box) or codomain.is_everything:
        return not_applicable(name, "no bounded codomain was named")
    slack = 64 * np.finfo(measured.dtype).eps
    with np.errstate(invalid="ignore"):
        low = codomain.lower - slack * np.abs(codomain.lower)
        high = codomain.upper + slack * np.abs(codomain.upper)
        outside = np.any((measured.values < low) | (measured.values > high), axis=1)
        outside &= measured.finite
    p = np.argmax(outside)
    j = np.argmax((measured.values[p] < low) | (measured.values[p] > high))
    interval = f"[{codomain.lower[j]:.6g}, {codomain.upper[j]:.6g}]"
    where = f"{measured.subject.name} leaves the codomain {interval} of column {j}: it takes "
    where += f"{show(measured.probes.rows[p])} to {show(measured.values[p])}"
    why = f"{np.sum(outside)} of {len(measured.probes)} points leave it"
    return held(name, why, where if outside[p] else "")
