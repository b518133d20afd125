"""Matrix products inside compiled code.

The three products that a network layer needs, on flat arrays with offsets. Activations are
held feature by feature, ``ROWS`` rows of data side by side, so that every loop over rows is
contiguous and of known length. ``width`` is ``ROWS``, or that times the pixels of an image. A
weight is (fan_in, fan_out), ``stride`` numbers from row to row, so that a part of it can be
used where it stands.

Held like that, activations are already in the order in which a product wants to read them.
A library of linear algebra cannot know it: it would copy both factors into an order of its
own first, which for matrices this small takes a third of the time. Here a product is made of
*tiles*, a few rows of the result by a few vectors that stay in registers while the sum runs,
and nothing is copied. Only ``add_outer``, which sums over rows of data, turns one factor
around, and does it inside the registers.
"""

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from nfref.kernels.jit import body, reduction

ROWS = 128  # rows of data in a block: activations of a few layers stay in the cache


def times(weight, at, stride, fan_in, fan_out, h, h_at, out, out_at, width=ROWS):
    """out (fan_out, width) = weight^T h, with h (fan_in, width)."""
    w = _part(weight, at, stride, fan_in, fan_out)
    _part(out, out_at, width, fan_out, width)[:] = w.T @ _part(h, h_at, width, fan_in, width)


def times_transposed(weight, at, stride, fan_in, fan_out, g, g_at, out, out_at, keep,
                     width=ROWS):
    """out (fan_in, width) = keep * out + weight g, with g (fan_out, width); keep is 0 or 1."""
    w = _part(weight, at, stride, fan_in, fan_out)
    product = w @ _part(g, g_at, width, fan_out, width)
    part = _part(out, out_at, width, fan_in, width)
    part[:] = part + product if keep else product


def add_outer(h, h_at, fan_in, g, g_at, fan_out, weight, at, stride, width=ROWS):
    """weight (fan_in, fan_out) += h g^T, with h (fan_in, width) and g (fan_out, width)."""
    w = _part(weight, at, stride, fan_in, fan_out)
    w += _part(h, h_at, width, fan_in, width) @ _part(g, g_at, width, fan_out, width).T


def _part(flat, at, stride, rows, columns):
    """A (rows, columns) view into a flat array, as uncompiled code sees it."""
    return np.lib.stride_tricks.as_strided(
        flat[at:], (rows, columns), (stride * flat.itemsize, flat.itemsize))


@overload(times)
def _times(weight, at, stride, fan_in, fan_out, h, h_at, out, out_at, width=ROWS):
    def compiled(weight, at, stride, fan_in, fan_out, h, h_at, out, out_at, width=ROWS):
        _product(fan_out, fan_in, weight, at, 1, stride, h, h_at, 0, out, out_at, width)
    return compiled


@overload(times_transposed)
def _times_transposed(weight, at, stride, fan_in, fan_out, g, g_at, out, out_at, keep,
                      width=ROWS):
    def compiled(weight, at, stride, fan_in, fan_out, g, g_at, out, out_at, keep, width=ROWS):
        _product(fan_in, fan_out, weight, at, stride, 1, g, g_at, keep, out, out_at, width)
    return compiled


@overload(add_outer)
def _add_outer(h, h_at, fan_in, g, g_at, fan_out, weight, at, stride, width=ROWS):
    lanes = LANES_BYTES * 8 // g.dtype.bitwidth
    columns = VECTORS * lanes

    def compiled(h, h_at, fan_in, g, g_at, fan_out, weight, at, stride, width=ROWS):
        whole = fan_out // lanes * lanes if fan_in >= TALL else 0
        if whole > 0:
            turned = np.empty(ROWS * columns, g.dtype)
            for start in range(0, width, ROWS):
                for j in range(0, whole, columns):
                    some = min(columns, whole - j)
                    for first in range(j, j + some, lanes):
                        for r in range(0, ROWS, lanes):
                            _turn(g, g_at + first * width + start + r, width,
                                  turned, r * columns + first - j, columns)
                    _add_outer_columns(fan_in, some, h, h_at + start, width, turned, columns,
                                       weight, at + j, stride)
        _add_dots(fan_in, whole, fan_out, h, h_at, g, g_at, weight, at, stride, width)
    return compiled


# Tiles ---------------------------------------------------------------------------------------

_FEATURES = binding.get_host_cpu_features()
_WIDE = _FEATURES.get("avx512f", False)
LANES_BYTES = 64 if _WIDE else 32 if _FEATURES.get("avx", False) else 16
# A tile needs TALL * VECTORS registers for sums and a few more. There are 32, or else 16.
VECTORS = 4 if _WIDE or _FEATURES.get("neon", False) else 2
FLAT = 2 * VECTORS      # vectors of a tile of one row: enough sums to hide how long one takes
TALL = 4


@body
def _product(m, k, a, a_at, a_m, a_k, b, b_at, keep, c, c_at, width):
    """c (m, width) = keep * c + a b: a_m and a_k from row to row and column to column of a."""
    tall = m // TALL * TALL
    lanes = LANES_BYTES // c.itemsize
    for j in range(0, width, VECTORS * lanes):
        for i in range(0, tall, TALL):
            _tall_tile(k, a, a_at + i * a_m, a_m, a_k, b, b_at + j, width, keep,
                       c, c_at + i * width + j, width)
    for i in range(tall, m):
        for j in range(0, width, FLAT * lanes):
            _flat_tile(k, a, a_at + i * a_m, a_m, a_k, b, b_at + j, width, keep,
                       c, c_at + i * width + j, width)


@body
def _add_outer_columns(fan_in, columns, h, h_at, width, turned, turned_width, weight, at, stride):
    """A whole number of vectors of each row of the weight; turned is (ROWS, turned_width)."""
    lanes = LANES_BYTES // h.itemsize
    for i in range(0, fan_in - TALL + 1, TALL):
        if columns == VECTORS * lanes:
            _tall_tile(ROWS, h, h_at + i * width, width, 1, turned, 0, turned_width, 1,
                       weight, at + i * stride, stride)
        else:
            for j in range(0, columns, lanes):
                _narrow_tile(ROWS, h, h_at + i * width, width, 1, turned, j, turned_width, 1,
                             weight, at + i * stride + j, stride)
    for i in range(fan_in // TALL * TALL, fan_in):
        for j in range(0, columns, lanes):
            _single_tile(ROWS, h, h_at + i * width, width, 1, turned, j, turned_width, 1,
                         weight, at + i * stride + j, stride)


@reduction
def _add_dots(fan_in, first, fan_out, h, h_at, g, g_at, weight, at, stride, width):
    """The columns from ``first`` on, too few to fill a vector: sums along the rows of data."""
    for i in range(fan_in):
        row = h[h_at + i * width:h_at + (i + 1) * width]
        for j in range(first, fan_out):
            column = g[g_at + j * width:g_at + (j + 1) * width]
            total = g.dtype.type(0)
            for r in range(width):
                total += row[r] * column[r]
            weight[at + i * stride + j] += total


def _tile(rows, vectors):
    """A compiled c = keep * c + a b for ``rows`` rows and ``vectors`` vectors of c.

    Entry (m, k) of a stands at a_at + m a_m + k a_k, rows of b and c are b_k and c_m apart.
    """
    @intrinsic
    def tile(typing, k, a, a_at, a_m, a_k, b, b_at, b_k, keep, c, c_at, c_m):
        signature = types.void(types.intp, a, types.intp, types.intp, types.intp,
                               b, types.intp, types.intp, types.intp, c, types.intp, types.intp)
        bits = c.dtype.bitwidth
        lanes = 8 * LANES_BYTES // bits
        vector = ir.VectorType({32: ir.FloatType(), 64: ir.DoubleType()}[bits], lanes)

        def generate(context, builder, signature, arguments):
            k, a, a_at, a_m, a_k, b, b_at, b_k, keep, c, c_at, c_m = arguments

            def element(position, array, at):
                view = context.make_array(signature.args[position])(context, builder, array)
                return builder.gep(view.data, [at])

            def row_of_vectors(start):
                return [builder.bitcast(builder.gep(start, [cgutils.intp_t(v * lanes)]),
                                        vector.as_pointer()) for v in range(vectors)]

            def times_row(stride, m):
                return builder.mul(stride, cgutils.intp_t(m))

            a, b, c = element(1, a, a_at), element(5, b, b_at), element(9, c, c_at)
            # Sums are variables to Numba; LLVM makes registers of them.
            places = [row_of_vectors(builder.gep(c, [times_row(c_m, m)])) for m in range(rows)]
            sums = [[cgutils.alloca_once(builder, vector) for _ in row] for row in places]
            pairs = [pair for row in zip(places, sums) for pair in zip(*row)]
            with builder.if_else(builder.icmp_signed("==", keep, keep.type(0))) as (new, old):
                with new:
                    for _, total in pairs:
                        builder.store(vector([0.0] * lanes), total)
                with old:
                    for place, total in pairs:
                        builder.store(builder.load(place, align=bits // 8), total)
            add_product = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(vector, [vector] * 3),
                f"llvm.fmuladd.v{lanes}f{bits}")
            steps = [times_row(a_m, m) for m in range(rows)]
            with cgutils.for_range(builder, k) as loop:
                column = builder.gep(a, [builder.mul(loop.index, a_k)])
                row = [builder.load(place, align=bits // 8) for place in
                       row_of_vectors(builder.gep(b, [builder.mul(loop.index, b_k)]))]
                for step, totals in zip(steps, sums):
                    factor = _in_all_lanes(builder, builder.load(builder.gep(column, [step])),
                                           vector)
                    for numbers, total in zip(row, totals):
                        builder.store(builder.call(add_product, [factor, numbers,
                                                                 builder.load(total)]), total)
            for place, total in pairs:
                builder.store(builder.load(total), place, align=bits // 8)
            return context.get_dummy_value()

        return signature, generate

    @body
    def compiled(k, a, a_at, a_m, a_k, b, b_at, b_k, keep, c, c_at, c_m):
        tile(k, a, a_at, a_m, a_k, b, b_at, b_k, keep, c, c_at, c_m)

    return compiled


_tall_tile, _flat_tile = _tile(TALL, VECTORS), _tile(1, FLAT)
_narrow_tile, _single_tile = _tile(TALL, 1), _tile(1, 1)


def _in_all_lanes(builder, number, vector):
    nothing = vector(ir.Undefined)
    first = builder.insert_element(nothing, number, ir.IntType(32)(0))
    order = ir.VectorType(ir.IntType(32), vector.count)([0] * vector.count)
    return builder.shuffle_vector(first, nothing, order)


@intrinsic
def _turn(typing, a, at, stride, out, out_at, out_stride):
    """out (L, L) = a^T for a square of L lanes by L; rows are ``stride`` numbers apart.

    Perfect shuffles: merging row i with row i + L/2, entry by entry, log2 L times over.
    """
    signature = types.void(a, types.intp, types.intp, out, types.intp, types.intp)
    bits = a.dtype.bitwidth
    lanes = 8 * LANES_BYTES // bits
    half = lanes // 2

    def generate(context, builder, signature, arguments):
        a, at, stride, out, out_at, out_stride = arguments
        vector = ir.VectorType({32: ir.FloatType(), 64: ir.DoubleType()}[bits], lanes)

        def row(position, array, at, stride, number):
            view = context.make_array(signature.args[position])(context, builder, array)
            at = builder.add(at, builder.mul(stride, cgutils.intp_t(number)))
            return builder.bitcast(builder.gep(view.data, [at]), vector.as_pointer())

        def merged(one, other, start):
            order = [start + r // 2 + (lanes if r % 2 else 0) for r in range(lanes)]
            return builder.shuffle_vector(one, other,
                                          ir.VectorType(ir.IntType(32), lanes)(order))

        rows = [builder.load(row(0, a, at, stride, r), align=bits // 8) for r in range(lanes)]
        for _ in range(half.bit_length()):
            rows = [merged(rows[r // 2], rows[r // 2 + half], half * (r % 2))
                    for r in range(lanes)]
        for r in range(lanes):
            builder.store(rows[r], row(3, out, out_at, out_stride, r), align=bits // 8)
        return context.get_dummy_value()

    return signature, generate
