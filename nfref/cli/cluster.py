"""Score files with the workers of a Dask scheduler, one task a file."""

import contextlib
import logging
import os

from nfref.cli.arguments import UsageError
from nfref.runtime.abandonable import Call
from nfref.runtime.annotations import Any, Callable, Iterator, Sequence
from nfref.tables.reading import TableError

WAIT = 8  # seconds that a scheduler has for each answer


class ClusterLost(UsageError):
    """The scheduler stopped to answer during the work."""


def results(
    address: str, work: Callable[..., Any], paths: Sequence[str], **options: Any
) -> Iterator[Any]:
    """Yield ``work(path, **options)`` for each path, in order.

    Raises
    ------
    UsageError
        If no scheduler answers, if several workers die of one file, or if ``work`` raises it.
    ClusterLost
        If the scheduler stops answering.
    """
    # These imports are slow, and only a cluster needs them.
    import asyncio

    try:
        import distributed
    except ModuleNotFoundError:
        raise UsageError(
            "--dask: expected dask and distributed to be installed, found they are "
            "not; pip install 'nfref[dask]' brings them"
        ) from None
    lost = OSError, asyncio.TimeoutError, asyncio.CancelledError, distributed.CancelledError
    logging.disable(logging.CRITICAL)  # Dask logs pages about a lost connection
    try:
        _ask(distributed, address)
        client = distributed.Client(address, timeout=WAIT, set_as_default=False)
    except Exception as error:  # another server may answer anything, and Dask asserts
        raise UsageError(
            f"--dask: expected the address of a scheduler, got {address}: {_reason(error)}"
        ) from None
    try:
        futures = client.map(work, [os.path.abspath(path) for path in paths], pure=False, **options)
        for k, (path, future) in enumerate(zip(paths, futures)):
            try:
                found = _result(distributed, future, address)
            except (UsageError, TableError) as error:
                raise UsageError(str(error).replace(os.path.abspath(path), path)) from None
            except distributed.KilledWorker:
                raise UsageError(
                    f"{path}: expected a worker that scores it, got several that "
                    "died while they did"
                ) from None
            except lost:
                raise ClusterLost(
                    f"--dask: expected the scheduler at {address} to answer until "
                    f"the end, lost it after {k} of {len(paths)} files"
                ) from None
            future.release()
            yield found
    finally:
        with contextlib.suppress(Exception):  # the scheduler may be gone
            client.close(timeout=2)


def _result(distributed, future, address):
    """Return the result of a worker; meanwhile check that the scheduler still answers."""
    while True:
        try:
            return future.result(timeout=WAIT / 2)
        except (distributed.TimeoutError, TimeoutError):
            _ask(distributed, address)


def _ask(distributed, address):
    """Ping the scheduler.

    In a thread of its own, because some of its waits have no time limit.
    """
    import asyncio

    async def ask():
        async with distributed.rpc(address, timeout=WAIT) as scheduler:
            await scheduler.identity()

    call = Call(lambda: asyncio.run(ask()), ())
    call.start()
    if not call.ended.wait(WAIT):
        raise TimeoutError
    if isinstance(call.error, (OSError, ValueError, TypeError)):
        raise call.error
    if call.error is not None:
        raise OSError(_reason(call.error))


def _reason(error):
    """Return the reason in one line: the first error of a chain has it."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, MemoryError):  # a web server's first bytes, read as a length
        return "what answers there is no scheduler"
    text = " ".join(str(error).split())
    return text or f"no answer within {WAIT} s"
