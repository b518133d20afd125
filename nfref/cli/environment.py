"""Versions, processor and backend: what a bug report should include."""

import os
import platform
from importlib.metadata import version

import numpy as np

from nfref import __version__
from nfref.runtime.annotations import Any
from nfref.runtime.backends import chosen, cuda_problem, numba_problem, threads


def environment() -> dict[str, Any]:
    """Return versions, processor, backend and cache folder, as text by name."""
    without_numba = numba_problem()
    return {
        "nfref": __version__,
        "python": f"{platform.python_version()} on {platform.platform()}",
        "numpy": np.__version__,
        "numba": without_numba or version("numba"),
        "processor": platform.machine() if without_numba else _processor(),
        "threads": threads(),
        "backend": chosen()
        or ("numpy" if without_numba else "numba for large problems, numpy for small ones"),
        "cuda": cuda_problem() or "available",
        "cache": f"none, {without_numba}" if without_numba else _cache(),
    }


def _processor():
    """Return the processor as the compiler names it: compiled code depends on that."""
    from nfref.kernels.numba_internals import binding

    return f"{platform.machine()}, {binding.get_host_cpu_name()}"


def _cache():
    from nfref.kernels.cache import folder

    where = folder()
    if where is None:
        return "none, this user has no home folder"
    try:
        sizes = [entry.stat().st_size for entry in os.scandir(where)]
    except OSError as error:
        return f"{where} ({error.strerror})"
    return f"{where} ({len(sizes)} files, {sum(sizes) / 1e6:.1f} MB)"
