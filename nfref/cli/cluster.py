"""Work for the workers of a Dask scheduler: one task a file, and one line where nobody answers."""

import contextlib
import logging
import os
import threading
from concurrent.futures import Future

from nfref.cli.arguments import UsageError
from nfref.tables.reading import TableError

WAIT = 8  # seconds for a scheduler to answer, each time that it is asked


class ClusterLost(UsageError):
    """The scheduler went away on the way."""


def results(address, work, paths, **options):
    """What ``work(path, **options)`` gives for each path, in their order.

    Raises
    ------
    UsageError
        If no scheduler answers, several workers die of a file, or as ``work`` does.
    ClusterLost
        If the scheduler does not answer any more.
    """
    # Here and below: what asks no cluster starts sooner without it.
    import asyncio

    try:
        import distributed
    except ModuleNotFoundError:
        raise UsageError(
            "--dask: expected dask and distributed to be installed, found they are "
            "not; pip install 'nfref[dask]' brings them"
        ) from None
    logging.disable(logging.CRITICAL)  # what Dask says of a lost connection fills pages
    try:
        _ask(distributed, address)
        client = distributed.Client(address, timeout=WAIT, set_as_default=False)
    except Exception as error:  # who is no scheduler may say anything, which Dask asserts
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
            except (
                OSError,
                asyncio.CancelledError,
                distributed.CancelledError,
                asyncio.TimeoutError,
            ):
                raise ClusterLost(
                    f"--dask: expected the scheduler at {address} to answer until "
                    f"the end, lost it after {k} of {len(paths)} files"
                ) from None
            future.release()
            yield found
    finally:
        with contextlib.suppress(Exception):  # it may be gone
            client.close(timeout=2)


def _result(distributed, future, address):
    """What a worker gave; while it is at work, whether the scheduler is still there."""
    while True:
        try:
            return future.result(timeout=WAIT / 2)
        except (distributed.TimeoutError, TimeoutError):
            _ask(distributed, address)


def _ask(distributed, address):
    """Have a scheduler say that it is one.

    In a thread of its own: some of what it waits for takes no limit of time.
    """
    import asyncio

    async def ask():
        async with distributed.rpc(address, timeout=WAIT) as scheduler:
            await scheduler.identity()

    def run():
        try:
            answer.set_result(asyncio.run(ask()))
        except Exception as error:
            answer.set_exception(error)

    answer = Future()
    threading.Thread(target=run, daemon=True).start()
    try:
        answer.result(WAIT)
    except (OSError, ValueError, TypeError):
        raise
    except Exception as error:
        raise OSError(_reason(error)) from None


def _reason(error):
    """Why, in one line; of a chain of errors the first one says it."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, MemoryError):  # the first bytes of a web server, as a length
        return "what answers there is no scheduler"
    text = " ".join(str(error).split())
    return text or f"nobody answers within {WAIT} s"
