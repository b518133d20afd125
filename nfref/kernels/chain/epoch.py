"""Steps of training one after the other, in one call: gradient, clipping, Adam, running average.

A step of some dozen rows takes Python as long as the kernel: so many calls stand around it. Where
a batch is one block no second thread could help, and the steps of many batches are one call.
"""

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from nfref.kernels.adam import rates_of, update
from nfref.kernels.chain.execute import working_arrays
from nfref.kernels.chain.interpreter import Gradients, Inputs, NormalLoss, Values, blocks_vjp
from nfref.kernels.chain.primitives import programs
from nfref.kernels.chain.program import Program
from nfref.kernels.chain.training import _layout
from nfref.kernels.jit import body, kernel, reduction
from nfref.kernels.names import twin_of
from nfref.kernels.simd.products import ROWS, ensure_compiled


class Places(NamedTuple):
    """As in ``Layout``; of length 0 where theta is the vector itself."""

    places: object
    mask: object
    back: object
    counts: object


class Schedule(NamedTuple):
    """Where batches start and end (S + 1,); of each step the rates of Adam (S, 7) and the weight
    that the past has in the running average (S,); the longest norm of a gradient (1,)."""

    ends: object
    rates: object
    decays: object
    longest: object


def are_in_one_call(density, vector, unflatten, rows):
    """Whether :func:`steps` makes steps of so many rows, of the dtype of the vector."""
    return _program_and_layout(density, unflatten, vector, vector.dtype, rows) is not None


def _program_and_layout(density, unflatten, vector, dtype, most):
    """For steps of up to ``most`` rows; None where that is more than a block, or more than moving
    numbers. It depends on sizes, not on the number of threads."""
    program, *others = programs(density.flow, -1)
    if (others or not isinstance(program, Program) or twin_of(density.base) != "standard_normal"
            or vector.dtype != dtype or dtype.char not in "fd"
            or program.couples_rows or most > ROWS):
        return None
    layout = _layout(program, unflatten, vector)
    return None if layout is None else (program, layout)


def steps(density, unflatten, now, rows, ends, adam, decay_of):
    """A step for each batch of rows, from ``ends[k]`` to ``ends[k + 1]``, while all is finite.

    Parameters
    ----------
    density : Density
    unflatten : callable
        From a (P,) vector to parameters.
    now : Progress
    rows : Rows
    ends : (S + 1,) array of int
    adam : Adam
    decay_of : callable
        Step t = 1, 2, ... -> the weight of the past in the running average.

    Returns
    -------
    now : Progress
    losses : list of float
        Of the batches before the first whose loss or gradient is not finite. None instead of
        both where that is the first, or where no kernel does all of it in one block a step.
    """
    rows, sizes, dtype = rows.at(slice(ends[0], ends[-1])), np.diff(ends), now.vector.dtype
    found = _program_and_layout(density, unflatten, now.vector, rows.x.dtype, max(sizes))
    if found is None:
        return None
    program, layout = found
    ensure_compiled(dtype)
    count, size, taken = len(rows.x), len(now.vector), now.optimizer.steps
    empty, whole = np.empty(0, dtype), np.empty(0, np.int64)
    context = np.empty((count, 0), dtype) if rows.context is None else rows.context
    inputs = Inputs(np.ascontiguousarray(rows.x), np.ascontiguousarray(context))
    weights = np.repeat(-1 / sizes, sizes) * (1 if rows.weight is None else rows.weight)
    loss = NormalLoss(weights.astype(dtype), np.empty(count, dtype))
    numbers = range(taken + 1, taken + len(ends))
    schedule = Schedule(
        np.asarray(ends - ends[0], np.int64),
        np.array([rates_of(t, adam.rate_of(t)) for t in numbers], dtype),
        np.array([decay_of(t) for t in numbers], dtype),
        np.array([math.inf if adam.clip_norm is None else adam.clip_norm]))
    places = Places(whole, empty, whole, empty) if layout.places is None else Places(*layout)
    states, losses = np.empty((2, 4, size), dtype), np.empty(len(sizes))
    states[0] = now.vector, now.optimizer.m, now.optimizer.v, now.averaged
    work = working_arrays(program, inputs, 2, program.tape, program.tape, program.scratch,
                          program.size, program.size, size)
    done = make_steps(program.chain, inputs, Values(inputs.x[:0], empty), loss, places, schedule,
                      states, losses, *work, *program.optional)
    program.workspace.give_back(*work)
    if not done:
        return None
    vector, m, v, averaged = states[done % 2]
    return replace(now, vector=vector, averaged=averaged, optimizer=replace(
        now.optimizer, m=m, v=v, steps=taken + done)), losses[:done].tolist()


@kernel
def make_steps(chain, rows, no_values, loss, places, schedule, states, losses, blocks, tape,
               slopes, scratch, packed, g_packed, unpacked, couplings, masks, splines, mixtures,
               others, radials, sylvesters, residuals, images, tokens, potentials):
    """How many steps were made, each from one of the two ``states`` (2, 4, P) to the other.

    ``packed``, ``g_packed`` (Q,) and ``unpacked`` (P,) are for theta and the gradients.
    """
    ends, moves = schedule.ends, len(places.places) > 0
    for k in range(len(ends) - 1):
        start, end = ends[k], ends[k + 1]
        now, new = states[k % 2], states[1 - k % 2]
        if moves:
            take(now[0], places.places, places.mask, packed)
        theta = packed if moves else now[0]
        batch = Inputs(rows.x[start:end], rows.context[start:end])
        part = NormalLoss(loss.weights[start:end], loss.log_prob[start:end])
        blocks_vjp(chain, theta, batch, no_values, part,
                   Gradients(no_values.value, no_values.value, g_packed), blocks, tape, slopes,
                   scratch, 0, 1, couplings, masks, splines, mixtures, others, radials, sylvesters,
                   residuals, images, tokens, potentials)
        if moves:
            take(g_packed, places.back, places.counts, unpacked)
        gradient = unpacked if moves else g_packed
        losses[k], norm = dot(part.weights, part.log_prob), math.sqrt(dot(gradient, gradient))
        if not (math.isfinite(losses[k]) and math.isfinite(norm)):
            return k
        if norm > schedule.longest[0]:
            scale(gradient, schedule.longest[0] / norm)
        update(now[0], gradient, now[1], now[2], schedule.rates[k], new[0], new[1], new[2])
        mix(now[3], new[0], schedule.decays[k], new[3])
    return len(ends) - 1


@body
def take(source, places, mask, target):
    for i in range(len(target)):
        target[i] = source[places[i]] * mask[i]


@body
def scale(vector, factor):
    factor = vector.dtype.type(factor)
    for i in range(len(vector)):
        vector[i] *= factor


@body
def mix(before, vector, decay, after):
    rest = vector.dtype.type(1) - decay
    for i in range(len(vector)):
        after[i] = decay * before[i] + rest * vector[i]


@reduction
def dot(a, b):
    """The sum of a b, in double precision: the square of a large float32 overflows."""
    total = 0.0
    for i in range(len(a)):
        total += float(a[i]) * float(b[i])
    return total
