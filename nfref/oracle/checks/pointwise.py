"""Properties of a flow at single points: round trips, precision, orientation."""

from dataclasses import replace

import numpy as np

from nfref.oracle.instruments.guarded_calls import CallFailed, Subject
from nfref.oracle.instruments.measurement import Measurement
from nfref.oracle.instruments.probes import Box
from nfref.oracle.report import Row, failed, judged, not_applicable, passed, show
from nfref.runtime.annotations import Any, Array, Callable


def verdict(name: str, error: Any, tolerance: Any, why: str, describe: Callable[..., str]) -> Row:
    """Return a row from (P,) or (P, K) errors and tolerances; NaN counts as infinite.

    ``describe(p)`` returns the message for point p.
    """
    error = np.where(np.isnan(error), np.inf, error)
    excess = error / np.maximum(tolerance, 1e-300)
    worst = np.unravel_index(np.argmax(excess), excess.shape)
    if excess[worst] > 1:
        return failed(name, why, describe(worst[0]), float(error[worst]), float(tolerance[worst]))
    return passed(name, why, float(error[worst]), float(tolerance[worst]))


def or_iterative(row: Row) -> Row:
    """Return the row; if it failed by little, with a hint on iterative inverses."""
    if row.failed and row.error is not None and 1e-13 < row.error < 1e-3:
        return replace(
            row,
            hint=f"errors near {row.error:.0e}: an inverse found by iteration? "
            f"accuracy={10 * row.error:.0e} says that it is meant",
        )
    return row


def precise(name: str, measured: Measurement) -> Row:
    """Check that the noise of values and log_det is near the rounding of their dtype."""
    if measured.dtype != np.float64:
        return not_applicable(name, "asked of float64 alone; float32 noise joins the tolerances")
    allowed, accuracy = 1e4 * measured.slack, measured.accuracy
    ratios = [measured.values_noise / (allowed * measured.values_condition + accuracy)]
    if measured.log_det is not None:
        gradient = np.sum(np.abs(measured.log_det_gradient), axis=1)
        ratios.append(
            (measured.log_det_noise / (allowed * measured.log_det_condition + accuracy * gradient))[
                :, None
            ]
        )
    ratio = np.max(np.concatenate(ratios, axis=1), axis=1)
    ratio = ratio[measured.probes.bulk & measured.resolved & np.isfinite(ratio)]
    if len(ratio) < 4:
        return _in_steps(name, measured)
    # A kink looks like noise in one place; rounding to fewer digits shows everywhere.
    typical = float(np.quantile(ratio, 0.25))
    why = "noise of nearby values, in 1e4 times the rounding allowed elsewhere"
    return judged(
        name,
        why,
        f"{measured.subject.name}: a quarter of all points and more show "
        "steps, as if numbers passed through float32 or a loose root finder",
        typical,
        1.0,
    )


def moved_a_little(rows: Array, domain: Any) -> Array:
    """Return rows moved by 1e-9, relative to large numbers.

    The step leads away from an end that is near.
    """
    step = 1e-9 * np.maximum(np.abs(rows), 1)
    return rows + np.where(domain.upper - rows < rows - domain.lower, -step, step)


def due_of_a_little(measured: Measurement) -> Array:
    """Return (P, K) bool: answers that :func:`moved_a_little` should change by many roundings."""
    rows = measured.probes.rows
    step = moved_a_little(rows, measured.domain) - rows
    due = np.einsum("pkj,pj->pk", np.nan_to_num(measured.derivatives.jacobian), step)
    size = np.abs(measured.derivatives.value)
    return np.abs(due) > 3e4 * np.finfo(np.float64).eps * (size + 1e-3)


def keeps_digits(name: str, measured: Measurement) -> Row:
    """Check that a log-density changes when its rows move by 1e-9.

    Otherwise the rows pass through a shorter format.
    """
    if measured.dtype != np.float64:
        return not_applicable(name, "asked of float64 alone")
    due = due_of_a_little(measured)[:, 0] & np.isfinite(measured.values[:, 0])
    points = np.flatnonzero(due & measured.probes.bulk)
    if len(points) < 8:
        return _in_steps(name, measured)
    rows = measured.probes.rows[points]
    both = np.concatenate([rows, moved_a_little(rows, measured.domain)])
    values, _ = measured.subject(both, np.tile(measured.probes.context_row[points], 2))
    still = float(np.mean(values[: len(rows), 0] == values[len(rows) :, 0]))
    return judged(
        name,
        "share of points where it stands still when they move by 1e-9",
        f"{measured.subject.name} at {show(rows[0])} and 1e-9 beside it: "
        f"{values[0, 0]:.17g}, as if rows passed through float32",
        still,
        0.5,
    )


def _in_steps(name, measured):
    """Return the row where the log-density has no slope.

    That is a uniform density, wide bins, rounded rows, or chaos.
    """
    subject, probes = measured.subject, measured.probes
    points = np.flatnonzero(probes.bulk & np.isfinite(measured.values[:, 0]))
    rows, before = probes.rows[points], measured.values[points, 0]
    # Towards the middle, where a density that refuses outside rows answers too.
    inwards = np.median(rows, axis=0) - rows if len(rows) else rows
    near, far = (
        subject(rows + relative * inwards, probes.context_row[points])[0][:, 0]
        for relative in (1e-9, 1e-2)
    )
    # On a line the first step would change it by this; near the middle of a wide one by nothing.
    with np.errstate(invalid="ignore"):
        due = 1e-7 * np.abs(far - before) > measured.accuracy + 3e3 * np.finfo(np.float64).eps * (
            np.abs(before) + 1
        )
    still = np.mean((near == before)[due]) if np.sum(due) >= 8 else 0.0
    if not (still > 0.5 and np.mean(due) > 0.8):
        return not_applicable(name, "too few points that can be differentiated")
    return failed(
        name,
        "points that move by 1e-9, and by 1e-2",
        f"{subject.name} moves in steps: "
        f"{before[0]:.17g} at {show(rows[0])} and 1e-9 beside it, as if rows passed "
        "through a shorter format or a loose root finder",
        float(still),
        0.5,
    )


def way_back(measured: Any, other_measured: Any) -> tuple[Array, Array]:
    """Return the effect of rounding on a point that goes there and back.

    Also return the points at which it is known.

    Returns
    -------
    allowed : (P, D) array
    meaningful : (P,) bool array
        Where the conditioning leaves some digits, and the value is inside the codomain.
    """
    start, y = measured.probes.rows.astype(np.float64), measured.values
    noise = (
        np.median(other_measured.values_noise[other_measured.probes.bulk], axis=0)
        if other_measured is not None and np.any(other_measured.probes.bulk)
        else 0.0
    )
    with np.errstate(all="ignore"):
        value_error = measured.values_tolerance + 10 * measured.values_noise
        typical = np.median(np.abs(start), axis=0)
        allowed = (
            np.einsum("pjk,pk->pj", measured.determinants.inverse, value_error)
            + measured.slack * (np.abs(start) + typical)
            + 10 * noise
            + measured.accuracy
        )
        # First-order reasoning ends where the error is no longer small.
        meaningful = np.all(allowed < 0.03 * (typical + np.abs(start) + 0.1), axis=1)
    meaningful &= measured.determinants.error < 0.1
    meaningful &= measured.finite
    # A value rounded onto the end of its interval has nothing to be inverted.
    meaningful &= measured.codomain.contains(y.astype(measured.dtype).astype(np.float64))
    return allowed, meaningful


def round_trip(
    name: str,
    cancel_name: str,
    measured: Measurement,
    other: Any,
    other_measured: Measurement | None,
) -> list[Row]:
    """Check that ``other`` undoes this direction, and that the two log-determinants cancel.

    A rounding error e of the value y moves the returned point by |J^-1| e. That, not a fixed
    number, is the tolerance, so a steep map passes.
    """
    start, y = measured.probes.rows.astype(np.float64), measured.values
    allowed, meaningful = way_back(measured, other_measured)
    kept = np.flatnonzero(meaningful)
    if not len(kept):
        why = "conditioning leaves no digits anywhere"
        return [not_applicable(name, why), not_applicable(cancel_name, why)]
    # Only points that can be judged: a map may refuse a value that was rounded to the edge.
    start, y, allowed = start[kept], y[kept], allowed[kept]
    try:
        back, log_det_back = other(y.astype(measured.dtype), measured.probes.context_row[kept])
    except CallFailed as error:
        why = "no answer where the other direction had led"
        return [failed(name, why, str(error)), not_applicable(cancel_name, why)]
    error = np.abs(back.astype(np.float64) - start)
    row = or_iterative(
        verdict(
            name,
            np.where(np.isfinite(error), error, np.inf),
            allowed,
            f"rounding times |J^-1|, measured per point, {len(kept)} points",
            lambda k: (
                f"{measured.subject.name} takes {show(start[k])} to {show(y[k])}, which "
                f"{other.name} takes to {show(back[k])}"
            ),
        )
    )
    if measured.log_det is None or log_det_back is None:
        return [row, not_applicable(cancel_name, "needs log_det of both directions")]
    with np.errstate(all="ignore"):
        budget = (2 * measured.log_det_tolerance + 10 * measured.log_det_noise)[kept] + np.sum(
            np.abs(measured.log_det_gradient[kept]) * allowed, axis=1
        )
    if other_measured is not None and other_measured.log_det is not None:
        budget = budget + 10 * np.median(other_measured.log_det_noise)
    clear = np.flatnonzero(budget < 0.3)
    if not len(clear):
        return [row, not_applicable(cancel_name, "conditioning leaves no digits anywhere")]
    ours, theirs = measured.log_det[kept][clear], log_det_back[clear]
    return [
        row,
        or_iterative(
            verdict(
                cancel_name,
                np.abs(ours + theirs),
                budget[clear],
                f"rounding of both, measured per point, {len(clear)} points",
                lambda k: (
                    f"at {show(start[clear[k]])} {measured.subject.name} has log_det "
                    f"{ours[k]:.9g}, {other.name} there {theirs[k]:.9g}"
                ),
            )
        ),
    ]


def keeps_orientation(name: str, measured: Measurement, round_trip_holds: bool) -> Row:
    """Check that the determinant has one sign.

    A continuous map whose determinant changes sign folds space. In one dimension this is
    monotonicity.
    """
    resolved = measured.resolved
    if np.sum(resolved) < 2:
        return not_applicable(name, "too few points that can be differentiated")
    signs = measured.determinants.sign[resolved]
    positive, negative = int(np.sum(signs > 0)), int(np.sum(signs < 0))
    if not positive or not negative:
        return passed(name, f"det has one sign at all {len(signs)} resolved points")
    rare = 1 if positive < negative else -1
    p = np.flatnonzero(resolved & (measured.determinants.sign == rare))[0]
    text = f"the determinant is positive at {positive} points and negative at {negative}"
    if round_trip_holds:
        return passed(name, f"{text}; the round trips hold, so the map is in pieces")
    return failed(
        name,
        "a continuous map with determinants of both signs is not invertible",
        f"{text}: the map folds, as {measured.subject.name} at {show(measured.probes.rows[p])}",
    )


def monotone(name: str, subject: Subject, domain: Box, context_row: int) -> Row:
    """Check on a line that larger z always gives larger x, or always smaller x."""
    t = np.concatenate([np.linspace(-8, 8, 801), np.linspace(-40, 40, 81)])
    z = np.unique(domain.from_line(t[:, None])[:, 0].astype(subject.dtype))[:, None]
    z = z[domain.contains(z.astype(np.float64))]
    x, _ = subject(z, np.full(len(z), context_row))
    x = x[:, 0].astype(np.float64)
    finite = np.isfinite(x)
    z, x = z[finite, 0], x[finite]
    if len(x) < 3:
        return failed(name, "hardly any finite value on a grid")
    step = np.diff(x)
    # Neighbours closer than the rounding of x may come out in either order.
    rounding = 64 * np.finfo(subject.dtype).eps * (np.abs(x[1:]) + np.median(np.abs(x)))
    up, down = step > rounding, step < -rounding
    if np.any(up) and np.any(down):
        wrong = np.flatnonzero(down if np.sum(down) <= np.sum(up) else up)[0]
        return failed(
            name,
            "a map of the line that turns back is not invertible",
            f"{subject.name} takes {z[wrong]:.6g}, {z[wrong + 1]:.6g} to "
            f"{x[wrong]:.6g}, {x[wrong + 1]:.6g}",
        )
    return passed(name, f"one direction over {len(x)} points of a grid")
