"""Rows in blocks, which bound the memory, and rows split by a condition and merged again."""

import autograd.numpy as anp
import numpy as np

from nfref.runtime.annotations import Any, Array, Callable
from nfref.runtime.autograd_internals import isbox

BLOCK = 4096  # rows in one call: hidden activations of the usual widths stay below 10 MB
NUMBERS = 1 << 20  # numbers in the rows of one kernel call, which cuts them into its own blocks
ALIGNED = 128  # rows in a block of a kernel: parts made of whole blocks keep every bit


def in_blocks(
    function: Callable[..., Any], rows: Array, context: Array | None = None, block: int = BLOCK
) -> Array:
    """Return ``function(rows)`` or ``function(rows, context)``, computed block by block.

    Parameters
    ----------
    function : callable
        (rows (M, D)[, context (M, C)]) -> (M,) or (M, E) array; each row alone.
    rows : (N, D) array
    context : (N, C) array, optional
    block : int
        Rows in one call.

    Returns
    -------
    (N,) or (N, E) array
    """
    if len(rows) <= block:
        return function(rows) if context is None else function(rows, context)
    parts = [slice(start, start + block) for start in range(0, len(rows), block)]
    arrays = (rows,) if context is None else (rows, context)
    return np.concatenate([function(*(array[part] for array in arrays)) for part in parts])


def in_parts(function: Callable[..., Any], n: int, dim: int) -> tuple[Array, ...]:
    """Return ``function(part)`` for parts of n rows of D numbers, joined; autograd passes through.

    A part has at most ``NUMBERS`` numbers, or ``BLOCK`` rows. All parts but the last have the same
    size. So the memory beside the result is that of one part.

    Parameters
    ----------
    function : callable
        slice -> tuple of arrays, each row alone; called in the order of the rows.
    n, dim : int

    Returns
    -------
    tuple of arrays of n rows
    """
    most = max(NUMBERS // dim, BLOCK)
    if n <= most:
        return function(slice(0, n))
    count = -(-n // most)
    step = -(-n // (count * ALIGNED)) * ALIGNED
    parts = [slice(start, min(start + step, n)) for start in range(0, n, step)]
    found = function(parts[0])
    if any(isbox(array) for array in found):
        every = [found, *map(function, parts[1:])]
        return tuple(anp.concatenate(arrays) for arrays in zip(*every))
    joined = tuple(np.empty((n, *array.shape[1:]), array.dtype) for array in found)
    for part in parts:
        for whole, array in zip(joined, function(part) if part.start else found):
            whole[part] = array
    return joined


def context_of(context: Array | None, rows: Array | slice) -> Array | None:
    """Return the context of some of the rows; None if there is no context."""
    return None if context is None else context[rows]


def merge_rows(chosen: Array, ones: Array, others: Array) -> Array:
    """Return rows ``ones`` where ``chosen`` (N,) is true, and ``others`` elsewhere.

    Autograd passes through. Shapes: ones (M, ...) for M chosen rows, others (N - M, ...).
    Returns (N, ...).
    """
    places = np.concatenate([np.flatnonzero(chosen), np.flatnonzero(~chosen)])
    return anp.concatenate([ones, others])[np.argsort(places)]
