"""Saying that something is being compiled. It needs no Numba, so it can be asked for beforehand."""

_TELL: list = []


def when_compiling(tell):
    """Have ``tell()`` called once, when the first kernel of this process is compiled.

    Kernels that come from the cache on disk are not compiled.
    """
    _TELL[:] = [tell]


def announce():
    """Called when a kernel is about to be compiled."""
    while _TELL:
        _TELL.pop()()
