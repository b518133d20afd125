"""Transformers on a block of rows: a kernel each for the value in both directions, and its VJP.

A transformer maps one coordinate, given P rows of a network's output, and leaves E rows on the
tape. Its derivative may rely on what the value made of the P rows. All is found by the numbers of
rows in larger arrays (..., ROWS), because to slice them costs as much as the arithmetic.
"""

from collections import namedtuple

from nfref.kernels.chain.block import (
    DIRECTION,
    HEADER,
    REALS_AT,
    Place,
    Transformer,
    call_transform,
    call_transform_vjp,
)
from nfref.kernels.chain.block_rows import units_of
from nfref.kernels.chain.transformers.spline import BOUND, BOUNDS_ON_TAPE, LINEAR_EACH
from nfref.kernels.jit import body
from nfref.kernels.simd.matmul import COLUMNS, ROWS

OPERANDS = HEADER + 5  # where those of an instruction start, after its transformer

# All that an instruction transforms: the transformer and its direction; the number of coordinates,
# their rows in u, followed by the first raw row of each; ``step``; and how many outputs there are.
# Those on the tape follow each other.
Places = namedtuple("Places", "transformer direction count rows step outputs")


@body
def decode(chain, pc, first, count, step, numbers):
    """Read a transformer, and from ``first`` on coordinates, then the first raw row of each.

    numbers : how many numbers have outputs, whether they are transformed or not
    """
    code, at, reals = chain.code, pc + HEADER, chain.reals[chain.code[pc + REALS_AT] :]
    numbers_of_kind = code[at + 2], code[at + 3], code[at + 4]
    transformer = Transformer(code[at], code[at + 1], *numbers_of_kind, reals)
    rows, outputs = code[first : first + 2 * count], numbers * transformer.raw_rows
    return Places(transformer, code[pc + DIRECTION], count, rows, step, outputs)


@body
def place_of(places, c):
    """Return the place of coordinate number c."""
    tape = c * places.transformer.tape_rows
    return Place(places.rows[c], places.rows[places.count + c], places.step, tape)


@body
def transform_all(places, tape, raw_at, first, end, block, columns):
    """Transform coordinates ``first`` to ``end`` of places.

    The outputs of the network stand at tape[raw_at]. Coordinates of a single row go side by side,
    each in the column of another row: so they fill the registers.
    """
    u, log_det, alone = block.u, block.log_det, columns == 1
    transformer, total = places.transformer, log_det[0]
    raw_rows, tape_rows = transformer.raw_rows, transformer.tape_rows
    outputs, count = tape[raw_at : raw_at + places.outputs], places.count
    at = raw_at + len(outputs) if alone else raw_at
    raw = units_of(tape, at, raw_rows if alone else places.outputs)
    extras = units_of(tape, at + raw.size, tape_rows if alone else count * tape_rows)
    form = BOUNDS_ON_TAPE if alone and transformer.form == LINEAR_EACH else transformer.form
    value, vjp, reals = transformer.value, transformer.vjp, transformer.reals
    kind = Transformer(value, vjp, raw_rows, tape_rows, form, reals)
    for c in range(first, end, ROWS if alone else 1):
        place, some = place_of(places, c), min(ROWS, end - c)
        if alone:
            place = Place(place.u, 0, 1, 0)
            columns = 1 if some == 1 else -(-some // COLUMNS) * COLUMNS
            line_up(kind, outputs, places, c, some, columns, block, raw, extras)
        given = kind, places.direction, u, raw, extras, place, log_det, columns
        call_transform(value, given)
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
        if kind.form == BOUNDS_ON_TAPE:
            extras[BOUND, r] = kind.reals[3 + coordinate]
    for p in range(kind.raw_rows):
        for r in range(columns):
            raw[p, r] = outputs[rows[first + min(r, some - 1)] + p * places.step]


@body
def transform_all_vjp(places, tape, raw_at, first, end, cotangents, g_raw, columns):
    """Go back through coordinates ``first`` to ``end`` of places; fill their rows of g_raw."""
    kind, count = places.transformer, places.count
    raw = units_of(tape, raw_at, places.outputs)
    extras = units_of(tape, raw_at + raw.size, count * kind.tape_rows)
    g, g_log_det = cotangents.u, cotangents.log_det
    for c in range(first, end):
        place = place_of(places, c)
        given = kind, places.direction, g, g_log_det, raw, extras, place, g_raw, columns
        call_transform_vjp(kind.vjp, given)
