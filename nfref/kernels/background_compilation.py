"""Compile kernels in other processes while this one does something else.

A fit knows from the start which kernels it will run. The first fit on a machine starts workers:
processes that only compile kernels into the cache on disk, in the order in which they will be
needed. The cache lets one process at a time compile a kernel (:class:`nfref.runtime.files.Turn`).
If this process needs a kernel that is not in the cache, there are two cases. A worker compiles it:
then the process waits, and meanwhile compiles kernels that nobody has begun. Or no worker does:
then the process compiles it itself, and workers leave it out.

So workers change only when and where code is compiled. A worker that dies, or cannot write, loses
only its current kernel, and all workers end with this process. None is started if everything is in
the cache, if the cache cannot be written or has no locks, or if there is only one processor. A
process that is itself one of several starts none either.
"""

import atexit
import gc
import itertools
import json
import multiprocessing
import os
import subprocess
import sys
import threading
from contextlib import suppress
from typing import NamedTuple

import numba
import numpy as np

from nfref.kernels import cache
from nfref.kernels.adam import _adam_update
from nfref.kernels.chain import interpreter as chain
from nfref.kernels.chain.block import VALUES, Chain, types_for
from nfref.kernels.chain.fused_steps import Found, Schedule, make_steps, threads_of_steps
from nfref.kernels.chain.primitives import programs
from nfref.kernels.chain.program import Program
from nfref.kernels.compile_notice import announce
from nfref.kernels.numba_internals import config
from nfref.kernels.simd.matmul import ensure_compiled, pretend_compiled, products_for
from nfref.runtime import files
from nfref.runtime.annotations import Any
from nfref.runtime.backends import processors


class Need(NamedTuple):
    """The kernels of a chain that will be evaluated.

    called : kernels that others call by their address: (kind, module, name) of each
    dtype : name of the dtype
    gradient : True if it will be trained, too
    in_one_call : True if many steps of the training are one call
    """

    called: tuple
    dtype: str
    gradient: bool
    in_one_call: bool = False


class Task(NamedTuple):
    """A kernel for arguments of some types.

    A layer calls products: ``ensure_compiled`` takes these arguments. A kernel without them
    compiles in a moment, or in one or two seconds.
    """

    kernel: Any
    types: tuple
    products: tuple = ()

    @property
    def path(self):
        """Its entry in the cache."""
        return self.kernel._cache.path(self.types, self.kernel.targetctx.codegen())

    @property
    def is_done(self):
        """True if its entry exists."""
        return os.path.exists(self.path)


def tasks_of(need):
    """Yield the kernels that have to be compiled, in the order of need."""
    flat, table, blocks = (np.empty((0,) * n, need.dtype) for n in (1, 2, 3))
    whole = np.empty(0, np.int64)
    program, types = Chain(whole, whole, np.empty(0), True), types_for(need.dtype)
    rows, values = chain.Inputs(table, table), chain.Values(table, flat)
    products = np.dtype(need.dtype), need.gradient

    def task(kernel, *arguments):
        return Task(kernel, tuple(map(numba.typeof, arguments)))

    for kind, module, name in need.called:
        if need.gradient or kind in VALUES:
            called = products if kind.startswith("layer") else ()
            yield Task(getattr(sys.modules[module], name), types[kind], called)
    loss, work = chain.NormalLoss(flat, flat), chain.Work(blocks, *[flat] * 3)
    if need.in_one_call:
        doubles = np.empty(0)
        schedule = Schedule(whole, np.empty((0, 0), np.int64), table, flat, doubles)
        found = Found(whole, table, doubles, doubles, doubles, whole)
        state = flat, schedule, table, found, 0
        yield task(make_steps, program, rows, loss, *state, work)
    elif need.gradient:
        given, gradients = (program, flat, rows, values, loss), chain.Gradients(table, table, flat)
        yield task(chain.vjp, *given, gradients, work, 0, 0)
    yield task(chain.evaluate, program, flat, rows, values, blocks, flat, 0, 0)
    for kernel, signature in products_for(*products):
        yield Task(kernel, signature.args)
    if need.gradient and not need.in_one_call:
        yield task(chain.add_partial_sums, table, flat, 0, 0)
        yield task(_adam_update, *[flat] * 5, 0, 0)


def compile_each(tasks):
    """Compile the kernels that are not in the cache, unless another process does."""
    for task in tasks:
        if not (task.is_done or files.Turn.is_taken(task.path)):
            if task.products:
                ensure_compiled(*task.products)
            task.kernel.compile(task.types)
            if not task.is_done:  # the folder cannot be written
                return


# The parent -----------------------------------------------------------------------------------


def start(wanted):
    """Start to compile the kernels that flows need on the way to their latent side, if any.

    Return True if workers compile some, now or since an earlier call.

    Parameters
    ----------
    wanted : list of (density, vector, unflatten, rows of a step)
        In the order of need: parameters, and 0 where they will not be trained.
    """
    if not can_start_workers():
        return False
    needs = [
        Need(
            tuple((kind, kernel.__module__, kernel.__name__) for kind, kernel in piece.calls),
            vector.dtype.name,
            step > 0,
            step > 0 and threads_of_steps(density, vector, unflatten, step) > 0,
        )
        for density, vector, unflatten, step in wanted
        for piece in programs(density.flow, -1)
        if isinstance(piece, Program)
    ]
    return COMPILE_WORKERS.start(list(dict.fromkeys(needs)))


def can_start_workers():
    """Check that other processes can compile the kernels of this one."""
    is_kept = getattr(getattr(chain.vjp, "_cache", None), "origin", None) is not None
    # A frozen program, or one with an embedded Python, would start itself again.
    is_python = "python" in os.path.basename(sys.executable or "").lower() and not getattr(
        sys, "frozen", False
    )
    # If this is one of several processes, the others use the processors.
    is_alone = multiprocessing.parent_process() is None
    return is_kept and is_python and is_alone and files.HAS_LOCKS and cache.is_writable()


class CompileWorkers:
    """The workers of this process.

    Attributes
    ----------
    processes : list of Popen
    tasks : dict
        path of an entry -> the task that makes it, of all tasks of the workers
    asked : set of Need
        Those that :meth:`start` has looked for: a fit of many flows asks again and again.
    """

    def __init__(self):
        self.forget()

    def forget(self):
        """Forget all workers: those of its parent do not work for a child process."""
        self.processes, self.tasks, self.asked = [], {}, set()

    def start(self, needs):
        """Start workers, unless this process is as fast alone; return True if any compile."""
        needs = [need for need in needs if need not in self.asked]
        self.asked.update(needs)
        tasks = {task.path: task for need in needs for task in tasks_of(need)}
        large = sum(bool(task.products) and not task.is_done for task in tasks.values())
        free = processors() - 1 - self.alive()
        if free >= 1 and large >= 2:
            announce()
            self.tasks.update(tasks)
            cache.when_waiting(self.help_while)
            # One worker for each dtype, as these have no code in common.
            for first in range(min(free, len({need.dtype for need in needs}))):
                with suppress(OSError):  # no more processes, or no such file
                    self.processes.append(worker(needs, first))
        return self.alive() > 0

    def help_while(self, path):
        """Compile kernels that nobody has begun, while another process compiles the entry.

        Small ones first: what the caller waits for may be ready in a moment.
        """
        tasks = sorted(self.tasks.values(), key=lambda task: bool(task.products))
        compile_each(itertools.takewhile(lambda task: files.Turn.is_taken(path), tasks))

    def alive(self):
        """Return the number of workers that have not ended."""
        return sum(process.poll() is None for process in self.processes)

    def stop(self):
        """Close the input of the workers, which ends them."""
        for process in self.processes:
            with suppress(OSError, subprocess.TimeoutExpired):
                process.stdin.close()
                process.wait(2)


def worker(needs, first):
    """Start a process that compiles what ``needs`` have, from kernel ``first`` on."""
    code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import work; work()"
    # Signals of the terminal, such as Ctrl-C, are for this process alone.
    apart: Any = (
        {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
        if os.name == "nt"
        else {"start_new_session": True}
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, json.dumps([needs, first])],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "NUMBA_CACHE_DIR": config.CACHE_DIR or ""},
        **apart,
    )


COMPILE_WORKERS = CompileWorkers()
atexit.register(COMPILE_WORKERS.stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=COMPILE_WORKERS.forget)


# A worker -------------------------------------------------------------------------------------


def work():
    """Compile the kernels of the needs in the arguments, until the parent ends."""

    def end_with_the_parent():
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=end_with_the_parent, daemon=True).start()
    gc.disable()  # it takes a twelfth of the time, and would free 140 MB
    needs, first = json.loads(sys.argv[1])
    tasks = []
    for need in itertools.starmap(Need, needs):
        pretend_compiled(np.dtype(need.dtype))
        tasks += tasks_of(need)
    compile_each(tasks[first:] + tasks[:first])
    os._exit(0)  # the thread still reads
