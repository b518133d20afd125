"""The threads of BLAS libraries, which had better sleep while kernels have work for all processors.

A product of large matrices wakes them, a factorisation even of small ones, and for milliseconds
afterwards they wait for more by asking again and again. On two processors that takes one of them
away from a kernel that comes next: scores of 784 columns by a continuous flow took half as long
again, a step of Sylvester layers of 64 columns twice as long.
"""

import sys
import threading
from contextlib import contextmanager, nullcontext
from functools import cache

_INSIDE = threading.Lock()


@contextmanager
def one_thread():
    """BLAS libraries work on the thread that calls them, in all of the process.

    The number of threads is one for the process, so the first block sees to it, and ends it; blocks
    inside of it or beside it, in other threads, leave it alone.
    """
    if not _INSIDE.acquire(blocking=False):
        yield
        return
    try:
        libraries = _libraries("scipy.linalg" in sys.modules)
        with libraries.limit(limits=1) if libraries else nullcontext():
            yield
    finally:
        _INSIDE.release()


@cache
def _libraries(with_scipy):
    """Those loaded so far, if threadpoolctl is there; scipy brings one of its own, maybe later."""
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:  # a light install
        return None
    return ThreadpoolController().select(user_api="blas")
