"""Units: (ROWS,) numbers each, one for each row of a block, and operations on them.

Loops are written out. An assignment of arrays checks shapes, and the text of its error takes
seconds to compile.
"""

from numba import types

from nfref.kernels.jit import body, emits, reduction
from nfref.kernels.numba_internals import cgutils
from nfref.kernels.simd.matmul import ROWS
from nfref.kernels.simd.tiles import matrix


def matrix_of(flat, at, rows, columns):
    """Return a view of the (rows, columns) numbers that start at ``at``.

    Loops go over such views, because their indices are known not to be negative. Otherwise every
    access checks, and nothing fills the vector registers.
    """
    return flat[at : at + rows * columns].reshape(rows, columns)


def units_of(flat, at, units):
    """Return a view of the (units, ROWS) numbers that start at ``at``."""
    return matrix_of(flat, at, units, ROWS)


def rows_of(units, first, count):
    """Return a view of ``count`` of the units (..., ROWS), from ``first`` on.

    Unlike a slice it tells the compiler how far its rows are apart. So loops need not check at run
    time whether one row overlaps another, which costs more than a loop over few columns.
    """
    return units[first : first + count]


def _signature(flat, *places):
    return types.Array(flat.dtype, 2, "C")(flat, *[types.intp] * len(places))


@emits(matrix_of, lambda flat, at, rows, columns: _signature(flat, at, rows, columns))
def _matrix_of(context, builder, signature, arguments):
    """Emit the view without slicing and reshaping, whose checks at run time are needless."""
    flat, at, rows, columns = arguments
    flat = context.make_array(signature.args[0])(context, builder, flat)
    return matrix(
        context, builder, signature.return_type, builder.gep(flat.data, [at]), rows, columns
    )


@emits(units_of, lambda flat, at, units: _signature(flat, at, units))
def _units_of(context, builder, signature, arguments):
    return _matrix_of(context, builder, signature, [*arguments, cgutils.intp_t(ROWS)])


@emits(rows_of, lambda units, first, count: _signature(units, first, count))
def _rows_of(context, builder, signature, arguments):
    units, first, count = arguments
    numbers = context.make_array(signature.args[0])(context, builder, units)
    columns = cgutils.intp_t(ROWS)
    place = builder.gep(numbers.data, [builder.mul(first, columns)])
    return matrix(context, builder, signature.return_type, place, count, columns)


@body
def clear(units):
    for j in range(len(units)):
        clear_row(units, j)


@body
def clear_row(units, j):
    for r in range(ROWS):
        units[j, r] = 0


@body
def copy_row(source, i, target, j, columns=ROWS):
    """Set target[j] = source[i], in the first columns."""
    for r in range(columns):
        target[j, r] = source[i, r]


@body
def copy_rows(count, source, i, target, j, columns=ROWS):
    """Copy ``count`` units of source, from i on, to those of target, from j on."""
    for k in range(count):
        copy_row(source, i + k, target, j + k, columns)


@body
def add_row(source, i, target, j, columns=ROWS):
    """Add source[i] to target[j], in the first columns."""
    for r in range(columns):
        target[j, r] += source[i, r]


@body
def add_rows(count, source, i, target, j, columns=ROWS):
    """Add ``count`` units of source, from i on, to those of target, from j on."""
    for k in range(count):
        add_row(source, i + k, target, j + k, columns)


@body
def add_multiple(factor, source, i, target, j):
    """Add factor * source[i] to target[j]."""
    for r in range(ROWS):
        target[j, r] += factor * source[i, r]


@body
def add_product(one, i, other, k, target, j):
    """Add one[i] * other[k] to target[j]."""
    for r in range(ROWS):
        target[j, r] += one[i, r] * other[k, r]


@reduction
def add_row_sums(g, g_at, units, sums, at, width=ROWS, columns=ROWS):
    """Add the sums over the rows of g (units, width) to ``sums`` (units,).

    If ``columns`` is not ROWS, only the first columns are added.
    """
    some = width if columns == ROWS else columns
    g = matrix_of(g, g_at, units, width)
    sums = sums[at : at + units]
    for j in range(units):
        total = g.dtype.type(0)
        for r in range(some):
            total += g[j, r]
        sums[j] += total
