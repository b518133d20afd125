"""Ctrl-C and the signals that ask a process to end, which do the same here."""

import contextlib
import signal
import threading

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP")
           if hasattr(signal, name)]


@contextlib.contextmanager
def _handling(handler):
    """``handler`` for all of them; those that the caller ignores (nohup) stay ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    found = {number: signal.getsignal(number) for number in SIGNALS}
    found = {number: old for number, old in found.items() if old not in (signal.SIG_IGN, None)}
    for number in found:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in found.items():
            signal.signal(number, old)


def _interrupt(number, frame):
    raise KeyboardInterrupt


def handled():
    """Within the block, SIGTERM and SIGHUP raise KeyboardInterrupt as Ctrl-C does."""
    return _handling(_interrupt)


class Once:
    """What :func:`once` yields; after ``hold()`` no signal interrupts any more."""

    def __init__(self):
        self._raises, self._pending = True, False

    def __call__(self, number, frame):
        if self._raises:
            self._raises = False
            raise KeyboardInterrupt
        self._pending = True

    def hold(self):
        self._raises = False


@contextlib.contextmanager
def once():
    """Within the block the first signal interrupts; later ones wait for the end of it.

    So a second Ctrl-C, from somebody in doubt whether the first was heard, does not take away
    what the first has left.
    """
    signals = Once()
    with _handling(signals):
        yield signals
    if signals._pending:
        raise KeyboardInterrupt
