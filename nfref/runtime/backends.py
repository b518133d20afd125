"""What the user has chosen: the implementation that computes, and on how many threads.

``numpy``   the formulas, as they stand in ``nfref/flows/``
``numba``   compiled twins on all processors, see ``nfref/kernels/``
``cuda``    couplings and log |det| of small matrices on a CUDA device, the networks and other
            members of a flow with couplings by their formulas; all else, gradients too, by
            the ``numba`` twins

Outside of any ``with`` the choice is left to the size of the problem, see
``nfref/runtime/dispatch.py``. ``NFREF_BACKEND`` in the environment names a backend for a whole
process. Where Numba cannot be imported, formulas do everything, and only who asks for twins by name
is told.
"""

import os
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import cache

from nfref.runtime.annotations import Iterator
from nfref.runtime.checks import check_choice, check_count

BACKENDS = ("numpy", "numba", "cuda")
_CHOSEN: ContextVar[str | None] = ContextVar("nfref_backend", default=None)
_THREADS: ContextVar[int | None] = ContextVar("nfref_threads", default=None)


@contextmanager
def backend(name: str, threads: int | None = None) -> Iterator[None]:
    """Choose the implementation for everything inside a ``with`` block, in this thread.

    Parameters
    ----------
    name : {"numpy", "numba", "cuda"}
    threads : int, optional
        How many threads the ``numba`` twins may use; all processors if omitted. Results are
        the same to the last bit whatever the number.

    Notes
    -----
    A call of a few rows takes the formulas where nothing is chosen, because loading a kernel takes
    a second, and twins would be quicker by less than a millisecond. Who makes thousands of such
    calls chooses ``numba``: the density of one row of ``RealNVP(8)`` takes 0.07 ms there, not 0.5.

    Raises
    ------
    ValueError
        If the name is not one of the three.
    RuntimeError
        If ``numba`` is asked for and cannot be imported, or ``cuda`` and there is no numba-cuda
        or no device.

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


def chosen():
    """The backend asked for, by ``with`` or by the environment; None where it is left open."""
    name = _CHOSEN.get()
    if name is None and os.environ.get("NFREF_BACKEND"):
        name = check_choice("NFREF_BACKEND", os.environ["NFREF_BACKEND"], BACKENDS)
        _require(name)
    return name


def threads():
    """How many threads twins may use."""
    return _THREADS.get() or processors()


def one_thread():
    """The context of the caller, with one thread for twins."""
    context = copy_context()
    context.run(_THREADS.set, 1)
    return context


def processors():
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _require(name):
    if name == "cuda":
        require_cuda()
    elif name == "numba" and numba_problem():
        raise RuntimeError(f"backend: expected Numba for 'numba'; {numba_problem()}")


def require_cuda():
    """Raise a RuntimeError in one line unless a CUDA device (or its simulator) can be used."""
    if problem := cuda_problem():
        raise RuntimeError(f"backend: expected a CUDA device for 'cuda'; {problem}")


@cache
def numba_problem():
    """Why Numba cannot be used, in a few words; None where it can."""
    try:
        import numba  # noqa: F401
    except ModuleNotFoundError as error:
        return f"{error.name} is not installed (pip install numba)"
    except (ImportError, OSError) as error:  # such as a NumPy that is too new for it
        return " ".join(str(error).split())


def cuda_problem():
    """Why there is no CUDA device, in a few words; None where there is one."""
    try:
        from numba import cuda

        return None if cuda.is_available() else "found no CUDA device"
    except ImportError:
        return "numba-cuda is not installed (pip install 'nfref[cuda]')"
