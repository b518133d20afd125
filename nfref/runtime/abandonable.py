"""Calls in threads of their own, which their callers may abandon.

Python handles Ctrl-C between two of its own instructions, so not before compiled code returns; LLVM
compiles one kernel for up to ten seconds. If such a call has a thread of its own, its caller can
give up. No thread can be stopped: it goes on to the end of the call. The command ``nfref`` ends its
process without waiting for it.
"""

import contextvars
import threading
import time

from nfref.runtime import interrupts
from nfref.runtime.annotations import Any, Callable, Sequence

TURN = 0.05  # seconds after which a caller looks whether to go on waiting
PATIENCE = 0.3  # seconds of a call after a signal: enough to read a kernel from disk


class Call(threading.Thread):
    """One call in a thread of its own.

    Attributes
    ----------
    value, error
        The result of the call: one of them is None.
    abandoned : bool
        True once nobody waits for the call.
    """

    def __init__(self, function: Callable[..., Any], arguments: Sequence[Any]) -> None:
        super().__init__(daemon=True)
        self.function, self.arguments = function, arguments
        self.value: Any = None
        self.error: BaseException | None = None
        self.abandoned = False
        self.ended = threading.Event()  # Python takes a thread for ended if Ctrl-C ends join()
        self._context = contextvars.copy_context()

    def run(self) -> None:
        """Make the call, and keep every error for the caller, SystemExit too."""
        try:
            self.value = self._context.run(self._answer)
        except BaseException as error:
            self.error = error
        self.ended.set()

    def _answer(self):
        return self.function(*self.arguments)


class Abandoned(KeyboardInterrupt):
    """A call was given up, or not begun, because a signal came."""


_RUNNING: set[Call] = set()  # abandoned ones stay until they end


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return ``function(*arguments)``, which Ctrl-C abandons.

    Raises
    ------
    KeyboardInterrupt
        If the signal raises in this thread.
    Abandoned
        If it came to the fit in progress and raised elsewhere, or waits for the fit's end.
    """
    if isinstance(threading.current_thread(), Call):  # it may hold a lock of the compiler
        return function(*arguments)
    end = time.monotonic() + PATIENCE
    _RUNNING.difference_update([other for other in _RUNNING if other.ended.is_set()])
    if interrupts.came() and any(other.abandoned for other in _RUNNING):
        raise Abandoned
    one = Call(function, arguments)
    _RUNNING.add(one)
    try:
        one.start()
        while not one.ended.wait(TURN):
            if one.abandoned or interrupts.came() and time.monotonic() > end:
                raise Abandoned
    except KeyboardInterrupt:
        abandon()
        raise
    _RUNNING.discard(one)
    if one.error is not None:
        raise one.error
    return one.value


def abandon() -> None:
    """Let every thread that waits in :func:`call` give up."""
    for one in list(_RUNNING):
        one.abandoned = True


def any_abandoned() -> bool:
    """Return True if an abandoned call still runs."""
    return any(getattr(thread, "abandoned", False) for thread in threading.enumerate())
