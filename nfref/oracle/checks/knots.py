"""Kinks and knots: the side to which a point on a knot belongs, and jumps of log_det."""

import numpy as np

from nfref.oracle.instruments.kinks import Kink, snapped
from nfref.oracle.instruments.measurement import Measurement
from nfref.oracle.report import Row, failed, judged, not_applicable, passed, show
from nfref.runtime.annotations import Sequence


def knots(name: str, measured: Measurement, kinks: Sequence[Kink]) -> Row:
    """Check that log_det on a knot, and one float beside it, is that of one of the sides."""
    if measured.log_det is None:
        return not_applicable(name, f"{measured.subject.name} returns no log_det")
    exact = snapped(kinks, measured.dtype)
    if not exact:
        return not_applicable(name, "no knot at a round number was met")
    # Close by, another knot may lie between; closer, rounding is larger than the change.
    distances, allowed = (
        ((1e-5, 1e-7), 1e-3) if measured.dtype == np.float64 else ((2e-3, 1e-4), 0.03)
    )
    worst, where = 0.0, ""
    for kink, rows in exact:
        errors = []
        for distance in distances:
            offsets = distance * np.array([[-1], [1], [-2], [2]])
            beside = (rows[1].astype(np.float64) + offsets * kink.direction).astype(measured.dtype)
            x, log_det = measured.subject(
                np.concatenate([rows, beside]), np.full(7, kink.context_row)
            )
            errors.append(
                max(
                    _outside(log_det.astype(np.float64)[:, None], allowed),
                    _outside(x.astype(np.float64), allowed),
                )
            )
        error = min(errors)
        if error > worst:
            worst = error
            where = (
                f"{measured.subject.name} at {show(rows[1])}: {show(x[1])}, log_det on the "
                f"knot and beside it {log_det[:3]}, on its sides {log_det[3:5]}"
            )
    why = f"{len(exact)} knots; distance from both sides, in units of its change there"
    return judged(name, why, where, worst, 1.0)


def _outside(values, allowed):
    """Return the distance of values[:3], on a knot, from the range of values[3:5], beside it.

    The unit is ``allowed`` plus the change of the values on each side alone, where values[5:7] are
    twice as far away. The distance is zero if that change is too fast for the sides to mean
    anything.
    """
    sides = values[3:5]
    size = 1 + np.max(np.abs(sides), axis=0)
    change = np.max(np.abs(values[5:7] - sides), axis=0)
    span = np.maximum(np.min(sides, axis=0) - values[:3], values[:3] - np.max(sides, axis=0))
    error = span / (3 * change + allowed * size)
    error = np.where(np.isfinite(error), error, np.inf)
    return float(np.max(np.where(change < 0.1 * size, error, 0)))


def continuity(
    name: str, measured: Measurement, kinks: Sequence[Kink], smooth: bool = False
) -> Row:
    """Return the largest jump of log_det across kinks; a jump fails if ``smooth``.

    A kink on a line may be a narrow peak. A jump is as large from close by as from ten times as
    far; the change across a peak or a steep place is not.
    """
    if measured.log_det is None:
        return not_applicable(name, f"{measured.subject.name} returns no log_det")
    if not kinks:
        return passed(name, "no kink was met on the lines that were scanned")
    far, close = (1e-5, 1e-6) if measured.dtype == np.float64 else (1e-2, 1e-3)
    steps = [_step_across(measured, kinks, distance) for distance in (far, close)]
    jumps = np.where(steps[1] > 0.5 * steps[0], steps[1], 0)
    k = int(np.argmax(jumps))
    allowed = 1e-6 if measured.dtype == np.float64 else 1e-2
    allowed = max(allowed, float(np.max(measured.slack * (1 + np.abs(measured.log_det)))))
    if smooth and jumps[k] > allowed:
        return failed(
            name,
            f"{len(kinks)} kinks, from {close:g} to both sides of each",
            f"{measured.subject.name} at {show(kinks[k].row)}: log_det jumps",
            float(jumps[k]),
            allowed,
        )
    return passed(
        name,
        f"{'' if smooth else 'reported only: '}largest jump of log_det at {len(kinks)} kinks",
        float(jumps[k]),
        allowed if smooth else None,
    )


def _step_across(measured, kinks, distance):
    """Return (K,): the change of log_det from one side of each kink to the other."""
    sides = []
    for kink in kinks:
        within = min(distance, 0.25 * float(np.min(measured.domain.margin(kink.row))))
        sides += [kink.row - within * kink.direction, kink.row + within * kink.direction]
    context_row = np.repeat([kink.context_row for kink in kinks], 2)
    _, log_det = measured.subject(np.array(sides).astype(measured.dtype), context_row)
    steps = np.abs(np.diff(log_det.astype(np.float64).reshape(-1, 2), axis=1))[:, 0]
    return np.where(np.isfinite(steps), steps, 0)
