"""Ctrl-C, SIGTERM and SIGHUP: where they interrupt, and where they wait.

A signal raises KeyboardInterrupt wherever Python is. That is right until there is something to
keep. So a fit calls :func:`keeping` around all of its work, and :func:`interruptible` around the
part that finds candidates. A signal in that part raises, and whoever called it keeps the
candidates found so far. From its end on, signals wait: nothing can lose what was found.
"""

import contextlib
import math
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
TWICE = 10  # seconds within which a second signal insists


@contextlib.contextmanager
def _handling(handler, numbers=SIGNALS):
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
    return _handling(signal.default_int_handler)


class Signals:
    """The handler of a fit.

    Attributes
    ----------
    came : bool
        True once a signal came.
    taken : bool
        True once a signal raised KeyboardInterrupt. Only one does, unless ``insists``.
    insists : bool
        True if a second signal raises wherever it comes, also in another fit within ten seconds.
    insisted : bool
        True once a second signal came.
    """

    _last = -math.inf  # when a signal came to a fit that insists

    def __init__(self, insists=False):
        self.came = self.taken = self.insisted = False
        self.insists = insists
        self._raises, self._depth = True, 0

    def __call__(self, number: int, frame: Any) -> None:
        """Raise, or let the signal wait."""
        self.came = True
        if self.insists:
            now = time.monotonic()
            again, Signals._last = now - Signals._last < TWICE, now
            if again:
                self.insisted = True
                raise KeyboardInterrupt
        if self._raises and not self.taken:
            self.taken = True
            raise KeyboardInterrupt

    def raise_waiting(self) -> None:
        """Raise KeyboardInterrupt if a signal waits, or if Python dropped the exception.

        Python drops an exception that is raised while an object is finalised.
        """
        if self.came:
            self.taken = True
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let signals wait until the end of the block, and raise there."""
        before, self._raises = self._raises, False
        yield
        self._raises = before
        self.raise_waiting()

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let signals raise in the block, and wait from its end on; blocks may be nested."""
        self._depth += 1
        self._raises = True
        try:
            self.raise_waiting()
            yield
        finally:
            self._depth -= 1
            self._raises = self._depth > 0


_current: Signals | None = None


@contextlib.contextmanager
def keeping(numbers: Any = SIGNALS, insists: bool = False) -> Iterator[Signals]:
    """Handle signals within the block by :class:`Signals`; a nested block shares the outer one's.

    A signal that still waits at the end raises there, so that the caller of the fit ends too. If
    ``insists``, it does not: a second signal raises wherever it comes.
    """
    global _current
    if _current is not None or threading.current_thread() is not threading.main_thread():
        yield _current or Signals()
        return
    signals = _current = Signals(insists)
    try:
        with _handling(signals, numbers):
            yield signals
    finally:
        _current = None
    if signals.came and not (signals.taken or insists):
        raise KeyboardInterrupt


def held() -> contextlib.AbstractContextManager[None]:
    """Return :meth:`Signals.held` of the fit in progress; no effect once its signal came."""
    signals = _of_this_thread()
    return contextlib.nullcontext() if signals is None or signals.came else signals.held()


def interruptible() -> contextlib.AbstractContextManager[None]:
    """Return :meth:`Signals.interruptible` of the fit in progress; no effect without one."""
    signals = _of_this_thread()
    return contextlib.nullcontext() if signals is None else signals.interruptible()


def _of_this_thread():
    """Return the signals of the fit in progress, which come to the main thread alone."""
    return _current if threading.current_thread() is threading.main_thread() else None


def came() -> bool:
    """Return True if a signal came in the fit in progress."""
    return _current is not None and _current.came


def insisted() -> bool:
    """Return True if a second signal came that nothing may be kept for."""
    return _current is not None and _current.insisted
