"""Handle Ctrl-C, SIGTERM and SIGHUP, all in the same way."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


@contextlib.contextmanager
def _handling(handler):
    """Install ``handler`` for all signals but those that the caller ignores (nohup)."""
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


def handled() -> contextlib.AbstractContextManager[None]:
    """Raise KeyboardInterrupt on SIGTERM and SIGHUP within the block, as on Ctrl-C."""
    return _handling(signal.default_int_handler)


class Once:
    """The handler of :func:`once`: the first signal interrupts, unless it is held.

    ``came`` is True once a signal came.
    """

    def __init__(self):
        self.came = self._held = self._pending = False

    def __call__(self, number: int, frame: Any) -> None:
        """Interrupt on the first signal."""
        raises = not (self.came or self._held)
        self.came = True
        if raises:
            raise KeyboardInterrupt
        self._pending = True

    def hold(self) -> None:
        """Let no signal interrupt from now on."""
        self._held = True

    @contextlib.contextmanager
    def between(self) -> Iterator[None]:
        """Hold signals within the block, and interrupt at its end if one came in it or before it.

        One that came before is a KeyboardInterrupt that was lost: Python drops an exception that is
        raised while an object is finalised.
        """
        self._held = True
        yield
        self._held = False
        if self.came:
            self._pending = False
            raise KeyboardInterrupt


@contextlib.contextmanager
def once() -> Iterator[Once]:
    """Let the first signal interrupt the block, and later ones wait for its end.

    So a second Ctrl-C, from a user who doubts that the first was noticed, does not destroy what the
    first one kept.
    """
    signals = Once()
    with _handling(signals):
        yield signals
    if signals._pending:
        raise KeyboardInterrupt
