"""Many rows, some at a time: memory for a block of them, whatever their number."""

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
