"""The library's own derivative, by rows and context, against differences.

It is the derivative of log_prob for a density, and of log_det for a direction of a flow: of the one
number a row that a loss sums. A number that is detached from its input, or computed outside of the
graph, has a derivative of zero there; differences do not.
"""

import numpy as np

from nfref.oracle.checks.context import Direction
from nfref.oracle.checks.log_det import DOUBT
from nfref.oracle.instruments.guarded_calls import CallFailed, Inapplicable
from nfref.oracle.instruments.jacobian import differentiate
from nfref.oracle.instruments.kinks import Kink, snapped
from nfref.oracle.instruments.measurement import Measurement
from nfref.oracle.instruments.probes import step_scale
from nfref.oracle.report import INCONCLUSIVE, PASS, Row, failed, inconclusive, show, verdict
from nfref.runtime.annotations import Callable, Sequence

# Distances from a knot at which its sides are evaluated. A knot is found to some digits only, which
# needs a large distance. Beside a steep bin the gradient changes fast, which needs a small one.
BESIDE = {"float64": [1e-4, 1e-6, 1e-8], "float32": [1e-2, 1e-3, 1e-4, 1e-5, 3e-6]}


def by_rows(
    name: str, measured: Measurement, gradient: Callable | None, kinks: Sequence[Kink]
) -> Row:
    """Check d log_prob / dx, or d log_det / d row, in the bulk, in the tails and on knots."""
    probes = measured.probes
    ours = _ask(measured, gradient, probes.rows, probes.context_row)[0]
    column = 0 if measured.subject.dim is None else measured.values.shape[1]
    value = measured.values[:, 0] if column == 0 else measured.log_det
    numeric = measured.derivatives.jacobian[:, column]
    # Rounding is not always noise: beside the end of a domain 1 - x^2 loses the same bits at all
    # neighbours, which gives a smooth curve with another slope. The error of the slope is at most
    # the rounding of the number over the length on which it varies.
    condition = 1 + np.abs(value) + np.sum(np.abs(numeric * probes.rows), axis=1)
    rounding = condition[:, None] / step_scale(measured.domain, probes.rows)
    error = measured.derivatives.error[:, column]
    known = np.isfinite(value) & np.all(np.abs(numeric) < np.finfo(measured.dtype).max, axis=1)
    known &= measured.finite
    if column:  # a value below the smallest normal float has few digits, and derivatives of it none
        size = np.abs(measured.values)
        known &= ~np.any((size > 0) & (size < np.finfo(measured.dtype).tiny), axis=1)
    row = _compared(name, measured, ours, numeric, error, rounding, known, probes.bulk, probes.rows)
    return row if row.verdict != PASS else _on_knots(row, measured, gradient, kinks)


def by_context(name: str, measured: Measurement, gradient: Callable | None) -> Row:
    """Check the derivative of the same number by the context, at a few points."""
    direction = Direction(measured)
    context_row = measured.probes.context_row[direction.points]
    found = _ask(measured, gradient, direction.rows, context_row)
    if len(found) < 2:
        raise Inapplicable("the gradient= has no derivative by the context")
    scale = np.maximum(np.abs(direction.context), 1.0)
    derivatives = differentiate(direction, direction.context, scale)
    numeric, error = derivatives.jacobian[:, -1], derivatives.error[:, -1]
    rounding = np.abs(derivatives.value[:, -1:])
    given = direction.rows, "by the context, "
    row = _compared(name, measured, found[1], numeric, error, rounding, True, True, *given)
    labels = np.all(direction.context == np.round(direction.context)) and not np.any(found[1])
    if row.verdict == INCONCLUSIVE and labels:
        raise Inapplicable("the context holds labels: the answers jump between them")
    return row


def _compared(name, measured, ours, numeric, error, rounding, known, bulk, rows, by=""):
    """Return the verdict on the entry that is farthest off, in units of its tolerance.

    ``rounding`` is the size of the numbers to which the rounding of a derivative is relative. Of
    the ``known`` rows, one has to be in the ``bulk``.
    """
    size = np.abs(numeric) + np.max(np.abs(numeric), axis=1, keepdims=True)
    tolerance = DOUBT * error + measured.slack * (size + rounding) + measured.accuracy
    known = known & np.all(tolerance < 0.05 * (size + 1), axis=1)
    points = np.flatnonzero(known)
    if not np.any(known & bulk):
        return inconclusive(name, "too rough to be differentiated numerically")

    def describe(k):
        p = points[k]
        return f"at {show(rows[p])} {by}gradient {show(ours[p])}, numerically {show(numeric[p])}"

    why = f"error of Richardson differences + rounding, {len(points)} points"
    return verdict(name, np.abs(ours - numeric)[points], tolerance[points], why, describe)


def _on_knots(row, measured, gradient, kinks):
    """Check that the gradient on a knot is finite, and close to that of one of the two sides.

    Knots of several layers may meet, as at the end that splines have in common. Automatic
    differentiation then takes one layer from one side and another from the other. The result is no
    side's gradient, and if the layers' parts cancel it may be far outside of both. The number of
    layers is unknown here, so a finite gradient is never a failure.
    """
    for kink, rows in snapped(kinks, measured.dtype):
        steps = np.outer(BESIDE[measured.dtype.name], kink.direction)
        asked = np.concatenate([rows, rows[1] - steps, rows[1] + steps]).astype(measured.dtype)
        found = _ask(measured, gradient, asked, np.full(len(asked), kink.context_row))[0]
        low, high = np.min(found[3:], axis=0), np.max(found[3:], axis=0)
        allowed = high - low + 1e-2 * (1 + np.abs(low) + np.abs(high))
        inside = np.all((found[:3] >= low - allowed) & (found[:3] <= high + allowed), axis=1)
        if not np.all(inside):
            finite = np.all(np.isfinite(found), axis=1)
            k = int(np.argmin(inside if np.all(finite) else finite))
            here = f"at {show(asked[k])} gradient {show(found[k])}, beside it {show(low)} to "
            here += show(high)
            if not finite[k]:
                return failed(row.name, "on a knot and beside it: finite", here)
            why = f"on a knot: {here}; right only where knots of several layers meet"
            row = inconclusive(row.name, why)
    return row


def _ask(measured, gradient, rows, context_row):
    """Return [gradient by rows] or [gradient by rows, gradient by context], in float64."""
    subject = measured.subject
    if gradient is None:
        raise Inapplicable("no gradient= was given")
    if subject.dim is not None and measured.log_det is None:
        raise Inapplicable("there is no log_det")
    given = subject.arguments(rows, context_row)
    answer = subject.stopwatch.call("the gradient", gradient, given)
    if answer is NotImplemented:
        raise Inapplicable("its functions take NumPy's arrays: they have no gradient")
    parts = answer if isinstance(answer, tuple) else (answer,)
    found = []
    for part, by in zip(parts, given):
        if part is None:
            raise CallFailed("the gradient is None: the number is cut off from its input")
        found.append(np.asarray(part, dtype=np.float64))
        if found[-1].shape != by.shape:
            raise CallFailed(f"the gradient has shape {found[-1].shape}, expected {by.shape}")
    return found
