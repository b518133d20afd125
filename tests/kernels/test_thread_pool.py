"""Work shared among threads: all of it is done, wherever it is done."""

import threading
import time

import pytest

from nfref.kernels import thread_pool


def share_slowly(threads=2):
    """The tasks done by each thread, where every one takes a moment."""
    done = {}

    def task(k):
        done.setdefault(threading.get_ident(), []).append(k)
        time.sleep(0.002)

    thread_pool.share(task, 8, threads)
    return done


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_each_task_is_done_once(threads):
    done = share_slowly(threads)
    assert sorted(task for tasks in done.values() for task in tasks) == list(range(8))
    assert 1 <= len(done) <= threads
