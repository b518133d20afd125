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
from nfref.kernels.chain.transformers import OPERANDS, decode, transform_all, transform_all_vjp
from nfref.kernels.jit import body, called_kernel

# The operands: the network's activation and widths (input to output), the coordinates that stay
# and the places of those that change.
Coupling = namedtuple("Coupling", "activation widths stay places")


@body
def decode_coupling(chain, pc):
    """Read a transformer, the activation, three lengths, widths, stay and places."""
    code, lengths = chain.code, pc + OPERANDS + 1
    widths, n = lengths + 3, code[lengths + 2]
    stay = widths + code[lengths]
    change = stay + code[lengths + 1]
    places = decode(chain, pc, change, n, n, n)
    return Coupling(code[pc + OPERANDS], code[widths:stay], code[stay:change], places)


@called_kernel
def coupling(chain, pc, storage, block):
    """Transform the coordinates that change, with parameters computed from those that stay."""
    operands = decode_coupling(chain, pc)
    widths, stay, places = operands.widths, operands.stay, operands.places
    u, columns = block.u, storage.columns
    width = width_of(columns)
    seen = matrix_of(storage.tape, storage.tape_at, widths[0], width)
    for k in range(len(stay)):
        copy_row(u, stay[k], seen, k, columns)
    copy_rows(widths[0] - len(stay), block.context, 0, seen, len(stay), columns)
    mlp(widths, operands.activation, storage)
    raw_at = storage.tape_at + rows_before(widths, len(widths) - 1, width)
    transform_all(places, storage.tape, raw_at, 0, places.count, block, columns)


@called_kernel
def coupling_vjp(chain, pc, storage, cotangents, scratch):
    """Go back through the transformer, then through the network to the coordinates that stay.

    scratch : twice the numbers of the network's widest layer
    """
    operands = decode_coupling(chain, pc)
    widths, stay, places = operands.widths, operands.stay, operands.places
    g, tape, columns, n = cotangents.u, storage.tape, storage.columns, places.count
    raw_at = storage.tape_at + rows_before(widths, len(widths) - 1)
    g_raw = units_of(scratch, 0, widths[-1])
    transform_all_vjp(places, tape, raw_at, 0, n, cotangents, g_raw, columns)
    g_seen_at = mlp_vjp(widths, operands.activation, storage, cotangents.theta, scratch)
    g_seen = units_of(scratch, g_seen_at, widths[0])
    for k in range(len(stay)):
        add_row(g_seen, k, g, stay[k], columns)
    add_rows(widths[0] - len(stay), g_seen, len(stay), cotangents.context, 0, columns)
