"""Elimination of the smallest matrices, written out: no loop is left.

Up to D = 8 the loops of ``small_matrices`` cost as much as what they do. Here Python runs them,
once, when a kernel is compiled: ``eliminate`` is ordinary code on lanes, and instead of
numbers it is handed names of registers, whose operators emit instructions. Uncompiled it is
handed NumPy arrays.

A column is read once, takes all steps before, and stays in the registers until it is done. So 16
registers suffice, if they are as long as lanes. Shorter ones take part after part of the lanes, or
two parts in turn, a column each.
"""

import numpy as np
from numba import types

from nfref.kernels import registers
from nfref.kernels.jit import body, emits
from nfref.kernels.numba_internals import cgutils, ir
from nfref.kernels.simd.lanes import (
    BYTES,
    Lanes,
    absolute_of,
    broadcast,
    exponent,
    load,
    mantissa,
    none_longer,
    split,
    width_of,
)
from nfref.runtime.annotations import Any

LARGEST = 8
LIFT = 2.0**100  # beyond it, and below one over it, pivots are scaled: 2^127 is float32's limit
# A product of eight pivots between one over it and it is a normal number.
USUAL, USUAL_IN_FLOAT32 = 2.0**100, 2.0**15
# Up to this size two parts take turns: one divides while the other goes on. Larger matrices wait
# for registers, not for divisions.
IN_TURN = 6


def eliminate(columns, lanes):
    """Return mantissa and exponent of the product of the pivots of ``columns``.

    A column is a list of lanes; ``lanes`` has what can be done with them. This is a generator that
    stops after each column, see :func:`in_turn`.
    """
    where = lanes.where
    zero, one, tiny, huge = (lanes.broadcast(value) for value in (0.0, 1.0, 1 / LIFT, LIFT))
    product, power = one, zero
    steps: list[Any] = []
    for k, column in enumerate(columns):
        pivot, longer = pivot_of(column, steps, lanes)
        mantissa, exponent = lanes.split(pivot)
        product, power = product * mantissa, power + exponent
        # See ``small_matrices.eliminate`` for pivots that are zero, very small or very large.
        size = abs(pivot)
        pivot = where(size > zero, pivot, one)
        lift = where(tiny > size, huge, where(size > huge, tiny, one))
        scale = one / (pivot * lift)
        steps.append((longer, [entry * lift * scale for entry in column[k + 1 :]]))
        yield
    return product, power


def eliminate_usual(columns, lanes):
    """Return the product of the pivots of ``columns``, and the shortest and the longest of these.

    If these two are within ``USUAL``, the product is, to the bit, the result of :func:`eliminate`.
    For D = 4 it takes about half of the time.
    """
    where, one = lanes.where, lanes.broadcast(1.0)
    steps: list[Any] = []
    product = shortest = longest = one
    for k, column in enumerate(columns):
        pivot, longer = pivot_of(column, steps, lanes)
        size, product, scale = abs(pivot), product * pivot, one / pivot
        shortest = where(shortest > size, size, shortest)
        longest = where(size > longest, size, longest)
        steps.append((longer, [entry * scale for entry in column[k + 1 :]]))
        yield
    return product, shortest, longest


def in_turn(eliminations):
    """Return what generators return that stop equally often, each taking a step in turn."""
    results: list[Any] = []
    while len(results) < len(eliminations):
        for elimination in eliminations:
            try:
                next(elimination)
            except StopIteration as end:
                results.append(end.value)
    return results


def pivot_of(column, steps, lanes):
    """Apply the steps before to a column; return its pivot, and where entries below were longer.

    A step is such a list, and the factors that its row has in the rows below.
    """
    for k, (longer, factors) in enumerate(steps):
        for i, mask in enumerate(longer, k + 1):
            exchange(column, k, i, mask, lanes)
        for i, factor in enumerate(factors, k + 1):
            column[i] = column[i] - factor * column[k]
    k, longer = len(steps), []
    for i in range(k + 1, len(column)):
        longer.append(abs(column[i]) > abs(column[k]))
        exchange(column, k, i, longer[-1], lanes)
    return column[k], longer


def exchange(column, k, i, mask, lanes):
    """Exchange entries k and i where the mask is set, as in a sorting network."""
    top, entry = column[k], column[i]
    column[k], column[i] = lanes.where(mask, entry, top), lanes.where(mask, top, entry)


@body
def pivots(buffer, column):
    """Apply :func:`eliminate` to the first rows of ``buffer``, as many as ``column`` is long.

    ``column`` is a tuple, so that the compiler knows its length.
    """
    product, shortest, longest = usual_pivots(buffer, column)
    limit = USUAL if buffer.itemsize == 8 else USUAL_IN_FLOAT32
    if none_longer(broadcast(buffer, 1 / limit), shortest) and none_longer(
        longest, broadcast(buffer, limit)
    ):
        return product, broadcast(buffer, 0)
    return any_pivots(buffer, column)


def usual_pivots(buffer, column):
    """Apply :func:`eliminate_usual` to the rows of a buffer; see :func:`pivots`."""
    with np.errstate(all="ignore"):  # where pivots are unusual nothing comes of it
        return in_turn([eliminate_usual(_columns_of(buffer, column), Arrays(buffer))])[0]


def any_pivots(buffer, column):
    """Apply :func:`eliminate` to the rows of a buffer; see :func:`pivots`."""
    return in_turn([eliminate(_columns_of(buffer, column), Arrays(buffer))])[0]


def _columns_of(buffer, column):
    dim, width = len(column), width_of(buffer.dtype)
    return ([load(buffer, (i * dim + j) * width) for i in range(dim)] for j in range(dim))


class Arrays:
    """Lanes in uncompiled code."""

    where = staticmethod(np.where)

    def __init__(self, like):
        self.broadcast = lambda value: broadcast(like, value)

    def split(self, a):
        return mantissa(a), exponent(a)


# Compiled -----------------------------------------------------------------------------------


class Registers:
    """Registers of lanes while a kernel is compiled: as many as the processor's hold."""

    def __init__(self, context, builder, lanes):
        self.builder, whole = builder, context.get_value_type(lanes)
        self.vector = ir.VectorType(whole.element, lanes.width * registers.BYTES // BYTES)
        self.finished = cgutils.alloca_once(builder, self.vector)

    def load(self, pointer):
        pointer = self.builder.bitcast(pointer, self.vector.as_pointer())
        return Register(self.builder, self.builder.load(pointer, align=registers.BYTES))

    def finish(self, a):
        """Have the compiler emit what ``a`` needs before what comes next.

        It would work on all columns at a time, and store each after every step. Now it must assume
        that empty code, of which it knows a pointer to ``a``, changes the memory.
        """
        self.builder.store(a.value, self.finished)
        function = ir.FunctionType(ir.VoidType(), [self.finished.type])
        self.builder.asm(function, "", "r,~{memory}", [self.finished], True)

    def broadcast(self, value):
        return Register(self.builder, self.vector([value] * self.vector.count))

    def where(self, mask, one, other):
        return Register(self.builder, self.builder.select(mask, one.value, other.value))

    def split(self, a):
        return tuple(Register(self.builder, part) for part in split(self.builder, a.value))


class Register:
    """A stand-in for a number; operations on it become instructions."""

    def __init__(self, builder, value):
        self.builder, self.value = builder, value

    def _with(self, other, instruction):
        emit = getattr(self.builder, instruction)
        return Register(self.builder, emit(self.value, other.value, flags=("contract",)))

    def __add__(self, other):
        return self._with(other, "fadd")

    def __sub__(self, other):
        return self._with(other, "fsub")

    def __mul__(self, other):
        return self._with(other, "fmul")

    def __truediv__(self, other):
        return self._with(other, "fdiv")

    def __abs__(self):
        return Register(self.builder, absolute_of(self.builder, self.value))

    def __gt__(self, other):
        return self.builder.fcmp_ordered(">", self.value, other.value)


def _compile(function, elimination, count):
    """Compile ``function``: an elimination of a buffer that returns ``count`` lanes."""

    def signature(buffer, column):
        return types.UniTuple(Lanes(buffer.dtype), count)(buffer, column)

    @emits(function, signature)
    def _applied(context, builder, signature, arguments):
        buffer, column = signature.args
        lanes, dim = signature.return_type.dtype, len(column)
        some = Registers(context, builder, lanes)
        data = context.make_array(buffer)(context, builder, arguments[0]).data

        def columns(first):
            for j in range(dim):
                places = (cgutils.intp_t((i * dim + j) * lanes.width + first) for i in range(dim))
                entries = [some.load(builder.gep(data, [place])) for place in places]
                yield entries
                some.finish(entries[-1])

        firsts = range(0, lanes.width, some.vector.count)
        parts = [elimination(columns(first), some) for first in firsts]
        if len(parts) == 2 and dim <= IN_TURN:
            parts = in_turn(parts)
        else:
            parts = [result for part in parts for result in in_turn([part])]
        results = [side_by_side(builder, values) for values in zip(*parts, strict=True)]
        return context.make_tuple(builder, signature.return_type, results)


def side_by_side(builder, parts):
    """Return one vector of the numbers in one, two or four registers."""
    parts = [part.value for part in parts]
    while len(parts) > 1:
        count = 2 * parts[0].type.count
        order = ir.VectorType(ir.IntType(32), count)(list(range(count)))
        pairs = zip(parts[::2], parts[1::2], strict=True)
        parts = [builder.shuffle_vector(*pair, order) for pair in pairs]
    return parts[0]


_compile(usual_pivots, eliminate_usual, 3)
_compile(any_pivots, eliminate, 2)
