"""The user's choice of implementation and of the number of threads.

``numpy``   the formulas in ``nfref/flows/``
``numba``   compiled twins on all processors, see ``nfref/kernels/``
``cuda``    couplings and log |det| of small matrices on a CUDA device; the networks and other
            members of a flow with couplings by their formulas; everything else, gradients
            included, by the ``numba`` twins

Outside of any ``with`` block the size of the problem decides, see ``nfref/runtime/dispatch.py``.
The environment variable ``NFREF_BACKEND`` names a backend for a whole process. Without Numba the
formulas compute everything; an error is raised only if you ask for ``numba`` or ``cuda`` by name.
``NFREF_VECTOR_BYTES=32`` compiles twins for vector registers of 32 bytes (AVX2) where they are
longer, and 16 for those of SSE: so one machine tests and times the code of another.
"""

import os
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from functools import cache

from nfref.runtime.annotations import Iterator
from nfref.runtime.checks import check_choice, check_count

BACKENDS = ("numpy", "numba", "cuda")
# Kernels use parts of Numba that any version may change. They are tested with the first, the last
# and one in between.
NUMBA_VERSIONS = [f"0.{minor}" for minor in range(62, 69)]
_CHOSEN: ContextVar[str | None] = ContextVar("nfref_backend", default=None)
_THREADS: ContextVar[int | None] = ContextVar("nfref_threads", default=None)


@contextmanager
def backend(name: str, threads: int | None = None) -> Iterator[None]:
    """Choose the implementation for all calls inside a ``with`` block, in this thread.

    Parameters
    ----------
    name : {"numpy", "numba", "cuda"}
    threads : int, optional
        How many threads the ``numba`` twins may use; all processors if omitted. Results are
        the same to the last bit for any number of threads.

    Notes
    -----
    By default a call with a few rows takes the formulas: loading a kernel takes a second, and
    a twin would save less than a millisecond. For thousands of such calls, select ``numba``
    and freeze the parameters (:func:`nfref.frozen`): the density of one row of ``RealNVP(8)``
    then takes 0.04 ms instead of 0.5 ms.

    Raises
    ------
    ValueError
        If the name is not one of the three.
    RuntimeError
        If you ask for ``numba`` and it cannot be imported, or for ``cuda`` and numba-cuda or
        the device is missing.

    Examples
    --------
    >>> import numpy as np, nfref
    >>> flow = nfref.RealNVP(2)
    >>> params = flow.init(np.random.default_rng(0))
    >>> with nfref.backend("numpy"):
    ...     z, log_det = flow.inverse(params, np.zeros((3, 2)))
    """
    check_choice("backend", name, BACKENDS)
    if threads is not None:
        check_count("threads", threads)
    _require(name)
    chosen, limit = _CHOSEN.set(name), _THREADS.set(threads)
    try:
        yield
    finally:
        _CHOSEN.reset(chosen)
        _THREADS.reset(limit)


def chosen() -> str | None:
    """Return the backend chosen by ``with`` or by the environment; None if neither chose one."""
    name = _CHOSEN.get()
    if name is None and os.environ.get("NFREF_BACKEND"):
        name = check_choice("NFREF_BACKEND", os.environ["NFREF_BACKEND"], BACKENDS)
        _require(name)
    return name


def vector_bytes() -> int | None:
    """Return the longest vector registers to compile for, as the environment asks; None if not."""
    asked = os.environ.get("NFREF_VECTOR_BYTES")
    return int(check_choice("NFREF_VECTOR_BYTES", asked, ("16", "32", "64"))) if asked else None


def threads() -> int:
    """Return the number of threads that twins may use."""
    return _THREADS.get() or processors()


def one_thread() -> Context:
    """Return a copy of the caller's context, with one thread for twins."""
    context = copy_context()
    context.run(_THREADS.set, 1)
    return context


def processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _require(name):
    if name == "cuda":
        require_cuda()
    elif name == "numba" and numba_problem():
        raise RuntimeError(f"backend: expected Numba for 'numba'; {numba_problem()}")


def require_cuda() -> None:
    """Raise a RuntimeError of one line if there is neither a CUDA device nor its simulator."""
    if problem := cuda_problem():
        raise RuntimeError(f"backend: expected a CUDA device for 'cuda'; {problem}")


@cache
def numba_problem() -> str | None:
    """Return the reason why Numba cannot be used, in a few words; None if it can."""
    try:
        from numba import __version__ as version
    except ModuleNotFoundError as error:
        return f"{error.name} is not installed (pip install numba)"
    except (ImportError, OSError) as error:  # such as a NumPy that is too new for it
        return " ".join(str(error).split())
    if ".".join(version.split(".")[:2]) not in NUMBA_VERSIONS:
        first, *_, last = NUMBA_VERSIONS
        return f"numba {version} is not one of {first} to {last}, which kernels need"
    return None


def cuda_problem() -> str | None:
    """Return the reason why no CUDA device can be used, in a few words; None if one can."""
    try:
        from numba import cuda

        return None if cuda.is_available() else "found no CUDA device"
    except ImportError:
        return "numba-cuda is not installed (pip install 'nfref[cuda]')"
