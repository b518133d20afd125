"""Kernels compiled ahead: the right ones, by whoever is free, and nobody waits in vain."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from concurrent.futures import Future
from pathlib import Path

import numba
import numpy as np
import pytest

import nfref
from nfref.kernels import background_compilation, cache, jit
from nfref.kernels.adam import _adam_update
from nfref.kernels.chain import fused_steps
from nfref.kernels.chain import interpreter as chain
from nfref.kernels.simd.matmul import column, outer_product, product
from nfref.runtime import params as trees
from nfref.tables.fitting.first_flow import compile_ahead
from nfref.tables.fitting.folds import Fold
from nfref.tables.fitting.plan import Plan

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="uncompiled, none is kept")
NOTHING = (None,) * len(chain.OPTIONAL)
PRODUCTS = [product, column, outer_product]
NEED = background_compilation.Need(NOTHING, "float32", True, True)


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """An empty cache folder, three processors, and workers that are only written down."""
    monkeypatch.delenv("NFREF_BACKEND", raising=False)  # "numpy" compiles nothing
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(background_compilation, "processors", lambda: 3)
    monkeypatch.setattr(
        background_compilation, "COMPILE_WORKERS", background_compilation.CompileWorkers()
    )
    monkeypatch.setattr(cache, "_WAIT", [])
    needs = []
    monkeypatch.setattr(
        background_compilation, "Worker", lambda some, todo: needs.append(some) or FakeWorker()
    )
    return needs


class FakeWorker:
    """A worker that is alive."""

    def __init__(self):
        self.process = self

    def poll(self):
        return None


# Which ones -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("in_one_call", [True, False])
def test_tasks_are_what_a_fit_compiles(in_one_call, dtype):
    """Fitted once, so that the kernels have run in this process, on three partial sums; and scored
    afterwards, which steps in one call do with a kernel of their own on the way."""
    density = nfref.Density(nfref.ElementwiseAffine(3))
    if not in_one_call:
        density = nfref.Density(nfref.Chain([density.flow, nfref.LULinear(3)]))
    rows = np.random.default_rng(0).standard_normal((600, 3)).astype(dtype)
    with nfref.backend("numba"):
        fitted = nfref.fit(
            density,
            density.init(np.random.default_rng(0)),
            rows,
            np.random.default_rng(0),
            epochs=1,
            batch_size=600,
            progress=False,
        )
        density.log_prob(fitted.params, rows)
    (piece,) = background_compilation.programs(density.flow, -1)
    tasks = list(
        background_compilation.tasks_of(
            background_compilation.Need(
                piece.optional, np.dtype(dtype).name, True, True, in_one_call
            )
        )
    )
    assert [task.kernel for task in tasks] == (
        [fused_steps.make_steps, chain.evaluate, *PRODUCTS]
        if in_one_call
        else [chain.vjp, chain.evaluate, *PRODUCTS, chain.add_partial_sums, _adam_update]
    )
    assert all(task.types in task.kernel.overloads for task in tasks)


def test_values_alone_need_no_gradient():
    kernels = [
        task.kernel for task in background_compilation.tasks_of(NEED._replace(gradient=False))
    ]
    assert kernels == [chain.evaluate, product, column]


def test_a_search_asks_for_training_and_then_for_scores(asked):
    class Rows:
        u, context = np.zeros((700, 11)), None

        def __len__(self):
            return 700

    fold = Fold(Rows(), Rows(), np.arange(700))
    compile_ahead(fold, Plan())
    # The kernels of spline flows serve affine ones, too.
    optional = tuple(True if name in ("masks", "splines") else None for name in chain.OPTIONAL)
    needs = [
        background_compilation.Need(optional, "float32", False, True, True),
        background_compilation.Need(optional, "float64", True, False),
    ]
    assert asked == [needs, needs]  # two workers share them
    compile_ahead(fold, Plan(jobs=2))
    compile_ahead(fold, Plan("gaussian"))
    assert len(asked) == 2


@pytest.mark.parametrize(
    "why",
    [
        "one processor",
        "no folder",
        "cached",
        "one kernel is missing",
        "known already",
        "no Python",
        "a frozen program",
        "a program that holds a Python",
        "no sources",
        "one of several processes",
    ],
)
def test_no_worker_is_started_in_vain(asked, monkeypatch, why):
    flow = nfref.MAF(3, 1, (8,))
    wanted = [asked_of(flow)]
    if why == "one processor":
        monkeypatch.setattr(background_compilation, "processors", lambda: 1)
    elif why == "no folder":
        monkeypatch.setattr(cache, "folder", lambda: None)
    elif why == "one kernel is missing":
        wanted = [asked_of(flow, value=False)]
    elif why == "known already":
        background_compilation.start(wanted)
        assert len(asked) == 1
        asked.clear()
    elif why == "one of several processes":
        monkeypatch.setattr(
            background_compilation.multiprocessing, "parent_process", lambda: "some process"
        )
    elif why == "no Python":
        monkeypatch.setattr(sys, "executable", None)
    elif why == "a frozen program":
        monkeypatch.setattr(sys, "frozen", True, raising=False)
    elif why == "a program that holds a Python":
        monkeypatch.setattr(sys, "executable", "/usr/bin/blender")
    elif why == "no sources":
        monkeypatch.setattr(chain.vjp, "_cache", numba.core.caching.NullCache())
    else:
        monkeypatch.setattr(os.path, "exists", lambda path: True)
    background_compilation.start(wanted)
    assert asked == []


def asked_of(flow, value=True):
    density = nfref.Density(flow)
    params = trees.cast(density.init(np.random.default_rng(0)), np.float32)
    return density, *trees.flatten(params), value, 200


def plus_one(x):
    return x + 1


# Waiting ----------------------------------------------------------------------------------


class Asked:
    """A process of a worker: it writes down what it is asked for, and answers when it may."""

    def __init__(self):
        self.asked, self.may_answer = [], threading.Event()
        self.stdin = self.stdout = self

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.asked.append("the end")

    def write(self, text):
        self.asked += text.split()

    def flush(self):
        pass

    def readline(self):
        if self.asked:
            self.may_answer.wait()


def job(ran, name):
    """A job that writes its name down where it is compiled."""

    class Kernel:
        def compile(self, types):
            ran.append(*types)

    return background_compilation.Job(background_compilation.Task(Kernel(), (name,)), Future())


def pool_of(process, *names):
    """A pool with these jobs, and its worker, which has not begun; where jobs are written down."""
    pool, ran = background_compilation.CompileWorkers(), []
    pool.jobs = {name: job(ran, name) for name in names}
    worker = object.__new__(background_compilation.Worker)
    threading.Thread.__init__(worker, daemon=True)
    worker.process, worker.todo = process, deque(pool.jobs.items())
    return pool, worker, ran


def test_what_nobody_has_begun_is_compiled_here_and_left_out_there():
    process = Asked()
    process.may_answer.set()
    pool, worker, ran = pool_of(process, "a", "b")
    assert not pool.wait("a") and not pool.wait("c")
    worker.run()
    assert process.asked == ["b", "the end"] and ran == []
    assert pool.wait("b") and not pool.wait("a")


def test_what_a_worker_is_at_is_waited_for_and_others_are_compiled_meanwhile():
    process = Asked()
    pool, worker, ran = pool_of(process, "a", "b", "c")
    worker.start()
    while not process.asked:
        time.sleep(0.001)
    threading.Timer(0.05, process.may_answer.set).start()
    assert pool.wait("a") and ran == ["b", "c"]
    worker.join()
    assert process.asked == ["a", "the end"]


def test_a_worker_that_has_ended_keeps_nobody_waiting():
    process = Asked()

    def closed(text):
        raise BrokenPipeError

    process.write = closed
    pool, worker, _ = pool_of(process, "a", "b")
    worker.run()
    assert all(job.future.done() for job in pool.jobs.values())


def test_an_entry_that_was_waited_for_is_read(asked):
    def wait(name):
        cache._WAIT.clear()
        jit.kernel(plus_one)(1.0)
        return (cache.folder() / name).exists()

    cache.when_missing(wait)
    kernel = jit.kernel(plus_one)
    assert kernel(1.0) == 2 and sum(kernel.stats.cache_hits.values()) == 1


# Real workers -----------------------------------------------------------------------------

START = """
import sys, time, nfref, numpy as np
from nfref.kernels import background_compilation as ahead
from tests.kernels.test_background_compilation import asked_of
ahead.processors = lambda: 2
ahead.start([asked_of(nfref.ElementwiseAffine(2))])
worker, = ahead.COMPILE_WORKERS.workers
print(worker.process.pid, flush=True)
"""


def process(code, folder):
    return subprocess.Popen(
        [sys.executable, "-c", START + code],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "NUMBA_CACHE_DIR": str(folder)},
    )


def is_gone(pid, seconds=20):
    """Whether a process ends within some seconds."""
    for _ in range(10 * seconds):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except OSError:
            pass
        time.sleep(0.1)
    return False


@pytest.mark.slow
def test_a_worker_compiles_all_that_is_asked_for(tmp_path):
    code = (
        "worker.process.wait()\n"
        "optional = ahead.programs(nfref.ElementwiseAffine(2), -1)[0].optional\n"
        "need = ahead.Need(optional, 'float32', True, True, True)\n"
        "names = [task.path.name for task in ahead.tasks_of(need)]\n"
        "import json; print(json.dumps(names))\n"
    )
    with process(code, tmp_path) as started:
        _, names = started.stdout.read().splitlines()
    assert sorted(json.loads(names)) == sorted(path.name for path in tmp_path.glob("nfref/*"))


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="other signals")
@pytest.mark.parametrize("end", ["return", "interrupt", "kill"])
def test_workers_end_with_the_process_that_needs_them(tmp_path, end):
    with process("" if end == "return" else "time.sleep(60)", tmp_path) as started:
        pid = int(started.stdout.readline())
        if end != "return":
            started.send_signal(signal.SIGINT if end == "interrupt" else signal.SIGKILL)
    assert is_gone(pid)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="other signals")
def test_the_death_of_a_worker_costs_nothing_but_its_work(tmp_path):
    code = (
        "import os, signal\n"
        "time.sleep(3); os.kill(worker.process.pid, signal.SIGKILL)\n"
        "flow = nfref.ElementwiseAffine(2)\n"
        "with nfref.backend('numba'):\n"
        "    flow.inverse(flow.init(np.random.default_rng(0)), np.zeros((5, 2), 'f'))\n"
        "print('done')\n"
    )
    with process(code, tmp_path) as started:
        assert started.stdout.read().split()[-1] == "done"
