"""Rows cut into blocks and shared among threads, with BLAS held to one thread meanwhile.

Kernels run without the GIL, so plain Python threads do. Numba's own threads are not used:
of its layers, one must not be forked and the other must not be called from two threads.

Which thread computes which rows is left to chance; what is computed is not: blocks are
fixed, and sums over rows are taken in their order.
"""

import itertools
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import scipy.linalg.cython_blas  # noqa: F401  the BLAS that kernels call: it has to be loaded
from threadpoolctl import ThreadpoolController


class Workers:
    """Threads that wait for work, and the number of threads BLAS had before."""

    def __init__(self):
        self.lock = threading.Lock()
        self.pool = None
        self.inside = 0
        self.libraries = ThreadpoolController().select(user_api="blas").lib_controllers
        self.threads_before = []

    def after_fork(self):
        """In a child process the threads are gone, and nobody is inside."""
        self.lock = threading.Lock()
        self.pool = None
        if self.inside:
            self.inside = 0
            self._set(self.threads_before)

    @contextmanager
    def one_blas_thread(self):
        """BLAS on one thread until the last of all callers has left."""
        with self.lock:
            self.inside += 1
            if self.inside == 1:
                self.threads_before = [library.get_num_threads() for library in self.libraries]
                self._set([1] * len(self.libraries))
        try:
            yield
        finally:
            with self.lock:
                self.inside -= 1
                if self.inside == 0:
                    self._set(self.threads_before)

    def _set(self, numbers):
        for library, number in zip(self.libraries, numbers):
            if library.get_num_threads() != number:
                library.set_num_threads(number)

    def executor(self):
        with self.lock:
            if self.pool is None:
                self.pool = ThreadPoolExecutor(max(available() - 1, 1), "nfref")
            return self.pool


def available():
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


WORKERS = Workers()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=WORKERS.after_fork)


def share(task, count, threads):
    """Call task(k) for k = 0 ... count-1, on up to ``threads`` threads, the caller among them."""
    numbers = itertools.count()     # next() on it is atomic under the GIL

    def work():
        while (k := next(numbers)) < count:
            task(k)

    with WORKERS.one_blas_thread():
        helpers = min(threads, count) - 1
        waiting = [WORKERS.executor().submit(work) for _ in range(helpers)] if helpers > 0 else []
        try:
            work()
        finally:
            for future in waiting:
                if not future.cancel():
                    future.result()


PIECE = 1 << 16     # numbers of a long vector that a thread takes at a time


def in_pieces(task, size, threads):
    """Call task(first, last) for pieces of 0 ... size, on up to ``threads`` threads."""
    if size <= PIECE:
        task(0, size)
        return
    share(lambda k: task(k * PIECE, min((k + 1) * PIECE, size)), -(-size // PIECE), threads)
