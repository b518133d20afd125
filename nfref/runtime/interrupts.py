"""Ctrl-C, SIGTERM and SIGHUP: they interrupt a fit, until it has something to keep.

A signal raises KeyboardInterrupt wherever the main thread is. That is right until a fit has its
first candidate (:func:`keep`). From then on a signal only leaves a note, and the fit ends with the
candidates that it has. It looks at the note (:func:`came`) after each step of a training, each
iteration of EM and each round of values for empty cells, and while it waits for a compiler.
"""

import contextlib
import math
import signal
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
TWICE = 10  # seconds within which a second signal raises


class Signals:
    """The handler of a fit.

    Attributes
    ----------
    came : bool
        True once a signal came.
    keeps : bool
        True once the fit has something to keep.
    twice : bool
        True if a second signal raises wherever it comes, also in another fit within ten seconds.
    """

    _last = -math.inf  # when a signal came to a fit where a second one raises

    def __init__(self, twice: bool = False) -> None:
        self.came = self.keeps = False
        self.twice = twice

    def __call__(self, number: int, frame: Any) -> None:
        """Raise, or leave the note."""
        self.came, again = True, False
        if self.twice:
            now = time.monotonic()
            again, Signals._last = now - Signals._last < TWICE, now
        if again or not self.keeps:
            raise KeyboardInterrupt


# Threads of the fit inherit it with their context; fits in other threads get no signals.
_CURRENT: ContextVar[Signals | None] = ContextVar("signals", default=None)


@contextlib.contextmanager
def _handling(handler, numbers):
    """Install ``handler`` for the signals, but for those that the caller ignores (nohup)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    found = {number: signal.getsignal(number) for number in numbers}
    found = {number: old for number, old in found.items() if old not in (signal.SIG_IGN, None)}
    for number in found:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in found.items():
            signal.signal(number, old)


def handled() -> contextlib.AbstractContextManager[None]:
    """Raise KeyboardInterrupt on SIGTERM and SIGHUP within the block, as on Ctrl-C."""
    return _handling(signal.default_int_handler, SIGNALS)


@contextlib.contextmanager
def keeping(numbers: Any = SIGNALS, twice: bool = False) -> Iterator[Signals]:
    """Handle signals within the block by :class:`Signals`; a nested block shares the outer one's.

    Signals come to the main thread alone, so in another thread the block has no effect.
    """
    outer = _CURRENT.get()
    if outer is not None or threading.current_thread() is not threading.main_thread():
        yield outer or Signals()
        return
    signals = Signals(twice)
    token = _CURRENT.set(signals)
    try:
        with _handling(signals, numbers):
            yield signals
    finally:
        _CURRENT.reset(token)


def keep() -> None:
    """Let the signals of the fit in progress leave a note from now on.

    Raises
    ------
    KeyboardInterrupt
        If one came before: Python drops an exception that is raised while an object is finalised.
    """
    signals = _CURRENT.get()
    if signals is not None and not signals.keeps:
        if signals.came:
            raise KeyboardInterrupt
        signals.keeps = True


def in_fit() -> bool:
    """Return True in the threads of a fit that handles signals."""
    return _CURRENT.get() is not None


def came() -> bool:
    """Return True if a signal came in the fit in progress."""
    signals = _CURRENT.get()
    return signals is not None and signals.came
