"""Transformers on a block of rows: one body each for value, inverse and derivative.

A transformer maps one coordinate, given P rows of a network's output, and leaves E rows on the
tape. Its derivative may rely on what the value made of the P rows. All is found by the numbers of
rows in larger arrays (..., ROWS), because to slice them costs as much as the arithmetic.
"""

from collections import namedtuple

from nfref.kernels.chain.block_rows import units_of
from nfref.kernels.chain.transformers.additive import shift, shift_vjp
from nfref.kernels.chain.transformers.affine import scale_and_shift, scale_and_shift_vjp
from nfref.kernels.chain.transformers.monotone_integral import integral, integral_vjp
from nfref.kernels.chain.transformers.sigmoid_mixture import sigmoids, sigmoids_vjp
from nfref.kernels.chain.transformers.spline import (
    BOUND,
    BOUNDS_ON_TAPE,
    LINEAR_EACH,
    rational_quadratic,
    rational_quadratic_vjp,
)
from nfref.kernels.jit import body
from nfref.kernels.simd.matmul import COLUMNS, ROWS

ADDITIVE, AFFINE, SPLINE, SIGMOIDS, INTEGRAL = range(5)
OPERANDS = 4  # of a transformer, among those of an instruction

# A transformer in the code: P, E, and the numbers of its kind.
Transformer = namedtuple("Transformer", "opcode raw_rows tape_rows form reals")

# The rows of one coordinate: its own in u; parameter p is row raw + p * step of the outputs, and of
# their cotangents; and the first of E on the tape. The outputs of a coupling come parameter by
# parameter, so ``step`` is the number of coordinates that change; those of MADE come coordinate by
# coordinate, and it is 1.
Place = namedtuple("Place", "u raw step tape")

# All that an instruction transforms: the transformer, the number of coordinates, their rows in u,
# followed by the first raw row of each; ``step``; and how many outputs there are. Those on the tape
# follow each other.
Places = namedtuple("Places", "transformer count rows step outputs")


@body
def decode(code, at, reals, first, count, step, numbers):
    """Read a transformer, and from ``first`` on coordinates, then the first raw row of each.

    numbers : how many numbers have outputs, whether they are transformed or not
    """
    transformer = Transformer(code[at], code[at + 1], code[at + 2], code[at + 3], reals)
    rows = code[first : first + 2 * count]
    return Places(transformer, count, rows, step, numbers * transformer.raw_rows)


@body
def place_of(places, c):
    """Return the place of coordinate number c."""
    tape = c * places.transformer.tape_rows
    return Place(places.rows[c], places.rows[places.count + c], places.step, tape)


@body
def transform_all(direction, places, tape, raw_at, first, end, block, columns, kinds):
    """Transform coordinates ``first`` to ``end`` of places.

    The outputs of the network stand at tape[raw_at]. Coordinates of a single row go side by side,
    each in the column of another row: so they fill the registers.

    kinds : of ``transform``: True, or None, for splines and mixtures
    """
    u, log_det, alone = block.u, block.log_det, columns == 1
    transformer, total = places.transformer, log_det[0]
    raw_rows, tape_rows = transformer.raw_rows, transformer.tape_rows
    outputs, count = tape[raw_at : raw_at + places.outputs], places.count
    at = raw_at + len(outputs) if alone else raw_at
    raw = units_of(tape, at, raw_rows if alone else places.outputs)
    extras = units_of(tape, at + raw.size, tape_rows if alone else count * tape_rows)
    each = alone and transformer.opcode == SPLINE and transformer.form == LINEAR_EACH
    form = BOUNDS_ON_TAPE if each else transformer.form
    kind = Transformer(transformer.opcode, raw_rows, tape_rows, form, transformer.reals)
    for c in range(first, end, ROWS if alone else 1):
        place, some = place_of(places, c), min(ROWS, end - c)
        if alone:
            place = Place(place.u, 0, 1, 0)
            columns = 1 if some == 1 else -(-some // COLUMNS) * COLUMNS
            line_up(kind, outputs, places, c, some, columns, block, raw, extras)
        transform(kind, direction, u, raw, extras, place, log_det, columns, *kinds)
        if alone:
            for k in range(some):
                u[places.rows[c + k], 0] = u[place.u, k]
                total += log_det[k]
    if alone:
        log_det[0] = total


@body
def line_up(kind, outputs, places, c, some, columns, block, raw, extras):
    """Put ``some`` coordinates of a row side by side, the last one also beyond their number."""
    rows, first = places.rows, places.count + c
    for r in range(columns):
        coordinate = rows[c + min(r, some - 1)]
        block.u[rows[c], r] = block.u[coordinate, 0]
        block.log_det[r] = 0
        if kind.opcode == SPLINE and kind.form == BOUNDS_ON_TAPE:
            extras[BOUND, r] = kind.reals[3 + coordinate]
    for p in range(kind.raw_rows):
        for r in range(columns):
            raw[p, r] = outputs[rows[first + min(r, some - 1)] + p * places.step]


@body
def transform_all_vjp(
    direction, places, tape, raw_at, first, end, cotangents, g_raw, columns, kinds
):
    """Go back through coordinates ``first`` to ``end`` of places; fill their rows of g_raw."""
    kind, count = places.transformer, places.count
    raw = units_of(tape, raw_at, places.outputs)
    extras = units_of(tape, raw_at + raw.size, count * kind.tape_rows)
    g, g_log_det = cotangents.u, cotangents.log_det
    for c in range(first, end):
        place = place_of(places, c)
        transform_vjp(kind, direction, g, g_log_det, raw, extras, place, g_raw, columns, *kinds)


@body
def transform(transformer, direction, u, raw, tape, place, log_det, columns, splines, mixtures):
    """Apply the transformer to row ``place.u`` of u, in place; add its log-slope to log_det.

    Only the first columns are computed; the others then hold nothing of use.
    """
    if transformer.opcode == ADDITIVE:
        shift(direction, u, raw, place, columns)
    elif transformer.opcode == AFFINE:
        scale_and_shift(transformer, direction, u, raw, tape, place, log_det, columns)
    if splines is not None and transformer.opcode == SPLINE:
        rational_quadratic(transformer, direction, u, raw, tape, place, log_det, columns)
    if mixtures is not None and transformer.opcode == SIGMOIDS:
        sigmoids(transformer, direction, u, raw, tape, place, log_det, columns)
    if mixtures is not None and transformer.opcode == INTEGRAL:
        integral(transformer, direction, u, raw, tape, place, log_det, columns)


@body
def transform_vjp(
    transformer, direction, g, g_log_det, raw, tape, place, g_raw, columns, splines, mixtures
):
    """Turn row ``place.u`` of g from the cotangent of the value into that of the argument.

    The cotangents of the P outputs go to g_raw. Only the first columns are computed.
    """
    if transformer.opcode == ADDITIVE:
        shift_vjp(direction, g, place, g_raw, columns)
    elif transformer.opcode == AFFINE:
        scale_and_shift_vjp(transformer, direction, g, g_log_det, raw, tape, place, g_raw, columns)
    if splines is not None and transformer.opcode == SPLINE:
        rational_quadratic_vjp(
            transformer, direction, g, g_log_det, raw, tape, place, g_raw, columns
        )
    if mixtures is not None and transformer.opcode == SIGMOIDS:
        sigmoids_vjp(transformer, direction, g, g_log_det, raw, tape, place, g_raw, columns)
    if mixtures is not None and transformer.opcode == INTEGRAL:
        integral_vjp(transformer, direction, g, g_log_det, raw, tape, place, g_raw, columns)
