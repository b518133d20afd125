"""Limit BLAS libraries to one thread while kernels use all processors.

A product of large matrices wakes the threads of BLAS, and so does a factorisation of small ones.
For milliseconds afterwards these threads spin. On two processors this takes one of them
from the next kernel. Scoring 784 columns with a continuous flow took 1.5 times as long,
a step of Sylvester layers with 64 columns twice as long.
"""

import sys
import threading
from contextlib import contextmanager, nullcontext
from functools import cache

from nfref.runtime.annotations import Iterator

_INSIDE = threading.Lock()


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit BLAS libraries to one thread, in the whole process.

    The limit belongs to the process. So the first block sets it and ends it; blocks inside it, or
    beside it in other threads, leave it alone.
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
    """Return the BLAS libraries loaded so far; None without threadpoolctl.

    scipy brings its own library, maybe later: ``with_scipy`` keeps the two answers apart.
    """
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:  # a light install
        return None
    return ThreadpoolController().select(user_api="blas")
