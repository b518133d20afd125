"""Work shared among threads: all of it is done, wherever it is done."""

import os
import subprocess
import sys
import threading
import time

import pytest

from nfref.kernels import thread_pool

placed = pytest.mark.skipif(
    thread_pool.PROCESSOR_OF_CALLER is None or len(os.sched_getaffinity(0)) < 2,
    reason="threads cannot be placed here",
)


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


@placed
def test_threads_keep_away_from_the_processor_of_the_caller():
    for _ in range(3):
        share_slowly()
    own = os.sched_getaffinity(0)
    assert thread_pool.WORKERS.ids
    for number in thread_pool.WORKERS.ids:
        allowed = os.sched_getaffinity(number)
        assert allowed < own
        assert len(own - allowed) == 1


@placed
def test_threads_follow_the_caller_to_other_processors():
    """A process that is moved to one processor later has its threads there; the caller stays."""
    code = (
        "import os\n"
        "from tests.kernels.test_thread_pool import share_slowly, thread_pool\n"
        "share_slowly(); share_slowly()\n"
        "for number in map(int, os.listdir('/proc/self/task')):\n"
        "    os.sched_setaffinity(number, {min(os.sched_getaffinity(0))})\n"
        "done = share_slowly()\n"
        "assert sorted(task for tasks in done.values() for task in tasks) == list(range(8))\n"
        "print(len(os.sched_getaffinity(0)), "
        "*(len(os.sched_getaffinity(number)) for number in thread_pool.WORKERS.ids))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.stdout.split(), result.stderr) == (["1", "1"], "")
