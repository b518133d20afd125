"""Transformers on a block of rows: one body each for value, inverse and derivative.

A transformer maps one coordinate, given P rows of a network's output, and leaves E rows on the
tape. Its derivative may rely on what the value made of the P rows. All is found by the numbers of
rows in larger arrays (..., ROWS), because to slice them costs as much as the arithmetic.
"""

from collections import namedtuple

from nfref.kernels.chain.transformers.additive import shift, shift_vjp
from nfref.kernels.chain.transformers.affine import scale_and_shift, scale_and_shift_vjp
from nfref.kernels.chain.transformers.monotone_integral import integral, integral_vjp
from nfref.kernels.chain.transformers.sigmoid_mixture import sigmoids, sigmoids_vjp
from nfref.kernels.chain.transformers.spline import rational_quadratic, rational_quadratic_vjp
from nfref.kernels.jit import body

ADDITIVE, AFFINE, SPLINE, SIGMOIDS, INTEGRAL = range(5)
OPERANDS = 4  # of a transformer, among those of an instruction

# A transformer in the code: P, E, and the numbers of its kind.
Transformer = namedtuple("Transformer", "opcode raw_rows tape_rows form reals")

# The rows of one coordinate: its own in u; parameter p is row raw + p * step of the outputs, and of
# their cotangents; and the first of E on the tape. The outputs of a coupling come parameter by
# parameter, so ``step`` is the number of coordinates that change; those of MADE come coordinate by
# coordinate, and it is 1.
Place = namedtuple("Place", "u raw step tape")


@body
def decode(code, at, reals):
    return Transformer(code[at], code[at + 1], code[at + 2], code[at + 3], reals)


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
