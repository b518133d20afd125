"""Elimination of the smallest matrices, written out: no loop is left, and no buffer.

Up to D = 8 the loops of ``small_matrices`` cost as much as what they do. Here Python runs them,
once, when a kernel is compiled: ``eliminate`` is ordinary code on lanes, and instead of
numbers it is handed names of registers, whose operators emit instructions. Uncompiled it is
handed NumPy arrays.
"""

import numpy as np
from numba import types

from nfref.kernels.jit import body, emits
from nfref.kernels.numba_internals import cgutils
from nfref.kernels.simd.lanes import (
    BYTES,
    Lanes,
    absolute_of,
    broadcast,
    exponent,
    load,
    mantissa,
    none_longer,
    pointer_at,
    split,
    width_of,
)

LARGEST = 8
LIFT = 2.0**100  # beyond it, and below one over it, pivots are scaled: 2^127 is float32's limit
# A product of eight pivots between one over it and it is a normal number.
USUAL, USUAL_IN_FLOAT32 = 2.0**100, 2.0**15


def eliminate(rows, lanes):
    """Return mantissa and exponent of the product of the pivots of ``rows``, lists of lanes.

    ``lanes`` has what can be done with them.
    """
    where = lanes.where
    zero, one, tiny, huge = (lanes.broadcast(value) for value in (0.0, 1.0, 1 / LIFT, LIFT))
    product, power = one, zero
    for k in range(len(rows)):
        pivot = exchange(rows, k, lanes)
        mantissa, exponent = lanes.split(pivot)
        product, power = product * mantissa, power + exponent
        # See ``small_matrices.eliminate`` for pivots that are zero, very small or very large.
        size = abs(pivot)
        pivot = where(size > zero, pivot, one)
        lift = where(tiny > size, huge, where(size > huge, tiny, one))
        scale = one / (pivot * lift)
        subtract(rows, k, [row[k] * lift * scale for row in rows[k + 1 :]])
    return product, power


def eliminate_usual(rows, lanes):
    """Return the product of the pivots of ``rows``, and the shortest and the longest of these.

    If these two are within ``USUAL``, the product is, to the bit, the result of :func:`eliminate`.
    For D = 4 it takes about half of the time.
    """
    where, one = lanes.where, lanes.broadcast(1.0)
    product = shortest = longest = one
    for k in range(len(rows)):
        pivot = exchange(rows, k, lanes)
        size, product, scale = abs(pivot), product * pivot, one / pivot
        shortest = where(shortest > size, size, shortest)
        longest = where(size > longest, size, longest)
        subtract(rows, k, [row[k] * scale for row in rows[k + 1 :]])
    return product, shortest, longest


def exchange(rows, k, lanes):
    """Row k for every one below whose entry in column k is longer, as in a sorting network.

    Returns the pivot.
    """
    top = rows[k]
    for row in rows[k + 1 :]:
        longer = abs(row[k]) > abs(top[k])
        for j in range(k, len(rows)):
            top[j], row[j] = (
                lanes.where(longer, row[j], top[j]),
                lanes.where(longer, top[j], row[j]),
            )
    return top[k]


def subtract(rows, k, factors):
    """Subtract row k times its factor from each row below, right of column k."""
    for row, factor in zip(rows[k + 1 :], factors, strict=True):
        for j in range(k + 1, len(rows)):
            row[j] = row[j] - factor * rows[k][j]


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
        return eliminate_usual(_rows_of(buffer, column), Arrays(buffer))


def any_pivots(buffer, column):
    """Apply :func:`eliminate` to the rows of a buffer; see :func:`pivots`."""
    return eliminate(_rows_of(buffer, column), Arrays(buffer))


def _rows_of(buffer, column):
    dim, width = len(column), width_of(buffer.dtype)
    return [[load(buffer, (i * dim + j) * width) for j in range(dim)] for i in range(dim)]


class Arrays:
    """Lanes in uncompiled code."""

    where = staticmethod(np.where)

    def __init__(self, like):
        self.broadcast = lambda value: broadcast(like, value)

    def split(self, a):
        return mantissa(a), exponent(a)


# Compiled -----------------------------------------------------------------------------------


class Registers:
    """Lanes while a kernel is compiled."""

    def __init__(self, context, builder, lanes):
        self.context, self.builder, self.lanes = context, builder, lanes
        self.vector = context.get_value_type(lanes)

    def load(self, array_type, array, at):
        given = array_type, array, cgutils.intp_t(at), self.lanes
        place = pointer_at(self.context, self.builder, *given)
        return Register(self, self.builder.load(place, align=BYTES))

    def broadcast(self, value):
        return Register(self, self.vector([value] * self.lanes.width))

    def where(self, mask, one, other):
        return Register(self, self.builder.select(mask, one.value, other.value))

    def split(self, a):
        parts = split(self.context, self.builder, self.lanes, a.value)
        return tuple(Register(self, part) for part in parts)


class Register:
    """A stand-in for a number; operations on it become instructions."""

    def __init__(self, registers, value):
        self.registers, self.value = registers, value

    def _with(self, other, instruction):
        emit = getattr(self.registers.builder, instruction)
        return Register(self.registers, emit(self.value, other.value, flags=("contract",)))

    def __add__(self, other):
        return self._with(other, "fadd")

    def __sub__(self, other):
        return self._with(other, "fsub")

    def __mul__(self, other):
        return self._with(other, "fmul")

    def __truediv__(self, other):
        return self._with(other, "fdiv")

    def __abs__(self):
        own = self.registers
        return Register(own, absolute_of(own.context, own.builder, own.lanes, self.value))

    def __gt__(self, other):
        return self.registers.builder.fcmp_ordered(">", self.value, other.value)


def _compile(function, elimination, count):
    """Compile ``function``: an elimination of a buffer that returns ``count`` lanes."""

    def signature(buffer, column):
        return types.UniTuple(Lanes(buffer.dtype), count)(buffer, column)

    @emits(function, signature)
    def _applied(context, builder, signature, arguments):
        buffer, column = signature.args
        registers, dim = Registers(context, builder, signature.return_type.dtype), len(column)
        width = registers.lanes.width
        rows = [
            [registers.load(buffer, arguments[0], (i * dim + j) * width) for j in range(dim)]
            for i in range(dim)
        ]
        values = [result.value for result in elimination(rows, registers)]
        return context.make_tuple(builder, signature.return_type, values)


_compile(usual_pivots, eliminate_usual, 3)
_compile(any_pivots, eliminate, 2)
