"""The data that the kernels of a chain pass on: its code, one block of rows, places of numbers.

A block is ``ROWS`` rows of data, held coordinate by coordinate: u is (D, ROWS), so that every loop
over rows is contiguous. Instructions act on u in place, one after the other. An instruction leaves
on the *tape* the numbers that its derivative will need; its vector-Jacobian product turns the
cotangent of its output into that of its input, in place too.

Layers and transformers are kernels by themselves, each for its value and for its derivative. Other
kernels call them by their address, which stands in the code of a chain. So each is compiled once
for a dtype, whatever chain it stands in:

    layer           (chain, pc, storage, block)
    layer_vjp       (chain, pc, storage, cotangents, scratch)
    transform       (transformer, direction, u, raw, tape, place, log_det, columns)
    transform_vjp   (transformer, direction, g, g_log_det, raw, tape, place, g_raw, columns)
"""

from collections import namedtuple
from functools import cache

import numpy as np
from numba import typeof, types

from nfref.kernels.jit import caller

FORWARD = 1  # a direction: latent to data; the other one is -1

# What the kernels read of a program: instructions, whole numbers in ``code``, see ``interpreter``;
# where they start; real operands; and whether all of them skip the columns of a block without rows.
Chain = namedtuple("Chain", "code starts reals skips_columns")
DIRECTION, TAPE_AT, AT, REALS_AT, HEADER = 2, 3, 4, 5, 6  # places in an instruction
KINDS = "layer", "layer_vjp", "transform", "transform_vjp"  # of kernels that are called by address
ADDRESSES = 0, 1, HEADER, HEADER + 1  # their places in an instruction
VALUES = KINDS[::2]

# A block of rows: coordinates u (D, ROWS); context (C, ROWS); log_det (ROWS,) so far.
Block = namedtuple("Block", "u context log_det")

# The derivatives of the loss by the fields' names, of one block and of all parameters: u
# (D, ROWS), context (C, ROWS), and log_det (ROWS,), which is the same for all instructions, because
# log-determinants add up; theta, summed over the rows.
Cotangents = namedtuple("Cotangents", "u context log_det theta")

# The numbers of an instruction: parameters from theta[at] on, tape[tape_at] on. ``slopes`` holds
# those of tanh, at the places of their values on the tape; its length is 0 if no derivative is
# taken. The first ``columns`` of the ROWS, one or a multiple of sixteen, hold all rows; layers with
# networks skip the others, or, of a single row, hold other coordinates there.
Storage = namedtuple("Storage", "theta at tape tape_at slopes columns")

# A transformer in the code: the addresses of its kernels, P, E, and the numbers of its kind.
Transformer = namedtuple("Transformer", "value vjp raw_rows tape_rows form reals")

# The rows of one coordinate: its own in u; parameter p is row raw + p * step of the outputs, and of
# their cotangents; and the first of E on the tape. The outputs of a coupling come parameter by
# parameter, so ``step`` is the number of coordinates that change; those of MADE come coordinate by
# coordinate, and it is 1.
Place = namedtuple("Place", "u raw step tape")


@cache  # a small table trains many flows, and this takes as long as a few steps
def types_for(dtype):
    """Return the types of the arguments for a dtype, of each kind of kernels called by address."""
    flat, table = (np.empty((0,) * n, dtype) for n in (1, 2))
    whole, reals = np.empty(0, np.int64), np.empty(0)
    chain, storage = Chain(whole, whole, reals, True), Storage(flat, 0, flat, 0, flat, 0)
    layer, transform = (chain, 0, storage), (Transformer(*[0] * 5, reals), 0, table)
    place = Place(*[0] * 4)
    given = (
        (*layer, Block(table, table, flat)),
        (*layer, Cotangents(table, table, flat, flat), flat),
        (*transform, table, table, place, flat, 0),
        (*transform, flat, table, table, place, table, 0),
    )
    return {kind: tuple(map(typeof, arguments)) for kind, arguments in zip(KINDS, given)}


def _caller(kind):
    def expected(given):
        third = given[2]
        array = third if isinstance(third, types.Array) else third[0]
        return types_for(array.dtype.name)[kind]

    return caller(kind, expected)


call_layer, call_layer_vjp, call_transform, call_transform_vjp = map(_caller, KINDS)
