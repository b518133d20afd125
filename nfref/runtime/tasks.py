"""Run tasks on several threads at once, with one thread for the kernels of each."""

from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Event, RLock

from nfref.runtime.abandonable import abandon
from nfref.runtime.annotations import Any, Callable, Sequence
from nfref.runtime.backends import one_thread


class Tasks:
    """Tasks whose results a caller asks for one by one.

    Idle threads begin those that the caller expects to need next. A task that is no longer expected
    is stopped. The end of a ``with`` statement stops all.

    Parameters
    ----------
    task : callable
        (key, stopped) -> result. It ends soon once the event ``stopped`` is set.
    threads : int
    stop : callable
        Lets all tasks end soon, also those that begin later. Ctrl-C and errors call it.
    """

    def __init__(
        self, task: Callable[[Any, Event], Any], threads: int, stop: Callable[[], None]
    ) -> None:
        self._task, self._threads, self._stop = task, threads, stop
        self._pool = ThreadPoolExecutor(threads)
        self._context = one_thread()
        self._begun: dict[Any, tuple[Future, Event]] = {}
        self._expected: Sequence[Any] = ()
        self._idle = 0
        self._lock = RLock()  # of the attributes above: a thread that ends a task begins the next

    def __enter__(self) -> "Tasks":
        return self

    def __exit__(self, error: Any, *rest: Any) -> None:
        if error is not None:
            self._stop()
            abandon()
        self._stop_all_but([])
        self._pool.shutdown(cancel_futures=True)

    def begin(self, keys: Sequence[Any], idle: int = 0) -> None:
        """Begin these tasks in order, now and as others end, but leave ``idle`` threads idle."""
        with self._lock:
            self._expected, self._idle = keys, idle
            self._begin_expected()

    def has_begun(self, key: Any) -> bool:
        """Return True if a task has begun whose result has not been asked for yet."""
        return key in self._begun

    def result(self, key: Any, expected: Sequence[Any] = ()) -> Any:
        """Return the result of a task; others are expected to follow, the likeliest first.

        A task without others runs in the caller's thread, and its kernels on all threads. The
        result of a task that Ctrl-C ended is returned like others.
        """
        self._stop_all_but([key, *expected])
        if self._threads == 1 or not (self._begun or expected):
            return self._task(key, Event())
        if key not in self._begun:
            self._submit(key)
        future, _ = self._begun[key]
        try:
            self.begin(expected)
            while not future.done():
                wait([future], 1)  # on Windows, Ctrl-C cannot end a wait without a timeout
        except KeyboardInterrupt:
            self._stop()
            abandon()
        with self._lock:
            del self._begun[key]
        return future.result()

    def _begin_expected(self, _=None):
        with self._lock:
            for key in self._expected:
                running = sum(not future.done() for future, _ in self._begun.values())
                if key not in self._begun and running < self._threads - self._idle:
                    self._submit(key)

    def _submit(self, key):
        with self._lock:
            stopped = Event()
            future = self._pool.submit(self._context.copy().run, self._task, key, stopped)
            self._begun[key] = future, stopped
        future.add_done_callback(self._begin_expected)

    def _stop_all_but(self, keys):
        with self._lock:
            self._expected = keys
            for key in [one for one in self._begun if one not in keys]:
                future, stopped = self._begun.pop(key)
                future.cancel()
                stopped.set()
