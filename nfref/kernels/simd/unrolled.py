"""Elimination of the smallest matrices, written out: no loop is left, and no buffer.

Up to D = 8 the loops of ``small_matrices`` cost as much as what they do. Here Python runs them,
once, when a kernel is compiled: ``eliminate`` is ordinary code on lanes, and instead of
numbers it is handed names of registers, whose operators emit instructions. Uncompiled it is
handed NumPy arrays.
"""

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nfref.kernels.jit import overloaded
from nfref.kernels.simd.lanes import (BYTES, Lanes, absolute_of, broadcast, exponent, load,
                                      mantissa, pointer_at, split, width_of)

LARGEST = 8
LIFT = 2.0 ** 100   # beyond it, and below one over it, pivots are scaled: 2^127 is float32's limit


def eliminate(rows, lanes):
    """Mantissa and exponent of the product of the pivots of ``rows``, a list of lists of lanes.

    ``lanes`` has what can be done with them. Rows are exchanged as in a sorting network: row k
    with every one below whose entry in column k is longer.
    """
    dim, where = len(rows), lanes.where
    zero, one, tiny, huge = (lanes.broadcast(value) for value in (0.0, 1.0, 1 / LIFT, LIFT))
    product, power = one, zero
    for k, top in enumerate(rows):
        for row in rows[k + 1:]:
            longer = abs(row[k]) > abs(top[k])
            for j in range(k, dim):
                top[j], row[j] = where(longer, row[j], top[j]), where(longer, top[j], row[j])
        pivot = top[k]
        mantissa, exponent = lanes.split(pivot)
        product, power = product * mantissa, power + exponent
        # See ``small_matrices.eliminate`` for pivots that are zero, very small or very large.
        size = abs(pivot)
        pivot = where(size > zero, pivot, one)
        lift = where(tiny > size, huge, where(size > huge, tiny, one))
        scale = one / (pivot * lift)
        for row in rows[k + 1:]:
            factor = row[k] * lift * scale
            for j in range(k + 1, dim):
                row[j] = row[j] - factor * top[j]
    return product, power


def pivots(buffer, column):
    """:func:`eliminate` for the rows at the front of ``buffer``, as many as ``column`` is long.

    ``column`` is a tuple, so that its length is known to the compiler.
    """
    dim, width = len(column), width_of(buffer.dtype)
    rows = [[load(buffer, (i * dim + j) * width) for j in range(dim)] for i in range(dim)]
    return eliminate(rows, Arrays(buffer))


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
        place = pointer_at(self.context, self.builder, array_type, array, cgutils.intp_t(at),
                           self.lanes)
        return Register(self, self.builder.load(place, align=BYTES))

    def broadcast(self, value):
        return Register(self, self.vector([value] * self.lanes.width))

    def where(self, mask, one, other):
        return Register(self, self.builder.select(mask, one.value, other.value))

    def split(self, a):
        parts = split(self.context, self.builder, self.lanes, a.value)
        return tuple(Register(self, part) for part in parts)


class Register:
    """Stands for a number; what is done to it becomes instructions."""

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
        registers = self.registers
        return Register(registers, absolute_of(registers.context, registers.builder,
                                               registers.lanes, self.value))

    def __gt__(self, other):
        return self.registers.builder.fcmp_ordered(">", self.value, other.value)


@intrinsic
def _pivots(typing, buffer, column):
    lanes, dim = Lanes(buffer.dtype), len(column)
    pair = types.UniTuple(lanes, 2)

    def generate(context, builder, signature, arguments):
        registers = Registers(context, builder, lanes)
        rows = [[registers.load(signature.args[0], arguments[0], (i * dim + j) * lanes.width)
                 for j in range(dim)] for i in range(dim)]
        product, power = eliminate(rows, registers)
        return context.make_tuple(builder, pair, [product.value, power.value])

    return pair(buffer, column), generate


@overloaded(pivots)
def _compiled_pivots(buffer, column):
    return lambda buffer, column: _pivots(buffer, column)
