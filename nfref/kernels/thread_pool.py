"""Rows cut into blocks and shared among threads.

Kernels run without the GIL, so plain Python threads run them at the same time. Numba's own threads
are not used: one of its layers must not be forked, the other must not be called from two threads.

The split of rows among threads varies, the result does not: blocks are fixed, and sums over rows
are taken in their order.
"""

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np

from nfref.runtime.annotations import Array, Callable, DTypeLike
from nfref.runtime.backends import processors, threads


@cache
def workers() -> ThreadPoolExecutor:
    """Return the threads of this process that work beside the callers."""
    return ThreadPoolExecutor(max(processors() - 1, 1), "nfref")


if hasattr(os, "register_at_fork"):  # a child process has only one thread
    os.register_at_fork(after_in_child=workers.cache_clear)


def share(task: Callable, count: int, threads: int) -> None:
    """Call task(k) for k = 0 ... count-1, on up to ``threads`` threads, the caller among them."""
    left = deque(range(count))  # threads may take from it at the same time

    def work():
        while left:
            try:
                k = left.popleft()
            except IndexError:  # another thread took the last one
                return
            task(k)

    helpers = min(threads, count) - 1
    waiting = [workers().submit(work) for _ in range(helpers)] if helpers > 0 else []
    try:
        work()
    finally:
        for future in waiting:
            if not future.cancel():
                future.result()


def at_once(task: Callable, count: int, size: int) -> bool:
    """Call task(k) for k = 0 ... count-1 on all threads; the twin of a plain loop."""
    share(task, count, threads())
    return True


PIECE = 1 << 16  # numbers of a long vector that a thread takes at a time: half a MB of float64


def in_pieces(task: Callable, size: int, threads: int) -> None:
    """Call task(first, last) for pieces of 0 ... size, on up to ``threads`` threads."""
    if size <= PIECE:
        task(0, size)
        return
    share(lambda k: task(k * PIECE, min((k + 1) * PIECE, size)), -(-size // PIECE), threads)


LINE = 64  # bytes of a cache line, and of the longest register


def aligned(size: int, dtype: DTypeLike) -> Array:
    """Return ``size`` numbers with arbitrary contents that start at a line of the cache.

    The contents of a register then lie in one line, and not half the time in two.
    """
    memory = np.empty(size * np.dtype(dtype).itemsize + LINE, np.uint8)
    start = -memory.ctypes.data % LINE
    return memory[start : start + size * np.dtype(dtype).itemsize].view(dtype)
