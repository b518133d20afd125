"""Rows cut into blocks and shared among threads.

Kernels run without the GIL, so plain Python threads do. Numba's own threads are not used:
of its layers, one must not be forked and the other must not be called from two threads.

Which thread computes which rows is left to chance; what is computed is not: blocks are
fixed, and sums over rows are taken in their order.
"""

import ctypes
import itertools
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np

from nfref.runtime.backends import processors, threads

# The number of the processor that runs the caller; None where threads cannot be placed.
PROCESSOR_OF_CALLER = (
    getattr(ctypes.CDLL(None), "sched_getcpu", None) if hasattr(os, "sched_setaffinity") else None
)


class Workers:
    """Threads that wait for work, on other processors than who gives it.

    Linux may wake a thread on the processor of the one that woke it, though another is idle: on a
    virtual machine with two, two threads shared one for half a second after a rest.
    """

    def __init__(self):
        self.after_fork()

    def after_fork(self):
        """In a child process the threads are gone."""
        self.lock = threading.Lock()
        self.pool, self.ids, self.placed = None, [], None

    def executor(self):
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

    def keep_away(self, processor):
        """Leave the threads all processors of the caller but this one, if there are others."""
        allowed = os.sched_getaffinity(0) - {processor}
        if (allowed, len(self.ids)) == self.placed:
            return
        self.placed = allowed, len(self.ids)
        with suppress(OSError):  # where it is forbidden, and where there are no others
            for number in self.ids[: self.placed[1]]:
                os.sched_setaffinity(number, allowed)


WORKERS = Workers()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=WORKERS.after_fork)


def share(task, count, threads):
    """Call task(k) for k = 0 ... count-1, on up to ``threads`` threads, the caller among them."""
    numbers = itertools.count()  # next() on it is atomic under the GIL

    def work():
        while (k := next(numbers)) < count:
            task(k)

    helpers = min(threads, count) - 1
    waiting = [WORKERS.executor().submit(work) for _ in range(helpers)] if helpers > 0 else []
    try:
        work()
    finally:
        for future in waiting:
            if not future.cancel():
                future.result()


def at_once(task, count, size):
    """The twin of doing tasks in turn."""
    share(task, count, threads())
    return True


PIECE = 1 << 16  # numbers of a long vector that a thread takes at a time: half a MB of float64


def in_pieces(task, size, threads):
    """Call task(first, last) for pieces of 0 ... size, on up to ``threads`` threads."""
    if size <= PIECE:
        task(0, size)
        return
    share(lambda k: task(k * PIECE, min((k + 1) * PIECE, size)), -(-size // PIECE), threads)


LINE = 64  # bytes of a line of the cache, and of the longest register


def aligned(size, dtype):
    """``size`` numbers, with anything in them, that start where a line of the cache does.

    What fills a register then lies in one line, and not half the time in two.
    """
    memory = np.empty(size * np.dtype(dtype).itemsize + LINE, np.uint8)
    start = -memory.ctypes.data % LINE
    return memory[start : start + size * np.dtype(dtype).itemsize].view(dtype)
