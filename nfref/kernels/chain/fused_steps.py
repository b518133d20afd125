"""Many training steps run in one kernel call: gradient, clipping, Adam, running average.

Between two steps Python would take as long as the kernel does for some dozen rows, and would bring
parameters into the order of the kernels, and gradients back. Here that is done once an epoch:
Adam's moments and the running average stand beside theta, number by number.

A step has three parts, and threads take the tasks of each (``phase_barrier``). The first adds
partial sums of the gradient over blocks of rows. The second adds up these sums for pieces of theta,
and their squares. The third applies Adam and the average.
"""

import math
import time
from collections import namedtuple
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from nfref.kernels import phase_barrier
from nfref.kernels.adam import rates_of, update
from nfref.kernels.chain.execute import value_and_finite, work_of
from nfref.kernels.chain.instructions.instruction import twin_of
from nfref.kernels.chain.interpreter import Gradients, Inputs, NormalLoss, Values, blocks_vjp
from nfref.kernels.chain.primitives import programs
from nfref.kernels.chain.program import Program
from nfref.kernels.chain.training import Layout, _layout
from nfref.kernels.jit import body, kernel, reduction
from nfref.kernels.phase_barrier import finish_task, open_part, take_task, wait_for_part
from nfref.kernels.simd.matmul import ROWS
from nfref.kernels.thread_pool import share
from nfref.runtime.annotations import Any
from nfref.runtime.backends import threads
from nfref.runtime.batching import in_blocks

PARTS = 3
PIECE = 4096  # numbers of theta that stay in the first cache while they are worked on
MANY = 16  # fewest pieces for one more thread
# Largest number of steps in one call, and its length in seconds: Python handles Ctrl-C between
# calls.
MOST, SECONDS = 64, 0.5

# Of S steps:
#   ends (S + 1,)   where batches start and end
#   groups (S, 2)   the number of blocks in a partial sum, and the number of sums
#   rates (S, 7)    of Adam
#   decays (S,)     the weight that the past has in the running average
#   longest (1,)    the longest norm of a gradient
Schedule = namedtuple("Schedule", "ends groups rates decays longest")

# Results that threads share:
#   counts                 see ``phase_barrier``
#   sums (B, Q)            partial sums of a gradient; their sum replaces the first
#   squares (Q / PIECE,)   the squares of a gradient, added up piece by piece
#   losses (S,)            the mean of each batch
#   factor (1,)            that shortens a gradient that is too long
#   done (1,)              the number of finite steps before one that is not; else S
Found = namedtuple("Found", "counts sums squares losses factor done")


def threads_of_steps(density, vector, unflatten, rows):
    """Return the number of threads that share a step; 0 if :func:`steps` does not support it."""
    found = _program_and_layout(density, unflatten, vector, vector.dtype)
    return 0 if found is None else found[0].partial_sums(rows)[1]


def _program_and_layout(density, unflatten, vector, dtype):
    """Return None if packing computes more than moves, or if rows depend on each other."""
    program, *others = programs(density.flow, -1)
    if (
        others
        or not isinstance(program, Program)
        or twin_of(density.base) != "standard_normal"
        or vector.dtype != dtype
        or dtype.char not in "fd"
        or program.couples_rows
    ):
        return None
    layout = _layout(program, unflatten, vector)
    return None if layout is None else (program, layout)


class Packed(NamedTuple):
    """The state of a fit (:class:`nfref.training.fitting.Progress`) in the order of the kernels.

    Its properties return the state in the order of the vector. Nothing changes it.

    Attributes
    ----------
    program : Program
    layout : Layout
    start : Progress
        What came before the first step.
    state : (4, Q) array
        theta, Adam's moments, and the running average of theta.
    steps : int
        How many Adam has made.
    """

    program: Program
    layout: Layout
    start: Any
    state: np.ndarray
    steps: int

    @property
    def size(self):
        return self.start.size

    @property
    def vector(self):
        return self.layout.replaced(self.start.vector, self.state[0])

    @property
    def averaged(self):
        return self.layout.replaced(self.start.averaged, self.state[3])

    @property
    def optimizer(self):
        start = self.start.optimizer
        return replace(
            start,
            m=self.layout.replaced(start.m, self.state[1]),
            v=self.layout.replaced(start.v, self.state[2]),
            steps=self.steps,
        )


def _packed(density, unflatten, now, dtype):
    """Return Packed; None if :func:`steps` cannot make steps of that dtype."""
    if isinstance(now, Packed):
        return now
    found = _program_and_layout(density, unflatten, now.vector, dtype)
    if found is None:
        return None
    program, layout = found
    vectors = now.vector, now.optimizer.m, now.optimizer.v, now.averaged
    state = np.array([layout.packed(one) for one in vectors])
    return Packed(program, layout, now, state, now.optimizer.steps)


def mean_log_prob(density, unflatten, now, rows):
    """Return the mean log_prob of rows with averaged parameters; None without a kernel."""
    packed = _packed(density, unflatten, now, rows.x.dtype)
    if packed is None:
        return None

    def log_prob(x, context=None):
        limit = threads() if len(x) > ROWS else 1
        (z, log_det), _ = value_and_finite(packed.program, packed.state[3], x, context, limit)
        return density.base._log_prob({}, z) + log_det

    found = in_blocks(log_prob, rows.x, rows.context).astype(np.float64)
    return float(np.average(found, weights=rows.weight))


def steps(density, unflatten, now, rows, batches, adam, decay_of):
    """Make a step for each batch of rows, while everything is finite.

    Parameters
    ----------
    density : Density
    unflatten : callable
        From a (P,) vector to parameters.
    now : Progress
    rows : Rows
    batches : list of array of int
        Which rows are in each.
    adam : Adam
    decay_of : callable
        Step t = 1, 2, ... -> the weight of the past in the running average.

    Returns
    -------
    now : Packed
    losses : list of float
        Of the batches before the first whose loss or gradient is not finite. None instead of
        both where that is the first, or where no kernel does all of it.
    """
    packed = _packed(density, unflatten, now, rows.x.dtype)
    if packed is None:
        return None
    losses: list[float] = []
    program, start = packed.program, packed._replace(state=packed.state.copy())
    while len(losses) < len(batches):
        some = batches[len(losses) : len(losses) + program.in_one_call]
        began = time.perf_counter()
        losses += (more := _in_one_call(start, rows, some, adam, decay_of, len(losses)))
        if len(more) < len(some):
            break
        most = SECONDS * len(some) / (time.perf_counter() - began)
        program.in_one_call = max(1, min(2 * program.in_one_call, int(most), MOST))
    return (start._replace(steps=start.steps + len(losses)), losses) if losses else None


def _in_one_call(now, rows, batches, adam, decay_of, done):
    """Make steps; return the losses of those that were finite."""
    sizes, dtype = list(map(len, batches)), now.state.dtype
    x, context, weight = rows.at(np.concatenate(batches))
    weights = np.repeat(-1 / np.array(sizes), sizes) * (1 if weight is None else weight)
    numbers = range(now.steps + done + 1, now.steps + done + 1 + len(sizes))
    groups = list(map(now.program.partial_sums, sizes))
    schedule = Schedule(
        np.cumsum([0, *sizes]),
        np.array(groups),
        np.array([rates_of(t, adam.rate_of(t)) for t in numbers], dtype),
        np.array([decay_of(t) for t in numbers], dtype),
        np.array([math.inf if adam.clip_norm is None else adam.clip_norm]),
    )
    inputs = Inputs(x, np.empty((len(x), 0), dtype) if context is None else context)
    loss = NormalLoss(weights.astype(dtype), np.empty(len(x), dtype))
    found = _run(now, inputs, loss, schedule, max(number for _, number in groups))
    return found.losses[: found.done[0]].tolist()


def _run(now, inputs, loss, schedule, sums):
    """Run the kernel on all threads; return its results, of ``sums`` partial sums at most."""
    program, state, mask = now.program, now.state, now.layout.mask
    linked = program.linked(state.dtype)
    count, pieces = len(schedule.ends) - 1, -(-program.size // PIECE)
    limit = threads() if max(sums, pieces // MANY) > 1 else 1
    tasks = max(sums, min(limit, pieces // MANY))
    counts = phase_barrier.make_counts(PARTS * count)
    partial_sums = program.workspace.take((sums, program.size), state.dtype)
    numbers = np.empty(pieces), np.empty(count), np.ones(1), np.array([count])
    found = Found(counts, partial_sums, *numbers)
    mask = np.empty(0, state.dtype) if mask is None else mask

    def task(k):
        work, given = work_of(program, inputs), (linked, inputs, loss, mask)
        make_steps(*given, schedule, state, found, tasks, work)
        program.workspace.give_back(*work)

    share(task, min(limit, tasks), limit)
    program.workspace.give_back(found.sums)
    return found


@kernel
def make_steps(chain, rows, loss, mask, schedule, state, found, tasks, work):
    """Do a thread's share of the steps; each consists of ``tasks`` tasks in each of three parts.

    ``state`` (4, Q) holds theta, Adam's moments and the average. ``mask`` (Q,) is 0 for numbers
    that do not change, or of length 0 if there are none.
    """
    ends, counts, sums = schedule.ends, found.counts, found.sums
    pieces, size = len(found.squares), state.shape[1]
    nothing = Values(rows.x[:0], state[0, :0])
    while True:
        part, task = divmod(take_task(counts), tasks)
        k, stage = divmod(part, PARTS)
        if k >= len(ends) - 1:
            return
        wait_for_part(counts, part)
        if found.done[0] <= k:
            return
        start, end = ends[k], ends[k + 1]
        batch = Inputs(rows.x[start:end], rows.context[start:end])
        part_of_loss = NormalLoss(loss.weights[start:end], loss.log_prob[start:end])
        group, number = schedule.groups[k]
        if stage == 0 and task < number:
            gradients = Gradients(nothing.value, nothing.value, sums[task])
            given = chain, state[0], batch, nothing, part_of_loss, gradients, work
            blocks_vjp(*given, task * group, (task + 1) * group)
        elif stage > 0:
            for piece in range(task * pieces // tasks, (task + 1) * pieces // tasks):
                first, last = piece * PIECE, min((piece + 1) * PIECE, size)
                gradient = sums[0, first:last]
                if stage == 1:
                    for j in range(1, number):
                        add(sums[j, first:last], gradient)
                    if len(mask) > 0:
                        multiply(mask[first:last], gradient)
                    found.squares[piece] = dot(gradient, gradient)
                else:
                    if found.factor[0] < 1:
                        scale(found.factor[0], gradient)
                    theta, average = state[0, first:last], state[3, first:last]
                    moments = state[1, first:last], state[2, first:last]
                    update(gradient, schedule.rates[k], theta, *moments)
                    mix(theta, schedule.decays[k], average)
        if finish_task(counts, part, tasks):
            if stage == 1:
                found.losses[k] = dot(part_of_loss.weights, part_of_loss.log_prob)
                norm = math.sqrt(total(found.squares))
                if not (math.isfinite(found.losses[k]) and math.isfinite(norm)):
                    found.done[0] = k
                found.factor[0] = schedule.longest[0] / norm if norm > schedule.longest[0] else 1.0
            open_part(counts, part + 1)


@body
def add(more, to):
    for i in range(len(to)):
        to[i] += more[i]


@body
def multiply(mask, vector):
    for i in range(len(vector)):
        vector[i] *= mask[i]


@body
def scale(factor, vector):
    factor = vector.dtype.type(factor)
    for i in range(len(vector)):
        vector[i] *= factor


@body
def mix(vector, decay, average):
    """Update the running average: decay * average + (1 - decay) * vector."""
    rest = vector.dtype.type(1) - decay
    for i in range(len(vector)):
        average[i] = decay * average[i] + rest * vector[i]


@reduction
def dot(a, b):
    """Return the sum of a b, in double precision: the square of a large float32 overflows."""
    total = 0.0
    for i in range(len(a)):
        total += float(a[i]) * float(b[i])
    return total


@body
def total(numbers):
    found = 0.0
    for i in range(len(numbers)):
        found += numbers[i]
    return found
