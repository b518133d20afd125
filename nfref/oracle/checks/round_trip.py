"""Thousands of rows there and back: nan, exceptions, lost digits, and log-determinants.

The tolerance of a row is measured: the change of its answer when its input changes by a few
roundings.
"""

import numpy as np

from nfref.oracle.checks.pointwise import or_iterative
from nfref.oracle.instruments.guarded_calls import CallFailed, columns
from nfref.oracle.instruments.measurement import ULPS, Measurement
from nfref.oracle.instruments.probes import Box, wide_rows
from nfref.oracle.report import Row, failed, inconclusive, not_applicable, passed, show
from nfref.runtime.annotations import Any, Array, Generator

COUNT = {"float64": 6000, "float32": 20000}
SECONDS = 0.5
NUDGE = 8  # roundings by which the input is moved
AGAIN = 48  # rows that are measured again before a failure


def round_trip(
    name: str, measured: Measurement, other: Any, start: Array, context_row: Array
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
            return failed(
                name,
                f"{np.sum(bad)} of {len(start)} rows gave nan or inf",
                f"{subject.name} at {show(start[p])}: {show(y[p])}{with_log_det}",
            )
    if other is None:
        return not_applicable(name, f"{len(start)} rows, finite; one direction only")
    kept = np.flatnonzero(~bad & measured.codomain.contains(y.astype(np.float64)))
    if not len(kept):
        return inconclusive(name, "no row leads inside the codomain")
    return _back(
        name,
        measured,
        other,
        start[kept],
        y[kept],
        None if log_det is None else log_det[kept],
        context_row[kept],
    )


def _back(name, measured, other, start, y, log_det, context_row):
    try:
        back, log_det_back = other(y, context_row)
    except CallFailed as error:
        return failed(name, f"the images of {len(start)} rows", str(error))

    eps, ulps = float(np.finfo(measured.dtype).eps), ULPS[measured.dtype.name]

    def allowed(p, nudge, draws):
        size = np.abs(start[p]) + np.median(np.abs(start[p].astype(np.float64)), axis=0)
        there = y[p], back[p], measured.codomain, context_row[p]
        moves = _responses(lambda r, c: other(r, c)[0], *there, eps, nudge, draws)
        return measured.accuracy + ulps * (eps * size + moves)

    everything = np.arange(len(start))
    first = allowed(everything, NUDGE, 2)
    typical = np.median(np.abs(start.astype(np.float64)), axis=0)
    clear = np.all(first < 0.03 * (typical + np.abs(start) + 0.1), axis=1)
    why = f"{np.sum(clear)} of {len(start)} rows there and back; their measured rounding"
    error = np.abs(back.astype(np.float64) - start)
    # If the codomain is no box, images that were rounded onto its edge are unknown.
    unknown = np.nan if not isinstance(measured.codomain, Box) else np.inf
    error = np.where(np.isfinite(error), error, unknown)
    clear &= ~np.any(np.isnan(error), axis=1)
    row = _beyond(
        name,
        why,
        error,
        first,
        clear,
        allowed,
        measured.accuracy,
        lambda p: (
            f"{measured.subject.name} takes {show(start[p])} to {show(y[p])}, which "
            f"{other.name} takes to {show(back[p])}"
        ),
    )
    if row is not None or log_det is None or log_det_back is None:
        return row or passed(name, why)

    def allowed_log_det(p, nudge, draws):
        size = 1 + start.shape[1] + np.abs(log_det[p]) + np.abs(log_det_back[p])
        here = start[p], log_det[p], measured.domain, context_row[p]
        there = y[p], log_det_back[p], measured.codomain, context_row[p]
        moves = _responses(lambda r, c: measured.subject(r, c)[1], *here, eps, nudge, draws)
        moves_back = _responses(lambda r, c: other(r, c)[1], *there, eps, nudge, draws)
        return measured.accuracy + (ulps * (eps * size + moves + moves_back))[:, None]

    first = allowed_log_det(everything, NUDGE, 2)
    total = np.abs(log_det.astype(np.float64) + log_det_back)[:, None]
    total = np.where(np.isfinite(total), total, np.inf)
    clear &= first[:, 0] < 0.3
    why_log_det = f"log-determinants of {why}"
    row = _beyond(
        name,
        why_log_det,
        total,
        first,
        clear,
        allowed_log_det,
        measured.accuracy,
        lambda p: (
            f"at {show(start[p])} {measured.subject.name} has log_det {log_det[p]:.9g}, "
            f"{other.name} at its image {log_det_back[p]:.9g}"
        ),
    )
    return row or passed(name, why)


def _beyond(name, why, error, allowed, clear, allowed_again, accuracy, describe):
    """Return a failure if an error exceeds its tolerance; None otherwise.

    A row just beside a kink exceeds a tolerance that was measured on its own side. So larger steps
    around it measure the effect of rounding again before the row fails.
    """
    excess = np.where(clear, np.max(error / allowed, axis=1), 0)
    worst = np.argsort(-excess)[:AGAIN]
    if not excess[worst[0]] > 1:
        return None
    allowed = np.maximum(allowed[worst], allowed_again(worst, 32 * NUDGE, 8))
    ratio = error[worst] / allowed
    k, column = np.unravel_index(np.argmax(ratio), ratio.shape)
    if not ratio[k, column] > 1:
        return None
    row = failed(
        name, why, describe(worst[k]), float(error[worst[k], column]), float(allowed[k, column])
    )
    return or_iterative(row, accuracy)


def _nudged(rows, typical, eps, nudge, rng, domain):
    """Return rows moved by some roundings, up or down, but not out of the domain."""
    step = nudge * eps * (np.abs(rows.astype(np.float64)) + typical)
    step *= rng.choice([-1.0, 1.0], rows.shape)
    moved = (rows + step).astype(rows.dtype)
    for turned in ((rows - step).astype(rows.dtype), rows):
        moved = np.where((moved > domain.lower) & (moved < domain.upper), moved, turned)
    return moved


def _responses(function, rows, answer, domain, context_row, eps, nudge, draws):
    """Return the largest change of ``function``'s answer, per rounding of its input."""
    rng = np.random.default_rng(len(rows))
    typical = np.median(np.abs(rows.astype(np.float64)), axis=0)
    largest = np.zeros(answer.shape)
    for _ in range(draws):
        moved = function(_nudged(rows, typical, eps, nudge, rng, domain), context_row)
        largest = np.fmax(largest, np.abs(moved.astype(np.float64) - answer))
    return largest / NUDGE


def affordable(subjects: Any, seconds: float, least: float, most: float, dim: int) -> int:
    """Return the number of rows that all subjects take in this time, once each.

    It is also limited to four million numbers.
    """
    a_row = sum(subject.seconds_a_row() for subject in subjects)
    in_time = seconds / max(a_row, 1e-9)
    return int(max(min(least, 4e6 / dim), min(most, in_time, 4e6 / dim)))


def rows_for(
    subjects: Any, measured: Measurement, rng: Generator, contexts: int
) -> tuple[Array, Array]:
    """Return the resolved probes, and more rows of their box: the bulk, and four times as wide.

    There are as many as there is time for, each with its row of context. ``subjects`` are all
    directions that will be called: one may need a root search while its inverse does not.
    """
    probes, dtype = measured.probes, measured.dtype
    kept, dim = measured.finite & measured.resolved, probes.rows.shape[1]
    seconds = SECONDS / 3 * subjects[0].stopwatch.patience
    count = affordable(subjects, seconds, 64, COUNT[dtype.name], dim)
    wide = wide_rows(measured.domain, rng, count, dim, dtype)
    return (
        np.concatenate([wide, probes.rows[kept]]),
        np.concatenate([np.arange(len(wide)) % contexts, probes.context_row[kept]]),
    )
