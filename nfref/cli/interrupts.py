"""Ctrl-C and the signals that ask a process to end, which do the same here."""

import contextlib
import signal
import threading

SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


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


def handled():
    """Within the block, SIGTERM and SIGHUP raise KeyboardInterrupt as Ctrl-C does."""
    return _handling(signal.default_int_handler)


class Once:
    """What :func:`once` yields: the first signal interrupts, unless it is held.

    ``came`` says whether one came.
    """

    def __init__(self):
        self.came = self._held = self._pending = False

    def __call__(self, number, frame):
        raises = not (self.came or self._held)
        self.came = True
        if raises:
            raise KeyboardInterrupt
        self._pending = True

    def hold(self):
        """No signal interrupts any more."""
        self._held = True

    @contextlib.contextmanager
    def between(self):
        """Hold signals within the block; if one came in it, or before it, interrupt at its end.

        One that came before is one whose KeyboardInterrupt was lost: Python drops what is raised
        while an object is finalised.
        """
        self._held = True
        yield
        self._held = False
        if self.came:
            self._pending = False
            raise KeyboardInterrupt


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
