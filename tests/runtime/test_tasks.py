"""Tasks on several threads: order, context, what begins ahead, and how they end."""

import signal
import threading
import time

import pytest

import nfref
from nfref.runtime import backends
from nfref.runtime.tasks import Tasks


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_each_result_is_that_of_its_task(threads):
    def task(k, stopped):
        time.sleep(0.02 * (k % 2 == 0))
        return k

    with Tasks(task, threads, pytest.fail) as tasks:
        assert [tasks.result(k, range(k + 1, 5)) for k in range(5)] == [0, 1, 2, 3, 4]


def test_tasks_see_what_was_chosen_and_leave_the_kernels_one_thread():
    def task(k, stopped):
        return backends.chosen(), backends.threads()

    with nfref.backend("numpy", threads=3), Tasks(task, 2, pytest.fail) as tasks:
        assert tasks.result(0, [1]) == ("numpy", 1)
        tasks.result(1)
        assert tasks.result(2) == ("numpy", 3)  # alone, in the caller's thread
        assert backends.threads() == 3


def test_expected_tasks_begin_while_the_caller_waits_and_run_once():
    ran, first = [], threading.Event()

    def task(key, stopped):
        ran.append(key)
        if key == "second":
            first.set()
        assert first.wait(10)
        return key

    with Tasks(task, 2, pytest.fail) as tasks:
        assert tasks.result("first", ["second"]) == "first"
        assert tasks.has_begun("second") and not tasks.has_begun("third")
        assert tasks.result("second") == "second"
    assert ran == ["first", "second"]


def test_tasks_begun_leave_threads_idle():
    running, go = [], threading.Event()

    def task(k, stopped):
        running.append(k)
        return go.wait(10)

    with Tasks(task, 3, pytest.fail) as tasks:
        tasks.begin(range(5), idle=1)
        time.sleep(0.1)
        assert sorted(running) == [0, 1]
        go.set()


def test_a_task_that_is_no_longer_expected_is_stopped():
    ended = []

    def task(key, stopped):
        if key == "unneeded":
            ended.append(stopped.wait(10))
        return key

    with Tasks(task, 2, pytest.fail) as tasks:
        tasks.begin(["unneeded"])
        assert tasks.result("needed") == "needed"
        tasks.begin(["unneeded"])  # the end stops it too
    assert ended == [True, True]


def test_ctrl_c_has_the_tasks_end_and_their_results_count(ctrl_c):
    stop, begun = threading.Event(), threading.Barrier(2)

    def task(k, stopped):
        if k < 2:
            begun.wait(10)  # both run
        if k == 0:
            time.sleep(1)  # until the main thread waits
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        return k, stop.wait(10)

    with Tasks(task, 2, stop.set) as tasks:
        found = [tasks.result(k, range(k + 1, 3)) for k in range(3)]
    assert found == [(0, True), (1, True), (2, True)]


def test_an_error_ends_the_others():
    stop, ran = threading.Event(), []

    def task(k, stopped):
        ran.append(k)
        if k == 0:
            raise OSError("a task")
        stop.wait(10)

    with pytest.raises(OSError, match="a task"), Tasks(task, 2, stop.set) as tasks:
        tasks.result(0, range(1, 50))
    assert stop.is_set() and len(ran) < 50
