"""Kernels compiled ahead: the right ones, by whoever is free, and nobody waits in vain."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import numpy as np
import pytest

import nfref
from nfref.kernels import background_compilation, cache, jit
from nfref.kernels.adam import _adam_update
from nfref.kernels.chain import fused_steps
from nfref.kernels.chain import interpreter as chain
from nfref.kernels.chain.block import KINDS
from nfref.kernels.chain.elementwise import elementwise, elementwise_vjp
from nfref.kernels.chain.linear import linear, linear_vjp
from nfref.kernels.chain.made import made, made_vjp
from nfref.kernels.chain.transformers.affine import scale_and_shift, scale_and_shift_vjp
from nfref.kernels.chain.transformers.spline import rational_quadratic, rational_quadratic_vjp
from nfref.kernels.simd.matmul import column, outer_product, product
from nfref.runtime import files
from nfref.runtime import params as trees
from nfref.tables.fitting.first_flow import compile_ahead
from nfref.tables.fitting.folds import Fold
from nfref.tables.fitting.plan import Plan

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="uncompiled, none is kept")
PRODUCTS, LAYERS = [product, column, outer_product], [elementwise, elementwise_vjp]


def called(*kernels):
    return tuple((kind, one.__module__, one.__name__) for kind, one in zip(KINDS, kernels))


NEED = background_compilation.Need(called(*LAYERS), "float32", True)


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """An empty cache folder, three processors, and workers that are only written down."""
    monkeypatch.delenv("NFREF_BACKEND", raising=False)  # "numpy" compiles nothing
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(background_compilation, "processors", lambda: 3)
    monkeypatch.setattr(
        background_compilation, "COMPILE_WORKERS", background_compilation.CompileWorkers()
    )
    monkeypatch.setattr(cache, "_WAITING", [])
    needs = []
    monkeypatch.setattr(
        background_compilation, "worker", lambda some, first: needs.append(some) or FakeProcess()
    )
    return needs


class FakeProcess:
    """A worker that is alive."""

    def poll(self):
        return None


# Which ones -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("in_one_call", [True, False])
def test_tasks_are_what_a_fit_compiles(in_one_call, dtype):
    """Fitted once, so that the kernels have run in this process, on three partial sums; and scored
    afterwards."""
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
    layers = LAYERS if in_one_call else [*LAYERS, linear, linear_vjp]
    needed = called(*LAYERS) + called(*layers[2:])
    need = background_compilation.Need(needed, np.dtype(dtype).name, True, in_one_call)
    tasks = list(background_compilation.tasks_of(need))
    assert [task.kernel for task in tasks] == (
        [*layers, fused_steps.make_steps, chain.evaluate, *PRODUCTS]
        if in_one_call
        else [*layers, chain.vjp, chain.evaluate, *PRODUCTS, chain.add_partial_sums, _adam_update]
    )
    assert all(task.types in task.kernel.overloads for task in tasks)


def test_values_alone_need_no_gradient():
    kernels = [
        task.kernel for task in background_compilation.tasks_of(NEED._replace(gradient=False))
    ]
    assert kernels == [elementwise, chain.evaluate, product, column]


def test_a_search_asks_for_training_and_then_for_scores(asked):
    class Rows:
        u, context = np.zeros((700, 11)), None

        def __len__(self):
            return 700

    fold = Fold(Rows(), Rows(), np.arange(700))
    compile_ahead(fold, Plan())
    transformers = (
        (rational_quadratic, rational_quadratic_vjp),
        (scale_and_shift, scale_and_shift_vjp),
    )
    needs = [
        need
        for transformer in transformers
        for need in (
            background_compilation.Need(
                called(made, made_vjp, *transformer), "float32", True, True
            ),
            background_compilation.Need(called(made, made_vjp, *transformer), "float64", False),
        )
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
        "no locks",
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
        wanted = [(*asked_of(flow)[:3], 0)]  # no training, so that one layer is all
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
    elif why == "no locks":
        monkeypatch.setattr(files, "HAS_LOCKS", False)
    else:
        monkeypatch.setattr(os.path, "exists", lambda path: True)
    background_compilation.start(wanted)
    assert asked == []


def asked_of(flow):
    density = nfref.Density(flow)
    params = trees.cast(density.init(np.random.default_rng(0)), np.float32)
    return density, *trees.flatten(params), 200


def plus_one(x):
    return x + 1


def twice(x):
    return 2 * x


# Taking turns -----------------------------------------------------------------------------


def kernel_and_task():
    kernel = jit.kernel(plus_one)
    return kernel, background_compilation.Task(kernel, (numba.float64,))


def test_a_worker_leaves_out_what_another_process_compiles_or_has_compiled(asked):
    kernel, task = kernel_and_task()
    turn = files.Turn(task.path, 1)
    background_compilation.compile_each([task])
    assert not kernel.overloads
    turn.end()
    background_compilation.compile_each([task])
    assert task.is_done and list(kernel.overloads) == [task.types]
    other, task = kernel_and_task()
    background_compilation.compile_each([task])
    assert not other.overloads


def test_a_worker_that_cannot_write_ends(asked):
    compiled = []

    class Kernel:
        def compile(self, types):
            compiled.append(types)

    class Lost(background_compilation.Task):
        path = cache.folder() / "lost"

    background_compilation.compile_each([Lost(Kernel(), ("a",)), Lost(Kernel(), ("b",))])
    assert compiled == [("a",)]


def test_others_are_compiled_while_another_process_compiles_what_is_needed(asked):
    needed, other = kernel_and_task(), kernel_and_task()
    another = jit.kernel(twice)
    tasks = [other[1], background_compilation.Task(another, (numba.float64,))]
    workers = background_compilation.COMPILE_WORKERS
    workers.tasks = dict(enumerate(tasks))
    turn = files.Turn(needed[1].path, 1)
    workers.help_while(needed[1].path)
    assert not other[0].overloads and list(another.overloads) == [(numba.float64,)]
    turn.end()
    workers.help_while(needed[1].path)
    assert not other[0].overloads


def test_an_entry_that_another_process_compiles_is_waited_for_and_read(asked):
    kernel, task = kernel_and_task()
    kernel(1.0)
    elsewhere = task.path.rename(task.path.with_suffix(".elsewhere"))
    turn, (kernel, _) = files.Turn(task.path, 1), kernel_and_task()
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(kernel, 1.0)
        time.sleep(0.2)
        assert not waits.done()
        elsewhere.rename(task.path)
        turn.end()
        assert waits.result() == 2
    assert sum(kernel.stats.cache_hits.values()) == 1


# Real workers -----------------------------------------------------------------------------

START = """
import sys, time, nfref, numpy as np
from nfref.kernels import background_compilation as ahead
from tests.kernels.test_background_compilation import asked_of
ahead.processors = lambda: 2
ahead.start([asked_of(nfref.ElementwiseAffine(2))])
worker, = ahead.COMPILE_WORKERS.processes
print(worker.pid, flush=True)
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
        "assert worker.wait() == 0\n"
        "from tests.kernels.test_background_compilation import NEED\n"
        "need = NEED._replace(in_one_call=True)\n"
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
        "time.sleep(3); os.kill(worker.pid, signal.SIGKILL)\n"
        "flow = nfref.ElementwiseAffine(2)\n"
        "with nfref.backend('numba'):\n"
        "    flow.inverse(flow.init(np.random.default_rng(0)), np.zeros((5, 2), 'f'))\n"
        "print('done')\n"
    )
    with process(code, tmp_path) as started:
        assert started.stdout.read().split()[-1] == "done"
