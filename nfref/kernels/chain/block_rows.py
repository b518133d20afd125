"""Units, (ROWS,) numbers each, one for each row of a block: where they are, what is done to them.

Loops are written out, because an assignment of arrays checks shapes, and to compile the text of its
error takes seconds.
"""

from numba import types

from nfref.kernels.jit import body, emits, reduction
from nfref.kernels.numba_internals import cgutils
from nfref.kernels.simd.matmul import ROWS
from nfref.kernels.simd.tiles import matrix


def matrix_of(flat, at, rows, columns):
    """The (rows, columns) numbers that start at ``at``.

    Loops go over such views, because their indices are known not to be negative; otherwise
    every access checks, and nothing fills the vector registers.
    """
    return flat[at : at + rows * columns].reshape(rows, columns)


def units_of(flat, at, units):
    """The (units, ROWS) numbers that start at ``at``."""
    return matrix_of(flat, at, units, ROWS)


def _signature(flat, *places):
    return types.Array(flat.dtype, 2, "C")(flat, *[types.intp] * len(places))


@emits(matrix_of, lambda flat, at, rows, columns: _signature(flat, at, rows, columns))
def _matrix_of(context, builder, signature, arguments):
    """Without slicing and reshaping, which check at run time what is known."""
    flat, at, rows, columns = arguments
    flat = context.make_array(signature.args[0])(context, builder, flat)
    return matrix(
        context, builder, signature.return_type, builder.gep(flat.data, [at]), rows, columns
    )


@emits(units_of, lambda flat, at, units: _signature(flat, at, units))
def _units_of(context, builder, signature, arguments):
    return _matrix_of(context, builder, signature, [*arguments, cgutils.intp_t(ROWS)])


@body
def clear(units):
    for j in range(len(units)):
        clear_row(units, j)


@body
def clear_row(units, j):
    for r in range(ROWS):
        units[j, r] = 0


@body
def copy_row(source, i, target, j):
    """target[j] = source[i]."""
    for r in range(ROWS):
        target[j, r] = source[i, r]


@body
def copy_rows(count, source, i, target, j):
    """``count`` units of source, from i on, to where those of target are, from j on."""
    for k in range(count):
        copy_row(source, i + k, target, j + k)


@body
def add_row(source, i, target, j):
    """target[j] += source[i]."""
    for r in range(ROWS):
        target[j, r] += source[i, r]


@body
def add_rows(count, source, i, target, j):
    """``count`` units of source, from i on, are added to those of target, from j on."""
    for k in range(count):
        add_row(source, i + k, target, j + k)


@body
def add_multiple(factor, source, i, target, j):
    """target[j] += factor * source[i]."""
    for r in range(ROWS):
        target[j, r] += factor * source[i, r]


@body
def add_product(one, i, other, k, target, j):
    """target[j] += one[i] * other[k]."""
    for r in range(ROWS):
        target[j, r] += one[i, r] * other[k, r]


@reduction
def add_row_sums(g, g_at, units, sums, at, width=ROWS):
    """sums (units,) += the sum over the rows of g (units, width)."""
    g = matrix_of(g, g_at, units, width)
    sums = sums[at : at + units]
    for j in range(units):
        total = g.dtype.type(0)
        for r in range(width):
            total += g[j, r]
        sums[j] += total
