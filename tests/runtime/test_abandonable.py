"""Calls in threads of their own, which their callers may abandon."""

import operator
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest

from nfref.runtime import interrupts
from nfref.runtime.abandonable import Abandoned, Call, any_abandoned, call


@pytest.mark.parametrize("divisor, value, error", [(2, 3, None), (0, None, ZeroDivisionError)])
def test_a_call_keeps_what_its_function_returns_or_raises(divisor, value, error):
    one = Call(operator.floordiv, (7, divisor))
    one.start()
    assert one.ended.wait(10)
    assert one.value == value
    assert one.error is None if error is None else isinstance(one.error, error)


def test_a_call_returns_and_raises_what_its_function_does():
    assert call(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        call(divmod, 7, 0)


def test_a_call_within_a_call_has_the_same_thread():
    outer, inner = call(lambda: (threading.current_thread(), call(threading.current_thread)))
    assert outer is inner is not threading.current_thread()


def test_ctrl_c_abandons_a_call_and_does_not_interrupt_it(ctrl_c):
    started, end, done = threading.Event(), threading.Event(), threading.Event()

    def wait():
        started.set()
        end.wait()
        done.set()

    def press():
        started.wait()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press).start()
    with pytest.raises(KeyboardInterrupt):
        call(wait)
    assert any_abandoned() and not done.is_set()
    end.set()
    assert done.wait(10)


def test_a_thread_of_an_interrupted_fit_abandons_a_call(ctrl_c):
    started, end = threading.Event(), threading.Event()

    def wait():
        started.set()
        return call(end.wait)  # within a call there is no other thread

    with interrupts.keeping([signal.SIGINT]), ThreadPoolExecutor(1) as pool:
        interrupts.keep()
        found = pool.submit(copy_context().run, call, wait)
        started.wait()
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Abandoned):
            found.result(10)
        assert any_abandoned()
        end.set()


def test_an_abandoned_call_is_known_until_it_ends():
    end = threading.Event()
    one = Call(end.wait, ())
    one.start()
    assert not one.abandoned
    one.abandoned = True
    assert any_abandoned()
    end.set()
    one.join()
    assert one not in threading.enumerate()
