"""Rows, some at a time: blocks that bound the memory, and rows that go ways of their own."""

import autograd.numpy as anp
import numpy as np

BLOCK = 4096        # rows in one call: hidden activations of the usual widths stay below 10 MB


def in_blocks(function, rows, context=None, block=BLOCK):
    """``function(rows)`` or ``function(rows, context)`` for blocks of rows, joined.

    Parameters
    ----------
    function : callable
        (rows (M, D)[, context (M, C)]) -> (M,) or (M, E) array; row by row.
    rows : (N, D) array
    context : (N, C) array, optional
    block : int
        Rows in one call.

    Returns
    -------
    (N,) or (N, E) array
    """
    parts = [slice(start, start + block) for start in range(0, max(len(rows), 1), block)]
    arrays = (rows,) if context is None else (rows, context)
    return np.concatenate([function(*(array[part] for array in arrays)) for part in parts])


def merged(chosen, ones, others):
    """Rows ``ones`` where ``chosen`` (N,) is true, ``others`` elsewhere; autograd passes through.

    Shapes: ones (M, ...) and others (N - M, ...), M being how many are chosen. Returns (N, ...).
    """
    places = np.concatenate([np.flatnonzero(chosen), np.flatnonzero(~chosen)])
    return anp.concatenate([ones, others])[np.argsort(places)]
