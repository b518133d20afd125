"""The data that the kernels of a chain pass on: one block of rows, and the places of its numbers.

A block is ``ROWS`` rows of data, held coordinate by coordinate: u is (D, ROWS), so that every loop
over rows is contiguous. Instructions act on u in place, one after the other. An instruction leaves
on the *tape* the numbers that its derivative will need; its vector-Jacobian product turns the
cotangent of its output into that of its input, in place too.
"""

from collections import namedtuple

FORWARD = 1  # a direction: latent to data; the other one is -1

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
