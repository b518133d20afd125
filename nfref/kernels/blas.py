"""Matrix products inside compiled code.

The three products that a network layer needs, on flat arrays with offsets. Activations are
held feature by feature, ``ROWS`` rows of data side by side, so that every loop over rows is
contiguous and of known length. ``width`` is ``ROWS``, or that times the pixels of an image. A
weight is (fan_in, fan_out), ``stride`` numbers from row to row, so that a part of it can be
used where it stands.

They call the BLAS that SciPy brings, by the door that Numba uses for ``np.dot``; ``np.dot``
itself can neither add to its output nor use part of an array without a copy.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

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
        if fan_in > 0 and fan_out > 0:
            _gemm(True, False, fan_out, width, fan_in, weight, at, stride, h, h_at, width, 0,
                  out, out_at, width)
        else:
            out[out_at:out_at + fan_out * width] = 0
    return compiled


@overload(times_transposed)
def _times_transposed(weight, at, stride, fan_in, fan_out, g, g_at, out, out_at, keep,
                      width=ROWS):
    def compiled(weight, at, stride, fan_in, fan_out, g, g_at, out, out_at, keep, width=ROWS):
        if fan_in > 0 and fan_out > 0:
            _gemm(False, False, fan_in, width, fan_out, weight, at, stride, g, g_at, width, keep,
                  out, out_at, width)
        elif keep == 0:
            out[out_at:out_at + fan_in * width] = 0
    return compiled


@overload(add_outer)
def _add_outer(h, h_at, fan_in, g, g_at, fan_out, weight, at, stride, width=ROWS):
    def compiled(h, h_at, fan_in, g, g_at, fan_out, weight, at, stride, width=ROWS):
        if fan_in > 0 and fan_out > 0:
            _gemm(False, True, fan_in, fan_out, width, h, h_at, width, g, g_at, width, 1,
                  weight, at, stride)
    return compiled


@intrinsic
def _gemm(typing, turn_a, turn_b, m, n, k, a, a_at, lda, b, b_at, ldb, keep, c, c_at, ldc):
    """c (m, n) = keep * c + op(a) op(b), row-major."""
    signature = types.void(types.boolean, types.boolean, types.intp, types.intp, types.intp,
                           a, types.intp, types.intp, b, types.intp, types.intp, types.intp,
                           c, types.intp, types.intp)
    kind = {types.float32: "s", types.float64: "d"}[c.dtype]

    def generate(context, builder, signature, arguments):
        turn_a, turn_b, m, n, k, a, a_at, lda, b, b_at, ldb, keep, c, c_at, ldc = arguments
        char, size, pointer = ir.IntType(8), cgutils.intp_t, cgutils.voidptr_t
        number = ir.FloatType() if kind == "s" else ir.DoubleType()

        def flag(turn):
            return builder.select(turn, ir.Constant(char, ord("t")), ir.Constant(char, ord("n")))

        def element(position, array, at):
            view = context.make_array(signature.args[position])(context, builder, array)
            return builder.bitcast(builder.gep(view.data, [at]), pointer)

        def constant(value):
            return builder.bitcast(cgutils.alloca_once_value(builder, value), pointer)

        door = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.IntType(32), [char] * 3 + [size] * 3 + [pointer] * 2
                            + [size, pointer, size, pointer, pointer, size]),
            "numba_xxgemm")
        # BLAS is column-major: it sees all three matrices transposed, and c^T = b^T a^T.
        builder.call(door, [
            ir.Constant(char, ord(kind)), flag(turn_b), flag(turn_a), n, m, k,
            constant(ir.Constant(number, 1.0)), element(8, b, b_at), ldb,
            element(5, a, a_at), lda, constant(builder.sitofp(keep, number)),
            element(12, c, c_at), ldc])
        return context.get_dummy_value()

    return signature, generate
