"""Thousands of rows there and back: nan, exceptions, lost digits, and log-determinants.

The tolerance of a row is measured: the change of its answer when its input changes by a few
roundings.
"""

from dataclasses import replace
from functools import partial

import numpy as np

from nfref.oracle.instruments.guarded_calls import CallFailed, Subject, columns
from nfref.oracle.instruments.measurement import ULPS, Measurement
from nfref.oracle.instruments.probes import Box, wide_rows
from nfref.oracle.report import Row, failed, inconclusive, not_applicable, passed, show
from nfref.runtime.annotations import Array, Generator, Sequence

COUNT = {"float64": 6000, "float32": 20000}
SECONDS = 0.5
NUDGE = 8  # roundings by which the input is moved
AGAIN = 48  # rows that are measured again before a failure
# An error above the tolerance, and below this multiple of ``accuracy``, may be the amplified error
# of a root search. Then the row is inconclusive.
AMPLIFIED = 1e3
ITERATED = 1e-3  # errors above are no longer those of an inverse found by iteration


def round_trip(
    name: str, measured: Measurement, other: Subject | None, start: Array, context_row: Array
) -> Row:
    """Check one direction at the rows ``start``, and the other direction at their images."""
    subject = measured.subject
    try:
        y, log_det = subject(start, context_row)
    except CallFailed as error:
        return failed(name, f"{len(start)} rows", str(error))
    bad = ~np.isfinite(columns(y, log_det)).all(axis=1)
    if np.any(bad):
        p = np.flatnonzero(bad)[0]
        with_log_det = "" if log_det is None else f", log_det {log_det[p]:.6g}"
        largest = np.max(np.abs(np.nan_to_num(y[~bad], nan=0.0)), initial=0)
        if not largest > np.finfo(subject.dtype).max ** 0.5:  # else it overflows in truth
            where = f"{subject.name} at {show(start[p])}: {show(y[p])}{with_log_det}"
            return failed(name, f"{np.sum(bad)} of {len(start)} rows gave nan or inf", where)
    if other is None:
        return not_applicable(name, f"{len(start)} rows, finite; one direction only")
    kept = np.flatnonzero(~bad & measured.codomain.contains(y.astype(np.float64)))
    if not len(kept):
        return inconclusive(name, "no row leads inside the codomain")
    log_det = None if log_det is None else log_det[kept]
    return _back(name, measured, other, start[kept], y[kept], log_det, context_row[kept])


def _back(name, measured, other, start, y, log_det, context_row):
    """Return the verdict on rows that come back, and on the sum of their log-determinants.

    A row just beside a kink exceeds a tolerance that was measured on its own side. So larger steps
    around it measure the effect of rounding again before the row fails.
    """
    try:
        back, log_det_back = other(y, context_row)
    except CallFailed as error:
        return failed(name, f"the images of {len(start)} rows", str(error))
    subject, start = measured.subject, start.astype(np.float64)
    eps, ulps = float(np.finfo(measured.dtype).eps), ULPS[measured.dtype.name]
    typical = np.median(np.abs(start), axis=0)
    error, size = np.abs(back - start), np.abs(start) + typical
    # If the codomain is no box, images that were rounded onto its edge are unknown.
    inside = np.isfinite(error).all(axis=1) | isinstance(measured.codomain, Box)
    with_log_det = log_det is not None and log_det_back is not None
    answer = columns(back, log_det_back if with_log_det else None)
    if with_log_det:
        log_det = log_det.astype(np.float64)
        error = columns(error, np.abs(log_det + log_det_back))
        size = columns(size, 1 + len(typical) + np.abs(log_det) + np.abs(log_det_back))

    def allowed(p, nudge, draws):
        """Return the measured effect of rounding on each number of the rows p."""
        nudged = partial(_responses, measured, context_row[p], nudge=nudge, draws=draws)
        moves = nudged(other, y[p], answer[p], measured.codomain)
        if with_log_det:
            there = nudged(subject, start[p], columns(y, log_det)[p], measured.domain)
            moves[:, -1] += there[:, -1]
        return measured.accuracy + ulps * (eps * size[p] + moves)

    error = np.where(np.isfinite(error), error, np.inf)
    first = allowed(np.arange(len(start)), NUDGE, 2)
    widest = columns(0.03 * (typical + np.abs(start) + 0.1), np.full(len(start), 0.3))
    clear = first < widest[:, : first.shape[1]]
    clear &= (inside & np.all(clear[:, : len(typical)], axis=1))[:, None]
    why = f"{np.sum(clear[:, 0])} of {len(start)} rows there and back; their measured rounding"
    excess = np.max(np.where(clear, error / first, 0), axis=1)
    worst = np.argsort(-excess)[: min(AGAIN, np.sum(excess > 1))]
    if not len(worst):
        return passed(name, why)
    tolerance = np.maximum(first[worst], allowed(worst, 32 * NUDGE, 8))
    excess = np.where(clear[worst], error[worst] / tolerance, 0)
    # Where the values do not return, log_det is that of another point.
    astray = np.where(error[worst] > ITERATED, excess, 0)[:, : len(typical)]
    shown = astray if np.max(astray) > 1 else excess
    k, column = np.unravel_index(np.argmax(shown), shown.shape)
    p = worst[k]
    if not error[p, column] > tolerance[k, column]:
        return passed(name, why)
    where = f"{subject.name} takes {show(start[p])} to {show(y[p])}, which {other.name} takes to "
    where += show(back[p])
    if column == len(typical):
        why = f"log-determinants of {why}"
        where = f"at {show(start[p])} {subject.name} has log_det {log_det[p]:.9g}, "
        where += f"{other.name} at its image {log_det_back[p]:.9g}"
    row = failed(name, why, where, float(error[p, column]), float(tolerance[k, column]))
    return _or_iterative(row, measured.accuracy, np.max(excess[:, : len(typical)]) > 1)


def _or_iterative(row, accuracy, in_values):
    """Return a failed row; if it failed by little, inconclusive (``accuracy``) or with a hint.

    An iteration leaves its errors ``in_values``, not in log_det alone.
    """
    if row.error < AMPLIFIED * accuracy:
        why = f"at accuracy {accuracy:.0e}: {row.why}"
        return inconclusive(row.name, why, row.where, row.error, row.tolerance)
    if in_values and 1e-13 < row.error < ITERATED:
        hint = f"errors near {row.error:.0e}, as from an inverse found by iteration: "
        return replace(row, hint=f"{hint}if it is intended, pass accuracy={10 * row.error:.0e}")
    return row


def _nudged(rows, typical, eps, nudge, rng, domain):
    """Return rows moved by some roundings, up or down, but not out of the domain."""
    step = nudge * eps * (np.abs(rows.astype(np.float64)) + typical)
    step *= rng.choice([-1.0, 1.0], rows.shape)
    moved = (rows + step).astype(rows.dtype)
    for turned in ((rows - step).astype(rows.dtype), rows):
        moved = np.where((moved > domain.lower) & (moved < domain.upper), moved, turned)
    return moved


def _responses(measured, context_row, function, rows, answer, domain, nudge, draws):
    """Return the largest change of each number of the answers, per rounding of their rows."""
    rng, eps = np.random.default_rng(len(rows)), float(np.finfo(measured.dtype).eps)
    typical = np.median(np.abs(rows.astype(np.float64)), axis=0)
    largest = np.zeros(answer.shape)
    for _ in range(draws):
        moved = _nudged(rows.astype(measured.dtype), typical, eps, nudge, rng, domain)
        moved = function.numbers(moved, context_row)
        largest = np.fmax(largest, np.abs(moved[:, : answer.shape[1]] - answer))
    return largest / NUDGE


def affordable(
    subjects: Sequence[Subject], seconds: float, least: float, most: float, dim: int
) -> int:
    """Return how many rows all subjects take in this time, and in four million numbers."""
    in_time = seconds / sum(subject.seconds_a_row() for subject in subjects)
    return int(max(min(least, 4e6 / dim), min(most, in_time, 4e6 / dim)))


def rows_for(
    subjects: Sequence[Subject], measured: Measurement, domain: Box, rng: Generator, contexts: int
) -> tuple[Array, Array]:
    """Return the resolved probes, and more rows of their domain: the bulk, and four times as wide.

    There are as many as there is time for, each with its row of context. ``subjects`` are all
    directions that will be called: one may need a root search while its inverse does not.
    """
    probes, dtype = measured.probes, measured.dtype
    kept, dim = measured.finite & measured.resolved, probes.rows.shape[1]
    seconds = subjects[0].stopwatch.budget(SECONDS / 3)
    count = affordable(subjects, seconds, 64, COUNT[dtype.name], dim)
    wide = wide_rows(domain, rng, count, dim, dtype)
    context_row = np.append(np.arange(len(wide)) % contexts, probes.context_row[kept])
    return np.concatenate([wide, probes.rows[kept]]), context_row
