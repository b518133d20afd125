"""Calls of compilers and of other people's code in threads, which their callers may abandon.

No thread can be stopped: it goes on to the end of the call. The command ``nfref`` ends its process
without waiting for it.
"""

import contextvars
import threading

from nfref.runtime import interrupts
from nfref.runtime.annotations import Any, Callable, Sequence


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
    """A call that an interrupted fit does not wait for."""


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return ``function(*arguments)``, which Ctrl-C abandons and never interrupts.

    Python raises KeyboardInterrupt between any two instructions of the main thread, also where
    LLVM calls back, which loses it. So in the main thread the call has a thread of its own; and in
    the threads of a fit, which no signal reaches.
    """
    thread = threading.current_thread()
    main = thread is threading.main_thread()
    if isinstance(thread, Call) or not (main or interrupts.in_fit()):
        return function(*arguments)
    one = Call(function, arguments)
    try:
        one.start()
        while not one.ended.wait(0.3):  # on Windows, Ctrl-C cannot end a wait without a timeout
            if interrupts.came():
                raise Abandoned
    except KeyboardInterrupt:
        one.abandoned = True
        raise
    if one.error is not None:
        raise one.error
    return one.value


def any_abandoned() -> bool:
    """Return True if an abandoned call still runs."""
    return any(getattr(thread, "abandoned", False) for thread in threading.enumerate())
