"""The first answer for each row, and the later answer that was farthest from it.

Every later call is compared, whatever it was made for. So the checks notice an answer that changes
with the number of calls, the batch or the place in it.
"""

import numpy as np

from nfref.runtime.annotations import Array

MOST = 4096  # rows of one call that are compared; more would cost memory


class AnswerCache:
    """Answers by row and row of the context: (K,) numbers each, log_det last if there is one."""

    def __init__(self) -> None:
        self.slots: dict = {}  # a row's bytes and its row of the context -> index in the arrays
        self.first = np.zeros((0, 0))  # (S, K) first answers
        self.worst = np.zeros((0, 0))  # (S, K) later answers that were farthest from them
        self.distance = np.zeros(0)  # (S,) largest difference of any entry
        self.words: list = []  # the call that gave ``worst``, and the row in it

    def store(self, rows: Array, context_row: Array, answers: Array) -> None:
        """Store the (N, K) answers of rows that are not known yet."""
        new = []
        for i, key in enumerate(_keys(rows, context_row)):
            if key not in self.slots:
                self.slots[key] = len(self.slots)
                new.append(i)
        if new:
            answers = answers[new].astype(np.float64)
            before = self.first if len(self.first) else answers[:0]
            self.first = np.concatenate([before, answers])
            self.worst = np.concatenate([self.worst if len(before) else answers[:0], answers])
            self.distance = np.append(self.distance, np.zeros(len(new)))
            self.words += [""] * len(new)

    def compare(self, rows: Array, context_row: Array, answers: Array, call: int) -> None:
        """Record the distance of the answers from the first ones."""
        if not self.slots:
            return
        found = [
            (i, self.slots[key])
            for i, key in enumerate(_keys(rows, context_row))
            if key in self.slots
        ]
        if not found:
            return
        at, slots = np.array(found).T
        if answers.shape[1] != self.first.shape[1]:  # another property judges a missing log_det
            return
        new, old = answers[at].astype(np.float64), self.first[slots]
        same = (new == old) | (np.isnan(new) & np.isnan(old))
        with np.errstate(invalid="ignore"):
            distance = np.where(same, 0.0, np.abs(new - old))
        distance = np.max(np.where(np.isnan(distance), np.inf, distance), axis=1)
        for k in np.flatnonzero(distance > self.distance[slots]):
            slot = slots[k]
            if distance[k] > self.distance[slot]:
                self.distance[slot], self.worst[slot] = distance[k], new[k]
                self.words[slot] = f"call {call}, row {at[k]} (counted from 0) of {len(rows)}"

    def slot_of(self, rows: Array, context_row: Array) -> Array:
        """Return the (N,) indices of rows in the arrays, -1 for rows that are not known."""
        return np.array([self.slots.get(key, -1) for key in _keys(rows, context_row)], dtype=int)


def _keys(rows, context_row):
    flat = np.ascontiguousarray(rows[:MOST])
    if not flat.size:
        return []
    keys = flat.view(np.dtype((np.void, flat.shape[1] * flat.itemsize))).ravel().tolist()
    return list(zip(keys, context_row[:MOST].tolist()))
