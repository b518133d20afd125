"""Tiles of a matrix product: a few rows by a few vectors of the result, kept in registers.

Vectors are of LLVM's, as long as a register of this processor, and everything here works on
pointers. A tile adds up its sum over k without storing anything in between, and reads both
factors where they stand: from b whole vectors of a row, from a single numbers.
"""

from numba import types

from nfref.kernels.jit import overloaded
from nfref.kernels.numba_internals import cgutils, intrinsic, ir, populate_array
from nfref.kernels.registers import BYTES


@intrinsic
def start_at(typing, numbers, at):
    """Return a pointer to number ``at`` of an array, or from a pointer on."""
    is_array = isinstance(numbers, types.Array)
    pointer = types.CPointer(numbers.dtype)

    def generate(context, builder, signature, arguments):
        numbers, at = arguments
        if is_array:
            numbers = context.make_array(signature.args[0])(context, builder, numbers).data
        return builder.gep(numbers, [at])

    return pointer(numbers, types.intp), generate


@intrinsic
def matrix_at(typing, pointer, rows, columns):
    """Return the numbers from a pointer on as an array (rows, columns)."""

    def generate(context, builder, signature, arguments):
        return matrix(context, builder, signature.return_type, *arguments)

    return types.Array(pointer.dtype, 2, "C")(pointer, types.intp, types.intp), generate


def matrix(context, builder, kind, data, rows, columns):
    """Return an array that owns nothing, from values of LLVM's."""
    view = context.make_array(kind)(context, builder)
    item = cgutils.intp_t(context.get_abi_sizeof(context.get_data_type(kind.dtype)))
    populate_array(view, data, [rows, columns], [builder.mul(columns, item), item], item, None)
    return view._getvalue()


def lanes_of(pointer):
    """Return the number of numbers in a vector."""


@overloaded(lanes_of)
def _lanes_of(pointer):
    lanes = 8 * BYTES // pointer.dtype.bitwidth
    return lambda pointer: lanes


def tile_of(rows, vectors, size=BYTES):
    """Return an intrinsic c = keep * c + a b for ``rows`` rows and ``vectors`` vectors of c.

    Entry (m, k) of a stands at m a_m + k a_k; rows of b and c are b_k and c_m apart. A vector has
    ``size`` bytes, or one number if these are too few for it.
    """

    @intrinsic
    def tile(typing, k, a, a_m, a_k, b, b_k, keep, c, c_m):
        whole = types.intp
        signature = types.void(whole, a, whole, whole, b, whole, whole, c, whole)
        vector = _vector_of(c, size)
        align = c.dtype.bitwidth // 8

        def generate(context, builder, signature, arguments):
            k, a, a_m, a_k, b, b_k, keep, c, c_m = arguments

            def vectors_from(row):
                return [
                    builder.bitcast(
                        builder.gep(row, [cgutils.intp_t(v * vector.count)]), vector.as_pointer()
                    )
                    for v in range(vectors)
                ]

            def rows_apart(stride):
                return [builder.mul(stride, cgutils.intp_t(m)) for m in range(rows)]

            places = [vectors_from(builder.gep(c, [step])) for step in rows_apart(c_m)]
            # To LLVM sums are variables; it makes registers of them.
            sums = [[cgutils.alloca_once(builder, vector) for _ in row] for row in places]
            pairs = [pair for row in zip(places, sums) for pair in zip(*row)]
            with builder.if_else(builder.icmp_signed("==", keep, keep.type(0))) as (new, old):
                with new:
                    for _, total in pairs:
                        builder.store(vector([0.0] * vector.count), total)
                with old:
                    for place, total in pairs:
                        builder.store(builder.load(place, align=align), total)
            add_product = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(vector, [vector] * 3),
                f"llvm.fmuladd.v{vector.count}{vector.element.intrinsic_name}",
            )
            steps = rows_apart(a_m)
            with cgutils.for_range(builder, k) as loop:
                column = builder.gep(a, [builder.mul(loop.index, a_k)])
                row = builder.gep(b, [builder.mul(loop.index, b_k)])
                numbers = [builder.load(place, align=align) for place in vectors_from(row)]
                for step, totals in zip(steps, sums):
                    factor = builder.load(builder.gep(column, [step]))
                    factor = in_all_lanes(builder, factor, vector)
                    for some, total in zip(numbers, totals):
                        result = builder.call(add_product, [factor, some, builder.load(total)])
                        builder.store(result, total)
            for place, total in pairs:
                builder.store(builder.load(total), place, align=align)
            return context.get_dummy_value()

        return signature, generate

    return tile


def packing_of(count):
    """Return an intrinsic that copies ``count`` numbers of each of k rows, side by side.

    Rows of a are a_k apart.
    """

    @intrinsic
    def pack(typing, k, a, a_k, out):
        bits = a.dtype.bitwidth

        def generate(context, builder, signature, arguments):
            k, a, a_k, out = arguments
            vector = ir.VectorType(_vector_of(signature.args[1]).element, count).as_pointer()
            with cgutils.for_range(builder, k) as loop:
                steps = (a, a_k), (out, cgutils.intp_t(count))
                row, to = (
                    builder.bitcast(builder.gep(start, [builder.mul(loop.index, step)]), vector)
                    for start, step in steps
                )
                builder.store(builder.load(row, align=bits // 8), to, align=bits // 8)
            return context.get_dummy_value()

        return types.void(types.intp, a, types.intp, out), generate

    return pack


@intrinsic
def transpose(typing, a, stride, out, out_stride):
    """Compute out (L, L) = a^T for L numbers in a vector; ``stride`` numbers from row to row.

    Blocks off the diagonal change places: halves of the rows, then quarters, then single numbers.
    Processors do that faster than other orders of the same shuffles.
    """
    signature = types.void(a, types.intp, out, types.intp)
    vector = _vector_of(a)
    lanes, align = vector.count, BYTES // vector.count

    def generate(context, builder, signature, arguments):
        a, stride, out, out_stride = arguments

        def row(numbers, stride, r):
            place = builder.gep(numbers, [builder.mul(stride, cgutils.intp_t(r))])
            return builder.bitcast(place, vector.as_pointer())

        rows = [builder.load(row(a, stride, r), align=align) for r in range(lanes)]
        size = lanes // 2
        while size:
            for r in range(lanes):
                if not r & size:
                    pair = rows[r], rows[r + size]
                    kept = [c - size + lanes if c & size else c for c in range(lanes)]
                    moved = [c + lanes if c & size else c + size for c in range(lanes)]
                    rows[r] = builder.shuffle_vector(*pair, _order(kept))
                    rows[r + size] = builder.shuffle_vector(*pair, _order(moved))
            size //= 2
        for r, numbers in enumerate(rows):
            builder.store(numbers, row(out, out_stride, r), align=align)
        return context.get_dummy_value()

    return signature, generate


def stack_of(vectors):
    """Return a compiled function that gives a kernel ``vectors`` vectors on its stack."""

    @intrinsic
    def vectors_like(typing, pointer):
        def generate(context, builder, signature, arguments):
            whole = cgutils.alloca_once(builder, ir.ArrayType(_vector_of(pointer), vectors))
            whole.align = BYTES
            return builder.bitcast(whole, arguments[0].type)

        return pointer(pointer), generate

    return vectors_like


def _vector_of(pointer, size=BYTES):
    bits = pointer.dtype.bitwidth
    return ir.VectorType({32: ir.FloatType(), 64: ir.DoubleType()}[bits], max(8 * size // bits, 1))


def _order(numbers):
    return ir.VectorType(ir.IntType(32), len(numbers))(numbers)


def in_all_lanes(builder, number, vector):
    """Return a vector with the number in every lane."""
    nothing = vector(ir.Undefined)
    first = builder.insert_element(nothing, number, ir.IntType(32)(0))
    return builder.shuffle_vector(first, nothing, _order([0] * vector.count))
