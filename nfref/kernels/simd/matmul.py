"""Matrix products inside compiled code.

The three products that a network layer needs, on flat arrays with offsets. Activations are held
feature by feature, ``ROWS`` rows of data side by side, so that every loop over rows is contiguous.
``width`` is ``ROWS``, or that times the pixels of an image; it is 1 if there is a single row, whose
features then stand side by side. A weight is (fan_in, fan_out), ``stride`` numbers from row to row,
so that a part of it can be used where it stands.

Held like that, activations are already in the order in which a product wants to read them.
A library of linear algebra cannot know it: it would copy both factors into an order of its
own first, which for matrices this small takes a third of the time. Here products are made of
:mod:`nfref.kernels.simd.tiles`, and nothing is copied. Only ``add_outer``, which sums over rows of
data, transposes one factor, inside the registers.

Code that is part of a kernel is optimised again in every function on the way there, which for
tiles takes many seconds. So products are compiled once, by themselves, and kernels find them
by name: :func:`ensure_compiled` comes before a kernel.
"""

import numba
import numpy as np
from numba import types

from nfref.kernels.jit import address, body, called_kernel, compiles, reduction
from nfref.kernels.numba_internals import binding, cgutils, config, intrinsic
from nfref.kernels.registers import BYTES, FLAT, TALL, VECTORS
from nfref.kernels.simd.tiles import (
    lanes_of,
    matrix_at,
    packing_of,
    stack_of,
    start_at,
    tile_of,
    transpose,
)

ROWS = 128  # rows of data in a block: activations of a few layers stay in the cache
# Columns that a network computes at a time if a block is not full; no vector is longer.
COLUMNS = 16


def times(
    weight, at, stride, fan_in, fan_out, h, h_at, out, out_at, width=ROWS, keep=0, columns=ROWS
):
    """Compute out (fan_out, width) = keep * out + weight^T h, with h (fan_in, width).

    keep is 0 or 1. If ``columns`` is not ROWS, only the first columns, the one of a single row or a
    multiple of sixteen, are computed; the others keep their contents.
    """
    w, columns = (_part(weight, at, stride, fan_in, fan_out), width if columns == ROWS else columns)
    seen, part = _part(h, h_at, width, fan_in, columns), _part(out, out_at, width, fan_out, columns)
    # BLAS sums a single column in another order.
    product = w.T @ (seen if columns > 1 else seen.repeat(COLUMNS, axis=1))
    part[:] = part + product[:, :columns] if keep else product[:, :columns]


def times_transposed(
    weight, at, stride, fan_in, fan_out, g, g_at, out, out_at, keep, width=ROWS, columns=ROWS
):
    """Compute out (fan_in, width) = keep * out + weight g, with g (fan_out, width).

    keep is 0 or 1. If ``columns`` is not ROWS, only the first columns, a multiple of sixteen, are
    computed.
    """
    w, columns = (_part(weight, at, stride, fan_in, fan_out), width if columns == ROWS else columns)
    product = w @ _part(g, g_at, width, fan_out, columns)
    part = _part(out, out_at, width, fan_in, columns)
    part[:] = part + product if keep else product


def add_outer(h, h_at, fan_in, g, g_at, fan_out, weight, at, stride, width=ROWS, columns=ROWS):
    """Add h g^T to weight (fan_in, fan_out), with h (fan_in, width) and g (fan_out, width).

    If ``columns`` is not ROWS, only the first columns of both, a multiple of sixteen, are read.
    """
    w, columns = (_part(weight, at, stride, fan_in, fan_out), width if columns == ROWS else columns)
    w += _part(h, h_at, width, fan_in, columns) @ _part(g, g_at, width, fan_out, columns).T


def _part(flat, at, stride, rows, columns):
    """Return a (rows, columns) view into a flat array, for uncompiled code."""
    return np.lib.stride_tricks.as_strided(
        flat[at:], (rows, columns), (stride * flat.itemsize, flat.itemsize)
    )


@compiles(times)
def _times(
    weight, at, stride, fan_in, fan_out, h, h_at, out, out_at, width=ROWS, keep=0, columns=ROWS
):
    w, seen, to = start_at(weight, at), start_at(h, h_at), start_at(out, out_at)
    if width == 1:
        _call_column(fan_out, fan_in, w, stride, seen, keep, to)
        return
    some = width if columns == ROWS else columns
    _call_product(fan_out, fan_in, w, 1, stride, seen, keep, to, width, some)


@compiles(times_transposed)
def _times_transposed(
    weight, at, stride, fan_in, fan_out, g, g_at, out, out_at, keep, width=ROWS, columns=ROWS
):
    w, seen, to = start_at(weight, at), start_at(g, g_at), start_at(out, out_at)
    some = width if columns == ROWS else columns
    _call_product(fan_in, fan_out, w, stride, 1, seen, keep, to, width, some)


@compiles(add_outer)
def _add_outer(h, h_at, fan_in, g, g_at, fan_out, weight, at, stride, width=ROWS, columns=ROWS):
    seen, back, w = start_at(h, h_at), start_at(g, g_at), start_at(weight, at)
    some = width if columns == ROWS else columns
    _call_outer_product(fan_in, fan_out, seen, back, w, stride, width, some)


# By name -------------------------------------------------------------------------------------


@intrinsic
def _call_product(typing, m, k, a, a_m, a_k, b, keep, c, width, columns):
    return _call("product", c)


@intrinsic
def _call_column(typing, m, k, a, a_k, b, keep, c):
    return _call("column", c)


@intrinsic
def _call_outer_product(typing, fan_in, fan_out, h, g, weight, stride, width, columns):
    return _call("outer_product", weight)


def _call(function, pointer):
    def generate(context, builder, signature, values):
        convention, kinds = context.call_conv, signature.args
        extern = cgutils.get_or_insert_function(
            builder.module,
            convention.get_function_type(types.none, kinds),
            _name(function, signature),
        )
        convention.call_function(builder, extern, types.none, kinds, values)
        return context.get_dummy_value()

    return signatures(pointer)[function], generate


def signatures(a):
    """Return the signatures of the products by name, for pointers ``a``."""
    i = types.intp
    return {
        "product": types.void(i, i, a, i, i, a, i, a, i, i),
        "column": types.void(i, i, a, i, a, i, a),
        "outer_product": types.void(i, i, a, a, a, i, i, i),
    }


def _name(function, signature):
    (number,) = {kind.dtype for kind in signature.args if isinstance(kind, types.CPointer)}
    return f"nfref_{function}_{number}"


_COMPILED: set = set()


def ensure_compiled(dtype, gradient=True):
    """Compile the products of a dtype, or read them from the cache on disk.

    Kernels that compute values alone call no ``outer_product``. Threads may do this at once. There
    is no lock besides Numba's, which a thread holds while it compiles.
    """
    if (dtype, gradient) in _COMPILED or config.DISABLE_JIT:
        return
    found = signatures(types.CPointer(numba.from_dtype(dtype)))
    for function in (product, column, *([outer_product] if gradient else [])):
        name = function.py_func.__name__
        binding.add_symbol(_name(name, found[name]), address(function, found[name].args))
    _COMPILED.add((dtype, gradient))


# The products --------------------------------------------------------------------------------

_tall_tile, _low_tile = tile_of(TALL, VECTORS), tile_of(2, VECTORS)
_pair_tile, _flat_tile = tile_of(2, FLAT), tile_of(1, FLAT)
_high_tile, _narrow_tile, _single_tile = (tile_of(rows, 1) for rows in (TALL * VECTORS, TALL, 1))
_columns_of_rows = stack_of(ROWS * VECTORS)

# With sixteen registers a tile reads TALL neighbouring columns of a. If rows of a are a multiple of
# SAME_SETS bytes apart, they share eight of the 64 sets of a cache, which hold 64 rows. With more
# rows, each tile along a row of the result would read all from the next cache. So these columns are
# packed first, DEPTH rows at a time.
PACKS, SAME_SETS, DEPTH = TALL > VECTORS, 512, 256
_pack, _packed_columns = packing_of(TALL), stack_of(TALL * DEPTH * 8 // BYTES)
# Vectors of a column at a time: as many sums as two multiply-adders work on at once.
MOST = 8
# Columns come in whole tiles, if a tile is not wider than COLUMNS.
SPLITS_TILES = VECTORS * BYTES // 4 > COLUMNS


@called_kernel
def product(m, k, a, a_m, a_k, b, keep, c, width, columns):
    """Compute c (m, width) = keep * c + a b in the first ``columns``, a number of whole vectors.

    Steps a_m and a_k lead from row to row of a and along a row.
    """
    tall, lanes = m // TALL * TALL, lanes_of(c)
    whole = columns // (VECTORS * lanes) * (VECTORS * lanes)
    apart = a_k * BYTES // lanes
    # Fewer columns do not pay for packing; of more, b would be read anew for every tile.
    if PACKS and a_m == 1 and apart % SAME_SETS == 0 and k > 64 and 64 <= whole <= ROWS:
        _packed_rows(tall, k, a, a_k, b, keep, c, width, whole)
    else:
        for j in range(0, whole, VECTORS * lanes):
            for i in range(0, tall, TALL):
                row, out = start_at(a, i * a_m), start_at(c, i * width + j)
                _tall_tile(k, row, a_m, a_k, start_at(b, j), width, keep, out, width)
    flat = columns // (FLAT * lanes) * (FLAT * lanes)
    for j in range(0, flat, FLAT * lanes):
        for i in range(tall, m - 1, 2):
            row, out = start_at(a, i * a_m), start_at(c, i * width + j)
            _pair_tile(k, row, a_m, a_k, start_at(b, j), width, keep, out, width)
        for i in range(m - (m - tall) % 2, m):
            row, out = start_at(a, i * a_m), start_at(c, i * width + j)
            _flat_tile(k, row, a_m, a_k, start_at(b, j), width, keep, out, width)
    for i in range(tall, m):
        for j in range(flat, columns, lanes):
            row, out = start_at(a, i * a_m), start_at(c, i * width + j)
            _single_tile(k, row, a_m, a_k, start_at(b, j), width, keep, out, width)
    if SPLITS_TILES:
        for j in range(whole, columns, lanes):
            _vector_of_columns(tall, k, a, a_m, a_k, start_at(b, j), keep, start_at(c, j), width)


@body
def _packed_rows(tall, k, a, a_k, b, keep, c, width, whole):
    """Compute the first ``tall`` rows and ``whole`` columns of c, with columns of a packed."""
    packed, strip = _packed_columns(c), VECTORS * lanes_of(c)
    for first in range(0, k, DEPTH):
        some, kept = min(DEPTH, k - first), 1 if first else keep
        for i in range(0, tall, TALL):
            _pack(some, start_at(a, i + first * a_k), a_k, packed)
            for j in range(0, whole, strip):
                seen, out = start_at(b, first * width + j), start_at(c, i * width + j)
                _tall_tile(some, packed, 1, TALL, seen, width, kept, out, width)


@body
def _vector_of_columns(tall, k, a, a_m, a_k, b, keep, c, width):
    """Compute one vector of each of the first ``tall`` rows of c."""
    high = tall // (TALL * VECTORS) * (TALL * VECTORS)
    for i in range(0, high, TALL * VECTORS):
        _high_tile(k, start_at(a, i * a_m), a_m, a_k, b, width, keep, start_at(c, i * width), width)
    for i in range(high, tall, TALL):
        row, out = start_at(a, i * a_m), start_at(c, i * width)
        _narrow_tile(k, row, a_m, a_k, b, width, keep, out, width)


_most_numbers, _many_numbers, _vector_of_numbers, _few_numbers, _one_number = (
    tile_of(1, *size)
    for size in ((MOST, BYTES), (VECTORS, BYTES), (1, BYTES), (1, BYTES // 4), (1, 1))
)


@called_kernel
def column(m, k, a, a_k, b, keep, c):
    """Compute c (m,) = keep * c + a b; a[m, k] stands at m + k a_k.

    Vectors hold numbers of one column of a, times one number of b. Every sum is taken as in
    :func:`product`, to the bit.
    """
    lanes, i = lanes_of(c), 0
    while i + MOST * lanes <= m:
        _most_numbers(k, b, 0, 1, start_at(a, i), a_k, keep, start_at(c, i), 0)
        i += MOST * lanes
    while i + VECTORS * lanes <= m:
        _many_numbers(k, b, 0, 1, start_at(a, i), a_k, keep, start_at(c, i), 0)
        i += VECTORS * lanes
    while i + lanes <= m:
        _vector_of_numbers(k, b, 0, 1, start_at(a, i), a_k, keep, start_at(c, i), 0)
        i += lanes
    few = max(lanes // 4, 1)
    while i + few <= m:
        _few_numbers(k, b, 0, 1, start_at(a, i), a_k, keep, start_at(c, i), 0)
        i += few
    while i < m:
        _one_number(k, b, 0, 1, start_at(a, i), a_k, keep, start_at(c, i), 0)
        i += 1


@called_kernel
def outer_product(fan_in, fan_out, h, g, weight, stride, width, count):
    """Add h g^T to weight, with g transposed for some columns of the weight at a time.

    The first ``count`` columns of h and g are read, a number of whole vectors.
    """
    lanes = lanes_of(weight)
    columns = VECTORS * lanes
    whole = fan_out // lanes * lanes if fan_in > 3 else 0  # fewer rows do not pay for transposes
    transposed = _columns_of_rows(g)
    for start in range(0, count, ROWS):
        there = min(ROWS, count - start)
        for j in range(0, whole, columns):
            some = min(columns, whole - j)
            for first in range(0, some, lanes):
                for r in range(0, there, lanes):
                    source = start_at(g, (j + first) * width + start + r)
                    transpose(source, width, start_at(transposed, r * columns + first), columns)
            seen, w = start_at(h, start), start_at(weight, j)
            _add_columns(fan_in, some, seen, width, there, transposed, columns, w, stride)
    seen, back = matrix_at(h, fan_in, width), matrix_at(g, fan_out, width)
    _add_dots(whole, count, seen, back, weight, stride)


@body
def _add_columns(fan_in, some, h, width, there, transposed, columns, weight, stride):
    tall, lanes = fan_in // TALL * TALL, lanes_of(weight)
    for i in range(0, tall, TALL):
        row, out = start_at(h, i * width), start_at(weight, i * stride)
        if some == columns:
            _tall_tile(there, row, width, 1, transposed, columns, 1, out, stride)
        else:
            for j in range(0, some, lanes):
                column, to = start_at(transposed, j), start_at(out, j)
                _narrow_tile(there, row, width, 1, column, columns, 1, to, stride)
    if some == columns:
        for i in range(tall, fan_in - 1, 2):
            row, out = start_at(h, i * width), start_at(weight, i * stride)
            _low_tile(there, row, width, 1, transposed, columns, 1, out, stride)
        tall = fan_in - (fan_in - tall) % 2
    for i in range(tall, fan_in):
        for j in range(0, some, lanes):
            row = start_at(h, i * width)
            column = start_at(transposed, j)
            out = start_at(weight, i * stride + j)
            _single_tile(there, row, width, 1, column, columns, 1, out, stride)


@reduction
def _add_dots(first, count, h, g, weight, stride):
    """Add the columns from ``first`` on, too few for a vector: sums along the rows of data."""
    for i in range(len(h)):
        for j in range(first, len(g)):
            total = g.dtype.type(0)
            for r in range(count):
                total += h[i, r] * g[j, r]
            weight[i * stride + j] += total
