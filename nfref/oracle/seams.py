"""Kinks and knots: which side a point on the seam belongs to, and how far log_det jumps."""

import numpy as np

from nfref.oracle.calling import CallFailed
from nfref.oracle.kinks import snapped
from nfref.oracle.report import failed, not_applicable, passed, show


def knots(name, look, kinks):
    """Exactly on a knot, and one float beside it, log_det is that of one side or the other."""
    if look.log_det is None:
        return not_applicable(name, f"{look.subject.name} returns no log_det")
    exact = snapped(kinks, look.dtype)
    if not exact:
        return not_applicable(name, "no knot at a round number was met")
    distance, allowed = (1e-5, 1e-3) if look.dtype == np.float64 else (2e-3, 0.03)
    worst, where = 0.0, ""
    for kink, rows in exact:
        beside = np.stack([rows[1], rows[1]]).astype(np.float64)
        beside += distance * np.array([[-1], [1]]) * kink.direction
        beside = beside.astype(look.dtype)
        try:
            x, log_det = look.subject(np.concatenate([rows, beside]), np.full(5, kink.which))
        except CallFailed as error:
            return failed(name, "no answer on a knot", str(error))
        low, high = min(log_det[3:]), max(log_det[3:])
        outside = np.maximum(low - log_det[:3], log_det[:3] - high)
        between = np.maximum(np.min(x[3:], axis=0) - x[:3], x[:3] - np.max(x[3:], axis=0))
        spread = 10 * np.ptp(x[3:], axis=0) + allowed
        error = max(float(np.max(outside)) / allowed, float(np.max(between / spread)))
        if not np.isfinite(error):
            error = np.inf
        if error > worst:
            worst = error
            where = (f"{look.subject.name} at {show(rows[int(np.argmax(outside))])}: log_det "
                     f"{log_det[:3]}, on its sides {log_det[3:]}")
    why = f"{len(exact)} knots; one of the two sides' values, in units of {allowed:g}"
    if worst > 1:
        return failed(name, why, where, worst, 1.0)
    return passed(name, why, worst, 1.0)


def continuity(name, look, kinks):
    """How far log_det, hence the log-density, jumps across kinks: reported, never failed."""
    if look.log_det is None:
        return not_applicable(name, f"{look.subject.name} returns no log_det")
    if not kinks:
        return passed(name, "no kink was met on the lines that were scanned")
    distance = 1e-5 if look.dtype == np.float64 else 1e-2
    sides = np.concatenate([np.stack([kink.row - distance * kink.direction,
                                      kink.row + distance * kink.direction]) for kink in kinks])
    which = np.repeat([kink.which for kink in kinks], 2)
    try:
        _, log_det = look.subject(sides.astype(look.dtype), which)
    except CallFailed as error:
        return failed(name, "no answer beside a kink", str(error))
    jump = float(np.max(np.abs(np.diff(log_det.reshape(-1, 2), axis=1))))
    return passed(name, f"reported only: largest step of log_det over {2 * distance:g} at "
                        f"{len(kinks)} kinks", jump)
