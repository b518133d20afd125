"""Tasks on several threads: order, context, and how they end."""

import signal
import threading
import time

import pytest

import nfref
from nfref.runtime import backends
from nfref.runtime.tasks import in_order


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_come_in_the_order_of_the_tasks(threads):
    def task(k):
        time.sleep(0.02 * (k % 2 == 0))
        return k

    assert list(in_order(task, 5, threads, pytest.fail)) == [0, 1, 2, 3, 4]


def test_tasks_see_what_was_chosen_and_leave_the_kernels_one_thread():
    def task(k):
        return backends.chosen(), backends.threads()

    with nfref.backend("numpy", threads=3):
        assert list(in_order(task, 2, 2, pytest.fail)) == [("numpy", 1)] * 2
        assert list(in_order(task, 2, 1, pytest.fail)) == [("numpy", 3)] * 2
        assert backends.threads() == 3


def test_ctrl_c_has_the_tasks_end_and_their_results_count():
    stop, begun = threading.Event(), threading.Barrier(2)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # workers ignore it

    def task(k):
        if k < 2:
            begun.wait(10)  # both run
        if k == 0:
            time.sleep(1)  # until the main thread waits
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        return k, stop.wait(10)

    try:
        assert list(in_order(task, 3, 2, stop.set)) == [(0, True), (1, True), (2, True)]
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("end", ["error", "enough"])
def test_an_error_and_who_has_enough_end_the_others(end):
    stop, ran = threading.Event(), []

    def task(k):
        ran.append(k)
        if k == 0 and end == "error":
            raise OSError("a task")
        if k > 0:
            stop.wait(10)

    found = in_order(task, 50, 2, stop.set)
    if end == "error":
        with pytest.raises(OSError, match="a task"):
            next(found)
    else:
        next(found)
        found.close()
    assert stop.is_set() and len(ran) < 50
