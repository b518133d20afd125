"""What the kernels of a chain hand to each other: one block of rows, and where its numbers are.

A block is ``ROWS`` rows of data, held coordinate by coordinate: u is (D, ROWS), so that every
loop over rows is contiguous and of known length. Instructions act on u in place, one after the
other. What the derivative of an instruction will need, the instruction leaves on the *tape*; its
vector-Jacobian product turns the cotangent of its output into that of its input, in place too.
"""

from collections import namedtuple

FORWARD = 1  # a direction: latent to data; the other one is -1

# A block of rows on its way: coordinates u (D, ROWS); context (C, ROWS); log_det (ROWS,) so far.
Block = namedtuple("Block", "u context log_det")

# The derivatives of the loss by what their names say, of one block and of all parameters: u
# (D, ROWS), context (C, ROWS), and log_det (ROWS,), which is the same for all instructions, because
# log-determinants add up; theta, summed over the rows.
Cotangents = namedtuple("Cotangents", "u context log_det theta")

# Where an instruction finds its numbers: parameters from theta[at] on, tape[tape_at] on. ``slopes``
# holds those of tanh, each where on the tape the value stands that it belongs to; it is of length 0
# where no derivative is taken. ``columns`` of the ROWS, one or some sixteens, hold all rows there
# are; layers with networks leave the others out.
Storage = namedtuple("Storage", "theta at tape tape_at slopes columns")
