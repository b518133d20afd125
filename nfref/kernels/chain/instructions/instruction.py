"""What the compiled chain has to know of a layer."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    """One record of a chain.

    Attributes
    ----------
    kind, direction : int
    fields : list of int
        What follows the header.
    size : int
        How many numbers its parameters take in theta.
    tape, spare : int
        Rows of the tape it fills, rows of working space its derivative needs.
    pack : callable
        (params, dtype) -> list of arrays, ``size`` numbers together.
    unpack : callable
        (params, cotangent of the packed numbers) -> cotangent shaped like params.
    real : float
        The bound of log-scales, where there is one.
    plain : bool
        Whether packing is nothing but joining the leaves, so that a flat vector of
        parameters can be used where it stands.
    """

    kind: int
    direction: int
    fields: list
    size: int
    tape: int
    spare: int
    pack: object
    unpack: object
    real: float = 0.0
    plain: bool = False
