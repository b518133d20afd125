"""Recognise rows that a density was fitted to, by 64 bits of their content.

A row that a density was fitted to looks likelier than it is. So a detector keeps the fingerprint of
each such row with its out-of-fold log-likelihood. A model file keeps the fingerprints of the rows
that were kept for the test, or of all rows that it was fitted to.
"""

import base64

import numpy as np

from nfref.runtime.annotations import Any, Array, Sequence
from nfref.tables.reading.sampling import GOLDEN, mixed


def keys_of(density: Any, table: Sequence[Array]) -> Array:
    """Return a fingerprint of each row, (N,) of uint64; rows have no missing cells.

    Equal rows have equal fingerprints; different ones have equal fingerprints by an accident of 1
    in 2^64.
    """
    codes, u, _ = density.encode(table)
    found = np.zeros(len(codes), np.uint64)
    for column in (np.concatenate([codes, u], axis=1) + 0.0).T:  # + 0.0 turns -0.0 into 0.0
        found = mixed(found + GOLDEN ^ np.ascontiguousarray(column).view(np.uint64))
    return found


# In a model file --------------------------------------------------------------------------


KEPT_KEYS = 20_000  # most rows that a model file recognises


def as_text(keys: Array) -> str:
    """Return keys as text for JSON."""
    return base64.b64encode(np.sort(keys).astype("<u8").tobytes()).decode()


def of_text(text: Any) -> Array:
    """Return keys from text; none if the text is malformed."""
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), "<u8").astype(np.uint64)
    except (TypeError, ValueError):
        return np.zeros(0, np.uint64)
