"""log_det against the determinant of a numerical Jacobian."""

from dataclasses import replace

import numpy as np

from nfref.oracle.checks.constants import nearest
from nfref.oracle.instruments.guarded_calls import TRY_SINGLE, Subject
from nfref.oracle.instruments.jacobian import ladder
from nfref.oracle.instruments.measurement import Measurement
from nfref.oracle.instruments.probes import Box, step_scale, wide_rows
from nfref.oracle.report import Row, failed, inconclusive, not_applicable, passed, show, verdict
from nfref.runtime.annotations import Array, Generator

# Factor of an error estimate: the smallest of many estimates is optimistic now and then.
DOUBT = 16
# Widest tolerance of a comparison, in nats.
WIDEST = 0.5
# Least share of the bulk that is judged before a direction may pass.
MOST = 0.75
SCREENED, SECONDS = 3000, 0.5  # rows of the screening; its time; fewer if rows are wide
SUSPECTS = 12
SINGLE = 2.0**-21  # some roundings of float32
CALLS, RANDOM = 64, 8.0  # of a random log_det; standard errors that its mean may be off


def log_det_matches(name: str, measured: Measurement) -> Row:
    """Compare log_det with log |det| of the numerical Jacobian of the same direction."""
    if measured.log_det is None:
        return inconclusive(name, f"{measured.subject.name} returns no log_det")
    numeric, unsure = measured.determinants.value, measured.determinants.error
    rounding = measured.tolerance[:, -1] + 10 * measured.derivatives.noise[:, -1]
    # A gradient of log_det that cannot be measured must not excuse its value.
    size = 1 + measured.values.shape[1] + np.abs(measured.log_det)
    plain = measured.slack * size + measured.accuracy
    tolerance = DOUBT * unsure + np.where(np.isfinite(rounding), rounding, plain)
    judged = measured.resolved & measured.finite & (tolerance < WIDEST)
    points = np.flatnonzero(judged)
    bulk = measured.probes.bulk
    share = np.mean(judged[bulk]) if np.any(bulk) else 0.0
    why = f"error of Richardson differences + rounding, {len(points)} of {len(bulk)} points"

    def describe(k):
        p = points[k]
        found = f"log_det {measured.log_det[p]:.9g}, numerically {numeric[p]:.9g}"
        return f"at {show(measured.probes.rows[p])} {found}"

    row = None
    if len(points):
        error = np.abs(measured.log_det - numeric)[points]
        row = verdict(name, error, tolerance[points], why, describe)
    if row and row.failed:
        parts = (part[points] for part in (measured.log_det, numeric, tolerance))
        hint = pattern(*parts, dim=measured.values.shape[1])
        return replace(row, hint=hint)
    flat = _flat(measured)
    if len(flat):
        p, limit = flat[0], "below what its slopes allow, at points where the map stands still"
        where = f"at {show(measured.probes.rows[p])} log_det {measured.log_det[p]:.9g}, slopes all "
        return failed(name, limit, f"{where}0: is it clipped?")
    if row is None or share < MOST:
        why = f"only {share:.0%} of the bulk could be judged: the map is too steep or too rough "
        return inconclusive(name, f"{why}there for numerical differentiation")
    return row


def _flat(measured):
    """Return points at which a column of the values stands still and log_det says otherwise.

    |det J| is at most the product of the norms of its rows (Hadamard).
    """
    found = measured.derivatives
    jacobian, error = np.abs(found.jacobian[:, :-1]), DOUBT * found.error[:, :-1]
    still = np.all(jacobian == 0, axis=2) & np.all(error < measured.slack, axis=2)
    with np.errstate(divide="ignore"):
        most = np.sum(np.log(np.sum(jacobian + error, axis=2)), axis=1)
    known = measured.finite & np.any(still, axis=1) & np.isfinite(measured.log_det)
    return np.flatnonzero(known & (measured.log_det > most + WIDEST))


def pattern(found: Array, true: Array, tolerance: Array, dim: int) -> str:
    """Return a hint if log_det (P,) is rounded, or off by a factor or a constant, else ""."""
    offset = float(np.median(found - true))
    little = np.abs(offset) < SINGLE * (1 + np.abs(true))
    if np.all(little & (np.abs(found - true - offset) <= tolerance)):
        return f"log_det is off by {offset:.1g}, as by rounding to float32; {TRY_SINGLE}"
    sure = tolerance < 1e-4
    found, true, tolerance = found[sure], true[sure], 10 * tolerance[sure] + 1e-7
    if len(found) < 4:
        return ""
    if np.all(found == 0):
        words = "it is never summed, or the map counts as volume-preserving"
        return f"log_det is zero everywhere: {words}"
    if np.all(np.abs(found - true) <= tolerance):  # so little is no factor and no number
        return ""
    known = {
        -1.0: "minus the true one: that of the other direction?",
        0.5: "half the true one everywhere",
        2.0: "twice the true one",
        float(dim): "D times the true one: summed over columns twice?",
        1.0 / dim: "the true one over D: a mean over columns instead of a sum?",
        -0.5: "minus half the true one",
        -2.0: "minus twice the true one",
    }
    size = np.sum(true**2)
    ratio = float(np.sum(found * true) / size) if size > 0 else 0.0
    factor = min(known, key=lambda factor: abs(ratio - factor))
    varies = np.ptp(true) > 1e-2
    if np.all(np.abs(found - ratio * true) <= tolerance * (1 + np.abs(ratio))):
        if abs(ratio - factor) < 1e-4:
            return f"log_det is {known[factor]}"
        if varies:
            return f"log_det is {ratio:.6g} times the true one everywhere"
    offset = float(np.median(found - true))
    if np.all(np.abs(found - true - offset) <= tolerance):
        offset, words = nearest(offset, dim, 1e-4)
        return f"log_det is off by {offset:.6g} everywhere{words}"
    return ""


def suspects(
    subject: Subject, domain: Box, rng: Generator, dim: int, contexts: int
) -> tuple[Array, Array]:
    """Return rows, and rows of context, whose log_det is farthest from a central difference.

    The few points that are measured well may all miss a region of little mass. Here many points are
    measured roughly. The worst of them are then measured well, and only that is judged.
    """
    affordable = subject.stopwatch.budget(SECONDS) / subject.seconds_a_row() / (2 * dim + 1)
    count = int(min(SCREENED, affordable, 4e6 / (2 * dim + 1) / dim))
    if count < 8:
        return np.zeros((0, dim), dtype=subject.dtype), np.zeros(0, dtype=int)
    rows = wide_rows(domain, rng, count, dim, subject.dtype)
    context_row = rng.integers(contexts, size=len(rows))
    step = ladder(subject.dtype)[5 if subject.dtype == np.float64 else 2]
    scale = step * step_scale(domain, rows)
    steps = np.stack([np.eye(dim), -np.eye(dim)], axis=1) * scale[:, None, None, :]
    moved = (rows[:, None, None, :] + steps).astype(subject.dtype)
    _, log_det = subject(rows, context_row)
    values, _ = subject(moved.reshape(-1, dim), np.repeat(context_row, 2 * dim))
    values = values.astype(np.float64).reshape(len(rows), dim, 2, dim)
    at = moved.astype(np.float64)
    width = np.einsum("njj->nj", at[:, :, 0] - at[:, :, 1])
    slope = (values[:, :, 0] - values[:, :, 1]) / width[:, :, None]
    usable = np.all(np.isfinite(slope), axis=(1, 2))
    slope[~usable] = np.eye(dim)
    difference = np.abs(np.linalg.slogdet(slope)[1] - log_det)
    difference[~usable] = 0
    # The worst, and some of all that are bad: kinks are among the worst, and are no fault.
    order = np.argsort(-np.nan_to_num(difference, nan=np.inf))
    bad = np.flatnonzero(difference > (1e-5 if subject.dtype == np.float64 else 0.03))
    others = rng.permutation(np.setdiff1d(bad, order[:SUSPECTS]))[:SUSPECTS]
    chosen = np.concatenate([order[:SUSPECTS], others]).astype(int)
    return rows[chosen], context_row[chosen]


def unbiased(name: str, measured: Measurement, function: Subject) -> Row:
    """Check the mean of a random log_det (stochastic=True) over many calls; report its noise."""
    points = np.flatnonzero(measured.resolved & measured.probes.bulk)
    if np.sum(measured.probes.bulk) * MOST > len(points):
        return inconclusive(name, "too few points that can be differentiated")
    draws = []
    for _ in range(CALLS):
        function.stopwatch.restart()
        _, log_det = function(measured.probes.rows[points], measured.probes.context_row[points])
        if log_det is None:
            return inconclusive(name, f"{measured.subject.name} returns no log_det")
        draws.append(log_det.astype(np.float64))
    mean, noise = np.mean(draws, axis=0), np.std(draws, axis=0, ddof=1)
    numeric = measured.determinants.value[points]
    numeric_error = DOUBT * measured.determinants.error[points]
    rounding = measured.slack * (1 + np.abs(numeric)) + measured.accuracy
    tolerance = RANDOM * noise / np.sqrt(CALLS) + numeric_error + rounding
    why = f"mean of {CALLS} calls; the noise of one call is {np.median(noise):.2g} nats"
    why += f", at the worst point {np.max(noise):.2g}"
    if not np.all(np.isfinite(mean)):
        return failed(name, why, f"{measured.subject.name}: log_det is nan or inf")

    def describe(k):
        found = f"log_det is {mean[k]:.6g} on average, numerically {numeric[k]:.9g}"
        return f"at {show(measured.probes.rows[points[k]])} {found}"

    return verdict(name, np.abs(mean - numeric), tolerance, why, describe)


def keeps_orientation(name: str, measured: Measurement, round_trip_holds: bool) -> Row:
    """Check that the determinant has one sign; a continuous map with both folds space."""
    resolved = measured.resolved
    if np.sum(resolved) < 2:
        return not_applicable(name, "too few points that can be differentiated")
    signs = measured.determinants.sign[resolved]
    positive, negative = int(np.sum(signs > 0)), int(np.sum(signs < 0))
    if not positive or not negative:
        return passed(name, f"det has one sign at all {len(signs)} resolved points")
    text = f"the determinant is positive at {positive} points and negative at {negative}"
    if round_trip_holds:
        return passed(name, f"{text}; the round trips hold, so the map is in pieces")
    rare = 1 if positive < negative else -1
    p = np.flatnonzero(resolved & (measured.determinants.sign == rare))[0]
    where = f"{text}: the map folds, for example {measured.subject.name} at "
    why = "a continuous map with determinants of both signs is not invertible"
    return failed(name, why, where + show(measured.probes.rows[p]))
