"""The gradient of log_prob that a library computes itself, against numerical differentiation."""

import numpy as np

from nfref.oracle.checks.local import verdict
from nfref.oracle.checks.log_det import DOUBT
from nfref.oracle.instruments.calling import CallFailed, StillRunning, in_time
from nfref.oracle.instruments.kinks import find_kinks, snapped
from nfref.oracle.instruments.points import Box
from nfref.oracle.report import failed, inconclusive, not_applicable, show


def by_rows(name, measured, gradient, rng):
    """d log_prob / dx in the bulk, in the tails and on knots."""
    if gradient is None:
        return not_applicable(name, "no gradient was named")
    subject, probes = measured.subject, measured.probes
    try:
        ours = _ask(subject, gradient, probes.rows, probes.context_row)
    except CallFailed as error:
        return failed(name, "no gradient", str(error))
    numeric = measured.derivatives.jacobian[:, 0]
    unsure = measured.derivatives.error[:, 0]
    size = np.abs(numeric) + np.max(np.abs(numeric), axis=1, keepdims=True)
    value = np.abs(measured.values)
    scale = 1 + np.abs(probes.rows.astype(np.float64))
    tolerance = DOUBT * unsure + measured.slack * (size + value / scale) + measured.accuracy
    known = np.isfinite(measured.values).all(axis=1) & np.all(
        tolerance < 0.05 * (size + 1), axis=1)
    points = np.flatnonzero(known)
    if not np.any(known & probes.bulk):
        return inconclusive(name, "too rough to be differentiated numerically")
    error = np.abs(ours - numeric)[points]
    error = np.where(np.isnan(error), np.inf, error)
    worst = np.argmax(error / tolerance[points], axis=1)
    pick = (np.arange(len(points)), worst)

    def describe(k):
        p = points[k]
        return (f"at {show(probes.rows[p])} gradient {show(ours[p])}, numerically "
                f"{show(numeric[p])}")

    row = verdict(name, error[pick], tolerance[points][pick],
                  f"error of Richardson differences + rounding, {len(points)} points", describe)
    return row if row.failed else _on_knots(row, measured, gradient, rng)


def _on_knots(row, measured, gradient, rng):
    """On a knot the gradient is finite, and that of one of the two sides."""
    if not isinstance(measured.domain, Box):
        return row
    subject, probes = measured.subject, measured.probes
    kinks = find_kinks(lambda rows, c: subject(rows, c)[0].astype(np.float64), measured.domain,
                       rng, probes.rows[probes.bulk], probes.context_row[probes.bulk])
    distance = 1e-6 if measured.dtype == np.float64 else 1e-2
    for kink, rows in snapped(kinks, measured.dtype):
        sides = rows[1] + distance * np.array([[-1.0], [1.0]]) * kink.direction
        asked = np.concatenate([rows, sides]).astype(measured.dtype)
        found = _ask(subject, gradient, asked, np.full(5, kink.context_row))
        low, high = np.min(found[3:], axis=0), np.max(found[3:], axis=0)
        allowed = 1e-2 * (1 + high - low + np.abs(low) + np.abs(high))
        inside = (found[:3] >= low - allowed) & (found[:3] <= high + allowed)
        if not np.all(inside):
            return failed(row.name, "on a knot: between the gradients of its sides",
                          f"at {show(rows[1])} gradient {show(found[1])}, beside it "
                          f"{show(found[3])} and {show(found[4])}")
    return row


def _ask(subject, gradient, rows, context_row):
    given = subject.arguments(rows, context_row)
    try:
        answer = in_time(gradient, given, subject.stopwatch.left())
    except StillRunning as error:
        subject.stopwatch.running += error.calls
        raise CallFailed("the gradient ran out of time") from None
    if answer is None:
        raise CallFailed("the gradient is None: log_prob is cut off from its input")
    found = np.asarray(answer, dtype=np.float64)
    if found.shape != rows.shape:
        raise CallFailed(f"the gradient has shape {found.shape}, expected {rows.shape}")
    return found
