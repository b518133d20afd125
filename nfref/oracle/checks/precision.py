"""The digits of an answer: its noise, and the steps of a shorter format."""

import numpy as np

from nfref.oracle.checks.context import Direction
from nfref.oracle.instruments.guarded_calls import columns
from nfref.oracle.instruments.measurement import Measurement
from nfref.oracle.instruments.probes import step_scale
from nfref.oracle.report import Row, failed, judged, not_applicable, show
from nfref.runtime.annotations import Any, Array


def precise(name: str, measured: Measurement) -> Row:
    """Check that the noise of values and log_det is near the rounding of their dtype."""
    if measured.dtype != np.float64:
        return not_applicable(name, "asked of float64 alone; float32 noise joins the tolerances")
    steps = in_coarse_steps(measured)
    if steps:
        return failed(name, f"{PIECES} pieces of each of 4 lines", steps)
    allowed, accuracy = 1e4 * measured.slack, measured.accuracy
    # Later layers amplify the error of a root search by at most about the slope of the whole.
    slope = 1 + np.sum(np.abs(measured.jacobian), axis=2)
    ratios = [measured.values_noise / (allowed * measured.values_condition + accuracy * slope)]
    if measured.log_det is not None:
        gradient = 1 + np.sum(np.abs(measured.log_det_gradient), axis=1)
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


# A line of PIECES pieces, each PIECE of a coordinate's scale long; the small steps at their ends.
PIECES, PIECE = 64, 2.0**-9
SMALL, SMALLEST = 2.0**-21, 2.0**-30
STEPPED, STILL = 0.25, 0.75  # shares of the pieces with a jump; of those that stand still


def in_coarse_steps(measured: Measurement) -> str:
    """Return what shows that answers lie on the steps of a shorter format, or "".

    A map that passes some numbers through a short format is flat, or straight, between steps. So
    its answers change more from end to end of a piece than its slopes at both ends allow, in many
    pieces of a line; or they stand still when rows, or the context, move by 1e-9.
    """
    if measured.dtype != np.float64 or measured.accuracy:
        return ""
    subject, probes = measured.subject, measured.probes
    points = measured.answered(probes.bulk)[:4]
    start, context_row = probes.rows[points], probes.context_row[points]

    def of_rows(rows, owner):
        return columns(*subject(rows, context_row[owner])).astype(np.float64)

    words = _stepped(of_rows, start, step_scale(measured.domain, start), measured)
    if not words and subject.context is not None:
        direction = Direction(measured)
        given = direction.context
        words = _stepped(direction, given, np.maximum(np.abs(given), 1.0), measured)
        words = f"along the context {words}" if words else ""
    return words


def _stepped(ask, start, scale, measured):
    """Return what shows steps along a line through each of the starts (P, W), or ""."""
    rng = np.random.default_rng(0)
    way = scale * rng.uniform(0.5, 1, start.shape) * rng.choice([-1.0, 1.0], start.shape)
    t = np.arange(PIECES + 1) * PIECE
    t = np.stack([t, t + SMALL, t + SMALLEST])  # (3, ends)
    rows = start[:, None, None] + t[:, :, None] * way[:, None, None]
    answers = ask(rows.reshape(-1, rows.shape[-1]), np.repeat(np.arange(len(start)), t.size))
    answers = answers.reshape(len(start), *t.shape, -1)
    here, near, nearest = answers[:, 0], answers[:, 1], answers[:, 2]
    size = 64 * np.finfo(np.float64).eps * (np.abs(here) + np.max(np.abs(rows)))
    slope = (near - here) / SMALL
    bend = np.abs(np.diff(slope, axis=1))
    bend = np.max([np.roll(bend, by, axis=1) for by in (-2, -1, 0, 1, 2)], axis=0)
    change = np.diff(here, axis=1)
    jump = np.abs(change - 0.5 * PIECE * (slope[:, 1:] + slope[:, :-1]))
    stepped = np.mean(jump > PIECE * (bend + 2 * size[:, 1:] / SMALL), axis=1)
    due = np.abs(change) * SMALLEST / PIECE > size[:, 1:]
    still = np.mean(due & (nearest == here)[:, 1:], axis=1)
    for shares, limit, words in (
        (stepped, STEPPED, "jumps in"),
        (still, STILL, "does not change with steps of 1e-9 in"),
    ):
        share = np.median(shares, axis=0)  # of the lines, for each number of an answer
        k = int(np.argmax(share))
        if share[k] > limit:
            part = "log_det" if k == measured.values.shape[1] else f"column {k}"
            return (
                f"{measured.subject.name}: {part} {words} {share[k]:.0%} of {PIECES} pieces of a "
                f"line from {show(start[0])}, as if numbers passed through float32 or float16"
            )
    return ""


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
    steps = in_coarse_steps(measured)
    if steps:
        return failed(name, f"{PIECES} pieces of each of 4 lines", steps)
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
