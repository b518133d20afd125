"""Coupling on a block of rows: the value, and its vector-Jacobian product.

theta: the conditioner network. Tape: its layers, from the coordinates that stay and the context
to the raw outputs, P blocks of as many rows as coordinates change; then E rows for each of
these, which belong to the transformer.
"""

from collections import namedtuple

from nfref.kernels.chain.block_rows import (
    add_row,
    add_rows,
    copy_row,
    copy_rows,
    matrix_of,
    units_of,
)
from nfref.kernels.chain.network import mlp, mlp_vjp, rows_before, width_of
from nfref.kernels.chain.transformers import (
    OPERANDS,
    Places,
    decode,
    place_of,
    transform_all,
    transform_vjp,
)
from nfref.kernels.jit import body
from nfref.kernels.simd.matmul import ROWS

# The operands: a transformer, the network's activation and widths (input to output), the
# coordinates that stay and those that change.
Coupling = namedtuple("Coupling", "transformer activation widths stay change")


@body
def decode_coupling(code, at, reals):
    """Read a transformer, the activation, three lengths, widths, stay and change."""
    lengths = at + OPERANDS + 1
    widths = lengths + 3
    stay = widths + code[lengths]
    change = stay + code[lengths + 1]
    return Coupling(
        decode(code, at, reals),
        code[at + OPERANDS],
        code[widths:stay],
        code[stay:change],
        code[change : change + code[lengths + 2]],
    )


@body
def coupling(direction, operands, storage, block, splines, mixtures):
    """Transform the coordinates that change, with parameters computed from those that stay.

    direction : 1 from latent to data, -1 back
    operands : Coupling
    storage : Storage; the tape is filled
    block : Block; u changes in place, log_det grows
    splines, mixtures : True, or None where no transformer is one
    """
    widths, stay, change = operands.widths, operands.stay, operands.change
    u, columns = block.u, storage.columns
    width = width_of(columns)
    seen = matrix_of(storage.tape, storage.tape_at, widths[0], width)
    for k in range(len(stay)):
        copy_row(u, stay[k], seen, k, columns)
    copy_rows(widths[0] - len(stay), block.context, 0, seen, len(stay), columns)
    mlp(widths, operands.activation, storage)
    raw_at = storage.tape_at + rows_before(widths, len(widths) - 1, width)
    transformer, n, kinds = operands.transformer, len(change), (splines, mixtures)
    places = Places(change, 1, n)
    transform_all(transformer, direction, storage, raw_at, places, 0, n, block, *kinds)


@body
def coupling_vjp(direction, operands, storage, cotangents, scratch, splines, mixtures):
    """Go back through the transformer, then through the network to the coordinates that stay.

    direction, operands, splines, mixtures : as for :func:`coupling`
    storage : Storage; the tape as :func:`coupling` left it
    cotangents : Cotangents; u changes in place, context and theta grow
    scratch : twice the numbers of the network's widest layer
    """
    widths, stay, change = operands.widths, operands.stay, operands.change
    tape, g = storage.tape, cotangents.u
    raw_at = storage.tape_at + rows_before(widths, len(widths) - 1)
    raw, g_raw = units_of(tape, raw_at, widths[-1]), units_of(scratch, 0, widths[-1])
    transformer, n, g_log_det = operands.transformer, len(change), cotangents.log_det
    extra, columns = transformer.tape_rows, storage.columns
    extras = units_of(tape, raw_at + widths[-1] * ROWS, n * extra)
    places = Places(change, 1, n)
    for c in range(n):
        row = place_of(places, c, transformer)
        transform_vjp(
            transformer,
            direction,
            g,
            g_log_det,
            raw,
            extras,
            row,
            g_raw,
            columns,
            splines,
            mixtures,
        )
    g_seen_at = mlp_vjp(widths, operands.activation, storage, cotangents.theta, scratch)
    g_seen = units_of(scratch, g_seen_at, widths[0])
    for k in range(len(stay)):
        add_row(g_seen, k, g, stay[k], columns)
    add_rows(widths[0] - len(stay), g_seen, len(stay), cotangents.context, 0, columns)
