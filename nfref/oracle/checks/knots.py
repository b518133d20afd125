"""Knots: the side to which a point on a knot belongs."""

import numpy as np

from nfref.oracle.instruments.guarded_calls import NO_ANSWER, Subject
from nfref.oracle.instruments.kinks import CELLS, LINES, Kink, find_kinks, snapped
from nfref.oracle.instruments.measurement import Measurement
from nfref.oracle.instruments.probes import Box, Domain, Probes
from nfref.oracle.report import Row, judged, not_applicable, show
from nfref.runtime.annotations import Generator, Sequence

SECONDS = 0.5  # for the lines on which kinks are looked for
WORTH = 0.2  # of a line, the least for which there has to be time


def kinks_of(subject: Subject, domain: Domain, probes: Probes, rng: Generator) -> list[Kink]:
    """Return the kinks of a subject in a box; none in other domains or where it has no answer."""
    if not isinstance(domain, Box):
        return []
    rows, context_row = probes.rows[probes.bulk], probes.context_row[probes.bulk]
    lines = SECONDS / subject.seconds_a_row() / CELLS / 2  # half of the rows narrow kinks down
    if lines < WORTH:
        return []
    most = int(np.clip(lines, 1, LINES))
    subject.stopwatch.restart()
    try:
        return find_kinks(subject.numbers, domain, rng, rows, context_row, most)
    except NO_ANSWER:
        return []


def knots(name: str, measured: Measurement, kinks: Sequence[Kink]) -> Row:
    """Check that log_det on a knot, and one float beside it, is that of one of the sides."""
    if measured.log_det is None:
        return not_applicable(name, f"{measured.subject.name} returns no log_det")
    exact = snapped(kinks, measured.dtype)
    if not exact:
        return not_applicable(name, "no knot was found at a round number")
    # Close by, another knot may lie between; closer, rounding is larger than the change.
    in_single = measured.dtype == np.float32
    distances, allowed = ((2e-3, 1e-4), 0.03) if in_single else ((1e-5, 1e-7), 1e-3)
    worst, where = 0.0, ""
    for kink, rows in exact:
        errors = []
        for distance in distances:
            offsets = distance * np.array([[-1], [1], [-2], [2]])
            beside = (rows[1].astype(np.float64) + offsets * kink.direction).astype(measured.dtype)
            asked = np.concatenate([rows, beside])
            x, log_det = measured.subject(asked, np.full(7, kink.context_row))
            parts = (log_det[:, None], x)
            errors.append(max(_outside(part.astype(np.float64), allowed) for part in parts))
        error = min(errors)
        if error > worst:
            worst = error
            where = f"{measured.subject.name} at {show(rows[1])}: {show(x[1])}, log_det on the "
            where += f"knot and beside it {log_det[:3]}, on its sides {log_det[3:5]}"
    why = f"{len(exact)} knots; distance from the values on both sides, relative to their change"
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
