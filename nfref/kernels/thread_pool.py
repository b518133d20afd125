"""Rows cut into blocks and shared among threads.

Kernels run without the GIL, so plain Python threads run them at the same time. Numba's own threads
are not used: one of its layers must not be forked, the other must not be called from two threads.

The split of rows among threads varies, the result does not: blocks are fixed, and sums over rows
are taken in their order.
"""

import ctypes
import os
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np

from nfref.runtime.annotations import Any, Array, Callable, DTypeLike
from nfref.runtime.backends import processors, threads

# Returns the number of the caller's processor; None if threads cannot be placed.
PROCESSOR_OF_CALLER = (
    getattr(ctypes.CDLL(None), "sched_getcpu", None) if hasattr(os, "sched_setaffinity") else None
)


class Workers:
    """Threads that wait for work, on other processors than the caller.

    Linux may wake a thread on the caller's processor, though another is idle. Without the
    placement RealNVP's log_prob of 20,000 rows takes 1.2 times as long after half a second of
    rest, on two processors.
    """

    def __init__(self) -> None:
        self.after_fork()

    def after_fork(self) -> None:
        """Forget the threads, which a child process does not have."""
        self.lock = threading.Lock()
        self.pool: ThreadPoolExecutor | None = None
        self.ids: list[int] = []
        self.placed: Any = None

    def executor(self) -> ThreadPoolExecutor:
        """Return the pool of threads, kept away from the caller's processor."""
        with self.lock:
            if self.pool is None:
                self.pool = ThreadPoolExecutor(
                    max(processors() - 1, 1),
                    "nfref",
                    initializer=lambda ids: ids.append(threading.get_native_id()),
                    initargs=(self.ids,),
                )
            if PROCESSOR_OF_CALLER is not None:
                self.keep_away(PROCESSOR_OF_CALLER())
            return self.pool

    def keep_away(self, processor: int) -> None:
        """Leave the threads all processors of the caller but this one, if there are others."""
        allowed = os.sched_getaffinity(0) - {processor}
        if (allowed, len(self.ids)) == self.placed:
            return
        self.placed = allowed, len(self.ids)
        with suppress(OSError):  # it is forbidden, or there are no others
            for number in self.ids[: self.placed[1]]:
                os.sched_setaffinity(number, allowed)


WORKERS = Workers()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=WORKERS.after_fork)


def share(task: Callable, count: int, threads: int) -> None:
    """Call task(k) for k = 0 ... count-1, on up to ``threads`` threads, the caller among them."""
    helpers = min(threads, count) - 1
    if helpers < 1:  # the rest takes microseconds, as does the kernel of one row
        for k in range(count):
            task(k)
        return
    left = deque(range(count))  # threads may take from it at the same time

    def work():
        while left:
            try:
                k = left.popleft()
            except IndexError:  # another thread took the last one
                return
            task(k)

    waiting = [WORKERS.executor().submit(work) for _ in range(helpers)]
    try:
        work()
    except BaseException:
        for future in waiting:
            if not future.cancel():
                future.exception()
        raise
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


def writable(array: Array, dtype: DTypeLike | None = None) -> Array:
    """Return a contiguous array; a copy of a read-only one, to which another kernel would belong.

    Numba compiles a kernel for each kind of arrays.
    """
    array = np.ascontiguousarray(array, dtype)
    return array if array.flags.writeable else array.copy()
