"""Run tasks on several threads at once, with one thread for the kernels of each."""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor, wait

from nfref.runtime.abandonable import abandon
from nfref.runtime.annotations import Any, Callable
from nfref.runtime.backends import one_thread


def in_order(
    task: Callable[[int], Any], count: int, threads: int, stop: Callable[[], None]
) -> Generator[Any, None, None]:
    """Yield task(0), task(1), ... task(count - 1) in order; one thread means the caller's.

    Ctrl-C, an error and an abandoned generator call ``stop``, which lets tasks end soon, also
    those that begin later. The result of a task that Ctrl-C ended is yielded like the others.
    """
    if threads == 1:
        yield from map(task, range(count))
        return
    with ThreadPoolExecutor(threads) as pool:
        try:
            waiting = [pool.submit(one_thread().run, task, k) for k in range(count)]
            for future in waiting:
                try:
                    while not future.done():
                        wait([future], 1)  # on Windows, Ctrl-C cannot end a wait without timeout
                except KeyboardInterrupt:
                    stop()
                    abandon()
                yield future.result()
        except BaseException:  # an error, or the end of the generator
            stop()
            abandon()
            pool.shutdown(cancel_futures=True)
            raise
