"""A context is read, with all its digits, and is not remembered."""

from dataclasses import replace

import numpy as np

from nfref.oracle.checks.batches import agree
from nfref.oracle.instruments.measurement import Measurement
from nfref.oracle.report import VERDICTS, Row, failed, inconclusive, not_applicable, passed, show
from nfref.runtime.annotations import Array

POINTS = 6
OTHERS = 3


def others(rows: Array | None) -> Array:
    """Return indices of the OTHERS contexts that are farthest from the middle; never the first."""
    if rows is None or len(rows) < 2:
        return np.zeros(0, dtype=int)
    rows = rows.astype(np.float64)
    spread = np.std(rows, axis=0)
    scaled = (rows - np.mean(rows, axis=0)) / np.where(spread > 0, spread, 1)
    distance = np.sum(scaled**2, axis=1)
    distance[0] = -1
    distance[np.all(rows == rows[0], axis=1)] = -1
    order = np.argsort(-distance, kind="stable")[:OTHERS]
    return order[distance[order] >= 0]


def worse(row: Row, other: Row, context_row: int) -> Row:
    """Return the worse of two rows about one property, with the row of the context."""
    if VERDICTS.index(other.verdict) >= VERDICTS.index(row.verdict):
        return replace(row, why=f"{row.why}; row {context_row} of the context")
    return replace(other, why=f"row {context_row} of the context: {other.why}")


class Direction:
    """One direction at a few of its points, as a function of the context alone."""

    def __init__(self, measured: Measurement) -> None:
        self.subject = measured.subject
        points = measured.answered(measured.probes.bulk)[:POINTS]
        self.points, self.rows = points, measured.probes.rows[points]
        self.context = self.subject.context[measured.probes.context_row[points]]

    def __call__(self, context: Array, owner: Array) -> Array:
        """Return values and, as the last column, log_det for rows of context (M, C)."""
        other = self.subject.apart(context=context)
        return other.numbers(self.rows[owner], np.arange(len(owner)))


def is_read(name: str, measured: Measurement, moves: Array | None = None) -> Row:
    """Check that each feature moves something, and coordinates as ``moves`` (C, D) requires.

    A feature is set to its extremes in the context, because labels may have no values between or
    beyond. It is moved elsewhere only if that changes too little.
    """
    direction = Direction(measured)
    owner = np.arange(len(direction.points))
    width = direction.context.shape[1]
    still = direction(direction.context, owner)
    dim = measured.values.shape[1]
    wanted = np.zeros((width, dim), dtype=bool) if moves is None else np.asarray(moves, dtype=bool)
    moved = np.zeros((width, still.shape[1]), dtype=bool)
    for feature, given in enumerate(direction.context.T):
        every, size = measured.subject.context[:, feature], 1 + np.abs(given)
        for values in ((np.min(every), np.max(every)), (given + 0.5 * size, given - 1.5 * size)):
            for value in values:
                context = direction.context.copy()
                context[:, feature] = value
                change = np.abs(direction(context, owner) - still)
                allowed = 64 * np.finfo(measured.dtype).eps * (1 + np.abs(still))
                moved[feature] |= np.any((change > allowed) | np.isnan(change), axis=0)
            if np.any(moved[feature]) and np.all(moved[feature, :dim] >= wanted[feature]):
                break
    if moves is None and not np.any(moved):
        # A flow whose last layer is still zero does the same.
        why = "no feature of the context changes the answer: the flow ignores it, or is still the "
        return inconclusive(name, f"{why}identity that it starts as")
    why = f"{width} features, up to four values of each, at {len(owner)} points"
    feature_of = f"{measured.subject.name}: feature {{}} of the context "
    for unread in np.flatnonzero(~np.any(moved, axis=1)):
        return failed(name, why, f"{feature_of.format(unread)}changes nothing")
    for feature, column in np.argwhere(wanted & ~moved[:, :dim]):
        where = f"{feature_of.format(feature)}does not change column {column}"
        return failed(name, why, where)
    stays = np.flatnonzero(~np.any(moved[:, :dim], axis=0))
    note = f"; columns {', '.join(map(str, stays[:6]))} never change" if len(stays) else ""
    return passed(name, f"each of {width} features changes something{note}")


def is_not_remembered(name: str, measured: Measurement) -> Row:
    """Check that another context in between does not change the answer."""
    probes, subject = measured.probes, measured.subject
    index = np.flatnonzero(probes.bulk & measured.finite)[:8]
    if not len(index) or len(subject.context) < 2:
        return not_applicable(name, "needs two rows of context")
    rows, mine = probes.rows[index], probes.context_row[index]
    other = (mine + 1) % len(subject.context)
    # Compared with its own answer: another row compares it with that in a larger batch.
    before, first = subject(rows, mine), subject(rows, other)
    answer, again = subject(rows, mine), subject(rows, other)
    row = agree(name, measured, index, answer, "after another context", first=before)
    if row.failed:
        return row
    fewer = subject(rows[:-1], other[:-1])
    at, words = f"{subject.name} at {show(rows[0])}", ""
    if not np.allclose(first[0], again[0], rtol=1e-3, atol=1e-3, equal_nan=True):
        words = f"{at} with the same context: first {show(first[0][0])}, later {show(again[0][0])}"
    if np.array_equal(before[0], first[0]) and not np.allclose(fewer[0], first[0][:-1]):
        words = f"{at} gives {show(first[0][0])} with two contexts of as many rows; "
        words += f"with fewer rows {show(fewer[0][0])}"
    return failed(name, row.why, words) if words else row
