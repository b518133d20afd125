"""Barriers inside of kernels: all tasks of one part are done before the next part begins.

Work comes in parts with equal numbers of tasks, and a task needs the results of the whole part
before. Threads take tasks in order. A thread that is early waits until the last task of the part
before is done; other threads are working on all tasks that were taken. So the work ends with any
number of threads, even one.
"""

import os
import threading
import time

import numpy as np
from numba import types

from nfref.kernels.jit import body, compiles, emits
from nfref.kernels.numba_internals import cgutils, intrinsic, ir
from nfref.kernels.simd.tiles import start_at

SPINS = 1000  # a few microseconds; after that the other thread may need this processor

_LOCK = threading.Lock()


def make_counts(parts):
    """Make counters: tasks taken; then for each part, tasks done and 1 if it may begin."""
    found = np.zeros(1 + 2 * parts, np.int64)
    found[1 + parts] = 1
    return found


def add_one(numbers, k):
    """Add one to numbers[k] and return the old number; no two threads get the same."""
    with _LOCK:
        numbers[k] += 1
        return numbers[k] - 1


def wait_for(numbers, k):
    """Wait until numbers[k] is not 0."""
    while numbers[k] == 0:
        time.sleep(0)


@body
def take_task(counts):
    """Return the number of a task that no thread has taken."""
    return add_one(counts, 0)


@body
def wait_for_part(counts, part):
    wait_for(counts, 1 + len(counts) // 2 + part)


@body
def finish_task(counts, part, tasks):
    """Count a task of a part as done; return True if it was the last one."""
    return add_one(counts, 1 + part) == tasks - 1


@body
def open_part(counts, part):
    """Let a part begin."""
    if part < len(counts) // 2:
        add_one(counts, 1 + len(counts) // 2 + part)


@emits(add_one, lambda numbers, k: types.int64(numbers, types.intp))
def _add_one(context, builder, signature, arguments):
    numbers, k = arguments
    numbers = context.make_array(signature.args[0])(context, builder, numbers).data
    return builder.atomic_rmw("add", builder.gep(numbers, [k]), ir.IntType(64)(1), "seq_cst")


@compiles(wait_for)
def _wait_for(numbers, k):
    for _ in range(SPINS):
        if _atomic_load(start_at(numbers, k)) != 0:
            return
    while _atomic_load(start_at(numbers, k)) == 0:
        _let_others_run()


@intrinsic
def _atomic_load(typing, pointer):
    def generate(context, builder, signature, arguments):
        return builder.load_atomic(*arguments, "seq_cst", 8)

    return types.int64(pointer), generate


@intrinsic
def _let_others_run(typing):
    def generate(context, builder, signature, arguments):
        if hasattr(os, "sched_yield"):
            builder.call(
                cgutils.get_or_insert_function(
                    builder.module, ir.FunctionType(ir.IntType(32), []), "sched_yield"
                ),
                [],
            )
        return context.get_dummy_value()

    return types.void(), generate
