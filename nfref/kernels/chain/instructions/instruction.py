"""An instruction: the description of one step of the compiled chain."""

from dataclasses import dataclass

LARGE = 32  # rows from which on a factorisation may wake a BLAS's threads: of 16 none did


@dataclass(frozen=True)
class Instruction:
    """One instruction of a chain, and how its parameters travel.

    Attributes
    ----------
    opcode, direction : int
    operands : list of int
        What follows the header.
    size : int
        How many numbers its parameters take in theta.
    tape, scratch : int
        Rows of the tape it fills, rows of working memory its derivative needs.
    pack : callable
        (params, dtype) -> iterable of arrays, ``size`` numbers together.
    unpack : callable
        (params, cotangent of the packed numbers) -> cotangent shaped like params.
    reals : tuple of float
        Operands that are no whole numbers.
    plain : bool
        Whether packing is nothing but joining the leaves, so that a flat vector of
        parameters can be used where it stands.
    needs : tuple of str
        Which of the interpreter's ``OPTIONAL`` parts carry it out.
    factorises : bool
        Whether packing multiplies or factorises large matrices.
    """

    opcode: int
    direction: int
    operands: list
    size: int
    tape: int
    pack: object
    unpack: object
    scratch: int = 0
    reals: tuple = ()
    plain: bool = False
    needs: tuple = ()
    factorises: bool = False
