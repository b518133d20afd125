"""Rows that a density was fitted to, known again by their content: what they scored out of fold.

A row that was fitted to looks likelier than it is. So a detector keeps, of each, 64 bits that its
cells decide and its log-likelihood by densities that were not fitted to it; and a model file those
bits of the rows that were kept to test by, or of all that it was fitted to.
"""

import base64
from dataclasses import dataclass

import numpy as np

from nfref.tables.reading.sampling import GOLDEN, mixed


def keys_of(density, table):
    """64 bits of each row, (N,) of uint64, the same for rows with the same cells and for no
    others, but by an accident of 1 in 2^64. Rows are whole."""
    codes, u, _ = density.encode(table)
    found = np.zeros(len(codes), np.uint64)
    for column in (np.concatenate([codes, u], axis=1) + 0.0).T:  # + 0.0 makes -0.0 0.0
        found = mixed(found + GOLDEN ^ np.ascontiguousarray(column).view(np.uint64))
    return found


@dataclass(frozen=True)
class FittedRows:
    """What rows scored by densities that were not fitted to them.

    Parameters
    ----------
    keys : (N,) array of uint64
        In order.
    scores : (N,) array
    """

    keys: np.ndarray
    scores: np.ndarray

    @classmethod
    def of(cls, keys, scores):
        """Of rows in any order; of copies one is kept."""
        keys, first = np.unique(keys, return_index=True)
        return cls(keys, np.asarray(scores, np.float64)[first])

    def update(self, keys, scores):
        """Scores (N,) with those that are kept in the place of those of rows fitted to."""
        if not len(self.keys):
            return scores
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[place] == keys, self.scores[place], scores)


# In a model file --------------------------------------------------------------------------


KEPT_KEYS = 20_000  # rows that a model file knows again, at most


def as_text(keys):
    """Keys as text that JSON can hold."""
    return base64.b64encode(np.sort(keys).astype("<u8").tobytes()).decode()


def of_text(text):
    """Keys from text; none where it is not of that form."""
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), "<u8").astype(np.uint64)
    except (TypeError, ValueError):
        return np.zeros(0, np.uint64)
