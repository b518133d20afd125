"""How kernels are compiled: lazily, without the GIL, cached on disk where that is possible.

Two kinds: a ``kernel`` is called from Python and cached, a ``body`` is called by kernels
and becomes part of them. Products and sums may be contracted to fused multiply-adds, which
rounds once instead of twice; nothing else about floating point is relaxed.
"""

import functools
import os
from pathlib import Path

import numba

OPTIONS = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy"}

# A body is never called from Python, so it needs no wrapper for that.
BODY = {**OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
body = functools.partial(numba.njit, **BODY)

# Sums of products may be summed in any order, as in BLAS, so that they fill the registers.
reduction = functools.partial(numba.njit, **{**BODY, "fastmath": {"contract", "reassoc"}})


def kernel(function):
    """Compile on first call and keep the result on disk; without a cache folder, in memory."""
    try:
        compiled = numba.njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # no folder that can be written to
        return numba.njit(**OPTIONS)(function)
    _stamp(compiled)
    return compiled


def _stamp(compiled):
    """Tie the cache of a kernel to all sources of this folder.

    Numba looks only at the file that holds the kernel. The bodies that a kernel calls live
    in other files, and a stale copy of them must never run.
    """
    cache_file = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if hasattr(cache_file, "_source_stamp"):
        cache_file._source_stamp = _sources()


@functools.lru_cache(maxsize=None)
def _sources():
    folder = Path(__file__).parent
    return tuple((path.name, *os.stat(path)[-2:-4:-1], path.stat().st_size)
                 for path in sorted(folder.glob("*.py")))


def is_cached(*kernels):
    """Whether calls of these kernels need no compilation, in this process or from the disk."""
    return all(numba.config.DISABLE_JIT or compiled.signatures or _on_disk(compiled)
               for compiled in kernels)


def _on_disk(compiled):
    path = compiled.stats.cache_path if hasattr(compiled, "stats") else None
    name = f"{compiled.py_func.__module__.rpartition('.')[2]}.{compiled.py_func.__qualname__}-"
    return bool(path) and any(Path(path).glob(f"{name}*.nbi"))
