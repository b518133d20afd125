"""Find the kinks, knots and jumps of a map, so that the checks probe both sides of each.

Along a line the outputs of a smooth map have second differences that change slowly. A knot makes
one of them stand out from its neighbours. Bisection narrows the place down.
"""

from dataclasses import dataclass

import numpy as np

from nfref.oracle.instruments.probes import Box, Domain
from nfref.runtime.annotations import Array, Callable, DTypeLike, Generator, Sequence

LINES, CELLS = 5, 240  # lines; parts of each
MOST, ON_A_LINE = 8, 4  # kinks; those of one line


@dataclass(frozen=True)
class Kink:
    """A point at which a map, or its log-determinant, has a corner or a jump."""

    row: np.ndarray  # (D,)
    direction: np.ndarray  # (D,) unit vector of the line on which it was found
    context_row: int


def find_kinks(
    evaluate: Callable,
    domain: Box,
    rng: Generator,
    rows: Array,
    context_row: Array,
    most: int = LINES,
) -> list[Kink]:
    """Return the sharpest kinks on at most ``most`` lines through rows (P, D) of a domain.

    ``evaluate`` maps (rows (M, D), context_row (M,)) to (M, K) float64: values and log-determinant.
    """
    dim = rows.shape[1]
    directions = [np.eye(dim)[j] for j in rng.permutation(dim)[: LINES - 1]]
    if dim > 1:
        directions.append(rng.standard_normal(dim))
    found = []
    for k, direction in enumerate(directions[:most]):
        direction = direction / np.linalg.norm(direction)
        start = rows[k % len(rows)].astype(np.float64)
        start = start - (start @ direction) * direction
        low, high = _reach(domain, start, direction)
        if low < high:
            found.append((start, direction, context_row[k % len(rows)], (low, high)))
    if not found:
        return []
    *lines, ends = map(np.array, zip(*found))
    return _Lines(evaluate, *lines, rows.dtype).kinks(ends)


def _reach(domain, start, direction):
    """Return the part of the line start + t direction to scan: 24 long, around 0 if it is free."""
    moves = direction != 0
    with np.errstate(all="ignore"):
        ends = np.stack([domain.lower - start, domain.upper - start])[:, moves] / direction[moves]
    low, high = np.max(np.min(ends, axis=0)), np.min(np.max(ends, axis=0))
    if np.isfinite(low) and np.isfinite(high):
        margin = 1e-4 * (high - low)
        return low + margin, high - margin
    if np.isfinite(low):
        return low + 1e-3, low + 24
    if np.isfinite(high):
        return high - 24, high - 1e-3
    return -12.0, 12.0


class _Lines:
    """A map along several lines at once: a call may take long whatever its number of rows."""

    def __init__(self, evaluate, starts, directions, owners, dtype):
        self.evaluate, self.starts, self.directions = evaluate, starts, directions
        self.owners, self.dtype = owners, dtype

    def rows(self, line: Array, t: Array) -> Array:
        """Return the points (B, T, D) at ``t`` (B, T) of the lines with numbers ``line`` (B,)."""
        offsets = t[:, :, None] * self.directions[line][:, None]
        return (self.starts[line][:, None] + offsets).astype(self.dtype)

    def values(self, line: Array, t: Array) -> Array:
        """Return the values (B, T, K) at these points."""
        rows = self.rows(line, t).reshape(t.size, -1)
        return self.evaluate(rows, np.repeat(self.owners[line], t.shape[1])).reshape(*t.shape, -1)

    def kinks(self, ends: Array) -> list[Kink]:
        """Return the kinks whose second differences stand out most."""
        t = np.linspace(ends[:, 0], ends[:, 1], CELLS + 1, axis=1)
        found: list[tuple[float, int, int]] = []  # (sharpness, line, cell)
        for k, excess in enumerate(self.excess(self.values(np.arange(len(ends)), t))):
            picked: list[int] = []
            for i in np.argsort(-excess):
                if excess[i] < 6 or len(picked) == ON_A_LINE:
                    break
                if all(abs(i - other) > 2 for other in picked):
                    picked.append(i)
            found += [(float(excess[i]), k, i) for i in picked]
        if not found:
            return []
        found = sorted(found, key=lambda one: -one[0])[:MOST]
        which, at = np.array([one[1:] for one in found]).T
        middle = self.narrow(which, t[which, at], t[which, at + 2])
        rows = self.rows(which, middle[:, None])[:, 0]
        return [Kink(row, self.directions[k], self.owners[k]) for row, k in zip(rows, which)]

    def excess(self, y: Array) -> Array:
        """Return by how much each second difference (B, T - 2) stands out from its neighbours."""
        with np.errstate(all="ignore"):
            bend = np.abs(np.diff(y, 2, axis=1))
            size = np.max(np.abs(y), axis=1, keepdims=True)
            floor = 1e4 * np.finfo(self.dtype).eps * size + 1e-300
            # The larger of two neighbours: near a point of inflection one of them is tiny.
            place = np.arange(bend.shape[1])
            beside = (np.take(bend, place + by, axis=1, mode="clip") for by in (3, -3))
            ordinary = np.maximum(floor, np.maximum(*beside))
            return np.max(np.where(np.isfinite(bend), bend / ordinary, 0), axis=2)

    def narrow(self, line: Array, low: Array, high: Array) -> Array:
        """Halve the brackets while the bend at one of their thirds stands out from the rest."""
        for _ in range(12):  # to a ten-millionth of the bracket
            t = low[:, None] + (high - low)[:, None] * np.linspace(0, 1, 9)
            with np.errstate(all="ignore"):
                bend = np.abs(np.diff(self.values(line, t), 2, axis=1))  # (brackets, 7, K)
                relative = bend / (np.sum(bend, axis=1, keepdims=True) + 1e-300)
                peak = np.max(np.where(np.isfinite(relative), relative, 0), axis=2)
            best = np.argmax(peak, axis=1)
            # If nothing stands out any more, only rounding is left: stay.
            clear = np.take_along_axis(peak, best[:, None], axis=1)[:, 0] > 0.45
            if not np.any(clear):
                break
            step = (high - low) / 8
            low = np.where(clear, low + best * step, low)
            high = np.where(clear, low + 2 * step, high)
        return 0.5 * (low + high)


def both_sides(
    kinks: Sequence[Kink], domain: Domain, distance: Array | float
) -> tuple[Array, Array]:
    """Return points (2 K, D) on each side of every kink, at this distance, and rows of context."""
    steps = distance * np.array([[-1.0], [1.0]])
    rows = np.concatenate([kink.row.astype(np.float64) + steps * kink.direction for kink in kinks])
    context_row = np.repeat([kink.context_row for kink in kinks], 2)
    inside = domain.contains(rows)
    return rows[inside], context_row[inside]


def snapped(kinks: Sequence[Kink], dtype: DTypeLike) -> list[tuple[Kink, Array]]:
    """Return (kink, rows (3, D)): kinks moved onto the round number near them, with neighbours.

    Knots tend to stand at numbers that somebody wrote down. A wrong comparison (< for <=) shows
    there, and at the next float on each side. Kinks that are near no round number are left out.
    """
    exact = []
    for kink in kinks:
        axis = np.flatnonzero(kink.direction)
        if len(axis) != 1:
            continue
        j = axis[0]
        at = float(kink.row[j])
        near = round(at, 2)
        if abs(near - at) > 3e-4 * max(1.0, abs(at)):
            continue
        rows = np.tile(kink.row, (3, 1)).astype(dtype)
        rows[:, j] = near
        rows[::2, j] = np.nextafter(rows[1, j], np.array([-np.inf, np.inf], dtype))
        exact.append((kink, rows))
    return exact
