"""Compile kernels in other processes while this one does something else.

A fit knows from the start which kernels it will run. The first fit on a machine starts workers:
processes that only compile kernels into the cache on disk, in the order in which they will be
needed. If this process needs a kernel that is not in the cache, there are two cases. A worker
compiles it: then the process waits, and meanwhile compiles kernels that nobody has begun. Or no
worker does: then the process compiles it itself, and asks no worker for it.

So workers change only when and where code is compiled. A worker that dies, or cannot write, loses
only its current kernel, and all workers end with this process. None is started if everything is in
the cache, if the cache cannot be written, or if there is only one processor. A process that is
itself one of several starts none either.
"""

import atexit
import json
import multiprocessing
import os
import subprocess
import sys
import threading
from collections import deque
from concurrent.futures import Future, wait
from contextlib import suppress
from queue import SimpleQueue
from typing import NamedTuple

import numba
import numpy as np

from nfref.kernels import cache
from nfref.kernels.adam import _adam_update
from nfref.kernels.chain import interpreter as chain
from nfref.kernels.chain.fused_steps import Found, Schedule, make_steps, threads_of_steps
from nfref.kernels.chain.primitives import programs
from nfref.kernels.chain.program import Program
from nfref.kernels.compile_notice import announce
from nfref.kernels.numba_internals import config
from nfref.kernels.simd.matmul import ensure_compiled, pretend_compiled, products_for
from nfref.runtime.annotations import Any
from nfref.runtime.backends import processors


class Need(NamedTuple):
    """The kernels that a chain will need.

    optional : the optional parts of the kernels that it needs, in the form of their argument
    dtype : name of the dtype
    value, gradient : True if it will be evaluated, and if it will be trained
    in_one_call : True if many steps of the training are one call
    """

    optional: tuple
    dtype: str
    value: bool
    gradient: bool
    in_one_call: bool = False


class Task(NamedTuple):
    """A kernel for arguments of some types.

    It calls products: ``ensure_compiled`` takes these arguments. If there are none, it compiles in
    a moment.
    """

    kernel: Any
    types: tuple
    products: tuple = ()

    @property
    def path(self):
        """Its entry in the cache."""
        return self.kernel._cache.path(self.types, self.kernel.targetctx.codegen())


class Job(NamedTuple):
    """A task for any worker; its future can be cancelled until one begins."""

    task: Task
    future: Future


def tasks_of(need):
    """Yield the kernels that have to be compiled, in the order of need."""
    flat, table, blocks = (np.empty((0,) * n, need.dtype) for n in (1, 2, 3))
    whole = np.empty(0, np.int64)
    program = chain.Chain(whole, whole, np.empty(0))
    rows, values = chain.Inputs(table, table), chain.Values(table, flat)
    called = np.dtype(need.dtype), need.gradient

    def task(kernel, *arguments, products=called):
        return Task(kernel, tuple(map(numba.typeof, arguments)), products)

    loss, work = chain.NormalLoss(flat, flat), chain.Work(blocks, *[flat] * 3)
    if need.in_one_call:
        doubles = np.empty(0)
        schedule = Schedule(whole, np.empty((0, 0), np.int64), table, flat, doubles)
        found = Found(whole, table, doubles, doubles, doubles, whole)
        state = flat, schedule, table, found, 0
        yield task(make_steps, program, rows, values, loss, *state, work, need.optional)
    elif need.gradient:
        given, gradients = (program, flat, rows, values, loss), chain.Gradients(table, table, flat)
        yield task(chain.vjp, *given, gradients, work, 0, 0, need.optional)
    if need.value:
        yield task(chain.evaluate, program, flat, rows, values, blocks, flat, 0, 0, need.optional)
    for kernel, signature in products_for(*called):
        yield Task(kernel, signature.args)
    if need.gradient and not need.in_one_call:
        yield task(chain.add_partial_sums, table, flat, 0, 0, products=())
        yield task(_adam_update, *[flat] * 5, 0, 0, products=())


# The parent -----------------------------------------------------------------------------------


def start(wanted):
    """Start to compile the kernels that flows need on the way to their latent side, if any.

    Return True if workers compile some, now or since an earlier call.

    Parameters
    ----------
    wanted : list of (density, vector, unflatten, value, rows of a step)
        In the order of need: parameters, whether they will be evaluated, and 0 where they will not
        be trained.
    """
    if not can_start_workers():
        return False
    needs = [
        Need(
            piece.optional,
            vector.dtype.name,
            value,
            step > 0,
            step > 0 and threads_of_steps(density, vector, unflatten, step) > 0,
        )
        for density, vector, unflatten, value, step in wanted
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
    return is_kept and is_python and is_alone and cache.is_writable()


class CompileWorkers:
    """The workers of this process, and all kernels that they have been asked for.

    Attributes
    ----------
    workers : list of Worker
    jobs : dict
        name of an entry -> Job
    asked : set of Need
        Those that :meth:`start` has looked for: a fit of many flows asks again and again.
    """

    def __init__(self):
        self.workers = []
        self.forget()

    def forget(self):
        """Forget all entries.

        In a child process no thread asks the workers of its parent.
        """
        self.jobs, self.asked = {}, set()

    def start(self, needs):
        """Start workers, unless this process is as fast alone; return True if any compile."""
        needs, missing = [need for need in needs if need not in self.asked], {}
        self.asked.update(needs)
        for task in (task for need in needs for task in tasks_of(need)):
            path = task.path
            if path.name not in self.jobs and not os.path.exists(path):
                missing[path.name] = Job(task, Future())
        free = processors() - 1 - sum(worker.process.poll() is None for worker in self.workers)
        if free < 1 or sum(bool(job.task.products) for job in missing.values()) < 2:
            return any(not job.future.done() for job in self.jobs.values())
        announce()
        cache.when_missing(self.wait)
        self.jobs.update(missing)
        # Large ones first: this process compiles the small ones while it waits for a large one.
        todo = deque(sorted(missing.items(), key=lambda item: not item[1].task.products))
        # One worker for each dtype, as these have no code in common.
        for _ in range(min(free, len({need.dtype for need in needs}))):
            with suppress(OSError):  # no more processes, or no such file
                self.workers.append(Worker(needs, todo))
        return True

    def wait(self, name):
        """Wait while a worker compiles the entry ``name``; return True if one did.

        If none has begun, none will, and the caller has to. A process that waits compiles kernels
        that nobody has begun.
        """
        if name not in self.jobs or self.jobs[name].future.cancel():
            return False
        future = self.jobs[name].future
        while not future.done():
            task = self.take()
            if task is None:
                wait([future], 1)  # on Windows, Ctrl-C can't end one without a timeout
                continue
            if task.products:
                ensure_compiled(*task.products)
            task.kernel.compile(task.types)
        return True

    def take(self):
        """Take a task that nobody has begun; None if there is none.

        A small one if there is any: what the caller waits for may be ready in a moment.
        """
        for job in sorted(self.jobs.values(), key=lambda job: bool(job.task.products)):
            if not job.future.done() and job.future.cancel():
                return job.task
        return None

    def stop(self):
        """Close the input of the workers, which ends them."""
        for worker in self.workers:
            with suppress(OSError, subprocess.TimeoutExpired):
                worker.process.stdin.close()
                worker.process.wait(2)


class Worker(threading.Thread):
    """A process, and a thread that asks it for one kernel after the other.

    Several take the names of entries and their jobs from the same ``todo``.
    """

    def __init__(self, needs, todo):
        super().__init__(daemon=True)
        code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import work; work()"
        # Signals of the terminal, such as Ctrl-C, are for this process alone.
        apart: Any = (
            {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
            if os.name == "nt"
            else {"start_new_session": True}
        )
        self.todo = todo
        self.process: Any = subprocess.Popen(
            [sys.executable, "-c", code, json.dumps(needs)],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "NUMBA_CACHE_DIR": config.CACHE_DIR or ""},
            **apart,
        )
        self.start()

    def run(self):
        """Ask for each kernel that nobody has begun; a process that has ended answers at once."""
        with suppress(OSError, IndexError), self.process as process:
            process.stdout.readline()  # until it is ready
            while True:
                name, job = self.todo.popleft()  # an IndexError once all are taken
                if job.future.set_running_or_notify_cancel():
                    with suppress(OSError, ValueError):
                        print(name, file=process.stdin, flush=True)
                        process.stdout.readline()
                    job.future.set_result(None)


COMPILE_WORKERS = CompileWorkers()
atexit.register(COMPILE_WORKERS.stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=COMPILE_WORKERS.forget)


# A worker -------------------------------------------------------------------------------------


def work():
    """Compile the kernels that the parent asks for by name, until it ends.

    The arguments are needs, which have all of these.
    """
    names: SimpleQueue = SimpleQueue()

    def listen():
        for line in sys.stdin:
            names.put(line.strip())
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    tasks: dict[str, Task] = {}
    for optional, *others in json.loads(sys.argv[1]):
        need = Need(tuple(optional), *others)
        pretend_compiled(np.dtype(need.dtype))
        tasks.update((task.path.name, task) for task in tasks_of(need))
    while True:
        print(flush=True)
        task = tasks[names.get()]
        task.kernel.compile(task.types)
        if not os.path.exists(task.path):  # the folder cannot be written
            return
