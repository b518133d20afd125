"""The library's own derivative, by rows and context, against differences.

It is the derivative of log_prob for a density, and of log_det for a direction of a flow: of the one
number a row that a loss sums. A number that is detached from its input, or computed outside of the
graph, has a derivative of zero there; differences do not.
"""

import numpy as np

from nfref.oracle.checks.context import Direction
from nfref.oracle.checks.log_det import DOUBT
from nfref.oracle.instruments.guarded_calls import CallFailed
from nfref.oracle.instruments.jacobian import differentiate
from nfref.oracle.instruments.kinks import Kink, snapped
from nfref.oracle.instruments.measurement import Measurement
from nfref.oracle.instruments.probes import step_scale
from nfref.oracle.report import Row, failed, inconclusive, not_applicable, show, verdict
from nfref.runtime.annotations import Any, Sequence

# Distances from a knot at which its sides are evaluated. A knot is found to some digits only, which
# needs a large distance. Beside a steep bin the gradient changes fast, which needs a small one.
BESIDE = {
    name: np.concatenate([-np.array(distances), distances])
    for name, distances in {
        "float64": (1e-4, 1e-6, 1e-8),
        "float32": (1e-2, 1e-3, 1e-4, 1e-5, 3e-6),
    }.items()
}


def by_rows(name: str, measured: Measurement, gradient: Any, kinks: Sequence[Kink]) -> Row:
    """Check d log_prob / dx, or d log_det / d row, in the bulk, in the tails and on knots."""
    if gradient is None:
        return not_applicable(name, "no gradient= was given")
    if measured.subject.dim is not None and measured.log_det is None:
        return not_applicable(name, "there is no log_det")
    probes = measured.probes
    column = 0 if measured.subject.dim is None else measured.values.shape[1]
    value = measured.values[:, 0] if column == 0 else measured.log_det
    ours = _ask(measured.subject, gradient, probes.rows, probes.context_row)[0]
    numeric = measured.derivatives.jacobian[:, column]
    size = np.abs(numeric) + np.max(np.abs(numeric), axis=1, keepdims=True)
    # Rounding is not always noise: beside the end of a domain 1 - x^2 loses the same bits at all
    # neighbours, which gives a smooth curve with another slope. The error of the slope is at most
    # the rounding of the number over the length on which it varies.
    condition = 1 + np.abs(value) + np.sum(np.abs(numeric * probes.rows), axis=1)
    scale = step_scale(measured.domain, probes.rows)
    tolerance = (
        DOUBT * measured.derivatives.error[:, column]
        + measured.slack * (size + condition[:, None] / scale)
        + measured.accuracy
    )
    known = np.isfinite(value) & np.all(tolerance < 0.05 * (size + 1), axis=1)
    known &= np.all(np.abs(numeric) < float(np.finfo(measured.dtype).max), axis=1)
    known &= measured.finite & ~_stands_still(measured, scale)
    points = np.flatnonzero(known)
    if not np.any(known & probes.bulk):
        return inconclusive(name, "too rough to be differentiated numerically")
    row = _compared(
        name,
        ours[points],
        numeric[points],
        tolerance[points],
        f"error of Richardson differences + rounding, {len(points)} points",
        lambda k: f"at {show(probes.rows[points[k]])}",
    )
    return row if row.failed else _on_knots(row, measured, gradient, kinks)


def _stands_still(measured, scale):
    """Return (P,) bool: points whose values do not change by a step of many roundings.

    There internal rounding has turned the values into a staircase, whose steps are wider than the
    smallest steps of a derivative.
    """
    eps = float(np.finfo(measured.dtype).eps)
    rows, step = measured.probes.rows, eps**0.4 * scale
    due = np.abs(measured.jacobian) * step[:, None, :]
    size = np.abs(measured.values)[:, :, None] + np.finfo(measured.dtype).tiny
    due = np.any(due > 1e3 * eps * size, axis=1)  # (P, D)
    which, j = np.nonzero(due)
    still = np.zeros(len(rows), dtype=bool)
    if len(which):
        moved = rows[which].astype(np.float64)
        moved[np.arange(len(j)), j] += step[which, j]
        values, _ = measured.subject(
            moved.astype(measured.dtype), measured.probes.context_row[which]
        )
        still[which[np.all(values == measured.values[which], axis=1)]] = True
    return still


def by_context(name: str, measured: Measurement, gradient: Any) -> Row:
    """Check the derivative of the same number by the context, at a few points."""
    if gradient is None:
        return not_applicable(name, "no gradient= was given")
    if measured.subject.dim is not None and measured.log_det is None:
        return not_applicable(name, "there is no log_det")
    direction = Direction(measured)
    probes, points = measured.probes, direction.points
    found = _ask(measured.subject, gradient, direction.rows, probes.context_row[points])
    if len(found) < 2:
        return not_applicable(name, "the gradient= has no derivative by the context")
    derivatives = differentiate(
        direction, direction.context, np.maximum(np.abs(direction.context), 1.0)
    )
    numeric, error = derivatives.jacobian[:, -1], derivatives.error[:, -1]
    size = np.abs(numeric) + np.max(np.abs(numeric), axis=1, keepdims=True)
    tolerance = (
        DOUBT * error
        + measured.slack * (size + np.abs(derivatives.value[:, -1:]))
        + measured.accuracy
    )
    known = np.flatnonzero(np.all(tolerance < 0.05 * (size + 1), axis=1))
    if not len(known):
        return inconclusive(name, "too rough to be differentiated numerically")
    return _compared(
        name,
        found[1][known],
        numeric[known],
        tolerance[known],
        f"error of Richardson differences + rounding, {len(known)} points",
        lambda k: f"at {show(direction.rows[known[k]])}, by the context:",
    )


def _compared(name, ours, numeric, tolerance, why, where):
    """Return the verdict on the entry that is farthest off, in units of its tolerance."""
    return verdict(
        name,
        np.abs(ours - numeric),
        tolerance,
        why,
        lambda k: f"{where(k)} gradient {show(ours[k])}, numerically {show(numeric[k])}",
    )


def _on_knots(row, measured, gradient, kinks):
    """Check that the gradient on a knot is finite, and close to that of one of the two sides.

    Knots of several layers may meet, as at the end that splines have in common. Automatic
    differentiation then takes one layer from one side and another from the other. The result is no
    side's gradient, and if the layers' parts cancel it may be far outside of both. The number of
    layers is unknown here, so a finite gradient is never a failure.
    """
    subject = measured.subject
    for kink, rows in snapped(kinks, measured.dtype):
        sides = rows[1] + BESIDE[measured.dtype.name][:, None] * kink.direction
        asked = np.concatenate([rows, sides]).astype(measured.dtype)
        found = _ask(subject, gradient, asked, np.full(len(asked), kink.context_row))[0]
        low, high = np.min(found[3:], axis=0), np.max(found[3:], axis=0)
        allowed = high - low + 1e-2 * (1 + np.abs(low) + np.abs(high))
        inside = np.all((found[:3] >= low - allowed) & (found[:3] <= high + allowed), axis=1)
        if not np.all(inside):
            finite = np.all(np.isfinite(found), axis=1)
            k = int(np.argmin(inside if np.all(finite) else finite))
            here = (
                f"at {show(asked[k])} gradient {show(found[k])}, beside it {show(low)} to "
                f"{show(high)}"
            )
            if not finite[k]:
                return failed(row.name, "on a knot and beside it: finite", here)
            row = inconclusive(
                row.name, f"on a knot: {here}; right only where knots of several layers meet"
            )
    return row


def _ask(subject, gradient, rows, context_row):
    """Return [gradient by rows] or [gradient by rows, gradient by context], in float64."""
    given = subject.arguments(rows, context_row)
    answer = subject.stopwatch.call("the gradient", gradient, given)
    parts = answer if isinstance(answer, tuple) else (answer,)
    found = []
    for part, by in zip(parts, given):
        if part is None:
            raise CallFailed("the gradient is None: the number is cut off from its input")
        found.append(np.asarray(part, dtype=np.float64))
        if found[-1].shape != by.shape:
            raise CallFailed(f"the gradient has shape {found[-1].shape}, expected {by.shape}")
    return found
