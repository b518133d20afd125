"""Announce that a kernel is being compiled. This module needs no Numba."""

from nfref.runtime.annotations import Callable

_TELL: list[Callable] = []


def when_compiling(tell: Callable) -> None:
    """Let ``tell()`` be called once, when the first kernel of this process is compiled.

    Kernels that come from the cache on disk are not compiled.
    """
    _TELL[:] = [tell]


def announce() -> None:
    """Tell the listener that a kernel is about to be compiled."""
    while _TELL:
        _TELL.pop()()
