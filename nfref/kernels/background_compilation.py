"""Compile kernels in other processes while this one does something else.

A fit knows from the start which kernels it will run. The first fit on a machine starts workers:
processes that only compile kernels into the cache on disk, in the order in which they will be
needed. If this process needs a kernel that is not in the cache, there are two cases. A worker
compiles it: then the process waits, and meanwhile compiles kernels that nobody has begun. Or no
worker does: then the process compiles it itself, and tells the workers to skip it.

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
from contextlib import suppress
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
    """The workers of this process and their progress.

    Attributes
    ----------
    workers : list of Worker
    pending : dict
        name of an entry -> its task; nobody has begun with it.
    begun : dict
        name of an entry -> the worker that is at it.
    done : set of str
    asked : set of Need
        Those that :meth:`start` has looked for: a fit of many flows asks again and again.
    """

    def __init__(self):
        self.workers = []
        self.forget()

    def forget(self):
        """Forget all entries.

        In a child process no thread listens to the workers of its parent.
        """
        self.pending, self.begun, self.done, self.asked = {}, {}, set(), set()
        self.changed = threading.Condition()

    def start(self, needs):
        """Start workers, unless this process is as fast alone; return True if any compile."""
        needs, missing = [need for need in needs if need not in self.asked], {}
        self.asked.update(needs)
        for task in (task for need in needs for task in tasks_of(need)):
            path = task.path
            with self.changed:
                known = {*self.pending, *self.begun, *self.done}
            if path.name not in known and not os.path.exists(path):
                missing[path.name] = task
        free = processors() - 1 - sum(worker.process.poll() is None for worker in self.workers)
        if free < 1 or sum(bool(task.products) for task in missing.values()) < 2:
            return bool(self.begun or self.pending)
        announce()
        cache.when_missing(self.wait)
        self.pending.update(missing)
        for some in shared_out(needs, free):
            with suppress(OSError):  # no more processes, or no such file
                self.workers.append(Worker(some, self))
        return True

    def wait(self, name):
        """Wait while a worker compiles the entry ``name``; return True if it is in the cache now.

        If it is not, no worker will compile it any more, and the caller has to. Meanwhile this
        process compiles kernels that nobody has begun.
        """
        while True:
            with self.changed:
                self.pending.pop(name, None)
                if name not in self.begun:
                    break
                # A small one if there is any: the awaited one may be ready in a moment.
                other = min(
                    self.pending, key=lambda one: bool(self.pending[one].products), default=None
                )
                task = self.pending.pop(other, None)
                if task is None:
                    self.changed.wait(1)  # on Windows, Ctrl-C can't end one without a timeout
            if task is not None:
                self.leave_out(other)
                if task.products:
                    ensure_compiled(*task.products)
                task.kernel.compile(task.types)
        if name in self.done:
            return True
        self.leave_out(name)
        return False

    def leave_out(self, name):
        """Tell the workers not to compile an entry."""
        for worker in self.workers:
            with suppress(OSError, ValueError):
                print(name, file=worker.process.stdin, flush=True)

    def stop(self):
        """Close the input of the workers, which ends them."""
        for worker in self.workers:
            with suppress(OSError, subprocess.TimeoutExpired):
                worker.process.stdin.close()
                worker.process.wait(2)


class Worker:
    """A process, and a thread that listens to it."""

    def __init__(self, needs, pool):
        code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import work; work()"
        # Signals of the terminal, such as Ctrl-C, are for this process alone.
        apart: Any = (
            {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
            if os.name == "nt"
            else {"start_new_session": True}
        )
        self.pool = pool
        self.process: Any = subprocess.Popen(
            [sys.executable, "-c", code, json.dumps(needs)],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "NUMBA_CACHE_DIR": config.CACHE_DIR or ""},
            **apart,
        )
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        """Note which entries the worker begins and ends, until it ends itself."""
        pool = self.pool
        for line in self.process.stdout:
            verb, name = line.split()
            with pool.changed:
                pool.pending.pop(name, None)
                if verb == "begin":
                    pool.begun[name] = self
                else:
                    pool.begun.pop(name, None)
                    pool.done.add(name)
                pool.changed.notify_all()
        with pool.changed:
            pool.begun = {name: worker for name, worker in pool.begun.items() if worker is not self}
            pool.changed.notify_all()
        for end in (self.process.stdin, self.process.stdout):
            with suppress(OSError):
                end.close()
        self.process.wait()


def shared_out(needs, workers):
    """Return lists of needs, one for each worker: dtypes have no code in common."""
    lists: dict[str, list] = {}
    for need in needs:
        lists.setdefault(need.dtype, []).append(need)
    return list(lists.values()) if len(lists) <= workers else [needs]


COMPILE_WORKERS = CompileWorkers()
atexit.register(COMPILE_WORKERS.stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=COMPILE_WORKERS.forget)


# A worker -------------------------------------------------------------------------------------


def work():
    """Compile the kernels that the arguments name, and report each, until the parent ends."""
    leave_out = set()

    def listen():
        for line in sys.stdin:
            leave_out.add(line.strip())
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    tasks = []
    for optional, *others in json.loads(sys.argv[1]):
        need = Need(tuple(optional), *others)
        pretend_compiled(np.dtype(need.dtype))
        tasks += tasks_of(need)
    # The parent compiles the small ones while it waits for a large one.
    for task in sorted(tasks, key=lambda task: not task.products):
        path = task.path
        if path.name in leave_out:
            continue
        print("begin", path.name, flush=True)
        task.kernel.compile(task.types)
        if not os.path.exists(path):  # the folder cannot be written
            return
        print("end", path.name, flush=True)
