"""The digits of an answer: the steps that a shorter format leaves."""

import numpy as np

from nfref.oracle.checks.context import Direction
from nfref.oracle.instruments.measurement import Measurement
from nfref.oracle.instruments.probes import step_scale
from nfref.oracle.report import Row, held, not_applicable, show

# A line of PIECES pieces, each PIECE of a coordinate's scale long; the small steps at their ends.
PIECES, PIECE = 64, 2.0**-9
SMALL, SMALLEST = 2.0**-21, 2.0**-30
EXACT = 1e-10  # nats; float32 leaves more
STEPPED, STILL = 0.25, 0.5  # shares of the pieces with a jump; of those that stand still
COLUMNS = 4  # most columns that are moved alone
FINER = 64  # in pieces as much shorter, fewer of them contain a step of the subject's own


def precise(name: str, measured: Measurement) -> Row:
    """Check that answers do not lie on the steps of a shorter format.

    A map that passes some numbers through a short format is flat, or straight, between steps. So
    its answers change more from end to end of a piece than its slopes at both ends allow, in many
    pieces of a line; or they stand still when rows, or the context, move by 1e-9.
    """
    if measured.dtype != np.float64:
        return not_applicable(name, "judged in float64 only; float32 noise joins the tolerances")
    if measured.accuracy:
        return not_applicable(name, "accuracy= was given")
    subject, probes = measured.subject, measured.probes
    points = measured.answered(probes.bulk)[:4]
    start, context_row = probes.rows[points], probes.context_row[points]

    def of_rows(rows, owner):
        return subject.numbers(rows, context_row[owner])

    words = _stepped(of_rows, start, step_scale(measured.domain, start), measured)
    if not words and subject.context is not None:
        direction = Direction(measured)
        given = direction.context
        more = _stepped(direction, given, np.maximum(np.abs(given), 1.0), measured)
        words = f"along the context {more}" if more else words
    why = f"{PIECES} pieces of each of {len(points)} lines"
    if words is None:
        return not_applicable(name, f"the answers hardly change in {why}")
    return held(name, why, words)


def _stepped(ask, start, scale, measured):
    """Return what shows steps along lines from (P, W), or ""; None if answers hardly change."""
    rng, width = np.random.default_rng(0), start.shape[1]
    way = scale * rng.uniform(0.5, 1, start.shape) * rng.choice([-1.0, 1.0], start.shape)
    words = _stepped_along(ask, start, way, measured)
    # A column that moves smoothly with itself may hide the steps of a conditioner of the others.
    for column in rng.permutation(width)[:COLUMNS] if width > 1 else ():
        if words:
            break
        alone = way * (np.arange(width) == column)
        words = _stepped_along(ask, start, alone, measured) or words
    return words


def _stepped_along(ask, start, way, measured):
    """Return what shows steps along these lines, or ""; None if answers hardly change."""
    change, due, jumps, stays = _along(ask, start, way, PIECES, PIECE)
    stepped, still = np.mean(jumps, axis=1), np.mean(stays, axis=1)
    if np.max(np.median(stepped, axis=0)) > STEPPED:
        # Steps of a short format follow the function that was rounded. A density of many narrow
        # kernels steps up and down, at places of its own.
        own = np.abs(np.sum(change, axis=1)) < 0.5 * np.sum(np.abs(change), axis=1)
        finer = _along(ask, start, way, FINER * PIECES, PIECE / FINER)
        jumps, stays = (np.mean(part, axis=1) for part in finer[2:])
        stepped = np.where(own, np.minimum(stepped, jumps), stepped)
        still = np.where(own, np.minimum(still, stays), still)
    for shares, limit, words in (
        (stepped, STEPPED, "jumps in"),
        (still, STILL, "does not change with steps of 1e-9 in"),
    ):
        share = np.median(shares, axis=0)  # of the lines, for each number of an answer
        if _log_det_is_exact(measured):
            share = share[: measured.values.shape[1]]  # its jumps are those of the slopes
        k = int(np.argmax(share))
        if share[k] > limit:
            part = "log_det" if k == measured.values.shape[1] else f"column {k}"
            where = f"{share[k]:.0%} of {PIECES} pieces of a line from {show(start[0])}"
            why = "numbers passed through float32 or float16, or a root search stopped early"
            return f"{measured.subject.name}: {part} {words} {where}, as if {why}"
    return "" if np.max(np.mean(due, axis=1)) > STEPPED else None


def _along(ask, start, way, pieces, piece):
    """Return what the answers do in each piece of each line.

    The arrays are the change from end to end, whether steps of 1e-9 have to change the answers,
    whether they jump, and whether they stand still.
    """
    t = np.arange(pieces + 1) * piece
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
    jump = np.abs(change - 0.5 * piece * (slope[:, 1:] + slope[:, :-1]))
    due = np.abs(change) * SMALLEST / piece > size[:, 1:]
    # Beside the end of a domain such a step may be too small to change a row.
    moves = SMALLEST * np.abs(way) > 64 * np.finfo(np.float64).eps * np.abs(start)
    due &= np.all(moves | (way == 0), axis=1)[:, None, None]
    jumps = jump > piece * (bend + 2 * size[:, 1:] / SMALL)
    return change, due, jumps, due & (nearest == here)[:, 1:]


def _log_det_is_exact(measured):
    """Check that log_det has all digits of the numerical one, as where a map has many knots."""
    if measured.determinants is None or measured.log_det is None:
        return False
    sure = measured.probes.bulk & (measured.determinants.error < EXACT)
    error = np.abs(measured.log_det - measured.determinants.value)[sure]
    return bool(np.median(error) < EXACT) if len(error) else False
