"""Calls that Ctrl-C abandons: the compilation of kernels above all."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from nfref.runtime import abandonable, interrupts
from nfref.runtime.backends import numba_problem


def abandoned_here():
    """Return the abandoned calls of this module; other tests may leave some too."""
    here = [one for one in threading.enumerate() if isinstance(one, abandonable.Call)]
    return [one for one in here if one.abandoned and one.function.__module__ == __name__]


def test_a_call_returns_and_raises_what_its_function_does():
    assert abandonable.call(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        abandonable.call(divmod, 7, 0)
    assert not abandoned_here()


def test_a_call_within_a_call_has_the_same_thread():
    def current():
        return threading.current_thread()

    def both():
        return current(), abandonable.call(current)

    outer, inner = abandonable.call(both)
    assert outer is inner is not current()


@pytest.fixture
def endless():
    """Return a function that starts to wait, and the event when it has started."""
    # After a signal no call begins while an abandoned one goes on, such as one of a test before.
    for other in [one for one in abandonable._RUNNING if one.abandoned]:
        assert other.ended.wait(60)
    started, end = threading.Event(), threading.Event()

    def wait():
        started.set()
        end.wait()

    yield wait, started
    end.set()


def test_ctrl_c_abandons_the_call(ctrl_c, endless):
    wait, started = endless

    def press():
        started.wait()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press).start()
    with pytest.raises(KeyboardInterrupt):
        abandonable.call(wait)
    assert abandoned_here() and abandonable.any_abandoned()


def test_other_threads_give_up_their_calls_too(endless):
    wait, started = endless
    found = []

    def other():
        try:
            abandonable.call(wait)
        except KeyboardInterrupt as error:
            found.append(type(error))

    thread = threading.Thread(target=other)
    thread.start()
    started.wait()
    abandonable.abandon()
    thread.join()
    assert found == [abandonable.Abandoned]


def test_an_interrupted_fit_waits_for_no_call(ctrl_c, endless):
    wait, started = endless
    with interrupts.keeping():
        interrupts.keep()
        signal.raise_signal(signal.SIGINT)
        for _ in range(2):
            with pytest.raises(abandonable.Abandoned):
                abandonable.call(wait)
    assert started.is_set()


BLOCKED = """
import os, signal, sys, threading
from nfref.kernels import cache

started = threading.Event()

def load_overload(self, signature, context):
    started.set()
    threading.Event().wait()

def press():
    started.wait()
    os.kill(os.getpid(), signal.SIGINT)

cache.Cache.load_overload = load_overload
signal.signal(signal.SIGINT, signal.default_int_handler)
threading.Thread(target=press, daemon=True).start()
import nfref_command

sys.exit(nfref_command.main())
"""


@pytest.mark.skipif(bool(numba_problem()), reason="there are no kernels")
@pytest.mark.parametrize("flow, status", [("auto", 0), ("maf", 130)])
def test_ctrl_c_ends_a_fit_whose_kernels_never_get_compiled(flow, status, tmp_path):
    """Check that the fit keeps the simple densities that it has, if any.

    Before, the process waited for the end of the compilation.
    """
    rows = np.random.default_rng(0).standard_normal((2000, 6))
    np.savetxt(tmp_path / "d.csv", rows, delimiter=",")
    command = ["fit", "d.csv", "--flow", flow, "--out", "m.npz"]
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == status, done.stderr
    assert (tmp_path / "m.npz").exists() == ("gaussian" in done.stdout) == (status == 0)
