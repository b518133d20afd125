"""Numbers side by side in one vector register, one of each of several problems.

``load`` takes 64 bytes of neighbouring numbers: 8 of float64 or 16 of float32. What comes
back adds, multiplies and compares lane by lane, so a kernel reads as if it worked on a single
problem. Loops over lanes leave it to the compiler to see that, and with pivoting it does not.

Uncompiled, lanes are short NumPy arrays.
"""

import operator

import numpy as np
from numba import types
from numba.extending import models, register_model

from nfref.kernels.jit import compiles, emits, overloaded
from nfref.kernels.numba_internals import cgutils, ir
from nfref.kernels.simd import tiles

BYTES = 64


def width_of(dtype):
    """Return the number of lanes of a dtype."""
    return BYTES // np.dtype(dtype).itemsize


def load(flat, at):
    """Return the lanes that start at ``at``, a multiple of their width."""
    return flat[at : at + width_of(flat.dtype)].copy()


def load_strided(flat, at, stride):
    """Return the lanes at ``at``, ``at + stride``, ``at + 2 stride`` ..., from any place."""
    return flat[at : at + stride * width_of(flat.dtype) : stride].copy()


def load_at(flat, at, place):
    """In lane r number r of the lanes that start ``place[r]`` times their width after ``at``."""
    width = width_of(flat.dtype)
    return flat[at + place.astype(int) * width + np.arange(width)]


def prefetch(flat, at):
    """Have what stands there brought into the cache, without waiting for it."""


def transpose(flat, at, stride, out, to, apart):
    """Store at ``to``, ``to + apart``, ... what load_strided loads at ``at``, ``at + 1``, ...

    As many times as lanes are wide, from any place to any other; the numbers change places
    inside of the registers.
    """
    for c in range(width_of(flat.dtype)):
        store(out, to + c * apart, load_strided(flat, at + c, stride))


def store(flat, at, lanes):
    """Write the lanes from ``at`` on, a multiple of their width."""
    flat[at : at + len(lanes)] = lanes


def broadcast(flat, value):
    """One value in all lanes, in the dtype of ``flat``."""
    return np.full(width_of(flat.dtype), value, flat.dtype)


def where_longer(a, b, one, other):
    """Return |a| > |b| ? one : other. A NaN in b stays the longest."""
    return np.where(np.abs(a) > np.abs(b), one, other)


def none_longer(a, b):
    """Check that |a| <= |b| in every lane."""
    return bool(np.all(np.abs(a) <= np.abs(b)))


def where_equal(a, b, one, other):
    """Return a == b ? one : other."""
    return np.where(a == b, one, other)


def absolute(a):
    """Return |a|."""
    return np.abs(a)


def mantissa(a):
    """Return m of a = m 2^e with 1 <= |m| < 2; keep zeros, infinities and NaN."""
    return np.where(np.isfinite(a), 2 * np.frexp(a)[0], a).astype(a.dtype)


def exponent(a):
    """Return e of a = m 2^e, see :func:`mantissa`; 0 for zeros, infinities and NaN."""
    return np.where(np.isfinite(a) & (a != 0), np.frexp(a)[1] - 1, 0).astype(a.dtype)


# Compiled -----------------------------------------------------------------------------------


@overloaded(width_of)
def _width_of(dtype):
    width = 8 * BYTES // dtype.dtype.bitwidth
    return lambda dtype: width


class Lanes(types.Type):
    """The type of lanes of a float type."""

    def __init__(self, dtype):
        self.dtype = dtype
        self.width = 8 * BYTES // dtype.bitwidth
        super().__init__(f"Lanes({dtype})")


@register_model(Lanes)
class LanesModel(models.PrimitiveModel):
    """Lanes are a vector of LLVM's."""

    def __init__(self, manager, lanes):
        number = ir.FloatType() if lanes.dtype.bitwidth == 32 else ir.DoubleType()
        super().__init__(manager, lanes, ir.VectorType(number, lanes.width))


def _vector(context, lanes):
    return context.get_value_type(lanes)


def _place(context, builder, array_type, array, at):
    """Return a pointer to number ``at`` of an array."""
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [at])


def pointer_at(context, builder, array_type, array, at, lanes):
    return builder.bitcast(
        _place(context, builder, array_type, array, at), _vector(context, lanes).as_pointer()
    )


@emits(load, lambda flat, at: Lanes(flat.dtype)(flat, types.intp))
def _load(context, builder, signature, arguments):
    pointer = pointer_at(context, builder, signature.args[0], *arguments, signature.return_type)
    return builder.load(pointer, align=BYTES)


@emits(load_strided, lambda flat, at, stride: Lanes(flat.dtype)(flat, types.intp, types.intp))
def _load_strided(context, builder, signature, arguments):
    array, at, stride = arguments
    lanes = signature.return_type
    vector = ir.Constant(_vector(context, lanes), ir.Undefined)
    for lane in range(lanes.width):
        number = builder.load(_place(context, builder, signature.args[0], array, at))
        vector = builder.insert_element(vector, number, ir.Constant(ir.IntType(32), lane))
        at = builder.add(at, stride)
    return vector


@emits(load_at, lambda flat, at, place: place(flat, types.intp, place))
def _load_at(context, builder, signature, arguments):
    array, at, place = arguments
    lanes, whole = signature.return_type, ir.IntType(64)
    steps = builder.fptosi(place, ir.VectorType(whole, lanes.width))
    vector = ir.Constant(_vector(context, lanes), ir.Undefined)
    for r in range(lanes.width):
        lane = ir.Constant(ir.IntType(32), r)
        step = builder.mul(builder.extract_element(steps, lane), whole(lanes.width))
        there = builder.add(at, builder.add(step, whole(r)))
        number = builder.load(_place(context, builder, signature.args[0], array, there))
        vector = builder.insert_element(vector, number, lane)
    return vector


@emits(prefetch, lambda flat, at: types.void(flat, types.intp))
def _prefetch(context, builder, signature, arguments):
    number = ir.IntType(32)
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t] + 3 * [number]),
        "llvm.prefetch.p0i8",
    )
    place = _place(context, builder, signature.args[0], *arguments)
    place = builder.bitcast(place, cgutils.voidptr_t)
    read, second_level, data = number(0), number(2), number(1)
    builder.call(function, [place, read, second_level, data])
    return context.get_dummy_value()


@compiles(transpose)
def _transpose(flat, at, stride, out, to, apart):
    width, block = width_of(flat.dtype), tiles.lanes_of(tiles.start_at(flat, at))
    for c in range(0, width, block):
        for r in range(0, width, block):
            source = tiles.start_at(flat, at + c + r * stride)
            tiles.transpose(source, stride, tiles.start_at(out, to + c * apart + r), apart)


@emits(store, lambda flat, at, lanes: types.void(flat, types.intp, lanes))
def _store(context, builder, signature, arguments):
    array_type, _, lanes = signature.args
    pointer = pointer_at(context, builder, array_type, *arguments[:2], lanes)
    builder.store(arguments[2], pointer, align=BYTES)
    return context.get_dummy_value()


@emits(broadcast, lambda flat, value: Lanes(flat.dtype)(flat, flat.dtype))
def _broadcast(context, builder, signature, arguments):
    return tiles.in_all_lanes(builder, arguments[1], _vector(context, signature.return_type))


def absolute_of(builder, value):
    vector = value.type
    name = f"llvm.fabs.v{vector.count}{vector.element.intrinsic_name}"
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(vector, [vector]), name
    )
    return builder.call(function, [value])


def _sizes(builder, arguments):
    """Return |a| and |b| of the first two arguments."""
    return (absolute_of(builder, value) for value in arguments[:2])


@emits(where_longer, lambda a, b, one, other: a(a, a, a, a))
def _where_longer(context, builder, signature, arguments):
    longer = builder.fcmp_ordered(">", *_sizes(builder, arguments))
    return builder.select(longer, *arguments[2:])


@emits(none_longer, lambda a, b: types.boolean(a, b))
def _none_longer(context, builder, signature, arguments):
    fine = builder.fcmp_ordered("<=", *_sizes(builder, arguments))
    lanes = builder.bitcast(fine, ir.IntType(signature.args[0].width))
    return builder.icmp_signed("==", lanes, lanes.type(-1))


@emits(where_equal, lambda a, b, one, other: a(a, a, a, a))
def _where_equal(context, builder, signature, arguments):
    return builder.select(builder.fcmp_ordered("==", *arguments[:2]), *arguments[2:])


def split(builder, value):
    """Return mantissa and exponent by the bits of IEEE 754."""
    vector = value.type
    bits, kept = (32, 23) if vector.element == ir.FloatType() else (64, 52)
    bias = 2 ** (bits - kept - 2) - 1
    integers = ir.VectorType(ir.IntType(bits), vector.count)

    def whole(number):
        return ir.Constant(integers, [number] * vector.count)

    def real(number):
        return ir.Constant(vector, [number] * vector.count)

    def exponent_bits(value):
        return builder.and_(
            builder.lshr(builder.bitcast(value, integers), whole(kept)), whole(2 * bias + 1)
        )

    # Numbers too small for an exponent of their own are lifted before they are split.
    small = builder.icmp_unsigned("==", exponent_bits(value), whole(0))
    value = builder.select(small, builder.fmul(value, real(2.0**kept)), value)
    field = exponent_bits(value)
    special = builder.or_(
        builder.icmp_unsigned("==", field, whole(2 * bias + 1)),
        builder.fcmp_ordered("==", value, real(0.0)),
    )
    cleared = builder.and_(
        builder.bitcast(value, integers), whole(~((2 * bias + 1) << kept) & (2**bits - 1))
    )
    unit = builder.bitcast(builder.or_(cleared, whole(bias << kept)), vector)
    power = builder.sitofp(builder.sub(field, whole(bias)), vector)
    power = builder.fsub(power, builder.select(small, real(float(kept)), real(0.0)))
    return (builder.select(special, value, unit), builder.select(special, real(0.0), power))


@emits(absolute, lambda a: a(a))
def _absolute(context, builder, signature, arguments):
    return absolute_of(builder, *arguments)


@emits(mantissa, lambda a: a(a))
def _mantissa(context, builder, signature, arguments):
    return split(builder, *arguments)[0]


@emits(exponent, lambda a: a(a))
def _exponent(context, builder, signature, arguments):
    return split(builder, *arguments)[1]


def _emit_operator(symbol, instruction):
    @emits(symbol, lambda a, b: a(a, b) if isinstance(a, Lanes) and a == b else None, Lanes, Lanes)
    def _operate(context, builder, signature, arguments):
        return getattr(builder, instruction)(*arguments, flags=("contract",))


for _symbol, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _emit_operator(_symbol, _instruction)
