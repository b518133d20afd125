"""An instruction: the description of one step of the compiled chain; the twin that it is of."""

from dataclasses import dataclass

from nfref.runtime.annotations import Any

LARGE = 32  # rows from which on a factorisation may wake a BLAS's threads: of 16 none did


@dataclass(frozen=True)
class Instruction:
    """One instruction of a chain, and how its parameters travel.

    Attributes
    ----------
    kernels : tuple
        Those of its value and of its VJP, and the two of its transformer, if it has one. Batch norm
        in training, which no kernel of a layer runs, has none.
    direction : int
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
    skips_columns : bool
        Whether it leaves out the columns of a block that hold no rows.
    factorises : bool
        Whether packing multiplies or factorises large matrices.
    """

    kernels: tuple
    direction: int
    operands: list
    size: int
    tape: int
    pack: object
    unpack: object
    scratch: int = 0
    reals: tuple = ()
    plain: bool = False
    skips_columns: bool = False
    factorises: bool = False


def twin_of(thing: object) -> Any:
    """Return the name of the twin of a flow, a base or a transformer; None without one.

    The class itself must name it: a subclass may compute something else.
    """
    return type(thing).__dict__.get("_twin")
