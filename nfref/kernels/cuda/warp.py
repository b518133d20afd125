"""Threads side by side: 1, 2, 4 ... 32 lanes of a warp share a row or a matrix.

Lanes exchange values with ``cuda.shfl_xor_sync(ALL, value, offset)``, offsets being powers of
two below their number. All threads of a block take part, also those that have no row of their
own: no kernel returns early.
"""

import numba.cuda

from nfref.runtime.annotations import Any

cuda: Any = numba.cuda  # its annotations do not fit the code of kernels

THREADS = 128  # in a block: four warps
WARP = 32
ALL = 0xFFFFFFFF  # the lanes that take part


def on_device(function):
    """Compile a function that kernels call, or one of the CPU's kernels, as a part of them.

    A function of its own would need a device to be compiled.
    """
    return cuda.jit(getattr(function, "py_func", function), device=True, inline="always")


def lanes_for(dim):
    """Return the number of lanes that share ``dim`` columns: a power of two, at most a warp."""
    return min(1 << (dim - 1).bit_length(), WARP)


def block_for(n, lanes, most_warps=THREADS // WARP):
    """Return blocks and their threads (lanes, places), in whole warps, for n rows or matrices."""
    per_warp = WARP // lanes
    warps = max(1, min(most_warps, -(-n // per_warp)))
    places = warps * per_warp
    return -(-n // places), (lanes, places)
